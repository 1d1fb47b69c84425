"""Statements that hold functions: loops, branches, maps, compiled functions, users' own rules."""

from collections.abc import Callable, Sequence

from tests.programs.program import Function, Value
from tests.programs.statements import coerced, write_row
from tests.programs.writer import REALS, Writer

SMALL = 24  # elements of an operand of a function that is run several times
POLICIES = (
    "",
    "",
    ", policy=jax.checkpoint_policies.dots_saveable",
    ", policy=jax.checkpoint_policies.everything_saveable",
    ", policy=jax.checkpoint_policies.save_only_these_names('kept')",
    ", prevent_cse=False",
)


def packed(w: Writer, names: Sequence[str]) -> tuple[str, list[str]]:
    """Returns a pytree of these names, and how each is found in one called `t`."""
    if len(names) == 1 and w.chance(70):
        return names[0], ["{t}"]
    how = w.integer(0, 5)
    first, rest = names[0], names[1:]
    if how == 0:
        pairs = ", ".join(f"'{chr(97 + i)}': {name}" for i, name in enumerate(names))
        return f"{{{pairs}}}", [f"{{t}}['{chr(97 + i)}']" for i in range(len(names))]
    if how == 1:
        inner = f"[{', '.join(rest)}]"
        return f"Pair({first}, {inner})", ["{t}.a", *(f"{{t}}.b[{i}]" for i in range(len(rest)))]
    if how == 2:
        inner = f"({first}, None, [{', '.join(rest)}])"
        paths = ["{t}.inside[0]", *(f"{{t}}.inside[2][{i}]" for i in range(len(rest)))]
        return f"Box({inner})", paths
    if how == 3:
        inner = f"{{'b': ({', '.join(rest)}{',' if rest else ''})}}"
        return f"[{inner}, {first}]", ["{t}[1]", *(f"{{t}}[0]['b'][{i}]" for i in range(len(rest)))]
    return f"({', '.join(names)},)", [f"{{t}}[{i}]" for i in range(len(names))]


def operands(
    w: Writer, most: int = 3, fits: Callable[[Value], bool] = lambda v: True
) -> list[Value]:
    """Returns some values in scope, one of them real at least."""
    chosen = [w.real(low=0)]
    for _ in range(w.integer(0, most - 1)):
        value = w.pick(fits)
        if value is not None:
            chosen.append(value)
    return chosen


def parameters(w: Writer, values: Sequence[Value]) -> tuple[list[Value], str]:
    """Returns the values by the names a function has for them, and its parameters."""
    inner = [v._replace(name=w.name("p")) for v in values]
    return inner, ", ".join(v.name for v in inner)


def body(
    w: Writer, inner: Sequence[Value], closed: bool = False, most: int = 3, plain: bool = False
) -> Writer:
    """Returns the writer of a function's statements; `closed`: it sees its parameters alone."""
    child = w.child(inner if closed else [*w.scope, *inner])
    child.fresh = list(inner)
    for _ in range(w.integer(1, most)):
        if not plain and child.depth < 3 and w.chance(22):
            write_structure(child)
        else:
            write_row(child)
    return child


def results(child: Writer, most: int = 2) -> list[Value]:
    """Returns what a function returns: the newest of its values, a real one for sure."""
    fresh = child.fresh[::-1]
    real = [v for v in fresh if v.dtype in REALS]
    chosen = real[:1] or [child.real()]
    others = [v for v in fresh if v is not chosen[0]]
    return chosen + others[: child.integer(0, most - 1)]


def define(w: Writer, child: Writer, params: str, result: str, letter: str = "f") -> str:
    """Adds the definition of a function, and returns its name."""
    name = w.name(letter)
    w.statements.append(Function(name, params, tuple(child.statements), result))
    return name


def call(w: Writer, text: str, outs: Sequence[Value], paths: Sequence[str]) -> None:
    """Adds a call, and brings what it returns into scope."""
    if list(paths) == ["{t}"]:
        names = [w.name("v")]
        w.statements.append(f"{names[0]} = {text}")
    else:
        tree = w.name("t")
        w.statements.append(f"{tree} = {text}")
        names = [path.replace("{t}", tree) for path in paths]
    for name, out in zip(names, outs, strict=True):
        w.know(out._replace(name=name))


def returned(w: Writer, child: Writer, most: int = 2) -> tuple[list[Value], str, list[str]]:
    """Returns a function's results, the text that returns them, and where each is found."""
    outs = results(child, most)
    tree, paths = packed(w, [v.name for v in outs])
    return outs, tree, paths


def write_call(w: Writer) -> None:
    """Adds a function of a pytree and a value, compiled, checkpointed or plain."""
    values = operands(w)
    inner, _ = parameters(w, values)
    tree, paths = packed(w, [v.name for v in values])
    param = w.name("p")
    seen = [
        v._replace(name=path.replace("{t}", param)) for v, path in zip(inner, paths, strict=True)
    ]
    child = body(w, seen)
    outs, result, out_paths = returned(w, child)
    name = define(w, child, param, result)
    wrap = w.choose(
        (
            "jax.jit({f})",
            "jax.jit({f})",
            f"jax.checkpoint({{f}}{w.choose(POLICIES)})",
            "jax.checkpoint(jax.jit({f}))",
            "jax.named_call({f})",
            "{f}",
        )
    )
    wrapped = wrap.replace("{f}", name)
    text = f"{wrapped}({tree})"
    if w.chance(15):  # shared: called twice
        text = f"jax.tree.map(jnp.add, {text}, {text})"
        outs = [o._replace(low=2 * o.low, high=2 * o.high) for o in outs]
        outs = [o._replace(dtype="bool" if o.dtype == "bool" else o.dtype) for o in outs]
    call(w, text, outs, out_paths)


def write_vmap(w: Writer) -> None:
    """Adds a map over an axis, of some operands."""
    x = w.real(low=1)
    axis = w.integer(0, x.ndim - 1)
    count = x.shape[axis]
    values, axes = [x], [str(axis)]
    other = w.pick(lambda v: v.size <= SMALL)
    if other is not None:
        mapped = other.ndim > 0 and other.shape[0] == count
        values.append(other)
        axes.append("0" if mapped else "None")
    slices = [
        v if a == "None" else v._replace(shape=v.shape[: int(a)] + v.shape[int(a) + 1 :])
        for v, a in zip(values, axes, strict=True)
    ]
    inner, params = parameters(w, slices)
    child = body(w, inner, most=2)
    outs, result, paths = returned(w, child)
    name = define(w, child, params, result)
    args = ", ".join(v.name for v in values)
    stacked = [o._replace(shape=(count, *o.shape)) for o in outs]
    if all(a == "0" for a in axes) and len(axes) == 1 and w.chance(40):
        call(w, f"lax.map({name}, {args})", stacked, paths)
        return
    text = f"jax.vmap({name}, in_axes=({', '.join(axes)},))({args})"
    call(w, text, stacked, paths)


def write_scan(w: Writer) -> None:
    """Adds a loop with a carry, stacked operands and results, and values from around it."""
    xs = w.pick(lambda v: v.ndim > 0 and v.dtype in REALS) if w.chance(75) else None
    length = xs.shape[0] if xs else w.integer(2, 3)
    starts = [w.real((-1.0, 1.0), 0, 2)]
    if w.chance(40):
        starts.append(w.real((-1.0, 1.0), 0, 1))
    if w.chance(30):
        starts.append(Value(str(w.integer(0, 2)), (), "int64", 0, 3))
    marks = [f"<{chr(97 + i)}>" for i in range(len(starts))]
    tree, paths = packed(w, marks)
    carry, row = w.name("c"), w.name("x")
    inner = [v._replace(name=p.replace("{t}", carry)) for v, p in zip(starts, paths, strict=True)]
    if xs:
        inner.append(xs._replace(name=row, shape=xs.shape[1:]))
    child = body(w, inner, most=3)
    new = []
    for start, before in zip(starts, inner, strict=False):
        found = child.fresh[-1 - w.integer(0, min(2, len(child.fresh) - 1))]
        source = before if start.dtype == "int64" or found.dtype not in REALS else found
        text = coerced(child, source, start.shape, start.dtype, 1.0)
        new.append("jnp.zeros((), 'int64') + " + text if start.dtype == "int64" else text)
    after = filled(tree, marks, new)
    outs, ys, y_paths = returned(w, child)
    ys, y_paths, outs = ("None", [], []) if w.chance(20) else (ys, y_paths, outs)
    name = define(w, child, f"{carry}, {row}", f"{after}, {ys}", "body")
    firsts = [
        f"jnp.asarray({v.name}, {v.dtype!r})" if v.dtype == "int64" else v.name for v in starts
    ]
    start = filled(tree, marks, firsts)
    options = w.choose(("", "", ", reverse=True", ", unroll=2"))
    options += f", length={length}" if xs is None else ""
    final, stack = w.name("t"), w.name("t")
    xs_text = xs.name if xs else "None"
    w.statements.append(f"{final}, {stack} = lax.scan({name}, {start}, {xs_text}{options})")
    for v, path in zip(starts, paths, strict=True):
        w.know(v._replace(name=path.replace("{t}", final), low=v.low, high=v.high))
    for out, path in zip(outs, y_paths, strict=True):
        w.know(out._replace(name=path.replace("{t}", stack), shape=(length, *out.shape)))


def filled(tree: str, marks: Sequence[str], names: Sequence[str]) -> str:
    """Returns the text of a pytree with names in the places of the marks."""
    for mark, name in zip(marks, names, strict=True):
        tree = tree.replace(mark, name)
    return tree


def write_for(w: Writer) -> None:
    """Adds a loop of a known number of trips, or one whose trips are counted at run time."""
    start = w.real((-1.0, 1.0), 0, 2)
    known = w.chance(60)
    trip, carry = w.name("n"), w.name("c")
    inner = [Value(trip, (), "int64", 0, 3), start._replace(name=carry)]
    child = body(w, inner, most=2, plain=True)
    found = child.fresh[-1] if child.fresh[-1].dtype in REALS else inner[1]
    after = coerced(child, found, start.shape, start.dtype)
    if known:
        name = define(w, child, f"{trip}, {carry}", after, "body")
        call(w, f"lax.fori_loop(0, {w.integer(1, 3)}, {name}, {start.name})", [start], ["{t}"])
        return
    name = define(w, child, f"{trip}, {carry}", after, "body")
    stop = w.index(3)
    # Half of them are differentiated: there JAX has nothing to say, and the slope does.
    keep = "lax.stop_gradient({})" if w.chance(50) else "{}"
    first, step = keep.format(start.name), keep.format(f"{name}(*s)")
    text = (
        f"lax.while_loop(lambda s: s[0] < {stop.name}, lambda s: (s[0] + 1, {step}), "
        f"(jnp.asarray(0, 'int64'), {first}))[1]"
    )
    call(w, text, [start], ["{t}"])


def write_cond(w: Writer) -> None:
    """Adds a choice between functions of the same types."""
    values = operands(w, 2)
    shape, dtype = w.shape(0, 2), w.choose(("float64", "float64", "float32"))
    names = []
    count = w.choose((2, 2, 3))
    for _ in range(count):
        inner, params = parameters(w, values)
        child = body(w, inner, most=2)
        outs = results(child, 1)
        name = define(w, child, params, coerced(child, outs[0], shape, dtype, 3.0), "branch")
        names.append(name)
    args = ", ".join(v.name for v in values)
    if count == 2:
        x = w.real(low=0, high=0) if w.chance(70) else None
        test = f"{x.name} > {w.number(-0.3, 0.3)}" if x else f"{w.index(2).name} == 0"
        text = f"lax.cond({test}, {', '.join(names)}, {args})"
    else:
        text = f"lax.switch({w.index(3).name}, [{', '.join(names)}], {args})"
    call(w, text, [Value("", shape, dtype, -3.0, 3.0)], ["{t}"])


def write_gradient(w: Writer) -> None:
    """Adds a derivative within the program, of a function that sees values from around it."""
    x = w.real(low=0)
    inner, params = parameters(w, [x])
    child = body(w, inner, most=2)
    out = results(child, 1)[0]
    who = w.choose(("ad", "ad", "jax"))
    how = w.integer(0, 6)
    if how >= 4:
        bound = round(out.bound * max(1, out.size) + 1, 1)
        final = coerced(child, out, x.shape, x.dtype)
        name = define(w, child, params, final)
        holds_reverse = any("jax.custom_vjp" in line for line in w.statements[-1].lines())
        if how == 4 and not holds_reverse:  # that does not run: JAX has no forward mode of it
            text = f"jax.jvp({name}, ({x.name},), (jnp.cos({x.name}),))[1]"
        elif how in (4, 5):
            text = f"{who}.vjp({name}, {x.name})[1](jnp.sin({x.name}))[0]"
        else:
            text = f"jnp.sum({who}.jacrev({name})({x.name}), axis=tuple(range({x.ndim})))"
    else:
        scalar = f"jnp.sum({out.name} * {w.number(0.2, 1.0)})"
        scalar = f"jnp.sin({scalar})" if w.chance(60) else scalar
        name = define(w, child, params, scalar)
        text = f"{who}.grad({name})({x.name})"
        if how == 1:
            text = f"jax.jit({who}.grad({name}))({x.name})"
        elif how == 2 and x.ndim == 1:
            text = f"{who}.hessian({name})({x.name}) @ jnp.ones_like({x.name})"
        elif how == 3:
            text = f"jax.vmap({who}.grad({name}))(jnp.stack([{x.name}, 0.5 * {x.name}]))[1]"
    bound = 4.0
    call(w, f"jnp.tanh({text})", [Value("", x.shape, x.dtype, -bound, bound)], ["{t}"])


def write_custom(w: Writer) -> None:
    """Adds a function with a rule of its user's: forward or reverse."""
    values = [w.real((-3.0, 3.0))] + ([w.real((-3.0, 3.0))] if w.chance(60) else [])
    inner, params = parameters(w, values)
    child = body(w, inner, closed=True, most=2, plain=True)
    outs = [results(child, 1)[0]]
    plain = define(w, child, params, outs[0].name, "plain")
    name, args = w.name("g"), ", ".join(v.name for v in values)
    how = w.integer(0, 4)
    if how == 0:
        w.statements += [
            f"{name} = jax.custom_jvp({plain})",
            f"{name}.defjvp(lambda p, t: jax.jvp({plain}, p, t))",
        ]
    elif how == 1:
        w.statements += [
            f"{name} = jax.custom_jvp({plain})",
            f"{name}.defjvp(lambda p, t: ({name}(*p), jax.jvp({plain}, p, t)[1]))",
        ]
    elif how == 2:
        w.statements += [
            f"{name} = jax.custom_vjp({plain})",
            f"{name}.defvjp(lambda *p: jax.vjp({plain}, *p), lambda pull, g: pull(g))",
        ]
    elif how == 3:
        who = w.choose(("ad", "jax"))
        w.statements += [
            f"{name} = jax.custom_vjp({plain})",
            f"{name}.defvjp(lambda *p: ({plain}(*p), p), "
            f"lambda p, g: {who}.vjp({plain}, *p)[1](g))",
        ]
    else:
        w.statements += [
            f"{name} = jax.custom_vjp(lambda scale, *p: scale * {plain}(*p), nondiff_argnums=(0,))",
            f"{name}.defvjp(lambda scale, *p: (scale * {plain}(*p), p), "
            f"lambda scale, p, g: jax.vjp({plain}, *p)[1](scale * g))",
        ]
        args = f"1.0, {args}"
    call(w, f"{name}({args})", outs, ["{t}"])


#: Each kind with how often a structure is of it.
KINDS = (
    (write_call, 5),
    (write_vmap, 4),
    (write_scan, 5),
    (write_for, 3),
    (write_cond, 4),
    (write_gradient, 3),
    (write_custom, 4),
)


def write_structure(w: Writer) -> None:
    """Adds a statement that holds a function."""
    w.choose([kind for kind, often in KINDS for _ in range(often)])(w)
