"""Baselines that look at the graph alone: random edges, TEDDY's degree score, DSpar's score.

`random` also draws its weights, which is what collapses at low density. The other two keep the largest weights of the
trained dense network, so that a table shows what their edges are worth.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from common.masks import Masks, prunable
from common.scores import magnitude
from common.scores import random as random_scores
from glt.methods.search import Choice, Search
from glt.models import EDGES, GraphModel

__all__ = ["degree", "degree_score", "dspar", "dspar_score", "random"]


def random(search: Search) -> Iterator[Choice]:
    """Random tickets: every live edge and weight has the same chance to stay.

    References:
        Chen et al., A Unified Lottery Ticket Hypothesis for Graph Neural Networks, ICML 2021 (as a baseline).
    """
    masks = search.last
    params = prunable(search.build())
    for number in range(len(search.densities)):
        score = random_scores(search.seed * 1_000_003 + masks.kept)
        model = search.build()
        edges: dict[str, Tensor] = {EDGES: model.edges.weight}
        masks = search.prune(number, score(model, {**edges, **params}, None), masks)
        yield Choice(masks)


def degree(search: Search) -> Iterator[Choice]:
    """TEDDY's degree score for edges, the dense network's magnitudes for weights; no distillation, no projection.

    References:
        Seo, Yun and Yang, TEDDY: Trimming Edges with Degree-based Discrimination Strategy, ICLR 2024.
    """
    return _scored(search, degree_score)


def dspar(search: Search) -> Iterator[Choice]:
    """DSpar's score for edges, kept deterministically, the dense network's magnitudes for weights.

    References:
        Liu et al., DSpar: An Embarrassingly Simple Strategy for Efficient GNN Training and Inference via Degree-based
        Sparsification, TMLR 2023.
    """
    return _scored(search, dspar_score)


def degree_score(edge_index: Tensor, nodes: int) -> Tensor:
    r"""$s_{ij} = u_i u_j$ with $u_i = d_i^{-1} \operatorname{mean}_{j \in N(i)} d_j^{-1/2}$: low between busy nodes.

    Args:
        edge_index: (2, E) directed edges, both directions of an undirected one.
        nodes: how many there are.

    Returns:
        (E,) scores; larger survives.

    References:
        Seo, Yun and Yang, TEDDY, ICLR 2024.

    >>> star = torch.tensor([[0, 0, 0, 1, 2, 3, 1, 2], [1, 2, 3, 0, 0, 0, 2, 1]])
    >>> [round(s, 3) for s in degree_score(star, 4).tolist()[:4]]
    [0.086, 0.086, 0.155, 0.086]
    """
    source, target = edge_index
    degrees = torch.bincount(source, minlength=nodes).clamp(min=1).float()
    near = torch.zeros(nodes).index_add_(0, source.cpu(), degrees.rsqrt()[target].cpu()).to(degrees.device)
    u = near / degrees.square()
    return u[source] * u[target]


def dspar_score(edge_index: Tensor, nodes: int) -> Tensor:
    r"""$s_{ij} = 1/d_i + 1/d_j$, an upper bound of the effective resistance.

    Args:
        edge_index: (2, E) directed edges, both directions of an undirected one.
        nodes: how many there are.

    Returns:
        (E,) scores; larger survives.

    References:
        Liu et al., DSpar, TMLR 2023.

    >>> dspar_score(torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]]), 3).tolist()
    [1.5, 1.5, 1.5, 1.5]
    """
    source, target = edge_index
    degrees = torch.bincount(source, minlength=nodes).clamp(min=1).float()
    return 1 / degrees[source] + 1 / degrees[target]


def _scored(search: Search, score: Callable[[Tensor, int], Tensor]) -> Iterator[Choice]:
    with search.once():
        model: GraphModel = search.trained()
        scores = {EDGES: score(model.edges.edge_index, model.edges.num_nodes)}
        sizes = {n: s for n, s in magnitude(model, prunable(model)).items() if n != EDGES}
    whole = Masks({n: torch.ones_like(s, dtype=torch.bool) for n, s in {**scores, **sizes}.items()})
    for number in range(len(search.densities)):
        yield Choice(search.prune(number, {**scores, **sizes}, whole))


random.reference = "Chen et al., A Unified Lottery Ticket Hypothesis for Graph Neural Networks, ICML 2021"  # type: ignore[attr-defined]
degree.reference = "Seo, Yun and Yang, TEDDY, ICLR 2024"  # type: ignore[attr-defined]
dspar.reference = "Liu et al., DSpar, TMLR 2023"  # type: ignore[attr-defined]
