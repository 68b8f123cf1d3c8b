"""Masks as bits and weights as their kept values: the two encodings a ticket on disk is made of.

Selecting by a boolean mask is limited by mispredicted branches when about one entry in ten is kept. `numpy.nonzero` has
a branch-free loop that it takes above one in ten, so every chunk is padded with an eighth of True entries, whose
indices are then dropped; chunks run on threads because numpy lets go of the interpreter lock.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate
from math import prod
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

__all__ = ["compress", "expand", "kept_counts", "pack", "raw_bytes", "unpack"]

_CHUNK = 1 << 20
_RAW = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64, 16: torch.complex128}
_Job = Callable[[], None]


def pack(mask: Tensor) -> Tensor:
    """The bits of a bool tensor of any shape, row by row, eight to a byte and the first in the highest bit.

    >>> pack(torch.tensor([[True, False], [True, True]]))
    tensor([176], dtype=torch.uint8)
    """
    return torch.from_numpy(np.packbits(_flat(mask).numpy()))


def unpack(bits: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """The bool tensors of given shapes whose bits `pack` wrote.

    Raises:
        ValueError: a shape needs another number of bytes.

    >>> unpack({"w": torch.tensor([176], dtype=torch.uint8)}, {"w": (2, 2)})
    {'w': tensor([[ True, False],
            [ True,  True]])}
    """
    masks, jobs = _allocate({name: (tuple(shapes[name]), torch.bool) for name in bits}), []
    for name, packed in bits.items():
        source, target = packed.numpy(), _raw(masks[name].reshape(-1))
        if source.size != (target.size + 7) // 8:
            raise ValueError(
                f"{name!r} of shape {shapes[name]} has {(target.size + 7) // 8} bytes; found {source.size}"
            )
        jobs += [_unpack(source, target, start) for start in range(0, target.size, _CHUNK)]
    _run(jobs)
    return masks


def compress(dense: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The kept values of every masked tensor, one dimension each, in row-major order and bit for bit.

    Args:
        dense: name to a tensor of the mask's shape; names without a mask are left out.
        masks: name to a bool tensor.

    >>> compress({"w": torch.tensor([[1.0, 2.0], [3.0, 4.0]])}, {"w": torch.tensor([[True, False], [True, True]])})
    {'w': tensor([1., 3., 4.])}
    """
    chunks = {name: _chunks(mask) for name, mask in masks.items()}
    kept, jobs = _allocate({name: ((c.offsets[-1],), dense[name].dtype) for name, c in chunks.items()}), []
    for name, chunk in chunks.items():
        source, target = _raw(_flat(dense[name])), _raw(kept[name])
        jobs += [_take(source, target, chunk, i) for i in range(len(chunk.counts))]
    _run(jobs)
    return kept


def expand(kept: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The dense tensors whose kept values `compress` took out; every other entry is zero.

    Raises:
        ValueError: a tensor has not as many values as its mask keeps entries.

    >>> expand({"w": torch.tensor([1.0, 3.0])}, {"w": torch.tensor([True, False, True])})
    {'w': tensor([1., 0., 3.])}
    """
    dense, jobs = _allocate({name: (tuple(mask.shape), kept[name].dtype) for name, mask in masks.items()}), []
    for name, mask in masks.items():
        source, target, chunk = _raw(_flat(kept[name])), _raw(dense[name].reshape(-1)), _chunks(mask)
        if chunk.offsets[-1] != source.size:
            raise ValueError(f"the mask of {name!r} keeps {chunk.offsets[-1]} entries; found {source.size} values")
        jobs += [_put(source, target, chunk, i) for i in range(len(chunk.counts))]
    _run(jobs)
    return dense


def kept_counts(masks: Mapping[str, Tensor]) -> dict[str, int]:
    """How many entries each mask keeps, several times faster than a torch sum.

    >>> kept_counts({"w": torch.tensor([True, False, True])})
    {'w': 2}
    """
    return {name: int(np.count_nonzero(_flat(mask).numpy())) for name, mask in masks.items()}


def raw_bytes(tensor: Tensor) -> memoryview:
    """A tensor's bytes, row by row, without a copy where it is contiguous and on the CPU.

    >>> raw_bytes(torch.tensor([1, 2], dtype=torch.int16)).tolist()
    [1, 0, 2, 0]
    """
    return memoryview(_flat(tensor).view(torch.uint8).numpy().data)


def _unpack(source: np.ndarray, target: np.ndarray, start: int) -> _Job:
    part = target[start : start + _CHUNK]

    def job() -> None:
        part[:] = np.unpackbits(source[start // 8 : (start + _CHUNK) // 8], count=part.size)

    return job


def _take(source: np.ndarray, target: np.ndarray, chunks: _Chunks, i: int) -> _Job:
    entries, values = chunks.spans(i)

    def job() -> None:
        np.take(source[entries], chunks.indices(i), out=target[values], mode="clip")

    return job


def _put(source: np.ndarray, target: np.ndarray, chunks: _Chunks, i: int) -> _Job:
    entries, values = chunks.spans(i)

    def job() -> None:
        part = target[entries]
        part.fill(0)  # here and not at allocation: on the thread, and into its cache
        part[chunks.indices(i)] = source[values]

    return job


class _Chunks(NamedTuple):
    """A flat mask in chunks: kept entries of each, and where each one's values start; the last offset is the total."""

    bits: np.ndarray
    counts: list[int]
    offsets: list[int]

    def spans(self, i: int) -> tuple[slice, slice]:
        return slice(i * _CHUNK, (i + 1) * _CHUNK), slice(self.offsets[i], self.offsets[i + 1])

    def indices(self, i: int) -> np.ndarray:
        bits = self.bits[self.spans(i)[0]]
        padded = np.ones(bits.size + bits.size // 8 + 1, dtype=np.bool_)
        padded[: bits.size] = bits
        return np.flatnonzero(padded)[: self.counts[i]]


def _chunks(mask: Tensor) -> _Chunks:
    bits = _flat(mask).numpy()
    counts = [int(np.count_nonzero(bits[i : i + _CHUNK])) for i in range(0, bits.size, _CHUNK)]
    return _Chunks(bits, counts, [0, *np.cumsum(counts, dtype=np.int64).tolist()])


def _allocate(wanted: Mapping[str, tuple[tuple[int, ...], torch.dtype]]) -> dict[str, Tensor]:
    """Uninitialised tensors cut from one allocation, large enough for huge pages; each is its own torch storage."""
    sizes = {name: prod(shape) * dtype.itemsize for name, (shape, dtype) in wanted.items()}
    ends = list(accumulate((-(-size // 64) * 64 for size in sizes.values()), initial=0))
    arena = np.empty(ends[-1], dtype=np.uint8)
    return {
        name: torch.frombuffer(arena, dtype=dtype, count=prod(shape), offset=start).reshape(shape)
        if sizes[name]
        else torch.empty(shape, dtype=dtype)
        for start, (name, (shape, dtype)) in zip(ends, wanted.items(), strict=False)
    }


def _flat(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().contiguous().reshape(-1)


def _raw(flat: Tensor) -> np.ndarray:
    """The same memory as integers of the same width, so that NaN payloads and bfloat16 survive."""
    return flat.view(_RAW[flat.element_size()]).numpy()


def _run(jobs: list[_Job]) -> None:
    if len(jobs) < 4:
        for job in jobs:
            job()
        return
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1, torch.get_num_threads())) as pool:
        for done in [pool.submit(job) for job in jobs]:
            done.result()
