"""The generators of `glt.generators` as streams: the same graphs from the same seeds, in bounded memory.

A generator draws one long row of numbers after the other. To have the n-th numbers of all rows together, the random
state at the beginning of every row is kept, and the rows are drawn side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy

import numpy as np
import torch

from common.runs.errors import UsageError
from glt import generators
from glt._graph_sources import Source

__all__ = ["named_stream", "rmat_stream", "sbm_stream"]

_Draw = Callable[[np.random.Generator, int], np.ndarray]
_CHUNK = 1 << 20


def named_stream(name: str) -> Source | None:
    """What `rmat-SCALE` or `sbm-NODES` draws; None for any other name.

    Raises:
        UsageError: the size is out of range.
    """
    kind, _, size = name.partition("-")
    if kind not in ("rmat", "sbm") or not generators.is_generated(name):
        return None
    lowest, highest = (4, 30) if kind == "rmat" else (16, 2**31 - 1)
    if not lowest <= int(size) <= highest:
        raise UsageError(f"found the data set {name!r}; expected a size from {lowest} to {highest}, as in {kind}-16")
    return rmat_stream(int(size)) if kind == "rmat" else sbm_stream(int(size))


def rmat_stream(scale: int, degree: int = 16, features: int = 128, classes: int = 40, seed: int = 0) -> Source:
    """`glt.generators.rmat` with the same arguments, not held in memory."""
    rng = np.random.default_rng(seed)
    nodes = 2**scale
    levels: list[_Draw] = [lambda rng, size: rng.random(size, dtype=np.float32)] * scale
    drawn = _side_by_side(rng, levels, nodes * degree)

    def ends(most: int) -> Iterator[np.ndarray]:
        for draws in drawn(most):
            found = np.zeros((2, len(draws[0])), np.int64)
            for draw in draws:
                found *= 2
                found[0] += draw >= 0.76
                found[1] += ((draw >= 0.57) & (draw < 0.76)) | (draw >= 0.95)
            yield found

    return _source(f"rmat-{scale}", rng, ends, generators._even(nodes, classes), features, seed)


def sbm_stream(nodes: int, degree: int = 16, features: int = 128, classes: int = 40, seed: int = 0) -> Source:
    """`glt.generators.sbm` with the same arguments, not held in memory."""
    rng = np.random.default_rng(seed)
    y = generators._even(nodes, classes)
    starts = np.searchsorted(y, np.arange(int(y[-1]) + 2))
    ends: _Draw = lambda rng, size: rng.integers(0, nodes, size)  # noqa: E731
    kinds: list[_Draw] = [
        ends,
        ends,
        lambda rng, size: rng.random(size),
        lambda rng, size: rng.integers(0, 2**31, size),
    ]
    drawn = _side_by_side(rng, kinds, max(1, nodes * degree // 2))

    def pairs(most: int) -> Iterator[np.ndarray]:
        for source, target, coin, place in drawn(most):
            block = y[source]
            near = starts[block] + place % (starts[block + 1] - starts[block])
            yield np.stack([source, np.where(coin < 0.75, near, target)])

    return _source(f"sbm-{nodes}", rng, pairs, y, features, seed)


def _side_by_side(
    rng: np.random.Generator, rows: Sequence[_Draw], length: int
) -> Callable[[int], Iterator[list[np.ndarray]]]:
    """Rows of so many numbers, drawn one after the other; `rng` is moved behind them."""
    states = []
    for draw in rows:
        states.append(deepcopy(rng))
        for start in range(0, length, _CHUNK):
            draw(rng, min(_CHUNK, length - start))

    def chunks(most: int) -> Iterator[list[np.ndarray]]:
        moving = deepcopy(states)
        for start in range(0, length, most):
            size = min(most, length - start)
            yield [draw(state, size) for draw, state in zip(rows, moving, strict=True)]

    return chunks


def _source(
    name: str,
    rng: np.random.Generator,
    ends: Callable[[int], Iterator[np.ndarray]],
    y: np.ndarray,
    features: int,
    seed: int,
) -> Source:
    """Shuffled nodes with features around their label's centre, as `generators._drawn` has them."""
    order = rng.permutation(len(y))
    labels = np.empty_like(y)
    labels[order] = y
    centres = rng.standard_normal((int(y[-1]) + 1, features), dtype=np.float32)

    def pairs(most: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for found in ends(most):
            source, target = order[found]
            yield source, target

    def rows(most: int) -> Iterator[np.ndarray]:
        state = deepcopy(rng)
        for start in range(0, len(y), most):
            part = labels[start : start + most]
            yield state.standard_normal((len(part), features), dtype=np.float32) + centres[part]

    def splits() -> dict[str, np.ndarray]:
        tiny = generators._graph(name, torch.zeros(len(y), 1), np.array([[0], [1]]), labels, seed)
        return {"y": tiny.y.numpy(), **{split: getattr(tiny, split).numpy() for split in ("train", "val", "test")}}

    return Source(name, len(y), features, np.dtype(np.float32), pairs, rows, splits, undirected=True)
