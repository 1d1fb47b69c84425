"""Data for real work: what comes with the package, and files of your own. Nothing is downloaded.

included   data sets inside of the package, each with source, licence and checksum in manifest.json
files      a user's npz, CSV, Parquet or text file by path, checked
splits     which examples are for training, and which for the test
"""

from backprop_jax.data.files import read_arrays as read_arrays
from backprop_jax.data.files import read_table as read_table
from backprop_jax.data.files import read_text as read_text
from backprop_jax.data.included import about as about
from backprop_jax.data.included import arrays as arrays
from backprop_jax.data.included import text as text
from backprop_jax.data.splits import split as split
from backprop_jax.data.splits import windows as windows
