"""From a model to a program: torch.export, then the rewrites that need no knowledge of kernels."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from common.sparse.program import Program, Ref, Step, operation

__all__ = ["lower", "simplify"]

_NOTHING = {
    f"aten.{name}.default"
    for name in ("dropout", "feature_dropout", "alias", "contiguous", "detach", "detach_", "clone", "lift_fresh_copy")
}
_CHECKS = {
    "aten._assert_tensor_metadata.default",
    "aten._assert_scalar.default",
    "aten.sym_constrain_range_for_size.default",
}


def lower(model: nn.Module, example: tuple[Tensor, ...]) -> Program:
    """The steps of a model in eval mode, for any size of the batch where the model allows it.

    Args:
        model: on the CPU; it is put into eval mode for the export and back.
        example: its tensors, in the order of `forward`; the first dimension of each is the batch, of at least 2.

    Raises:
        ValueError: the model cannot be exported (control flow that depends on data), or it changes its own buffers.
    """
    training = model.training
    model.eval()
    batch = ({0: torch.export.Dim.AUTO} if tensor.dim() else None for tensor in example)
    try:
        with torch.no_grad():
            exported = torch.export.export(model, example, dynamic_shapes=tuple(batch))
    except Exception as error:
        raise ValueError(
            f"{type(model).__name__} cannot be exported ({str(error).splitlines()[0]}); expected a forward without "
            "control flow that depends on data. Convert the part that runs hot, such as the denoiser or the generator."
        ) from error
    finally:
        model.train(training)
    return simplify(_program(exported))


def _program(exported: Any) -> Program:
    signature = exported.graph_signature
    tensors = {**exported.state_dict, **exported.constants}
    homes = {
        **signature.inputs_to_parameters,
        **signature.inputs_to_buffers,
        **signature.inputs_to_lifted_tensor_constants,
    }
    if signature.buffers_to_mutate:
        raise ValueError(f"forward changes the buffers {list(signature.buffers_to_mutate.values())}; expected none.")
    names: dict[str, str] = dict(homes)
    steps: list[Step] = []
    shapes: dict[str, tuple[int | None, ...]] = {}
    outputs: list[str] = []
    for node in exported.graph.nodes:
        name = names.get(node.name, node.name)
        value = node.meta.get("val")
        if isinstance(value, Tensor):
            shapes[name] = tuple(size if isinstance(size, int) else None for size in value.shape)
        if node.op == "call_function":
            kwargs = {key: _plain(item, names) for key, item in node.kwargs.items()}
            steps.append(Step(node.name, _name(node.target), _plain(node.args, names), kwargs))
        elif node.op == "output":
            outputs = [ref.name for ref in _plain(list(node.args[0]), names)]
    constants = {home: tensors[home].detach() for home in homes.values() if home in tensors}
    return Program(list(signature.user_inputs), steps, outputs, constants, shapes)


def _name(target: Any) -> str:
    if isinstance(target, torch._ops.OpOverload):
        return f"{target.namespace}.{target._opname}.{target._overloadname}"
    return f"operator.{target.__name__.strip('_')}"


def _plain(value: Any, names: dict[str, str]) -> Any:
    if isinstance(value, torch.fx.Node):
        return Ref(names.get(value.name, value.name))
    if isinstance(value, list | tuple):
        return type(value)(_plain(item, names) for item in value)
    return value


def simplify(program: Program) -> Program:
    """Without dropout, checks, casts to the same type and arithmetic with neutral numbers; constants folded.

    Views become reshapes, which also work on the runtime's strides.
    """
    renames: dict[str, str] = {}
    constants = dict(program.constants)
    steps = []
    for step in program.steps:
        step = step.renamed(renames)
        if step.op in _CHECKS:
            continue
        if _in_place(step.op):
            plain = step.op.replace("_.", ".")
            renames[step.args[0].name] = step.out  # whoever reads the old name from here on means the new value
            step = Step(step.out, plain, step.args, step.kwargs)
        if _neutral(step, constants) and step.args[0].name not in program.inputs + list(constants):
            renames[step.out] = step.args[0].name
        elif step.op in ("aten.view.default", "aten._unsafe_view.default"):
            steps.append(Step(step.out, "aten.reshape.default", step.args))
        elif all(name in constants for name in step.reads) and step.op.startswith("aten.") and not _random(step.op):
            if step.reads or step.op.startswith("aten.arange"):
                constants[step.out] = _computed(step, constants)
            else:
                steps.append(step)
        else:
            steps.append(step)
    outputs = [renames.get(name, name) for name in program.outputs]
    return Program(program.inputs, steps, outputs, constants, program.shapes).pruned()


def _neutral(step: Step, constants: dict[str, Tensor]) -> bool:
    if step.op in _NOTHING:
        return True
    if step.op == "aten.to.dtype":
        return False if not step.args[1:] else step.args[1] is torch.float32 and _known_float(step.args[0], constants)
    if step.op == "aten.slice.Tensor":
        return (
            len(step.args) == 4 and step.args[2] == 0 and not isinstance(step.args[3], Ref) and step.args[3] >= 1 << 62
        )
    neutral = {"aten.div.Tensor": 1, "aten.mul.Tensor": 1, "aten.add.Tensor": 0, "aten.sub.Tensor": 0}.get(step.op)
    return neutral is not None and not isinstance(step.args[1], Ref) and step.args[1] == neutral and not step.kwargs


def _in_place(op: str) -> bool:
    name = op.split(".")[1]
    return op.startswith("aten.") and name.endswith("_") and not name.endswith("__")


def _known_float(ref: Ref, constants: dict[str, Tensor]) -> bool:
    return ref.name in constants and constants[ref.name].dtype is torch.float32


def _random(op: str) -> bool:
    return any(word in op for word in ("rand", "normal", "bernoulli", "dropout"))


def _computed(step: Step, constants: dict[str, Tensor]) -> Tensor:
    def real(value: Any) -> Any:
        if isinstance(value, Ref):
            return constants[value.name]
        if isinstance(value, list | tuple):
            return type(value)(real(item) for item in value)
        return value

    with torch.no_grad():
        result = operation(step.op)(*real(step.args), **{key: real(item) for key, item in step.kwargs.items()})
    return result if isinstance(result, Tensor) else torch.as_tensor(result)
