"""XLA compiles in a third of the time, for programs that are small and run once or twice."""

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

import jax
from jax._src import compiler  # no public name sets options of XLA for all that is compiled

OLD_EMITTERS = {"xla_cpu_use_fusion_emitters": False, "xla_cpu_parallel_codegen_split_count": 1}
"""What jax 0.10 takes besides: the newer way of writing loops takes most of the time."""


@contextlib.contextmanager
def compiled_quickly() -> Iterator[None]:
    """Programs are left as they stand within: of memory and last digits they say nothing."""
    before = jax.config.read("jax_disable_most_optimizations")
    options = OLD_EMITTERS if jax.__version_info__[:2] == (0, 10) else {}
    of_jax = compiler.get_compile_options

    def get_compile_options(*args: Any, **given: Any) -> Any:
        own = given.pop("env_options_overrides", None) or {}
        return of_jax(*args, env_options_overrides={**options, **own}, **given)

    jax.config.update("jax_disable_most_optimizations", True)
    try:
        with mock.patch.object(compiler, "get_compile_options", get_compile_options):
            yield
    finally:
        jax.config.update("jax_disable_most_optimizations", before)
