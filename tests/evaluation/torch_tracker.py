"""The tracker again, from PROTOCOL's sentences: PyTorch for the network, float64 NumPy for all else, no shared code."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from torch_reference import Backbone

MEAN = torch.tensor([123.675, 116.28, 103.53]).view(3, 1, 1)
STD = torch.tensor([58.395, 57.12, 57.375]).view(3, 1, 1)


class TorchHead(torch.nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.z_convs = torch.nn.Sequential(torch.nn.Conv2d(width, width, 1))
        self.x_convs = torch.nn.Sequential(torch.nn.Conv2d(width, width, 1))


class TorchNet(torch.nn.Module):
    def __init__(self, depth: int) -> None:
        super().__init__()
        self.backbone = Backbone(depth, strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4))
        self.head = TorchHead(512 if depth < 50 else 2048)
        self.eval()

    def features(self, patches: Sequence[np.ndarray]) -> torch.Tensor:
        images = torch.from_numpy(np.ascontiguousarray(np.stack(patches).transpose(0, 3, 1, 2)))
        dtype = next(self.parameters()).dtype
        return self.backbone(((images.float() - MEAN) / STD).to(dtype))["res5"]

    def response(self, z: torch.Tensor, x: torch.Tensor, scale: float, head: bool) -> torch.Tensor:
        """[1, c, h, w] slid over each of [n, c, H, W], the release's way: head every time, one convolution a group."""
        if head:
            z, x = self.head.z_convs(z), self.head.x_convs(x)
        return torch.nn.functional.conv2d(x, z)[:, 0] * scale


class TorchTracker:
    """Boxes are 1-based; network and state in float64, center and size rounded to float32 after each frame.

    `update` leaves its raw `responses`, and in `ahead` by how much of a response the chosen size and the chosen pixel
    stand out from the second best, whichever is less.
    """

    def __init__(self, depth: int, path: Path, *, head: bool = True) -> None:
        self.net = TorchNet(depth)
        self.net.load_state_dict(torch.load(path, weights_only=True)["state_dict"])
        self.net = self.net.double()
        self.head, self.out_scale = head, 1e-3 if depth < 50 else 1e-5

    @torch.no_grad()
    def init(self, image: np.ndarray, box: Sequence[float] | np.ndarray) -> None:
        x, y, w, h = (float(v) for v in box)
        self.cx, self.cy = np.float32(x - 1 + (w - 1) / 2), np.float32(y - 1 + (h - 1) / 2)
        self.w, self.h = np.float32(w), np.float32(h)
        c = np.float32(0.5) * (self.w + self.h)
        z = np.sqrt((self.h + c) * (self.w + c))
        self.x_size = float(z * np.float32(255) / np.float32(120))
        self.z = self.net.features([square(image, self.cx, self.cy, z, 120)])

    @torch.no_grad()
    def update(self, image: np.ndarray) -> np.ndarray:
        scales = [1 / 1.0375, 1.0, 1.0375]
        patches = [square(image, self.cx, self.cy, self.x_size * s, 255) for s in scales]
        found = self.net.response(self.z, self.net.features(patches), self.out_scale, self.head).numpy()
        matrix = cubic_matrix(found.shape[1], 272)
        large = [matrix @ response @ matrix.T for response in found]
        large = [response * (1 if s == 1 else 0.9745) for response, s in zip(large, scales, strict=True)]
        best = max(range(3), key=lambda i: (large[i].max(), -i))
        response = large[best] - large[best].min()
        total = response.sum() + 1e-16
        hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(272) / 271)
        window = np.outer(hann, hann) / hann.sum() ** 2
        response = 0.824 * response / total + 0.176 * window
        second, first = np.sort(response, axis=None)[-2:]
        other, most = sorted(each.max() for each in large)[-2:]
        self.responses, self.ahead = found, min(most - other, (first - second) * total / 0.824)
        row, col = divmod(int(response.argmax()), 272)
        pixel = self.x_size * scales[best] / 255  # image pixels a pixel of the search patch
        self.cy = np.float32(float(self.cy) + (row - 135.5) * 8 / 16 * pixel)
        self.cx = np.float32(float(self.cx) + (col - 135.5) * 8 / 16 * pixel)
        change = 0.41 + 0.59 * scales[best]
        self.w, self.h = np.float32(float(self.w) * change), np.float32(float(self.h) * change)
        self.x_size *= change
        return np.array([self.cx + 1 - (self.w - 1) / 2, self.cy + 1 - (self.h - 1) / 2, self.w, self.h])


def square(image: np.ndarray, cx: np.float32, cy: np.float32, extent: float, side: int) -> np.ndarray:
    """The crop of PROTOCOL section 7."""
    half = np.float32(max(extent, 2)) / 2
    edges = [np.float64(np.float32(v)) for v in (cx - half, cy - half, cx + half, cy + half)]
    x0, y0, x1, y1 = (round(float(v)) for v in edges)
    h, w = image.shape[:2]
    if x1 <= 0 or y1 <= 0 or x0 >= w or y0 >= h:
        return np.zeros((side, side, 3), np.uint8)
    inside = image[max(y0, 0) : min(y1, h), max(x0, 0) : min(x1, w)]
    rows = max(1, round(side * inside.shape[0] / (y1 - y0)))
    cols = max(1, round(side * inside.shape[1] / (x1 - x0)))
    out = np.empty((side, side, 3), np.uint8)
    out[:] = np.round(image.reshape(-1, 3).mean(0, dtype=np.float64))
    top, left = (int(max(0, -v) * side / (e - v)) for v, e in ((y0, y1), (x0, x1)))
    out[top : top + rows, left : left + cols] = cv2.resize(inside, (cols, rows), interpolation=cv2.INTER_LINEAR)
    return out


def cubic_matrix(n: int, m: int, a: float = -0.75) -> np.ndarray:
    """Rows that interpolate n samples at m half-pixel places by Keys's cubic, the border repeated."""
    matrix = np.zeros((m, n))
    for i in range(m):
        place = (i + 0.5) * n / m - 0.5
        first = int(np.floor(place)) - 1
        for j in range(first, first + 4):
            d = abs(place - j)
            weight = (a + 2) * d**3 - (a + 3) * d**2 + 1 if d <= 1 else a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a
            matrix[i, min(max(j, 0), n - 1)] += weight
    return matrix
