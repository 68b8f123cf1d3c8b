"""Finding tickets: train, score, prune, rewind, train again, as one generator.

Iterative magnitude pruning and its relatives are one loop with other arguments:

    for each density:  score the trained model, prune within the last masks, rewind, train under the masks, yield

One-shot pruning is a single density; pruning at initialisation is a first density below one; learning-rate rewinding
and fine-tuning are a `Rewind` that keeps the weights.

>>> import torch
>>> def train(model, start, stop):
...     optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
...     for step in range(start, stop):
...         optimizer.zero_grad()
...         loss = model(torch.eye(4)).square().sum()
...         loss.backward()
...         optimizer.step()
...     return {"loss": loss.item()}
>>> [ticket.density for ticket in tickets(nn.Linear(4, 1), train, [1.0, 0.5, 0.25], steps=3)]
[1.0, 0.5, 0.25]
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from common._ties import ties
from common.allocate import Allocation, global_, prune
from common.apply import masked
from common.masks import Masks, agree_across_ranks, closest, prunable
from common.recipe import describe, references
from common.rewind import Rewind, restore, snapshot
from common.scores import Objective, Scorer, magnitude
from common.structure import Structure, entries
from common.ticket import Ticket, TicketError

__all__ = ["Density", "Rewind", "Train", "tickets"]

Train = Callable[[nn.Module, int, int], Mapping[str, float]]  # in place, over steps [start, stop)
Density = float | Mapping[str, float]

_TO_INITIAL = Rewind(0, 0)


def tickets(
    model: nn.Module,
    train: Train,
    densities: Iterable[Density],
    *,
    steps: int,
    score: Scorer = magnitude,
    allocate: Allocation = global_,
    structure: Structure | Mapping[str, Structure] = entries,
    rewind: Rewind = _TO_INITIAL,
    params: Mapping[str, nn.Parameter] | None = None,
    objective: Objective | None = None,
    start: Ticket | None = None,
) -> Generator[Ticket, None, None]:
    """Yield one trained ticket a density, each pruned within the one before; the model is trained in place.

    At every yield the model holds the trained weights of that ticket. What is done to it there (evaluating a control,
    say) is undone when the search goes on, and the caller may stop at any time. The module has an example.

    Args:
        model: the dense model, as initialised.
        train: trains over steps [start, stop) and returns its metrics. The order of the data and the learning rate
            must follow from the step.
        densities: what to keep in each round, never rising, in (0, 1]: one number for all tensors together, or
            patterns of names to a number for each group. 1.0 is dense training; a first one below prunes untrained.
        steps: the length of training.
        score: the criterion; larger survives. It may train: the model is restored afterwards.
        allocate: how a budget is shared among tensors.
        structure: what is pruned as one; one for all, or one a name.
        rewind: which weights, and where training resumes.
        params: the tensors to prune; by default `prunable(model)`.
        objective: passed on to the criterion.
        start: go on after this ticket (with its trained weights), as if the search had never stopped.

    Raises:
        ValueError: a density that is out of range or rises, patterns that overlap, steps that do not fit the rewinding.
        KeyError: a pattern matches no tensor.
        TypeError: `train` returned no mapping.
        TicketError: `start` is of another model or rewinding, or has no trained weights.
    """
    chosen = dict(prunable(model) if params is None else params)
    resume = rewind.resume(steps)
    return _Search(model, train, steps, resume, score, allocate, structure, rewind, chosen, objective).run(
        densities, start
    )


@dataclass(frozen=True)
class _Search:
    model: nn.Module
    train: Train
    steps: int
    resume: int
    score: Scorer
    allocate: Allocation
    structure: Structure | Mapping[str, Structure]
    rewind: Rewind
    params: dict[str, nn.Parameter]
    objective: Objective | None

    def run(self, densities: Iterable[Density], start: Ticket | None) -> Generator[Ticket, None, None]:
        ticket = self.begin() if start is None else self.go_on(start)
        first = (self.rewind.weights or 0) if start is None else self.resume
        wanted = dict.fromkeys(self.params, 1.0)
        if start is not None:
            wanted = _wanted(start.recipe.get("densities", start.recipe["density"]), wanted)
        for density in densities:
            wanted = _wanted(density, wanted)
            ticket = self.round(ticket, density, first, wanted)
            first = self.resume
            yield ticket

    def begin(self) -> Ticket:
        """A ticket for the dense model at the rewinding point, which later rounds share."""
        if self.rewind.weights:
            _measured(self.train(self.model, 0, self.rewind.weights))
        state = snapshot(self.model)
        return Ticket(Masks.dense(self.params), state, trained=state)

    def go_on(self, start: Ticket) -> Ticket:
        """The ticket to continue from, checked, on the model's device."""
        start.verify(self.model)
        found, expected = start.recipe.get("rewind"), self.recipe()["rewind"]
        if found != expected:
            raise TicketError(f"start was found with rewind {found}, this search has {expected}; pass the same rewind.")
        if start.trained is None:
            raise TicketError("start holds no trained weights to score; save tickets with trained=True to continue.")
        if start.masks.keys() != self.params.keys():
            names = sorted(start.masks.keys() ^ self.params.keys())
            raise TicketError(
                f"start and params name different tensors: {names} are in one only; pass the same params."
            )
        return replace(start, masks=Masks({n: m.to(self.params[n].device) for n, m in start.masks.items()}))

    def round(self, ticket: Ticket, density: Density, first: int, wanted: Mapping[str, float]) -> Ticket:
        """Score, prune, rewind, train; the model is first put back where the last round left it."""
        trained = ticket.trained or {}
        restore(self.model, trained)
        masks = self.prune(density, ticket.masks)
        weights = trained if self.rewind.weights is None else ticket.weights
        restore(self.model, weights)
        self.model.zero_grad(set_to_none=True)
        if masks.kept == masks.total:
            metrics = self.train(self.model, first, self.steps)
        else:
            with masked(self.model, masks):
                metrics = self.train(self.model, first, self.steps)
        number = ticket.recipe.get("round")
        return Ticket(
            masks,
            weights,
            recipe=self.recipe()
            | {"density": density, "round": 0 if number is None else number + 1}
            | ({"densities": dict(wanted)} if isinstance(density, Mapping) else {}),  # what earlier rounds asked for
            metrics=_measured(metrics),
            seeds=ticket.seeds,
            parent=None if number is None else ticket.digest,
            references=references(self.rewind, self.score, self.allocate, self.structure),
            graph=ticket.graph,
            trained=snapshot(self.model),
            tied=ties(self.model.state_dict(), self.params),
            whole=ticket.masks.kept == ticket.masks.total if self.rewind.weights is None else ticket.whole,
        )

    def prune(self, density: Density, masks: Masks) -> Masks:
        """Masks within the last ones that meet the density of every group; groups at 1.0 are left alone."""
        groups = [(share, names) for share, names in _groups(density, self.params) if share < 1.0]
        if not groups:
            return masks
        scores = self.score(self.model, self.params, self.objective)
        pruned = Masks(masks)
        for share, names in groups:
            structure = self.structure
            if isinstance(structure, Mapping):
                structure = {name: structure.get(name, entries) for name in names}
            within = Masks({name: masks[name] for name in names})
            part = {name: scores[name] for name in names}
            pruned.update(prune(part, share, allocate=self.allocate, structure=structure, within=within))
        agree_across_ranks(pruned)
        return pruned

    def recipe(self) -> dict[str, Any]:
        """Dotted paths and arguments of everything that decides the outcome, as plain json."""
        return {
            "search": "common.search.tickets",
            "score": describe(self.score),
            "allocate": describe(self.allocate),
            "structure": describe(self.structure),
            "rewind": {"weights": self.rewind.weights, "start": self.resume},
            "steps": self.steps,
        }


def _groups(density: Density, names: Iterable[str]) -> list[tuple[float, list[str]]]:
    names = list(names)
    if not isinstance(density, Mapping):
        return [(density, names)]
    groups: list[tuple[float, list[str]]] = []
    owner: dict[str, str] = {}
    for pattern, share in density.items():
        members = [name for name in names if fnmatch.fnmatchcase(name, pattern)]
        if not members:
            raise KeyError(
                f"no prunable tensor matches {pattern!r}; the nearest is {closest(pattern, dict.fromkeys(names))}"
            )
        for name in members:
            if name in owner:
                raise ValueError(f"{name} matches both {owner[name]!r} and {pattern!r}; make the patterns disjoint")
            owner[name] = pattern
        groups.append((share, members))
    return groups


def _wanted(density: Density, before: Mapping[str, float]) -> dict[str, float]:
    """The density of every tensor's group in this round, checked against the round before."""
    wanted = dict(before)
    for share, names in _groups(density, before):
        if not 0.0 < share <= 1.0:
            raise ValueError(f"found a density of {share}; expected a share to keep in (0, 1]")
        for name in names:
            if share > before[name]:
                raise ValueError(
                    f"the density of {name} rises from {before[name]} to {share}; a ticket is pruned within the one "
                    "before, so sort the densities from high to low or start a new search"
                )
            wanted[name] = share
    return wanted


def _measured(metrics: object) -> dict[str, float]:
    if not isinstance(metrics, Mapping):
        raise TypeError(
            f"train returned a {type(metrics).__name__}; expected a mapping of names to numbers, such as "
            '{"accuracy": 0.9} or {}'
        )
    return {str(name): value.item() if hasattr(value, "item") else value for name, value in metrics.items()}
