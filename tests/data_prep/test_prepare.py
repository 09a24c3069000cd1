"""vfs-prepare from videos to records: what comes out, what is refused, and what a second run does."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from tensorflow_datasets.proto import tf_example_pb2

from data_prep.decoder import Decoder
from data_prep.index import Entry, index_list, read_entries, read_tasks, write_index
from data_prep.verify import verify
from vfs_jax.data.records import ClipRecords
from vfs_jax.errors import InputError


def _snapshot(out: Path) -> dict[str, tuple[int, bytes]]:
    return {p.name: (p.stat().st_mtime_ns, p.read_bytes()) for p in out.glob("*.array_record*")}


@pytest.fixture(scope="module")
def videos(tmp_path_factory, write_video):
    """Videos of 3, 4, 5, 6 and 7 frames, and an empty file; not to be changed."""
    folder = tmp_path_factory.mktemp("videos")
    for number in range(5):
        write_video(folder / f"clip{number}.mp4", frames=3 + number)
    (folder / "zero.mp4").touch()
    return folder


@pytest.fixture(scope="module")
def prepared(tmp_path_factory, videos, vfs_prepare):
    """Their records, in five shards; not to be changed."""
    out = tmp_path_factory.mktemp("records") / "out"
    vfs_prepare("all", f"--videos={videos}", f"--out={out}", "--short_side=0", "--shards=5")
    return out


@pytest.fixture
def out(prepared, tmp_path):
    """A copy of those records to break."""
    return shutil.copytree(prepared, tmp_path / "out")


def test_all_makes_one_record_a_video(tmp_path, write_video, vfs_prepare, capfd):
    videos, out = tmp_path / "videos", tmp_path / "out"
    for number in range(3):
        write_video(videos / f"clip{number}.mp4", frames=3 + number)
    (videos / "notes.txt").write_text("not a video\n")
    (videos / "text.mp4").write_text("not a video\n")
    (videos / "zero.mkv").touch()
    vfs_prepare("all", f"--videos={videos}", f"--out={out}", "--short_side=32", "--shards=3", "--workers=2")
    records = ClipRecords(out)
    assert [(clip["id"], len(clip["frames"]), clip["label"]) for clip in records] == [
        (f"clip{number}.mp4", 3 + number, 0) for number in range(3)
    ]
    assert all((clip["height"], clip["width"]) == (32, 43) for clip in records)
    rejects = [json.loads(line) for line in (out / "rejects.jsonl").read_text().splitlines()]
    assert [(reject["id"], reject["reason"]) for reject in rejects] == [
        ("text.mp4", "no video stream that FFmpeg can open"),
        ("zero.mkv", "is an empty file"),
    ]
    manifest = json.loads((out / "manifest.json").read_text())
    assert (manifest["videos"], manifest["records"], manifest["rejects"]) == (5, 3, 2)
    assert manifest["frames"] == 3 + 4 + 5
    assert manifest["settings"] == {"short_side": 32, "fps": 0.0, "quality": 90, "clip_seconds": 0.0}
    assert [entry.id for task in read_tasks(out) for entry in read_entries(out, task)] == sorted(
        [clip["id"] for clip in records] + ["text.mp4", "zero.mkv"]
    )
    assert not [path for path in out.iterdir() if path.suffix == ".tmp"]
    printed = capfd.readouterr()
    assert "3 records + 2 rejects from 5 videos" in printed.out
    assert "5/5" in printed.err


def test_shards_do_not_depend_on_the_number_of_workers(videos, prepared, tmp_path, vfs_prepare):
    vfs_prepare("index", f"--videos={videos}", f"--out={tmp_path}", "--shards=5")
    vfs_prepare("convert", f"--out={tmp_path}", "--short_side=0", "--workers=3")
    one, three = ({name: content for name, (_, content) in _snapshot(out).items()} for out in (prepared, tmp_path))
    assert one == three
    assert len(one) == 10


def test_run_again_keeps_what_is_whole_and_redoes_the_rest(videos, out, vfs_prepare):
    before, manifest = _snapshot(out), (out / "manifest.json").read_bytes()
    shards = sorted(out.glob("*-of-00005"))
    data = bytearray(shards[1].read_bytes())
    data[len(data) // 2] ^= 1
    shards[1].write_bytes(data)
    shards[2].unlink()
    shards[3].with_name(f"{shards[3].name}.json").unlink()
    (out / ".half.tmp").write_bytes(b"half a shard")
    vfs_prepare("all", f"--videos={videos}", f"--out={out}", "--short_side=0", "--shards=5")
    after = _snapshot(out)
    assert {name: content for name, (_, content) in after.items()} == {n: c for n, (_, c) in before.items()}
    redone = {name.removesuffix(".json") for name in after if after[name] != before[name]}
    assert redone == {shard.name for shard in shards[1:4]}
    assert (out / "manifest.json").read_bytes() == manifest
    assert not (out / ".half.tmp").exists()


def test_finalize_names_what_is_missing(out, tmp_path, vfs_prepare):
    (out / "manifest.json").unlink()
    shard = sorted(out.glob("*-of-00005"))[3]
    sidecar = shard.with_name(f"{shard.name}.json")
    content = json.loads(sidecar.read_text())
    shard.rename(tmp_path / "away")
    with pytest.raises(InputError, match=r"1 of 5 shards are missing \(3\), 1 videos from clip3.mp4 on"):
        vfs_prepare("finalize", f"--out={out}")
    (tmp_path / "away").rename(shard)
    sidecar.write_text(json.dumps({**content, "records": content["records"] * 2}))
    with pytest.raises(InputError, match=r"twice: clip3\.mp4"):
        vfs_prepare("finalize", f"--out={out}")
    sidecar.write_text(json.dumps({**content, "records": []}))
    with pytest.raises(InputError, match=r"missing: clip3\.mp4"):
        vfs_prepare("finalize", f"--out={out}")
    sidecar.write_text(json.dumps({**content, "settings": {**content["settings"], "quality": 50}}))
    with pytest.raises(InputError, match="different settings"):
        vfs_prepare("finalize", f"--out={out}")
    assert not (out / "manifest.json").exists()


def test_verify_names_each_fault(out, vfs_prepare, capsys):
    shards = sorted(out.glob("*-of-00005"))
    data = bytearray(shards[0].read_bytes())
    data[data.index(b"\xff\xd8\xff") + 100] ^= 1
    shards[0].write_bytes(data)
    with shards[1].open("r+b") as file:
        file.truncate(1000)
    shards[2].unlink()
    extra = out / "clips-train.array_record-00009-of-00010"
    extra.write_bytes(data)
    with pytest.raises(InputError, match="faults, the first"):
        vfs_prepare("verify", f"--out={out}")
    printed = capsys.readouterr().out
    assert f"{shards[0]}: is damaged" in printed
    assert f"{shards[0]}: clip clip0.mp4 is damaged" in printed
    assert f"{shards[1]}: is truncated, 1000 of" in printed
    assert f"{shards[2]}: is missing" in printed
    assert f"{extra}: is not in the manifest" in printed
    assert str(shards[3]) not in printed
    assert str(shards[4]) not in printed


def test_verify_names_what_is_wrong_beside_the_shards(out):
    info = json.loads((out / "dataset_info.json").read_text())
    info["splits"][0]["shardLengths"][0] = "7"
    (out / "dataset_info.json").write_text(json.dumps(info))
    (out / "features.json").unlink()
    (out / "rejects.jsonl").write_text("")
    (out / "index.jsonl").write_text((out / "index.jsonl").read_text() + "\n")
    sidecar = min(out.glob("clips-*.json"))
    sidecar.write_text("{")
    assert verify(out) == [
        f"{out / 'index.jsonl'}: is not the index that the manifest was made from",
        f"{out / 'features.json'}: is missing",
        f"{out / 'dataset_info.json'}: lists other numbers of clips than the manifest",
        f"{out / 'rejects.jsonl'}: lists 0 rejects, the manifest 1",
        f"{sidecar}: is missing or broken; the records themselves are whole",
    ]


def test_verify_decodes_what_the_checksums_cannot_see(videos, tmp_path, vfs_prepare, monkeypatch):
    """Records that were written wrong have right checksums."""
    decode = Decoder.decode

    def wrong(self, path, video, label, *, warn):
        for record in decode(self, path, video, label, warn=warn):
            example = tf_example_pb2.Example.FromString(record.data)
            fields = example.features.feature
            if video == "clip1.mp4":
                fields["frames"].bytes_list.value[1] = fields["frames"].bytes_list.value[1][:50]
            if video == "clip2.mp4":
                fields["height"].int64_list.value[0] = 40
            if video == "clip3.mp4":
                fields["times"].float_list.value[:] = [0.0] * record.frames
            data = example.SerializeToString()
            yield dataclasses.replace(record, data=data, crc32=zlib.crc32(data))

    monkeypatch.setattr(Decoder, "decode", wrong)
    out = tmp_path / "out"
    vfs_prepare("index", f"--videos={videos}", f"--out={out}")
    vfs_prepare("convert", f"--out={out}", "--short_side=0")
    vfs_prepare("finalize", f"--out={out}")
    found = verify(out, sample=-1)
    assert len(found) == 3
    assert "clip clip1.mp4 has a frame that does not decode (1)" in found[0]
    assert "clip clip2.mp4 has a frame of another size (0)" in found[1]
    assert "clip clip3.mp4 has times that do not increase" in found[2]
    assert len(verify(out, sample=1)) <= 1
    assert verify(out, sample=0) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["all", "--videos=nowhere"], "nowhere: no such folder"),
        (["all", "--videos=empty"], "empty: no video in it"),
        (["all", "--videos=bad"], "bad/a.mp4: no video stream that FFmpeg can open; none of the 2 videos decodes"),
        (["all", "--list=nowhere.txt"], "nowhere.txt: no such file"),
        (["all", "--list=list.txt"], "list.txt:2: gone.mp4: no such file (nor 1 more of its 3 files)"),
        (["all", "--list=twice.txt"], "good.mp4: the id of more than one video"),
        (["all", "--videos=good", "--quality=101"], "quality=101: takes"),
        (["all", "--videos=good", "--clip_timeout=0"], "clip_timeout=0: takes"),
        (["all", "--videos=good", "--workers=-1"], "workers=-1: takes"),
        (["all", "--videos=good", "--shards=-1"], "shards=-1: takes"),
        (["all"], "give the videos by one of"),
        (["convert"], "index.jsonl: no such file; run vfs-prepare index"),
        (["finalize"], "index.jsonl: no such file"),
        (["verify"], "manifest.json: no such file; run vfs-prepare finalize"),
        (["polish"], "polish: the first argument is one of index, convert, finalize, verify, all, show, compose, help"),
        ([], "no stage"),
        (["compose"], "compose takes the background"),
        (["compose", "--videos=nowhere.mp4"], "nowhere.mp4: no such file"),
        (["show"], "manifest.json: no such file"),
        (["show", "elsewhere"], "show takes one folder of records, --out=DIR; elsewhere, out given"),
        (["help", "mnist"], "mnist: help knows kinetics, davis"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else "",
)
def test_bad_input_leaves_nothing_behind(arguments, message, tmp_path, monkeypatch, write_video, vfs_prepare):
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    Path("bad").mkdir()
    Path("bad/a.mp4").write_text("text")
    Path("bad/b.mp4").touch()
    write_video(Path("good/good.mp4"), frames=1)
    Path("list.txt").write_text("good/good.mp4 3\ngone.mp4 1\nlost.mp4 1\n")
    Path("twice.txt").write_text("good/good.mp4 3\ngood/good.mp4 1\n")
    with pytest.raises(InputError) as raised:
        vfs_prepare(*arguments, "--out=out")
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)
    assert not Path("out").exists()


def test_no_clip_decodes_in_convert_keeps_no_shard(tmp_path, vfs_prepare):
    (tmp_path / "bad.mp4").touch()
    out = tmp_path / "out"
    vfs_prepare("index", f"--videos={tmp_path}", f"--out={out}")
    with pytest.raises(InputError, match=r"bad\.mp4: is an empty file; none of the 1 videos"):
        vfs_prepare("convert", f"--out={out}")
    assert not list(out.glob("*array_record*"))


def test_one_folder_holds_one_conversion(out, tmp_path, vfs_prepare):
    with pytest.raises(InputError, match="short_side: 0 there, 16 here"):
        vfs_prepare("convert", f"--out={out}", "--short_side=16")
    (tmp_path / "other.mp4").touch()
    with pytest.raises(InputError, match="is the index of other videos"):
        vfs_prepare("index", f"--videos={tmp_path}", f"--out={out}")


def test_folders_are_classes(tmp_path, vfs_prepare):
    for name in ("walk/a.mp4", "run/deep/a.mp4", "run/b.mp4"):
        (tmp_path / "videos" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "videos" / name).touch()
    out = tmp_path / "out"
    vfs_prepare("index", f"--videos={tmp_path / 'videos'}", f"--out={out}", "--shards=1")
    [task] = read_tasks(out)
    assert [(entry.id, entry.label) for entry in read_entries(out, task)] == [
        ("run/b.mp4", 0),
        ("run/deep/a.mp4", 0),
        ("walk/a.mp4", 1),
    ]
    assert json.loads((out / "classes.json").read_text()) == ["run", "walk"]


def test_list_takes_labels_and_names_with_spaces(tmp_path):
    for name in ("a.mp4", "b c.mp4", "d e.mp4"):
        (tmp_path / name).touch()
    absolute = tmp_path / "a.mp4"
    (tmp_path / "list.txt").write_text(f"a.mp4 7\nb c.mp4\t2\n\nd e.mp4\n{absolute} 1\n")
    entries, classes = index_list(tmp_path / "list.txt")
    assert classes == []
    assert [(entry.id, entry.label) for entry in entries] == [
        ("a.mp4", 7),
        ("b c.mp4", 2),
        ("d e.mp4", 0),
        (str(absolute), 1),
    ]
    assert all(Path(entry.path).is_file() and os.path.isabs(entry.path) for entry in entries)


@pytest.mark.slow
def test_real_clips(real_data, tmp_path, vfs_prepare):
    out = tmp_path / "out"
    vfs_prepare(
        "all", f"--list={real_data / 'kinetics_like' / 'list.txt'}", f"--out={out}", "--short_side=64", "--fps=5"
    )
    records = ClipRecords(out)
    assert len(records) == 9
    assert (out / "rejects.jsonl").read_text() == ""
    for clip in records:
        assert min(clip["height"], clip["width"]) == 64
        np.testing.assert_allclose(np.diff(clip["times"]), 0.2, atol=0.04)  # the nearest frame of 24 or more a second
        assert clip["times"][0] == 0
        assert len(clip["frames"]) == len(clip["source_frames"])
        assert len(clip["source_sha256"]) == 64


def test_ends_with_one_line_and_status_1(tmp_path):
    """The process itself: its status, its stderr."""
    command = [sys.executable, "-m", "vfs_jax.apps.prepare", "all", "--videos=nowhere", f"--out={tmp_path / 'out'}"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stderr.splitlines() == ["vfs-prepare: error: nowhere: no such folder; give a folder of video files"]


def test_cut_videos_are_accounted_for(tmp_path, write_video, vfs_prepare):
    write_video(tmp_path / "videos" / "long.mp4", frames=24)
    write_video(tmp_path / "videos" / "short.mp4", frames=3)
    (tmp_path / "videos" / "zero.mp4").touch()
    out = tmp_path / "out"
    vfs_prepare("all", f"--videos={tmp_path / 'videos'}", f"--out={out}", "--short_side=0", "--clip_seconds=1")
    assert [(clip["id"], clip["source_frames"][[0, -1]].tolist()) for clip in ClipRecords(out)] == [
        ("long.mp4#0000", [0, 9]),
        ("long.mp4#0001", [10, 23]),
        ("short.mp4#0000", [0, 2]),
    ]
    manifest = json.loads((out / "manifest.json").read_text())
    assert (manifest["videos"], manifest["records"], manifest["rejects"]) == (3, 3, 1)
    assert json.loads((out / "rejects.jsonl").read_text())["video"] == "zero.mp4"


@pytest.mark.long
def test_goes_on_through_hundreds_of_shards(tmp_path, write_video, vfs_prepare):
    """200 shards, killed at about a third: what was finished is not made again, and every clip is there once."""
    clip = write_video(tmp_path / "clip.mp4", frames=1).read_bytes()
    videos, out = tmp_path / "videos", tmp_path / "out"
    videos.mkdir()
    for number in range(200):
        (videos / f"{number:03d}.mp4").write_bytes(clip)
    vfs_prepare("index", f"--videos={videos}", f"--out={out}", "--shards=200")
    command = [sys.executable, "-m", "vfs_jax.apps.prepare", "convert", f"--out={out}", "--short_side=0"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 120
    while len(list(out.glob("clips-*.json"))) < 60:
        assert time.monotonic() < until
        time.sleep(0.02)
    process.kill()
    process.wait()
    before = _snapshot(out)
    done = {name for name in before if name.endswith(".json")}
    assert 60 <= len(done) < 200
    vfs_prepare("convert", f"--out={out}", "--short_side=0")
    vfs_prepare("finalize", f"--out={out}")
    after = _snapshot(out)
    assert all(after[name] == before[name] for name in done)
    assert [clip["id"] for clip in ClipRecords(out)] == [f"{number:03d}.mp4" for number in range(200)]
    assert not list(out.glob(".*.tmp"))


def test_an_index_of_24_000_videos(tmp_path):
    """Every line is in exactly one shard, and a worker reads its own lines alone."""
    entries = [Entry(f"{number:011d}", f"/k400/train/{number:011d}.mp4", number % 400) for number in range(24_000)]
    assert write_index(tmp_path, entries, []) == 188
    tasks = read_tasks(tmp_path)
    assert {task.videos for task in tasks} == {127, 128}
    assert [task.shard for task in tasks] == list(range(188))
    assert [entry for task in tasks for entry in read_entries(tmp_path, task)] == entries
