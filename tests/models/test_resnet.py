"""The backbone's arguments, initialization, dtypes and errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from vfs_jax.models import VFS, ResNet, backbone_of, depth_of, init_variables, normalize_images
from vfs_jax.models.resnet import ResidualBlock, feature_width

IMAGES = jax.ShapeDtypeStruct((1, 32, 40, 3), jnp.float32)
VIEWS = jax.ShapeDtypeStruct((2, 2, 3, 32, 32, 3), jnp.float32)
KEY = jax.eval_shape(lambda: jax.random.key(0))


@pytest.fixture(scope="module")
def variables():
    return init_variables(seed=0, depth=18)


# Parameters without the classifier, as torchvision's documentation counts them: its totals less 513,000 or 2,049,000.
@pytest.mark.parametrize(
    ("depth", "parameters"),
    [(18, 11_176_512), (34, 21_284_672), (50, 23_508_032), (101, 42_500_160), (152, 58_143_808)],
)
def test_parameters_of_every_depth(depth, parameters):
    shapes = jax.eval_shape(ResNet(depth).init, KEY, IMAGES)
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes["params"])) == parameters
    assert depth_of(shapes) == depth
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {jnp.dtype(jnp.float32)}


def test_parameters_do_not_depend_on_strides_dilations_outputs_and_dtype():
    def tree(**options):
        shapes = jax.eval_shape(ResNet(50, **options).init, KEY, IMAGES)
        return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), shapes)

    plain = tree()
    assert plain == tree(strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4), outputs=("res2.1",), dtype=jnp.bfloat16)


@pytest.mark.parametrize(
    ("depth", "strides", "output", "shape"),
    [
        (18, (1, 2, 2, 2), "res5", (1, 15, 27, 512)),
        (18, (1, 2, 1, 1), "res4", (1, 60, 107, 256)),  # DAVIS at stride 8
        (18, (1, 2, 1, 1), "res5.0", (1, 60, 107, 512)),
        (50, (1, 2, 1, 1), "res4.5", (1, 60, 107, 1024)),
        (50, (1, 2, 1, 1), "res2.0", (1, 120, 214, 256)),
    ],
)
def test_output_shapes(depth, strides, output, shape):
    variables = jax.eval_shape(ResNet(depth).init, KEY, IMAGES)
    images = jax.ShapeDtypeStruct((1, 480, 854, 3), jnp.float32)
    outputs = jax.eval_shape(ResNet(depth, strides=strides, outputs=(output,)).apply, variables, images)
    assert {name: features.shape for name, features in outputs.items()} == {output: shape}
    assert shape[-1] == feature_width(depth, output[:4])


def test_apply_stops_at_the_deepest_output(variables):
    def convolutions(*outputs):
        apply = ResNet(18, outputs=outputs).apply
        return str(jax.make_jaxpr(apply)(backbone_of(variables), np.zeros((1, 32, 32, 3), np.float32))).count(
            "conv_general"
        )

    # The stem, two a block, and a shortcut in the first block of res3, res4 and res5.
    assert [convolutions(name) for name in ("res2.0", "res2", "res3", "res4.0", "res4", "res5")] == [
        3,
        5,
        10,
        13,
        15,
        20,
    ]
    assert convolutions("res4", "res2.0") == 15


def test_single_blocks_are_the_stages_at_their_last_block(variables):
    images = np.random.default_rng(0).standard_normal((1, 32, 32, 3)).astype(np.float32)
    names = ("res2.1", "res2", "res4.0", "res4")
    outputs = jax.jit(ResNet(18, outputs=names).apply)(backbone_of(variables), images)
    np.testing.assert_array_equal(outputs["res2.1"], outputs["res2"])
    # A fresh block is its shortcut (its last BN starts at 0), so a block without projection passes its input on.
    np.testing.assert_array_equal(outputs["res4.0"], outputs["res4"])


@pytest.mark.slow
def test_initial_values_follow_the_release(variables):
    params, stats = (flatten_dict(variables[name], sep="/") for name in ("params", "batch_stats"))
    for name, leaf in params.items():
        if leaf.ndim == 4:  # He-normal, fan-out: a standard deviation of sqrt(2 / (k * k * c_out))
            expected = (2 / (leaf.shape[0] * leaf.shape[1] * leaf.shape[3])) ** 0.5
            assert abs(leaf.std() / expected - 1) < 4 / (2 * leaf.size) ** 0.5, name  # four standard errors
            assert abs(leaf).max() > 3 * expected, name  # not truncated
        elif "linear" in name:  # uniform within 1/sqrt(fan_in), weight and bias alike
            fan_in = params[f"{name.rsplit('/', 1)[0]}/kernel"].shape[0]
            assert abs(leaf).max() <= fan_in**-0.5, name
            assert abs(leaf).max() > 0.97 * fan_in**-0.5, name
            assert abs(leaf.mean()) < 4 * (fan_in * 3 * leaf.size) ** -0.5, name
        else:
            last = name.startswith("backbone/res") and name.endswith("/bn2/scale")
            expected = 1 if name.endswith("scale") and not last else 0
            np.testing.assert_array_equal(leaf, np.full(leaf.shape, expected, np.float32), err_msg=name)
    for name, leaf in stats.items():
        np.testing.assert_array_equal(leaf, np.full(leaf.shape, name.endswith("var"), np.float32), err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("scale", [0, 0.5])
def test_the_last_bn_of_a_bottleneck_starts_at_zero_or_as_told(scale):
    init = jax.jit(ResidualBlock(width=8, bottleneck=True, branch_scale=scale).init, static_argnums=2)
    block = init(jax.random.key(0), jnp.zeros((1, 4, 4, 32)), False)["params"]
    assert [float(block[f"bn{i}"]["scale"].max()) for i in (1, 2, 3)] == [1, 1, scale]
    assert [block[f"conv{i}"]["kernel"].shape for i in (1, 2, 3)] == [(1, 1, 32, 8), (3, 3, 8, 8), (1, 1, 8, 32)]


def test_branches_may_start_at_another_scale(variables):
    """Nothing but the last BatchNorm of every branch is another one."""
    before, after = (flatten_dict(tree["params"], sep="/") for tree in (variables, init_variables(0, 18, 0.25)))
    scaled = [name for name in before if name.startswith("backbone/res") and name.endswith("/bn2/scale")]
    assert len(scaled) == 8
    for name, leaf in after.items():
        expected = np.full_like(leaf, 0.25) if name in scaled else before[name]
        np.testing.assert_array_equal(leaf, expected, err_msg=name)


def test_a_seed_gives_its_own_numbers(variables):
    again, other = init_variables(seed=0, depth=18), init_variables(seed=1, depth=18)
    kernel = [tree["params"]["predictor"]["linear2"]["kernel"] for tree in (variables, again, other)]
    np.testing.assert_array_equal(kernel[0], kernel[1])
    assert np.abs(kernel[0] - kernel[2]).max() > 0.01


@pytest.mark.slow
def test_bfloat16_computes_and_returns_bfloat16(variables):
    images = np.random.default_rng(0).standard_normal((2, 48, 48, 3)).astype(np.float32)
    features = {
        dtype: jax.jit(ResNet(18, dtype=dtype).apply)(backbone_of(variables), images)["res5"]
        for dtype in (jnp.float32, jnp.bfloat16)
    }
    assert features[jnp.bfloat16].dtype == jnp.bfloat16
    full, half = (np.asarray(leaf, np.float32) for leaf in features.values())
    # Eight bits of mantissa over some twenty layers: a few per cent of the spread, but not none.
    assert 1e-4 < np.abs(half - full).max() / full.std() < 0.2


@pytest.mark.slow
def test_bfloat16_training_keeps_statistics_in_float32(variables):
    views = np.random.default_rng(0).standard_normal((2, 2, 2, 32, 32, 3)).astype(np.float32)
    model = VFS(18, dtype=jnp.bfloat16)
    apply = jax.jit(lambda views: model.apply(variables, views, train=True, mutable=["batch_stats"]))
    (z, p), changed = apply(views)
    assert z.dtype == p.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(changed)} == {jnp.dtype(jnp.float32)}
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(changed))


@pytest.fixture(scope="module")
def embed(variables):
    """(z, p), batch_stats in float64: a BatchNorm over few values raises rounding by any factor up to 300."""
    wide = jax.tree.map(np.float64, variables)
    model = VFS(18, dtype=np.float64)
    apply = jax.jit(lambda views: model.apply(wide, views, train=True, mutable=["batch_stats"]))

    def embed(views, sharding=None):
        with jax.enable_x64(True):
            return jax.device_get(apply(jax.device_put(views, sharding)))

    return embed


@pytest.mark.slow
def test_views_are_independent_but_for_running_statistics(embed):
    views = np.random.default_rng(0).standard_normal((4, 2, 1, 32, 32, 3))
    (z, p), stats = embed(views)
    (swapped_z, swapped_p), swapped_stats = embed(views[:, ::-1])
    for ours, swapped in ((z, swapped_z), (p, swapped_p)):
        np.testing.assert_allclose(ours, swapped[:, ::-1], rtol=0, atol=1e-9)  # compiled in another place
    means = [tree["batch_stats"]["backbone"]["bn1"]["mean"] for tree in (stats, swapped_stats)]
    assert np.abs(means[0] - means[1]).max() > 1e-4  # view 0 moves them first, so the later view weighs more


@pytest.mark.slow
def test_batch_norm_is_over_the_global_batch_when_clips_are_sharded(embed):
    mesh = jax.make_mesh((4,), ("data",), axis_types=(jax.sharding.AxisType.Auto,), devices=jax.devices()[:4])
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    views = np.random.default_rng(0).standard_normal((4, 2, 1, 32, 32, 3))
    (z, _), stats = embed(views)
    (sharded_z, _), sharded_stats = embed(views, sharding)
    np.testing.assert_allclose(sharded_z, z, rtol=0, atol=1e-9)  # sums in another order
    for a, b in zip(jax.tree.leaves(stats), jax.tree.leaves(sharded_stats), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-9)


@pytest.mark.parametrize("outputs", [(), ("res1",), ("res4.2",), ("res4", "layer3")])
def test_unknown_outputs_are_refused(outputs):
    with pytest.raises(ValueError, match=r"take one or more of res2, res2\.0"):
        jax.eval_shape(ResNet(18, outputs=outputs).init, KEY, IMAGES)


def test_an_unknown_depth_is_refused():
    with pytest.raises(ValueError, match="no ResNet of depth 20; there are 18, 34, 50, 101, 152"):
        jax.eval_shape(ResNet(20).init, KEY, IMAGES)
    with pytest.raises(ValueError, match="no parameters of a ResNet"):
        depth_of({"params": {"conv1": {}}})


@pytest.mark.parametrize(
    ("shape", "dtype", "told"),
    [
        ((32, 32, 3), np.float32, r"f32\[32,32,3\]"),
        ((1, 3, 32, 32), np.float32, r"f32\[1,3,32,32\]"),
        ((1, 32, 32, 3), np.uint8, r"u8\[1,32,32,3\]"),
    ],
)
def test_wrong_images_are_refused_with_what_came(shape, dtype, told):
    with pytest.raises(TypeError, match=told):
        jax.eval_shape(ResNet(18).init, KEY, np.zeros(shape, dtype))


def test_normalize_images_for_uint8_and_floats():
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 3), dtype=np.uint8)
    mean, std = np.array([123.675, 116.28, 103.53]), np.array([58.395, 57.12, 57.375])
    expected = (images.astype(np.float64) - mean) / std
    for given in (images, images.astype(np.float32), jnp.asarray(images)):
        ours = normalize_images(given)
        assert ours.dtype == jnp.float32
        np.testing.assert_allclose(ours, expected, rtol=0, atol=5e-7)  # a rounding of float32 at values up to 2.7
