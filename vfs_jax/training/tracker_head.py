"""Trains the SiamFC head on frozen res5 features: pairs in, a response out, focal loss on where the target is."""

import dataclasses
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from vfs_jax.correspondence import cross_correlate
from vfs_jax.data.box_datasets import BoxSequence
from vfs_jax.data.pairs import PairSettings, pair_batches, steps_per_epoch
from vfs_jax.errors import InputError
from vfs_jax.models import SiamFCHead, depth_of
from vfs_jax.models.resnet import Variables, feature_width
from vfs_jax.models.tracking import STRIDE, out_scale, tracking_features
from vfs_jax.training.checkpoints import Checkpoints
from vfs_jax.training.guards import Termination, Watchdog
from vfs_jax.training.logs import RunLog, duration
from vfs_jax.training.sharding import batch_sharding, make_mesh, put_batch, replicated
from vfs_jax.training.state import TrainState


@dataclasses.dataclass(frozen=True, kw_only=True)
class HeadOptions:
    """A training run of the tracking head; the defaults are the release's.

    Attributes:
        seed: of head, order, frames and augmentation.
        epochs: of which each takes one pair from every sequence.
        batch_size: pairs in a global batch.
        learning_rate: in the first epoch.
        final_learning_rate: that an epoch after the last would have; between them it falls exponentially, epoch by
            epoch.
        gamma: of the focal loss.
        positive_radius: search pixels from the center, by the sum of both distances, within which the response is to be
            high.
        out_scale: times the correlation; None for 1e-3, or 1e-5 from ResNet-50 on.
        pairs: how pairs are drawn and augmented.
        checkpoint_every: steps between checkpoints.
        keep_checkpoints: how many of the newest checkpoints are kept.
        log_every: steps between lines in metrics.jsonl.
        num_workers: processes that read and cut; 0 works in threads.
        watchdog_seconds: a step that takes longer ends the process with all its stacks on stderr.
    """

    seed: int = 0
    epochs: int = 50
    batch_size: int = 8
    learning_rate: float = 1e-3
    final_learning_rate: float = 1e-5
    gamma: float = 2.0
    positive_radius: float = 16.0
    out_scale: float | None = None
    pairs: PairSettings = dataclasses.field(default_factory=PairSettings)
    checkpoint_every: int = 1000
    keep_checkpoints: int = 3
    log_every: int = 50
    num_workers: int = 0
    watchdog_seconds: float = 1800.0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "checkpoint_every", "keep_checkpoints", "log_every"):
            if getattr(self, name) < 1:
                raise InputError(f"--config.{name}={getattr(self, name)}: must be at least 1")


def response_labels(rows: int, cols: int, radius: float) -> np.ndarray:
    """Return where the response is to be high: 1 at most `radius` cells from the center by the sum of both distances.

    >>> int(response_labels(16, 16, 2.0).sum())
    12
    """
    y, x = (np.abs(np.arange(count) - (count - 1) / 2) for count in (rows, cols))
    return (y[:, None] + x[None, :] <= radius).astype(np.float32)


def focal_loss(responses: jax.Array, labels: jax.Array, gamma: float) -> jax.Array:
    """Return binary cross-entropy, each cell weighted by its error to the power gamma, over the mean weight.

    mean(w * -log p) / mean(w) with p the probability given to the cell's label and w = (1 - p) ** gamma. Quirk of the
    release: the weights carry gradient.

    Args:
        responses: logits, float [b, rows, cols].
        labels: 0 or 1, float [rows, cols].
        gamma: 0 is plain cross-entropy.

    Returns:
        float [].
    """
    logits = jnp.where(labels[None] > 0, responses, -responses)  # of the cell's own label
    weights = jax.nn.sigmoid(-logits) ** gamma
    return -jnp.mean(weights * jax.nn.log_sigmoid(logits)) / jnp.mean(weights)


def make_head_step(
    options: HeadOptions,
    depth: int,
    optimizer: optax.GradientTransformation,
    schedule: optax.Schedule,
    *,
    features: Callable[[Variables, Any], jax.Array] = tracking_features,
) -> Callable[[TrainState, Any], tuple[TrainState, dict[str, jax.Array]]]:
    """Return a training step: (state, batch) -> (state, metrics); the backbone stays as it is.

    Args:
        options: loss and scale.
        depth: of the backbone.
        optimizer: of the head.
        schedule: the learning rate by step, for the log.
        features: (backbone, array of the batch) -> float [b, h, w, c]. The backbone is frozen, so that a batch may hold
            features that were computed before; then this hands the array on.

    Returns:
        The function. State: params {"backbone", "head"}, batch_stats {"backbone"}, opt_state of the head. Batch:
        "exemplar" and "search", uint8. Metrics: "loss", "learning_rate", "gradient_norm", "peak_error" (pixels of the
        search patch between the response's peak and the target, mean), "finite". A step whose loss or gradient is not
        finite changes nothing.
    """
    scale = out_scale(depth) if options.out_scale is None else options.out_scale
    head = SiamFCHead(feature_width(depth))

    def step(state: TrainState, batch: Any) -> tuple[TrainState, dict[str, jax.Array]]:
        backbone = {"params": state.params["backbone"], "batch_stats": state.batch_stats["backbone"]}
        z, x = jax.lax.stop_gradient((features(backbone, batch["exemplar"]), features(backbone, batch["search"])))

        def loss_of(parameters: Any) -> tuple[jax.Array, jax.Array]:
            responses = cross_correlate(*head.apply({"params": parameters}, z, x)) * scale
            labels = response_labels(responses.shape[1], responses.shape[2], options.positive_radius / STRIDE)
            return focal_loss(responses, jnp.asarray(labels), options.gamma), responses

        (loss, responses), gradient = jax.value_and_grad(loss_of, has_aux=True)(state.params["head"])
        norm = optax.tree.norm(gradient)
        finite = jnp.isfinite(loss) & jnp.isfinite(norm)
        updates, opt_state = optimizer.update(gradient, state.opt_state)
        changed = optax.apply_updates(state.params["head"], updates), opt_state
        parameters, opt_state = jax.tree.map(
            lambda new, old: jnp.where(finite, new, old), changed, (state.params["head"], state.opt_state)
        )
        metrics = {
            "loss": loss,
            "learning_rate": jnp.asarray(schedule(state.step)),
            "gradient_norm": norm,
            "peak_error": _peak_error(responses),
            "finite": finite,
        }
        params = {"backbone": state.params["backbone"], "head": parameters}
        skipped = state.skipped + (~finite).astype(jnp.int32)
        return TrainState(state.step + 1, params, state.batch_stats, opt_state, skipped), metrics

    return step


def _peak_error(responses: jax.Array) -> jax.Array:
    """Return the mean distance of the peak from the response's center, in pixels of the search patch."""
    _, rows, cols = responses.shape
    peak = jnp.argmax(responses.reshape(len(responses), -1), axis=1)
    away = jnp.stack([peak // cols - (rows - 1) // 2, peak % cols - (cols - 1) // 2], axis=-1).astype(jnp.float32)
    return STRIDE * jnp.mean(jnp.linalg.norm(away, axis=-1))


def train_head(
    options: HeadOptions, workdir: Path, sequences: Sequence[BoxSequence], backbone: Mapping[str, Any]
) -> Variables:
    """Train until options.epochs are over, from the newest checkpoint in the workdir where there is one.

    Args:
        options: of the run.
        workdir: exists, and belongs to these options; gets checkpoints, metrics.jsonl and tensorboard.
        sequences: to train on.
        backbone: variables of a ResNet, which stay as they are.

    Returns:
        {"params": {"backbone", "head"}, "batch_stats": {"backbone"}}.

    Raises:
        InputError: data or checkpoints cannot be used, the batch does not divide, or the loss is not finite.
        SystemExit: SIGTERM came; the state is saved.
    """
    mesh = make_mesh()
    if options.batch_size % mesh.size:
        raise InputError(f"--config.batch_size={options.batch_size}: must be a multiple of {mesh.size} devices")
    per_epoch = steps_per_epoch(len(sequences), options.batch_size)
    steps, depth = options.epochs * per_epoch, depth_of(backbone)
    decay = (options.final_learning_rate / options.learning_rate) ** (1 / options.epochs)
    schedule = optax.exponential_decay(options.learning_rate, per_epoch, decay, staircase=True)
    optimizer = optax.adam(schedule)

    def create(variables: Any) -> TrainState:
        width = feature_width(depth)
        cells = jnp.zeros((1, 1, 1, width), jnp.float32)
        head = SiamFCHead(width).init(jax.random.key(options.seed), cells, cells)["params"]
        params = {"backbone": variables["params"], "head": head}
        zero = jnp.zeros((), jnp.int32)
        return TrainState(zero, params, {"backbone": variables["batch_stats"]}, optimizer.init(head), zero)

    placed = jax.device_put(backbone, replicated(mesh))
    shapes = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=replicated(mesh)),
        jax.eval_shape(create, placed),
    )
    checkpoints = Checkpoints(workdir, keep=options.keep_checkpoints)
    state = checkpoints.restore(shapes) or jax.jit(create, out_shardings=replicated(mesh))(placed)
    start = int(state.step)
    batches = pair_batches(
        sequences,
        batch_size=options.batch_size,
        seed=options.seed,
        start_step=start,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
        num_workers=options.num_workers,
        settings=options.pairs,
    )
    train_step = jax.jit(
        make_head_step(options, depth, optimizer, schedule),
        in_shardings=(replicated(mesh), batch_sharding(mesh)),
        out_shardings=(replicated(mesh), replicated(mesh)),
        donate_argnums=0,
    )
    log, clock = RunLog(workdir, start_step=start), time.monotonic()
    with Watchdog(options.watchdog_seconds) as watchdog, Termination() as termination:
        for step in range(start + 1, steps + 1):
            watchdog.alive()
            state, metrics = train_step(state, put_batch(mesh, next(batches)))
            due = termination.asked or step == steps
            if due or step % options.log_every == 0:
                numbers = {name: float(value) for name, value in metrics.items() if name != "finite"}
                if not metrics["finite"]:
                    raise InputError(f"step {step}: the loss is not finite; lower learning_rate, or take other weights")
                log.metrics(step, {"epoch": (step - 1) // per_epoch, **numbers})
                left = (time.monotonic() - clock) / (step - start) * (steps - step)
                print(
                    f"step {step}/{steps}  loss {numbers['loss']:.4f}  peak off by {numbers['peak_error']:.1f} px  "
                    f"lr {numbers['learning_rate']:.2e}  {duration(left)} left",
                    flush=True,
                )
            if due or step % options.checkpoint_every == 0:
                checkpoints.save(state)
            if termination.asked and step < steps:
                sys.exit(Termination.STATUS)
    log.close()
    checkpoints.close()
    return state.variables
