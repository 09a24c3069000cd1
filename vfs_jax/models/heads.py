"""The heads on top of a backbone: projector and predictor of VFS, and the SiamFC head of box tracking."""

from collections.abc import Sequence

import jax
from beartype import beartype
from flax import linen as nn
from jax import numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, jaxtyped

from vfs_jax.models.resnet import batch_norm, is_bottleneck


def head_widths(depth: int) -> tuple[int, int]:
    """Return the release's widths of the projection and of the predictor's hidden layer.

    Args:
        depth: of the ResNet below the heads.

    Example:
        >>> head_widths(18), head_widths(50)
        ((512, 128), (2048, 512))
    """
    return (2048, 512) if is_bottleneck(depth) else (512, 128)


def linear(x: Array, features: int, *, name: str) -> Array:
    """Apply a Linear layer with torch's default initialization: weight and bias uniform in +-1/sqrt(fan_in).

    Args:
        x: [..., c], of the dtype that is computed in.
        features: channels of the output.
        name: of the parameters in the calling module.

    Returns:
        [..., features].
    """
    uniform = _torch_uniform(x.shape[-1])
    return nn.Dense(features, dtype=x.dtype, kernel_init=uniform, bias_init=uniform, name=name)(x)


def _torch_uniform(fan_in: int) -> nn.initializers.Initializer:
    bound = fan_in**-0.5

    def uniform(key: Array, shape: Sequence[int], dtype: DTypeLike = jnp.float32, **_: object) -> Array:
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return uniform


class Projector(nn.Module):
    """Linear-BN-ReLU, Linear-BN-ReLU, Linear-BN (VFS section 3, as the release builds it).

    Attributes:
        width: of all three layers.
    """

    width: int

    @nn.compact
    @jaxtyped(typechecker=beartype)
    def __call__(self, features: Float[Array, "n c"], train: bool = False) -> Float[Array, "n {self.width}"]:
        """Map pooled features [n, c] to embeddings z [n, width]."""
        x = features
        for i in (1, 2, 3):
            x = batch_norm(linear(x, self.width, name=f"linear{i}"), train, name=f"bn{i}")
            x = x if i == 3 else nn.relu(x)
        return x


class Predictor(nn.Module):
    """Linear-BN-ReLU, Linear (VFS section 3, as the release builds it).

    Attributes:
        width: of the output.
        hidden: of the layer between.
    """

    width: int
    hidden: int

    @nn.compact
    @jaxtyped(typechecker=beartype)
    def __call__(self, z: Float[Array, "n d"], train: bool = False) -> Float[Array, "n {self.width}"]:
        """Map embeddings z [n, d] to predictions p [n, width] of the other view's embeddings."""
        x = nn.relu(batch_norm(linear(z, self.hidden, name="linear1"), train, name="bn1"))
        return linear(x, self.width, name="linear2")


class SiamFCHead(nn.Module):
    """Separate 1x1 convolutions for the exemplar and the search features of a box tracker (SiamFC on frozen res5).

    Attributes:
        width: channels of both outputs, those of the backbone's res5 in the release.

    Example:
        >>> z, x = jnp.zeros((1, 15, 15, 512)), jnp.zeros((1, 32, 32, 512))
        >>> (z, x), _ = SiamFCHead(width=512).init_with_output(jax.random.key(0), z, x)
        >>> z.shape, x.shape
        ((1, 15, 15, 512), (1, 32, 32, 512))
    """

    width: int

    @nn.compact
    @jaxtyped(typechecker=beartype)
    def __call__(
        self, exemplar: Float[Array, "b h w c"], search: Float[Array, "b h2 w2 c"]
    ) -> tuple[Float[Array, "b h w {self.width}"], Float[Array, "b h2 w2 {self.width}"]]:
        """Map exemplar [b, h, w, c] and search [b, h2, w2, c] features to those that are cross-correlated."""

        def convolution(x: Array, name: str) -> Array:
            uniform = _torch_uniform(x.shape[-1])
            return nn.Conv(self.width, (1, 1), dtype=x.dtype, kernel_init=uniform, bias_init=uniform, name=name)(x)

        return convolution(exemplar, "exemplar"), convolution(search, "search")
