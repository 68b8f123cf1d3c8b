"""Recipe of VAEs, beta-VAEs and auto-encoders."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from torch import Tensor, nn

from common.scoped import seeded
from gen_tickets import vae
from gen_tickets._steps import step_seed
from gen_tickets.config import Find
from gen_tickets.data import Images, as_floats
from gen_tickets.networks import Network
from gen_tickets.presets import set_to
from gen_tickets.recipes import Recipe

__all__ = ["bind"]

_SCORED = 500  # training images of the objective


def bind(config: Find, images: Images, seed: int, teacher: Mapping[str, Tensor] | None = None) -> Recipe:
    """See `gen_tickets.recipes.bind`."""
    del teacher  # there is nothing to distil from here
    how, network = config.training, Network(config.family, set_to(config.size), images.shape)
    model = network.initial(seed)
    beta = set_to(how.beta)
    settings = vae.Settings(batch=set_to(how.batch), lr=set_to(how.lr), beta=beta)
    train, test = as_floats(images.train), as_floats(images.test)
    make = partial(vae.trainer, train, settings, seed)
    return Recipe(
        config=config,
        network=network,
        model=model,
        make_trainer=make,
        sampled=lambda trained, _: trained.state_dict(),
        losses=lambda judged: vae.evaluate(judged, test, beta=beta, seed=seed),
        objective=partial(_loss, images=train[:_SCORED], beta=beta, seed=seed),
    )


def _loss(model: nn.Module, *, images: Tensor, beta: float, seed: int) -> list[Tensor]:
    """The loss of these images under the same noise at every call."""
    with seeded(step_seed(seed, "objective")):
        return [vae.objective(model(images), images, beta)["loss"]]
