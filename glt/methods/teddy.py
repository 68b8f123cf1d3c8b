"""TEDDY (Seo, Yun and Yang, ICLR 2024): edges by degree in one shot, weights by projection while distilling.

Reimplemented from the paper and the description of its code; not validated against the authors' code. Where theirs
reports the network at the end of the projected training, here that training only chooses the weights: the ticket is
then trained from the initial weights, as all tickets are. `--training.distil 0` leaves the distillation away, which
carries most of the published accuracy.
"""

from __future__ import annotations

from collections.abc import Iterator

from common.masks import Masks
from glt.methods.baselines import degree_score
from glt.methods.search import Choice, Search
from glt.models import EDGES

__all__ = ["teddy"]


def teddy(search: Search) -> Iterator[Choice]:
    """The lowest degree scores go, at once; then the smallest weights after every step of one training.

    Unlike as published, no tensor is left with less than half of its even share, see `Search.project`.

    References:
        Seo, Yun and Yang, TEDDY: Trimming Edges with Degree-based Discrimination Strategy, ICLR 2024.
    """
    with search.once():
        edges = search.build().edges
        scores = {EDGES: degree_score(edges.edge_index, edges.num_nodes)}
    for number in range(len(search.densities)):
        kept = search.prune(number, scores, Masks.dense({EDGES: edges.weight}))
        masks, metrics = search.project(number, kept)
        yield Choice(masks, about={"projected": dict(metrics)})


teddy.reference = "Seo, Yun and Yang, TEDDY, ICLR 2024"  # type: ignore[attr-defined]
