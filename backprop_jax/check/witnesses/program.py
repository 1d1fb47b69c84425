"""A function as a straight line of steps, to be taken again in another system.

The function runs once in JAX. What does not depend on the differentiated operands is a constant of
the program; so is every number without a slope, a comparison, an index, the number of trips of a
loop. Loops and branches are thereby unrolled as they ran. Of what is left, every primitive that
only moves elements becomes the same step: its operands in a row, and the place from which each
element of the result is taken, which the primitive itself tells when it moves numbers.

So another system needs `move`, `einsum`, `add_at`, `cast` and a table of functions; see `replay`.
"""

import math
import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import Literal, jaxpr_as_fun

from backprop_jax.check.precision import is_inexact
from backprop_jax.check.witnesses.witness import DoesNotApply, Question
from backprop_jax.engine.jaxprs import held
from backprop_jax.engine.tape import written_at
from backprop_jax.rules.loops import arities

MOST_STEPS = 20_000
"""A longer program is not replayed: it would take minutes."""

CALLS = {
    "jit", "pjit", "closed_call", "core_call", "remat", "checkpoint", "custom_jvp_call",
    "custom_vjp_call", "custom_vjp_call_jaxpr", "composite",
}  # fmt: skip
"""What runs a body in its place."""

MOVES = {
    "reshape", "transpose", "broadcast_in_dim", "squeeze", "expand_dims", "slice", "dynamic_slice",
    "dynamic_update_slice", "gather", "concatenate", "pad", "rev", "select_n", "copy", "copy_p",
    "split", "scatter", "optimization_barrier", "reduce_precision", "tile", "device_put",
}  # fmt: skip
"""What puts elements elsewhere, or leaves them out, and does not change them."""

FLAT = {"floor", "ceil", "round", "sign", "stop_gradient", "nextafter"}
"""What has no slope, or is told to have none."""

SETTINGS = {
    "integer_pow": ("y",),
    **dict.fromkeys(("reduce_sum", "reduce_prod", "reduce_max", "reduce_min"), ("axes",)),
    **dict.fromkeys(("cumprod", "cummax", "cummin", "cumlogsumexp"), ("axis", "reverse")),
}
"""The parameters that matter; of all other primitives, none does."""


class Value(NamedTuple):
    """A number of the run: what it is, and the step that gives it; None for a constant."""

    known: Any
    number: int | None = None


@dataclass(frozen=True)
class Step:
    """One step of a program.

    Attributes:
      name: of a primitive, or `move`, `einsum`, `add_at`, `cast`.
      operands: numbers of earlier values; an array where the operand is a constant.
      settings: what else it needs to know.
      shape: of the result.
      dtype: of the result.
      line: where the user wrote it.
    """

    name: str
    operands: tuple[int | np.ndarray, ...]
    settings: dict[str, Any]
    shape: tuple[int, ...]
    dtype: np.dtype
    line: str


@dataclass(frozen=True)
class Program:
    """Inputs are the values 0, 1, ...; each step gives the next.

    Attributes:
      inputs: what is differentiated, as it was.
      steps: in order.
      result: the value of the function, or the number of it.
    """

    inputs: tuple[np.ndarray, ...]
    steps: tuple[Step, ...]
    result: int | np.ndarray


def straight(question: Question) -> Program:
    """Returns the function of a question as a program.

    Raises:
      DoesNotApply: it cannot be traced, or is too long.
    """
    leaves = question.leaves
    active = [path for path, leaf in leaves.items() if is_inexact(leaf)]
    inputs = [jnp.asarray(leaves[path]) for path in active]

    def value(*given: Any) -> Any:
        return question.value({**leaves, **dict(zip(active, given, strict=True))})

    try:
        closed = jax.make_jaxpr(value)(*inputs)
    except jax.errors.ConcretizationTypeError as error:
        raise DoesNotApply("the function cannot be traced: it asks for values") from error
    recorder = Recorder(len(inputs))
    (result,) = recorder.run(closed, [Value(x, i) for i, x in enumerate(inputs)])
    last = np.asarray(result.known) if result.number is None else result.number
    return Program(tuple(map(np.asarray, inputs)), tuple(recorder.steps), last)


class Recorder:
    """Runs equations in JAX and takes down those that matter."""

    def __init__(self, inputs: int) -> None:
        self.inputs = inputs
        self.steps: list[Step] = []

    def run(self, closed: Any, operands: Sequence[Value]) -> list[Value]:
        """Returns the results of a closed jaxpr."""
        jaxpr = getattr(closed, "jaxpr", closed)
        environment = dict(
            zip(jaxpr.constvars, map(Value, getattr(closed, "consts", ())), strict=True)
        )
        environment.update(zip(jaxpr.invars, operands, strict=True))

        def read(atom: Any) -> Value:
            return Value(atom.val) if isinstance(atom, Literal) else environment[atom]

        for equation in jaxpr.eqns:
            results = self.equation(equation, [read(atom) for atom in equation.invars])
            environment.update(zip(equation.outvars, results, strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    def equation(self, equation: Any, operands: list[Value]) -> list[Value]:
        """Returns the results of one equation."""
        name, params = equation.primitive.name, equation.params
        if name in CALLS:
            return self.run(held(params)[0], operands)
        if name == "cond":
            return self.run(params["branches"][int(operands[0].known)], operands[1:])
        if name == "while":
            return self.while_loop(params, operands)
        if name == "scan":
            return self.scan(params, operands)
        if all(operand.number is None for operand in operands):
            return self.constants(equation, operands)
        if name in FLAT or not any(is_inexact(v.aval) for v in equation.outvars):
            return self.constants(equation, operands)
        line = written_at(equation.source_info)
        if name in MOVES:
            return self.move(bound(equation), operands, line)
        if name == "sort":
            return self.sort(params, operands, line)
        (known,) = (value.known for value in self.constants(equation, operands))
        if name in PATTERNS:
            return [PATTERNS[name](self, operands, params, known, line)]
        settings = {key: params[key] for key in SETTINGS.get(name, ())}
        return [self.add(name, operands, settings, known, line)]

    def constants(self, equation: Any, operands: Sequence[Value]) -> list[Value]:
        """Returns what JAX computes."""
        results = bound(equation)(*(operand.known for operand in operands))
        return list(map(Value, results))

    def add(
        self, name: str, operands: Sequence[Value], settings: dict[str, Any], known: Any, line: str
    ) -> Value:
        """Adds a step; returns its result."""
        if len(self.steps) >= MOST_STEPS:
            raise DoesNotApply(f"the function has more than {MOST_STEPS} steps")
        given = tuple(np.asarray(x.known) if x.number is None else x.number for x in operands)
        self.steps.append(Step(name, given, settings, known.shape, known.dtype, line))
        return Value(known, self.inputs + len(self.steps) - 1)

    def move(
        self, function: Callable[..., Sequence[Any]], operands: Sequence[Value], line: str
    ) -> list[Value]:
        """Returns the results of a function that only moves the inexact ones of its operands."""
        pool = [operand for operand in operands if is_inexact(operand.known)]
        starts = np.cumsum([0, *(np.size(operand.known) for operand in pool)])
        numbers = iter(
            jnp.arange(start, stop, dtype=np.int32).reshape(np.shape(operand.known))
            for start, stop, operand in zip(starts, starts[1:], pool, strict=False)
        )
        numbered = [next(numbers) if is_inexact(x.known) else x.known for x in operands]
        knowns = function(*(operand.known for operand in operands))
        results = []
        for known, places in zip(knowns, function(*numbered), strict=True):
            results.append(Value(known))
            if is_inexact(known):
                results[-1] = self.moved(pool, starts, np.asarray(places), known, line)
        return results

    def moved(
        self, pool: list[Value], starts: np.ndarray, places: np.ndarray, known: Any, line: str
    ) -> Value:
        """Returns what is taken from the places of those of the pool that any of them is in."""
        if (places < 0).any():
            raise DoesNotApply("an index is out of bounds" + f", at {line}" * bool(line))
        owner = np.searchsorted(starts, places, side="right") - 1
        used = np.unique(owner)
        if all(pool[i].number is None for i in used):
            return Value(known)
        sizes = [np.size(pool[i].known) for i in used]
        shift = np.zeros(len(pool), np.int64)
        shift[used] = np.cumsum([0, *sizes[:-1]]) - starts[used]
        settings = {"places": places + shift[owner]}
        return self.add("move", [pool[i] for i in used], settings, known, line)

    def einsum(self, subscripts: str, operands: Sequence[Value], known: Any, line: str) -> Value:
        """Adds a contraction of two operands; `length` is the number of terms of its sums."""
        left, right = subscripts.split("->")[0].split(",")
        shapes = (np.shape(operand.known) for operand in operands)
        sizes = {
            c: n
            for w, shape in zip((left, right), shapes, strict=True)
            for c, n in zip(w, shape, strict=True)
        }
        summed = set(sizes) - set(subscripts.split("->")[1])
        settings = {"subscripts": subscripts, "length": math.prod(sizes[c] for c in summed)}
        return self.add("einsum", operands, settings, known, line)

    def sort(self, params: dict[str, Any], operands: list[Value], line: str) -> list[Value]:
        """Sorts by what is known, and moves everything as that is moved."""
        axis, keys = params["dimension"], params["num_keys"]
        knowns = [jnp.asarray(operand.known) for operand in operands]
        places = lax.broadcasted_iota(np.int32, knowns[0].shape, axis)
        *_, order = lax.sort([*knowns, places], dimension=axis, num_keys=keys, is_stable=True)
        moved = [self.move(lambda x: [along(x, order, axis)], [x], line) for x in operands]
        return [value for (value,) in moved]

    def while_loop(self, params: dict[str, Any], operands: list[Value]) -> list[Value]:
        """Goes round as often as the loop does."""
        cut = params["cond_nconsts"], params["cond_nconsts"] + params["body_nconsts"]
        head, consts, carry = operands[: cut[0]], operands[cut[0] : cut[1]], operands[cut[1] :]
        asks = params["cond_jaxpr"]
        while jaxpr_as_fun(asks)(*(value.known for value in (*head, *carry)))[0]:
            carry = self.run(params["body_jaxpr"], [*consts, *carry])
        return carry

    def scan(self, params: dict[str, Any], operands: list[Value]) -> list[Value]:
        """Runs the body once for each slice."""
        first, count = arities(params)
        consts, carry, xs = (
            operands[:first],
            operands[first : first + count],
            operands[first + count :],
        )
        length = params["length"]
        stacked: list[list[Value]] = []
        for i in reversed(range(length)) if params["reverse"] else range(length):
            slices = [self.pick(x, i) for x in xs]
            (*results,) = self.run(params["jaxpr"], [*consts, *carry, *slices])
            carry = results[:count]
            stacked.append(results[count:])
        if params["reverse"]:
            stacked.reverse()
        return [*carry, *(self.stack(list(ys)) for ys in zip(*stacked, strict=True))]

    def pick(self, x: Value, i: int) -> Value:
        """Returns a slice of the first axis."""
        if x.number is None:
            return Value(x.known[i])
        return self.move(lambda x: [x[i]], [x], "")[0]

    def stack(self, values: list[Value]) -> Value:
        """Returns values along a new first axis."""
        if all(value.number is None for value in values):
            return Value(jnp.stack([value.known for value in values]))
        return self.move(lambda *x: [jnp.stack(x)], values, "")[0]


def bound(equation: Any) -> Callable[..., Sequence[Any]]:
    """Returns the equation as a function of its operands that returns a list."""
    primitive, params = equation.primitive, equation.params

    def run(*operands: Any) -> Sequence[Any]:
        results = primitive.bind(*operands, **primitive.get_bind_params(params))
        return results if primitive.multiple_results else [results]

    return run


def along(x: Any, order: Any, axis: int) -> Any:
    """Returns x in another order along an axis."""
    return jnp.take_along_axis(x, order, axis)


# -- primitives that are one of the other steps ---------------------------------------------------


def dot_general(
    recorder: Recorder, operands: list[Value], params: dict[str, Any], known: Any, line: str
) -> Value:
    """A contraction, as an einsum."""
    (left, right), (left_batch, right_batch) = params["dimension_numbers"]
    letters = iter(string.ascii_letters)
    x = [next(letters) for _ in np.shape(operands[0].known)]
    y = [next(letters) for _ in np.shape(operands[1].known)]
    for i, j in zip((*left, *left_batch), (*right, *right_batch), strict=True):
        y[j] = x[i]
    free = [c for i, c in enumerate(x) if i not in (*left, *left_batch)]
    free += [c for j, c in enumerate(y) if j not in (*right, *right_batch)]
    result = [x[i] for i in left_batch] + free
    subscripts = f"{''.join(x)},{''.join(y)}->{''.join(result)}"
    return recorder.einsum(subscripts, operands, known, line)


def cumsum(
    recorder: Recorder, operands: list[Value], params: dict[str, Any], known: Any, line: str
) -> Value:
    """Running sums, as a product with a triangle of ones."""
    axis, size = params["axis"], known.shape[params["axis"]]
    triangle = np.tril(np.ones((size, size)))
    triangle = Value((triangle.T if params["reverse"] else triangle).astype(known.dtype))
    letters = string.ascii_lowercase[: known.ndim]
    summed = letters.replace(letters[axis], "Z")
    subscripts = f"{summed},{letters[axis]}Z->{letters}"
    return recorder.einsum(subscripts, [*operands, triangle], known, line)


def scatter_add(
    recorder: Recorder, operands: list[Value], params: dict[str, Any], known: Any, line: str
) -> Value:
    """A sum at the places where the transposed primitive fetches from; 0 is nowhere."""
    array, indices, updates = operands
    options = ("dimension_numbers", "indices_are_sorted", "unique_indices", "mode")
    chosen = {key: params[key] for key in options}
    with jax.enable_x64(True):
        zeros = jnp.zeros(np.shape(array.known))

        def added(u: Any) -> Any:
            return lax.scatter_add(zeros, indices.known, u, **chosen)

        fetch = jax.linear_transpose(added, jnp.zeros(np.shape(updates.known)))
        (places,) = fetch(jnp.arange(1.0, zeros.size + 1).reshape(zeros.shape))
    settings = {"places": np.asarray(places).astype(np.int64)}
    return recorder.add("add_at", [array, updates], settings, known, line)


def cast(
    recorder: Recorder, operands: list[Value], params: dict[str, Any], known: Any, line: str
) -> Value:
    """Another dtype."""
    return recorder.add("cast", operands, {}, known, line)


PATTERNS = {
    "dot_general": dot_general,
    "cumsum": cumsum,
    "scatter-add": scatter_add,
    "convert_element_type": cast,
}
