"""What is differentiated: the rules, one file for each kind of primitive."""

from backprop_jax.rules import branches as branches
from backprop_jax.rules import calls as calls
from backprop_jax.rules import contractions as contractions
from backprop_jax.rules import decompositions as decompositions
from backprop_jax.rules import elementary as elementary
from backprop_jax.rules import fft as fft
from backprop_jax.rules import high as high
from backprop_jax.rules import indexing as indexing
from backprop_jax.rules import libraries as libraries
from backprop_jax.rules import linalg as linalg
from backprop_jax.rules import loops as loops
from backprop_jax.rules import matrix_functions as matrix_functions
from backprop_jax.rules import models as models
from backprop_jax.rules import orders as orders
from backprop_jax.rules import parallel as parallel
from backprop_jax.rules import ragged as ragged
from backprop_jax.rules import reductions as reductions
from backprop_jax.rules import references as references
from backprop_jax.rules import reflectors as reflectors
from backprop_jax.rules import schur as schur
from backprop_jax.rules import shapes as shapes
from backprop_jax.rules import shards as shards
from backprop_jax.rules import sparse as sparse
from backprop_jax.rules import special as special
from backprop_jax.rules import trips as trips
from backprop_jax.rules import windows as windows
