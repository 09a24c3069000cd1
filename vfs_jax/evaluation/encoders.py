"""Encoders turn frames into feature maps: our networks, a function of yours, and features that lie on disk."""

import abc
import dataclasses
import functools
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import cv2
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array

from vfs_jax.errors import InputError
from vfs_jax.models import ResNet, depth_of, normalize_images
from vfs_jax.models.resnet import IMAGE_MEAN, IMAGE_STD, ResidualBlock, Variables
from vfs_jax.models.weights import Network

Colors = tuple[tuple[float, float, float], tuple[float, float, float]]  # mean and standard deviation of RGB, 0..255
IMAGENET: Colors = IMAGE_MEAN, IMAGE_STD
_LAB: Colors = (50.0, 0.0, 0.0), (50.0, 127.0, 127.0)  # Spa-then-Temp's, vcl/datasets/pipelines/augmentation.py
# Of the stages res2..res5: res3, res4 and res5 all lie at an eighth of the image's size.
STRIDES = (1, 2, 1, 1)


class Encoder(abc.ABC):
    """What gives the features of a video's frames."""

    @property
    def multiple(self) -> int:
        """The sides of frames must be multiples of it, in pixels."""
        return 1

    @property
    def paddable(self) -> bool:
        """Whether frames may fill a part of a canvas, see `__call__`."""
        return False

    @property
    def parameters(self) -> int | None:
        """How many the network has; None where that is not known."""
        return None

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of all feature maps that it can give."""
        return self.blocks

    @property
    def blocks(self) -> tuple[str, ...]:
        """Names of those that its layers give one after the other."""
        return (self.default_output,)

    @property
    def default_output(self) -> str:
        """Name of the one that labels are propagated by where nothing else is said."""
        return "features"

    def of_sequence(self, name: str) -> "Encoder":
        """Return the encoder of the frames of one sequence."""
        del name
        return self

    def on_device(self) -> "Encoder":
        """Return the same with what it computes by on JAX's default device."""
        return self

    @abc.abstractmethod
    def grid_size(self, height: int, width: int, output: str) -> tuple[int, int]:
        """Give the rows and columns of the features of frames of a size."""

    @abc.abstractmethod
    def __call__(
        self,
        frames: np.ndarray,
        numbers: Sequence[int],
        *,
        outputs: tuple[str, ...],
        dtype: DTypeLike,
        colors: Colors = IMAGENET,
        size: tuple[int, int] | None = None,
    ) -> dict[str, Array]:
        """Encode a batch of frames of one size.

        Frames of a smaller size may fill the top left part of a canvas. Their features are then those of the frames
        alone, with zeros in the padding, and frames of all sizes share the canvas's compiled program.

        Args:
            frames: RGB [b, h, w, 3], uint8, or float32 0..255 where frames were resized as floats.
            numbers: of the frames in their sequence, [b].
            outputs: feature maps that are wanted, by name.
            dtype: of computation and features.
            colors: constants by which networks scale the colors of frames.
            size: height and width of the part that the frames fill; all of it where None.

        Returns:
            {output: [b, rows, columns, c]}, on the device.
        """


@dataclasses.dataclass(frozen=True)
class NamedEncoder:
    """An encoder with the name of its runs.

    Attributes:
        name: short, fit for a folder.
        source: the string that named it.
        encoder: itself.
        about: what it is, for reports, and for claims of folders: another one may not go on with its results.
    """

    name: str
    source: str
    encoder: Encoder
    about: Mapping[str, str | int | bool | None]


@dataclasses.dataclass(frozen=True)
class NetworkEncoder(Encoder):
    """One of our networks with its variables.

    Attributes:
        network: with the strides that it is evaluated at, see `of_network`.
        variables: of the network.
    """

    network: Network
    variables: Variables

    @property
    def multiple(self) -> int:
        """The patch of a vision transformer, 1 of a ResNet."""
        return self.network.multiple

    @property
    def paddable(self) -> bool:
        """Whether all layers see zeros beyond the frame, and nothing looks at the whole of it."""
        return isinstance(self.network, ResNet) and self.network.family == "resnet"

    @property
    def parameters(self) -> int:
        """Count the network's parameters."""
        return sum(leaf.size for leaf in jax.tree.leaves(self.variables["params"]))

    @property
    def outputs(self) -> tuple[str, ...]:
        """Name the network's stages, blocks, final norm."""
        return self.network.output_names

    @property
    def blocks(self) -> tuple[str, ...]:
        """Name the network's blocks."""
        return self.network.block_names

    @property
    def default_output(self) -> str:
        """The output that those who published the network take."""
        return self.network.default_output

    def on_device(self) -> Self:
        """Return the same with its variables on JAX's default device."""
        # Free to move, as labels are: a step whose arguments are bound to a device at one frame and not at another
        # would be compiled twice.
        variables = jax.tree.map(lambda leaf: jax.device_put(np.asarray(leaf)), self.variables)
        return dataclasses.replace(self, variables=variables)

    def grid_size(self, height: int, width: int, output: str) -> tuple[int, int]:
        """Give the rows and columns of the features of frames of a size.

        >>> encoder = of_network(ResNet(18), {})
        >>> encoder.grid_size(480, 854, "res4"), encoder.grid_size(480, 854, "res2.1")
        ((60, 107), (120, 214))
        """
        stride = self.network.stride_of(output)
        return -(-height // stride), -(-width // stride)

    def __call__(
        self,
        frames: np.ndarray,
        numbers: Sequence[int],
        *,
        outputs: tuple[str, ...],
        dtype: DTypeLike,
        colors: Colors = IMAGENET,
        size: tuple[int, int] | None = None,
    ) -> dict[str, Array]:
        """Encode a batch of frames, see `Encoder`."""
        del numbers
        if self.network.color == "lab":
            frames, colors = np.stack([to_lab(frame) for frame in frames]), _LAB
        part = None if size is None else np.array(size, np.int32)
        network = self.network.clone(outputs=outputs, dtype=dtype)
        return _encode(self.variables, frames, part, network=network, colors=colors)


def of_network(network: Network, variables: Variables) -> NetworkEncoder:
    """Make the encoder of a network as `load_weights` gives it: a ResNet gets the strides of evaluation."""
    if isinstance(network, ResNet) and network.family == "resnet":
        network = network.clone(strides=STRIDES)
    return NetworkEncoder(network, variables)


def to_lab(frame: np.ndarray) -> np.ndarray:
    """Convert RGB [h, w, 3], 0..255, to Lab float32 (L 0..100) as OpenCV does on floats."""
    return cv2.cvtColor(frame.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)


@functools.partial(jax.jit, static_argnames=("network", "colors"))
def _encode(
    variables: Variables, frames: Array, size: Array | None, *, network: Network, colors: Colors
) -> dict[str, Array]:
    images = normalize_images(frames, *colors)
    if size is None:
        features = network.apply(variables, images)
    else:
        # Whatever looks at neighbors finds zeros beyond the frame, which is what it pads with where there is no canvas:
        # what comes out of every BatchNorm is cut to the frame, and so is what goes into every block (out of the stem's
        # pooling).
        cut = functools.partial(_cut, size, images.shape[1:3])

        def cut_layers(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
            if isinstance(context.module, ResidualBlock):
                return call(cut(args[0]), *args[1:], **kwargs)
            return cut(call(*args, **kwargs)) if isinstance(context.module, nn.BatchNorm) else call(*args, **kwargs)

        with nn.intercept_methods(cut_layers):
            features = jax.tree.map(cut, network.apply(variables, cut(images)))
    assert isinstance(features, dict)  # apply returns a pair only where collections are mutable
    return features


def _cut(size: Array, canvas: tuple[int, ...], array: Array) -> Array:
    """Set to 0 what lies beyond the frame in a layer [b, rows, cols, c] of a canvas."""

    def within(side: Array, full: int, at: int) -> Array:
        while full > at:  # each stride of 2 rounds up
            full, side = -(-full // 2), -(-side // 2)
        return jnp.arange(at) < side

    rows, cols = (within(*sides) for sides in zip(size, canvas, array.shape[1:3], strict=True))
    return jnp.where(rows[:, None, None] & cols[None, :, None], array, jnp.zeros_like(array))


@dataclasses.dataclass(frozen=True)
class FunctionEncoder(Encoder):
    """A function of any framework: RGB uint8 [b, h, w, 3] -> features [b, rows, columns, c].

    The grid is what comes out of it. Its calls come one at a time, whatever the number of devices.

    Attributes:
        function: gives a NumPy, JAX or PyTorch array of any float. It may have `multiple`: the sides of its frames must
            be multiples of that.
        source: what names it in messages.
    """

    function: Callable[[np.ndarray], Any]
    source: str
    _lock: threading.Lock = dataclasses.field(default_factory=threading.Lock, repr=False, compare=False)
    _grids: dict[tuple[int, int], tuple[int, int]] = dataclasses.field(default_factory=dict, repr=False, compare=False)

    @property
    def multiple(self) -> int:
        """The function's own attribute of that name, 1 where it has none."""
        return int(getattr(self.function, "multiple", 1))

    def grid_size(self, height: int, width: int, output: str) -> tuple[int, int]:
        """Give the rows and columns of what the function makes of a black frame of a size."""
        del output
        if (height, width) not in self._grids:
            features = self._call(np.zeros((1, height, width, 3), np.uint8))
            grid = features.shape[1], features.shape[2]
            _check_grid(grid, (height, width), f"encoder={self.source}: gives features", "[b, rows, columns, c]")
            self._grids[height, width] = grid
        return self._grids[height, width]

    def __call__(
        self,
        frames: np.ndarray,
        numbers: Sequence[int],
        *,
        outputs: tuple[str, ...],
        dtype: DTypeLike,
        colors: Colors = IMAGENET,
        size: tuple[int, int] | None = None,
    ) -> dict[str, Array]:
        """Encode a batch of frames, see `Encoder`."""
        del numbers, colors, size
        features = self._call(frames if frames.dtype == np.uint8 else np.rint(frames).clip(0, 255).astype(np.uint8))
        rows, cols = self.grid_size(frames.shape[1], frames.shape[2], "")
        if features.shape[:3] != (len(frames), rows, cols):
            raise InputError(
                f"encoder={self.source}: gave {list(features.shape)} for {len(frames)} frames and {rows}x{cols} cells "
                "for one of the same size; give [b, rows, columns, c], of the same grid for the same size"
            )
        return dict.fromkeys(outputs, features.astype(dtype))

    def _call(self, frames: np.ndarray) -> Array:
        """Call the function, and take over what it gives."""
        with self._lock:
            try:
                features = _to_jax(self.function(frames))
            except InputError:
                raise
            except Exception as error:
                place = traceback.extract_tb(error.__traceback__)[-1]
                reason = (str(error).strip() or "no message").splitlines()[0]
                raise InputError(
                    f"encoder={self.source}: raised {type(error).__name__} ({reason}) at "
                    f"{place.filename}:{place.lineno} for frames {list(frames.shape)} of {frames.dtype}"
                ) from error
        if features.ndim != 4 or not jnp.issubdtype(features.dtype, jnp.floating) or 0 in features.shape:
            raise InputError(
                f"encoder={self.source}: gives {features.dtype}{list(features.shape)} for frames {list(frames.shape)}; "
                "give floats [b, rows, columns, c]"
            )
        return features


def _to_jax(array: Any) -> Array:
    """Take over an array of any framework as a copy: its owner may write into it again."""
    if isinstance(array, np.ndarray | jax.Array):
        return jnp.array(array)
    if hasattr(array, "detach"):
        array = array.detach().contiguous()
    if hasattr(array, "__dlpack__"):
        return jax.dlpack.from_dlpack(array, copy=True)
    return jnp.array(np.asarray(array.numpy() if hasattr(array, "numpy") else array))


def _check_grid(grid: tuple[int, int], frame: tuple[int, int], what: str, form: str) -> None:
    """Raise InputError where a grid is nothing like its frame, as one of another order of axes is."""
    ratio = (grid[0] / grid[1]) / (frame[0] / frame[1])
    if min(grid) > 2 and not 0.5 < ratio < 2:
        raise InputError(f"{what} of {grid[0]}x{grid[1]} cells for frames of {frame[0]}x{frame[1]}; write {form}")


@dataclasses.dataclass(frozen=True)
class StoredFeatures(Encoder):
    """Features that lie on disk: FOLDER/SEQUENCE.npy [t, rows, columns, c] or FOLDER/SEQUENCE/00000.npy, 00001.npy ...

    Attributes:
        folder: of them.
        sequence: whose features are given, see `of_sequence`.
    """

    folder: Path
    sequence: str = ""

    def of_sequence(self, name: str) -> Self:
        """Return the features of one sequence."""
        return dataclasses.replace(self, sequence=name)

    def check(self, sequence: str, frames: int, size: tuple[int, int]) -> None:
        """Raise InputError where features of a sequence's frames (height, width) are missing or wrong."""
        own = self.of_sequence(sequence)
        own.grid_size(*size, "")
        for number in {*range(frames)} if not own._whole.is_file() else {frames - 1}:
            own._read(number, header=True)

    def grid_size(self, height: int, width: int, output: str) -> tuple[int, int]:
        """Give the rows and columns of the sequence's features, whatever the size of its frames."""
        del output
        rows, cols, _ = self._read(0, header=True).shape
        path = self._whole if self._whole.is_file() else self._single(0)
        _check_grid((rows, cols), (height, width), f"{path}: has features", "[t, rows, columns, c]")
        return rows, cols

    def __call__(
        self,
        frames: np.ndarray,
        numbers: Sequence[int],
        *,
        outputs: tuple[str, ...],
        dtype: DTypeLike,
        colors: Colors = IMAGENET,
        size: tuple[int, int] | None = None,
    ) -> dict[str, Array]:
        """Read the features of frames by their numbers, see `Encoder`."""
        del frames, colors, size
        arrays = [self._read(number) for number in numbers]
        if len({array.shape for array in arrays}) > 1 or arrays[0].shape != self._read(0, header=True).shape:
            shapes = sorted({array.shape for array in arrays})
            raise InputError(f"{self._single(numbers[0])}: the shapes of a sequence's features differ ({shapes})")
        return dict.fromkeys(outputs, jnp.asarray(np.stack(arrays)).astype(dtype))

    @property
    def _whole(self) -> Path:
        return self.folder / f"{self.sequence}.npy"

    def _single(self, number: int) -> Path:
        return self.folder / self.sequence / f"{number:05d}.npy"

    def _read(self, number: int, *, header: bool = False) -> np.ndarray:
        """Return the features of one frame [rows, columns, c], or an array of that shape that is not read from disk."""
        path = self._whole if self._whole.is_file() else self._single(number)
        if not path.is_file():
            there = f"{path.parent} holds no features of frame {number}" if path.parent.is_dir() else "no such features"
            raise InputError(f"{path}: {there}; write {self._whole.name} [t, rows, columns, c] or a file a frame")
        try:
            array = np.load(path, mmap_mode="r")
        except (ValueError, EOFError, OSError) as error:
            raise InputError(f"{path}: is no whole .npy file ({error}); write it again") from None
        if path == self._whole:
            if array.ndim != 4:
                raise InputError(f"{path}: is {list(array.shape)}; write floats [t, rows, columns, c]")
            if number >= len(array):
                raise InputError(f"{path}: holds {len(array)} frames, frame {number} is missing; write all of them")
            array = array[number]
        if array.ndim != 3 or not np.issubdtype(array.dtype, np.floating) or 0 in array.shape:
            raise InputError(f"{path}: is {array.dtype}{list(array.shape)} a frame; write floats [rows, columns, c]")
        return array if header else np.asarray(array, np.float32)


# What public functions take for an encoder.
AnyEncoder = Encoder | Callable[[np.ndarray], Any] | tuple[Network, Variables] | Variables


def as_encoder(given: AnyEncoder, source: str = "") -> Encoder:
    """Make an encoder of what a user gives.

    Args:
        given: a function RGB uint8 [b, h, w, 3] -> features [b, rows, columns, c], a network with its variables as
            `vfs_jax.models.load_weights` gives them, the variables of a ResNet, or an encoder already. A function may
            have `multiple`: the sides of its frames must be multiples of that.
        source: what messages call it; its own name where empty.

    Raises:
        InputError: it is none of these, or its multiple is no number of pixels.
    """
    if isinstance(given, Encoder):
        return given
    if isinstance(given, tuple):
        return of_network(*given)
    if isinstance(given, Mapping):
        return of_network(ResNet(depth_of(given)), given)
    source = source or str(getattr(given, "name", "") or getattr(given, "__qualname__", "") or type(given).__name__)
    if not callable(given):
        raise InputError(f"encoder={source}: is a {type(given).__name__}, not a function")
    multiple = getattr(given, "multiple", 1)
    if not isinstance(multiple, int) or multiple < 1:
        raise InputError(f"encoder={source}: its multiple is {multiple!r}; give a positive whole number of pixels")
    return FunctionEncoder(given, source)
