"""The public functions: pytrees in and out, `jax.grad`'s signatures, errors in the user's words."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.ref as refs

from backprop_jax.arguments import (
    Argnames,
    Argnums,
    PyTree,
    Wanted,
    ZeroTimesInf,
    check_argument,
    check_array,
    check_pair,
    check_reduce_axes,
    check_result,
    check_scalar,
    check_zero_times_inf,
    function_name,
    is_reference,
)
from backprop_jax.checkpoints import Remat, rematerialized
from backprop_jax.engine import cotangents as ct
from backprop_jax.engine.reverse import Pullback
from backprop_jax.engine.sweep import sweep
from backprop_jax.meshes import filled, of_cotangents
from backprop_jax.pullbacks import VJP, flags, write_back
from backprop_jax.swaps import Rules, held, reading_of
from backprop_jax.taps.alarm import OnNonfinite, Question, check_on_nonfinite, watched
from backprop_jax.taps.hooks import Hooks, hooked
from backprop_jax.tracebacks import boundary, within


@boundary
def grad(
    fun: Callable,
    argnums: Argnums | None = None,
    has_aux: bool = False,
    holomorphic: bool = False,
    allow_int: bool = False,
    reduce_axes: Sequence[str] = (),
    *,
    argnames: Argnames | None = None,
    zero_times_inf: ZeroTimesInf = "nan",
    remat: Remat = None,
    rules: Rules | None = None,
    hooks: Hooks | None = None,
    on_nonfinite: OnNonfinite = None,
) -> Callable:
    """Returns a function that computes the gradient of `fun`, as `jax.grad` does.

    Args:
      fun: maps arrays, scalars and pytrees of them to a real scalar of shape ().
      argnums: position, or positions, of the arguments to differentiate. Default: 0, or none if
        `argnames` is given.
      has_aux: `fun` returns a pair of the scalar and anything else, which is passed on.
      holomorphic: `fun` is holomorphic; arguments and result are complex.
      allow_int: integer arguments may be named, too; their gradient is zero, of dtype `float0`.
      reduce_axes: there must be none, as in JAX.
      argnames: name, or names, of keyword arguments to differentiate.
      zero_times_inf: "nan", as in IEEE arithmetic and in JAX; or "zero": a factor of zero makes a
        path zero though another is infinite or NaN, so the branch that `where` did not choose and
        the norm of a zero vector do no harm. It costs time on the way back.
      remat: what to compute again on the way back, in the place of keeping it. None: within loops,
        what is cheap; else nothing. "auto", "full", a number of bytes, a text such as "512MiB", or
        a policy of `jax.checkpoint_policies`: see `checkpoint`; then `fun` is traced, as by
        `jax.jit`.
      rules: other rules to go by, by primitive or function: see `backprop_jax.rules`.
      hooks: selector → a function that takes a cotangent on its way back and returns another in its
        place (clipped, scaled, reversed), or None, having looked at it. A selector names values
        inside of `fun`, see `value_grad_and_cotangents`; then, too, `fun` is traced.
      on_nonfinite: what to do when the result or the gradient is not finite, once for each compiled
        program: "explain", warn of what `find_nonfinite` says; or a function that is given its
        `Report`. The test is all that it costs until then, within `jax.jit`, too; there a thread
        tells, and the program goes on.

    Returns:
      A function of the same arguments. It returns the gradient, of the argument's structure, shapes
      and dtypes: one for an int or a str, a tuple for a sequence of positions, a dictionary for a
      sequence of names, and a pair (positions, names) if both are given. With `has_aux`, a pair of
      that and the auxiliary value.

    Raises:
      TypeError: the result is not a real scalar, an argument is not real, or it is missing.
      ValueError: `zero_times_inf`, `remat` or `on_nonfinite` is something else.
      WrongRule: one of `rules` is not the derivative, and was not said to be none.
      BudgetTooSmall: there is no way to do with as few bytes as `remat` allows.
      UnknownStep: a selector of `hooks` means nothing in `fun`; it says what there is.
      BadHook: a hook returned what is no cotangent of the value it stands at.
      MissingRule: the gradient would pass through a primitive without a rule.

    Example:
      >>> import backprop_jax as bp
      >>> print(bp.grad(lambda x: x**3)(2.0))
      12.0
      >>> print(bp.grad(lambda x, *, scale: scale * x, argnames="scale")(3.0, scale=2.0))
      3.0
    """
    wanted = Wanted.of(fun, argnums, argnames)
    checks = holomorphic, allow_int, reduce_axes
    more = zero_times_inf, remat, rules, hooks, on_nonfinite
    value_and_gradient = with_gradient(fun, wanted, has_aux, *checks, *more)

    @wraps(fun, "Gradient")
    def gradient_of(*args: Any, **kwargs: Any) -> PyTree:
        value, gradient = value_and_gradient(*args, **kwargs)
        return (gradient, value[1]) if has_aux else gradient

    return gradient_of


@boundary
def value_and_grad(
    fun: Callable,
    argnums: Argnums | None = None,
    has_aux: bool = False,
    holomorphic: bool = False,
    allow_int: bool = False,
    reduce_axes: Sequence[str] = (),
    *,
    argnames: Argnames | None = None,
    zero_times_inf: ZeroTimesInf = "nan",
    remat: Remat = None,
    rules: Rules | None = None,
    hooks: Hooks | None = None,
    on_nonfinite: OnNonfinite = None,
) -> Callable:
    """Returns a function that computes `fun` and its gradient, as `jax.value_and_grad` does.

    Args, errors and the gradient's structure are those of `grad`.

    Returns:
      A function of the same arguments. It returns a pair of the value and the gradient; with
      `has_aux`, the value is itself a pair of the scalar and the auxiliary value.

    Example:
      >>> import backprop_jax as bp
      >>> value, gradient = bp.value_and_grad(lambda x: x**3)(2.0)
      >>> print(value, gradient)
      8.0 12.0
    """
    wanted = Wanted.of(fun, argnums, argnames)
    checks = holomorphic, allow_int, reduce_axes
    more = zero_times_inf, remat, rules, hooks, on_nonfinite
    return wraps(fun, "Value and gradient")(with_gradient(fun, wanted, has_aux, *checks, *more))


#: The pullback without a boundary of its own: that of the gradient is around it.
back = within(VJP.__call__)


def with_gradient(
    fun: Callable,
    wanted: Wanted,
    has_aux: bool,
    holomorphic: bool,
    allow_int: bool,
    reduce_axes: Sequence[str],
    zero_times_inf: ZeroTimesInf,
    remat: Remat,
    rules: Rules | None,
    hooks: Hooks | None,
    on_nonfinite: OnNonfinite,
) -> Callable:
    """Returns a function that computes `fun` and its gradient; see `value_and_grad`."""
    check_reduce_axes("grad", reduce_axes)
    check_zero_times_inf(zero_times_inf)
    check_on_nonfinite(on_nonfinite)
    kept, swapped = rematerialized(hooked(fun, hooks), remat), held(rules)

    def value_and_gradient_of(*args: Any, **kwargs: Any) -> tuple:
        chosen, run = wanted.partial(kept, args, kwargs)
        for leaf in jax.tree.leaves(chosen):
            check_argument("grad", leaf, holomorphic, allow_int)
        with swapped:
            value, pullback, *aux = within(vjp)(
                run, *chosen, has_aux=has_aux, zero_times_inf=zero_times_inf
            )
            check_scalar(value)
            check_result("grad", value, holomorphic)
            gradients = back(pullback, one(value))
        if on_nonfinite is not None:
            options = {"has_aux": has_aux, "zero_times_inf": zero_times_inf, "rules": rules}
            again = functools.partial(vjp, **options)
            ask = functools.partial(Question.of, kept, args, kwargs, wanted, again)
            watched(on_nonfinite, (value, gradients), ask)
        return ((value, *aux) if has_aux else value), wanted.arrange(gradients)

    return value_and_gradient_of


@boundary
def vjp(
    fun: Callable,
    *primals: PyTree,
    has_aux: bool = False,
    reduce_axes: Sequence[str] = (),
    saveable_args: PyTree = True,
    in_nzs: PyTree = None,
    zero_times_inf: ZeroTimesInf = "nan",
    remat: Remat = None,
    rules: Rules | None = None,
    hooks: Hooks | None = None,
) -> tuple:
    """Returns `fun(*primals)` and its pullback, as `jax.vjp` does.

    Args:
      fun: maps arrays and pytrees of them to the same.
      *primals: where to evaluate it. Mutable references among them get their cotangents in others,
        handed over by `pullback.with_refs`.
      has_aux: `fun` returns a pair of its result and anything else, which is passed on.
      reduce_axes: as in `grad`.
      saveable_args: whether primals may be kept for the way back: a boolean for all, or a tree of
        them that is a prefix of `primals`. One that may not is to be put back, into `args_res` of
        the pullback, before the call. What is computed from it is kept as always.
      in_nzs: whether primals move: booleans, as for `saveable_args`; all do by default. One that
        does not has a cotangent of zero, and steps that depend on no other are not recorded.
        `out_nzs` of the pullback says of each result whether it depends on one that does.
      zero_times_inf: as in `grad`.
      remat: as in `grad`.
      rules: as in `grad`.
      hooks: as in `grad`.

    Returns:
      A pair of the result and a function from a cotangent of the result (same structure, shapes,
      dtypes; `float0` for integers) to a tuple with a cotangent for each of the primals. With
      `has_aux`, a third element: the auxiliary value.

    Raises:
      TypeError, ValueError: the pullback is called with what is not a cotangent of the result.

    Example:
      >>> import backprop_jax as bp
      >>> y, pullback = bp.vjp(lambda x, y: x * y, 3.0, 4.0)
      >>> print([float(g) for g in pullback(1.0)])
      [4.0, 3.0]
    """
    run = rematerialized(hooked(fun, hooks), remat)
    check_reduce_axes("vjp", reduce_axes)
    check_zero_times_inf(zero_times_inf)
    given, tree = jax.tree.flatten(primals)
    leaves = [leaf[...] if is_reference(leaf) else leaf for leaf in given]
    owners = {id(x): i for i, x in reversed([*enumerate(given)]) if is_reference(x)}
    places = sorted(owners.values())  # of each reference the first, should it be given twice
    for leaf in leaves:
        check_array(leaf)
    avals = [jax.typeof(leaf) for leaf in leaves]
    structure: list = []

    def flat(*operands: Any) -> list:
        held = {i: refs.new_ref(operands[i]) for i in places}
        pairs = zip(given, operands, strict=True)
        filled = [held[owners[id(g)]] if id(g) in owners else x for g, x in pairs]
        result = run(*jax.tree.unflatten(tree, filled))
        aux = None
        if has_aux:
            result, aux = check_pair(result)
        outs, result_tree = jax.tree.flatten(result)
        aux_leaves, aux_tree = jax.tree.flatten(aux)
        for leaf in outs:
            check_array(leaf, "result")
        structure[:] = len(outs), result_tree, aux_tree
        return [*outs, *map(refs.freeze, held.values()), *aux_leaves]

    active = [ct.is_differentiable(aval) for aval in avals]
    if in_nzs is not None:
        pairs = zip(active, flags(tree, in_nzs, "in_nzs"), strict=True)
        active = [a and moves for a, moves in pairs]
    with held(rules):
        values, pullback = sweep(flat, leaves, active, reading_of(zero_times_inf))
    count, result_tree, aux_tree = structure
    end = count + len(places)
    write_back(places, given, leaves, values[count:end])
    pullback = Pullback(pullback.nodes, pullback.inputs, pullback.outputs[:end])
    result_avals = tuple(jax.typeof(value) for value in values[:count])
    name, primals = function_name(fun), tuple(map(id, leaves))
    types = tree, tuple(avals), result_tree, result_avals
    pull = VJP(name, pullback, *types, primals, references=tuple(places))
    if saveable_args is not True:
        pull.forget(flags(tree, saveable_args, "saveable_args"))
    result = jax.tree.unflatten(result_tree, values[:count])
    return (result, pull, jax.tree.unflatten(aux_tree, values[end:])) if has_aux else (result, pull)


@boundary
def fwd_and_bwd(
    fun: Callable,
    argnums: Argnums | None = None,
    has_aux: bool = False,
    jitted: bool = True,
    *,
    argnames: Argnames | None = None,
    zero_times_inf: ZeroTimesInf = "nan",
    remat: Remat = None,
    rules: Rules | None = None,
    hooks: Hooks | None = None,
) -> tuple[Callable, Callable]:
    """Returns the way forward and the way back as two functions, as `jax.fwd_and_bwd` does.

    They are compiled once each and called as often as one likes: for who has to do something else
    between the two. `jax.jit` of a pullback that `vjp` returns compiles it anew for each point.

    Args:
      fun: as for `vjp`.
      argnums: as for `grad`; so is `argnames`. JAX has no default.
      has_aux: `fun` returns a pair of its result and anything else, which is passed on.
      jitted: both are compiled.
      argnames: as for `grad`, and so are the others.
      zero_times_inf: as for `grad`.
      remat: as for `grad`.
      rules: as for `grad`.
      hooks: as for `grad`.

    Returns:
      A pair. The first takes the arguments of `fun` and returns a pair of its result and what is
      kept, a pytree; with `has_aux` the auxiliary value is a third. The second takes what is kept
      and a cotangent of the result, and returns cotangents in the form of `grad`'s gradient.

    Raises:
      TypeError, ValueError: as for `grad` and `vjp`.

    Example:
      >>> import backprop_jax as bp
      >>> forward, backward = bp.fwd_and_bwd(lambda x, y: x * y, argnums=(0, 1))
      >>> z, kept = forward(3.0, 4.0)
      >>> print([float(g) for g in backward(kept, 2.0)])
      [8.0, 6.0]
    """
    wanted = Wanted.of(fun, argnums, argnames)
    check_zero_times_inf(zero_times_inf)
    options: dict[str, Any] = {"zero_times_inf": zero_times_inf, "rules": rules}
    kept = rematerialized(hooked(fun, hooks), remat)

    @wraps(fun, "Value and what is kept for the way back")
    def forward(*args: Any, **kwargs: Any) -> tuple:
        chosen, run = wanted.partial(kept, args, kwargs)
        return within(vjp)(run, *chosen, has_aux=has_aux, **options)

    @boundary
    def backward(pullback: VJP, cotangent: PyTree) -> PyTree:
        return wanted.arrange(pullback(cotangent))

    return (jax.jit(forward), jax.jit(backward)) if jitted else (forward, backward)


def one(value: Any) -> Any:
    """Returns the cotangent one of a scalar."""
    return filled(of_cotangents(jax.typeof(value)), 1)


def wraps(fun: Callable, what: str) -> Callable[[Callable], Callable]:
    """Returns a decorator that gives a derivative the name and signature of its function."""

    def decorate(derivative: Callable) -> Callable:
        derivative = functools.update_wrapper(boundary(derivative), fun)
        derivative.__doc__ = f"{what} of {function_name(fun)}; takes the same arguments."
        return derivative

    return decorate
