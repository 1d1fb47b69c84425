"""What is differentiated: the rules, in reading order."""

from backprop_jax.rules import calls as calls
from backprop_jax.rules import elementary as elementary
from backprop_jax.rules import loops as loops
