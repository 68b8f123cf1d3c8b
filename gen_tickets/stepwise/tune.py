r"""Training for a schedule: a ticket goes on with the timesteps of its own intervals, taught by the dense network.

$L = a\,E\|\epsilon - \epsilon_k(x_t, t)\|^2 + b\,E\|\epsilon_{dense}(x_t, t) - \epsilon_k(x_t, t)\|^2$, the means over
pixels, with t drawn evenly from those intervals and masks that stay.

For instance, on the 100 noisiest:

>>> from common.masks import prunable
>>> from common.rewind import snapshot
>>> from common.allocate import prune
>>> from common.scores import magnitude
>>> from gen_tickets.models import ddpm
>>> task, model = Denoising(torch.zeros(4, 1, 8, 8)), ddpm((1, 8, 8), (8,), attention=())
>>> masks = prune(magnitude(model, prunable(model), None), 0.25)
>>> ticket = Ticket(masks, snapshot(model), trained=snapshot(model))
>>> how = Tuning(steps=2, settings=Settings(batch=2, decay=0.5))
>>> tuned = tune(ticket, model, task, torch.arange(900, 1000), how, Curve(task, count=1))
>>> tuned.ticket.recipe["tune"]["timesteps"], tuned.ticket.parent == ticket.digest, len(tuned.after)
([[900, 999]], True, 10)

References:
    Pan et al., T-Stitch: Accelerating Sampling in Pre-Trained Diffusion Models with Trajectory Stitching, ICLR 2025.
    Kim et al., BK-SDM: A Lightweight, Fast, and Cheap Version of Stable Diffusion, ECCV 2024.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from common.apply import masked
from common.recipe import describe
from common.rewind import snapshot
from common.runs.files import plain as as_plain
from common.ticket import Ticket
from gen_tickets._checkpoint import Checkpoints, digest, tensors
from gen_tickets._steps import Drive, Session, Trainer, plain
from gen_tickets.ddpm import Settings, averaged
from gen_tickets.denoising import Denoising
from gen_tickets.stepwise._descent import Descent, descendant, driven, loaded, sound
from gen_tickets.stepwise.curves import Curve, listed, runs

__all__ = ["Tuned", "Tuning", "trainer", "tune"]

_PAPERS = [
    "Pan et al., T-Stitch: Accelerating Sampling in Pre-Trained Diffusion Models with Trajectory Stitching, ICLR 2025",
    "Kim et al., BK-SDM: A Lightweight, Fast, and Cheap Version of Stable Diffusion, ECCV 2024",
]

_USUAL = Settings(batch=64, lr=5e-4, warmup=20, decay=0.99)


@dataclass(frozen=True)
class Tuning:
    """How a ticket is tuned.

    Args:
        steps: of training.
        settings: batches of 64 by default, lr 5e-4 after 20 steps and decay 0.99, which is that of an average that
            starts at the ticket's trained weights, without a warm-up of its own.
        seed: of batches, noise, timesteps and dropout.
        noise: weight of the error against the noise, a above.
        distil: weight of the error against the dense network's prediction, b above.

    Raises:
        ValueError: no step, weights that are negative or all zero, or an average that would hardly leave its start.

    >>> Tuning(steps=100, settings=Settings(decay=0.9999))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ValueError: found an average with a decay of 0.9999 over 100 steps, of which 99 % is still what it began with; ...
    """

    steps: int = 500
    settings: Settings = _USUAL
    seed: int = 0
    noise: float = 1.0
    distil: float = 1.0

    def __post_init__(self) -> None:
        sound(self.steps, self.settings, self.weights)

    @property
    def weights(self) -> dict[str, float]:
        """Of the losses, by name."""
        return {"noise": self.noise, "distil": self.distil}


@dataclass(frozen=True)
class Tuned:
    """What came of it.

    Attributes:
        ticket: with the masks of the one before, which is its parent; it starts from that one's trained weights, and
            its own trained weights are the average.
        before, after: held-out loss by bin, (B,), of the trained weights of both.
    """

    ticket: Ticket
    before: tuple[float, ...]
    after: tuple[float, ...]


def trainer(task: Denoising, dense: nn.Module, timesteps: Tensor, how: Tuning) -> Trainer:
    """A `Train` of a network on some timesteps; it returns `loss`, its parts `noise` and `distil`, and `gradient`.

    Args:
        task: images, noise and loss.
        dense: the network to be taught by, without dropout; it is copied.
        timesteps: bool (T,), or their numbers (M,).
        how: see `Tuning`.

    Raises:
        ScheduleError: there is no such timestep.

    >>> from gen_tickets.models import ddpm
    >>> task, model = Denoising(torch.zeros(4, 1, 8, 8)), ddpm((1, 8, 8), (8,), attention=())
    >>> train = trainer(task, model, torch.arange(900, 1000), Tuning(2, Settings(batch=2, decay=0.5)))
    >>> sorted(train(model, 0, 2))
    ['distil', 'gradient', 'loss', 'noise']
    """
    among = listed(timesteps, task.timesteps)

    @contextmanager
    def begin(model: nn.Module) -> Iterator[Session]:
        teacher = copy.deepcopy(dense).to(next(model.parameters()).device).requires_grad_(False).eval()
        descent = Descent(model, how.settings)

        def step(number: int) -> Mapping[str, Tensor]:
            batch = task.batch(how.settings.batch, how.seed, number, among)

            def losses() -> dict[str, Tensor]:
                said = task.predict(model, batch)
                found = {"noise": nn.functional.mse_loss(said, batch.noise.to(said.device).float())}
                if how.distil:
                    with torch.no_grad():
                        wanted = task.predict(teacher, batch)
                    found["distil"] = nn.functional.mse_loss(said, wanted)
                return found

            return descent(number, losses, how.weights)

        mean = descent.mean
        carried = {**dict(mean.module.named_parameters()), "updates": mean.n_averaged}
        yield Session(step, (descent.optimizer,), mean.module, carried)

    return Trainer(begin, how.seed)


def tune(
    ticket: Ticket,
    dense: nn.Module,
    task: Denoising,
    timesteps: Tensor,
    how: Tuning,
    curve: Curve,
    *,
    checkpoints: Checkpoints | None = None,
    drive: Drive = plain,
) -> Tuned:
    """Train a ticket's trained weights further, on some timesteps, under its masks.

    Args:
        ticket: with trained weights; the dense network's own will do, to tune that one for its intervals.
        dense: the network to be taught by; it is left as it is.
        task: images to train on, noise and loss.
        timesteps: those of the ticket's intervals: bool (T,), or their numbers (M,); see `curves.numbers`.
        how: see `Tuning`.
        curve: the loss before and after, on held-out images.
        checkpoints: to go on from when interrupted; all but the data is added to its `about`.
        drive: runs the steps.

    Raises:
        ScheduleError: a ticket without trained weights, or no such timestep.
        TicketError: the ticket belongs to another network.
        DivergedError: a loss is not finite.
    """
    among, model = listed(timesteps, task.timesteps), loaded(ticket, dense)
    about: dict[str, Any] = {**describe(tune), **as_plain(how), "steps": [0, how.steps], "timesteps": runs(among)}
    known = {"tune": about, "dense": digest(tensors(dense)), "masks": ticket.masks.digests()}
    train = driven(trainer(task, dense, among, how), drive, checkpoints, known)
    with masked(model, ticket.masks):
        start, before = snapshot(model), curve(model).tolist()
        metrics: dict[str, Any] = dict(train(model, 0, how.steps))
    mean = averaged(model, train)
    after = curve(mean).tolist()
    metrics |= {"loss_before": before, "loss_after": after}
    made = descendant(ticket, start, snapshot(mean), {"tune": about}, metrics, how.seed, _PAPERS)
    return Tuned(made, tuple(before), tuple(after))
