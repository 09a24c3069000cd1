"""A results folder belongs to one configuration."""

import json

import jax
import pytest

from vfs_jax.claims import claim_folder, with_versions
from vfs_jax.errors import InputError


def test_a_folder_belongs_to_one_configuration(tmp_path):
    config = {"a": 1, "nested": {"b": 2}, "often": 5, "pair": (1, 2)}
    claim_folder(tmp_path / "run", config, free=("often",))
    assert json.loads((tmp_path / "run/config.json").read_text()) == config | {"pair": [1, 2]}
    claim_folder(tmp_path / "run", config | {"often": 6}, free=("often",))
    assert json.loads((tmp_path / "run/config.json").read_text())["often"] == 6
    with pytest.raises(InputError, match=r"run: .*nested\.b: 2 there, 3 here"):
        claim_folder(tmp_path / "run", config | {"nested": {"b": 3}})
    assert json.loads((tmp_path / "run/config.json").read_text())["nested"]["b"] == 2
    (tmp_path / "run/config.json").write_text("{")
    with pytest.raises(InputError, match=r"config\.json: is not JSON"):
        claim_folder(tmp_path / "run", config)


def test_versions_and_device_are_told_and_may_differ(tmp_path):
    whole = with_versions({"a": 1})
    assert whole["versions"]["jax"] == jax.__version__
    claim_folder(tmp_path / "run", {**whole, "versions": {"jax": "0.1"}, "device": "another"})
    claim_folder(tmp_path / "run", whole)
    assert json.loads((tmp_path / "run/config.json").read_text()) == whole
