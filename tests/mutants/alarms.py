"""Rules that are right are put to the checker, which has to find them right.

All cases, drawn again and again, in float64 and shorter; arrays of 1 to a million numbers; and
operands next to where a derivative grows beyond all bounds.
"""

import itertools
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import backprop_jax as bp
from backprop_jax.check.gradients.engines import OURS
from backprop_jax.check.gradients.examine import Allowed, Examination
from backprop_jax.check.gradients.findings import GradsReport
from backprop_jax.check.gradients.sides import Side
from backprop_jax.check.measured import COMPOSED, ROWS
from backprop_jax.check.numerical.vectors import Moving
from tests.rules.case import Case, is_inexact
from tests.rules.cases import CASES

MODES = ("fwd", "rev")


class Function:
    """A function that holds on to what is compiled of it."""

    def __init__(self, function: Callable) -> None:
        self.function, self.kept = function, {}

    def __call__(self, *operands: Any) -> Any:
        """Returns what the function returns."""
        return self.function(*operands)


class Check(NamedTuple):
    """A function whose derivatives are right, and where to ask for them."""

    name: str
    function: Function
    operands: Sequence

    def alarm(self) -> str:
        """Returns what the checker says, "" if it finds the derivatives right.

        It may also say, in so many words, that nothing could be measured: NOT JUDGED. The questions
        are those of `bp.check_grads`, which is asked itself if an answer is not to their liking.
        """
        moving = Moving.of(self.function, self.operands, "xyw")
        side = replace(Side.of(moving, OURS), kept=self.function.kept)
        report = GradsReport(self.name, OURS.name)
        exam = Examination(side, MODES, Allowed(), report, np.random.default_rng([0, 1]))
        with np.errstate(all="ignore"):
            if next(exam.answers(), None) is None and report.ok:
                return ""
        try:
            bp.check_grads(self.function, self.operands, modes=MODES)
        except AssertionError as error:
            return f"{self.name}\n{error}"
        return ""


# -- every case ------------------------------------------------------------------------------------
def of_cases(draws: Sequence[int]) -> Iterator[Check]:
    """Yields the cases, in all their precisions, with operands drawn anew."""
    for case in CASES:
        if not case.has_slope:
            continue
        for dtype in (None, *case.dtypes):

            def cast(draw: int, case: Case = case, dtype: Any = dtype) -> list[np.ndarray]:
                drawn = redrawn(case, draw)
                return [x.astype(dtype) if dtype and is_inexact(x) else x for x in drawn]

            function = Function(case.of_active([jnp.asarray(x) for x in cast(0)]))
            for draw in draws:
                operands = cast(draw)
                active = [jnp.asarray(operands[i]) for i in case.active]
                yield Check(f"{case.name}, {dtype or 'float64'}, draw {draw}", function, active)


def redrawn(case: Case, draw: int) -> list[np.ndarray]:
    """Returns other operands of a case; whole numbers stay, as they say where things are."""
    if draw == 0:
        return case.operands
    domains = case.domain if isinstance(case.domain, list | tuple) else None
    if domains is None or hasattr(case.domain, "draw"):
        domains = [case.domain] * len(case.shapes)
    rng = np.random.default_rng(draw)
    pairs = zip(domains, case.shapes, case.operands, strict=True)
    drawn = [(np.asarray(d.draw(rng, shape)), x) for d, shape, x in pairs]
    return [new if is_inexact(x) else x for new, x in drawn]


# -- large and small -------------------------------------------------------------------------------
SIZES = (1, 2, 10, 100, 1_000, 10_000)
LARGE = {"sum": 10**6, "sin": 10**6, "relu": 10**6, "square": 10**6, "cumsum": 10**5, "norm": 10**5}
DTYPES = ("float64", "float32", "bfloat16", "float16")
# fmt: off
OF_ANY_SIZE: dict[str, Callable] = {
    "sum":       jnp.sum,
    "sin":       jnp.sin,
    "exp":       jnp.exp,
    "tanh":      jnp.tanh,
    "log":       lambda x: jnp.log(jnp.abs(x) + 0.1),
    "square":    lambda x: jnp.sum(x * x),
    "logsumexp": jax.nn.logsumexp,
    "softmax":   jax.nn.softmax,
    "relu":      jax.nn.relu,
    "gelu":      jax.nn.gelu,
    "norm":      lambda x: jnp.sqrt(jnp.sum(x * x)),
    "mean":      lambda x: jnp.mean(jnp.sin(x)),
    "cumsum":    jnp.cumsum,
    "max":       jnp.max,
    "sort":      jnp.sort,
    "flip":      lambda x: x[::-1] * x,
    "gather":    lambda x: x[jnp.arange(x.size) // 2] * 2.0,
    "matvec":    lambda x: jnp.reshape(x, (-1, 1)) @ jnp.ones((1, 2), x.dtype),
}
# fmt: on


def of_sizes(draws: Sequence[int]) -> Iterator[Check]:
    """Yields functions of arrays of every size, in all precisions."""
    for (name, plain), dtype in itertools.product(OF_ANY_SIZE.items(), DTYPES):
        for size in (*SIZES, LARGE[name]) if name in LARGE else SIZES:
            function = Function(plain)
            for draw in draws if size <= max(SIZES) else draws[:1]:
                x = np.random.default_rng([draw, size]).normal(size=size).astype(jnp.dtype(dtype))
                label = f"{name}, {dtype}[{size}], draw {draw}"
                yield Check(label, function, [jnp.asarray(x)])


# -- next to a singularity -------------------------------------------------------------------------
# fmt: off
SINGULAR: dict[str, tuple[Callable, float]] = {
    "log at 0":       (jnp.log, 0.0),
    "sqrt at 0":      (jnp.sqrt, 0.0),
    "rsqrt at 0":     (jax.lax.rsqrt, 0.0),
    "cbrt at 0":      (jnp.cbrt, 0.0),
    "1/x at 0":       (lambda x: 1 / x, 0.0),
    "1/x² at 0":      (lambda x: x**-2, 0.0),
    "x log x at 0":   (lambda x: x * jnp.log(x), 0.0),
    "power at 0":     (lambda x: jax.lax.pow(x, jnp.asarray(0.3, x.dtype)), 0.0),
    "log1p at -1":    (jnp.log1p, -1.0),
    "asin at 1":      (jnp.arcsin, 1.0),
    "acos at -1":     (jnp.arccos, -1.0),
    "acosh at 1":     (jnp.arccosh, 1.0),
    "atanh at 1":     (jnp.arctanh, 1.0),
    "tan at π/2":     (jnp.tan, np.pi / 2),
    "abs at 0":       (jnp.abs, 0.0),
    "relu at 0":      (jax.nn.relu, 0.0),
    "digamma at 0":   (jax.scipy.special.digamma, 0.0),
    "lgamma at 0":    (jax.scipy.special.gammaln, 0.0),
    "erf_inv at 1":   (jax.scipy.special.erfinv, 1.0),
    "logit at 0":     (jax.scipy.special.logit, 0.0),
    "expm1 at 0":     (jnp.expm1, 0.0),
    "sigmoid far":    (jax.nn.sigmoid, 20.0),
    "softplus far":   (jax.nn.softplus, -20.0),
}
# fmt: on
DISTANCES = (1e-1, 1e-2, 1e-3, 1e-5, 1e-8, 1e-12)


def of_singularities(draws: Sequence[int]) -> Iterator[Check]:
    """Yields functions next to a singularity, on the side where they are defined."""
    for (name, (plain, place)), dtype in itertools.product(
        SINGULAR.items(), ("float64", "float32")
    ):
        function = Function(plain)
        for distance, draw in itertools.product(DISTANCES, draws):
            steps = distance * (1 + np.random.default_rng(draw).uniform(size=3))
            x = np.asarray(place + np.array([steps, -steps]), dtype).ravel()
            x = x[np.isfinite(np.asarray(plain(jnp.asarray(x)))) & (x != place)]
            if x.size:
                label = f"{name}, {dtype}, {distance:g} away, draw {draw}"
                yield Check(label, function, [jnp.asarray(x)])


# -- at the ends of what numbers can say -----------------------------------------------------------
AT_ONCE = 4


def of_extremes(draws: Sequence[int]) -> Iterator[Check]:
    """Yields the functions of the accuracy page, at a few of its points: tiny, huge, at an edge."""
    rows = [row for row in (*ROWS, *COMPOSED) if row.name != "exp1"]  # Its own loop may not end.
    for row, dtype in itertools.product(rows, (np.float64, np.float32)):
        points = row.points(dtype)
        function = Function(row.function)
        for draw in draws:
            some = np.random.default_rng([draw, 7]).integers(0, len(points[0]), AT_ONCE)
            operands = [jnp.asarray(x[some], dtype) for x in points]
            if row.name.startswith("polygamma"):  # Farther left its values have no digits.
                operands = [jnp.where(x > -3, x, 0.5) for x in operands]
            yield Check(f"{row.name}, {dtype.__name__}, extreme, draw {draw}", function, operands)


KINDS = (of_extremes, of_singularities, of_sizes, of_cases)
TOGETHER = 5  # draws, for which everything is compiled once


def checks(seed: int = 0) -> Iterator[Check]:
    """Yields checks without end, one kind after the other, and then with other numbers."""
    for first in itertools.count(seed, TOGETHER):
        for kind in KINDS:
            yield from kind(range(first, first + TOGETHER))


def alarms(count: int, seed: int = 0, done: Container[str] = ()) -> Iterator[tuple[str, str]]:
    """Yields the name of every check and what it says, "" if nothing is wrong.

    Args:
      count: of checks.
      seed: the number of the first draw.
      done: names of checks to be left out, which count.
    """
    left = (check for check in itertools.islice(checks(seed), count) if check.name not in done)
    for number, check in enumerate(left, 1):
        yield check.name, check.alarm()
        if not number % 1000:
            jax.clear_caches()


def some(kind: Callable[[Sequence[int]], Iterator[Check]], every: int) -> list[Check]:
    """Returns one check of every so many of a kind."""
    return list(itertools.islice(kind([0]), 0, None, every))
