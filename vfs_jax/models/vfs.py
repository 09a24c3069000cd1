"""The network that VFS trains: a ResNet, a projector and a predictor, applied to the two views one after the other."""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from beartype import beartype
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float, jaxtyped

from vfs_jax.models.heads import Predictor, Projector, head_widths
from vfs_jax.models.resnet import ResNet, Variables


class VFS(nn.Module):
    """Backbone, projector and predictor of Video Frame-level Similarity (VFS section 3).

    Attributes:
        depth: of the ResNet.
        strides: of its stages.
        dilations: of its stages.
        dtype: of computation and output; parameters are float32, BatchNorm computes in at least float32.
        branch_scale: of the ResNet.

    Example:
        >>> views = jnp.zeros((4, 2, 3, 32, 32, 3))
        >>> z, p = jax.eval_shape(lambda: VFS().init_with_output(jax.random.key(0), views)[0])
        >>> z.shape, p.shape
        ((4, 2, 3, 512), (4, 2, 3, 512))
    """

    depth: int = 18
    strides: tuple[int, int, int, int] = (1, 2, 2, 2)
    dilations: tuple[int, int, int, int] = (1, 1, 1, 1)
    dtype: DTypeLike = jnp.float32
    branch_scale: float = 0.0

    def setup(self) -> None:
        """Name the three parts of the parameters."""
        width, hidden = head_widths(self.depth)
        self.backbone = ResNet(
            self.depth, self.strides, self.dilations, ("res5",), self.dtype, branch_scale=self.branch_scale
        )
        self.projector = Projector(width)
        self.predictor = Predictor(width, hidden)

    @jaxtyped(typechecker=beartype)
    def __call__(
        self, views: Float[Array | np.ndarray, "b 2 t h w 3"], train: bool = False
    ) -> tuple[Float[Array, "b 2 t d"], Float[Array, "b 2 t d"]]:
        """Embed every frame of both views.

        Args:
            views: normalized RGB: clips, the two views, their frames.
            train: use the BN statistics of each view's frames, and move the running statistics once a view, view 0
                first, as the release does (make "batch_stats" mutable).

        Returns:
            The embeddings z and the predictions p, each [b, 2, t, d].
        """
        # Each view goes through alone, so that its BN statistics are its own. The clips stay in front of the frames:
        # folding [b, t] needs no communication where b is sharded over devices, concatenating views would.
        z, p = zip(*(self._embed(jnp.asarray(views[:, view]), train) for view in (0, 1)), strict=True)
        return jnp.stack(z, axis=1), jnp.stack(p, axis=1)

    def _embed(self, frames: Array, train: bool) -> tuple[Array, Array]:
        """Map the frames of one view [b, t, h, w, 3] to z and p, each [b, t, d]."""
        b, t = frames.shape[:2]
        features = self.backbone(frames.reshape((b * t, *frames.shape[2:])), train)["res5"]
        z = self.projector(features.mean(axis=(1, 2)), train)
        p = self.predictor(z, train)
        return z.reshape((b, t, -1)), p.reshape((b, t, -1))


def init_variables(seed: int, depth: int, branch_scale: float = 0.0) -> Variables:
    """Draw the variables of a whole VFS network.

    Args:
        seed: of all random numbers; the same seed gives the same numbers.
        depth: of the ResNet.
        branch_scale: of the ResNet.

    Returns:
        {"params": ..., "batch_stats": ...}, float32, each with "backbone", "projector" and "predictor".

    Example:
        >>> sorted(init_variables(seed=0, depth=18)["params"])
        ['backbone', 'predictor', 'projector']
    """
    return _init(jax.random.key(seed), depth, branch_scale)


@functools.partial(jax.jit, static_argnums=(1, 2))
def _init(key: Array, depth: int, branch_scale: float) -> Variables:
    # Under jit the forward pass falls away: what is compiled are the random numbers.
    return dict(VFS(depth, branch_scale=branch_scale).init(key, jnp.zeros((2, 2, 1, 32, 32, 3), jnp.float32)))


def backbone_of(variables: Mapping[str, Any]) -> Variables:
    """Pick the ResNet's variables out of those of a model that holds it as "backbone".

    Args:
        variables: {"params": ..., "batch_stats": ...} of VFS.

    Returns:
        {"params": ..., "batch_stats": ...} for `ResNet(depth).apply`.

    Example:
        >>> backbone_of({"params": {"backbone": 1, "projector": 2}, "batch_stats": {"backbone": 3}})
        {'params': 1, 'batch_stats': 3}
    """
    return {collection: variables[collection]["backbone"] for collection in ("params", "batch_stats")}


def nest_backbone(variables: Mapping[str, Any]) -> Variables:
    """Put the variables of a ResNet alone where a model holds them, the inverse of `backbone_of`; a model's stay.

    Args:
        variables: {"params": ..., "batch_stats": ...} of a ResNet, or of a model that holds one as "backbone".

    Example:
        >>> nest_backbone({"params": {"conv1": 1}, "batch_stats": {}})
        {'params': {'backbone': {'conv1': 1}}, 'batch_stats': {'backbone': {}}}
    """
    if "backbone" in variables["params"]:
        return dict(variables)
    return {collection: {"backbone": variables[collection]} for collection in ("params", "batch_stats")}
