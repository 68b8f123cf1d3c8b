"""What lives or dies together: entries, channels, blocks, N:M patterns, tied groups.

Every structure is a function `score -> (group scores, expand)`: it pools a tensor's scores into one a group, and
`expand` turns a bool of every group back into a mask of the tensor's shape. Allocations and budgets count groups.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["Structure", "blocks", "channels", "entries", "n_of_m", "tied"]

Structure = Callable[[Tensor], tuple[Tensor, Callable[[Tensor], Tensor]]]


def entries(score: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """Every entry for itself.

    >>> groups, expand = entries(torch.tensor([[1.0, 2.0]]))
    >>> expand(groups > 1).tolist()
    [[False, True]]
    """
    return score, lambda kept: kept.reshape(score.shape)


def channels(dim: int = 0) -> Structure:
    """All entries at one index of a dimension: output channels and units (0), input ones (1).

    A channel's score is the mean over its entries (Li et al., ICLR 2017, up to their sum).

    Raises:
        ValueError: a tensor lacks the dimension.

    >>> groups, expand = channels()(torch.tensor([[1.0, 3.0], [0.0, 1.0]]))
    >>> groups.tolist(), expand(groups > 1).tolist()
    ([2.0, 0.5], [[True, True], [False, False]])
    """

    def structure(score: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        if not -score.dim() <= dim < score.dim():
            raise ValueError(f"channels(dim={dim}) needs a tensor with that dimension; found {tuple(score.shape)}")
        axis = dim % score.dim()
        pooled = score.transpose(0, axis).flatten(1).mean(1) if score.dim() > 1 else score
        shape = [-1 if i == axis else 1 for i in range(score.dim())]
        return pooled, lambda kept: kept.reshape(shape).expand(score.shape).clone()

    return structure


def blocks(height: int, width: int) -> Structure:
    """Tiles of height by width of the matrix (out, everything else); tiles at the border may be smaller.

    A tile's score is the mean over its entries.

    >>> groups, expand = blocks(2, 2)(torch.arange(8.0).reshape(2, 4))
    >>> groups.tolist(), expand(groups > 3).int().tolist()
    ([[2.5, 4.5]], [[0, 0, 1, 1], [0, 0, 1, 1]])
    """
    if height < 1 or width < 1:
        raise ValueError(f"a block's height and width must be at least 1; found {height} by {width}")

    def structure(score: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        matrix = score.reshape(score.shape[0], -1) if score.dim() != 1 else score.reshape(1, -1)
        rows = torch.arange(matrix.shape[0], device=score.device) // height
        columns = torch.arange(matrix.shape[1], device=score.device) // width
        across = int(columns[-1]) + 1
        index = (rows[:, None] * across + columns[None]).reshape(score.shape)
        pooled, expand = tied(index)(score)
        return pooled.reshape(-1, across), expand

    return structure


def n_of_m(n: int, m: int) -> Structure:
    """The best n of every m consecutive entries of a row, as sparse tensor cores want them (Mishra et al., 2021).

    The only density it can meet is n/m, which it carries as `density`; `prune` refuses another. Groups are entries,
    ranked within their m so that the budget falls on n of each.

    Raises:
        ValueError: not 0 < n <= m, or a row's length is no multiple of m.

    >>> structure = n_of_m(2, 4)
    >>> groups, expand = structure(torch.tensor([[1.0, 4.0, 3.0, 2.0]]))
    >>> groups.tolist()
    [[-3.0, 0.0, -1.0, -2.0]]
    """
    if not 0 < n <= m:
        raise ValueError(f"n_of_m keeps n of m with 0 < n <= m; found n={n}, m={m}")

    def structure(score: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        row = score.numel() // score.shape[0] if score.dim() > 1 else score.numel()
        if row % m:
            raise ValueError(f"n_of_m({n}, {m}) needs rows of a multiple of {m} entries; found {tuple(score.shape)}")
        order = score.reshape(-1, m).argsort(dim=1, descending=True, stable=True)
        rank = torch.empty_like(order).scatter_(1, order, torch.arange(m, device=score.device).expand_as(order))
        dead = torch.isneginf(score)
        ranked = (-rank).to(torch.float32).reshape(score.shape).masked_fill(dead, -torch.inf)
        return ranked, lambda kept: kept.reshape(score.shape)

    structure.density = n / m  # type: ignore[attr-defined]
    return structure


def tied(index: Tensor) -> Structure:
    """Entries with the same number share one fate, and their mean score: both directions of an undirected edge, say.

    Args:
        index: a long tensor of the score's shape, with numbers 0 to G - 1.

    Raises:
        ValueError: the score has another shape.

    >>> groups, expand = tied(torch.tensor([0, 1, 0]))(torch.tensor([1.0, 5.0, 2.0]))
    >>> groups.tolist(), expand(torch.tensor([True, False])).tolist()
    ([1.5, 5.0], [True, False, True])
    """

    def structure(score: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        if score.shape != index.shape:
            raise ValueError(f"tied() has an index of shape {tuple(index.shape)}; found scores {tuple(score.shape)}")
        flat = index.reshape(-1).to(score.device)
        groups = int(flat.max()) + 1 if flat.numel() else 0
        pooled = score.new_zeros(groups).index_add_(0, flat, score.reshape(-1))
        pooled = pooled / torch.bincount(flat, minlength=groups).clamp(min=1)
        return pooled, lambda kept: kept.reshape(-1)[flat].reshape(score.shape)

    return structure
