"""Sets of graphs to classify: rings planted in random trees, or torch-geometric's `Data`.

`motifs` needs no file. Every graph is a random tree with a ring of six nodes, three of colour A and three of colour B:
these alternate in one class (ABABAB) and are grouped in the other (AAABBB). Nodes know their colour alone, of which
both classes have the same numbers, so a network without edges does no better than chance; and only the six edges of the
ring matter, so a perfect score of edges can prune three of four.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from glt._own_data import checked, warn_of_weights
from glt.graph import GraphSet
from glt.splits import stratified

__all__ = ["from_pyg_set", "motifs"]

_RINGS = np.array([[0, 1, 0, 1, 0, 1], [0, 0, 0, 1, 1, 1]])
_COLOURS, _MIXED = 4, 0.3  # a tree's nodes are of colours C and D, but for a share that is A or B as well


def motifs(graphs: int = 1000, seed: int = 0) -> GraphSet:
    """Random trees with one ring of six coloured nodes, by whose order they are classified.

    Args:
        graphs: how many, half of each class; a fifth validates and a fifth tests.
        seed: of everything.

    >>> found = motifs(graphs=10)
    >>> found.graphs, found.classes, found.x.size(1), int(found.test.sum())
    (10, 2, 4, 2)
    """
    rng = np.random.default_rng(seed)
    y = np.arange(graphs) % 2
    drawn = [_ringed_tree(ring, rng) for ring in _RINGS[y]]
    sizes = [len(colours) for colours, _ in drawn]
    first = np.cumsum([0, *sizes[:-1]])
    ends = np.concatenate([edges + start for (_, edges), start in zip(drawn, first, strict=True)], 1)
    colours = np.concatenate([colours for colours, _ in drawn])
    labels = torch.from_numpy(y)
    return GraphSet(
        "motifs" if (graphs, seed) == (1000, 0) else f"motifs-{graphs}-{seed}",
        torch.from_numpy(np.eye(_COLOURS, dtype=np.float32)[colours]),
        torch.from_numpy(np.concatenate([ends, ends[::-1]], 1)),
        labels,
        **stratified(labels, val=0.2, test=0.2, seed=seed),
        batch=torch.from_numpy(np.repeat(np.arange(graphs), sizes)),
    )


def _ringed_tree(ring: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Colours (N,) and undirected edges (2, E), given once, of a tree with a ring at one of its nodes, shuffled."""
    size, around = int(rng.integers(15, 21)), len(ring)
    tree = rng.integers(2, _COLOURS, size)
    mixed = rng.random(size) < _MIXED
    tree[mixed] = rng.integers(0, 2, int(mixed.sum()))
    branches = [(node, int(rng.integers(0, node))) for node in range(1, size)]
    circle = [(size + i, size + (i + 1) % around) for i in range(around)]
    bridge = (int(rng.integers(0, size)), size + int(rng.integers(0, around)))
    order = rng.permutation(size + around)
    colours = np.empty(size + around, np.int64)
    colours[order] = np.concatenate([tree, ring])
    return colours, order[np.array([*branches, *circle, bridge]).T]


def from_pyg_set(
    graphs: Sequence[Any], name: str = "data", *, splits: Mapping[str, Tensor] | None = None, seed: int = 0
) -> GraphSet:
    """A set of graphs from torch-geometric's `Data`, each with `x`, `edge_index` and one label `y`.

    Edge weights and attributes are not used, with a warning.

    Args:
        graphs: at least three of them.
        name: what the set is called.
        splits: `train`, `val` and `test`, (G,) bool; drawn if None, a tenth of every class to validate and one to test.
        seed: of that draw.

    Raises:
        ValueError: a field is missing or of another type, or see `GraphSet`.
    """
    from torch_geometric.data import Batch

    for field in ("x", "edge_index", "y"):
        lacking = next((number for number, one in enumerate(graphs) if getattr(one, field, None) is None), None)
        if lacking is not None:
            raise ValueError(f"{name}: graph {lacking} lacks {field}; expected x, edge_index and y of every graph")
    whole = Batch.from_data_list(list(graphs), exclude_keys=["edge_attr", "edge_weight"])
    if whole.y.numel() != len(graphs):
        raise ValueError(f"{name}: found {whole.y.numel()} labels of {len(graphs)} graphs; expected one each")
    weights = [field for field in ("edge_weight", "edge_attr") if getattr(graphs[0], field, None) is not None]
    warn_of_weights(name, weights)
    known = {"x": whole.x, "edge_index": whole.edge_index, "y": whole.y.view(-1), "batch": whole.batch}
    try:
        fields = checked(known)
        split = stratified(fields["y"], seed=seed) if splits is None else checked(dict(splits))
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    return GraphSet(name, **fields, **split)
