r"""The running average of a network's weights, from which diffusion models and GANs draw their samples.

torch's `AveragedModel` keeps it, which needs no part of diffusers but its network and yields one that can be called.
Its rule here is $\bar w \leftarrow d\,\bar w + (1 - d)\,w$, and $\bar w \leftarrow 0$ wherever $w$ is exactly zero: a
weight that is pruned, at whatever step, leaves nothing of its past in the average.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

__all__ = ["average", "warm"]

Tensors = tuple[Tensor, ...] | list[Tensor]


def average(model: nn.Module, decay: float, *, warm_up: bool = True) -> AveragedModel:
    """An average of a model's weights that starts with the first `update_parameters(model)`.

    Args:
        model: is copied; the copy, `.module`, is in eval mode and needs no gradients. Its buffers follow the model's.
        decay: $d$, the share of the old average that stays, in [0, 1).
        warm_up: whether the decay is smaller in the first steps, see `warm`.

    Raises:
        ValueError: the decay is out of range.

    >>> import torch
    >>> model = nn.Linear(2, 1, bias=False)
    >>> averaged = average(model, 0.9)
    >>> for weights in ([[1.0, 2.0]], [[2.0, 0.0]]):
    ...     _ = model.weight.data.copy_(torch.tensor(weights))
    ...     averaged.update_parameters(model)
    >>> averaged.module.weight.data
    tensor([[1.8182, 0.0000]])
    """
    if not 0.0 <= decay < 1.0:
        raise ValueError(f"found an average with a decay of {decay}; expected a share in [0, 1), such as 0.9999")

    def update(averages: Tensors, weights: Tensors, count: Tensor | int) -> None:
        share = 1 - (warm(int(count), decay) if warm_up else decay)
        for mean, weight in zip(averages, weights, strict=True):
            mean.lerp_(weight.to(mean.dtype), share).masked_fill_(weight == 0, 0.0)

    averaged = AveragedModel(model, multi_avg_fn=update)
    averaged.module.requires_grad_(False).eval()
    return averaged


def warm(count: int, decay: float) -> float:
    """The decay after `count` updates, min(decay, (1 + count) / (10 + count)): early weights are soon forgotten.

    >>> warm(0, 0.9999), round(warm(90, 0.9999), 2), warm(10**6, 0.9999)
    (0.1, 0.91, 0.9999)
    """
    return min(decay, (1 + count) / (10 + count))
