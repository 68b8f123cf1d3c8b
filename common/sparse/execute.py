"""A program at work on 16 images or on one, step by step, in memory that it reuses."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from common.sparse.dense_layer import DenseLayer
from common.sparse.layer import Layer, Where, plane_of
from common.sparse.layout import Plane
from common.sparse.memory import over
from common.sparse.norm import Norm
from common.sparse.program import Program, Ref, Step, operation
from common.sparse.steady import Steady
from common.sparse.transfer import move

__all__ = ["Executor"]


class Executor:
    """Runs a program.

    What depends on no input but the later ones (a timestep) is computed once for each of their values.

    Args:
        program: with the runtime's steps.
        where: machine, threads and memory.

    Attributes:
        watch: called with every step that ran and its seconds, if set.
    """

    def __init__(self, program: Program, where: Where) -> None:
        self.program, self._where = program, where
        self.watch: Callable[[Step, float], None] | None = None
        self._layers: dict[str, Layer] = {}
        self._norms: dict[Any, Any] = {}
        self._buffers: dict[str, Tensor] = {}  # of concatenations under way
        self._values: dict[str, Any] = {}
        self._steady = Steady(program)
        self._last = _last_uses(program)

    @torch.no_grad()
    def __call__(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """The outputs for one group of images.

        Args:
            inputs: in the program's order; the first has 16 images or one, if any of the steps is the runtime's own.
        """
        self._values = dict(zip(self.program.inputs, inputs, strict=True))
        known = self._steady.recall(inputs, self._stored)
        self._values.update(known or {})
        done = set() if known is None else {step.out for step in self._steady.steps}
        try:
            for index, step in enumerate(self.program.steps):
                if step.out not in done:
                    self._stored(step)
                for name in self._last[index]:
                    self._release(name)
            return [self._output_of(name) for name in self.program.outputs]
        finally:
            self._where.pool.release_all()
            self._values.clear()
            self._buffers.clear()

    def _stored(self, step: Step) -> Any:
        begin = time.perf_counter()
        value = self._values[step.out] = self._apply(step)
        if self.watch is not None:
            self.watch(step, time.perf_counter() - begin)
        return value

    def _output_of(self, name: str) -> Tensor:
        value = self._values[name]
        return value.clone() if value.is_contiguous() else self._dense(value)

    def _apply(self, step: Step) -> Any:
        if step.op == "sparse.conv":
            return self._layer(step)
        if step.op == "sparse.norm":
            return self._norm(step)
        if step.op == "sparse.double":
            return self._double(step)
        if step.op == "sparse.cat":
            return self._cat(step)
        args = self._real(step.args)
        if step.op == "aten.scaled_dot_product_attention.default":
            args = tuple(self._dense(value) if isinstance(value, Tensor) else value for value in args)
        result = operation(step.op)(*args, **self._real(step.kwargs))
        if isinstance(result, Tensor):
            self._inherit(step, result)
        return result

    def _dense(self, x: Tensor) -> Tensor:
        """The contiguous form of a value."""
        if x.is_contiguous():
            return x
        found = torch.empty(x.shape, dtype=x.dtype)
        move(x, found, self._where.machine, self._where.team)
        return found

    def _real(self, value: Any) -> Any:
        """Arguments with values in the place of references."""
        if isinstance(value, Ref):
            return self._values[value.name] if value.name in self._values else self.program.constants[value.name]
        if isinstance(value, list | tuple):
            return type(value)(self._real(item) for item in value)
        if isinstance(value, dict):
            return {key: self._real(item) for key, item in value.items()}
        return value

    def _layer(self, step: Step) -> Tensor:
        x, weight, bias = (self._real(value) for value in step.args)
        options = step.kwargs
        layer = self._layers.get(step.out)
        if layer is None:
            kind = Layer if options["form"] == "sparse" else DenseLayer
            layer = self._layers[step.out] = kind(weight, options)
        if options.get("tokens"):
            x = x[:, :, None, None] if options["single"] else x.transpose(1, 2).unsqueeze(2)
        size = tuple(options.get("image") or layer.size(x.shape[2], x.shape[3]))
        y = self._output(step, len(x), layer.channels, size)
        flat = y.flatten(2).unsqueeze(2) if options.get("tokens") else y
        vector = self._real(options.get("bias"))
        sums = torch.zeros(layer.channels, 1) if bias is None else bias[:, None]
        if vector is not None:
            sums = (sums + vector.t()).contiguous()
        residual = self._real(options.get("residual"))
        if residual is not None:
            turned = residual.transpose(1, 2) if options.get("tokens") and residual.dim() == 3 else residual
            residual = turned.reshape(flat.shape) if options.get("tokens") else residual.expand_as(flat)
        norm = Norm(**self._real(options["norm"])) if "norm" in options else None
        layer.run(x, flat, sums, residual, norm, self._where)
        if "image" in options or not options.get("tokens"):
            return y
        return y[:, :, 0, 0] if options["single"] else y.squeeze(2).transpose(1, 2)

    def _norm(self, step: Step) -> Tensor:
        x, scale, shift = (self._real(value) for value in step.args)
        norm = Norm(scale, shift, **step.kwargs)
        image = x.unsqueeze(2) if x.dim() == 3 else x
        y = self._normalised(step, image, norm)
        if y is None:
            return norm.plain(x)
        return y.squeeze(2) if x.dim() == 3 else y

    def _double(self, step: Step) -> Tensor:
        x = self._real(step.args[0])
        y = self._normalised(step, x, Norm.nothing(x.shape[1]), double=True)
        return functional.interpolate(x, scale_factor=2) if y is None else y

    def _normalised(self, step: Step, x: Tensor, norm: Norm, *, double: bool = False) -> Tensor | None:
        """By the kernel, or None where the images do not lie side by side."""
        plane = plane_of(x) if len(x) > 1 else None
        if plane is None:
            return None
        y = self._output(step, len(x), x.shape[1], tuple(size * (2 if double else 1) for size in x.shape[2:]))
        key = (step.out, plane)
        if key not in self._norms:
            self._norms[key] = norm.kernel(plane, plane_of(y) or plane, self._where.machine, double=double)
        self._norms[key].run(x.data_ptr(), y.data_ptr(), self._where.team)
        return y

    def _cat(self, step: Step) -> Tensor:
        offset, joined = 0, None
        for ref in step.args[0]:
            part = self._values[ref.name]
            if joined is None:
                joined = self._joined(step.out, len(part), step.kwargs["channels"], tuple(part.shape[2:]))
            target = joined[:, offset : offset + part.shape[1]]
            if target.data_ptr() != part.data_ptr():
                target.copy_(part)
            offset += part.shape[1]
        self._where.pool.own(step.out, self._buffers.pop(step.out))
        assert joined is not None  # noqa: S101 - a concatenation has parts
        return joined

    def _output(self, step: Step, images: int, channels: int, size: tuple[int, ...]) -> Tensor:
        """Memory for a result: its own, or its part of a concatenation."""
        if "place" in step.kwargs:
            whole, offset, total = step.kwargs["place"]
            joined = self._joined(whole, images, total, size)
            self._where.pool.own(step.out, self._buffers[whole])
            return joined[:, offset : offset + channels]
        plane = Plane(size[0], size[1], images)
        floats = self._where.pool.take(channels * plane.size // 4)
        self._where.pool.own(step.out, floats)
        return over(floats, images, channels, plane)

    def _joined(self, name: str, images: int, channels: int, size: tuple[int, ...]) -> Tensor:
        plane = Plane(size[0], size[1], images)
        if name not in self._buffers:
            self._buffers[name] = self._where.pool.take(channels * plane.size // 4)
            self._where.pool.own(f"{name} under way", self._buffers[name])
        return over(self._buffers[name], images, channels, plane)

    def _inherit(self, step: Step, result: Tensor) -> None:
        """A view keeps the memory of what it views."""
        for name in step.reads:
            memory = self._where.pool.owned(name, result)
            if memory is not None:
                self._where.pool.own(step.out, memory)
                return

    def _release(self, name: str) -> None:
        self._values.pop(name, None)
        self._where.pool.release(name)


def _last_uses(program: Program) -> list[list[str]]:
    """For every step the values that nobody reads after it."""
    last = {step.out: index for index, step in enumerate(program.steps)}
    for index, step in enumerate(program.steps):
        last.update(dict.fromkeys((name for name in step.reads if name in last or name in program.inputs), index))
    found: list[list[str]] = [[] for _ in program.steps]
    for name, index in last.items():
        if name not in program.outputs:
            found[index].append(name)
    for index, step in enumerate(program.steps):
        if step.op == "sparse.cat":
            found[index].append(f"{step.out} under way")
    return found
