r"""Training of diffusion models, as the engine's `Train`: noise prediction with Adam and an average of the weights.

    train = trainer(Denoising(images), Settings(lr=1e-3), seed=0)
    for ticket in tickets(model, train, [1.0, 0.5, 0.2], steps=2000, rewind=Rewind.step(100)):
        samples = denoise(averaged(model, train), noise, Sampler("ddim", 50))

The batch, the noise, the timesteps, the dropout and the learning rate of a step follow from the seed and the step.
Adam's moments and the average are rewound with the weights: a training that starts where another ended, from its
weights or from a part of them, takes them over, and 20 steps are 10 steps and 10 steps. Wherever a weight is zero, so
are its moments and its average.

Sparse training from scratch is the same `Train` inside `masked` or `moving`, with the masks of
`prune(random(0)(model, params), 0.5, allocate=erk)`.

References:
    Ho et al., Denoising Diffusion Probabilistic Models, NeurIPS 2020.
    Jiang et al., Successfully Applying Lottery Ticket Hypothesis to Diffusion Model, NeurIPS workshop 2023.
    Oliveira et al., Sparse-to-Sparse Training of Diffusion Models, TMLR 2025.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from gen_tickets._steps import Measure, Session, Trainer
from gen_tickets.denoising import Denoising
from gen_tickets.ema import average

__all__ = ["DDPM", "Settings", "averaged", "trainer"]


@dataclass(frozen=True)
class Settings:
    """How a diffusion model is trained; the defaults are those of DDPM, but for its warm-up.

    Args:
        batch: images a step.
        lr: learning rate of Adam.
        warmup: steps over which the learning rate rises from zero; DDPM has 5000.
        weight_decay: of AdamW; without it, AdamW is Adam.
        clip: largest norm of the gradient.
        decay: of the average, see `gen_tickets.ema`.
        precision: of the forward pass, `float32` or `bfloat16` (autocast); weights, moments and average stay float32.

    Raises:
        ValueError: a number is out of range.
    """

    batch: int = 128
    lr: float = 2e-4
    warmup: int = 0
    weight_decay: float = 0.0
    clip: float = 1.0
    decay: float = 0.9999
    precision: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self) -> None:
        for name, least in (("batch", 1), ("lr", 0), ("warmup", 0), ("weight_decay", 0), ("clip", 0)):
            if not getattr(self, name) >= least:
                raise ValueError(f"found settings with {name}={getattr(self, name)}; expected {least} or more")
        if self.precision not in ("float32", "bfloat16"):
            raise ValueError(f"found settings with precision={self.precision!r}; expected float32 or bfloat16")


DDPM = Settings(warmup=5000)
"""Ho et al.'s on CIFAR-10, 800 000 steps."""


def trainer(
    task: Denoising,
    settings: Settings | None = None,
    seed: int = 0,
    *,
    measure: Measure | None = None,
    penalty: Callable[[], Tensor] | None = None,
) -> Trainer:
    """A `Train` of a noise-predicting network of diffusers, class-conditional ones among them.

    Args:
        task: images or latents, noise and loss.
        settings: optimizer and average.
        seed: of batches, noise, timesteps and dropout.
        measure: of the average in eval mode, such as `lambda net: {"held_out": held_out.evaluate(net)}`.
        penalty: is added to the loss; that of gates, say.

    Returns:
        The trainer; it returns `loss` (without the penalty) and `gradient` (its norm before clipping) of the last step,
        and what `measure` found. When called it raises `DivergedError` where one of the two is not finite, with the
        model back at its last good weights, and ValueError if the model takes other images or labels than the task has.

    >>> from gen_tickets.models import ddpm
    >>> model = ddpm((1, 8, 8), (8, 16), attention=())
    >>> train = trainer(Denoising(torch.zeros(4, 1, 8, 8)), Settings(batch=2))
    >>> sorted(train(model, 0, 3)), averaged(model, train).training
    (['gradient', 'loss'], False)
    """
    chosen = settings or Settings()

    @contextmanager
    def begin(model: nn.Module) -> Iterator[Session]:
        params = [param for param in model.parameters() if param.requires_grad]
        device = params[0].device.type
        optimizer = torch.optim.AdamW(params, lr=chosen.lr, weight_decay=chosen.weight_decay, fused=True)
        mean = average(model, chosen.decay)

        def step(number: int) -> Mapping[str, Tensor]:
            for group in optimizer.param_groups:
                group["lr"] = chosen.lr * min(1.0, (number + 1) / max(chosen.warmup, 1))
            with torch.autocast(device, torch.bfloat16, enabled=chosen.precision == "bfloat16"):
                loss = task.loss(model, task.batch(chosen.batch, seed, number))
            norm = _descend(loss if penalty is None else loss + penalty(), optimizer, chosen.clip)
            mean.update_parameters(model)
            return {"loss": loss.detach(), "gradient": norm}

        carried = {**dict(mean.module.named_parameters()), "updates": mean.n_averaged}
        yield Session(step, (optimizer,), mean.module, carried)

    return Trainer(begin, seed, measure)


def averaged(model: nn.Module, train: Trainer) -> nn.Module:
    """A copy of the model, in eval mode, with the averages of the last training: what samples are drawn from.

    Args:
        model: the one trained; left as it is.
        train: of `trainer`.

    Raises:
        ValueError: nothing has been trained yet.
    """
    if not train.carried:
        raise ValueError("found no averages: this trainer has not trained yet. Call it, or sample from the model")
    mean = copy.deepcopy(model).requires_grad_(False).eval()
    for name, param in mean.named_parameters():
        param.copy_(train.carried[name])
    return mean


def _descend(loss: Tensor, optimizer: torch.optim.Optimizer, clip: float) -> Tensor:
    """One step of the optimizer; returns the norm of the gradient before clipping."""
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    norm = nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], clip)
    optimizer.step()
    return norm
