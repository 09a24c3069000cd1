"""Weights in files, our own and other people's: read, written, and named by one string."""

from vfs_jax.models.weights.torch_files import load_torch, save_torch

__all__ = ["load_torch", "save_torch"]
