"""The network and its weights."""

from vfs_jax.models.heads import SiamFCHead
from vfs_jax.models.resnet import ResNet, depth_of, normalize_images
from vfs_jax.models.vfs import VFS, backbone_of, init_variables
from vfs_jax.models.vit import ViT
from vfs_jax.models.weights import load_torch, load_weights, save_torch

__all__ = [
    "VFS",
    "ResNet",
    "SiamFCHead",
    "ViT",
    "backbone_of",
    "depth_of",
    "init_variables",
    "load_torch",
    "load_weights",
    "normalize_images",
    "save_torch",
]
