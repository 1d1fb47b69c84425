"""What users hand in: which arguments are differentiated, and what is said when one will not do.

Classes of errors and the gist of their texts are JAX's, so that code which catches or matches them
need not change.
"""

import functools
import inspect
import math
import operator
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.ref as refs
import numpy as np
from jax.extend.core import valid_jaxtype

PyTree = Any
Argnums = int | Sequence[int]
Argnames = str | Sequence[str]
ZeroTimesInf = Literal["nan", "zero"]


class Wanted(NamedTuple):
    """The arguments to differentiate: by position, by name, or both."""

    argnums: int | tuple[int, ...] | None
    argnames: str | tuple[str, ...] | None

    @classmethod
    def of(cls, fun: Callable, argnums: Argnums | None, argnames: Argnames | None) -> "Wanted":
        """Returns the choice that the two options make, checked as far as it can be here."""
        check_callable(fun)
        if argnums is None:
            argnums = 0 if argnames is None else None
        else:
            argnums = indices(argnums)
        if argnames is not None and not isinstance(argnames, str):
            argnames = tuple(argnames)
        for name in (argnames,) if isinstance(argnames, str) else argnames or ():
            if not isinstance(name, str):
                raise TypeError(f"argnames must be a str or a sequence of str, but got {name!r}.")
        return cls(argnums, argnames)

    def positions(self, count: int) -> tuple[int, ...]:
        """Returns the chosen positions among `count` arguments, counted from the front.

        Raises:
          TypeError: there are fewer arguments.
        """
        argnums = (self.argnums,) if isinstance(self.argnums, int) else self.argnums or ()
        for i in argnums:
            if not -count <= i < count:
                raise TypeError(
                    f"differentiating with respect to argnums={self.argnums} requires at least "
                    f"{i + 1 if i >= 0 else -i} positional arguments to be passed by the caller, "
                    f"but got only {count} positional arguments."
                )
        positions = tuple(i % count for i in argnums)
        if len(set(positions)) < len(positions):
            raise ValueError(f"argnums={self.argnums} names an argument twice.")
        return positions

    def names(self, kwargs: dict) -> tuple[str, ...]:
        """Returns the chosen names.

        Raises:
          TypeError: one of them is not among the keyword arguments.
        """
        names = (self.argnames,) if isinstance(self.argnames, str) else self.argnames or ()
        for name in names:
            if name not in kwargs:
                raise TypeError(
                    f"differentiating with respect to argnames={self.argnames!r} requires {name!r} "
                    f"to be passed by keyword, but got only {sorted(kwargs)}."
                )
        return names

    def partial(self, fun: Callable, args: tuple, kwargs: dict) -> tuple[tuple, Callable]:
        """Returns the chosen arguments, and `fun` as a function of them alone."""
        positions, names = self.positions(len(args)), self.names(kwargs)
        chosen = (*(args[i] for i in positions), *(kwargs[name] for name in names))

        def run(*values: PyTree) -> PyTree:
            filled = list(args)
            for i, value in zip(positions, values, strict=False):
                filled[i] = value
            named = dict(zip(names, values[len(positions) :], strict=True))
            return fun(*filled, **{**kwargs, **named})

        return chosen, run

    def arrange(self, gradients: Sequence) -> PyTree:
        """Returns the gradients of the chosen arguments in the structure the options ask for."""
        several = 0 if self.argnums is None else 1 if isinstance(self.argnums, int) else None
        count = len(self.argnums) if several is None else several  # type: ignore[arg-type]
        by_position = gradients[0] if several else tuple(gradients[:count])
        if self.argnames is None:
            return by_position
        by_name = dict(zip(self.names_only(), gradients[count:], strict=True))
        if isinstance(self.argnames, str):
            by_name = by_name[self.argnames]
        return by_name if self.argnums is None else (by_position, by_name)

    def names_only(self) -> tuple[str, ...]:
        """Returns the chosen names, as a tuple."""
        return (self.argnames,) if isinstance(self.argnames, str) else self.argnames or ()


def indices(argnums: Argnums) -> int | tuple[int, ...]:
    """Returns positions as an int or a tuple of ints."""
    try:
        return operator.index(argnums)  # type: ignore[arg-type]
    except TypeError:
        return tuple(operator.index(i) for i in argnums)  # type: ignore[union-attr]


def check_callable(fun: Any) -> None:
    """Raises TypeError if `fun` is not a plain callable."""
    if isinstance(fun, staticmethod):
        raise TypeError(f"staticmethod arguments are not supported, got {fun}")
    if not callable(fun):
        raise TypeError(f"Expected a callable value, got {fun}")
    if inspect.isgeneratorfunction(fun):
        raise TypeError(f"Expected a function, got a generator function: {fun}")


def check_array(leaf: Any, what: str = "Argument", name: str = "vjp") -> None:
    """Raises TypeError if a leaf is not an array or a number."""
    if is_reference(leaf):
        raise TypeError(
            f"{name} cannot differentiate with respect to a Ref. {what} is a mutable reference of "
            f"type {jax.typeof(leaf)}: its derivative would be one, too. Hand over its value, "
            "reference[...], or close over it."
        )
    if not valid_jaxtype(leaf):
        raise TypeError(f"{what} '{leaf}' of type {type(leaf)} is not a valid JAX type.")


def is_reference(x: Any) -> bool:
    """Returns whether this is a mutable reference."""
    return isinstance(getattr(x, "aval", None), refs.AbstractRef)


def check_argument(name: str, leaf: Any, holomorphic: bool, allow_int: bool) -> None:
    """Raises TypeError if a leaf of an argument cannot be differentiated with these options."""
    check_array(leaf, name=name)
    dtype = jax.typeof(leaf).dtype
    if holomorphic and not is_a(dtype, np.complexfloating):
        raise TypeError(
            f"{name} with holomorphic=True requires inputs with complex dtype, "
            f"but got {dtype.name}."
        )
    if not is_a(dtype, np.inexact) and not allow_int:
        raise TypeError(
            f"{name} requires real- or complex-valued inputs (input dtype that is a sub-dtype of "
            f"np.inexact), but got {dtype.name}. If you want to use Boolean- or integer-valued "
            "inputs, use vjp or set allow_int to True."
        )


def check_moved(leaf: Any, holomorphic: bool) -> None:
    """Raises TypeError if `jacfwd` cannot move a leaf of an argument with these options."""
    check_array(leaf)
    dtype = jax.typeof(leaf).dtype
    if holomorphic and not is_a(dtype, np.complexfloating):
        raise TypeError(
            "jacfwd with holomorphic=True requires inputs with complex dtype, "
            f"but got {dtype.name}."
        )
    if not holomorphic and not is_a(dtype, np.floating):
        raise TypeError(
            "jacfwd requires real-valued inputs (input dtype that is a sub-dtype of np.floating), "
            f"but got {dtype.name}. For holomorphic differentiation, pass holomorphic=True. For "
            "differentiation of non-holomorphic functions involving complex inputs or integer "
            "inputs, use jvp directly."
        )


def check_result(name: str, leaf: Any, holomorphic: bool) -> None:
    """Raises TypeError if a leaf of the result cannot be differentiated with these options."""
    dtype = jax.typeof(leaf).dtype
    if holomorphic and not is_a(dtype, np.complexfloating):
        raise TypeError(
            f"{name} with holomorphic=True requires outputs with complex dtype, "
            f"but got {dtype.name}."
        )
    if not holomorphic and not is_a(dtype, np.floating):
        way_on = "differentiation of functions with integer outputs, use vjp directly."
        if is_a(dtype, np.complexfloating):
            way_on = (
                "holomorphic differentiation, pass holomorphic=True. For differentiation of "
                "non-holomorphic functions involving complex outputs, use vjp directly."
            )
        raise TypeError(
            f"{name} requires real-valued outputs (output dtype that is a sub-dtype of "
            f"np.floating), but got {dtype.name}. For {way_on}"
        )


def check_tangents(name: str, primals: Any, tangents: Any) -> None:
    """Raises if the tangents do not have the structure, shapes and dtypes of the primals."""
    if not isinstance(primals, tuple | list) or not isinstance(tangents, tuple | list):
        raise TypeError(
            f"primal and tangent arguments to {name} must be tuples or lists; found "
            f"{type(primals).__name__} and {type(tangents).__name__}."
        )
    expected, given = jax.tree.structure(tuple(primals)), jax.tree.structure(tuple(tangents))
    if expected != given:
        raise TypeError(
            f"primal and tangent arguments to {name} must have the same tree structure; primals "
            f"have tree structure {expected} whereas tangents have tree structure {given}."
        )
    for x, v in zip(jax.tree.leaves(primals), jax.tree.leaves(tangents), strict=True):
        check_array(x)
        check_array(v)
        primal, tangent = jax.typeof(x), jax.typeof(v)
        dtype = primal.to_tangent_aval().dtype
        if tangent.dtype != dtype:
            raise TypeError(
                f"primal and tangent arguments to {name} do not match; dtypes must be equal, or in "
                "case of int/bool primal dtype the tangent dtype must be float0. Got primal dtype "
                f"{primal.dtype} and so expected tangent dtype {dtype_name(dtype)}, but got "
                f"tangent dtype {dtype_name(tangent.dtype)} instead."
            )
        if primal.shape != tangent.shape:
            raise ValueError(
                f"{name} called with different primal and tangent shapes; "
                f"got primal shape {primal.shape} and tangent shape as {tangent.shape}."
            )


def check_reduce_axes(name: str, reduce_axes: Sequence) -> None:
    """Raises NotImplementedError if there are axes, which JAX takes no more."""
    if reduce_axes:
        raise NotImplementedError(f"reduce_axes argument to {name} is deprecated")


def check_zero_times_inf(choice: Any) -> None:
    """Raises ValueError if the option is none of those there are."""
    if choice not in get_args(ZeroTimesInf):
        raise ValueError(f'zero_times_inf must be "nan" or "zero", but got {choice!r}.')


def check_pair(result: Any) -> tuple[Any, Any]:
    """Returns result and auxiliary value of a function; raises TypeError if they are no pair."""
    if not isinstance(result, tuple | list) or len(result) != 2:
        kind = type(result).__name__ if isinstance(result, tuple | list | dict) else "one value"
        raise TypeError(
            "expected function with aux output to return a two-element tuple, "
            f"but got {f'a {kind} of {len(result)}' if kind != 'one value' else kind}."
        )
    return result[0], result[1]


def check_scalar(value: Any) -> None:
    """Raises TypeError if the result of a function to take the gradient of is not a scalar."""
    what = "Gradient only defined for scalar-output functions. Output "
    if not valid_jaxtype(value):
        raise TypeError(f"{what}was {value}.")
    shape = jax.typeof(value).shape
    if shape != ():
        raise TypeError(f"{what}had shape: {shape}. {towards_a_scalar(shape)}")


def towards_a_scalar(shape: tuple[int, ...]) -> str:
    """Returns what may be done where a result of this shape has no gradient."""
    first = " or output[0]" if len(shape) == 1 else ""
    one = f"output.reshape(()){first} is its one number, " if math.prod(shape) == 1 else ""
    return f"To go on: {one}output.sum() is a scalar, and jax.jacobian, or ours, takes any result."


def dtype_name(dtype: Any) -> str:
    """Returns what to call a dtype in a message; NumPy calls float0 something else."""
    return "float0" if dtype == jax.dtypes.float0 else str(dtype)


def is_a(dtype: Any, kind: Any) -> bool:
    """Returns whether a dtype is of a kind of NumPy's; bfloat16 and float8 are floating, too."""
    return jax.dtypes.issubdtype(dtype, kind)


def function_name(fun: Callable) -> str:
    """Returns what to call a function in a message."""
    inner = fun.func if isinstance(fun, functools.partial) else fun
    return getattr(inner, "__name__", type(inner).__name__)
