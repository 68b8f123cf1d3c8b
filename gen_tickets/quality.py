"""How good generated images are: Frechet and kernel distance, precision and recall, classifier score.

A score carries the name of its extractor: `FID[inception]`, `FD[mnist-cnn]`. Only Inception-v3 as torch-fidelity has it
gives FID, KID and IS; the same formulas on other features are called FD, KD and CS, and compare with nothing but
themselves. `score` judges one set of images, `over_seeds` brings several together.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from common.runs.stats import Estimate, estimate
from gen_tickets import distances
from gen_tickets._reference import Reference, reference
from gen_tickets.data import Images, as_bytes
from gen_tickets.extractors import INCEPTION, Extractor

__all__ = ["FEWEST", "Quality", "Settings", "collect", "over_seeds", "score"]

FEWEST = 8  # images of either side, for any score
_SPLITS = 10
_NAMES = {"frechet": ("FID", "FD"), "kernel": ("KID", "KD"), "classifier": ("IS", "CS")}


@dataclass(frozen=True)
class Settings:
    """How scores are taken.

    Attributes:
        subsets: how many subsets the kernel distance is a mean of.
        subset_size: of each. With no more images than that it is half of the smaller set, and a warning says so.
        neighbours: how far an image reaches, for precision and recall; the paper's k is 3.
    """

    subsets: int = 100
    subset_size: int = 1000
    neighbours: int = 3


@dataclass(frozen=True)
class Quality:
    """The scores of generated images, and all they depend on.

    Attributes:
        extractor, sha256: name and hash of what turned images into features.
        frechet: Frechet distance.
        kernel: kernel distance with its interval over subsets.
        precision, recall: in [0, 1], the shares of fake and of real images within reach of the others.
        classifier: mean and standard deviation of the classifier score over ten splits, or one of fewer than 20 images.
        fake, real: how many images.
        against: the real images: data set and split, or `images`, and the beginning of their sha256.
        seed: of the subsets, or of whatever the caller varies.
        settings: of the kernel distance, precision and recall, as they were used.
        warnings: what to know before one quotes a number.

    >>> about = (500, 360, "digits/test#0123456789ab", 0, Settings(subset_size=180))
    >>> print(Quality("digits-cnn", "f60...", 2.5, Estimate(0.01, None, 1), 0.8, 0.7, (9.1, 0.2), *about))
    ... # doctest: +ELLIPSIS
    FD[digits-cnn] 2.5  KD[digits-cnn] 0.01  precision[digits-cnn] 0.8  recall[digits-cnn] 0.7  CS[digits-cnn] 9.1  ...
    """

    extractor: str
    sha256: str
    frechet: float
    kernel: Estimate
    precision: float
    recall: float
    classifier: tuple[float, float]
    fake: int
    real: int
    against: str
    seed: int
    settings: Settings
    warnings: tuple[str, ...] = ()

    def label(self, which: str) -> str:
        """What a score is called, its extractor's name in brackets.

        Args:
            which: `frechet`, `kernel`, `classifier`, `precision` or `recall`.
        """
        proper, other = _NAMES.get(which, (which, which))
        return f"{proper if self.extractor == INCEPTION else other}[{self.extractor}]"

    @property
    def scores(self) -> dict[str, float]:
        """Label to number, one each."""
        kinds = ("frechet", "kernel", "precision", "recall", "classifier")
        numbers = (self.frechet, self.kernel.mean, self.precision, self.recall, self.classifier[0])
        return dict(zip(map(self.label, kinds), numbers, strict=True))

    def as_dict(self) -> dict[str, Any]:
        """Labelled scores, spreads, and everything else by its own name, as plain data."""
        spread = {"std": self.kernel.std, "ci95": self.kernel.ci95}
        parts = {"mean": self.classifier[0], "std": self.classifier[1]}
        about = ("extractor", "sha256", "fake", "real", "against", "seed")
        return {
            **self.scores,
            self.label("kernel"): {"mean": self.kernel.mean, **spread},
            self.label("classifier"): parts,
            **{name: getattr(self, name) for name in about},
            **asdict(self.settings),
            "warnings": list(self.warnings),
        }

    def __str__(self) -> str:
        shown = "  ".join(f"{label} {value:.4g}" for label, value in self.scores.items())
        return f"{shown}  ({self.fake} images against {self.real} of {self.against}, seed {self.seed})"


def score(
    fake: Tensor | Iterable[Tensor],
    real: Images | Tensor,
    extractor: Extractor,
    *,
    seed: int = 0,
    split: str = "test",
    device: str = "cpu",
    **settings: int,
) -> Quality:
    """Judge generated images by real ones, whose features are kept in the user's cache.

    Args:
        fake: (N, C, H, W) uint8, or batches of a generator, float in [-1, 1].
        real: (M, C, H, W) uint8, or a data set.
        extractor: see `gen_tickets.extractors.load`.
        seed: of subsets and splits; it stands beside the result.
        split: of a data set, `test` or `train`; generators and classifiers of one's own were trained on `train`.
        device: where features are computed.
        settings: fields of `Settings`: subsets, subset_size, neighbours.

    Raises:
        ValueError: images are of another shape, type or range, or too few; or a setting is too small.
    """
    if split not in ("train", "test"):
        raise ValueError(f"found the split {split!r}; expected train or test. Name one of them.")
    wanted = real if isinstance(real, Tensor) else real.test if split == "test" else real.train
    images, notes = collect(fake)
    asked = Settings(**settings)
    how = _fitting(asked, len(images), len(wanted))
    notes += _cautions(images, wanted, extractor, how, asked.subset_size)
    features, logits = extractor(images, device=device)
    known = reference(wanted, extractor, device)
    against = f"{'images' if isinstance(real, Tensor) else f'{real.name}/{split}'}#{known.sha256[:12]}"
    scores = _scores(features, logits, known, how, seed)
    counts = len(images), len(wanted)
    return Quality(extractor.name, extractor.sha256, *scores, *counts, against, seed, how, tuple(notes))


def _fitting(settings: Settings, fake: int, real: int) -> Settings:
    """The settings for so many images: with too few of them, subsets of half the smaller set."""
    least = max(FEWEST, settings.neighbours + 1)
    if min(fake, real) < least or min(settings.subsets, settings.neighbours) < 1 or settings.subset_size < 2:
        raise ValueError(
            f"found {fake} generated and {real} real images, {settings.subsets} subsets of {settings.subset_size} and "
            f"{settings.neighbours} neighbours; expected at least {least} images each, 1 subset of 2 and 1 neighbour. "
            "Draw more images, or correct the setting."
        )
    return settings if min(fake, real) > settings.subset_size else replace(settings, subset_size=min(fake, real) // 2)


def _scores(
    features: Tensor, logits: Tensor, known: Reference, how: Settings, seed: int
) -> tuple[float, Estimate, float, float, tuple[float, float]]:
    """Frechet and kernel distance, precision, recall and classifier score, in the order of `Quality`."""
    frechet = distances.frechet(distances.statistics(features), known.statistics)
    kernel = distances.kernel(features, known.features, how.subsets, how.subset_size, seed)
    precision, recall = distances.precision_recall(features, known.features, how.neighbours)
    splits = _SPLITS if len(logits) >= 2 * _SPLITS else 1
    return frechet, kernel, precision, recall, distances.classifier_score(logits, splits, seed)


def collect(fake: Tensor | Iterable[Tensor]) -> tuple[Tensor, list[str]]:
    """Generated images as bytes (N, C, H, W), and what to be warned of.

    Args:
        fake: uint8 (N, C, H, W), or floats in [-1, 1]: one tensor, or an iterable of batches.

    Raises:
        ValueError: there is none, shapes differ, or values are not finite or beyond [-2, 2].

    >>> collect(iter([torch.zeros(2, 1, 8, 8), -torch.ones(1, 1, 8, 8)]))[0].shape
    torch.Size([3, 1, 8, 8])
    """
    parts: list[Tensor] = []
    lowest = 0.0
    for part in [fake] if isinstance(fake, Tensor) else fake:
        if part.dim() != 4 or (parts and part.shape[1:] != parts[0].shape[1:]):
            raise ValueError(
                f"found a batch of shape {tuple(part.shape)}; expected (N, C, H, W), the same in all of them."
            )
        if part.dtype is not torch.uint8:
            largest = float(part.detach().abs().max()) if part.numel() else 0.0
            if not part.is_floating_point() or not largest <= 2:
                found = f"{str(part.dtype).removeprefix('torch.')} up to {largest:g}"
                raise ValueError(f"found images of {found}; expected uint8, or floats in [-1, 1]. Scale them.")
            lowest = min(lowest, float(part.detach().min()) if part.numel() else 0.0)
        else:
            lowest = -1.0
        parts.append((part if part.dtype is torch.uint8 else as_bytes(part.detach())).cpu())
    if not sum(map(len, parts)):
        raise ValueError("found no generated image; expected some. Draw a batch at least.")
    bright = "no pixel is darker than grey, as if the images were in [0, 1]; floats are taken to be in [-1, 1]"
    return torch.cat(parts), [] if lowest < 0 else [bright]


def over_seeds(found: Sequence[Quality]) -> dict[str, Estimate]:
    """Label to mean and 95 % interval over qualities that differ in their seed only.

    Raises:
        ValueError: there is none, or extractor, reference, numbers of images or settings differ between them, or two
            have one seed.
    """
    same = ("extractor", "sha256", "against", "fake", "real", "settings")
    for name in same:
        if len(kinds := {getattr(part, name) for part in found}) > 1:
            raise ValueError(
                f"found scores with {name} {' and '.join(map(str, kinds))}; expected one. Score all alike."
            )
    if not found or len({part.seed for part in found}) < len(found):
        raise ValueError(f"found {len(found)} scores of seeds {[part.seed for part in found]}; expected one a seed.")
    return {label: estimate(part.scores[label] for part in found) for label in found[0].scores}


def _cautions(fake: Tensor, real: Tensor, extractor: Extractor, how: Settings, wished: int) -> list[str]:
    """What to be warned of: too few images, smaller subsets, grey images for Inception."""
    found = []
    fewest, needed = min(len(fake), len(real)), extractor.features + 1
    if fewest < needed:
        found.append(
            f"{fewest} images are fewer than features + 1 ({needed}): a covariance is singular, and the Frechet "
            "distance is far too large"
        )
    if how.subset_size != wished:
        found.append(
            f"{fewest} images are too few for subsets of {wished}: the kernel distance takes {how.subset_size}"
        )
    if extractor.name == INCEPTION and fake.size(1) == 1:
        found.append("grey images count as three equal channels, which Inception was not trained on")
    return found
