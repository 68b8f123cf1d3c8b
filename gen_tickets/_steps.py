"""What the trainers of all families share: draws that follow from the step, the loop, its memory and its bad end."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from common.masks import closest, prunable
from common.runs.errors import DivergedError
from common.scoped import seeded

__all__ = ["Batches", "Measure", "Session", "Trainer", "adam", "step_seed", "within"]

Measure = Callable[[nn.Module], Mapping[str, float]]
_State = dict[str, Tensor]


def step_seed(seed: int, *place: int | str) -> int:
    """A seed of its own for every step and purpose, whatever was drawn before.

    >>> step_seed(0, 7) == step_seed(0, 7), step_seed(0, 7) == step_seed(7, 0)
    (True, False)
    """
    key = ":".join(map(str, (seed, *place)))
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:7], "big")


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


class Batches:
    """Batches by number: each epoch is a permutation of its own, drawn from the seed and the epoch.

    Args:
        images: (N, C, H, W), float32 in [-1, 1].
        size: images in a batch; all of them if there are fewer.
        seed: of the order.

    Raises:
        TypeError: the images are no float32 tensor.
        ValueError: another number of dimensions, no image, values out of range, or a size below 1.

    >>> batches = Batches(torch.linspace(-1, 1, 4).reshape(4, 1, 1, 1), 2, seed=0)
    >>> sorted(torch.cat([batches(6), batches(7)]).flatten().tolist()) == batches.images.flatten().tolist()
    True
    """

    def __init__(self, images: Tensor, size: int, seed: int) -> None:
        if not isinstance(images, Tensor) or images.dtype != torch.float32:
            found = images.dtype if isinstance(images, Tensor) else type(images).__name__
            raise TypeError(f"found images of {found}; expected a float32 tensor (N, C, H, W) in [-1, 1]")
        if images.dim() != 4 or not images.numel():
            raise ValueError(f"found images of the shape {tuple(images.shape)}; expected (N, C, H, W) with N > 0")
        low, high = images.min().item(), images.max().item()
        if not (low >= -1 and high <= 1):
            raise ValueError(f"found images from {low:g} to {high:g}; expected [-1, 1]. Rescale them.")
        if size < 1:
            raise ValueError(f"found a batch of {size}; expected at least 1 image")
        self.images, self.size, self.seed = images, min(size, len(images)), seed
        self._order: tuple[int, Tensor] = (-1, torch.empty(0))

    @property
    def epoch(self) -> int:
        """Batches an epoch; the few images left over wait for the next permutation."""
        return len(self.images) // self.size

    def __call__(self, number: int) -> Tensor:
        """The batch (size, C, H, W) of that number, from 0."""
        epoch, place = divmod(number, self.epoch)
        if self._order[0] != epoch:
            draw = torch.Generator().manual_seed(step_seed(self.seed, "order", epoch))
            self._order = (epoch, torch.randperm(len(self.images), generator=draw))
        index = self._order[1][place * self.size : (place + 1) * self.size]
        return self.images[index.to(self.images.device)]


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

    def state(self) -> _State:
        """A flat copy of what is carried and of the optimizers' state."""
        held = {f"carried.{name}": value.detach().clone() for name, value in self.carried.items()}
        for i, optimizer in enumerate(self.optimizers):
            for j, values in optimizer.state_dict()["state"].items():
                held |= {f"optimizer.{i}.{j}.{key}": value.clone() for key, value in values.items()}
        return held

    def load(self, held: Mapping[str, Tensor]) -> None:
        """Go on from such a copy."""
        with torch.no_grad():
            for name, value in self.carried.items():
                value.copy_(held[f"carried.{name}"])
        for i, optimizer in enumerate(self.optimizers):
            layout, found = optimizer.state_dict(), dict[int, dict[str, Tensor]]()
            for name, value in held.items():
                kind, *place = name.split(".", 3)
                if kind == "optimizer" and int(place[0]) == i:
                    found.setdefault(int(place[1]), {})[place[2]] = value.clone()
            optimizer.load_state_dict({**layout, "state": found})


class Trainer:
    """A `Train` of the engine: steps [start, stop) in place, of which each follows from the seed and its number alone.

    Training to a step and on from there equals training in one go: at its end a training is remembered, and one that
    starts there, with the weights it left or with some of them pruned, takes over the optimizers' state and the
    averages. Any other start has fresh ones. It remembers the first and the last end since it last began at step 0, so
    use one trainer a search.

    Args:
        begin: the model to a context with a `Session`.
        seed: of batches, latents and noise.
        measure: what to return beside the losses of the last step, from a network in eval mode.

    Attributes:
        kept: step to the tensors remembered there, by name; they may be saved, and put here in another process.
        carried: what the last training carried along, by name.
    """

    def __init__(
        self, begin: Callable[[nn.Module], AbstractContextManager[Session]], seed: int, measure: Measure | None = None
    ) -> None:
        self.begin, self.seed, self.measure = begin, seed, measure
        self.kept: MutableMapping[int, _State] = {}
        self.carried: _State = {}

    def __call__(self, model: nn.Module, start: int, stop: int) -> Mapping[str, float]:
        """Train, and return the losses of the last step and what is measured.

        Raises:
            ValueError: the steps are not 0 <= start < stop.
            DivergedError: a loss is not finite, or at the end a weight.
        """
        if not 0 <= start < stop:
            raise ValueError(f"found the steps {start} to {stop}; expected 0 <= start < stop")
        held = self._remembered(model, start)
        was = model.training
        with seeded(step_seed(self.seed, "begin")), self.begin(model) as session:
            if held is not None:
                session.load(held)
            model.train()
            metrics = _loop(model, session.step, self.seed, range(start, stop))
            if self.measure is not None:
                torch.manual_seed(step_seed(self.seed, "measure"))
                metrics |= self.measure(session.judged.eval())
            state = session.state()
        model.train(was)
        self.carried = {n.removeprefix("carried."): t for n, t in state.items() if n.startswith("carried.")}
        self.kept.pop(stop, None)
        self.kept[stop] = state | {f"model.{n}": p.detach().clone() for n, p in model.named_parameters()}
        for step in list(self.kept)[1:-1]:
            del self.kept[step]
        return metrics

    def _remembered(self, model: nn.Module, start: int) -> _State | None:
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


def _loop(model: nn.Module, step: Callable[[int], Mapping[str, Tensor]], seed: int, steps: range) -> dict[str, float]:
    state = [tensor.detach() for tensor in (*model.parameters(), *model.buffers())]
    good, now = [t.clone() for t in state], [t.clone() for t in state]
    losses: dict[str, float] = {}
    for number in steps:
        _copy(state, now)
        torch.manual_seed(step_seed(seed, number))
        losses = {name: float(loss.detach()) for name, loss in step(number).items()}
        if not all(map(math.isfinite, losses.values())):
            first = number == steps.start
            _copy(now if first else good, state)
            raise _diverged(number, f"the losses {losses}", number if first else number - 1)
        good, now = now, good
    if not all(bool(t.isfinite().all()) for t in state):
        _copy(good, state)
        raise _diverged(steps.stop - 1, "weights that are not finite after it", steps.stop - 1)
    return losses


def _diverged(step: int, found: str, last: int) -> DivergedError:
    return DivergedError(
        f"training diverged at step {step}: found {found}; expected finite ones. The model is back at its last good "
        f"weights, those before step {last}. Lower the learning rate."
    )


def _copy(source: list[Tensor], target: list[Tensor]) -> None:
    for a, b in zip(source, target, strict=True):
        b.copy_(a)
