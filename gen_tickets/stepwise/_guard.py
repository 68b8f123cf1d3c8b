"""The watch over a joint training: losses by interval at every check, and a stop where the dense one rises."""

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
    """The dense loss has risen; the message says where and by how much."""


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
        start: nn.Module,
    ) -> None:
        self.curve, self.who, self.masks, self.rise = curve, who, masks, rise
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
            Stopped: its dense loss has risen.
        """
        if done not in self.ends:
            return
        number = self.ends.index(done) + 1
        self.found[number] = self._measure(mean)
        begin, now = self.found[0, 0], self.found[number, 0]
        if self.rise is not None and not bool((now <= begin * (1 + self.rise)).all()):
            share = (now / begin - 1).nan_to_num(math.inf)
            worst = int(share.argmax())
            self.stopped = (
                f"at step {done} the dense loss in interval {worst} was {now[worst]:.4g}, {100 * share[worst]:.1f} % "
                f"above the {begin[worst]:.4g} of the start; at most {100 * self.rise:g} % are allowed. The weights "
                f"are the average of step {[0, *self.ends][number - 1]}, the last good one. "
                "Weigh the dense loss more, or allow a larger rise."
            )
            raise Stopped(self.stopped)
        for name, value in tensors(mean).items():
            self.good[name].copy_(value)

    def history(self) -> tuple[Check, ...]:
        """All checks so far, that of the start first."""
        rows = zip([0, *self.ends], self.found.tolist(), strict=True)
        return tuple(Check(step, tuple(dense), tuple(other)) for step, (dense, other) in rows if dense[0] != _NOT_YET)

    def metrics(self) -> dict[str, list[float]]:
        """Losses by interval at the start and of the last good average, for a ticket."""
        rows = [row for row in self.found.tolist() if row[0][0] != _NOT_YET]
        last = rows[-1 if self.stopped is None else -2]
        return {"loss_before": rows[0][0], "loss_after": last[0], "ticket_before": rows[0][1], "ticket_after": last[1]}

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
