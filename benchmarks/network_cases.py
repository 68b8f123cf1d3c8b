"""Random small networks given to `common.sparse.convert`, against the masked model in float64."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from typing import Any

import torch
from kernel_cases import Found, machine
from torch import Tensor, nn
from torch.nn import functional

from common.sparse.convert import convert

__all__ = ["Drawn", "network"]

_TIME = 3  # numbers of the second input
_ERROR = 1e-4  # of an output, relative to the largest
_FLOAT = 8.0  # how much larger the error may be than torch's own in float32, where that is the larger bound


class Block(nn.Module):
    """One piece of a network, of a kind that the runtime rewrites."""

    def __init__(self, kind: str, inner: nn.Module, outer: nn.Module, margins: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.kind, self.inner, self.outer, self.margins = kind, inner, outer, margins

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """The next value."""
        if self.kind == "pad":
            return self.outer(self.inner(functional.pad(x, self.margins)))
        if self.kind == "residual":
            return self.outer(x + self.inner(x))
        if self.kind == "cat":
            return torch.cat([x, self.outer(self.inner(x))], 1)
        if self.kind == "time":
            return self.inner(x) + self.outer(time)[:, :, None, None]
        if self.kind == "tokens":
            turned = self.inner(x.flatten(2).transpose(1, 2)).transpose(1, 2)
            return self.outer(turned.reshape(len(x), -1, x.shape[2], x.shape[3]))
        return self.outer(self.inner(x))


class Drawn(nn.Module):
    """Some blocks at random.

    Attributes:
        channels, size: of the input.
    """

    def __init__(self, rng: random.Random) -> None:
        super().__init__()
        self.channels, blocks = rng.choice([1, 2, 4, 6]), []
        self.size = (1, 1) if rng.random() < 0.1 else (rng.randint(1, 12), rng.randint(1, 20))
        shape = (1, self.channels, *self.size)
        for _ in range(rng.randint(1, 4)):
            blocks.append(_block(rng, *shape[1:]))
            shape = tuple(blocks[-1](torch.zeros(2, *shape[1:]), torch.zeros(2, _TIME)).shape)
        self.blocks = nn.ModuleList(blocks)
        values = shape[1] * shape[2] * shape[3]
        flat = values <= 600 and rng.random() < 0.3
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(values, 5)) if flat else nn.Identity()

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """The output for images and (images, 3) numbers."""
        for block in self.blocks:
            x = block(x, time)
        return self.head(x)


def _block(rng: random.Random, channels: int, rows: int, cols: int) -> Block:
    kinds = ["plain", "pad", "residual", "cat", "time", "tokens", "norm", "up", "turned"]
    kind, more = rng.choice([k for k in kinds if k != "up" or rows * cols < 200]), rng.choice([1, 2, 4, 6, 9])
    after = rng.choice([nn.Identity(), nn.ReLU(), nn.LeakyReLU(0.2)])
    if kind == "pad":
        margins = tuple(rng.randint(0, 3) for _ in "abcd")
        inner = _conv(rng, channels, more, rows + margins[2] + margins[3], cols + margins[0] + margins[1], 0)
        return Block(kind, inner, after, margins)
    if kind == "tokens":
        return Block(kind, nn.Linear(channels, more, bias=rng.random() < 0.7), nn.Identity())
    if kind == "turned":
        kernel, stride = [(rng.randint(1, 4), rng.randint(1, 4)), (rng.randint(1, 2), rng.randint(1, 3))]
        extra = tuple(rng.randint(0, s - 1) for s in stride)
        groups = rng.choice([g for g in (1, 2, 3) if channels % g == more % g == 0])
        edge = tuple(min(1, (k - 1) // 2) for k in kernel)
        return Block(kind, nn.ConvTranspose2d(channels, more, kernel, stride, edge, extra, groups), after)
    same = nn.Conv2d(channels, channels, 3, padding=1, bias=rng.random() < 0.7)
    if kind == "residual":
        return Block(kind, same, after)
    if kind == "norm":
        most = channels if rows * cols > 1 else channels - 1  # torch refuses a group of one value in one image
        groups = [g for g in range(1, most + 1) if channels % g == 0]
        norm = nn.GroupNorm(rng.choice(groups), channels) if groups else nn.Identity()
        return Block(kind, nn.Sequential(norm, *([nn.SiLU()] if rng.random() < 0.7 else []), same), after)
    if kind == "up":
        return Block(
            kind, nn.Sequential(nn.Upsample(scale_factor=2), _conv(rng, channels, more, 2 * rows, 2 * cols)), after
        )
    if kind == "cat":
        return Block(kind, nn.Conv2d(channels, more, 1 if rng.random() < 0.5 else 3, padding="same"), after)
    inner = _conv(rng, channels, more, rows, cols)
    return Block(kind, inner, nn.Linear(_TIME, more) if kind == "time" else after)


def _conv(rng: random.Random, channels: int, more: int, rows: int, cols: int, padding: int | None = None) -> nn.Conv2d:
    """A convolution that leaves at least one pixel."""
    groups = rng.choice([g for g in (1, 1, 2, 3) if channels % g == more % g == 0])
    edge = (rng.randint(0, 2), rng.randint(0, 2)) if padding is None else (padding, padding)
    kernel = tuple(rng.randint(1, min(4, n + 2 * e)) for n, e in zip((rows, cols), edge, strict=True))
    spread = tuple(
        2 if k > 1 and 2 * (k - 1) < n + 2 * e and rng.random() < 0.3 else 1
        for k, n, e in zip(kernel, (rows, cols), edge, strict=True)
    )
    stride = (rng.choice([1, 1, 2]), rng.choice([1, 1, 2, 3]))
    return nn.Conv2d(channels, more, kernel, stride, edge, spread, groups, bias=rng.random() < 0.7)


@torch.no_grad()
def network(rng: random.Random, model: Drawn, fenced: Callable[[Tensor], Tensor]) -> Found:
    """A network at two sizes of the batch, with one thread and with 2, 3 or 4.

    Args:
        rng: draws densities, batches and the registers' width; torch's own generator draws the values.
        model: its weights are drawn anew.
        fenced: where its inputs lie.
    """
    density, target = rng.choice([0.0, 0.05, 0.3, 0.7, 1.0]), machine(rng)
    for value in model.parameters():
        value.copy_(torch.randn_like(value) / max(1, value[0].numel()) ** 0.5)
    masks = {n: torch.rand_like(p) < density for n, p in model.named_parameters() if p.dim() > 1}
    plain = copy.deepcopy(model)
    for name, mask in masks.items():
        plain.get_parameter(name).mul_(mask)
    exact = copy.deepcopy(plain).double()
    sparse = convert(model, masks, _inputs(model, 2), backend="sparse")
    sparse._machine, sparse.alone = target, rng.randint(0, 15)
    worst, wrong, batches = 0.0, [], [rng.choice([1, 16, 33]), rng.randint(2, 33)]
    for batch in batches:
        inputs = tuple(fenced(value) for value in _inputs(model, batch))
        expected, rough = exact(*(value.double() for value in inputs)), plain(*inputs)
        largest = float(expected.abs().max()) or 1.0
        bound = max(_ERROR, _FLOAT * float((rough - expected).abs().max()) / largest)
        sparse.threads = 1
        found = sparse(*inputs)
        sparse.threads = rng.randint(2, 4)
        same = torch.equal(found, sparse(*inputs))
        off = float((found - expected).abs().max()) / largest
        worst = max(worst, off)
        if not off <= bound:
            wrong.append(f"batch {batch}: found a relative difference of {off:.1e}; expected at most {bound:.1e}")
        if not same:
            wrong.append(f"batch {batch}: found other bits with {sparse.threads} threads than with 1")
    drawn: dict[str, Any] = {"blocks": [str(block) for block in model.blocks] if wrong else len(model.blocks)}
    facts = {"density": density, "batches": batches, "alone": sparse.alone, "lanes": target.lanes}
    return Found(worst, "; ".join(wrong), facts | {"input": [model.channels, *model.size]} | drawn)


def _inputs(model: Drawn, batch: int) -> tuple[Tensor, Tensor]:
    return torch.randn(batch, model.channels, *model.size), torch.randn(batch, _TIME)
