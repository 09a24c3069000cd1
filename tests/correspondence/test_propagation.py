"""Label propagation held to the obvious way (full_affinity.py) and to the official code's outputs."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from full_affinity import assert_propagated, full_propagation, full_video

from vfs_jax.correspondence import propagate_frame, propagate_next, propagate_video, start_memory
from vfs_jax.correspondence.memory import Labeled, arrays_of, with_arrays
from vfs_jax.correspondence.tiles import KernelMaps

# Labels are sums of at most ten products of numbers in 0..1; scores / 0.07 carry an error of some 1e-6.
TOLERANCE = 1e-5


def some_frames(seed=0, frames=4, height=9, width=13, channels=8, labels=3, dtype=np.float32):
    rng = np.random.default_rng(seed)
    query = rng.standard_normal((height, width, channels)).astype(dtype)
    keys = rng.standard_normal((frames, height, width, channels)).astype(dtype)
    return query, keys, rng.uniform(size=(frames, height, width, labels)).astype(np.float32)


SETTINGS = {
    "circle": {"radius": 4.0},
    "circle_up_to": {"radius": math.sqrt(9.5)},
    "square": {"radius": 3.0, "window": "square"},
    "first_free": {"radius": 3.0, "first_frame_windowed": False},
    "no_window": {"radius": None},
    "wider_than_the_frame": {"radius": 40.0},
    "all_keys": {"radius": 3.0, "topk": None},
    "all_keys_first_free": {"radius": 3.0, "topk": None, "first_frame_windowed": False},
    "all_keys_no_window": {"radius": None, "topk": None},
    "fewer_keys_than_k": {"radius": 1.0, "topk": 10},
    "more_than_there_are": {"radius": None, "topk": 10_000},
    "one_key": {"radius": 3.0, "topk": 1},
    "warm": {"radius": 3.0, "topk": 5, "temperature": 0.2},
    "raw_features": {"radius": 3.0, "normalize": False, "temperature": 2.0},
}


def some_slow(names, quick):
    """Each setting compiles a program of its own; those in `quick` run always."""
    return [name if name in quick else pytest.param(name, marks=pytest.mark.slow) for name in names]


@pytest.mark.parametrize("name", some_slow(SETTINGS, {"circle", "square", "first_free", "all_keys", "no_window"}))
def test_frame_is_the_full_affinity(name):
    query, keys, labels = some_frames()
    result = propagate_frame(query, keys, labels, **SETTINGS[name])
    assert result.dtype == np.float32
    assert_propagated(result, *full_propagation(query, keys, labels, **SETTINGS[name]))


@pytest.mark.parametrize(
    ("shape", "radius"), [((1, 1), 4.0), ((1, 17), 4.0), ((17, 1), 4.0), ((23, 6), 4.0), ((47, 7), 14.0)], ids=str
)
@pytest.mark.slow
def test_any_grid(shape, radius):
    """Grids smaller than a tile, than a window, that no tile divides, and several key tiles at the border."""
    query, keys, labels = some_frames(height=shape[0], width=shape[1])
    result = propagate_frame(query, keys, labels, radius=radius)
    assert_propagated(result, *full_propagation(query, keys, labels, radius=radius))


@pytest.mark.parametrize("options", [{"first_frame_windowed": False}, {"topk": None}], ids=str)
def test_missing_frames(options):
    query, keys, labels = some_frames()
    for valid in ([True, False, True, False], [False, True, True, True], [False] * 4):
        result = propagate_frame(query, keys, labels, radius=3.0, key_valid=np.array(valid), **options)
        assert_propagated(result, *full_propagation(query, keys, labels, radius=3.0, key_valid=valid, **options))
        assert np.any(result) == any(valid)  # zeros, not NaN, where nothing is allowed


@pytest.mark.parametrize("topk", [10, None])
@pytest.mark.slow
def test_no_allowed_key_gives_zeros(topk):
    query, keys, labels = some_frames()
    assert not np.any(propagate_frame(query, keys, labels, radius=0.0, topk=topk))
    free = propagate_frame(query, keys, labels, radius=0.0, topk=topk, first_frame_windowed=False)
    assert_propagated(free, *full_propagation(query, keys[:1], labels[:1], radius=None, topk=topk))


def test_zero_features_are_not_divided_by_zero():
    query, keys, labels = some_frames()
    query[2, 3], keys[1, 4] = 0, 0
    result = propagate_frame(query, keys, labels, radius=3.0, topk=40)
    expected, _ = full_propagation(query, keys, labels, radius=3.0, topk=40)
    assert np.all(np.isfinite(result))
    # Row 4 of frame 1 ties at 0 in the window of the zero query; with 40 keys every such choice is a tie at 0.
    np.testing.assert_allclose(result, expected, rtol=0, atol=TOLERANCE)


@pytest.mark.slow
def test_sixteen_bits_are_multiplied_as_they_are():
    """The full version on the same rounded features; sums in float32, norms applied to the sums."""
    for dtype in (jnp.bfloat16, jnp.float16):
        query, keys, labels = some_frames(channels=32)
        query, keys = jnp.asarray(query, dtype), jnp.asarray(keys, dtype)
        options = {"radius": 4.0, "first_frame_windowed": False}
        expected = full_propagation(query.astype(np.float32), keys.astype(np.float32), labels, **options)
        result = propagate_frame(query, keys, jnp.asarray(labels), **options)
        assert result.dtype == np.float32
        assert_propagated(result, *expected)
        mixed = propagate_frame(query, keys.astype(np.float32), labels, **options)
        assert_propagated(mixed, *expected)


def test_close_calls_choose_as_good_keys():
    """Where the tenth score is hardly above the eleventh another key may win; the sum of the chosen scores is the same.

    Labels are the scores' own index, read back through one-hot labels of k = 1.
    """
    rng = np.random.default_rng(0)
    query = rng.standard_normal((6, 7, 4)).astype(np.float32)
    keys = np.stack([query * 1.0, query * (1 + 1e-6), query * (1 - 1e-6)]) + 1e-7 * rng.standard_normal((3, 6, 7, 4))
    labels = np.eye(3 * 42, dtype=np.float32).reshape(3, 6, 7, 126)
    chosen = propagate_frame(query, keys.astype(np.float32), labels, radius=3.0, topk=10, temperature=1e6)
    assert np.allclose(np.count_nonzero(np.asarray(chosen) > 0.05, axis=-1), 10)
    unit = lambda x: x / np.linalg.norm(x, axis=-1, keepdims=True)  # noqa: E731
    scores = unit(query.astype(np.float64)).reshape(42, 4) @ unit(keys.astype(np.float32)).reshape(126, 4).T
    row, col = np.divmod(np.arange(42), 7)
    allowed = np.hypot(row[:, None] - row, col[:, None] - col) < 3
    scores = np.where(np.tile(allowed, 3), scores, -np.inf)
    best = -np.sort(-scores, axis=1)[:, :10].sum(axis=1)
    picked = np.where(np.asarray(chosen).reshape(42, 126) > 0.05, scores, 0).sum(axis=1)
    np.testing.assert_allclose(picked, best, atol=1e-5)


@pytest.mark.slow
def test_official_frames(oracles):
    """Outputs of the release's attention; 1e-5 (1e-4 on features that are not normalized), measured: 9e-7."""
    expected = np.load(oracles / "label_propagation.npz")
    rng = np.random.default_rng(31)
    query = rng.standard_normal((15, 23, 32)).astype(np.float32)
    keys = rng.standard_normal((6, 15, 23, 32)).astype(np.float32)
    labels = rng.uniform(size=(6, 15, 23, 4)).astype(np.float32)
    cases = {
        "circle6_k10_t007": {"radius": 6.0},
        "circle6_k10_t007_first_free": {"radius": 6.0, "first_frame_windowed": False},
        "nomask_k10_t007": {"radius": None},
        "circle6_k5_t01": {"radius": 6.0, "topk": 5, "temperature": 0.1},
        "square6_k10_t007": {"radius": 6.0, "window": "square"},
        "circle6_kall_t007": {"radius": 6.0, "topk": None},
        "circle6_k10_t007_nonorm": {"radius": 6.0, "normalize": False},
        "circle2_k10_t007": {"radius": 2.0},
        "circle1_k10_t007": {"radius": 1.0},
    }
    assert {f"one.{name}" for name in cases} == {name for name in expected if name.startswith("one.")}
    for name, options in cases.items():
        result = propagate_frame(query, keys, labels, **options)
        tolerance = 1e-4 if name.endswith("nonorm") else TOLERANCE
        _, slack = full_propagation(query, keys, labels, **options)
        assert_propagated(result, expected[f"one.{name}"], 2 * slack, tolerance)  # both are float32


OFFICIAL_VIDEOS = {
    "r5": {"radius": 5.0},
    "r5_first_free": {"radius": 5.0, "first_frame_windowed": False},
    "r5_no_first": {"radius": 5.0, "keep_first": False},
    "nowindow": {"radius": None},
    "r5_context3": {"radius": 5.0, "num_context": 3},
}


def rolling_video(frames):
    rng = np.random.default_rng(32)
    base = rng.standard_normal((12, 20, 16))
    video = [np.roll(base, (t // 3, t // 2), (0, 1)) + 0.4 * rng.standard_normal(base.shape) for t in range(26)]
    return np.stack(video).astype(np.float32)[:frames]


@pytest.mark.slow
@pytest.mark.parametrize("name", some_slow(OFFICIAL_VIDEOS, {"r5"}))
def test_official_videos(oracles, name):
    """The release's recurrence over 26 frames: longer than the context, so that old frames leave it."""
    expected = np.load(oracles / "label_propagation.npz")
    first = np.eye(3, dtype=np.float32)[expected["video.first_shrunk"]]
    result = propagate_video(rolling_video(26), first, **OFFICIAL_VIDEOS[name])
    np.testing.assert_array_equal(result[0], first)
    _, slack = full_video(rolling_video(26), first, **OFFICIAL_VIDEOS[name])
    assert_propagated(result[1:], expected[f"video.{name}.soft"], 2 * slack[1:])  # both are float32


VIDEOS = {
    "context_longer_than_video": {"num_context": 20},
    "short_context": {"num_context": 2},
    "no_context": {"num_context": 0},
    "no_context_first_free": {"num_context": 0, "first_frame_windowed": False},
    "without_first": {"num_context": 3, "keep_first": False},
    "without_first_oldest_free": {"num_context": 3, "keep_first": False, "first_frame_windowed": False},
    "filled": {"num_context": 4, "fill_first": True},
    "filled_oldest_free": {
        "num_context": 4,
        "fill_first": True,
        "keep_first": False,
        "first_frame_windowed": False,
    },
    "first_once": {"num_context": 4, "first_once": True},
    "first_once_no_context": {"num_context": 0, "first_once": True},
    "square_warm": {"num_context": 3, "window": "square", "topk": 5, "temperature": 0.1},
    "all_keys": {"num_context": 3, "topk": None, "first_frame_windowed": False},
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", some_slow(VIDEOS, {"short_context", "without_first_oldest_free", "filled", "first_once"})
)
def test_video_and_stream_are_the_full_recurrence(name):
    options = {"radius": 3.0, **VIDEOS[name]}
    features = rolling_video(7)
    first = np.eye(3, dtype=np.float32)[np.random.default_rng(1).integers(0, 3, (12, 20))]
    expected, slack = full_video(features, first, **options)
    result = propagate_video(features, first, **options)
    assert_propagated(result, expected, slack)

    search = {key: options.pop(key) for key in ("topk", "temperature") if key in options}
    memory = start_memory(features[0], first, **options)
    for number, frame in enumerate(features[1:], start=1):
        labels, memory = propagate_next(memory, frame, **search)
        assert_propagated(labels, expected[number], slack[number])


@pytest.mark.slow
def test_under_jit_and_vmap():
    frames = [some_frames(seed) for seed in range(2)]
    run = jax.jit(lambda *arrays: propagate_frame(*arrays, radius=3.0))
    batch = [np.stack(arrays) for arrays in zip(*frames, strict=True)]
    several = jax.vmap(lambda *arrays: propagate_frame(*arrays, radius=3.0))(*batch)
    for one, result in zip(frames, several, strict=True):
        expected = full_propagation(*one, radius=3.0)
        assert_propagated(run(*one), *expected)
        assert_propagated(result, *expected)


@pytest.mark.slow
def test_several_videos_on_several_devices():
    """One video a device by shard_map."""
    features = np.stack([np.flip(rolling_video(4), axis=axis) for axis in (0, 1, 2, 0)])
    first = np.random.default_rng(0).uniform(size=(4, 12, 20, 2)).astype(np.float32)
    mesh = jax.make_mesh((4,), ("video",), axis_types=(jax.sharding.AxisType.Auto,))
    spec = jax.sharding.PartitionSpec("video")

    @jax.jit
    @jax.shard_map(mesh=mesh, in_specs=(spec, spec), out_specs=spec, check_vma=False)
    def run(features, first):
        return propagate_video(features[0], first[0], radius=3.0, num_context=2)[None]

    result = run(features, first)
    for number in range(4):
        assert_propagated(result[number], *full_video(features[number], first[number], radius=3.0, num_context=2))


@pytest.mark.parametrize("platform", ["cpu", "cuda", "tpu"])
def test_lowers_for_every_platform(platform):
    query, keys, labels = some_frames()
    frame = jax.jit(lambda *arrays: propagate_frame(*arrays, radius=3.0, first_frame_windowed=False))
    video = jax.jit(lambda *arrays: propagate_video(*arrays, radius=3.0, num_context=3))
    for function, arrays in ((frame, (query, keys, labels)), (video, (keys, labels[0]))):
        exported = jax.export.export(function, platforms=[platform])(*arrays)
        assert exported.platforms == (platform,)


def test_streams_share_one_program_and_keep_old_memories():
    features = rolling_video(6)
    first = np.random.default_rng(0).uniform(size=(12, 20, 2)).astype(np.float32)
    start = start_memory(features[0], first, radius=3.0, num_context=2)
    memory, seen = start, []
    for frame in features[1:]:
        labels, memory = propagate_next(memory, frame)
        assert jax.tree.structure(memory) == jax.tree.structure(start)
        seen.append(labels)
    assert int(memory.seen) == 6
    again, _ = propagate_next(start, features[1])
    np.testing.assert_array_equal(again, seen[0])
    # The kept frames are the very buffers of the memory before: nothing was copied.
    later = propagate_next(memory, features[0])[1]
    kept, before = later.previous.frames[0], memory.previous.frames[1]
    assert kept.values.unsafe_buffer_pointer() == before.values.unsafe_buffer_pointer()


def test_streams_whose_memory_is_used_again():
    features = np.random.default_rng(0).normal(size=(5, 40, 60, 64)).astype(np.float32)
    first = np.random.default_rng(1).uniform(size=(40, 60, 2)).astype(np.float32)
    kept = np.empty(features[0].size + 16, np.float32)  # aligned, so that JAX could take it as it is
    kept = kept[-kept.ctypes.data % 64 // 4 :][: features[0].size].reshape(features[0].shape)

    def labels_of(memory_of_a_frame):
        memory, labels = start_memory(memory_of_a_frame(0), first, radius=2.0, num_context=2), []
        for number in range(1, 5):
            frame, memory = propagate_next(memory, memory_of_a_frame(number), topk=3)
            labels.append(frame)
        return np.stack(labels)

    def used_again(number):
        kept[:] = features[number]
        return kept

    np.testing.assert_array_equal(labels_of(used_again), labels_of(lambda number: features[number]))


def test_another_device_goes_on_with_a_memory():
    """One whose kernel reads frames in a layout of its own, which no other device knows."""
    query, frames, labels = some_frames()
    settings = {"radius": 3.0, "num_context": 2, "key_mask": np.arange(9)[:, None] + np.zeros(13) < 7}
    memory = propagate_next(start_memory(frames[0], labels[0], **settings), frames[1])[1]

    def laid_out(part):
        maps = (each._replace(kernel=KernelMaps((each.values,), each.values[..., 0])) for each in part.frames)
        return Labeled(tuple(maps), part.labels)

    there = dataclasses.replace(memory, first=laid_out(memory.first), previous=laid_out(memory.previous))
    again = with_arrays(start_memory(query, labels[3], **settings), arrays_of(there))
    assert jax.tree.structure(again) == jax.tree.structure(memory) != jax.tree.structure(there)
    jax.tree.map(np.testing.assert_array_equal, again, memory)


@pytest.mark.slow
def test_gradients_are_finite():
    """Through the choice of keys the result is a softmax of scores; exact duplicates and zeros must not make NaN."""
    query, keys, labels = some_frames(frames=2, height=4, width=5)
    query[0, 0] = 0

    def total(query, keys, labels):
        return jnp.sum(jnp.square(propagate_frame(query, keys, labels, radius=2.0)))

    for gradient in jax.grad(total, argnums=(0, 1, 2))(query, keys, labels):
        assert np.all(np.isfinite(gradient))
        assert np.any(gradient)


BAD = [
    ({"labels": np.zeros((4, 9, 13, 3), bool)}, TypeError, r"bool\[4,9,13,3\]"),
    ({"labels": np.zeros((4, 9, 13, 3), np.int32)}, TypeError, r"i32\[4,9,13,3\]"),
    ({"labels": np.zeros((4, 9, 12, 3), np.float32)}, TypeError, r"f32\[4,9,12,3\]"),
    ({"query": np.zeros((9, 13, 7), np.float32)}, TypeError, r"f32\[9,13,7\]"),
    ({"query": np.zeros((9, 13, 8), np.uint8)}, TypeError, r"u8\[9,13,8\]"),
    ({"key_valid": np.ones(3, bool)}, TypeError, r"bool\[3\]"),
    ({"key_valid": np.ones(4, np.float32)}, TypeError, r"f32\[4\]"),
    ({"keys": np.zeros((0, 9, 13, 8), np.float32)}, ValueError, r"keys has an axis of length 0: its shape is \(0, 9"),
    ({"query": np.zeros((9, 13, 0), np.float32)}, ValueError, r"query has an axis of length 0: .*\(9, 13, 0\)"),
    ({"labels": np.zeros((4, 9, 13, 0), np.float32)}, ValueError, "labels has an axis of length 0"),
    ({"key_mask": np.ones((9, 12), bool)}, TypeError, r"bool\[9,12\]"),
    ({"key_mask": np.ones((3, 9, 13), bool)}, TypeError, r"bool\[3,9,13\]"),
    ({"key_mask": np.ones((9, 13), np.float32)}, TypeError, r"f32\[9,13\]"),
    ({"radius": np.array(3.0)}, TypeError, "radius"),
    ({"radius": -1.0}, ValueError, "got -1.0"),
    ({"radius": math.nan}, ValueError, "got nan"),
    ({"topk": 0}, ValueError, "got 0"),
    ({"temperature": 0.0}, ValueError, "got 0.0"),
    ({"window": "diamond"}, TypeError, "diamond"),
]


@pytest.mark.parametrize(("change", "error", "text"), BAD, ids=[text for *_, text in BAD])
def test_bad_input_is_named(change, error, text):
    query, keys, labels = some_frames()
    arguments = {"query": query, "keys": keys, "labels": labels, "radius": 3.0, **change}
    with pytest.raises(error, match=text):
        propagate_frame(**arguments)


def test_bad_memory_input_is_named():
    features = rolling_video(2)
    first = np.zeros((12, 20, 2), np.float32)
    with pytest.raises(ValueError, match="num_context must be at least 1"):
        start_memory(features[0], first, radius=3.0, num_context=0, keep_first=False)
    with pytest.raises(ValueError, match="num_context must be at least 1"):
        propagate_video(features, first, radius=3.0, num_context=-1)
    with pytest.raises(ValueError, match="features has an axis of length 0"):
        propagate_video(features[:0], first, radius=3.0)
    with pytest.raises(ValueError, match="first_labels has an axis of length 0"):
        start_memory(features[0], first[..., :0], radius=3.0)
    for options in ({"fill_first": True}, {"keep_first": False}):
        with pytest.raises(ValueError, match="first_once needs keep_first and excludes fill_first"):
            propagate_video(features, first, radius=3.0, first_once=True, **options)
    memory = start_memory(features[0], first, radius=3.0)
    with pytest.raises(ValueError, match=r"\(12, 20, 16\) of float32, got features \(11, 20, 16\)"):
        propagate_next(memory, features[1][1:])
    with pytest.raises(ValueError, match="of bfloat16"):
        propagate_next(memory, jnp.asarray(features[1], jnp.bfloat16))


def test_video_of_one_frame():
    features, first = rolling_video(1), np.ones((12, 20, 2), np.float32)
    np.testing.assert_array_equal(propagate_video(features, first, radius=3.0), first[None])
