"""Mean IoU of classes."""

import importlib.util

import numpy as np
import pytest

from vfs_jax.errors import InputError
from vfs_jax.evaluation.metrics import miou


def naive_mean_iou(results, truths, classes):
    values = []
    for k in range(classes):
        both = either = 0
        for result, truth in zip(results, truths, strict=True):
            for r, t in zip(result.ravel(), truth.ravel(), strict=True):
                if t != 255:
                    both += r == k and t == k
                    either += r == k or t == k
        if either:
            values.append(both / either)
    return np.mean(values)


def test_equal_to_the_obvious_computation():
    rng = np.random.default_rng(0)
    truths = rng.choice([0, 1, 2, 4, 255], (3, 9, 11)).astype(np.uint8)  # class 3 is nowhere
    results = np.where(rng.uniform(size=truths.shape) < 0.6, truths, rng.choice([0, 1, 2, 4], truths.shape))
    results[results == 255] = 0
    counts = [miou.confusion(r, t, classes=5) for r, t in zip(results.astype(np.uint8), truths, strict=True)]
    assert miou.mean_iou(counts) == pytest.approx(naive_mean_iou(results, truths, 5), abs=0.5e-4)  # two decimals of %
    assert np.isnan(miou.class_iou(sum(counts))[3])
    np.testing.assert_array_equal(sum(counts), miou.confusion(results.astype(np.uint8), truths, classes=5))


def test_by_hand():
    # Truth 0 0 1 1, found 0 1 1 1: class 0 1 of 2, class 1 2 of 3; mean 7/12 = 0.58333, to 0.01%.
    counts = miou.confusion(np.array([[0, 1, 1, 1]], np.uint8), np.array([[0, 0, 1, 1]], np.uint8), classes=2)
    assert miou.mean_iou([counts]) == 0.5833
    assert miou.mean_iou([0 * counts + np.diag([4, 0])]) == 1.0  # class 1 is not present
    assert np.isnan(miou.mean_iou([0 * counts]))


def test_values_that_are_no_class_raise(oracles):
    spec = importlib.util.spec_from_file_location("oracle_inputs", oracles / "inputs.py")
    inputs = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(inputs)
    results, truths = inputs.vip_maps("clean")
    counts = [miou.confusion(result, truth) for result, truth in zip(results, truths, strict=True)]
    assert miou.mean_iou(counts) == pytest.approx(naive_mean_iou(results, truths, 20), abs=0.5e-4)
    results, truths = inputs.vip_maps("with_20")
    with pytest.raises(InputError, match=r"a\.png: holds class 20, there are 0\.\.19"):
        miou.confusion(results[0], truths[0], name="a.png")
