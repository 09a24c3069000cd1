"""One training step, the same function on one device and on many."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from jax.typing import DTypeLike

from vfs_jax.data.transforms import augment_color
from vfs_jax.models import VFS, normalize_images
from vfs_jax.training.losses import embedding_std, frame_similarity_loss
from vfs_jax.training.sharding import batch_sharding, replicated
from vfs_jax.training.state import TrainState

TrainStep = Callable[[TrainState, jax.Array], tuple[TrainState, dict[str, jax.Array]]]


def make_train_step(
    *,
    depth: int,
    seed: int,
    learning_rate: optax.Schedule,
    optimizer: optax.GradientTransformation,
    color: dict[str, Any] | None = None,
    symmetric: bool = True,
    dtype: DTypeLike = jnp.float32,
) -> TrainStep:
    """Builds the step: colour, normalisation, both views through the network, loss, gradient, update.

    Args:
      depth: of the ResNet.
      seed: of the colour augmentation; every frame of every step has a key of its own.
      learning_rate: the optimizer's, as a function of the step; only reported.
      optimizer: turns gradients into updates.
      color: options of `augment_color`; None leaves colours as they are.
      symmetric: see `frame_similarity_loss`.
      dtype: of the network's computation; parameters, statistics and loss stay float32.

    Returns:
      step(state, views) -> (state, metrics), views uint8 [b, 2, t, h, w, 3], RGB; metrics are scalars: "loss",
      "learning_rate", "embedding_std" and "gradient_norm". Pure; `compile_train_step` places and compiles it.
    """
    model = VFS(depth=depth, dtype=dtype)

    def step(state: TrainState, views: jax.Array) -> tuple[TrainState, dict[str, jax.Array]]:
        if color is not None:
            views = augment_color(jax.random.fold_in(jax.random.key(seed), state.step), views, **color)
        images = normalize_images(views)

        def loss_of(params: Any) -> tuple[jax.Array, tuple[Any, jax.Array]]:
            variables = {"params": params, "batch_stats": state.batch_stats}
            (z, p), updated = model.apply(variables, images, train=True, mutable=["batch_stats"])
            return frame_similarity_loss(z, p, symmetric=symmetric), (updated["batch_stats"], z)

        (loss, (batch_stats, z)), gradient = jax.value_and_grad(loss_of, has_aux=True)(state.params)
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        metrics = {
            "loss": loss,
            "learning_rate": learning_rate(state.step),
            "embedding_std": embedding_std(z),
            "gradient_norm": optax.tree.norm(gradient),
        }
        params = optax.apply_updates(state.params, updates)
        return TrainState(state.step + 1, params, batch_stats, opt_state), metrics

    return step


def compile_train_step(step: TrainStep, mesh: Mesh) -> TrainStep:
    """Jits a step for a mesh: state and metrics replicated, views cut over the devices, the old state's memory reused.

    BatchNorm and loss see the global batch, so that the result does not depend on the number of devices.

    Args:
      step: from `make_train_step`.
      mesh: from `make_mesh`.

    Returns:
      The compiled function; the state that it is given can not be used again.
    """
    return jax.jit(
        step,
        in_shardings=(replicated(mesh), batch_sharding(mesh)),
        out_shardings=(replicated(mesh), replicated(mesh)),
        donate_argnums=0,
    )
