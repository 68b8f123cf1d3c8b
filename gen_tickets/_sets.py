"""Where image data sets lie on disk: found and read, or named as missing."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np

from common.runs.errors import MissingData, UsageError
from common.runs.options import did_you_mean
from common.sparse import cache
from gen_tickets import _cifar, _folders, _idx

__all__ = ["NAMES", "Splits", "cifar10", "mnist", "own", "split"]

NAMES = ("digits", "mnist", "cifar10")
Splits = tuple[np.ndarray, np.ndarray, np.ndarray | None, np.ndarray | None]
"""Images to train and to test on, (N, C, H, W) bytes, and the labels of each, (N,) int64, if there are any."""
_SUFFIXES = (".npz", ".zip")
_Found = TypeVar("_Found")


def mnist(root: str | Path | None) -> Splits:
    """MNIST from its four idx files, gzipped or not.

    Raises:
        MissingData: a file is not on this machine.
        ValueError: one is damaged, or images and labels differ in number.
    """
    files = _found("mnist", root, ("MNIST/raw", "MNIST", "mnist", "raw", "."), _idx.find, ".gz or not: ", _idx.MNIST)
    train, labels_train, test, labels_test = (_idx.read(path, 3 - 2 * (i % 2)) for i, path in enumerate(files))
    for path, images, labels in ((files[1], train, labels_train), (files[3], test, labels_test)):
        if len(images) != len(labels):
            raise ValueError(f"{path}: found {len(labels)} labels; expected one for each of {len(images)} images. "
                             "Put the files of one set there.")  # fmt: skip
    return train[:, None], test[:, None], labels_train.astype(np.int64), labels_test.astype(np.int64)


def cifar10(root: str | Path | None) -> Splits:
    """CIFAR-10 from its pickled batches or from `.npz` files; see `gen_tickets._cifar`.

    Raises:
        MissingData: a file is not on this machine.
        ValueError: one is damaged.
    """
    wanted = (*_cifar.BATCHES, "test_batch", "or train.npz", "test.npz (x, y)")
    parts, test = _found("cifar10", root, ("cifar-10-batches-py", "cifar10", "CIFAR10", "."), _cifar.find, "", wanted)
    read = [_cifar.read(path) for path in parts]
    pixels, labels = (np.concatenate([part[which] for part in read]) for which in (0, 1))
    test_pixels, test_labels = _cifar.read(test)
    return pixels, test_pixels, labels, test_labels


def own(name: str, size: int | None) -> tuple[str, Splits]:
    """Images of one's own by their path, and what they are called; a tenth, drawn once for all, is for testing.

    Raises:
        UsageError: it is neither a path nor a known name.
        MissingData: there is no such file.
        ValueError: there are fewer than two images, or see `gen_tickets._folders.read`.
    """
    path = Path(name).expanduser()
    if not path.is_dir() and not (path.is_file() and path.suffix.lower() in _SUFFIXES):
        if path.suffix.lower() in _SUFFIXES or len(path.parts) > 1:
            raise MissingData(
                f"there is no folder, .zip or .npz {path}. Give the path of images, or one of {_names()}."
            )
        hint = did_you_mean(name.lower(), NAMES)
        raise UsageError(f"unknown data set {name!r}.{hint} Known are {_names()}, folders, .zip and .npz files.")
    pixels, labels = _folders.read(path, size)
    if len(pixels) < 2:
        found = f"{len(pixels)} image{'s' * (len(pixels) != 1)}"
        raise ValueError(f"{path}: found {found}; expected at least 2, one to train and one to test on. Add more.")
    name = path.resolve().stem + ("" if size is None else f"@{size}")
    return name, split(pixels, labels, max(1, len(pixels) // 10), 0)


def split(pixels: np.ndarray, labels: np.ndarray | None, tests: int, seed: int) -> Splits:
    """So many images for testing, drawn by the seed, and the rest to train on.

    >>> train, test, _, _ = split(np.arange(4), None, 1, 0)
    >>> sorted([*train.tolist(), *test.tolist()])
    [0, 1, 2, 3]
    """
    order = np.random.default_rng(seed).permutation(len(pixels))
    train, test = np.sort(order[tests:]), np.sort(order[:tests])
    if labels is None:
        return pixels[train], pixels[test], None, None
    return pixels[train], pixels[test], labels[train], labels[test]


def _found(
    name: str,
    root: str | Path | None,
    inside: tuple[str, ...],
    find: Callable[[Path], _Found | None],
    note: str,
    wanted: tuple[str, ...],
) -> _Found:
    """What `find` makes of the first folder that holds a set."""
    given = [root, os.environ.get("GLT_DATA"), cache.folder().parent]
    places = [Path(place).expanduser() for place in given if place]
    for place in places:
        for part in inside:
            found = find(place / part)
            if found is not None:
                return found
    looked = ", ".join(str(place) for place in places)
    raise MissingData(
        f"{name} is not on this machine (looked in {looked}). Put its files ({note}{', '.join(wanted)}) into "
        f"{places[-1] / inside[0]}, or name the folder above {inside[0]} by --data-root or GLT_DATA, or use the "
        "embedded data set: digits."
    )


def _names() -> str:
    return ", ".join(NAMES)
