r"""How full-graph inference computes its steps: dead columns gone, products on their cheaper side, steps in stages.

A linear layer is $\hat A X W^\top$. As $\hat A (X W^\top)$ it propagates as many columns as it has outputs, as
$(\hat A X) W^\top$ as many as it has inputs. A stage is one step with the products that follow it, so that a back-end
can finish a block of nodes while it is in the cache.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from glt._infer_steps import Attend, Bias, Hop, LayerNorm, Multiply, Plus, Program, Propagate, Relu, Step, Touch

__all__ = ["Plan", "Stage", "commuted", "live_columns", "plain", "planned", "slimmed", "staged"]

_MAPS = 2  # products of a stage, at most


@dataclass(frozen=True)
class Stage:
    """A step that is no product (or none), then products, each of what stands before it and read by nobody else.

    Attributes:
        first: the step.
        maps: the products.
        makes: number of the value that it leaves.
        last: values that nobody reads afterwards.
        given: the product of sparse features.
    """

    first: Step | None
    maps: tuple[Step, ...]
    makes: int = 0
    last: tuple[int, ...] = ()
    given: bool = False

    @property
    def steps(self) -> tuple[Step, ...]:
        """All of them in order."""
        return self.maps if self.first is None else (self.first, *self.maps)

    @property
    def hop(self) -> Hop | None:
        """The operation that reads neighbours, if there is one."""
        return self.first.op if self.first is not None and isinstance(self.first.op, Hop) else None

    @property
    def weights(self) -> list[Tensor]:
        """Those of the products."""
        return [step.op.weight for step in self.maps if isinstance(step.op, Multiply)]

    @property
    def density(self) -> float:
        """The share of the products' weights that is not zero."""
        total = sum(weight.numel() for weight in self.weights)
        return sum(int(torch.count_nonzero(weight)) for weight in self.weights) / max(1, total)


@dataclass(frozen=True)
class Plan:
    """A network without its dead columns, in stages.

    Attributes:
        inputs: indices of the features that are read; None for all, unless leaving some out at least halves them.
        stages: in order.
        units: live columns at the input and after every layer.
    """

    inputs: Tensor | None
    stages: list[Stage]
    units: list[int]


def planned(program: Program, *, sparse: bool) -> Plan:
    """Leave out what cannot matter, and choose the cheaper side of every product.

    Args:
        program: the network.
        sparse: features are sparse: their products come first and read all columns.
    """
    live = live_columns(program)
    units = [int(live[value].sum()) for value in program.layers]
    few = not sparse and 2 * int(live[0].sum()) <= program.features
    if not few:
        group = _groups(program)
        live = [torch.ones_like(mask) if group[k] == group[0] else mask for k, mask in enumerate(live)]
    slim = commuted(slimmed(program, live), sparse=sparse)
    return Plan(live[0].nonzero().squeeze(1) if few else None, staged(slim, sparse=sparse), units)


def live_columns(program: Program) -> list[Tensor]:
    """Which columns of every value matter, (D,) bool each; at least one is kept everywhere.

    A column is dead if no weight leads from it to a live one. It is dead, too, if it is zero at every node: no weight
    leads to it from a live column and ReLU makes its bias zero. With a positive bias it still tells its neighbours
    their degree. Values that are added, or that a neighbourhood leads to one another, share their columns; under layer
    normalisation all of them live.

    >>> first, second = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]), torch.tensor([[1.0, 0.0, 1.0]])
    >>> chain = Program(2, [Step(Multiply(first), 0), Step(Multiply(second), 1)])
    >>> [mask.tolist() for mask in live_columns(chain)]
    [[True, False], [True, False, False], [True]]
    """
    group = _groups(program)
    live = {number: torch.ones(width, dtype=torch.bool) for number, width in zip(group, program.widths, strict=True)}
    while True:
        wanted = _wanted(program, group, live)
        if all(torch.equal(wanted[number], mask) for number, mask in live.items()):
            break
        live = wanted
    for mask in live.values():
        mask[0] |= not bool(mask.any())
    return [live[number] for number in group]


def _wanted(program: Program, group: list[int], live: dict[int, Tensor]) -> dict[int, Tensor]:
    """Live columns that some reader wants, by group."""
    known = _constants(program, group, live)
    wanted = {number: torch.zeros_like(mask) for number, mask in live.items()}
    wanted[group[-1]][:] = True
    for number, step in enumerate(program.steps, 1):
        if any(isinstance(touch, LayerNorm) for touch in step.touches):
            wanted[group[number]][:] = True
        if isinstance(step.op, Attend):
            wanted[group[step.op.scores]][:] = True
        if isinstance(step.op, Multiply):
            there = (step.op.weight[live[group[number]]] != 0).any(0)
            wanted[group[step.reads]] |= there & (known[step.reads][0] != 0)
    return {number: mask & live[number] for number, mask in wanted.items()}


def _constants(program: Program, group: list[int], live: dict[int, Tensor]) -> list[Tensor]:
    """Of every value a row (1, D): the number that a column has at all nodes, nan where it differs, zero where dead."""
    known = [torch.full((1, program.features), torch.nan).masked_fill(~live[group[0]], 0.0)]
    for number, step in enumerate(program.steps, 1):
        before = known[step.reads]
        row = before.clone() if step.op is None else step.op.constants(before)
        for touch in step.touches:
            touch(row, known.__getitem__)
        known.append(row.masked_fill(~live[group[number]], 0.0))
    return known


def _groups(program: Program) -> list[int]:
    """A number for every value; those that must have the same columns have the same one."""
    group = [0]
    for number, step in enumerate(program.steps, 1):
        group.append(number if isinstance(step.op, Multiply) else group[step.reads])
        for touch in step.touches:
            if isinstance(touch, Plus):
                one, other = group[touch.value], group[number]
                group = [one if mine == other else mine for mine in group]
    return group


def slimmed(program: Program, live: list[Tensor]) -> Program:
    """The same without what is not live."""
    columns = [mask.nonzero().squeeze(1) for mask in live]
    steps = []
    for number, step in enumerate(program.steps, 1):
        op = None if step.op is None else step.op.slim(columns[step.reads], columns[number])
        touches: tuple[Touch, ...] = tuple(touch.slim(columns[number]) for touch in step.touches)  # type: ignore[misc]
        steps.append(Step(op, step.reads, touches))
    return Program(columns[0].numel(), steps, program.layers)


def commuted(program: Program, *, sparse: bool = False) -> Program:
    r"""$(\hat A X) W^\top$ instead of $\hat A (X W^\top)$ where it takes no more multiply-adds.

    The product with the weight costs the same on both sides; propagation costs one a non-zero and column.
    """
    steps, reads = list(program.steps), program.reads
    moved = True
    while moved:
        moved = False
        for number, step in enumerate(steps, 1):
            if not isinstance(step.op, Multiply) or step.touches or reads[number] != 1 or (sparse and step.reads == 0):
                continue
            after = next(k for k, other in enumerate(steps) if number in (other.reads, *other.others))
            narrower = step.op.weight.size(1) <= step.op.weight.size(0)
            if narrower and isinstance(steps[after].op, Propagate) and steps[after].reads == number:
                steps[number - 1] = replace(step, op=steps[after].op)
                steps[after] = replace(steps[after], op=step.op)
                moved = True
    return Program(program.features, steps, program.layers)


def staged(program: Program, *, sparse: bool = False) -> list[Stage]:
    """Cut a program into stages."""
    found: list[Stage] = []
    reads = program.reads
    for number, step in enumerate(program.steps, 1):
        product = isinstance(step.op, Multiply)
        before = found[-1] if found else None
        if product and before is not None and step.reads == before.makes and reads[step.reads] == 1 and _open(before):
            found[-1] = replace(before, maps=(*before.maps, step), makes=number)
            continue
        given = sparse and product and step.reads == 0
        found.append(Stage(None, (step,), number, given=given) if product else Stage(step, (), number))
    return _dropping(found)


def _open(stage: Stage) -> bool:
    """Whether a compiled loop could go on with another product."""
    return len(stage.maps) < _MAPS and not stage.given and plain(stage.steps[-1].touches)[1] == ()


def _dropping(stages: list[Stage]) -> list[Stage]:
    last = {value: place for place, stage in enumerate(stages) for s in stage.steps for value in (s.reads, *s.others)}
    return [replace(s, last=tuple(v for v, where in last.items() if where == place)) for place, s in enumerate(stages)]


def plain(touches: tuple[Touch, ...]) -> tuple[tuple[Tensor | None, bool], tuple[Touch, ...]]:
    """The bias and the ReLU that touches begin with, and the rest of them."""
    bias, relu = None, False
    if touches and isinstance(touches[0], Bias):
        bias, touches = touches[0].vector, touches[1:]
    if touches and isinstance(touches[0], Relu):
        relu, touches = True, touches[1:]
    return (bias, relu), touches
