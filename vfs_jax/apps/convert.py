"""Converts weights: PyTorch files to other layouts, training checkpoints to PyTorch files.

  vfs-convert SOURCE DESTINATION.pth [--layout=vfs|torchvision|siamfc]

SOURCE is a .pth file (VFS, SiamFC, torchvision, MoCo, SimSiam, DINO), the workdir of a training run (its newest
checkpoint) or one of its checkpoints (WORKDIR/checkpoints/STEP). The layouts: vfs has the release's names, with
projector and predictor where SOURCE has them; torchvision has the backbone alone; siamfc backbone and tracking head.
Without --layout it is siamfc for a source with a tracking head, else vfs.
"""

from pathlib import Path
from typing import cast

from absl import flags

from vfs_jax.apps import cli
from vfs_jax.errors import InputError
from vfs_jax.models import depth_of, load_torch, save_torch
from vfs_jax.models.resnet import Variables
from vfs_jax.models.torch_weights import Layout, part_of

FLAGS = flags.FlagValues()
_LAYOUT = flags.DEFINE_enum(
    "layout", None, ["vfs", "torchvision", "siamfc"], "names in the written file", flag_values=FLAGS
)


def run(arguments: list[str]) -> None:
    """Converts as the arguments and flags say."""
    if len(arguments) != 2:
        raise InputError(f"{len(arguments)} arguments: give SOURCE and DESTINATION")
    source, destination = map(Path, arguments)
    if destination.suffix not in (".pth", ".pt"):
        raise InputError(f"{destination}: name a .pth file to write")
    variables = _load(source)
    heads = set(variables["params"]) & {"projector", "predictor", "head"}
    layout = cast(Layout, _LAYOUT.value or ("siamfc" if "head" in heads else "vfs"))
    if layout == "siamfc" and "head" not in heads:
        raise InputError(f"{source}: has no tracking head; choose --layout=vfs or --layout=torchvision")
    print(f"converting {source}: ResNet-{depth_of(variables)}, heads: {', '.join(sorted(heads)) or 'none'}")
    save_torch(variables, destination, layout)
    print(f"wrote {destination} in layout {layout}")


def _load(source: Path) -> Variables:
    if source.is_dir():
        # Imported here: checkpoints bring Orbax along, which .pth files need not wait for.
        from vfs_jax.training.checkpoints import load_variables

        return load_variables(source)
    return load_torch(source, part_of(source))


def main() -> None:
    """The console script."""
    cli.main(run, FLAGS, __doc__)


if __name__ == "__main__":
    main()
