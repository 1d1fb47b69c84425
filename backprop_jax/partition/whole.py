"""The tape of programs that somebody reads."""

from backprop_jax.engine.tape import Tape


class Whole(Tape):
    """A tape for who reads the program that is staged: it calls no functions."""

    __slots__ = ()
    calls = False
