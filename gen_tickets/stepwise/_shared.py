"""Weights that a dense network and its tickets share, and the losses of all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from gen_tickets.denoising import Batch, Denoising

__all__ = ["losses", "part"]


def part(model: nn.Module, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The masked weights of a model, pruned entries zero, through which gradients pass.

    >>> import torch
    >>> layer = nn.Linear(2, 1)
    >>> part(layer, {"weight": torch.tensor([[True, False]])})["weight"][0, 1].item()
    0.0
    """
    weights = {name: model.get_parameter(name) for name in masks}
    return {name: weight.masked_fill(~masks[name].to(weight.device), 0) for name, weight in weights.items()}


def losses(
    task: Denoising, model: nn.Module, batch: Batch, masks: Sequence[Mapping[str, Tensor]], who: Tensor
) -> dict[str, Tensor]:
    """The three sums of `gen_tickets.stepwise.joint`, each over N: `dense`, `ticket`, `distil`.

    Args:
        task: noise and prediction.
        model: the weights that are shared.
        batch: of N images.
        masks: of the tickets.
        who: long (N,): 0 for the dense network, k for the k-th of the masks.
    """
    said = task.predict(model, batch)
    noise = batch.noise.to(said.device).float()
    found = {"dense": nn.functional.mse_loss(said, noise), "ticket": said.new_zeros(()), "distil": said.new_zeros(())}
    for number, kept in enumerate(masks, 1):
        rows = (who == number).nonzero().flatten()
        if not len(rows):
            continue
        other, share = task.predict(model, batch.rows(rows), part(model, kept)), len(rows) / len(who)
        found["ticket"] = found["ticket"] + share * nn.functional.mse_loss(other, noise[rows])
        found["distil"] = found["distil"] + share * nn.functional.mse_loss(other, said[rows].detach())
    return found
