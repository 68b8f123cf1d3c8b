"""Arrays of one's own, taken as they are or refused: nothing is rounded, truncated or left out without a word."""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

__all__ = ["WANTED", "checked", "own_fields", "read_arrays", "warn_of_weights"]

WANTED = ("x", "edge_index", "y", "train", "val", "test")
_WEIGHTS = ("edge_weight", "edge_attr")


def own_fields(path: Path, arrays: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    """The six arrays of an `.npz` as tensors of the types a `Graph` has, and `batch` of a `GraphSet`.

    Raises:
        ValueError: an array is missing, or see `checked`.
    """
    missing = [name for name in WANTED if name not in arrays]
    if missing:
        raise ValueError(f"{path} lacks {', '.join(missing)}; it has {', '.join(arrays) or 'no arrays'}")
    warn_of_weights(str(path), arrays)
    return checked({name: _tensor(name, arrays[name]) for name in (*WANTED, "batch") if name in arrays})


def checked(fields: Mapping[str, object]) -> dict[str, Tensor]:
    """Features as float32, edges and labels as int64, splits as they are.

    Args:
        fields: `x`, `edge_index`, `y`, perhaps `batch` and, by any other name, the splits.

    Raises:
        ValueError: a type that a conversion would change the meaning of.

    >>> masks = {name: torch.tensor([True, False]) for name in ("train", "val", "test")}
    >>> checked({"x": torch.ones(2, 1), "edge_index": torch.ones(2, 1), "y": torch.arange(2), **masks})
    Traceback (most recent call last):
    ValueError: edge_index must hold integers; found float32. If its numbers are whole, save it as int64
    """
    tensors: dict[str, Tensor] = {}
    for name, value in fields.items():
        if not isinstance(value, Tensor) or value.layout is not torch.strided:
            found = value.layout if isinstance(value, Tensor) else type(value).__name__
            raise ValueError(f"{name} must be a dense tensor; found {found}. Convert it, as by .to_dense()")
        kind = str(value.dtype).removeprefix("torch.")
        if name == "x":
            if value.is_complex():
                raise ValueError(f"x must hold real numbers; found {kind}. Save real and imaginary parts as columns")
            tensors[name] = value.float()
        elif name in ("edge_index", "y", "batch"):
            if value.is_complex() or value.is_floating_point() or value.dtype is torch.bool:
                raise ValueError(f"{name} must hold integers; found {kind}. If its numbers are whole, save it as int64")
            tensors[name] = value.long()
        elif value.dtype is not torch.bool:
            raise ValueError(
                f"{name} must hold a bool a node, true for those in the split; found {kind}. Save it as bool"
            )
        else:
            tensors[name] = value
    return tensors


def warn_of_weights(where: str, fields: Iterable[str]) -> None:
    """Say that edge weights are not used, where there are any."""
    for name in sorted(set(_WEIGHTS).intersection(fields)):
        warnings.warn(
            f"{where}: {name} is not used; every edge starts with weight 1. Leave out {name} to be rid of this warning",
            UserWarning,
            stacklevel=3,
        )


def read_arrays(path: Path, pick: Callable[[list[str]], list[str]]) -> dict[str, np.ndarray]:
    """Some arrays of an `.npz`, after a check of the whole.

    Args:
        path: of the file.
        pick: which names to read, out of all; the others are not looked at, and may be objects.

    Raises:
        ValueError: the file is damaged or no `.npz`, or holds something else than arrays.
    """
    expected = f"expected an .npz as numpy.savez writes it, with {', '.join(WANTED)}. Write it again, or restore a copy"
    try:
        if not zipfile.is_zipfile(path):
            raise ValueError(_kind(path))
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()  # numpy reads no further than a header says, past which a change would hide
        if damaged:
            raise ValueError(f"a damaged {damaged}: its checksum does not fit")
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in pick(file.files)}
        strange = [name for name in WANTED if name in arrays and not isinstance(arrays[name], np.ndarray)]
        if strange:
            raise ValueError(f"a {strange[0]} that is no array")
    except Exception as error:  # a damaged file makes zipfile and numpy raise almost anything
        found = str(error) if type(error) is ValueError else f"damaged data ({type(error).__name__}: {error})"
        raise ValueError(f"{path}: found {found}; {expected}") from error
    return arrays


def _kind(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(6)
    if not head:
        return "an empty file"
    if head == b"\x93NUMPY":
        return "a single array (.npy)"
    return "a zip archive that was cut short" if head.startswith(b"PK") else "no zip archive"


def _tensor(name: str, array: np.ndarray) -> Tensor:
    try:
        return torch.from_numpy(np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("=")).reshape(array.shape))
    except TypeError:
        raise ValueError(f"{name} must hold numbers; found {array.dtype}. Save it as a numeric array") from None
