"""The label-propagation tasks by name."""

from collections.abc import Callable

from vfs_jax.evaluation.tasks.base import Task
from vfs_jax.evaluation.tasks.masks import Davis, Vip, YoutubeVos
from vfs_jax.evaluation.tasks.points import Jhmdb, Tapvid

TASKS: dict[str, Callable[[], Task]] = {
    "davis": Davis,
    "vip": Vip,
    "jhmdb": Jhmdb,
    "tapvid": Tapvid,
    "youtube_vos": YoutubeVos,
}
