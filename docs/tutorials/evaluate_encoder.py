# %% [markdown]
# # Your encoder on DAVIS
#
# You write a function from frames to features. You get its J&F as the official tool computes it, beside others', with
# pictures of what it did. The sequences here are composed on the spot in the layout of DAVIS, so nothing must be
# downloaded; with a copy of DAVIS only the path changes.
#
# ## Sequences with exact masks
#
# Pieces of photographs that move, turn, grow and cross over a real video. Each has a look-alike, cut from the same
# photograph, that belongs to the background.

# %%
import cv2
import numpy as np
from helpers import OUT, clips, filmstrip

from data_prep.compose import write_sequences
from vfs_jax.evaluation import evaluate

data = OUT / "composed"
write_sequences(data, clips() / "bigbuckbunny.mp4", sequences=2, frames=24)  # vfs-prepare compose does the same

# %% [markdown]
# ## Encoders
#
# A function that takes RGB uint8 [b, h, w, 3] and gives floats [b, rows, columns, c], from any framework. These two
# are of the kind that needs no training: the colors of 8x8 pixels, and histograms of the directions of edges (HOG) in
# and around them.


# %%
def colors(frames: np.ndarray) -> np.ndarray:
    """Give the 8x8 pixels of each cell, less the middle gray."""
    b, h, w, _ = frames.shape
    cells = frames.reshape(b, h // 8, 8, w // 8, 8, 3).swapaxes(2, 3)
    return cells.reshape(b, h // 8, w // 8, -1) / np.float32(255) - np.float32(0.5)


def edges(frames: np.ndarray) -> np.ndarray:
    """Give histograms of nine directions of edges in each cell and the eight around it."""
    out = []
    for frame in frames:
        gray = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.float32)
        strength, angle = cv2.cartToPolar(cv2.Sobel(gray, cv2.CV_32F, 1, 0), cv2.Sobel(gray, cv2.CV_32F, 0, 1))
        direction = (angle % np.pi * 9 / np.pi).astype(int) % 9
        size = frame.shape[1] // 8, frame.shape[0] // 8
        maps = [cv2.resize(strength * (direction == n), size, interpolation=cv2.INTER_AREA) for n in range(9)]
        padded = np.pad(np.stack(maps, -1), ((1, 1), (1, 1), (0, 0)))
        shifts = [padded[i : i + size[1], j : j + size[0]] for i in range(3) for j in range(3)]
        out.append(np.concatenate(shifts, -1))
    return np.stack(out)


def both(frames: np.ndarray) -> np.ndarray:
    """Give both, each of length 1, so that their cosines add up."""
    parts = [part / (np.linalg.norm(part, axis=-1, keepdims=True) + 1e-6) for part in (colors(frames), edges(frames))]
    return np.concatenate(parts, axis=-1)


colors.multiple = edges.multiple = both.multiple = 8  # the sides of their frames are multiples of 8 pixels

# %% [markdown]
# ## Scores
#
# One call an encoder. What is a setting of the protocol can be changed by name: these frames have half of DAVIS's
# height, so half its radius. A string is what `vfs-eval` takes for weights: `random:0` is a ResNet-18 with random
# weights; a file of VFS's, DINO's or another family's stands in the same place.

# %%
encoders = {"colors": colors, "edges": edges, "both": both, "ResNet-18, random": "random:0"}
settings = {"short_side": 240, "radius": 6.0}
scores = {name: evaluate(encoder, data / "davis", out=OUT / name, **settings) for name, encoder in encoders.items()}
for name, score in scores.items():
    print(f"{name:20} J&F {score['J&F-Mean']:.1%}  J {score['J-Mean']:.1%}  F {score['F-Mean']:.1%}")

# %% [markdown]
# ## Look
#
# The folders hold masks as PNGs, one a frame; the ground truth is drawn in white.

# %%
from vfs_jax.data.images import list_images, read_frame, read_index_mask
from vfs_jax.evaluation.report.overlays import blend, overlay

sequence = "composed_00"
frames = [read_frame(file) for file in list_images(data / "davis/JPEGImages/480p" / sequence)]
truth = [read_index_mask(file) for file in list_images(data / "davis/Annotations/480p" / sequence)]
rows = {}
for name in encoders:
    masks = [read_index_mask(file) for file in list_images(OUT / name / "masks" / sequence)]
    layers = [overlay(*pair, frames[0].shape[:2], width=frames[0].shape[1]) for pair in zip(masks, truth, strict=True)]
    rows[f"{name}: J&F {scores[name]['J&F-Mean']:.1%}"] = [blend(*pair) for pair in zip(frames, layers, strict=True)]
filmstrip("evaluate_encoder", rows)

# %% [markdown]
# ![Frames of one sequence with the masks of four encoders](evaluate_encoder.jpg)
#
# Two sequences are few: what a score of this page says is how the call works, not which encoder is better. Intervals
# of the difference over sequences, filmstrips of the best and the worst and the matches behind a point at a click are
# in the report that the command writes:
#
# ```bash
# vfs-eval --config=configs/davis.py --workdir=runs/mine --config.data=DAVIS \
#   --config.encoder=my_encoders:both,my_encoders:colors
# ```
#
# ## From here
#
# - A PyTorch model as an encoder, features on disk, other people's weights: [an encoder of yours](../own_encoder.md).
# - The protocols of VFS, CRW, DINO, DINOv3 and others: [protocols](../evaluation.md#protocols).
# - All arguments: [`evaluate`](../api/evaluation.md).
