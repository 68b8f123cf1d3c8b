"""The watch over a joint training: losses by interval at every check, and a stop where the dense one stays risen."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from gen_tickets._checkpoint import tensors
from gen_tickets.stepwise._shared import part
from gen_tickets.stepwise.curves import Curve

__all__ = ["Check", "Stopped", "Watch"]

_NOT_YET = -1.0  # no loss is


class Stopped(Exception):
    """The dense loss stays too high, or ends so; the message says where and by how much."""


class Check(NamedTuple):
    """Held-out losses by interval after so many steps: of the dense network, and of who is scheduled there."""

    step: int
    dense: tuple[float, ...]
    scheduled: tuple[float, ...]


class Watch:
    """Checks an average now and then, and keeps the last good one.

    Args:
        curve: on held-out images, by interval.
        who: of every interval, 0 for the dense network and k for the k-th of the masks.
        masks: of the tickets.
        every: steps between two checks; there is one at the end, too.
        steps: of the training.
        rise: the share by which the dense loss may rise in an interval, above its value at the start; None never stops.
        patience: checks in a row with a higher one at which the training is stopped.
        start: the model before its first step.

    Attributes:
        good: the tensors of the last good average, by name.
        stopped: why and where the training was stopped, if it was.
    """

    def __init__(
        self,
        curve: Curve,
        who: Sequence[int],
        masks: Sequence[Mapping[str, Tensor]],
        every: int,
        steps: int,
        rise: float | None,
        patience: int,
        start: nn.Module,
    ) -> None:
        self.curve, self.who, self.masks, self.rise, self.patience = curve, who, masks, rise, patience
        self.ends = [*range(every, steps, every), steps]
        self.found = torch.full((len(self.ends) + 1, 2, len(who)), _NOT_YET, dtype=torch.float64)
        self.found[0] = self._measure(start)
        self.good = {name: value.clone() for name, value in tensors(start).items()}
        self.stopped: str | None = None

    def carried(self) -> dict[str, Tensor]:
        """What a checkpoint keeps: the last good average and all that was found."""
        return {"found": self.found, **{f"good.{name}": value for name, value in self.good.items()}}

    def __call__(self, done: int, mean: nn.Module) -> None:
        """Check an average after so many steps, if it is time.

        Raises:
            Stopped: its dense loss is too high, at `patience` checks in a row or at the last.
        """
        if done not in self.ends:
            return
        number = self.ends.index(done) + 1
        self.found[number] = self._measure(mean)
        last = self._last_good()
        if last == number:
            for name, value in tensors(mean).items():
                self.good[name].copy_(value)
        elif number - last >= self.patience or done == self.ends[-1]:
            self.stopped = self._reason(number, last)
            raise Stopped(self.stopped)

    def history(self) -> tuple[Check, ...]:
        """All checks so far, that of the start first."""
        rows = zip([0, *self.ends], self.found.tolist(), strict=True)
        return tuple(Check(step, tuple(dense), tuple(other)) for step, (dense, other) in rows if dense[0] != _NOT_YET)

    def metrics(self) -> dict[str, list[float]]:
        """Losses by interval at the start and of the last good average, for a ticket."""
        (dense, ticket), (dense_after, ticket_after) = self.found[[0, self._last_good()]].tolist()
        return {
            "loss_before": dense,
            "loss_after": dense_after,
            "ticket_before": ticket,
            "ticket_after": ticket_after,
        }

    def _last_good(self) -> int:
        """The number of the last check whose dense loss is nowhere too high, 0 for the start."""
        dense = self.found[:, 0]
        good = dense[:, 0] != _NOT_YET
        if self.rise is not None:
            good &= (dense <= dense[0] * (1 + self.rise)).all(1)
        good[0] = True
        return int(good.nonzero().max())

    def _reason(self, number: int, last: int) -> str:
        """Why the check of a number ends the training."""
        begin, now, steps = self.found[0, 0], self.found[number, 0], [0, *self.ends]
        share = (now / begin - 1).nan_to_num(math.inf)
        worst = int(share.argmax())
        return (
            f"at step {steps[number]} the dense loss in interval {worst} was {now[worst]:.4g}, "
            f"{100 * share[worst]:.1f} % above the {begin[worst]:.4g} of the start, the last of {number - last} checks "
            f"in a row; at most {100 * (self.rise or 0):g} % are allowed. The weights are the average of step "
            f"{steps[last]}, the last good one. Weigh the dense loss more, or allow a larger rise."
        )

    @torch.no_grad()
    def _measure(self, model: nn.Module) -> Tensor:
        """Loss (2, K) of the dense network and of who is scheduled."""
        dense = self.curve(model)
        scheduled = dense.clone()
        for number, masks in enumerate(self.masks, 1):
            own = [interval for interval, who in enumerate(self.who) if who == number]
            if own:
                scheduled[own] = self.curve(model, part(model, masks), own)[own]
        return torch.stack([dense, scheduled])
