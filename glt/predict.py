"""`glt infer`: the labels that a ticket's network gives every node of its graph."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from common.runs.errors import UsageError
from common.runs.manifest import peak_rss_mb
from common.runs.progress import Console
from common.runs.ranges import AT_LEAST_ONE, check_ranges
from common.ticket import Ticket
from glt import masker
from glt._label_file import check_label_file, label_file
from glt._predict_blocks import run_blocks
from glt._predictions import SPLITS, Hits, announce, check_nodes, edge_counts, state_of, weight_counts
from glt._ranks import started
from glt.config import Infer
from glt.data import Graph, load
from glt.evaluate import recipe_config
from glt.features import Features
from glt.infer import Inference
from glt.mapped import is_graph_folder
from glt.models import EDGES, GraphModel
from glt.trial import build

__all__ = ["open_ticket", "run"]


def run(config: Infer, console: Console) -> dict[str, Any]:
    """Predict with the trained weights of a ticket; with the rewound ones, and a warning, if it has no others.

    In memory; in blocks from disk with a memory budget, a graph's folder or several processes (all but one end here).

    Returns:
        `ticket`, `dataset`, `state` (`trained` or `rewound`), `nodes`, `edges` and `weights` (each `total`, `kept`,
        `density`), `accuracy` (`val`, `test`; null without labels), `seconds` of a pass, `seconds_first` with the
        choice of back-ends, `backends`, `threads`, `units`, `peak_rss_mb`, `out`; for blocks see `run_blocks`.

    Raises:
        UsageError: a setting is out of its range, too little memory, or a ticket that does not classify nodes.
        TicketError: the ticket is damaged, or belongs to another graph or model.
        MissingData: its data set is not at hand.
    """
    _check(config)
    if config.memory is not None or is_graph_folder(config.dataset) or started():
        found = run_blocks(config, console)
        if found is None:
            raise SystemExit(0)
        return found
    ticket, graph, model = _opened(config)
    infer = Inference(model, ticket, backend=config.backend, threads=config.threads)
    x = Features(graph.x)
    begin = time.perf_counter()
    infer(x)
    middle = time.perf_counter()
    prediction = infer(x).argmax(1).numpy()
    end = time.perf_counter()
    state, hits = state_of(ticket)[0], _hits(prediction, graph)
    announce(console, graph.name, infer.nodes, end - middle, infer.choices, state, hits)
    with label_file(config.out, len(prediction)) as write:
        write(prediction)
    edges = model.edges.count(ticket.masks[EDGES])
    return {
        "ticket": str(config.ticket),
        "dataset": graph.name,
        "state": state,
        "nodes": infer.nodes,
        "edges": edge_counts(edges["total"], edges["kept"]),
        "weights": weight_counts(ticket),
        "accuracy": hits.accuracy(),
        "seconds": end - middle,
        "seconds_first": middle - begin,
        "backends": infer.choices,
        "threads": config.threads,
        "units": infer.units,
        "peak_rss_mb": round(peak_rss_mb(), 1),
        "out": config.out,
    }


def _opened(config: Infer) -> tuple[Ticket, Graph, GraphModel]:
    opened = open_ticket(config.ticket, config.dataset, config.data_root)
    check_nodes(recipe_config(opened[0], Path(config.ticket)))
    return opened


def _hits(prediction: np.ndarray, graph: Graph) -> Hits:
    found = Hits()
    found.add(prediction, graph.y.numpy(), {split: getattr(graph, split).numpy() for split in SPLITS})
    return found


def _check(config: Infer) -> None:
    if not config.ticket:
        raise UsageError("name the folder of a ticket, as in: glt infer runs/0123456789ab/ticket")
    check_ranges(config, {"threads": AT_LEAST_ONE})
    check_label_file(config.out)


def open_ticket(folder: str, dataset: str | None, data_root: str | None) -> tuple[Ticket, Graph, GraphModel]:
    """A ticket of `glt find`, its graph, and its network in eval mode with the trained weights, if there are any.

    Args:
        folder: of the ticket.
        dataset: where its graph is; the one in its recipe if None. A ticket that has a masker beside it may go to
            another graph, whose edges the masker chooses.
        data_root: see `glt.data.load`.

    Raises:
        TicketError: the ticket is damaged, or belongs to another graph or model.
        MissingData: the data set is not at hand.
    """
    ticket = Ticket.load(folder)
    found = recipe_config(ticket, Path(folder))
    graph = load(dataset or found.dataset, data_root)
    model = build(graph, found, int(ticket.recipe.get("seed", 0)))
    if ticket.graph != model.edges.fingerprint() and masker.is_in(folder):
        ticket = masker.on_graph(ticket, masker.load(folder), graph.x, model.edges)
    ticket.verify(model, model.edges.fingerprint())
    model.load_state_dict(state_of(ticket)[1])
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in ticket.masks:
                parameter.mul_(ticket.masks[name])
    return ticket, graph, model.eval()
