"""Settings of `find` and `compare` that cannot be met, refused before any work and before there is a folder."""

from __future__ import annotations

from collections.abc import Sequence

from common.runs.errors import UsageError
from common.runs.options import did_you_mean
from common.runs.ranges import AT_LEAST_ONE, FIRST_SEED, KEPT, NOT_NEGATIVE, POSITIVE, SEEDS, Range, check_ranges
from gen_tickets import extractors
from gen_tickets.config import Find
from gen_tickets.data import Images
from gen_tickets.draw import Sampler
from gen_tickets.engines import ENGINES
from gen_tickets.ladder import densities
from gen_tickets.methods import check_method
from gen_tickets.methods._checks import check_search
from gen_tickets.models import FAMILIES
from gen_tickets.networks import part_of
from gen_tickets.quality import FEWEST
from gen_tickets.recipes import bind

__all__ = ["check", "check_counts"]

_COUNTS = (
    "rounds", "training.steps", "training.batch", "adversarial.critic_steps", "quality.samples", "quality.steps",
    "jobs", "image_size",
)  # fmt: skip
_RANGES: dict[str, Range] = {
    "density": KEPT,
    "seeds": SEEDS,
    "first_seed": FIRST_SEED,
    "training.lr": POSITIVE,
    "training.rewind": (lambda v: 0 <= v < 1, "is a share of the steps and must lie in [0, 1)"),
    "training.average": (lambda v: 0 <= v < 1, "must lie in [0, 1)"),
    "training.beta": NOT_NEGATIVE,
    "training.save_every": (lambda v: v > 0, "must be positive"),
    "adversarial.feature": (lambda v: v >= 0, "must be 0 or more"),
    **dict.fromkeys(_COUNTS, AT_LEAST_ONE),
}


def check(config: Find, methods: Sequence[str]) -> None:
    """Refuse methods, samplers and engines that there are none of, and numbers out of their range.

    Raises:
        UsageError: naming the setting, the value found and the range expected.
    """
    for method in methods:
        check_method(method, config.family)
    check_ranges(config, _RANGES)
    shares = densities(config)
    if any(not 0 < share <= 1 for share in shares) or sorted(shares, reverse=True) != shares:
        raise UsageError(f"--densities are shares to keep in (0, 1], from high to low; found {shares}")
    steps, rewind = config.training.steps or 1, config.training.rewind
    if round(rewind * steps) >= steps:
        raise UsageError(
            f"--training.rewind {rewind:g} leaves none of {steps} steps to train; expected a smaller share"
        )
    if config.quality.engine not in ENGINES:
        raise UsageError(f"--quality.engine is one of {', '.join(ENGINES)}; found {config.quality.engine!r}")
    if config.quality.by == "loss" and part_of(config.family) == "generator":
        raise UsageError("--quality.by loss: a GAN has no loss on test images to be judged by. Say distance")
    Sampler(config.quality.scheduler, config.quality.steps or 1)
    if config.from_ and config.family != "ddpm":
        raise UsageError(f"--from brings a U-Net to prune; found the family {config.family}. Say ddpm")
    if (config.conditional or config.autoencoder) and config.family != "ddpm":
        raise UsageError(f"--conditional and --autoencoder are for ddpm; found the family {config.family}")
    known = FAMILIES[config.family]
    if not (config.from_ or config.autoencoder) and config.size is not None and config.size not in known:
        near = did_you_mean(config.size, known)
        raise UsageError(f"--size of {config.family} is one of {', '.join(known)}; found {config.size!r}.{near}")
    if config.adversarial.distil and part_of(config.family) != "generator":
        raise UsageError(f"--adversarial.distil is for GANs; found the family {config.family}. Leave it out")


def check_counts(config: Find, images: Images, methods: Sequence[str] = ()) -> None:
    """Refuse what only data and network show: too low a density, parts that are not there, too few images to judge.

    Raises:
        UsageError: naming the setting, the value found and the lowest that keeps one.
    """
    if config.quality.by == "distance":
        extractors.check(str(config.quality.extractor), images)
    fewest = min(len(images.test), config.quality.samples or 0)
    if config.quality.by == "distance" and fewest < FEWEST:
        raise UsageError(
            f"found {len(images.test)} test images of {images.name} and --quality.samples {config.quality.samples}; a "
            f"distance between them needs at least {FEWEST} each. Give more, or judge --quality.by loss"
        )
    recipe = bind(config, images, config.first_seed)
    total = sum(param.numel() for param in recipe.params.values())
    density = densities(config)[-1]
    if round(density * total) < 1:
        raise UsageError(f"--density {density:g} keeps none of {total:,} weights; expected {1 / total:.2g} or more")
    for method in methods:
        check_search(method, recipe, densities(config))
    if recipe.network.denoises:
        Sampler(config.quality.scheduler, config.quality.steps or 1).solver(recipe.network.scheduler)
