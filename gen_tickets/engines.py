"""The forms in which a ticket's network can run, from as dense as it was to as small as it gets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from common.masks import Masks
from common.runs.errors import UsageError
from common.sparse.convert import convert
from common.sparse.slim import slim
from common.sparse.tune import tune
from common.ticket import Ticket
from gen_tickets.models import FAMILIES, build

__all__ = ["ENGINES", "Masked", "denoises", "engine", "network", "pruned"]

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


def denoises(name: str) -> bool:
    """Whether a network by its name, `FAMILY/SIZE` or the size of a U-Net, takes steps.

    >>> denoises("small"), denoises("dcgan/small")
    (True, False)
    """
    return name.rpartition("/")[0] in ("", "ddpm")


def network(name: str, batch: int) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """A network of the suite that makes images, in eval mode, and inputs for it.

    Args:
        name: `FAMILY/SIZE`, or the size of a U-Net.
        batch: images.

    Raises:
        UsageError: no such network.
    """
    family, _, size = name.rpartition("/")
    try:
        model = build(family or "ddpm", size).eval()
    except KeyError as error:
        raise UsageError(f"--model {name}: {error.args[0]}") from None
    image = FAMILIES[family or "ddpm"][size].image
    if denoises(name):
        return model, (torch.randn(batch, *image), torch.full((batch,), 500))
    part = getattr(model, "generator", None) or getattr(model, "decoder", None) or model
    latent = getattr(model, "latent", None) or getattr(part, "latent", None)
    if not isinstance(latent, int):
        raise UsageError(f"--model {name}: found no latent to draw images from; choose one of {', '.join(FAMILIES)}")
    return part, (torch.randn(batch, latent),)


def pruned(model: nn.Module, ticket: Ticket | None, density: float) -> Masks:
    """Load a ticket into a model, its trained weights if it has any; or zero random weights of those it has.

    Args:
        model: changed in place.
        ticket: a ticket of this model.
        density: the share to keep without one, of convolutions and linear layers.

    Returns:
        The masks.

    Raises:
        TicketError: the ticket belongs to another model.
    """
    if ticket is not None:
        ticket.apply(model)
        if ticket.trained is not None:
            model.load_state_dict(ticket.trained)
        return ticket.masks
    weights = {name: p for name, p in model.named_parameters() if p.dim() in (2, 4)}
    masks = Masks({name: torch.rand_like(p) < density for name, p in weights.items()})
    with torch.no_grad():
        for name, mask in masks.items():
            weights[name].mul_(mask)
    return masks
