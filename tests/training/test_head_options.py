"""Options of the tracking head that cannot be are named before anything is read."""

import pytest

from vfs_jax.data.pairs import PairSettings
from vfs_jax.errors import InputError
from vfs_jax.training.tracker_head import HeadOptions


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learning_rate": 0.0}, "learning_rate=0.0: must be above 0"),
        ({"learning_rate": float("nan")}, "learning_rate=nan: must be above 0"),
        ({"final_learning_rate": -1.0}, "final_learning_rate=-1.0: must be above 0"),
        ({"positive_radius": 0.0}, "positive_radius=0.0: must be above 0"),
        ({"gamma": -1.0}, "gamma=-1.0: must be at least 0"),
        ({"pairs": PairSettings(exemplar_size=0)}, "pairs.exemplar_size=0: must be from 1 to"),
        ({"pairs": PairSettings(search_size=10)}, "pairs.exemplar_size=120: must be from 1 to"),
        ({"seed": -1}, "seed=-1: must be at least 0 and at most"),
        ({"watchdog_seconds": 1e10}, "watchdog_seconds=10000000000.0: must be above 0 and at most 1e+09"),
        ({"pairs": PairSettings(crop_margin=0)}, "pairs.crop_margin=0: must be at least 1"),
        ({"pairs": PairSettings(max_gap=0)}, "pairs.max_gap=0: must be at least 1"),
        ({"pairs": PairSettings(max_stretch=1.5)}, "pairs.max_stretch=1.5: must be at least 0 and at most 0.9"),
        ({"pairs": PairSettings(context=-1.0)}, "pairs.context=-1.0: must be at least 0"),
        ({"pairs": PairSettings(crop_margin=200)}, "pairs.exemplar_size=120: must be from 1 to"),
    ],
)
def test_options_that_cannot_be(changes, message):
    with pytest.raises(InputError) as raised:
        HeadOptions(**changes)
    assert str(raised.value).startswith(message)
