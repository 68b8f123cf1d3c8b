"""What a ticket costs to run: multiply-adds, counted, and seconds of full-graph inference, measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from common.masks import prunable
from common.runs.race import race
from glt.convs import GATConv, GENConv, GINConv, SAGEConv, SGConv
from glt.edges import Edges
from glt.features import Features
from glt.infer import Inference
from glt.models import EDGES, GraphModel

__all__ = ["Macs", "macs", "times"]


@dataclass(frozen=True)
class Macs:
    """Multiply-adds of one full-graph forward.

    Attributes:
        edges: of messages and self-loops.
        weights: of weights, where features are multiplied as if none were zero.
        sparse: of all, where the first layer multiplies only the features that are not zero, and propagates afterwards.
    """

    edges: int
    weights: int
    sparse: int

    @property
    def total(self) -> int:
        """Of all, with dense features."""
        return self.edges + self.weights

    def as_dict(self) -> dict[str, int]:
        """All four as plain data."""
        return {"edges": self.edges, "weights": self.weights, "total": self.total, "sparse_features": self.sparse}


@dataclass(frozen=True)
class _Layer:
    """One propagation.

    Attributes:
        name: of the layer.
        columns: of a message, on the narrower side of the layer's linear map where the two commute.
        after: columns of a message behind that map.
        loops: whether every node also sends to itself.
        reads: weights that multiply what the layer is given before any message.
    """

    name: str
    columns: int
    after: int
    loops: bool
    reads: tuple[str, ...] = ()


def macs(model: GraphModel, masks: Mapping[str, Tensor], x: Tensor | Features) -> Macs:
    r"""Multiply-adds of one forward over all nodes, of what masks keep.

    .. math:: N \sum_l \lVert m_l \rVert_0 + \sum_l (E_l + N)\, d_l

    Every kept weight acts once a node: those of linear maps and of attention. Every kept directed edge, and every
    self-loop where the layer has them, once for each of the $d_l$ columns of a message. These are the narrower of the
    map's two widths for gcn, sgc, resgcn, gin and sage; all that come in for a maximum (a comparison an entry); all
    heads' for gat; numerator and denominator for the softmax of deepergcn. sage and deepergcn have no self-loops.
    Biases, normalisation, activations, exponentials and divisions are not counted, and dead units are, though
    `glt.infer` leaves them out.

    Args:
        model: a network on its graph.
        masks: of `edges.weight` and `net.*`; what has none is kept whole.
        x: (N, F) features.

    Raises:
        TypeError: a network without any layer of `glt.convs`, whose messages are then unknown.

    >>> from glt.models import GCN
    >>> path = Edges(torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]]), 3)
    >>> found = macs(GraphModel(GCN(4, 2, 3, depth=1), path), {}, torch.eye(4)[:3])
    >>> found.edges, found.weights, found.sparse
    (21, 36, 30)
    """
    layers = list(_layers(model.net))
    if not layers:
        raise TypeError(f"found the network {type(model.net).__name__}; expected one with layers of glt.convs")
    nodes = model.edges.num_nodes
    live = _live(model.edges, masks.get(EDGES))
    sent = [live[min(number, len(live) - 1)] + nodes * layer.loops for number, layer in enumerate(layers)]
    kept = {
        name: masks.get(name, torch.ones_like(weight, dtype=torch.bool)).cpu()
        for name, weight in prunable(model).items()
        if name != EDGES
    }
    edges = sum(count * layer.columns for count, layer in zip(sent, layers, strict=True))
    weights = nodes * sum(int(mask.sum()) for mask in kept.values())
    zeros = ((x.x if isinstance(x, Features) else x) == 0).sum(0).cpu()
    encoder = hasattr(model.net, "encoder")
    reading = ["encoder.weight"] if encoder else [f"{layers[0].name}.{read}" for read in layers[0].reads]
    skipped = sum(int((kept[f"net.{name}"].sum(0) * zeros).sum()) for name in reading)
    own = "" if encoder else layers[0].name
    wider = sum(n * (one.after - one.columns) for n, one in zip(sent, layers, strict=True) if one.name == own)
    return Macs(edges, weights, edges + wider + weights - skipped)


def times(
    rivals: Mapping[str, tuple[GraphModel, Mapping[str, Tensor]]],
    x: Features,
    *,
    budget: float = 4.0,
    threads: int = 1,
) -> dict[str, dict[str, float] | None]:
    """Seconds of full-graph inference (`glt.infer.Inference`), all in turn in this process.

    Args:
        rivals: name to a network in eval mode, with the weights to run, and its masks.
        x: (N, F) features.
        budget: seconds for all; as many rounds as fit are run, from 5 to 50, after one in which back-ends are chosen.
        threads: of each.

    Returns:
        Name to `seconds` (the median), `seconds_min`, `seconds_max` and `rounds`; None for a network that is not served
        there.
    """
    ready: dict[str, Inference] = {}
    for name, (model, masks) in rivals.items():
        try:
            ready[name] = Inference(model, masks, threads=threads)
        except TypeError:  # of another kind than what `Inference` is made for
            continue
    engines = {name: lambda one=one: one(x) for name, one in ready.items()}
    for engine in engines.values():
        engine()
    once = sum(one["seconds"] for one in race(engines, 1, warmup=0).values())
    rounds = int(min(max(budget / max(once, 1e-9), 5), 50))
    found = race(engines, rounds, warmup=0)
    return {name: {**found[name], "rounds": rounds} if name in found else None for name in rivals}


def _layers(net: nn.Module) -> Iterator[_Layer]:
    """All propagations, in order."""
    for name, conv in net.named_modules():
        if isinstance(conv, SGConv):
            out, wide = conv.lin.weight.shape
            for _ in range(conv.hops):
                yield _Layer(name, min(out, wide), out, loops=True, reads=("lin.weight",))
        elif isinstance(conv, GATConv):
            out = conv.lin.weight.size(0)
            yield _Layer(name, out, out, loops=True, reads=("lin.weight",))
        elif isinstance(conv, GINConv):
            out, wide = conv.get_parameter("nn.0.weight").shape
            if conv.aggregation == "max":
                yield _Layer(name, wide, wide, loops=True)
            else:
                yield _Layer(name, min(out, wide), out, loops=True, reads=("nn.0.weight",))
        elif isinstance(conv, SAGEConv):
            out, wide = conv.lin_l.weight.shape
            if conv.aggregation == "max":
                yield _Layer(name, wide, wide, loops=False, reads=("lin_r.weight",))
            else:
                yield _Layer(name, min(out, wide), out, loops=False, reads=("lin_l.weight", "lin_r.weight"))
        elif isinstance(conv, GENConv):
            width = 2 * conv.get_parameter("mlp.0.weight").size(1)
            yield _Layer(name, width, width, loops=False)


def _live(edges: Edges, mask: Tensor | None) -> list[int]:
    """Directed edges that pass a message, of all layers alike or of each."""
    kept = torch.ones_like(edges.weight, dtype=torch.bool) if mask is None else mask.to(edges.reverse.device)
    if edges.symmetric:
        kept = kept | kept[..., edges.reverse]
    return [int(count) for count in torch.atleast_1d(kept.sum(-1))]
