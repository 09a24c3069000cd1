"""The tracker's benchmark runs, at toy size."""

import json

import pytest
import torch
import tracking


@pytest.mark.long
def test_benchmark_runs(capsys):
    threads = torch.get_num_threads()
    found = tracking.main(["--frames=1", "--rounds=1"])
    torch.set_num_threads(threads)
    assert found["ratio"] == pytest.approx(found["torch"] / found["ours"])
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == found
