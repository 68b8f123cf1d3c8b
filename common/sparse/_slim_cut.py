"""`slim`'s surgery: a copy of a model whose tensors lack what a plan lets go, its attributes in agreement."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from common.sparse._slim_form import tensors
from common.sparse._slim_plan import Plan

__all__ = ["cut"]


def cut(model: nn.Module, plan: Plan) -> tuple[nn.Module, dict[str, tuple[Tensor, ...]]]:
    """The smaller copy, and for every parameter and buffer the indices (kept,) of each dimension."""
    small = copy.deepcopy(model)
    twins = dict(zip((id(m) for m in model.modules()), small.modules(), strict=True))
    kept: dict[str, tuple[Tensor, ...]] = {}
    made: dict[int, Tensor] = {}
    folded = _shifts(plan)
    known = {id(_find(model, name)): value for name, value in plan.tensors.items()}
    for name, tensor in tensors(model):
        value = known.get(id(tensor))
        stays = [plan.stays(ids) for ids in value.ids] if value else [np.ones(n, bool) for n in tensor.shape]
        kept[name] = tuple(torch.from_numpy(np.flatnonzero(mask)) for mask in stays)
        if id(tensor) not in made:
            made[id(tensor)] = _cut(tensor, kept[name])
        path, _, leaf = name.rpartition(".")
        setattr(small.get_submodule(path), leaf, made[id(tensor)])
    for name, shift in folded.items():
        _fold(small.get_submodule(name.rpartition(".")[0]), shift)
    for old in model.modules():
        _agree(old, twins[id(old)], plan)
    return small, kept


def _find(model: nn.Module, name: str) -> Tensor:
    path, _, leaf = name.rpartition(".")
    found: Tensor = getattr(model.get_submodule(path), leaf)
    return found


def _cut(tensor: Tensor, kept: tuple[Tensor, ...]) -> Tensor:
    result = tensor.detach()
    for dim, index in enumerate(kept):
        if len(index) < tensor.shape[dim]:
            result = result.index_select(dim, index.to(tensor.device))
    result = result.clone()
    return nn.Parameter(result, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else result


def _shifts(plan: Plan) -> dict[str, Tensor]:
    """Name of a weight to what its layer's bias takes over from removed constants."""
    found = {}
    for site in plan.sites:
        gone = ~plan.stays(site.source) & (site.constants != 0)
        if site.sums is not None and gone.any():
            shift = site.sums[:, torch.from_numpy(gone)] @ torch.from_numpy(site.constants[gone])
            found[site.weight] = shift[torch.from_numpy(plan.stays(site.target))]
    return found


def _fold(layer: Any, shift: Tensor) -> None:
    with torch.no_grad():
        if layer.bias is None:
            layer.bias = nn.Parameter(shift.to(layer.weight), layer.weight.requires_grad)
        else:
            layer.bias.copy_(layer.bias.double() + shift.to(layer.bias.device))


def _agree(old: Any, new: Any, plan: Plan) -> None:
    """Set the attributes that the forward of a module reads by the shapes that it now has."""
    if isinstance(new, nn.modules.conv._ConvNd):
        inner, outer = (0, 1) if new.transposed else (1, 0)
        if old.groups > 1:
            new.groups = old.groups * new.weight.shape[0] // old.weight.shape[0]
        sizes = {inner: new.weight.shape[inner], outer: new.weight.shape[outer]}
        sizes[1] *= new.groups
        new.in_channels, new.out_channels = sizes[inner], sizes[outer]
    elif isinstance(new, nn.Linear):
        new.out_features, new.in_features = new.weight.shape
    elif isinstance(new, nn.modules.batchnorm._NormBase):
        first = new.weight if new.weight is not None else new.running_mean
        new.num_features = new.num_features if first is None else len(first)
    elif isinstance(new, nn.GroupNorm) and new.weight is not None:
        new.num_groups = old.num_groups * len(new.weight) // old.num_channels
        new.num_channels = len(new.weight)
    elif isinstance(new, nn.Embedding):
        new.embedding_dim = new.weight.shape[1]
    elif isinstance(new, nn.PReLU):
        new.num_parameters = len(new.weight)
    elif isinstance(new, nn.Unflatten) and id(old) in plan.unflattened:
        new.unflattened_size = tuple(int(plan.stays(ids).sum()) for ids in plan.unflattened[id(old)])
    elif all(hasattr(new, name) for name in ("heads", "to_q", "to_k")):
        _agree_attention(old, new)
    elif hasattr(new, "heads") and isinstance(getattr(new, "att_src", None), Tensor):  # torch-geometric's GATConv
        new.heads, new.out_channels = new.att_src.shape[1:]
    for names, slots in ((("channels", "in_channels"), plan.entering), (("out_channels",), plan.leaving)):
        for name in names:
            ids = slots.get(id(old))
            if ids is not None and not isinstance(new, nn.modules.conv._ConvNd) and new.__dict__.get(name) == len(ids):
                setattr(new, name, int(plan.stays(ids).sum()))


def _agree_attention(old: Any, new: Any) -> None:
    """diffusers' Attention: fewer heads of the same size."""
    inner, width = new.to_q.weight.shape
    heads = old.heads * inner // old.to_q.weight.shape[0]
    sizes = {"heads": heads, "sliceable_head_dim": heads, "inner_dim": inner, "query_dim": width}
    if new.to_k is not None:
        sizes["inner_kv_dim"], sizes["cross_attention_dim"] = new.to_k.weight.shape
    if getattr(new, "to_out", None):
        sizes["out_dim"] = len(new.to_out[0].weight)
    for name, size in sizes.items():
        if name in new.__dict__:
            setattr(new, name, size)
