"""Feature extractors by name: `load("inception")` for FID proper, `load("mnist-cnn")` for small grey images.

An extractor is registered with torch-fidelity under its name and hash, so `torch_fidelity.calculate_metrics` takes it,
too. Those of one's own are trained on the train split of a data set, once, and kept in the user's cache.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from common.runs.errors import UsageError
from common.runs.files import canonical, plain
from common.runs.options import did_you_mean
from common.runs.progress import Console
from common.sparse import cache
from common.ticket_file import Form, TicketError, layout, read, sha256, write
from gen_tickets import _classifier, _inception, _sanity
from gen_tickets import data as data_sets
from gen_tickets.data import Images

__all__ = ["INCEPTION", "NAMES", "Extractor", "check", "load", "wrap"]

INCEPTION = "inception"
NAMES = (INCEPTION, *(f"{name}-cnn" for name in data_sets.NAMES))
_FORM = Form("feature-extractor", 1, "extractor.json", "feature extractor")
_FILE = "extractor.safetensors"


@dataclass(frozen=True)
class Extractor:
    """Something that turns images into features and class logits.

    Attributes:
        name: what every score of it carries.
        sha256: of its weights, and of its layers where it is one's own; scores compare only where it is the same.
        registered: its name in torch-fidelity's registry.
        layers: of features and of logits, as torch-fidelity names them.
        features: how many there are.
        image: (C, H, W) that it takes; None if it resizes colour images of any size.
        trained: seed, recipe, data and test accuracy of a classifier of one's own, and its `sanity` rows.
        options: torch-fidelity's, for its own extractors.
    """

    name: str
    sha256: str
    registered: str
    layers: tuple[str, str]
    features: int
    image: tuple[int, int, int] | None
    trained: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def module(self) -> Any:
        """The network as torch-fidelity creates it: from (N, C, H, W) uint8 to features and logits."""
        from torch_fidelity.utils import create_feature_extractor

        options = {"cuda": False, "verbose": False, **self.options}
        return create_feature_extractor(self.registered, list(self.layers), **options)

    @torch.no_grad()
    def __call__(self, images: Tensor, batch: int = 250, device: str = "cpu") -> tuple[Tensor, Tensor]:
        """Features (N, D) and logits (N, classes) of images (N, C, H, W) uint8, on the CPU.

        Grey images count as colour ones with three equal channels where the extractor takes colour only.

        Raises:
            ValueError: the images are of another shape or type than it takes, or there are none.
        """
        shape = tuple(images.shape[1:])
        fits = images.dim() == 4 and (shape == self.image if self.image else shape[0] in (1, 3))
        if not fits or images.dtype is not torch.uint8 or not len(images):
            wanted = "C, H, W) with 1 or 3 channels" if self.image is None else ", ".join(map(str, self.image)) + ")"
            found = f"images of {str(images.dtype).removeprefix('torch.')} and shape {tuple(images.shape)}"
            raise ValueError(
                f"{self.name}: found {found}; expected uint8 (N, {wanted}. Convert them, or choose another extractor."
            )
        if self.image is None and shape[0] == 1:
            images = images.expand(-1, 3, -1, -1)
        module = self.module.to(device)
        pairs = [module(part.to(device)) for part in images.split(batch)]
        features, logits = (torch.cat([pair[which].cpu() for pair in pairs]) for which in (0, 1))
        return features, logits


def load(
    name: str,
    images: Images | None = None,
    *,
    weights: str | Path | None = None,
    root: str | Path | None = None,
    seed: int = 0,
    console: Console | None = None,
) -> Extractor:
    """An extractor by name.

    Args:
        name: one of `NAMES`, or the name of the given labelled images and `-cnn`.
        images: what a classifier is trained on; else the data set of that name, looked for under `root`.
        weights: torch-fidelity's file of Inception-v3; else it is looked for where torch keeps such files.
        root: see `gen_tickets.data.load`.
        seed: of a classifier's training.
        console: where to say how training goes.

    Raises:
        UsageError: the name is unknown, or is not that of the images.
        MissingData: Inception's file or the data set is not on this machine.
        ValueError: Inception's file is damaged, or the images have no labels.
    """
    check(name, images)
    if name == INCEPTION:
        digest, options = _inception.find(weights)
        return Extractor(name, digest, "inception-v3-compat", ("2048", "logits_unbiased"), 2048, None, {}, options)
    known = images or data_sets.load(name.removesuffix("-cnn"), root)
    return _classifier_of(known, seed, console or Console(quiet=True))


def check(name: str, images: Images | None = None) -> None:
    """Refuse a name that `load` would not know, before anything is computed.

    Raises:
        UsageError: the name is unknown, or is not that of the images.
    """
    data = name.removesuffix("-cnn")
    known = data in data_sets.NAMES if images is None else data == images.name
    if name != INCEPTION and (name == data or not known):
        hint = did_you_mean(name, NAMES) if images is None else f" These images go with {images.name}-cnn."
        raise UsageError(f"unknown extractor {name!r}; expected one of {', '.join(NAMES)}.{hint}")


def wrap(
    name: str, network: nn.Module, image: tuple[int, int, int], trained: Mapping[str, Any] | None = None
) -> Extractor:
    """An extractor of any network of one's own.

    Args:
        name: anything but `inception`.
        network: from images (N, C, H, W) uint8 to features (N, D) and logits (N, classes); put in eval
            mode and out of training.
        image: (C, H, W) that it takes.
        trained: what is known of its training.

    Raises:
        UsageError: the name is taken.

    >>> extractor = wrap("tiny", _classifier.Classifier(1, (8, 8), 3), (1, 8, 8))
    >>> extractor(torch.zeros(5, 1, 8, 8, dtype=torch.uint8))[0].shape
    torch.Size([5, 64])
    """
    if name == INCEPTION:
        raise UsageError(
            f"found the name {name!r} for a network of one's own; expected another. Its scores are no FID."
        )
    network = network.eval()
    with torch.no_grad():
        features, _ = network(torch.zeros(2, *image, dtype=torch.uint8))
    weights = sha256(layout(dict(network.state_dict()), {}))
    digest = hashlib.sha256(f"{network}{weights}".encode()).hexdigest()
    registered = f"{name}-{digest[:12]}"
    _register(registered, network)
    return Extractor(name, digest, registered, ("features", "logits"), features.size(1), image, dict(trained or {}))


def _register(registered: str, network: nn.Module) -> None:
    """Make a network known to torch-fidelity; its outputs become float64, in which all statistics are taken."""
    from torch_fidelity import register_feature_extractor
    from torch_fidelity.feature_extractor_base import FeatureExtractorBase
    from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY

    class Registered(FeatureExtractorBase):  # type: ignore[misc]
        """The network as torch-fidelity wants it."""

        def __init__(self, name: str, features_list: list[str], **_: Any) -> None:
            super().__init__(name, features_list)
            self.network = network

        @staticmethod
        def get_provided_features_list() -> tuple[str, str]:
            """Both outputs."""
            return "features", "logits"

        @staticmethod
        def get_default_feature_layer_for_metric(metric: str) -> str:
            """Logits for the classifier score, features for all else."""
            return "logits" if metric == "isc" else "features"

        @staticmethod
        def can_be_compiled() -> bool:
            """Not worth it."""
            return False

        def forward(self, images: Tensor) -> tuple[Tensor, ...]:
            """What was asked for, in that order."""
            found = dict(zip(("features", "logits"), self.network(images), strict=True))
            return tuple(found[name].double() for name in self.features_list)

    FEATURE_EXTRACTORS_REGISTRY.pop(registered, None)
    register_feature_extractor(registered, Registered)


def _classifier_of(images: Images, seed: int, console: Console) -> Extractor:
    """The classifier of a data set, trained unless it is kept already; a damaged one is trained again."""
    name = f"{images.name}-cnn"
    about = {"data": images.sha256, "seed": seed, "recipe": plain(_classifier.recipe(images)._asdict())}
    key = hashlib.sha256(canonical(about).encode()).hexdigest()[:12]
    folder = cache.folder().parent / "extractors" / f"{name}-{key}"
    try:
        trained, files = read(folder, _FORM)
        how = _classifier.recipe(images)
        made = _classifier.Classifier(images.shape[0], how.widths, images.classes or 0, how.stride)
        made.load_state_dict(files[_FILE])
        return wrap(name, made, images.shape, {key: trained[key] for key in (*about, "accuracy", "sanity")})
    except (TicketError, KeyError, RuntimeError):
        return _trained(name, images, about, seed, folder, console)


def _trained(
    name: str, images: Images, about: Mapping[str, Any], seed: int, folder: Path, console: Console
) -> Extractor:
    console.line(f"{name}: training it on {len(images.train):,} images, once; it is kept in {folder}")
    network = _classifier.train(images, seed, console)
    bare = wrap(name, network, images.shape)
    trained = dict(about) | {"accuracy": None, "sanity": {}}
    if images.labels_test is not None:
        trained["accuracy"] = _classifier.accuracy(network, images.test, images.labels_test)
        trained["sanity"] = _sanity.rows(lambda part: bare(part)[0], images.test, images.labels_test, seed)
    try:
        write(folder, {_FILE: layout(dict(network.state_dict()), {})}, lambda _: trained, form=_FORM)
    except TicketError as error:
        console.warning(f"{name} is not kept: {error}")
    return wrap(name, network, images.shape, trained)
