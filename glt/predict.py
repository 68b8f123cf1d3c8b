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
from common.ticket import Ticket
from glt.config import Infer
from glt.data import Graph, load
from glt.evaluate import recipe_config
from glt.features import Features
from glt.infer import Inference
from glt.ladder import EDGES, WEIGHTS, build
from glt.models import GraphModel

__all__ = ["open_ticket", "run"]


def run(config: Infer, console: Console) -> dict[str, Any]:
    """Predict with the trained weights of a ticket; with the rewound ones, and a warning, if it has no others.

    Returns:
        `ticket`, `dataset`, `state` (`trained` or `rewound`), `nodes`, `edges` and `weights` (each `total`, `kept`,
        `density`), `accuracy` (`val`, `test`), `seconds` of a pass, `seconds_first` with the choice of back-ends,
        `backends`, `threads`, `units`, `peak_rss_mb`, `out`.

    Raises:
        UsageError: a setting is out of its range.
        TicketError: the ticket is damaged, or belongs to another graph or model.
        MissingData: its data set is not at hand.
    """
    _check(config)
    ticket, graph, model = open_ticket(config.ticket, config.dataset, config.data_root)
    state = "rewound" if ticket.trained is None else "trained"
    if state == "rewound":
        console.warning("the ticket has no trained weights; these are predictions of its rewound ones")
    infer = Inference(model, ticket, backend=config.backend, threads=config.threads)
    x = Features(graph.x)
    begin = time.perf_counter()
    infer(x)
    middle = time.perf_counter()
    prediction = infer(x).argmax(1)
    end = time.perf_counter()
    hits = (prediction == graph.y).float()
    accuracy = {split: float(hits[getattr(graph, split)].mean()) for split in ("val", "test")}
    console.line(
        f"{graph.name}: {infer.nodes:,} nodes in {end - middle:.3f} s on {', '.join(infer.choices)}; {state} weights, "
        f"validation {accuracy['val']:.1%}, test {accuracy['test']:.1%}"
    )
    if config.out is not None:
        np.savez_compressed(config.out, prediction=prediction.numpy())
        console.line(f"predictions in {config.out}")
    return {
        "ticket": str(config.ticket),
        "dataset": graph.name,
        "state": state,
        "nodes": infer.nodes,
        **_counts(ticket, model),
        "accuracy": accuracy,
        "seconds": end - middle,
        "seconds_first": middle - begin,
        "backends": infer.choices,
        "threads": config.threads,
        "units": infer.units,
        "peak_rss_mb": round(peak_rss_mb(), 1),
        "out": config.out,
    }


def _check(config: Infer) -> None:
    if not config.ticket:
        raise UsageError("name the folder of a ticket, as in: glt infer runs/0123456789ab/ticket")
    if config.threads < 1:
        raise UsageError(f"--threads must be at least 1; found {config.threads}")
    if config.out is not None and not (config.out.endswith(".npz") and Path(config.out).resolve().parent.is_dir()):
        raise UsageError(f"--out must be an .npz in a folder that exists; found {config.out}")


def open_ticket(folder: str, dataset: str | None, data_root: str | None) -> tuple[Ticket, Graph, GraphModel]:
    """A ticket of `glt find`, its graph, and its network in eval mode with the trained weights, if there are any.

    Args:
        folder: of the ticket.
        dataset: where its graph is; the one in its recipe if None.
        data_root: see `glt.data.load`.

    Raises:
        TicketError: the ticket is damaged, or belongs to another graph or model.
        MissingData: the data set is not at hand.
    """
    ticket = Ticket.load(folder)
    found = recipe_config(ticket, Path(folder))
    graph = load(dataset or found.dataset, data_root)
    model = build(graph, found, int(ticket.recipe.get("seed", 0)))
    ticket.verify(model, model.edges.fingerprint())
    model.load_state_dict(ticket.weights if ticket.trained is None else ticket.trained)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in ticket.masks:
                parameter.mul_(ticket.masks[name])
    return ticket, graph, model.eval()


def _counts(ticket: Ticket, model: GraphModel) -> dict[str, dict[str, float]]:
    edges, masks = model.edges.count(ticket.masks[EDGES]), ticket.masks.only(WEIGHTS)
    return {
        "edges": {**edges, "density": edges["kept"] / edges["total"] if edges["total"] else 1.0},
        "weights": {"total": masks.total, "kept": masks.kept, "density": masks.density},
    }
