"""Recipe of VAEs, beta-VAEs and auto-encoders."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from torch import Tensor

from gen_tickets import vae
from gen_tickets.config import Find
from gen_tickets.data import Images, as_floats
from gen_tickets.recipes import Recipe
from gen_tickets.recipes._parts import network_of, pruned_params, rewind_of, set_to, weights_of

__all__ = ["bind"]


def bind(config: Find, images: Images, seed: int, teacher: Mapping[str, Tensor] | None = None) -> Recipe:
    """See `gen_tickets.recipes.bind`."""
    del teacher  # there is nothing to distil from here
    how, network = config.training, network_of(config, images)
    model = weights_of(network, seed)
    beta = 4.0 if config.family == "beta-vae" and how.beta == 1.0 else how.beta
    settings = vae.Settings(batch=set_to(how.batch), lr=set_to(how.lr), beta=beta)
    test = as_floats(images.test)
    make = partial(vae.trainer, as_floats(images.train), settings, seed)
    return Recipe(
        network=network,
        model=model,
        make_trainer=make,
        train=make(),
        params=pruned_params(model, config.part),
        steps=set_to(how.steps),
        rewind=rewind_of(config),
        sampled=lambda trained, _: trained.state_dict(),
        losses=lambda judged: vae.evaluate(judged, test, beta=beta, seed=seed),
        objective=lambda judged: [vae.objective(judged(test[:500]), test[:500], beta)["loss"]],
    )
