"""Slopes measured, not derived: each comes with its own error bar.

`vectors` makes one real vector of a pytree's leaves; `steps` chooses where to step; `slopes`
measures, by differences extrapolated to step zero, for `check_grads`, for rules when they are
registered, for `bisect` and for witnesses; `ways` has the other ways of measuring: one difference
with one step, the complex step, Taylor's remainder; `rounding` says how far rounding carries what
was not measured.
"""
