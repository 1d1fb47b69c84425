"""Lessons on gradients: each a file with a function `lesson` of its settings.

The contract is in `backprop_jax/runner/lesson.py`, what pictures look like in `style.py`.
"""
