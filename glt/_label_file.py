"""The file of predicted labels, written in parts; whole or absent."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

import numpy as np

from common.runs.errors import UsageError
from glt._graph_folder import write_header

__all__ = ["check_label_file", "label_file"]

_KINDS = (".npy", ".npz")


def check_label_file(path: str | None) -> None:
    """Refuse what cannot be written.

    Raises:
        UsageError: another kind of file, or a folder that there is not.
    """
    if path is not None and not (path.endswith(_KINDS) and Path(path).resolve().parent.is_dir()):
        raise UsageError(f"--out must be an .npy or .npz in a folder that exists; found {path}")


@contextmanager
def label_file(path: str | None, count: int) -> Iterator[Callable[[np.ndarray], None]]:
    """Something that takes int64 labels in order.

    Args:
        path: an `.npy`, or an `.npz`, whose array is called `prediction`; None writes nothing.
        count: how many labels there will be.

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with label_file(f"{folder}/labels.npz", 3) as write:
    ...         write(np.array([1, 2])), write(np.array([0]))
    ...     np.load(f"{folder}/labels.npz")["prediction"].tolist()
    (None, None)
    [1, 2, 0]
    """
    if path is None:
        yield lambda _: None
        return
    target = Path(path).resolve()
    with tempfile.NamedTemporaryFile(dir=target.parent, prefix=f".{target.name}.", delete=False) as work:
        try:
            with ExitStack() as open_files:
                file: IO[bytes] = work  # type: ignore[assignment]
                if path.endswith(".npz"):
                    archive = open_files.enter_context(zipfile.ZipFile(work, "w", zipfile.ZIP_DEFLATED))
                    file = open_files.enter_context(archive.open("prediction.npy", "w", force_zip64=True))
                write_header(file, np.dtype(np.int64), (count,))
                yield lambda labels: _append(file, labels)
            work.close()
            Path(work.name).chmod(0o644)
            Path(work.name).replace(target)
        finally:
            Path(work.name).unlink(missing_ok=True)


def _append(file: IO[bytes], labels: np.ndarray) -> None:
    file.write(np.ascontiguousarray(labels, np.int64).data)
