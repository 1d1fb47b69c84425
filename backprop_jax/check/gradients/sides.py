"""A function and its derivatives in one precision, as maps of real vectors."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from backprop_jax.check.gradients.engines import Engine, single
from backprop_jax.check.numerical.rounding import shaken
from backprop_jax.check.numerical.vectors import Moving, Space, Vector
from backprop_jax.check.precision import bits, narrowings, widen


class Mismatch(AssertionError):
    """A derivative has not the structure, shapes or dtypes that it must have."""


@dataclass(frozen=True, eq=False)
class Side:
    """A function and its derivatives in one precision.

    Attributes:
      moving: the function.
      engine: who differentiates it.
      point: the operands, in this precision.
      space: what the operands are points of.
      wide: the dtype that the operands were cast up to; empty: they are as the user has them.
      throw: derivatives are computed with their roundings thrown anew; None: as they are.
      kept: what is compiled, for this side and those that are made of it.
    """

    moving: Moving
    engine: Engine
    point: tuple[Any, ...]
    space: Space
    wide: str = ""
    throw: int | None = None
    kept: dict = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, moving: Moving, engine: Engine) -> "Side":
        """Returns the side in the precision the user has chosen."""
        point = tuple(moving.point)
        return cls(moving, engine, point, Space.of(point, moving.paths))

    def widened(self, to: str) -> "Side":
        """Returns the same in float64, or in float32."""
        if to == "float32":
            return replace(self, point=tuple(leaf.astype(to) for leaf in self.point), wide=to)
        with jax.enable_x64(True):
            return replace(self, point=tuple(widen(leaf) for leaf in self.point), wide=to)

    @contextlib.contextmanager
    def precision(self) -> Iterator[None]:
        """Runs what is within in this precision."""
        with jax.enable_x64(True) if self.wide == "float64" else contextlib.nullcontext():
            yield

    @property
    def x(self) -> Vector:
        """The operands as a vector."""
        return self.space.vector(self.point)

    @functools.cached_property
    def values(self) -> dict[str, Any]:
        """The leaves of the result that have a derivative, by path."""
        with self.precision():
            return {k: jnp.asarray(z) for k, z in self.moving.results(*self.point).items()}

    @functools.cached_property
    def results(self) -> Space:
        """What the results are points of."""
        paths = self.moving.labels or tuple(self.values)
        return Space.of(list(self.values.values()), paths)

    @property
    def y(self) -> Vector:
        """The results as a vector."""
        return self.results.vector(list(self.values.values()))

    def f(self, x: Vector) -> Vector:
        """The function, from a vector to a vector."""
        with self.precision():
            return self.results.vector(self._run(*self.space.leaves(x, self.point)))

    def once(self, what: str, make: Callable[[], Callable[..., list]]) -> Callable[..., list]:
        """Returns what is made, and compiled once."""
        key = what, self.engine, self.wide, self.throw is None
        return self.kept[key] if key in self.kept else self.kept.setdefault(key, make())

    @property
    def _run(self) -> Callable[..., list]:
        return self.once("run", lambda: compiled(self.moving))

    def pull(self, cs: list[Vector], x: Vector | None = None) -> list[Vector]:
        """Returns for each covector of the results the one of the operands."""
        with self.precision():
            point = self.point if x is None else self.space.leaves(x, self.point)
            if self.engine.by_hand is not None:
                gradient = self._by_hand(point)
                return [c[0] * gradient for c in cs]
            like = list(self.values.values())
            pulled = [self._pullback(point, self.results.cotangents(c, like)) for c in cs]
            for found in pulled:
                check_types(found, list(point), self.space.paths, "cotangent")
            return [self.space.covector(found) for found in pulled]

    @property
    def _pullback(self) -> Callable[..., list]:
        return self._ready(
            "pullback", lambda point, c: list(self.engine.pullback(self.moving, *point)[1](c))
        )

    def _ready(self, what: str, derivative: Callable[..., list]) -> Callable[..., list]:
        if self.throw is None:
            return self.once(what, lambda: compiled(derivative))
        anew = self.once(what, lambda: compiled(shaken(derivative)))
        return functools.partial(anew, self.throw)

    def push(self, v: Vector, x: Vector | None = None) -> Vector:
        """Returns the slope of the results along v."""
        with self.precision():
            point = self.point if x is None else self.space.leaves(x, self.point)
            slope = self._push(tuple(point), tuple(self.space.leaves(v, self.point)))
            check_types(slope, list(self.values.values()), self.results.paths, "slope")
            return self.results.vector(slope)

    @property
    def _push(self) -> Callable[..., list]:
        return self._ready("push", lambda point, v: list(self.engine.slope(self.moving, point, v)))

    def _by_hand(self, point: Any) -> Vector:
        single(list(self.values.values()))
        assert self.engine.by_hand is not None
        args = self.moving.arguments(*point)
        gradient = self.engine.by_hand(*args)
        structure = jax.tree.structure(args)
        if jax.tree.structure(gradient) != structure:
            gradient = (gradient,)
        if jax.tree.structure(gradient) != structure:
            raise Mismatch(
                f"the gradient has the structure {jax.tree.structure(gradient[0])}; "
                f"that of the arguments is {structure}"
            )
        leaves = jax.tree.leaves(gradient)
        found = [jnp.asarray(leaves[i]) for i in self.moving.active]
        check_types(found, list(point), self.space.paths, "gradient", dtypes=False)
        return self.space.covector(found)

    def digits(self) -> int:
        """Returns the digits of the least precise number on the way to the result."""
        own = min((digits(leaf.dtype) for leaf in self.point), default=52)
        with self.precision():
            try:
                closed = jax.make_jaxpr(self.moving)(*self.point)
            except Exception:  # Python control flow on values: it runs, but it cannot be traced.
                return own
        shorter = narrowings(closed.jaxpr, 64 if own == 52 else 32)
        return min([own, *(digits(dtype) for _, dtype in shorter)])


def compiled(function: Callable[..., list]) -> Callable[..., list]:
    """Returns a function compiled, or as it is if it cannot be: if it asks for values in Python."""
    ways = [jax.jit(function), function]

    def run(*args: Any) -> list:
        try:
            return ways[0](*args)
        except Exception:
            if len(ways) == 1:
                raise
            del ways[0]
            return ways[0](*args)  # What is wrong with the function itself is raised again.

    return run


def digits(dtype: Any) -> int:
    """Returns the binary digits after the leading one."""
    return int(jnp.finfo(dtype).nmant)


def check_types(
    found: list, expected: list, paths: tuple[str, ...], what: str, dtypes: bool = True
) -> None:
    """Raises `Mismatch` unless arrays have the shapes and dtypes of others."""
    for got, like, path in zip(found, expected, paths, strict=True):
        same = np.shape(got) == np.shape(like)
        if same and (not dtypes or got.dtype == like.dtype):
            continue
        types = [jax.typeof(z).str_short() for z in (like, got)]
        raise Mismatch(f"{path}: the {what} must be {types[0]}; got {types[1]}")


def finest(
    narrow: Side, note: Callable[[str], None], try_out: Callable[[Side], Any]
) -> tuple[Side, int]:
    """Returns the side that slopes are measured on, and the digits it has: float64, if that works.

    Next to that comes float32, where the user's dtype is shorter.

    Args:
      narrow: the function in the user's precision.
      note: told why float64 does not serve, if it does not.
      try_out: asks a side for all that is wanted of it.
    """
    own, y = narrow.digits(), narrow.y
    if all(leaf.dtype in (np.float64, np.complex128) for leaf in narrow.point):
        if own < 52:
            note("the function rounds to less than float64 on its way")
        return narrow, own
    shortest = min(digits(leaf.dtype) for leaf in narrow.point)
    lengths = {bits(leaf.dtype) for leaf in narrow.point}
    for dtype in ("float64", "float32") if lengths == {16} else ("float64",):
        side = narrow.widened(dtype)
        try:
            same = same_function(y, side.y, shortest)
            try_out(side)
        except Exception as error:  # Anything the user's function, or its derivative, raises.
            reason = (str(error).splitlines() or [""])[0][:80]
            note(f"not judged in {dtype}: it fails there: {reason}")
            continue
        if same:
            return side, side.digits()
        note(f"not judged in {dtype}: the function's value is another one there")
    return narrow, own


def same_function(narrow: Vector, wide: Vector, digits: int) -> bool:
    """Returns whether two precisions of a function agree to half the digits, taken together."""
    both = np.isfinite(narrow) & np.isfinite(wide)
    apart = np.linalg.norm(narrow[both] - wide[both])
    return bool(apart <= 4 * 2.0 ** (-digits / 2) * np.linalg.norm(wide[both]))
