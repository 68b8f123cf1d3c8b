"""Recipe of moment-matching generators, dense ones and strong tickets, on features of the data's own classifier."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import cast

from torch import Tensor, nn

from common.runs.errors import UsageError
from common.scoped import seeded
from gen_tickets import extractors, gfmn
from gen_tickets._classifier import Classifier
from gen_tickets.config import Find
from gen_tickets.data import Images, as_floats
from gen_tickets.networks import Network
from gen_tickets.presets import set_to
from gen_tickets.recipes import Recipe
from gen_tickets.vae_models import normal_

__all__ = ["bind"]

_AVERAGE_LR = 1e-2  # for some thousand steps; the published 1e-5 is for millions
_OTHER = 1  # seed of the classifier to match: judges use that of seed 0, and nobody should learn the judge's features


def bind(config: Find, images: Images, seed: int, teacher: Mapping[str, Tensor] | None = None) -> Recipe:
    """See `gen_tickets.recipes.bind`; the generator starts from N(0, 0.02)."""
    del teacher  # there is nothing to distil from here
    if images.classes is None:
        raise UsageError(f"{images.name} has no labels to train a feature extractor on; gfmn needs one")
    network, how = Network(config.family, set_to(config.size), images.shape), config.training
    extractor = _layers(images)
    real = gfmn.moments(extractor, as_floats(images.train))
    settings = gfmn.Settings(batch=set_to(how.batch), lr=set_to(how.lr), average_lr=_AVERAGE_LR)
    test = gfmn.moments(extractor, as_floats(images.test))
    make = partial(gfmn.trainer, real, extractor, settings, seed)
    return Recipe(
        config=config,
        network=network,
        model=_initial(network, seed),
        make_trainer=make,
        sampled=lambda trained, _: trained.state_dict(),
        losses=lambda judged: gfmn.gaps(judged, test, extractor, seed=seed),
        initial=partial(_initial, network),
        parts={"real": real, "extractor": extractor, "settings": settings},
    )


def _initial(network: Network, seed: int) -> nn.Module:
    model = network.initial(seed)
    with seeded(seed):
        return model.apply(normal_)


def _layers(images: Images) -> gfmn.Extractor:
    """The layers of a classifier of these images after each ReLU, from images (N, C, H, W) in [-1, 1]."""
    network = cast(Classifier, extractors.load(f"{images.name}-cnn", images, seed=_OTHER).module.network)

    def features(shown: Tensor) -> list[Tensor]:
        found, now = list[Tensor](), shown
        for layer in network.maps:
            now = layer(now)
            found += [now] if isinstance(layer, nn.ReLU) else []
        return [*found, network.hidden(now)]

    return features
