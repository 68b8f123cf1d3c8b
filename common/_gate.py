"""What every gate of `common.gates` shares: the base class, the draws, and the straight-through gradient."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

__all__ = ["Gate", "straight_through", "total", "uniform"]


class Gate(nn.Module, ABC):
    """What every gate shares: its mask, and the check that it fits the weight.

    Args:
        weight: the parameter to gate, of any shape.
        mask: bool, of the same shape; True may pass.

    Raises:
        ValueError: the shapes differ.
    """

    reference = ""
    mask: Tensor

    def __init__(self, weight: Tensor, mask: Tensor) -> None:
        super().__init__()
        if weight.shape != mask.shape:
            raise ValueError(
                f"the mask has shape {tuple(mask.shape)}, the weight {tuple(weight.shape)}; pass the weight's own mask."
            )
        self.register_buffer("mask", mask.detach().bool().to(weight.device))

    @abstractmethod
    def forward(self, weight: Tensor) -> Tensor:
        """The multiplier of the current weight, of its shape; zero where the mask is."""

    @abstractmethod
    def scores(self) -> Tensor:
        """How much each entry deserves to stay, of the weight's shape and detached; larger survives."""

    @abstractmethod
    def penalty(self) -> Tensor:
        """A scalar that falls as the gate closes; its weight in the loss is the caller's."""


def uniform(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """A draw from [0, 1) with the shape, type and device of a tensor.

    >>> uniform(torch.ones(2, 3), None).shape
    torch.Size([2, 3])
    """
    return torch.rand(like.shape, generator=generator, dtype=like.dtype, device=like.device)


def total(values: Tensor) -> Tensor:
    """The sum of a penalty's terms, in single precision at least: half precision ends at 65504.

    >>> total(torch.ones(70_000, dtype=torch.float16))
    tensor(70000.)
    """
    return values.sum(dtype=torch.promote_types(values.dtype, torch.float32))


def straight_through(value: Tensor, surrogate: Tensor) -> Tensor:
    """The numbers of `value` with the gradient of `surrogate`; it also works under torch.func and torch.compile.

    >>> x = torch.tensor([3.0], requires_grad=True)
    >>> y = straight_through(torch.tensor([1.0]), 2 * x)
    >>> y.tolist(), torch.autograd.grad(y.sum(), x)[0].tolist()
    ([1.0], [2.0])
    """
    return value + (surrogate - surrogate.detach())
