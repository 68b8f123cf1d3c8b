"""`glt infer` in blocks: a graph on disk, a memory budget, several processes."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from common.runs.errors import UsageError
from common.runs.manifest import peak_rss_mb
from common.runs.progress import Console
from common.ticket import Ticket
from glt._label_file import label_file
from glt._memory import parse_size, shown
from glt._predictions import SPLITS, Hits, announce, check_nodes, edge_counts, state_of, weight_counts
from glt._ranks import Group, group
from glt.blockwise import BlockInference
from glt.config import Find, Infer
from glt.evaluate import recipe_config
from glt.mapped import MappedGraph, is_graph_folder, open_graph, source_of, write_graph
from glt.models import EDGES, WEIGHTS
from glt.trial import build

__all__ = ["run_blocks"]

_TICKET = 25  # bytes an edge while a ticket is read: mask, rewound and trained weight, and their packed forms
_AT_ONCE = 1 << 18  # labels that are compared at once


def run_blocks(config: Infer, console: Console) -> dict[str, Any] | None:
    """What `glt.predict.run` does, with the graph on disk; None in all processes but the first.

    Returns:
        The same, and `seconds_before` (of reading the ticket and making the matrix), `memory` in bytes, `sources` (see
        `glt._blocks`), `processes`, and `rows_sent`, of all of them after a layer. There is one pass, so `seconds` and
        `seconds_first` are its time.

    Raises:
        UsageError: too little memory, or a ticket whose layers have edges of their own.
        TypeError: a network that blocks do not serve, see `glt.blockwise.BlockInference`.
        TicketError, MissingData: see `glt.predict.run`.
    """
    memory = None if config.memory is None else parse_size(config.memory)
    folder = Path(tempfile.gettempdir()) if config.out is None else Path(config.out).resolve().parent
    with group() as ranks:
        dataset = config.dataset or recipe_config(Ticket.load(config.ticket), Path(config.ticket)).dataset
        with _graph(dataset, config.data_root, folder, memory) as graph:
            found = _predicted(config, console, ranks, graph, folder, memory)
        return found if ranks.rank == 0 else None


@contextmanager
def _graph(dataset: str, data_root: str | None, folder: Path, memory: int | None) -> Iterator[MappedGraph]:
    """The graph's folder; for other data sets one that lasts as long as it is used."""
    if is_graph_folder(dataset):
        yield open_graph(dataset)
        return
    with tempfile.TemporaryDirectory(dir=folder, prefix=".glt-") as work:
        most = min(256 * 10**6, max(10**6, (memory or 10**9) // 4))
        yield write_graph(source_of(dataset, data_root), Path(work) / "graph", memory=f"{most}B")


def _predicted(
    config: Infer, console: Console, ranks: Group, graph: MappedGraph, folder: Path, memory: int | None
) -> dict[str, Any]:
    begin = time.perf_counter()
    state, weights, infer = _prepared(config, ranks, graph, folder, memory)
    ranks.gather(None)  # so that no process counts the waiting for another
    middle = time.perf_counter()
    labels, hits = np.empty(len(infer.rows), np.int64), Hits()
    for start, logits in infer():
        labels[start - infer.rows.start :][: len(logits)] = logits.argmax(1).numpy()
    seconds = max(ranks.gather(time.perf_counter() - middle))
    _count(hits, graph, labels, infer.rows)
    hits.merge(ranks.gather(hits.counts))
    with label_file(config.out if ranks.rank == 0 else None, graph.nodes) as write:
        for part in ranks.to_first(labels):
            write(part)
    if ranks.rank == 0:
        announce(console, graph.name, graph.nodes, seconds, infer.choices, state, hits)
    once = 2 if infer.symmetric else 1
    return {
        "ticket": str(config.ticket),
        "dataset": graph.name,
        "state": state,
        "nodes": graph.nodes,
        "edges": edge_counts(graph.edges // once, infer.edges // once),
        "weights": weights,
        "accuracy": hits.accuracy(),
        "seconds": seconds,
        "seconds_first": seconds,
        "seconds_before": middle - begin,
        "backends": infer.choices,
        "threads": config.threads,
        "units": infer.units,
        "peak_rss_mb": round(max(ranks.gather(peak_rss_mb())), 1),
        "out": config.out,
        "memory": memory,
        "sources": infer.sources,
        "processes": ranks.size,
        "rows_sent": sum(ranks.gather(infer.sent)),
    }


def _prepared(
    config: Infer, ranks: Group, graph: MappedGraph, folder: Path, memory: int | None
) -> tuple[str, dict[str, float], BlockInference]:
    """Which weights there are, how many, and the inference; the ticket itself is gone again."""
    if memory is not None and _TICKET * graph.edges > memory:
        raise UsageError(
            f"--memory {shown(memory)} is too little: reading a ticket of {graph.edges:,} edges takes "
            f"{shown(_TICKET * graph.edges)}. Give more"
        )
    ticket = Ticket.load(config.ticket)
    found = recipe_config(ticket, Path(config.ticket))
    check_nodes(found)
    net = _network(ticket, found, graph)
    state, weights = state_of(ticket)
    net.load_state_dict({name.removeprefix("net."): w for name, w in weights.items() if name.startswith("net.")})
    edges, masks, counts = weights[EDGES] * ticket.masks[EDGES], ticket.masks.only(WEIGHTS), weight_counts(ticket)
    del ticket, weights  # as large as the graph
    infer = BlockInference(
        net,
        graph,
        masks,
        weight=edges.numpy(),
        symmetric=graph.undirected and found.symmetric,
        memory=memory,
        folder=folder,
        backend=config.backend,
        threads=config.threads,
        group=ranks,
    )
    return state, counts, infer


def _network(ticket: Ticket, found: Find, graph: MappedGraph) -> nn.Module:
    """The ticket's network, in eval mode, once it is known that the ticket belongs to it and to the graph.

    Raises:
        TicketError: it does not.
        UsageError: its layers have edges of their own.
    """
    if ticket.weights[EDGES].dim() != 1:
        raise UsageError(
            f"found a ticket with edges of its own in each of {len(ticket.weights[EDGES])} layers; expected the same "
            "edges in all layers, for a graph on disk or --memory. Leave --memory out, and name no folder"
        )
    outputs = [weight.size(0) for name, weight in ticket.weights.items() if name != EDGES and weight.dim() > 1]
    whole = nn.Module()
    whole.edges = nn.Module()
    whole.edges.weight = nn.Parameter(torch.empty(graph.edges, device="meta"), requires_grad=False)
    whole.net = build(graph.like(graph.classes or outputs[-1]), found, int(ticket.recipe.get("seed", 0))).net
    ticket.verify(whole, graph.fingerprint)
    return whole.net.eval()


def _count(hits: Hits, graph: MappedGraph, labels: np.ndarray, rows: range) -> None:
    if "y" not in graph.arrays:
        return
    for start in range(rows.start, rows.stop, _AT_ONCE):
        stop = min(start + _AT_ONCE, rows.stop)
        y, *chosen = (graph.arrays[name].read(start, stop) for name in ("y", *SPLITS))
        hits.add(labels[start - rows.start : stop - rows.start], y, dict(zip(SPLITS, chosen, strict=True)))
