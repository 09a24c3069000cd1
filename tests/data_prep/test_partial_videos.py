"""Videos of which a part does not decode: their records hold what does, and that is said at every place."""

import json

import pytest
from odd_videos import cut, encode, paint

from data_prep.verify import verify
from vfs_jax.data.records import ClipRecords
from vfs_jax.errors import InputError

SAID = "of 50 frames decode"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A folder of a whole video and of one that was cut, and that of their records."""
    folder = tmp_path_factory.mktemp("partial")
    (folder / "videos").mkdir()
    encode(folder / "videos/whole.mp4")
    frames = [paint(number, noise=30) for number in range(50)]
    cut(encode(folder / "videos/cut.mp4", frames=frames, container={"movflags": "+faststart"}))
    return folder / "videos", folder / "out"


def test_what_is_missing_is_said_everywhere(prepared, vfs_prepare, capsys):
    videos, out = prepared
    vfs_prepare("all", f"--videos={videos}", f"--out={out}", "--short_side=0", "--shards=1")
    clips = {clip["id"]: len(clip["frames"]) for clip in ClipRecords(out)}
    assert clips["whole.mp4"] == 16
    left = clips["cut.mp4"]
    assert 20 < left < 40
    [line] = [json.loads(line) for line in (out / "warnings.jsonl").read_text().splitlines()]
    assert (line["id"], line["path"], line["reason"]) == ("cut.mp4", str(videos / "cut.mp4"), f"{left} {SAID}")
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["warnings"] == 1
    assert manifest["short_clips"] == {"16": 1, str(left): 1}
    warning = f"vfs-prepare: WARNING: 1 of 2 videos decode in part (cut.mp4: {left} {SAID}); {out}/warnings.jsonl says"
    assert capsys.readouterr().err.count(warning) == 2  # by finalize and verify
    vfs_prepare("show", str(out))
    assert warning in capsys.readouterr().err
    assert "1 videos decode in part" in ClipRecords(out).shortfall()

    text = (out / "warnings.jsonl").read_text()
    (out / "warnings.jsonl").write_text("")
    assert verify(out) == [f"{out / 'warnings.jsonl'}: lists 0 warnings, the manifest 1"]
    (out / "warnings.jsonl").write_text(text)


def test_shards_of_earlier_versions_lack_the_list(prepared, vfs_prepare):
    """They are finished all the same, and their folders are whole."""
    videos, out = prepared
    [path] = out.glob("clips-*.json")
    sidecar = json.loads(path.read_text())
    del sidecar["warnings"]
    path.write_text(json.dumps(sidecar))
    vfs_prepare("all", f"--videos={videos}", f"--out={out}", "--short_side=0", "--shards=1")
    assert "warnings" not in json.loads(path.read_text())
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest.pop("warnings") == 0
    (out / "manifest.json").write_text(json.dumps(manifest))
    (out / "warnings.jsonl").unlink()
    assert verify(out) == []


def test_where_nothing_decodes_the_reason_names_the_codec(tmp_path, vfs_prepare):
    path = encode(tmp_path / "video.mp4", container={"movflags": "+faststart"})
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"mdat") + 4])
    with pytest.raises(InputError, match=r"video.mp4: no frame .* \(codec h264, pixel format .*\); convert it: ffmpeg"):
        vfs_prepare("all", f"--videos={tmp_path}", f"--out={tmp_path / 'out'}")
