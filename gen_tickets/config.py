"""What a user may set, as dataclasses without heavy imports, so that `gen-tickets --help` answers at once."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Sample", "Speed"]


@dataclass(frozen=True)
class Speed:
    """Time a sparse network beside dense ones."""

    ticket: str | None = None
    """Folder of a ticket; random masks of the given density without one."""
    model: str | None = None
    """A network of the suite: tiny, small or cifar10 (U-Nets of DDPM), or FAMILY/SIZE, such as dcgan/small.
    By default the ticket's own, and small without a ticket."""
    density: float = 0.1
    """Share of the weights of convolutions and linear layers to keep, when there is no ticket."""
    batch: int = 16
    """Images at once."""
    threads: int = 1
    """Threads, of every engine."""
    steps: int = 1
    """Steps of DDIM for a U-Net; 1 times one forward."""
    repeats: int = 5
    """Rounds in which all engines take turns."""
    tuned: bool = True
    """Measure the quickest form of every layer, once a machine; else layers go by their density."""
    compiled: bool = True
    """Also time torch.compile, which takes a minute or more to compile and needs a C++ compiler."""
    seed: int = 0
    """Of weights, masks and inputs."""
    json: bool = False
    """Print one JSON object on standard output."""
    quiet: bool = False
    """No progress lines."""


@dataclass(frozen=True)
class Sample:
    """Draw images of a ticket."""

    ticket: str | None = None
    """Folder of a ticket; its trained weights are used, the rewound ones if it has none."""
    model: str | None = None
    """The network of a ticket that does not say so itself: tiny, small or cifar10 (U-Nets of DDPM), or FAMILY/SIZE."""
    engine: str = "sparse"
    """How it runs: sparse, slim, masked or dense."""
    count: int = 64
    """Images to draw."""
    batch: int = 64
    """Images at once."""
    steps: int = 50
    """Steps of the scheduler, for a U-Net."""
    scheduler: str = "ddim"
    """ddim, ddpm or dpm-solver++, for a U-Net."""
    threads: int | None = None
    """Threads; as many as torch takes if not given."""
    seed: int = 0
    """Of the noise; images of one seed are the same by every engine, to rounding."""
    out: str = "samples"
    """Folder for samples.npz and samples.png."""
    json: bool = False
    """Print one JSON object on standard output."""
    quiet: bool = False
    """No progress lines."""
