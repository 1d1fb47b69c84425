"""The strategy: random programs, built of the table's rows and of structures."""

from random import Random

from hypothesis import strategies as st

from tests.programs.program import Function, Program, Value
from tests.programs.statements import write_row
from tests.programs.structures import packed, write_structure
from tests.programs.writer import Writer

DTYPES = ("float64",) * 8 + ("float32", "bfloat16")


def programs() -> st.SearchStrategy[Program]:
    """Returns the strategy.

    What hypothesis draws is the state of a generator of random numbers, so that programs are as
    different as they can be: hypothesis would make many of one. To make those short that fail is
    the part of `trial.shortened`.
    """
    return st.randoms(use_true_random=True).map(program)


def program(random: Random) -> Program:
    """Returns a program: arguments, statements, results, and what is to be checked of it."""
    w = Writer(random)
    names, texts = [], []
    for name in "xyz"[: w.integer(1, 3)]:
        names.append(name)
        texts.append(argument(w, name))
    if w.chance(50):
        names.append("n")
        texts.append(f"jnp.asarray({w.integer(0, 2)})")
        w.scope.append(Value("n", (), "int64", 0, 2))
    if w.chance(15):
        names.append("key")
        texts.append(f"jax.random.key({w.integer(0, 99)})")
        shape = w.shape(0, 2)
        w.statements.append(f"noise = jax.random.normal(key, {shape})")
        w.scope.append(Value("noise", shape, "float64", -4.5, 4.5))
    for _ in range(w.integer(2, 6)):
        (write_structure if w.chance(28) else write_row)(w)
    fresh = [v for v in w.fresh[::-1] if v.dtype != "bool" or w.chance(30)]
    outs = fresh[: w.integer(1, 3)] or [w.real()]
    if all(v.dtype not in ("float64", "float32", "bfloat16", "complex128") for v in outs):
        outs.append(w.real())
    result, _ = packed(w, [v.name for v in outs])
    main = Function("program", ", ".join(names), tuple(w.statements), result)
    checks = {"first"}
    checks |= {"eager"} if w.chance(15) else set()
    checks |= {w.choose(("second", "hvp", "mixed"))} if w.chance(40) else set()
    checks |= {"vmap"} if w.chance(8) else set()
    arguments = f"({', '.join(texts)},)"
    return Program(tuple(w.constants), main, arguments, frozenset(checks), w.integer(0, 9999))


def argument(w: Writer, name: str) -> str:
    """Returns the text of an argument, an array or a pytree, and brings its leaves into scope."""
    values, texts = [], []
    for i in range(w.choose((1, 1, 1, 2, 3))):
        shape, dtype = w.shape(), w.choose(DTYPES)
        low, high = w.choose(((-1.0, 1.0), (0.4, 2.0), (-2.0, 2.0)))
        text = f"np.random.default_rng({w.integer(0, 999)}).uniform({low}, {high}, {shape})"
        if w.chance(8):
            dtype = "complex128"
            text += " * np.exp(0.7j)"
        if i and w.chance(15):
            dtype, low, high = "int64", 0, 3
            text = f"np.arange({len(shape) + 1})"
            shape = (len(shape) + 1,)
        values.append(Value("", shape, dtype, low, high))
        texts.append(f"jnp.asarray({text}, {dtype!r})")
    tree, paths = packed(w, texts)
    w.scope += [v._replace(name=p.replace("{t}", name)) for v, p in zip(values, paths, strict=True)]
    return tree
