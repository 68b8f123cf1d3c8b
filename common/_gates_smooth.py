"""The smooth gates: a sigmoid that hardens, and the hard concrete distribution. Import them from `common.gates`."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from common._gate import Gate, total, uniform

__all__ = ["HardConcrete", "Sigmoid"]


class Sigmoid(Gate):
    r"""A sigmoid an entry that hardens as its temperature rises: continuous sparsification.

    $g = m \odot \sigma(\beta s)$ with $\beta$ = `temperature`, which the training loop raises (from 1 to 200 in the
    paper). In eval mode the gate is the step $1[s > 0]$ unless `hard` is set to False. Scores are $s$, the penalty is
    $\sum \sigma(\beta s)$.

    Args:
        weight: the parameter to gate.
        mask: bool, of the same shape.
        init: the first $s$ of every entry.
        temperature: the first $\beta$.

    Raises:
        ValueError: shapes differ.

    Reference:
        Savarese et al., Winning the Lottery with Continuous Sparsification, NeurIPS 2020.

    >>> gate = Sigmoid(torch.ones(2), torch.tensor([True, False]))
    >>> gate(torch.ones(2)).tolist()
    [0.5, 0.0]
    """

    reference = "Savarese et al., Winning the Lottery with Continuous Sparsification, NeurIPS 2020"

    def __init__(self, weight: Tensor, mask: Tensor, *, init: float = 0.0, temperature: float = 1.0) -> None:
        super().__init__(weight, mask)
        self.temperature = temperature
        self.hard = True
        self.score = nn.Parameter(torch.full_like(weight.detach(), init))

    def forward(self, weight: Tensor) -> Tensor:  # noqa: ARG002
        r"""$m \odot \sigma(\beta s)$, or its step in eval mode."""
        if self.hard and not self.training:
            return ((self.score > 0) & self.mask).to(self.score.dtype)
        return torch.sigmoid(self.temperature * self.score) * self.mask

    def scores(self) -> Tensor:
        """$s$, detached."""
        return self.score.detach().clone()

    def penalty(self) -> Tensor:
        r"""$\sum m \odot \sigma(\beta s)$."""
        return total(torch.sigmoid(self.temperature * self.score) * self.mask)


class HardConcrete(Gate):
    r"""A stochastic gate with mass at exactly 0 and 1 and a differentiable expected L0 norm.

    In training, with $u$ uniform on (0, 1), $\beta = 2/3, \gamma = -0.1, \zeta = 1.1$:
    $g = m \odot \min(1, \max(0, \sigma((\log u - \log(1-u) + \log\alpha) / \beta)(\zeta - \gamma) + \gamma))$;
    in eval mode $\sigma(\log\alpha)$ takes the place of the sampled sigmoid. The penalty is the expected number of open
    gates, $\sum \sigma(\log\alpha - \beta \log(-\gamma/\zeta))$; scores are $\log\alpha$.

    Args:
        weight: the parameter to gate.
        mask: bool, of the same shape.
        keep: first value of $\sigma(\log\alpha)$, in (0, 1).
        generator: of the noise of every forward; the default one if absent.

    Raises:
        ValueError: shapes differ, or `keep` is outside (0, 1).

    Reference:
        Louizos et al., Learning Sparse Neural Networks through L0 Regularization, ICLR 2018.

    >>> gate = HardConcrete(torch.ones(2), torch.tensor([True, False])).eval()
    >>> gate(torch.ones(2)).tolist()
    [0.5, 0.0]
    """

    reference = "Louizos et al., Learning Sparse Neural Networks through L0 Regularization, ICLR 2018"
    beta, gamma, zeta = 2 / 3, -0.1, 1.1

    def __init__(
        self, weight: Tensor, mask: Tensor, *, keep: float = 0.5, generator: torch.Generator | None = None
    ) -> None:
        super().__init__(weight, mask)
        if not 0.0 < keep < 1.0:
            raise ValueError(f"keep is {keep}; it must lie strictly between 0 and 1.")
        self.generator = generator
        self.log_alpha = nn.Parameter(torch.full_like(weight.detach(), math.log(keep / (1 - keep))))

    def forward(self, weight: Tensor) -> Tensor:  # noqa: ARG002
        """A sampled gate in training, the deterministic one in eval mode."""
        logits: Tensor = self.log_alpha
        if self.training:
            tiny = torch.finfo(logits.dtype).eps
            draw = uniform(logits, self.generator).clamp(tiny, 1 - tiny)
            logits = (torch.logit(draw) + logits) / self.beta
        stretched = torch.sigmoid(logits) * (self.zeta - self.gamma) + self.gamma
        return stretched.clamp(0, 1) * self.mask

    def scores(self) -> Tensor:
        r"""$\log\alpha$, detached."""
        return self.log_alpha.detach().clone()

    def penalty(self) -> Tensor:
        """The expected number of open gates inside the mask."""
        shift = self.beta * math.log(-self.gamma / self.zeta)
        return total(torch.sigmoid(self.log_alpha - shift) * self.mask)
