"""Network, heads, loss, gradient and three SGD steps against recorded outputs of the official code."""

import json
import subprocess
import sys
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

from vfs_jax.models import VFS, load_torch, save_torch
from vfs_jax.training import frame_similarity_loss
from vfs_jax.training.optimizer import sgd

CASES = {"intra_t2": (21, 2), "inter_t1": (22, 1)}  # seed of the batch, frames a view


@pytest.fixture(scope="module")
def recorded(oracles):
    return np.load(oracles / "training.npz")


@pytest.fixture(scope="module")
def weights(oracles, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "r18.pth"
    subprocess.run([sys.executable, str(oracles / "make_weights.py"), "--depth", "18", "--out", str(path)], check=True)
    return path


def batch(case, oracles):
    seed, frames = CASES[case]
    views = np.random.default_rng(seed).standard_normal((4, 2, frames, 64, 64, 3)).astype(np.float32)
    assert zlib.crc32(views.tobytes()) == json.loads((oracles / "inputs.json").read_text())[f"training_batch {case}"]
    return views


def loss_function(dtype, views):
    """(params, batch_stats) -> (loss, batch_stats after both views)."""
    model = VFS(18, dtype=dtype)

    def loss(params, batch_stats):
        variables = {"params": params, "batch_stats": batch_stats}
        (z, p), changed = model.apply(variables, views, train=True, mutable=["batch_stats"])
        return frame_similarity_loss(z, p), changed["batch_stats"]

    return loss


def named(params, batch_stats, folder):
    """Torch's names -> float64 arrays in torch's order, through the file layout, which holds float32: in two parts."""
    total = {}
    whole = jax.tree.map(np.asarray, {"params": params, "batch_stats": batch_stats})
    coarse = jax.tree.map(lambda leaf: leaf.astype(np.float32), whole)
    fine = jax.tree.map(lambda leaf, part: (leaf - part.astype(leaf.dtype)).astype(np.float32), whole, coarse)
    for part in (coarse, fine):
        save_torch(part, folder / "part.pth")
        for name, tensor in torch.load(folder / "part.pth", weights_only=True)["state_dict"].items():
            total[name] = total.get(name, 0) + tensor.double().numpy()
    return total


def check_statistics(stats, before, recorded, key, frames, tolerance):
    """Torch's running statistics after one update a view; its variances are unbiased, ours are not."""
    cells = {"backbone.conv1.bn": 32 * 32, "backbone.layer4.1.conv2.bn": 2 * 2, "img_head.projection_fcs.7": 1}
    for module, per_frame in cells.items():
        n = 4 * frames * per_frame
        kept = 0.81 * before[f"{module}.running_var"]
        ours = {
            "running_mean": stats[f"{module}.running_mean"],
            "running_var": kept + (stats[f"{module}.running_var"] - kept) * n / (n - 1),
        }
        for kind, values in ours.items():
            theirs = recorded[f"{key}.{module}.{kind}"]
            np.testing.assert_allclose(values, theirs, rtol=0, atol=tolerance * np.abs(theirs).max(), err_msg=module)


@pytest.mark.parametrize(
    "case", [pytest.param("intra_t2", marks=pytest.mark.slow), pytest.param("inter_t1", marks=pytest.mark.long)]
)
def test_three_steps_in_float64(case, oracles, recorded, weights, tmp_path):
    views, key = batch(case, oracles), f"{case}.f64"
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):  # the loss names float32 as its least dtype
        start = jax.tree.map(lambda leaf: leaf.astype(np.float64), load_torch(weights, part="vfs"))
        params, stats = start["params"], start["batch_stats"]
        gradient = jax.jit(jax.value_and_grad(loss_function(np.float64, views.astype(np.float64)), has_aux=True))
        optimizer = sgd(0.05, momentum=0.9, weight_decay=1e-4)
        state, losses = optimizer.init(params), []
        for step in range(4):
            (loss, stats), grads = gradient(params, stats)
            losses.append(float(loss))
            if step == 0:
                first_grads, first_stats = grads, stats
            if step < 3:
                updates, state = optimizer.update(grads, state, params)
                params = optax.apply_updates(params, updates)

    # The official code's own float64 noise between thread counts is 1e-11; later steps amplify ours.
    np.testing.assert_allclose(losses, recorded[f"{key}.losses"], rtol=0, atol=1e-7)
    before = named(start["params"], start["batch_stats"], tmp_path)
    first = named(first_grads, first_stats, tmp_path)
    after = named(params, first_stats, tmp_path)
    check_statistics(first, before, recorded, key, views.shape[2], 1e-7)
    names = [str(parameter) for parameter in recorded["names"]]
    for measure, ours in (("grad_norms", first), ("param_norms_after3", after)):
        norms = [np.linalg.norm(ours[parameter]) for parameter in names]
        np.testing.assert_allclose(norms, recorded[f"{key}.{measure}"], rtol=1e-7, atol=1e-10, err_msg=measure)
    compared = 0
    for prefix, ours in (("grad", first), ("param_after3", after)):
        for parameter in names:
            stem = f"{key}.{prefix}.{parameter}"
            if stem in recorded.files:
                values, theirs = ours[parameter], recorded[stem]
            elif f"{stem}.sample" in recorded.files:
                values, theirs = ours[parameter].reshape(-1)[:: recorded[f"{stem}.stride"]], recorded[f"{stem}.sample"]
            else:
                continue
            compared += 1
            np.testing.assert_allclose(
                values, theirs, rtol=0, atol=1e-7 * max(1e-3, np.abs(theirs).max()), err_msg=stem
            )
    assert compared >= 5


@pytest.mark.parametrize(
    "case", [pytest.param("intra_t2", marks=pytest.mark.long), pytest.param("inter_t1", marks=pytest.mark.slow)]
)
def test_the_first_loss_in_float32(case, oracles, recorded, weights, tmp_path):
    """Loss and statistics, which are continuous. Gradients are not: rounding decides which ReLUs and maxima flip.

    Those are compared in float64, where none is so near to its edge.
    """
    views = batch(case, oracles)
    start = load_torch(weights, part="vfs")
    loss, stats = jax.jit(loss_function(jnp.float32, views))(start["params"], start["batch_stats"])
    # The tolerances are those of the oracle: some ten times what float32 and float64 of the official code are apart.
    assert abs(float(loss) - recorded[f"{case}.f64.losses"][0]) <= 1e-5
    before, after = (named(start["params"], each, tmp_path) for each in (start["batch_stats"], stats))
    check_statistics(after, before, recorded, f"{case}.f64", views.shape[2], 1e-5)
