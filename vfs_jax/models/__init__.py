"""The network and its weights."""

from vfs_jax.models.resnet import ResNet, depth_of, normalize_images
from vfs_jax.models.vfs import VFS, backbone_of, init_variables

__all__ = ["VFS", "ResNet", "backbone_of", "depth_of", "init_variables", "normalize_images"]
