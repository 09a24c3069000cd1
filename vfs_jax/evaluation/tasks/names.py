"""The label-propagation tasks by name."""

from collections.abc import Callable
from typing import Any

from vfs_jax.evaluation.tasks.base import Task
from vfs_jax.evaluation.tasks.masks import Davis, Vip, YoutubeVos
from vfs_jax.evaluation.tasks.points import Jhmdb, Tapvid

# Each of sequences of its own kind; Davis takes a year, Tapvid an occlusion threshold.
TASKS: dict[str, Callable[..., Task[Any]]] = {task.name: task for task in (Davis, Vip, Jhmdb, Tapvid, YoutubeVos)}
