"""Several processes train one model: each takes its rows of every batch, and what they find is averaged.

Any launcher will do that sets up the default group of `torch.distributed`: torchrun, lightning, a test. Every process
runs the same program on the same data. Without a group, or in a group of one, nothing here does anything.

- Batch: rank r of R takes the r-th of R equal parts of a batch that all of them draw from (seed, step). Together they
  see the images of one process; what a network draws by itself (latents, dropout) differs by rank.
- Gradients become their means as soon as a backward pass ends, before anything clips them. It is done by hooks on the
  parameters, not by `DistributedDataParallel`: a session may call parts of a model, in any order, and steps several
  optimizers. Each process then takes the same steps, so weights, moments and averages are equal to the bit.
- BatchNorm normalises by the statistics of a process's own rows, as in `DistributedDataParallel`; the running ones are
  averaged after every step. The mean is then that of the whole batch, the variance leaves out how far the parts'
  means lie apart. On GPUs, `torch.nn.SyncBatchNorm.convert_sync_batchnorm` before the search makes both exact.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import torch
from torch import Tensor

from common.ticket_file import layout, sha256

__all__ = ["Place", "agree", "averaging", "mean_", "place", "share", "sharing"]

_SHARING: ContextVar[bool] = ContextVar("sharing", default=False)


class Place(NamedTuple):
    """The number of this process, from 0, and how many there are."""

    rank: int
    processes: int


def place() -> Place:
    """Where this process stands in the default group.

    >>> place()
    Place(rank=0, processes=1)
    """
    dist = torch.distributed
    if not (dist.is_available() and dist.is_initialized()):
        return Place(0, 1)
    return Place(dist.get_rank(), dist.get_world_size())


@contextmanager
def sharing() -> Iterator[None]:
    """Inside, `share` is a part; outside every process has all rows, so that scores are the same everywhere."""
    token = _SHARING.set(True)
    try:
        yield
    finally:
        _SHARING.reset(token)


def share(count: int) -> range:
    """The rows of a batch that this process takes: of a trainer's step a part, else all.

    Args:
        count: rows in the batch.

    Raises:
        ValueError: the batch cannot be split evenly.

    >>> share(8)
    range(0, 8)
    """
    rank, parts = place() if _SHARING.get() else Place(0, 1)
    if count % parts:
        raise ValueError(
            f"found a batch of {count} on {parts} processes; expected a multiple of {parts}, of which each takes the "
            "same share. Change the batch or the number of processes."
        )
    size = count // parts
    return range(rank * size, (rank + 1) * size)


def mean_(tensors: Iterable[Tensor]) -> None:
    """Replace tensors, in place, by their means over the processes, which all pass the same ones in the same order."""
    count = place().processes
    if count == 1:
        return
    alike: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
    for tensor in tensors:
        alike.setdefault((tensor.dtype, tensor.device), []).append(tensor.detach())
    for group in alike.values():
        flat = torch.cat([tensor.reshape(-1) for tensor in group])
        torch.distributed.all_reduce(flat)
        flat /= count
        for tensor, part in zip(group, flat.split([t.numel() for t in group]), strict=True):
            tensor.copy_(part.view_as(tensor))


@contextmanager
def averaging(optimizers: Sequence[torch.optim.Optimizer]) -> Iterator[None]:
    """Inside, the gradients of the optimizers' parameters are means over the processes.

    A backward pass counts when it ends; a gradient that was set by hand, when the optimizer steps.

    Args:
        optimizers: all that train.
    """
    if place().processes == 1:
        yield
        return
    means = _Means([param for optimizer in optimizers for param in _params(optimizer)])
    handles: list[Any] = [
        param.register_post_accumulate_grad_hook(means.arrived) for param in means.order if param.requires_grad
    ]
    handles += [optimizer.register_step_pre_hook(means.settle) for optimizer in optimizers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class _Means:
    """Which gradients have arrived since they were last averaged; one message a backward pass, in a fixed order."""

    def __init__(self, params: list[Tensor]) -> None:
        self.order = {param: i for i, param in enumerate(params)}
        self.waiting: list[Tensor] = []
        self.done: set[Tensor] = set()

    def arrived(self, param: Tensor) -> None:
        if not self.waiting:
            torch.autograd.Variable._execution_engine.queue_callback(self.flush)  # when this backward pass has ended
        self.waiting.append(param)

    def flush(self) -> None:
        self.average(self.waiting)
        self.waiting = []

    def settle(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        mine = _params(optimizer)
        self.average([param for param in mine if param.grad is not None and param not in self.done])
        self.done -= set(mine)

    def average(self, params: list[Tensor]) -> None:
        mean_(param.grad for param in sorted(params, key=self.order.__getitem__) if param.grad is not None)
        self.done |= set(params)


def agree(tensors: Mapping[str, Tensor]) -> None:
    """Check that every process holds the same tensors.

    Raises:
        RuntimeError: naming some that differ.
    """
    count = place().processes
    if count == 1:
        return
    gathered: list[dict[str, str]] = [{}] * count
    torch.distributed.all_gather_object(gathered, {n: sha256(layout({n: t.detach()}, {})) for n, t in tensors.items()})
    names = sorted({name for found in gathered for name in found})
    differ = [name for name in names if len({found.get(name) for found in gathered}) > 1]
    if differ:
        raise RuntimeError(
            f"the {count} processes hold different tensors: found {len(differ)} that differ, {', '.join(differ[:3])} "
            "among them; expected the same ones everywhere. Build the model from the same seed, and give all processes "
            "the same data and the same folder of checkpoints."
        )


def _params(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [param for group in optimizer.param_groups for param in group["params"]]
