"""Facts that a compiler told once: kept by program, topology and versions, and no plan fails for want of a place."""

import dataclasses

import pytest

from vfs_jax.planning.cache import cache_file, cache_folder, load_facts, save_facts
from vfs_jax.planning.facts import Collective, Facts

FACTS = Facts(
    how="compiled",
    argument_bytes=1,
    result_bytes=2,
    work_bytes=3,
    code_bytes=4,
    flops=5.0,
    flops_how="counted",
    bytes=6,
    collectives=(Collective("all-reduce", 7, 8),),
    compile_seconds=9.0,
)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_facts_come_back_as_they_were():
    path = cache_file("a program", "v5e:2x4", "libtpu 0.0.42.1", "vfs_r18_fine")
    assert path.parent == cache_folder()
    assert path.name.startswith("vfs_r18_fine-v5e-2x4-")
    assert load_facts(path) is None
    save_facts(path, FACTS)
    assert load_facts(path) == FACTS
    assert dataclasses.replace(FACTS, bytes=0) != load_facts(path)


def test_another_program_topology_or_version_is_another_file(monkeypatch):
    given = ("a program", "v5e:2x4", "libtpu 0.0.42.1", "name")
    files = {cache_file(*given)}
    for place, other in enumerate(("another", "v5e:4x4", "libtpu 0.0.43")):
        files.add(cache_file(*(other if place == at else value for at, value in enumerate(given))))
    monkeypatch.setattr("jax.__version__", "0.0.0")
    files.add(cache_file(*given))
    assert len(files) == 5


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"how": "compiled", "collectives": [{"nonsense": 1}]}'])
def test_what_cannot_be_read_is_compiled_anew(text):
    path = cache_file("a program", "v5e:2x4", "libtpu", "name")
    path.parent.mkdir(parents=True)
    path.write_text(text)
    assert load_facts(path) is None


def test_a_place_that_cannot_be_written_is_told_of_in_one_line(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    save_facts(cache_file("a program", "v5e:2x4", "libtpu", "name"), FACTS)
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1
    assert "not kept, so that the next plan compiles again" in printed
