"""Encoders turn frames into feature maps: our networks, a function of yours, and features that lie on disk."""

from vfs_jax.evaluation.encoders.base import Encoder, NamedEncoder
from vfs_jax.evaluation.encoders.function import FunctionEncoder
from vfs_jax.evaluation.encoders.given import AnyEncoder, as_encoder, name_encoder, name_encoders
from vfs_jax.evaluation.encoders.network import NetworkEncoder, of_network
from vfs_jax.evaluation.encoders.stored import StoredFeatures

__all__ = [
    "AnyEncoder",
    "Encoder",
    "FunctionEncoder",
    "NamedEncoder",
    "NetworkEncoder",
    "StoredFeatures",
    "as_encoder",
    "name_encoder",
    "name_encoders",
    "of_network",
]
