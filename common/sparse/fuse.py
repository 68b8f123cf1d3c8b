"""Rewrites of a program into the runtime's own steps: what surrounds a convolution is done by the convolution.

`sparse.conv` takes its input through a stage (a copy into a padded plane that also pads, doubles the pixels, or
normalises and activates) and puts bias, time embedding and residual into its sums; `sparse.cat` is a buffer into whose
parts the convolutions before it write. A linear layer over tokens is a convolution of one pixel.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from common.sparse.program import Program, Ref, Step
from common.sparse.recognise import activation, layer_options, normalisation, of_images

__all__ = ["fuse"]

_DOUBLE = "aten.upsample_nearest2d.vec"


def fuse(program: Program, forms: Mapping[str, str]) -> Program:
    """The program with the runtime's steps.

    Args:
        program: simplified.
        forms: name of a weight to `sparse`, `dense` or `slim`, which its layer runs as; layers of other weights stay
            ATen's.
    """
    layers = (_norms, lambda p: _layers(p, forms), _stages)
    for rewrite in (*layers, _doublings, _tokens, _biases, _residuals, _activations, _joins):
        program = rewrite(program).pruned()
    return program


class _View:
    """A program with what the rewrites ask: who makes a value, and who alone reads it."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.maker = {step.out: step for step in program.steps}
        self.users = program.users()

    def made(self, value: Any, op: str, *, alone: bool = True) -> Step | None:
        """The step of an operation that made a value which nobody else reads."""
        step = self.maker.get(value.name) if isinstance(value, Ref) else None
        if step is None or step.op != op:
            return None
        single = len(self.users.get(step.out, [])) == 1 and step.out not in self.program.outputs
        return step if single or not alone else None

    def replaced(self, changes: dict[str, Step]) -> Program:
        """The program with the steps of some values replaced."""
        return replace(self.program, steps=[changes.get(step.out, step) for step in self.program.steps])


def _norms(program: Program) -> Program:
    """Group normalisations, and batch normalisations in eval mode, each with the activation after it."""
    view, changes, constants = _View(program), {}, dict(program.constants)
    for step in program.steps:
        after = activation(step)
        source = view.maker.get(step.args[0].name) if after and isinstance(step.args[0], Ref) else step
        norm = view.made(Ref(source.out), source.op, alone=after is not None) if source else None
        found = normalisation(norm, constants) if norm else None
        if norm and found and len(program.shapes.get(norm.out, ())) in (3, 4):
            numbers, options = found
            changes[step.out] = Step(step.out, "sparse.norm", (norm.args[0], *numbers), options | (after or {}))
    return replace(view.replaced(changes), constants=constants)


def _layers(program: Program, forms: Mapping[str, str]) -> Program:
    changes, images = {}, of_images(program)
    for step in program.steps:
        options = layer_options(step, program)
        # a layer outside `images` is computed once for every timestep, not for every image
        if options is None or step.out not in images or step.args[1].name not in forms:
            continue
        options |= {"form": forms[step.args[1].name]}
        bias = step.args[2] if len(step.args) > 2 else None
        changes[step.out] = Step(step.out, "sparse.conv", (step.args[0], step.args[1], bias), options)
    return _View(program).replaced(changes)


def _stages(program: Program) -> Program:
    """Padding, doubling and normalisation before a convolution, in this order of nearness."""
    changes, view = {}, _View(program)
    for step in program.steps:
        if step.op != "sparse.conv" or step.kwargs.get("tokens") or step.kwargs.get("transposed"):
            continue
        source, options = step.args[0], dict(step.kwargs)
        pad = view.made(source, "aten.pad.default")
        if pad and pad.args[2:] in ((), ("constant",), ("constant", 0.0), ("constant", None)) and min(pad.args[1]) >= 0:
            left, right, *rows = [*pad.args[1], 0, 0][:4]
            margins = (*rows, left, right)
            options["padding"] = [a + b for a, b in zip(options["padding"], margins, strict=True)]
            source = pad.args[0]
        up = view.made(source, _DOUBLE)
        if up and _doubles(up):
            options["double"], source = True, up.args[0]
        norm = view.made(source, "sparse.norm")
        if norm:
            options["norm"], source = {"scale": norm.args[1], "shift": norm.args[2], **norm.kwargs}, norm.args[0]
        changes[step.out] = replace(step, args=(source, *step.args[1:]), kwargs=options)
    return view.replaced(changes)


def _doubles(step: Step) -> bool:
    return step.op == _DOUBLE and step.args[1] is None and list(step.args[2]) == [2.0, 2.0]


def _doublings(program: Program) -> Program:
    """Doublings that no layer takes in."""
    found = {s.out: Step(s.out, "sparse.double", s.args[:1]) for s in program.steps if _doubles(s)}
    return _View(program).replaced(found)


def _tokens(program: Program) -> Program:
    """A linear layer whose tokens become an image again writes the image."""
    changes, view = {}, _View(program)
    for step in program.steps:
        if step.op != "aten.reshape.default" or len(program.shapes.get(step.out, ())) != 4:
            continue
        turned = view.made(step.args[0], "aten.transpose.int")
        layer = view.made(turned.args[0], "sparse.conv") if turned else None
        if turned and layer and layer.kwargs.get("tokens") and sorted(a % 3 for a in turned.args[1:]) == [1, 2]:
            _, channels, rows, cols = program.shapes[step.out]
            if channels == program.shapes[layer.out][-1]:
                changes[step.out] = replace(layer, out=step.out, kwargs=layer.kwargs | {"image": [rows, cols]})
    return view.replaced(changes)


def _biases(program: Program) -> Program:
    """An addition of one number an image and channel, as of a time embedding."""
    changes, view = {}, _View(program)
    for step in program.steps:
        if step.op != "aten.add.Tensor" or step.kwargs:
            continue
        for value, other in (step.args[:2], step.args[1::-1]):
            layer, vector = view.made(value, "sparse.conv"), _vector(view, other)
            if layer and vector and "bias" not in layer.kwargs:
                changes[step.out] = replace(layer, out=step.out, kwargs=layer.kwargs | {"bias": vector})
                break
    return view.replaced(changes)


def _vector(view: _View, value: Any) -> Ref | None:
    """The (images, channels) behind a value of shape (images, channels, 1, 1)."""
    outer = view.made(value, "aten.unsqueeze.default", alone=False)
    inner = view.made(outer.args[0], "aten.unsqueeze.default", alone=False) if outer else None
    if outer and inner and {outer.args[1] % 4, inner.args[1] % 3} <= {2, 3}:
        return inner.args[0] if len(view.program.shapes.get(inner.args[0].name, ())) == 2 else None
    return None


def _residuals(program: Program) -> Program:
    changes, view = {}, _View(program)
    for step in program.steps:
        if step.op != "aten.add.Tensor" or step.kwargs:
            continue
        for value, other in (step.args[1::-1], step.args[:2]):
            layer = view.made(value, "sparse.conv")
            same = isinstance(other, Ref) and program.shapes.get(other.name) == program.shapes[step.out]
            if layer and same and "residual" not in layer.kwargs and layer.out not in changes and value != other:
                changes[step.out] = replace(layer, out=step.out, kwargs=layer.kwargs | {"residual": other})
                break
    return view.replaced(changes)


def _activations(program: Program) -> Program:
    """ReLU and leaky ReLU, with which a layer ends."""
    changes, view = {}, _View(program)
    for step in program.steps:
        options = activation(step) or {}
        layer = view.made(step.args[0], "sparse.conv") if "slope" in options else None
        if layer and "slope" not in layer.kwargs:
            changes[step.out] = replace(layer, out=step.out, kwargs=layer.kwargs | options)
    return view.replaced(changes)


def _joins(program: Program) -> Program:
    """Concatenations of channels: the layers before write where their result is wanted."""
    changes: dict[str, Step] = {}
    view = _View(program)
    for step in program.steps:
        if (
            step.op != "aten.cat.default"
            or len(program.shapes.get(step.out, ())) != 4
            or step.args[1:] not in ((1,), (-3,))
        ):
            continue
        total, offset = program.shapes[step.out][1], 0
        for value in step.args[0]:
            maker = changes.get(value.name) or view.maker.get(value.name)
            if maker and maker.op == "sparse.conv" and "place" not in maker.kwargs and not maker.kwargs.get("tokens"):
                place = [step.out, offset, total]
                changes[value.name] = replace(maker, kwargs=maker.kwargs | {"place": place})
            offset += program.shapes[value.name][1] or 0
        changes[step.out] = Step(step.out, "sparse.cat", (list(step.args[0]),), {"channels": total})
    return view.replaced(changes)
