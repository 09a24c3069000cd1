"""An independent vision transformer in PyTorch, with the official files' names: attention in full, one token at a time
where that is plain to read."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Shape:
    """What a vision transformer is: see ViT's attributes."""

    patch: int = 4
    width: int = 24
    depth: int = 2
    heads: int = 3
    hidden: int = 40
    gated: str = ""  # "", "fused" (DINOv2's w12) or "split" (DINOv3's w1 and w2)
    layer_scale: bool = False
    registers: int = 0
    positions: str = "offset"
    grid: int = 5
    qkv_bias: bool = True
    epsilon: float = 1e-6


class Scale(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma


class Attention(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads = shape.heads
        self.qkv = nn.Linear(shape.width, 3 * shape.width, bias=shape.qkv_bias)
        self.proj = nn.Linear(shape.width, shape.width)
        if shape.positions == "rotary" and shape.qkv_bias:
            ones = torch.ones(shape.width)
            self.qkv.register_buffer("bias_mask", torch.cat([ones, 0 * ones, ones]))

    def forward(self, x: Tensor, angles: Tensor | None) -> Tensor:
        b, n, c = x.shape
        mask = dict(self.qkv.named_buffers()).get("bias_mask")
        bias = self.qkv.bias if mask is None else self.qkv.bias * mask
        query, key, value = F.linear(x, self.qkv.weight, bias).reshape(b, n, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        if angles is not None:
            query, key = turn(query, angles), turn(key, angles)
        weights = (query @ key.transpose(-2, -1) / math.sqrt(c / self.heads)).softmax(-1)
        return self.proj((weights @ value).transpose(1, 2).reshape(b, n, c))


def turn(x: Tensor, angles: Tensor) -> Tensor:
    """Multiplies the complex numbers (x[i], x[i + d/2]) of the last tokens by e^(i angle)."""
    first = x.shape[-2] - len(angles)
    half = x.shape[-1] // 2
    patches = torch.complex(x[..., first:, :half].contiguous(), x[..., first:, half:].contiguous())
    turned = patches * torch.polar(torch.ones_like(angles), angles)
    return torch.cat([x[..., :first, :], torch.cat([turned.real, turned.imag], -1)], -2)


class FeedForward(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        c, hidden = shape.width, shape.hidden
        if shape.gated == "fused":
            self.w12, self.w3 = nn.Linear(c, 2 * hidden), nn.Linear(hidden, c)
        elif shape.gated == "split":
            self.w1, self.w2, self.w3 = nn.Linear(c, hidden), nn.Linear(c, hidden), nn.Linear(hidden, c)
        else:
            self.fc1, self.fc2 = nn.Linear(c, hidden), nn.Linear(hidden, c)
        self.gated = shape.gated

    def forward(self, x: Tensor) -> Tensor:
        if not self.gated:
            return self.fc2(F.gelu(self.fc1(x)))
        gate, value = self.w12(x).chunk(2, -1) if self.gated == "fused" else (self.w1(x), self.w2(x))
        return self.w3(F.silu(gate) * value)


class Block(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(shape.width, eps=shape.epsilon)
        self.attn = Attention(shape)
        self.norm2 = nn.LayerNorm(shape.width, eps=shape.epsilon)
        self.mlp = FeedForward(shape)
        if shape.layer_scale:
            self.ls1, self.ls2 = Scale(shape.width), Scale(shape.width)

    def forward(self, x: Tensor, angles: Tensor | None) -> Tensor:
        scale1, scale2 = getattr(self, "ls1", nn.Identity()), getattr(self, "ls2", nn.Identity())
        x = x + scale1(self.attn(self.norm1(x), angles))
        return x + scale2(self.mlp(self.norm2(x)))


class TorchViT(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        c, self.shape = shape.width, shape
        self.cls_token = nn.Parameter(torch.zeros(1, 1, c))
        if shape.positions == "rotary":
            self.rope_embed = nn.Module()
            quarter = c // shape.heads // 4
            self.rope_embed.register_buffer("periods", 100 ** (torch.arange(quarter) / quarter))
        else:
            self.pos_embed = nn.Parameter(torch.zeros(1, 1 + shape.grid**2, c))
        if shape.registers:
            self.register_tokens = nn.Parameter(torch.zeros(1, shape.registers, c))
        self.patch_embed = nn.Module()
        self.patch_embed.proj = nn.Conv2d(3, c, shape.patch, shape.patch)
        self.blocks = nn.ModuleList([Block(shape) for _ in range(shape.depth)])
        self.norm = nn.LayerNorm(c, eps=shape.epsilon)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Images [b, 3, h, w] -> {"block.0": [b, h', w', c], ..., "norm": ...}."""
        x = self.patch_embed.get_submodule("proj")(images).permute(0, 2, 3, 1)
        b, rows, cols, c = x.shape
        prefix: Tensor = self.cls_token
        angles = None
        if self.shape.positions == "rotary":
            places = [((r + 0.5) / rows * 2 - 1, (s + 0.5) / cols * 2 - 1) for r in range(rows) for s in range(cols)]
            periods = self.rope_embed.get_buffer("periods")
            turns = torch.tensor(places, dtype=periods.dtype)
            angles = torch.cat([2 * math.pi * turns[:, :1] / periods, 2 * math.pi * turns[:, 1:] / periods], 1)
        else:
            prefix = prefix + self.pos_embed[:, :1]
            x = x + self._positions(rows, cols, square=images.shape[2] == images.shape[3])
        if self.shape.registers:
            prefix = torch.cat([prefix, self.register_tokens], 1)
        x = torch.cat([prefix.expand(b, -1, -1), x.reshape(b, rows * cols, c)], 1)
        outputs = {}
        for i, block in enumerate(self.blocks):
            x = block(x, angles)
            outputs[f"block.{i}"] = x
        outputs["norm"] = self.norm(x)
        return {name: y[:, prefix.shape[1] :].reshape(b, rows, cols, c) for name, y in outputs.items()}

    def _positions(self, rows: int, cols: int, *, square: bool) -> Tensor:
        side = self.shape.grid
        native = self.pos_embed[:, 1:].reshape(1, side, side, -1)
        if square and rows == cols == side:
            return native
        native = native.permute(0, 3, 1, 2)
        if self.shape.positions == "offset":
            scale = ((rows + 0.1) / side, (cols + 0.1) / side)
            resized = F.interpolate(native, scale_factor=scale, mode="bicubic")
        else:
            resized = F.interpolate(native, size=(rows, cols), mode="bicubic", antialias=True)
        assert resized.shape[2:] == (rows, cols)
        return resized.permute(0, 2, 3, 1)


def randomize(model: nn.Module, seed: int) -> None:
    """Draws all parameters, in place: weights that keep the tokens near 1, all else away from 0 and 1."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            spread = 1 / math.sqrt(tensor[0].numel()) if tensor.ndim in (2, 4) else 0.3
            tensor.copy_(torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype) * spread)
            if ("norm" in name and name.endswith("weight")) or "gamma" in name:
                tensor.add_(1)
