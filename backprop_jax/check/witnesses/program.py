"""A function as a straight line of steps, to be taken again in another system.

The function runs once in JAX. What does not depend on the differentiated operands is a constant of
the program; so is every number without a slope, a comparison, an index, the number of trips of a
loop. Loops and branches are thereby unrolled as they ran. Of what is left, every primitive that
only moves elements becomes the same step: its operands in a row, and the place from which each
element of the result is taken, which the primitive itself tells when it moves numbers.

So another system needs `move`, `einsum`, `add_at`, `cast` and a table of functions; see `replay`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import Literal, jaxpr_as_fun

from backprop_jax.check.precision import is_inexact
from backprop_jax.check.witnesses.patterns import PATTERNS
from backprop_jax.check.witnesses.steps import Recording, Step, Value
from backprop_jax.check.witnesses.witness import DoesNotApply, Question
from backprop_jax.dependence import arities
from backprop_jax.engine.jaxprs import held
from backprop_jax.engine.tape import written_at

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

FLAT = {"floor", "ceil", "round", "sign", "stop_gradient"}
"""What has no slope, or is told to have none."""

SETTINGS = {
    "integer_pow": ("y",),
    **dict.fromkeys(("reduce_sum", "reduce_prod", "reduce_max", "reduce_min"), ("axes",)),
    **dict.fromkeys(("cumprod", "cummax", "cummin", "cumlogsumexp"), ("axis", "reverse")),
    "triangular_solve": ("left_side", "lower", "transpose_a", "conjugate_a", "unit_diagonal"),
    "fft": ("fft_type", "fft_lengths"),
    "eigh": ("lower",),
    **dict.fromkeys(("svd", "qr"), ("full_matrices",)),
}
"""The parameters that matter; of all other primitives, none does."""


ROUNDS = 3
"""With a solver that is good to 16 digits, 48 digits."""


@dataclass(frozen=True)
class Program:
    """Inputs are the values 0, 1, ...; each step gives the next.

    Attributes:
      inputs: what is differentiated, as it was.
      steps: in order.
      result: the value of the function, or the number of it.
      custom: where functions with derivatives of their own are called; their bodies are here.
    """

    inputs: tuple[np.ndarray, ...]
    steps: tuple[Step, ...]
    result: int | np.ndarray
    custom: tuple[str, ...] = ()

    @property
    def doubts(self) -> tuple[str, ...]:
        """What may be the reason if a derivative of the steps is another one."""
        places = list(dict.fromkeys(filter(None, self.custom)))
        if not self.custom:
            return ()
        more = f" and {len(places) - 2} more" * (len(places) > 2)
        where = f" ({', '.join(places[:2])}{more})" * bool(places)
        return (f"it differentiates the body of what has a rule of its own{where}, not that rule",)


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
    recording = Recording(len(inputs))
    (result,) = Recorder(recording).run(closed, [Value(x, i) for i, x in enumerate(inputs)])
    last = np.asarray(result.known) if result.number is None else result.number
    return Program(
        tuple(map(np.asarray, inputs)), tuple(recording.steps), last, tuple(recording.custom)
    )


class Recorder:
    """Runs equations in JAX and takes down those that matter."""

    def __init__(self, recording: Recording) -> None:
        self.recording = recording

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
            if name.startswith("custom"):
                self.recording.custom.append(written_at(equation.source_info))
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
            return self.recording.move(bound(equation), operands, line)
        if name == "top_k":
            _, indices = self.constants(equation, operands)
            chosen = (indices.known, params.get("axis", -1))
            return [*self.recording.move(lambda x: [along(x, *chosen)], operands, line), indices]
        if name == "sort":
            return self.sort(params, operands, line)
        if name == "custom_linear_solve":
            return self.linear_solve(equation, operands, line)
        results = self.constants(equation, operands)
        settings = {key: params[key] for key in SETTINGS.get(name, ())}
        if equation.primitive.multiple_results:
            return self.each_result(name, operands, settings, results, line)
        known = results[0].known
        if name in PATTERNS:
            return [PATTERNS[name](self.recording, operands, params, known, line)]
        return [self.recording.add(name, operands, settings, known, line)]

    def each_result(
        self, name: str, operands: list[Value], settings: dict, results: list[Value], line: str
    ) -> list[Value]:
        """Returns several results, one step for each; `like` are all, as JAX has them.

        They tell which way vectors point, where these may be turned.
        """
        like = tuple(np.asarray(value.known) for value in results)
        return [
            self.recording.add(
                name, operands, {**settings, "result": k, "like": like}, value.known, line
            )
            if is_inexact(value.known)
            else value
            for k, value in enumerate(results)
        ]

    def linear_solve(self, equation: Any, operands: list[Value], line: str) -> list[Value]:
        """Returns the solution x of A x = b, by a few rounds of x + S (b - A x).

        S is how the user solves it, in which A may be held fixed: a factorization is. The first x
        is held fixed, too; the rounds have the derivative of the solution all the same, and in many
        digits so many of it.
        """
        lengths, jaxprs = equation.params["const_lengths"], equation.params["jaxprs"]
        cuts = np.cumsum([0, lengths.matvec, lengths.vecmat, lengths.solve])
        matvec, solve = operands[: cuts[1]], operands[cuts[2] : cuts[3]]
        b = operands[sum(lengths) :]
        x = self.constants(equation, operands)

        def paired(name: str, xs: list[Value], ys: list[Value]) -> list[Value]:
            function = {"add": jnp.add, "sub": jnp.subtract}[name]
            return [
                self.recording.add(name, [x, y], {}, function(x.known, y.known), line)
                for x, y in zip(xs, ys, strict=True)
            ]

        for _ in range(ROUNDS):
            off = paired("sub", b, self.run(jaxprs.matvec, [*matvec, *x]))
            x = paired("add", x, self.run(jaxprs.solve, [*solve, *off]))
        return x

    def constants(self, equation: Any, operands: Sequence[Value]) -> list[Value]:
        """Returns what JAX computes."""
        results = bound(equation)(*(operand.known for operand in operands))
        return list(map(Value, results))

    def sort(self, params: dict[str, Any], operands: list[Value], line: str) -> list[Value]:
        """Sorts by what is known, and moves everything as that is moved."""
        axis, keys = params["dimension"], params["num_keys"]
        knowns = [jnp.asarray(operand.known) for operand in operands]
        places = lax.broadcasted_iota(np.int32, knowns[0].shape, axis)
        *_, order = lax.sort([*knowns, places], dimension=axis, num_keys=keys, is_stable=True)
        moved = [
            self.recording.move(lambda x: [along(x, order, axis)], [x], line) for x in operands
        ]
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
        return self.recording.move(lambda x: [x[i]], [x], "")[0]

    def stack(self, values: list[Value]) -> Value:
        """Returns values along a new first axis."""
        if all(value.number is None for value in values):
            return Value(jnp.stack([value.known for value in values]))
        return self.recording.move(lambda *x: [jnp.stack(x)], values, "")[0]


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
