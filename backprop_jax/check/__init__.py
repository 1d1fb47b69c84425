"""Is it right? Gradients compared with `jax.grad`, with float64 and with numerical slopes.

`compare` asks several witnesses for one gradient (`witnesses`), measures how far apart they are on
each leaf (`difference`), judges (`verdict`) and tells (`leaf`, `report`, `table`). Only this part
of the package may call JAX's own differentiation: as a witness.
"""

from backprop_jax.check import judge as judge  # of the rules that users bring
