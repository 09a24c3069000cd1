"""ResNet backbones (18 to 152) whose strides, dilations and outputs are arguments over one set of parameters."""

import math
from collections.abc import Mapping
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
from beartype import beartype
from flax import linen as nn
from jax import lax
from jax.ad_checkpoint import checkpoint_name
from jax.typing import DTypeLike
from jaxtyping import Array, Float, UInt8, jaxtyped

from vfs_jax.models.max_pool import max_pool
from vfs_jax.models.winograd import convolve_3x3

Variables = dict[str, Any]  # {"params": tree, "batch_stats": tree}

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
STAGES = ("res2", "res3", "res4", "res5")
CONVOLUTION = "convolution"

# ImageNet statistics of RGB on 0..255, those of the release's configurations.
IMAGE_MEAN = (123.675, 116.28, 103.53)
IMAGE_STD = (58.395, 57.12, 57.375)


def is_bottleneck(depth: int) -> bool:
    """Tell whether a depth is built of bottlenecks (1x1, 3x3, 1x1), not of basic blocks (3x3, 3x3).

    Example:
        >>> is_bottleneck(34), is_bottleneck(50)
        (False, True)
    """
    return depth >= 50


def feature_width(depth: int, stage: str = "res5") -> int:
    """Return how many channels a stage puts out.

    Args:
        depth: of the ResNet.
        stage: "res2" to "res5".

    Example:
        >>> feature_width(18), feature_width(50), feature_width(50, "res4")
        (512, 2048, 1024)
    """
    return 64 * 2 ** STAGES.index(stage) * (4 if is_bottleneck(depth) else 1)


@jaxtyped(typechecker=beartype)
def normalize_images(
    images: UInt8[Array | np.ndarray, "*batch 3"] | Float[Array | np.ndarray, "*batch 3"],
    mean: tuple[float, float, float] = IMAGE_MEAN,
    std: tuple[float, float, float] = IMAGE_STD,
) -> Float[Array, "*batch 3"]:
    """Center and scale RGB images by the ImageNet mean and standard deviation.

    Args:
        images: RGB [..., 3], values 0..255, uint8 or floating point.
        mean: of the colors, subtracted.
        std: by which the difference is divided.

    Returns:
        float32 [..., 3], about zero mean and unit variance: what the networks read.

    Example:
        >>> normalize_images(np.full((2, 2, 3), 124, np.uint8))[0, 0].round(3).tolist()
        [0.006..., 0.135..., 0.357...]
    """
    broadcast = (1,) * (images.ndim - 1) + (3,)
    scale = (1 / np.asarray(std)).astype(np.float32).reshape(broadcast)
    return (jnp.asarray(images).astype(jnp.float32) - np.asarray(mean, np.float32).reshape(broadcast)) * scale


def batch_norm(
    x: Array, train: bool, *, name: str, scale_init: nn.initializers.Initializer = nn.initializers.ones
) -> Array:
    """Normalize by a batch's statistics as torch does, in at least float32, and return the dtype of x.

    Args:
        x: [..., c]; the statistics are over all other axes, under jit over the global batch.
        train: whether to use the statistics of x (and move the running ones) or the running ones.
        name: the name of the parameters in the calling module.
        scale_init: the initial weight.
    """
    # Torch's running-average momentum 0.1 is Flax's 0.9. The running variance is Flax's, the biased one; torch keeps
    # n/(n-1) of it.
    compute_dtype = jnp.float64 if x.dtype == jnp.float64 else jnp.float32
    norm = nn.BatchNorm(
        use_running_average=not train,
        momentum=0.9,
        epsilon=1e-5,
        dtype=compute_dtype,
        param_dtype=compute_dtype,
        force_float32_reductions=False,  # x is in float32 or float64 already; the forcing trips over strict promotion
        scale_init=scale_init,
        name=name,
    )
    return norm(x.astype(compute_dtype)).astype(x.dtype)


def _stride_1(x: Array, kernel: Array, *_: object, rhs_dilation: tuple[int, int], **__: object) -> Array:
    """Convolve as `nn.Conv` asks for a padded 3x3 kernel of stride 1."""
    return convolve_3x3(x, kernel, rhs_dilation[0])


def _convolution(
    x: Array, features: int, kernel: int, *, name: str, stride: int = 1, dilation: int = 1, reflect: bool = False
) -> Array:
    """Convolve without bias, padded alike on both sides (torch's way; SAME would shift strided ones).

    Its output has the name CONVOLUTION for policies of `jax.checkpoint`.
    """
    padding = dilation * (kernel // 2)
    if reflect and padding:
        x = jnp.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)), mode="reflect")
        padding = 0
    convolution = nn.Conv(
        features,
        (kernel, kernel),
        strides=(stride, stride),
        kernel_dilation=(dilation, dilation),
        padding=((padding, padding), (padding, padding)),
        use_bias=False,
        dtype=x.dtype,
        kernel_init=nn.initializers.variance_scaling(2.0, "fan_out", "normal"),
        conv_general_dilated=_stride_1 if kernel == 3 and stride == 1 and not reflect else None,
        name=name,
    )
    return checkpoint_name(convolution(x), CONVOLUTION)


class ResidualBlock(nn.Module):
    """One residual block: a basic block or a bottleneck, with a projected shortcut where the shape changes.

    Attributes:
        width: channels of the 3x3 convolutions; a bottleneck puts out four times as many.
        bottleneck: 1x1, 3x3, 1x1 instead of 3x3, 3x3.
        stride: of the block; a bottleneck strides in its 3x3 convolution (torch's, not the paper's, place).
        dilation: of the first 3x3 convolution. Quirk of the release: the second one of a basic block is never dilated.
        reflect: whether convolutions are padded by reflection instead of zeros.
        branch_scale: initial scale of the branch's last BatchNorm.
    """

    width: int
    bottleneck: bool
    stride: int = 1
    dilation: int = 1
    reflect: bool = False
    branch_scale: float = 0.0

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        """Map [b, h, w, c] to [b, h', w', c']."""
        last = nn.initializers.constant(self.branch_scale)  # at 0 every block starts as its shortcut
        if self.bottleneck:
            y = nn.relu(batch_norm(_convolution(x, self.width, 1, name="conv1"), train, name="bn1"))
            y = self._convolution_3x3(y, self.stride, self.dilation, "conv2")
            y = nn.relu(batch_norm(y, train, name="bn2"))
            y = _convolution(y, 4 * self.width, 1, name="conv3")
            y = batch_norm(y, train, name="bn3", scale_init=last)
        else:
            y = self._convolution_3x3(x, self.stride, self.dilation, "conv1")
            y = nn.relu(batch_norm(y, train, name="bn1"))
            y = self._convolution_3x3(y, 1, 1, "conv2")
            y = batch_norm(y, train, name="bn2", scale_init=last)
        if self.stride != 1 or x.shape[-1] != y.shape[-1]:
            x = _convolution(x, y.shape[-1], 1, stride=self.stride, name="shortcut_conv")
            x = batch_norm(x, train, name="shortcut_bn")
        return nn.relu(x + y)

    def _convolution_3x3(self, x: Array, stride: int, dilation: int, name: str) -> Array:
        return _convolution(x, self.width, 3, stride=stride, dilation=dilation, reflect=self.reflect, name=name)


class ResNet(nn.Module):
    """A ResNet in torchvision's layout that puts out the features of any of its stages or blocks.

    The parameters do not depend on strides, dilations and outputs: `init` makes all four stages, `apply` stops at the
    deepest output. Float32 parameters; on accelerators whose matrix units round float32 (TPU, recent GPUs), set
    `jax_default_matmul_precision` to "float32" where full precision matters.

    Attributes:
        depth: 18, 34, 50, 101 or 152.
        strides: of the stages res2..res5. (1, 2, 2, 2) trains, (1, 2, 1, 1) evaluates (VFS: stride 8 at res4 and res5).
        dilations: of the stages. Quirk of the release: in a stage of dilation d > 1 the first block is dilated by d //
            2.
        outputs: names among "res2".."res5" (the last block of a stage) and single blocks, "res4.0", "res4.1", ...
        dtype: of computation and output; BatchNorm computes in at least float32.
        stages: how many of the four there are. CRW's network has three.
        pooling: after the first convolution: "max" or "mean" (3x3, stride 2; zeros beyond the image are counted) or
            "none". Spa-then-Temp's networks have "none" (stride 8) or "mean" (stride 4).
        reflect: whether convolutions are padded by reflection instead of zeros, as in CRW's network.
        color: what the images are before they are normalized: "rgb", or "lab" for Spa-then-Temp's networks.
        family: "resnet", "crw" or "spa_then_temp", for reports; the computation does not depend on it.
        branch_scale: initial scale of the last BatchNorm of every residual branch.

    Example:
        >>> import jax
        >>> model = ResNet(outputs=("res3", "res4.0"), strides=(1, 2, 1, 1))
        >>> images = jnp.zeros((1, 64, 48, 3))
        >>> shapes = jax.eval_shape(lambda: model.init_with_output(jax.random.key(0), images)[0])
        >>> {name: features.shape for name, features in shapes.items()}
        {'res3': (1, 8, 6, 128), 'res4.0': (1, 8, 6, 256)}
    """

    depth: int = 18
    strides: tuple[int, int, int, int] = (1, 2, 2, 2)
    dilations: tuple[int, int, int, int] = (1, 1, 1, 1)
    outputs: tuple[str, ...] = ("res5",)
    dtype: DTypeLike = jnp.float32
    stages: int = 4
    pooling: Literal["max", "mean", "none"] = "max"
    reflect: bool = False
    color: Literal["rgb", "lab"] = "rgb"
    family: str = "resnet"
    branch_scale: float = 0.0

    @property
    def block_names(self) -> tuple[str, ...]:
        """All blocks, one after the other."""
        return tuple(dict.fromkeys(_block_names(self.depth, self.stages).values()))

    @property
    def output_names(self) -> tuple[str, ...]:
        """All outputs that there are: blocks, then stages."""
        return (*self.block_names, *STAGES[: self.stages])

    @property
    def default_output(self) -> str:
        """The output that evaluations take."""
        return "res4"

    @property
    def multiple(self) -> int:
        """What the sides of an image must be multiples of, for all of it to be seen."""
        return 1

    def stride_of(self, output: str) -> int:
        """Return the pixels a cell of an output.

        >>> ResNet().stride_of("res4"), ResNet(strides=(1, 2, 1, 1)).stride_of("res5.0")
        (16, 8)
        """
        stage = STAGES.index(output.split(".")[0])
        return 2 * (1 if self.pooling == "none" else 2) * math.prod(self.strides[: stage + 1])

    @nn.compact
    @jaxtyped(typechecker=beartype)
    def __call__(
        self, images: Float[Array | np.ndarray, "b h w 3"], train: bool = False
    ) -> dict[str, Float[Array, "b _ _ _"]]:
        """Compute features.

        Args:
            images: normalized RGB (see `normalize_images`), any height and width.
            train: use the batch's BN statistics and move the running ones (make "batch_stats" mutable).

        Returns:
            {name: [b, h', w', c]} for each of `outputs`.

        Raises:
            ValueError: an unknown depth or output.
        """
        known = _block_names(self.depth, self.stages)
        if not self.outputs or not set(self.outputs) <= set(known):
            raise ValueError(
                f"outputs {self.outputs!r} of ResNet-{self.depth}: take one or more of {', '.join(sorted(known))}"
            )
        wanted = {output: known[output] for output in self.outputs}
        x = jnp.asarray(images).astype(self.dtype)
        x = _convolution(x, 64, 7, stride=2, reflect=self.reflect, name="conv1")
        x = nn.relu(batch_norm(x, train, name="bn1"))
        if self.pooling == "max":
            x = max_pool(x)
        elif self.pooling == "mean":
            x = nn.pool(x, 0.0, lax.add, (3, 3), (2, 2), ((1, 1), (1, 1))) / 9

        missing, blocks = set(wanted.values()), {}
        for stage, stage_name in enumerate(STAGES[: self.stages]):
            for block in range(BLOCKS[self.depth][stage]):
                if not missing and not self.is_initializing():
                    break
                dilation = self.dilations[stage]
                x = ResidualBlock(
                    width=64 * 2**stage,
                    bottleneck=is_bottleneck(self.depth),
                    stride=self.strides[stage] if block == 0 else 1,
                    dilation=max(dilation // 2, 1) if block == 0 else dilation,
                    reflect=self.reflect,
                    branch_scale=self.branch_scale,
                    name=f"{stage_name}_{block}",
                )(x, train)
                name = f"{stage_name}.{block}"
                missing.discard(name)
                blocks[name] = x
        return {output: blocks[name] for output, name in wanted.items()}


def _block_names(depth: int, stages: int) -> dict[str, str]:
    """Map all output names to the blocks that put them out: {"res2.0": "res2.0", ..., "res4": "res4.1", ...}."""
    if depth not in BLOCKS:
        raise ValueError(f"no ResNet of depth {depth}; there are {', '.join(map(str, BLOCKS))}")
    counts = dict(zip(STAGES[:stages], BLOCKS[depth], strict=False))
    blocks = {f"{stage}.{block}": f"{stage}.{block}" for stage, count in counts.items() for block in range(count)}
    return blocks | {stage: f"{stage}.{count - 1}" for stage, count in counts.items()}


def depth_of(variables: Mapping[str, Any]) -> int:
    """Read the depth of a ResNet off its parameters.

    Args:
        variables: {"params": ...} of a ResNet, or of a model that holds one as "backbone".

    Returns:
        18, 34, 50, 101 or 152.

    Raises:
        ValueError: these are not the parameters of one of these.

    Example:
        >>> import jax
        >>> depth_of(jax.eval_shape(lambda: ResNet(depth=34).init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)))))
        34
    """
    params = variables["params"]
    params = params.get("backbone", params)
    blocks = tuple(sum(name.startswith(f"{stage}_") for name in params) for stage in STAGES)
    bottleneck = "conv3" in params.get("res2_0", {})
    for depth, numbers in BLOCKS.items():
        # CRW's networks have no last stage.
        if blocks in (numbers, (*numbers[:3], 0)) and is_bottleneck(depth) == bottleneck:
            return depth
    raise ValueError(f"these are no parameters of a ResNet: the stages have {blocks} blocks, {bottleneck=}")
