"""The files of launch/ as far as a machine without their services can check them: linter, dry runs, stand-ins."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from absl import flags

ROOT = Path(__file__).parents[2]
LAUNCH = ROOT / "launch"
TRAIN = ["vfs-train", "--config=configs/vfs_r50_fine.py", "--workdir=/data/a run", "--config.data=/data/records"]
PLACES = {
    **{"TPU": "slice", "ZONE": "europe-west4-b", "CLUSTER": "pods", "PROJECT": "vfs", "IMAGE": "registry/vfs:1"},
    "STORAGE": "data",
}


def bash(script, *arguments, path=os.environ["PATH"], **variables):
    environment = {"PATH": path, "HOME": "/root", **variables}
    command = ["bash", str(LAUNCH / script), *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)


def assert_is_accepted(command):
    """A command that ends in vfs-train and its flags: vfs-train takes them."""
    from vfs_jax.apps import train

    arguments = command[command.index("vfs-train") :]
    assert arguments[:-1] == TRAIN or len(arguments) > 3
    known = {*train.FLAGS, "config.data", "config.num_workers"}
    for argument in arguments[1:]:
        name = re.fullmatch(r"--([a-z_.]+)=.*", argument)[1]
        assert name in known, argument
    assert arguments[-1] == "--processes=auto"


@pytest.fixture(autouse=True)
def _flags_stay_unparsed():
    flags.FLAGS.mark_as_parsed()


def test_the_linter_passes():
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed")
    scripts = [*LAUNCH.glob("*.sh"), LAUNCH / "slurm.sbatch"]
    checked = subprocess.run(["shellcheck", "-x", *scripts], cwd=ROOT, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cpu", "gpu", "tpu"])
def test_env_files_are_settings_that_this_jax_knows(name):
    settings = dict(line.split("=", 1) for line in (LAUNCH / f"{name}.env").read_text().splitlines() if line[0] != "#")
    assert settings["JAX_PLATFORMS"] == {"cpu": "cpu", "gpu": "cuda", "tpu": "tpu"}[name]
    # XLA ends the process where it is given a flag that it does not know; jax's own settings are those of jax.config.
    program = "import jax; [jax.config._read(k) for k in {}]; jax.devices()"
    of_jax = [key.lower() for key in settings if key.startswith("JAX_")]
    environment = os.environ | {"XLA_FLAGS": settings.get("XLA_FLAGS", ""), "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", program.format(of_jax)]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    if "XLA_FLAGS" in settings:
        environment["XLA_FLAGS"] += "_and_no_such_flag=true"
        assert subprocess.run(command, env=environment, capture_output=True).returncode != 0


def test_local_prints_what_each_process_would_run():
    ended = bash("local.sh", "--processes", "2", "--devices", "4", "--dry-run", *TRAIN, PORT="1234")
    lines = [shlex.split(line) for line in ended.stdout.splitlines()]
    for index, line in enumerate(lines):
        assert line[-5:] == [*TRAIN, f"--processes=localhost:1234,{index},2"]
        assert " --xla_force_host_platform_device_count=4" in line[2]
    ended = bash("local.sh", "--processes", "2", "--devices", "4", "--dry-run", *TRAIN, ACCELERATOR="gpu")
    lines = [shlex.split(line) for line in ended.stdout.splitlines()]
    assert [word for line in lines for word in line if word.startswith("CUDA")] == [
        *("CUDA_VISIBLE_DEVICES=0,1,2,3", "CUDA_VISIBLE_DEVICES=4,5,6,7"),
    ]
    alone = shlex.split(bash("local.sh", "--dry-run", *TRAIN).stdout)
    assert alone[-4:] == TRAIN


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--processes", "two", "true"], "are numbers from 1 on"),
        (["--process", "2"], "unknown argument --process"),
        (["--processes", "2"], "no command"),
    ],
)
def test_local_refuses_nonsense_in_one_line(arguments, message):
    ended = bash("local.sh", *arguments)
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert message in ended.stderr


def test_local_ends_all_when_one_fails():
    waits = "case $1 in *,1,2) exit 7;; *) exec sleep 60;; esac"
    ended = bash("local.sh", "--processes", "2", "bash", "-c", waits, "x", GRACE="0.2")
    assert ended.returncode == 7


def test_slurm_prints_its_command():
    ended = bash("slurm.sbatch", "--dry-run", *TRAIN)
    assert ended.returncode == 0, ended.stderr
    command = shlex.split(ended.stdout)
    assert command[:2] == ["srun", "--kill-on-bad-exit=1"]
    assert_is_accepted(command)
    text = (LAUNCH / "slurm.sbatch").read_text()
    for option in ("--signal=TERM@300", "--requeue", "--open-mode=append", "--ntasks-per-node=8", "--gpus-per-node=8"):
        assert f"#SBATCH {option}\n" in text


@pytest.mark.parametrize(
    ("status", "restarts", "requeued"), [(0, "0", False), (1, "0", False), (143, "3", True), (143, "100", False)]
)
def test_slurm_queues_a_saved_run_again(tmp_path, status, restarts, requeued):
    """With stand-ins for srun and scontrol, which note how they are called."""
    for name, end in (("srun", status), ("scontrol", 0)):
        (tmp_path / name).write_text(f'#!/bin/sh\necho "$0 $@" >>{tmp_path}/calls\nexit {end}\n')
        (tmp_path / name).chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    variables = {"SLURM_JOB_ID": "42", "SLURM_RESTART_COUNT": restarts, "SLURM_SUBMIT_DIR": str(ROOT)}
    ended = bash("slurm.sbatch", *TRAIN, path=path, **variables)
    assert ended.returncode == status
    calls = (tmp_path / "calls").read_text().splitlines()
    assert calls[0].endswith("--processes=auto")
    assert calls[1:] == [f"{tmp_path}/scontrol requeue 42"] * requeued


@pytest.mark.parametrize(("script", "before"), [("tpu_vm.sh", ["run"]), ("xpk.sh", ["name", "v5litepod-16"])])
def test_tpu_scripts_print_what_they_would_do(script, before):
    ended = bash(script, "--dry-run", *before, *TRAIN, **PLACES)
    assert ended.returncode == 0, ended.stderr
    remote = next(word for word in shlex.split(ended.stdout) if word.startswith("--command="))
    assert_is_accepted(shlex.split(remote.removeprefix("--command=")))
    assert "JAX_PLATFORMS=tpu" in remote
    ended = bash(script, "--dry-run", *before, *TRAIN)
    assert ended.returncode != 0
    assert ended.stderr.count("\n") == 1


def test_tpu_vm_installs_stops_and_cleans_up():
    for action, part in (
        (["create", "v5litepod-16"], "create slice --zone=europe-west4-b --accelerator-type=v5litepod-16"),
        (["install"], "scp /tmp/vfs_jax.tar slice: --zone=europe-west4-b --worker=all"),
        (["stop"], "kill -TERM $(cat vfs.pid)"),
        (["delete"], "delete slice --zone=europe-west4-b --quiet"),
    ):
        ended = bash("tpu_vm.sh", "--dry-run", *action, **PLACES)
        assert part in " ".join(shlex.split(ended.stdout)), ended


def test_the_jobset_is_one():
    """The fields that the JobSet controller and Kubernetes require, and values that fit each other."""
    jobset = yaml.safe_load((LAUNCH / "jobset.yaml").read_text())
    assert (jobset["apiVersion"], jobset["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet")
    assert set(jobset["spec"]) == {"failurePolicy", "replicatedJobs"}
    (job,) = jobset["spec"]["replicatedJobs"]
    assert set(job) == {"name", "replicas", "template"}
    spec = job["template"]["spec"]
    assert spec["backoffLimit"] == 0  # a pod alone cannot be started again
    pod = spec["template"]["spec"]
    assert pod["restartPolicy"] == "Never"
    assert pod["terminationGracePeriodSeconds"] >= 60
    (container,) = pod["containers"]
    assert_is_accepted(["vfs-train", *container["args"]])
    assert container["command"] == ["vfs-train"]
    rows, columns = map(int, pod["nodeSelector"]["cloud.google.com/gke-tpu-topology"].split("x"))
    assert spec["parallelism"] * container["resources"]["limits"]["google.com/tpu"] == rows * columns
    assert spec["parallelism"] == spec["completions"]
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}


def test_the_image_is_made_of_what_is_here():
    """All that is copied exists, and it is enough to install the package: setup.cfg's packages, the files it names."""
    lines = (LAUNCH / "Dockerfile").read_text().splitlines()
    copied = [word for line in lines if line.startswith("COPY ") for word in line.split()[1:-1]]
    assert all((ROOT / name).exists() for name in copied)
    import configparser

    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    folders = {name.split(".")[0] for name in config["options"]["packages"].split()}
    assert {*folders, "configs", "README.md", "LICENSE", "constraints.txt"} <= set(copied)
    assert "vfs-train = " in config["options.entry_points"]["console_scripts"]
    extras = re.search(r"EXTRA: (.*), or empty", lines[0])[1].split(", ")
    assert set(extras) <= set(config["options.extras_require"])
    assert any(line.startswith("STOPSIGNAL SIGTERM") for line in lines)
