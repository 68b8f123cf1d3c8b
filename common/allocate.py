"""provisional"""
from __future__ import annotations
from collections.abc import Callable, Mapping
import torch
from torch import Tensor
from common.masks import Masks
from common.select import kth_largest, top_k
from common.structure import Structure, entries
Allocation = Callable[[Mapping[str, Tensor], float], dict[str, int]]
def global_(scores, density):
    total = sum(s.numel() for s in scores.values()); k = round(density * total)
    flat = torch.cat([s.reshape(-1) for s in scores.values()])
    m = top_k(flat, k); out={}; i=0
    for n, s in scores.items():
        out[n] = int(m[i:i+s.numel()].sum()); i += s.numel()
    return out
def prune(scores, density, *, allocate=global_, structure=entries, within=None):
    groups, expand = {}, {}
    for n, s in scores.items():
        st = structure.get(n, entries) if isinstance(structure, Mapping) else structure
        if within is not None: s = s.masked_fill(~within[n], -torch.inf)
        groups[n], expand[n] = st(s)
    counts = allocate(groups, density)
    return Masks({n: expand[n](top_k(g, counts[n])) for n, g in groups.items()})
