"""Evaluation of correspondence."""

from vfs_jax.evaluation.label_tasks import stream

__all__ = ["stream"]
