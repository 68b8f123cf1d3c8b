"""What a method of `glt.methods` is given and gives back, and what several of them need."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from common.allocate import prune
from common.apply import masked
from common.masks import Masks, prunable
from common.project import projected
from common.runs.errors import DivergedError
from common.structure import Structure, entries
from common.ticket import Ticket
from glt.config import Find
from glt.methods import METHODS
from glt.models import EDGES, WEIGHTS, GraphModel
from glt.tasks import Task, Teacher
from glt.training import trainer

__all__ = ["Choice", "Round", "Search", "choose", "diverged_at_once", "function"]

_LEAST = 0.5


@dataclass(frozen=True)
class Choice:
    """What a method keeps at one density.

    Attributes:
        masks: of `edges.weight` and of every prunable `net.*`.
        weights: the state_dict that the ticket starts from; None is the initial one.
        about: what is worth knowing of the search, plain json: it goes into the ticket's recipe.
        save: writes what else the search leaves, such as a masker, into the ticket's folder.
    """

    masks: Masks
    weights: Mapping[str, Tensor] | None = None
    about: Mapping[str, Any] = field(default_factory=dict)
    save: Callable[[Path], object] | None = None


@dataclass
class Round:
    """What a round of training leaves.

    Attributes:
        scores: by name.
        epoch: which one these are from.
        history: accuracies of every finite epoch.
        save: see `Choice.save`.
    """

    scores: dict[str, Tensor] = field(default_factory=dict)
    epoch: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    save: Callable[[Path], object] | None = None

    def note(self, accuracy: dict[str, float]) -> bool:
        """Add the accuracies of an epoch; whether its `val` is the best yet."""
        best = max((one["val"] for one in self.history), default=-1.0)
        self.history.append(accuracy)
        return accuracy["val"] > best


@dataclass(frozen=True)
class Search:
    """What a method is given.

    Attributes:
        config: all settings, filled by `glt.config.preset`.
        task: objective and metric; no method sees test labels.
        build: makes the dense model with the seed's initial weights, on the right device.
        densities: what to keep, never rising: `{"edges.weight": share, "net.*": share}`, one choice each.
        dense: the trained dense network, as a ticket that keeps everything.
        last: the masks of the round before the first density; everything at first.
        seed: of whatever a method draws.
        edges: masks of the edges, one a density: a method then takes these and chooses the weights alone, which is how
            the worth of its edges is measured. None lets it choose.
        teacher: the dense network's outputs, where training distils from them.
        shared: CPU seconds of every block of `once`.
    """

    config: Find
    task: Task
    build: Callable[[], GraphModel]
    densities: Sequence[Mapping[str, float]]
    dense: Ticket
    last: Masks
    seed: int
    edges: Sequence[Tensor] | None = None
    teacher: Teacher | None = None
    shared: list[float] = field(default_factory=list)

    @contextmanager
    def once(self) -> Iterator[None]:
        """Around work that all densities have in common: it is a cost of each of them."""
        begin = time.process_time()
        try:
            yield
        finally:
            self.shared.append(time.process_time() - begin)

    def start(self, masks: Masks) -> GraphModel:
        """A model with the initial weights, zero where masks prune."""
        model = self.build()
        named = dict(model.named_parameters())
        with torch.no_grad():
            for name, mask in masks.items():
                named[name].mul_(mask)
        return model

    def trained(self) -> GraphModel:
        """A model with the dense network's trained weights."""
        model = self.build()
        model.load_state_dict(self.dense.trained or {})
        return model

    def within(self, number: int, masks: Masks) -> Masks:
        """Masks with the edges of round `number` put in, where edges are given."""
        return Masks(masks if self.edges is None else {**masks, EDGES: self.edges[number]})

    def prune(self, number: int, scores: Mapping[str, Tensor], within: Masks) -> Masks:
        """The best-scored edges and the best-scored weights within masks, exactly as many as density `number` asks for.

        A group without scores stays as it is in `within`; so do given edges.

        Args:
            number: which of `densities`.
            scores: name to scores of the parameter's shape; larger survives.
            within: masks of everything.
        """
        pruned = self.within(number, within)
        structure: dict[str, Structure] = {EDGES: self.structure}
        for pattern, density in self.densities[number].items():
            names = [n for n in scores if (n == EDGES) == (pattern == EDGES)]
            if not names or density >= 1.0 or (pattern == EDGES and self.edges is not None):
                continue
            part = {name: scores[name] for name in names}
            pruned.update(
                prune(
                    part,
                    density,
                    structure={name: structure.get(name, entries) for name in names},
                    within=Masks({name: within[name] for name in names}),
                )
            )
        return pruned

    def rounds(self, play: Callable[[GraphModel, Masks], Round]) -> Iterator[Choice]:
        """A round a density: train from the initial weights under the masks of the round before, score, prune.

        Args:
            play: trains a model under masks and scores what they hold; without the edges, where these are given.
        """
        masks = self.last
        for number in range(len(self.densities)):
            masks = self.within(number, masks)
            live = masks if self.edges is None else masks.only(WEIGHTS)
            found = play(self.start(masks), live)
            masks = self.prune(number, found.scores, masks)
            yield Choice(masks, about={"epoch": found.epoch}, save=found.save)

    @cached_property
    def structure(self) -> Structure:
        """What of the edge mask lives and dies as one."""
        return self.build().edges.structure()

    def train(self, model: GraphModel, masks: Masks) -> Mapping[str, float]:
        """Train a model under masks as tickets are trained; it ends at its epoch of best validation accuracy."""
        with masked(model, masks):
            return self.plain(model)

    def project(self, number: int, masks: Masks) -> tuple[Masks, Mapping[str, float]]:
        """Choose weights by one training from the initial ones with all but the largest zeroed after every step.

        No tensor is left with less than half of its even share, lest it never comes back.

        Args:
            number: which of `densities`.
            masks: of everything; its edges stay, its weights are not looked at.

        Returns:
            The masks with the weights put in, and the metrics of that training.
        """
        edges = self.within(number, masks).only(EDGES)
        model = self.start(edges)
        weights = {name: p for name, p in prunable(model).items() if name != EDGES}
        density = self.densities[number][WEIGHTS]
        if density >= 1.0:
            return Masks({**edges, **Masks.dense(weights)}), {}
        with masked(model, edges), projected(model, density, params=weights, least=_LEAST) as projection:
            metrics = self.plain(model)
            return Masks({**edges, **projection.masks}), metrics

    def plain(self, model: GraphModel) -> Mapping[str, float]:
        """Train a model as it is."""
        train = trainer(self.task, self.config.training, self.seed, teacher=self.teacher)
        return train(model, 0, self.config.training.epochs)


def diverged_at_once(option: str, lr: float | None) -> DivergedError:
    """The error of a search that has nothing finite after its first epoch.

    Args:
        option: of the command line, which sets the learning rate.
        lr: what it is set to; filled settings have one.
    """
    return DivergedError(
        f"the search diverged: found outputs that are not finite after its first epoch with lr {lr:g}; "
        f"expected finite ones. Lower {option}."
    )


def function(method: str) -> Callable[[Search], Iterator[Choice]]:
    """The function of a method."""
    module, _, name = METHODS[method].where.partition(":")
    found: Callable[[Search], Iterator[Choice]] = getattr(importlib.import_module(f"glt.methods.{module}"), name)
    return found


def choose(method: str, search: Search) -> Iterator[Choice]:
    """What a method keeps, a density each."""
    return function(method)(search)
