"""Correspondence between frames by the similarity of their features: matches, and the labels that they carry.

For features [h, w, c] of a query frame and of t key frames, of any network::

    score[q, t, p] = dot(query[q], key[t, p])                for every key p in the window of the query position q
    label[q]       = sum over the topk matches of softmax(score / temperature) * labels[t, p]

Labels are [h, w, l]: one-hot masks, soft masks, heat maps of points. Arrays may be NumPy's or JAX's. The operators can
be jitted, mapped by vmap and differentiated; only arrays are traced, options are plain numbers. They import nothing
else of this project.

- `propagate_frame`: labels from some frames to one that has none.
- `propagate_video`: from the first frame of a video to all others, in one compiled loop.
- `start_memory`, `propagate_next`: the same, frame by frame, for streams of any length.
- `top_matches`: the matches themselves, with their scores, for point tracking, pictures and losses.
- `affinity`: all scores of two frames, for pictures and losses.
- `cross_correlate`: an exemplar slid over a search region, for trackers.
- `implementations`: the ways to find the matches that run on the devices at hand, for `implementation=`.

What a frame costs by "tiles". With t key frames, a circle of radius r and R = ceil(r) - 1, about ::

    2 * h * w * (2 * R + 6)**2 * t * c    multiplications and additions,
    t * h * w * c                         numbers to keep the key frames, each stored once,
    6 * h * (2 * R + 6)**2 * t            numbers of work space,

where full affinity takes 2 * (h * w)**2 * t * c and (h * w)**2 * t. On a 60x107 grid with r = 12, t = 21 and c = 256
that is some 50 billion operations instead of 440, 138 MB of keys and 41 MB of work space. Its thousand small matmuls
suit CPUs. "batched" computes the same by ten large ones, 63 billion operations, and work space that grows with the
window's area and with c; it is what GPUs get. "hopper" is a kernel: an H200 took 2.1 ms for the frame above in float32
(13.5 ms by "tiles") and 0.83 ms in bfloat16 (7.8 ms), before keys were laid out once and float32 was multiplied in
three products. All give the same matches; scores differ by float32's rounding. topk=None and ties="all" blend by
"tiles" what is more than topk matches.

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
from vfs_jax.correspondence.backends import implementations
from vfs_jax.correspondence.cross_correlation import cross_correlate
from vfs_jax.correspondence.matching import top_matches
from vfs_jax.correspondence.memory import Memory, propagate_next, start_memory
from vfs_jax.correspondence.propagation import propagate_frame, propagate_video

__all__ = [
    "Memory",
    "affinity",
    "cross_correlate",
    "implementations",
    "propagate_frame",
    "propagate_next",
    "propagate_video",
    "start_memory",
    "top_matches",
]
