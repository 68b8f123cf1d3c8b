"""Exact selection: the k largest of many numbers, ties by lowest index, without sorting them all."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["kth_largest", "top_counts", "top_k"]

_LARGE = 1 << 18  # from here on a sample pays
_SAMPLE = 1 << 16
_CHUNK = 1 << 20  # temporaries of this many numbers stay in the cache


def kth_largest(values: Tensor | Sequence[Tensor], k: int) -> Tensor:
    """The k-th largest value (k = 1 is the maximum), exactly; several tensors count as one long one.

    Of many values a random sample (of a fixed seed) brackets the answer; those inside the bracket are gathered and
    searched. A bracket that misses is noticed by counting, and everything is searched instead.

    Args:
        values: numbers of any shape and dtype, infinite ones too; of several dtypes the promoted one is used.
        k: in [1, the number of values].

    Returns:
        A scalar tensor, on the device of the first tensor.

    Raises:
        ValueError: k is out of range, or a value is NaN.

    >>> kth_largest(torch.tensor([3.0, 1.0, 2.0]), 2).item()
    2.0
    >>> kth_largest([torch.tensor([3.0, 1.0]), torch.tensor([[2.0]])], 2).item()
    2.0
    """
    parts = _flat([values] if isinstance(values, Tensor) else values)
    n = sum(part.numel() for part in parts)
    if not 1 <= k <= n:
        raise ValueError(f"k must lie in [1, {n}], the number of values; found {k}")
    _refuse_nan(parts)
    parts = [part for part in parts if part.numel()]
    found = _bracketed(parts, n, k) if n >= _LARGE else None
    return _kth(parts, k) if found is None else found


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
    flat = _flat(parts)
    if k == 0:
        _refuse_nan(flat)
        return [0] * len(flat)
    threshold = kth_largest(flat, k).item()
    counts = [_count(part, "ge", threshold) for part in flat]
    surplus = sum(counts) - k
    for i in reversed(range(len(flat))):
        if surplus:
            ties = min(surplus, _count(flat[i], "eq", threshold))
            counts[i], surplus = counts[i] - ties, surplus - ties
    return counts


def top_k(scores: Tensor, k: int) -> Tensor:
    """A mask of the k largest scores, exactly k of them; among ties the lowest flat index wins.

    Args:
        scores: numbers of any shape and dtype, infinite ones too.
        k: in [0, scores.numel()].

    Returns:
        A bool tensor of the scores' shape.

    Raises:
        ValueError: a score is NaN, or k is out of range.

    >>> top_k(torch.tensor([1.0, 1.0, 0.0, 1.0]), 2).tolist()
    [True, True, False, False]
    """
    (flat,) = _flat([scores])
    if not 0 <= k <= flat.numel():
        raise ValueError(f"k must lie in [0, {flat.numel()}], the number of scores; found {k}")
    if k in (0, flat.numel()):
        _refuse_nan([flat])
        return torch.full(scores.shape, k > 0, dtype=torch.bool, device=scores.device)
    threshold = kth_largest(flat, k)
    mask = flat >= threshold
    if surplus := int(mask.count_nonzero()) - k:
        mask[(flat == threshold).nonzero().squeeze(1)[-surplus:]] = False
    return mask.reshape(scores.shape)


def _flat(values: Sequence[Tensor]) -> list[Tensor]:
    """One-dimensional tensors of one dtype that can be ordered."""
    dtype = functools.reduce(torch.promote_types, (v.dtype for v in values), torch.bool)
    if dtype.is_complex:
        raise ValueError(f"found numbers of {dtype}, which have no order; take their abs() first")
    dtype = torch.uint8 if dtype == torch.bool else dtype
    return [v.detach().reshape(-1).to(dtype) for v in values]


def _refuse_nan(parts: Sequence[Tensor]) -> None:
    """Raise if any number is NaN; the maximum is NaN then, and needs no temporaries."""
    if any(part.is_floating_point() and part.numel() and bool(part.max().isnan()) for part in parts):
        found, n = sum(int(part.isnan().sum()) for part in parts), sum(part.numel() for part in parts)
        raise ValueError(
            f"{found} of {n} values are NaN, which have no order; look for a diverged training or an infinite loss"
        )


def _kth(parts: Sequence[Tensor], k: int) -> Tensor:
    flat = parts[0] if len(parts) == 1 else torch.cat([part.to(parts[0].device) for part in parts])
    return torch.kthvalue(flat, flat.numel() - k + 1).values


def _bracketed(parts: Sequence[Tensor], n: int, k: int) -> Tensor | None:
    """The k-th largest of the concatenated parts by way of a bracket; None if the answer lies outside."""
    low, high = _bracket(parts, n, k)
    chunks = [chunk for part in parts for chunk in part.split(_CHUNK)]
    inside, larger, enough = [], 0, 0
    for chunk in chunks:
        above, reached = chunk > high, chunk >= low
        larger, enough = larger + int(above.count_nonzero()), enough + int(reached.count_nonzero())
        inside.append(reached.logical_xor_(above))
    if not larger < k <= enough:
        return None
    if enough - larger > n // 8:  # so many only if they are equal to an end
        for end in (high, low):
            more = sum(_count(part, "gt", end) for part in parts)
            if more < k <= more + sum(_count(part, "eq", end) for part in parts):
                return torch.tensor(end, dtype=parts[0].dtype, device=parts[0].device)
    return _kth([chunk.masked_select(mask) for chunk, mask in zip(chunks, inside, strict=True)], k - larger)


def _bracket(parts: Sequence[Tensor], n: int, k: int) -> tuple[float, float]:
    """Two numbers that enclose the k-th largest, but for a chance of one in some ten thousand."""
    generator = torch.Generator().manual_seed(0)
    wanted, drawn = min(_SAMPLE, max(n // 64, 64)), []
    for part in parts:
        size = -(-part.numel() * wanted // n)
        index = torch.randint(part.numel(), (size,), generator=generator)
        drawn.append(part[index.to(part.device)].to(parts[0].device))
    sample = torch.cat(drawn).sort(descending=True).values
    size = sample.numel()
    share = k / n
    margin = 4 * (size * share * (1 - share)) ** 0.5 + 4 + len(parts)
    first, last = int(share * size - margin), int(share * size + margin) + 1
    floating = sample.is_floating_point()
    ends = (-torch.inf, torch.inf) if floating else (torch.iinfo(sample.dtype).min, torch.iinfo(sample.dtype).max)
    return (sample[last].item() if last < size else ends[0], sample[first].item() if first >= 0 else ends[1])


def _count(part: Tensor, relation: str, bound: float) -> int:
    """How many numbers are greater than (gt), at least (ge) or equal to (eq) the bound."""
    compare = getattr(torch, relation)
    return sum(int(compare(chunk, bound).count_nonzero()) for chunk in part.split(_CHUNK))
