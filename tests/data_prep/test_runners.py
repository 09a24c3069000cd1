"""The launch files for clusters: the command they would run and the job graph it builds. Nothing is submitted."""

import os
import subprocess
from pathlib import Path

import pytest

from vfs_jax.errors import InputError

LAUNCH = Path(__file__).parents[2] / "launch"


@pytest.fixture(scope="module")
def indexed(write_video, tmp_path_factory, vfs_prepare):
    folder = tmp_path_factory.mktemp("indexed")
    for number in range(5):
        write_video(folder / "videos" / f"{number}.mp4", frames=1)
    vfs_prepare("index", f"--videos={folder / 'videos'}", f"--out={folder / 'out'}", "--shards=3")
    return folder / "out"


@pytest.fixture
def noting(tmp_path):
    """A PATH on which vfs-prepare only notes its arguments, and the file that gets them, one a line."""
    program, noted = tmp_path / "bin" / "vfs-prepare", tmp_path / "arguments"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {noted}\n')
    program.chmod(0o755)
    return f"{program.parent}{os.pathsep}{os.environ['PATH']}", noted


@pytest.mark.parametrize(
    ("script", "settings", "command", "options"),
    [
        (
            "prepare_flink.sh",
            {"FLINK_MASTER": "flink:8081", "PARALLELISM": "64"},
            "--runner=FlinkRunner --quality=80 -- --flink_master=flink:8081 --parallelism=64",
            ["flink_master=flink:8081", "parallelism=64", "environment_type=PROCESS"],
        ),
        (
            "prepare_spark.sh",
            {"JOB_SERVER": "spark:8099"},
            "--runner=SparkRunner --quality=80 -- --job_endpoint=spark:8099 --environment_type=PROCESS",
            ["job_endpoint=spark:8099", "environment_type=PROCESS"],
        ),
        (
            "prepare_dataflow.sh",
            {"PROJECT": "p", "REGION": "europe-west4", "BUCKET": "gs://b", "IMAGE": "eu.gcr.io/p/vfs"},
            "--runner=DataflowRunner --quality=80 -- --project=p --region=europe-west4 --temp_location=gs://b/tmp",
            ["project=p", "temp_location=gs://b/tmp", "sdk_container_image=eu.gcr.io/p/vfs", "max_num_workers=16"],
        ),
    ],
)
def test_launch_files(script, settings, command, options, indexed, noting, vfs_prepare, capsys):
    path, noted = noting
    ended = subprocess.run(
        ["bash", LAUNCH / script, indexed, "--quality=80"],
        env={**os.environ, **settings, "PATH": path, "DRY_RUN": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith(f"vfs-prepare convert --out={indexed} {command}")
    arguments = noted.read_text().splitlines()
    assert "--graph" in arguments
    capsys.readouterr()
    vfs_prepare(*arguments)
    lines = capsys.readouterr().out.splitlines()
    assert {f"option: {option}" for option in options} <= set(lines)
    steps = [line for line in lines if line.startswith("step: ")]
    assert any(line.startswith("step: convert (beam:transform:pardo") for line in steps)
    assert any("Reshuffle" in line or "spread" in line for line in steps)
    assert lines[-1] == "elements: 3 shards of 5 videos"
    assert not list(indexed.glob("clips-*"))


@pytest.mark.parametrize("script", ["prepare_flink.sh", "prepare_spark.sh", "prepare_dataflow.sh"])
def test_launch_files_ask_for_what_they_need(script, tmp_path):
    ended = subprocess.run(["bash", LAUNCH / script, tmp_path], capture_output=True, text=True, check=False)
    assert ended.returncode != 0
    assert "parameter null or not set" in ended.stderr or "host:port" in ended.stderr or "project" in ended.stderr


def test_unknown_runner(indexed, vfs_prepare):
    with pytest.raises(InputError, match="runner=PrismRunner: takes one of DirectRunner, FlinkRunner"):
        vfs_prepare("convert", f"--out={indexed}", "--runner=PrismRunner")


def test_options_of_beam_reach_the_local_runner(indexed, vfs_prepare):
    vfs_prepare("convert", f"--out={indexed}", "--workers=2", "--", "--direct_test_splits={}")
    assert len(list(indexed.glob("clips-*.json"))) == 3
