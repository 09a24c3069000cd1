"""Settings of label propagation, and the variants of them that share one pass of the network."""

import dataclasses
import functools
import itertools
import typing
from collections.abc import Sequence
from typing import Any, Literal

from vfs_jax.correspondence.coordinates import Nearest
from vfs_jax.errors import InputError
from vfs_jax.evaluation.encoders.base import Precision
from vfs_jax.models.resnet import is_bottleneck

# What is decided before the features are there; a variation of one of these would need another pass of the network.
_OF_FEATURES = (
    *("copies", "short_side", "long_side", "width", "square", "multiple", "rounding", "resize", "mean", "std"),
    *("dtype", "precision", "batch_frames", "rules"),
)

_POSITIVE = ("short_side", "long_side", "width", "multiple", "batch_frames", "topk", "temperature", "peaks")

Color = tuple[float, float, float]  # red, green, blue, 0..255
Resize = Literal["opencv", "opencv_float", "pillow"]
Enlarge = Literal["bilinear", "nearest", "opencv"]
MinMax = Literal["none", "epsilon", "constant_wins", "constant_loses"]


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of label propagation, all that a protocol decides; the defaults are VFS's for ResNet-18 on DAVIS.

    Attributes:
        copies: "HEIGHTxWIDTH" of the copies that take the place of frames and masks before anything else: nearest as
            Pillow computes it, frames saved as JPEG again (RSP); "none" for none.
        short_side: of the network's input in pixels, the aspect kept; None for what the next two say.
        long_side: likewise, where short_side is None; frames keep their size where both are None.
        width: of the network's input where its height is short_side, whatever the frame's aspect.
        square: whether height and width are both short_side, whatever the frame's aspect.
        multiple: the sides of the network's input are multiples of it; None for that of the encoder.
        rounding: how they become such: "nearest"; "up"; "down", of the side that short_side or long_side does not set.
        resize: of frames: "opencv" bilinear on bytes, "opencv_float" bilinear on floats, or "pillow" bicubic,
            antialiased, on bytes.
        mean: of the frames' colors, subtracted.
        std: by which the difference is divided.
        output: of the encoder.
        dtype: of the features.
        precision: to what devices that multiply faster so (GPUs, TPUs) may round the operands of the float32 products
            of our networks: "tensorfloat32", 10 bits of mantissa, as PyTorch's convolutions do, or "float32", not at
            all. CPUs round neither way, and propagation is float32 throughout.
        batch_frames: frames a call of the encoder.
        soft_first: whether first labels are one-hot at full size and then brought to the grid bilinearly (CRW), else
            nearest labels on the grid, one-hot.
        first_nearest: by whose nearest neighbor masks shrink.
        over_network: whether they go to the network's size before they go to the grid.
        transpose_square: whether the labels of a square frame lie on a grid whose sides are exchanged (DINO).
        radius: of the window, in grid cells; None for none. See `vfs_jax.correspondence.propagate_frame` for this and
            the following.
        window: its shape.
        topk: keys that take part.
        temperature: of the softmax over them.
        num_context: previous frames that serve as keys.
        first_frame_windowed: whether the window holds for frame 0 too.
        keep_first: whether frame 0 is a key throughout.
        fill_first: whether frame 0 stands in for the missing past.
        first_once: whether frame 0 is never one of the previous frames.
        ties: which of the keys with the topk-th score take part.
        enlarge: how soft labels grow from the grid: "bilinear" (half-pixel centers, as PyTorch), the same by "opencv"
            (on the CPU: its rounding decides where two labels are equal), or PyTorch's "nearest".
        read_at: the size at which the highest label is taken, "frame" or "network".
        min_max: whether and how a label's map is scaled to 0..1 over the frame before that, where its maximum is above
            0. "epsilon" adds 1e-12 to what is divided by. A constant map becomes 0 / 0 else, which "constant_wins"
            keeps (NaN is the highest) and "constant_loses" takes for 0.
        back_nearest: by whose nearest neighbor masks come back from the network's size.
        first_output: what is given out for the first frame: the "given" mask, the one at the "network"'s size brought
            back, or what is read off the first "labels".
        joints: where Gaussians are drawn around joints: on the "frame" (sigma 4, then bilinear) or on the "grid" (sigma
            half a cell).
        peaks: highest pixels whose mean is a joint's position.
        peaks_at: whether these are pixels of the "frame" or cells of the "grid".
        rules: whose rules say what counts on JHMDB (`metrics.pck.distances`) and VIP (`metrics.miou.confusion`).
    """

    copies: str = "none"
    short_side: int | None = 480
    long_side: int | None = None
    width: int | None = None
    square: bool = False
    multiple: int | None = None
    rounding: Literal["nearest", "up", "down"] = "nearest"
    resize: Resize = "opencv"
    mean: Color = (123.675, 116.28, 103.53)
    std: Color = (58.395, 57.12, 57.375)
    output: str = "res4"
    dtype: Literal["float32", "bfloat16"] = "float32"
    precision: Precision = "tensorfloat32"
    batch_frames: int = 4
    soft_first: bool = False
    first_nearest: Nearest = "pillow"
    over_network: bool = True
    transpose_square: bool = False
    radius: float | None = 12.0
    window: Literal["circle", "square"] = "circle"
    topk: int | None = 10
    temperature: float = 0.07
    num_context: int = 20
    first_frame_windowed: bool = True
    keep_first: bool = True
    fill_first: bool = False
    first_once: bool = False
    ties: Literal["first", "all"] = "first"
    enlarge: Enlarge = "bilinear"
    read_at: Literal["frame", "network"] = "frame"
    min_max: MinMax = "epsilon"
    back_nearest: Nearest = "torch"
    first_output: Literal["given", "network", "labels"] = "network"
    joints: Literal["frame", "grid"] = "frame"
    peaks: int = 5
    peaks_at: Literal["frame", "grid"] = "frame"
    rules: Literal["vfs", "crw"] = "vfs"

    def __post_init__(self) -> None:
        """Raise InputError where a value cannot be one of its field's."""
        for name, choices in _choices().items():
            if getattr(self, name) not in choices:
                raise InputError(f"{name}={getattr(self, name)}: choose among {', '.join(choices)}")
        for name in _POSITIVE:
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise InputError(f"{name}={value}: must be above 0")
        if self.radius is not None and not self.radius >= 0:
            raise InputError(f"radius={self.radius}: must be 0 or more cells")
        if self.num_context < (0 if self.keep_first else 1):
            raise InputError(f"num_context={self.num_context}: there would be no frame to compare with; set 1 or more")
        if self.first_once and (self.fill_first or not self.keep_first):
            raise InputError("first_once=True: needs keep_first and excludes fill_first; change one of them")
        for name, low in (("mean", 0.0), ("std", 1e-6)):
            color = getattr(self, name)
            if len(color) != 3 or not all(low <= value <= 255 for value in color):
                raise InputError(f"{name}={color}: give red, green and blue on the scale of 0..255")

    @property
    def paddable(self) -> bool:
        """Whether frames of several sizes may share a canvas: where all is read off at the frame's own size."""
        read_off = self.read_at, self.enlarge, self.min_max, self.transpose_square
        return read_off == ("frame", "bilinear", "epsilon", False)


@functools.cache
def _choices() -> dict[str, tuple[str, ...]]:
    """Return the values of the fields that take one of a few."""
    kinds = typing.get_type_hints(Settings)
    return {name: typing.get_args(kind) for name, kind in kinds.items() if typing.get_origin(kind) is Literal}


def default_radius(depth: int) -> float:
    """Return the release's window for a ResNet, in grid cells: 12 below ResNet-50, 18 from it on.

    >>> default_radius(18), default_radius(50)
    (12.0, 18.0)
    """
    return 18.0 if is_bottleneck(depth) else 12.0


@dataclasses.dataclass(frozen=True)
class Variant:
    """Settings that differ from the common ones in some fields.

    Attributes:
        name: short, fit for a folder; "" where nothing differs.
        changes: the fields that differ, with their values.
        settings: all fields.
    """

    name: str
    changes: dict[str, Any]
    settings: Settings


def variants(settings: Settings, sweep: str = "", *, outputs: Sequence[str] = ()) -> list[Variant]:
    """Combine all swept values; without any there is one variant, the settings themselves.

    Args:
        settings: the common ones.
        sweep: fields and their values, "topk=5,10;temperature=0.05,0.07".
        outputs: of the encoder, to sweep `output` over; none where empty.

    Returns:
        The variants, the last field varying fastest.

    Raises:
        InputError: a field does not exist, changes the features, or a value is not of its type.

    >>> [variant.name for variant in variants(Settings(), "topk=5,10;radius=6,none")]
    ['topk5-radius6', 'topk5-radiusnone', 'topk10-radius6', 'topk10-radiusnone']
    >>> [variant.name for variant in variants(Settings(), outputs=["res5.0", "res5.1"])]
    ['res5.0', 'res5.1']
    """
    axes: dict[str, Sequence[Any]] = {}
    if outputs:
        axes["output"] = outputs
    for part in filter(None, (part.strip() for part in sweep.split(";"))):
        name, _, values = part.partition("=")
        name = name.strip()
        allowed = [field.name for field in dataclasses.fields(Settings) if field.name not in _OF_FEATURES]
        if name not in allowed:
            raise InputError(f"sweep={sweep}: {name!r} cannot be swept; there are {', '.join(allowed)}")
        if name in axes:
            raise InputError(f"sweep={sweep}: {name} is swept already; name each field once")
        axes[name] = [_read(name, value.strip()) for value in values.split(",") if value.strip()]
        if not axes[name]:
            raise InputError(f"sweep={sweep}: {name} has no value; write topk=5,10;temperature=0.05,0.07")
    out = []
    for combination in itertools.product(*axes.values()):
        changes: dict[str, Any] = dict(zip(axes, combination, strict=True))
        name = "-".join(_label(field, value) for field, value in changes.items())
        out.append(Variant(name, changes, dataclasses.replace(settings, **changes)))
    return out


def _label(field: str, value: Any) -> str:
    """Return the part of a variant's name for one value: res4.0, topk5, radius6, radiusnone."""
    if field == "output":
        return str(value)
    return field + (f"{value:g}" if isinstance(value, float) else str(value).lower())


def _read(name: str, text: str) -> Any:
    """Parse a value of one field of `Settings`."""
    kind = typing.get_type_hints(Settings)[name]
    choices = typing.get_args(kind)
    if type(None) in choices and text.lower() == "none":
        return None
    if typing.get_origin(kind) is Literal:
        if text not in choices:
            raise InputError(f"sweep={name}={text}: choose among {', '.join(choices)}")
        return text
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise InputError(f"sweep={name}={text}: write True or False")
        return text.lower() == "true"
    try:
        return next(choice for choice in (*choices, kind) if choice in (int, float, str))(text)
    except ValueError:
        raise InputError(f"sweep={name}={text}: is no number") from None
