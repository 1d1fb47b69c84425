"""`python -m backprop_jax` is the same as `backprop-jax`."""

import sys

from backprop_jax.cli import main

if __name__ == "__main__":
    sys.exit(main())
