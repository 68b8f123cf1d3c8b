"""The files of a graph on disk: arrays as `.npy`, written in order, beside one json that vouches for them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np

from common.runs.errors import MissingData
from common.runs.files import canonical, dump, write_atomic
from glt._rows import Mapped

__all__ = ["MANIFEST", "NpyWriter", "read", "seal", "write_header"]

MANIFEST = "graph.json"
_KIND = {"kind": "lottery-graph", "version": 1}


def write_header(file: IO[bytes], dtype: np.dtype, shape: tuple[int, ...]) -> None:
    """The head of an `.npy`, before rows that follow one after the other."""
    fields = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, fields)


class NpyWriter:
    """An `.npy` that is written in order, row by row.

    Args:
        path: of the file.
        dtype: of what is in it.
        row: shape of a row; of numbers, nothing.
    """

    def __init__(self, path: Path, dtype: np.dtype, row: tuple[int, ...] = ()) -> None:
        self._dtype, self._row, self._count = dtype, row, 0
        self._file = path.open("wb")
        write_header(self._file, dtype, (0, *row))

    def write(self, rows: np.ndarray) -> None:
        """Append some rows."""
        self._file.write(np.ascontiguousarray(rows, self._dtype).data)
        self._count += len(rows)

    def __enter__(self) -> NpyWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with self._file:
            self._file.seek(0)  # numpy leaves room in the head for any number of rows
            write_header(self._file, self._dtype, (self._count, *self._row))


def seal(folder: Path, body: Mapping[str, Any]) -> None:
    """Write the json: what is known of the graph, and every array's type, shape and sha256."""
    arrays = {}
    for path in sorted(folder.glob("*.npy")):
        array = Mapped.npy(path)
        shape = list(array.shape) if path.stem == "x" else [array.shape[0]]
        arrays[path.stem] = {"dtype": str(array.dtype), "shape": shape, "sha256": _sha256(path)}
    whole = {**_KIND, **body, "arrays": arrays}
    write_atomic(folder / MANIFEST, dump({**whole, "checksum": _checksum(whole)}) + "\n")


def read(folder: Path, *, verify: bool = True) -> tuple[dict[str, Any], dict[str, Mapped]]:
    """The json and the arrays of a folder.

    Args:
        folder: what `glt.mapped.write_graph` has made.
        verify: compare every array with its hash, which reads all of it.

    Raises:
        MissingData: there is no such folder, or a file is missing.
        ValueError: something was altered, cut short, or is no graph.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise MissingData(
            f"{folder}: found no {MANIFEST}; expected the folder of a graph, as glt.mapped.write_graph makes"
        )
    try:
        body = json.loads(path.read_bytes())
        known = {key: body.get(key) for key in _KIND}
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{path}: found no json object ({error}). {_AGAIN}") from None
    if known != _KIND:
        raise ValueError(f"{path}: found {known}; expected {_KIND}. It is of another release, or no graph")
    if body.get("checksum") != (right := _checksum(body)):
        raise ValueError(f"{path}: found checksum {body.get('checksum')!r}; expected {right!r}. {_AGAIN}")
    return body, {name: _array(folder / f"{name}.npy", record, verify) for name, record in body["arrays"].items()}


_AGAIN = "It was altered; restore the folder from a copy, or write it again"


def _array(path: Path, record: Mapping[str, Any], verify: bool) -> Mapped:
    if not path.is_file():
        raise MissingData(f"{path}: found no such file; expected the array that {MANIFEST} names. {_AGAIN}")
    if verify and (found := _sha256(path)) != record["sha256"]:
        raise ValueError(f"{path}: found sha256 {found[:12]}...; expected {record['sha256'][:12]}.... {_AGAIN}")
    try:
        array = Mapped.npy(path)
    except ValueError as error:
        raise ValueError(f"{path}: found no array ({error}). {_AGAIN}") from None
    expected = (str(record["dtype"]), (*record["shape"], 1)[:2])
    if (str(array.dtype), array.shape) != expected:
        raise ValueError(f"{path}: found {array.dtype} {array.shape}; expected {expected[0]} {expected[1]}. {_AGAIN}")
    return array


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _checksum(body: Mapping[str, Any]) -> str:
    rest = {key: value for key, value in body.items() if key != "checksum"}
    return hashlib.sha256(canonical(rest).encode()).hexdigest()
