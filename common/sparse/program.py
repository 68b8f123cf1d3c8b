"""A network as a list of steps: plain data that can be rewritten, saved as json and run without the model's code.

A step applies one operation to values with names. Operations are ATen's, by their names, and the runtime's own
(`sparse.conv`, `sparse.norm`, ...), which `common.sparse.execute` runs.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import torch

__all__ = ["Program", "Ref", "Step", "decode", "encode", "instances", "operation", "refs"]

T = TypeVar("T")

_NAMED = (torch.dtype, torch.layout, torch.memory_format)


@dataclass(frozen=True)
class Ref:
    """The value of an earlier step, an input, or a constant."""

    name: str


@dataclass(frozen=True)
class Step:
    """One operation.

    Attributes:
        out: the name of its result.
        op: `aten.add.Tensor`, `operator.mul`, `sparse.conv`, ...
        args, kwargs: numbers, strings, torch's constants, `Ref`s, and lists of such.
    """

    out: str
    op: str
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)

    @property
    def reads(self) -> list[str]:
        """The names of the values it takes, in order, each once."""
        return list(dict.fromkeys(ref.name for ref in refs((self.args, self.kwargs))))

    def renamed(self, names: dict[str, str]) -> Step:
        """The step with other values in the place of some."""
        return replace(self, args=_renamed(self.args, names), kwargs=_renamed(self.kwargs, names))


@dataclass
class Program:
    """Steps in an order in which they can run.

    Attributes:
        inputs: names of the inputs, in the order of the call.
        steps: the operations.
        outputs: names of the results.
        constants: name to tensor, or to the `Kept` of a pruned one: parameters and buffers under the model's names, and
            folded values.
        shapes: name to the shape of a value, None where it depends on the batch.
    """

    inputs: list[str]
    steps: list[Step]
    outputs: list[str]
    constants: dict[str, Any]
    shapes: dict[str, tuple[int | None, ...]]

    def users(self) -> dict[str, list[Step]]:
        """Name to the steps that read it, in order."""
        found: dict[str, list[Step]] = {}
        for step in self.steps:
            for name in step.reads:
                found.setdefault(name, []).append(step)
        return found

    def pruned(self) -> Program:
        """Without the steps and constants that no output needs."""
        wanted, kept = set(self.outputs), []
        for step in reversed(self.steps):
            if step.out in wanted:
                kept.append(step)
                wanted.update(step.reads)
        constants = {name: value for name, value in self.constants.items() if name in wanted}
        return replace(self, steps=kept[::-1], constants=constants)


def refs(value: Any) -> Iterator[Ref]:
    """The references in nested lists, tuples and dictionaries.

    >>> [ref.name for ref in refs(([Ref("a"), 2], {"k": Ref("b")}))]
    ['a', 'b']
    """
    return instances(value, Ref)


def instances(value: Any, kind: type[T]) -> Iterator[T]:
    """The objects of a class in nested lists, tuples and dictionaries.

    >>> list(instances([1, ("a", {"k": 2})], int))
    [1, 2]
    """
    if isinstance(value, kind):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from instances(item, kind)
    elif isinstance(value, dict):
        yield from instances(list(value.values()), kind)


def encode(value: Any) -> Any:
    """Arguments as plain json.

    >>> encode([Ref("x"), 2, torch.float32])
    [{'ref': 'x'}, 2, {'torch': 'float32'}]
    """
    if isinstance(value, Ref):
        return {"ref": value.name}
    if isinstance(value, _NAMED):
        return {"torch": str(value).removeprefix("torch.")}
    if isinstance(value, torch.device):
        return {"device": "cpu"}
    if isinstance(value, list | tuple):
        return [encode(item) for item in value]
    return value


def decode(value: Any) -> Any:
    """What `encode` was given; lists for tuples.

    >>> decode([{"ref": "x"}, 2, {"torch": "float32"}])
    [Ref(name='x'), 2, torch.float32]
    """
    if isinstance(value, list):
        return [decode(item) for item in value]
    if isinstance(value, dict):
        ((kind, name),) = value.items()
        return {"ref": Ref, "torch": lambda n: getattr(torch, n), "device": torch.device}[kind](name)
    return value


def operation(op: str) -> Callable[..., Any]:
    """The function of an ATen operation or of the `operator` module.

    Raises:
        ValueError: no such operation here, or none that a program may name.

    >>> operation("aten.relu.default")(torch.tensor([-1.0, 2.0]))
    tensor([0., 2.])
    """
    space, _, name = op.partition(".")
    try:
        if space == "operator" and name in ("add", "sub", "mul", "floordiv", "truediv", "mod", "neg", "getitem"):
            return getattr(operator, name)
        if space == "aten":
            packet, overload = name.rsplit(".", 1)
            return getattr(getattr(torch.ops.aten, packet), overload)
    except AttributeError:
        pass
    raise ValueError(
        f"the operation {op!r}; expected one of ATen in torch {torch.__version__}. Convert the model again."
    )


def _renamed(value: Any, names: dict[str, str]) -> Any:
    if isinstance(value, Ref):
        return Ref(names.get(value.name, value.name))
    if isinstance(value, list | tuple):
        return type(value)(_renamed(item, names) for item in value)
    if isinstance(value, dict):
        return {key: _renamed(item, names) for key, item in value.items()}
    return value
