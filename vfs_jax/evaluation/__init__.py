"""Evaluation of correspondence."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vfs_jax.evaluation.data_sets import evaluate
    from vfs_jax.evaluation.streams import stream
    from vfs_jax.evaluation.tracking.siamfc import SiamFCTracker

__all__ = ["SiamFCTracker", "evaluate", "stream"]


def __getattr__(name: str) -> object:
    """Import what is asked for: scoring needs neither, nor the second that JAX takes to import."""
    if name == "stream":
        from vfs_jax.evaluation.streams import stream

        return stream
    if name == "evaluate":
        from vfs_jax.evaluation.data_sets import evaluate

        return evaluate
    if name == "SiamFCTracker":
        from vfs_jax.evaluation.tracking.siamfc import SiamFCTracker

        return SiamFCTracker
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
