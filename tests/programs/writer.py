"""Who writes a program: draws choices, knows what is in scope, and finds operands of a kind."""

import functools
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import jax
import jax.numpy as jnp
import jax.scipy as jsp
import numpy as np
from jax import lax
from jax.ad_checkpoint import checkpoint_name

from tests.programs.program import Function, Value

LARGEST = 40  # elements of a value
INTEGERS = ("int32", "int64")
REALS = ("float64", "float32", "bfloat16")
NAMES = {
    "jax": jax,
    "jnp": jnp,
    "jsp": jsp,
    "lax": lax,
    "np": np,
    "checkpoint_name": checkpoint_name,
}
WIDE = (-9.0, 9.0)


@functools.cache
def type_of(template: str, operands: tuple[tuple[tuple[int, ...], str], ...]) -> tuple:
    """Returns shape and dtype of each of an expression's results, and whether it is a tuple."""
    names = [f"v{i}" for i in range(len(operands))]
    function = eval(f"lambda {', '.join(names)}: {template.format(*names)}", dict(NAMES))
    avals = [jax.ShapeDtypeStruct(*operand) for operand in operands]
    found = jax.eval_shape(function, *avals)
    types = [(tuple(leaf.shape), str(leaf.dtype)) for leaf in jax.tree.leaves(found)]
    return types, isinstance(found, tuple | list)


class Writer:
    """Writes the statements of one function.

    Args:
      random: what the program is drawn from.
      scope: values in sight.
      root: the writer of the whole program, or None: this is it.
      depth: how many functions this one is within.
    """

    def __init__(
        self,
        random: Random,
        scope: Sequence[Value] = (),
        root: "Writer | None" = None,
        depth: int = 0,
    ) -> None:
        self.random = random
        self.scope = list(scope)
        self.root = root or self
        self.depth = depth
        self.statements: list[str | Function] = []
        self.fresh: list[Value] = []
        if root is None:
            self.count = 0
            self.constants: list[tuple[str, str]] = []

    # -- draws ----------------------------------------------------------------------------------

    def integer(self, low: int, high: int) -> int:
        """Returns one of low, ..., high."""
        return self.random.randint(low, high)

    def choose(self, options: Sequence) -> Any:
        """Returns one of the options."""
        return options[self.integer(0, len(options) - 1)]

    def chance(self, percent: int) -> bool:
        """Returns True so often."""
        return self.integer(0, 99) >= 100 - percent

    def number(self, low: float, high: float) -> float:
        """Returns a number of two digits between the bounds."""
        return round(low + (high - low) * self.integer(0, 37) / 37, 2)

    def shape(self, low: int = 0, high: int = 3) -> tuple[int, ...]:
        """Returns a shape with so many axes."""
        ndim = min(high, max(low, self.choose((0, 1, 1, 2, 2, 3))))
        return tuple(self.choose((2, 3, 3, 4, 1) if ndim < 3 else (2, 2, 3)) for _ in range(ndim))

    # -- names ----------------------------------------------------------------------------------

    def name(self, letter: str) -> str:
        """Returns a name not used before."""
        self.root.count += 1
        return f"{letter}{self.root.count}"

    def child(self, scope: Sequence[Value]) -> "Writer":
        """Returns a writer of a function within this one."""
        return Writer(self.random, scope, self.root, self.depth + 1)

    def constant(self, expression: str, value: Value) -> Value:
        """Returns an array that the program captures."""
        name = self.name("k")
        self.root.constants.append((name, expression))
        return value._replace(name=name)

    def noise(
        self, shape: tuple[int, ...], low: float, high: float, dtype: str = "float64"
    ) -> Value:
        """Returns a captured array of random numbers."""
        text = f"np.random.default_rng({self.integer(0, 99)}).uniform({low}, {high}, {shape})"
        return self.constant(f"jnp.asarray({text}, {dtype!r})", Value("", shape, dtype, low, high))

    def add(self, template: str, operands: Sequence[Value], image: tuple[float, float]) -> None:
        """Adds a statement for an expression of values; what it gives comes into scope."""
        types, several = type_of(template, tuple((v.shape, v.dtype) for v in operands))
        text = template.format(*(v.name for v in operands))
        names = [self.name("v") for _ in types]
        self.statements.append(f"{', '.join(names)}{',' if several else ''} = {text}")
        for name, (shape, dtype) in zip(names, types, strict=True):
            self.know(Value(name, shape, dtype, *image))

    def know(self, value: Value) -> None:
        """Brings a value into scope."""
        if value.size <= LARGEST and value.size > 0:
            self.scope.append(value)
            self.fresh.append(value)

    # -- operands -------------------------------------------------------------------------------

    def pick(self, fits: Callable[[Value], bool]) -> Value | None:
        """Returns a value in scope, of the newest rather than the oldest; None if none fits."""
        found = [v for v in self.scope if fits(v)]
        if not found:
            return None
        if self.chance(60):
            found = found[-3:]
        return found[-1 - self.integer(0, len(found) - 1)]

    def real(
        self,
        domain: tuple[float, float] = WIDE,
        low: int = 0,
        high: int = 3,
        shape: tuple[int, ...] | None = None,
        dtypes: Sequence[str] = REALS,
    ) -> Value:
        """Returns a real operand within bounds, with so many axes or of this very shape."""
        value = self.pick(
            lambda v: (
                v.dtype in dtypes and (low <= v.ndim <= high if shape is None else v.shape == shape)
            )
        )
        if value is None or (shape is not None and self.chance(15)):
            target = self.shape(low, high) if shape is None else shape
            source = self.pick(lambda v: v.dtype in dtypes)
            value = (
                self.noise(target, -1.0, 1.0) if source is None else self.reshaped(source, target)
            )
        return self.within(value, domain)

    def reshaped(self, value: Value, shape: tuple[int, ...]) -> Value:
        """Returns a value in another shape, no two elements alike."""
        if value.shape == shape:
            return value
        name, factor = value.name, self.noise(shape, 0.5, 1.5, value.dtype)
        if not value.ndim:
            text = f"({name} * {factor.name})"
        elif not shape:
            text = f"jnp.{self.choose(('sum', 'mean', 'max'))}({name})"
        else:
            text = f"(jnp.resize({name}, {shape}) * {factor.name})"
        bound = round(max(1.5, value.size if not shape else 1.5) * value.bound, 3)
        return Value(text, shape, value.dtype, -bound, bound)

    def within(self, value: Value, domain: tuple[float, float]) -> Value:
        """Returns the value, if need be squeezed between the bounds."""
        low, high = domain
        if low <= value.low and value.high <= high:
            return value
        middle, reach = round((low + high) / 2, 3), 0.98 * (high - low) / 2
        how = self.choose(("sin", "tanh", "scale"))
        if how == "scale" or value.dtype == "complex128":
            factor = float(f"{min(1.0, reach / max(value.bound, 1e-3)):.2g}") * 0.98
            text = f"{float(f'{factor:.3g}')} * {value.name}"
        else:
            text = f"{float(f'{reach:.3g}')} * jnp.{how}({value.name})"
        text = f"({middle} + {text})" if middle else f"({text})"
        return Value(text, value.shape, value.dtype, low, high)

    def complex(self, bound: float = 3.0, low: int = 0) -> Value:
        """Returns a complex operand of at most this modulus."""
        value = self.pick(lambda v: v.dtype == "complex128" and v.ndim >= low)
        if value is None:
            x = self.real((-1.0, 1.0), low, dtypes=("float64",))
            y = self.real((-1.0, 1.0), shape=x.shape, dtypes=("float64",))
            value = Value(f"lax.complex({x.name}, {y.name})", x.shape, "complex128", -1.5, 1.5)
        return self.within(value, (-bound, bound))

    def index(self, count: int) -> Value:
        """Returns an integer scalar from 0 up to `count`: written, or computed."""
        value = self.pick(lambda v: v.dtype in INTEGERS and v.shape == ())
        if value is None or self.chance(30):
            return Value(str(self.integer(0, count - 1)), (), "int64", 0, count - 1)
        return value._replace(name=f"({value.name} % {count})", low=0, high=count - 1)

    def indices(self, count: int, low: int = 0, unique: bool = False) -> Value:
        """Returns a vector of integers from `low` up to `count`: written, or computed."""
        value = self.pick(lambda v: v.dtype in INTEGERS and v.ndim == 1)
        if value is None or unique or self.chance(50):
            length = self.integer(1, min(3, count - low))
            chosen = [self.integer(low, count - 1) for _ in range(length)]
            if unique:
                start = self.integer(0, count - 1)
                chosen = [low + (start + i) % (count - low) for i in range(length)]
            return Value(f"np.array({chosen})", (length,), "int64", low, count - 1)
        name = f"({value.name} % {count - low}{f' - {-low}' if low else ''})"
        return value._replace(name=name, low=low, high=count - 1)
