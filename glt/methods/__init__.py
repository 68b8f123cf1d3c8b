"""How tickets are found, by name: which edges and which weights a network keeps; one file each.

A method is a function `(Search) -> Iterator[Choice]`, one choice a density. It may train whatever it needs to decide;
what it chose is then trained by `glt.ladder`, in the same way for every method and control, from the rewound weights if
the choice names no others.
To add one: such a function with a `.reference`, and a line in `METHODS`; its settings are in `glt.method_settings`.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["METHODS", "Method"]


@dataclass(frozen=True)
class Method:
    """What the ladder must know of a method before it runs.

    Attributes:
        where: `file here:function`.
        iterative: its rounds follow from each other, so that all of them must be searched.
        layered: it chooses edges for every layer, so that the model has a `LayerEdges`.
        distil: weight of distillation from the dense network, as published, in the training of its tickets.
        dense: its search looks at the trained dense network, whose training then counts as a cost of the search.
        tasks: kinds of task that it can do; what needs labels or logits of single nodes can do `("nodes",)` alone.
    """

    where: str
    iterative: bool = False
    layered: bool = False
    distil: float = 0.0
    dense: bool = False
    tasks: tuple[str, ...] = ("nodes", "links", "graphs")


METHODS = {
    "default": Method("default:default", dense=True),
    "ugs": Method("ugs:ugs", iterative=True),
    "random": Method("baselines:random"),
    "degree": Method("baselines:degree", dense=True),
    "dspar": Method("baselines:dspar", dense=True),
    "magnitude": Method("magnitude:magnitude", iterative=True),
    "teddy": Method("teddy:teddy", distil=10.0),
    "earlybird": Method("earlybird:earlybird"),
    "dual": Method("dual:dual"),
    "fastglt": Method("fastglt:fastglt"),
    "igrp": Method("igrp:igrp"),
    "adaglt": Method("adaglt:adaglt", layered=True),
    "wasserstein": Method("wasserstein:wasserstein", iterative=True, tasks=("nodes",)),
    "inductive": Method("inductive:inductive", iterative=True),
}
