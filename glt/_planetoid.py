"""The Planetoid sets (Yang, Cohen & Salakhutdinov, ICML 2016) on disk: found, downloaded, read, or named as missing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from common.runs.errors import MissingData

__all__ = ["PLANETOID", "planetoid_folder", "read"]

PLANETOID = {"cora": "Cora", "citeseer": "CiteSeer", "pubmed": "PubMed"}
_COUNTS = {  # nodes, features, directed edges, test nodes, the first test node
    "Cora": (2708, 1433, 10556, 1000, 1708),
    "CiteSeer": (3327, 3703, 9104, 1000, 2312),
    "PubMed": (19717, 500, 88648, 1000, 18717),
}
_PARTS = ("x", "tx", "allx", "y", "ty", "ally", "graph", "test.index")


def planetoid_folder(name: str, root: str | Path | None = None) -> Path | None:
    """The first of `root`, `$GLT_DATA` and the cache that holds all eight raw files of a Planetoid set, or None."""
    for place in _places(root):
        for parent in (place / "planetoid", place):
            if not _missing(parent / name / "raw", name):
                return parent
    return None


def read(name: str, root: str | Path | None = None) -> Any:
    """A Planetoid set as torch-geometric's `Data`, its features summing to one a node.

    Raises:
        MissingData: it is not on this machine and cannot be downloaded; names the files and the folder.
        ValueError: a file is damaged; names it.
    """
    from torch_geometric.io import read_planetoid_data
    from torch_geometric.transforms import NormalizeFeatures

    raw = (planetoid_folder(name, root) or _download(name, root)) / name / "raw"
    try:
        data = read_planetoid_data(str(raw), name)
        counts = (*data.x.shape, data.edge_index.size(1), int(data.test_mask.sum()), int(data.test_mask.int().argmax()))
        if counts != _COUNTS[name]:
            raise ValueError(f"nodes, features, edges, test nodes, first of these: {counts}, not {_COUNTS[name]}")
        return NormalizeFeatures()(data)
    except Exception as error:  # a damaged pickle raises almost anything
        path, why = _damaged(raw, name, error)
        raise ValueError(
            f"{path}: found damaged data ({type(why).__name__}: {why}); expected {name} as published for Planetoid. "
            "Put a good copy there, or delete it: a set that lacks a file is downloaded again."
        ) from error


def _damaged(raw: Path, name: str, error: Exception) -> tuple[Path, Exception]:
    """The first file that cannot be read and why, or the folder if its files only do not fit each other."""
    from torch_geometric.io.planetoid import read_file

    for part in _PARTS:
        try:
            empty = len(read_file(str(raw), name, part)) == 0
        except Exception as why:
            return raw / f"ind.{name.lower()}.{part}", why
        if empty:
            return raw / f"ind.{name.lower()}.{part}", error
    return raw, error


def _places(root: str | Path | None) -> list[Path]:
    given = [root, os.environ.get("GLT_DATA"), os.environ.get("GLT_HOME", "~/.cache/glt")]
    return [Path(place).expanduser() for place in given if place]


def _missing(raw: Path, name: str) -> list[str]:
    files = [f"ind.{name.lower()}.{part}" for part in _PARTS]
    return [file for file in files if not (raw / file).is_file()]


def _download(name: str, root: str | Path | None) -> Path:
    cache = _places(None)[-1] / "planetoid"
    raw = cache / name / "raw"
    wanted = ", ".join(f"ind.{name.lower()}.{part}" for part in _PARTS)
    looked = ", ".join(str(place) for place in _places(root))
    absent = (
        f"{name} is not on this machine (looked in {looked}). Put the 8 files {wanted} into {raw}, or name their "
        f"folder by --data-root or GLT_DATA (as planetoid/{name}/raw there), or use the embedded data set: digits."
    )
    if os.environ.get("GLT_OFFLINE"):
        raise MissingData(absent)
    from torch_geometric.datasets import Planetoid

    try:
        Planetoid(str(cache), name)
    except Exception as error:  # PyG's downloaders raise whatever their transport raises
        for folder in (raw.parent / "processed", raw, raw.parent, cache, cache.parent):
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
        raise MissingData(f"{absent} (The download failed: {type(error).__name__}.)") from error
    return cache
