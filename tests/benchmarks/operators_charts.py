"""Charts of what operators.py measured."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np


def draw(report: dict, folder: Path) -> None:
    """Charts: time and memory against pixels, time against context, against the frame's number, beside the others."""
    growth = report["growth"]
    figure, axes = plt.subplots(2, 2, figsize=(11, 8), layout="constrained")
    pixels = [entry["height"] * entry["width"] for entry in growth["pixels"]]
    axes[0, 0].loglog(pixels, [entry["median_s"] for entry in growth["pixels"]], "o-")
    axes[0, 0].set(
        title=f"time a frame, power {growth['exponent_pixels']:.2f}", xlabel="grid positions", ylabel="seconds"
    )
    axes[0, 1].loglog(pixels, [entry["total_memory"] / 1e9 for entry in growth["pixels"]], "o-", label="with Memory")
    axes[0, 1].loglog(
        pixels, [entry["memory_above_inputs"] / 1e9 for entry in growth["pixels"]], "o-", label="above inputs"
    )
    axes[0, 1].set(title="memory", xlabel="grid positions", ylabel="GB")
    axes[0, 1].legend()
    axes[1, 0].plot(
        [entry["context"] + 1 for entry in growth["context"]], [entry["median_s"] for entry in growth["context"]], "o-"
    )
    axes[1, 0].set(
        title=f"time a frame, power {growth['exponent_context']:.2f}", xlabel="frames compared with", ylabel="seconds"
    )
    axes[1, 1].plot(np.array(growth["frame_number"]) * 1e3, ".", markersize=2)
    axes[1, 1].set(title="a long stream, small frames", xlabel="frame number", ylabel="milliseconds")
    axes[1, 1].set_ylim(bottom=0)
    figure.savefig(folder / "growth.png", dpi=110)
    plt.close(figure)

    figure, axis = plt.subplots(figsize=(7, 4), layout="constrained")
    names = list(report["cases"])
    for shift, (label, pick) in enumerate(
        {
            "official way": lambda entry: entry["official"]["median_s"],
            "propagate_frame": lambda entry: entry["propagate_frame"]["median_s"],
            "propagate_next": lambda entry: entry["stream"]["median_s"],
            "floor": lambda entry: entry["floor"]["seconds"],
        }.items()
    ):
        axis.bar(
            np.arange(len(names)) + 0.2 * shift - 0.3, [pick(report["cases"][name]) for name in names], 0.2, label=label
        )
    axis.set_xticks(range(len(names)), names)
    axis.set(title="seconds a frame", yscale="log")
    axis.legend()
    figure.savefig(folder / "speed.png", dpi=110)
    plt.close(figure)
