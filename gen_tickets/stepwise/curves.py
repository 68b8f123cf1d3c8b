"""Timesteps in intervals, and the loss of networks in each of them on held-out images."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from gen_tickets._batches import step_seed
from gen_tickets._intervals import refuse
from gen_tickets.denoising import Batch, Denoising, evaluating

__all__ = ["Curve", "listed", "numbers", "runs"]


def numbers(bounds: Sequence[float], levels: np.ndarray) -> Tensor:
    """The interval of every training timestep, long (T,): 0 is the noisiest; `StepSchedule.at`, as a tensor.

    Args:
        bounds: K - 1 log-SNRs between the intervals, rising.
        levels: log-SNR of every training timestep, (T,), see `gen_tickets.scheduled.log_snr`.

    >>> numbers([-2.0, 0.0], np.array([3.0, 0.0, -1.0, -5.0])).tolist()
    [2, 2, 1, 0]
    """
    return torch.from_numpy(np.searchsorted(np.asarray(bounds, float), levels, side="right"))


def listed(timesteps: Tensor, count: int) -> Tensor:
    """Timesteps as a rising list, long (M,).

    Args:
        timesteps: bool (T,), or their numbers (M,), any order.
        count: T, of all training timesteps.

    Raises:
        ScheduleError: there is none, or not such a tensor, or a number out of range.

    >>> listed(torch.tensor([False, True, True]), 3), listed(torch.tensor([2, 0]), 3)
    (tensor([1, 2]), tensor([0, 2]))
    """
    if timesteps.dim() != 1 or (timesteps.dtype == torch.bool and len(timesteps) != count):
        refuse(f"timesteps as {timesteps.dtype} of shape {tuple(timesteps.shape)}", f"bool ({count},), or numbers (M,)",
               "Mark those to train on.")  # fmt: skip
    found = timesteps.nonzero().flatten() if timesteps.dtype == torch.bool else timesteps.unique()
    if found.is_floating_point() or not len(found) or int(found[0]) < 0 or int(found[-1]) >= count:
        what = f"{found.dtype} from {found[0].item()} to {found[-1].item()}" if len(found) else "none"
        refuse(f"timesteps to train on: {what}", f"some of 0 to {count - 1}", "Choose an interval that is scheduled.")
    return found.cpu()


def runs(timesteps: Tensor) -> list[list[int]]:
    """A rising list of timesteps as first and last of every stretch, which is what a recipe says.

    >>> runs(torch.tensor([0, 1, 2, 7]))
    [[0, 2], [7, 7]]
    """
    breaks = (timesteps.diff() != 1).nonzero().flatten() + 1
    return [[int(part[0]), int(part[-1])] for part in timesteps.tensor_split(breaks.cpu())]


class Curve:
    """The loss of networks by bin of timesteps, on the same held-out images, noise and timesteps at every call.

    Args:
        task: of images that are not trained on.
        bins: long (T,), the bin of every training timestep, as `numbers` has it; ten of equal width by default.
        count: images in a bin, its timesteps spread evenly over them; if there are too few images they come again.
        seed: of the noise and of which image gets which timestep.

    Attributes:
        batch: the images, those of bin 0 first.

    Raises:
        ScheduleError: another number of timesteps than the task has, or a bin without any.

    >>> from gen_tickets.models import ddpm
    >>> curve = Curve(Denoising(torch.zeros(4, 1, 8, 8)), torch.arange(1000) // 500, count=3)
    >>> curve.batch.timesteps.tolist(), curve(ddpm((1, 8, 8), (8,), attention=())).shape
    ([83, 250, 416, 583, 750, 916], torch.Size([2]))
    """

    def __init__(self, task: Denoising, bins: Tensor | None = None, count: int = 64, seed: int = 0) -> None:
        total = task.timesteps
        self.task, self.count = task, count
        self.bins = torch.arange(total) * 10 // total if bins is None else bins.long()
        if tuple(self.bins.shape) != (total,) or len(self.bins.unique()) != int(self.bins.max()) + 1 or count < 1:
            refuse(f"bins {self.bins.unique().tolist()} for {len(self.bins)} timesteps, {count} images each",
                   f"bins from 0 on without gap for {total}", "Build them with numbers().")  # fmt: skip
        places = (2 * torch.arange(count) + 1) / (2 * count)
        inside = [(self.bins == number).nonzero().flatten() for number in self.bins.unique()]
        timesteps = torch.cat([where[(places * len(where)).long()] for where in inside])
        generator = torch.Generator().manual_seed(step_seed(seed, "curve"))
        order = torch.randperm(len(task.images), generator=generator)[torch.arange(len(timesteps)) % len(task.images)]
        noise = torch.randn((len(order), *task.images.shape[1:]), generator=generator, dtype=task.images.dtype)
        labels = None if task.labels is None else task.labels[order]
        self.batch = Batch(task.images[order], noise, timesteps, labels)

    def __len__(self) -> int:
        """How many bins."""
        return len(self.batch.timesteps) // self.count

    def __call__(
        self, model: nn.Module, weights: Mapping[str, Tensor] | None = None, only: Collection[int] | None = None
    ) -> Tensor:
        """The mean loss in every bin, float64 (B,) on the CPU, without dropout.

        Args:
            model: left as it was.
            weights: parameters by name that take the place of the model's own.
            only: the bins to look at; the others are nan.
        """
        found = torch.full((len(self),), torch.nan, dtype=torch.float64)
        with evaluating(model), torch.no_grad():
            for number in range(len(self)) if only is None else only:
                part = self.batch.rows(torch.arange(number * self.count, (number + 1) * self.count))
                error = self.task.predict(model, part, weights).cpu() - part.noise.float().cpu()
                found[number] = error.double().square().mean()
        return found
