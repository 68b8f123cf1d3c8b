"""Where a network's time goes: seconds of every step, by layer and by kind."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from common.sparse.network import SparseNetwork
from common.sparse.program import Ref, Step

__all__ = ["Cost", "profile", "shares"]

_LAYERS = {"aten.conv2d.default", "aten.conv2d.padding", "aten.conv_transpose2d.input", "aten.linear.default"}
_NORMS = {"sparse.norm", "aten.group_norm.default", "aten.batch_norm.default", "aten.layer_norm.default"}


@dataclass(frozen=True)
class Cost:
    """What a step takes.

    Attributes:
        out: the name of its result.
        kind: `convolution 3x3`, `linear`, `attention`, `normalisation`, `other`, ...
        weight: the weight of a layer, else None.
        seconds: of a call of the network, the median over calls.
    """

    out: str
    kind: str
    weight: str | None
    seconds: float


def profile(network: SparseNetwork, inputs: Sequence[Any], *, repeats: int = 3, warmup: int = 1) -> list[Cost]:
    """The seconds of every step of a call, in order.

    Args:
        network: a converted network; one whose layers are all dense is timed as torch runs it.
        inputs: of a call.
        repeats: calls that count.
        warmup: calls before them.
    """
    kinds: dict[str, tuple[str, str | None]] = {}
    calls: list[dict[str, float]] = []

    def watch(step: Step, seconds: float) -> None:
        if step.out not in kinds:
            kinds[step.out] = _kind(network, step)
        calls[-1][step.out] = calls[-1].get(step.out, 0.0) + seconds

    with network.watched(watch):
        for _ in range(warmup + repeats):
            calls.append({})
            network(*inputs)
    counted = calls[warmup:]
    medians = {out: statistics.median(call.get(out, 0.0) for call in counted) for out in kinds}
    return [Cost(out, *kind, medians[out]) for out, kind in kinds.items()]


def shares(costs: Iterable[Cost]) -> dict[str, float]:
    """Kind to its share of the time of all steps, largest first.

    >>> shares([Cost("a", "linear", "w", 3.0), Cost("b", "other", None, 1.0)])
    {'linear': 0.75, 'other': 0.25}
    """
    found: dict[str, float] = {}
    for cost in costs:
        found[cost.kind] = found.get(cost.kind, 0.0) + cost.seconds
    total = sum(found.values()) or 1.0
    return dict(sorted(((kind, seconds / total) for kind, seconds in found.items()), key=lambda item: -item[1]))


def _kind(network: SparseNetwork, step: Step) -> tuple[str, str | None]:
    name = step.args[1].name if len(step.args) > 1 and isinstance(step.args[1], Ref) else None
    if name is not None and (step.op == "sparse.conv" or step.op in _LAYERS):
        shape = network.shape(name)
        if len(shape) == 2:
            return "linear", name
        transposed = step.kwargs.get("transposed") or step.op == "aten.conv_transpose2d.input"
        return f"{'transposed ' if transposed else ''}convolution {shape[2]}x{shape[3]}", name
    if step.op in _NORMS:
        return "normalisation", None
    return ("attention" if "attention" in step.op else "other"), None
