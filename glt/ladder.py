"""The ladder of graph tickets for one seed: rung by rung a sparser ticket, each beside its controls.

`climb` is the whole experiment in a few lines: dense training, then a method's choice for every rung, trained from the
rewound weights, and the same training for its controls: a random ticket of equal counts, the ticket with fresh weights,
and the ticket's weights with random edges. Beside the dense network stands the one without any edge.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, is_dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from common.allocate import prune
from common.masks import Masks, prunable
from common.recipe import describe, references
from common.rewind import Rewind
from common.runs.manifest import forget_peak, peak_rss_mb
from common.scores import random
from common.ticket import Ticket
from common.under import ticket_under
from glt.config import Find
from glt.data import Graph
from glt.methods import METHODS
from glt.methods.search import Choice, Search, choose, function
from glt.models import EDGES, WEIGHTS, GraphModel
from glt.tasks import Task, Teacher
from glt.trial import build, control_tickets, densities, no_edges, retrain, task_of, teacher, trained_by

__all__ = ["Rung", "climb"]


@dataclass(frozen=True)
class Rung:
    """One rung: the ticket, its accuracies and those of its controls, and what it cost.

    Attributes:
        controls: by name: `random`, `reinit` and `edges` (random ones, the ticket's weights); of the dense rung
            `no_edges`.
        seconds: of CPU: `search` until the ticket is chosen, with all rounds before where they follow from each other;
            `train` of the ticket.
        peak_mb: the most memory of the process, in MB of 10^6 bytes: `search` while it chose, `rung` in all.
        save: writes what else the method's search leaves, see `Choice.save`.
    """

    number: int
    ticket: Ticket
    accuracy: dict[str, float]
    controls: dict[str, dict[str, float]]
    counts: dict[str, dict[str, int]]
    seconds: dict[str, float] = field(default_factory=dict)
    peak_mb: dict[str, float] = field(default_factory=dict)
    save: Callable[[Path], object] | None = None


def climb(
    graph: Graph,
    config: Find,
    seed: int,
    *,
    dense: Ticket | None = None,
    start: Ticket | None = None,
    rung: int = 0,
    spent: Mapping[str, float] | None = None,
    device: str = "cpu",
    controls: bool = True,
) -> Iterator[Rung]:
    """Rungs of the ladder, from `rung` on; of those after the dense one only `config.rungs`, if these are given.

    Args:
        graph: the data.
        config: filled by `glt.config.preset`.
        seed: of weights, noise and dropout.
        dense: the saved ticket of rung 0, with its trained weights; trained anew if it is needed and not given.
        start: the saved ticket of the last rung before `rung`, to continue with.
        rung: the first rung to yield; 0 is the dense network.
        spent: what the search had cost at `start`, `seconds` and `peak_mb`; it counts where rounds follow from each
            other.
        device: where to compute.
        controls: train a ticket's controls beside it.
    """
    lab = _Lab(graph, config, seed, device, controls)
    if dense is None and start is not None and start.recipe.get("round") == 0:
        dense = start
    if rung == 0 or dense is None:
        first = lab.dense()
        dense = first.ticket
        if rung == 0:
            yield first
            start, rung = dense, 1
    yield from lab.rungs(dense, start or dense, rung, spent or {})


@dataclass(frozen=True)
class _Lab:
    """One seed's experiment: what is the same for every rung."""

    graph: Graph
    config: Find
    seed: int
    device: str
    controls: bool = True

    def build(self) -> GraphModel:
        return build(self.graph, self.config, self.seed).to(self.device)

    def dense(self) -> Rung:
        model, task = self.build(), task_of(self.graph, self.config, self.device)
        masks = Masks.dense({EDGES: model.edges.weight, **prunable(model)})
        recipe = {"search": "dense", "round": 0, **_start(dict(densities(self.config)[0]))}
        weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        ticket, seconds = self.train(model, task, masks, weights, recipe, [Rewind.initial().reference])
        taught = teacher(self.graph, self.config, task, ticket)
        bare = retrain(no_edges(ticket), self.graph, self.config, self.seed, task, self.device, taught)
        return self.rung(0, ticket, {"no_edges": bare}, {"search": 0.0, "train": seconds})

    def rungs(self, dense: Ticket, start: Ticket, first: int, spent: Mapping[str, float]) -> Iterator[Rung]:
        """What the method chooses for the rungs that are wanted, trained, beside the controls."""
        config, method = self.config, METHODS[self.config.method]
        task = task_of(self.graph, config, self.device)
        ladder = densities(config)
        wanted = [k for k in range(first, len(ladder)) if config.rungs is None or k in config.rungs]
        if not wanted:
            return
        begin = int(start.recipe.get("round", 0)) + 1
        rounds = list(range(begin, wanted[-1] + 1)) if method.iterative else wanted
        taught = teacher(self.graph, config, task, dense)
        search = Search(
            config, task, self.build, [ladder[k] for k in rounds], dense, self.on(start.masks), self.seed,
            edges=self.random_edges([ladder[k] for k in rounds]) if config.edges == "random" else None, teacher=taught,
        )  # fmt: skip
        parent, choices = start, choose(config.method, search)
        meter = _Meter(search, spent if method.iterative else None)
        for number in rounds:
            choice = meter.next(choices)
            if number not in wanted:
                continue
            ticket, seconds = self.ticket(choice, number, dict(ladder[number]), task, taught, parent)
            drawn = control_tickets(ticket, self.graph, config, self.seed) if self.controls else {}
            controls = {
                name: retrain(one, self.graph, config, self.seed, task, self.device, taught)
                for name, one in drawn.items()
            }
            found = self.rung(number, ticket, controls, {"search": meter.seconds, "train": seconds}, meter.peak_mb)
            yield replace(found, save=choice.save)
            parent = ticket

    def ticket(
        self,
        choice: Choice,
        number: int,
        density: dict[str, float],
        task: Task,
        taught: Teacher | None,
        parent: Ticket,
    ) -> tuple[Ticket, float]:
        """A choice, trained from its weights."""
        model, call = self.build(), function(self.config.method)
        weights = choice.weights if choice.weights is not None else model.state_dict()
        settings = getattr(self.config, self.config.method.replace("-", "_"), None)
        recipe = {
            "search": describe(call)["call"],
            "settings": asdict(settings) if is_dataclass(settings) and not isinstance(settings, type) else {},
            "round": number,
            **_start(density, 0 if choice.weights is None else None),
            **({"found": dict(choice.about)} if choice.about else {}),
        }
        state = {name: tensor.clone() for name, tensor in weights.items()}
        cite = references(call) + ([Rewind.initial().reference] if choice.weights is None else [])
        ticket, seconds = self.train(model, task, choice.masks, state, recipe, cite, taught)
        return replace(ticket, parent=parent.digest), seconds

    def train(
        self,
        model: GraphModel,
        task: Task,
        masks: Masks,
        weights: Mapping[str, Tensor],
        recipe: Mapping[str, Any],
        cite: list[str],
        taught: Teacher | None = None,
    ) -> tuple[Ticket, float]:
        """A ticket, trained, and the CPU seconds of that."""
        train = trained_by(task, self.graph, self.config, self.seed, taught)
        before = time.process_time()
        ticket = ticket_under(
            model, lambda start, stop: train(model, start, stop), self.on(masks), weights,
            (0, self.config.training.epochs), recipe=recipe, references=list(dict.fromkeys(cite)),
        )  # fmt: skip
        ticket = replace(ticket, seeds=[self.seed], graph=model.edges.fingerprint())
        return ticket, time.process_time() - before

    def rung(
        self, number: int, ticket: Ticket, controls: dict[str, Any], seconds: dict[str, float], searched: float = 0.0
    ) -> Rung:
        masks = ticket.masks.only(WEIGHTS)
        counts = {
            "edges": self.build().edges.count(ticket.masks[EDGES]),
            "weights": {"total": masks.total, "kept": masks.kept},
        }
        peak = {"search": searched, "rung": max(searched, peak_rss_mb())}
        return Rung(number, ticket, dict(ticket.metrics), controls, counts, seconds, peak)

    def on(self, masks: Masks) -> Masks:
        return Masks({name: mask.to(self.device) for name, mask in masks.items()})

    def random_edges(self, ladder: list[dict[str, float]]) -> list[Tensor]:
        """Random edges at every density, each within the ones before; the same in every layer but for one edge."""
        model = self.build()
        weight = model.edges.weight
        one = random(self.seed)(model, {EDGES: weight.reshape(-1, weight.size(-1))[0]}, None)
        scores = {EDGES: one[EDGES].expand_as(weight)}
        structure = {EDGES: model.edges.structure()}
        return [prune(scores, density[EDGES], structure=structure)[EDGES] for density in ladder]


class _Meter:
    """What choices cost: CPU seconds and the most memory, in MB of 10^6 bytes.

    Args:
        search: its shared work counts for every choice.
        before: what the choices had cost on which these are built; None where each is made by itself.
    """

    def __init__(self, search: Search, before: Mapping[str, float] | None) -> None:
        self._search, self._adds = search, before is not None
        self.seconds, self.peak_mb = (before or {}).get("seconds", 0.0), (before or {}).get("peak_mb", 0.0)

    def next(self, choices: Iterator[Choice]) -> Choice:
        shared, begin = sum(self._search.shared), time.process_time()
        forget_peak()
        choice = next(choices)
        self.seconds = (self.seconds if self._adds else shared) + time.process_time() - begin
        self.peak_mb = max(self.peak_mb, peak_rss_mb())
        return choice


def _start(density: dict[str, float], weights: int | None = 0) -> dict[str, Any]:
    """What every recipe says of rewinding (to step 0; None: the weights are the search's own) and of what was asked."""
    return {"rewind": {"weights": weights, "start": 0}, "densities": density}
