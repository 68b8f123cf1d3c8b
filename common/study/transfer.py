"""Transfer: a ticket's masks in another model, part for part; does what was found here win there?

From a VAE's decoder to a GAN's generator and back, the architectures being one, or from one data set to another:

    transfer(ticket, gan, source="decoder", target="generator")
    transfer(ticket, vae, source="generator", target="decoder")
    transfer(ticket, model_for_other_images, skip_mismatched=True)

References:
    Morcos et al., One Ticket to Win Them All: Generalizing Lottery Ticket Initializations Across Datasets and
    Optimizers, NeurIPS 2019.
    Kalibhat et al., Winning Lottery Tickets in Deep Generative Models, AAAI 2021 (VAE decoders and GAN generators).
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from common._ties import ties
from common.masks import Masks
from common.rewind import snapshot
from common.ticket import Ticket, TicketError

__all__ = ["transfer"]

_MORCOS = (
    "Morcos et al., One Ticket to Win Them All: Generalizing Lottery Ticket Initializations Across Datasets and "
    "Optimizers, NeurIPS 2019"
)
_KALIBHAT = "Kalibhat et al., Winning Lottery Tickets in Deep Generative Models, AAAI 2021"


def transfer(
    ticket: Ticket,
    model: nn.Module,
    *,
    source: str = "",
    target: str | None = None,
    weights: bool = False,
    skip_mismatched: bool = False,
) -> Ticket:
    """A ticket for another model: the masks below one name become those below another, all else of the model is dense.

    It starts from the model's present weights, so pass one as initialised; its recipe holds the original's. The
    fingerprint of a graph is left out.

    Args:
        ticket, model: any ticket, and the model to train; both stay as they are.
        source: the submodule that masks come from, such as decoder; by default the whole.
        target: the submodule of the model that they go to; by default that of the same name.
        weights: also take over this part's weights and statistics at the ticket's rewinding point.
        skip_mismatched: leave dense, and as the model has it, what is missing there or has another shape.

    Raises:
        TicketError: the ticket masks nothing in the source, or tensors do not fit (they are named); with
            `skip_mismatched`, only if none fits.

    >>> import torch
    >>> found = Ticket(Masks({"decoder.weight": torch.tensor([[True, False]])}), {"decoder.weight": torch.ones(1, 2)})
    >>> transfer(found, nn.ModuleDict({"generator": nn.Linear(2, 1)}), source="decoder", target="generator").masks
    {'generator.weight': tensor([[ True, False]])}
    """
    state, into = snapshot(model), source if target is None else target
    names = _renamed(ticket, source, into, only_masked=not weights)
    fits = {old: new for old, new in names.items() if new in state and state[new].shape == ticket.weights[old].shape}
    masks = Masks({new: ticket.masks[old].to(state[new].device) for old, new in fits.items() if old in ticket.masks})
    if len(fits) < len(names) and not (skip_mismatched and masks):
        raise TicketError(_misfits(ticket, state, names, fits))
    taken = {new: ticket.weights[old].detach().to(state[new], copy=True) for old, new in fits.items() if weights}
    arguments = {"source": source, "target": into, "weights": weights, "skip_mismatched": skip_mismatched}
    dense = [new for old, new in names.items() if old not in fits and old in ticket.masks]
    note = {"call": f"{__name__}.transfer", "arguments": arguments, "left_dense": dense}
    return Ticket(
        masks,
        state | taken,
        recipe={"transfer": note, "source": ticket.recipe},
        seeds=list(ticket.seeds),
        parent=ticket.digest,
        references=list(dict.fromkeys([*ticket.references, _MORCOS if into == source else _KALIBHAT])),
        tied=ties(model.state_dict(), masks),
        whole=ticket.whole or not weights,
    )


def _renamed(ticket: Ticket, source: str, target: str, *, only_masked: bool) -> dict[str, str]:
    """Names in the ticket to names in the model."""
    before, after = (f"{part}." if part else "" for part in (source, target))
    if not any(name.startswith(before) for name in ticket.masks):
        known = ", ".join(dict.fromkeys(name.split(".")[0] for name in ticket.masks)) or "(none)"
        raise TicketError(f"found no mask in the part {source!r} of the ticket; it has masks in {known}. Name one.")
    every = ticket.masks if only_masked else ticket.weights
    return {name: after + name.removeprefix(before) for name in every if name.startswith(before)}


def _misfits(ticket: Ticket, state: Mapping[str, Tensor], names: Mapping[str, str], fits: Mapping[str, str]) -> str:
    wrong = [(old, new) for old, new in names.items() if old not in fits]
    shown = "; ".join(
        f"{old} {tuple(ticket.weights[old].shape)} in the ticket, "
        f"{new} {tuple(state[new].shape) if new in state else 'missing'} in the model"
        for old, new in wrong[:5]
    )
    more = f"; and {len(wrong) - 5} more" if len(wrong) > 5 else ""
    some = any(name in ticket.masks for name in fits)
    hint = "or pass skip_mismatched=True to leave them dense" if some else "and name the right parts"
    return (
        f"{len(wrong)} of {len(names)} tensors do not fit: {shown}{more}. Build the model with the widths, the latent "
        f"and the images that the ticket has, {hint}."
    )
