"""Converts weights: files to other containers and layouts and to checkpoints, checkpoints to files.

  vfs-convert SOURCE DESTINATION.safetensors|.pth [--layout=vfs|torchvision|siamfc]
  vfs-convert SOURCE.safetensors|.pth DESTINATION

SOURCE is a file of any network that evaluations take (a ResNet, a vision transformer), the workdir of a training run
(its newest checkpoint) or one of its checkpoints (WORKDIR/checkpoints/STEP). A DESTINATION that ends in .safetensors,
.pth or .pt becomes a file, any other one a folder with a checkpoint, which --config.weights takes as it takes a
workdir. Checkpoints hold the ResNets that VFS trains alone.

The layouts are those of ResNets: vfs has the release's names, with projector and predictor where SOURCE has them;
torchvision has the backbone alone; siamfc backbone and tracking head. Without --layout it is siamfc for a source with a
tracking head, else vfs. Vision transformers are written under the names of the official files. A checkpoint holds what
SOURCE has: a backbone alone where there are no heads.
"""

from pathlib import Path
from typing import cast

from absl import flags

from vfs_jax.apps import cli
from vfs_jax.errors import InputError
from vfs_jax.models import save_torch
from vfs_jax.models.resnet import ResNet, Variables, depth_of
from vfs_jax.models.weights.architectures import resnet_of
from vfs_jax.models.weights.files import SUFFIXES
from vfs_jax.models.weights.load import Network, load_whole
from vfs_jax.models.weights.save import Layout

FLAGS = flags.FlagValues()
_LAYOUT = flags.DEFINE_enum(
    "layout", None, ["vfs", "torchvision", "siamfc"], "names in the written file", flag_values=FLAGS
)


def run(arguments: list[str]) -> None:
    """Convert as the arguments and flags say."""
    if len(arguments) != 2 or not all(arguments):
        raise InputError(f"{len(list(filter(None, arguments)))} arguments: give SOURCE and DESTINATION")
    source, destination = map(Path, arguments)
    to_file = destination.suffix in SUFFIXES
    if not to_file and source.is_dir():
        raise InputError(
            f"{source}: is a checkpoint already; name a .pth file to write, or .safetensors, not {destination}"
        )
    if not to_file and _LAYOUT.value:
        raise InputError(f"{destination}: --layout is for .pth files and .safetensors; leave it out, or name one")
    network, variables = _load(source)
    is_plain = isinstance(network, ResNet) and network.family == "resnet"
    heads = set(variables["params"]) & {"projector", "predictor", "head"}
    what = f"ResNet-{depth_of(variables)}, heads: {', '.join(sorted(heads)) or 'none'}" if is_plain else network.name
    print(f"converting {source}: {what}")
    if not to_file:
        if not is_plain:
            raise InputError(f"{source}: holds {network.name}, which no checkpoint holds; name a .safetensors file")
        # Imported here: checkpoints bring Orbax along, which files need not wait for.
        from vfs_jax.models.weights.checkpoints import save_variables

        save_variables(variables, destination)
        print(f"wrote {destination}, a folder with a checkpoint; use it as --config.weights={destination}")
        return
    if not isinstance(network, ResNet):
        if _LAYOUT.value:
            raise InputError(f"{source}: holds {network.name}; --layout is for ResNets, leave it out")
        save_torch(variables, destination)
        print(f"wrote {destination} under the official names")
        return
    # CRW's files have torchvision's names, Spa-then-Temp's those of VFS: by these they are told apart.
    own: dict[str, Layout] = {"crw": "torchvision", "spa_then_temp": "vfs"}
    layout = cast(Layout, _LAYOUT.value or own.get(network.family, "siamfc" if "head" in heads else "vfs"))
    if layout != own.get(network.family, layout):
        raise InputError(
            f"{source}: holds {network.name}, known by its layout {own[network.family]}; leave --layout out"
        )
    if layout == "siamfc" and "head" not in heads:
        raise InputError(f"{source}: has no tracking head; choose --layout=vfs or --layout=torchvision")
    save_torch(variables, destination, layout)
    print(f"wrote {destination} in layout {layout}")


def _load(source: Path) -> tuple[Network, Variables]:
    if source.is_dir():
        from vfs_jax.models.weights.checkpoints import load_variables

        variables = load_variables(source)
        return resnet_of("resnet", depth_of(variables)), variables
    return load_whole(source)


def main() -> None:
    """Run the command."""
    cli.main(run, FLAGS, __doc__)


if __name__ == "__main__":
    main()
