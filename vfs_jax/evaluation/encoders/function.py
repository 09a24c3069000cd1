"""A function of any framework as an encoder."""

import dataclasses
import threading
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array

from vfs_jax.errors import InputError
from vfs_jax.evaluation.encoders.base import IMAGENET, Colors, Encoder, Precision, check_grid


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
            check_grid(grid, (height, width), f"encoder={self.source}: gives features", "[b, rows, columns, c]")
            self._grids[height, width] = grid
        return self._grids[height, width]

    def __call__(
        self,
        frames: np.ndarray,
        numbers: Sequence[int],
        *,
        outputs: tuple[str, ...],
        dtype: DTypeLike,
        precision: Precision,
        colors: Colors = IMAGENET,
        size: tuple[int, int] | None = None,
    ) -> dict[str, Array]:
        """Encode a batch of frames, see `Encoder`."""
        del numbers, precision, colors, size
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
    """Take over an array of any framework as a copy that is made before this returns: its owner may write into it."""
    if not isinstance(array, np.ndarray | jax.Array):
        if hasattr(array, "detach"):
            array = array.detach().contiguous()
        if hasattr(array, "__dlpack__"):
            array = jax.dlpack.from_dlpack(array)  # `copy=True` would copy later, or on a CPU not at all
        else:
            array = np.asarray(array.numpy() if hasattr(array, "numpy") else array)
    return jax.block_until_ready(jnp.array(array))
