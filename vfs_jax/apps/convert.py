"""Converts weights: PyTorch files to other layouts and to checkpoints, checkpoints to PyTorch files.

  vfs-convert SOURCE DESTINATION.pth [--layout=vfs|torchvision|siamfc]
  vfs-convert SOURCE.pth DESTINATION

SOURCE is a .pth file (VFS, SiamFC, torchvision, MoCo, SimSiam, DINO), the workdir of a training run (its newest
checkpoint) or one of its checkpoints (WORKDIR/checkpoints/STEP). A DESTINATION that ends in .pth or .pt becomes a
PyTorch file, any other one a folder with a checkpoint, which --config.weights takes as it takes a workdir.

The layouts: vfs has the release's names, with projector and predictor where SOURCE has them; torchvision has the
backbone alone; siamfc backbone and tracking head. Without --layout it is siamfc for a source with a tracking head, else
vfs. A checkpoint holds what SOURCE has: a backbone alone where there are no heads.
"""

from pathlib import Path
from typing import cast

from absl import flags

from vfs_jax.apps import cli
from vfs_jax.errors import InputError
from vfs_jax.models import depth_of, save_torch
from vfs_jax.models.resnet import Variables
from vfs_jax.models.weights.torch_files import Layout, load_whole

FLAGS = flags.FlagValues()
_LAYOUT = flags.DEFINE_enum(
    "layout", None, ["vfs", "torchvision", "siamfc"], "names in the written file", flag_values=FLAGS
)


def run(arguments: list[str]) -> None:
    """Convert as the arguments and flags say."""
    if len(arguments) != 2 or not all(arguments):
        raise InputError(f"{len(list(filter(None, arguments)))} arguments: give SOURCE and DESTINATION")
    source, destination = map(Path, arguments)
    to_file = destination.suffix in (".pth", ".pt")
    if not to_file and source.is_dir():
        raise InputError(f"{source}: is a checkpoint already; name a .pth file to write, not {destination}")
    if not to_file and _LAYOUT.value:
        raise InputError(f"{destination}: --layout is for .pth files; leave it out, or name a .pth file")
    variables = _load(source)
    heads = set(variables["params"]) & {"projector", "predictor", "head"}
    print(f"converting {source}: ResNet-{depth_of(variables)}, heads: {', '.join(sorted(heads)) or 'none'}")
    if not to_file:
        # Imported here: checkpoints bring Orbax along, which .pth files need not wait for.
        from vfs_jax.models.weights.checkpoints import save_variables

        save_variables(variables, destination)
        print(f"wrote {destination}, a folder with a checkpoint; use it as --config.weights={destination}")
        return
    layout = cast(Layout, _LAYOUT.value or ("siamfc" if "head" in heads else "vfs"))
    if layout == "siamfc" and "head" not in heads:
        raise InputError(f"{source}: has no tracking head; choose --layout=vfs or --layout=torchvision")
    save_torch(variables, destination, layout)
    print(f"wrote {destination} in layout {layout}")


def _load(source: Path) -> Variables:
    if source.is_dir():
        from vfs_jax.models.weights.checkpoints import load_variables

        return load_variables(source)
    return load_whole(source)


def main() -> None:
    """Run the command."""
    cli.main(run, FLAGS, __doc__)


if __name__ == "__main__":
    main()
