"""What the trainers of all families share: the `Train` that they are, its memory and its checkpoints.

>>> from gen_tickets import vae
>>> from gen_tickets.models import build
>>> model, train = build("vae", "tiny"), vae.trainer(torch.zeros(8, 1, 8, 8), vae.Settings(batch=4))
>>> sorted(train(model, 0, 2)), list(train.kept)
(['kl', 'loss', 'reconstruction'], [2])
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, MutableMapping
from contextlib import AbstractContextManager, closing
from inspect import GEN_CLOSED, getgeneratorstate
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from common.masks import closest, prunable
from common.scoped import seeded
from gen_tickets._batches import Batches as Batches
from gen_tickets._batches import step_seed
from gen_tickets._checkpoint import Checkpoints, Slot, digest, load_states, save_states, tensors
from gen_tickets._loop import Session, State, run
from gen_tickets._ranks import agree, averaging, place

__all__ = ["Batches", "Drive", "Measure", "Session", "Trainer", "adam", "plain", "step_seed", "within"]

Measure = Callable[[nn.Module], Mapping[str, float]]
Drive = Callable[[nn.Module, Iterator[Mapping[str, float]], int], None]  # the model, its steps, how many at most


def adam(params: Iterable[Tensor], lr: float, betas: tuple[float, float]) -> torch.optim.Adam:
    """Adam over the parameters that train, fused, which the zeros of masks do not slow down."""
    return torch.optim.Adam([p for p in params if p.requires_grad], lr=lr, betas=betas, fused=True)


def within(model: nn.Module, *parts: str) -> dict[str, nn.Parameter]:
    """What is prunable in the named parts of a model, for `tickets(params=...)`; without a name, all of it.

    Args:
        model: such as a VAE or a GAN.
        parts: names of submodules: encoder, decoder, generator, discriminator.

    Raises:
        KeyError: the model has no such part, or nothing prunable in it.

    >>> model = nn.ModuleDict({"encoder": nn.Linear(2, 1), "decoder": nn.Linear(1, 2)})
    >>> list(within(model, "encoder")), len(within(model))
    (['encoder.weight'], 2)
    """
    every = prunable(model)
    for part in parts:
        if not any(name.startswith(f"{part}.") for name in every):
            known = dict(model.named_children())
            raise KeyError(f"found nothing to prune in a part {part!r}; the nearest part is {closest(part, known)}")
    return {n: p for n, p in every.items() if not parts or n.startswith(tuple(f"{part}." for part in parts))}


def plain(_: nn.Module, steps: Iterator[Mapping[str, float]], __: int) -> None:
    """The default way of running a training: in this process, on the model's device, without anything around it."""
    for _losses in steps:
        pass


class Trainer:
    """A `Train` of the engine: steps [start, stop) in place, of which each follows from the seed and its number alone.

    Training to a step and on from there equals training in one go: at its end a training is remembered, and one that
    starts there, with the weights it left or with some of them pruned, takes over the optimizers' state and the
    averages. Any other start has fresh ones. It remembers the first and the last end since it last began at step 0, so
    use one trainer a search.

    In a process group of `torch.distributed` every process trains on its share, see `gen_tickets._ranks`.

    Args:
        begin: the model to a context with a `Session`.
        seed: of batches, latents and noise.
        measure: what to return beside the losses of the last step, from a network in eval mode.

    Attributes:
        kept: step to the tensors remembered there, by name; `save_memory` and `load_memory` take them elsewhere.
        carried: what the last training carried along, by name.
        drive: runs the steps, `plain` or a `gen_tickets.lightning.Lightning`.
        checkpoints: where to keep the state within a training, from which another process goes on, to the bit as if
            never stopped; none by default.
    """

    def __init__(
        self, begin: Callable[[nn.Module], AbstractContextManager[Session]], seed: int, measure: Measure | None = None
    ) -> None:
        self.begin, self.seed, self.measure = begin, seed, measure
        self.kept: MutableMapping[int, State] = {}
        self.carried: State = {}
        self.drive: Drive = plain
        self.checkpoints: Checkpoints | None = None

    def __call__(self, model: nn.Module, start: int, stop: int) -> Mapping[str, float]:
        """Train, and return the losses of the last step and what is measured.

        Raises:
            ValueError: the steps are not 0 <= start < stop; or several processes cannot share a batch evenly.
            DivergedError: a loss is not finite, or at the end a weight.
            RuntimeError: processes hold different weights, or what drives the training stopped it early.
            TicketError: a checkpoint cannot be written.
        """
        if not 0 <= start < stop:
            raise ValueError(f"found the steps {start} to {stop}; expected 0 <= start < stop")
        metrics: dict[str, float] = {}
        was = model.training
        with closing(self._training(model, range(start, stop), metrics)) as steps:
            self.drive(model, steps, stop - start)
            if getgeneratorstate(steps) != GEN_CLOSED:
                raise RuntimeError(f"training was stopped before step {stop} by a {type(self.drive).__name__}; expected"
                                   " it to run to its end. Remove the callback that stops it.")  # fmt: skip
        model.train(was)
        return metrics

    def _training(
        self, model: nn.Module, steps: range, metrics: dict[str, float]
    ) -> Generator[Mapping[str, float], None, None]:
        """All of a training, one step at a time: it is run by `drive`, which may move the model first."""
        held = self._remembered(model, steps.start)
        with seeded(step_seed(self.seed, "begin")), self.begin(model) as session, averaging(session.optimizers):
            if held is not None:
                session.load(held)
            slot = None if self.checkpoints is None else self.checkpoints.of(self._known(model, steps, held, session))
            first = steps.start if slot is None else _go_on(slot, model, session, steps.start)
            agree(tensors(model) | {"step": torch.tensor(first)})
            model.train()
            for number, losses in run(model, session, self.seed, range(first, steps.stop)):
                metrics.update(losses)
                if slot is not None and number + 1 < steps.stop and slot.due(number + 1):
                    slot.save(number + 1, session.state() | _named(tensors(model)))
                yield losses
            if self.measure is not None:
                torch.manual_seed(step_seed(self.seed, "measure"))
                metrics |= self.measure(session.judged.eval())
            state = session.state()
        self._remember(model, steps.stop, state)

    def _known(self, model: nn.Module, steps: range, held: State | None, session: Session) -> dict[str, Any]:
        """What decides the outcome of a training, as far as it is known here."""
        return {
            "seed": self.seed,
            "start": steps.start,
            "stop": steps.stop,
            "processes": place().processes,
            "weights": digest(tensors(model)),
            "taken over": None if held is None else digest(held),
            "optimizers": [
                [{**group, "params": len(group["params"])} for group in optimizer.param_groups]
                for optimizer in session.optimizers
            ],
        }

    def _remember(self, model: nn.Module, stop: int, state: State) -> None:
        self.carried = {n.removeprefix("carried."): t for n, t in state.items() if n.startswith("carried.")}
        self.kept.pop(stop, None)
        self.kept[stop] = state | _named({n: p.detach().clone() for n, p in model.named_parameters()})
        for step in list(self.kept)[1:-1]:
            del self.kept[step]

    def _remembered(self, model: nn.Module, start: int) -> State | None:
        """What a training that ended here left, if the model holds its weights or a pruned part of them."""
        if not start:
            self.kept.clear()
        held = self.kept.get(start, {})
        for name, param in model.named_parameters():
            saved = held.get(f"model.{name}")
            if saved is None or saved.shape != param.shape:
                return None
            now = param.detach()
            if not bool(((now == saved.to(now.device)) | (now == 0)).all()):
                return None
        return held

    def save_memory(self, folder: Path | str) -> None:
        """Keep what is remembered in a folder of its own, so that a search goes on elsewhere as if never stopped.

        Raises:
            ValueError: nothing was trained yet.
            TicketError: the folder cannot be written.
        """
        if not self.kept:
            raise ValueError("found nothing to keep: this trainer has not trained yet. Call it first")
        save_states(Path(folder), self.kept, {"seed": self.seed})

    def load_memory(self, folder: Path | str) -> None:
        """Remember what was kept there; then `tickets(..., start=ticket)` goes on with moments and averages.

        Raises:
            TicketError: it is damaged, missing, or of another seed.
        """
        self.kept = load_states(Path(folder), {"seed": self.seed})
        last = self.kept[list(self.kept)[-1]]
        self.carried = {n.removeprefix("carried."): t for n, t in last.items() if n.startswith("carried.")}


def _named(values: Mapping[str, Tensor]) -> State:
    return {f"model.{name}": value for name, value in values.items()}


def _go_on(slot: Slot, model: nn.Module, session: Session, start: int) -> int:
    """Take over the latest checkpoint, if there is one; returns the step to begin with."""
    found = slot.latest()
    if found is None:
        return start
    step, held = found
    with torch.no_grad():
        for name, value in tensors(model).items():
            value.copy_(held[f"model.{name}"])
    session.load(held)
    return step
