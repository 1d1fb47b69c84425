"""What a program is: statements that can be shown as Python, and run as what is shown."""

import dataclasses
import linecache
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

HEADER = """\
import dataclasses
from typing import Any, NamedTuple

import jax, jax.numpy as jnp, numpy as np
import jax.scipy as jsp
from jax import lax
from jax.ad_checkpoint import checkpoint_name

class Pair(NamedTuple):
    a: Any
    b: Any

@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Box:
    inside: Any
"""


class Value(NamedTuple):
    """A value of a program: an expression, its type, and bounds (of the modulus, if complex)."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    low: float
    high: float

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return int(np.prod(self.shape, dtype=int))

    @property
    def bound(self) -> float:
        """The largest modulus."""
        return max(abs(self.low), abs(self.high))

    @property
    def aval(self) -> jax.ShapeDtypeStruct:
        """Shape and dtype."""
        return jax.ShapeDtypeStruct(self.shape, self.dtype)


@dataclasses.dataclass(frozen=True)
class Function:
    """A function defined within a program."""

    name: str
    parameters: str
    statements: tuple["str | Function", ...]
    result: str

    def lines(self) -> Iterator[str]:
        """Yields its source."""
        yield f"def {self.name}({self.parameters}):"
        for statement in self.statements:
            lines = [statement] if isinstance(statement, str) else statement.lines()
            yield from (f"    {line}" for line in lines)
        yield f"    return {self.result}"

    def in_double(self) -> "Function":
        """Returns the function with every float in double precision."""
        statements = tuple(
            widened(s) if isinstance(s, str) else s.in_double() for s in self.statements
        )
        return dataclasses.replace(self, statements=statements, result=widened(self.result))

    def shorter(self) -> Iterator["Function"]:
        """Yields the function with one statement left out, here or within."""
        for i, statement in reversed(list(enumerate(self.statements))):
            before, after = self.statements[:i], self.statements[i + 1 :]
            yield dataclasses.replace(self, statements=(*before, *after))
            if isinstance(statement, Function):
                for less in statement.shorter():
                    yield dataclasses.replace(self, statements=(*before, less, *after))


@dataclasses.dataclass(frozen=True)
class Program:
    """A function to differentiate, the arrays that it captures, and where.

    Attributes:
      constants: name and expression of each captured array.
      main: the function, called `program`.
      arguments: what it is called with: an expression, a tuple.
      checks: which of the checks are made of it.
      seed: of the cotangents.
    """

    constants: tuple[tuple[str, str], ...]
    main: Function
    arguments: str
    checks: frozenset[str]
    seed: int

    def source(self) -> str:
        """Returns the program as Python, to be read or copied into a test.

        `ad` is who differentiates within the program: `jax` or `backprop_jax`.
        """
        used = "\n".join([*self.main.lines(), self.arguments])
        constants = [f"{name} = {text}" for name, text in self.constants if name in used]
        lines = [*constants, "", *self.main.lines(), "", f"arguments = {self.arguments}"]
        return "\n".join([*lines, f"# {', '.join(sorted(self.checks))}; seed {self.seed}"])

    def load(self, ad: Any) -> tuple[Callable, tuple]:
        """Returns the function and its arguments."""
        source = self.source()
        name = f"<program {hash(source)}>"
        text = f"{HEADER}\n{source}\n"
        linecache.cache[name] = (len(text), None, text.splitlines(True), name)
        namespace: dict = {"ad": ad, "__name__": "generated"}
        exec(compile(text, name, "exec"), namespace)
        del linecache.cache[name]
        return namespace["program"], namespace["arguments"]

    def narrow(self) -> list[str]:
        """Returns the short dtypes that occur."""
        text = self.source()
        return [dtype for dtype in NARROW if dtype in text]

    def in_double(self) -> "Program":
        """Returns the same program with every float in double precision."""
        constants = tuple((name, widened(text)) for name, text in self.constants)
        arguments = widened(self.arguments)
        return dataclasses.replace(
            self, constants=constants, main=self.main.in_double(), arguments=arguments
        )

    def shorter(self) -> Iterator["Program"]:
        """Yields the program with one statement left out."""
        for main in self.main.shorter():
            yield dataclasses.replace(self, main=main)


NARROW = ("float32", "bfloat16")


def widened(text: str) -> str:
    """Returns a text in which every dtype is double."""
    for dtype in NARROW:
        text = text.replace(dtype, "float64")
    return text
