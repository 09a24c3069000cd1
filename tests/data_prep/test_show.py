"""What show and help print, and the contact sheet."""

import numpy as np
import pytest
from PIL import Image


def test_show_counts_and_draws(write_video, tmp_path, vfs_prepare, capsys):
    for number in range(20):
        write_video(tmp_path / "videos" / f"clip{number:02d}.mp4", frames=1 + number % 3)
    (tmp_path / "videos" / "zero.mp4").touch()
    out = tmp_path / "out"
    vfs_prepare("all", f"--videos={tmp_path / 'videos'}", f"--out={out}", "--short_side=0", "--shards=2")
    capsys.readouterr()
    vfs_prepare("show", out)
    printed = capsys.readouterr().out
    assert "20 records + 1 rejects from 21 videos" in printed
    assert "39 frames" in printed  # 7 * 1 + 7 * 2 + 6 * 3
    assert "rejected 1: is an empty file" in printed
    bars = [line for line in printed.splitlines() if "#" in line]
    assert [int(line.split()[-1]) for line in bars] == [7, 7, 6]
    assert bars[0].count("#") == 40
    with Image.open(out / "contact_sheet.jpg") as sheet:
        height, picture = sheet.height, np.asarray(sheet)
    assert height == 16 * (128 + 18)
    # The fixture's frame number n has red 4 n: rows are clips, columns are their frames, from the first to the last.
    third = next(row for row in range(16) if picture[row * 146 + 80, 400].std() > 10)
    reds = [picture[third * 146 + 80, 171 * column + 80, 0].astype(int) for column in range(3)]
    assert reds == sorted(reds)
    assert abs(reds[2] - reds[0] - 8) <= 4


@pytest.mark.parametrize(
    "name", ["kinetics", "davis", "youtube-vos", "jhmdb", "vip", "tapvid", "otb", "got10k", "lasot", "uav123"]
)
def test_help_tells_source_terms_and_tree(name, vfs_prepare, capsys):
    vfs_prepare("help", name)
    printed = capsys.readouterr().out
    for word in ("From: ", "Terms: ", "Tree", "  DIR/", "Downloads are yours"):
        assert word in printed
    assert max(map(len, printed.splitlines())) <= 120
