"""`slim`'s walk over an exported graph: slots and constants of every tensor, then which slots must stay."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.fx import Node

from common._parameters import owners
from common.sparse import _slim_entries, _slim_layers, _slim_shapes
from common.sparse._slim_plan import Plan, survivors
from common.sparse._slim_value import Call, Rule, Slots, Value, unknown, values

__all__ = ["is_library", "trace"]

_RULES: dict[str, Rule] = {**_slim_entries.RULES, **_slim_shapes.RULES, **_slim_layers.RULES}
_VIEWS = {
    "view", "reshape", "flatten", "unflatten", "unsqueeze", "squeeze", "permute", "transpose", "t", "expand", "slice",
    "select", "chunk", "split", "split_with_sizes", "detach", "alias", "contiguous", "to", "expand_as", "getitem",
    "dropout", "feature_dropout", "alpha_dropout", "unbind", "swapaxes", "swapdims", "movedim", "moveaxis",
    "numpy_T", "mT", "mH", "matrix_H", "adjoint",
}  # fmt: skip
_SIZED = {"view", "reshape", "unflatten", "expand", "squeeze"}
_INDEXED = {"embedding", "index", "index_select", "index_add", "scatter_add", "scatter_reduce"}
_CLOSED = ("MultiheadAttention", "Transformer", "RNN", "LSTM", "GRU")  # their forwards check sizes of their own


def is_library(module: nn.Module) -> bool:
    """Whether a module is one of torch's own whose forward reads no sizes but those that `slim` sets."""
    kind = type(module)
    return kind.__module__.startswith("torch.nn.") and not kind.__name__.startswith(_CLOSED)


def trace(model: nn.Module, exported: Any, fixed: Mapping[type, int]) -> Plan:
    """Which slots of a model's tensors may go.

    Args:
        model: in eval mode, its pruned weights zero.
        exported: what torch.export made of it.
        fixed: classes whose own code needs the sizes that it works with: 1 in the operations that it runs itself, 2
            also in those of torch's modules in it; `nn.Module` stands for all classes.
    """
    plan = Plan(Slots())
    walk = _Walk(model, exported, plan, fixed)
    for node in exported.graph.nodes:
        walk.visit(node)
    everything = [ids for value in walk.seen for ids in value.ids]
    plan.live = survivors(plan.slots, plan.sites, everything)
    plan.refused = sorted(set(plan.refused))
    return plan


class _Walk:
    """The state of one pass over the graph."""

    def __init__(self, model: nn.Module, exported: Any, plan: Plan, fixed: Mapping[type, int]) -> None:
        signature = exported.graph_signature
        self.model, self.plan, self.fixed = model, plan, fixed
        self.homes = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
        self.constants = {n: exported.constants.get(c) for n, c in signature.inputs_to_lifted_tensor_constants.items()}
        self.modules = dict(model.named_modules(remove_duplicate=False))
        self.env: dict[Node, Any] = {}
        self.root: dict[Node, Node] = {}  # of views, the node whose memory they show
        self.shared: dict[int, Value] = {}
        self.seen: list[Value] = []
        self.foldable = dict(_foldable(model, exported.graph, self.homes))
        self.sizes: dict[Any, int] = {}

    def visit(self, node: Node) -> None:
        """One node: its values into the environment, its constraints into the slots."""
        self.root[node] = node
        if node.op == "placeholder":
            self.env[node] = self._placed(node)
        elif node.op == "output":
            for ids in [ids for value in values(self._real(node.args)) for ids in value.ids]:
                self.plan.slots.pin(ids)
        elif node.target is operator.getitem:
            source, place = self._real(node.args[0]), cast(int, node.args[1])
            self.env[node] = source[place] if isinstance(source, list) else None
            self.root[node] = self.root[node.args[0]]  # type: ignore[index]
        elif node.op == "call_function" and isinstance(found := node.meta.get("val"), Tensor | list | tuple):
            self.env[node] = self._called(node, found)
        self.seen.extend(values(self.env.get(node)))

    def _placed(self, node: Node) -> Value | None:
        """Parameters and buffers with fresh slots; inputs and constants stay."""
        found = node.meta.get("val")
        if not isinstance(found, Tensor):
            return None
        name = self.homes.get(node.name, "")
        if not name:
            constant = self.constants.get(node.name)
            value = unknown(self._shape(found))
            return value if constant is None else Value(value.ids, constant.detach())
        path, _, leaf = name.rpartition(".")
        tensor = getattr(self.model.get_submodule(path), leaf)
        value = Value([self.plan.slots.new(size) for size in tensor.shape], tensor.detach(), name)
        value = self.shared.setdefault(id(tensor), value)
        self.plan.tensors[name] = value
        return value

    def _called(self, node: Node, found: Any) -> Any:
        stack = [self._module(path) for path, _ in (node.meta.get("nn_module_stack") or {}).values()] or [self.model]
        metas = [item for item in ([found] if isinstance(found, Tensor) else found) if isinstance(item, Tensor)]
        call, written = self._call(node, stack[-1], metas)
        pointwise = torch.Tag.pointwise in call.op.tags if hasattr(call.op, "tags") else False
        random = pointwise and torch.Tag.nondeterministic_seeded in call.op.tags
        rule = _RULES.get(call.name, _slim_entries.pointwise if pointwise and not random else Call.refuse)
        inputs = list(values((call.args, call.kwargs)))
        result = rule(call) if inputs or call.name in _slim_entries.RULES else call.refuse()
        results = result if isinstance(result, list) else [result]
        self.plan.refused += call.refused
        self._bounded(call.name, stack, inputs, results)
        self._settle(results, metas, inputs, call.name)
        if call.name in _VIEWS and isinstance(node.args[0], Node):
            self.root[node] = self.root[node.args[0]]
        if written:
            self._overwrite(node, node.args[0], results[0])
        return results[0] if isinstance(found, Tensor) else results

    def _call(self, node: Node, module: nn.Module, metas: list[Tensor]) -> tuple[Call, bool]:
        op: Any = node.target
        name = getattr(op, "_opname", getattr(op, "__name__", str(op)))
        written = name.endswith("_") and not name.endswith("__")
        if written:
            name = name[:-1]
            op = _out_of_place(op, name)
        args, kwargs = self._real(list(node.args)), self._real(dict(node.kwargs))
        arguments = {}
        if hasattr(op, "_schema"):
            for place, spec in enumerate(op._schema.arguments):
                default = spec.default_value if spec.has_default_value() else None
                arguments[spec.name] = args[place] if place < len(args) else kwargs.get(spec.name, default)
        shapes = [self._shape(meta) for meta in metas]
        plan = self.plan
        return Call(op, name, arguments, tuple(args), kwargs, shapes, module, plan.slots, plan.sites, self.foldable,
                    plan.unflattened), written  # fmt: skip

    def _bounded(self, name: str, stack: list[nn.Module], inputs: list[Value], results: list[Value]) -> None:
        """Note what enters and leaves each module, and pin what a fixed one handles."""
        outside = next((v for v in inputs if not v.name and len(v.ids) > 1), None)
        for module in stack:
            if outside is not None:
                self.plan.entering.setdefault(id(module), outside.ids[1])
            if results and len(results[0].ids) > 1:
                self.plan.leaving[id(module)] = results[0].ids[1]
        own = next((module for module in reversed(stack) if not is_library(module)), self.model)
        handled = [ids for value in inputs + results for ids in value.ids]
        if not any(self.plan.slots.free(ids) for ids in handled):
            return
        if name in _SIZED:
            self.plan.sized.add(type(own))
        level = max(self.fixed.get(type(own), 0), self.fixed.get(nn.Module, 0))
        if level > (own is not stack[-1]):
            self.plan.refused.append(f"{type(own).__name__}.forward")
            for ids in handled:
                self.plan.slots.pin(ids)

    def _settle(self, results: list[Value], metas: list[Tensor], inputs: list[Value], name: str) -> None:
        """Integers are not known, nor what is made of them; where nothing is known, say so in little memory."""
        whole = any(not value.known.is_floating_point() for value in inputs) and name not in _INDEXED
        for value, meta in zip(results, metas, strict=True):
            if not meta.is_floating_point():
                value.known = torch.zeros([1] * meta.dim(), dtype=torch.int64)
            elif whole or bool(value.known.isnan().all()):
                value.known = torch.full([1] * meta.dim(), torch.nan)

    def _overwrite(self, node: Node, target: Any, result: Value) -> None:
        """An in-place operation: the target's later readers see the result; other views of it stay for good."""
        self.root[node] = self.root[target]
        for other in [n for n in self.env if self.root[n] is self.root[target] and n is not target and n is not node]:
            for value in values(self.env[other]):
                value.known = unknown(value.shape).known
                for ids in value.ids:
                    self.plan.slots.pin(ids)
        self.env[target] = result

    def _shape(self, meta: Tensor) -> list[int]:
        """The sizes of a tensor; a stand-in for one that depends on data, such as a graph's number of edges."""

        def size(given: Any) -> int:
            if isinstance(given, int):
                return given
            expression = given.node.expr
            names = expression.free_symbols
            for name in names:
                self.sizes.setdefault(name, 1009 + 10 * len(self.sizes))
            return int(expression.subs({name: self.sizes[name] for name in names}))

        return [size(given) for given in meta.shape]

    def _module(self, path: str) -> nn.Module:
        return self.modules.get(path.split("@")[0], self.model)

    def _real(self, item: Any) -> Any:
        if isinstance(item, Node):
            return self.env.get(item)
        if isinstance(item, list | tuple):
            return [self._real(inner) for inner in item]
        if isinstance(item, dict):
            return {key: self._real(inner) for key, inner in item.items()}
        return item


def _out_of_place(op: Any, name: str) -> Any:
    """The overload of an operation that takes what its in-place form takes."""

    def takes(overload: Any) -> list[tuple[str, str]]:
        return [(spec.name, str(spec.type)) for spec in overload._schema.arguments]

    packet = getattr(torch.ops.aten, name, None)
    overloads = [getattr(packet, each) for each in packet.overloads()] if packet else []
    return next((each for each in overloads if takes(each) == takes(op)), op)


def _foldable(model: nn.Module, graph: Any, homes: dict[str, str]) -> Iterator[tuple[str, nn.Module]]:
    """Names of weights and their layers that run once and own their bias, or can be given one."""
    nodes = {homes[node.name]: node for node in graph.nodes if node.op == "placeholder" and node.name in homes}
    uses = Counter({name: len(node.users) for name, node in nodes.items()})
    for name in nodes:
        path, _, leaf = name.rpartition(".")
        module = model.get_submodule(path)
        if leaf != "weight" or not isinstance(module, nn.modules.conv._ConvNd | nn.Linear):
            continue
        held = [p for p in (module.weight, module.bias) if p is not None]
        alone = all(len(list(owners(model, cast(nn.Parameter, param)))) == 1 for param in held)
        bias = f"{path}.bias" if path else "bias"
        if alone and uses[name] == 1 and uses[bias] <= 1:
            yield name, module
