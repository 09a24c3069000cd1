"""The plan of label propagation: counted beside the network and the operator themselves."""

import jax
import jax.numpy as jnp
import pytest

from vfs_jax.errors import InputError
from vfs_jax.evaluation.encoders import FunctionEncoder, name_encoder
from vfs_jax.evaluation.propagation.settings import Settings
from vfs_jax.models import ResNet, normalize_images
from vfs_jax.planning.evaluation import LABELS, plan_evaluation
from vfs_jax.planning.topologies import find_topology
from vfs_jax.training.flops import count_flops

SETTINGS = Settings(num_context=3, radius=3.0, batch_frames=2)


def plan(encoder=None, topology="v5e:2x2", settings=SETTINGS, frame=(64, 96)):
    encoder = encoder or name_encoder("random:0").encoder
    return plan_evaluation(encoder, settings, find_topology(topology), frame, config="davis.py", compiled=False)


@pytest.mark.slow
def test_network_and_operator_are_counted_as_they_are():
    told = plan(topology="a100:8")
    encoder = name_encoder("random:0").encoder
    network = ResNet(18, strides=(1, 2, 1, 1), outputs=("res4",))
    frames = jax.ShapeDtypeStruct((1, 480, 720, 3), jnp.uint8)  # the frames brought to a short side of 480 pixels
    one = count_flops(jax.make_jaxpr(lambda x: network.apply(encoder.variables, normalize_images(x)))(frames))
    assert told.flops_by_part["network"] == pytest.approx(one)
    # The parameters and two frames; the first frame and three more of [60, 90, 256] with their labels; one more of the
    # frames that were encoded together.
    assert told.frame == (64, 96)
    assert told.grid == (60, 90)
    features, labels = 4 * 60 * 90 * 256, 4 * 60 * 90 * LABELS
    variables = sum(leaf.size * 4 for leaf in jax.tree.leaves(encoder.variables))
    assert told.memory_parts["network"] == pytest.approx(variables + 2 * 480 * 720 * 3, rel=0.001)
    assert told.memory_parts["remembered"] == pytest.approx(5 * features + 4 * labels, rel=0.001)
    assert told.memory_parts["in flight"] == features
    assert (told.frames_in_flight, told.frames_remembered, told.collectives) == (2, 4, {})
    assert told.memory_bytes == sum(told.memory_parts.values())
    assert told.fits
    assert told.bound_seconds["memory"] == pytest.approx(told.bytes / 2039e9)
    assert told.step_seconds_bound == max(told.bound_seconds.values())
    assert told.images_per_second_per_host == pytest.approx(8 / told.step_seconds_bound)


def test_more_frames_are_kept_and_compared_at_a_larger_price():
    few, many = plan(), plan(settings=Settings(num_context=6, radius=3.0, batch_frames=2))
    assert many.memory_parts["remembered"] > few.memory_parts["remembered"]
    assert many.flops_by_part["operator"] > few.flops_by_part["operator"]
    assert many.flops_by_part["network"] == few.flops_by_part["network"]


def test_only_networks_of_ours_are_planned():
    with pytest.raises(InputError, match=r"none of our networks; name a file of weights"):
        plan(FunctionEncoder(lambda frames: frames, "mine:encode"))
