"""Exact selection: the k largest of many numbers, ties by lowest index, without sorting them all."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["kth_largest", "top_k"]

_LARGE, _SAMPLE = 1 << 18, 1 << 14


def kth_largest(values: Tensor, k: int) -> Tensor:
    """The k-th largest value (k = 1 is the maximum), exactly.

    Of many values a sample brackets the answer, and only those inside the bracket are searched.

    Args:
        values: numbers of any shape, without NaN.
        k: in [1, values.numel()].

    Returns:
        A scalar tensor.

    Raises:
        ValueError: k is out of range.

    >>> kth_largest(torch.tensor([3.0, 1.0, 2.0]), 2).item()
    2.0
    """
    flat = values.reshape(-1)
    n = flat.numel()
    if not 1 <= k <= n:
        raise ValueError(f"k must lie in [1, {n}], the number of values; found {k}")
    if n >= _LARGE:
        found = _bracketed(flat, k)
        if found is not None:
            return found
    return torch.kthvalue(flat, n - k + 1).values


def _bracketed(flat: Tensor, k: int) -> Tensor | None:
    n = flat.numel()
    sample = flat[:: n // _SAMPLE].sort(descending=True).values
    at, margin = k / n * sample.numel(), 4 * sample.numel() ** 0.5 / 2 + 2
    above = sample[max(int(at - margin), 0)] if at > margin else None
    below = sample[min(int(at + margin), sample.numel() - 1)] if at + margin < sample.numel() else None
    inside = torch.ones_like(flat, dtype=torch.bool) if above is None else flat <= above
    larger = n - int(inside.sum())
    if below is not None:
        inside &= flat >= below
    candidates = flat[inside]
    rank = k - larger
    if not 1 <= rank <= candidates.numel():
        return None
    if bool((candidates == candidates[0]).all()):
        return candidates[0]
    return torch.kthvalue(candidates, candidates.numel() - rank + 1).values


def top_k(scores: Tensor, k: int) -> Tensor:
    """A mask of the k largest scores, exactly k of them; among ties the lowest index wins.

    Args:
        scores: numbers of any shape.
        k: in [0, scores.numel()].

    Raises:
        ValueError: a score is NaN, or k is out of range.

    >>> top_k(torch.tensor([1.0, 1.0, 0.0, 1.0]), 2).tolist()
    [True, True, False, False]
    """
    if bool(torch.isnan(scores).any()):
        raise ValueError(f"{int(torch.isnan(scores).sum())} of {scores.numel()} scores are NaN; they have no order")
    flat = scores.reshape(-1)
    if not 0 <= k <= flat.numel():
        raise ValueError(f"k must lie in [0, {flat.numel()}], the number of scores; found {k}")
    if k == 0:
        return torch.zeros_like(scores, dtype=torch.bool)
    threshold = kth_largest(flat, k)
    mask = flat > threshold
    ties = (flat == threshold).nonzero().squeeze(1)
    mask[ties[: k - int(mask.sum())]] = True
    return mask.reshape(scores.shape)
