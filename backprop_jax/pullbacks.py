"""The pullback that `vjp` returns: a function, and a pytree of what it keeps."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import jax.ref as refs
from jax import lax

from backprop_jax.arguments import PyTree, is_reference
from backprop_jax.dtypes import of_tangents
from backprop_jax.engine import cotangents as ct
from backprop_jax.engine.jaxprs import bound, evaluate, has_effects, needed_for
from backprop_jax.engine.logs import collecting
from backprop_jax.engine.registry import as_array
from backprop_jax.engine.reverse import Pullback
from backprop_jax.engine.units import Structured
from backprop_jax.meshes import of_cotangents
from backprop_jax.tracebacks import boundary


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class NotNeeded:
    """Stands in `VJP.args_res` for a primal that the way back does not read."""


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class NotSaveable:
    """Stands in `VJP.args_res` for a primal that the way back reads and that may not be kept."""


@jax.tree_util.register_pytree_node_class
@dataclasses.dataclass(slots=True, weakref_slot=True, eq=False)
class VJP:
    """The pullback that `vjp` returns: cotangent of the result → cotangents of the primals.

    Like `jax.vjp`'s it is a pytree, so a compiled function may return it or take it; and it shows
    what it keeps: `args_res` the primals, each a leaf or `NotNeeded`, `opaque_residuals` all else.
    A primal may be taken out there, to free its memory, and put back before the call.

    Attributes:
      name: of the function.
      pullback: the way back; None when what it keeps has been laid open.
      tree, avals: structure and types of the primals.
      result_tree, result_avals: of the result.
      primals: for every leaf of the primals its `id`, by which it is known among what is kept.
      opened: what was laid open.
      logging: whether it returns a pair, the second what rules of the user's have logged.
      references: which leaves of the primals are mutable references. What they hold at the end is a
        result, too, whose cotangent comes in the reference that gets theirs.
    """

    name: str
    pullback: Pullback | None
    tree: Any
    avals: tuple
    result_tree: Any
    result_avals: tuple
    primals: tuple[int, ...] = ()
    opened: "Opened | None" = None
    logging: bool = False
    references: tuple[int, ...] = ()

    @boundary
    def __call__(self, cotangent: PyTree, *more: PyTree) -> tuple:
        """Returns a tuple with a cotangent for each of the primals."""
        if self.references:
            raise ValueError(
                f"{self.names(self.references)} of {self.name} are mutable references, so their "
                "cotangents are added to references, too: bind these by with_refs, as in "
                "pullback.with_refs(reference)(cotangent), or jax.ad.DontWant() in their place."
            )
        with collecting() as found:
            gradients = self.whole()(self.checked(cotangent, *more))
        gradients = jax.tree.unflatten(self.tree, ct.presented(gradients, self.avals))
        return (gradients, found) if self.logging else gradients

    @property
    def with_logs(self) -> "VJP":
        """The same function, which returns a pair: the cotangents, and what was logged, by name.

        Rules that log are those of `jax.custom_vjp.defvjp_with_logs`, since jax 0.11. What a loop
        logs is stacked, a trip at a time; what branches log is told apart, see `rules.branches`. In
        a loop of an unknown number of trips and in `shard_map` it is dropped.
        """
        return dataclasses.replace(self, logging=True)

    def names(self, places: Sequence[int]) -> str:
        """Returns what to call some of the leaves of the primals in a message."""
        numbers = jax.tree.unflatten(self.tree, range(self.tree.num_leaves))
        paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(numbers)]
        return ", ".join(f"args{jax.tree_util.keystr(paths[i])}" for i in places)

    def checked(self, cotangent: PyTree, *more: PyTree) -> list:
        """Returns the leaves of a cotangent of the result, None for those that can only be zero."""
        if more:
            raise TypeError(
                f"The function returned by vjp applied to {self.name} was called with "
                f"{len(more) + 1} arguments, but it must be called with a single argument: a "
                "cotangent of the structure of the result, a tuple if the result is a tuple."
            )
        leaves, tree = jax.tree.flatten(cotangent)
        if tree != self.result_tree:
            raise ValueError(
                "unexpected tree structure. The argument to a VJP function must match the pytree "
                f"structure of the result of {self.name}: expected {self.result_tree}, got {tree}."
            )
        pairs = zip(leaves, self.result_avals, strict=True)
        return [check_cotangent(g, aval) for g, aval in pairs]

    def whole(self) -> Pullback:
        """Returns the way back with all that it keeps."""
        return self.lay_open().whole() if self.pullback is None else self.pullback

    def lay_open(self) -> "Opened":
        """Returns what is kept, primals and all else apart."""
        if self.opened is None:
            self.opened = Opened.of(self.pullback, self.tree, self.primals)
            self.pullback = None
        return self.opened

    @property
    def args_res(self) -> list:
        """The primals that the way back reads, a list with a pytree for each argument."""
        return self.lay_open().primals

    @args_res.setter
    def args_res(self, primals: Sequence) -> None:
        self.lay_open().primals = list(primals)

    @property
    def out_nzs(self) -> PyTree:
        """For each leaf of the result, whether it depends on a primal that moves."""
        outputs = self.whole().outputs[: self.result_tree.num_leaves]
        return jax.tree.unflatten(self.result_tree, [slot is not None for slot in outputs])

    @property
    def opaque_residuals(self) -> list:
        """What the way back reads besides."""
        return self.lay_open().others

    def forget(self, saveable: Sequence[bool]) -> None:
        """Lets go of the primals, leaf by leaf, that are not to be kept."""
        opened = self.lay_open()
        leaves = jax.tree.leaves(opened.primals, is_leaf=stands_for_none)
        pairs = zip(leaves, saveable, strict=True)
        leaves = [x if s or is_not_needed(x) else NotSaveable() for x, s in pairs]
        opened.primals = list(jax.tree.unflatten(self.tree, leaves))

    def with_refs(self, *wanted: PyTree) -> "Into":
        """Returns the same function with another way to hand over the cotangents, leaf by leaf.

        Args:
          *wanted: for every primal a pytree of its structure. A mutable reference (`jax.new_ref`)
            has the cotangent added to its value; `jax.ad.GradValue()` returns it, and
            `jax.ad.DontWant()` neither computes nor returns it.
        """
        leaves, tree = jax.tree.flatten(wanted)
        if tree != self.tree:
            raise ValueError(
                f"with_refs takes one entry for each leaf of the primals of {self.name}, but their "
                f"tree structures differ: expected {self.tree}, got {tree}, "
                f"of types {[type(entry).__name__ for entry in wanted]}."
            )
        for reference, aval in zip(leaves, self.avals, strict=True):
            check_reference(reference, of_cotangents(aval))
        values = [i for i in self.references if isinstance(leaves[i], jax.ad.GradValue)]
        if values:
            raise ValueError(
                f"{self.names(values)} of {self.name} are mutable references, so their cotangents "
                "can't be returned as a value: hand over references for them, or "
                "jax.ad.DontWant()."
            )
        return Into(self, leaves)

    def tree_flatten(self) -> tuple[list, tuple]:
        """Returns what is kept, and the rest."""
        types = self.tree, self.avals, self.result_tree, self.result_avals
        return [self.pullback, self.opened], (self.name, types, self.logging, self.references)

    @classmethod
    def tree_unflatten(cls, rest: tuple, kept: Sequence) -> "VJP":
        """Returns the pullback that keeps these values; which of them are primals is not known."""
        pullback, opened = kept
        name, types, logging, references = rest
        more = {"opened": opened, "logging": logging, "references": references}
        return cls(name, pullback, *types, **more)


@jax.tree_util.register_pytree_node_class
@dataclasses.dataclass(slots=True)
class Opened:
    """What a pullback keeps.

    Attributes:
      frame: the pullback's structure.
      places: for every value kept, whether it is a primal, and its place among these or the others.
      count: number of leaves of the primals.
      primals: a pytree for each argument; others: a list.
    """

    frame: Any
    places: tuple[tuple[bool, int], ...]
    count: int
    primals: list
    others: list

    @classmethod
    def of(cls, pullback: Any, tree: Any, ids: tuple[int, ...]) -> "Opened":
        """Returns what a pullback keeps, the primals among it known by their ids."""
        kept, frame = jax.tree.flatten(pullback)
        numbers = {number: i for i, number in enumerate(ids)}
        primals: list = [NotNeeded()] * tree.num_leaves
        others, places = [], []
        for value in kept:
            i = numbers.get(id(value))
            if i is None:
                places.append((False, len(others)))
                others.append(value)
            else:
                places.append((True, i))
                primals[i] = value
        arguments = list(jax.tree.unflatten(tree, primals))
        return cls(frame, tuple(places), len(primals), arguments, others)

    def whole(self) -> Pullback:
        """Returns the pullback again."""
        paths = jax.tree_util.tree_leaves_with_path(self.primals, is_leaf=stands_for_none)
        primals = [x for _, x in paths]
        read = [i for primal, i in self.places if primal]
        if len(primals) != self.count or any(primals[i] is None for i in read):
            raise ValueError("a primal that the way back reads has been taken out of args_res.")
        names = [jax.tree_util.keystr(paths[i][0]) for i in read if is_not_saveable(primals[i])]
        if names:
            raise ValueError(
                "the way back was asked for before not-saveable primals were put back in args_res: "
                + ", ".join(f"args{name}" for name in dict.fromkeys(names))
            )
        kept = [(primals if primal else self.others)[i] for primal, i in self.places]
        kept = [x if type(x) not in (int, float, complex) else as_array(x) for x in kept]
        return jax.tree.unflatten(self.frame, kept)

    def tree_flatten(self) -> tuple[tuple, tuple]:
        """Returns the values, and where they belong."""
        return (self.primals, self.others), (self.frame, self.places, self.count)

    @classmethod
    def tree_unflatten(cls, rest: tuple, kept: Sequence) -> "Opened":
        """Returns what keeps these values."""
        return cls(*rest, *kept)


def is_not_needed(x: Any) -> bool:
    """Returns whether a place among the primals is empty because nobody reads it."""
    return isinstance(x, NotNeeded)


def is_not_saveable(x: Any) -> bool:
    """Returns whether a place among the primals is empty because it was not to be kept."""
    return isinstance(x, NotSaveable)


def stands_for_none(x: Any) -> bool:
    """Returns whether something stands in the place of a primal."""
    return x is None or is_not_needed(x) or is_not_saveable(x)


def flags(tree: Any, prefix: PyTree, name: str) -> list[bool]:
    """Returns a flag for each leaf of a tree, from flags for parts of it, matched by position."""
    if isinstance(prefix, bool):
        return [prefix] * tree.num_leaves
    parts, children = jax.tree.leaves(prefix, is_leaf=lambda x: x is not prefix), tree.children()
    if len(parts) != len(children):
        raise ValueError(
            f"{name} has {len(parts)} entries where the primals have {len(children)}: it "
            "must be a prefix of them, as a tree, whose leaves are booleans."
        )
    pairs = zip(children, parts, strict=True)
    return [flag for child, part in pairs for flag in flags(child, part, name)]


@dataclasses.dataclass(frozen=True, slots=True)
class Into:
    """A pullback that adds cotangents to references, or leaves them out."""

    vjp: VJP
    wanted: list

    @boundary
    def __call__(self, cotangent: PyTree, *more: PyTree) -> tuple:
        """Returns a tuple with a cotangent for each of the primals, or what stands for it."""
        unwanted = [isinstance(w, jax.ad.DontWant) for w in self.wanted]
        pullback = narrowed(self.vjp.whole(), unwanted)
        last = [None if unwanted[i] else self.wanted[i][...] for i in self.vjp.references]
        with collecting() as found:
            gradients = pullback([*self.vjp.checked(cotangent, *more), *last])
        for i, g in zip(self.vjp.references, last, strict=True):  # which is in the sum already
            if g is not None:
                self.wanted[i][...] = lax.full_like(g, 0)
        rows = zip(gradients, self.vjp.avals, self.wanted, strict=True)
        given = jax.tree.unflatten(self.vjp.tree, [handed_over(*row) for row in rows])
        return (given, found) if self.vjp.logging else given


def write_back(places: Sequence[int], given: list, before: list, after: Sequence) -> None:
    """Puts into references what they hold at the end, where that is something new."""
    for i, value in zip(places, after, strict=True):
        if value is not before[i]:
            given[i][...] = value


def check_reference(reference: Any, aval: Any) -> None:
    """Raises ValueError if a reference cannot take cotangents of this type."""
    if not is_reference(reference):
        return
    held = jax.typeof(reference).inner_aval
    if (held.shape, held.dtype) != (aval.shape, aval.dtype):
        raise ValueError(
            f"this primal requires a ref of type {aval.str_short()} for its cotangent, but got one "
            f"of type {held.str_short()}."
        )


def narrowed(pullback: Pullback, unwanted: Sequence[bool]) -> Pullback:
    """Returns the way back that computes nothing for the operands that are not wanted."""
    pairs = zip(pullback.inputs, unwanted, strict=True)
    inputs = [None if out else slot for slot, out in pairs]
    moving = {slot for slot in inputs if slot is not None}
    nodes = []
    for node in pullback.nodes:
        operands = [slot if slot in moving else None for slot in node.operands]
        if any(slot is not None for slot in operands):
            moving.update(slot for slot in node.results if slot is not None)
            kept = node.kept
            if operands != node.operands and isinstance(node.rule, Structured):
                wanted = [slot is not None for slot in operands]
                kept = functools.partial(of_wanted, kept, wanted)
            nodes.append(dataclasses.replace(node, operands=operands, kept=kept))
    return Pullback(nodes, inputs, [s if s in moving else None for s in pullback.outputs])


def of_wanted(pull: Callable, wanted: Sequence[bool], cotangents: list) -> tuple[list, Any]:
    """Returns what a unit's way back says of the operands wanted, and computes nothing else."""

    def chosen(*cotangents: Any) -> tuple[list, Any]:
        gradients, entries = pull(list(cotangents))
        return [g if w else None for g, w in zip(gradients, wanted, strict=True)], entries

    closed, shapes = jax.make_jaxpr(chosen, return_shape=True)(*cotangents)
    targets, equations = closed.jaxpr.outvars, closed.jaxpr.eqns
    used = needed_for(targets, equations, also=[e for e in equations if has_effects(e)])
    values = evaluate(used, bound(closed, jax.tree.leaves(cotangents)), targets)
    return jax.tree.unflatten(jax.tree.structure(shapes), values)


def handed_over(g: Any, aval: Any, wanted: Any) -> Any:
    """Returns a cotangent, or adds it to a reference, and returns what stands for it."""
    if isinstance(wanted, jax.ad.DontWant):
        return jax.ad.DidntWant()
    (g,) = ct.presented([g], [aval])
    if isinstance(wanted, jax.ad.GradValue):
        return g
    if is_reference(wanted):
        reference: Any = wanted
        refs.addupdate(reference, (), g)
        return jax.ad.GradRef()
    raise TypeError(
        "with_refs takes mutable references, jax.ad.GradValue() and jax.ad.DontWant(), but got "
        f"{wanted!r}."
    )


def check_cotangent(g: Any, aval: Any) -> Any:
    """Returns a cotangent the user gave for a result of this type; None if it can only be zero.

    An integer has a cotangent of dtype `float0`; as in JAX, any other of its shape will do. A
    number of Python's, or an array of NumPy's, stays one until a rule of the book reads it.
    """
    given = jax.typeof(g)
    dtype = of_tangents(aval.dtype)
    if given.shape != aval.shape or given.dtype != dtype != ct.float0:
        raise ValueError(
            "unexpected JAX type (e.g. shape/dtype) for argument to VJP function: got "
            f"{given.str_short()}, but expected {aval.update(dtype=dtype).str_short()} because the "
            f"corresponding output of the differentiated function had JAX type {aval.str_short()}"
        )
    if dtype == ct.float0:
        return None
    as_it_is = type(g) in (float, complex) or getattr(g, "dtype", None) == dtype
    return g if as_it_is else jnp.asarray(g)
