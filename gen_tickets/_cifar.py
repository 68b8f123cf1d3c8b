"""CIFAR-10 on disk: pickled batches, read without running what a pickle may run, or `.npz` files."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import IO, Any

import numpy as np

__all__ = ["BATCHES", "Raw", "find", "read"]

Raw = tuple[np.ndarray, np.ndarray]
"""Images (N, 3, 32, 32) of bytes and labels (N,)."""
BATCHES = tuple(f"data_batch_{number}" for number in range(1, 6))
_TEST = "test_batch"


class _Arrays(pickle.Unpickler):
    """Reads numbers, texts, lists, dicts and numpy arrays; whatever else a pickle asks for is refused."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file, encoding="bytes")

    def find_class(self, module: str, name: str) -> Any:
        """What a pickled array is rebuilt with, by the names of numpy 1 and 2."""
        if (module, name) in {("numpy", "ndarray"), ("numpy", "dtype")}:
            return getattr(np, name)
        if name == "_reconstruct" and module in ("numpy.core.multiarray", "numpy._core.multiarray"):
            return np.empty(0).__reduce__()[0]
        if (module, name) == ("_codecs", "encode"):
            return _latin1
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")


def _latin1(text: str, encoding: str) -> bytes:
    """The bytes of an array, which a pickle of protocol 2 that Python 3 wrote keeps as a text."""
    if encoding not in ("latin1", b"latin1"):
        raise pickle.UnpicklingError(f"it asks for the encoding {encoding!r}")
    return text.encode("latin1")


def find(folder: Path) -> tuple[list[Path], Path] | None:
    """Files to train on and the file to test on in a folder, or None if there are none or one is missing.

    Either `data_batch_1` to `data_batch_5` and `test_batch`, or `train.npz` (else the first `train*.npz`) and
    `test.npz`.
    """
    pickled = [folder / name for name in BATCHES]
    if all(path.is_file() for path in [*pickled, folder / _TEST]):
        return pickled, folder / _TEST
    arrays = sorted(folder.glob("train*.npz"), key=lambda path: (path.name != "train.npz", path.name))
    return (arrays[:1], folder / "test.npz") if arrays and (folder / "test.npz").is_file() else None


def read(path: Path) -> Raw:
    """Images and labels of one file: a pickled batch, or an `.npz` with `x` (N, 32, 32, 3) and `y` (N,).

    Raises:
        ValueError: the file is damaged, asks to run code, or holds something else.

    References:
        Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009.
    """
    try:
        return _checked(*(_npz(path) if path.suffix == ".npz" else _pickled(path)))
    except Exception as error:  # a damaged pickle or archive raises almost anything
        found = str(error) if type(error) is ValueError else f"damaged data ({type(error).__name__}: {error})"
        raise ValueError(
            f"{path}: found {found}; expected CIFAR-10 as published. Put a good copy of the file there."
        ) from error


def _pickled(path: Path) -> Raw:
    with path.open("rb") as file:
        batch = _Arrays(file).load()
    if not isinstance(batch, dict) or not {b"data", b"labels"} <= batch.keys():
        raise ValueError(f"{type(batch).__name__} without data and labels")
    pixels = np.asarray(batch[b"data"])
    if pixels.ndim != 2 or pixels.shape[1] != 3072:
        raise ValueError(f"data of shape {pixels.shape}")
    return pixels.reshape(-1, 3, 32, 32), np.asarray(batch[b"labels"])


def _npz(path: Path) -> Raw:
    with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
        missing = [name for name in ("x", "y") if name not in file.files]
        if missing:
            raise ValueError(f"no array {' or '.join(missing)}")
        pixels, labels = file["x"], file["y"]
    if pixels.shape[1:] != (32, 32, 3):
        raise ValueError(f"x of shape {pixels.shape}")
    return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)), labels


def _checked(pixels: np.ndarray, labels: np.ndarray) -> Raw:
    if pixels.dtype != np.uint8 or labels.dtype.kind not in "iu":
        raise ValueError(f"images of {pixels.dtype} and labels of {labels.dtype}")
    if labels.shape != pixels.shape[:1]:
        raise ValueError(f"{len(pixels)} images and labels of shape {labels.shape}")
    return pixels, labels.astype(np.int64)
