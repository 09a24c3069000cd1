"""Whole protocols by name: how frames, first labels, propagation and output are settled, as each was published.

Each constant stands here once, below the repository and file that it is from. Where a protocol says nothing of its own
the value is that of VFS, the defaults of `Settings`.
"""

import dataclasses
import math
from typing import Any

from vfs_jax.errors import InputError
from vfs_jax.evaluation.encoders import Encoder, NetworkEncoder
from vfs_jax.evaluation.propagation.settings import Settings, default_radius
from vfs_jax.models import ResNet

_with = dataclasses.replace

# github xvjiarui/VFS, configs/r18_nc_sgd_cos_100e_r2_1xNx8_k400.py (ResNet-50: r50_nc_*); mmaction/models/trackers/
# vanilla_tracker.py. JHMDB's and VIP's configurations were not released: those of the closest published ones.
_VFS = Settings()

# github ajabri/videowalk, README.md (the command for DAVIS), code/utils/arguments.py; size and first labels:
# code/data/vos.py; context and window: code/utils/test_utils.py; output: code/test.py, code/eval/convert_davis.py.
_CRW = _with(
    _VFS,
    short_side=None,  # frames keep their size; cropSize N makes them N x N
    square=True,
    multiple=1,
    resize="opencv_float",
    soft_first=True,
    first_nearest="opencv",
    radius=12.0,
    temperature=0.05,
    first_frame_windowed=False,
    fill_first=True,
    enlarge="opencv",
    read_at="network",
    min_max="none",
    back_nearest="opencv",
    first_output="labels",
)

# github facebookresearch/dino, eval_video_segmentation.py: read_frame, color_normalize, read_seg, label_propagation,
# eval_video_tracking_davis, norm_mask and the arguments' defaults.
_DINO = _with(
    _VFS,
    multiple=64,
    rounding="down",
    std=(58.14, 57.12, 57.375),  # 0.228, not 0.229
    over_network=False,
    transpose_square=True,
    window="square",
    radius=12.0,
    topk=5,
    temperature=0.1,
    num_context=7,
    first_once=True,
    ties="all",
    read_at="network",
    min_max="constant_wins",
    back_nearest="pillow",
    first_output="given",
)

# github facebookresearch/dinov3, notebooks/segmentation_tracking.ipynb.
_DINOV3 = _with(
    _VFS,
    short_side=960,
    multiple=16,
    rounding="up",
    resize="pillow",
    first_nearest="torch-exact",
    over_network=False,
    radius=math.sqrt(144.5),  # a circle that includes the distance 12
    topk=5,
    temperature=0.2,
    num_context=7,
    first_once=True,
    ties="all",
    enlarge="nearest",
    min_max="constant_loses",
    first_output="given",
)

# github alexandre-eymael/CropMAE, downstreams/propagation/util.py (sizes, k, temperature, radius); src/data/vos.py,
# src/test.py, src/utils/test_utils.py and src/eval/convert_davis.py, which are CRW's but for these.
_CROPMAE = _with(_CRW, short_side=480, width=880, square=False, radius=20.0, topk=7, temperature=0.7)

# github huiwon-jang/RSP, eval_video_segmentation_davis.py, which is DINO's but for these;
# data_preprocessing/eval/davis_preprocessing.py makes the copies.
_RSP = _with(_DINO, copies="480x880", radius=30.0, topk=7, num_context=30)

# github qianduoduolr/Spa-then-Temp, configs/test/res18_d8.py, configs/test/base_data.py; what is not there is VFS's.
_SPA_THEN_TEMP = _with(_VFS, multiple=1, window="square")

_DAVIS = {
    "vfs": _VFS,
    "crw": _CRW,
    "dino": _DINO,
    "dinov3": _DINOV3,
    "cropmae": _CROPMAE,
    "rsp": _RSP,
    "spa_then_temp": _SPA_THEN_TEMP,
}

# As the files above, where nothing else is said; 40x40 and 20x20 cells of 320x320 pixels.
_JHMDB = {
    "vfs": _with(_VFS, short_side=320, square=True, radius=5.0),  # ours, see above
    # No command was published: the defaults of code/utils/arguments.py; code/data/jhmdb.py, code/utils/test_utils.py.
    "crw": _with(_CRW, short_side=320, temperature=0.07, joints="grid", peaks=3, peaks_at="grid", rules="crw"),
    "cropmae": _with(_CROPMAE, short_side=320, width=320, joints="grid", peaks_at="grid", rules="crw"),
    "spa_then_temp": _with(_SPA_THEN_TEMP, short_side=320, square=True, radius=5.0),
}

_VIP = {
    "vfs": _with(_VFS, short_side=560, square=True),
    # src/eval/eval_vip.py brings masks to the size of the true ones.
    "cropmae": _with(
        _CROPMAE,
        short_side=None,
        long_side=880,
        width=None,
        multiple=64,
        rounding="down",
        topk=10,
        back_nearest="pillow",
        rules="crw",
    ),
    "spa_then_temp": _with(_SPA_THEN_TEMP, short_side=560, square=True, radius=16.0),
}

_DAVIS_WITHOUT_COPIES = {name: _with(settings, copies="none") for name, settings in _DAVIS.items()}

# By task and name. What nobody publishes for peers is done as on DAVIS: "video" is one's own.
PROTOCOLS = {
    "davis": _DAVIS,
    "vip": _VIP,
    "jhmdb": _JHMDB,
    "youtube_vos": _DAVIS_WITHOUT_COPIES,
    "tapvid": _DAVIS_WITHOUT_COPIES,
    "video": _DAVIS_WITHOUT_COPIES,
}

# Spa-then-Temp's radius where a cell is 4 pixels wide instead of 8: configs/test/res18_d4.py.
_RADIUS_OF_STRIDE_4 = {"davis": 35.0, "jhmdb": 12.0, "vip": 35.0}


def published_settings(protocol: str, task: str) -> Settings:
    """Return the settings of a protocol for a task, whatever the encoder; raises InputError where there are none."""
    if protocol not in _DAVIS:
        raise InputError(f"protocol={protocol}: there is no such protocol; there are {', '.join(_DAVIS)}")
    known = PROTOCOLS[task]
    if protocol not in known:
        raise InputError(f"protocol={protocol}: publishes no settings for {task}; there are {', '.join(known)}")
    return known[protocol]


def settings_of(protocol: str, task: str, encoder: Encoder, **changes: Any) -> Settings:
    """Return the settings of a protocol for a task and an encoder, some of them changed.

    Args:
        protocol: its name: "vfs", "crw", "dino", "dinov3", "cropmae", "rsp" or "spa_then_temp".
        task: "davis", "vip", "jhmdb", "youtube_vos", "tapvid", or "video" for one's own.
        encoder: gives the default output, and the default radius of protocols that let it depend on the network.
        **changes: fields of `Settings`; an infinite radius stands for no window.

    Raises:
        InputError: there is no such protocol, it has nothing for this task, or a value is not one of its field's.
        TypeError: there is no such field.

    Example:
        >>> from vfs_jax.evaluation.encoders import of_network
        >>> settings = settings_of("dino", "davis", of_network(ResNet(18), {}), num_context=20)
        >>> settings.window, settings.topk, settings.num_context
        ('square', 5, 20)
    """
    published = published_settings(protocol, task)
    output = changes.get("output", encoder.default_output)
    radius = _radius_of(protocol, task, encoder, output, published.radius)
    if changes.get("radius") == math.inf:
        changes["radius"] = None
    return _with(published, **({"output": output, "radius": radius} | changes))


def _radius_of(protocol: str, task: str, encoder: Encoder, output: str, radius: float | None) -> float | None:
    """Give the radius of a protocol for a network, where it is another one than that of most networks."""
    if not isinstance(encoder, NetworkEncoder):
        return radius
    if protocol == "vfs" and task != "jhmdb" and isinstance(encoder.network, ResNet):
        return default_radius(encoder.network.depth)
    if protocol == "spa_then_temp" and encoder.grid_size(64, 64, output) == (16, 16):
        return _RADIUS_OF_STRIDE_4.get(task, _RADIUS_OF_STRIDE_4["davis"])
    return radius
