"""Weights in checkpoints: a training run's read without its optimizer, or written alone."""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from vfs_jax.errors import InputError
from vfs_jax.models.resnet import Variables
from vfs_jax.models.vfs import nest_backbone
from vfs_jax.models.weights.fitting import check_finite

FOLDER = "checkpoints"  # in the workdir; each step is a folder of its own in it
ITEM = "state"  # in the folder of a step
_PARTS = ("params", "batch_stats")


def save_variables(variables: Mapping[str, Any], directory: str | Path) -> None:
    """Write weights alone as the checkpoint of step 0 of a folder, which then serves where a workdir's weights do.

    Args:
        variables: {"params": ..., "batch_stats": ...} of VFS, of a tracker, or of a ResNet alone, which is written as
            the "backbone" of a network without heads.
        directory: made where it does not exist; appears under checkpoints/0 only when everything is written.

    Raises:
        InputError: the folder has checkpoints already, or cannot be made.

    Example:
        >>> folder = getfixture("tmp_path")
        >>> save_variables({"params": {"conv1": np.ones(2, np.float32)}, "batch_stats": {}}, folder / "weights")
        >>> load_variables(folder / "weights")["params"]["backbone"]["conv1"].tolist()
        [1.0, 1.0]
    """
    directory = Path(directory).resolve()
    if any(folder.name.isdecimal() for folder in (directory / FOLDER).glob("*")):
        raise InputError(f"{directory}: holds checkpoints already; name another folder")
    whole = nest_backbone(variables)
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{directory}: cannot be made ({error.strerror}); name another folder") from None
    options = ocp.CheckpointManagerOptions(enable_async_checkpointing=False, cleanup_tmp_directories=True)
    with ocp.CheckpointManager(directory / FOLDER, options=options) as manager:
        tree = {name: jax.tree.map(np.asarray, whole[name]) for name in _PARTS}
        manager.save(0, args=ocp.args.Composite(**{ITEM: ocp.args.StandardSave(tree)}))


def load_variables(path: str | Path, step: int | None = None) -> Variables:
    """Read the weights of a training run, without its optimizer, on whatever devices there are.

    Args:
        path: a workdir (its newest checkpoint is read) or one checkpoint, WORKDIR/checkpoints/STEP, or a folder that
            `save_variables` wrote.
        step: which checkpoint of the workdir.

    Returns:
        The variables of the whole VFS network: {"params": ..., "batch_stats": ...}, each with "backbone", "projector"
        and "predictor" (or with what `save_variables` was given); arrays on the default device.

    Raises:
        InputError: there is no checkpoint, it cannot be read, or holds NaN or inf; names the path.
    """
    folder = checkpoint_folder(path, step) / ITEM
    try:
        # What a checkpointer would read besides lies with the step, not here: it would warn that it is missing.
        with contextlib.closing(ocp.PyTreeCheckpointHandler()) as reader:
            tree = reader.metadata(folder).tree
            wanted = {name: tree[name] for name in _PARTS}
            shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), wanted)
            as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), shapes)
            args = ocp.args.PyTreeRestore(item=shapes, restore_args=as_numpy, partial_restore=True)
            variables = jax.tree.map(jnp.asarray, reader.restore(folder, args=args))
    except Exception as error:  # whatever a damaged file makes of the reader
        raise InputError(
            f"checkpoint {folder.parent} cannot be read ({_first_line(error)}); take another step"
        ) from error
    check_finite(f"checkpoint {folder.parent}", variables)
    return dict(variables)


def checkpoint_folder(path: str | Path, step: int | None = None) -> Path:
    """Return the folder of a checkpoint: of the step asked for, or of the newest one.

    Args:
        path: a workdir or a checkpoint in it.
        step: which checkpoint of the workdir; the newest when None.

    Raises:
        InputError: there is none; names the path.
    """
    path = Path(path).resolve()
    if step is None and (path / ITEM).is_dir():
        return path
    steps = sorted(int(folder.name) for folder in (path / FOLDER).glob("*") if folder.name.isdecimal())
    if not steps:
        raise InputError(f"{path}: holds no checkpoint; give a training workdir or one of its checkpoints/STEP folders")
    if step is not None and step not in steps:
        raise InputError(f"{path}: has no checkpoint of step {step}; there are {', '.join(map(str, steps))}")
    return path / FOLDER / str(steps[-1] if step is None else step)


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0][:200]}" if text else type(error).__name__
