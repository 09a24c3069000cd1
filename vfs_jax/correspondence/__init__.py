"""Correspondence between frames: labels carried by the similarity of features, and the parts it is made of."""

from vfs_jax.correspondence.affinity import affinity
from vfs_jax.correspondence.cross_correlation import cross_correlate
from vfs_jax.correspondence.memory import Memory, propagate_next, start_memory
from vfs_jax.correspondence.propagation import propagate_frame, propagate_video

__all__ = [
    "Memory",
    "affinity",
    "cross_correlate",
    "propagate_frame",
    "propagate_next",
    "propagate_video",
    "start_memory",
]
