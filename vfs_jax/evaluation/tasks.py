"""The label-propagation tasks by name."""

from collections.abc import Callable

from vfs_jax.evaluation.mask_tasks import Davis, Vip, YoutubeVos
from vfs_jax.evaluation.point_tasks import Jhmdb, Tapvid
from vfs_jax.evaluation.task import Task

TASKS: dict[str, Callable[[], Task]] = {
    "davis": Davis,
    "vip": Vip,
    "jhmdb": Jhmdb,
    "tapvid": Tapvid,
    "youtube_vos": YoutubeVos,
}
