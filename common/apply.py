"""`masked`: constant masks on a model while any trainer trains it. `gated`: learned ones; see `common.apply_gates`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from common._held import Held, clean, moments
from common._parameters import resolve
from common.apply_gates import Gates as Gates
from common.apply_gates import gated as gated
from common.masks import Masks, closest

__all__ = ["Gates", "Guard", "gated", "masked"]


class Guard:
    """What `masked` yields: the masks in force, and the means to watch and to change them.

    Attributes:
        steps: training steps so far: those of the guarded parameter that was stepped most often, however many
            optimizers share the model.
        collecting: whether backward passes keep dense gradients; `masked(dense_gradients=True)` sets it.
    """

    def __init__(self, model: nn.Module, masks: Mapping[str, Tensor], *, dense_gradients: bool = False) -> None:
        self.steps = 0
        self.collecting = dense_gradients
        self._model = model
        self._held = {name: Held(param, mask) for name, (param, mask) in resolve(model, masks).items()}
        self._by_id = {id(held.param): held for held in self._held.values()}
        self._clean: WeakKeyDictionary[torch.optim.Optimizer, list[Tensor]] = WeakKeyDictionary()
        self._under_way: WeakKeyDictionary[torch.optim.Optimizer, int] = WeakKeyDictionary()
        self._strangers: WeakKeyDictionary[torch.optim.Optimizer, bool] = WeakKeyDictionary()
        self._callbacks: list[Callable[[Guard], None]] = []
        self._copy = ""
        for held in self._held.values():
            held.enforce()
            held.watch(self)

    @property
    def masks(self) -> Masks:
        """The masks in force, as copies; `update` changes them."""
        return Masks({name: held.kept.clone() for name, held in self._held.items()})

    @property
    def parameters(self) -> dict[str, nn.Parameter]:
        """Name to guarded parameter."""
        return {name: held.param for name, held in self._held.items()}

    @property
    def dense_gradients(self) -> dict[str, Tensor]:
        """Name to the gradient before masking, accumulated since the last step; empty unless it is collected.

        It is what backward delivered: under a gradient scaler it is scaled, and each rank has its own.
        """
        return {name: held.dense for name, held in self._held.items() if held.dense is not None}

    def update(self, masks: Mapping[str, Tensor]) -> None:
        """Put new masks in force on some or all guarded tensors; newly kept weights start from zero.

        Raises:
            KeyError: a name is not guarded.
            ValueError: a shape differs, or aliases disagree.
        """
        found = resolve(self._model, masks)
        for name, (param, _) in found.items():
            if id(param) not in self._by_id:
                raise KeyError(
                    f"{name!r} is not guarded; the nearest is {closest(name, self._held)}. Pass it to masked()"
                )
        for optimizer in self._clean:
            clean(optimizer, self._by_id)  # what returns starts from dead moments, whatever the optimizer did to them
        for param, mask in found.values():
            self._by_id[id(param)].set(mask)
        self._clean.clear()

    def after_step(self, callback: Callable[[Guard], None]) -> None:
        """Call `callback(guard)` after every counted step, while the dense gradients of that step are still there."""
        self._callbacks.append(callback)

    def _before(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        guarded = self._guarded(optimizer)
        if not guarded:
            if optimizer not in self._strangers:
                self._strangers[optimizer] = any(
                    held.copied(p) for p in _params(optimizer) for held in self._held.values()
                )
            return
        fresh = any(held.fresh for held in guarded)  # a backward pass since the last step: no step within a step
        self._under_way[optimizer] = 1 if fresh else self._under_way.get(optimizer, 0) + 1
        for held in guarded:
            held.settle(self)
        now = [tensor for held in guarded for tensor in moments(optimizer, held.param)]
        known = self._clean.get(optimizer)
        if known is None or len(known) != len(now) or any(a is not b for a, b in zip(known, now, strict=True)):
            clean(optimizer, self._by_id)  # the first time, and when the state was created or loaded since
            self._clean[optimizer] = now

    def _after(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        guarded = self._guarded(optimizer)
        if not guarded:
            if self._strangers.get(optimizer):
                self._copy = type(optimizer).__name__
            return
        self._copy = ""
        for held in guarded:
            held.zero_(held.param)
        self._under_way[optimizer] = left = max(0, self._under_way.get(optimizer, 1) - 1)
        if left:
            return  # the step of a base class, called by the subclass's
        for held in guarded:
            held.steps += 1
        steps = max(held.steps for held in self._held.values())
        if steps > self.steps:
            self.steps = steps
            for callback in self._callbacks:
                callback(self)
        for held in guarded:
            held.dense = None

    def _guarded(self, optimizer: torch.optim.Optimizer) -> list[Held]:
        return [self._by_id[id(p)] for p in _params(optimizer) if id(p) in self._by_id]

    def _release(self) -> None:
        for held in self._held.values():
            held.unwatch()

    def _check(self) -> None:
        if self._copy:
            raise RuntimeError(
                f"a copy of the model was trained (deepcopy?): {self._copy} stepped tensors of the same shapes, with "
                "the same zeros, and the masked model itself was not stepped after it. Build the optimizer on the "
                "model that masked() was given."
            )
        named = dict(self._model.named_parameters(remove_duplicate=False))
        for name, held in self._held.items():
            if named.get(name) is not held.param:
                raise RuntimeError(
                    f"the parameter {name!r} was replaced inside the block, so it is not masked. Change parameters in "
                    "place (not by assignment or load_state_dict(assign=True)), or do so before entering masked()."
                )
            if count := held.violations():
                raise RuntimeError(
                    f"{count} pruned entries of {name!r} are not zero at the end of the block, expected none. Likely "
                    "causes: load_state_dict or an in-place edit inside the block, or weights copied from another "
                    "model. Load weights before entering masked()."
                )


@contextmanager
def masked(model: nn.Module, masks: Mapping[str, Tensor], *, dense_gradients: bool = False) -> Iterator[Guard]:
    r"""Keep pruned entries exactly zero inside a block, $w \leftarrow m \odot w$, whatever optimizer and trainer run.

    On entry pruned entries become zero. Inside, their gradients are zero, and after every step of any
    `torch.optim.Optimizer` the weights are zeroed again; its state is zeroed whenever it is new (created, loaded, or
    the masks have changed). Parameters, their order and the `state_dict` keys stay as they are. On a clean exit every
    pruned entry is checked. A copy made inside starts with its zeros but is not guarded: train the model itself; an
    average of its weights keeps the zeros.

    On a CPU give Adam `fused=True`: its default path is slow at the square roots of zero second moments.

    Args:
        model: any module.
        masks: parameter name (any alias of a shared tensor) to a bool mask of its shape; True is kept.
        dense_gradients: also collect the gradients of pruned entries, in `guard.dense_gradients`.

    Raises:
        KeyError: a name is not in the model.
        ValueError: a mask has another shape than its parameter, or aliases disagree.
        RuntimeError: ranks hold different masks; or, at the end, a pruned entry is not zero or a copy was trained.

    >>> model = nn.Linear(2, 1)
    >>> optimizer = torch.optim.Adam(model.parameters())
    >>> with masked(model, {"weight": torch.tensor([[True, False]])}) as guard:
    ...     model(torch.ones(4, 2)).sum().backward()
    ...     optimizer.step()
    >>> model.weight[0, 1].item(), guard.steps
    (0.0, 1)
    """
    guard = Guard(model, masks, dense_gradients=dense_gradients)
    handles = (register_optimizer_step_pre_hook(guard._before), register_optimizer_step_post_hook(guard._after))
    try:
        yield guard
    finally:
        for handle in handles:
            handle.remove()
        guard._release()
    guard._check()


def _params(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [param for group in optimizer.param_groups for param in group["params"]]
