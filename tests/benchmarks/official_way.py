"""The official way to propagate labels, in PyTorch: all scores of 32 queries at a time, then the mask."""

import time

import jax
import numpy as np
import torch
from operator_cases import LABELS, TEMPERATURE, TOPK, Case, spread


def official_frame(
    query: torch.Tensor,
    keys: torch.Tensor,
    labels: torch.Tensor,
    mask: torch.Tensor,
    *,
    rows_are_queries: bool,
    chunk: int = 32,
    limit: int | None = None,
) -> torch.Tensor:
    """Labels [h * w, l] of all queries, `chunk` at a time: everything against everything, then the mask.

    query [h * w, c], keys [t * h * w, c], normalized; labels [t * h * w, l]; mask [h * w, h * w]. rows_are_queries
    chooses between the two layouts of the scores, [32, t * h * w] and [t * h * w, 32].
    """
    frames = len(keys) // len(query)
    out = []
    for start in range(0, len(query) if limit is None else min(limit * chunk, len(query)), chunk):
        part = query[start : start + chunk]
        allowed = mask[start : start + chunk]
        if rows_are_queries:
            scores = (part @ keys.T / TEMPERATURE).masked_fill_(~allowed.repeat(1, frames), float("-inf"))
            best, index = scores.topk(TOPK, dim=1)
            out.append(torch.einsum("pk,pkl->pl", best.softmax(1), labels[index]))
        else:
            scores = (keys @ part.T / TEMPERATURE).masked_fill_(~allowed.T.repeat(frames, 1), float("-inf"))
            best, index = scores.topk(TOPK, dim=0)
            out.append(torch.einsum("kp,kpl->pl", best.softmax(0), labels[index]))
    return torch.cat(out)


def official_inputs(case: Case, video: list, labels: jax.Array, device: str) -> tuple:
    """The arrays of `official_frame` for a frame whose keys are the case's first and previous frames."""
    unit = [torch.tensor(np.asarray(frame, np.float32).reshape(-1, case.channels)) for frame in video]
    unit = [torch.nn.functional.normalize(frame, dim=1) for frame in unit]
    rows, cols = torch.meshgrid(torch.arange(case.height), torch.arange(case.width), indexing="ij")
    rows, cols = rows.reshape(-1), cols.reshape(-1)
    mask = (rows[:, None] - rows) ** 2 + (cols[:, None] - cols) ** 2 < case.radius**2
    keys = torch.cat([unit[number % (len(unit) - 1)] for number in range(case.context + 1)])
    values = torch.tensor(np.array(labels)).reshape(-1, LABELS)
    dtype = getattr(torch, case.dtype)
    return unit[-1].to(device, dtype), keys.to(device, dtype), values.to(device, dtype), mask.to(device)


def time_official(inputs: tuple, repeats: int, device: str = "cpu") -> tuple[dict, torch.Tensor]:
    """Time the official way in the layout that is faster on its first chunks."""

    def run(rows_are_queries: bool, limit: int | None = None) -> tuple[float, torch.Tensor]:
        start = time.perf_counter()
        result = official_frame(*inputs, rows_are_queries=rows_are_queries, limit=limit)
        if device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start, result

    with torch.inference_mode():
        trial = {layout: min(run(layout, 2)[0] for _ in range(2)) for layout in (True, False)}
        layout = min(trial, key=trial.__getitem__)
        seconds, results = zip(*(run(layout) for _ in range(repeats)), strict=True)
    return {**spread(list(seconds)), "layout": "queries first" if layout else "keys first"}, results[0]
