"""Every config takes its variants in one way, and says what is its own."""

import dataclasses
import importlib
from pathlib import Path

import pytest

from vfs_jax.configs import davis, vfs_r18_fine
from vfs_jax.evaluation.propagation.settings import Settings
from vfs_jax.evaluation.protocols import PROTOCOLS

NAMES = sorted(path.stem for path in (Path(__file__).parents[1] / "configs").glob("[!_]*.py") if path.stem != "common")
PROPAGATION = ("davis", "jhmdb", "tapvid", "vip", "youtube_vos")
BOXES = ("got10k", "lasot", "otb", "uav123")


def get(name, variants=""):
    return importlib.import_module(f"vfs_jax.configs.{name}").get_config(variants)


@pytest.mark.parametrize("name", NAMES)
def test_variants_are_a_list(name):
    plain, smoke = get(name).to_dict(), get(name, "smoke").to_dict()
    assert plain != smoke
    assert plain.keys() == smoke.keys()
    assert get(name, "smoke, ,smoke,").to_dict() == smoke
    with pytest.raises(ValueError, match=r"^no variant 'smok'; there are .*smoke") as error:
        get(name, "smoke,smok")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", [*PROPAGATION, *BOXES, "siamfc", "quickstart"])
def test_depths_join_other_variants(name):
    module = importlib.import_module(f"vfs_jax.configs.{name}")
    assert get(name).to_dict() == get(name, "r18").to_dict()
    both, smoke = get(name, "r50,smoke"), get(name, "smoke")
    assert (both.depth, smoke.depth) == (50, 18)
    differing = {key for key in smoke if both[key] != smoke[key]}
    assert differing == {"depth"}
    for variant in module.VARIANTS:
        assert variant in module.__doc__.partition("Variants, comma-separated:")[2], variant


def test_the_later_variant_wins():
    assert davis.get_config("r50,crw,dino").protocol == "dino"
    assert davis.get_config("dino,r50,crw").protocol == "crw"
    assert davis.get_config("r50,dino").depth == 50


def test_shared_settings_are_the_librarys():
    """Every setting is a field that is left to the protocol, but for what no protocol decides."""
    free = {"dtype", "precision", "batch_frames"}
    for name in PROPAGATION:
        config = get(name)
        assert config.protocol == "vfs"
        for field in dataclasses.fields(Settings):
            assert config[field.name] == (field.default if field.name in free else None)


def test_variants_name_every_protocol():
    assert {"vfs", *davis.PROTOCOLS} == {*PROTOCOLS["davis"]}


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("vfs_r18_negatives", {"negatives": "batch"}),
        ("vfs_r18_queue", {"negatives": "queue"}),
        ("vfs_r18_one_way", {"symmetric": False}),
        ("vfs_r18_two_frames", {"segments": 2}),
    ],
)
@pytest.mark.parametrize("variants", ["", "smoke"])
def test_an_ablation_changes_one_thing(name, change, variants):
    assert get(name, variants).to_dict() == vfs_r18_fine.get_config(variants).to_dict() | change


@pytest.mark.parametrize("depth", [18, 50])
def test_object_recipes_add_colors(depth):
    fine, object_ = (get(f"vfs_r{depth}_{kind}").to_dict() for kind in ("fine", "object"))
    colors = object_.pop("color_augmentation")
    assert colors["jitter"] == (0.4, 0.4, 0.4, 0.1)
    assert object_ == fine | {"color": True}


def test_what_one_run_changes_does_not_reach_the_next():
    get("otb").tracker.update(exemplar_size=1)
    get("vfs_r18_object").color_augmentation.update(jitter=(0, 0, 0, 0))
    assert get("otb").tracker.exemplar_size == 120
    assert get("siamfc").pairs.exemplar_size == 120
    assert get("vfs_r18_object").color_augmentation.jitter[0] == 0.4
