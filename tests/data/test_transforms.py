"""Crops and colors against formulas written out here, and their distributions."""

import dataclasses
import functools

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
import scipy.stats

from vfs_jax.data import transforms


@pytest.fixture(scope="module")
def boxes():
    """Crops of a 240x320 image: int [5000, 4], (top, left, height, width)."""
    rng = np.random.default_rng(0)
    return np.array([transforms.random_crop_box(rng, 240, 320) for _ in range(5000)])


def test_crops_lie_inside(boxes):
    top, left, h, w = boxes.T
    assert boxes.min() >= 0
    assert (top + h).max() <= 240
    assert (left + w).max() <= 320


def test_crop_shapes_are_distributed_as_drawn(boxes):
    # A wide image (1000 x 1000 never refuses areas up to 0.5) shows the undisturbed distributions.
    rng = np.random.default_rng(1)
    shapes = np.array([transforms.random_crop_box(rng, 4000, 4000, min_area=0.2)[2:] for _ in range(5000)])
    area, log_aspect = shapes.prod(1) / 4000**2, np.log(shapes[:, 1] / shapes[:, 0])
    small = area <= 0.5  # above it some aspects do not fit and are drawn again
    for values, low, high in ((area[small], 0.2, 0.5), (log_aspect[small], -np.log(4 / 3), np.log(4 / 3))):
        assert scipy.stats.kstest(values, "uniform", (low, high - low)).pvalue > 1e-3
    # In the image at hand, refused shapes are drawn anew: compared with rejection written out.
    rng, accepted = np.random.default_rng(2), []
    while len(accepted) < 5000:
        drawn_area, aspect = rng.uniform(0.2, 1) * 240 * 320, np.exp(rng.uniform(-np.log(4 / 3), np.log(4 / 3)))
        w, h = np.round(np.sqrt(drawn_area * aspect)), np.round(np.sqrt(drawn_area / aspect))
        if h <= 240 and w <= 320:
            accepted.append((h * w, w / h))
    ours = np.stack([boxes[:, 2] * boxes[:, 3], boxes[:, 3] / boxes[:, 2]], axis=1)
    for mine, theirs in zip(ours.T, np.array(accepted).T, strict=True):
        assert scipy.stats.ks_2samp(mine, theirs).pvalue > 1e-3


def test_crop_places_are_uniform(boxes):
    room = np.stack([240 - boxes[:, 2], 320 - boxes[:, 3]], axis=1)
    places = (boxes[:, :2] + np.random.default_rng(3).uniform(size=(5000, 2))) / (room + 1)
    for share in places.T:
        assert scipy.stats.kstest(share, "uniform").pvalue > 1e-3


def test_no_fitting_shape_gives_the_center_square():
    # Area at least 0.9 of a 100 x 400 image needs sides above 100 for any aspect up to 4/3.
    assert transforms.random_crop_box(np.random.default_rng(0), 100, 400, min_area=0.9) == (0, 150, 100, 100)
    assert transforms.random_crop_box(np.random.default_rng(0), 401, 100, min_area=0.9) == (150, 0, 100, 100)


def test_crop_is_resized_by_opencv_and_half_are_mirrored():
    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    mirrored = 0
    for seed in range(200):
        top, left, h, w = transforms.random_crop_box(np.random.default_rng(seed), 48, 64)
        expected = cv2.resize(image[top : top + h, left : left + w], (32, 32), interpolation=cv2.INTER_LINEAR)
        result = transforms.random_resized_crop(np.random.default_rng(seed), image, 32)
        assert result.dtype == np.uint8
        is_mirrored = not np.array_equal(result, expected)
        np.testing.assert_array_equal(result[:, ::-1] if is_mirrored else result, expected)
        mirrored += is_mirrored
    assert 70 <= mirrored <= 130  # 100 expected, standard deviation 7


# The color operations, written out pixel by pixel from torchvision's definitions, in float64.


def gray(image):
    return 0.2989 * image[..., 0] + 0.587 * image[..., 1] + 0.114 * image[..., 2]


def brightness(image, factor):
    return np.clip(image * factor, 0, 255)


def contrast(image, factor):
    return np.clip(factor * image + (1 - factor) * gray(image).mean(), 0, 255)


def saturation(image, factor):
    return np.clip(factor * image + (1 - factor) * gray(image)[..., None], 0, 255)


def hue(image, shift):
    out = np.empty_like(image)
    for place in np.ndindex(image.shape[:2]):
        r, g, b = image[place] / 255
        high, low = max(r, g, b), min(r, g, b)
        spread = high - low
        s = spread / high if high else 0.0
        if spread == 0:
            h = 0.0
        else:
            rc, gc, bc = ((high - value) / spread for value in (r, g, b))
            h = (bc - gc if high == r else 2 + rc - bc if high == g else 4 + gc - rc) / 6 % 1
        h = (h + shift) % 1
        sector = int(np.floor(h * 6))
        f = h * 6 - sector
        p, q, t = high * (1 - s), high * (1 - s * f), high * (1 - s * (1 - f))
        out[place] = [(high, t, p), (q, high, p), (p, high, t), (p, q, high), (t, p, high), (high, p, q)][sector % 6]
    return out * 255


@pytest.fixture(scope="module")
def image():
    image = np.random.default_rng(0).integers(0, 256, (9, 7, 3)).astype(np.float64)
    image[0, :5] = [(0, 0, 0), (255, 255, 255), (90, 90, 90), (200, 200, 10), (10, 200, 200)]  # grays and ties
    return image


@pytest.mark.parametrize(
    ("ours", "theirs", "values"),
    [
        (transforms.adjust_brightness, brightness, (0.6, 1.0, 1.4)),
        (transforms.adjust_contrast, contrast, (0.6, 1.0, 1.4)),
        (transforms.adjust_saturation, saturation, (0.6, 1.0, 1.4)),
        (transforms.adjust_hue, hue, (-0.5, -0.1, 0.0, 0.03, 0.1)),
    ],
)
def test_color_operations_equal_torchvisions_formulas(ours, theirs, values, image):
    ours = jax.jit(ours)
    for value in values:
        result = ours(jnp.asarray(image, jnp.float32), jnp.float32(value))
        np.testing.assert_allclose(result, theirs(image, value), rtol=0, atol=2e-3)  # float32 on 0..255


@pytest.mark.parametrize("sigma", [0.15, 0.5])
def test_blur_is_a_gaussian(sigma, image):
    radius = int(np.ceil(4 * sigma))
    blur = jax.jit(transforms.gaussian_blur, static_argnames="radius")
    result = blur(jnp.asarray(image, jnp.float32), jnp.float32(sigma), radius=radius)
    expected = scipy.ndimage.gaussian_filter(image, (sigma, sigma, 0), mode="nearest", radius=(radius, radius, 0))
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-3)


@dataclasses.dataclass
class Augmented:
    """What became of many copies of an image, float [n, h, w, 3], and what was drawn for each."""

    result: np.ndarray
    jittered: np.ndarray
    grayed: np.ndarray
    blurred: np.ndarray
    orders: np.ndarray
    factors: np.ndarray
    sigmas: np.ndarray


@pytest.fixture(scope="module")
def augmented(image):
    """An image augmented 256 times, and the draws from the same keys; one compiled program serves several tests.

    The chances and the jitter are the release's; its blur of at most 0.2 pixels could not be told from none.
    """
    low, high = jnp.array([0.6, 0.6, 0.6, -0.1]), jnp.array([1.4, 1.4, 1.4, 0.1])

    def draw(key):
        order_key, factor_key, use_key, sigma_key = jax.random.split(key, 4)
        order = jax.random.permutation(order_key, 4)
        factors = jax.random.uniform(factor_key, (4,), minval=low, maxval=high)
        return (
            *jax.random.uniform(use_key, (3,)),
            order,
            factors,
            jax.random.uniform(sigma_key, minval=0.3, maxval=0.8),
        )

    @jax.jit
    def both(key, images):
        result = transforms.augment_color(key, images, blur_sigma=(0.3, 0.8))
        return result, jax.vmap(draw)(jax.random.split(key, len(images)))

    images = np.broadcast_to(image.astype(np.uint8), (256, *image.shape))
    result, (jitter, gray, blur, *drawn) = jax.tree.map(np.asarray, both(jax.random.key(7), images))
    assert result.dtype == np.float32
    return Augmented(result, jitter < 0.8, gray < 0.2, blur < 0.5, *drawn)


@pytest.mark.slow
def test_every_image_of_a_batch_draws_for_itself(image, augmented):
    assert augmented.result.min() >= 0
    assert augmented.result.max() <= 255
    is_gray = np.ptp(augmented.result, axis=-1).max(axis=(1, 2)) < 1e-3
    np.testing.assert_array_equal(is_gray, augmented.grayed)
    for drawn, share in ((augmented.jittered, 0.8), (augmented.grayed, 0.2), (augmented.blurred, 0.5)):
        assert abs(drawn.mean() - share) < 0.13  # standard deviation at most 0.031
    untouched = ~augmented.jittered & ~augmented.grayed & ~augmented.blurred
    assert untouched.sum() > 5  # 20 expected, standard deviation 4.3
    assert (augmented.result[untouched] == image.astype(np.uint8)).all()
    changed = augmented.result[~is_gray & augmented.jittered]
    assert len(np.unique(changed[:, 3, 3, 0])) > 0.9 * len(changed)


def test_jitter_applies_the_four_operations_in_any_order(image, augmented):
    """The operations are the formulas above."""
    assert len({tuple(order) for order in augmented.orders}) == 24  # each missing with a probability of 2e-5
    low, high = (0.6, 0.6, 0.6, -0.1), (1.4, 1.4, 1.4, 0.1)
    for lower, upper, values in zip(low, high, augmented.factors.T, strict=True):
        assert scipy.stats.kstest(values, "uniform", (lower, upper - lower)).pvalue > 1e-3
    operations = (brightness, contrast, saturation, hue)
    alone = np.flatnonzero(augmented.jittered & ~augmented.grayed & ~augmented.blurred)
    assert len(alone) > 50  # 82 expected, standard deviation 7.5
    for index in alone:
        drawn = augmented.factors[index].astype(np.float64)
        expected = functools.reduce(
            lambda out, i, drawn=drawn: operations[i](out, drawn[i]), augmented.orders[index], image
        )
        # Float32 on 0..255, and hue divides by the spread of a pixel's channels.
        np.testing.assert_allclose(augmented.result[index], expected, rtol=0, atol=0.02)


def test_blur_has_a_uniform_sigma(image, augmented):
    assert scipy.stats.kstest(augmented.sigmas, "uniform", (0.3, 0.5)).pvalue > 1e-3
    alone = np.flatnonzero(augmented.blurred & ~augmented.jittered & ~augmented.grayed)
    assert len(alone) > 5  # 20 expected, standard deviation 4.3
    for index in alone:
        sigma = (augmented.sigmas[index], augmented.sigmas[index], 0)
        expected = scipy.ndimage.gaussian_filter(image, sigma, mode="nearest", radius=(4, 4, 0))  # 4 sigmas at most
        np.testing.assert_allclose(augmented.result[index], expected, rtol=0, atol=1e-3)


def test_images_may_have_any_leading_axes():
    views = np.zeros((2, 2, 3, 4, 5, 3), np.uint8)
    assert jax.eval_shape(transforms.augment_color, jax.random.key(0), views).shape == views.shape
