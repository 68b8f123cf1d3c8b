"""Images behind one function: `load("digits")`, `load("mnist")`, `load("cifar10")`, `load("my-folder")`.

`digits` is embedded and needs no file. MNIST and CIFAR-10 are looked for under `--data-root`, `$GLT_DATA`, then the
user's cache; a folder or a zip of png and jpg, and an `.npz`, are given by their path. `batches` draws from them so
that training can go on from any step.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from common.runs.errors import UsageError
from gen_tickets._resize import squared
from gen_tickets._sets import NAMES, Splits, cifar10, mnist, own, split

__all__ = ["NAMES", "Images", "as_bytes", "as_floats", "batches", "canonical", "digits", "load", "picks"]


@dataclass(frozen=True)
class Images:
    """Images to learn from and to be judged by.

    Attributes:
        name: what they are called in reports.
        train, test: (N, C, H, W) uint8, with one or three channels.
        labels_train, labels_test: (N,) int64, or None.

    Raises:
        ValueError: shapes or types are others, a split is empty, or a label is negative.
    """

    name: str
    train: Tensor
    test: Tensor
    labels_train: Tensor | None = None
    labels_test: Tensor | None = None

    def __post_init__(self) -> None:
        for part, labels in (("train", self.labels_train), ("test", self.labels_test)):
            pixels: Tensor = getattr(self, part)
            if pixels.dtype is not torch.uint8 or pixels.dim() != 4 or pixels.size(1) not in (1, 3):
                found = f"{part} images of {pixels.dtype} and shape {tuple(pixels.shape)}"
                raise ValueError(
                    f"{self.name}: found {found}; expected uint8 (N, C, H, W), 1 or 3 channels. Convert them."
                )
            if not len(pixels) or pixels.shape[1:] != self.train.shape[1:]:
                wanted = f"at least one of shape {self.shape}, as the train split has"
                raise ValueError(
                    f"{self.name}: found {tuple(pixels.shape)} {part} images; expected {wanted}. Add some."
                )
            if labels is not None and (labels.shape != pixels.shape[:1] or labels.dtype is not torch.int64):
                found = f"labels of {labels.dtype} and shape {tuple(labels.shape)} in {part}"
                raise ValueError(f"{self.name}: found {found}; expected int64, ({len(pixels)},). Give one an image.")
            if labels is not None and int(labels.min()) < 0:
                raise ValueError(f"{self.name}: found the label {int(labels.min())}; expected 0, 1, ... Renumber them.")

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of every image."""
        channels, height, width = self.train.shape[1:]
        return channels, height, width

    @property
    def classes(self) -> int | None:
        """How many labels there are; None without labels."""
        labels = [part for part in (self.labels_train, self.labels_test) if part is not None]
        return int(torch.cat(labels).max()) + 1 if labels else None

    @cached_property
    def sha256(self) -> str:
        """What identifies the data: a sha256 over images and labels of both splits."""
        digest = hashlib.sha256(repr((tuple(self.train.shape), self.labels_train is None)).encode())
        for tensor in (self.train, self.test, self.labels_train, self.labels_test):
            if tensor is not None:
                digest.update(tensor.contiguous().numpy().data)
        return digest.hexdigest()

    def other_than(self, sha256: str | None) -> str:
        """In words, that they are not those of a hash; nothing where they are, or the hash is not known."""
        if sha256 is None or sha256 == self.sha256:
            return ""
        return f"{self.name}: found images of sha256 {self.sha256[:12]}...; expected {sha256[:12]}..."


def canonical(name: str) -> str:
    """A data set as a run folder names it: a known name in lower case, anything else by its absolute path.

    >>> canonical("MNIST"), canonical("cats.zip") == canonical("./cats.zip")
    ('mnist', True)
    """
    return name.lower() if name.lower() in NAMES else str(Path(name).expanduser().resolve())


def load(
    name: str = "digits", root: str | Path | None = None, *, size: int | None = None, channels: int | None = None
) -> Images:
    """Images by name or path.

    Args:
        name: `digits`, `mnist`, `cifar10` (any case), or a path: a folder or a zip of png and jpg (folders within it
            are classes), an `.npz` with `images` and perhaps `labels`. Of the latter, every tenth is for testing.
        root: folder with `MNIST/raw/...`, `cifar-10-batches-py/...` or `cifar10/*.npz`; before `$GLT_DATA`, the cache.
        size: crop to the central square and resize to this side.
        channels: what the model at hand takes, 1 or 3; other images are refused.

    Raises:
        UsageError: the name is unknown, or the size is below 1.
        MissingData: a set or a file is not on this machine; names the files and the folder.
        ValueError: a file is damaged, or the images do not go together or not with `channels`.

    >>> images = load("digits")
    >>> images.shape, len(images.train), len(images.test), images.classes
    ((1, 8, 8), 1437, 360, 10)
    """
    if size is not None and size < 1:
        raise UsageError(f"found a size of {size} pixels; expected at least 1. Leave it out to keep the images' own.")
    key = name.lower()
    if key == "digits":
        images = digits()
    elif key in NAMES:
        images = _images(key, mnist(root) if key == "mnist" else cifar10(root))
    else:
        images = _images(*own(name, size))
    images = images if size is None else _resized(images, size)
    if channels is not None and images.shape[0] != channels:
        kinds = {1: "grey images", 3: "colour images"}
        wanted = f"{kinds.get(channels, 'images')} of {channels} channel{'s' * (channels > 1)}"
        raise ValueError(
            f"{images.name}: found {kinds[images.shape[0]]}; expected {wanted}. Convert them, or choose another model."
        )
    return images


def digits(seed: int = 0) -> Images:
    """scikit-learn's 1,797 digits, 8x8 and grey, their 17 shades spread over a byte; 360 for testing.

    Args:
        seed: of the split.
    """
    from sklearn.datasets import load_digits

    values, labels = load_digits(return_X_y=True)
    pixels = np.rint(values * (255 / 16)).astype(np.uint8).reshape(-1, 1, 8, 8)
    return _images("digits", split(pixels, labels.astype(np.int64), 360, seed))


def batches(
    images: Images | Tensor, size: int, seed: int = 0, start: int = 0, *, flip: bool = False
) -> Iterator[Tensor]:
    """Endless batches of float32 (size, C, H, W) in [-1, 1]; the one at step k depends on `(seed, k)` only.

    Args:
        images: (N, C, H, W) uint8, or images whose train split is meant.
        size: of a batch; it may exceed N.
        seed: of the order.
        start: the step to go on from.
        flip: mirror half of the images, drawn anew each time.

    Raises:
        ValueError: there are no images, or the size is below 1.

    >>> later, first = batches(load("digits"), 4, start=9), batches(load("digits"), 4)
    >>> skipped = [next(first) for _ in range(9)]
    >>> torch.equal(next(first), next(later))
    True
    """
    pixels = images.train if isinstance(images, Images) else images
    if size < 1 or not len(pixels):
        raise ValueError(
            f"found batches of {size} from {len(pixels)} images; expected at least 1 of each. Change them."
        )
    step = start
    while True:
        batch = as_floats(pixels[picks(len(pixels), size, seed, step)])
        if flip:
            mirrored = torch.from_numpy(np.random.default_rng([seed, step, 1]).random(size) < 0.5)
            batch[mirrored] = batch[mirrored].flip(-1)
        yield batch
        step += 1


def picks(total: int, size: int, seed: int, step: int) -> Tensor:
    """Which images `batches` takes at a step, (size,) int64: permutations of all images, one after the other.

    >>> sorted(picks(4, 2, 0, 0).tolist() + picks(4, 2, 0, 1).tolist())
    [0, 1, 2, 3]
    """
    found: list[np.ndarray] = []
    position, end = step * size, (step + 1) * size
    while position < end:
        epoch, offset = divmod(position, total)
        found.append(_order(total, seed, epoch)[offset : offset + end - position])
        position += len(found[-1])
    return torch.from_numpy(np.concatenate(found))


def as_floats(pixels: Tensor) -> Tensor:
    """Bytes as float32 in [-1, 1].

    >>> as_floats(torch.tensor([0, 255], dtype=torch.uint8))
    tensor([-1.,  1.])
    """
    return pixels.float() / 127.5 - 1


def as_bytes(images: Tensor) -> Tensor:
    """Images in [-1, 1] as bytes; what lies outside counts as black or white.

    >>> as_bytes(torch.tensor([-1.0, 0.0, 1.1]))
    tensor([  0, 128, 255], dtype=torch.uint8)
    """
    return ((images.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


@lru_cache(maxsize=2)
def _order(total: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch]).permutation(total)


def _images(name: str, splits: Splits) -> Images:
    train, test, labels_train, labels_test = splits
    labels = [None if part is None else torch.from_numpy(part.copy()) for part in (labels_train, labels_test)]
    return Images(name, torch.from_numpy(train.copy()), torch.from_numpy(test.copy()), *labels)


def _resized(images: Images, size: int) -> Images:
    """Images of another side, which their name then says."""
    if images.shape[1:] == (size, size):
        return images
    train, test = (torch.from_numpy(squared(part.numpy(), size)) for part in (images.train, images.test))
    return Images(f"{images.name}@{size}", train, test, images.labels_train, images.labels_test)
