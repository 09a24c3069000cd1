# %% [markdown]
# # Train on your videos and look
#
# You go from video files to a trained network, and see what its features have learned, without any labels: the curves
# of the run, features as colors, and where a point's best matches lie before and after. A minute of training on two
# short clips shows how it is done; for what training brings, see [proof](../proof/README.md).
#
# ## Videos to records
#
# One command turns every video below a folder into records and accounts for each. The clips are cut into seconds.

# %%
import json
import shutil
import subprocess
import sys

import cv2
import matplotlib.pyplot as plt
import numpy as np
from helpers import OUT, clips, filmstrip

videos = OUT / "videos"  # or a folder of yours
videos.mkdir(parents=True, exist_ok=True)
for name in ("bikes.mp4", "carphone_pristine.mp4"):
    shutil.copy(clips() / name, videos)


def command(name: str, *arguments: str) -> None:
    """Run a command of this package, vfs-NAME, as the shell does."""
    subprocess.run([sys.executable, "-m", f"vfs_jax.apps.{name}", *arguments], check=True)


command("prepare", "all", f"--videos={videos}", f"--out={OUT / 'records'}", "--clip_seconds=1")

# %% [markdown]
# ## Train
#
# The quickstart's recipe, made shorter. Killed and started again, the same command goes on from its last checkpoint.

# %%
command(
    "train",
    "--config=configs/quickstart.py",
    f"--workdir={OUT / 'train'}",
    f"--config.data={OUT / 'records'}",
    "--config.steps=50",
    "--config.batch_size=16",
    "--config.log_every=5",
)

# %% [markdown]
# ## The run
#
# `metrics.jsonl` has a line for every logged step. The loss falls from 2, the value of embeddings that have nothing
# to do with each other; the embedding's standard deviation says whether it falls for the wrong reason: at 0 all
# images would be embedded alike.

# %%
lines = [json.loads(line) for line in (OUT / "train/metrics.jsonl").read_text().splitlines()]
figure, axes = plt.subplots(1, 2, figsize=(9, 2.6), layout="constrained")
for axis, key, title in zip(axes, ("loss", "embedding_std"), ("loss", "embedding's standard deviation"), strict=True):
    axis.plot([line["step"] for line in lines], [line[key] for line in lines], color="#2a6f97")
    axis.set(xlabel="step", title=title, ylim=(0, 2.1 if key == "loss" else 1.1))
    axis.grid(alpha=0.3)
figure.savefig(OUT / "train_and_look_curves.png", dpi=110)

# %% [markdown]
# ![The loss and the spread of the embedding over the steps](train_and_look_curves.png)
#
# ## What the features see
#
# A training folder becomes a file by `vfs-convert`, and a file a network by `load_weights`. The middle layers, res4,
# are where fine correspondence lies.

# %%
from vfs_jax.data.video_files import Video
from vfs_jax.models import backbone_of, init_variables, load_weights, normalize_images

command("convert", str(OUT / "train"), str(OUT / "trained.safetensors"))
network, trained = load_weights(OUT / "trained.safetensors")
network = network.clone(outputs=("res4",), strides=(1, 2, 1, 1))  # an eighth of the size, not a sixteenth
weights = {"random": backbone_of(init_variables(seed=0, depth=18)), "trained": trained}
frames = [cv2.resize(frame, (528, 432)) for frame in Video(clips() / "carphone_pristine.mp4").frames()][:96:12]
features = {
    name: np.stack([network.apply(variables, normalize_images(frame[None]))["res4"][0] for frame in frames])
    for name, variables in weights.items()
}


def as_colors(maps: np.ndarray) -> list[np.ndarray]:
    """Show feature maps [t, h, w, c] by their three main directions over all frames."""
    flat = maps.reshape(-1, maps.shape[-1])
    flat = flat / np.linalg.norm(flat, axis=1, keepdims=True)
    flat = flat - flat.mean(0)
    main = flat @ np.linalg.eigh(flat.T @ flat)[1][:, -3:]
    low, high = np.percentile(main, (2, 98), axis=0)
    shown = (np.clip((main - low) / (high - low), 0, 1) * 255).astype(np.uint8).reshape(*maps.shape[:3], 3)
    return [cv2.resize(each, (528, 432), interpolation=cv2.INTER_NEAREST) for each in shown]


rows = {f"res4, {name} weights, as colors": as_colors(maps) for name, maps in features.items()}
filmstrip("train_and_look_colors", {"frames": frames, **rows})

# %% [markdown]
# ![Frames, and the features of both networks as colors](train_and_look_colors.jpg)
#
# The random network shows where it is bright, dark and striped. After a minute of training jacket and hair stand out
# from the car behind them as one thing, and face and window as others.
#
# ## Where a point's matches lie
#
# A point of the mouth in the last frame, and its five best matches in the first one, by `top_matches`, the operator
# that propagation is built on. No window helps: all of the frame is searched.

# %%
from vfs_jax.correspondence import top_matches

row, column = 28, 27  # a cell of the mouth in the last frame
pictures = {}
for name, maps in features.items():
    _, index = top_matches(maps[-1], maps[:1], radius=None, topk=5)
    first = frames[0].copy()
    for _, r, c in np.asarray(index[row, column]).tolist():
        cv2.circle(first, (8 * c + 4, 8 * r + 4), 6, (255, 220, 0), -1)
    last = cv2.circle(frames[-1].copy(), (8 * column + 4, 8 * row + 4), 8, (255, 220, 0), -1)
    pictures[f"{name} weights: the point, and its five best matches in the first frame"] = [last, first]
filmstrip("train_and_look_matches", pictures, columns=2)

# %% [markdown]
# ![A point of the last frame and its matches in the first, by random and trained weights](train_and_look_matches.jpg)
#
# Among all places of the frame, the matches are of the point's kind, the border of something dark and something
# bright, more than of its place. A minute of training on two clips has not mended that; here the random weights even
# do better. Label propagation helps itself by a window and by the frames in between; better matches take more videos
# and more steps.
#
# ## From here
#
# - Longer runs, GPUs and pods: [training](../training.md).
# - Scores for what was trained: [your encoder on DAVIS](evaluate_encoder.py) takes `runs/tutorials/train` in the
#   place of `random:0`.
# - What came of 5,000 steps on real footage with true masks: [proof](../proof/README.md).
