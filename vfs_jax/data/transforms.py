"""Augmentation of training frames: crops and flips on the host (uint8), color on the device (float32).

The distributions are those of the release (github xvjiarui/VFS). The host part works on one decoded frame, the device
part on a whole batch inside the jitted step.
"""

import math
from collections.abc import Callable

import cv2
import jax
import jax.numpy as jnp
import numpy as np
from beartype import beartype
from jaxtyping import Array, Float, Key, UInt8, jaxtyped

# Weights of red, green and blue in a pixel's gray value, as torchvision has them.
GRAY = (0.2989, 0.587, 0.114)


def random_crop_box(
    rng: np.random.Generator,
    height: int,
    width: int,
    *,
    min_area: float = 0.2,
    max_aspect: float = 4 / 3,
    tries: int = 10,
) -> tuple[int, int, int, int]:
    """Draw a crop: area uniform in [min_area, 1] of the image, aspect log-uniform in [1/max_aspect, max_aspect].

    A drawn shape that does not fit is drawn again, `tries` times in all; then the center square is taken.

    Args:
        rng: the source of randomness.
        height: image height in pixels.
        width: image width in pixels.
        min_area: least share of the image's area.
        max_aspect: greatest width / height, and greatest height / width.
        tries: how many shapes are drawn before the center square.

    Returns:
        (top, left, height, width) of the crop in whole pixels, inside the image.

    >>> random_crop_box(np.random.default_rng(0), 240, 320)
    (15, 166, 154, 116)
    """
    log_aspect = math.log(max_aspect)
    for _ in range(tries):
        area = rng.uniform(min_area, 1) * height * width
        aspect = math.exp(rng.uniform(-log_aspect, log_aspect))
        h, w = round(math.sqrt(area / aspect)), round(math.sqrt(area * aspect))
        if 0 < h <= height and 0 < w <= width:
            return int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1)), h, w
    side = min(height, width)
    return (height - side) // 2, (width - side) // 2, side, side


def random_resized_crop(
    rng: np.random.Generator,
    image: np.ndarray,
    size: int,
    *,
    min_area: float = 0.2,
    flip_probability: float = 0.5,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Cut a random box, resize it to a square, and mirror it left to right with the given probability.

    Args:
        rng: the source of randomness.
        image: uint8 [h, w, 3].
        size: side of the result in pixels.
        min_area: least share of the image's area that the box covers; see `random_crop_box`.
        flip_probability: share of results that are mirrored.
        out: uint8 [size, size, 3], contiguous, that takes the result; a new array where it is None.

    Returns:
        uint8 [size, size, 3], out where that is given; bilinear without antialiasing, as OpenCV computes it and the
        release uses it.

    >>> random_resized_crop(np.random.default_rng(0), np.zeros((240, 320, 3), np.uint8), 64).shape
    (64, 64, 3)
    """
    top, left, h, w = random_crop_box(rng, image.shape[0], image.shape[1], min_area=min_area)
    out = np.empty((size, size, 3), np.uint8) if out is None else out
    cv2.resize(image[top : top + h, left : left + w], (size, size), dst=out, interpolation=cv2.INTER_LINEAR)
    if rng.uniform() < flip_probability:
        cv2.flip(out, 1, dst=out)
    return out


Image = Float[Array, "h w 3"]


def _gray(image: Image) -> Float[Array, "h w 1"]:
    return jnp.sum(image * jnp.asarray(GRAY, image.dtype)[None, None], axis=-1, keepdims=True)


def _blend(image: Image, other: Array, factor: Array) -> Image:
    """Clip factor * image + (1 - factor) * other to 0..255."""
    return jnp.clip(factor * image + (1 - factor) * other, 0, 255)


def adjust_brightness(image: Image, factor: Array) -> Image:
    """Scale an image [h, w, 3] in 0..255 by `factor` and clip it."""
    return _blend(image, jnp.zeros_like(image), factor)


def adjust_contrast(image: Image, factor: Array) -> Image:
    """Move an image [h, w, 3] in 0..255 away from (factor > 1) or towards (< 1) its mean gray, and clip it."""
    return _blend(image, jnp.full_like(image, jnp.mean(_gray(image))), factor)


def adjust_saturation(image: Image, factor: Array) -> Image:
    """Move an image [h, w, 3] in 0..255 away from (factor > 1) or towards (< 1) its gray image, and clip it."""
    return _blend(image, jnp.broadcast_to(_gray(image), image.shape), factor)


def adjust_hue(image: Image, shift: Array) -> Image:
    """Turn the hue of an image [h, w, 3] in 0..255 by `shift` of the circle; value and saturation (HSV) stay."""
    red, green, blue = image[..., 0], image[..., 1], image[..., 2]
    value = jnp.max(image, axis=-1)
    spread = value - jnp.min(image, axis=-1)
    safe = jnp.where(spread > 0, spread, 1)
    # Hue in sixths of the circle: 0 red, 2 green, 4 blue. A gray pixel has none; its spread of 0 keeps it gray below.
    hue = jnp.where(
        value == red,
        (green - blue) / safe,
        jnp.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    hue = hue + 6 * shift
    # HSV to RGB without a table: channel n is value - spread * clip(min(k, 4 - k), 0, 1) with k = n + hue mod 6.
    offsets = jnp.asarray((5, 3, 1), image.dtype)[None, None]
    k = jnp.mod(offsets + hue[..., None], 6)
    return jnp.clip(value[..., None] - spread[..., None] * jnp.clip(jnp.minimum(k, 4 - k), 0, 1), 0, 255)


def gaussian_blur(image: Image, sigma: Array, *, radius: int) -> Image:
    """Convolve an image [h, w, 3] with a Gaussian of `sigma` pixels, cut at `radius` pixels; edges are repeated."""
    offsets = jnp.arange(-radius, radius + 1, dtype=image.dtype)
    kernel = jnp.exp(-0.5 * jnp.square(offsets / sigma))
    kernel = kernel / jnp.sum(kernel)
    for axis in (0, 1):
        pad = [(radius, radius) if a == axis else (0, 0) for a in range(3)]
        padded = jnp.pad(image, pad, mode="edge")
        shifted = [jax.lax.slice_in_dim(padded, i, i + image.shape[axis], axis=axis) for i in range(2 * radius + 1)]
        image = sum(
            (weight * part for weight, part in zip(kernel[1:], shifted[1:], strict=True)), kernel[0] * shifted[0]
        )
    return jnp.clip(image, 0, 255)


@jaxtyped(typechecker=beartype)
def augment_color(
    key: Key[Array, ""],
    images: UInt8[Array | np.ndarray, "*n h w 3"],
    *,
    jitter: tuple[float, float, float, float] = (0.4, 0.4, 0.4, 0.1),
    jitter_probability: float = 0.8,
    gray_probability: float = 0.2,
    blur_probability: float = 0.5,
    blur_sigma: tuple[float, float] = (0.1, 0.2),
) -> Float[Array, "*n h w 3"]:
    """Jitter colors, then turn gray, then blur, drawn for every image on its own.

    The jitter applies its four operations in random order; each result is clipped to 0..255 and not rounded. The
    defaults are the release's (github xvjiarui/VFS, object-level configs; formulas of torchvision on float images).

    Args:
        key: a PRNG key; image i of the flattened batch draws from the i-th of its splits.
        images: uint8 [..., h, w, 3], RGB.
        jitter: greatest relative change of brightness, contrast and saturation, and greatest turn of the hue in
            circles.
        jitter_probability: share of images that are jittered.
        gray_probability: share of images that lose their color.
        blur_probability: share of images that are blurred.
        blur_sigma: least and greatest sigma of the blur in pixels. Quirk: the release's (0.1, 0.2) is almost no blur.

    Returns:
        float32 [..., h, w, 3] in 0..255.

    >>> images = jnp.full((2, 4, 4, 3), 100, jnp.uint8)
    >>> jax.eval_shape(augment_color, jax.random.key(0), images)
    ShapeDtypeStruct(shape=(2, 4, 4, 3), dtype=float32)
    """
    brightness, contrast, saturation, hue = jitter
    operations: list[tuple[Callable[[Image, Array], Image], float, float]] = [
        (adjust_brightness, max(0.0, 1 - brightness), 1 + brightness),
        (adjust_contrast, max(0.0, 1 - contrast), 1 + contrast),
        (adjust_saturation, max(0.0, 1 - saturation), 1 + saturation),
        (adjust_hue, -hue, hue),
    ]
    radius = max(1, math.ceil(4 * blur_sigma[1]))

    def one(key: Array, image: Array) -> Array:
        order_key, factor_key, use_key, sigma_key = jax.random.split(key, 4)
        order = jax.random.permutation(order_key, len(operations))
        low, high = (jnp.asarray([operation[i] for operation in operations], jnp.float32) for i in (1, 2))
        factors = jax.random.uniform(factor_key, (len(operations),), jnp.float32, low, high)
        use_jitter, use_gray, use_blur = jax.random.uniform(use_key, (3,), jnp.float32)
        image = image.astype(jnp.float32)
        jittered = image
        for i in range(len(operations)):
            branches = [operation[0] for operation in operations]
            jittered = jax.lax.switch(order[i], branches, jittered, factors[order[i]])
        image = jnp.where(use_jitter < jitter_probability, jittered, image)
        image = jnp.where(use_gray < gray_probability, jnp.broadcast_to(_gray(image), image.shape), image)
        sigma = jax.random.uniform(sigma_key, (), jnp.float32, *blur_sigma)
        return jnp.where(use_blur < blur_probability, gaussian_blur(image, sigma, radius=radius), image)

    flat = jnp.asarray(images).reshape(-1, *images.shape[-3:])
    return jax.vmap(one)(jax.random.split(key, flat.shape[0]), flat).reshape(images.shape)
