"""The Kinetics layout: tables, files, archives, replacements, and what does not fit together."""

import csv
import json
import shutil
import tarfile

import pytest

from data_prep.kinetics import index_kinetics
from vfs_jax.data.records import ClipRecords
from vfs_jax.errors import InputError


def _table(path, *rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["label", "youtube_id", "time_start", "time_end", "split"])
        writer.writerows([*row, "train"] for row in rows)


@pytest.fixture
def kinetics(tmp_path, write_video):
    """Four videos of the table on the disk, one missing, one replaced, one twice, one unknown."""
    folder = tmp_path / "k400"
    _table(
        folder / "annotations" / "train.csv",
        ("walking, fast", "aaaaaaaaaaa", 1, 11),
        ("archery", "bbbbbbbbbbb", 20, 30),
        ("archery", "-c_cccccccc", 0, 10),
        ("zumba", "ddddddddddd", 4, 14),
        ("zumba", "eeeeeeeeeee", 4, 14),
    )
    write_video(folder / "train" / "aaaaaaaaaaa_000001_000011.mp4", frames=1)
    write_video(folder / "train" / "bbbbbbbbbbb_000020_000030.mp4", frames=2)
    write_video(folder / "train" / "deep" / "-c_cccccccc_000000_000010.mp4", frames=3)
    (folder / "train" / "ddddddddddd_000004_000014.mp4").write_bytes(b"corrupt")
    write_video(folder / "replacement" / "replacement_for_corrupted_k400" / "ddddddddddd.mp4", frames=4)
    write_video(folder / "train" / "fffffffffff_000004_000014.mp4", frames=1)
    write_video(folder / "val" / "eeeeeeeeeee_000004_000014.mp4", frames=1)  # of another split
    return folder


def test_matches_table_and_files(kinetics):
    index = index_kinetics(kinetics, "train")
    assert index.classes == ["archery", "walking, fast", "zumba"]
    assert {entry.id: entry.label for entry in index.entries} == {
        "aaaaaaaaaaa_000001_000011": 1,
        "bbbbbbbbbbb_000020_000030": 0,
        "-c_cccccccc_000000_000010": 0,
        "ddddddddddd_000004_000014": 2,
    }
    assert index.not_on_disk == ["eeeeeeeeeee_000004_000014"]
    assert index.not_in_table == [str(kinetics / "train" / "fffffffffff_000004_000014.mp4")]
    assert index.doubled == [str(kinetics / "train" / "ddddddddddd_000004_000014.mp4")]


def test_the_complete_table_of_kinetics_600_is_a_txt(kinetics):
    table = kinetics / "annotations" / "train.csv"
    table.with_suffix(".txt").write_text(table.read_text())
    table.write_text("".join(table.read_text().splitlines(keepends=True)[:2]))
    assert len(index_kinetics(kinetics, "train").entries) == 4


def test_several_clips_of_one_video_go_by_their_times(kinetics):
    _table(kinetics / "annotations" / "train.csv", ("a", "aaaaaaaaaaa", 1, 11), ("b", "aaaaaaaaaaa", 5, 15))
    index = index_kinetics(kinetics, "train")
    assert [(entry.id, entry.label) for entry in index.entries] == [("aaaaaaaaaaa_000001_000011", 0)]
    assert index.not_on_disk == ["aaaaaaaaaaa_000005_000015"]


def test_prepares_and_lists_what_does_not_fit(kinetics, tmp_path, vfs_prepare, capsys):
    out = tmp_path / "out"
    vfs_prepare("all", f"--kinetics={kinetics}", f"--out={out}", "--short_side=0", "--shards=2")
    assert {clip["id"]: (clip["label"], len(clip["frames"])) for clip in ClipRecords(out)} == {
        "aaaaaaaaaaa_000001_000011": (1, 1),
        "bbbbbbbbbbb_000020_000030": (0, 2),
        "-c_cccccccc_000000_000010": (0, 3),
        "ddddddddddd_000004_000014": (2, 4),
    }
    assert (out / "not_on_disk.txt").read_text() == "eeeeeeeeeee_000004_000014\n"
    assert (out / "not_in_table.txt").read_text().endswith("fffffffffff_000004_000014.mp4\n")
    assert len((out / "doubled.txt").read_text().splitlines()) == 1
    assert json.loads((out / "classes.json").read_text()) == ["archery", "walking, fast", "zumba"]
    printed = capsys.readouterr()
    assert "index: 1 not on disk" in printed.out
    warning = f"WARNING: 1 of 5 videos of the table are not on the disk (20.0%); {out / 'not_on_disk.txt'} names them"
    assert printed.err.count(warning) == 3  # index, finalize, verify
    assert json.loads((out / "manifest.json").read_text())["not_on_disk"] == 1
    vfs_prepare("show", out)
    assert warning in capsys.readouterr().err


def test_an_eighth_of_the_clips_is_hard_to_overlook(tmp_path, vfs_prepare, capsys):
    """The release's issue 10: 30,000 of 240,000 clips. Every missing one is counted and listed."""
    folder = tmp_path / "k400"
    names = [f"v{number:010d}" for number in range(2400)]
    _table(folder / "annotations" / "train.csv", *(("archery", name, 1, 11) for name in names))
    (folder / "train").mkdir()
    for name in names[::8]:
        (folder / "train" / f"{name}_000001_000011.mp4").touch()
    vfs_prepare("index", f"--kinetics={folder}", f"--out={tmp_path / 'out'}")
    printed = capsys.readouterr()
    assert printed.err.splitlines()[-1].startswith(
        "vfs-prepare: WARNING: 2100 of 2400 videos of the table are not on the disk (87.5%)"
    )
    assert "index: 300 videos in 16 shards" in printed.out
    missing = (tmp_path / "out" / "not_on_disk.txt").read_text().splitlines()
    assert missing == [f"{name}_000001_000011" for number, name in enumerate(names) if number % 8]


def test_archives_are_read_in_place(kinetics, tmp_path, vfs_prepare):
    with tarfile.open(kinetics / "train" / "part_0.tar.gz", "w:gz") as archive:
        for name in ("bbbbbbbbbbb_000020_000030.mp4", "aaaaaaaaaaa_000001_000011.mp4"):
            archive.add(kinetics / "train" / name, f"./x/{name}")
            (kinetics / "train" / name).unlink()
    with tarfile.open(kinetics / "train" / "part_1.tar", "w") as archive:
        archive.add(kinetics / "train" / "deep", "deep")
        shutil.rmtree(kinetics / "train" / "deep")
    out = tmp_path / "out"
    vfs_prepare("all", f"--kinetics={kinetics}", f"--out={out}", "--short_side=0", "--shards=2")
    lengths = {clip["id"][0]: len(clip["frames"]) for clip in ClipRecords(out)}
    assert lengths == {"a": 1, "b": 2, "-": 3, "d": 4}
    assert (out / "rejects.jsonl").read_text() == ""


def test_an_archive_that_breaks_off_after_the_index(kinetics, tmp_path, vfs_prepare):
    part = kinetics / "train" / "part_0.tar"
    with tarfile.open(part, "w") as archive:
        for name in ("aaaaaaaaaaa_000001_000011.mp4", "bbbbbbbbbbb_000020_000030.mp4"):
            archive.add(kinetics / "train" / name, name)
            (kinetics / "train" / name).unlink()
    with tarfile.open(part) as archive:
        second = archive.getmembers()[1].offset
    out = tmp_path / "out"
    vfs_prepare("index", f"--kinetics={kinetics}", f"--out={out}", "--shards=1")
    with part.open("r+b") as file:
        file.truncate(second + 700)
    vfs_prepare("convert", f"--out={out}", "--short_side=0")
    vfs_prepare("finalize", f"--out={out}")
    rejects = [json.loads(line) for line in (out / "rejects.jsonl").read_text().splitlines()]
    assert [reject["id"] for reject in rejects] == ["bbbbbbbbbbb_000020_000030"]
    assert "part_0.tar cannot be read to its end" in rejects[0]["reason"]
    assert len(ClipRecords(out)) == 3
    with pytest.raises(InputError, match=r"part_0\.tar: cannot be read to its end .* download it again"):
        index_kinetics(kinetics, "train")


def test_bad_tables(kinetics, tmp_path):
    with pytest.raises(InputError, match="no such folder; give the folder"):
        index_kinetics(tmp_path / "nowhere", "train")
    with pytest.raises(InputError, match=r"annotations/val\.csv: no such file"):
        index_kinetics(kinetics, "val")
    table = kinetics / "annotations" / "train.csv"
    _table(table, ("a", "aaaaaaaaaaa", 1, 11), ("b", "aaaaaaaaaaa", 1, 11))
    with pytest.raises(InputError, match=r"train\.csv:3: aaaaaaaaaaa_1_11 is in the table twice"):
        index_kinetics(kinetics, "train")
    _table(table, ("a", "aaaaaaaaaaa", "one", 11))
    with pytest.raises(InputError, match=r"train\.csv:2: is not label"):
        index_kinetics(kinetics, "train")
    table.write_text("youtube_id,label\n")
    with pytest.raises(InputError, match="has no column time_start, time_end, split"):
        index_kinetics(kinetics, "train")
    _table(table, ("a", "zzzzzzzzzzz", 1, 11))
    with pytest.raises(InputError, match="holds none of the 1 videos"):
        index_kinetics(kinetics, "train")
