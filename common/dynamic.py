r"""Masks that move while training: SET, RigL and gradual pruning.

Every update is a function `(step, weights, gradients, masks) -> masks` of the steps done, the weights, the dense
gradients of the last step and the masks in force; `moving` calls it. A new method is one more such function.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from common.apply import Guard, masked
from common.masks import Masks
from common.select import top_k

__all__ = ["Update", "drop_and_grow", "gradual", "moving", "rigl", "set_"]

Update = Callable[[int, Mapping[str, Tensor], Mapping[str, Tensor], Masks], Masks]


@contextmanager
def moving(model: nn.Module, masks: Mapping[str, Tensor], update: Update, *, every: int, stop: int) -> Iterator[Guard]:
    """`masked`, with new masks after the optimizer's steps `every`, 2 `every`, ... up to and including `stop`.

    Newly grown weights start from zero with empty optimizer state. Dense gradients are collected in the steps that need
    them only, and averaged over the ranks of a distributed run.

    Args:
        model: any module.
        masks: the first masks, by parameter name.
        update: such as `rigl(0.3, end=1000)`.
        every: steps between updates.
        stop: no update after this step.

    Raises:
        ValueError: `every` is not positive.

    >>> model = nn.Linear(4, 2)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> first = Masks({"weight": torch.tensor([[1, 1, 0, 0], [1, 1, 0, 0]])})
    >>> with moving(model, first, rigl(0.5, end=10), every=1, stop=10) as guard:
    ...     model(torch.rand(3, 4)).sum().backward()
    ...     optimizer.step()
    >>> guard.masks.kept
    4
    """
    if every < 1:
        raise ValueError(f"every is {every}; it must be at least 1, the number of steps between two updates.")
    with masked(model, masks) as guard:

        def due(steps: int) -> bool:
            return steps % every == 0 and steps <= stop

        def move(guard: Guard) -> None:
            if due(guard.steps):
                now = guard.masks
                weights = {name: guard.parameters[name].detach() for name in now}
                guard.update(update(guard.steps, weights, _gradients(guard, weights), now))
            guard.collecting = due(guard.steps + 1)

        guard.collecting = due(1)
        guard.after_step(move)
        yield guard


class _Gradients(dict[str, Tensor]):
    """Dense gradients by name; asking for one that no backward pass brought is an error."""

    def __missing__(self, name: str) -> Tensor:
        raise ValueError(
            f"found no gradient of {name!r} at this step; an update that grows by gradients needs one. Train it in "
            "every step by loss.backward() (not by setting .grad), unfreeze it before the step, or leave it out of the "
            "masks."
        )


def _gradients(guard: Guard, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    found = _Gradients({name: guard.dense_gradients[name] for name in weights if name in guard.dense_gradients})
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        device = next(iter(weights.values())).device
        here = torch.tensor([name in found for name in weights], dtype=torch.uint8, device=device)
        torch.distributed.all_reduce(here, torch.distributed.ReduceOp.MIN)
        for name, everywhere in zip(weights, here.tolist(), strict=True):
            if not everywhere:
                found.pop(name, None)
                continue
            torch.distributed.all_reduce(found[name])
            found[name] /= torch.distributed.get_world_size()
    return found


def drop_and_grow(weight: Tensor, mask: Tensor, growth: Tensor, count: int) -> Tensor:
    """Drop the `count` smallest kept weights, then grow the `count` best entries that are not kept.

    What was just dropped may grow again, and then keeps its value. The number of kept entries stays the same; ties go
    to the lowest index.

    Args:
        weight, mask, growth: tensors of one shape; the mask is bool, larger growth wins.
        count: in [0, kept entries].

    Returns:
        The new bool mask.

    Raises:
        ValueError: `count` is out of range.

    >>> weight, growth = torch.tensor([3.0, 1.0, 0.0, 0.0]), torch.tensor([9.0, 0.0, 2.0, 4.0])
    >>> drop_and_grow(weight, torch.tensor([True, True, False, False]), growth, 1).tolist()
    [True, False, False, True]
    """
    kept = int(mask.sum())
    if not 0 <= count <= kept:
        raise ValueError(f"count is {count}; it must lie between 0 and the {kept} kept entries.")
    stay = top_k(weight.abs().masked_fill(~mask, -torch.inf), kept - count)
    return stay | top_k(growth.masked_fill(stay, -torch.inf), count)


def set_(fraction: float = 0.3, *, seed: int = 0, end: int | None = None) -> Update:
    """Sparse evolutionary training: drop a share of the smallest kept weights a tensor, grow as many at random.

    The published code drops by sign (the smallest positive, the largest negative); here magnitude decides. The growth
    depends on the seed, the step and the name alone, so that ranks agree and a resumed run repeats it.

    Args:
        fraction: share of the kept entries that moves, in [0, 1].
        seed: of the growth.
        end: no movement after this step.

    Raises:
        ValueError: `fraction` is out of range.

    Reference:
        Mocanu et al., Scalable training of artificial neural networks with adaptive sparse connectivity inspired by
        network science, Nature Communications 2018.

    >>> before = Masks({"w": torch.tensor([True, False])})
    >>> set_(1.0)(1, {"w": torch.tensor([2.0, 0.0])}, {}, before).kept
    1
    """
    _check_share("fraction", fraction)

    def update(step: int, weights: Mapping[str, Tensor], _: Mapping[str, Tensor], masks: Masks) -> Masks:
        if end is not None and step > end:
            return masks
        moved = Masks()
        for name, mask in masks.items():
            generator = torch.Generator().manual_seed(random.Random(f"{seed}/{step}/{name}").getrandbits(63))
            growth = torch.rand(mask.shape, generator=generator).to(mask.device)
            moved[name] = drop_and_grow(weights[name], mask, growth, round(fraction * int(mask.sum())))
        return moved

    update.reference = "Mocanu et al., Sparse evolutionary training, Nature Communications 2018"  # type: ignore[attr-defined]
    return update


def rigl(fraction: float = 0.3, *, end: int) -> Update:
    r"""RigL: drop the smallest kept weights a tensor, grow where the dense gradient is largest.

    The share that moves after step $t$ is $\frac{\alpha}{2}(1 + \cos(\pi t / T))$ of the kept entries.

    Args:
        fraction: $\alpha$, in [0, 1].
        end: $T$, the step from which nothing moves.

    Raises:
        ValueError: an argument is out of range.

    Reference:
        Evci et al., Rigging the Lottery: Making All Tickets Winners, ICML 2020.

    >>> before = Masks({"w": torch.tensor([True, True, False])})
    >>> weights, gradients = {"w": torch.tensor([2.0, 1.0, 0.0])}, {"w": torch.tensor([0.0, 0.0, -3.0])}
    >>> rigl(1.0, end=2)(1, weights, gradients, before)["w"].tolist()
    [True, False, True]
    """
    _check_share("fraction", fraction)
    if end < 1:
        raise ValueError(f"end is {end}; it must be at least 1, the step from which nothing moves.")

    def update(step: int, weights: Mapping[str, Tensor], gradients: Mapping[str, Tensor], masks: Masks) -> Masks:
        share = fraction / 2 * (1 + math.cos(math.pi * min(step, end) / end))
        return Masks(
            {
                name: drop_and_grow(weights[name], mask, gradients[name].abs(), round(share * int(mask.sum())))
                for name, mask in masks.items()
            }
        )

    update.reference = "Evci et al., Rigging the Lottery, ICML 2020"  # type: ignore[attr-defined]
    return update


def gradual(start_density: float, end_density: float, *, begin: int, end: int) -> Update:
    r"""Gradual magnitude pruning: each tensor's density falls from $d_0$ to $d_1$ on a cubic.

    $d_t = d_1 + (d_0 - d_1)(1 - (t - b)/(e - b))^3$ for $b \le t \le e$; masks are nested and the smallest
    weights go first.

    Args:
        start_density: $d_0$, share kept at the start.
        end_density: $d_1$, at most $d_0$.
        begin: $b$, no pruning before this step.
        end: $e$, nothing changes after it; give `moving` the same `stop` and a divisor of it as `every`.

    Raises:
        ValueError: an argument is out of range.

    Reference:
        Zhu and Gupta, To prune, or not to prune, ICLR workshop 2018.

    >>> weights = {"w": torch.tensor([4.0, 3.0, 2.0, 1.0])}
    >>> gradual(1.0, 0.5, begin=0, end=2)(2, weights, {}, Masks.dense(weights))["w"].tolist()
    [True, True, False, False]
    """
    _check_share("start_density", start_density)
    _check_share("end_density", end_density)
    if end_density > start_density or not 0 <= begin < end:
        raise ValueError(
            f"the density must fall and begin must come before end; found {start_density} to {end_density} over steps "
            f"{begin} to {end}."
        )

    def update(step: int, weights: Mapping[str, Tensor], _: Mapping[str, Tensor], masks: Masks) -> Masks:
        if step < begin:
            return masks
        left = 1 - min((step - begin) / (end - begin), 1.0)
        density = end_density + (start_density - end_density) * left**3
        pruned = Masks()
        for name, mask in masks.items():
            count = min(round(density * mask.numel()), int(mask.sum()))
            pruned[name] = top_k(weights[name].abs().masked_fill(~mask, -torch.inf), count)
        return pruned

    update.reference = "Zhu and Gupta, To prune, or not to prune, ICLR workshop 2018"  # type: ignore[attr-defined]
    return update


def _check_share(name: str, value: float) -> None:
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"{name} is {value}; it must lie between 0 and 1.")
