"""What a network computes from its later inputs alone, such as a time embedding: once for each of their values."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from common.sparse.layout import IMAGES
from common.sparse.program import Program, Step
from common.sparse.recognise import of_images

__all__ = ["Steady"]

_REMEMBERED = 1024  # calls whose values are kept: all steps of a diffusion


class Steady:
    """The values of a program that depend on the later inputs and on how many images there are, not on the images.

    Args:
        program: with the runtime's steps.

    Attributes:
        steps: those that compute them.
    """

    def __init__(self, program: Program) -> None:
        changing = of_images(program) if len(program.inputs) > 1 else {step.out for step in program.steps}
        alone = {s.out for s in program.steps if s.out not in changing and not s.op.startswith("sparse.")}
        self.steps = [step for step in program.steps if step.out in alone]
        read = {name for step in program.steps if step.out not in alone for name in step.reads}
        self._wanted = alone & (read | set(program.outputs))
        self._shapes = program.shapes
        self._memo: OrderedDict[Any, dict[str, Any]] = OrderedDict()

    def recall(self, inputs: Sequence[Tensor], compute: Callable[[Step], Any]) -> dict[str, Any] | None:
        """Name to value for what the other steps read; None where inputs are too large to be remembered.

        Args:
            inputs: of the call.
            compute: runs a step; called in order, for all steps or for none.
        """
        if not self.steps or any(x.numel() > 4 * IMAGES for x in inputs[1:]):
            return None
        alike = all(x.dim() and bool((x == x[:1]).all()) for x in inputs[1:])
        key = (len(inputs[0]), *(bytes((x[:1] if alike else x).contiguous().numpy().tobytes()) for x in inputs[1:]))
        if key not in self._memo:
            values = {step.out: compute(step) for step in self.steps}
            kept = {name: values[name] for name in self._wanted}
            self._memo[key] = {name: self._shared(name, value) for name, value in kept.items()} if alike else kept
            if len(self._memo) > _REMEMBERED:
                self._memo.popitem(last=False)
        self._memo.move_to_end(key)
        return self._memo[key]

    def _shared(self, name: str, value: Any) -> Any:
        """One row for all images, where they are alike."""
        by_image = isinstance(value, Tensor) and value.dim() > 1 and self._shapes.get(name, (0,))[0] is None
        return value[:1].clone().expand_as(value) if by_image else value
