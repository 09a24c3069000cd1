"""Check arguments and results by their annotations, without importing JAX before a function is called."""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """Check the shapes and dtypes that jaxtyping's annotations name, at every call.

    As `jaxtyped` does, which imports JAX where it decorates; that takes longer than to score a data set of masks.
    """

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        return _checking(function)(*args, **kwargs)

    return call


@functools.cache
def _checking(function: Callable[P, R]) -> Callable[P, R]:
    from beartype import beartype
    from jaxtyping import jaxtyped

    checking: Callable[P, R] = jaxtyped(typechecker=beartype)(function)
    return checking
