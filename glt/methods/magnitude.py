"""Iterative magnitude pruning of weights and edges: train, drop the smallest, rewind, train again.

Edges are scored by their own trained weights: beside the network, every edge has a multiplier that starts at one and
trains with it. It is UGS without its masks on weights and without its L1 terms; and no multiplier falls below zero,
where a node's degree could vanish and its messages become infinite.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from torch import Tensor

from common.apply import gated, masked
from common.gates import Soft
from common.masks import prunable
from common.scores import magnitude as magnitudes
from glt.methods.search import Choice, Search
from glt.models import EDGES

__all__ = ["magnitude"]


class _Multiplier(Soft):
    """A weight of an edge, at least zero."""

    def forward(self, weight: Tensor) -> Tensor:
        return super().forward(weight).clamp(min=0)

    def scores(self) -> Tensor:
        return super().scores() * (self.value.detach() > 0)


def magnitude(search: Search) -> Iterator[Choice]:
    """The smallest trained weights and the smallest trained edge multipliers of every round go.

    References:
        Frankle and Carbin, The Lottery Ticket Hypothesis, ICLR 2019.
    """
    masks = search.last
    for number in range(len(search.densities)):
        masks = search.within(number, masks)
        model = search.start(masks)
        weights = masks.only("net.*")
        with masked(model, weights):
            if search.edges is None:
                with gated(model, masks.only(EDGES), {EDGES: partial(_Multiplier, noise=0.0)}) as gates:
                    search.plain(model)
                    edges = {name: score.clone() for name, score in gates.scores().items()}
            else:
                search.plain(model)
                edges = {}
        params = {name: p for name, p in prunable(model).items() if name in weights}
        masks = search.prune(number, {**magnitudes(model, params), **edges}, masks)
        yield Choice(masks)


magnitude.reference = "Frankle and Carbin, The Lottery Ticket Hypothesis, ICLR 2019"  # type: ignore[attr-defined]
