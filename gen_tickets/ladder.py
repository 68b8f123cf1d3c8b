"""The experiment of one seed: dense training, then rounds of a method, each ticket judged beside its controls."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from common.apply import masked
from common.rewind import restore, snapshot
from common.search import tickets
from common.study.controls import reinitialised
from common.ticket import Ticket
from gen_tickets._checkpoint import Checkpoints
from gen_tickets._controls import random_like
from gen_tickets._steps import Trainer
from gen_tickets.config import Find
from gen_tickets.data import Images
from gen_tickets.gan_models import signed_constant_
from gen_tickets.judge import Judge, Judgement
from gen_tickets.methods import Found, Search, find
from gen_tickets.recipes import Recipe, bind

__all__ = ["Ladder", "Rung", "densities"]

_FRESH = 1_000_003  # offset of the seeds that draw fresh weights
_STATISTICS = 2048  # images that BatchNorm's statistics follow, in controls without training


@dataclass(frozen=True)
class Rung:
    """One round.

    Attributes:
        number: of the round, from 1; 0 is the dense network.
        ticket: with its trained weights, averages not in place: what a search goes on from.
        sampled: the state_dict that images are drawn from.
        judged: of what is drawn from it.
        seconds, cpu_seconds: of search and training, not of judging.
    """

    number: int
    ticket: Ticket
    sampled: Mapping[str, Tensor]
    judged: Judgement
    seconds: float
    cpu_seconds: float


def densities(config: Find) -> list[float]:
    """Shares kept after rounds 1, 2, ...: as listed, or in equal ratios down to the density asked for.

    >>> densities(Find(rounds=2, density=0.25))
    [0.5, 0.25]
    """
    if config.densities:
        return list(config.densities)
    rounds, density = config.rounds, config.density
    if rounds is None or density is None:
        raise ValueError("density and rounds are not set; call gen_tickets.presets.preset() first")
    return [density ** (k / rounds) for k in range(1, rounds)] + [density]


class Ladder:
    """A seed's model, its training and its judge.

    Args:
        config: filled by `gen_tickets.presets.preset`.
        images: the data.
        seed: of weights, batches, noise and masks.
    """

    def __init__(self, config: Find, images: Images, seed: int) -> None:
        self.config, self.images, self.seed = config, images, seed
        self.recipe: Recipe = bind(config, images, seed)
        self.initial = snapshot(self.recipe.model)
        self.judge = Judge(config, images, self.recipe, seed)
        if config.training.accelerator != "cpu":
            from gen_tickets.lightning import Lightning

            self.recipe.train.drive = Lightning(accelerator=config.training.accelerator)

    def dense(self) -> Rung:
        """Train and judge the dense network; `self.recipe.train` then remembers the rewinding point."""
        recipe = self.recipe
        begin = _now()
        ticket = next(
            tickets(recipe.model, recipe.train, [1.0], steps=recipe.steps, rewind=recipe.rewind, params=recipe.params)
        )
        return self._rung(0, Found(self._marked(ticket), recipe.sampled(recipe.model, recipe.train)), begin)

    def climb(self, method: str, dense: Ticket, last: Ticket, rest: list[tuple[int, float]]) -> Iterator[Rung]:
        """Rounds of a method, from the one after `last` on.

        Args:
            method: a key of `gen_tickets.methods.METHODS`.
            dense: of `dense()`, with its own trained weights.
            last: the ticket of the round before, or the dense one.
            rest: number and density of every round to come.
        """
        self.distil_from(dense)
        recipe = self.recipe
        restore(recipe.model, dense.trained or {})
        search = Search(recipe, [density for _, density in rest], dense, last, self.initial, self.seed)
        found = find(method, search)
        for number, _ in rest:
            begin = _now()
            try:
                one = next(found)
            except StopIteration:
                return
            yield self._rung(number, one._replace(ticket=self._marked(one.ticket)), begin)

    def distil_from(self, dense: Ticket) -> None:
        """Bind the recipe again with the dense model as the teacher, where tickets are distilled."""
        if not self.config.adversarial.distil:
            return
        before = self.recipe.train
        self.recipe = bind(self.config, self.images, self.seed, teacher=dense.trained)
        self.recipe.train.kept.update(before.kept)
        self.recipe.train.drive = before.drive
        self.keep_states(before.checkpoints)

    def keep_states(self, where: Checkpoints | None) -> None:
        """Let trainings go on within a round, from states kept there."""
        self.recipe.train.checkpoints = where

    def control(self, kind: str, ticket: Ticket) -> Judgement:
        """Train and judge a control of a ticket: `random`, from where it began, or `reinit`, from fresh weights.

        A random ticket prunes by the ticket's structure and trains over the ticket's steps, a re-initialised one over
        those and all before them; controls of a ticket of untrained weights are not trained either.
        """
        recipe = self.recipe
        train, span = recipe.make_trainer(), ticket.recipe.get("steps")
        own = span if isinstance(span, list) else None  # of a method that does not rewind
        start, stop = own or (recipe.rewind.weights or 0, recipe.steps)
        train.checkpoints, train.drive = recipe.train.checkpoints, recipe.train.drive
        if kind == "random":
            fresh = ticket.weights if own else self._rewound(ticket, train)
            control = random_like(ticket, self.seed, None if ticket.trained is None else fresh)
        else:
            control, start = reinitialised(ticket, self._fresh(ticket)), 0
        if ticket.trained is None:
            return self.judge(self._untrained(control), control.masks)
        restore(recipe.model, control.weights)
        with masked(recipe.model, control.masks):
            train(recipe.model, start, stop)
        return self.judge(recipe.sampled(recipe.model, train), control.masks)

    @torch.no_grad()
    def _untrained(self, control: Ticket) -> Mapping[str, Tensor]:
        """A control of a strong ticket: its weights stay as they are, BatchNorm's statistics follow the images."""
        network = self.recipe.network
        model = network.initial(0)
        control.apply(model)
        model.train()
        for part in network.noise(_STATISTICS, self.seed).split(64):
            network.maker(model)(part)
        return snapshot(model)

    def _rewound(self, ticket: Ticket, train: Trainer) -> Mapping[str, Tensor]:
        """All weights at the rewinding point, pruned ones too, and the optimizers' state there for a trainer."""
        at = self.recipe.rewind.weights or 0
        memory = self.recipe.train.kept.get(at)
        if not at or memory is None:
            return self.initial if not at else ticket.weights
        train.kept[at] = memory
        held = {n.removeprefix("model."): value for n, value in memory.items() if n.startswith("model.")}
        return {**ticket.weights, **held}

    def _fresh(self, ticket: Ticket) -> Mapping[str, Tensor]:
        network, seed = self.recipe.network, self.seed + _FRESH
        if ticket.trained is not None:
            return snapshot((self.recipe.initial or network.initial)(seed))
        model = network.initial(seed)
        signed_constant_(model, ticket.density)
        return snapshot(model)

    def _marked(self, ticket: Ticket) -> Ticket:
        about = {"network": self.recipe.network.as_dict(), "seed": self.seed}
        return replace(ticket, recipe={**ticket.recipe, **about}, seeds=[self.seed])

    def _rung(self, number: int, found: Found, begin: tuple[float, float]) -> Rung:
        wall, cpu = (now - then for now, then in zip(_now(), begin, strict=True))
        judged = self.judge(found.sampled, found.ticket.masks)
        return Rung(number, found.ticket, found.sampled, judged, wall, cpu)


def _now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()
