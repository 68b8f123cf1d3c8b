r"""Learned scores of edges from what is at their two ends, and the gate that hands them to a network.

The score is a two-layer perceptron of both ends, $s_{ij} = w \cdot \mathrm{ReLU}(W [x_i \| x_j] + b) + c$. Since
$W [x_i \| x_j] = W_s x_i + W_t x_j$, its first map is computed once a node instead of once an edge, and with sparse
features at the cost of their non-zeros.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from common.gates import Gate
from glt._csr import csr
from glt.adjacency import Pattern
from glt.features import Features

__all__ = ["Given", "LinkScorer", "link_scores"]

_BLOCK = 64  # hidden units at a time, so that edges x units fits a cache instead of filling memory


class _LinkScores(torch.autograd.Function):
    """The scores, block by block of hidden units; of a unit, the gradients need only where it is above zero."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, x: Tensor | Features, first: Tensor, bias: Tensor, second: Tensor, pattern: Pattern
    ) -> Tensor:
        ctx.save_for_backward(first, second)
        ctx.x, ctx.pattern, ctx.ends = x, pattern, []
        scores = second.new_zeros(pattern.source.numel())
        for block in _blocks(second):
            left, right = (_times(x, part[:, block].contiguous()) for part in first)
            ctx.ends.append((left, right.add_(bias[block])))
            scores.add_(_sums(left, right, pattern).relu_() @ second[block])
        return scores

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        (first, second), x, pattern = ctx.saved_tensors, ctx.x, ctx.pattern
        targets, sources = pattern.size
        of = (
            csr(pattern.back_rows, pattern.back, grad[pattern.back], (sources, grad.numel())),
            csr(pattern.rows, pattern.order, grad[pattern.order], (targets, grad.numel())),
        )
        to_x = torch.zeros_like(x) if ctx.needs_input_grad[0] else None
        to_first, to_bias, to_second = torch.empty_like(first), torch.empty_like(second), torch.empty_like(second)
        for block, ends in zip(_blocks(second), ctx.ends, strict=True):
            active = _sums(ends[0], ends[1], pattern).gt_(0)
            at = [incidence @ active for incidence in of]
            to_second[block] = sum((end * part).sum(0) for end, part in zip(ends, at, strict=True))
            to_bias[block] = (grad @ active) * second[block]
            for end, part in enumerate(at):
                part.mul_(second[block])
                to_first[end, :, block] = _transposed_times(x, part)
                if to_x is not None:
                    to_x.addmm_(part, first[end, :, block].T)
        return to_x, to_first, to_bias, to_second, None


def link_scores(x: Tensor | Features, first: Tensor, bias: Tensor, second: Tensor, pattern: Pattern) -> Tensor:
    r"""$\sum_k v_k \mathrm{ReLU}((x_i W_1 + x_j W_2 + b)_k)$ for every edge from i to j.

    Time is edges times hidden units. Memory is nodes times hidden units, of edges but a few units at a time.

    Args:
        x: (N, F) features, dense with a gradient if they require one, or `Features`.
        first: (2, F, K), $W_1$ of the node that an edge comes from and $W_2$ of the one it leads to.
        bias: (K,), $b$.
        second: (K,), $v$.
        pattern: of a graph of N nodes.

    Returns:
        (E,) in the pattern's edge order.

    >>> pattern = Pattern(torch.tensor([[0, 1], [1, 0]]), 2)
    >>> first = torch.tensor([[[1.0, 0.0]], [[1.0, -1.0]]])
    >>> link_scores(torch.tensor([[2.0], [5.0]]), first, torch.tensor([1.0, 4.0]), torch.tensor([1.0, 10.0]), pattern)
    tensor([ 8., 28.])
    """
    scores: Tensor = _LinkScores.apply(x, first, bias, second, pattern)  # type: ignore[no-untyped-call]
    return scores


def _blocks(units: Tensor) -> list[slice]:
    return [slice(start, start + _BLOCK) for start in range(0, units.numel(), _BLOCK)]


def _sums(left: Tensor, right: Tensor, pattern: Pattern) -> Tensor:
    """Hidden units before ReLU, (E, at most `_BLOCK`)."""
    return left.index_select(0, pattern.source).add_(right.index_select(0, pattern.target))


def _times(x: Tensor | Features, weight: Tensor) -> Tensor:
    if isinstance(x, Features):
        return x.matrix @ weight if x.is_sparse else x.x @ weight
    return x @ weight


def _transposed_times(x: Tensor | Features, grad: Tensor) -> Tensor:
    if isinstance(x, Features):
        return x.transposed @ grad if x.is_sparse else x.x.T @ grad
    return x.T @ grad


class LinkScorer(nn.Module):
    r"""A score an edge, $s_{ij} = w \cdot \mathrm{ReLU}(W_s x_i + W_t x_j + b) + c$.

    Weights start uniform as those of `nn.Linear(2 F, hidden)` and `nn.Linear(hidden, 1)`.

    Shapes:
        - input: features (N, F), dense or `Features`, and the `Pattern` of a graph of N nodes
        - output: (E,) in the pattern's edge order

    Args:
        channels: F.
        hidden: how many hidden units.

    >>> scorer = LinkScorer(3, 4)
    >>> scorer(torch.zeros(2, 3), Pattern(torch.tensor([[0, 1], [1, 0]]), 2)).shape
    torch.Size([2])
    """

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        first, second = 1 / math.sqrt(2 * channels), 1 / math.sqrt(hidden)
        self.first = nn.Parameter(torch.empty(2, channels, hidden).uniform_(-first, first))
        self.bias = nn.Parameter(torch.empty(hidden).uniform_(-first, first))
        self.second = nn.Parameter(torch.empty(hidden).uniform_(-second, second))
        self.shift = nn.Parameter(torch.empty(()).uniform_(-second, second))

    def forward(self, x: Tensor | Features, pattern: Pattern) -> Tensor:
        """Scores of all edges."""
        return link_scores(x, self.first, self.bias, self.second, pattern) + self.shift


class Given(Gate):
    """A multiplier that is computed elsewhere and set before every pass; zero outside the mask.

    Attributes:
        value: of the weight's shape, ones at first; its gradient goes to whatever computed it.

    >>> gate = Given(torch.ones(2), torch.tensor([True, False]))
    >>> gate.value = torch.tensor([0.5, 0.5])
    >>> gate(torch.ones(2)).tolist()
    [0.5, 0.0]
    """

    value: Tensor

    def __init__(self, weight: Tensor, mask: Tensor) -> None:
        super().__init__(weight, mask)
        self.value = torch.ones_like(weight, requires_grad=False)

    def forward(self, weight: Tensor) -> Tensor:  # noqa: ARG002
        """The value inside the mask."""
        return self.value * self.mask

    def scores(self) -> Tensor:
        """The value, detached."""
        return (self.value * self.mask).detach()

    def penalty(self) -> Tensor:
        """Always zero: whatever computes the value has its own."""
        return self.value.new_zeros(())
