"""Logs: each step once, whatever was killed; the progress line says what it should."""

import io
import json

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from vfs_jax.training.logs import Progress, RunLog

NUMBERS = {
    **{"loss": 1.5, "learning_rate": 0.05, "embedding_std": 0.9},
    **{"steps_per_second": 2.0, "clips_per_second": 8.0},
    **{"device_idle": 0.25, "idle_for_records": 0.125, "idle_for_transfer": 0.0625, "idle_for_host": 0.0625},
}


def steps_in(path):
    return [json.loads(line)["step"] for line in path.read_text().splitlines()]


def test_a_continued_run_holds_each_step_once(tmp_path):
    log = RunLog(tmp_path, start_step=0)
    for step in range(1, 8):
        log.metrics(step, NUMBERS)
    log.evaluation(5, {"J&F-Mean": 0.5})
    log.evaluation(7, {"J&F-Mean": 0.6})
    log.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 8, "lo')  # killed in the middle of a line
    log = RunLog(tmp_path, start_step=5)
    assert log.evaluated == {5}
    for step in range(6, 10):
        log.metrics(step, NUMBERS | {"loss": 1.0})
    log.close()
    assert steps_in(tmp_path / "metrics.jsonl") == list(range(1, 10))
    assert json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[-1]) == {"step": 9, **NUMBERS, "loss": 1.0}
    assert steps_in(tmp_path / "evaluation.jsonl") == [5]


def test_lines_are_valid_json(tmp_path):
    log = RunLog(tmp_path, start_step=0)
    log.metrics(1, {"loss": float("nan"), "gradient_norm": float("inf"), "learning_rate": 0.5})
    log.evaluation(1, {"J-Mean": float("nan")})
    log.close()

    def refuse(name):
        raise AssertionError(f"{name} is no JSON")

    for file, numbers in (
        ("metrics", {"loss": None, "gradient_norm": None, "learning_rate": 0.5}),
        ("evaluation", {"J-Mean": None}),
    ):
        text = (tmp_path / f"{file}.jsonl").read_text()
        assert json.loads(text, parse_constant=refuse) == {"step": 1, **numbers}


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(b'{"step": 3, "lo', id="cut"),
        pytest.param(bytes(100), id="zeros"),
        pytest.param(bytes(100) + b"\n", id="a line of zeros"),
        pytest.param(b"\xff\xfe\n", id="no text"),
        pytest.param(b"[]\n\n{}\n", id="other JSON"),
    ],
)
def test_damaged_lines_are_dropped(tmp_path, damage):
    (tmp_path / "metrics.jsonl").write_bytes(b'{"step": 1}\n{"step": 2}\n' + damage)
    log = RunLog(tmp_path, start_step=2)
    log.metrics(3, NUMBERS)
    log.close()
    assert steps_in(tmp_path / "metrics.jsonl") == [1, 2, 3]


def curve(workdir, name):
    events = EventAccumulator(str(workdir / "tensorboard"))
    events.Reload()
    return [(event.step, event.value) for event in events.Scalars(name)]


def test_tensorboard_shows_the_same(tmp_path):
    log = RunLog(tmp_path, start_step=0)
    for step in (1, 2, 3):
        log.metrics(step, {"loss": step / 2})
    log.evaluation(2, {"J-Mean": 0.25})
    # Nothing is closed, as by a kill; the next run starts from an earlier step.
    assert curve(tmp_path, "loss") == [(1, 0.5), (2, 1.0), (3, 1.5)]
    assert curve(tmp_path, "evaluation/J-Mean") == [(2, 0.25)]
    again = RunLog(tmp_path, start_step=1)
    again.metrics(2, {"loss": 7.0})
    assert curve(tmp_path, "loss") == [(1, 0.5), (2, 7.0)]
    for each in (log, again):
        each.close()


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_is_one_line_on_a_terminal_and_lines_elsewhere():
    terminal, file = Terminal(), io.StringIO()
    for stream in (terminal, file):
        progress = Progress(10, unit="clips", detail="std {embedding_std:.2f}", stream=stream)
        for step in (1, 2, 10):
            progress.show(step, NUMBERS)
    assert terminal.getvalue().count("\r") == 3
    assert terminal.getvalue().count("\n") == 1
    lines = file.getvalue().splitlines()
    assert [line.split()[1] for line in lines] == ["1/10", "10/10"]  # the second came less than ten seconds later
    assert lines[0] == (
        "step 1/10  loss 1.5000  lr 5.00e-02  std 0.90  2 steps/s  8 clips/s  "
        "idle 25% (records 12%, transfer 6%, host 6%)  0m04s left"
    )
