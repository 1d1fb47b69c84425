"""Random JAX programs, each differentiated by us and by JAX.

`python -m tests.programs --count 10000 --seed 0` tries any number of them.
"""
