"""Dense samplings, kept at the start of every interval, so that a swap costs only the steps from there on.

All schedules are looked at from the same noise, and where the scheduler is stochastic with the same added noise, so
that images differ by nothing but the networks that made them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gen_tickets._batches import step_seed
from gen_tickets._intervals import SKIP, expanded, paced, refuse
from gen_tickets.draw import Sampler, finisher
from gen_tickets.networks import Network
from gen_tickets.stepwise.grid import Grid
from gen_tickets.walk import Walk

__all__ = ["Said", "Trajectories"]


@dataclass(frozen=True)
class Said:
    """What the dense network was asked and said at one step of one batch.

    Attributes:
        inputs: images (N, C, H, W), timesteps (N,), and labels (N,) of a conditional network.
        noise: that it predicted, (N, C, H, W).
        before: that it predicted at the last step before the interval; None in the first interval.
    """

    inputs: tuple[Tensor, ...]
    noise: Tensor
    before: Tensor | None


class Trajectories:
    """Samplings by the dense network from fixed noises, off which samplings by others branch.

    Batches, labels and added noise are those of `gen_tickets.draw.draw`, and so are the images of the dense network and
    of a whole schedule. Memory: K states of all images, each with the last predictions of the solver, or one.

    Args:
        network: what the models are.
        models: name to denoiser in eval mode, in any engine's form; the first is the dense one.
        noise: (N, C, H, W), as `Network.noise` gives it.
        sampler: scheduler and steps.
        grid: K intervals of that sampler.
        batch: images at once.
        seed: of the noise that a stochastic scheduler adds.
        names: the choices of an interval, see below; the models and `skip` if not given.
        states: whether all K are kept; of one, samplings by others begin with the noise, and take as long as any.

    Attributes:
        names: the choices of an interval: models, the first one the dense network, models at every n-th step, as in
            `dense/2`, and `skip`, which repeats the last prediction.
        models: of the choices, None for `skip`.
        dense: images (N, C, H, W) in [-1, 1] of the dense network.

    Raises:
        ScheduleError: no noise, or a grid of another sampler.

    >>> from gen_tickets.models import build
    >>> from gen_tickets.scheduled import log_snr
    >>> from gen_tickets.stepwise.grid import grid
    >>> network, sampler = Network("ddpm", "tiny", (1, 8, 8)), Sampler("ddim", 4)
    >>> models = {"dense": build("ddpm", "tiny").eval(), "small": build("ddpm", "tiny").eval()}
    >>> walks = Trajectories(network, models, network.noise(2, 0), sampler, grid(sampler.solver(), log_snr(), 2))
    >>> walks.names, torch.equal(walks.swap(1, models["small"]), walks.assigned((0, 1)))
    (['dense', 'small', 'skip'], True)
    """

    def __init__(
        self,
        network: Network,
        models: Mapping[str, nn.Module],
        noise: Tensor,
        sampler: Sampler,
        grid: Grid,
        *,
        batch: int = 64,
        seed: int = 0,
        names: Sequence[str] | None = None,
        states: bool = True,
    ) -> None:
        if not len(noise):
            refuse("no noise", "that of one image at least", "Draw some with Network.noise.")
        self.grid, self.names = grid, [*models, SKIP] if names is None else list(names)
        self._who: dict[str, nn.Module | None] = {**models, SKIP: None}
        self.models = [self._who[paced(name)[0]] for name in self.names]
        self._finish, self._states = finisher(network), states
        self._walks: list[list[Walk]] = []
        self._before: list[list[Tensor | None]] = []
        self._kept: tuple[int, list[list[Said]]] | None = None
        images, done = list[Tensor](), 0
        for index, part in enumerate(noise.split(batch)):
            labels = None if network.classes is None else network.labels(len(part), done).to(part.device)
            walk = Walk(part, sampler.solver(network.scheduler), step_seed(seed, index), labels)
            if walk.steps != sum(grid.counts):
                refuse(f"a grid of {sum(grid.counts)} steps", f"{walk.steps}, those of the sampler", "Make its own.")
            images.append(self._finish(self._dense(walk)))
            done += len(part)
        self.dense = torch.cat(images)

    def known(self, interval: int, choice: int) -> float | None:
        """The damage of a swap that needs no look: 0 for the dense network, inf for a skipped first interval.

        Args:
            interval: its number, from noise to image.
            choice: a number in `names`.

        Raises:
            ScheduleError: there is no such interval or choice.
        """
        count = len(self.grid.counts)
        if not (0 <= interval < count and 0 <= choice < len(self.names)):
            expected = f"an interval below {count} and a choice below {len(self.names)}"
            refuse(f"the cell ({interval}, {choice})", expected, "Correct it.")
        if interval == 0 and self.names[choice] == SKIP:
            return float("inf")
        return None if choice else 0.0

    def swap(self, interval: int, model: nn.Module | None, every: int = 1) -> Tensor:
        """Images (N, C, H, W) in [-1, 1] with one interval by another network, before and after by the dense one.

        Args:
            interval: its number, from noise to image.
            model: that network; None skips the interval.
            every: at every how many-th step of the sampling it is called.

        Raises:
            ScheduleError: there is no such interval, or the first one is skipped.
        """
        self._check(interval)
        counts, start = self.grid.counts, self.grid.starts[interval]
        own = [None if step % every else model for step in range(start, start + counts[interval])]
        return self._drawn(interval, [*own, *[self.models[0]] * sum(counts[interval + 1 :])])

    def assigned(self, assignment: Sequence[int]) -> Tensor:
        """Images (N, C, H, W) in [-1, 1] of a whole schedule; its dense beginning is not sampled again.

        Args:
            assignment: a number in `names` for each of the K intervals.

        Raises:
            ScheduleError: another number of intervals, no such choice, or the first interval is skipped.
        """
        count = len(self.grid.counts)
        if len(assignment) != count or not all(0 <= choice < len(self.names) for choice in assignment):
            refuse(f"the assignment {tuple(assignment)}", f"{count} numbers below {len(self.names)}", "Correct it.")
        first = next((number for number, choice in enumerate(assignment) if choice), count)
        stretches = [(self.names[choice], steps) for choice, steps in zip(assignment, self.grid.counts, strict=True)]
        begin = sum(self.grid.counts[:first])
        return self._drawn(first, [self._who[name] for name in expanded(stretches)[begin:]])

    @torch.no_grad()
    def said(self, interval: int) -> list[list[Said]]:
        """For every batch and step of an interval, what the dense network was asked and said there.

        It is asked once: the last interval is kept.

        Raises:
            ScheduleError: there is no such interval, or its state was not kept.
        """
        self._check(interval)
        if interval and not self._states:
            refuse(f"no state at the start of interval {interval}", "that of every interval", "Keep states.")
        if self._kept is None or self._kept[0] != interval:
            ear, found = _Ear(self.models[0]), []
            for walks, before in zip(self._walks, self._before, strict=True):
                walk = walks[interval].branch()
                found.append([ear.heard(walk, before[interval]) for _ in range(self.grid.counts[interval])])
            self._kept = interval, found
        return self._kept[1]

    @torch.no_grad()
    def _dense(self, walk: Walk) -> Tensor:
        """Take all steps of a batch, keep what others need to branch off, and return where it ends."""
        ear, walks, before = _Ear(self.models[0]), list[Walk](), list[Tensor | None]()
        for count in self.grid.counts:
            if self._states or not walks:
                walks.append(walk.branch())
                before.append(ear.noise)
            for _ in range(count):
                walk.step(ear)
        self._walks.append(walks)
        self._before.append(before)
        return walk.images

    @torch.no_grad()
    def _drawn(self, first: int, who: Sequence[nn.Module | None]) -> Tensor:
        """Images of a sampling that is dense before an interval, with who takes each step from there on."""
        if not who:
            return self.dense
        if first == 0 and who[0] is None:
            refuse("skip at the beginning", "a network", "There is no earlier prediction to go on with; choose one.")
        found, kept = [], first if self._states else 0
        again = [self.models[0]] * sum(self.grid.counts[kept:first])
        for walks in self._walks:
            walk = walks[kept].branch()
            for model in [*again, *who]:
                walk.step(model)
            found.append(self._finish(walk.images))
        return torch.cat(found)

    def _check(self, interval: int) -> None:
        if not 0 <= interval < len(self.grid.counts):
            refuse(f"interval {interval}", f"0 to {len(self.grid.counts) - 1}", "Correct the number.")


class _Ear(nn.Module):
    """A network whose last inputs and prediction are remembered."""

    def __init__(self, model: nn.Module | None) -> None:
        super().__init__()
        self.model: Any = model
        self.inputs: tuple[Tensor, ...] = ()
        self.noise: Tensor | None = None

    def forward(self, *inputs: Tensor) -> Any:
        """Call the network."""
        found = self.model(*inputs)
        self.inputs, self.noise = inputs, found.sample.float()
        return found

    def heard(self, walk: Walk, before: Tensor | None) -> Said:
        """Take a step of a walk, and tell what was said."""
        walk.step(self)
        said: Any = self.noise
        return Said(self.inputs, said, before)
