"""What the machine refuses (files, space, rights, memory, readers that leave) ends every command in one line."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from absl import flags
from PIL import Image

from vfs_jax.apps import cli, prepare, score
from vfs_jax.data.background import load_in_background


@pytest.fixture
def ends(monkeypatch, capsys, tmp_path):
    """Runs a function as a command with --out=TMP/out; returns (exit status, the line on stderr)."""

    def ends(run):
        values = flags.FlagValues()
        flags.DEFINE_string("out", None, "", flag_values=values)
        monkeypatch.setattr(sys, "argv", ["vfs-try", f"--out={tmp_path / 'out'}"])
        with pytest.raises(SystemExit) as exit_:
            cli.main(lambda _: run(), values, None)
        error = capsys.readouterr().err
        assert error.count("\n") == 1, error
        return exit_.value.code, error.removeprefix("vfs-try: error: ").strip().replace(f"{tmp_path}/", "")

    return ends


def _into_itself(folder):
    (folder / "loop").symlink_to(folder / "loop")
    (folder / "loop").open("w")


def _dangling(folder):
    (folder / "link").symlink_to(folder / "nowhere" / "deep")
    (folder / "link").mkdir(exist_ok=True)


@pytest.mark.parametrize(
    ("fail", "line"),
    [
        pytest.param(
            lambda at: (at / "file").mkdir(exist_ok=True),
            "file: is a file, where a folder is needed; name another",
            id="a file for a folder",
        ),
        pytest.param(
            lambda at: (at / "file" / "x").mkdir(),
            "file/x: a part of this path is a file and no folder; name another",
            id="below a file",
        ),
        pytest.param(
            lambda at: at.joinpath("out").open("w"),
            "out: is a folder, where a file is needed; name a file",
            id="a folder for a file",
        ),
        pytest.param(lambda at: (at / "out").mkdir(), "out: is there already; name another", id="there already"),
        pytest.param(
            lambda at: (at / "none" / "x").open("w"),
            "none/x: no such file or folder; make it, or name another",
            id="no such folder",
        ),
        pytest.param(
            lambda at: (at / ("x" * 300)).mkdir(), "x" * 300 + ": the name is too long; name another", id="long name"
        ),
        pytest.param(_dangling, "link: is a link to nothing; mend it, or name another", id="broken link"),
        pytest.param(_into_itself, "loop: is a link that leads to itself; name another", id="circular link"),
    ],
)
def test_paths(ends, tmp_path, fail, line):
    (tmp_path / "file").touch()
    (tmp_path / "out").mkdir()
    assert ends(lambda: fail(tmp_path)) == (1, line)


def _to_full_device():
    with open("/dev/full", "w") as file:
        file.write("x" * 100_000)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        pytest.param(
            OSError(errno.EDQUOT, "Disk quota exceeded"),
            "out: the disk quota is used up; free some space and run again",
            id="quota",
        ),
        pytest.param(
            OSError(errno.EFBIG, "File too large", "a.npy"),
            "a.npy: the file is larger than the limit on files (ulimit -f) or the file system allows; raise it",
            id="file too large",
        ),
        pytest.param(
            PermissionError(errno.EACCES, "Permission denied", "d/x"),
            "d/x: permission denied; change its rights, or name another",
            id="permission",
        ),
        pytest.param(
            OSError(errno.EROFS, "Read-only file system", "d/x"),
            "d/x: the file system is read-only; name another place",
            id="read-only",
        ),
        pytest.param(
            OSError(errno.EMFILE, "Too many open files", "d/x"),
            "d/x: too many open files; raise the limit (ulimit -n)",
            id="too many files",
        ),
        pytest.param(
            OSError(errno.EIO, "Input/output error", b"d/x"),
            "d/x: cannot be read or written; look at the disk",
            id="disk fails",
        ),
        pytest.param(OSError(errno.ESTALE, "Stale file handle", "d/x"), "d/x: Stale file handle", id="anything else"),
        pytest.param(
            OSError("encoder error -2 when writing image file"),
            "out: encoder error -2 when writing image file; is there room, and the right to write?",
            id="without a number",
        ),
        pytest.param(
            ValueError("RESOURCE_EXHAUSTED: writing: No space left on device [28]"),
            "out: no space left on the device; free some and run again",
            id="told in words",
        ),
        pytest.param(
            MemoryError(), "out of memory (no more to be had); take smaller images, or fewer at a time", id="memory"
        ),
        pytest.param(
            RuntimeError("RESOURCE_EXHAUSTED: Ran out of memory in memory space hbm. Used 22G of 16G.\nTotal usage:\n"),
            "out of memory (RESOURCE_EXHAUSTED: Ran out of memory in memory space hbm. Used 22G of 16G.); take smaller "
            "images, or fewer at a time",
            id="memory of a TPU",
        ),
    ],
)
def test_refusals(ends, error, line):
    def run():
        raise error

    assert ends(run) == (1, line)


def test_full_disk(ends):
    assert ends(_to_full_device) == (1, "out: no space left on the device; free some and run again")


@pytest.mark.parametrize("zeros", [np.zeros, jnp.zeros])
def test_arrays_larger_than_the_memory(ends, zeros):
    status, line = ends(lambda: zeros((10**14,), np.float32))
    assert status == 1
    assert line.startswith("out of memory (")
    assert line.endswith("; take smaller images, or fewer at a time")


def test_defects_keep_their_traceback(monkeypatch):
    def run(_):
        raise RuntimeError("a defect")

    monkeypatch.setattr(sys, "argv", ["vfs-try"])
    with pytest.raises(RuntimeError, match="a defect"):
        cli.main(run, flags.FlagValues(), None)


@pytest.mark.parametrize("lines", [1, 100_000])
def test_a_reader_that_leaves_is_no_error(lines):
    """As in `vfs-... | head -1`: the pipe breaks in the middle, or when the last of it is written."""
    program = (
        "import sys; from absl import flags; from vfs_jax.apps import cli; sys.argv = ['vfs-try'];"
        f"cli.main(lambda _: [print('line') for _ in range({lines})], flags.FlagValues(), None)"
    )
    reader, writer = os.pipe()
    os.close(reader)
    ended = subprocess.run(
        [sys.executable, "-c", program], stdout=writer, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (141, "")


def test_the_standard_output_is_full():
    program = (
        "import sys; from absl import flags; from vfs_jax.apps import cli; sys.argv = ['vfs-try'];"
        "cli.main(lambda _: print('line'), flags.FlagValues(), None)"
    )
    environment = os.environ | {"PYTHONUNBUFFERED": ""}
    with open("/dev/full", "w") as full:
        ended = subprocess.run(
            [sys.executable, "-c", program],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            env=environment,
        )
    assert ended.returncode == 1
    assert ended.stderr == "vfs-try: error: the standard output: no space left on the device; free some and run again\n"


def test_names_that_are_no_text_are_printed():
    program = (
        "import os, sys; from absl import flags; from vfs_jax.apps import cli; sys.argv = ['vfs-try'];"
        r"cli.main(lambda _: print(os.fsdecode(b'caf\xe9')), flags.FlagValues(), None)"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (0, "caf\\udce9\n")


@pytest.mark.parametrize("out", ["file", "file/below", "link"])
def test_commands_into_what_is_no_folder(command, tmp_path, monkeypatch, out):
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    Path("link").symlink_to("nowhere/deep")
    Path("otb/one/img").mkdir(parents=True)
    Path("results").mkdir()
    for number in (1, 2):
        Image.new("RGB", (32, 32)).save(f"otb/one/img/{number:04d}.jpg")
    for file in ("otb/one/groundtruth_rect.txt", "results/one.txt"):
        Path(file).write_text("1,1,9,9\n1,1,9,9\n")
    for app, *words in (
        (score, "otb", "--results=results", "--data=otb"),
        (prepare, "index", "--videos=otb"),
    ):
        status, _, error = command(app, *words, f"--out={out}")
        assert status == 1
        last = error.splitlines()[-1]
        assert last.startswith(f"vfs-{app.__name__.rpartition('.')[2]}: error: ")
        assert out.partition("/")[0] in last
        assert "another" in last


class _Killed:
    """Batches whose reader is killed, as the system does when memory runs out."""

    def __len__(self):
        return 4

    def __getitem__(self, index):
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
def test_killed_reader(ends):
    status, line = ends(lambda: next(load_in_background(_Killed(), num_workers=1)))
    assert status == 1
    assert line == (
        "a process that reads records was ended (Worker process was terminated unexpectedly with exit code -9); "
        "if memory ran out, take fewer num_workers or clips"
    )
