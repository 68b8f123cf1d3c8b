"""What schedules of a bench damage, single swaps and whole schedules, each kept in its run as soon as it is measured.

The images of one search are measured in its own space and in all that need no other samples and no other features, so
that a search in another of them finds its numbers there.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch

from common.scoped import threads
from gen_tickets._reference import reference
from gen_tickets.distances import Statistics
from gen_tickets.stepwise.damage import Damage, Space, Swaps, Whole, table
from gen_tickets.stepwise.prior import Prior
from gen_tickets.stepwise.trajectories import Trajectories
from gen_tickets.stepwise.tried import folder_name

if TYPE_CHECKING:
    from gen_tickets.stepwise.bench import Bench

__all__ = ["FINAL", "LOOK", "SWAP", "Harms", "noises"]

SWAP, LOOK, FINAL = "damage", "look", "final"  # first words of the keys: single swaps, first and second look
_NOISES = {SWAP: (0, 1), LOOK: (1, 3), FINAL: (3, 11)}  # from and to, as multiples of those of a swap
_REAL = 10_000  # training images, about, that damage in data is measured by
_ADDED = {SWAP: 0, LOOK: 2**31, FINAL: 2**31 + 1}  # seeds of the noise that is added; scores have those from 1 on


def noises(what: str, count: int) -> int:
    """How many single swaps or a look are sampled from, if a swap is from `count`.

    >>> noises(LOOK, 128), noises(FINAL, 128)
    (256, 1024)
    """
    begin, end = _NOISES[what]
    return (end - begin) * count


class Harms:
    """Measures damage in the space of the settings.

    Args:
        bench: the networks, and the run that keeps what is measured.
    """

    def __init__(self, bench: Bench) -> None:
        self.bench, self.space = bench, bench.config.space

    @cached_property
    def swaps(self) -> np.ndarray:
        """(K, M) of every swap."""
        bench, space = self.bench, self.space
        shape = (len(bench.grid.counts), len(bench.names))
        where = {cell: f"{cell[0]:02d}-{folder_name(bench.names[cell[1]])}" for cell in np.ndindex(shape)}
        known = {cell: bench.store.done(f"{bench.stage}/{SWAP}-{space}/{one}") for cell, one in where.items()}
        done = {cell: float(one["damage"]) for cell, one in known.items() if one is not None}
        begin = time.perf_counter()

        def tell(interval: int, choice: int, harms: Mapping[Space, float]) -> None:
            nonlocal begin
            now = time.perf_counter()
            found = {one: {"damage": harm} for one, harm in harms.items()}
            self._keep(SWAP, where[interval, choice], space, found, now - begin)
            begin = now
            fields = {"interval": interval + 1, "by": bench.names[choice], "damage": f"{harms[space]:.4g}"}
            if choice:
                bench.console.round(interval * shape[1] + choice, len(where), fields, what="swap")

        if len(done) == len(where):
            return np.array([done[cell] for cell in np.ndindex(shape)]).reshape(shape)
        with threads(bench.config.threads):
            return table(self._single, space, bench.names, done, tell)

    def whole(self, assignment: Sequence[int], look: str = LOOK) -> Whole:
        """What a schedule does that is sampled as a whole, or was in this run.

        It is sampled from other noises than single swaps are: a table chooses among so many schedules that the best
        of them owes much to its noises. So does the best of many looks, for which there is the second one.

        Args:
            assignment: a number in the bench's `names` for every interval.
            look: `LOOK`, or `FINAL`, from more noises; see `noises`.
        """
        bench, space = self.bench, self._sampled
        which = bench.tried(assignment).key
        known = bench.store.done(f"{bench.stage}/{look}-{space}/{which}")
        if known is None:
            begin = time.perf_counter()
            with threads(bench.config.threads):
                found = (self._several if look == LOOK else self._many).joint(assignment)
            kept = {one: asdict(whole) for one, whole in found.items()}
            self._keep(look, which, space, kept, time.perf_counter() - begin)
            known = kept[space]
        return Whole(float(known["damage"]), float(known["drift"]))

    @property
    def _sampled(self) -> Space:
        """The space in which whole schedules are looked at; the prior, which is of single swaps, has pixels."""
        return "pixels" if self.space == "prior" else self.space

    @cached_property
    def _single(self) -> Swaps:
        """What single swaps damage, on the search's own noise, that of seed 0."""
        walks = self._walks(SWAP)
        return Prior(walks) if self.space == "prior" else self._measured(walks)

    @cached_property
    def _several(self) -> Damage:
        """What whole schedules damage, on noises that no table has seen."""
        return self._measured(self._walks(LOOK))

    @cached_property
    def _many(self) -> Damage:
        """What the best of them damage, on noises that no look before has seen."""
        return self._measured(self._walks(FINAL))

    @torch.no_grad()
    def _walks(self, what: str) -> Trajectories:
        """Dense trajectories from the noises of single swaps, or of a look."""
        bench, (begin, end) = self.bench, _NOISES[what]
        network, forms, batch, count = bench.family.network, bench.forms, bench.config.batch, bench.config.noises
        noise = network.noise(end * count, 0)[begin * count :]
        return Trajectories(
            network, forms, noise, bench.sampler, bench.grid, batch=batch, seed=_ADDED[what], names=bench.names,
            states=what != FINAL,
        )  # fmt: skip

    def _measured(self, walks: Trajectories) -> Damage:
        """Damage in the space of the settings, and in those that need no other samples and no other features."""
        deep = self.space in ("features", "data")
        return Damage(walks, self.bench.extractor if deep else None, self._real if self.space == "data" else None)

    @cached_property
    def _real(self) -> Statistics:
        """Of the features of training images."""
        images = self.bench.images.train
        every = -(-len(images) // _REAL)  # images of one's own may be in the order of their classes
        return reference(images[::every], self.bench.extractor).statistics

    def _keep(
        self, what: str, which: str, space: Space, found: Mapping[Space, Mapping[str, float]], took: float
    ) -> None:
        """Keep what was measured in every space at once; the time counts for the one that asked."""
        bench = self.bench
        for one, numbers in found.items():
            key = f"{bench.stage}/{what}-{one}/{which}"
            if one == space or bench.store.done(key) is None:
                bench.store.finish(key, {**numbers, "took": took if one == space else 0.0})
