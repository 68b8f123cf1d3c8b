"""The denoiser of a schedule: one network outside, the scheduled one inside, at every timestep."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from common.masks import Masks
from common.ticket import TicketError
from gen_tickets.engines import channels_last
from gen_tickets.engines import engine as made_by
from gen_tickets.networks import Network, opened
from gen_tickets.pipelines import solver_of
from gen_tickets.schedule import SKIP, ScheduleError, StepSchedule

__all__ = ["Predicted", "Scheduled", "log_snr", "scheduled"]


@dataclass
class Predicted:
    """What a denoiser says: the predicted noise (N, C, H, W)."""

    sample: Tensor


def log_snr(config: Mapping[str, Any] | None = None) -> np.ndarray:
    r"""$\log(\bar\alpha_t / (1 - \bar\alpha_t))$ of every training timestep, (T,), falling; the last may be -inf.

    Args:
        config: of a scheduler of diffusers, as `Network.scheduler` has it; that of DDPM by default.

    >>> log_snr()[[0, 999]].round(1).tolist()
    [9.2, -10.1]
    """
    kept = solver_of(config).alphas_cumprod.double().numpy()
    with np.errstate(divide="ignore"):
        return np.log(kept) - np.log1p(-kept)


class Scheduled(nn.Module):
    """Calls, for every image of a batch, the network that its timestep is scheduled for.

    A batch whose timesteps lie in several intervals is split. Where a step is to be skipped, the last prediction is
    given again; at the beginning of a sampling, when there is none, the network of the interval before is called.
    A network that is called at every n-th step alone is called for all images of a batch of several timesteps.

    Args:
        schedule: who when.
        networks: name to denoiser, from images, timesteps and perhaps labels to an output with `.sample`.
        levels: log-SNR of every training timestep, (T,), see `log_snr`.
        config: that pipelines look for: `sample_size`, `in_channels`.

    Attributes:
        calls: name to how many images it has seen.

    >>> from gen_tickets.models import build
    >>> from gen_tickets.schedule import Member
    >>> nets = {"dense": build("ddpm", "tiny"), "small": build("ddpm", "tiny")}
    >>> schedule = StepSchedule.of([0.0], ["small", "dense"], {name: Member("", 1.0) for name in nets})
    >>> both = Scheduled(schedule, nets, log_snr())
    >>> both(torch.zeros(3, 1, 8, 8), torch.tensor([999, 998, 0])).sample.shape, both.calls
    (torch.Size([3, 1, 8, 8]), {'dense': 1, 'small': 2})
    """

    def __init__(
        self, schedule: StepSchedule, networks: Mapping[str, nn.Module], levels: np.ndarray, config: Any = None
    ) -> None:
        super().__init__()
        self.schedule, self.levels, self.config = schedule, levels, config
        self.networks = nn.ModuleDict({_key(name): network for name, network in networks.items()})
        self.calls = dict.fromkeys(networks, 0)
        self._said: Tensor | None = None
        self._level, self._step = np.inf, 0

    @property
    def device(self) -> torch.device:
        """Of the weights."""
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights."""
        return next(self.parameters()).dtype

    def forward(
        self, sample: Tensor, timestep: Any, class_labels: Tensor | None = None, return_dict: bool = True
    ) -> Predicted | tuple[Tensor]:
        """Predict the noise in images.

        Args:
            sample: (N, C, H, W).
            timestep: a number, or one for all or for each, (N,); fractions lie between the training timesteps.
            class_labels: (N,), of a conditional model.
            return_dict: whether to give `Predicted`, or a tuple of the noise alone, as in diffusers.

        Raises:
            ScheduleError: a batch in several intervals of which one is skipped.
        """
        times = torch.as_tensor(timestep, device=sample.device).reshape(-1).expand(len(sample))
        levels = np.interp(times.double().cpu().numpy(), np.arange(len(self.levels)), self.levels)
        numbers = self.schedule.at(levels)
        found = np.unique(numbers)
        if len(found) == 1 and (self.schedule.intervals[found[0]].every == 1 or (levels == levels[0]).all()):
            return self._said_as(self._say(int(found[0]), float(levels[0]), sample, times, class_labels), return_dict)
        if any(self.schedule.intervals[number].ticket == SKIP for number in found):
            raise ScheduleError(
                "found a batch in several intervals, one of them skipped; expected timesteps of one interval. Call the "
                "denoiser for each interval alone."
            )
        said = torch.empty_like(sample, dtype=torch.float32)
        for number in found:
            rows = torch.from_numpy(np.flatnonzero(numbers == number)).to(sample.device)
            labels = None if class_labels is None else class_labels[rows]
            said[rows] = self._call(self.schedule.intervals[number].ticket, sample[rows], times[rows], labels)
        self._said = None
        return self._said_as(said, return_dict)

    @staticmethod
    def _said_as(said: Tensor, return_dict: bool) -> Predicted | tuple[Tensor]:
        return Predicted(said) if return_dict else (said,)

    def _say(self, number: int, level: float, sample: Tensor, times: Tensor, labels: Tensor | None) -> Tensor:
        """The prediction of an interval; a skipped one repeats the last, if that is of the same sampling."""
        if level <= self._level or (self._said is not None and self._said.shape != sample.shape):
            self._said = None
        self._level, self._step = level, 0 if self._said is None else self._step + 1
        interval = self.schedule.intervals[number]
        if self._said is not None and (interval.ticket == SKIP or self._step % interval.every):
            return self._said
        before = [interval.ticket for interval in self.schedule.intervals[: number + 1] if interval.ticket != SKIP]
        self._said = self._call(before[-1], sample, times, labels)
        return self._said

    def _call(self, name: str, sample: Tensor, times: Tensor, labels: Tensor | None) -> Tensor:
        self.calls[name] += len(sample)
        given = () if labels is None else (labels,)
        said: Tensor = self.networks[_key(name)](sample, times, *given).sample
        return said.float()


def _key(name: str) -> str:
    """A name for a submodule: without dots, none that modules have already, and another one for another name."""
    return f"of {name}".replace("_", "__").replace(".", "_d")


def scheduled(schedule: StepSchedule, engine: str, batch: int) -> Scheduled:
    """The denoiser of a schedule, its networks read from disk; see `StepSchedule.denoiser`."""
    used = dict.fromkeys([interval.ticket for interval in schedule.intervals if interval.ticket != SKIP])
    networks: dict[str, nn.Module] = {}
    first: Network | None = None
    config: Any = None
    for name in used:
        found = opened(schedule.ticket(name))
        if not found.network.denoises:
            raise TicketError(f"{name}: found a ticket of {found.network}; expected one of a U-Net, which takes steps.")
        first = first or found.network
        if found.network != first:
            raise TicketError(
                f"{name}: found a ticket of {found.network} {found.network.image}; expected {first} {first.image}, as "
                "the others are. Schedule tickets of one dense network."
            )
        config = found.maker.config
        masks = Masks(found.masks)
        with torch.no_grad():
            dense = masks.density == 1
            made = made_by("dense" if dense else engine, found.maker, masks, first.inputs(batch)).eval()
        if dense and schedule.measured.get("dense") == "channels-last":
            made = channels_last(made)
        networks[name] = made
    return Scheduled(schedule, networks, log_snr(None if first is None else first.scheduler), config).eval()
