"""Checkpoints of a run: written whole or not at all, and the newest readable one restored."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from vfs_jax.errors import InputError
from vfs_jax.training.state import TrainState

_LOG = logging.getLogger(__name__)

_FOLDER = "checkpoints"  # in the workdir; each step is a folder of its own in it
_ITEM = "state"
_PARTS = ("params", "batch_stats")


class Checkpoints:
    """The checkpoints in a workdir, one folder a step: WORKDIR/checkpoints/STEP.

    A step's folder appears under its name only when everything in it is written, so that a run which is killed while it
    saves leaves the earlier checkpoints as they were. Every process of a run makes one of these; all of them save and
    restore together.

    Attributes:
      folder: WORKDIR/checkpoints.
    """

    def __init__(self, workdir: Path, *, keep: int):
        """Opens or makes the folder and removes what interrupted saves have left.

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
        """Writes a checkpoint of the state's step; keeps the one that is there where there is one."""
        step = int(state.step)
        if step not in self._manager.all_steps():
            self._manager.save(step, args=ocp.args.Composite(**{_ITEM: ocp.args.StandardSave(state)}))

    def restore(self, like: TrainState) -> TrainState | None:
        """Restores the newest checkpoint that can be read.

        Unreadable ones (truncated, of another network, not ours) are passed over with a warning and renamed, so that
        the run can save these steps again.

        Args:
          like: the state as ShapeDtypeStructs with shardings, as `jax.eval_shape` and `jax.jit` give it.

        Returns:
          The state, placed as `like` says, or None in a new workdir.

        Raises:
          InputError: there are checkpoints and none can be read.
        """
        unreadable = []
        for step in sorted(self._manager.all_steps(), reverse=True):
            args = ocp.args.Composite(**{_ITEM: ocp.args.StandardRestore(like)})
            try:
                state = self._manager.restore(step, args=args)[_ITEM]
            except Exception as error:  # whatever a damaged file makes of the reader
                unreadable.append(self.folder / str(step))
                _LOG.warning("checkpoint %s cannot be read and is skipped: %s", unreadable[-1], _first_line(error))
                continue
            self._put_aside(unreadable)
            return state
        if unreadable:
            names = ", ".join(map(str, unreadable))
            raise InputError(f"no checkpoint can be read: {names}; delete {self.folder.parent} to train from the start")
        return None

    def close(self) -> None:
        """Ends the manager's threads."""
        self._manager.close()

    def _put_aside(self, folders: list[Path]) -> None:
        for folder in folders:
            if jax.process_index() == 0:
                folder.rename(_free_name(folder))
        if folders:
            self._manager.reload()


def save_variables(variables: Mapping[str, Any], directory: str | Path) -> None:
    """Writes weights alone as the checkpoint of step 0 of a folder, which then serves where a workdir's weights do.

    Args:
      variables: {"params": ..., "batch_stats": ...} of VFS, of a tracker, or of a ResNet alone, which is written as the
        "backbone" of a network without heads.
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
    """Reads the weights of a training run, without its optimizer, on whatever devices there are.

    Args:
      path: a workdir (its newest checkpoint is read) or one checkpoint, WORKDIR/checkpoints/STEP, or a folder that
        `save_variables` wrote.
      step: which checkpoint of the workdir.

    Returns:
      The variables of the whole VFS network: {"params": ..., "batch_stats": ...}, each with "backbone", "projector" and
      "predictor" (or with what `save_variables` was given); arrays on the default device.

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
    """The folder of a checkpoint: of the step asked for, or of the newest one.

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
