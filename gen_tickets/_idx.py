"""The idx files of MNIST: two zero bytes, a type, a number of dimensions, their sizes, then the values."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np

__all__ = ["MNIST", "find", "read"]

MNIST = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
_BYTES = 8  # the type of unsigned bytes, the only one MNIST has


def find(folder: Path) -> list[Path] | None:
    """The four files of MNIST in a folder, each as it is or gzipped, or None if one is missing."""
    found = [next((p for p in (folder / name, folder / f"{name}.gz") if p.is_file()), None) for name in MNIST]
    whole = [path for path in found if path is not None]
    return whole if len(whole) == len(MNIST) else None


def read(path: Path, dimensions: int) -> np.ndarray:
    """The array of unsigned bytes in an idx file, gzipped or not.

    Args:
        path: the file.
        dimensions: how many it must have: 3 for images (N, H, W), 1 for labels (N,).

    Raises:
        ValueError: the file is cut short, too long, damaged, or of another type.

    References:
        LeCun et al., Gradient-Based Learning Applied to Document Recognition, Proceedings of the IEEE 1998.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "labels"
    >>> _ = path.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 2, 7, 9]))
    >>> read(path, 1).tolist()
    [7, 9]
    """
    content = path.read_bytes()
    if content[:2] == b"\x1f\x8b":
        try:
            content = gzip.decompress(content)
        except (EOFError, OSError, zlib.error) as error:
            _refuse(path, f"a damaged gzip file ({error})", "a whole one", error)
    wanted = bytes([0, 0, _BYTES, dimensions])
    if content[:4] != wanted:
        _refuse(path, f"a file that begins with {content[:4].hex() or 'nothing'}", f"{wanted.hex()} of an idx file")
    start = 4 + 4 * dimensions
    if len(content) < start:
        _refuse(path, f"{len(content)} bytes", f"a header of {start}")
    sizes = [int(size) for size in np.frombuffer(content, ">u4", dimensions, 4)]
    total = start + math.prod(sizes)
    if len(content) != total:
        _refuse(path, f"{len(content)} bytes", f"{total}, as its header says ({' x '.join(map(str, sizes))} values)")
    return np.frombuffer(content, np.uint8, offset=start).reshape(sizes)


def _refuse(path: Path, found: str, expected: str, cause: Exception | None = None) -> None:
    raise ValueError(f"{path}: found {found}; expected {expected}. Put a good copy of the file there.") from cause
