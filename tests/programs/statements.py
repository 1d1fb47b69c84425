"""Statements of the table: operands are found, places filled in, the result comes into scope."""

from typing import Any

from tests.programs.program import Value
from tests.programs.rows import GROUPS, Row
from tests.programs.writer import INTEGERS, REALS, Writer

DOUBLE = ("float64",)
MATRICES = {
    "s": "{0}",
    "w": "(0.5 * {0} + 2.0 * jnp.eye({n}))",
    "spd": "({0} @ {0}.T + 2.0 * jnp.eye({n}))",
    "sym": "({0} + {0}.T + jnp.diag(5.0 * jnp.arange({n}) + 1.0))",
}


def write_row(w: Writer) -> None:
    """Adds a statement of the table."""
    group = w.choose([group for group, often in GROUPS for _ in range(often)])
    add_row(w, w.choose(group))


def add_row(w: Writer, row: Row) -> None:
    """Adds a statement of this row."""
    wants = row.wants.split()
    domains = row.domain if isinstance(row.domain[0], tuple) else (row.domain,) * len(wants)
    operands: list[Value] = []
    for kind, domain in zip(wants, domains, strict=True):
        operands.append(operand(w, kind, domain, operands))
    x = operands[0]
    image: Any = row.image
    if image == "sum":
        image = (-x.size * x.bound, x.size * x.bound)
    elif image == "same":
        image = (-x.bound, x.bound)
    elif image == "all":
        bound = max(v.bound for v in operands)
        image = (-bound, bound)
    w.add(places(w, row.text, x), operands, image)


def operand(w: Writer, kind: str, domain: tuple[float, float], before: list[Value]) -> Value:
    """Returns an operand of this kind; see the table's first lines."""
    if kind in ("r", "r1", "r2"):
        return w.real(domain, int(kind[1:] or 0))
    if kind == "q":
        return w.real(domain, dtypes=("float64", "float32"))
    if kind == "r64":
        return w.real(domain, dtypes=DOUBLE)
    if kind == "r164":
        return w.real(domain, 1, dtypes=DOUBLE)
    if kind == "r22":
        return w.real(domain, 2, 2)
    if kind in ("v1", "v2", "v3"):
        length = int(kind[1])
        fits = w.pick(
            lambda v: (
                v.dtype in REALS and v.ndim == 1 and (v.shape[0] == 3 or length < min(3, v.size))
            )
        )
        return w.within(fits, domain) if fits else w.real(domain, shape=(3,))
    if kind in ("c", "c1", "c2"):
        return w.complex(domain[1], int(kind[1:] or 0))
    if kind == "c22":
        fits = w.pick(lambda v: v.dtype == "complex128" and v.ndim == 2)
        if fits:
            return w.within(fits, domain)
        x, y = w.real((-1.0, 1.0), shape=(2, 3), dtypes=DOUBLE), w.noise((2, 3), -1.0, 1.0)
        return Value(f"lax.complex({x.name}, {y.name})", (2, 3), "complex128", -1.5, 1.5)
    if kind in MATRICES:
        return matrix(w, kind, domain)
    x = before[0]
    if kind == "i":
        return w.index(x.shape[0] if x.shape else 3)
    if kind in ("I", "U"):
        return w.indices(x.shape[0], unique=kind == "U")
    if kind == "O":
        return w.indices(x.shape[0] + 1, low=-1)
    if kind == "m":
        found = w.pick(lambda v: v.dtype == "bool" and v.shape == x.shape)
        if found is None or w.chance(40):
            other = w.real((-2.0, 2.0), shape=x.shape)
            found = Value(f"({other.name} > {w.number(-0.5, 0.5)})", x.shape, "bool", 0, 1)
        return found
    if kind == "==":
        return w.real(domain, shape=x.shape, dtypes=(x.dtype,))
    if kind == "v=":
        return w.real(domain, 1, 1, dtypes=(x.dtype,))
    dtypes = (x.dtype,) if x.dtype != "complex128" and w.chance(80) else REALS
    if kind == "v":
        return w.real(domain, shape=x.shape[-1:], dtypes=dtypes)
    if kind == "d":
        found = w.pick(lambda v: v.ndim == 2 and v.shape[0] == x.shape[-1] and v.dtype in dtypes)
        shape = (x.shape[-1], w.integer(1, 3))
        return w.within(found, domain) if found else w.real(domain, shape=shape, dtypes=dtypes)
    if kind == "=":
        return w.real(domain, shape=x.shape, dtypes=dtypes)
    return broadcastable(w, domain, x, dtypes)


def broadcastable(w: Writer, domain: tuple[float, float], x: Value, dtypes: tuple) -> Value:
    """Returns an operand that may stand beside x."""
    how = w.integer(0, 5)
    if how == 0:
        dtype = x.dtype if x.dtype in REALS else "float64"
        low, high = max(domain[0], -3.0), min(domain[1], 3.0)
        return Value(str(w.number(low, high)), (), dtype, low, high)
    if how == 1:
        return w.real(domain, 0, 0, dtypes=dtypes)
    if how == 2 and x.shape:
        return w.real(domain, shape=x.shape[-1:], dtypes=dtypes)
    if how == 3 and x.ndim > 1:
        return w.real(domain, shape=(*x.shape[:-1], 1), dtypes=dtypes)
    return w.real(domain, shape=x.shape, dtypes=dtypes)


def matrix(w: Writer, kind: str, domain: tuple[float, float]) -> Value:
    """Returns a square matrix of a kind, as a statement of its own if it is a long expression."""
    n = w.integer(2, 3)
    x = w.real(domain, shape=(n, n), dtypes=DOUBLE)
    if kind == "s":
        return x
    name = w.name("m")
    w.statements.append(f"{name} = {x.name}")
    text = MATRICES[kind].format(name, n=n)
    return Value(text, (n, n), "float64", -2.0 - n, 6.0 * n)


def places(w: Writer, text: str, x: Value) -> str:
    """Returns an expression with what is to be drawn in it drawn."""
    if "$axis" in text:
        text = text.replace("$axis", str(w.integer(-x.ndim, x.ndim - 1)))
    if "$perm" in text:
        start = w.integer(1, x.ndim - 1)
        text = text.replace("$perm", str(tuple((start + i) % x.ndim for i in range(x.ndim))))
    for place, modes in (
        ("$pad", ("edge", "wrap", "symmetric")),
        ("$take", ("clip", "wrap", "fill")),
        ("$get", ("clip", "fill")),
        ("$put", ("drop", "clip", "fill")),
    ):
        if place in text:
            text = text.replace(place, w.choose(modes))
    return text


def coerced(w: Writer, value: Value, shape: tuple, dtype: str, bound: float = 1.0) -> str:
    """Returns the text of a value made into one of this type, within these bounds."""
    if dtype in INTEGERS:
        return f"({value.name} + 1) % 4" if value.dtype in INTEGERS else value.name
    if value.dtype == "complex128":
        value = Value(f"jnp.real({value.name})", value.shape, "float64", value.low, value.high)
    value = w.within(w.reshaped(value, shape), (-bound, bound))
    return value.name if value.dtype == dtype else f"({value.name}).astype({dtype!r})"
