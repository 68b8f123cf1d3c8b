"""`glt data` and `glt doctor`: what is at hand, and whether the installation works."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

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
        for name, place in places.items():
            console.line(f"{name:10} {place}")
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
    for name, value in facts.items():
        console.line(f"{name:16} {f'{value:.4g}' if isinstance(value, float) else value}")
    return facts


def doctor(config: Doctor, console: Console) -> dict[str, Any]:
    """Versions, threads, data, and three small things that must work: a sparse product, a ticket file, a picture."""
    del config
    import torch

    names = (
        "lottery-tickets",
        "torch",
        "torch-geometric",
        "numpy",
        "scipy",
        "diffusers",
        "lightning",
        "torch-fidelity",
    )
    versions = {"python": platform.python_version()}
    for name in names:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "missing"
    tests: dict[str, Callable[[], None]] = {
        "torchvision imports": _torchvision,
        "sparse product with gradients": _sparse,
        "ticket written and read": _ticket,
        "picture drawn": _picture,
    }
    checks = {name: _try(test) for name, test in tests.items()}
    folder = os.environ.get("GLT_DATA")
    facts = {
        "versions": versions,
        "threads": torch.get_num_threads(),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "GLT_DATA": None if not folder else f"{folder}{'' if Path(folder).is_dir() else ' (no such folder)'}",
        "checks": checks,
        "ok": all(outcome == "ok" for outcome in checks.values()),
    }
    for name, value in {**versions, **checks, "GLT_DATA": facts["GLT_DATA"] or "not set"}.items():
        console.line(f"{name:32} {value}")
    if not facts["ok"]:
        raise RuntimeError(f"some checks failed: {', '.join(n for n, o in checks.items() if o != 'ok')}; see above")
    return facts


def _try(test: Callable[[], None]) -> str:
    try:
        test()
    except Exception as error:  # a doctor reports whatever is wrong
        return f"{type(error).__name__}: {error}"
    return "ok"


def _torchvision() -> None:
    import torchvision.transforms

    del torchvision


def _sparse() -> None:
    import torch

    from glt.adjacency import Pattern, propagate

    values = torch.ones(2, requires_grad=True)
    out = propagate(Pattern(torch.tensor([[0, 1], [1, 0]]), 2), values, torch.eye(2))
    out.sum().backward()  # type: ignore[no-untyped-call]
    if values.grad is None or values.grad.tolist() != [1.0, 1.0]:
        raise RuntimeError(f"gradient {values.grad}, expected [1, 1]")


def _ticket() -> None:
    import tempfile

    import torch

    from common.masks import Masks
    from common.ticket import Ticket

    ticket = Ticket(Masks({"w": torch.tensor([True, False])}), {"w": torch.ones(2)})
    with tempfile.TemporaryDirectory() as folder:
        again = Ticket.load(ticket.save(folder))
    if again.digest != ticket.digest:
        raise RuntimeError("a ticket changed on disk")


def _picture() -> None:
    from common.runs.plots import graph_drawing

    graph_drawing([[0, 1], [1, 0]], [True, True])
