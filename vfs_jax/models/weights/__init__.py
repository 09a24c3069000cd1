"""Weights in files, our own and other people's: read, written, and named by one string."""

from vfs_jax.models.weights.load import Network, load_torch, load_weights
from vfs_jax.models.weights.save import save_torch

__all__ = ["Network", "load_torch", "load_weights", "save_torch"]
