"""What a layer computes on: all nodes, or the sources and targets that a receptive field leaves it.

Networks take one `Adjacency`, or a sequence with one a layer, as methods with layer-wise edge masks give them. Layers
take an `Adjacency` whose targets are some of its sources, and these functions, and need not know which it is.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from glt.adjacency import Adjacency, _Part
from glt.features import Features

__all__ = ["dropout", "linear", "looped", "own", "per_layer", "read"]


def per_layer(adjacency: Adjacency | Sequence[Adjacency], rows: Tensor | None, depth: int) -> list[Adjacency]:
    """What each of `depth` layers needs so that the last one writes `rows` (all nodes if None).

    Args:
        adjacency: one for all layers, or one a layer.
        rows: (R,) nodes; pass the same tensor again and the receptive field is found once.
        depth: number of layers.

    Raises:
        ValueError: there are several adjacencies, and not one a layer.
    """
    if isinstance(adjacency, Adjacency):
        return adjacency.layers(rows, depth)
    if len(adjacency) != depth:
        raise ValueError(
            f"found {len(adjacency)} adjacencies for {depth} layers; expected one for all layers or one a layer"
        )
    if rows is None:
        return list(adjacency)
    layers: list[Adjacency] = []
    for whole in reversed(adjacency):
        ((sources, _),) = whole.pattern.receptive_field(rows, 1)
        layers.insert(0, _Part(whole, sources, rows))
        rows = sources
    return layers


def read(x: Tensor | Features, layer: Adjacency) -> Tensor | Features:
    """The features (N, F) of the nodes that the first layer reads."""
    if not isinstance(layer, _Part):
        return x
    return x.rows(layer.sources) if isinstance(x, Features) else x[layer.sources]


def own(layer: Adjacency, x: Tensor) -> Tensor:
    """Of a row for each source, those of the targets: what a node knows of itself, without a message."""
    if not isinstance(layer, _Part):
        return x
    return x[torch.searchsorted(layer.sources, layer.targets)]


def looped(layer: Adjacency) -> Adjacency:
    """With a self-loop of weight one for each target, which no mask reaches."""
    if isinstance(layer, _Part):
        return looped(layer.whole).between(layer.sources, layer.targets)
    loops = layer.values.new_ones(layer.pattern.size[0])
    return Adjacency(layer.pattern.with_loops(), torch.cat([layer.values, loops]))


def linear(x: Tensor | Features, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x W^T + b for dense or sparse features (N, F) and a weight (out, F): (N, out)."""
    if not isinstance(x, Features):
        return torch.nn.functional.linear(x, weight, bias)
    out = x.linear(weight)
    return out if bias is None else out + bias


def dropout(x: Tensor, p: float, *, training: bool, as_torch: bool = False) -> Tensor:
    """Dropout that draws uniform numbers, three times faster on CPUs than torch's Bernoulli draw.

    Args:
        x: floats of any shape.
        p: probability of dropping, in [0, 1).
        training: identity when false.
        as_torch: use `torch.nn.functional.dropout`, to follow its random stream exactly.
    """
    if as_torch or not training or p == 0:
        return torch.nn.functional.dropout(x, p, training=training)
    scale = torch.rand_like(x).ge_(p).div_(1 - p)
    return x * scale
