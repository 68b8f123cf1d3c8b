"""What the trainings for a schedule share: the weights they start from, their steps, and when they could be none."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from common.rewind import restore
from common.ticket import Ticket
from gen_tickets._checkpoint import Checkpoints
from gen_tickets._intervals import refuse
from gen_tickets._steps import Drive, Trainer
from gen_tickets.ddpm import Settings
from gen_tickets.ema import average

__all__ = ["Descent", "descendant", "driven", "loaded", "sound"]


class Descent:
    """AdamW and the average of a training under way, as in `ddpm.trainer`; but the average starts at the weights.

    Args:
        model: as it is before its first step.
        settings: of both.

    Attributes:
        optimizer, mean: those.
    """

    def __init__(self, model: nn.Module, settings: Settings) -> None:
        self.model, self.settings = model, settings
        self.params = [param for param in model.parameters() if param.requires_grad]
        decay = settings.weight_decay
        self.optimizer = torch.optim.AdamW(self.params, lr=settings.lr, weight_decay=decay, fused=True)
        self.mean = average(model, settings.decay, warm_up=False)
        self.mean.update_parameters(model)

    def __call__(
        self, number: int, losses: Callable[[], Mapping[str, Tensor]], weights: Mapping[str, float]
    ) -> dict[str, Tensor]:
        """The step of a number, down a weighted sum; returns `loss`, the losses and the `gradient`'s norm."""
        settings = self.settings
        for group in self.optimizer.param_groups:
            group["lr"] = settings.lr * min(1.0, (number + 1) / max(settings.warmup, 1))
        with torch.autocast(self.params[0].device.type, torch.bfloat16, enabled=settings.precision == "bfloat16"):
            found = losses()
        loss = torch.stack([weights[name] * value for name, value in found.items()]).sum()
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self.params, settings.clip)
        self.optimizer.step()
        self.mean.update_parameters(self.model)
        return {"loss": loss.detach(), **{name: value.detach() for name, value in found.items()}, "gradient": norm}


def sound(steps: int, settings: Settings, weights: Mapping[str, float]) -> None:
    """Raise a ValueError for a training that could change nothing.

    >>> sound(0, Settings(), {"noise": 1.0})
    Traceback (most recent call last):
    ValueError: found 0 steps; expected 1 or more
    """
    if steps < 1:
        raise ValueError(f"found {steps} steps; expected 1 or more")
    if not min(weights.values()) >= 0 or not any(weights.values()):
        raise ValueError(f"found the weights {dict(weights)} of the losses; expected 0 or more, one of them above")
    if (left := settings.decay**steps) > 0.5:
        raise ValueError(
            f"found an average with a decay of {settings.decay:g} over {steps} steps, of which {100 * left:.0f} % is "
            "still what it began with; expected less than half. Lower the decay, or take more steps."
        )


def loaded(ticket: Ticket, like: nn.Module) -> nn.Module:
    """A copy of a network that holds a ticket's trained weights, and trains.

    Raises:
        ScheduleError: it has none.
        TicketError: it belongs to another network.
    """
    if ticket.trained is None:
        refuse(f"{ticket} without trained weights", "a ticket as gen-tickets find leaves it", "Train it first.")
    model = copy.deepcopy(like).requires_grad_(True).train()
    ticket.verify(model)
    restore(model, ticket.trained)
    return model


def descendant(
    ticket: Ticket,
    start: Mapping[str, Tensor],
    trained: Mapping[str, Tensor],
    recipe: Mapping[str, Any],
    metrics: Mapping[str, Any],
    seed: int,
    papers: Sequence[str],
) -> Ticket:
    """The ticket that a training makes of another one: its child, with the same masks.

    Args:
        ticket: the parent.
        start: the state_dict that it was trained from, which is what the child rewinds to.
        trained: the state_dict after it.
        recipe, metrics: what to add to the parent's, and what was measured.
        seed, papers: of the training.
    """
    return Ticket(
        ticket.masks,
        {name: value.cpu() for name, value in start.items()},
        {**ticket.recipe, **recipe},
        dict(metrics),
        list(dict.fromkeys([*ticket.seeds, seed])),
        ticket.digest,
        list(dict.fromkeys([*ticket.references, *papers])),
        trained={name: value.cpu() for name, value in trained.items()},
        tied=ticket.tied,
        whole=ticket.density == 1,
    )


def driven(train: Trainer, drive: Drive, checkpoints: Checkpoints | None, about: Mapping[str, Any]) -> Trainer:
    """A trainer with what runs it and where it keeps its state, `about` added to what decides its outcome."""
    train.drive = drive
    if checkpoints is not None:
        train.checkpoints = replace(checkpoints, about={**checkpoints.about, **about})
    return train
