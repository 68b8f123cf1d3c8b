"""`glt data` and `glt doctor`: what is at hand, and whether the installation works."""

from __future__ import annotations

from typing import Any

from common.runs import health
from common.runs.cli import Console
from glt.config import Doctor, Inspect
from glt.data import PLANETOID, load, planetoid_folder

__all__ = ["data", "doctor"]


def data(config: Inspect, console: Console) -> dict[str, Any]:
    """Where every known data set is, or the numbers of one.

    Raises:
        UsageError: the data set is unknown.
        MissingData: it is not at hand.
        ValueError: it is damaged, or no graph to classify nodes of.
    """
    if config.dataset is None:
        places = {"digits": "embedded"}
        for key, name in PLANETOID.items():
            folder = planetoid_folder(name, config.data_root)
            places[key] = str(folder / name / "raw") if folder else "not on this machine; downloaded when first used"
        health.show(places, console, 10)
        return {"datasets": places}
    from glt.edges import Edges

    graph = load(config.dataset, config.data_root)
    edges = Edges(graph.edge_index, graph.x.size(0))
    same = graph.y[edges.edge_index[0]] == graph.y[edges.edge_index[1]]
    facts = {
        "dataset": graph.name,
        "nodes": graph.x.size(0),
        "features": graph.x.size(1),
        "feature_density": float((graph.x != 0).float().mean()),
        "directed_edges": edges.edge_index.size(1),
        "undirected": edges.symmetric,
        "edges": edges.count()["total"],
        "classes": graph.classes,
        "homophily": float(same.float().mean()) if same.numel() else None,
        "train": int(graph.train.sum()),
        "val": int(graph.val.sum()),
        "test": int(graph.test.sum()),
        "sha256": edges.fingerprint()["sha256"],
        "data_sha256": graph.sha256,
    }
    health.show(facts, console, 16)
    return facts


def doctor(config: Doctor, console: Console) -> dict[str, Any]:
    """Versions, threads, data, and three small things that must work: a sparse product, a ticket file, a picture.

    Raises:
        RuntimeError: one of them does not.
    """
    del config
    checks = {
        "torchvision imports": health.torchvision,
        "sparse product with gradients": _sparse,
        "ticket written and read": health.ticket,
        "picture drawn": _picture,
    }
    return health.examine(checks, console)


def _sparse() -> None:
    import torch

    from glt.adjacency import Pattern, propagate

    values = torch.ones(2, requires_grad=True)
    out = propagate(Pattern(torch.tensor([[0, 1], [1, 0]]), 2), values, torch.eye(2))
    out.sum().backward()  # type: ignore[no-untyped-call]
    if values.grad is None or values.grad.tolist() != [1.0, 1.0]:
        raise RuntimeError(f"gradient {values.grad}, expected [1, 1]")


def _picture() -> None:
    from common.runs.plots import graph_drawing

    graph_drawing([[0, 1], [1, 0]], [True, True])
