"""The frames of a clip that a training step sees."""

import numpy as np


def draw_span(rng: np.random.Generator, times: np.ndarray, seconds: float) -> tuple[int, int]:
    """Draw a part of a clip that lasts so many seconds; all of a clip that is not longer.

    Each frame is as likely the first as any other behind which there is room.

    Args:
        rng: the source of randomness.
        times: float64 [n], seconds, growing: when each frame is shown.
        seconds: of the part.

    Returns:
        The numbers of its first frame and of the one past its last; there is one between them at least.

    >>> draw_span(np.random.default_rng(0), np.arange(100) / 10, 2.0)
    (68, 89)
    """
    starts = int(np.searchsorted(times, times[-1] - seconds, side="right"))
    first = int(rng.integers(max(starts, 1)))
    return first, int(np.searchsorted(times, times[first] + seconds, side="right"))


def sample_frames(rng: np.random.Generator, num_frames: int, segments: int) -> np.ndarray:
    """Draw one frame from each of `segments` equal stretches of a clip.

    With interval = (num_frames + 1) // segments, segment s gives s * interval plus a uniform integer in [0, interval).
    A clip too short for that (interval 0) gives the evenly spaced frames round(s * (num_frames + 1) / segments), halves
    to even. Both are the release's sampling (github xvjiarui/VFS, `SampleFrames` with clip_len 1 and frame_interval 0).

    Args:
        rng: the source of randomness; left untouched by short clips.
        num_frames: length N of the clip, at least 1.
        segments: how many frames to draw, S, at least 1.

    Returns:
        int64 [segments], frame numbers in [0, num_frames), growing but for the wrap described below.

    Raises:
        ValueError: num_frames or segments is below 1.

    >>> sample_frames(np.random.default_rng(0), num_frames=5, segments=8)
    array([0, 1, 2, 2, 3, 4, 4, 0])
    """
    if num_frames < 1 or segments < 1:
        raise ValueError(f"num_frames and segments must be at least 1, got {num_frames} and {segments}")
    interval = (num_frames + 1) // segments
    if interval > 0:
        frames = np.arange(segments) * interval + rng.integers(interval, size=segments)
    else:
        frames = np.around(np.arange(segments) * ((num_frames + 1) / segments)).astype(np.int64)
    # Quirk: the stretches cover num_frames + 1 frames, so the number N can be drawn; it wraps to frame 0. Frames past
    # the last stretch (up to segments - 1 of them) are never drawn.
    return frames % num_frames
