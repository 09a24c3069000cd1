"""Options: every shipped training configuration is one, and nonsense is one line."""

import dataclasses
import importlib.util
import math
from pathlib import Path

import pytest

from vfs_jax.errors import InputError
from vfs_jax.training.options import FREE_FIELDS, TrainOptions, read_options

CONFIGS = Path(__file__).parents[2] / "configs"


def load(path, variant=""):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module, module.get_config(*[variant] * bool(variant))


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("vfs_*.py")), ids=lambda path: path.stem)
def test_shipped_configs_are_options(path):
    module, config = load(path)
    options = read_options(config.to_dict())
    # The release's rate is 0.05 at 64 clips for ResNet-18 and at 256 for ResNet-50, and follows the batch.
    reference = 64 if options.depth == 18 else 256
    assert options.learning_rate == pytest.approx(0.05 * options.batch_size / reference)
    config.batch_size *= 2
    assert config.learning_rate == pytest.approx(0.05 * config.batch_size / reference)
    assert config.get_type("learning_rate") is float  # so that --config.learning_rate=0.1 is understood
    config.learning_rate = 0.1
    assert config.learning_rate == 0.1
    _, smoke = load(path, "smoke")
    assert read_options(smoke.to_dict()).steps < 10
    assert set(config) == set(smoke)
    doc = module.__doc__
    for word in (
        "vfs-train --config=configs/" + path.name,
        "--config.data=",
        "Hardware:",
        "Time:",
        "Score:",
        "Override:",
    ):
        assert word in doc, word
    with pytest.raises(ValueError, match="no variant 'smok'"):
        load(path, "smok")


def test_free_fields_are_options():
    assert set(FREE_FIELDS) <= {field.name for field in dataclasses.fields(TrainOptions)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bach_size": 3}, "bach_size: no such option"),
        ({"steps": None}, "lacks steps"),
        ({"steps": 0}, "steps=0: must be at least 1"),
        ({"dtype": "float16"}, "dtype=float16: take float32 or bfloat16"),
        ({"accumulate": 3}, "accumulate=3: must divide batch_size=4"),
        ({"eval_every": 5}, "eval_every=5: needs eval_data"),
        ({"learning_rate": math.nan}, "learning_rate=nan: must be at least 0"),
        ({"learning_rate": -1.0}, "learning_rate=-1.0: must be at least 0"),
        ({"weight_decay": math.inf}, "weight_decay=inf: must be at least 0"),
        ({"momentum": math.nan}, "momentum=nan: must be at least 0 and at most 1"),
        ({"seed": -1}, "seed=-1: must be at least 0"),
        ({"num_workers": -1}, "num_workers=-1: must be at least 0"),
        ({"min_area": 2.0}, "min_area=2.0: must be above 0 and at most 1"),
        ({"watchdog_seconds": 0.0}, "watchdog_seconds=0.0: must be above 0"),
        ({"max_unreadable": 7.0}, "max_unreadable=7.0: must be at least 0 and at most 1"),
        ({"temperature": math.nan}, "temperature=nan: must be above 0"),
        ({"span_seconds": -1.0}, "span_seconds=-1.0: must be at least 0"),
        ({"same_frames": 1.5}, "same_frames=1.5: must be at least 0 and at most 1"),
        ({"branch_scale": math.nan}, "branch_scale=nan: must be at least 0"),
        ({"stop_below": -0.5}, "stop_below=-0.5: must be at least 0"),
    ],
)
def test_nonsense_is_named(change, message):
    _, config = load(CONFIGS / "vfs_r18_fine.py", "smoke")
    fields = {name: value for name, value in (config.to_dict() | change).items() if value is not None}
    with pytest.raises(InputError, match=message):
        read_options(fields)


def test_every_option_can_be_overridden_in_the_recipes():
    names = {field.name for field in dataclasses.fields(TrainOptions)}
    _, config = load(CONFIGS / "vfs_r18_object.py")
    assert set(config) == names
    _, config = load(CONFIGS / "vfs_r18_fine.py")
    assert set(config) == names - {"color_augmentation"}
