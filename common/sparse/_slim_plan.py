"""What `slim` may remove from a model: the slots that nothing alive needs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from common.sparse._slim_value import Ids, Site, Slots, Value

__all__ = ["Plan", "survivors"]


@dataclass
class Plan:
    """What may go.

    Attributes:
        live: by root of a slot, whether it stays.
        tensors: name of a parameter or buffer to its value.
        unflattened: id of an `nn.Unflatten` to the slots of its sizes.
        entering, leaving: id of a module to the slots of dimension 1 of its first input and of its output.
        sized: classes whose forwards write out sizes that may shrink.
        refused: operations and classes at which something was pinned because no rule knows them.
    """

    slots: Slots
    sites: list[Site] = field(default_factory=list)
    live: np.ndarray[Any, np.dtype[np.bool_]] = field(default_factory=lambda: np.zeros(0, bool))
    tensors: dict[str, Value] = field(default_factory=dict)
    unflattened: dict[int, list[Ids]] = field(default_factory=dict)
    entering: dict[int, Ids] = field(default_factory=dict)
    leaving: dict[int, Ids] = field(default_factory=dict)
    sized: set[type] = field(default_factory=set)
    refused: list[str] = field(default_factory=list)

    def stays(self, ids: Ids) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Which of the slots stay, of the same shape."""
        return self.live[self.slots.find(ids)]


def survivors(slots: Slots, sites: list[Site], dims: list[Ids]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """The least set of roots that holds slot 0, all that a member reads, and one index of every dimension."""
    live = np.zeros(len(slots.parent), bool)
    live[0] = True
    found = [(slots.find(site.source), slots.find(site.target), site.reads) for site in reversed(sites)]
    roots = list({id(ids): slots.find(ids) for ids in dims if len(ids)}.values())
    while True:
        before = live.sum()
        for source, target, reads in found:
            live[source[reads[live[target]].any(0)]] = True
        if live.sum() != before:
            continue
        empty = next((ids for ids in roots if not live[ids].any()), None)
        if empty is None:
            return live
        live[empty[0]] = True
