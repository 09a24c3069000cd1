"""YouTube-VOS: objects that enter later, and which masks are written."""

import json

import numpy as np
import pytest
from PIL import Image

from vfs_jax.data.images import read_index_mask, write_index_mask
from vfs_jax.data.youtube_vos import open_youtube_vos
from vfs_jax.errors import InputError
from vfs_jax.evaluation.encoders import as_encoder
from vfs_jax.evaluation.propagation.settings import Settings
from vfs_jax.evaluation.runs import propagation as runs
from vfs_jax.evaluation.tasks.masks import YoutubeVos


@pytest.fixture
def data(tmp_path):
    """Six frames 00000, 00005, ...; object 1 enters at the second frame, object 2 at the fourth."""
    images, masks = (tmp_path / "valid" / kind / "vid" for kind in ("JPEGImages", "Annotations"))
    images.mkdir(parents=True)
    masks.mkdir(parents=True)
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 255, (64, 96, 3), dtype=np.uint8)
    for t in range(6):
        Image.fromarray(picture).save(images / f"{5 * t:05d}.jpg", quality=95)
    mask = np.zeros((64, 96), np.uint8)
    mask[8:32, 8:40] = 1
    write_index_mask(masks / "00005.png", mask)
    mask[32:56, 56:88] = 2
    write_index_mask(masks / "00015.png", mask)
    objects = {"1": {"frames": ["00005", "00015"]}, "2": {"frames": ["00015", "00025"]}}
    (tmp_path / "valid/meta.json").write_text(json.dumps({"videos": {"vid": {"objects": objects}}}))
    return tmp_path


def test_masks_for_the_server(data, variables):
    (video,) = open_youtube_vos(data)
    assert (len(video), sorted(video.masks), video.has_ground_truth) == (5, [0, 2], False)
    settings = Settings(short_side=64, output="res2", radius=4.0, num_context=2)
    runs.propagate_sequence(YoutubeVos(), as_encoder(variables), video, data / "run", settings)
    written = {path.stem: read_index_mask(path) for path in (data / "run/masks/vid").iterdir()}
    assert sorted(written) == ["00005", "00015", "00025"]
    np.testing.assert_array_equal(written["00005"], read_index_mask(video.masks[0]))
    # A still picture: what enters stays where it is, but for its outline (ten keys of a grid of 8 pixels blur it).
    assert (written["00025"] == read_index_mask(video.masks[2])).mean() > 0.9
    assert set(np.unique(written["00025"])) == {0, 1, 2}
    with pytest.raises(InputError, match="not public"):
        YoutubeVos().score(data / "run/masks", video)


def test_bad_data(data):
    (data / "valid/meta.json").write_text("{}")
    with pytest.raises(InputError, match=r"meta\.json: does not list videos"):
        open_youtube_vos(data)
    (data / "valid/meta.json").unlink()
    (data / "valid/JPEGImages/vid/00005.jpg").unlink()
    with pytest.raises(InputError, match=r"00005\.png: there is no frame of that name"):
        open_youtube_vos(data)
    with pytest.raises(InputError, match="no such folder"):
        open_youtube_vos(data, "test")
