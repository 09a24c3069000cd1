"""vfs-plan: the plan as text and JSON, kept facts, one line for what it cannot plan; and a step compiled for TPUs."""

import dataclasses
import importlib.util
import json
from pathlib import Path

import pytest
from test_program_text import recorded

from vfs_jax.apps import plan
from vfs_jax.planning import compilers, training
from vfs_jax.planning.cache import cache_folder
from vfs_jax.planning.facts import Facts
from vfs_jax.planning.program_text import read_program

# ml_collections loads config files in a way that Python has outgrown.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")

CONFIG = f"--config={Path(__file__).parents[2] / 'configs' / 'vfs_r18_fine.py'}:smoke"
KEYS = {
    *("fits", "chips", "memory_bytes", "memory_limit_bytes", "flops", "bytes", "collectives"),
    *("step_seconds_bound", "images_per_second_per_host"),
}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def compiled_facts(name):
    told = recorded(name)
    exchanges, nbytes = read_program(told["text"])
    memory = told["memory"]
    return Facts(
        how="compiled",
        argument_bytes=memory["argument"],
        result_bytes=memory["output"] - memory["alias"],
        work_bytes=memory["temp"],
        code_bytes=memory["generated_code"],
        flops=told["flops"],
        flops_how="compiled",
        bytes=nbytes,
        collectives=exchanges,
        compile_seconds=told["seconds"],
    )


@pytest.fixture
def recorded_compiler(monkeypatch):
    """A TPU compiler that says what the real one said of the smoke step; returns how often it was asked."""
    calls = []

    def compile_program(lowered, **about):
        calls.append(about["chips"])
        return compiled_facts("vfs_r18_fine-smoke-v5e-2x2")

    monkeypatch.setattr(training, "require_tpu_compiler", lambda: None)
    monkeypatch.setattr(training, "compiler_of", lambda platform: "libtpu 0.0.42.1")
    monkeypatch.setattr(training, "make_absent_mesh", lambda topology: training.make_mesh(topology.chips))
    monkeypatch.setattr(training, "compile_program", compile_program)
    monkeypatch.setattr(training, "call_apart", lambda what, function, *args: function(*args))
    return calls


@pytest.mark.slow
def test_a_plan_says_of_every_figure_what_it_is(command, tmp_path, recorded_compiler):
    flags = [CONFIG, "--topology=v5e:2x2", "--config.dtype=bfloat16", "--images_per_core=1000"]
    status, out, err = command(plan, *flags, f"--json={tmp_path / 'plan.json'}")
    assert (status, err) == (0, "")
    told = json.loads((tmp_path / "plan.json").read_text())
    assert set(told) >= KEYS
    assert told["fits"] is True
    assert told["chips"] == 4
    assert told["collectives"] == {"all-reduce": 50}
    assert told["memory_bytes"] == 98245120 + (98138624 - 98133504) + 40226304 + 26454528
    assert told["memory_limit_bytes"] == int(15.75 * 2**30)
    # Peaks of the data sheet: 197 TFLOP/s and 819 GB/s; four links of 50 GB/s each way, over which 3 chips' worth goes.
    bounds = told["bound_seconds"]
    assert bounds["operations"] == pytest.approx(told["flops"] / 197e12)
    assert bounds["memory"] == pytest.approx(told["bytes"] / 819e9)
    assert bounds["exchange"] == pytest.approx(2 * told["collective_bytes"]["all-reduce"] * 3 / (8 * 50e9))
    assert told["step_seconds_bound"] == max(bounds.values()) == bounds[told["binds"]]
    assert told["images_per_second_per_host"] == pytest.approx(4 * 4 / told["step_seconds_bound"])
    assert told["cores_per_host"] == -(-told["images_per_second_per_host"] // 1000)
    assert told["days_bound"] == pytest.approx(3 * told["step_seconds_bound"] / 86400)
    for start, word in (
        *(("fits", "[compiled; limit: compiler, what libtpu"), ("operations", "[compiled]"), ("memory", "[compiled]")),
        *(("exchange", "[compiled]"), ("step", "[compiled, at peaks of the data sheet"), ("input", "[given]")),
        *(("storage", "[computed; "), ("batch", "[estimated]")),
    ):
        (line,) = (line for line in out.splitlines() if line.startswith(f"{start} "))
        assert word in line, line
    assert "tpu_vm.sh create v5litepod-4" in out
    assert "run vfs-train" in out
    assert "--config.dtype=bfloat16 --workdir=DIR --config.data=RECORDS" in out
    # The second time nothing is compiled; another program is.
    assert str(cache_folder()) in out
    assert len(recorded_compiler) == 1
    status, again, _ = command(plan, *flags)
    assert (status, again, len(recorded_compiler)) == (0, out, 1)
    assert command(plan, *flags, "--config.batch_size=8")[0] == 0
    assert len(recorded_compiler) == 2


@pytest.mark.slow
def test_fast_counts_without_any_compiler(command, monkeypatch):
    monkeypatch.setattr(compilers.importlib.util, "find_spec", lambda name: None)
    status, out, err = command(plan, CONFIG, "--topology=v5e:2x2", "--fast", "--json=-")
    assert (status, err) == (0, "")
    told = json.loads(out)
    assert set(told) >= KEYS
    assert told["fits"] is True
    assert told["sources"]["memory_bytes"] == told["sources"]["collectives"] == "counted"
    assert told["sources"]["images_per_core"].startswith("measured here")
    assert told["cache"] == ""


def test_gpus_are_counted_where_their_plugin_lacks_and_a_line_says_how_to_compile(command, monkeypatch):
    monkeypatch.setattr(compilers.importlib.util, "find_spec", lambda name: None)
    facts = dataclasses.replace(compiled_facts("vfs_r18_fine-smoke-h100-4"), how="counted")
    monkeypatch.setattr(training, "count_program", lambda trace, **about: facts)
    status, out, err = command(plan, CONFIG, "--topology=h100:2x2", "--images_per_core=1000")
    assert status == 0
    assert "[counted]" in out
    assert "sbatch --nodes=2 --ntasks-per-node=2 --gpus-per-node=2 launch/slurm.sbatch vfs-train" in out
    assert err.count("\n") == 1
    assert "pip install 'vfs_jax[cuda]'" in err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--topology=v9:2x2"], "--topology=v9:2x2: no such topology; there are v4:2x2x1"),
        (["--topology=v5e:2x2"], "pip install 'vfs_jax[plan]'"),
        (["--topology=v5e:4x4", "--fast"], "--config.batch_size=4: must be a multiple of 16 devices"),
        (["--topology=h100:2", "--images_per_core=0"], "--images_per_core=0: must be a number above 0"),
        (["--topology=h100:2", "--images_per_core=nan"], "--images_per_core=nan: must be a number above 0"),
        (
            ["--topology=h100:2", "--fast", "--config.depth=7"],
            "--config.depth=7: there is no such ResNet; choose among",
        ),
        (["--topology=h100:2", "--fast", "--config.segments=3"], "--config.segments=3: must be even"),
        (["--topology=h100:2", "--fast", "--config.data=nowhere"], "nowhere"),
        (["--topology=h100:2", "--fast", "--json=nowhere/plan.json"], "nowhere is no folder"),
        (["--topology=h100:2", "--frame=480"], "--frame=480: write HEIGHTxWIDTH"),
        (["--topology=h100:2", "more"], "more: vfs-plan takes no arguments"),
    ],
)
def test_what_cannot_be_planned_is_one_line(command, monkeypatch, flags, message):
    monkeypatch.setattr(compilers.importlib.util, "find_spec", lambda name: None)
    config = CONFIG.replace("vfs_r18_fine.py", "davis.py") if "--frame=480" in flags else CONFIG
    status, out, err = command(plan, config, *flags)
    assert (status, out) == (1, "")
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.slow
def test_a_program_that_does_not_fit_says_by_how_much(command, monkeypatch, tmp_path, recorded_compiler):
    # What libtpu 0.0.42 said of 65,536 clips in place of 4.
    said = (
        "RESOURCE_EXHAUSTED: Ran out of memory on HBM, the total memory required for HLO temporaries (46.17G) exceeds "
        "available HBM (15.75G)."
    )
    facts = compilers._too_large(said, 1e12, 5.0)
    monkeypatch.setattr(training, "compile_program", lambda lowered, **about: facts)
    file = tmp_path / "plan.json"
    status, out, _ = command(plan, CONFIG, "--topology=v5e:2x2", f"--json={file}", "--images_per_core=1000")
    told = json.loads(file.read_text())
    assert (status, told["fits"], told["memory_bytes"]) == (0, False, int(46.17 * 2**30))
    assert "NO: 46.17 GiB of 15.75 a chip, 30.42 too much" in out
    assert "exceeds available HBM (15.75G)" in out
    assert "raise accumulate" in out


@pytest.mark.parametrize("config", ["siamfc.py", "otb.py"])
def test_other_configs_are_refused_in_one_line(command, config):
    status, out, err = command(plan, CONFIG.replace("vfs_r18_fine.py:smoke", config), "--topology=h100:1")
    assert (status, out) == (1, "")
    assert "neither trains VFS nor propagates labels" in err
    assert err.count("\n") == 1


@pytest.mark.slow
def test_label_propagation_is_planned_for_one_size_of_frames(command):
    config = CONFIG.replace("vfs_r18_fine.py", "davis.py")
    status, out, err = command(plan, config, "--topology=v6e:2x2", "--fast", "--frame=64x96", "--json=-")
    assert (status, err) == (0, "")
    told = json.loads(out)
    assert set(told) >= KEYS
    assert told["frame"] == [64, 96]
    assert told["grid"] == [15, 23]  # of 120x180 pixels
    assert told["sources"]["memory_bytes"] == "counted"
    status, out, _ = command(plan, config, "--topology=v6e:2x2", "--fast", "--frame=64x96")
    for start in ("fits ", "in flight ", "operations ", "memory ", "frame ", "input "):
        assert sum(line.startswith(start) for line in out.splitlines()) == 1, out


@pytest.mark.long
def test_the_step_is_compiled_for_tpus_that_are_not_there(command):
    if importlib.util.find_spec("libtpu") is None:
        pytest.skip("libtpu is not installed: launch/test.sh --all installs it")
    flags = [CONFIG, "--topology=v5e:2x2", "--config.dtype=bfloat16", "--images_per_core=1000", "--json=-"]
    status, out, err = command(plan, *flags)
    assert status == 0, err
    told = json.loads(out)
    was = recorded("vfs_r18_fine-smoke-v5e-2x2")
    assert told["fits"] is True
    assert set(told["collectives"]) == {"all-reduce"}  # no gather, no all-to-all
    assert told["sources"]["collectives"] == "compiled"
    # Another version of the compiler may need a little more or less than the recorded one.
    assert told["collectives"]["all-reduce"] == pytest.approx(50, abs=10)
    assert told["memory_parts"]["work space"] == pytest.approx(was["memory"]["temp"], rel=0.5)
    status, again, err = command(plan, *flags)
    assert (status, json.loads(again), err) == (0, told, "")
