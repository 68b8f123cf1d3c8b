"""Rules of `slim` for operations that reshape, permute, join and cut without arithmetic."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor, nn

from common.sparse._slim_entries import meet
from common.sparse._slim_value import Call, Ids, Rule, Value

__all__ = ["RULES"]


def _permute(call: Call) -> Value:
    """Every way of writing it: the operation itself orders dimensions of different sizes."""
    ordered = call.op(torch.empty([*range(len(call.x.ids))], device="meta"), *call.args[1:], **call.kwargs)
    order = list(ordered.shape)
    return Value([call.x.ids[dim] for dim in order], call.x.known.permute(order))


def _factors(before: list[int], after: list[int]) -> Iterator[tuple[list[int], list[int]]]:
    """Runs of dimensions of both shapes with equal products.

    >>> list(_factors([2, 12], [2, 3, 4]))
    [([0], [0]), ([1], [1, 2])]
    """
    i = j = 0
    while i < len(before) or j < len(after):
        start, end = (i, j)
        i, j = min(i + 1, len(before)), min(j + 1, len(after))
        while (a := math.prod(before[start:i])) != (b := math.prod(after[end:j])):
            i, j = (i + 1, j) if a < b else (i, j + 1)
        yield list(range(start, i)), list(range(end, j))


def _reshape(call: Call) -> Value | list[Value]:
    x, after = call.x, call.shapes[0]
    if 0 in after:
        return call.refuse()
    ids, expanded, shape = [np.zeros(size, np.int64) for size in after], list(x.known.shape), [1] * len(after)
    for old, new in _factors(x.shape, after):
        big, wide = [d for d in old if x.shape[d] > 1], [d for d in new if after[d] > 1]
        if big:
            carrier, found = _split(call, _merge(call, [x.ids[d] for d in big]), after, wide)
            ids[carrier] = found
        if any(x.known.shape[d] > 1 for d in old):
            for d in old:
                expanded[d] = x.shape[d]
            for d in new:
                shape[d] = after[d]
    if isinstance(call.module, nn.Unflatten) and call.name == "unflatten":
        first = call["dim"] % len(x.ids)
        call.unflattened[id(call.module)] = ids[first : first + len(call["sizes"])]
    return Value(ids, x.known.expand(expanded).reshape(shape))


def _merge(call: Call, dims: list[Ids]) -> Ids:
    """Slots of several dimensions flattened to one: those of the first that is free; the others stay."""
    if len(dims) == 1:
        return dims[0]
    free = [call.slots.free(ids) for ids in dims]
    carrier = free.index(True) if True in free else 0
    for dim, ids in enumerate(dims):
        if dim != carrier:
            call.slots.pin(ids)
    lined = dims[carrier].reshape([-1 if dim == carrier else 1 for dim in range(len(dims))])
    return np.broadcast_to(lined, [len(ids) for ids in dims]).ravel()


def _split(call: Call, flat: Ids, after: list[int], wide: list[int]) -> tuple[int, Ids]:
    """Slots of one dimension cut into several: whole indices of one of them go, of heads before entries of a head.

    It is the dimension whose indices already go as a whole, or whose size the code leaves open, or the first.
    """
    sizes = [after[d] for d in wide]
    written = call["size"] or call["shape"] or []
    if call["sizes"]:
        lead = call["dim"] % len(call.x.ids)
        written = [*after[:lead], *call["sizes"], *after[lead + len(call["sizes"]) :]]
    open_ = [place for place, d in enumerate(wide) if len(written) == len(after) and written[d] == -1]
    for place in [*range(len(sizes)), *(open_ or [0])]:
        rows = np.moveaxis(flat.reshape(sizes), place, 0).reshape(sizes[place], -1)
        roots = call.slots.find(rows)
        if (roots == roots[:, :1]).all():
            break
    call.slots.unite(rows, rows[:, :1])
    return wide[place], rows[:, 0]


def _expand(call: Call) -> Value:
    """Where a dimension is repeated its indices are alike, so any of them may go."""
    x, shape = call.x, call.shapes[0]
    lead, other = len(shape) - len(x.ids), call["other"]
    ids = []
    for d, n in enumerate(shape):
        own = d >= lead and len(x.ids[d - lead]) == n
        ids.append(x.ids[d - lead] if own else other.ids[d] if other else call.slots.new(n))
        if own and other:
            call.slots.unite(ids[d], other.ids[d])
    return Value(ids, x.known.reshape([1] * lead + list(x.known.shape)))


def _index(call: Call) -> Value | list[Value]:
    """x[index], x[:, index]: the rest keeps its slots and what is constant along the indexed dimensions."""
    x, given = call.x, [(d, index) for d, index in enumerate(call["indices"]) if index is not None]
    if len(given) != 1:
        return call.refuse()
    ((dim, index),) = given
    fresh = len(index.ids) if len(call.shapes[0]) == len(x.ids) - 1 + len(index.ids) else 1  # else a boolean mask
    after = dim + len(x.ids) + fresh - len(call.shapes[0])
    known = x.known
    for d in range(dim, after):
        call.slots.pin(x.ids[d])
        low = known.amin(d, keepdim=True)
        known = torch.where(low == known.amax(d, keepdim=True), low, torch.nan)
    shape = [*known.shape[:dim], *[1] * fresh, *known.shape[after:]]
    rows = [np.zeros(n, np.int64) for n in call.shapes[0][dim : dim + fresh]]
    return Value([*x.ids[:dim], *rows, *x.ids[after:]], known.reshape(shape))


def _cat(call: Call) -> Value:
    parts: list[Value] = call["tensors"]
    dim = call["dim"] % len(parts[0].ids)
    ids = [np.concatenate([p.ids[d] for p in parts]) if d == dim else meet(call, [p.ids[d] for p in parts], n)
           for d, n in enumerate(call.shapes[0])]  # fmt: skip
    return Value(ids, torch.cat(_alike(parts, dim), dim))


def _stack(call: Call) -> Value:
    """Indices of the parts meet; how many parts there are is in the code."""
    parts: list[Value] = call["tensors"]
    dim = call["dim"] % len(call.shapes[0])
    ids = [meet(call, [part.ids[d] for part in parts], n) for d, n in enumerate(parts[0].shape)]
    return Value([*ids[:dim], np.zeros(len(parts), np.int64), *ids[dim:]], torch.stack(_alike(parts), dim))


def _alike(parts: list[Value], joined: int | None = None) -> list[Tensor]:
    """What is known of tensors of one shape but for a dimension that is joined: in full there, else as needed."""
    widest = [max(sizes) for sizes in zip(*(part.known.shape for part in parts), strict=True)]
    return [part.known.expand([part.shape[d] if d == joined else n for d, n in enumerate(widest)]) for part in parts]


def _pieces(call: Call) -> list[Value]:
    """chunk, whose equal parts lose the same indices; split, whose sizes are numbers in the code, keeps all."""
    x, dim = call.x, call["dim"] % len(call.x.ids)
    sizes = [shape[dim] for shape in call.shapes]
    if call.name == "chunk" and len(set(sizes)) == 1:
        grid = x.ids[dim].reshape(len(sizes), -1)
        call.slots.unite(grid, grid[:1])
    else:
        call.slots.pin(x.ids[dim])
    cuts = np.cumsum(sizes)[:-1]
    slots = np.split(x.ids[dim], cuts)
    known = x.known.split(sizes, dim) if x.known.shape[dim] > 1 else [x.known] * len(sizes)
    return [Value([*x.ids[:dim], ids, *x.ids[dim + 1 :]], k) for ids, k in zip(slots, known, strict=True)]


def _slice(call: Call) -> Value:
    x, dim = call.x, call["dim"] % len(call.x.ids)
    if call.shapes[0][dim] == x.shape[dim]:
        return Value(x.ids, x.known)
    call.slots.pin(x.ids[dim])
    known = x.known if x.known.shape[dim] == 1 else call.op(x.known, *call.args[1:], **call.kwargs)
    return Value([*x.ids[:dim], np.zeros(call.shapes[0][dim], np.int64), *x.ids[dim + 1 :]], known)


def _select(call: Call) -> Value:
    return _picked(call, [call["index"]])[0]


def _unbind(call: Call) -> list[Value]:
    """All indices of a dimension, whose number is in the code."""
    return _picked(call, range(len(call.shapes)))


def _picked(call: Call, indices: Iterable[int]) -> list[Value]:
    x, dim = call.x, call["dim"] % len(call.x.ids)
    call.slots.pin(x.ids[dim])
    ids, varies = [*x.ids[:dim], *x.ids[dim + 1 :]], x.known.shape[dim] > 1
    return [Value(ids, x.known.select(dim, index if varies else 0)) for index in indices]


RULES: dict[str, Rule] = {
    **dict.fromkeys(["permute", "transpose", "swapaxes", "swapdims", "movedim", "moveaxis"], _permute),
    **dict.fromkeys(["t", "numpy_T", "mT", "mH", "matrix_H", "adjoint"], _permute),
    **dict.fromkeys(["view", "_unsafe_view", "reshape", "flatten", "unflatten", "unsqueeze", "squeeze"], _reshape),
    **dict.fromkeys(["expand", "expand_as"], _expand),
    **dict.fromkeys(["chunk", "split", "split_with_sizes"], _pieces),
    **dict.fromkeys(["cat", "concat", "concatenate"], _cat),
    "stack": _stack, "unbind": _unbind, "slice": _slice, "select": _select, "index": _index,
}  # fmt: skip
