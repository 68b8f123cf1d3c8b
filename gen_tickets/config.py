"""What a user may set, as dataclasses without heavy imports, so that `gen-tickets --help` answers at once.

A value of None means "what fits this family and size" (`gen_tickets.presets`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from gen_tickets._config_tools import Doctor, Export, Fid, Inspect

__all__ = [
    "Adversarial", "Compare", "Doctor", "Export", "Fid", "Find", "Inspect", "Judging", "Sample", "Speed", "Training",
]  # fmt: skip


@dataclass(frozen=True)
class Training:
    """How dense networks, tickets and controls are trained."""

    steps: int | None = None
    """Steps of every training."""
    batch: int | None = None
    """Images a step."""
    lr: float | None = None
    """Learning rate of Adam."""
    rewind: float = 0.05
    """Where tickets are rewound to, as a share of the steps; 0 is the initial weights."""
    average: float | None = None
    """Decay of the running average of weights that samples are drawn from (DDPM, GANs)."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of a U-Net's forward pass in training; weights stay float32."""
    accelerator: Literal["cpu", "gpu", "auto"] = "cpu"
    """Where trainings run; all but cpu by lightning."""
    beta: float | None = None
    """Weight of the divergence of a VAE: 1, and 4 for a beta-vae."""
    save_every: float = 300.0
    """Seconds between two checkpoints of a training under way."""


@dataclass(frozen=True)
class Adversarial:
    """What is particular to the training of GANs."""

    critic_steps: int | None = None
    """Updates of the discriminator a step."""
    distil: bool = False
    """Distil from the dense discriminator (Chen et al., ICLR 2021)."""
    feature: int = 0
    """Perturb the discriminator's features after so many of its layers (Chen et al., NeurIPS 2021); 0 does not."""


@dataclass(frozen=True)
class Judging:
    """How images are drawn and judged."""

    extractor: str | None = None
    """inception for FID, or the classifier of the data set, as in mnist-cnn."""
    weights: str | None = None
    """Inception's file."""
    samples: int | None = None
    """Images to draw."""
    scheduler: str = "dpm-solver++"
    """ddim, ddpm, dpm-solver++ or a class of diffusers, for a U-Net."""
    steps: int | None = None
    """Steps of the scheduler."""
    engine: str = "dense"
    """How tickets run when they are judged: dense, masked, sparse or slim."""
    by: Literal["distance", "loss"] | None = None
    """What decides whether a ticket wins: the Frechet distance, or the loss on the test images."""


@dataclass(frozen=True)
class Find:
    """Find a ticket of a generative model, check it against its controls, save it and write a report."""

    family: str = "ddpm"
    """ddpm, vae, beta-vae, autoencoder, dcgan, sngan, wgan or gfmn."""
    dataset: str = "digits"
    """digits (embedded), mnist, cifar10, a folder or a zip of images, or an .npz."""
    size: str | None = None
    """tiny (8x8 images), small (28 or 32) or cifar10; by the images if not given."""
    from_: str | None = None
    """Folder of a DDPMPipeline that diffusers saved: prune that model."""
    image_size: int | None = None
    """Crop images to a square and resize them to this side."""
    conditional: bool = False
    """Give a U-Net the classes of the images."""
    autoencoder: str | None = None
    """Folder of an AutoencoderKL that diffusers saved: a U-Net on its latents."""
    method: str | None = None
    """How tickets are found: global, uniform, erk, lamp, by-depth or sensitivity (iterative, with that allocation),
    one-shot, diff-pruning, static, set, rigl, gradual, sr-ste, strong, strong-global or early-bird."""
    part: str | None = None
    """What is pruned: all, encoder, decoder, generator or discriminator; the generator of a GAN, else all."""
    density: float | None = None
    """Share of the weights to keep after the last round."""
    rounds: int | None = None
    """Rounds of pruning, in equal ratios."""
    densities: list[float] | None = None
    """Share kept after every round, instead of rounds and density."""
    seeds: int = 3
    """How many seeds, each with its own initial weights; intervals are over them."""
    first_seed: int = 0
    """The first seed; the others count up."""
    controls: Literal["every", "last", "none"] = "last"
    """At which rounds random and re-initialised tickets are trained beside the ticket."""
    training: Training = field(default_factory=Training)
    """Training."""
    adversarial: Adversarial = field(default_factory=Adversarial)
    """Training of GANs."""
    quality: Judging = field(default_factory=Judging)
    """Judging."""
    data_root: str | None = None
    """Folder of data sets, before GLT_DATA and the cache."""
    out: str = "runs"
    """Folder of run folders."""
    name: str | None = None
    """Name of the run folder; a hash of the settings if not given."""
    fresh: bool = False
    """Start over instead of going on after the finished rounds."""
    jobs: int | None = None
    """How many trainings run at once; one a core if not given."""
    json: bool = False
    """Print one JSON object on standard output."""
    quiet: bool = False
    """No progress lines."""


@dataclass(frozen=True)
class Compare(Find):
    """Compare methods at the same densities, seeds and training, from the same dense networks."""

    methods: list[str] | None = None
    """Methods to compare; the first one has the random and re-initialised controls."""
    controls: Literal["every", "last", "none"] = "every"
    """At which rounds of the first method random and re-initialised tickets are trained."""


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
    """Draw images of a ticket, or of a schedule of tickets."""

    ticket: str | None = None
    """Folder of a ticket; its trained weights are used, the rewound ones if it has none."""
    schedule: str | None = None
    """Folder of a step schedule instead, as gen-tickets schedule leaves it."""
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
    """ddim, ddpm, dpm-solver++ or a class of diffusers, for a U-Net."""
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
