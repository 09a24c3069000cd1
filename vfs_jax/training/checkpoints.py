"""Checkpoints of a run: written whole or not at all, and the newest whole one restored."""

import hashlib
import json
import logging
import os
import shutil
import tempfile
from pathlib import Path

import jax
import orbax.checkpoint as ocp

from vfs_jax.data.text import read_text, to_json, write_text
from vfs_jax.distributed import from_first
from vfs_jax.errors import InputError
from vfs_jax.models.weights.checkpoints import FOLDER, ITEM
from vfs_jax.training.state import TrainState

_LOG = logging.getLogger(__name__)

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
        """Open or make the folder and remove what interrupted saves have left.

        Args:
            workdir: of the run.
            keep: how many of the newest checkpoints are kept.
        """
        self.folder = workdir.resolve() / FOLDER
        # Saving waits until all is written. The copy in the background would need memory of its own, since the step
        # that follows overwrites the state in place.
        # Orbax would remove the oldest as soon as its own files are there, before the manifest says they are whole.
        options = ocp.CheckpointManagerOptions(enable_async_checkpointing=False, cleanup_tmp_directories=True)
        self._manager = ocp.CheckpointManager(self.folder, options=options)
        self._keep = keep

    def save(self, state: TrainState) -> None:
        """Write a checkpoint of the state's step, unless there is one already.

        Raises:
            InputError: there is no room for it. Earlier ones are as they were: the oldest goes when the new one is
                whole.
        """
        step = int(state.step)
        if step in self._manager.all_steps():
            return
        needed = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
        try:
            _require_room(self.folder, needed)
        except OSError as error:
            raise InputError(
                f"{self.folder}: no room for the checkpoint of step {step}, {needed / 1e6:.0f} MB "
                f"({error.strerror}); free some and run again: the run goes on from the last one"
            ) from None
        self._manager.save(step, args=ocp.args.Composite(**{ITEM: ocp.args.StandardSave(state)}))
        if jax.process_index() == 0:
            _write_manifest(self.folder / str(step), state)
            steps = sorted(int(folder.name) for folder in self.folder.iterdir() if folder.name.isdecimal())
            for old in steps[: -self._keep]:
                shutil.rmtree(self.folder / str(old))

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
        args = ocp.args.Composite(**{ITEM: ocp.args.StandardRestore(like)})
        return self._manager.restore(int(newest), args=args)[ITEM]

    def close(self) -> None:
        """End the manager's threads."""
        self._manager.close()

    def _newest_whole(self, like: TrainState) -> int | None:
        """Find the newest step whose checkpoint is whole; put newer ones, and interrupted saves, aside."""
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


def _require_room(folder: Path, size: int) -> None:
    """Raise OSError where so many bytes cannot be written: the disk is full, a quota is used up.

    Asked beforehand, since what Orbax writes to a full disk ends in hundreds of lines of its threads.
    """
    with tempfile.TemporaryFile(dir=folder) as file:
        if hasattr(os, "posix_fallocate"):  # not on macOS
            os.posix_fallocate(file.fileno(), 0, size)


def _write_manifest(folder: Path, state: TrainState) -> None:
    manifest = {"arrays": _arrays(state), "files": {str(f.relative_to(folder)): _checksum(f) for f in _files(folder)}}
    write_text(folder / _MANIFEST, to_json(manifest, indent=1))


def _fault(folder: Path, like: TrainState) -> str | None:
    """Tell what is wrong with a checkpoint; None where it is whole and of this network."""
    path = folder / _MANIFEST
    if not path.is_file():
        return f"its save was cut off, or it is not of a run ({_MANIFEST} is missing)"
    try:
        manifest = json.loads(read_text(path))
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
    """List the arrays of a state: name to dtype and shape."""
    return {jax.tree_util.keystr(path): f"{a.dtype}{list(a.shape)}" for path, a in jax.tree.leaves_with_path(state)}


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.is_file() and file.name != _MANIFEST)


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _free_name(folder: Path) -> Path:
    names = (folder.with_name(f"unreadable-{folder.name}{suffix}") for suffix in ["", *(f".{i}" for i in range(1000))])
    return next(name for name in names if not name.exists())
