"""Commands, called as from a shell but in this process."""

import importlib
import sys

import pytest


@pytest.fixture
def command(monkeypatch, capsys):
    """Runs a command's module and returns (exit status, what it printed, what it printed to stderr)."""

    def call(app, *arguments):
        monkeypatch.setattr(sys, "argv", [app.__name__.rpartition(".")[2], *map(str, arguments)])
        importlib.reload(app)  # flags start from their defaults, as in a new process
        with pytest.raises(SystemExit) as exit_:
            app.main()
        return exit_.value.code, *capsys.readouterr()

    return call
