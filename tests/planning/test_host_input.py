"""What an image costs a host, measured: of records where there are any, else of made-up pictures."""

import numpy as np
import pytest

from vfs_jax.data.images import decode_jpeg
from vfs_jax.planning.host_input import HEIGHT, WIDTH, made_up_clip, measure_input

OPTIONS = {"segments": 2, "image_size": 64, "min_area": 0.2}


def test_records_are_measured_where_there_are_any():
    records = [made_up_clip(seed, frames=3) for seed in range(2)]
    rate = measure_input(**OPTIONS, records=records, seconds=0.05)
    assert rate.source == "measured here on the records"
    assert rate.bytes_per_image == pytest.approx(np.mean([len(f) for record in records for f in record["frames"]]))
    assert rate.images_per_core > 10


def test_made_up_pictures_take_what_photographs_take():
    """The clips of launch/quickstart.sh, as vfs-prepare leaves them, take 0.17 bytes a pixel."""
    clip = made_up_clip(0)
    frame = decode_jpeg(clip["frames"][0])
    assert frame.shape == (HEIGHT, WIDTH, 3)
    assert frame.std() > 20
    assert 0.1 < len(clip["frames"][0]) / (HEIGHT * WIDTH) < 0.3
    rate = measure_input(**OPTIONS, seconds=0.05)
    assert rate.source == f"measured here on made-up pictures of {WIDTH}x{HEIGHT}"
