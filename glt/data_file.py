"""A data set as the `.npz` that the suite reads."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from glt._own_data import WANTED
from glt.graph import Graph, GraphSet

__all__ = ["write_npz"]


def write_npz(graph: Graph, path: str | Path) -> Path:
    """Write a graph or a set of graphs so that `glt.data.from_npz` gives it back, with the same sha256.

    Args:
        graph: the data.
        path: of the file; its folder is made if need be, and an older file is replaced at once.

    Returns:
        The path.

    Raises:
        OSError: it cannot be written.

    >>> from glt.data import from_npz
    >>> from glt.graph_sets import motifs
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     from_npz(write_npz(motifs(10), f"{folder}/ten.npz")).sha256 == motifs(10).sha256
    True
    """
    path = Path(path).expanduser()
    path.parent.mkdir(parents=True, exist_ok=True)
    fields = (*WANTED, "batch") if isinstance(graph, GraphSet) else WANTED
    arrays = {name: getattr(graph, name).detach().cpu().numpy() for name in fields}
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as work:
        try:
            np.savez_compressed(work, **arrays)
            work.close()
            Path(work.name).chmod(0o644)
            Path(work.name).replace(path)
        finally:
            Path(work.name).unlink(missing_ok=True)
    return path
