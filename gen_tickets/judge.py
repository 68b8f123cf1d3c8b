"""What a trained network is worth: its loss on test images, and scores of what it draws, from the same noise always."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from common.masks import Masks
from common.scoped import seeded
from gen_tickets import extractors, quality
from gen_tickets.config import Find
from gen_tickets.data import Images, as_floats
from gen_tickets.draw import Sampler, draw, pixels
from gen_tickets.engines import engine
from gen_tickets.extractors import Extractor
from gen_tickets.presets import set_to
from gen_tickets.recipes import Recipe

__all__ = ["Judge", "Judgement"]

_SHOWN = 64
_KINDS = ("frechet", "kernel", "precision", "recall", "classifier")


@dataclass(frozen=True)
class Judgement:
    """Scores of one network, the first of which decides; smaller is better in that one.

    Attributes:
        scores: label to number.
        shown: images (N, H, W, C) of bytes, from the first noises of the seed; reconstructions of an auto-encoder.
        about: what the scores depend on, plain data.
    """

    scores: dict[str, float]
    shown: np.ndarray
    about: dict[str, Any]


class Judge:
    """Judges networks of a recipe alike.

    Args:
        config: filled by `gen_tickets.presets.preset`.
        images: the data; test images are what is judged by.
        recipe: of the model.
        seed: of the noise.
    """

    def __init__(self, config: Find, images: Images, recipe: Recipe, seed: int) -> None:
        self.config, self.images, self.recipe, self.seed = config.quality, images, recipe, seed
        self.extractor: Extractor | None = None
        if self.config.by == "distance":
            name, weights = set_to(self.config.extractor), self.config.weights
            known = None if name == extractors.INCEPTION else images
            self.extractor = extractors.load(name, known, weights=weights)

    def __call__(self, sampled: Mapping[str, Tensor], masks: Masks) -> Judgement:
        """Judge a network by its state_dict.

        Args:
            sampled: of the whole model, averages in place.
            masks: of its weights, for engines that need them.
        """
        network = self.recipe.network
        model = network.initial(0).eval()
        model.load_state_dict(dict(sampled))
        losses = {name: float(value) for name, value in self.recipe.losses(model).items()}
        about: dict[str, Any] = {"seed": self.seed, "averaged": network.part == "generator" or network.denoises}
        if self.extractor is None:
            coded = network.part == "decoder"
            shown = self._reconstructed(model) if coded else pixels(self._draw(model, masks, _SHOWN))
            return Judgement(losses, shown, about)
        found = self._draw(model, masks, set_to(self.config.samples))
        judged = quality.score(found, self.images, self.extractor, seed=self.seed)
        scores = {judged.label(kind): judged.scores[judged.label(kind)] for kind in _KINDS}
        about |= {
            "samples": judged.fake,
            "real": judged.real,
            "against": judged.against,
            "extractor": self.extractor.name,
            "extractor_sha256": self.extractor.sha256,
            "engine": self.config.engine,
            "warnings": list(judged.warnings),
        }
        if network.denoises:
            about |= {"scheduler": self.config.scheduler, "steps": set_to(self.config.steps)}
        return Judgement(scores | losses, pixels(found[:_SHOWN]), about)

    def _draw(self, model: nn.Module, masks: Masks, count: int) -> Tensor:
        network = self.recipe.network
        batch = min(_SHOWN, count)
        prefix = f"{network.part}." if network.part else ""
        maker = network.maker(model)
        own = Masks({n.removeprefix(prefix): mask for n, mask in masks.items() if n.startswith(prefix)})
        with torch.no_grad():
            made = engine(self.config.engine, maker, own, network.inputs(batch))
        sampler = Sampler(self.config.scheduler, set_to(self.config.steps)) if network.denoises else None
        return draw(network, made, network.noise(count, self.seed), sampler, batch=batch, seed=self.seed)

    @torch.no_grad()
    def _reconstructed(self, model: nn.Module) -> np.ndarray:
        with seeded(self.seed):
            found = model(as_floats(self.images.test[:_SHOWN]))
        return pixels(getattr(found, "images", found))
