"""Checkpoints of a run: written whole or not at all, and the newest whole one restored."""

import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from vfs_jax.distributed import from_first
from vfs_jax.errors import InputError
from vfs_jax.training.state import TrainState

_LOG = logging.getLogger(__name__)

_FOLDER = "checkpoints"  # in the workdir; each step is a folder of its own in it
_ITEM = "state"
_PARTS = ("params", "batch_stats")
_MANIFEST = "manifest.json"  # of a checkpoint: its arrays' shapes, its files' checksums


class Checkpoints:
    """The checkpoints in a workdir, one folder a step: WORKDIR/checkpoints/STEP.

    A checkpoint counts once its manifest is there, which is written last: a run that is killed while it saves leaves
    the earlier checkpoints as they were. Every process of a run makes one of these; all of them save and restore
    together.

    Attributes:
        folder: WORKDIR/checkpoints.
    """

    def __init__(self, workdir: Path, *, keep: int):
        """Open or makes the folder and remove what interrupted saves have left.

        Args:
            workdir: of the run.
            keep: how many of the newest checkpoints are kept.
        """
        self.folder = workdir.resolve() / _FOLDER
        # Saving waits until all is written. The copy in the background would need memory of its own, since the step
        # that follows overwrites the state in place.
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep, enable_async_checkpointing=False, cleanup_tmp_directories=True
        )
        self._manager = ocp.CheckpointManager(self.folder, options=options)

    def save(self, state: TrainState) -> None:
        """Write a checkpoint of the state's step; keeps the one that is there where there is one."""
        step = int(state.step)
        if step in self._manager.all_steps():
            return
        self._manager.save(step, args=ocp.args.Composite(**{_ITEM: ocp.args.StandardSave(state)}))
        if jax.process_index() == 0:
            _write_manifest(self.folder / str(step), state)

    def restore(self, like: TrainState) -> TrainState | None:
        """Restore the newest checkpoint that is whole.

        Others (torn, truncated, of another network, not ours) are passed over with a warning and renamed, so that the
        run can save these steps again. What is wrong with a checkpoint is told by its manifest, before it is read; an
        error while a whole one is read is no fault of the file and is not caught.

        Args:
            like: the state as ShapeDtypeStructs with shardings, as `jax.eval_shape` and `jax.jit` give it.

        Returns:
            The state, placed as `like` says, or None where there is none to go on from.

        Raises:
            InputError: there are finished checkpoints and none is whole.
        """
        newest = from_first("choose a checkpoint", lambda: str(self._newest_whole(like)))
        self._manager.reload()  # process 0 has renamed some
        if newest == "None":
            return None
        args = ocp.args.Composite(**{_ITEM: ocp.args.StandardRestore(like)})
        return self._manager.restore(int(newest), args=args)[_ITEM]

    def close(self) -> None:
        """End the manager's threads."""
        self._manager.close()

    def _newest_whole(self, like: TrainState) -> int | None:
        """Return the newest step whose checkpoint is whole; put newer ones, and interrupted saves, aside."""
        damaged: list[Path] = []
        for step in sorted(self._manager.all_steps(), reverse=True):
            folder = self.folder / str(step)
            fault = _fault(folder, like)
            if fault is None:
                for each in damaged:
                    each.rename(_free_name(each))
                return int(step)
            _LOG.warning("checkpoint %s is skipped: %s", folder, fault)
            if (folder / _MANIFEST).exists():
                damaged.append(folder)
            else:
                folder.rename(_free_name(folder))
        if damaged:
            names = ", ".join(map(str, damaged))
            raise InputError(f"no checkpoint can be used: {names}; delete {self.folder} to train from the start")
        return None


def _write_manifest(folder: Path, state: TrainState) -> None:
    manifest = {"arrays": _arrays(state), "files": {str(f.relative_to(folder)): _checksum(f) for f in _files(folder)}}
    part = folder.with_name(f"{_MANIFEST}.part")
    part.write_text(json.dumps(manifest, indent=1))
    part.replace(folder / _MANIFEST)


def _fault(folder: Path, like: TrainState) -> str | None:
    """Return what is wrong with a checkpoint; None where it is whole and of this network."""
    path = folder / _MANIFEST
    if not path.is_file():
        return f"its save was cut off, or it is not of a run ({_MANIFEST} is missing)"
    try:
        manifest = json.loads(path.read_text())
        files, theirs = dict(manifest["files"]), dict(manifest["arrays"])
    except (ValueError, KeyError, TypeError):
        return f"{_MANIFEST} is damaged"
    ours = _arrays(like)
    other = sorted(name for name in {*ours, *theirs} if ours.get(name) != theirs.get(name))
    if other:
        return f"it is of another network ({other[0]}: {theirs.get(other[0])} there, {ours.get(other[0])} here)"
    for name, checksum in files.items():
        if not (folder / name).is_file():
            return f"{name} is missing"
        if _checksum(folder / name) != checksum:
            return f"{name} is damaged"
    return None


def _arrays(state: TrainState) -> dict[str, str]:
    """Return the name -> dtype and shape of every array."""
    return {jax.tree_util.keystr(path): f"{a.dtype}{list(a.shape)}" for path, a in jax.tree.leaves_with_path(state)}


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.is_file() and file.name != _MANIFEST)


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
    if any((directory / _FOLDER).glob("*")):
        raise InputError(f"{directory}: holds checkpoints already; name another folder")
    whole = variables if "backbone" in variables["params"] else {name: {"backbone": variables[name]} for name in _PARTS}
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{directory}: cannot be made ({error.strerror}); name another folder") from None
    options = ocp.CheckpointManagerOptions(enable_async_checkpointing=False)
    with ocp.CheckpointManager(directory / _FOLDER, options=options) as manager:
        tree = {name: jax.tree.map(np.asarray, whole[name]) for name in _PARTS}
        manager.save(0, args=ocp.args.Composite(**{_ITEM: ocp.args.StandardSave(tree)}))


def load_variables(path: str | Path, step: int | None = None) -> dict[str, Any]:
    """Read the weights of a training run, without its optimizer, on whatever devices there are.

    Args:
        path: a workdir (its newest checkpoint is read) or one checkpoint, WORKDIR/checkpoints/STEP, or a folder that
            `save_variables` wrote.
        step: which checkpoint of the workdir.

    Returns:
        The variables of the whole VFS network: {"params": ..., "batch_stats": ...}, each with "backbone", "projector"
        and "predictor" (or with what `save_variables` was given); arrays on the default device.

    Raises:
        InputError: there is no checkpoint, or it cannot be read; names the path.
    """
    folder = checkpoint_folder(path, step) / _ITEM
    try:
        with ocp.PyTreeCheckpointer() as reader:
            tree = reader.metadata(folder).item_metadata.tree
            wanted = {name: tree[name] for name in _PARTS}
            shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), wanted)
            as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), shapes)
            args = ocp.args.PyTreeRestore(item=shapes, restore_args=as_numpy, partial_restore=True)
            return jax.tree.map(jnp.asarray, reader.restore(folder, args=args))
    except Exception as error:  # whatever a damaged file makes of the reader
        raise InputError(
            f"checkpoint {folder.parent} cannot be read ({_first_line(error)}); take another step"
        ) from error


def checkpoint_folder(path: str | Path, step: int | None = None) -> Path:
    """Return the folder of a checkpoint: of the step asked for, or of the newest one.

    Args:
        path: a workdir or a checkpoint in it.
        step: which checkpoint of the workdir; the newest when None.

    Raises:
        InputError: there is none; names the path.
    """
    path = Path(path).resolve()
    if step is None and (path / _ITEM).is_dir():
        return path
    steps = sorted(int(folder.name) for folder in (path / _FOLDER).glob("*") if folder.name.isdecimal())
    if not steps:
        raise InputError(f"{path}: holds no checkpoint; give a training workdir or one of its checkpoints/STEP folders")
    if step is not None and step not in steps:
        raise InputError(f"{path}: has no checkpoint of step {step}; there are {', '.join(map(str, steps))}")
    return path / _FOLDER / str(steps[-1] if step is None else step)


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0][:200]}" if text else type(error).__name__


def _free_name(folder: Path) -> Path:
    names = (folder.with_name(f"unreadable-{folder.name}{suffix}") for suffix in ["", *(f".{i}" for i in range(1000))])
    return next(name for name in names if not name.exists())
