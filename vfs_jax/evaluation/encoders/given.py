"""Encoders of what users give: strings that name weights, functions or folders, and objects in Python."""

import dataclasses
import importlib
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vfs_jax.errors import InputError
from vfs_jax.evaluation.encoders.base import Encoder, NamedEncoder
from vfs_jax.evaluation.encoders.function import FunctionEncoder
from vfs_jax.evaluation.encoders.network import NetworkEncoder, of_network
from vfs_jax.evaluation.encoders.stored import StoredFeatures
from vfs_jax.models import ResNet, depth_of
from vfs_jax.models.resnet import Variables
from vfs_jax.models.weights import Network
from vfs_jax.models.weights.resolve import NamedWeights, checksum, resolve_several

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


def name_encoders(*, weights: str = "", encoder: str = "", features: str = "", depth: int = 18) -> list[NamedEncoder]:
    """Make the encoders that strings name, each with a name of its own.

    Args:
        weights: comma-separated, each as `vfs_jax.models.weights.resolve` takes them.
        encoder: comma-separated "MODULE:FUNCTION"; modules are also looked for in the working directory.
        features: comma-separated folders, as `StoredFeatures` reads them.
        depth: of random weights.

    Returns:
        All of them in this order; the ResNet of random:0 where nothing is named.

    Raises:
        InputError: one of them cannot be had.
    """
    found: list[NamedEncoder] = []
    if weights or not (encoder or features):
        found += map(of_weights, resolve_several(weights or "random:0", depth))
    found += [of_function(each) for each in _split(encoder)]
    for each in _split(features):
        if not Path(each).is_dir():
            raise InputError(f"features={each}: there is no such folder; it holds SEQUENCE.npy or SEQUENCE/00000.npy")
        about: dict[str, str | int | bool | None] = {"features": each, "kind": "features"}
        found.append(NamedEncoder(Path(each).resolve().name, each, StoredFeatures(Path(each)), about))
    return _with_own_names(found)


def name_encoder(given: AnyEncoder | str) -> NamedEncoder:
    """Make an encoder of what a user gives in Python: weights as a string, or what `as_encoder` takes."""
    if isinstance(given, str):
        (named,) = name_encoders(weights=given)
        return named
    encoder = as_encoder(given)
    if isinstance(encoder, NetworkEncoder):
        name = encoder.network.name or encoder.network.family
        about = {"kind": "network", "network": name, "sha256": checksum(encoder.variables)}
        return NamedEncoder(name, name, encoder, about)
    return of_callable(given, "") if callable(given) else NamedEncoder("encoder", "encoder", encoder, {})


def of_weights(weights: NamedWeights) -> NamedEncoder:
    """Make the encoder of a network with its weights."""
    return NamedEncoder(weights.name, weights.source, of_network(weights.network, weights.variables), weights.about)


def of_function(source: str) -> NamedEncoder:
    """Import the function "MODULE:FUNCTION" as an encoder.

    Its attributes `name` and `multiple` are taken where it has them.
    """
    module_name, colon, function_name = source.partition(":")
    if not (module_name and colon and function_name):
        raise InputError(f"encoder={source}: write MODULE:FUNCTION, as in my_encoders:dino_small")
    if "" not in sys.path:
        sys.path.insert(0, "")  # the working directory, which a console script does not have there
    importlib.invalidate_caches()
    try:
        function: Any = importlib.import_module(module_name)
        for part in function_name.split("."):
            function = getattr(function, part)
    except ModuleNotFoundError as error:
        raise InputError(f"encoder={source}: there is no module {error.name}; start where its file lies") from None
    except AttributeError:
        raise InputError(f"encoder={source}: module {module_name} has no {function_name}") from None
    except Exception as error:  # whatever the module does when it is imported
        reason = (str(error).strip() or "no message").splitlines()[0]
        what = f"importing {module_name} raised {type(error).__name__}: {reason}"
        raise InputError(f"encoder={source}: {what}") from error
    return of_callable(function, source)


def of_callable(function: AnyEncoder, source: str) -> NamedEncoder:
    """Make an encoder of a function, under its attribute `name` or the name that it has in its module."""
    encoder = as_encoder(function, source)
    name = str(getattr(function, "name", "") or getattr(function, "__name__", "") or type(function).__name__)
    name = re.sub(r"[^\w.-]+", "-", name).strip("-.") or "encoder"
    return NamedEncoder(name, source, encoder, {"encoder": source, "kind": "function"})


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _with_own_names(encoders: Sequence[NamedEncoder]) -> list[NamedEncoder]:
    """Number those that would share a name."""
    taken: set[str] = set()
    named = []
    for each in encoders:
        name, number = each.name, 1
        while name in taken:
            number += 1
            name = f"{each.name}-{number}"
        taken.add(name)
        named.append(dataclasses.replace(each, name=name))
    return named
