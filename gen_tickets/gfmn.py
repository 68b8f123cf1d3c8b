r"""Moment-matching generators: GFMN as the engine's `Train`, and strong tickets, whose weights are never trained.

The generator matches mean and diagonal variance of features of real images, $\Delta_\mu = \mu_r - \mu_f$ and
$\Delta_\sigma = \sigma_r^2 - \sigma_f^2$. Batches are small, so vectors $v$ follow the differences by Adam on
$\frac12 \|v - \Delta\|^2$, and the loss is $v_\mu^\top \Delta_\mu + v_\sigma^\top \Delta_\sigma$.

>>> from gen_tickets.models import build
>>> images, pixels = torch.rand(64, 1, 8, 8) * 2 - 1, lambda images: [images]
>>> ticket = strong_ticket(build("gfmn", "tiny"), moments(pixels, images), pixels, density=0.1, steps=1)
>>> round(ticket.density, 2), ticket.trained is None
(0.1, True)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from common.apply_gates import gated
from common.masks import Masks
from common.rewind import snapshot
from common.ticket import Ticket
from gen_tickets._popup import Pool, chosen, frozen, gateable
from gen_tickets._ranks import share
from gen_tickets._steps import Measure, Session, Trainer, adam
from gen_tickets.moments import Extractor, Moments, features, gaps, latent_length, moments

__all__ = [
    "Extractor", "Moments", "Settings", "gaps", "moments", "strong_ticket", "strong_trainer",
    "trainer",
]  # fmt: skip

YEO = "Yeo et al., Can We Find Strong Lottery Tickets in Generative Models?, AAAI 2023"


@dataclass(frozen=True)
class Settings:
    """How to match, by default as published.

    Attributes:
        batch: generated images a step.
        lr, betas: of Adam on weights or scores; small networks take scores up to 1e-2.
        average_lr: of Adam on the vectors that follow the differences, with the same betas.
    """

    batch: int = 64
    lr: float = 5e-5
    betas: tuple[float, float] = (0.5, 0.999)
    average_lr: float = 1e-5


class _Matching:
    """The loss of a generator and what follows it."""

    def __init__(self, generator: nn.Module, real: Moments, extractor: Extractor, settings: Settings) -> None:
        self.generator, self.extractor, self.settings = generator, extractor, settings
        self.real = Moments(*(value.to(next(generator.parameters()).device) for value in real))
        self.averages = [nn.Parameter(torch.zeros_like(value)) for value in self.real]
        self.adam = adam(self.averages, settings.average_lr, settings.betas)

    def carried(self) -> dict[str, Tensor]:
        return dict(zip(("mean_average", "variance_average"), self.averages, strict=True))

    def step(self, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
        latents = torch.randn(
            len(share(self.settings.batch)), latent_length(self.generator), device=self.real.mean.device
        )
        fake = features(self.extractor, self.generator(latents))
        apart = [self.real.mean - fake.mean(0), self.real.variance - fake.var(0)]
        for average, gap in zip(self.averages, apart, strict=True):
            average.grad = average.detach() - gap.detach()
        self.adam.step()
        terms = [(average.detach() * gap).sum() for average, gap in zip(self.averages, apart, strict=True)]
        loss = torch.stack(terms).sum()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        found = dict(zip(("mean_gap", "variance_gap"), (gap.square().mean() for gap in apart), strict=True))
        return {"loss": loss, **found}


def trainer(
    real: Moments,
    extractor: Extractor,
    settings: Settings | None = None,
    seed: int = 0,
    *,
    measure: Measure | None = None,
) -> Trainer:
    """A `Train` of a generator's weights: GFMN, the dense net beside a strong ticket, or any ticket's training.

    Args:
        real: moments of the real images.
        extractor: that they were computed with.
        settings: the published ones by default.
        seed: of latents.
        measure: of the generator in eval mode, such as `partial(gaps, real=real, extractor=extractor)`.

    Returns:
        The trainer; it returns the loss and the mean-square gaps of the last step's batch, and what `measure` found.

    References:
        dos Santos et al., Learning Implicit Generative Models by Matching Perceptual Features, ICCV 2019.
    """

    @contextmanager
    def begin(model: nn.Module) -> Iterator[Session]:
        matching = _Matching(model, real, extractor, settings or Settings())
        optimizer = adam(model.parameters(), matching.settings.lr, matching.settings.betas)
        yield Session(lambda _: matching.step(optimizer), (optimizer, matching.adam), model, matching.carried())

    return Trainer(begin, seed, measure)


def strong_trainer(
    real: Moments,
    extractor: Extractor,
    density: float,
    settings: Settings | None = None,
    seed: int = 0,
    *,
    across: bool = False,
    measure: Measure | None = None,
) -> Trainer:
    """A trainer of scores alone: weights stay as they are, the best share of them passes, biases too.

    Its `carried` holds `score.<name>`. For the arguments see `strong_ticket`; BatchNorm's statistics follow the images.

    References:
        Yeo et al., Can We Find Strong Lottery Tickets in Generative Models?, AAAI 2023.
    """

    @contextmanager
    def begin(model: nn.Module) -> Iterator[Session]:
        masks = Masks.dense(gateable(model))
        pool = Pool(density, across=across)
        with frozen(model), gated(model, masks, pool.gate) as gates, pool.following(model):
            matching = _Matching(model, real, extractor, settings or Settings())
            optimizer = adam(gates.parameters(), matching.settings.lr, matching.settings.betas)
            carried = matching.carried() | {f"score.{name}": gates[name].get_parameter("score") for name in gates}
            yield Session(lambda _: matching.step(optimizer), (optimizer, matching.adam), model, carried)

    return Trainer(begin, seed, measure)


def strong_ticket(
    model: nn.Module,
    real: Moments,
    extractor: Extractor,
    *,
    density: float,
    steps: int,
    settings: Settings | None = None,
    seed: int = 0,
    across: bool = False,
) -> Ticket:
    """A subnetwork of untrained weights that makes images, found by learning scores (edge-popup).

    Args:
        model: a generator of signed constants, such as `build("gfmn", ...)`; only BatchNorm's statistics change.
        real: moments of the real images.
        extractor: that they were computed with.
        density: share to keep, in (0, 1], of every tensor.
        steps: of training the scores.
        settings: the published ones by default.
        seed: of scores and latents.
        across: share the budget among all tensors by one global threshold.

    Returns:
        A ticket of the untrained weights; its metrics are `gaps`.

    Raises:
        ValueError: a density out of range.
        DivergedError: see `Trainer`.

    References:
        Yeo et al., Can We Find Strong Lottery Tickets in Generative Models?, AAAI 2023.
    """
    if not 0 < density <= 1:
        raise ValueError(f"found the density {density}; expected a share to keep in (0, 1]")
    judge = partial(gaps, real=real, extractor=extractor, seed=seed)
    train = strong_trainer(real, extractor, density, settings, seed, across=across, measure=judge)
    found: Mapping[str, float] = train(model, 0, steps)
    scores = {n.removeprefix("score."): s for n, s in train.carried.items() if n.startswith("score.")}
    recipe = {"search": "gen_tickets.gfmn.strong_ticket", "density": density, "across": across, "steps": steps}
    metrics = {name: found[name] for name in ("mean_gap", "variance_gap")}
    masks = chosen(scores, density, across=across)
    return Ticket(masks, snapshot(model), recipe=recipe, metrics=metrics, seeds=[seed], references=[YEO])
