"""Rules of `slim` for operations on entries without weights: arithmetic, activations, pooling, reductions."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from common.sparse._slim_value import Call, Ids, Rule, Site, Value, across, along, unknown, values

__all__ = ["RULES", "meet", "pointwise"]


def pointwise(call: Call) -> Value:
    """Entry by entry with broadcasting: indices that meet share one fate; a constant of constants is one."""
    found, shape = list(values((call.args, call.kwargs))), call.shapes[0]
    ids = [meet(call, [v.ids[d - len(shape)] for v in found if len(v.ids) >= len(shape) - d], n)
           for d, n in enumerate(shape)]  # fmt: skip
    return Value(ids, _computed(call, found, len(shape)))


def meet(call: Call, meeting: list[Ids], size: int) -> Ids:
    """The slots of a dimension of some size, united over those that have this size."""
    alike = [ids for ids in meeting if len(ids) == size]
    for ids in alike[1:]:
        call.slots.unite(alike[0], ids)
    return alike[0] if alike else np.zeros(size, np.int64)


def _computed(call: Call, found: list[Value], rank: int) -> Tensor:
    """What is known of an entry-wise result; zero times or by anything is zero."""

    def known(item: Any) -> Any:
        return item.known if isinstance(item, Value) else item

    if any(not value.known.is_floating_point() for value in found):
        return unknown([1] * rank).known
    result = call.op(*map(known, call.args), **{key: known(item) for key, item in call.kwargs.items()})
    if not (isinstance(result, Tensor) and result.is_floating_point()):
        return unknown([1] * rank).known
    lost = sum(value.known.isnan().to(torch.float32) for value in found)  # broadcasts
    result = result.masked_fill(torch.as_tensor(lost) > 0, torch.nan)
    if call.name == "mul" and len(found) == 2:
        a, b = (value.known for value in found)
        result = result.masked_fill((a == 0) & ~b.isinf() | (b == 0) & ~a.isinf(), 0.0)
    elif call.name == "div" and len(found) == 2:
        result = result.masked_fill((found[0].known == 0) & (found[1].known != 0), 0.0)
    return result.reshape([1] * (rank - result.dim()) + list(result.shape))


def _same(call: Call) -> Value | list[Value]:
    if call["train"]:
        return call.refuse("dropout that is on in eval mode")
    return Value(call.x.ids, call.x.known)


def _created(call: Call) -> Value:
    """Tensors of one number, of the sizes of another or of sizes that the code takes from others."""
    fill = {"zeros": 0.0, "ones": 1.0}.get(call.name.removeprefix("new_").removesuffix("_like"), torch.nan)
    shape, like = call.shapes[0], call.name.endswith("_like")
    ids = call.x.ids if like else [call.slots.new(size) for size in shape]
    return Value(ids, torch.full([1] * len(shape), fill))


def _pool(call: Call) -> Value:
    """Pooling and resizing: the last dimensions mix, the others keep their slots and their constants."""
    rank = len(call.x.ids)
    mixed = range(rank - int(call.name[-2]), rank)
    outside = call.name.startswith("avg") and any(np.atleast_1d(call["padding"])) and call["count_include_pad"]
    return _mixed(call, list(mixed), 0.0 if outside else None)


def _pad(call: Call) -> Value:
    pad = call["pad"]
    mixed = [len(call.x.ids) - 1 - k for k in range(len(pad) // 2) if pad[2 * k] or pad[2 * k + 1]]
    constant = bool(mixed) and call["mode"] in (None, "constant")
    return _mixed(call, mixed, float(call["value"] or 0) if constant else None)


def _mixed(call: Call, dims: list[int], fill: float | None) -> Value:
    """Entries along some dimensions are mixed, with the number `fill` from outside unless that is None."""
    x, known = call.x, call.x.known
    for dim in dims:
        call.slots.pin(x.ids[dim])
        known = _uniform(known, dim)
    ids = [np.zeros(n, np.int64) if d in dims else x.ids[d] for d, n in enumerate(call.shapes[0])]
    return Value(ids, known if fill is None else torch.where(known == fill, known, torch.nan))


def _uniform(known: Tensor, dim: int) -> Tensor:
    low = known.amin(dim, keepdim=True)
    return torch.where(low == known.amax(dim, keepdim=True), low, torch.nan)


def _reduce(call: Call) -> Value:
    """mean, sum, largest and smallest over dimensions, all of whose indices count, but zeros in a sum."""
    x, rank = call.x, len(call.x.ids)
    dims = call["dim"] if call["dim"] not in (None, []) else range(rank)
    gone = {d % rank for d in np.atleast_1d(dims)}
    known = x.known
    for dim in gone:
        if call.name == "sum":
            read = (along(x, dim) != 0).numpy()
            call.sites.append(Site(x.ids[dim], np.zeros(1, np.int64), read[None], np.zeros(len(read))))
        else:
            call.slots.pin(x.ids[dim])
        known = _uniform(known, dim)
    if call.name == "sum":
        known = torch.where(known == 0, known, torch.nan)
    shape = [n for d, n in enumerate(known.shape) if call["keepdim"] or d not in gone]
    ids = [np.zeros(1, np.int64) if d in gone else x.ids[d] for d in range(rank) if call["keepdim"] or d not in gone]
    return Value(ids, known.reshape(shape))


def _extreme(call: Call) -> Value | list[Value]:
    """max and min of two tensors, of all entries, or over a dimension with the places along it."""
    if call["other"] is not None:
        return pointwise(call)
    found = _reduce(call)
    return [found, *(unknown(shape, found.ids) for shape in call.shapes[1:])]


def _gather(call: Call) -> Value:
    return _mixed(call, [call["dim"] % len(call.x.ids)], None)


def _scatter(call: Call) -> Value:
    """Sums or extremes over the rows of `src` with the same index; the other dimensions are kept apart."""
    x, index, source = call.x, call["index"], call["src"] or call["source"]
    dim = call["dim"] % len(x.ids)
    same = [x, source] if call.name == "index_add" else [x, source, index]
    for other in same:
        call.slots.pin(other.ids[dim])
        if [n for d, n in enumerate(other.shape) if d != dim] != [n for d, n in enumerate(x.shape) if d != dim]:
            call.refuse()
    for d in range(len(x.ids)):
        meet(call, [value.ids[d] for value in same if d != dim], x.shape[d])
    zero = (_uniform(x.known, dim) == 0) & (_uniform(source.known, dim) == 0)
    return Value(x.ids, torch.where(zero, 0.0, torch.nan))


def _softmax(call: Call) -> Value:
    call.slots.pin(call.x.ids[call["dim"]])
    return unknown(call.shapes[0], call.x.ids)


def _glu(call: Call) -> Value:
    dim = call["dim"] % len(call.x.ids)
    grid = call.x.ids[dim].reshape(2, -1)
    call.slots.unite(grid[0], grid[1])
    return unknown(call.shapes[0], [*call.x.ids[:dim], grid[0], *call.x.ids[dim + 1 :]])


def _prelu(call: Call) -> Value:
    x, slope = call.x, call["weight"]
    if slope.shape[0] > 1:
        call.slots.unite(x.ids[1], slope.ids[0])
    known = along(x, 1)
    bent = torch.where(known >= 0, known, torch.nan if slope.shape[0] == 1 else slope.known * known)
    return Value(x.ids, across(bent, 1, len(x.ids)))


def _shuffle(call: Call) -> Value:
    x, dim = call.x, len(call.x.ids) - 3
    rows = x.ids[dim].reshape(call.shapes[0][dim], -1)
    call.slots.unite(rows, rows[:, :1])
    return unknown(call.shapes[0], [*x.ids[:dim], rows[:, 0], *(np.zeros(n, np.int64) for n in call.shapes[0][-2:])])


RULES: dict[str, Rule] = {
    rule: function
    for function, rules in (
        (pointwise, "hardswish log_sigmoid"),
        (_same, "dropout feature_dropout alpha_dropout contiguous clone detach alias lift_fresh_copy to _to_copy"),
        (_created, "zeros_like ones_like full_like empty_like"),
        (_created, "new_zeros new_ones new_full new_empty zeros ones full empty"),
        (_gather, "index_select"),
        (_scatter, "scatter_add scatter_reduce index_add"),
        (_pool, "max_pool1d max_pool2d max_pool3d avg_pool1d avg_pool2d avg_pool3d"),
        (_pool, "adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d"),
        (_pool, "upsample_nearest1d upsample_nearest2d upsample_nearest3d upsample_linear1d upsample_bilinear2d"),
        (_pool, "upsample_bicubic2d upsample_trilinear3d _upsample_nearest_exact1d _upsample_nearest_exact2d"),
        (_pad, "pad constant_pad_nd"),
        (_reduce, "mean sum amax amin"),
        (_extreme, "max min"),
        (_softmax, "softmax log_softmax"),
        (_glu, "glu"),
        (_prelu, "prelu"),
        (_shuffle, "pixel_shuffle"),
    )
    for rule in rules.split()
}
