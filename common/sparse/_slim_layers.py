"""Rules of `slim` for operations with weights: convolution, linear layers, norms, attention, embeddings."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from common.sparse._slim_value import Call, Ids, Rule, Site, Value, across, along, unknown

__all__ = ["RULES"]


def _linear(call: Call) -> Value:
    """y = x Wᵀ + b over the last dimension."""
    x, weight, bias = call["input"], call["weight"], call["bias"]
    dense = weight.full()
    reads, sums = dense != 0, dense.double()
    known = _affine(reads, sums, x.known.expand([*x.known.shape[:-1], x.shape[-1]]), bias)
    ids = _contract(call, x.ids[-1], weight.ids, bias)
    _read(call, ids, reads, sums, along(x, -1))
    return Value([*x.ids[:-1], ids[1]], known)


def _convolution(call: Call) -> Value | list[Value]:
    """Dense and depthwise convolutions; a constant passes zero padding only if it is zero."""
    x, weight, bias, groups = call["input"], call["weight"], call["bias"], call["groups"]
    transposed, channel = "transpose" in call.name, len(x.ids) - len(weight.ids) + 1
    taps = weight.full().flatten(2)
    reads, sums = _grouped((taps != 0).any(-1), groups, transposed), _grouped(taps.double().sum(-1), groups, transposed)
    constant = along(x, channel)
    if transposed or _padded(call["padding"], taps.shape[-1]):
        constant = torch.where(constant == 0, constant, torch.nan)
    known = _affine(reads, sums, constant.reshape(groups, -1), None).ravel()
    known = known if bias is None else known + bias.known
    for ids in x.ids[channel + 1 :] + weight.ids[2:]:
        call.slots.pin(ids)
    if groups == 1:
        pair = _contract(call, x.ids[channel], weight.ids[1::-1] if transposed else weight.ids, bias)
        _read(call, pair, reads[0], sums[0], constant)
        target = pair[1]
    elif groups == x.shape[channel]:
        target = _depthwise(call, x.ids[channel], weight, bias, transposed)
    else:
        return call.refuse("grouped convolution")
    pixels = [np.zeros(n, np.int64) for n in call.shapes[0][channel + 1 :]]
    return Value([*x.ids[:channel], target, *pixels], across(known, channel, len(x.ids)))


def _depthwise(call: Call, source: Ids, weight: Value, bias: Value | None, transposed: bool) -> Ids:
    """Every channel makes its own outputs, and goes with them."""
    if transposed:
        call.slots.unite(weight.ids[0], source)
        call.slots.pin(weight.ids[1])
        target = np.repeat(source, weight.shape[1])
    else:
        target = weight.ids[0]
        call.slots.unite(target.reshape(len(source), -1), source[:, None])
    if bias is not None:
        call.slots.unite(bias.ids[0], target)
    return target


def _grouped(matrix: Tensor, groups: int, transposed: bool) -> Tensor:
    """A kernel's (o, i / groups), or transposed (i, o / groups), as (groups, o / groups, i / groups)."""
    stacked = matrix.unflatten(0, (groups, -1))
    return stacked.transpose(1, 2) if transposed else stacked


def _padded(padding: Any, taps: int) -> bool:
    return padding == "same" and taps > 1 if isinstance(padding, str) else any(np.atleast_1d(padding))


def _affine(reads: Tensor, sums: Tensor, constant: Tensor, bias: Value | None) -> Tensor:
    """(..., o), the constants computed from (..., i) with sums (..., o, i): NaN where an unknown is read."""
    lost = constant.isnan()
    result = (sums @ constant.nan_to_num().double()[..., None])[..., 0]
    unsure = (reads.to(torch.float32) @ lost.to(torch.float32)[..., None])[..., 0] > 0
    result = result.to(constant.dtype).masked_fill(unsure, torch.nan)
    return result if bias is None else result + bias.known


def _contract(call: Call, source: Ids, weight: list[Ids], bias: Value | None) -> tuple[Ids, Ids]:
    call.slots.unite(weight[1], source)
    if bias is not None:
        call.slots.unite(bias.ids[-1], weight[0])
    return source, weight[0]


def _read(call: Call, ids: tuple[Ids, Ids], reads: Tensor, sums: Tensor, constant: Tensor) -> None:
    """Note who reads what; constants count as unread where they are zero or the layer's bias can take them."""
    name, module = (call["weight"].name if call["weight"] else ""), call.module
    own = module is call.foldable.get(name) and (module.bias is None) == (call["bias"] is None)
    fold = name if own else ""
    moved = constant.isfinite() & ((constant == 0) | bool(fold))
    constants = constant.masked_fill(~moved, 0.0).double().numpy()
    call.sites.append(Site(*ids, (reads & ~moved).numpy(), constants, sums if constants.any() else None, fold))


def _matmul(call: Call) -> Value | list[Value]:
    """a b, where b may be a weight; the indices that two activations are summed over stay."""
    a, b = (v for v in call.args if isinstance(v, Value))
    if min(len(a.ids), len(b.ids)) < 2:
        return call.refuse()
    shape, rank = call.shapes[0], len(call.shapes[0])
    batch = []
    for d in range(rank - 2):
        met = [v.ids[d - rank] for v in (a, b) if len(v.ids) >= rank - d and v.shape[d - rank] == shape[d]]
        call.slots.unite(met[0], met[-1])
        batch.append(met[0])
    call.slots.unite(a.ids[-1], b.ids[-2])
    if len(b.ids) == 2 and not b.known.isnan().any():
        dense = b.full().T
        constant = a.known.expand([*a.known.shape[:-1], a.shape[-1]])
        _read(call, (a.ids[-1], b.ids[-1]), dense != 0, dense.double(), along(a, -1))
        return Value([*batch, a.ids[-2], b.ids[-1]], _affine(dense != 0, dense.double(), constant, None))
    call.slots.pin(a.ids[-1])
    return unknown(shape, [*batch, a.ids[-2], b.ids[-1]])


def _attention(call: Call) -> Value | list[Value]:
    """softmax(q kᵀ) v: heads live or die as a whole; the weights of each query sum to one, so constants pass."""
    query, key, value, mask = (call[name] for name in ("query", "key", "value", "attn_mask"))
    if mask is not None or not query.shape[:-2] == key.shape[:-2] == value.shape[:-2] or call["dropout_p"]:
        return call.refuse()
    for other in (key, value):
        for ours, theirs in zip(query.ids[:-2], other.ids[:-2], strict=True):
            call.slots.unite(ours, theirs)
    for ids in [ids for v in (query, key, value) for ids in v.ids[-2:]]:
        call.slots.pin(ids)
    low, high = value.known.amin(-2, keepdim=True), value.known.amax(-2, keepdim=True)
    return Value([*query.ids[:-1], value.ids[-1]], torch.where(low == high, low, torch.nan))


def _batch_norm(call: Call) -> Value | list[Value]:
    """Per channel; a constant stays one if the statistics are the running ones."""
    x, channels = call.x, call.x.shape[1]
    terms = {name: call[name] for name in ("weight", "bias", "running_mean", "running_var")}
    live = call["training"] or call["use_input_stats"]
    if live and terms["weight"] is None:
        return call.refuse()
    for term in terms.values():
        if term is not None:
            call.slots.unite(term.ids[0], x.ids[1])
    constant = along(x, 1)
    if live or terms["running_mean"] is None:
        normal = torch.full([channels], torch.nan)
    else:
        variance = terms["running_var"].known
        normal = (constant - terms["running_mean"].known) * (variance + call["eps"]).rsqrt()
    if live:
        for ids in x.ids[2:]:
            call.slots.pin(ids)
    return Value(x.ids, across(_scaled(normal, terms["weight"], terms["bias"]), 1, len(x.ids)))


def _scaled(normal: Tensor, weight: Value | None, bias: Value | None) -> Tensor:
    """normal * weight + bias; a weight of zero leaves the bias, whatever is scaled."""
    if weight is not None:
        normal = (normal * weight.known).masked_fill(weight.known == 0, 0.0)
    return normal if bias is None else normal + bias.known


def _group_norm(call: Call) -> Value | list[Value]:
    """All channels of a group live or die together, since its statistics count every one."""
    x, groups, weight, bias = call["input"], call["num_groups"], call["weight"], call["bias"]
    if not isinstance(call.module, nn.GroupNorm) or weight is None or bias is None:
        return call.refuse()
    rows = x.ids[1].reshape(groups, -1)
    call.slots.unite(rows, rows[:, :1])
    for ids in x.ids[2:]:
        call.slots.pin(ids)
    call.slots.unite(weight.ids[0], x.ids[1])
    call.slots.unite(bias.ids[0], x.ids[1])
    constant = along(x, 1).double().reshape(groups, -1)
    spread = constant.var(1, keepdim=True, correction=0) + call["eps"]
    normal = ((constant - constant.mean(1, keepdim=True)) * spread.rsqrt()).ravel().to(x.known.dtype)
    return Value(x.ids, across(_scaled(normal, weight, bias), 1, len(x.ids)))


def _layer_norm(call: Call) -> Value:
    """Every normalised entry counts in the statistics: they all stay, and so do the scales."""
    x, last = call.x, len(call["normalized_shape"])
    scales = [term for term in (call["weight"], call["bias"]) if term is not None]
    for ids in [*x.ids[-last:], *(ids for term in scales for ids in term.ids)]:
        call.slots.pin(ids)
    return unknown(call.shapes[0], x.ids)


def _embedding(call: Call) -> Value:
    weight, indices = call["weight"], call["indices"]
    call.slots.pin(weight.ids[0])
    ids = [*indices.ids, weight.ids[1]]
    return Value(ids, across(along(weight, 1), -1, len(ids)))


RULES: dict[str, Rule] = {
    "linear": _linear, "scaled_dot_product_attention": _attention, "batch_norm": _batch_norm, "embedding": _embedding,
    "instance_norm": _batch_norm, "group_norm": _group_norm, "layer_norm": _layer_norm, "rms_norm": _layer_norm,
    **dict.fromkeys(("conv1d", "conv2d", "conv3d"), _convolution),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), _convolution),
    **dict.fromkeys(("matmul", "mm", "bmm"), _matmul),
}  # fmt: skip
