"""Frame-similarity training."""

from vfs_jax.training.losses import frame_similarity_loss

__all__ = ["frame_similarity_loss"]
