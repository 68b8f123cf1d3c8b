"""`gen-tickets data` and `gen-tickets doctor`: what is at hand, and whether the installation works."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from common.runs import health
from common.runs.errors import MissingData, RunFolderError
from common.runs.files import read_object
from common.runs.progress import Console
from common.sparse import cache
from gen_tickets import _cifar, _idx, _inception
from gen_tickets._config_tools import Doctor, Inspect
from gen_tickets.data import load

__all__ = ["data", "doctor", "moments"]

_HOMES = {
    "mnist": (("MNIST/raw", "MNIST", "mnist", "raw", "."), _idx.find),
    "cifar10": (("cifar-10-batches-py", "cifar10", "CIFAR10", "."), _cifar.find),
}
"""Where `gen_tickets._sets` looks for a set below a folder, and by what it knows it."""


def data(config: Inspect, console: Console) -> dict[str, Any]:
    """Where every known data set is, or the facts of one.

    Returns:
        `datasets` (name to place); or `dataset`, `images`, `train`, `test` (counts), `shape` (C, H, W), `channels`,
        `classes` (None without labels), `sha256`, and `mean` and `std` of every channel of the images to train on, of
        bytes as shares of 255.

    Raises:
        UsageError: the data set is unknown.
        MissingData: it is not at hand.
        ValueError: a file is damaged, or the images do not go together.
    """
    if config.dataset is None:
        places = {"digits": "embedded", **{name: _place(name, config.data_root) for name in _HOMES}}
        health.show(places, console, 10)
        return {"datasets": places}
    images = load(config.dataset, config.data_root)
    mean, std = moments(images.train)
    train, test = len(images.train), len(images.test)
    facts = {
        "dataset": images.name,
        "images": train + test,
        "train": train,
        "test": test,
        "shape": list(images.shape),
        "channels": images.shape[0],
        "classes": images.classes,
        "sha256": images.sha256,
        "mean": mean,
        "std": std,
    }
    health.show(facts, console, 10)
    return facts


def moments(pixels: Tensor) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of every channel of images (N, C, H, W) uint8, as shares of 255.

    >>> moments(torch.tensor([0, 255], dtype=torch.uint8).reshape(1, 1, 1, 2))
    ([0.5], [0.5])
    """
    shades = torch.arange(256, dtype=torch.float64) / 255
    means, stds = [], []
    for channel in range(pixels.size(1)):
        parts = (torch.bincount(part.flatten(), minlength=256) for part in pixels[:, channel].split(4096))
        shares = torch.stack(list(parts)).sum(0).double()
        shares /= shares.sum()
        mean = (shares * shades).sum()
        means.append(mean.item())
        stds.append((shares * (shades - mean) ** 2).sum().sqrt().item())
    return means, stds


def doctor(config: Doctor, console: Console) -> dict[str, Any]:
    """Versions, threads, data, feature extractors, and small things that must work, each of them tried.

    Returns:
        What `common.runs.health.examine` does, with `inception` (where its weights are, or that they are not) and
        `extractors` (kept classifiers, name to accuracy).

    Raises:
        RuntimeError: something that must work does not.
    """
    del config
    checks = {
        "torchvision imports": health.torchvision,
        "U-Net denoises": _denoises,
        "ticket written and read": health.ticket,
        "score by torch-fidelity": _scores,
        "sparse kernels compile": _compiles,
    }
    more = {"inception": _weights(), "extractors": _kept()}
    return health.examine(checks, console, more)


def _place(name: str, root: str | None) -> str:
    inside, find = _HOMES[name]
    given = [root, os.environ.get("GLT_DATA"), cache.folder().parent]
    places = [Path(place).expanduser() / part for place in given if place for part in inside]
    return next((str(place) for place in places if find(place)), "not on this machine")


def _weights() -> str:
    """Where Inception-v3 is, without downloading it."""
    found = next((place for place in _inception._places(None) if place.is_file()), None)
    if found is None:
        return f"not on this machine; put {_inception.file_name()} at {_inception._places(None)[-1]} for FID"
    try:
        _inception.find(found)
    except (ValueError, MissingData) as error:
        return f"{found} cannot be used: {error}"
    return str(found)


def _kept() -> dict[str, float | None]:
    """Classifiers in the user's cache, and the share of test images that each knows."""
    found = {}
    for path in sorted((cache.folder().parent / "extractors").glob("*/extractor.json")):
        try:
            found[path.parent.name] = read_object(path, "Delete it; it is made again.").get("accuracy")
        except RunFolderError:
            continue
    return found


def _denoises() -> None:
    from gen_tickets.draw import Sampler, draw
    from gen_tickets.networks import named

    network = named("tiny")
    images = draw(network, network.build().eval(), network.noise(2, 0), Sampler(steps=2))
    if tuple(images.shape) != (2, *network.image) or not bool(images.isfinite().all()):
        raise RuntimeError(f"found images of shape {tuple(images.shape)}, some of them not finite")


def _scores() -> None:
    from gen_tickets._classifier import Classifier
    from gen_tickets.distances import frechet, statistics
    from gen_tickets.extractors import wrap

    extractor = wrap("doctor", Classifier(1, (8,), 2), (1, 8, 8))
    images = load("digits").test
    same, inverse = (statistics(extractor(part)[0]) for part in (images, 255 - images))
    near, far = frechet(same, same), frechet(inverse, same)
    if not near < 1e-6 < far:
        raise RuntimeError(f"images are {near} from themselves and {far} from their negatives; expected 0 and more")


def _compiles() -> None:
    from torch import nn

    from common.sparse.convert import convert

    layer, images = nn.Conv2d(1, 16, 3, padding=1), torch.ones(2, 1, 8, 8)
    mask = torch.arange(144).view(16, 1, 3, 3) % 2 == 0
    with torch.no_grad():
        sparse = convert(nn.Sequential(layer), {"0.weight": mask}, (images,), backend="sparse")(images)
        layer.weight.mul_(mask)
        error = float((sparse - layer(images)).abs().max())
    if not error < 1e-4:
        raise RuntimeError(f"a sparse convolution is {error} from the dense one; expected less than 1e-4")
