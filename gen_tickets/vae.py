r"""Training of VAEs, beta-VAEs and auto-encoders, as the engine's `Train`.

The loss of an image is $\|x - \hat x\|^2 + \beta\, KL(q(z|x) \| N(0, I))$, sums over pixels and latents, averaged over
the batch; an auto-encoder has the first term alone. `within(model, "encoder")` names the half to prune.

>>> from common import tickets
>>> from gen_tickets.models import build
>>> images = torch.rand(64, 1, 8, 8) * 2 - 1
>>> model = build("vae", "tiny")
>>> found = tickets(model, trainer(images, Settings(batch=16), seed=0), [0.5], steps=2, params=within(model, "encoder"))
>>> sorted(next(found).metrics)
['kl', 'loss', 'reconstruction']
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from common.scoped import seeded
from gen_tickets._steps import Batches, Measure, Session, Trainer, adam, step_seed
from gen_tickets._steps import within as within
from gen_tickets.vae_models import Reconstruction

__all__ = ["Settings", "divergence", "evaluate", "objective", "trainer", "within"]


@dataclass(frozen=True)
class Settings:
    """How to train; for a beta-VAE set `beta`, 4 in Higgins et al.

    Attributes:
        batch: images a step.
        lr, betas: of Adam.
        beta: weight of the divergence.
    """

    batch: int = 128
    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    beta: float = 1.0


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    r"""$KL(N(\mu, \sigma^2) \| N(0, I)) = \frac12 \sum_j (\mu_j^2 + \sigma_j^2 - 1 - \log \sigma_j^2)$, in nats.

    Shapes:
        - input: (N, z) each
        - output: (N,)

    References:
        Kingma and Welling, Auto-Encoding Variational Bayes, ICLR 2014, appendix B.

    >>> divergence(torch.tensor([[1.0, 0.0]]), torch.zeros(1, 2)).tolist()
    [0.5]
    """
    return (mean.square() + log_variance.exp() - 1 - log_variance).sum(1) / 2


def objective(output: Reconstruction | Tensor, images: Tensor, beta: float = 1.0) -> dict[str, Tensor]:
    """The loss of a batch and its terms, each a mean over images of sums over an image.

    Args:
        output: of a VAE, or the images (N, C, H, W) of an auto-encoder.
        images: (N, C, H, W) that were to be reconstructed.
        beta: weight of the divergence.

    Returns:
        Scalars `loss`, `reconstruction` and, of a VAE, `kl` in nats.

    Raises:
        ValueError: the output has another shape than the images.

    References:
        Higgins et al., beta-VAE: Learning Basic Visual Concepts with a Constrained Variational Framework, ICLR 2017.

    >>> objective(torch.zeros(2, 1, 2, 2), torch.ones(2, 1, 2, 2))["loss"].item()
    4.0
    """
    found = output.images if isinstance(output, Reconstruction) else output
    if found.shape != images.shape:
        raise ValueError(f"found reconstructions {tuple(found.shape)} of images {tuple(images.shape)}; expected equal")
    terms = {"reconstruction": (found - images).square().flatten(1).sum(1).mean()}
    if not isinstance(output, Reconstruction):
        return {"loss": terms["reconstruction"], **terms}
    terms["kl"] = divergence(output.mean, output.log_variance).mean()
    return {"loss": terms["reconstruction"] + beta * terms["kl"], **terms}


def trainer(
    images: Tensor, settings: Settings | None = None, seed: int = 0, *, measure: Measure | None = None
) -> Trainer:
    """A `Train` of a VAE or an auto-encoder, with Adam.

    Args:
        images: (N, C, H, W), float32 in [-1, 1].
        settings: a VAE's by default.
        seed: of batches and noise.
        measure: of the model in eval mode, such as `partial(evaluate, images=held_out)`.

    Returns:
        The trainer; it returns the terms of `objective` at the last step, and what `measure` found.

    Raises:
        TypeError, ValueError: the images are not as they should be.

    References:
        Kalibhat et al., Winning Lottery Tickets in Deep Generative Models, AAAI 2021.
    """
    chosen = settings or Settings()
    batches = Batches(images, chosen.batch, seed)

    @contextmanager
    def begin(model: nn.Module) -> Iterator[Session]:
        device = next(model.parameters()).device
        optimizer = adam(model.parameters(), chosen.lr, chosen.betas)

        def step(number: int) -> dict[str, Tensor]:
            batch = batches(number).to(device)
            losses = objective(model(batch), batch, chosen.beta)
            optimizer.zero_grad()
            losses["loss"].backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            return losses

        yield Session(step, (optimizer,), model)

    return Trainer(begin, seed, measure)


@torch.no_grad()
def evaluate(
    model: nn.Module, images: Tensor, *, beta: float = 1.0, seed: int = 0, batch: int = 500
) -> dict[str, float]:
    """The terms of `objective` over all images, in eval mode, with the noise of a seed.

    Args:
        model: a VAE or an auto-encoder.
        images: (N, C, H, W), float32 in [-1, 1].
        beta: weight of the divergence.
        seed: of the noise.
        batch: images at once.

    >>> from gen_tickets.models import build
    >>> sorted(evaluate(build("autoencoder", "tiny"), torch.zeros(3, 1, 8, 8)))
    ['loss', 'reconstruction']
    """
    device, was = next(model.parameters()).device, model.training
    sums: dict[str, float] = {}
    model.eval()
    with seeded(step_seed(seed, "evaluate")):
        for part in images.split(batch):
            for name, value in objective(model(part.to(device)), part.to(device), beta).items():
                sums[name] = sums.get(name, 0.0) + float(value) * len(part) / len(images)
    model.train(was)
    return sums
