"""How often augment_color blurs, and by how much: read off blurred images of a single bright pixel."""

import functools

import jax
import numpy as np
import pytest
import scipy.stats

from vfs_jax.data import transforms


@pytest.mark.slow
def test_half_of_the_images_are_blurred_by_a_uniform_sigma():
    images = np.zeros((512, 15, 15, 3), np.uint8)
    images[:, 7, 7] = 255
    augment = functools.partial(
        transforms.augment_color, jitter_probability=0.0, gray_probability=0.0, blur_sigma=(0.6, 1.4)
    )
    result = np.asarray(jax.jit(augment)(jax.random.key(0), images))[:, :, 7, 0].astype(np.float64)
    blurred = result[:, 7] < 254
    assert 200 <= blurred.sum() <= 312  # 256 expected, standard deviation 11.3
    # Along a line through the pixel the values are a Gaussian's: log(v[0] / v[1]) = 1 / (2 sigma^2).
    sigmas = np.sqrt(0.5 / np.log(result[blurred, 7] / result[blurred, 8]))
    assert scipy.stats.kstest(sigmas, "uniform", (0.6, 0.8)).pvalue > 1e-3
