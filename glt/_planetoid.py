"""The Planetoid sets (Yang, Cohen & Salakhutdinov, ICML 2016) on disk: found, downloaded, read, or named as missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from glt._places import absent, downloaded, find, places

__all__ = ["PLANETOID", "download", "planetoid_folder", "read"]

PLANETOID = {"cora": "Cora", "citeseer": "CiteSeer", "pubmed": "PubMed"}
_COUNTS = {  # nodes, features, directed edges, test nodes, the first test node
    "Cora": (2708, 1433, 10556, 1000, 1708),
    "CiteSeer": (3327, 3703, 9104, 1000, 2312),
    "PubMed": (19717, 500, 88648, 1000, 18717),
}
_PARTS = ("x", "tx", "allx", "y", "ty", "ally", "graph", "test.index")


def planetoid_folder(name: str, root: str | Path | None = None) -> Path | None:
    """The first of `root`, `$GLT_DATA` and the cache that holds all eight raw files of a Planetoid set, or None."""
    return find("planetoid", root, lambda folder: not _missing(folder / name / "raw", name))


def read(name: str, root: str | Path | None = None) -> Any:
    """A Planetoid set as torch-geometric's `Data`, its features summing to one a node.

    Raises:
        MissingData: it is not on this machine and cannot be downloaded; names the files and the folder.
        ValueError: a file is damaged; names it.
    """
    from torch_geometric.io import read_planetoid_data
    from torch_geometric.transforms import NormalizeFeatures

    raw = (planetoid_folder(name, root) or download(name, root)) / name / "raw"
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


def _missing(raw: Path, name: str) -> list[str]:
    files = [f"ind.{name.lower()}.{part}" for part in _PARTS]
    return [file for file in files if not (raw / file).is_file()]


def download(name: str, root: str | Path | None = None, into: str | Path | None = None) -> Path:
    """Download a Planetoid set.

    Args:
        name: as in `PLANETOID`'s values.
        root: where it was looked for; only named if this fails.
        into: a folder of data sets; the cache if None.

    Returns:
        The folder that holds `name/raw`.

    Raises:
        MissingData: `GLT_OFFLINE` is set, or the download failed.
    """
    raw = Path(into or places(None)[-1]).expanduser() / "planetoid" / name / "raw"
    wanted = ", ".join(f"ind.{name.lower()}.{part}" for part in _PARTS)
    put = (
        f"Put the 8 files {wanted} into {raw}, or name their folder by --data-root or GLT_DATA (as "
        f"planetoid/{name}/raw there)"
    )

    def fetch(folder: str) -> object:
        from torch_geometric.datasets import Planetoid

        return Planetoid(folder, name)

    return downloaded(raw, fetch, absent(name, root, put, "digits"))
