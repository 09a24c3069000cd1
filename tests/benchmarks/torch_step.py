"""The training step in PyTorch: network, loss and SGD; on CUDA with channels_last, bfloat16 autocast, torch.compile."""

import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import nn

from vfs_jax.models.heads import head_widths
from vfs_jax.models.resnet import BLOCKS, IMAGE_MEAN, IMAGE_STD, feature_width, is_bottleneck


class Block(nn.Module):
    """A residual block in torchvision's way."""

    def __init__(self, width_in: int, width: int, stride: int, bottleneck: bool):
        super().__init__()
        out = width * (4 if bottleneck else 1)
        shapes = (
            [(width_in, width, 1, 1), (width, width, 3, stride), (width, out, 1, 1)]
            if bottleneck
            else [(width_in, width, 3, stride), (width, out, 3, 1)]
        )
        layers: list[nn.Module] = []
        for a, b, kernel, by in shapes:
            layers += [nn.Conv2d(a, b, kernel, by, kernel // 2, bias=False), nn.BatchNorm2d(b), nn.ReLU(inplace=True)]
        self.branch = nn.Sequential(*layers[:-1])
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or width_in != out:
            self.shortcut = nn.Sequential(nn.Conv2d(width_in, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[b, c, h, w] -> [b, c', h', w']."""
        return torch.relu(self.branch(x) + self.shortcut(x))


class TorchVFS(nn.Module):
    """Backbone, projector and predictor, as `vfs_jax.models.VFS` has them."""

    def __init__(self, depth: int):
        super().__init__()
        blocks: list[nn.Module] = []
        width_in = 64
        for stage, number in enumerate(BLOCKS[depth]):
            for block in range(number):
                stride = 2 if stage and not block else 1
                blocks.append(Block(width_in, 64 * 2**stage, stride, is_bottleneck(depth)))
                width_in = 64 * 2**stage * (4 if is_bottleneck(depth) else 1)
        stem = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)]
        self.backbone = nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        width, hidden = head_widths(depth)
        layers: list[nn.Module] = []
        for a in (feature_width(depth), width, width):
            layers += [nn.Linear(a, width), nn.BatchNorm1d(width), nn.ReLU(inplace=True)]
        self.projector = nn.Sequential(*layers[:-1])
        self.predictor = nn.Sequential(
            nn.Linear(width, hidden), nn.BatchNorm1d(hidden), nn.ReLU(inplace=True), nn.Linear(hidden, width)
        )

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """[n, 3, h, w] -> z and p, each [n, d]."""
        z = self.projector(self.backbone(images))
        return z, self.predictor(z)


def torch_run(depth: int, batches: Sequence[np.ndarray]) -> Callable[[int], float]:
    """Steps in PyTorch on uint8 views [b, 2, t, h, w, 3]; the next batch is copied while one computes.

    Returns a function that takes so many steps and gives the seconds of one.
    """
    cuda = torch.cuda.is_available()
    device = torch.device("cuda" if cuda else "cpu")
    model = TorchVFS(depth).to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    network = torch.compile(model) if cuda else model
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4)
    mean, scale = (torch.tensor(values, device=device).view(1, 3, 1, 1) for values in (IMAGE_MEAN, IMAGE_STD))
    b, _, t = batches[0].shape[:3]
    on_host = [torch.from_numpy(batch).pin_memory() if cuda else torch.from_numpy(batch) for batch in batches]
    copies = torch.cuda.Stream() if cuda else None

    def similarity(p: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        p, z = (nn.functional.normalize(each.float(), dim=1).view(b, t, -1) for each in (p, z.detach()))
        return 2 - 2 * torch.einsum("bid,bjd->bij", p, z).mean()

    def step(views: torch.Tensor) -> torch.Tensor:
        embedded = []
        with torch.autocast(device.type, torch.bfloat16, enabled=cuda):
            for view in range(2):
                images = views[:, view].flatten(0, 1).permute(0, 3, 1, 2)  # channels_last as it lies
                embedded.append(network((images.float() - mean) / scale))
        (z1, p1), (z2, p2) = embedded
        loss = (similarity(p1, z2) + similarity(p2, z1)) / 2
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return loss.detach()

    def on_device(count: int) -> Iterator[torch.Tensor]:
        def copy(number: int) -> torch.Tensor:
            with torch.cuda.stream(copies):  # nothing happens where there is none
                return on_host[number % len(on_host)].to(device, non_blocking=True)

        coming = copy(0)
        for number in range(count):
            if copies is not None:
                torch.cuda.current_stream().wait_stream(copies)
                coming.record_stream(torch.cuda.current_stream())
            views, coming = coming, copy(number + 1)
            yield views

    def run(count: int) -> float:
        start, losses = time.perf_counter(), []
        for views in on_device(count):
            losses.append(step(views))
            if len(losses) > 1:
                losses[-2].item()
        losses[-1].item()
        return (time.perf_counter() - start) / count

    return run
