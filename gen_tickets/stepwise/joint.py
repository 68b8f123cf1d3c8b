r"""Dense network and tickets that share their weights, trained together for a schedule, with a guard on the dense loss.

Ticket k is $\theta \odot m_k$. Over a batch of images n, with timesteps $t_n$ in all intervals and k(n) the ticket that
is scheduled at $t_n$ (S are the images where there is one, the dense network has the others):

$L(\theta) = \frac1N \left(\sum_n a \|\epsilon_n - \epsilon_\theta\|^2 + \sum_{n \in S} b \|\epsilon_n -
\epsilon_{\theta \odot m_{k(n)}}\|^2 + c \|\mathrm{sg}(\epsilon_\theta) - \epsilon_{\theta \odot m_{k(n)}}\|^2\right)$

Norms are means over pixels. No gradient passes sg: tickets learn from the dense network, never the other way round. An
average of $\theta$ is kept, which starts at the dense network. Its dense loss is checked by interval: at first it may
rise, as the kept weights have not learnt to do alone, and fall again. Where it is too high at several checks in a row,
or at the last, training stops, and the last good average is the outcome.

>>> from common.allocate import prune
>>> from common.masks import Masks, prunable
>>> from common.scores import magnitude
>>> from gen_tickets.models import ddpm
>>> task, model = Denoising(torch.zeros(4, 1, 8, 8)), ddpm((1, 8, 8), (8,), attention=())
>>> whole, weights = Masks.dense(prunable(model)), snapshot(model)
>>> masks = prune(magnitude(model, prunable(model), None), 0.25)
>>> dense, small = (Ticket(found, weights, trained=weights) for found in (whole, masks))
>>> how = Joining(steps=2, settings=Settings(batch=4, decay=0.5), every=1, rise=None)
>>> curve = Curve(task, 1 - torch.arange(1000) // 500, count=2)
>>> found = joint(dense, {"small": small}, model, task, ["small", "dense"], how, curve)
>>> [check.step for check in found.history], found.stopped, found.tickets["small"].density
([0, 1, 2], None, 0.25)

References:
    Yu and Huang, Universally Slimmable Networks and Improved Training Techniques, ICCV 2019.
    Yang et al., Denoising Diffusion Step-aware Models, ICLR 2024.
    Zhao et al., Dynamic Diffusion Transformer, ICLR 2025.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from common.recipe import describe
from common.rewind import snapshot
from common.runs.files import plain as as_plain
from common.ticket import Ticket
from gen_tickets._checkpoint import Checkpoints, digest, tensors
from gen_tickets._intervals import SKIP, refuse
from gen_tickets._steps import Drive, Session, Trainer, plain
from gen_tickets.ddpm import Settings
from gen_tickets.denoising import Denoising
from gen_tickets.stepwise._descent import Descent, descendant, driven, loaded, sound
from gen_tickets.stepwise._guard import Check, Stopped, Watch
from gen_tickets.stepwise._shared import losses, part
from gen_tickets.stepwise.curves import Curve, runs
from gen_tickets.stepwise.family import DENSE

__all__ = ["Check", "Joining", "Joint", "joint"]

_PAPERS = [
    "Yu and Huang, Universally Slimmable Networks and Improved Training Techniques, ICCV 2019",
    "Yang et al., Denoising Diffusion Step-aware Models, ICLR 2024",
    "Zhao et al., Dynamic Diffusion Transformer, ICLR 2025",
]

_USUAL = Settings(batch=64, lr=1e-3, warmup=50, decay=0.99)


@dataclass(frozen=True)
class Joining:
    """How dense network and tickets are trained together.

    Args:
        steps: of training.
        settings: batches of 64 by default, lr 1e-3 after 50 steps and decay 0.99, which is that of an average that
            starts at the dense network, without a warm-up of its own.
        seed: of batches, noise, timesteps and dropout.
        dense, ticket, distil: weights of the dense network's error, of the tickets' and of their error against the
            dense prediction; a, b and c above.
        every: steps between two checks.
        rise: the share by which the dense loss may rise in an interval above its value at the start; None never stops.
        patience: checks in a row above that at which training stops.

    Raises:
        ValueError: no step, weights that are negative or all zero, an average that would hardly leave its start, no
            step between checks, no patience or a negative share.

    >>> Joining(every=0)
    Traceback (most recent call last):
    ValueError: found checks every 0 steps, patience 3 and a rise of 0.01; expected 1, 1 and 0 or more
    """

    steps: int = 1000
    settings: Settings = _USUAL
    seed: int = 0
    dense: float = 1.0
    ticket: float = 1.0
    distil: float = 1.0
    every: int = 50
    rise: float | None = 0.01
    patience: int = 3

    def __post_init__(self) -> None:
        sound(self.steps, self.settings, self.weights)
        if self.every < 1 or self.patience < 1 or not (self.rise is None or self.rise >= 0):
            raise ValueError(f"found checks every {self.every} steps, patience {self.patience} and a rise of "
                             f"{self.rise}; expected 1, 1 and 0 or more")  # fmt: skip

    @property
    def weights(self) -> dict[str, float]:
        """Of the losses, by name."""
        return {"dense": self.dense, "ticket": self.ticket, "distil": self.distil}


@dataclass(frozen=True)
class Joint:
    """What came of it.

    Attributes:
        dense: the dense network, trained: the average.
        tickets: name to ticket; their trained weights are the dense one's, pruned entries zero.
        history: held-out losses by interval at every check, the start first.
        stopped: why the guard stopped the training and which average it went back to; None if it did not.
    """

    dense: Ticket
    tickets: dict[str, Ticket]
    history: tuple[Check, ...]
    stopped: str | None


def joint(
    dense: Ticket,
    tickets: Mapping[str, Ticket],
    model: nn.Module,
    task: Denoising,
    names: Sequence[str],
    how: Joining,
    curve: Curve,
    *,
    checkpoints: Checkpoints | None = None,
    drive: Drive = plain,
) -> Joint:
    """Train a dense network and its tickets as one set of weights, each where a schedule calls it.

    Args:
        dense: a ticket of density 1 with trained weights, from which all of them start.
        tickets: name to ticket, of which only the masks count: nested ones, as rounds of a search leave them.
        model: a network of their kind, left as it is.
        task: images to train on, noise and loss.
        names: who is scheduled in each interval, from noise to image: `dense`, `skip`, or the name of a ticket.
        how: see `Joining`.
        curve: on held-out images, its bins being the intervals.
        checkpoints: to go on from when interrupted; all but the data is added to its `about`.
        drive: runs the steps.

    Raises:
        ScheduleError: the dense ticket is pruned or untrained, an interval without a name or the other way round, a
            name that there is not, or no ticket that is scheduled.
        TicketError: a ticket belongs to another network.
        DivergedError: a loss is not finite.
    """
    _fits(dense, tickets, names, curve, model)
    net, order = loaded(dense, model), [DENSE, *tickets]
    masks, start = [ticket.masks for ticket in tickets.values()], snapshot(net)
    who = [0 if name == SKIP else order.index(name) for name in names]
    watch = Watch(curve, who, masks, how.every, how.steps, how.rise, how.patience, net)
    about = _about(how, names, curve)
    known = {"joint": about, "masks": [one.digests() for one in masks], "held_out": _digest(curve)}
    train = driven(_trainer(task, masks, torch.tensor(who)[curve.bins], how, watch), drive, checkpoints, known)
    with suppress(Stopped):
        train(net, 0, how.steps)
    for name, value in tensors(net).items():
        value.copy_(watch.good[name])
    recipe = {"joint": {**about, "stopped": watch.stopped}}

    def made(ticket: Ticket) -> Ticket:
        trained = {**snapshot(net), **{n: p.detach() for n, p in part(net, ticket.masks).items()}}
        return descendant(ticket, start, trained, recipe, watch.metrics(), how.seed, _PAPERS)

    return Joint(made(dense), {name: made(one) for name, one in tickets.items()}, watch.history(), watch.stopped)


def _about(how: Joining, names: Sequence[str], curve: Curve) -> dict[str, Any]:
    """What a recipe says: how, and on which timesteps whom."""
    spans = [runs((curve.bins == number).nonzero().flatten()) for number in range(len(names))]
    return {**describe(joint), **as_plain(how), "steps": [0, how.steps], "names": list(names), "timesteps": spans}


def _digest(curve: Curve) -> str:
    """Of the images that the guard looks at."""
    return digest({name: value for name, value in curve.batch._asdict().items() if value is not None})


def _fits(dense: Ticket, tickets: Mapping[str, Ticket], names: Sequence[str], curve: Curve, model: nn.Module) -> None:
    if dense.density < 1:
        refuse(f"a ticket of density {dense.density:.4g} as the dense one", "density 1", "Pass the dense network's.")
    if taken := {DENSE, SKIP} & set(tickets):
        refuse(f"a ticket that is called {sorted(taken)[0]!r}", "another name", "Rename it.")
    if len(names) != len(curve):
        refuse(f"{len(names)} names for {len(curve)} intervals", "one each", "Build the curve with numbers().")
    if strange := set(names) - {DENSE, SKIP, *tickets}:
        known = ", ".join([DENSE, SKIP, *tickets])
        refuse(f"a network {sorted(strange)[0]!r}", f"one of {known}", "Correct the name, or add the ticket.")
    if not set(names) & set(tickets):
        refuse("no ticket in any interval", "at least one", "Choose a schedule of a lower budget.")
    for ticket in tickets.values():
        ticket.verify(model)


def _trainer(
    task: Denoising, masks: Sequence[Mapping[str, Tensor]], who: Tensor, how: Joining, watch: Watch
) -> Trainer:
    """A `Train` of shared weights; `who` (T,) has the number of the network that is scheduled at every timestep."""

    @contextmanager
    def begin(model: nn.Module) -> Iterator[Session]:
        descent, device = Descent(model, how.settings), next(model.parameters()).device
        kept = [{name: mask.to(device) for name, mask in one.items()} for one in masks]

        def step(number: int) -> Mapping[str, Tensor]:
            batch = task.batch(how.settings.batch, how.seed, number)
            own = who[batch.timesteps]
            found = descent(number, lambda: losses(task, model, batch, kept, own), how.weights)
            watch(number + 1, descent.mean.module)
            return found

        mean = {f"mean.{name}": value for name, value in descent.mean.module.named_parameters()}
        carried = {**mean, "updates": descent.mean.n_averaged, **watch.carried()}
        yield Session(step, (descent.optimizer,), descent.mean.module, carried)

    return Trainer(begin, how.seed)
