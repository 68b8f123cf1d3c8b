"""Recipe of VAEs, beta-VAEs and auto-encoders."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from torch import Tensor

from gen_tickets import vae
from gen_tickets.config import Find
from gen_tickets.data import Images, as_floats
from gen_tickets.networks import Network
from gen_tickets.presets import set_to
from gen_tickets.recipes import Recipe

__all__ = ["bind"]


def bind(config: Find, images: Images, seed: int, teacher: Mapping[str, Tensor] | None = None) -> Recipe:
    """See `gen_tickets.recipes.bind`."""
    del teacher  # there is nothing to distil from here
    how, network = config.training, Network(config.family, set_to(config.size), images.shape)
    model = network.initial(seed)
    beta = 4.0 if config.family == "beta-vae" and how.beta == 1.0 else how.beta
    settings = vae.Settings(batch=set_to(how.batch), lr=set_to(how.lr), beta=beta)
    test = as_floats(images.test)
    make = partial(vae.trainer, as_floats(images.train), settings, seed)
    return Recipe(
        config=config,
        network=network,
        model=model,
        make_trainer=make,
        sampled=lambda trained, _: trained.state_dict(),
        losses=lambda judged: vae.evaluate(judged, test, beta=beta, seed=seed),
        objective=lambda judged: [vae.objective(judged(test[:500]), test[:500], beta)["loss"]],
    )
