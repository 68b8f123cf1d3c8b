r"""Gates: learned multipliers of a parameter, $\tilde w = w \odot g(w)$, for `gated`.

Every gate is a module built as `Kind(weight, mask, **settings)` from the parameter and its bool mask. Its `forward`
takes the current weight and returns the multiplier, of the weight's shape and zero wherever the mask is; `scores`
ranks the entries (larger survives), `penalty` is what a loss may add. A new gate is one more such class.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from common._gate import Gate as Gate
from common._gate import straight_through, total
from common._gate import uniform as _draw
from common._gates_smooth import HardConcrete as HardConcrete
from common._gates_smooth import Sigmoid as Sigmoid
from common.select import top_k

__all__ = ["Gate", "HardConcrete", "Sigmoid", "Soft", "Step", "TopK"]


class Soft(Gate):
    r"""A free value an entry, pulled to zero by an L1 penalty: the masks of UGS.

    $g = m \odot v$, with $v = m \odot (1 + (2u - 1)\,\epsilon)$ at first and $u$ uniform on [0, 1): the noise breaks
    ties. Scores are $|m \odot v|$, the penalty is their sum.

    Args:
        weight: the parameter to gate.
        mask: bool, of the same shape.
        noise: $\epsilon$, the half-width of the noise.
        uniform: the draw $u$ itself, of the weight's shape, in place of a fresh one.
        generator: of the fresh draw.

    Raises:
        ValueError: shapes differ, or both `uniform` and `generator` are given.

    Reference:
        Chen et al., A Unified Lottery Ticket Hypothesis for Graph Neural Networks, ICML 2021.

    >>> gate = Soft(torch.ones(3), torch.tensor([True, False, True]), noise=0.5, uniform=torch.tensor([0.0, 0.5, 0.75]))
    >>> gate(torch.ones(3)).tolist()
    [0.5, 0.0, 1.25]
    """

    reference = "Chen et al., A Unified Lottery Ticket Hypothesis for Graph Neural Networks, ICML 2021"

    def __init__(
        self,
        weight: Tensor,
        mask: Tensor,
        *,
        noise: float = 1e-5,
        uniform: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(weight, mask)
        if uniform is not None and generator is not None:
            raise ValueError("both uniform and generator are given; pass the draw, or the generator that makes it.")
        draw = _draw(weight, generator) if uniform is None else uniform.to(weight)
        if draw.shape != weight.shape:
            raise ValueError(f"uniform has shape {tuple(draw.shape)}; it must have the weight's, {tuple(weight.shape)}")
        self.value = nn.Parameter(self.mask * (1 + (2 * draw - 1) * noise))

    def forward(self, weight: Tensor) -> Tensor:  # noqa: ARG002
        r"""$m \odot v$, of the weight's shape."""
        return self.value * self.mask

    def scores(self) -> Tensor:
        r"""$|m \odot v|$, detached."""
        return (self.value.detach() * self.mask).abs()

    def penalty(self) -> Tensor:
        r"""$\sum |m \odot v|$."""
        return total((self.value * self.mask).abs())


class TopK(Gate):
    r"""The best share of an untrained tensor, found by learning a score an entry: edge-popup.

    $g_i = 1$ if $s_i$ is among the $k$ largest scores inside the mask, else 0, with $k$ = round(density * entries) and
    ties to the lowest index; backwards the gate is the identity, $\partial g_i / \partial s_i = m_i$. Freeze the
    weights (`requires_grad_(False)`) to train scores alone. Scores start uniform in $\pm 1/\sqrt{\text{fan in}}$.

    Args:
        weight: the parameter to gate.
        mask: bool, of the same shape.
        density: share of all entries that passes, in [0, 1].
        generator: of the first scores.

    Raises:
        ValueError: shapes differ, or the density is outside [0, 1] or above the mask's.

    Reference:
        Ramanujan et al., What's Hidden in a Randomly Weighted Neural Network?, CVPR 2020.

    >>> gate = TopK(torch.ones(4), torch.ones(4, dtype=torch.bool), density=0.5)
    >>> _ = gate.score.data.copy_(torch.tensor([0.1, 0.4, 0.2, 0.3]))
    >>> gate(torch.ones(4)).tolist()
    [0.0, 1.0, 0.0, 1.0]
    """

    reference = "Ramanujan et al., What's Hidden in a Randomly Weighted Neural Network?, CVPR 2020"

    def __init__(
        self, weight: Tensor, mask: Tensor, *, density: float, generator: torch.Generator | None = None
    ) -> None:
        super().__init__(weight, mask)
        kept = int(self.mask.sum())
        if not 0.0 <= density <= 1.0 or round(density * mask.numel()) > kept:
            raise ValueError(
                f"density is {density}; it must lie in [0, 1] and need at most the {kept} of {mask.numel()} "
                "entries that the mask keeps."
            )
        self.count = round(density * mask.numel())
        fan_in = weight[0].numel() if weight.dim() > 1 else weight.numel()
        self.score = nn.Parameter((2 * _draw(weight, generator) - 1) / math.sqrt(max(fan_in, 1)))

    def forward(self, weight: Tensor) -> Tensor:  # noqa: ARG002
        """Ones at the $k$ largest scores, zeros elsewhere."""
        return straight_through(self._hard(), self.score * self.mask)

    def scores(self) -> Tensor:
        """$s$, detached."""
        return self.score.detach().clone()

    def penalty(self) -> Tensor:
        """Always zero: the density is met by construction."""
        return self.score.new_zeros(())

    def _hard(self) -> Tensor:
        alive = self.score.detach().masked_fill(~self.mask, -torch.inf)
        return top_k(alive, self.count).to(self.score.dtype)


class Step(Gate):
    r"""A threshold a row that learns which weights are too small: dynamic sparse training, as in AdaGLT.

    $g_{ij} = m_{ij}\, S(|w_{ij}| - t_i)$ with the unit step $S(x) = 1[x \ge 0]$, a threshold for each index of the
    first dimension (a single one for a vector), zero at first. Backwards $S'(x)$ is taken as $2 - 4|x|$ for
    $|x| \le 0.4$, 0.4 for $0.4 < |x| \le 1$, and 0 beyond; the gradient reaches thresholds and weights. Scores are
    $|w| - t$, the penalty is $\sum_i e^{-t_i}$: it falls as the thresholds rise.

    Args:
        weight: the parameter to gate; its current values are what `scores` reads.
        mask: bool, of the same shape.

    Raises:
        ValueError: shapes differ.

    Reference:
        Liu et al., Dynamic Sparse Training, ICLR 2020; Zhang et al., Graph Lottery Ticket Automated, ICLR 2024.

    >>> weight = torch.tensor([[0.1, -0.9], [0.3, 0.2]])
    >>> gate = Step(weight, torch.ones(2, 2, dtype=torch.bool))
    >>> _ = gate.threshold.data.copy_(torch.tensor([[0.5], [0.25]]))
    >>> gate(weight).tolist()
    [[0.0, 1.0], [1.0, 0.0]]
    """

    reference = "Liu et al., Dynamic Sparse Training, ICLR 2020"

    def __init__(self, weight: Tensor, mask: Tensor) -> None:
        super().__init__(weight, mask)
        rows = (weight.size(0),) + (1,) * (weight.dim() - 1) if weight.dim() > 1 else (1,) * weight.dim()
        self.threshold = nn.Parameter(torch.zeros(rows, dtype=weight.dtype, device=weight.device))
        self._weight = (weight,)  # in a tuple, so that it is not registered a second time

    def forward(self, weight: Tensor) -> Tensor:
        """Ones where a weight reaches its row's threshold, of the weight's shape."""
        margin = weight.abs() - self.threshold
        near = margin.detach().abs()
        slope = torch.where(near <= 0.4, 2 - 4 * near, 0.4 * (near <= 1).to(near.dtype))
        return straight_through((margin.detach() >= 0).to(weight.dtype), slope * margin) * self.mask

    def scores(self) -> Tensor:
        """$|w| - t$ of the weight as it stands, detached."""
        return self._weight[0].detach().abs() - self.threshold.detach()

    def penalty(self) -> Tensor:
        r"""$\sum_i e^{-t_i}$."""
        return total(torch.exp(-self.threshold))
