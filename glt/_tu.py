"""Sets of graphs of the TU collection (Morris et al., TUDataset, 2020) on disk: found, downloaded, read, or missing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from glt._places import absent, downloaded, find, places
from glt.graph import GraphSet
from glt.splits import stratified

__all__ = ["TU", "read_tu", "tu_folder"]

TU = {
    "tu-mutag": "MUTAG",
    "tu-proteins": "PROTEINS",
    "tu-enzymes": "ENZYMES",
    "tu-nci1": "NCI1",
    "tu-dd": "DD",
    "tu-imdb-binary": "IMDB-BINARY",
}
_PARTS = ("A", "graph_indicator", "graph_labels")


def tu_folder(name: str, root: str | Path | None = None) -> Path | None:
    """The first of `root`, `$GLT_DATA` and the cache with the raw files of a set, in `tu/NAME/raw`; or None."""
    return find("tu", root, lambda folder: all(_file(folder / name / "raw", name, part).is_file() for part in _PARTS))


def read_tu(name: str, root: str | Path | None = None) -> GraphSet:
    """A set of the collection, a tenth of every class to validate and one to test.

    Features are the attributes of nodes and their labels, one-hot; where there are neither, as in IMDB-BINARY, one that
    is 1 everywhere. Edges have no attributes here.

    Args:
        name: as in `TU`'s values.
        root: see `glt.data.load`.

    Raises:
        MissingData: it is not on this machine and cannot be downloaded.
        ValueError: a file is damaged; names it.
    """
    raw = (tu_folder(name, root) or _download(name, root)) / name / "raw"
    batch = _numbers(raw, name, "graph_indicator")[:, 0] - 1
    ends = _numbers(raw, name, "A").T - 1
    y = torch.unique(_numbers(raw, name, "graph_labels")[:, 0], return_inverse=True)[1]
    try:
        return GraphSet(
            f"tu-{name.lower()}", _features(raw, name, batch.numel()), ends, y, **stratified(y), batch=batch
        )
    except (TypeError, ValueError) as error:
        raise ValueError(f"{raw}: found files that do not fit each other ({error}); restore them") from error


def _features(raw: Path, name: str, nodes: int) -> Tensor:
    found = []
    if _file(raw, name, "node_attributes").is_file():
        found.append(_numbers(raw, name, "node_attributes", whole=False))
    if _file(raw, name, "node_labels").is_file():
        for column in _numbers(raw, name, "node_labels").unbind(1):
            found.append(torch.nn.functional.one_hot(torch.unique(column, return_inverse=True)[1]).float())
    return torch.cat(found, 1) if found else torch.ones(nodes, 1)


def _numbers(raw: Path, name: str, part: str, *, whole: bool = True) -> Tensor:
    """The table of a file, (rows, columns): int64, or float32."""
    path = _file(raw, name, part)
    try:
        table = np.loadtxt(path, dtype=np.int64 if whole else np.float32, delimiter=",", ndmin=2)
    except ValueError as error:
        raise ValueError(
            f"{path}: found damaged data ({error}); expected {name} of the TU collection. Put a good copy there, or "
            "delete it: a set that lacks a file is downloaded again."
        ) from error
    return torch.from_numpy(table)


def _file(raw: Path, name: str, part: str) -> Path:
    return raw / f"{name}_{part}.txt"


def _download(name: str, root: str | Path | None) -> Path:
    raw = places(None)[-1] / "tu" / name / "raw"
    files = ", ".join(f"{name}_{part}.txt" for part in _PARTS)
    put = (
        f"Put {files} and, where there are any, the labels and attributes of nodes into {raw}, or name their folder by "
        f"--data-root or GLT_DATA (as tu/{name}/raw there)"
    )

    def fetch(folder: str) -> object:
        from torch_geometric.datasets import TUDataset

        return TUDataset(folder, name)

    return downloaded(raw, fetch, absent(name, root, put, "motifs"))
