"""VFS in train mode against PyTorch: embeddings, predictions, running statistics of every BatchNorm."""

import jax
import numpy as np
import pytest
import torch
from flax.traverse_util import flatten_dict
from torch_reference import TorchVFS, randomise, save

from vfs_jax.models import VFS, load_torch, save_torch


@pytest.fixture(
    scope="module", params=[(18, 2), *(pytest.param(case, marks=pytest.mark.long) for case in ((18, 1), (50, 1)))]
)
def both(request, tmp_path_factory):
    """One train-mode pass of both networks in float64 on the same weights and views."""
    depth, frames = request.param
    reference = randomise(TorchVFS(depth), seed=frames).train()
    path = save(reference, tmp_path_factory.mktemp("vfs") / "vfs.pth")
    reference = reference.double()
    views = np.random.default_rng(frames).standard_normal((4, 2, frames, 32, 40, 3))

    counts, before = {}, {name: tensor.clone() for name, tensor in reference.state_dict().items()}
    for name, module in reference.named_modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.register_forward_hook(
                lambda _, inputs, __, name=name: counts.update({name: inputs[0].numel() // inputs[0].shape[1]})
            )
    z, p = [], []
    for view in (0, 1):
        images = torch.from_numpy(views[:, view].reshape(-1, 32, 40, 3).transpose(0, 3, 1, 2))
        with torch.no_grad():
            for found, values in zip((z, p), reference.embed(images), strict=True):
                found.append(values.reshape(4, frames, -1))

    with jax.enable_x64(True):
        variables = jax.tree.map(lambda leaf: leaf.astype(np.float64), load_torch(path, part="vfs"))
        model = VFS(depth, dtype=np.float64)
        apply = jax.jit(lambda variables, views: model.apply(variables, views, train=True, mutable=["batch_stats"]))
        (our_z, our_p), changed = apply(variables, views)
    theirs = {"z": torch.stack(z, 1), "p": torch.stack(p, 1), "counts": counts, "before": before, "module": reference}
    return {
        "z": np.asarray(our_z),
        "p": np.asarray(our_p),
        "stats": changed["batch_stats"],
        "params": variables,
    }, theirs


@pytest.mark.slow
def test_embeddings_equal_torch(both):
    ours, theirs = both
    for name in ("z", "p"):
        expected = theirs[name].numpy()
        assert ours[name].shape == expected.shape  # [b, view, t, d]
        # Float64, and BatchNorm over few values divides by small deviations: 1e-9 of the spread.
        np.testing.assert_allclose(ours[name], expected, rtol=0, atol=1e-9 * expected.std())


def test_running_statistics_equal_torch(both, tmp_path):
    ours, theirs = both
    after = theirs["module"].state_dict()
    # The file layout gives our statistics torch's names; it stores float32.
    save_torch({"params": ours["params"]["params"], "batch_stats": ours["stats"]}, tmp_path / "after.pth")
    written = torch.load(tmp_path / "after.pth", weights_only=True)["state_dict"]
    assert len(flatten_dict(ours["stats"])) == 2 * len(theirs["counts"])
    for name, n in theirs["counts"].items():
        mean, var = (written[f"{name}.running_{kind}"].double() for kind in ("mean", "var"))
        torch.testing.assert_close(mean, after[f"{name}.running_mean"], rtol=1e-6, atol=1e-7)
        # After two updates with momentum 0.1 torch holds 0.81 r + n/(n-1) (0.09 v0 + 0.1 v1), Flax no n/(n-1).
        kept = 0.81 * theirs["before"][f"{name}.running_var"]
        torch.testing.assert_close(
            kept + (var - kept) * n / (n - 1), after[f"{name}.running_var"], rtol=1e-5, atol=1e-7
        )
        assert int(after[f"{name}.num_batches_tracked"]) == 7 + 2
        assert int(written[f"{name}.num_batches_tracked"]) == 0
