"""Other people's weight files, read and written."""

from vfs_jax.models.weights.torch_files import load_torch, save_torch

__all__ = ["load_torch", "save_torch"]
