"""`compare`: a gradient against `jax.grad`, and both against float64."""

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from backprop_jax.api import grad
from backprop_jax.check.difference import measure
from backprop_jax.check.leaf import LeafReport
from backprop_jax.check.panel import judged_by
from backprop_jax.check.paths import Leaves, type_name
from backprop_jax.check.report import Report
from backprop_jax.check.silent import silent_zeros
from backprop_jax.check.verdict import Tolerance, Verdict, judge
from backprop_jax.check.witnesses.gradients import (
    Written,
    from_float64,
    from_jax,
    nudged,
    ours,
    written,
)
from backprop_jax.check.witnesses.named import Witnesses, ask, named
from backprop_jax.check.witnesses.second import along
from backprop_jax.check.witnesses.witness import Question, Witness


def compare(
    fun: Callable[..., Any],
    *args: Any,
    argnums: int | Sequence[int] = 0,
    has_aux: bool = False,
    holomorphic: bool = False,
    allow_int: bool = False,
    gradient: Written | None = None,
    witnesses: Witnesses | None = None,
    order: int = 1,
    rtol: float | None = None,
    atol: float = 0.0,
    **kwargs: Any,
) -> Report:
    """Returns how far our gradient of `fun` is from that of `jax.grad`, and both from float64.

        bp.compare(loss, params, batch).raise_if_bad()
        bp.compare(loss, params, batch, witnesses=("jax", "numerical", "sympy", "torch"))

    For each leaf, with scale the largest |element| of `jax.grad` there, the gradient is right where

        |ours - jax.grad| ≤ rtol scale + atol,    or    |ours - float64| ≤ rtol scale + atol.

    The rest is right too if rounding explains it: if `jax.grad` is as far from float64, or moves as
    far with the operands where float64 does not (asked for only then). `jax.grad` is a witness, not
    the truth. An element below `rtol scale` is too small to be judged beside its neighbours.

    Args:
      fun: as for `jax.grad`, which may run it several times. It is called as it is: wrap it in
        `jax.jit` if that is how it is used.
      *args: its operands. Arrays are cast up for float64; keys, integers and options pass through.
      argnums: which operands to differentiate, an integer or several.
      has_aux: `fun` returns a pair whose second entry is not differentiated.
      holomorphic: `fun` is complex-differentiable.
      allow_int: integer operands may be differentiated; their gradient is float0 and is skipped.
      gradient: a gradient written out by hand, to be judged in the place of ours. Called as
        `gradient(*args, **kwargs)`; returns the gradient alone, without `aux`, of the structure of
        the differentiated operand, or a tuple of those if `argnums` is one. Or a pair of functions,
        a backward pass in stages: `forward(*args, **kwargs)` returns the value and what it keeps,
        `backward(kept, g)` the gradient times g.
      witnesses: names of those to ask in the place of `jax.grad` and float64, of
        `backprop_jax.check.witnesses.named.WITNESSES`; or a mapping from names to functions of your
        own: of tensors for "torch" and "tensorflow", whose gradient is taken there; a gradient
        like the one above for any other name; None for the witness of that name. Each is judged by
        its own error bar; those that do not apply are named with the reason.
      order: 2 for the second derivative: of the gradient's product with a fixed random direction.
      rtol: default 16 eps of the leaf's dtype with a float64 reference, 4096 eps without, and never
        more than sqrt(eps). If given, it is strict: rounding is no excuse for more.
      atol: in units of the gradient.
      **kwargs: passed to `fun`.

    A gradient that is zero although the result depends on its operand, because every way passes a
    rounding, a comparison or the bits of a number, is right, and noted.

    Returns:
      A `Report`: `print` it, ask it `ok`, or have it `raise_if_bad()`.
    """
    positions = argnums if isinstance(argnums, int) else tuple(argnums)
    question = Question(fun, args, kwargs, positions, has_aux, holomorphic, allow_int)
    asked, ours_asked = question, question
    if order != 1:
        if order != 2 or gradient is not None or has_aux or holomorphic:
            raise ValueError("order is 1; or 2, of a real function without aux or own gradient")
        asked, ours_asked = along(question, jax.grad), along(question, grad)
    if witnesses is not None or order != 1:
        names = named(witnesses if witnesses is not None else ("jax", "float64"))
        return _before(asked, _judged(ours_asked, gradient), names, rtol, atol)
    value, witness = from_jax(question)
    judged = _judged(question, gradient)
    truth, notes = from_float64(question, value)
    rerun = functools.cache(lambda: nudged(question, with_float64=truth is not None))
    sources = [judged, witness, *([truth] if truth else [])]

    def leaf_report(path: str) -> LeafReport:
        found = [source.leaves.get(path) for source in sources]
        problem = _mismatch(found[0], found[1])
        if problem or found[1] is None or found[1].dtype == jax.dtypes.float0:
            return _unmeasured(path, found, problem)
        return _measured(path, sources, rtol, atol, rerun)

    paths = list(dict.fromkeys([*witness.leaves, *judged.leaves]))
    leaves = tuple(leaf_report(path) for path in paths)
    names = tuple(source.name for source in sources)
    zeros = [path for path, leaf in judged.leaves.items() if leaf.size and not np.any(leaf)]
    notes += silent_zeros(question, [path for path in zeros if path in witness.leaves])
    return Report(names, leaves, _problems(judged, witness), notes)


def _before(
    question: Question, judged: Witness, names: dict[str, Any], rtol: float | None, atol: float
) -> Report:
    """Returns the report on a gradient before the witnesses of these names."""
    answers = [ask(question, name, own) for name, own in names.items()]
    absent = tuple((answer.name, answer.why_not) for answer in answers if not answer.applies)
    heard = [answer for answer in answers if answer.applies]
    leaves = judged_by(question, judged, heard, rtol, atol, _mismatch)
    zeros = [path for path, leaf in judged.leaves.items() if leaf.size and not np.any(leaf)]
    notes = tuple(f"{answer.name}: {note}" for answer in heard for note in answer.notes)
    bad = {o.witness for leaf in leaves for o in leaf.opinions if not o.verdict.ok}
    notes += tuple(f"{a.name}: {doubt}" for a in heard if a.name in bad for doubt in a.doubts)
    notes += silent_zeros(question, [path for path in zeros if path in question.paths])
    sources = (judged.name, *(answer.name for answer in heard))
    return Report(sources, leaves, (), notes, absent)


def _judged(question: Question, gradient: Written | None) -> Witness:
    """What is judged: the gradient given, or ours."""
    return ours(question) if gradient is None else written(question, gradient)


def _measured(
    path: str,
    sources: Sequence[Witness],
    rtol: float | None,
    atol: float,
    rerun: Callable[[], Sequence[tuple[Leaves, Leaves | None]]],
) -> LeafReport:
    ours, witness, truth = [*(source.leaves[path] for source in sources), None][:3]
    is_finer = truth is not None and jnp.finfo(ours.dtype).bits < 64
    tolerance = Tolerance.of(ours.dtype, is_finer, rtol, atol)

    def nearby() -> list[tuple[np.ndarray, np.ndarray | None]]:
        return [(leaves[path], finer[path] if finer else None) for leaves, finer in rerun()]

    verdict = judge(ours, witness, truth, tolerance, nearby)
    differences = tuple(
        measure(left.name, left.leaves[path], right.name, right.leaves[path], ours.dtype)
        for left, right in itertools.combinations(sources, 2)
    )
    index = differences[0].index
    return LeafReport(
        path,
        ours.shape,
        ours.dtype.name,
        verdict,
        tolerance.relative,
        nonfinite=int(np.sum(~np.isfinite(ours))),
        values=() if index is None else tuple(s.leaves[path][index].item() for s in sources),
        differences=differences,
    )


def _unmeasured(path: str, found: Sequence[np.ndarray | None], problem: str | None) -> LeafReport:
    leaf = next(leaf for leaf in reversed(found[:2]) if leaf is not None)
    dtype, shape = type_name(leaf).split("[")[0], leaf.shape
    if problem:
        return LeafReport(path, shape, dtype, Verdict("BAD", problem))
    return LeafReport(path, shape, dtype, Verdict("skipped", "an integer has no gradient"))


def _mismatch(got: np.ndarray | None, expected: np.ndarray | None) -> str | None:
    """What is wrong with the type of a leaf, if anything."""
    said = ["nothing" if leaf is None else type_name(leaf) for leaf in (expected, got)]
    if said[0] == said[1]:
        return None
    text = f"expected {said[0]}, got {said[1]}"
    if got is not None and expected is not None and got.dtype == expected.dtype:
        if got.ndim > 1 and got.shape == expected.shape[::-1]:
            text += "; is it transposed?"
    return text


def _problems(ours: Witness, witness: Witness) -> tuple[str, ...]:
    """What is wrong with the structure, where the paths of the leaves do not tell."""
    if ours.structure == witness.structure or list(ours.leaves) != list(witness.leaves):
        return ()
    return (f"expected the structure {witness.structure}, got {ours.structure}",)
