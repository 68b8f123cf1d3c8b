r"""An L2 penalty that grows while training, on the weights that a ticket lacks: they fade, and their task moves over.

$g \leftarrow g + \lambda_t\,(1 - m) \odot w$ before every step, with $\lambda_t$ a little larger every so many steps.
Weights inside the mask are free; those outside have time to hand on what they know before they are dropped.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from common._parameters import resolve

__all__ = ["Growing", "growing"]


class _Faded:
    """A parameter, what of it is penalised, and the gradient that already has its penalty."""

    def __init__(self, param: nn.Parameter, kept: Tensor) -> None:
        self.param, self.steps = param, 0
        self._outside = ~kept
        self._seen: weakref.ref[Tensor] | None = None
        self._version = 0

    @property
    def outside(self) -> Tensor:
        """Where the penalty acts, on the parameter's device."""
        self._outside = self._outside.to(self.param.device)
        return self._outside

    def done(self) -> bool:
        """Whether the gradient that is there has its penalty already."""
        grad = self.param.grad
        return grad is not None and self._seen is not None and self._seen() is grad and self._version == grad._version

    @torch.no_grad()
    def add(self, strength: float) -> None:
        """Add the penalty's gradient."""
        grad = self.param.grad
        if grad is not None and grad.is_sparse:
            raise TypeError(
                f"found a sparse gradient of a parameter {tuple(self.param.shape)}; the penalty acts on entries that a "
                "sparse gradient leaves out. Build the embedding with sparse=False"
            )
        push = self.param * self.outside * strength
        self.param.grad = grad = push if grad is None else grad.add_(push)
        self._seen, self._version = weakref.ref(grad), grad._version

    @torch.no_grad()
    def value(self, strength: float) -> Tensor:
        """The penalty, a scalar."""
        return self.param[self.outside].square().sum() * strength / 2


class Growing:
    r"""What `growing` yields: how strong the penalty is, and how much is left of what it acts on.

    Args:
        model, masks, step, every, ceiling: see `growing`.
    """

    def __init__(
        self, model: nn.Module, masks: Mapping[str, Tensor], *, step: float, every: int, ceiling: float
    ) -> None:
        if not (0 < step < math.inf and step <= ceiling) or every < 1:
            raise ValueError(
                f"the penalty grows by step every so many steps up to a ceiling; found {step}, {every} and {ceiling}, "
                "expected a positive step that is not above the ceiling, and every at least 1"
            )
        self._step, self._every, self._ceiling = step, every, ceiling
        self._faded = {name: _Faded(param, mask) for name, (param, mask) in resolve(model, masks).items()}
        self._by_id = {id(faded.param): faded for faded in self._faded.values()}

    @property
    def steps(self) -> int:
        """Optimizer steps so far: those of the parameter that was stepped most often."""
        return max((faded.steps for faded in self._faded.values()), default=0)

    @property
    def strength(self) -> float:
        r"""$\lambda$ of the last step; 0 before there is any."""
        return self._strength(self.steps)

    @property
    def left(self) -> float:
        """The largest penalised weight as it stands, in size; 0 if there is none."""
        sizes = [f.param.detach()[f.outside].abs().max().item() for f in self._faded.values() if f.outside.any()]
        return max(sizes, default=0.0)

    def _strength(self, steps: int) -> float:
        return min(self._ceiling, self._step * -(-steps // self._every))

    def _before(self, optimizer: torch.optim.Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        params = [p for group in optimizer.param_groups for p in group["params"]]
        faded = [self._by_id[id(p)] for p in params if id(p) in self._by_id]
        closure = kwargs.get("closure", args[1] if len(args) > 1 else None)
        if not faded or (isinstance(closure, partial) and closure.func == self._penalised):
            return None  # a stranger, or the step of a base class within the subclass's
        if closure is None:
            for one in faded:
                if not one.done():
                    one.steps += 1
                    one.add(self._strength(one.steps))
            return None
        for one in faded:
            one.steps += 1
        return (args[0],), {**kwargs, "closure": partial(self._penalised, closure, faded)}

    def _penalised(self, closure: Callable[[], Any], faded: list[_Faded]) -> Any:
        """What a closure returns, plus the penalty, whose gradient is added to those that the closure left."""
        with torch.enable_grad():
            loss = closure()
        for one in faded:
            one.add(self._strength(one.steps))
        if not isinstance(loss, Tensor):
            return loss
        return loss + sum(one.value(self._strength(one.steps)).to(loss.device) for one in faded)


@contextmanager
def growing(
    model: nn.Module, masks: Mapping[str, Tensor], *, step: float = 1e-4, every: int = 5, ceiling: float = 1.0
) -> Iterator[Growing]:
    r"""Penalise all weights outside the masks inside a block, more and more:
    $\lambda_t = \min(\tau, \delta \lceil t / K \rceil)$ in the t-th step.

    It acts on the gradients right before every step of any `torch.optim.Optimizer`, after clipping and unscaling; a
    closure's loss and gradients have the penalty, too. Nothing is pruned: at the end drop what is outside the masks.

    Args:
        model: any module.
        masks: parameter name to a bool mask of its shape; True is the ticket, and free.
        step: $\delta$, what is added to the strength.
        every: $K$, the steps between two additions.
        ceiling: $\tau$, where it ends.

    Raises:
        KeyError: a name is not in the model.
        ValueError: a mask has another shape than its parameter, or a number is out of range.
        TypeError: at a step, a gradient is sparse.
        RuntimeError: at the end, no optimizer ever stepped some of the parameters.

    References:
        Wang et al., Neural Pruning via Growing Regularization, ICLR 2021.
        Bai et al., Dual Lottery Ticket Hypothesis, ICLR 2022.

    >>> model = nn.Linear(2, 1, bias=False)
    >>> _ = nn.init.constant_(model.weight, 1.0)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    >>> with growing(model, {"weight": torch.tensor([[True, False]])}, step=0.25, every=1) as penalty:
    ...     for _ in range(2):
    ...         optimizer.zero_grad()
    ...         (0 * model.weight).sum().backward()
    ...         optimizer.step()
    >>> model.weight.tolist(), penalty.strength
    ([[1.0, 0.375]], 0.5)
    """
    penalty = Growing(model, masks, step=step, every=every, ceiling=ceiling)
    handle = register_optimizer_step_pre_hook(penalty._before)
    try:
        yield penalty
    finally:
        handle.remove()
    if never := [name for name, faded in penalty._faded.items() if not faded.steps]:
        raise RuntimeError(
            f"no optimizer stepped {', '.join(never)} inside the block, so the penalty never acted. Build the "
            "optimizer on the model that growing() was given, or leave these out of the masks."
        )
