"""The network again, plainly, in PyTorch under the release's tensor names: what the Flax network is held to."""

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

M = TypeVar("M", bound=nn.Module)

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


class ConvBN(nn.Module):
    def __init__(self, c_in: int, c_out: int, kernel: int, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        padding = kernel // 2 * dilation
        self.conv = nn.Conv2d(c_in, c_out, kernel, stride, padding, dilation, bias=False)
        self.bn = nn.BatchNorm2d(c_out, eps=1e-5, momentum=0.1)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv(x))


class Basic(nn.Module):
    expansion = 1

    def __init__(self, c_in: int, width: int, stride: int, dilation: int) -> None:
        super().__init__()
        self.conv1 = ConvBN(c_in, width, 3, stride, dilation)
        self.conv2 = ConvBN(width, width, 3)
        self.downsample = ConvBN(c_in, width, 1, stride) if stride != 1 or c_in != width else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv2(torch.relu(self.conv1(x)))
        return torch.relu(y + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    expansion = 4

    def __init__(self, c_in: int, width: int, stride: int, dilation: int) -> None:
        super().__init__()
        self.conv1 = ConvBN(c_in, width, 1)
        self.conv2 = ConvBN(width, width, 3, stride, dilation)
        self.conv3 = ConvBN(width, 4 * width, 1)
        self.downsample = ConvBN(c_in, 4 * width, 1, stride) if stride != 1 or c_in != 4 * width else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv3(torch.relu(self.conv2(torch.relu(self.conv1(x)))))
        return torch.relu(y + (x if self.downsample is None else self.downsample(x)))


class Backbone(nn.Module):
    def __init__(
        self, depth: int, strides: Sequence[int] = (1, 2, 2, 2), dilations: Sequence[int] = (1, 1, 1, 1)
    ) -> None:
        super().__init__()
        block: type[Basic | Bottleneck] = Basic if depth < 50 else Bottleneck
        self.conv1 = ConvBN(3, 64, 7, 2)
        c_in = 64
        for i, (n, stride, dilation) in enumerate(zip(BLOCKS[depth], strides, dilations, strict=True)):
            first = dilation // 2 if dilation > 1 else 1
            blocks = [block(c_in, 64 * 2**i, stride, first)]
            c_in = 64 * 2**i * block.expansion
            blocks += [block(c_in, 64 * 2**i, 1, dilation) for _ in range(n - 1)]
            setattr(self, f"layer{i + 1}", nn.Sequential(*blocks))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Images [b, 3, h, w] -> {"res2.0": ...} of every block, and "res2".."res5"."""
        x = nn.functional.max_pool2d(torch.relu(self.conv1(x)), 3, 2, 1)
        outputs = {}
        for i in range(4):
            for j, block in enumerate(getattr(self, f"layer{i + 1}")):
                x = block(x)
                outputs[f"res{i + 2}.{j}"] = x
            outputs[f"res{i + 2}"] = x
        return outputs


class Heads(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.projection_fcs = nn.Sequential(
            *(nn.Linear(width, width), nn.BatchNorm1d(width), nn.ReLU()),
            *(nn.Linear(width, width), nn.BatchNorm1d(width), nn.ReLU()),
            *(nn.Linear(width, width), nn.BatchNorm1d(width)),
        )
        self.predictor_fcs = nn.Sequential(
            *(nn.Linear(width, hidden), nn.BatchNorm1d(hidden), nn.ReLU()), nn.Linear(hidden, width)
        )


class TorchVFS(nn.Module):
    def __init__(self, depth: int) -> None:
        super().__init__()
        self.backbone = Backbone(depth)
        self.img_head = Heads(*((512, 128) if depth < 50 else (2048, 512)))

    def embed(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Images [n, 3, h, w] of one view -> z, p [n, d]."""
        z = self.img_head.projection_fcs(self.backbone(images)["res5"].mean((2, 3)))
        return z, self.img_head.predictor_fcs(z)


def randomise(module: M, seed: int) -> M:
    """Random weights that keep the activations near 1, random BN weights and statistics; in place."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(tensor: Tensor, low: float, high: float) -> None:
        tensor.copy_(torch.rand(tensor.shape, generator=generator, dtype=tensor.dtype) * (high - low) + low)

    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if name.endswith("running_var") or (tensor.ndim == 1 and name.endswith("weight")):
                uniform(tensor, 0.5, 1.5)
            elif name.endswith("num_batches_tracked"):
                tensor.fill_(7)
            elif tensor.ndim == 4:
                bound = (6 / (tensor.shape[0] * tensor.shape[2] * tensor.shape[3])) ** 0.5
                uniform(tensor, -bound, bound)
            else:
                uniform(tensor, -0.1, 0.1)
    return module


def save(module: nn.Module, path: Path) -> Path:
    """Writes a file as the release does."""
    torch.save({"state_dict": module.state_dict(), "meta": {"epoch": 3}}, path)
    return path


def torchvision_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a backbone under torchvision's names."""
    renamed = {}
    for name, tensor in state.items():
        name = name.replace("downsample.conv.", "downsample.0.").replace("downsample.bn.", "downsample.1.")
        for i in "123":
            name = name.replace(f"conv{i}.conv.", f"conv{i}.").replace(f"conv{i}.bn.", f"bn{i}.")
        renamed[name] = tensor
    return renamed


def official_weights(oracles: Path, folder: Path, depth: int, layout: str = "vfs", *, siamfc: bool = False) -> Path:
    """Writes the seeded weights with which the official code was run; returns the file."""
    spec = importlib.util.spec_from_file_location("make_weights", oracles / "make_weights.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    tensors = {name: torch.from_numpy(array) for name, array in module.make_weights(depth, layout, siamfc).items()}
    path = folder / f"r{depth}_{layout}{'_siamfc' * siamfc}.pth"
    torch.save({"state_dict": tensors, "meta": {}} if layout == "vfs" else tensors, path)
    return path
