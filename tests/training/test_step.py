"""The training step: the same on one device and on eight, accumulated, rematerialized, and where it is not finite.

Most of it on a small network in place of the ResNet; see small_steps.py.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_steps import BATCH, OPTIMIZER, SmallVFS, host_batch, initial, put, run, step_function

from vfs_jax.models import VFS, init_variables, normalize_images, winograd
from vfs_jax.training.contrastive import init_queue
from vfs_jax.training.losses import frame_similarity_loss
from vfs_jax.training.options import TrainOptions
from vfs_jax.training.program import compile_train_step
from vfs_jax.training.sharding import make_mesh, replicated
from vfs_jax.training.state import init_state
from vfs_jax.training.vfs import make_program


@pytest.fixture(scope="module")
def one_step():
    return run(1, [host_batch(repeat=2)])


def difference(params, others):
    """The greatest difference in units of the greatest value, leaf by leaf; leaves that are all but 0 count little."""
    leaves = zip(jax.tree.leaves(params), jax.tree.leaves(others), strict=True)
    return max(np.abs(a - b).max() / max(np.abs(b).max(), 1e-3) for a, b in leaves)


@pytest.mark.long
def test_eight_devices_compute_the_loss_of_one():
    """ResNet-18 in float32. Loss and statistics are continuous: float32's rounding, 1e-7, over some 20 layers.

    Gradients are not, ReLUs and maxima flip: they are compared in float64, below and in test_processes.py.
    """
    common = {"data": "", "seed": 0, "steps": 10, "learning_rate": 0.05, "checkpoint_every": 1, "log_every": 1}
    options = TrainOptions(depth=18, batch_size=BATCH, segments=2, image_size=32, **common)
    program = make_program(options, make_mesh(8))
    step = program.lower().compile()
    # The views have an axis of their own, so that nothing but sums crosses devices.
    assert "all-to-all" not in step.as_text()
    state = program.create()
    variables = jax.device_get(state.variables)
    batch = host_batch(size=32)
    state, metrics = step(state, put(program.mesh, batch))
    forward = jax.jit(lambda variables, views: VFS(18).apply(variables, views, train=True, mutable=["batch_stats"]))
    (z, p), after = forward(variables, normalize_images(batch["views"]))
    assert abs(metrics["loss"].item() - frame_similarity_loss(z, p).item()) <= 1e-5
    assert difference(jax.device_get(state.batch_stats), after["batch_stats"]) <= 1e-5


@pytest.mark.slow
def test_two_steps_descend_the_gradient_of_the_loss():
    """Normalization, both views, loss, gradient, decay and momentum, written out in float64."""
    batches = [host_batch(0), host_batch(1)]
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        state, history = run(1, batches, np.float64)
        start = jax.device_get(initial(make_mesh(1), np.float64))
        params, stats = start.params, start.batch_stats
        velocity = jax.tree.map(np.zeros_like, params)
        for number, batch in enumerate(batches):
            images = (batch["views"] - np.array([123.675, 116.28, 103.53])) / np.array([58.395, 57.12, 57.375])

            def loss_of(params, stats=stats, images=images):
                variables = {"params": params, "batch_stats": stats}
                (z, p), updated = SmallVFS(np.float64).apply(variables, images, train=True, mutable=["batch_stats"])
                z, p = (x[:, :, 0] / jnp.linalg.norm(x[:, :, 0], axis=-1, keepdims=True) for x in (z, p))
                z = jax.lax.stop_gradient(z)
                cosines = (p[:, 0] * z[:, 1] + p[:, 1] * z[:, 0]).sum(-1)
                return 2 - cosines.mean(), updated["batch_stats"]

            (loss, stats), gradient = jax.value_and_grad(loss_of, has_aux=True)(params)
            rate = 0.05 * (1 + np.cos(np.pi * number / 10)) / 2
            velocity = jax.tree.map(lambda v, g, w: 0.9 * v + g + 1e-4 * w, velocity, gradient, params)
            params = jax.tree.map(lambda w, v, rate=rate: w - rate * v, params, velocity)
            # Images are normalized and the rate is computed in float32.
            np.testing.assert_allclose(history[number]["loss"], loss, rtol=1e-5)
        params, stats = jax.device_get((params, stats))
    assert difference(state.batch_stats, stats) < 1e-5
    moved, expected = (jax.tree.map(np.subtract, each, start.params) for each in (state.params, params))
    largest = max(np.abs(leaf).max() for leaf in jax.tree.leaves(expected))
    for ours, theirs in zip(jax.tree.leaves(moved), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * largest)


@pytest.mark.slow
@pytest.mark.parametrize("devices", [4, 8])
def test_ten_steps_on_many_devices_equal_one_in_float64(devices):
    with jax.enable_x64(True):
        batches = [host_batch(seed) for seed in range(10)]
        state, history = run(1, batches, np.float64)
        others, other_history = run(devices, batches, np.float64)
    for metrics, other in zip(history, other_history, strict=True):
        for name in ("loss", "gradient_norm", "embedding_std", "learning_rate"):
            np.testing.assert_allclose(metrics[name], other[name], rtol=1e-7, err_msg=name)
    assert difference(state.params, others.params) <= 1e-7
    assert [metrics["skipped"] for metrics in history] == [0] * 10


@pytest.mark.long
def test_three_steps_of_resnet_on_eight_devices_equal_one_in_float64():
    ended, histories = [], []
    variables = jax.device_get(init_variables(0, 18))
    with jax.enable_x64(True):
        variables = jax.tree.map(lambda leaf: leaf.astype(np.float64), variables)
        for devices in (1, 8):
            mesh = make_mesh(devices)
            step = compile_train_step(step_function(VFS(18, dtype=np.float64)), mesh)
            state, history = init_state(variables, OPTIMIZER.init(variables["params"])), []
            state = jax.device_put(jax.device_get(state), replicated(mesh))
            for seed in range(3):
                state, metrics = step(state, put(mesh, host_batch(seed, size=32)))
                history.append([metrics[name].item() for name in ("loss", "gradient_norm", "embedding_std")])
            ended.append(jax.device_get(state.params))
            histories.append(history)
    np.testing.assert_allclose(*histories, rtol=1e-7)
    assert difference(*ended) <= 1e-7


@pytest.mark.slow
def test_parts_of_a_batch_give_their_mean_gradient():
    """Each clip is there twice, once in each part: the parts' statistics and gradients are those of the whole."""
    with jax.enable_x64(True):
        state, (metrics,) = run(1, [host_batch(repeat=2)], np.float64)
        others, (other_metrics,) = run(1, [host_batch(repeat=2)], np.float64, accumulate=2, remat=True)
    for name in ("loss", "gradient_norm", "embedding_std"):
        np.testing.assert_allclose(metrics[name], other_metrics[name], rtol=1e-7, err_msg=name)
    # The first update is -0.05 times gradient and decay.
    start = jax.device_get(initial(make_mesh(1)))
    steps, other_steps = (jax.tree.map(np.subtract, each.params, start.params) for each in (state, others))
    assert difference(steps, other_steps) <= 1e-7


def test_a_step_that_is_not_finite_changes_nothing_and_is_counted(one_step):
    state, _ = one_step
    params = jax.tree.map(np.array, state.params)
    params["predictor"]["linear2"]["bias"][3] = np.nan
    broken = type(state)(state.step, params, state.batch_stats, state.opt_state, state.skipped)
    after, (metrics,) = run(1, [host_batch()], state=broken)
    assert not metrics["finite"]
    assert (metrics["skipped"], after.skipped, after.step) == (1, 1, state.step + 1)
    for name in ("params", "batch_stats"):
        for a, b in zip(jax.tree.leaves(getattr(after, name)), jax.tree.leaves(getattr(broken, name)), strict=True):
            np.testing.assert_array_equal(a, b)
    traces = [leaf for leaf in jax.tree.leaves(after.opt_state) if leaf.ndim]
    before = [leaf for leaf in jax.tree.leaves(broken.opt_state) if leaf.ndim]
    for a, b in zip(traces, before, strict=True):
        np.testing.assert_array_equal(a, b)
    again, (metrics,) = run(1, [host_batch()], state=state)
    assert metrics["finite"]
    assert again.skipped == 0


def test_any_process_can_ask_all_to_stop(one_step):
    state, (metrics,) = one_step
    assert not metrics["stop"]
    batch = host_batch()
    batch["stop"][-1] = True
    _, (metrics,) = run(1, [batch], state=state)
    assert metrics["stop"]


def initial_vfs(queue_size=0):
    variables = init_variables(0, 18)
    queue = init_queue(0, variables, size=queue_size, width=512) if queue_size else None
    return init_state(variables, OPTIMIZER.init(variables["params"]), queue)


@pytest.mark.slow
@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_the_step_lowers_for_accelerators(platform):
    step = step_function(VFS(18, dtype=jnp.bfloat16), color={}, accumulate=2, remat=True, temperature=0.2)
    shapes = jax.eval_shape(lambda: initial_vfs(queue_size=64))
    batch = jax.eval_shape(lambda: jax.tree.map(jnp.asarray, host_batch(size=32)))
    exported = jax.export.export(jax.jit(step), platforms=[platform])(shapes, batch)
    assert exported.platforms == (platform,)
    assert "bf16" in exported.mlir_module()
    kept = [leaf.dtype for leaf in exported.out_avals]
    assert set(map(str, kept)) == {"float32", "int32", "bool"}  # computed in bfloat16, kept in float32


@pytest.mark.slow
def test_rematerialization_convolves_once(monkeypatch):
    monkeypatch.setattr(winograd, "_LARGE", 0)  # what large convolutions are made of, which "cuda" lowers to plain ones
    shapes = jax.eval_shape(initial_vfs)
    batch = jax.eval_shape(lambda: jax.tree.map(jnp.asarray, host_batch(size=32)))

    def convolutions(remat):
        step = jax.jit(step_function(VFS(18), remat=remat))
        return jax.export.export(step, platforms=["cuda"])(shapes, batch).mlir_module().count("stablehlo.convolution")

    assert convolutions(remat=True) == convolutions(remat=False)
