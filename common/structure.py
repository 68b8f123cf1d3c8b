"""What lives or dies together: entries, channels, blocks, n of m, tied groups.

Every structure is a function `score -> (group scores, expand)`: it pools a tensor's scores into one a group, and
`expand` turns a bool of every group back into a mask of the tensor's shape. Allocations and budgets count groups.

A score of -inf marks a dead entry: it counts as nothing in its group's mean, as the zero weight that it is does. A
group whose entries are all dead is dead itself, with the score -inf.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["Structure", "blocks", "channels", "entries", "n_of_m", "tied"]

Structure = Callable[[Tensor], tuple[Tensor, Callable[[Tensor], Tensor]]]


def entries(score: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """Every entry for itself, whatever the tensor's shape.

    >>> groups, expand = entries(torch.tensor([[1.0, 2.0]]))
    >>> expand(groups > 1).tolist()
    [[False, True]]
    """
    return score, lambda kept: kept


def channels(dim: int = 0) -> Structure:
    """All entries at one index of a dimension, such as a unit's or an output channel's weights.

    A group's score is the mean over its entries, which ranks like the sum of Li et al. and compares across tensors.

    Args:
        dim: 0 for the output channels of Linear and Conv weights, 1 for their input channels.

    Raises:
        ValueError: a tensor lacks the dimension.

    References:
        Li et al., Pruning Filters for Efficient ConvNets, ICLR 2017.

    >>> groups, expand = channels()(torch.tensor([[1.0, 3.0], [0.0, 1.0]]))
    >>> groups.tolist(), expand(groups > 1).tolist()
    ([2.0, 0.5], [[True, True], [False, False]])
    """

    def structure(score: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        if not -score.dim() <= dim < score.dim():
            raise ValueError(
                f"channels(dim={dim}) found a tensor of shape {tuple(score.shape)}, which lacks that dimension. "
                "Pass structure as a mapping of names, so that this tensor has another one."
            )
        rows = score.movedim(dim, 0).reshape(score.shape[dim], -1)
        value, alive = _parts(rows)
        shape = [-1 if i == dim % score.dim() else 1 for i in range(score.dim())]
        groups = _mean(value.sum(1), alive.sum(1), rows.shape[1])
        return groups, lambda kept: kept.reshape(shape).expand(score.shape).clone()

    return structure


def blocks(height: int, width: int) -> Structure:
    """Tiles of height by width of the matrix (out, everything else); those at the border may be smaller.

    A group's score is the mean over the entries that the tile has.

    Raises:
        ValueError: a side is below 1, or a tensor has fewer than two dimensions.

    References:
        Gray, Radford and Kingma, GPU Kernels for Block-Sparse Weights, 2017.

    >>> groups, expand = blocks(2, 2)(torch.arange(8.0).reshape(2, 4))
    >>> groups.tolist(), expand(groups > 3).int().tolist()
    ([[2.5, 4.5]], [[0, 0, 1, 1], [0, 0, 1, 1]])
    """
    if height < 1 or width < 1:
        raise ValueError(f"a block's height and width must be at least 1; found {height} and {width}")

    def structure(score: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        if score.dim() < 2:
            raise ValueError(f"blocks() tiles tensors of two or more dimensions; found the shape {tuple(score.shape)}")
        matrix = score.flatten(1)
        rows, columns = matrix.shape
        value, alive = _parts(matrix)
        size = _tiled(torch.ones_like(value), height, width)
        groups = _mean(_tiled(value, height, width), _tiled(alive.to(value.dtype), height, width), size)

        def expand(kept: Tensor) -> Tensor:
            tall = kept.repeat_interleave(height, 0)[:rows]
            return tall.repeat_interleave(width, 1)[:, :columns].reshape(score.shape)

        return groups, expand

    return structure


def n_of_m(n: int, m: int) -> Structure:
    """The best n of every m consecutive entries of a row, the pattern that sparse tensor cores take.

    The only density it can meet is n / m, which the structure carries as `density`; `prune` refuses another. Groups
    are single entries, scored by minus their rank within their m; those ranked below n count as dead.

    Raises:
        ValueError: not 0 < n <= m, or a tensor's rows (in-features times kernel) are no multiple of m.

    References:
        Mishra et al., Accelerating Sparse Deep Neural Networks, 2021.

    >>> groups, expand = n_of_m(2, 4)(torch.tensor([[1.0, 4.0, 3.0, 2.0]]))
    >>> groups.tolist()
    [[-inf, 0.0, -1.0, -inf]]
    """
    if not 0 < n <= m:
        raise ValueError(f"n_of_m(n, m) keeps n of every m entries, with 0 < n <= m; found n={n}, m={m}")

    def structure(score: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        row = score.shape[1:].numel() if score.dim() > 1 else score.numel()
        if row % m:
            raise ValueError(
                f"n_of_m({n}, {m}) found a tensor of shape {tuple(score.shape)} with rows of {row} entries; expected "
                f"a multiple of {m}. Leave this tensor out, or give it another structure by a mapping of names."
            )
        runs = score.reshape(-1, m)
        order = runs.argsort(dim=1, descending=True, stable=True)
        rank = order.argsort(dim=1).to(torch.float32)
        dead = (rank >= n) | runs.isneginf()
        return (0.0 - rank).masked_fill(dead, -torch.inf).reshape(score.shape), lambda kept: kept

    structure.density = n / m  # type: ignore[attr-defined]
    return structure


def tied(index: Tensor) -> Structure:
    """Entries with the same number share one fate and their mean score: the two directions of an edge, for one.

    Args:
        index: a long tensor of the score's shape that numbers the groups from 0.

    Raises:
        TypeError: the index holds no integers.
        ValueError: a number is negative or, below the largest, not used; or the score has another shape.

    >>> groups, expand = tied(torch.tensor([0, 1, 0]))(torch.tensor([1.0, 5.0, 2.0]))
    >>> groups.tolist(), expand(torch.tensor([True, False])).tolist()
    ([1.5, 5.0], [True, False, True])
    """
    if index.dtype not in (torch.int32, torch.int64):
        raise TypeError(f"tied() needs an index of torch.int64; found {index.dtype}")
    if index.numel() and int(index.min()) < 0:
        raise ValueError(f"tied() numbers groups from 0; found the number {int(index.min())}")
    sizes = torch.bincount(index.reshape(-1))
    if bool((sizes == 0).any()):
        raise ValueError(
            f"tied() found no entry in group {int(sizes.argmin())} of {sizes.numel()}; number the groups without "
            "gaps, as torch.unique(..., return_inverse=True) does"
        )

    def structure(score: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        if score.shape != index.shape:
            raise ValueError(f"tied() has an index of shape {tuple(index.shape)}; found scores of {tuple(score.shape)}")
        flat = index.reshape(-1).to(score.device).long()
        value, alive = _parts(score.reshape(-1))
        total = value.new_zeros(sizes.numel()).index_add_(0, flat, value)
        living = value.new_zeros(sizes.numel()).index_add_(0, flat, alive.to(value.dtype))
        return _mean(total, living, sizes.to(score.device)), lambda kept: kept[flat].reshape(score.shape)

    return structure


def _parts(score: Tensor) -> tuple[Tensor, Tensor]:
    """The scores with zero for dead entries, in at least single precision, and which ones are alive."""
    dead = score.isneginf()
    value = score.detach().to(torch.promote_types(score.dtype, torch.float32))
    return value.masked_fill(dead, 0.0), ~dead


def _mean(total: Tensor, alive: Tensor, size: Tensor | int) -> Tensor:
    return (total / size).masked_fill(alive == 0, -torch.inf)


def _tiled(matrix: Tensor, height: int, width: int) -> Tensor:
    """The sum over every tile, with zeros beyond the border."""
    rows, columns = matrix.shape
    padded = functional.pad(matrix, (0, -columns % width, 0, -rows % height))
    return padded.unflatten(1, (-1, width)).unflatten(0, (-1, height)).sum((1, 3))
