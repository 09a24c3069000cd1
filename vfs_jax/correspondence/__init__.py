"""Correspondence between frames: labels carried by the similarity of features, and the parts it is made of.

Feature maps are [h, w, c], of any network; labels are [h, w, l]: one-hot masks, soft masks, heat maps of points. Arrays
may be NumPy's or JAX's. The operators import nothing else of this project.

- `propagate_frame`: from some frames with labels to one without.
- `propagate_video`: from the first frame of a video to all others, in one compiled loop.
- `start_memory`, `propagate_next`: the same, frame by frame, for streams of any length.
- `affinity`: all scores between two frames, for pictures and losses.
- `cross_correlate`: an exemplar slid over a search region, for trackers.

What propagation costs. With t key frames, a circle of radius r and R = ceil(r) - 1 its reach, a frame takes ::

    about 2 * h * w * (2 * R + 4)**2 * t * c    multiplications and additions,
    t * h * w * c                               numbers to keep the key frames, each stored once,
    about t * 4 * h * (2 * R + 4)**2            numbers of work space,

where full affinity takes 2 * (h * w)**2 * t * c and (h * w)**2 * t. On a 60x107 grid with r = 12, t = 21 and c = 256
that is some 50 billion operations instead of 440, 135 MB of keys and 35 MB of work space. The loop leans on batched
matmuls, gathers, `lax.top_k` and small sorts. CPUs do all of these well; on a TPU the matmuls fill the matrix unit and
the gathers and sorts are slow, so expect those to set the pace there. On a GPU the loop is some 2,200 small kernels a
frame; where the GPU is of the Hopper kind, one kernel takes the place of most (`window_maxima`), which leaves some 35.
Both have been compiled for a GPU and not run on one: tests/benchmarks/operators.py measures them where one is at hand.

Example:
    A mask is carried through three frames that move one cell to the right:

    >>> import numpy as np
    >>> from vfs_jax.correspondence import propagate_video
    >>> rng = np.random.default_rng(0)
    >>> scene = rng.standard_normal((6, 10, 16)).astype(np.float32)
    >>> features = np.stack([np.roll(scene, shift, axis=1) for shift in range(3)])
    >>> mask = np.zeros((6, 10), int)
    >>> mask[2:4, 2:5] = 1
    >>> labels = propagate_video(features, np.eye(2, dtype=np.float32)[mask], radius=4.0, topk=1)
    >>> np.asarray(labels[2]).argmax(-1)[2, 2:].tolist()  # what left on the right came back in columns 0 and 1
    [0, 0, 1, 1, 1, 0, 0, 0]
"""

from vfs_jax.correspondence.affinity import affinity
from vfs_jax.correspondence.cross_correlation import cross_correlate
from vfs_jax.correspondence.matching import top_matches
from vfs_jax.correspondence.memory import Memory, propagate_next, start_memory
from vfs_jax.correspondence.propagation import propagate_frame, propagate_video

__all__ = [
    "Memory",
    "affinity",
    "cross_correlate",
    "propagate_frame",
    "propagate_next",
    "propagate_video",
    "start_memory",
    "top_matches",
]
