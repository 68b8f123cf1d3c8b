"""A network as inference takes it: its parameters under masks, and what of them can matter."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from common.runs.errors import UsageError
from glt._infer_plan import Compact, compact
from glt.convs import GCNConv
from glt.models import GCN

__all__ = ["checked_threads", "masked_parameters", "slim_network"]


def slim_network(net: nn.Module, named: Mapping[str, Tensor]) -> tuple[Compact, str]:
    """A network without what cannot matter, and whose degrees normalise its propagation.

    To serve another network, describe it as the layers of `glt._infer_plan` here.

    Args:
        net: a GCN in eval mode; batch normalisation becomes part of weights and biases.
        named: its parameters under their masks, each name with `net.` before it.

    Raises:
        TypeError: the network is no GCN, or normalises otherwise.
    """
    if not isinstance(net, GCN):
        raise TypeError(f"found the network {type(net).__name__}; expected a GCN, which inference is made for")
    convs = [conv for conv in net.convs if isinstance(conv, GCNConv)]
    weights = [named[f"net.convs.{number}.lin.weight"] for number in range(len(convs))]
    biases = [named.get(f"net.convs.{number}.bias") for number in range(len(convs))]
    for number, norm in enumerate(net.norms):
        scale, shift = _affine(norm, f"net.norms.{number}", named)
        if scale is not None:
            before = biases[number]
            weights[number] = weights[number] * scale.unsqueeze(1)
            biases[number] = shift if before is None else shift + scale * before
    return compact(weights, biases), convs[0].degree


def _affine(norm: nn.Module, name: str, named: Mapping[str, Tensor]) -> tuple[Tensor | None, Tensor]:
    """Batch normalisation as a scale and a shift a unit, (D,) each; no scale where there is none."""
    nothing = torch.zeros(())
    if isinstance(norm, nn.Identity):
        return None, nothing
    if not isinstance(norm, nn.BatchNorm1d) or norm.running_mean is None or norm.running_var is None:
        raise TypeError(
            f"found {type(norm).__name__} between the layers; expected batch normalisation with running statistics, or "
            "none: another kind looks at all units of a node, which inference is not made for"
        )
    scale = (norm.running_var.cpu().double() + norm.eps).rsqrt() * named.get(f"{name}.weight", torch.ones(()))
    shift = named.get(f"{name}.bias", nothing) - scale * norm.running_mean.cpu()
    return scale.float(), shift.float()


def checked_threads(threads: int | None) -> int:
    """A number of threads; torch's present one if not given.

    Raises:
        UsageError: it is below one.
    """
    if threads is not None and threads < 1:
        raise UsageError(f"threads must be at least 1; found {threads}")
    return torch.get_num_threads() if threads is None else threads


def masked_parameters(model: nn.Module, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A model's parameters under masks, on the CPU; the model is left as it is.

    Raises:
        ValueError: a mask without a parameter, or of another shape.
    """
    named = {name: tensor.detach().cpu().float() for name, tensor in model.named_parameters()}
    for name, mask in masks.items():
        if name not in named or named[name].shape != mask.shape:
            expected = tuple(named[name].shape) if name in named else "no such parameter"
            raise ValueError(f"found a mask of shape {tuple(mask.shape)} for {name!r}; expected {expected}")
        named[name] = named[name] * mask.cpu()
    return named
