"""Draws that follow from a seed and a step alone: seeds of steps, and batches by number."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from gen_tickets._ranks import share

__all__ = ["Batches", "step_seed"]


def step_seed(seed: int, *place: int | str) -> int:
    """A seed of its own for every step and purpose, whatever was drawn before.

    >>> step_seed(0, 7) == step_seed(0, 7), step_seed(0, 7) == step_seed(7, 0)
    (True, False)
    """
    key = ":".join(map(str, (seed, *place)))
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:7], "big")


class Batches:
    """Batches by number: each epoch is a permutation of its own, drawn from the seed and the epoch.

    Args:
        images: (N, C, H, W), float32 in [-1, 1].
        size: images in a batch; all of them if there are fewer.
        seed: of the order.

    Raises:
        TypeError: the images are no float32 tensor.
        ValueError: another number of dimensions, no image, values out of range, or a size below 1.

    >>> batches = Batches(torch.linspace(-1, 1, 4).reshape(4, 1, 1, 1), 2, seed=0)
    >>> sorted(torch.cat([batches(6), batches(7)]).flatten().tolist()) == batches.images.flatten().tolist()
    True
    """

    def __init__(self, images: Tensor, size: int, seed: int) -> None:
        if not isinstance(images, Tensor) or images.dtype != torch.float32:
            found = images.dtype if isinstance(images, Tensor) else type(images).__name__
            raise TypeError(f"found images of {found}; expected a float32 tensor (N, C, H, W) in [-1, 1]")
        if images.dim() != 4 or not images.numel():
            raise ValueError(f"found images of the shape {tuple(images.shape)}; expected (N, C, H, W) with N > 0")
        low, high = images.min().item(), images.max().item()
        if not (low >= -1 and high <= 1):
            raise ValueError(f"found images from {low:g} to {high:g}; expected [-1, 1]. Rescale them.")
        if size < 1:
            raise ValueError(f"found a batch of {size}; expected at least 1 image")
        self.images, self.size, self.seed = images, min(size, len(images)), seed
        self._order: tuple[int, Tensor] = (-1, torch.empty(0))

    @property
    def epoch(self) -> int:
        """Batches an epoch; the few images left over wait for the next permutation."""
        return len(self.images) // self.size

    def __call__(self, number: int) -> Tensor:
        """The batch (size, C, H, W) of that number, from 0; in a trainer's step this process's share of it."""
        epoch, place = divmod(number, self.epoch)
        if self._order[0] != epoch:
            draw = torch.Generator().manual_seed(step_seed(self.seed, "order", epoch))
            self._order = (epoch, torch.randperm(len(self.images), generator=draw))
        rows = share(self.size)
        index = self._order[1][place * self.size :][rows.start : rows.stop]
        return self.images[index.to(self.images.device)]
