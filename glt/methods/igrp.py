r"""IGRP, iterative gradient rank pruning (Harn et al., BigData 2022).

Reimplemented from the paper, not validated against the authors' code. The dense network trains from its initial
weights; an edge or a weight scores $|w\,\partial L / \partial w|$, or with `--igrp.order` 2 or 3 its share of a longer
Taylor expansion (`common.saliency.expansion`), averaged over the epochs of best validation accuracy. Losses are taken
without dropout. Several shots repeat this under the masks so far, in equal ratios down to the density. Most edges of
a sparsely labelled graph are out of the loss's sight: what scores zero is kept or pruned at random, not by its place.

Edges and weights have a budget each. With `--igrp.budget joint` they share one, as many entries as the two together:
both kinds of score say by how much the loss would change, a pair of opposite edges counting as one entry whose score is
the sum of the two. Where edges are given, the weights keep their own.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from common.allocate import prune
from common.apply import masked
from common.masks import Masks, prunable
from common.saliency import expansion
from common.scoped import seeded
from common.scores import random as random_scores
from common.structure import entries
from glt.methods._epoch import epoch
from glt.methods.search import Choice, Search
from glt.models import EDGES, WEIGHTS, GraphModel
from glt.training import adam

__all__ = ["igrp", "joint", "ranked"]

_TINY = 1e-30  # below any score that is not zero


def igrp(search: Search) -> Iterator[Choice]:
    """The best-ranked edges and weights of a training, or of several from the initial weights; each density by itself.

    References:
        Harn et al., IGRP: Iterative Gradient Rank Pruning for Finding Graph Lottery Ticket, BigData 2022.
    """
    shots = search.config.igrp.shots
    whole = Masks.dense({EDGES: search.build().edges.weight, **prunable(search.build())})
    for number, density in enumerate(search.densities):
        masks = search.within(number, whole)
        for shot in range(1, shots + 1):
            part = replace(
                search,
                densities=[{name: share ** (shot / shots) for name, share in density.items()}],
                edges=None if search.edges is None else [search.edges[number]],
            )
            scores = ranked(part, masks)
            shared = search.config.igrp.budget == "joint" and search.edges is None
            masks = joint(part, scores, masks) if shared else part.prune(0, scores, masks)
        yield Choice(masks)


def ranked(search: Search, masks: Masks) -> dict[str, Tensor]:
    """Train under masks and average the scores of the best epochs, the first ones on ties; zeros get a random order.

    Args:
        search: settings; where it has edges, only weights are scored.
        masks: of everything.

    Returns:
        Name to scores of the parameter's shape, -inf where it is pruned.
    """
    settings, model = search.config.igrp, search.start(masks)
    named = dict(model.named_parameters())
    scored = masks if search.edges is None else masks.only(WEIGHTS)
    best: list[tuple[float, int, dict[str, Tensor]]] = []
    with seeded(search.seed), masked(model, masks.only(WEIGHTS)):
        optimizer = adam([{"params": list(model.net.parameters())}], search.config.training)
        for count in range(search.config.training.epochs):
            epoch(search, model, optimizer)
            key = (search.task.evaluate(model)["val"], -count)
            if len(best) == settings.top and key < best[0][:2]:
                continue
            scores = _score(search, model, {name: named[name] for name in scored})
            (heapq.heappushpop if len(best) == settings.top else heapq.heappush)(best, (*key, scores))
    order = random_scores(search.seed)(model, {name: named[name] for name in scored}, None)
    mean = {name: torch.stack([scores[name] for _, _, scores in best]).mean(0) for name in scored}
    return {n: (score + _TINY * order[n]).masked_fill(~masks[n], -torch.inf) for n, score in mean.items()}


def joint(search: Search, scores: dict[str, Tensor], masks: Masks) -> Masks:
    """The best of edges and weights together: as many as the first density leaves of each, in one budget.

    Args:
        search: the densities and what is tied.
        scores: by name, for edges and all weights.
        masks: to stay within.
    """
    density, pairs = search.densities[0], search.structure(scores[EDGES])[0]
    weights = sum(score.numel() for name, score in scores.items() if name != EDGES)
    kept = round(density[EDGES] * pairs.numel()) + round(density[WEIGHTS] * weights)
    sums = scores[EDGES] * (scores[EDGES].numel() / max(1, pairs.numel()))
    structure = {name: search.structure if name == EDGES else entries for name in scores}
    return prune({**scores, EDGES: sums}, kept / (pairs.numel() + weights), structure=structure, within=masks)


def _score(search: Search, model: GraphModel, params: dict[str, Tensor]) -> dict[str, Tensor]:
    mode = model.training
    model.eval()
    scores = expansion(search.config.igrp.order)(model, params, search.task.objective)
    model.train(mode)
    return scores


igrp.reference = "Harn et al., IGRP, BigData 2022"  # type: ignore[attr-defined]
