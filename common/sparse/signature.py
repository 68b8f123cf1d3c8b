"""How a model is called: names of its tensor arguments, and the shape of what it returns."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Signature"]


@dataclass(frozen=True)
class Signature:
    """The call of a model.

    Attributes:
        names: the tensor arguments in order.
        batched: for each, whether its first dimension is the batch.
        kind: `tensor`, `sequence`, or `mapping` for a diffusers output.
        home: module and class of a `mapping`.
        fields: its fields.
    """

    names: tuple[str, ...]
    batched: tuple[bool, ...]
    kind: str
    home: str = ""
    fields: tuple[str, ...] = ()

    @classmethod
    def of(cls, model: nn.Module, example: Sequence[Any]) -> tuple[Signature, list[Tensor]]:
        """The signature of a model and the tensors of an example call.

        Raises:
            ValueError: the first argument is no tensor, or the model returns something else than tensors.
        """
        bound = inspect.signature(model.forward).bind(*example).arguments
        if not bound or not isinstance(next(iter(bound.values())), Tensor):
            raise ValueError("example_inputs must be a tuple whose first entry is a tensor with the batch in front")
        tensors = {
            name: torch.as_tensor(value) for name, value in bound.items() if isinstance(value, Tensor | int | float)
        }
        if len(tensors) != len(bound):
            raise ValueError(
                f"example_inputs {sorted(bound.keys() - tensors.keys())} are no tensors; pass tensors only"
            )
        mode = model.training
        with torch.no_grad():
            result = model.eval()(*(tensor[:2] if tensor.dim() else tensor for tensor in tensors.values()))
        model.train(mode)
        names, batched = tuple(tensors), tuple(bool(tensor.dim()) for tensor in tensors.values())
        if isinstance(result, Tensor):
            return cls(names, batched, "tensor"), list(tensors.values())
        if isinstance(result, Mapping):
            home = f"{type(result).__module__}:{type(result).__qualname__}"
            return cls(names, batched, "mapping", home, tuple(result.keys())), list(tensors.values())
        if isinstance(result, tuple | list) and all(isinstance(item, Tensor) for item in result):
            return cls(names, batched, "sequence"), list(tensors.values())
        raise ValueError(
            f"the model returns a {type(result).__name__}; expected tensors, or a diffusers output of tensors"
        )

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Signature:
        """The inverse of `as_dict`."""
        plain: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in stored.items()}
        return cls(**plain)

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    def arguments(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[list[Tensor], bool]:
        """The tensors of a call, each batched one with the batch in front, and whether a plain tuple is wanted.

        Raises:
            TypeError: an argument is missing, or one that the network was not converted with.
        """
        given = dict(zip(self.names, args, strict=False)) | dict(kwargs)
        plain = given.pop("return_dict", True) is False
        if len(args) > len(self.names) or given.keys() != set(self.names):
            raise TypeError(
                f"found the arguments {sorted(given)}; expected {', '.join(self.names)}, as in the example call"
            )
        tensors = [torch.as_tensor(given[name]) for name in self.names]
        size = len(tensors[0])
        found = [
            t.expand(size) if batched and not t.dim() else t for t, batched in zip(tensors, self.batched, strict=True)
        ]
        found = [
            t.expand(size, *t.shape[1:]) if b and len(t) == 1 else t for t, b in zip(found, self.batched, strict=True)
        ]
        return found, plain

    def result(self, tensors: list[Tensor], *, plain: bool) -> Any:
        """What the model would return."""
        if self.kind == "tensor":
            return tensors[0]
        if self.kind == "sequence" or plain:
            return tuple(tensors)
        module, _, name = self.home.partition(":")
        return getattr(importlib.import_module(module), name)(**dict(zip(self.fields, tensors, strict=True)))
