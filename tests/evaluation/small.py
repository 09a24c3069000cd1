"""Small made-up inputs of evaluations: weights that compile nothing, and a data set of the DAVIS layout."""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from vfs_jax.data.images import write_index_mask
from vfs_jax.evaluation.encoders import Encoder
from vfs_jax.evaluation.propagation.padding import Layout, Size
from vfs_jax.models import VFS, ResNet
from vfs_jax.models.resnet import Variables


class FixedGrid(Encoder):
    """An encoder whose features have one grid, whatever the size of its frames; for tests that have them already."""

    def __init__(self, grid: Size):
        """Take the rows and columns."""
        self.grid = grid

    def grid_size(self, height: int, width: int, output: str) -> Size:
        """Give the grid."""
        return self.grid

    def __call__(self, *arguments: object, **options: object) -> dict[str, jax.Array]:
        """Never called."""
        raise NotImplementedError


def layout_on(grid: Size, size: Size) -> Layout:
    """The layout of frames of a size that are encoded as they are, with features of a grid."""
    return Layout(size, size, size, size, FixedGrid(grid))


@functools.cache
def shapes(heads: bool = False) -> Variables:
    """The shapes of a ResNet-18's variables, or of a whole VFS network's."""
    network: VFS | ResNet = VFS(18) if heads else ResNet(18)
    size = (1, 2, 1, 32, 32, 3) if heads else (1, 32, 32, 3)
    return jax.eval_shape(lambda: network.init(jax.random.key(0), jnp.zeros(size, jnp.float32)))


def draw_variables(seed: int = 0, heads: bool = False) -> Variables:
    """A ResNet-18, or a whole VFS network on one, with random numbers drawn by NumPy."""
    rng = np.random.default_rng(seed)

    def draw(path: tuple[jax.tree_util.DictKey, ...], leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        name = path[-1].key
        if name == "kernel":
            return rng.normal(0, np.sqrt(2 / np.prod(leaf.shape[:-1])), leaf.shape).astype(np.float32)
        return {"scale": np.ones, "var": np.ones}.get(name, np.zeros)(leaf.shape, np.float32)

    return jax.tree.map_with_path(draw, shapes(heads))


def write_davis(root: Path) -> Path:
    """Two sequences of four frames of 64x96, a textured square that moves, in the layout of DAVIS 2017."""
    rng = np.random.default_rng(0)
    for name in ("ant", "bee"):
        frames, masks = (root / kind / "480p" / name for kind in ("JPEGImages", "Annotations"))
        frames.mkdir(parents=True)
        masks.mkdir(parents=True)
        ground = rng.integers(0, 120, (64, 96, 3), dtype=np.uint8)
        square = rng.integers(130, 255, (24, 32, 3), dtype=np.uint8)
        for t in range(4):
            image, mask = ground.copy(), np.zeros((64, 96), np.uint8)
            image[10 + t : 34 + t, 20 + 2 * t : 52 + 2 * t] = square
            mask[10 + t : 34 + t, 20 + 2 * t : 52 + 2 * t] = 1
            Image.fromarray(image).save(frames / f"{t:05d}.jpg", quality=95)
            write_index_mask(masks / f"{t:05d}.png", mask)
    (root / "ImageSets/2017").mkdir(parents=True)
    (root / "ImageSets/2017/val.txt").write_text("ant\nbee\n")
    return root
