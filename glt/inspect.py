"""`glt data` and `glt doctor`: what is at hand, and whether the installation works."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from common.runs import health
from common.runs.cli import Console
from common.runs.errors import UsageError
from glt._ogb import OGB, ogb_folder
from glt._planetoid import PLANETOID, download, planetoid_folder
from glt._tu import TU, tu_folder
from glt.config import Doctor, Inspect
from glt.data import NAMED, canonical, from_npz, load
from glt.data_file import write_npz
from glt.edges import Edges
from glt.graph import Graph, GraphSet

__all__ = ["data", "doctor"]


def data(config: Inspect, console: Console) -> dict[str, Any]:
    """Where every known data set is, or the numbers of one, which is written to a file if `config.to` names a folder.

    Raises:
        UsageError: the data set is unknown, or would be written over itself.
        MissingData: it is not at hand.
        ValueError: it is damaged, or no graph to learn from.
        OSError: the file cannot be written.
    """
    if config.dataset is None:
        places = _places(config)
        health.show(places, console, 15)
        return {"datasets": places}
    graph = _loaded(config, config.dataset)
    facts = {"dataset": graph.name, **_facts(graph)}
    if config.to is not None:
        facts["file"] = str(_written(graph, config.dataset, Path(config.to)))
    health.show(facts, console, 16)
    return facts


def _places(config: Inspect) -> dict[str, str]:
    """Where every data set of a name is."""
    found: dict[str, Path | None] = {}
    for name in NAMED:
        if name in PLANETOID:
            folder = planetoid_folder(PLANETOID[name], config.data_root)
            found[name] = folder and folder / PLANETOID[name] / "raw"
        elif name in TU:
            folder = tu_folder(TU[name], config.data_root)
            found[name] = folder and folder / TU[name] / "raw"
        elif name in OGB:
            found[name] = ogb_folder(name, config.data_root)
    absent = "not on this machine; downloaded when first used"
    return {name: str(found[name] or absent) if name in found else "embedded" for name in NAMED}


def _loaded(config: Inspect, dataset: str) -> Graph:
    name = PLANETOID.get(dataset.lower())
    if config.to is not None and name is not None and planetoid_folder(name, config.data_root) is None:
        download(name, config.data_root, into=config.to)
        return load(dataset, config.to)
    if not (config.largest or config.seed):
        return load(dataset, config.data_root)
    if not dataset.lower().endswith(".npz"):
        raise UsageError(f"--largest and --seed are for files in the GNN benchmark's format; found {dataset}")
    return from_npz(dataset, largest=config.largest, seed=config.seed)


def _written(graph: Graph, dataset: str, folder: Path) -> Path:
    path = folder.expanduser() / f"{Path(canonical(dataset)).name.removesuffix('.npz')}.npz"
    if path.exists() and Path(dataset).expanduser().exists() and path.samefile(Path(dataset).expanduser()):
        raise UsageError(f"--to would write {path} over itself; expected another folder")
    return write_npz(graph, path)


def _facts(graph: Graph) -> dict[str, Any]:
    """Its numbers; homophily is the share of edges whose ends have one label."""
    edges, whole = Edges(graph.edge_index, graph.x.size(0)), isinstance(graph, GraphSet)
    same = None if whole else (graph.y[edges.edge_index[0]] == graph.y[edges.edge_index[1]]).float().mean()
    return {
        **({"graphs": graph.y.numel()} if whole else {}),
        "nodes": graph.x.size(0),
        "features": graph.x.size(1),
        "feature_density": float((graph.x != 0).float().mean()),
        "directed_edges": edges.edge_index.size(1),
        "undirected": edges.symmetric,
        "edges": edges.count()["total"],
        "classes": graph.classes,
        "homophily": None if same is None else float(same),
        **{split: int(getattr(graph, split).sum()) for split in ("train", "val", "test")},
        "sha256": edges.fingerprint()["sha256"],
        "data_sha256": graph.sha256,
    }


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
