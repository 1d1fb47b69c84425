"""Slopes measured, not derived: each comes with its own error bar.

`vectors` makes one real vector of a pytree's leaves; `steps` chooses where to step; `slopes`
measures, by differences extrapolated to step zero; `ways` has the other ways of measuring: one
difference with one step, the complex step, Taylor's remainder.
"""
