"""What the tickets of a comparison cost to run: multiply-adds of all seeds, seconds of the first seed's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import Tensor

from common.runs.store import Run
from common.ticket import Ticket
from glt._predictions import state_of
from glt._runs import seeds_of
from glt.compare_config import Compare, searches
from glt.features import Features
from glt.graph import Graph
from glt.measures import macs, times
from glt.models import GraphModel
from glt.seeds import key
from glt.trial import build

__all__ = ["THREADS", "Measured", "measured"]

THREADS = 1

Rivals = dict[str, tuple[GraphModel, Mapping[str, Tensor]]]


@dataclass(frozen=True)
class Measured:
    """What a rung costs to run.

    Attributes:
        macs: multiply-adds of a full-graph forward, mean over seeds; see `glt.measures.Macs.as_dict`.
        inference: of the first seed's ticket `seconds`, `seconds_min`, `seconds_max` and `rounds`, `dense_seconds` in
            the same turns, and `speedup`; None where `glt.infer` does not serve the network.
    """

    macs: Mapping[str, int]
    inference: Mapping[str, float] | None


def measured(config: Compare, graph: Graph, store: Run) -> dict[tuple[str, int], Measured]:
    """Measure the dense network, as `("dense", 0)`, and every rung of every method, in this process.

    Args:
        config: filled by `glt.compare_config.filled`.
        graph: the data.
        store: the run, all of whose rungs are finished.
    """
    finds = {name: find for name, find in searches(config).items() if name in config.methods}
    any_method = next(iter(finds.values()))
    plain = replace(any_method, method="random")
    x, first = Features(graph.x), config.first_seed
    dense = build(graph, plain, first)
    found = {("dense", 0): Measured(macs(dense, {}, x).as_dict(), None)}
    rivals: Rivals = {"dense": (_ready(dense, _ticket(store, "", 0, first)), {})}
    for rung in sorted(config.rungs or []):
        tickets = {name: [_ticket(store, name, rung, seed) for seed in seeds_of(config)] for name in finds}
        runs = {name: (_ready(build(graph, finds[name], first), own[0]), own[0].masks) for name, own in tickets.items()}
        seconds = times({**rivals, **runs}, x, threads=THREADS)
        for name, own in tickets.items():
            counts = [macs(runs[name][0], ticket.masks, x).as_dict() for ticket in own]
            mean = {part: round(sum(count[part] for count in counts) / len(counts)) for part in counts[0]}
            found[name, rung] = Measured(mean, _beside(seconds[name], seconds["dense"]))
    return found


def _ticket(store: Run, label: str, rung: int, seed: int) -> Ticket:
    return Ticket.load(store.round(key(seed, rung, label)))


def _ready(model: GraphModel, ticket: Ticket) -> GraphModel:
    """A model with a ticket's trained weights, to be run."""
    model.load_state_dict(state_of(ticket)[1])
    return model.eval()


def _beside(own: Mapping[str, float] | None, dense: Mapping[str, float] | None) -> dict[str, float] | None:
    if own is None or dense is None:
        return None
    return {**own, "dense_seconds": dense["seconds"], "speedup": dense["seconds"] / own["seconds"]}
