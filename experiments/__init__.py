"""What is run: data, models, losses and metrics as pure functions.

The contract is in `backprop_jax/runner/experiment.py`.
"""
