r"""Which ticket denoises which stretch: a `StepSchedule`, bounded in log-SNR, so that it fits any sampler.

$\log\mathrm{SNR}(t) = \log(\bar\alpha_t / (1 - \bar\alpha_t))$ rises while an image is denoised. A schedule covers all
of it, from the noisiest to the cleanest, without gap or overlap; every interval names a network of the schedule, the
dense one among them, or `skip`: there the network is not called and its last prediction counts again, which for DDIM is
one longer step. With `every: 2` a network is called at every second step of the sampling. On disk it is a folder:
`schedule.json`, to be read and written by hand too, beside its tickets.

    schedule = StepSchedule.load("runs/0123456789ab/schedule")
    pipeline = diffusers.DDPMPipeline(schedule.denoiser(), diffusers.DDIMScheduler())
    images = pipeline(batch_size=16, num_inference_steps=50).images

References:
    Pan et al., T-Stitch: Accelerating Sampling in Pre-Trained Diffusion Models with Trajectory Stitching, ICLR 2025.
    Yang et al., Denoising Diffusion Step-aware Models, ICLR 2024.
    Liu et al., OMS-DPM: Optimizing the Model Schedule for Diffusion Probabilistic Models, ICML 2023.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from common.runs.files import dump, plain, read_object, write_atomic
from common.ticket import Ticket
from gen_tickets._intervals import SKIP, Interval, ScheduleError, check, expanded, levels_at, paced, refuse

if TYPE_CHECKING:
    from gen_tickets.scheduled import Scheduled

__all__ = ["SKIP", "Interval", "Member", "ScheduleError", "StepSchedule"]

_FILE, _VERSION = "schedule.json", 1


@dataclass(frozen=True)
class Member:
    """A network of a schedule.

    Attributes:
        folder: of its ticket, relative to the schedule's folder or absolute.
        density: share of its weights that is kept.
        digest: of its ticket; None takes whatever is in the folder.
        seconds: of one call for one image, as `StepSchedule.measured` says; None if that was not measured.
        macs: multiply-adds of that call; None if they were not counted.
    """

    folder: str
    density: float
    digest: str | None = None
    seconds: float | None = None
    macs: float | None = None


@dataclass(frozen=True)
class StepSchedule:
    """Intervals of log-SNR from noise to image, each bound to a ticket.

    Args:
        intervals: in the order of denoising.
        members: name to network.
        measured: what the seconds of the members depend on: engine, threads, batch, hardware.
        about: how the schedule was found, plain json.

    Raises:
        ScheduleError: a gap, an overlap, an end that is left open, a name without a network, nothing but `skip` at the
            beginning.

    >>> dense, small = Member("tickets/dense", 1.0), Member("tickets/small", 0.1)
    >>> schedule = StepSchedule.of([-2.0], ["small", "dense"], {"dense": dense, "small": small})
    >>> schedule.at(np.array([-5.0, 3.0])).tolist(), schedule.names(np.array([-5.0, 3.0]))
    ([0, 1], ['small', 'dense'])
    """

    intervals: tuple[Interval, ...]
    members: Mapping[str, Member]
    measured: Mapping[str, Any] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check(self.intervals, self.members)

    @classmethod
    def of(
        cls, bounds: Sequence[float], names: Sequence[str], members: Mapping[str, Member], **about: Any
    ) -> StepSchedule:
        """A schedule from the log-SNRs between intervals, rising, and who does each; equal neighbours become one.

        Args:
            bounds: K - 1 of them, for K names of networks, or `skip`; `dense/2` is called at every second step.
            names, members: who they are.
            about: `measured` and `about` of the schedule.
        """
        ends = [None, *map(float, bounds), None]
        if len(ends) != len(names) + 1:
            raise ScheduleError(f"found {len(bounds)} bounds and {len(names)} networks; expected one bound fewer")
        made: list[Interval] = []
        for (begin, end), name in zip(pairwise(ends), names, strict=True):
            if made and made[-1].label == name:
                made[-1] = replace(made[-1], log_snr_to=end)
            else:
                made.append(Interval(begin, end, *paced(name)))
        return cls(tuple(made), members, **about)

    def at(self, log_snr: np.ndarray) -> np.ndarray:
        """Numbers (N,) of the intervals that log-SNRs (N,) lie in."""
        bounds = [interval.log_snr_from for interval in self.intervals[1:]]
        return np.searchsorted(np.array(bounds, float), log_snr, side="right")

    def names(self, log_snr: np.ndarray) -> list[str]:
        """Who denoises at log-SNRs (N,)."""
        return [self.intervals[number].ticket for number in self.at(log_snr)]

    def taken(self, log_snr: np.ndarray) -> list[str]:
        """Who takes the steps of a sampling at log-SNRs (N,), in its order; `skip` where no network is called.

        Steps to skip before any prediction are taken by the network of the interval before.
        """
        numbers = self.at(log_snr)
        names = expanded((self.intervals[number].label, 1) for number in numbers)
        first = next((n for n, name in enumerate(names) if name != SKIP), len(names))
        if first and names:
            before = [interval.ticket for interval in self.intervals[: numbers[0]] if interval.ticket != SKIP]
            names[0] = before[-1]
        return names

    def steps_of(self, solver: Any, levels: np.ndarray) -> dict[str, int]:
        """How many steps of a sampler every network takes, in the order of the first; see `taken`.

        Args:
            solver: a scheduler of diffusers at its steps.
            levels: log-SNR of every training timestep, (T,), see `gen_tickets.scheduled.log_snr`.

        Raises:
            ScheduleError: the sampler calls the network more than once at a step.
        """
        return dict(Counter(self.taken(levels_at(solver, levels))))

    def cost(self, log_snr: np.ndarray, of: str = "seconds") -> float:
        """Cost of one image whose steps are at log-SNRs (N,): `seconds` or `macs`.

        Raises:
            ScheduleError: a network has no such cost.
        """
        used = [name for name in self.taken(log_snr) if name != SKIP]
        found = [getattr(self.members[name], of) for name in used]
        if None in found:
            name = used[found.index(None)]
            refuse(f"no {of} of {name!r}", "a cost of every network", "Measure it with gen-tickets schedule.")
        return float(sum(found))

    def save(self, folder: str | Path) -> Path:
        """Write `schedule.json` and a copy of every ticket that is used into a folder, and return the folder.

        Args:
            folder: created if need be; an older schedule in it is replaced.

        Raises:
            ScheduleError, TicketError: a ticket cannot be read, or is another than it was.
        """
        place = Path(folder)
        used = {interval.ticket for interval in self.intervals} | {"dense"}
        tickets = {name: self.ticket(name) for name in self.members if name in used}
        if (place / _FILE).is_file():
            shutil.rmtree(place / "tickets", ignore_errors=True)
        kept = {}
        for name, ticket in tickets.items():
            ticket.save(place / "tickets" / name)
            place_of = f"tickets/{name}"
            kept[name] = replace(self.members[name], folder=place_of, digest=ticket.digest, density=ticket.density)
        write_atomic(place / _FILE, dump(replace(self, members=kept).as_dict()) + "\n")
        return place

    @classmethod
    def load(cls, folder: str | Path) -> StepSchedule:
        """Read a schedule; its tickets are read when they are needed.

        Raises:
            ScheduleError: there is none, it is damaged, or its intervals do not fit together.
        """
        path = Path(folder) / _FILE if Path(folder).is_dir() else Path(folder)
        if not path.is_file():
            refuse(f"no {path}", "the folder of a schedule", "Make one with gen-tickets schedule.")
        known = read_object(path, "Restore it from a copy, or search again.")
        if known.get("version") != _VERSION:
            refuse(f"{path} of version {known.get('version')!r}", f"{_VERSION}", "Search again with this release.")
        try:
            members = {name: Member(**value) for name, value in known["members"].items()}
            intervals = tuple(Interval(**value) for value in known["intervals"])
            home = {n: replace(m, folder=str((path.parent / m.folder).resolve())) for n, m in members.items()}
            return cls(intervals, home, dict(known.get("measured") or {}), dict(known.get("about") or {}))
        except (TypeError, KeyError, AttributeError) as error:
            why = f"{type(error).__name__}: {error}"
            raise ScheduleError(f"{path}: found fields that do not fit ({why}); expected those of a schedule. Correct "
                                "it, or search again.") from error  # fmt: skip

    def as_dict(self) -> dict[str, Any]:
        """As plain data, as it stands in `schedule.json`."""
        return {"version": _VERSION, **plain(asdict(self))}

    def ticket(self, name: str) -> Ticket:
        """The ticket of a network.

        Raises:
            ScheduleError: it is another one than the schedule was made with, or there is no such network.
            TicketError: it cannot be read.
        """
        if name not in self.members:
            refuse(f"no network {name!r}", f"one of {', '.join(self.members)}", "Correct the name.")
        member = self.members[name]
        found = Ticket.load(member.folder)
        if member.digest is not None and found.digest != member.digest:
            refuse(f"the ticket {found.digest[:12]} in {member.folder}", f"{member.digest[:12]}",
                    "Restore it, or search again.")  # fmt: skip
        return found

    def denoiser(self, engine: str = "dense", batch: int = 16) -> Scheduled:
        """One network that is, at every timestep, the one that is scheduled; it takes a U-Net's place in pipelines.

        Args:
            engine: how tickets run, one of `gen_tickets.engines.ENGINES`; the dense network stays dense.
            batch: images at once that engines are prepared for.

        Raises:
            ScheduleError, TicketError: a ticket cannot be read, or belongs to another model than the others.
            UsageError: there is no such engine.
        """
        from gen_tickets.scheduled import scheduled

        return scheduled(self, engine, batch)
