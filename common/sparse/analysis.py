"""Why a network is as fast as it is: time by kind of layer, what each layer could gain, where it breaks even."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from common.sparse.network import SparseNetwork
from common.sparse.profile import Cost, profile, shares

__all__ = ["Analysis", "LayerCost", "analyse"]


@dataclass(frozen=True)
class LayerCost:
    """A layer over its non-zeros and by torch, in the same place of the network.

    Attributes:
        weight: its name.
        kind: `convolution 3x3`, ...
        form: what it runs as.
        density: the share of its weights that is kept.
        sparse, dense: seconds over its non-zeros and by torch, with the normalisation before it, bias and residual.
        empty: seconds without any weight: what its kernel cannot save.
        break_even: the density at which both take as long; 1 if it pays up to there, 0 if it never does.
    """

    weight: str
    kind: str
    form: str
    density: float
    sparse: float
    dense: float
    empty: float
    break_even: float


@dataclass(frozen=True)
class Analysis:
    """What `analyse` found.

    Attributes:
        shares: engine (`sparse`: the network as it is, `eager`: as torch runs it) to kind of layer to share of time.
        layers: every layer that can run over its non-zeros.
        amdahl: how much faster than `eager` the network would be if its layers took exactly their densities' shares of
            their dense time, and everything else as long as in `eager` (Amdahl, AFIPS 1967).
        ceiling: the same, if the layers took no time at all.
    """

    shares: dict[str, dict[str, float]]
    layers: list[LayerCost]
    amdahl: float
    ceiling: float


def analyse(network: SparseNetwork, inputs: Sequence[Any], *, repeats: int = 2) -> Analysis:
    """Profile a network in its forms.

    Args:
        network: a converted network.
        inputs: of a call at the batch in use.
        repeats: calls of each form that count; medians are taken.
    """
    names = network.choices
    sparse = network.with_forms(dict.fromkeys(names, "sparse"), fused=True)
    eager = profile(network.with_forms(dict.fromkeys(names, "dense"), fused=False), inputs, repeats=repeats)
    full = _by_weight(profile(sparse, inputs, repeats=repeats))
    empty = _by_weight(profile(sparse.without_weights(), inputs, repeats=repeats))
    dense = profile(network.with_forms(dict.fromkeys(names, "dense"), fused=True), inputs, repeats=repeats)
    kinds = {cost.weight: cost.kind for cost in dense if cost.weight}
    by_torch = _by_weight(dense)
    layers = [
        LayerCost(
            name,
            kinds[name],
            str(network.report[name]["form"]),
            density,
            full[name],
            by_torch[name],
            empty[name],
            break_even(density, full[name], by_torch[name], empty[name]),
        )
        for name in names
        for density in [float(network.report[name]["density"])]
    ]
    amdahl, ceiling = _bounds(eager, {layer.weight: layer.density for layer in layers})
    found = {"sparse": shares(profile(network, inputs, repeats=repeats)), "eager": shares(eager)}
    return Analysis(found, layers, amdahl, ceiling)


def break_even(density: float, sparse: float, dense: float, empty: float) -> float:
    """The density at which a layer takes as long over its non-zeros as dense, on the line through two measurements.

    Args:
        density: at which `sparse` was measured.
        sparse, dense, empty: seconds over the non-zeros, by torch, and over no weights.

    >>> break_even(0.1, sparse=2.0, dense=5.0, empty=1.0)
    0.4
    >>> break_even(0.1, sparse=2.0, dense=50.0, empty=1.0), break_even(0.1, sparse=2.0, dense=0.5, empty=1.0)
    (1.0, 0.0)
    """
    slope = (sparse - empty) / density if density else 0.0
    if dense <= empty:
        return 0.0
    return min(1.0, (dense - empty) / slope) if slope > 0 else 1.0


def _bounds(eager: Sequence[Cost], density: Mapping[str, float]) -> tuple[float, float]:
    total = sum(cost.seconds for cost in eager)
    layers = {name: seconds for name, seconds in _by_weight(eager).items() if name in density}
    rest = total - sum(layers.values())
    kept = sum(seconds * density[name] for name, seconds in layers.items())
    return total / ((rest + kept) or total), total / (rest or total)


def _by_weight(costs: Sequence[Cost]) -> dict[str, float]:
    found: dict[str, float] = {}
    for cost in costs:
        if cost.weight:
            found[cost.weight] = found.get(cost.weight, 0.0) + cost.seconds
    return found
