"""provisional"""
from __future__ import annotations
from collections.abc import Callable, Iterable, Mapping
import torch
from torch import Tensor, nn
Objective = Callable[[nn.Module], Iterable[Tensor]]
Scorer = Callable[[nn.Module, Mapping[str, Tensor], "Objective | None"], dict[str, Tensor]]
def magnitude(model, params, objective=None):
    return {n: p.detach().abs() for n, p in params.items()}
def random(seed):
    def score(model, params, objective=None):
        g = torch.Generator().manual_seed(seed)
        return {n: torch.rand(p.shape, generator=g) for n, p in params.items()}
    return score
