"""The SiamFC head as a run of the training loop: pairs in, a response out, focal loss on where the target is."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from vfs_jax.correspondence import cross_correlate
from vfs_jax.data.box_datasets import BoxSequence
from vfs_jax.data.pairs import PairSettings, pair_batches, steps_per_epoch
from vfs_jax.errors import InputError
from vfs_jax.models import SiamFCHead, depth_of
from vfs_jax.models.resnet import Variables, feature_width
from vfs_jax.models.tracking import STRIDE, out_scale, tracking_features
from vfs_jax.training.loop import Evaluate, train
from vfs_jax.training.options import LoopOptions, require_positive, require_range
from vfs_jax.training.program import (
    Batch,
    Metrics,
    Plan,
    Program,
    TrainStep,
    batch_layout,
    skip_unless_finite,
    state_layout,
)
from vfs_jax.training.sharding import make_mesh, replicated
from vfs_jax.training.state import TrainState, init_state


@dataclasses.dataclass(frozen=True, kw_only=True)
class HeadOptions(LoopOptions):
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
    log_every: int = 50

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self, "epochs", "batch_size")
        require_range(self, "learning_rate", "final_learning_rate", "positive_radius", above=True)
        require_range(self, "gamma", "pairs.context")
        require_range(self, "seed", high=2**32 - 1)
        require_range(self, "pairs.max_stretch", high=0.9)
        require_range(self, "pairs.max_gap", "pairs.crop_margin", low=1)  # a stretched patch may lack a row
        pairs = self.pairs
        if not 0 < pairs.exemplar_size <= pairs.search_size - 2 * pairs.crop_margin:
            raise InputError(
                f"pairs.exemplar_size={pairs.exemplar_size}: must be from 1 to search_size - 2 * crop_margin, "
                f"{pairs.search_size} - 2 * {pairs.crop_margin}"
            )


def response_labels(rows: int, cols: int, radius: float) -> np.ndarray:
    """Mark where the response is to be high: 1 at most `radius` cells from the center by the sum of both distances.

    >>> int(response_labels(16, 16, 2.0).sum())
    12
    """
    y, x = (np.abs(np.arange(count) - (count - 1) / 2) for count in (rows, cols))
    return (y[:, None] + x[None, :] <= radius).astype(np.float32)


def focal_loss(responses: jax.Array, labels: jax.Array, gamma: float) -> jax.Array:
    """Compute binary cross-entropy, each cell weighted by its error to the power gamma, over the mean weight.

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
    features: Callable[[Variables, jax.Array], jax.Array] = tracking_features,
) -> TrainStep:
    """Build the step: features, head, correlation, loss, gradient, update; the backbone stays as it is.

    Args:
        options: loss and scale.
        depth: of the backbone.
        optimizer: of the head.
        schedule: the learning rate by step, for the log.
        features: (backbone, array of the batch) -> float [b, h, w, c]. The backbone is frozen, so that a batch may hold
            features that were computed before; then this hands the array on.

    Returns:
        step(state, batch) -> (state, metrics). State: params {"backbone", "head"}, batch_stats {"backbone"}, opt_state
        of the head. Batch: "exemplar" and "search", uint8. Metrics: "loss", "learning_rate", "gradient_norm",
        "peak_error" (pixels of the search patch between the response's peak and the target, mean), "skipped" and
        "finite".
    """
    scale = out_scale(depth) if options.out_scale is None else options.out_scale
    head = SiamFCHead(feature_width(depth))

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        backbone = {"params": state.params["backbone"], "batch_stats": state.batch_stats["backbone"]}
        z, x = jax.lax.stop_gradient((features(backbone, batch["exemplar"]), features(backbone, batch["search"])))

        def loss_of(parameters: optax.Params) -> tuple[jax.Array, jax.Array]:
            responses = cross_correlate(*head.apply({"params": parameters}, z, x)) * scale
            labels = response_labels(responses.shape[1], responses.shape[2], options.positive_radius / STRIDE)
            return focal_loss(responses, jnp.asarray(labels), options.gamma), responses

        (loss, responses), gradient = jax.value_and_grad(loss_of, has_aux=True)(state.params["head"])
        updates, opt_state = optimizer.update(gradient, state.opt_state)
        params = state.params | {"head": optax.apply_updates(state.params["head"], updates)}
        metrics = {
            "loss": loss,
            "learning_rate": jnp.asarray(schedule(state.step)),
            "gradient_norm": optax.tree.norm(gradient),
            "peak_error": _peak_error(responses),
        }
        return skip_unless_finite(state, dataclasses.replace(state, params=params, opt_state=opt_state), metrics)

    return step


def _peak_error(responses: jax.Array) -> jax.Array:
    """Measure the mean distance of the peak from the response's center, in pixels of the search patch."""
    _, rows, cols = responses.shape
    peak = jnp.argmax(responses.reshape(len(responses), -1), axis=1)
    away = jnp.stack([peak // cols - (rows - 1) // 2, peak % cols - (cols - 1) // 2], axis=-1).astype(jnp.float32)
    return STRIDE * jnp.mean(jnp.linalg.norm(away, axis=-1))


def init_head_state(seed: int, backbone: Variables, optimizer: optax.GradientTransformation) -> TrainState:
    """Make the state before the first step: the backbone, a new head and its optimizer."""
    width = feature_width(depth_of(backbone))
    cells = jnp.zeros((1, 1, 1, width), jnp.float32)
    head = SiamFCHead(width).init(jax.random.key(seed), cells, cells)["params"]
    variables = {
        "params": {"backbone": backbone["params"], "head": head},
        "batch_stats": {"backbone": backbone["batch_stats"]},
    }
    return init_state(variables, optimizer.init(head))


def make_head_program(options: HeadOptions, mesh: Mesh, backbone: Variables, *, epoch_steps: int) -> Program:
    """Lay out the state and the step of a run on a mesh.

    Args:
        options: of the run.
        mesh: from `make_mesh`.
        backbone: variables of a ResNet.
        epoch_steps: steps in an epoch; the learning rate falls after each, and the metrics tell the "epoch".

    Returns:
        The program; its batches have "exemplar" and "search", as `pair_batches` gives them.

    Raises:
        InputError: the batch cannot be cut into equal parts for the devices.
    """
    decay = (options.final_learning_rate / options.learning_rate) ** (1 / options.epochs)
    schedule = optax.exponential_decay(options.learning_rate, epoch_steps, decay, staircase=True)
    optimizer = optax.adam(schedule)
    head_step = make_head_step(options, depth_of(backbone), optimizer, schedule)

    def init(backbone: Variables) -> TrainState:
        return init_head_state(options.seed, backbone, optimizer)

    def create() -> TrainState:
        # A copy, since the first step overwrites the state in place.
        placed = jax.device_put(backbone, replicated(mesh), may_alias=False)
        return jax.jit(init, out_shardings=replicated(mesh))(placed)

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        after, metrics = head_step(state, batch)
        return after, metrics | {"epoch": state.step // epoch_steps}

    exemplar, search = options.pairs.exemplar_size, options.pairs.search_size - 2 * options.pairs.crop_margin
    patches = {"exemplar": (exemplar, exemplar, 3), "search": (search, search, 3)}
    return Program(
        mesh=mesh,
        create=create,
        step=step,
        state_shapes=state_layout(mesh, jax.eval_shape(init, backbone)),
        batch_shapes=batch_layout(mesh, options.batch_size, patches),
    )


def train_head(
    options: HeadOptions,
    workdir: Path,
    sequences: Sequence[BoxSequence],
    backbone: Variables,
    *,
    evaluate: Evaluate | None = None,
) -> TrainState:
    """Train the head until options.epochs are over; see `vfs_jax.training.loop.train`.

    Args:
        options: of the run.
        workdir: exists, and belongs to these options (the command claims it).
        sequences: to train on.
        backbone: variables of a ResNet, which stay as they are.
        evaluate: called with the variables of the tracker, {"params": {"backbone", "head"}, "batch_stats": ...}.

    Returns:
        The state after the last step.

    Raises:
        InputError: data or checkpoints cannot be used, the batch does not divide, or a guard ended the run.
        SystemExit: SIGTERM came; the state is saved.
    """
    epoch_steps = steps_per_epoch(len(sequences), options.batch_size)
    plan = Plan(
        steps=options.epochs * epoch_steps,
        batches=lambda start: pair_batches(
            sequences,
            batch_size=options.batch_size,
            seed=options.seed,
            start_step=start,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
            num_workers=options.num_workers,
            settings=options.pairs,
        ),
        num_records=len(sequences),
        batch_size=options.batch_size,
        unit="pairs",
        progress="peak off by {peak_error:.1f} px",
    )
    program = make_head_program(options, make_mesh(), backbone, epoch_steps=epoch_steps)
    return train(program, plan, options, workdir, evaluate=evaluate)
