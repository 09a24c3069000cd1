"""Vision transformers (DINO, DINOv2, DINOv3, MAE, timm's plain ones) that put out the patches of any block."""

import jax.numpy as jnp
import numpy as np
from beartype import beartype
from flax import linen as nn
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float, jaxtyped

from vfs_jax.models.attention import at_least_float32, attend
from vfs_jax.models.position_codes import Positions, resample, rotary_code, rotary_periods, rotate

_NORMAL = nn.initializers.truncated_normal(0.02)


def _dense(x: Array, features: int, *, name: str, use_bias: bool = True) -> Array:
    return nn.Dense(features, use_bias=use_bias, dtype=x.dtype, kernel_init=_NORMAL, name=name)(x)


def layer_norm(x: Array, epsilon: float, *, name: str) -> Array:
    """Normalize over the channels, in at least float32.

    Args:
        x: [..., c].
        epsilon: added to the variance.
        name: of the parameters in the calling module.

    Returns:
        [..., c] of the dtype of x.
    """
    wide = at_least_float32(x.dtype)
    norm = nn.LayerNorm(
        epsilon=epsilon,
        dtype=wide,
        param_dtype=wide,
        use_fast_variance=False,
        force_float32_reductions=False,  # x is in float32 or float64 already; the forcing trips over strict promotion
        name=name,
    )
    return norm(x.astype(wide)).astype(x.dtype)


def _gelu(x: Array) -> Array:
    """Apply the exact GELU, x times the normal distribution's integral up to x."""
    wide = x.astype(at_least_float32(x.dtype))
    return (0.5 * wide * (1 + lax.erf(wide * 0.5**0.5))).astype(x.dtype)


class TransformerBlock(nn.Module):
    """Attention and a feed-forward network, each normalized before, scaled and added.

    Attributes:
        heads: of the attention.
        hidden: channels of the feed-forward network's hidden layer.
        gated: SwiGLU, silu(gate) * x, instead of a GELU; the first layer then has 2 * hidden channels, the gate's
            first.
        layer_scale: whether each branch is multiplied by a learned vector.
        qkv_bias: whether queries, keys and values have a bias.
        epsilon: of both norms.
    """

    heads: int
    hidden: int
    gated: bool
    layer_scale: bool
    qkv_bias: bool
    epsilon: float

    @nn.compact
    def __call__(self, x: Array, code: tuple[Array, Array] | None) -> Array:
        """Map tokens [b, n, c] to tokens; `code` are the sines and cosines of rotary positions of the last ones."""
        b, n, c = x.shape
        y = _dense(layer_norm(x, self.epsilon, name="norm1"), 3 * c, name="qkv", use_bias=self.qkv_bias)
        query, key, value = y.reshape(b, n, 3, self.heads, c // self.heads).transpose(2, 0, 3, 1, 4)
        if code is not None:
            query, key = rotate(query, *code), rotate(key, *code)
        y = attend(query, key, value).transpose(0, 2, 1, 3).reshape(b, n, c)
        x = x + self._scaled(_dense(y, c, name="proj"), "scale1")

        y = layer_norm(x, self.epsilon, name="norm2")
        y = _dense(y, self.hidden * (2 if self.gated else 1), name="fc1")
        if self.gated:
            gate, y = jnp.split(y, 2, axis=-1)
            y = nn.silu(gate) * y
        else:
            y = _gelu(y)
        return x + self._scaled(_dense(y, c, name="fc2"), "scale2")

    def _scaled(self, branch: Array, name: str) -> Array:
        if not self.layer_scale:
            return branch
        scale = self.param(name, nn.initializers.ones, (branch.shape[-1],), jnp.float32)
        return branch * scale.astype(branch.dtype).reshape(1, 1, -1)


class ViT(nn.Module):
    """A vision transformer of any of the published kinds.

    Images of any size are cut into patches; rows and columns that fill no patch are left out at the bottom and the
    right. Class token and registers take part and are not put out. Float32 parameters; on accelerators whose matrix
    units round float32 (TPU, recent GPUs), set `jax_default_matmul_precision` to "float32" where full precision
    matters. Memory is linear in the number of patches: no array holds the scores of all pairs.

    Attributes:
        patch: pixels a side of a patch.
        width: channels of a token.
        depth: blocks.
        heads: of each attention.
        hidden: channels of the feed-forward networks' hidden layer.
        gated: SwiGLU instead of GELU (DINOv2 g, DINOv3 S+, H+, 7B).
        layer_scale: whether branches are scaled (DINOv2, DINOv3).
        registers: tokens beside the class token (DINOv2's registers, DINOv3's storage tokens).
        positions: "offset" (DINO, MAE, DINOv2 without registers), "antialiased" (DINOv2 with registers, timm) or
            "rotary" (DINOv3); see `vfs_jax.models.position_codes`.
        grid: patches a side of the square grid that learned positions are stored for.
        qkv_bias: whether queries, keys and values have a bias. DINOv3's keys have none: theirs is 0.
        epsilon: of all norms.
        family: "dino", "dinov2", "dinov3", "mae" or "vit", for reports; the computation does not depend on it.
        outputs: names among "norm" (the last block's patches after the final norm) and "block.0", "block.1", ... (the
            patches as that block puts them out, without the norm).
        dtype: of computation and output; norms, softmax and rotary angles are computed in at least float32.

    Example:
        >>> import jax
        >>> model = ViT(depth=2, outputs=("norm", "block.0"))
        >>> images = jnp.zeros((1, 64, 48, 3))
        >>> shapes = jax.eval_shape(lambda: model.init_with_output(jax.random.key(0), images)[0])
        >>> shapes["norm"].shape, shapes["block.0"].shape
        ((1, 4, 3, 384), (1, 4, 3, 384))
    """

    patch: int = 16
    width: int = 384
    depth: int = 12
    heads: int = 6
    hidden: int = 1536
    gated: bool = False
    layer_scale: bool = False
    registers: int = 0
    positions: Positions = "offset"
    grid: int = 14
    qkv_bias: bool = True
    epsilon: float = 1e-6
    family: str = "dino"
    outputs: tuple[str, ...] = ("norm",)
    dtype: DTypeLike = jnp.float32

    @property
    def block_names(self) -> tuple[str, ...]:
        """All blocks, one after the other."""
        return tuple(f"block.{i}" for i in range(self.depth))

    @property
    def output_names(self) -> tuple[str, ...]:
        """All outputs that there are: blocks, then the final norm."""
        return (*self.block_names, "norm")

    @property
    def default_output(self) -> str:
        """The output that evaluations take."""
        return "norm"

    @property
    def multiple(self) -> int:
        """What the sides of an image must be multiples of, for all of it to be seen."""
        return self.patch

    @property
    def color(self) -> str:
        """What the images are before they are normalized."""
        return "rgb"

    def stride_of(self, output: str) -> int:
        """Return the pixels a cell of an output."""
        return self.patch

    @nn.compact
    @jaxtyped(typechecker=beartype)
    def __call__(self, images: Float[Array | np.ndarray, "b h w 3"]) -> dict[str, Float[Array, "b _ _ {self.width}"]]:
        """Compute features.

        Args:
            images: normalized RGB, at least one patch high and wide.

        Returns:
            {name: [b, h // patch, w // patch, width]} for each of `outputs`.

        Raises:
            ValueError: an unknown output, or an image smaller than a patch.
        """
        if not self.outputs or not set(self.outputs) <= set(self.output_names):
            raise ValueError(f"outputs {self.outputs!r}: take one or more of {', '.join(self.output_names)}")
        if min(images.shape[1:3]) < self.patch:
            raise ValueError(f"images of {images.shape[1:3]} pixels hold no patch of {self.patch}")
        x, rows, cols = self._tokens(jnp.asarray(images).astype(self.dtype))
        code = None
        if self.positions == "rotary":
            size = self.width // self.heads
            periods = self.param("periods", lambda _: jnp.asarray(rotary_periods(size)))
            code = rotary_code(periods.astype(at_least_float32(self.dtype)), (rows, cols))

        def patches(tokens: Array) -> Array:
            return tokens[:, 1 + self.registers :].reshape(len(images), rows, cols, self.width)

        features, missing = {}, set(self.outputs)
        for i in range(self.depth):
            if not missing and not self.is_initializing():
                break
            x = TransformerBlock(
                heads=self.heads,
                hidden=self.hidden,
                gated=self.gated,
                layer_scale=self.layer_scale,
                qkv_bias=self.qkv_bias,
                epsilon=self.epsilon,
                name=f"block_{i}",
            )(x, code)
            missing.discard(f"block.{i}")
            features[f"block.{i}"] = x
        if missing or self.is_initializing():
            features["norm"] = layer_norm(x, self.epsilon, name="norm")
        return {output: patches(features[output]) for output in self.outputs}

    def _tokens(self, images: Array) -> tuple[Array, int, int]:
        """Return the class token, registers and embedded patches [b, n, c], and the rows and columns of patches."""
        b, height, width, _ = images.shape
        side, c = self.patch, self.width
        rows, cols = height // side, width // side
        cut = images[:, : rows * side, : cols * side].reshape(b, rows, side, cols, side, 3).transpose(0, 1, 3, 2, 4, 5)
        kernel = self.param("patch_kernel", _NORMAL, (side, side, 3, c), jnp.float32).astype(self.dtype)
        bias = self.param("patch_bias", nn.initializers.zeros, (c,), jnp.float32).astype(self.dtype)
        x = cut.reshape(b, rows * cols, -1) @ kernel.reshape(-1, c) + bias.reshape(1, 1, c)

        first = self.param("class_token", _NORMAL, (c,), jnp.float32).reshape(1, c)
        if self.positions != "rotary":
            learned = self.param("position_embedding", _NORMAL, (1 + self.grid**2, c), jnp.float32)
            first = first + learned[:1]
            code = learned[1:].reshape(self.grid, self.grid, c)
            # Native positions are taken as they are; an image of as many patches that is not square is resampled.
            if not rows == cols == self.grid or height != width:
                code = resample(code, (rows, cols), self.positions)
            x = x + code.reshape(1, -1, c).astype(self.dtype)
        if self.registers:
            first = jnp.concatenate([first, self.param("register_tokens", _NORMAL, (self.registers, c), jnp.float32)])
        first = jnp.broadcast_to(first.astype(self.dtype)[None], (b, len(first), c))
        return jnp.concatenate([first, x], axis=1), rows, cols
