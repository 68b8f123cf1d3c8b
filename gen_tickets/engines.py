"""The forms in which a ticket's network can run, from as dense as it was to as small as it gets."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call

from common.masks import Masks
from common.runs.errors import UsageError
from common.sparse.convert import convert
from common.sparse.slim import slim
from common.sparse.tune import tune

__all__ = ["ENGINES", "Masked", "channels_last", "engine", "pruned"]

ENGINES = ("dense", "masked", "sparse", "slim")
"""`dense`: the zeros are multiplied; `masked`: so are the masks, at every call; `sparse`: the surviving weights only;
`slim`: a dense network without the dead channels."""


class Masked(nn.Module):
    """A model that multiplies its weights by their masks at every call, as research code does.

    >>> model = nn.Linear(2, 1, bias=False)
    >>> masked = Masked(model, {"weight": torch.tensor([[True, False]])})
    >>> bool(masked(torch.tensor([[0.0, 9.0]])) == 0)
    True
    """

    def __init__(self, model: nn.Module, masks: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.model, self.masks = model, {name: mask.float() for name, mask in masks.items()}

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Call the model under the masks."""
        weights = {name: self.model.get_parameter(name) * mask for name, mask in self.masks.items()}
        return functional_call(self.model, weights, args, kwargs)


def engine(
    kind: str, model: nn.Module, masks: Mapping[str, Tensor], inputs: tuple[Tensor, ...], *, tuned: bool = True
) -> nn.Module:
    """A network in one of its forms, for torch's present number of threads.

    Args:
        kind: one of `ENGINES`.
        model: its pruned weights are zero.
        masks: which those are.
        inputs: of a call, at the batch in use.
        tuned: measure the forms of a sparse network's layers, once a machine; else they go by density.

    Raises:
        UsageError: an unknown kind.
    """
    if kind == "dense":
        return model
    if kind == "masked":
        return Masked(model, masks)
    if kind == "slim":
        return slim(model, masks, tuple(value[:1] if value.dim() else value for value in inputs)).model
    if kind != "sparse":
        raise UsageError(f"--engine is one of {', '.join(ENGINES)}; found {kind!r}")
    sparse = convert(model, None, inputs, threads=torch.get_num_threads())
    return tune(sparse, inputs) if tuned else sparse


def channels_last(model: nn.Module) -> nn.Module:
    """A copy of a dense network in the memory format that is often the quickest."""
    return cast(nn.Module, cast(Any, copy.deepcopy(model)).to(memory_format=torch.channels_last))


def pruned(model: nn.Module, density: float) -> Masks:
    """Zero all but a random share of the weights of convolutions and linear layers, by torch's global generator.

    Args:
        model: changed in place.
        density: the share to keep.

    Returns:
        The masks.
    """
    weights = {name: p for name, p in model.named_parameters() if p.dim() in (2, 4)}
    masks = Masks({name: torch.rand_like(p) < density for name, p in weights.items()})
    with torch.no_grad():
        for name, mask in masks.items():
            weights[name].mul_(mask)
    return masks
