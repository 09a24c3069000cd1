# %% [markdown]
# # A mask through a video
#
# You give a video, a mask of its first frame and features of any kind. You get a mask for every frame, by one call of
# `propagate_video`. No network is needed: the features of this page are the colors of the pixels, and then those of a
# network that was never trained, to have something to beat.
#
# ## A video and its first mask
#
# A clip of a man in a car, every second frame, enlarged so that a cell of 8 pixels is small against what is to be
# followed. The mask is drawn by hand: four outlines.

# %%
import cv2
import jax
import numpy as np
from helpers import clips, filmstrip

from vfs_jax.correspondence import propagate_video
from vfs_jax.data.video_files import Video
from vfs_jax.evaluation.report.overlays import draw_over

video = Video(clips() / "carphone_pristine.mp4")  # or a video of yours
frames = np.stack([cv2.resize(frame, (528, 432), interpolation=cv2.INTER_CUBIC) for frame in video.frames()][::2])

outlines = {  # (x, y) in pixels of the clip, which is 176x144
    "jacket": "31,143 34,126 50,115 70,104 78,97 87,110 96,118 112,143",
    "face": "66,60 65,48 70,42 78,36 90,33 100,36 107,44 109,57 114,58 115,68 112,74 110,82 108,94 104,104 92,103 "
    "80,97 75,88 70,82 66,70",
    "hair": "59,40 60,34 63,28 66,22 74,17 84,14 94,16 101,20 106,27 110,34 112,46 112,56 109,58 107,44 100,36 90,33 "
    "78,36 70,42 65,48 65,60 60,57",
    "bow tie": "80,100 88,104 100,108 106,109 116,105 121,108 125,115 119,120 114,117 108,116 98,117 93,117 86,109",
}
mask = np.zeros(frames.shape[1:3], np.uint8)
for label, outline in enumerate(outlines.values(), start=1):
    corners = np.array([point.split(",") for point in outline.split()], float) * 3
    cv2.fillPoly(mask, [np.round(corners).astype(np.int32)], label)

# %% [markdown]
# ## Features of any kind
#
# An array [t, h, w, c]: one vector for every cell of a grid over the frame. Here a cell is 8x8 pixels and its vector
# their colors, less the mean over the video, so that cosines tell them apart.

# %%
t, height, width, _ = frames.shape
cells = frames.reshape(t, height // 8, 8, width // 8, 8, 3).swapaxes(2, 3).reshape(t, height // 8, width // 8, -1)
colors = cells.astype(np.float32) - cells.mean((0, 1, 2), dtype=np.float32)

# %% [markdown]
# Features of a network are no different. This one is a ResNet-18 with random weights; `load_weights("vfs_r18.pth")`,
# or any other file that it knows, gives a trained one in the same form.

# %%
from vfs_jax.models import ResNet, backbone_of, init_variables, normalize_images

network, variables = ResNet(18, strides=(1, 2, 1, 1), outputs=("res4",)), backbone_of(init_variables(seed=0, depth=18))
encode = jax.jit(lambda images: network.apply(variables, normalize_images(images))["res4"])
random_network = np.concatenate([encode(frames[n : n + 2]) for n in range(0, t, 2)])

# %% [markdown]
# ## Propagate
#
# The first labels are one channel a label on the same grid. Every frame is compared with the first and the 20 before
# it, within 8 cells; its ten best matches blend their labels. What comes out is soft: enlarge it and take the
# highest.

# %%
grid = cv2.resize(mask, (width // 8, height // 8), interpolation=cv2.INTER_NEAREST)
first_labels = np.eye(len(outlines) + 1, dtype=np.float32)[grid]


def masks_by(features: np.ndarray) -> list[np.ndarray]:
    """Propagate the first labels and bring them to the size of the frames."""
    labels = np.asarray(propagate_video(features, first_labels, radius=8.0, topk=10, temperature=0.07, num_context=20))
    return [cv2.resize(each, (width, height)).argmax(-1).astype(np.uint8) for each in labels]


found = {"colors of 8x8 pixels": masks_by(colors), "ResNet-18, random weights, res4": masks_by(random_network)}
for name, masks in found.items():
    share = [np.mean(masks[-1] == label) for label in range(1, len(outlines) + 1)]
    print(name, {outline: f"{value:.1%}" for outline, value in zip(outlines, share, strict=True)})

# %% [markdown]
# ## Look

# %%
rows = {name: [draw_over(*pair) for pair in zip(frames, masks, strict=True)] for name, masks in found.items()}
filmstrip("propagate_mask", {"the mask drawn by hand, and the clip": [draw_over(frames[0], mask), *frames[1:]], **rows})

# %% [markdown]
# ![The clip with its first mask, then masks carried through it by two kinds of features](propagate_mask.jpg)
#
# The clip is easy: things keep their colors and move little. Still, eyes become hair, and the window that comes out
# from behind the head becomes face, by colors and by the random network alike: what is new in a picture goes to what
# it looks like. Features that tell a face from a window are what [training](train_and_look.py) is for.
#
# ## From here
#
# - The operator and its options: [`propagate_video`](../api/correspondence.md). For a stream of frames there are
#   `start_memory` and `propagate_next`, which do the same frame by frame.
# - The same from the command line, with any known file of weights: [a video of yours](../own_video.md).
# - What is computed: [how it works](../how_it_works.md).
