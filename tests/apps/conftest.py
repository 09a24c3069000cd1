"""Commands, called as from a shell but in this process."""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs a command's module and returns (exit status, what it printed, what it printed to stderr)."""

    def call(app: ModuleType, *arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", [app.__name__.rpartition(".")[2], *map(str, arguments)])
        importlib.reload(app)  # flags start from their defaults, as in a new process
        with pytest.raises(SystemExit) as exit_:
            app.main()
        assert isinstance(exit_.value.code, int)
        return exit_.value.code, *capsys.readouterr()

    return call
