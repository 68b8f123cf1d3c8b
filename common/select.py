"""Exact selection: the k largest of many numbers, ties by lowest index, without sorting them all.

Among many numbers a strided sample brackets the k-th largest, and only what lies inside the bracket is searched. The
counts outside prove that it does; where it does not, everything is searched. The answer never depends on the sample.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor

__all__ = ["kth_largest", "top_counts", "top_k"]

_MANY = 1 << 17  # from here on a sample pays
_SAMPLE = 1 << 15
_MARGIN = 5.0  # standard deviations of the sample's rank on either side


def kth_largest(values: Tensor | Sequence[Tensor], k: int) -> Tensor:
    """The k-th largest value, exactly; k = 1 is the maximum.

    Args:
        values: numbers of any shape and real dtype, infinities included, or several such tensors taken as one.
        k: in [1, how many values there are].

    Returns:
        A scalar tensor.

    Raises:
        ValueError: k is out of range, or a value is NaN.

    >>> kth_largest(torch.tensor([3.0, 1.0, 2.0]), 2)
    tensor(2.)
    """
    parts = _flat([values] if isinstance(values, Tensor) else values)
    return _kth(parts, k)


def top_counts(parts: Sequence[Tensor], k: int) -> list[int]:
    """How many of the k largest numbers lie in each tensor; ties go to the first tensor, then to the lowest index.

    Args:
        parts: tensors of any shapes and real dtypes.
        k: in [0, how many numbers there are].

    Raises:
        ValueError: k is out of range, or a number is NaN.

    >>> top_counts([torch.tensor([1.0, 5.0]), torch.tensor([1.0, 1.0])], 2)
    [2, 0]
    """
    if k == 0:
        return [0 for _ in parts]
    flat = _flat(parts)
    threshold = _kth(flat, k).item()
    counts = [int(torch.count_nonzero(part >= threshold)) for part in flat]
    surplus = sum(counts) - k
    for i in reversed(range(len(flat))):
        if surplus:
            ties = min(surplus, int(torch.count_nonzero(flat[i] == threshold)))
            counts[i] -= ties
            surplus -= ties
    return counts


def top_k(scores: Tensor, k: int) -> Tensor:
    """A mask of the k largest scores, exactly k of them; among ties the lowest flat index wins.

    Args:
        scores: numbers of any shape and real dtype, infinities included.
        k: in [0, scores.numel()].

    Returns:
        A bool tensor of the same shape.

    Raises:
        ValueError: k is out of range, or a score is NaN.

    >>> top_k(torch.tensor([1.0, 1.0, 0.0, 1.0]), 2).tolist()
    [True, True, False, False]
    """
    (flat,) = _flat([scores])
    if k == 0:
        _refuse_nan([flat])
        return torch.zeros_like(scores, dtype=torch.bool)
    threshold = _kth([flat], k)
    mask = flat >= threshold
    surplus = int(torch.count_nonzero(mask)) - k
    if surplus:
        ties = (flat == threshold).nonzero().squeeze(1)
        mask[ties[-surplus:]] = False
    return mask.reshape(scores.shape)


def _flat(values: Sequence[Tensor]) -> list[Tensor]:
    """One-dimensional views of one dtype."""
    dtype = reduce(torch.promote_types, [v.dtype for v in values], torch.uint8 if values else torch.float32)
    if dtype.is_complex:
        raise ValueError(f"found {dtype} numbers, which have no order; take their abs() first")
    return [v.detach().reshape(-1).to(dtype if v.dtype != dtype else v.dtype) for v in values]


def _refuse_nan(parts: Sequence[Tensor]) -> None:
    for part in parts:
        if part.numel() and part.is_floating_point() and bool(part.amax().isnan()):
            raise ValueError(
                f"{int(part.isnan().sum())} of {part.numel()} scores are NaN, which have no order. Look for a "
                "diverged training or an infinite loss."
            )


def _kth(parts: Sequence[Tensor], k: int) -> Tensor:
    total = sum(part.numel() for part in parts)
    if not 1 <= k <= total:
        raise ValueError(f"k must lie between 1 and {total}, the number of scores; found {k}")
    _refuse_nan(parts)
    if total >= _MANY:
        found = _bracketed(parts, k, total)
        if found is not None:
            return found
    return _search(parts, k)


def _search(parts: Sequence[Tensor], k: int) -> Tensor:
    values = parts[0] if len(parts) == 1 else torch.cat([part.to(parts[0].device) for part in parts])
    return torch.kthvalue(values, values.numel() - k + 1).values


def _bracketed(parts: Sequence[Tensor], k: int, total: int) -> Tensor | None:
    """The k-th largest by way of a sample's order statistics, or None if these missed it."""
    high, low = _bracket(parts, k, total)
    inside, larger, reached = [], 0, 0
    for part in parts:
        upper = part >= (torch.inf if high is None else high.item())
        above = torch.ones_like(upper) if low is None else part > low.item()
        larger += 0 if high is None else int(torch.count_nonzero(upper))
        reached += int(torch.count_nonzero(above))
        inside.append(above if high is None else above.logical_xor_(upper))
    if larger < k <= reached:
        return _search([part[mask] for part, mask in zip(parts, inside, strict=True)], k - larger)
    for bound in (high, low):
        if bound is not None and _is_kth(parts, bound.item(), k):
            return bound
    return None


def _bracket(parts: Sequence[Tensor], k: int, total: int) -> tuple[Tensor | None, Tensor | None]:
    """Values that very likely lie above and below the k-th largest; None where the sample ends before."""
    stride, seen, picked = total // _SAMPLE, 0, []
    for part in parts:
        picked.append(part[-seen % stride :: stride].to(parts[0].device))
        seen += part.numel()
    sample = torch.cat(picked).sort(descending=True).values
    size = sample.numel()
    share = k / total
    margin = _MARGIN * math.sqrt(size * share * (1 - share)) + 8
    first, last = math.floor(size * share - margin), math.ceil(size * share + margin)
    return (sample[first] if first >= 0 else None), (sample[last] if last < size else None)


def _is_kth(parts: Sequence[Tensor], value: float, k: int) -> bool:
    larger = sum(int(torch.count_nonzero(part > value)) for part in parts)
    return larger < k <= sum(int(torch.count_nonzero(part >= value)) for part in parts)
