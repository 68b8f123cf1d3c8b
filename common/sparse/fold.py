r"""Batch normalisation in eval mode as part of the layer before it.

With running statistics, $\gamma (y - \mu) / \sqrt{\sigma^2 + \epsilon} + \beta$ of a layer's output $y = w x + b$ is
a layer with the weights $s w$ and the bias $s (b - \mu) + \beta$, $s = \gamma / \sqrt{\sigma^2 + \epsilon}$; zeros
stay zeros.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from common.sparse.program import Program, Ref, Step

__all__ = ["fold"]

_OUTPUTS = {"aten.conv2d.default": 0, "aten.conv_transpose2d.input": 1, "aten.linear.default": 0}


def fold(program: Program) -> Program:
    """The program with the batch normalisations that follow a layer of their own folded into it."""
    maker = {step.out: step for step in program.steps}
    users = program.users()
    constants, changes = dict(program.constants), {}
    for step in program.steps:
        found = _parts(step, maker, users, constants)
        if found is None or found[0].out in program.outputs:
            continue
        layer, (gamma, beta, mean, variance, epsilon) = found
        weight, axis = constants[layer.args[1].name], _OUTPUTS[layer.op]
        scale = gamma / torch.sqrt(variance + epsilon)
        bias = constants[layer.args[2].name] if len(layer.args) > 2 and layer.args[2] is not None else 0.0
        name = f"{layer.out}.folded_bias"
        constants[layer.args[1].name] = weight * scale.reshape([-1 if d == axis else 1 for d in range(weight.dim())])
        constants[name] = scale * (bias - mean) + beta
        changes[step.out] = replace(layer, out=step.out, args=(*layer.args[:2], Ref(name), *layer.args[3:]))
    steps = [changes.get(step.out, step) for step in program.steps]
    return replace(program, steps=steps, constants=constants).pruned()


def _parts(
    step: Step, maker: dict[str, Step], users: dict[str, list[Step]], constants: dict[str, Any]
) -> tuple[Step, tuple[Tensor, Tensor, Tensor, Tensor, float]] | None:
    """The layer before a batch normalisation in eval mode and the normalisation's numbers, if it can be folded."""
    if step.op != "aten.batch_norm.default" or step.args[5] or not isinstance(step.args[0], Ref):
        return None
    layer, numbers = maker.get(step.args[0].name), step.args[1:5]
    if layer is None or layer.op not in _OUTPUTS or len(users[layer.out]) > 1:
        return None
    if any(value is not None and value.name not in constants for value in (*numbers, *layer.args[1:3])):
        return None
    if len(users[layer.args[1].name]) > 1 or numbers[2] is None or _groups(layer) != 1:
        return None
    mean, variance = constants[numbers[2].name], constants[numbers[3].name]
    gamma = constants[numbers[0].name] if numbers[0] is not None else torch.ones_like(mean)
    beta = constants[numbers[1].name] if numbers[1] is not None else torch.zeros_like(mean)
    return layer, (gamma, beta, mean, variance, step.args[7])


def _groups(layer: Step) -> int:
    """Groups of a transposed convolution, where the outputs of a group lie along the second dimension."""
    return layer.args[6] if layer.op == "aten.conv_transpose2d.input" and len(layer.args) > 6 else 1
