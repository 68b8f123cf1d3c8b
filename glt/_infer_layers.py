"""The layers of `glt.convs` as steps of inference, with what follows them folded into their weights where it can be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from glt._infer_matrix import Kind
from glt._infer_steps import Attend, Bias, Maximum, Multiply, Plus, Program, Propagate, Relu, Softmax, Touch
from glt.convs import GATConv, GENConv, GINConv, SAGEConv, SGConv

__all__ = ["LAYERS", "After", "linear"]

_Named = Mapping[str, Tensor]


@dataclass(frozen=True)
class After:
    """What follows a layer.

    Attributes:
        scale: (D,) or a number, which its weights and its bias take in; None for one.
        shift: (D,), which its bias takes in; None for zero.
        touches: what is left.
    """

    scale: Tensor | None = None
    shift: Tensor | None = None
    touches: tuple[Touch, ...] = ()

    def weight(self, weight: Tensor) -> Tensor:
        """A weight (D, in), scaled."""
        return weight if self.scale is None else weight * self.scale.reshape(-1, 1)

    def finish(self, bias: Tensor | None, *between: Touch) -> tuple[Touch, ...]:
        """The bias with scale and shift, what stands between it and the rest, and the rest."""
        if bias is not None and self.scale is not None:
            bias = bias * self.scale
        if self.shift is not None:
            bias = self.shift if bias is None else bias + self.shift
        return (*([] if bias is None else [Bias(bias)]), *between, *self.touches)


def linear(program: Program, weight: Tensor, bias: Tensor | None, value: int, after: After) -> int:
    """A linear map and what follows it; returns the number of what it makes."""
    return program.add(Multiply(after.weight(weight)), value, *after.finish(bias))


def _sgc(program: Program, conv: SGConv, named: _Named, value: int, layer: int, after: After) -> tuple[int, int]:
    value = program.add(Multiply(after.weight(named["lin.weight"])), value)
    kind = Kind("symmetric", conv.degree)
    for hop in range(layer, layer + conv.hops - 1):
        value = program.add(Propagate(kind, hop), value)
    layer += conv.hops
    return program.add(Propagate(kind, layer - 1), value, *after.finish(named.get("bias"))), layer


def _gin(program: Program, conv: GINConv, named: _Named, value: int, layer: int, after: After) -> tuple[int, int]:
    own = 1 + float(conv.eps)
    places = [number for number, module in enumerate(conv.nn) if isinstance(module, nn.Linear)]
    for number in places:
        weight, bias = named[f"nn.{number}.weight"], named.get(f"nn.{number}.bias")
        here = after if number == places[-1] else After(touches=(Relu(),))
        if number > 0:
            value = linear(program, weight, bias, value, here)
        elif conv.aggregation == "max":
            value = linear(program, weight, bias, program.add(_maximum(own, layer), value), here)
        else:
            value = program.add(Multiply(here.weight(weight)), value)
            value = program.add(Propagate(Kind(conv.aggregation, own=own), layer), value, *here.finish(bias))
    return value, layer + 1


def _sage(program: Program, conv: SAGEConv, named: _Named, value: int, layer: int, after: After) -> tuple[int, int]:
    itself = program.add(Multiply(after.weight(named["lin_r.weight"])), value)
    touches = after.finish(named.get("lin_l.bias"), Plus(itself))
    others = Multiply(after.weight(named["lin_l.weight"]))
    if conv.aggregation == "max":
        return program.add(others, program.add(_maximum(0.0, layer), value), *touches), layer + 1
    hop = Propagate(Kind(conv.aggregation), layer)
    return program.add(hop, program.add(others, value), *touches), layer + 1


def _gat(program: Program, conv: GATConv, named: _Named, value: int, layer: int, after: After) -> tuple[int, int]:
    weight, vectors = named["lin.weight"], [named["att_src"][0], named["att_dst"][0]]
    heads, width = vectors[0].shape
    rows = [torch.einsum("hc,hcf->hf", vector, weight.view(heads, width, -1)) for vector in vectors]
    scores = program.add(Multiply(torch.cat(rows)), value)
    of = torch.arange(heads).repeat_interleave(width)
    attend = Attend(Kind(own=1.0, positive=True), layer, of, scores, conv.slope)
    value = program.add(Multiply(after.weight(weight)), value)
    return program.add(attend, value, *after.finish(named.get("bias"))), layer + 1


def _gen(program: Program, conv: GENConv, named: _Named, value: int, layer: int, after: After) -> tuple[int, int]:
    value = program.add(Softmax(Kind(positive=True), layer, conv.t, conv.eps), value)
    return linear(program, named["mlp.0.weight"], named.get("mlp.0.bias"), value, after), layer + 1


def _maximum(own: float, layer: int) -> Maximum:
    return Maximum(Kind(positive=True), layer, own)


LAYERS: dict[type[nn.Module], Callable[[Program, Any, _Named, int, int, After], tuple[int, int]]] = {
    SGConv: _sgc,
    GINConv: _gin,
    SAGEConv: _sage,
    GATConv: _gat,
    GENConv: _gen,
}
"""How to describe a layer: from the program, the layer, its parameters, the value that it reads, the number of its
propagation and what follows it, to the number of what it makes and of the next propagation."""
