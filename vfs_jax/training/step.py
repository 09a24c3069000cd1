"""VFS's training step: color, normalization, both views through the network, loss, gradient, update."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jaxtyping import PyTree

from vfs_jax.data.transforms import augment_color
from vfs_jax.models import normalize_images
from vfs_jax.models.resnet import CONVOLUTION
from vfs_jax.training.contrastive import contrastive_loss
from vfs_jax.training.losses import embedding_std, frame_similarity_loss
from vfs_jax.training.program import Batch, Metrics, TrainStep, skip_unless_finite
from vfs_jax.training.state import TrainState

# loss, embedding_std and gradient; statistics after
Results = tuple[tuple[jax.Array, jax.Array, optax.Updates], PyTree]


def make_train_step(
    model: nn.Module,
    *,
    seed: int,
    learning_rate: optax.Schedule,
    optimizer: optax.GradientTransformation,
    color: Mapping[str, Any] | None = None,
    symmetric: bool = True,
    temperature: float | None = None,
    encoder_momentum: float = 0.999,
    accumulate: int = 1,
    remat: bool = False,
) -> TrainStep:
    """Build the step, the same function on one device and on many.

    A step whose loss or gradient is not finite leaves weights, statistics and optimizer as they were, and is counted.

    Args:
        model: `VFS`, or another network that is applied like it: (variables, images [b, 2, t, h, w, 3], train=True,
            mutable=["batch_stats"]) -> ((z, p), updated). Its dtype is the computation's; parameters, statistics and
            loss stay float32.
        seed: of the color augmentation; every frame of every step has a key of its own.
        learning_rate: the optimizer's, as a function of the step; only reported.
        optimizer: turns gradients into updates.
        color: options of `augment_color`; None leaves colors as they are.
        symmetric: see `frame_similarity_loss`.
        temperature: of `contrastive_loss`, whose negatives are the other clips of the batch and, where the state has
            one, the queue, whose slower network then makes the projections; None trains without negatives.
        encoder_momentum: of the queue's network.
        accumulate: into how many parts the batch is cut, one after the other; their gradients are averaged, BatchNorm
            and negatives see one part at a time.
        remat: keeps only the convolutions' outputs for the backward pass and computes the rest again.

    Returns:
        step(state, batch) -> (state, metrics). The batch has "views" uint8 [b, 2, t, h, w, 3], RGB. Metrics are
        scalars: "loss", "learning_rate", "embedding_std", "gradient_norm", "skipped" (non-finite steps so far) and
        "finite". Pure; `compile_train_step` places and compiles it.
    """

    def embed(params: optax.Params, batch_stats: PyTree, images: jax.Array) -> tuple[jax.Array, jax.Array, PyTree]:
        variables = {"params": params, "batch_stats": batch_stats}
        (z, p), updated = model.apply(variables, images, train=True, mutable=["batch_stats"])
        return z, p, updated["batch_stats"]

    if remat:
        embed = jax.checkpoint(embed, policy=jax.checkpoint_policies.save_only_these_names(CONVOLUTION))

    def gradient_of(state: TrainState, batch_stats: PyTree, images: jax.Array, targets: jax.Array | None) -> Results:
        def loss_of(params: optax.Params) -> tuple[jax.Array, tuple[jax.Array, PyTree]]:
            z, p, new_stats = embed(params, batch_stats, images)
            std = embedding_std(z)
            z = z if targets is None else targets
            if temperature is None:
                return frame_similarity_loss(z, p, symmetric=symmetric), (std, new_stats)
            past = None if state.queue is None else state.queue.embeddings
            loss = contrastive_loss(z, p, temperature=temperature, queue=past, symmetric=symmetric)
            return loss, (std, new_stats)

        (loss, (std, new_stats)), gradient = jax.value_and_grad(loss_of, has_aux=True)(state.params)
        return (loss, std, gradient), new_stats

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
            (loss, std, gradient), batch_stats = gradient_of(state, state.batch_stats, images, targets)
        else:
            (loss, std, gradient), batch_stats = _accumulated(gradient_of, state, images, targets, accumulate)
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        if queue is not None:
            queue = queue.follow(params, slow_stats, slow_z, encoder_momentum)
        after = dataclasses.replace(state, params=params, batch_stats=batch_stats, opt_state=opt_state, queue=queue)
        metrics = {
            "loss": loss,
            "learning_rate": learning_rate(state.step),
            "embedding_std": std,
            "gradient_norm": optax.tree.norm(gradient),
        }
        return skip_unless_finite(state, after, metrics)

    return step


def _accumulated(
    gradient_of: Callable[..., Results], state: TrainState, images: jax.Array, targets: jax.Array | None, parts: int
) -> Results:
    """Average loss, embedding_std and gradient over the parts of a batch; the statistics are the last part's."""

    # Part i holds the clips i, i + parts, ...: of each device the same number, so that nothing moves between devices.
    def split(rows: jax.Array) -> jax.Array:
        return jnp.moveaxis(rows.reshape(-1, parts, *rows.shape[1:]), 1, 0)

    def add(carry: Results, part: tuple[jax.Array, jax.Array | None]) -> tuple[Results, None]:
        total, batch_stats = carry
        numbers, batch_stats = gradient_of(state, batch_stats, *part)
        return (jax.tree.map(lambda sum_, value: sum_ + value / parts, total, numbers), batch_stats), None

    zero = jnp.zeros((), jnp.result_type(*jax.tree.leaves(state.params)))
    start = (zero, zero, jax.tree.map(jnp.zeros_like, state.params)), state.batch_stats
    return jax.lax.scan(add, start, (split(images), None if targets is None else split(targets)))[0]
