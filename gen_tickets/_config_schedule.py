"""What a user may set of `gen-tickets schedule`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

__all__ = ["Schedule"]


@dataclass(frozen=True)
class Schedule:
    """Find out which ticket may denoise which stretch for a share of the dense network's time."""

    tickets: list[str] | None = None
    """Folders of tickets, the dense network's among them; or of a run, for its dense network and all its rounds."""
    budget: float = 0.5
    """Share of the dense network's cost that a schedule may have, in (0, 1]."""
    cost: Literal["seconds", "macs"] = "seconds"
    """What costs: measured seconds, or multiply-adds."""
    engine: str = "sparse"
    """How tickets run: sparse, slim, masked or dense."""
    batch: int = 64
    """Images at once."""
    threads: int = 1
    """Threads, of everything that is timed."""
    scheduler: str = "ddim"
    """ddim, ddpm, dpm-solver++ or a class of diffusers, to search with."""
    steps: int = 50
    """Steps of the scheduler."""
    intervals: int = 10
    """Stretches of denoising between which networks may change."""
    grid: Literal["steps", "log-snr"] = "steps"
    """Stretches of equally many steps, or of equal width in log-SNR."""
    skip: bool = True
    """Whether whole stretches may be skipped: the last prediction is used again."""
    paces: list[int] = field(default_factory=lambda: [1, 2, 3, 5])
    """At every how many-th step of the sampling networks may be called, 1 among them; between calls the last prediction
    is used again."""
    space: Literal["data", "features", "pixels", "prior"] = "data"
    """What damage is: by how much the Frechet distance of features from training images rises (data); or a distance
    from the dense network's images, in features, in pixels or by a closed form without new samples (prior)."""
    noises: int = 128
    """Noises from which every swap is sampled."""
    monotone: bool = False
    """Only schedules whose density never falls from noise to image."""
    looks: int = 5
    """Schedules that are sampled as a whole, of the front, of that without skipping, and of one choice everywhere,
    beside the usual mixes; from twice as many other noises, and the least drift counts."""
    finalists: int = 6
    """Schedules of least drift that are looked at again, from eight times as many noises, before one is chosen; 1
    leaves that out."""
    refine: int = 0
    """Schedules that NSGA-II samples as a whole, from the front on; 0 leaves it out."""
    tune: int = 0
    """Steps of training of every scheduled ticket on its own stretch, after which the search is repeated."""
    joint: int = 0
    """Steps of training of all networks with shared weights, after which the search is repeated."""
    lr: float = 2e-4
    """Learning rate of that training."""
    extractor: str | None = None
    """Of damage in features or data and of scores: inception, or NAME-cnn, a classifier of a data set; that of the
    tickets' data if not given."""
    weights: str | None = None
    """Inception's file."""
    samples: int = 1000
    """Images that schedules are judged by, for every seed."""
    seeds: int = 3
    """Seeds of that noise; intervals are over them."""
    first_seed: int = 1
    """The first of these seeds; the search draws from seed 0."""
    data_root: str | None = None
    """Folder of data sets, before GLT_DATA and the cache."""
    out: str = "runs"
    """Folder of run folders."""
    name: str | None = None
    """Name of the run folder; a hash of the settings if not given. Other budgets and spaces go on in the same one."""
    fresh: bool = False
    """Start over instead of going on."""
    json: bool = False
    """Print one JSON object on standard output."""
    quiet: bool = False
    """No progress lines."""
