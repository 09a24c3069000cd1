"""The ResNet as box tracking uses it: dilated, so that res5 lies at stride 8."""

from jaxtyping import Array

from vfs_jax.models.resnet import ResNet, Variables, depth_of, is_bottleneck, normalize_images

STRIDES = (1, 2, 1, 1)
DILATIONS = (1, 1, 2, 4)
STRIDE = 8  # pixels a cell


def out_scale(depth: int) -> float:
    """Return the release's factor of correlations: 1e-3 below ResNet-50, 1e-5 from it on.

    Args:
        depth: of the ResNet.

    Example:
        >>> out_scale(18), out_scale(50)
        (0.001, 1e-05)
    """
    return 1e-5 if is_bottleneck(depth) else 1e-3


def tracking_features(variables: Variables, patches: Array) -> Array:
    """Compute the res5 features that a box tracker correlates, by a frozen network at stride 8.

    Args:
        variables: of a ResNet.
        patches: RGB uint8 [b, h, w, 3].

    Returns:
        float32 [b, h / 8, w / 8, c], sides rounded up.
    """
    network = ResNet(depth_of(variables), strides=STRIDES, dilations=DILATIONS)
    features = network.apply(variables, normalize_images(patches))
    assert isinstance(features, dict)  # apply returns a pair only where collections are mutable
    return features["res5"]
