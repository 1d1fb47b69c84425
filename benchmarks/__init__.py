"""Our gradients and `jax.grad`'s, side by side in one process, as ratios.

workloads    what is measured: programs that take a gradient engine
measure      times, memory and errors of a workload with both engines
report       a table for people, JSON for machines
"""
