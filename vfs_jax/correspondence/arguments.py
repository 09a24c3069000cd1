"""Check what the operators are given: shapes and types of arrays, and options that are plain numbers."""

import functools
import inspect
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

Number = float | int
_P = ParamSpec("_P")
_R = TypeVar("_R")


def checked(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Hold a function's arguments to their annotations, refuse empty axes, and take NumPy's scalars as options.

    Options are the arguments that are no arrays. Compiled programs are made for their values, so they are Python's
    scalars inside: `np.float32(12)` and `12.0` share a program.

    Args:
        function: annotated with jaxtyping's shapes; its options are keyword-only.

    Returns:
        The function, which raises ValueError for an axis of length 0, and TypeError, which says what came, for arrays
        whose shape or type is not the annotated one and for options that are traced.
    """

    @functools.cache
    def annotated() -> Callable[_P, _R]:  # at the first call: these checks take a tenth of JAX's own time to import
        from beartype import beartype
        from jaxtyping import jaxtyped

        checking: Callable[_P, _R] = jaxtyped(function, typechecker=beartype)
        return checking

    names = list(inspect.signature(function).parameters)

    @functools.wraps(function)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        for name, value in (*zip(names, args, strict=False), *kwargs.items()):
            shape = getattr(value, "shape", ())
            if 0 in shape:
                raise ValueError(f"{name} has an axis of length 0: its shape is {shape}")
            if isinstance(value, jax.core.Tracer) and value.ndim == 0:
                raise TypeError(f"{name} is traced: options are Python or NumPy scalars, only arrays are traced")
        for name, value in kwargs.items():
            if isinstance(value, np.generic):
                kwargs[name] = value.item()
        return annotated()(*args, **kwargs)

    return call


def own(array: jax.Array | np.ndarray) -> jax.Array:
    """Give a JAX array that nobody else writes into: a stream's owner may lay the next frame where this one was.

    JAX may read NumPy's memory for as long as a program runs, which is after the call that started it.
    """
    return jnp.asarray(array.copy() if isinstance(array, np.ndarray) else array)
