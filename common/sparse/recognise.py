"""What the steps of a program are: layers, normalisations, activations, and which of them see the images."""

from __future__ import annotations

from typing import Any

from common.sparse.program import Program, Ref, Step

__all__ = ["activation", "eligible", "layer_options", "normalisation", "of_images"]


def eligible(program: Program) -> list[str]:
    """Weights that only layers read which the runtime can run."""
    images = of_images(program)
    found = {step.out for step in program.steps if step.out in images and layer_options(step, program) is not None}
    return [
        name
        for name, steps in program.users().items()
        if name in program.constants and all(s.out in found and s.args[1] == Ref(name) for s in steps)
    ]


def of_images(program: Program) -> set[str]:
    """The values that depend on the first input, and on more of it than its size."""
    found = set(program.inputs[:1])
    for step in program.steps:
        if step.op != "aten.sym_size.int" and any(name in found for name in step.reads):
            found.add(step.out)
    return found


def layer_options(step: Step, program: Program) -> dict[str, Any] | None:
    """How a layer with a constant weight runs over its weights, or None for any other step."""
    if len(step.args) < 2 or not isinstance(step.args[1], Ref) or step.args[1].name not in program.constants:
        return None
    rest = list(step.args[3:])
    if step.op == "aten.conv2d.default":
        stride, padding, dilation, groups = _defaults(rest, [[1, 1], [0, 0], [1, 1], 1])
        margins = [padding[0], padding[0], padding[-1], padding[-1]]
        return {"padding": margins, "dilation": dilation, "stride": stride, "groups": groups}
    if step.op == "aten.conv2d.padding":
        stride, padding, dilation, groups = _defaults(rest, [[1, 1], "valid", [1, 1], 1])
        kernel = program.constants[step.args[1].name].shape[2:]
        spans = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        margins = [side for span in spans for side in (span // 2, span - span // 2)] if padding == "same" else [0] * 4
        return {"padding": margins, "dilation": dilation, "stride": stride, "groups": groups}
    if step.op == "aten.conv_transpose2d.input":
        stride, padding, extra, groups, dilation = _defaults(rest, [[1, 1], [0, 0], [0, 0], 1, [1, 1]])
        if any(d != 1 for d in dilation):
            return None
        return {"padding": padding, "extra": extra, "transposed": True, "stride": stride, "groups": groups}
    if step.op == "aten.linear.default" and len(program.shapes.get(step.out, ())) in (2, 3):
        single = len(program.shapes[step.out]) == 2
        plain: dict[str, Any] = {"padding": [0, 0, 0, 0], "dilation": [1, 1], "stride": [1, 1], "groups": 1}
        return plain | {"tokens": True, "single": single}
    return None


def normalisation(step: Step, constants: dict[str, Any]) -> tuple[tuple[Ref, Ref], dict[str, Any]] | None:
    """Scale and shift of a normalisation, and its options; a batch normalisation's are added to the constants."""
    if step.op == "aten.group_norm.default" and all(isinstance(value, Ref) for value in step.args[2:4]):
        options: dict[str, Any] = {"groups": step.args[1], "epsilon": step.args[4] if len(step.args) > 4 else 1e-5}
        return (step.args[2], step.args[3]), options
    if step.op != "aten.batch_norm.default" or step.args[5] or None in step.args[3:5]:
        return None
    if any(value is not None and value.name not in constants for value in step.args[1:5]):
        return None
    gamma, beta, mean, variance = (value and constants[value.name] for value in step.args[1:5])
    scale = (1.0 if gamma is None else gamma) / (variance + step.args[7]).sqrt()
    names = f"{step.out}.scale", f"{step.out}.shift"
    constants[names[0]], constants[names[1]] = scale, (0.0 if beta is None else beta) - mean * scale
    return (Ref(names[0]), Ref(names[1])), {"groups": len(scale), "epsilon": 0.0, "fixed": True}


def activation(step: Step) -> dict[str, Any] | None:
    """What kind of activation a step is, if the runtime knows it."""
    if step.op == "aten.leaky_relu.default":
        return {"slope": float(step.args[1]) if len(step.args) > 1 else 0.01}
    known: dict[str, dict[str, Any]] = {"aten.silu.default": {"silu": True}, "aten.relu.default": {"slope": 0.0}}
    return known.get(step.op)


def _defaults(given: list[Any], defaults: list[Any]) -> list[Any]:
    return given + defaults[len(given) :]
