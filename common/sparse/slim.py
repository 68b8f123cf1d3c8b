"""Dead channels and units leave a network for good: what remains is a smaller dense network, equal to rounding."""

from __future__ import annotations

import copy
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from common._parameters import resolve
from common.sparse._slim_cut import cut
from common.sparse._slim_form import described
from common.sparse._slim_trace import is_library, trace

__all__ = ["Report", "Slim", "slim"]

_ROUNDING = 16  # times the precision, of the largest output: beyond it, double precision has to decide


@dataclass(frozen=True)
class Report:
    """What was saved.

    Attributes:
        parameters_before, parameters_after: entries of all parameters, each shared tensor once.
        macs_before, macs_after: multiply-adds of matrix products and convolutions for the example inputs.
        pinned: operations without a rule, and forwards with sizes of their own, at which channels had to stay.
    """

    parameters_before: int
    parameters_after: int
    macs_before: int
    macs_after: int
    pinned: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Slim:
    """A slimmed model.

    Attributes:
        model: a module of the same classes with fewer channels and units, in eval mode.
        kept: name of each parameter and buffer to the indices (kept,) that remain along each of its dimensions.
        report: sizes before and after.
        origin: what the model was, by which `common.sparse.slim_files` knows a fresh one.
    """

    model: nn.Module
    kept: dict[str, tuple[Tensor, ...]]
    report: Report
    origin: dict[str, dict[str, Any]]


def slim(model: nn.Module, masks: Mapping[str, Tensor], example_inputs: tuple[Any, ...]) -> Slim:
    r"""Remove every channel, unit, normalisation group and head that cannot reach an output, exactly.

    An index goes if nobody reads it, that is if the weights of all its readers that remain are zero, or if it is a
    constant c for all inputs, whose share :math:`b_o \mathrel{+}= c \sum_k w_{oik}` each reader's bias takes over;
    past zero padding only c = 0 can go. Indices that meet in a sum, a norm or a head go together or not at all, and
    at an operation without a rule, at inputs and at outputs, they stay. One index of every dimension stays.

    Zeros count wherever they come from, pruning or training. The result holds for inference and finite activations:
    a zero that training would leave is removed too, and zero times an activation is zero.

    Args:
        model: any module that torch.export takes; it is left as it is.
        masks: parameter name to a bool tensor of its shape; True is kept. Other parameters are dense.
        example_inputs: the positional arguments of `forward`, tensors of the shapes in use.

    Returns:
        The smaller model, whose outputs equal those of the masked model in eval mode to rounding; this was checked
        on the example inputs, with noise in the place of constant ones. Its state_dict has the same names, and a new
        bias where a layer without one takes over a constant.

    Raises:
        KeyError: the model has no parameter of a name.
        ValueError: a mask has another shape than its parameter, or the model cannot be exported.

    References:
        Li et al., Pruning Filters for Efficient ConvNets, ICLR 2017.
        Fang et al., DepGraph: Towards Any Structural Pruning, CVPR 2023.

    >>> net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    >>> unread = torch.tensor([True, False, True, False]).expand(2, 4)
    >>> small = slim(net, {"2.weight": unread}, (torch.zeros(1, 3),))
    >>> small.model[0], small.kept["0.weight"][0].tolist()
    (Linear(in_features=3, out_features=2, bias=True), [0, 2])
    """
    dense = _masked(model, masks)
    exported = _exported(dense, example_inputs)
    example = tree_map(_stirred, example_inputs)
    expected, macs = _run(dense, example)
    fixed: dict[type, int] = {}
    while True:
        plan = trace(dense, exported, fixed)
        small, kept = cut(dense, plan)
        found, fewer, blamed = _tried(small, example)
        if nn.Module in fixed or (found is not None and _equal(dense, small, example, expected, found)):
            break
        more = {kind: fixed.get(kind, 0) + 1 for kind in ({blamed} if blamed else plan.sized)}
        fixed = fixed | more if more and max(more.values()) < 3 else {nn.Module: 2}
    report = Report(_size(dense), _size(small), macs, fewer, tuple(plan.refused))
    return Slim(small, kept, report, described(model))


def _masked(model: nn.Module, masks: Mapping[str, Tensor]) -> nn.Module:
    """A copy in eval mode, its pruned weights zero."""
    names = resolve(model, masks)
    dense = copy.deepcopy(model).eval()
    named = dict(dense.named_parameters(remove_duplicate=False))
    with torch.no_grad():
        for name, (_, mask) in names.items():
            named[name].masked_fill_(~mask, 0)
    return dense


def _exported(model: nn.Module, example: tuple[Any, ...]) -> Any:
    try:
        with torch.no_grad():
            return torch.export.export(model, example)
    except Exception as error:
        raise ValueError(
            f"{type(model).__name__} cannot be exported ({str(error).splitlines()[0]}); expected a forward without "
            "control flow that depends on data. Slim the part that can be, such as the denoiser or the generator."
        ) from error


def _run(model: nn.Module, example: tuple[Any, ...]) -> tuple[list[Tensor], int]:
    """The output tensors, from the same random numbers every time, and the multiply-adds."""
    with torch.random.fork_rng(devices=[]), torch.no_grad(), _counter() as counter:
        torch.manual_seed(0)
        outputs = model(*copy.deepcopy(example))
    return [leaf for leaf in tree_leaves(outputs) if isinstance(leaf, Tensor)], counter.get_total_flops() // 2


def _counter() -> FlopCounterMode:
    """torch's counter of two operations a multiply-add, with the attention kernel for CPUs that it leaves out."""

    def attention(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
        return sdpa_flop_count(query, key, value)

    packet = getattr(torch.ops.aten, "_scaled_dot_product_flash_attention_for_cpu")  # noqa: B009
    return FlopCounterMode(display=False, custom_mapping={packet: attention})


def _stirred(given: Any) -> Any:
    """A float tensor of one value, which would hide a difference, with noise; anything else as it is."""
    if not (isinstance(given, Tensor) and given.is_floating_point() and bool((given == given.flatten()[:1]).all())):
        return given
    return given + torch.rand(given.shape, generator=torch.Generator().manual_seed(0)).to(given)


def _tried(small: nn.Module, example: tuple[Any, ...]) -> tuple[list[Tensor] | None, int, type | None]:
    """What `_run` gives, or the class to blame for an error."""
    try:
        return *_run(small, example), None
    except Exception as error:  # whatever a forward raises that expects the former sizes
        return None, 0, _blamed(error)


def _equal(
    dense: nn.Module, small: nn.Module, example: tuple[Any, ...], expected: list[Tensor], found: list[Tensor]
) -> bool:
    """Whether outputs agree to rounding; where that is in doubt, both models run in double precision."""
    if _close(expected, found, _ROUNDING):
        return True

    def double(item: Any) -> Any:
        return item.double() if isinstance(item, Tensor) and item.is_floating_point() else item

    try:
        inputs = tree_map(double, example)
        ours, theirs = (_run(copy.deepcopy(model).double(), inputs)[0] for model in (dense, small))
        return _close(ours, theirs, 1e6)
    except Exception:  # a forward that insists on its own precision
        return _close(expected, found, 64 * _ROUNDING)


def _close(expected: list[Tensor], found: list[Tensor], slack: float) -> bool:
    """Whether outputs agree to so many times their precision, measured at the largest entry."""
    if [tensor.shape for tensor in expected] != [tensor.shape for tensor in found]:
        return False
    for a, b in zip(expected, found, strict=True):
        scale = float(a[a.isfinite()].abs().max()) if a.isfinite().any() else 0.0
        allowed = slack * torch.finfo(a.dtype).eps * scale if a.is_floating_point() else 0.0
        if not torch.allclose(a, b, rtol=0.0, atol=allowed, equal_nan=True):
            return False
    return True


def _blamed(error: BaseException) -> type | None:
    """The class whose forward failed: of the innermost frame that holds a module with code of its own."""
    frames: list[FrameType] = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    for frame in reversed(frames):
        for value in frame.f_locals.values():
            if isinstance(value, nn.Module) and not is_library(value):
                return type(value)
    return None


def _size(model: nn.Module) -> int:
    return sum(param.numel() for param in model.parameters())
