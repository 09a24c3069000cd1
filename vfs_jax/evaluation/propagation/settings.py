"""Settings of label propagation, and the variants of them that share one pass of the network."""

import dataclasses
import itertools
import typing
from collections.abc import Sequence
from typing import Any, Literal

from vfs_jax.errors import InputError
from vfs_jax.models.resnet import is_bottleneck

# What is decided before the features are there; a variation of one of these would need another pass of the network.
_OF_FEATURES = ("short_side", "square", "dtype", "batch_frames")


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of label propagation; the defaults are the release's for ResNet-18 on DAVIS.

    Attributes:
        short_side: of the network's input in pixels; the aspect is kept, no side is rounded to a multiple.
        square: whether both sides are that long, whatever the aspect (JHMDB, VIP).
        output: of the ResNet, a stage or a block.
        dtype: of the features.
        batch_frames: frames a call of the network.
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
    """

    short_side: int = 480
    square: bool = False
    output: str = "res4"
    dtype: Literal["float32", "bfloat16"] = "float32"
    batch_frames: int = 4
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
