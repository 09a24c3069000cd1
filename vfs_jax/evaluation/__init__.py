"""Evaluation of correspondence."""

from vfs_jax.evaluation.propagation.labels import stream
from vfs_jax.evaluation.tracking.siamfc import SiamFCTracker

__all__ = ["SiamFCTracker", "stream"]
