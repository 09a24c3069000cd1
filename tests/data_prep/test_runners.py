"""The launch files for clusters: the command they would run and the job graph it builds. Nothing is submitted."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vfs_jax.errors import InputError

LAUNCH = Path(__file__).parents[2] / "launch"


@pytest.fixture
def indexed(write_video, tmp_path, vfs_prepare):
    for number in range(5):
        write_video(tmp_path / "videos" / f"{number}.mp4", frames=1)
    vfs_prepare("index", f"--videos={tmp_path / 'videos'}", f"--out={tmp_path / 'out'}", "--shards=3")
    return tmp_path / "out"


@pytest.fixture
def path_with_command(tmp_path):
    """A PATH on which vfs-prepare is this checkout's, however it is installed."""
    program = tmp_path / "bin" / "vfs-prepare"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m vfs_jax.apps.prepare "$@"\n')
    program.chmod(0o755)
    return f"{program.parent}{os.pathsep}{os.environ['PATH']}"


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
def test_launch_files(script, settings, command, options, indexed, path_with_command):
    ended = subprocess.run(
        ["bash", LAUNCH / script, indexed, "--quality=80"],
        env={**os.environ, **settings, "PATH": path_with_command, "DRY_RUN": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    lines = ended.stdout.splitlines()
    assert lines[0].startswith(f"vfs-prepare convert --out={indexed} {command}")
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
    vfs_prepare("convert", f"--out={indexed}", "--short_side=0", "--workers=2", "--", "--direct_test_splits={}")
    assert len(list(indexed.glob("clips-*.json"))) == 3
