"""What fits a family and a size where the user says nothing: training that two cores can do, and what is judged."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

from common.runs.errors import UsageError
from common.runs.options import did_you_mean
from gen_tickets.config import Find
from gen_tickets.data import NAMES, Images, canonical
from gen_tickets.models import FAMILIES

__all__ = ["preset", "set_to", "size_of"]

_T = TypeVar("_T")

_SIZES = {8: "tiny", 28: "small", 32: "small"}


@dataclass(frozen=True)
class _Preset:
    steps: int = 1000
    batch: int = 64
    lr: float = 1e-3
    average: float = 0.995
    critic_steps: int = 1
    samples: int = 1000
    scheduler_steps: int = 20
    rounds: int = 5
    density: float = 0.328
    method: str = "global"
    part: str = "all"
    by: str = "distance"
    beta: float = 1.0


_GAN = _Preset(steps=2000, lr=2e-4, average=0.99, rounds=5, part="generator")
_FAMILIES = {
    "ddpm": _Preset(batch=32, rounds=4, density=0.2, method="by-depth"),
    "vae": _Preset(steps=800, lr=2e-3, rounds=7, density=0.21),
    "beta-vae": _Preset(beta=4.0, steps=800, lr=2e-3, rounds=7, density=0.21),
    "autoencoder": _Preset(steps=2000, batch=128, lr=3e-3, rounds=10, density=0.107, by="loss"),
    "dcgan": _GAN,
    "wgan": replace(_GAN, lr=1e-4, critic_steps=5),
    "sngan": replace(_GAN, critic_steps=5, steps=1000),
    "gfmn": _Preset(steps=400, batch=32, lr=1e-3, rounds=1, density=0.1, method="strong"),
}
_SPECIAL: dict[tuple[str, str], dict[str, Any]] = {
    ("ddpm", "tiny"): {
        "steps": 300,
        "lr": 4e-3,
        "average": 0.98,
        "samples": 500,
        "scheduler_steps": 10,
        "rounds": 3,
        "density": 0.3,
    },
    ("vae", "tiny"): {"steps": 400},
    ("beta-vae", "tiny"): {"steps": 400},
    ("autoencoder", "tiny"): {"steps": 400},
    ("ddpm", "cifar10"): {"steps": 800_000, "batch": 128, "lr": 2e-4, "average": 0.9999, "scheduler_steps": 100},
}


def preset(config: Find, images: Images | None = None) -> Find:
    """Fill every None with what fits; without images, what depends on them stays None.

    Args:
        config: the user's settings.
        images: the data.

    Raises:
        UsageError: the family is unknown, or no size fits the images.

    >>> from gen_tickets.data import load
    >>> full = preset(Find("dcgan"), load("digits"))
    >>> full.size, full.part, full.method, full.training.batch
    ('tiny', 'generator', 'global', 64)
    """
    if config.family not in FAMILIES:
        near = did_you_mean(config.family, FAMILIES)
        if config.family.lower() in NAMES:
            near = f" The data come second, as in: gen-tickets find ddpm {config.family}."
        raise UsageError(f"unknown family {config.family!r}.{near} Known: {', '.join(FAMILIES)}")
    config = replace(config, dataset=canonical(config.dataset))
    size = config.size or (None if images is None else _size(config, images))
    chosen = replace(_FAMILIES[config.family], **_SPECIAL.get((config.family, size or ""), {}))
    values: dict[str, Any] = {f.name: getattr(chosen, f.name) for f in fields(chosen)}
    values |= {"size": size, "extractor": None if images is None else f"{images.name}-cnn"}

    def filled(part: object, **renamed: Any) -> dict[str, Any]:
        known = values | renamed
        return {name: value for name, value in known.items() if hasattr(part, name) and getattr(part, name) is None}

    return replace(
        config,
        training=replace(config.training, **filled(config.training)),
        adversarial=replace(config.adversarial, **filled(config.adversarial)),
        quality=replace(config.quality, **filled(config.quality, steps=chosen.scheduler_steps)),
        **filled(config),
    )


def size_of(images: Images) -> str | None:
    """The named size for images of this side, if there is one.

    >>> from gen_tickets.data import load
    >>> size_of(load("digits"))
    'tiny'
    """
    height, width = images.shape[1:]
    return _SIZES.get(height) if height == width else None


def _size(config: Find, images: Images) -> str:
    """The size whose images have this side; a model of one's own has none."""
    if config.from_ or config.autoencoder:
        return "own"
    size = size_of(images)
    if size is None:
        raise UsageError(
            f"{images.name}: found images of {images.shape[1]}x{images.shape[2]} pixels; the named sizes are for 8, 28 "
            "and 32. Resize them (--image-size 32), or name the --size that shall try"
        )
    return size


def set_to(value: _T | None) -> _T:
    """A setting that `preset` has filled.

    Raises:
        ValueError: it has not.
    """
    if value is None:
        raise ValueError("found a setting that is not filled; call gen_tickets.presets.preset first")
    return value
