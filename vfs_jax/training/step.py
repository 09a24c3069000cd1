"""One training step, the same function on one device and on many."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from jax.typing import DTypeLike

from vfs_jax.data.transforms import augment_color
from vfs_jax.models import VFS, normalize_images
from vfs_jax.models.resnet import CONVOLUTION
from vfs_jax.training.contrastive import contrastive_loss
from vfs_jax.training.losses import embedding_std, frame_similarity_loss
from vfs_jax.training.sharding import batch_sharding, replicated
from vfs_jax.training.state import TrainState

Batch = Mapping[str, jax.Array]
Metrics = dict[str, jax.Array]
TrainStep = Callable[[TrainState, Batch], tuple[TrainState, Metrics]]


def make_train_step(
    *,
    depth: int,
    seed: int,
    learning_rate: optax.Schedule,
    optimizer: optax.GradientTransformation,
    color: Mapping[str, Any] | None = None,
    symmetric: bool = True,
    temperature: float | None = None,
    encoder_momentum: float = 0.999,
    dtype: DTypeLike = jnp.float32,
    accumulate: int = 1,
    remat: bool = False,
) -> TrainStep:
    """Build the step: color, normalization, both views through the network, loss, gradient, update.

    A step whose loss or gradient is not finite leaves weights, statistics and optimizer as they were, and is counted.

    Args:
        depth: of the ResNet.
        seed: of the color augmentation; every frame of every step has a key of its own.
        learning_rate: the optimizer's, as a function of the step; only reported.
        optimizer: turns gradients into updates.
        color: options of `augment_color`; None leaves colors as they are.
        symmetric: see `frame_similarity_loss`.
        temperature: of `contrastive_loss`, whose negatives are the other clips of the batch and, where the state has
            one, the queue, whose slower network then makes the projections; None trains without negatives.
        encoder_momentum: of the queue's network.
        dtype: of the network's computation; parameters, statistics and loss stay float32.
        accumulate: into how many parts the batch is cut, one after the other; their gradients are averaged, BatchNorm
            and negatives see one part at a time.
        remat: keeps only the convolutions' outputs for the backward pass and computes the rest again.

    Returns:
        step(state, batch) -> (state, metrics). The batch has "views" uint8 [b, 2, t, h, w, 3], RGB, and two arrays by
        which any process tells all: "stop" bool [b], that they shall stop, and "unreadable" int32 [b], which sums up to
        the number of unreadable records. Metrics are scalars: "loss", "learning_rate", "embedding_std",
        "gradient_norm", "skipped" (non-finite steps so far), "finite", "unreadable" and "stop". Pure;
        `compile_train_step` places and compiles it.
    """
    model = VFS(depth=depth, dtype=dtype)

    def embed(params: Any, batch_stats: Any, images: jax.Array) -> tuple[jax.Array, jax.Array, Any]:
        variables = {"params": params, "batch_stats": batch_stats}
        (z, p), updated = model.apply(variables, images, train=True, mutable=["batch_stats"])
        return z, p, updated["batch_stats"]

    if remat:
        embed = jax.checkpoint(embed, policy=jax.checkpoint_policies.save_only_these_names(CONVOLUTION))

    def gradient_of(
        state: TrainState, batch_stats: Any, images: jax.Array, targets: jax.Array | None
    ) -> tuple[tuple[Any, jax.Array, jax.Array], Any]:
        def loss_of(params: Any) -> tuple[jax.Array, tuple[jax.Array, Any]]:
            z, p, new_stats = embed(params, batch_stats, images)
            std = embedding_std(z)
            z = z if targets is None else targets
            if temperature is None:
                return frame_similarity_loss(z, p, symmetric=symmetric), (std, new_stats)
            past = None if state.queue is None else state.queue.embeddings
            loss = contrastive_loss(z, p, temperature=temperature, queue=past, symmetric=symmetric)
            return loss, (std, new_stats)

        (loss, (std, new_stats)), gradient = jax.value_and_grad(loss_of, has_aux=True)(state.params)
        return (gradient, loss, std), new_stats

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        images = batch["views"]
        if color is not None:
            images = augment_color(jax.random.fold_in(jax.random.key(seed), state.step), images, **color)
        images = normalize_images(images)
        targets, queue = None, state.queue
        if queue is not None:
            slow_z, _, slow_stats = embed(queue.params, queue.batch_stats, images)
            targets = slow_z
        if accumulate == 1:
            (gradient, loss, std), batch_stats = gradient_of(state, state.batch_stats, images, targets)
        else:
            (gradient, loss, std), batch_stats = _accumulated(gradient_of, state, images, targets, accumulate)
        gradient_norm = optax.tree.norm(gradient)
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        if queue is not None:
            queue = queue.follow(params, slow_stats, slow_z, encoder_momentum)

        finite = jnp.isfinite(loss) & jnp.isfinite(gradient_norm)
        old = (state.params, state.batch_stats, state.opt_state, state.queue)
        params, batch_stats, opt_state, queue = jax.tree.map(
            # Counters go on, so that the schedule stays in step.
            lambda new, old: jnp.where(finite, new, old) if jnp.issubdtype(new.dtype, jnp.floating) else new,
            (params, batch_stats, opt_state, queue),
            old,
        )
        skipped = state.skipped + jnp.logical_not(finite).astype(jnp.int32)
        metrics = {
            "loss": loss,
            "learning_rate": learning_rate(state.step),
            "embedding_std": std,
            "gradient_norm": gradient_norm,
            "skipped": skipped,
            "finite": finite,
            "unreadable": jnp.sum(batch["unreadable"]),
            "stop": jnp.any(batch["stop"]),
        }
        return TrainState(state.step + 1, params, batch_stats, opt_state, skipped, queue), metrics

    return step


def _accumulated(
    gradient_of: Callable[..., Any], state: TrainState, images: jax.Array, targets: jax.Array | None, parts: int
) -> Any:
    """Return the mean gradient, loss and embedding_std over the parts of a batch, and the last statistics."""

    # Part i holds the clips i, i + parts, ...: of each device the same number, so that nothing moves between devices.
    def split(rows: jax.Array) -> jax.Array:
        return jnp.moveaxis(rows.reshape(-1, parts, *rows.shape[1:]), 1, 0)

    def add(carry: Any, part: tuple[jax.Array, jax.Array | None]) -> tuple[Any, None]:
        total, batch_stats = carry
        numbers, batch_stats = gradient_of(state, batch_stats, *part)
        return (jax.tree.map(lambda sum_, value: sum_ + value / parts, total, numbers), batch_stats), None

    zero = jnp.zeros((), jnp.result_type(*jax.tree.leaves(state.params)))
    start = (jax.tree.map(jnp.zeros_like, state.params), zero, zero), state.batch_stats
    return jax.lax.scan(add, start, (split(images), None if targets is None else split(targets)))[0]


def compile_train_step(step: TrainStep, mesh: Mesh) -> jax.stages.Wrapped:
    """Jit a step for a mesh: state and metrics replicated, batch cut over the devices, the old state's memory reused.

    BatchNorm and loss see the global batch, so that the result does not depend on the number of devices.

    Args:
        step: from `make_train_step`.
        mesh: from `make_mesh`.

    Returns:
        The jitted function; the state that it is given can not be used again.
    """
    return jax.jit(
        step,
        in_shardings=(replicated(mesh), batch_sharding(mesh)),
        out_shardings=(replicated(mesh), replicated(mesh)),
        donate_argnums=0,
    )
