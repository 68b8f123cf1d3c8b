"""What all criteria share: their types, their citations, and gradients taken without a trace on the model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor, nn

from common._held import scoring

__all__ = ["Objective", "Scorer", "cite", "losses", "slopes", "unchanged"]

Objective = Callable[[nn.Module], Iterable[Tensor]]  # yields one scalar loss per batch
Scorer = Callable[[nn.Module, Mapping[str, Tensor], "Objective | None"], dict[str, Tensor]]
F = TypeVar("F", bound=Callable[..., object])


def cite(reference: str) -> Callable[[F], F]:
    """Note on a function, as `.reference`, which paper it comes from.

    >>> cite("Euclid, Elements")(lambda: None).reference
    'Euclid, Elements'
    """

    def noted(function: F) -> F:
        function.reference = reference  # type: ignore[attr-defined]
        return function

    return noted


@contextmanager
def unchanged(model: nn.Module, params: Mapping[str, Tensor] | None = None) -> Iterator[None]:
    """Put back on leaving: buffers, training modes, gradients and what requires them; inside, `params` all do.

    Inside a block of `masked`, gradients of pruned entries are seen as well.

    >>> model = nn.BatchNorm1d(1)
    >>> with unchanged(model):
    ...     _ = model(torch.ones(4, 1)), model.eval()
    >>> model.running_mean, model.training
    (tensor([0.]), True)
    """
    modes = [(module, module.training) for module in model.modules()]
    buffers = [
        (module._buffers, name, buffer, buffer.detach().clone())
        for module in model.modules()
        for name, buffer in module._buffers.items()
        if buffer is not None
    ]
    tensors = list({id(t): t for t in [*model.parameters(), *(params or {}).values()]}.values())
    slots = [(tensor, tensor.grad, tensor.requires_grad) for tensor in tensors]
    try:
        for tensor in (params or {}).values():
            tensor.requires_grad_(True)
        with torch.enable_grad(), scoring():
            yield
    finally:
        for tensor, grad, requires in slots:
            tensor.grad = grad
            tensor.requires_grad_(requires)
        for owner, name, buffer, value in buffers:
            with torch.no_grad():
                owner[name] = buffer.copy_(value)
        for module, mode in modes:
            module.training = mode


def losses(model: nn.Module, objective: Objective | None, wanted_by: str) -> Iterator[Tensor]:
    """The objective's losses, one a batch, checked.

    Raises:
        ValueError: there is no objective, or it yields nothing.
        TypeError: it yields something other than a scalar tensor that depends on the parameters.
    """
    if objective is None:
        raise ValueError(
            f"{wanted_by} needs an objective: a function that takes the model and yields one scalar loss a batch. "
            "Pass objective=..."
        )
    batches = 0
    for loss in objective(model):
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            found = f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
            raise TypeError(f"{wanted_by}: the objective must yield one scalar loss a batch; found {found}. Reduce it.")
        if not loss.requires_grad:
            raise TypeError(
                f"{wanted_by}: the objective's loss carries no gradient; compute it without no_grad() or detach()"
            )
        batches += 1
        yield loss
    if not batches:
        raise ValueError(f"{wanted_by}: the objective yielded no loss; expected one a batch. Is its data empty?")


def slopes(
    model: nn.Module, params: Mapping[str, Tensor], objective: Objective | None, wanted_by: str
) -> Iterator[dict[str, Tensor]]:
    """The gradients of every batch's loss by the parameters; to be used inside `unchanged`.

    Raises:
        ValueError: as `losses`; also if a parameter took part in no batch.
    """
    used: set[str] = set()
    for loss in losses(model, objective, wanted_by):
        grads = torch.autograd.grad(loss, list(params.values()), allow_unused=True)
        used |= {name for name, grad in zip(params, grads, strict=True) if grad is not None}
        yield {
            name: torch.zeros_like(p) if grad is None else grad
            for (name, p), grad in zip(params.items(), grads, strict=True)
        }
    if unused := [name for name in params if name not in used]:
        raise ValueError(
            f"{wanted_by}: no loss depends on {', '.join(unused)}. Leave them out of params, or use an objective in "
            "which they take part."
        )
