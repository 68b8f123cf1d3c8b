"""2:4 inference: layers that keep at most two of every four consecutive weights, as sparse tensor cores take them."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from common._parameters import owners, resolve
from common.sparse._semi_backend import Backend, Cuda, Emulated, suited
from common.sparse._semi_layers import SemiConv2d, SemiLinear
from common.sparse._semi_pattern import TwoOfFour, fault
from common.ticket import Ticket

__all__ = ["Cuda", "Emulated", "Semi", "SemiConv2d", "SemiLinear", "TwoOfFour", "semistructured"]

_TYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


@dataclass(frozen=True, eq=False)
class Semi:
    """A converted model.

    Attributes:
        model: a copy in eval mode whose 2:4 layers are `SemiLinear` and `SemiConv2d`.
        report: name of every weight to its `form`, `2:4` or `dense`, its `density` in [0, 1] and, if it is dense, the
            `reason`.
    """

    model: nn.Module
    report: dict[str, dict[str, Any]]


def semistructured(
    model: nn.Module,
    ticket: Ticket | Mapping[str, Tensor],
    *,
    dtype: torch.dtype | None = None,
    backend: Backend | None = None,
) -> Semi:
    """A copy of a model whose linear layers and convolutions with 2:4 masks hold two values of every four weights.

    The groups of four lie along a weight's rows (in-features, or in-channels by kernel rows by kernel columns), as
    those of `common.structure.n_of_m(2, 4)`, whose masks fit as they are; so do masks that keep fewer. Weights shrink
    to (out, k / 2) values and 2 bits of position each, 56 % of the bytes of a dense bfloat16 weight.

    On an NVIDIA GPU of compute capability 8.0 or later, weights of float16 and bfloat16 are multiplied by sparse tensor
    cores, which need sides that are multiples of 16 (cuSPARSELt) or 32 x 64 (CUTLASS); other shapes stay dense, so
    convert the model on the device where it will run. There, torch's packed form is held beside the compressed one.
    Anywhere else the compressed form is expanded at every call, which gains memory and no time.

    Args:
        model: any module; it is left as it is.
        ticket: a ticket or masks, under which the model's present weights are taken. A weight whose mask is not 2:4
            stays dense, its pruned entries zero.
        dtype: the type to convert the copy to, inputs being the caller's; by default the model's own.
        backend: who multiplies; by default whoever suits each weight's device and type.

    Raises:
        TypeError: neither a ticket nor a mapping, or a dtype that is no floating point type.
        TicketError: the ticket belongs to another model.
        KeyError: the model has no parameter of a mask's name.
        ValueError: a mask has another shape than its parameter.

    References:
        Mishra et al., Accelerating Sparse Deep Neural Networks, 2021.

    >>> model = nn.Sequential(nn.Linear(4, 2), nn.ReLU(), nn.Linear(2, 1))
    >>> semi = semistructured(model, {"0.weight": torch.tensor([[True, False, False, True]]).expand(2, 4)})
    >>> semi.model[0], semi.report["2.weight"]
    (SemiLinear(4, 2, bias=True, backend=Emulated), {'form': 'dense', 'density': 1.0, 'reason': 'it has no mask'})
    """
    if dtype is not None and dtype not in _TYPES:
        raise TypeError(f"found dtype={dtype}; expected one of {', '.join(map(str, _TYPES))}, or none")
    made = copy.deepcopy(model).eval().to(dtype)
    found = resolve(made, _masks(model, ticket))
    for param, mask in found.values():
        with torch.no_grad():
            param.masked_fill_(~mask, 0)
    layers, entries = _converted(made, found, backend)
    named = made.named_parameters(remove_duplicate=False)
    report = {name: entries[id(param)] for name, param in named if id(param) in entries}
    return Semi(_replaced(made, layers), report)


def _masks(model: nn.Module, ticket: Ticket | Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    if isinstance(ticket, Ticket):
        ticket.verify(model)
        return ticket.masks
    if not isinstance(ticket, Mapping):
        raise TypeError(f"found a {type(ticket).__name__}; expected a Ticket, or masks by the names of parameters")
    return ticket


def _converted(
    model: nn.Module, found: Mapping[str, tuple[nn.Parameter, Tensor]], backend: Backend | None
) -> tuple[dict[nn.Module, nn.Module], dict[int, dict[str, Any]]]:
    """Old to new layers, and what the report says by the id of a weight."""
    layers: dict[nn.Module, nn.Module] = {}
    entries: dict[int, dict[str, Any]] = {}
    for param, mask in found.values():
        held = list(owners(model, param))
        reason = next(filter(None, (_hindrance(*place) for place in held)), "") or fault(mask)
        chosen = backend or suited(param.device, param.dtype)
        reason = reason or chosen.refusal((len(param), param[0].numel()), param.dtype)
        entries[id(param)] = _entry(reason, int(mask.sum()) / max(1, mask.numel()))
        if not reason:
            weight = TwoOfFour.of(param, mask)
            layers |= {module: _layer(module, weight, backend) for module, _ in held}
    for module in model.modules():
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            entries.setdefault(id(module.weight), _entry("it has no mask", 1.0))
    return layers, entries


def _hindrance(module: nn.Module, attribute: str) -> str:
    """Why a module that holds a weight cannot be replaced; nothing if it can."""
    if attribute != "weight" or type(module) not in (nn.Linear, nn.Conv2d):
        return f"it is the {attribute} of {type(module).__name__}; only weights of Linear and Conv2d can be 2:4"
    if isinstance(module, nn.Conv2d) and module.groups != 1:
        return f"its convolution has {module.groups} groups; only those of one can be 2:4"
    return "its layer has hooks" if module._forward_hooks or module._forward_pre_hooks else ""


def _entry(reason: str, density: float) -> dict[str, Any]:
    return {"form": "dense" if reason else "2:4", "density": density} | ({"reason": reason} if reason else {})


def _layer(module: nn.Module, weight: TwoOfFour, backend: Backend | None) -> nn.Module:
    layer = (
        SemiConv2d(weight, module, backend)
        if isinstance(module, nn.Conv2d)
        else SemiLinear(weight, module.bias, backend)  # type: ignore[arg-type]
    )
    return layer.eval()


def _replaced(model: nn.Module, layers: Mapping[nn.Module, nn.Module]) -> nn.Module:
    """The model with other modules in the place of some, wherever they occur."""
    for module in list(model.modules()):
        for name, child in module._modules.items():
            if child is not None and child in layers:
                module._modules[name] = layers[child]
    return layers.get(model, model)
