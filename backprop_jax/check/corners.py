"""Calls of public functions at a point where we have no gradient, and why: by order.

The names are those of the table in `tests/survey`, which tries them.
"""

FIRST: dict[str, str] = {}

SECOND: dict[str, str] = {}
