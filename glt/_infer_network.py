"""A network as inference takes it: its parameters under masks, as the steps of `glt._infer_steps`.

Normalisation by batch becomes part of the weights before it, attention's two vectors rows of a weight of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from common.runs.errors import UsageError
from glt._infer_layers import LAYERS, After, linear
from glt._infer_steps import Affine, Elu, LayerNorm, Plus, Program, Relu, Touch
from glt.models import GIN, NETWORKS, SGC, DeeperGCN, ResGCN
from glt.models.stack import Stack

__all__ = ["checked_threads", "masked_parameters", "steps_of"]

_ACTIVATIONS: dict[object, Touch] = {torch.relu: Relu(), nn.functional.elu: Elu()}


def steps_of(net: nn.Module, named: Mapping[str, Tensor]) -> Program:
    """A network's steps in eval mode.

    To serve another network, say in a function here how its layers follow each other; to serve another layer, add it
    to `glt._infer_layers`.

    Args:
        net: one of `glt.models`.
        named: its parameters under their masks, each name with `net.` before it.

    Raises:
        TypeError: another network, layer, normalisation or activation.
    """
    described = next((function for kind, function in _NETWORKS.items() if isinstance(net, kind)), None)
    if described is None:
        raise TypeError(
            f"found the network {type(net).__name__}; expected one that inference is made for: "
            f"{', '.join(known.__name__ for known in NETWORKS.values())}"
        )
    maker = _Maker(net, named)
    described(maker, net)
    return maker.program


@dataclass
class _Maker:
    """Steps in the making."""

    net: nn.Module
    named: Mapping[str, Tensor]

    def __post_init__(self) -> None:
        first = next(module for module in self.net.modules() if isinstance(module, nn.Linear))
        self.program, self.layer = Program(first.in_features), 0

    def conv(self, name: str, value: int, after: After | None = None) -> int:
        """A layer of `glt.convs`; returns the number of what it makes."""
        conv = self.net.get_submodule(name)
        described = next((LAYERS[kind] for kind in type(conv).__mro__ if kind in LAYERS), None)
        if described is None:
            raise TypeError(f"found the layer {type(conv).__name__}; expected one of glt.convs")
        found, self.layer = described(self.program, conv, self.at(name), value, self.layer, after or After())
        return found

    def linear(self, name: str, value: int, *touches: Touch, share: float = 1.0) -> int:
        """A linear map times a number."""
        at = self.at(name)
        after = After(None if share == 1 else torch.tensor(share), touches=touches)
        return linear(self.program, at["weight"], at.get("bias"), value, after)

    def at(self, name: str) -> dict[str, Tensor]:
        """The parameters of a module, by their names in it."""
        start = f"net.{name}."
        return {key.removeprefix(start): tensor for key, tensor in self.named.items() if key.startswith(start)}

    def after(self, name: str, *touches: Touch) -> After:
        """What a normalisation, and then touches, do to the layer before them."""
        norm, at = self.net.get_submodule(name), self.at(name)
        if isinstance(norm, nn.Identity):
            return After(touches=touches)
        if isinstance(norm, nn.LayerNorm):
            return After(touches=(LayerNorm(at.get("weight"), at.get("bias"), norm.eps), *touches))
        if not isinstance(norm, nn.BatchNorm1d) or norm.running_mean is None or norm.running_var is None:
            raise TypeError(
                f"found {type(norm).__name__} between the layers; expected batch normalisation with running "
                "statistics, layer normalisation, or none"
            )
        scale = (norm.running_var.cpu().double() + norm.eps).rsqrt() * at.get("weight", torch.ones(()))
        shift = at.get("bias", torch.zeros(())) - scale * norm.running_mean.cpu()
        return After(scale.float(), shift.float(), touches)


def _stack(maker: _Maker, net: Stack) -> None:
    value, activation = 0, _ACTIVATIONS.get(net.activation)
    if activation is None:
        raise TypeError(f"found the activation {net.activation!r}; expected relu or elu")
    for number in range(len(net.convs)):
        after = maker.after(f"norms.{number}", activation) if number < len(net.norms) else None
        value = maker.conv(f"convs.{number}", value, after)
        maker.program.layers.append(value)


def _gin(maker: _Maker, net: GIN) -> None:
    value, logits = 0, tuple[Touch, ...]()
    for number in range(len(net.convs)):
        value = maker.conv(f"convs.{number}", value, maker.after(f"norms.{number}", Relu()))
        maker.program.layers.append(value)
        logits = (Plus(maker.linear(f"heads.{number}", value, *logits, share=1 / len(net.convs))),)
    maker.program.layers.append(len(maker.program.steps))


def _sgc(maker: _Maker, _: SGC) -> None:
    maker.program.layers.append(maker.conv("conv", 0))


def _resgcn(maker: _Maker, net: ResGCN) -> None:
    value = maker.linear("encoder", 0)
    maker.program.layers.append(value)
    for number in range(len(net.convs)):
        value = maker.conv(f"convs.{number}", value, maker.after(f"norms.{number}", Relu(), Plus(value)))
        maker.program.layers.append(value)
    maker.program.layers.append(maker.linear("decoder", value))


def _deepergcn(maker: _Maker, net: DeeperGCN) -> None:
    layers = maker.program.layers
    layers.append(maker.linear("encoder", 0))
    layers.append(maker.conv("convs.0", layers[-1]))
    for number in range(1, len(net.convs) + 1):
        after = maker.after(f"norms.{number - 1}", Relu())
        norm = [] if after.scale is None or after.shift is None else [Affine(after.scale, after.shift)]
        active = maker.program.add(None, layers[-1], *norm, *after.touches)
        if number < len(net.convs):
            layers.append(maker.conv(f"convs.{number}", active, After(touches=(Plus(layers[-1]),))))
    layers.append(maker.linear("decoder", active))


_NETWORKS: dict[type[nn.Module], Callable[[_Maker, Any], None]] = {
    Stack: _stack,
    GIN: _gin,
    SGC: _sgc,
    ResGCN: _resgcn,
    DeeperGCN: _deepergcn,
}


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
