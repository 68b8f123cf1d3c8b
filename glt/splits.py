"""Which nodes or graphs train, validate and test, where a data set does not say."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

__all__ = ["per_class", "stratified"]


def per_class(y: Tensor, *, train: int = 20, val: int = 30, seed: int = 0) -> dict[str, Tensor]:
    """So many of each class to train, so many to validate, the rest to test.

    Args:
        y: (N,) labels 0, 1, ...
        train, val: of each class.
        seed: of the choice.

    Returns:
        `train`, `val`, `test`: (N,) bool.

    Raises:
        ValueError: a class has too few.

    References:
        Shchur et al., Pitfalls of Graph Neural Network Evaluation, 2018.

    >>> split = per_class(torch.tensor([0, 1, 0, 1, 0, 1]), train=1, val=1)
    >>> [int(split[name].sum()) for name in ("train", "val", "test")]
    [2, 2, 2]
    """
    sizes = torch.bincount(y)
    if int(sizes.min()) < train + val:
        raise ValueError(
            f"found a class ({int(sizes.argmin())}) of {int(sizes.min())}; expected at least {train + val} of each, "
            f"{train} to train and {val} to validate. Leave small classes out, or give splits of your own"
        )
    rank, _ = _ranks(y, seed)
    return {"train": rank < train, "val": (rank >= train) & (rank < train + val), "test": rank >= train + val}


def stratified(y: Tensor, *, val: float = 0.1, test: float = 0.1, seed: int = 0) -> dict[str, Tensor]:
    """Shares of each class to validate and to test, the rest to train.

    Args:
        y: (N,) labels 0, 1, ...
        val, test: shares, rounded; at least one of each class that has three.
        seed: of the choice.

    Returns:
        `train`, `val`, `test`: (N,) bool.

    >>> split = stratified(torch.arange(40) % 2)
    >>> [int(split[name].sum()) for name in ("train", "val", "test")]
    [32, 4, 4]
    """
    rank, size = _ranks(y, seed)
    least = (size >= 3).long()
    held_test, held_val = ((share * size).round().long().maximum(least) for share in (test, val))
    is_test, is_val = rank < held_test, (rank >= held_test) & (rank < held_test + held_val)
    return {"train": ~(is_test | is_val), "val": is_val, "test": is_test}


def _ranks(y: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """The place of each in a shuffle of its class, and how many that class has."""
    shuffled = torch.from_numpy(np.random.default_rng(seed).permutation(y.numel()))
    grouped = shuffled[torch.argsort(y[shuffled], stable=True)]
    sizes = torch.bincount(y)
    first = sizes.cumsum(0) - sizes
    rank = torch.empty_like(y)
    rank[grouped] = torch.arange(y.numel()) - first[y[grouped]]
    return rank, sizes[y]
