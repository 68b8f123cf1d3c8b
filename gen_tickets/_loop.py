"""A training under way, and the loop over its steps: seeds, backups, and a clear end when a loss is not finite."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from common.runs.errors import DivergedError
from gen_tickets._batches import step_seed
from gen_tickets._ranks import mean_, place, sharing

__all__ = ["Session", "State", "run"]

State = dict[str, Tensor]


@dataclass(frozen=True)
class Session:
    """One training under way.

    Attributes:
        step: does the step of a number, in place; returns its losses.
        optimizers: whose state the training carries along.
        carried: tensors that it carries along beside the model, changed in place: averages, scores.
        judged: what is measured at the end.
    """

    step: Callable[[int], Mapping[str, Tensor]]
    optimizers: tuple[torch.optim.Optimizer, ...]
    judged: nn.Module
    carried: Mapping[str, Tensor] = field(default_factory=dict)

    def state(self) -> State:
        """A flat copy of what is carried and of the optimizers' state."""
        held = {f"carried.{name}": value.detach().clone() for name, value in self.carried.items()}
        for i, optimizer in enumerate(self.optimizers):
            for j, values in optimizer.state_dict()["state"].items():
                held |= {f"optimizer.{i}.{j}.{key}": value.clone() for key, value in values.items()}
        return held

    def load(self, held: Mapping[str, Tensor]) -> None:
        """Go on from such a copy; moments get their parameters' order in memory, which fused Adam takes for granted."""
        with torch.no_grad():
            for name, value in self.carried.items():
                value.copy_(held[f"carried.{name}"])
        for i, optimizer in enumerate(self.optimizers):
            layout, found = optimizer.state_dict(), dict[int, dict[str, Tensor]]()
            params = [param for group in optimizer.param_groups for param in group["params"]]
            for name, value in held.items():
                kind, *place = name.split(".", 3)
                if kind == "optimizer" and int(place[0]) == i:
                    param = params[int(place[1])]
                    own = torch.empty_like(param, dtype=value.dtype) if value.shape == param.shape else value.clone()
                    found.setdefault(int(place[1]), {})[place[2]] = own.detach().copy_(value)
            optimizer.load_state_dict({**layout, "state": found})


def run(model: nn.Module, session: Session, seed: int, steps: range) -> Iterator[tuple[int, dict[str, float]]]:
    """One step after the other, each with its losses; of several processes, their means."""
    state = [tensor.detach() for tensor in (*model.parameters(), *model.buffers())]
    good, now = [t.clone() for t in state], [t.clone() for t in state]
    for number in steps:
        _copy(state, now)
        losses = _step(model, session, seed, number)
        if not all(map(math.isfinite, losses.values())):
            first = number == steps.start
            _copy(now if first else good, state)
            raise _diverged(number, f"the losses {losses}", number if first else number - 1)
        good, now = now, good
        yield number, losses
    if not all(bool(t.isfinite().all()) for t in state):
        _copy(good, state)
        raise _diverged(steps.stop - 1, "weights that are not finite after it", steps.stop - 1)


def _step(model: nn.Module, session: Session, seed: int, number: int) -> dict[str, float]:
    rank, count = place()
    torch.manual_seed(step_seed(seed, number, *(("rank", rank) if rank else ())))
    with sharing():
        losses = {name: loss.detach().clone() for name, loss in session.step(number).items()}
    if count > 1:
        mean_(losses.values())
        buffers = {id(b): b for b in (*model.buffers(), *session.judged.buffers()) if b.is_floating_point()}
        mean_(buffers.values())
    return {name: float(loss) for name, loss in losses.items()}


def _diverged(step: int, found: str, last: int) -> DivergedError:
    return DivergedError(
        f"training diverged at step {step}: found {found}; expected finite ones. The model is back at its last good "
        f"weights, those before step {last}. Lower the learning rate."
    )


def _copy(source: list[Tensor], target: list[Tensor]) -> None:
    for a, b in zip(source, target, strict=True):
        b.copy_(a)
