r"""What a diffusion model learns: the noise in an image, at every noise level.

$L = E\,\|\epsilon - \epsilon_\theta(\sqrt{\bar\alpha_t}\,x + \sqrt{1 - \bar\alpha_t}\,\epsilon,\ t)\|^2$, the mean over
pixels, with images x, noise $\epsilon$ from N(0, 1) and timesteps t drawn evenly.

References:
    Ho et al., Denoising Diffusion Probabilistic Models, NeurIPS 2020.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from common.scores import Objective
from gen_tickets._batches import step_seed
from gen_tickets._ranks import share

__all__ = ["Batch", "Denoising", "evaluating"]

_LARGEST = 100.0  # latents stay below it, images in bytes do not


class Batch(NamedTuple):
    """Images (N, C, H, W), noise of that shape, timesteps (N,), and labels (N,) or None."""

    images: Tensor
    noise: Tensor
    timesteps: Tensor
    labels: Tensor | None

    def rows(self, which: Tensor) -> Batch:
        """Some of its images, by their numbers (M,), with all that belongs to them."""
        labels = None if self.labels is None else self.labels[which]
        return Batch(self.images[which], self.noise[which], self.timesteps[which], labels)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """The model in eval mode inside the block, and every module in its own mode afterwards.

    >>> model = nn.Dropout()
    >>> with evaluating(model):
    ...     inside = model.training
    >>> inside, model.training
    (False, True)
    """
    modes = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        yield
    finally:
        for module, mode in modes:
            module.training = mode


class Denoising:
    """Prediction of the noise in images, as losses for training, for criteria and for evaluation.

    Args:
        images: float (N, C, H, W), in [-1, 1]; or latents, see `gen_tickets.latents`.
        labels: long (N,), for a class-conditional model.
        scheduler: of diffusers; adds the noise. By default `DDPMScheduler()`: 1000 timesteps, linear betas.

    Raises:
        TypeError: images that are no floats, labels that are no long integers.
        ValueError: another shape, values that are not finite or no images, a scheduler that is not for training.

    >>> task = Denoising(torch.zeros(4, 1, 8, 8))
    >>> task.timesteps, task.batch(2, seed=0, step=7).timesteps.shape
    (1000, torch.Size([2]))
    """

    def __init__(self, images: Tensor, labels: Tensor | None = None, scheduler: Any = None) -> None:
        from diffusers import DDPMScheduler

        self.images, self.labels = _images(images), _labels(labels, len(images))
        self.scheduler: Any = DDPMScheduler() if scheduler is None else scheduler
        self.timesteps = _timesteps(self.scheduler)

    def batch(self, size: int, seed: int, step: int, among: Tensor | None = None) -> Batch:
        """Images, drawn with replacement, noise and timesteps: a function of (seed, step) alone, on the CPU.

        In a trainer's step on several processes each takes its share of them.

        Args:
            size: images, of all processes together.
            seed, step: of the draws.
            among: timesteps (M,) to draw from, on the CPU; all of them by default.
        """
        generator = torch.Generator().manual_seed(step_seed(seed, "batch", step))
        index = torch.randint(len(self.images), (size,), generator=generator)
        noise = torch.randn((size, *self.images.shape[1:]), generator=generator, dtype=self.images.dtype)
        timesteps = torch.randint(self.timesteps if among is None else len(among), (size,), generator=generator)
        timesteps = timesteps if among is None else among[timesteps]
        rows = slice(share(size).start, share(size).stop)
        index = index[rows].to(self.images.device)
        labels = None if self.labels is None else self.labels[index]
        return Batch(self.images[index], noise[rows], timesteps[rows], labels)

    def predict(self, model: nn.Module, batch: Batch, weights: Mapping[str, Tensor] | None = None) -> Tensor:
        """The noise that a model sees in a batch, float32 (N, C, H, W), on its device and in its present mode.

        Args:
            model: from noisy images, timesteps and perhaps labels to an output with `.sample`.
            batch: images and the noise to add.
            weights: parameters by name that take the place of the model's own.

        Raises:
            ValueError: the model takes other images or labels than the task has.
        """
        _fits(model, batch)
        device = next(model.parameters()).device
        images, noise, timesteps = (value.to(device) for value in batch[:3])
        given = {} if batch.labels is None else {"class_labels": batch.labels.to(device)}
        seen = self.scheduler.add_noise(images, noise, timesteps), timesteps
        said = model(*seen, **given) if weights is None else functional_call(model, dict(weights), seen, given)
        predicted: Tensor = said.sample.float()
        return predicted

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """The mean squared error of the predicted noise, a scalar; device, mode and errors are those of `predict`."""
        predicted = self.predict(model, batch)
        return nn.functional.mse_loss(predicted, batch.noise.to(predicted.device).float())

    def objective(self, batches: int = 1, size: int = 128, seed: int = 0) -> Objective:
        """The engine's `Objective`: the losses of so many batches, the same ones at every call.

        Attention is computed by its formula, which unlike the fused kernels has the second derivatives that some
        criteria take.

        Args:
            batches: how many.
            size: images in each.
            seed: of the draws.
        """

        def losses(model: nn.Module) -> Iterator[Tensor]:
            for step in range(batches):
                with sdpa_kernel(SDPBackend.MATH):
                    loss = self.loss(model, self.batch(size, seed, step))
                yield loss

        return losses

    def evaluate(self, model: nn.Module, *, seed: int = 0, size: int = 512) -> float:
        """The mean loss with every image once, the timesteps spread evenly over them; without dropout.

        Args:
            model: left as it was; the average of a trainer, say.
            seed: of the noise and of which image gets which timestep.
            size: images at a time.
        """
        count = len(self.images)
        generator = torch.Generator().manual_seed(step_seed(seed, "evaluate"))
        order = torch.randperm(count, generator=generator)
        timesteps = torch.arange(count)[order] * self.timesteps // count
        noise = torch.randn(self.images.shape, generator=generator, dtype=self.images.dtype)
        total = 0.0
        with evaluating(model), torch.no_grad():
            for rows in torch.arange(count).split(size):
                loss = self.loss(model, Batch(self.images, noise, timesteps, self.labels).rows(rows))
                total += loss.item() * len(rows)
        return total / count


def _images(images: Tensor) -> Tensor:
    if not images.is_floating_point():
        raise TypeError(f"found images of {images.dtype}; expected floats in [-1, 1]. Scale bytes by x / 127.5 - 1.")
    if images.dim() != 4 or not len(images):
        raise ValueError(f"found images of shape {tuple(images.shape)}; expected (N, C, H, W) with N of 1 or more")
    if not bool(images.isfinite().all()) or images.abs().max() > _LARGEST:
        low, high = images.min().item(), images.max().item()
        raise ValueError(
            f"found images with values from {low:g} to {high:g}; expected about [-1, 1]. Scale bytes by x / 127.5 - 1."
        )
    return images.detach()


def _labels(labels: Tensor | None, count: int) -> Tensor | None:
    if labels is None:
        return None
    if labels.dtype != torch.int64:
        raise TypeError(f"found labels of {labels.dtype}; expected torch.int64, one class an image")
    if tuple(labels.shape) != (count,) or labels.min() < 0:
        raise ValueError(
            f"found labels of shape {tuple(labels.shape)} from {labels.min().item()} on; expected ({count},), one for "
            "each image, from 0 on"
        )
    return labels


def _timesteps(scheduler: Any) -> int:
    """How many timesteps a scheduler has; solvers that can add noise only to where they are in sampling are refused."""
    name, config = type(scheduler).__name__, getattr(scheduler, "config", {})
    kept = getattr(scheduler, "alphas_cumprod", None)
    if kept is None or not hasattr(scheduler, "add_noise"):
        raise ValueError(f"found a {name}, without add_noise or alphas_cumprod; expected one such as DDPMScheduler")
    count, kind = int(config.get("num_train_timesteps", len(kept))), config.get("prediction_type", "epsilon")
    if kind != "epsilon":
        raise ValueError(f"found a {name} with prediction_type={kind!r}; expected 'epsilon', the noise. Change it.")
    where = torch.tensor([0, count // 2, count - 1])
    image, empty = torch.ones(3, 1, 1, 1), torch.zeros(3, 1, 1, 1)
    found = scheduler.add_noise(image, empty, where).flatten()
    if not torch.allclose(found, kept[where].float().sqrt(), atol=1e-3):
        raise ValueError(
            f"found a {name}, whose add_noise does not follow its alphas_cumprod; expected one for training. Train "
            "with DDPMScheduler.from_config(scheduler.config), and draw samples with yours."
        )
    return count


def _fits(model: nn.Module, batch: Batch) -> None:
    config: Any = getattr(model, "config", None) or {}
    channels, classes = config.get("in_channels"), config.get("num_class_embeds")
    if channels is not None and channels != batch.images.shape[1]:
        raise ValueError(
            f"found images of {batch.images.shape[1]} channels; expected the {channels} of the model. Build the model "
            "for these images."
        )
    if batch.labels is None and classes is not None:
        raise ValueError(f"found no labels; the model expects them, from 0 to {classes - 1}. Pass labels to Denoising.")
    if batch.labels is not None and (classes is None or batch.labels.max() >= classes):
        known = "none" if classes is None else f"0 to {classes - 1}"
        raise ValueError(
            f"found labels up to {int(batch.labels.max())}; the model knows {known}. Build it with the classes needed."
        )
