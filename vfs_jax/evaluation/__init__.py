"""Evaluation of correspondence."""

from vfs_jax.evaluation.label_tasks import stream
from vfs_jax.evaluation.siamfc import SiamFCTracker

__all__ = ["SiamFCTracker", "stream"]
