"""The pullback that `vjp` returns: a function, a pytree, and a keeper of what it needs."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from backprop_jax.arguments import PyTree, is_reference
from backprop_jax.engine import cotangents as ct
from backprop_jax.engine.reverse import Pullback
