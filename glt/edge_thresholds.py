"""Thresholds that learn which edges stay, for every node and layer: the half of AdaGLT that prunes the graph."""

from __future__ import annotations

import math
from itertools import accumulate
from operator import mul

import torch
from torch import Tensor, nn

from glt.edges import Edges
from glt.features import Features
from glt.link_scores import LinkScorer
from glt.method_settings import AdaGLT

__all__ = ["EdgeThresholds", "hard", "nested"]

_TEMPERATURE, _JITTER, _TINY = 0.1, 0.01, 1e-14


def hard(margins: Tensor) -> Tensor:
    r"""$1[m > 0]$ forwards, $\sigma(m / 0.1)$ backwards.

    >>> hard(torch.tensor([-0.1, 0.0, 0.1])).tolist()
    [0.0, 0.0, 1.0]
    """
    soft = torch.sigmoid(margins / _TEMPERATURE)
    return (margins.detach() > 0).to(soft.dtype) + (soft - soft.detach())


def nested(masks: Tensor) -> Tensor:
    """Masks (depth, E) times those of all layers before: what is gone stays gone.

    >>> nested(torch.tensor([[1.0, 1.0, 0.0], [1.0, 0.0, 1.0]])).tolist()
    [[1.0, 1.0, 0.0], [1.0, 0.0, 0.0]]
    """
    return torch.stack(list(accumulate(masks, mul)))


class EdgeThresholds(nn.Module):
    r"""A score an edge and a threshold a node and layer.

    Scores are standardised, over the edges between nodes that may be seen. Nodes that may not have no threshold of
    their own; they get the mean of the others.

    Args:
        edges: of a graph of N nodes, with weights (depth, E).
        channels: width of the features.
        settings: filled by `glt.config.preset`.
        seen: (R,) the nodes that training may see; all if None.
    """

    def __init__(self, edges: Edges, channels: int, settings: AdaGLT, seen: Tensor | None = None) -> None:
        super().__init__()
        self.settings, self.reverse = settings, edges.reverse if edges.symmetric else None
        self.pattern = edges.pattern
        known = torch.ones(edges.num_nodes, dtype=torch.bool, device=edges.edge_index.device)
        if seen is not None:
            known = torch.zeros_like(known).index_fill_(0, seen, True)
        self.known, self.among = known, known[edges.edge_index].all(0)
        self.scorer = LinkScorer(channels, settings.hidden)
        start = self._inverse(-2 * self._set("spread"))
        self.threshold = nn.Parameter(torch.full((edges.weight.size(0), edges.num_nodes), start))

    def forward(self, x: Tensor | Features) -> tuple[Tensor, Tensor]:
        """Values of the edges, (depth, E): 1 plus a hundredth of the score where they stay, else 0; and margins."""
        raw = self.scorer(x, self.pattern)
        if self.reverse is not None:
            raw = (raw + raw[self.reverse]) / 2
        among = raw[self.among]
        score = (raw - among.mean()) / (among.var(correction=0) + _TINY).sqrt()
        margins = self.margins(score)
        return (1 + _JITTER * score) * nested(hard(margins)), margins

    def margins(self, score: Tensor) -> Tensor:
        """How far standardised scores (E,) are above the thresholds, (depth, E)."""
        usual = self.threshold[:, self.known].mean(1, keepdim=True)
        t = torch.where(self.known, self.threshold, usual)
        level = self._set("coefficient") * (t**3 + self._set("linear") * t)
        margins = self._set("spread") * score - level[:, self.pattern.target]
        return margins if self.reverse is None else (margins + margins[:, self.reverse]) / 2

    def penalty(self) -> Tensor:
        r"""$\operatorname{mean}_l \sum_v e^{-t^{(l)}_v}$ over the nodes that may be seen."""
        return torch.exp(-self.threshold[:, self.known]).sum(1).mean()

    def _inverse(self, level: float) -> float:
        """The t of which a level is the T(t): the one real root of a cubic."""
        slope = self._set("linear")
        root = math.asinh(1.5 * level / self._set("coefficient") / slope * math.sqrt(3 / slope))
        return 2 * math.sqrt(slope / 3) * math.sinh(root / 3)

    def _set(self, name: str) -> float:
        value = getattr(self.settings, name)
        if value is None:
            raise ValueError(f"adaglt.{name} is not set; call glt.config.preset() first")
        return float(value)
