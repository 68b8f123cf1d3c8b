"""`gen-tickets export`: a ticket's weights for programs that know nothing of tickets, every pruned one a zero."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from common.runs.errors import UsageError
from common.runs.progress import Console
from common.ticket import Ticket
from gen_tickets._config_tools import Export
from gen_tickets._exports import write_tensors
from gen_tickets.networks import Network, opened
from gen_tickets.pipelines import save_pipeline, solver_of

__all__ = ["run", "state"]


def run(config: Export, console: Console) -> dict[str, Any]:
    """Write a ticket's weights: those it was sampled with, or the rewound ones if it was not trained.

    Returns:
        `ticket` (path), `digest`, `format`, `path`, `state` (`trained` or `rewound`), `weights` (`total`, `kept` and
        `density` of what was pruned) and `bytes` on disk.

    Raises:
        UsageError: no ticket is named, the place is taken, or the format does not fit the ticket.
        TicketError: the ticket cannot be read, or belongs to another model.
        OSError: nothing can be written there.
    """
    if not config.ticket:
        raise UsageError("name the folder of a ticket, as in: gen-tickets export runs/0123456789ab/ticket")
    ticket = Ticket.load(config.ticket)
    which = "rewound" if ticket.trained is None else "trained"
    about = {"digest": ticket.digest, "density": ticket.density, "state": which}
    write = _pipeline if config.format == "diffusers" else _state
    path = write(ticket, config, about)
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    size = sum(file.stat().st_size for file in files)
    masks = ticket.masks
    weights = {"total": masks.total, "kept": masks.kept, "density": masks.density}
    console.line(f"{masks.kept:,} of {masks.total:,} weights kept, {which} ones, {size:,} bytes: {path}")
    return {
        "ticket": config.ticket,
        "digest": ticket.digest,
        "format": config.format,
        "path": str(path),
        "state": which,
        "weights": weights,
        "bytes": size,
    }


def state(ticket: Ticket) -> dict[str, Tensor]:
    """The whole state_dict of a ticket's model, trained if it was, its pruned entries exactly zero.

    Tensors that share memory in the ticket are copied, as files of safetensors need.

    >>> import torch
    >>> from common.masks import Masks
    >>> state(Ticket(Masks({"w": torch.tensor([True, False])}), {"w": torch.ones(2)}))
    {'w': tensor([1., 0.])}
    """
    found = {name: value.detach().clone() for name, value in (ticket.trained or ticket.weights).items()}
    for name, mask in ticket.masks.items():
        for alias in (name, *(other for other, held in (ticket.tied or {}).items() if held == name)):
            found[alias].masked_fill_(~mask.to(found[alias].device), 0)
    return found


def _pipeline(ticket: Ticket, config: Export, about: Mapping[str, Any]) -> Path:
    found = opened(ticket, config.model)
    network = found.network
    other = (
        f"found a ticket of {network.family}" if not network.denoises
        else "found a class-conditional U-Net" if network.classes is not None
        else "found a U-Net on latents" if network.autoencoder
        else ""
    )  # fmt: skip
    if other:
        raise UsageError(
            f"{other}; expected a U-Net that draws images without labels, which is all that a DDPMPipeline holds. Use "
            "--format state-dict."
        )
    return save_pipeline(found.maker, solver_of(network.scheduler), config.out or "export", {**about, **_of(network)})


def _state(ticket: Ticket, config: Export, about: Mapping[str, Any]) -> Path:
    known = ticket.recipe.get("network") is not None or config.model is not None
    more = _of(opened(ticket, config.model).network) if known else {}
    return write_tensors(config.out or "export.safetensors", state(ticket), {**about, **more})


def _of(network: Network) -> dict[str, Any]:
    return {"family": network.family, "size": network.size}
