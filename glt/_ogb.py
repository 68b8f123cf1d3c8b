"""Sets of the Open Graph Benchmark (Hu et al., NeurIPS 2020), through the package `ogb` of the extra of that name."""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from common.runs.errors import MissingData, UsageError
from glt._own_data import checked
from glt._places import absent, find, places
from glt.graph import Graph
from glt.graph_sets import from_pyg_set

__all__ = ["OGB", "ogb_folder", "read_ogb"]

OGB = ("ogbn-arxiv", "ogbg-molhiv")


def ogb_folder(name: str, root: str | Path | None = None) -> Path | None:
    """The first of `root`, `$GLT_DATA` and the cache with a set as `ogb` lays it out, in `ogb/`; or None."""
    plain = name.replace("-", "_")
    return find("ogb", root, lambda folder: any((folder / f"{plain}{end}" / "split").is_dir() for end in ("", "_pyg")))


def read_ogb(name: str, root: str | Path | None = None) -> Graph:
    """A set of the benchmark with its own splits.

    The edges of ogbn-arxiv become undirected, as its tickets in the literature have them. The nine numbers of an atom
    of ogbg-molhiv become one-hot columns, of which a linear map makes the sum of embeddings that the benchmark's own
    encoder has; bonds have no attributes here.

    Raises:
        UsageError: the package is not installed; says how to install it.
        MissingData: the set is not on this machine and cannot be downloaded.
    """
    folder = ogb_folder(name, root)
    into = folder or places(None)[-1] / "ogb"
    put = (
        f"Put the folder {name.replace('-', '_')}, as the package ogb makes it, into {into}, or name that folder by "
        "--data-root or GLT_DATA (as ogb there)"
    )
    instead = "digits" if name.startswith("ogbn") else "motifs"
    if folder is None and os.environ.get("GLT_OFFLINE"):
        raise MissingData(absent(name, root, put, instead))
    try:
        with _as_it_was():
            return _arxiv(name, into) if name.startswith("ogbn") else _molecules(name, into)
    except ImportError as error:
        raise UsageError(
            f"{name} is read by the package ogb, which is not installed ({error}). pip install 'lottery-tickets[ogb]' "
            f"brings it; or use the embedded data set: {instead}"
        ) from error
    except (EOFError, OSError, RuntimeError, SystemExit) as error:
        raise MissingData(f"{absent(name, root, put, instead)} ({type(error).__name__}: {error})") from error


def _arxiv(name: str, folder: Path) -> Graph:
    from ogb.nodeproppred import PygNodePropPredDataset
    from torch_geometric.utils import to_undirected

    dataset = PygNodePropPredDataset(name, root=str(folder))
    data = dataset[0]
    edges = to_undirected(data.edge_index, num_nodes=data.x.size(0))
    fields = checked({"x": data.x, "edge_index": edges, "y": data.y.view(-1)})
    return Graph(name, **fields, **_masks(dataset, data.x.size(0)))


def _molecules(name: str, folder: Path) -> Graph:
    from ogb.graphproppred import PygGraphPropPredDataset
    from torch_geometric.data import Data

    dataset = PygGraphPropPredDataset(name, root=str(folder))
    found: list[Any] = [dataset[number] for number in range(len(dataset))]
    columns = _one_hot(torch.cat([one.x for one in found])).split([one.x.size(0) for one in found])
    graphs = [
        Data(x=x, edge_index=one.edge_index, y=one.y.view(-1).long()) for x, one in zip(columns, found, strict=True)
    ]
    return from_pyg_set(graphs, name, splits=_masks(dataset, len(graphs)))


def _one_hot(x: Tensor) -> Tensor:
    """Whole numbers (N, F) as zeros and ones, a column for each value that a number takes."""
    parts = [torch.nn.functional.one_hot(torch.unique(column, return_inverse=True)[1]) for column in x.unbind(1)]
    return torch.cat(parts, 1).float()


def _masks(dataset: Any, count: int) -> dict[str, Tensor]:
    splits = dataset.get_idx_split()
    masks = {name: torch.zeros(count, dtype=torch.bool) for name in ("train", "val", "test")}
    for name, theirs in (("train", "train"), ("val", "valid"), ("test", "test")):
        masks[name][splits[theirs]] = True
    return masks


@contextlib.contextmanager
def _as_it_was() -> Iterator[None]:
    """What `ogb` takes for granted: that torch.load unpickles, and that nobody reads standard output but people."""
    key = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(key)
    os.environ[key] = "1"
    try:
        with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        if before is None:
            del os.environ[key]
        else:
            os.environ[key] = before
