"""What is required of a program: our derivatives are JAX's, and where they differ, the slope's."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import backprop_jax as bp
from backprop_jax.check.numerical.slopes import noise_of, slopes
from backprop_jax.errors import MissingRule
from tests.programs.program import Program

# Compiled programs are run once: what the compiler spends on making them fast is lost.
OPTIONS = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}

#: Relative differences allowed before the slope is asked: of a leaf's largest element, of all.
TOLERANCES = {"float64": (1e-7, 1e-10), "float32": (2e-3, 2e-4), "bfloat16": (0.1, 0.05)}

AGREES = "agrees"
NO_JAX = "no derivative in JAX"
BETTER = "JAX is wrong"
ROUNDING = "differs by rounding"
KINK = "at a kink"
WRONG = "wrong"
MISSING = "missing"
INTERNAL = "internal error"
INVALID = "does not run"
#: What JAX says where it has no derivative, of one of its rules or of a primitive of one of ours.
HAS_NONE = (
    "Differentiation rule for",
    "Reverse-mode differentiation does not work",
    "gradients are only implemented if",
)
#: What JAX says to a user's rule that asks it, of a step that has a derivative with us alone.
ASKED_BY_A_RULE = "scatter_apply JVP not implemented"
FAILURES = (WRONG, MISSING, INTERNAL, INVALID)


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What became of one check of a program."""

    check: str
    kind: str
    text: str = ""


def is_float(leaf: Any) -> bool:
    """Returns whether a leaf of arguments or results can have a gradient."""
    return jax.dtypes.issubdtype(jax.typeof(leaf).dtype, np.inexact)


class Task:
    """One program at hand: its function, the leaves of its arguments, random cotangents."""

    def __init__(self, program: Program, ad: Any) -> None:
        self.program, self.ad = program, ad
        self.function, arguments = program.load(ad)
        self.leaves, self.tree = jax.tree.flatten(arguments)
        self.floats = [i for i, x in enumerate(self.leaves) if is_float(x)]

    def random(self, avals: Sequence, purpose: int) -> list:
        """Returns random arrays of these types, of the largest float's precision."""
        rng = np.random.default_rng([self.program.seed, purpose])
        drawn = []
        for aval in avals:
            values = rng.uniform(0.3, 1.0, aval.shape) * rng.choice([-1, 1], aval.shape)
            if jnp.issubdtype(aval.dtype, jnp.complexfloating):
                values = values + 1j * rng.uniform(-1.0, 1.0, aval.shape)
            drawn.append(jnp.asarray(values).astype(aval.dtype))
        return drawn

    def cotangents(self, result: Any) -> Any:
        """Returns a random cotangent of a result."""
        outs, tree = jax.tree.flatten(result)
        zero = jax.dtypes.float0
        drawn = iter(self.random([z for z in outs if is_float(z)], 0))
        leaves = [next(drawn) if is_float(z) else np.zeros(z.shape, zero) for z in outs]
        return jax.tree.unflatten(tree, leaves)

    def with_floats(self, floats: Sequence, leaves: Sequence) -> tuple:
        """Returns the arguments with these leaves in the places of those that are floats."""
        filled = list(leaves)
        for i, value in zip(self.floats, floats, strict=True):
            filled[i] = value
        return jax.tree.unflatten(self.tree, filled)

    def loss(self, floats: Sequence, leaves: Sequence) -> Any:
        """Returns the results contracted with the cotangents: a real scalar."""
        result = self.function(*self.with_floats(floats, leaves))
        return paired(jax.tree.leaves(self.cotangents(result)), jax.tree.leaves(result))

    # -- what is computed: functions of the leaves -----------------------------------------------

    def first(self, *leaves: Any) -> list:
        """Returns the cotangents of the arguments, those of integers too."""
        arguments = jax.tree.unflatten(self.tree, leaves)
        result, pullback = self.ad.vjp(self.function, *arguments)
        return jax.tree.leaves(pullback(self.cotangents(result)))

    def contraction(self, floats: Sequence, leaves: Sequence, inner: Any = None) -> Any:
        """Returns the gradient of the loss, contracted with random numbers."""
        gradients = (inner or self.ad).grad(self.loss)(list(floats), leaves)
        return paired(self.random(gradients, 1), gradients)

    def second(self, *leaves: Any, inner: Any = None) -> list:
        """Returns the gradient of the contraction."""
        floats = [leaves[i] for i in self.floats]
        return self.ad.grad(lambda fs: self.contraction(fs, leaves, inner))(floats)

    def hvp(self, *leaves: Any) -> list:
        """Returns the same by `bp.hvp`: the Hessian is symmetric."""
        floats = [leaves[i] for i in self.floats]
        return bp.hvp(lambda fs: self.loss(fs, leaves), (floats,), (self.random(floats, 1),))

    def batched(self, *leaves: Any) -> list:
        """Returns the gradients of the loss of two of each argument, mapped."""

        def gradient(*leaves: Any) -> Any:
            return self.ad.grad(self.loss)([leaves[i] for i in self.floats], leaves)

        pairs = [jnp.stack([x, x * x.dtype.type(0.9) if is_float(x) else x]) for x in leaves]
        return jax.vmap(gradient)(*pairs)

    def one_by_one(self, *leaves: Any) -> list:
        """Returns what `batched` does, without a map."""
        rows = []
        for factor in (1.0, 0.9):
            moved = [x * x.dtype.type(factor) if is_float(x) else x for x in leaves]
            rows.append(self.ad.grad(self.loss)([moved[i] for i in self.floats], moved))
        return [jnp.stack(pair) for pair in zip(*rows, strict=True)]


def widened(leaf: Any) -> Any:
    """Returns a leaf in double precision."""
    if not is_float(leaf):
        return leaf
    return leaf.astype("complex128" if jnp.iscomplexobj(leaf) else "float64")


def paired(gs: Sequence, zs: Sequence) -> Any:
    """Returns the sum of Re(g z), in double precision."""
    terms = [
        jnp.sum(jnp.real(widened(g) * widened(z)))
        for g, z in zip(gs, zs, strict=True)
        if is_float(z)
    ]
    return sum(terms[1:], terms[0])


class Run:
    """A function of the leaves, and once it has run the types of its results."""

    def __init__(self, function: Callable) -> None:
        self.function = function
        self.types: list[str] = []

    def __call__(self, *leaves: Any) -> list:
        """Returns the results that are not float0."""
        results = self.function(*leaves)
        self.types = [jax.typeof(r).str_short() for r in results]
        return [r for r in results if jax.typeof(r).dtype != jax.dtypes.float0]


def compute(runs: Sequence[Run], leaves: Sequence) -> dict[Run, Any]:
    """Returns the results of all runs, compiled as one program; an exception for what raises."""
    errors: dict[Run, Exception] = {}

    def together(*leaves: Any) -> list:
        results = []
        for run in runs:
            try:
                results.append(run(*leaves))
            except Exception as error:
                errors[run] = error
                results.append([])
        return results

    try:
        results = jax.jit(together, compiler_options=OPTIONS)(*leaves)
    except Exception as error:  # while compiling
        if len(runs) == 1:
            return {runs[0]: error}
        return {run: compute([run], leaves)[run] for run in runs}
    return dict(zip(runs, results, strict=True)) | errors


def judge(program: Program) -> list[Verdict]:
    """Returns a verdict on each of the checks of a program."""
    try:
        ours, theirs = Task(program, bp), Task(program, jax)
    except Exception as error:
        return [Verdict("first", INVALID, f"{type(error).__name__}: {error}")]
    first, of_jax = Run(ours.first), Run(theirs.first)
    pairs = [("first", first, of_jax)]
    if program.checks & {"second", "hvp", "mixed"}:
        second = Run(theirs.second)
    if "second" in program.checks:
        pairs.append(("second", Run(ours.second), second))
    if "hvp" in program.checks:
        pairs.append(("hvp", Run(ours.hvp), second))
    if "mixed" in program.checks:
        pairs.append(("ours of JAX's", Run(lambda *x: ours.second(*x, inner=jax)), second))
        pairs.append(("JAX's of ours", Run(lambda *x: theirs.second(*x, inner=bp)), second))
    if "vmap" in program.checks:
        pairs.append(("vmap", Run(ours.batched), Run(theirs.batched)))
    found = compute(list(dict.fromkeys(run for pair in pairs for run in pair[1:])), ours.leaves)
    reason = broken(theirs) if isinstance(found[of_jax], Exception) else ""
    if reason and not any(words in reason for words in HAS_NONE):
        return [Verdict("first", INVALID, reason)]
    verdicts: list[Verdict] = []
    for check, a, b in pairs:
        # Where JAX's first derivative is wrong, so is its derivative of whatever holds its rule.
        wrong = bool(verdicts) and verdicts[0].kind == BETTER
        if not wrong or check != "JAX's of ours":
            witness = bp if wrong else jax
            verdicts.append(settle(program, check, found[a], found[b], witness))
    if first.types and of_jax.types and first.types != of_jax.types:
        verdicts.append(Verdict("types", WRONG, f"{first.types} instead of {of_jax.types}"))
    if "eager" in program.checks:
        try:
            eager: Any = first(*ours.leaves)
        except Exception as error:
            eager = error
        verdicts.append(settle(program, "eager", eager, found[of_jax]))
    return verdicts


def broken(task: Task) -> str:
    """Returns why the program itself does not run; "" if it does."""
    try:
        jax.jit(task.function).lower(*jax.tree.unflatten(task.tree, task.leaves))
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def settle(program: Program, check: str, ours: Any, theirs: Any, witness: Any = jax) -> Verdict:
    """Returns a verdict on our result, an exception perhaps, beside JAX's.

    `witness`: of whose first derivative a slope is measured, to judge the second.
    """
    if isinstance(ours, Exception):
        text = f"{type(ours).__name__}: {ours}"
        stated = isinstance(ours, MissingRule) and len(str(ours).splitlines()) == 4
        if isinstance(theirs, Exception) and (stated or type(ours) is type(theirs)):
            return Verdict(check, NO_JAX, text)
        of_jax = check == "JAX's of ours" and any(words in text for words in HAS_NONE)
        if of_jax or ASKED_BY_A_RULE in text:
            return Verdict(check, NO_JAX, text)
        return Verdict(check, MISSING if stated else INTERNAL, text)
    if not isinstance(theirs, Exception):
        difference = compared(program, ours, theirs)
        if not difference:
            return Verdict(check, AGREES)
    else:
        difference = f"JAX: {type(theirs).__name__}: {str(theirs)[:200]}"
        theirs = None
    return arbitrate(program, check, ours, theirs, difference, witness)


def compared(program: Program, ours: Sequence, theirs: Sequence, within: float = 0.0) -> str:
    """Returns in which leaf two gradients differ; "" if in none, or by no more than `within`."""
    of_leaf, of_all = max(TOLERANCES[d] for d in ("float64", *program.narrow()))
    of_leaf, of_all = max(of_leaf, within), max(of_all, within)
    ours, theirs = [wide_array(x) for x in ours], [wide_array(x) for x in theirs]
    largest = max((np.max(np.abs(b), initial=0.0, where=np.isfinite(b)) for b in theirs), default=0)
    for i, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        if not np.array_equal(np.isfinite(a), np.isfinite(b)):
            return f"leaf {i}: {a} instead of {b}"
        finite = np.isfinite(b)
        error = np.max(np.abs(np.where(finite, a, 0) - np.where(finite, b, 0)), initial=0.0)
        allowed = of_leaf * np.max(np.abs(np.where(finite, b, 0)), initial=0.0) + of_all * largest
        if error > allowed + 1e-12:
            return f"leaf {i}: {a} instead of {b}"
    return ""


def wide_array(x: Any) -> np.ndarray:
    """Returns an array as NumPy's, in double precision."""
    x = np.asarray(x)
    return x.astype(np.complex128 if np.iscomplexobj(x) else np.float64)


def arbitrate(
    program: Program, check: str, ours: Any, theirs: Any, difference: str, witness: Any
) -> Verdict:
    """Returns who is right by a measured slope, of the program in double precision.

    Its direction is that in which the two differ most, and a random one. A program that
    differentiates within may be another function by another's hand, so each is held to the slope
    of its own.
    """
    if check == "vmap":
        task = Task(program, bp)
        run = Run(task.one_by_one)
        rows = compute([run], task.leaves)[run]
        mismatch = str(rows) if isinstance(rows, Exception) else compared(program, ours, rows)
        kind = NO_JAX if theirs is None else AGREES
        return Verdict(check, WRONG if mismatch else kind, f"{difference}\n{mismatch}")
    if program.narrow():
        return arbitrate_narrow(program, check, ours, theirs, difference, witness)
    if theirs is None and "stop_gradient" in program.source():
        return Verdict(check, NO_JAX, f"a slope does not stop where a gradient does; {difference}")
    ours = [wide_array(x) for x in ours]
    theirs = None if theirs is None else [wide_array(x) for x in theirs]
    if not all(np.isfinite(a).all() for a in ours):
        # Where there is no derivative, as of a deviation that is zero, JAX's is not finite, either.
        pairs = zip(ours, theirs or ours, strict=True)
        same = theirs and not any((~np.isfinite(a) & np.isfinite(b)).any() for a, b in pairs)
        return Verdict(check, KINK if same else WRONG, f"not finite; {difference}")
    first = check in ("first", "eager")
    tasks = [Task(program, bp if first or theirs is None else witness), Task(program, witness)]
    directions = [tasks[0].random(ours, 2)]
    if theirs is not None and all(np.isfinite(b).all() for b in theirs):
        gaps = [np.conj(a - b) for a, b in zip(ours, theirs, strict=True)]
        length = np.sqrt(sum(np.sum(np.abs(gap) ** 2) for gap in gaps))
        directions.append([gap / length for gap in gaps])
    fits = [True, theirs is not None]
    for direction in directions:
        for i, gradients in enumerate((ours, theirs)):
            if gradients is None:
                continue
            measured, doubt = measure(tasks[i], first, direction)
            if measured is None:
                return Verdict(check, KINK, difference)
            value = float(
                sum(np.sum((a * v).real) for a, v in zip(gradients, direction, strict=True))
            )
            if not abs(value - measured) <= doubt:
                fits[i] = False
                difference += f"\n{('ours', 'JAX')[i]}: {value}, measured: {measured} ± {doubt}"
    if not fits[0]:
        # Neither fits, though they are close: the slope is measured in short numbers.
        coarse = not fits[1] and theirs is not None and not compared(program, ours, theirs, 1e-5)
        return Verdict(check, ROUNDING if coarse else WRONG, difference)
    if theirs is None:
        return Verdict(check, NO_JAX, difference)
    return Verdict(check, ROUNDING if fits[1] else BETTER, difference)


def measure(at: Task, first: bool, direction: Sequence) -> tuple[float | None, float]:
    """Returns the slope along a direction, and how uncertain it is; None where there is a kink."""
    floats = [at.leaves[i] for i in at.floats]

    def along(t: Any) -> Any:
        moved = [x + t * v for x, v in zip(floats, direction, strict=True)]
        return (at.loss if first else at.contraction)(moved, at.leaves)

    along = jax.jit(along, compiler_options=OPTIONS)

    def values(t: np.ndarray) -> np.ndarray:
        return np.asarray(along(jnp.asarray(t[0], jnp.float64)), np.float64).reshape(1)

    here, one = np.zeros(1), np.ones(1)
    found = slopes(values, here, one, noise=noise_of(values, here, one))
    if found.kinks[0] or not np.isfinite(found.error[0]):
        return None, 0.0
    slope, error = float(found.value[0]), float(found.error[0])
    return slope, 2 * error + 1e-8 * (abs(slope) + 1e-3)


def arbitrate_narrow(
    program: Program, check: str, ours: Any, theirs: Any, difference: str, witness: Any
) -> Verdict:
    """Returns who is right of two results in short dtypes: the truth is the wide program's."""
    run = {"first": Task.first, "eager": Task.first}.get(check, Task.second)
    double = program.in_double()
    witnesses = [Task(double, ad) for ad in (bp, jax)]
    runs = [Run(lambda *x, t=t: run(t, *x)) for t in witnesses]
    wide = list(compute(runs, witnesses[0].leaves).values())
    if isinstance(wide[0], Exception):
        return Verdict(check, INTERNAL, f"in double precision: {wide[0]}")
    verdict = settle(double, check, wide[0], wide[1], witness)
    if verdict.kind in (*FAILURES, BETTER) or theirs is None:
        return verdict
    truth = wide[0]
    errors = [
        max(
            float(np.max(np.abs(wide_array(a) - wide_array(b)), initial=0.0))
            for a, b in zip(g, truth, strict=True)
        )
        for g in (ours, theirs)
    ]
    scale = max(float(np.max(np.abs(wide_array(b)), initial=0.0)) for b in truth)
    tolerance = max(TOLERANCES[d][0] for d in program.narrow())
    if errors[0] <= 4 * errors[1] + tolerance * scale:
        return Verdict(check, ROUNDING, difference)
    return Verdict(
        check, WRONG, f"{difference}\noff the wide program by {errors[0]}, JAX {errors[1]}"
    )
