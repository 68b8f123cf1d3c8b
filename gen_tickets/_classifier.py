"""A small convolutional classifier of the images at hand, whose last hidden layer serves as features."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from common.runs.progress import Console
from common.scoped import threads
from gen_tickets.data import Images, batches, picks

__all__ = ["FEATURES", "RECIPES", "Classifier", "Recipe", "accuracy", "recipe", "train"]

FEATURES = 64


class Recipe(NamedTuple):
    """How a classifier is made and trained: channels of its convolutions, epochs, stride of the first convolution,
    highest learning rate, batch size.
    """

    widths: tuple[int, ...]
    epochs: int
    stride: int = 1
    rate: float = 5e-3
    batch: int = 128


RECIPES = {
    "digits": Recipe((32, 64), 15),
    "mnist": Recipe((16, 32, 64), 2, stride=2),
    "cifar10": Recipe((32, 64, 128, 128), 10, stride=2),
}


def recipe(images: Images) -> Recipe:
    """The recipe of a known data set, or one that fits the size of other images."""
    side = min(images.shape[1:])
    return RECIPES.get(images.name, Recipe((32, 64, 128, 128)[: max(1, side.bit_length() - 2)], 10))


class Classifier(nn.Module):
    """3x3 convolutions with BatchNorm and ReLU, halved in between and averaged, then 64 features and the logits.

    Shapes:
        - input: images (N, C, H, W) uint8
        - output: features (N, 64) and logits (N, classes)

    Args:
        channels: of the images.
        widths: channels of the convolutions; all but the last are followed by a halving.
        classes: how many there are.
        stride: of the first convolution; 2 takes the place of its halving.

    >>> features, logits = Classifier(1, (8, 16), 10)(torch.zeros(2, 1, 8, 8, dtype=torch.uint8))
    >>> features.shape, logits.shape
    (torch.Size([2, 64]), torch.Size([2, 10]))
    """

    def __init__(self, channels: int, widths: tuple[int, ...], classes: int, stride: int = 1) -> None:
        super().__init__()
        blocks = []
        for index, (i, o) in enumerate(pairwise([channels, *widths])):
            step = stride if index == 0 else 1
            blocks += [nn.Conv2d(i, o, 3, stride=step, padding=1, bias=False), nn.BatchNorm2d(o), nn.ReLU()]
            if step == 1 and index < len(widths) - 1:
                blocks.append(nn.MaxPool2d(2))
        self.maps = nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        hidden = nn.Linear(widths[-1], FEATURES, bias=False)
        self.hidden = nn.Sequential(hidden, nn.BatchNorm1d(FEATURES), nn.ReLU())
        self.head = nn.Linear(FEATURES, classes)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Features (N, 64) and logits (N, classes) of images (N, C, H, W) uint8."""
        features = self.hidden(self.maps(images.float() / 127.5 - 1))
        return features, self.head(features)


def train(images: Images, seed: int, console: Console) -> Classifier:
    """A classifier of the train split, in eval mode; one thread, so that a machine always makes the same one.

    Cross-entropy, AdamW, a one-cycle learning rate; colour images are mirrored at random.

    Raises:
        ValueError: the images have no labels.
    """
    if images.labels_train is None or images.classes is None:
        raise ValueError(
            f"{images.name}: found no labels; expected some to train feature layers on. Put images into folders of "
            "their classes, or give the .npz an array labels."
        )
    how = recipe(images)
    total = len(images.train)
    steps = -(-total // how.batch)
    with threads(1), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Classifier(images.shape[0], how.widths, images.classes, how.stride)
        optimiser = torch.optim.AdamW(model.parameters(), weight_decay=1e-2)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, how.rate, total_steps=steps * how.epochs + 1)
        drawn = batches(images, how.batch, seed, flip=images.shape[0] == 3)
        for step in range(steps * how.epochs):
            pixels = ((next(drawn) + 1) * 127.5).round()
            labels = images.labels_train[picks(total, how.batch, seed, step)]
            loss = functional.cross_entropy(model(pixels)[1], labels)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            if (step + 1) % steps == 0:
                console.round((step + 1) // steps, how.epochs, {"loss": loss.item()}, what="epoch")
    return model.eval()


@torch.no_grad()
def accuracy(model: nn.Module, pixels: Tensor, labels: Tensor) -> float:
    """The share of images (N, C, H, W) uint8 whose largest logit is their label's."""
    parts = zip(pixels.split(500), labels.split(500), strict=True)
    return sum(int((model(part)[1].argmax(1) == wanted).sum()) for part, wanted in parts) / len(labels)
