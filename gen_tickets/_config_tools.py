"""What a user may set of the commands that look at a ticket, at data and at the installation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from common.runs.health import Doctor, Inspect

__all__ = ["Doctor", "Export", "Fid", "Inspect"]


@dataclass(frozen=True)
class Fid:
    """Score images of a ticket, or of a schedule of tickets, by real ones."""

    ticket: str | None = None
    """Folder of a ticket; its trained weights are used, the rewound ones if it has none."""
    schedule: str | None = None
    """Folder of a step schedule instead, as gen-tickets schedule leaves it."""
    model: str | None = None
    """The network of a ticket that does not say so itself: tiny, small or cifar10 (U-Nets of DDPM), or FAMILY/SIZE."""
    dataset: str | None = None
    """The real images: digits, mnist, cifar10, a folder, a .zip or an .npz; those of the ticket if not given."""
    split: Literal["test", "train"] = "test"
    """Which of them."""
    extractor: str | None = None
    """What turns images into features: inception for FID proper, or NAME-cnn, a classifier of a data set; that of the
    real images if not given."""
    weights: str | None = None
    """torch-fidelity's file of Inception-v3, or its folder; looked for where torch keeps such files if not given."""
    samples: int = 1000
    """Images to draw, for every seed."""
    seeds: int = 3
    """How many seeds of the noise; intervals are over them."""
    first_seed: int = 0
    """The first seed; the others count up."""
    scheduler: str | None = None
    """ddim, ddpm or dpm-solver++, for a U-Net; as in the search if not given, else ddim."""
    steps: int | None = None
    """Steps of the scheduler; as in the search if not given, else 50."""
    engine: str = "dense"
    """How the network runs: dense, masked, sparse or slim; sparse pays for many images of a large network."""
    batch: int = 64
    """Images at once."""
    threads: int | None = None
    """Threads; as many as torch takes if not given."""
    data_root: str | None = None
    """Folder of data sets, before GLT_DATA and the cache."""
    json: bool = False
    """Print one JSON object on standard output."""
    quiet: bool = False
    """No progress lines."""


@dataclass(frozen=True)
class Export:
    """Write a ticket's weights, zeros in place, for programs that know nothing of tickets."""

    ticket: str | None = None
    """Folder of a ticket; its trained weights are written, the rewound ones if it has none."""
    format: Literal["diffusers", "state-dict"] = "state-dict"
    """A folder that diffusers' DDPMPipeline.from_pretrained loads (of a DDPM), or one safetensors file of the whole
    model's state_dict."""
    model: str | None = None
    """The network of a ticket that does not say so itself: tiny, small or cifar10 (U-Nets of DDPM), or FAMILY/SIZE."""
    out: str | None = None
    """Folder (diffusers) or file (state-dict) to write; export or export.safetensors if not given. Only an earlier
    export is replaced."""
    json: bool = False
    """Print one JSON object on standard output."""
    quiet: bool = False
    """No progress lines."""
