"""The names that users call, listed by hand, and what their docstrings must tell."""

import doctest
import importlib
import inspect
import re

import pytest

PUBLIC = {
    "vfs_jax.correspondence": [
        "Memory",
        "affinity",
        "cross_correlate",
        "implementations",
        "propagate_frame",
        "propagate_next",
        "propagate_video",
        "start_memory",
        "top_matches",
    ],
    "vfs_jax.models": [
        "ResNet",
        "SiamFCHead",
        "VFS",
        "ViT",
        "backbone_of",
        "depth_of",
        "init_variables",
        "load_torch",
        "load_weights",
        "normalize_images",
        "save_torch",
    ],
    "vfs_jax.training": ["frame_similarity_loss"],
    "vfs_jax.evaluation": ["SiamFCTracker", "evaluate", "stream"],
    "vfs_jax.evaluation.metrics.davis": ["contour_accuracy", "region_similarity"],
}
NAMES = [(module, name) for module, names in PUBLIC.items() for name in names]
# Arguments and results that are arrays: jaxtyping's annotations name their axes.
ARRAY = re.compile(r"(Float|Int|Bool|UInt8|Shaped)\[")


@pytest.mark.parametrize("module", [name for name in PUBLIC if "metrics" not in name])
def test_a_package_exports_these_names_and_no_others(module: str):
    assert sorted(importlib.import_module(module).__all__) == sorted(PUBLIC[module])


@pytest.mark.parametrize(("module", "name"), NAMES)
def test_docstrings_tell_what_a_caller_needs(module: str, name: str):
    thing = getattr(importlib.import_module(module), name)
    text = inspect.getdoc(thing) or ""
    first, _, rest = text.partition("\n")
    assert first.endswith("."), f"the first line is no sentence: {first!r}"
    assert rest.startswith("\n"), "a blank line follows the first line"
    is_class = inspect.isclass(thing)
    if is_class:
        assert re.search(r"^(Args|Attributes):$", text, re.M)
        return
    assert re.match(r"[A-Z][a-z]+ ", first), "imperative first word"
    sections = re.split(r"^(Args|Returns|Yields|Raises|Example):$", text, flags=re.M)
    told = dict(zip(sections[1::2], sections[2::2], strict=True))
    for argument, about in inspect.signature(thing).parameters.items():
        entry = re.search(rf"^    \**{argument}: (.*(?:\n {{8}}.*)*)", told["Args"], re.M)
        assert entry, f"{argument} is not told"
        if ARRAY.search(str(about.annotation)) and "(x, y)" not in entry[1]:
            assert "[" in entry[1], f"{argument}: no shape"
    if inspect.signature(thing).return_annotation not in (None, "None"):
        assert "Returns" in told or "Yields" in told
    assert "Raises" in told or "raise " not in inspect.getsource(inspect.unwrap(thing)), "what it raises"


@pytest.mark.parametrize(("module", "name"), NAMES)
def test_every_public_name_has_an_example(module: str, name: str):
    """Pytest runs the examples of all docstrings; here it is that there is one."""
    thing = getattr(importlib.import_module(module), name)
    places = [thing, *(vars(thing).values() if inspect.isclass(thing) else ())]
    assert any(doctest.DocTestParser().get_examples(inspect.getdoc(place) or "") for place in places if callable(place))
