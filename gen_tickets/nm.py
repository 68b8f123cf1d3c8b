r"""N:M sparsity learned while training: SR-STE, as a gate for `common.apply.gated`."""

from __future__ import annotations

import torch
from torch import Tensor

from common.gates import Gate
from common.structure import n_of_m

__all__ = ["NofM"]


class NofM(Gate):
    r"""The n largest of every m consecutive weights of a row pass; the others keep learning and decay.

    $\tilde w = m(w) \odot w$, and backwards $\partial L / \partial w = \partial L / \partial \tilde w + \lambda (1 - m)
    \odot w$: the first term straight through the gate, the second the gradient of `penalty`. After training,
    `prune(magnitude(...), n / m, structure=n_of_m(n, m))` is the mask that the gate had.

    Args:
        weight: the parameter to gate.
        mask: bool, of the same shape.
        n, m: how many of how many pass, as in `common.structure.n_of_m`.
        decay: $\lambda$, of the weights that do not pass.

    Raises:
        ValueError: shapes differ, or rows are no multiple of m.

    References:
        Zhou et al., Learning N:M Fine-grained Structured Sparse Neural Networks From Scratch, ICLR 2021.
        Wang et al., SparseDM: Toward Sparse Efficient Diffusion Models, 2024.

    >>> weight = torch.tensor([[1.0, -4.0, 3.0, 2.0]])
    >>> gate = NofM(weight, torch.ones(1, 4, dtype=torch.bool), n=2, m=4, decay=0.5)
    >>> gate(weight).tolist(), gate.penalty().item()
    ([[0.0, 1.0, 1.0, 0.0]], 1.25)
    """

    reference = "Zhou et al., Learning N:M Fine-grained Structured Sparse Neural Networks From Scratch, ICLR 2021"

    def __init__(self, weight: Tensor, mask: Tensor, *, n: int, m: int, decay: float = 2e-4) -> None:
        super().__init__(weight, mask)
        self.structure, self.decay = n_of_m(n, m), decay
        self.structure(weight.detach())
        self._weight = (weight,)  # in a tuple, so that it is not registered a second time

    def forward(self, weight: Tensor) -> Tensor:
        r"""$m(w)$, with the gradient by which $w \odot m(w)$ has that of $w$."""
        hard = self._hard(weight)
        other = weight.detach()
        slope = weight / torch.where(other == 0, 1.0, other) * (self.mask & (hard == 0))
        return hard + (slope - slope.detach())

    def scores(self) -> Tensor:
        """$|w|$ of the weight as it stands, detached."""
        return self._weight[0].detach().abs()

    def penalty(self) -> Tensor:
        r"""$\frac{\lambda}{2} \|(1 - m) \odot w\|^2$."""
        weight = self._weight[0]
        return self.decay / 2 * (weight * (self._hard(weight) == 0)).square().sum()

    def _hard(self, weight: Tensor) -> Tensor:
        groups, expand = self.structure(weight.detach().abs().masked_fill(~self.mask, -torch.inf))
        return expand(~groups.isneginf()).to(weight.dtype)
