"""The plan of full-graph inference on programs small enough to read: which columns live, which side is propagated."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from glt._infer_backends import sample
from glt._infer_matrix import Kind, Matrix, whole
from glt._infer_plan import Stage, commuted, live_columns, planned, slimmed, staged
from glt._infer_steps import (
    Affine,
    Attend,
    Bias,
    Elu,
    LayerNorm,
    Maximum,
    Multiply,
    Plus,
    Program,
    Propagate,
    Relu,
    Softmax,
)
from glt._infer_work import Scratch, Work

A = Propagate(Kind(), 0)


def live(program: Program) -> list[list[int]]:
    return [mask.nonzero().squeeze(1).tolist() for mask in live_columns(program)]


def gcn(weights: list[torch.Tensor], biases: list[torch.Tensor | None]) -> Program:
    """Layers of product, propagation, bias and, but for the last, ReLU."""
    program = Program(weights[0].size(1))
    value = 0
    for number, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        value = program.add(Multiply(weight), value)
        relu = [Relu()] if number + 1 < len(weights) else []
        value = program.add(A, value, *([] if bias is None else [Bias(bias)]), *relu)
        program.layers.append(value)
    return program


def shapes(stages: list[Stage]) -> list[list[tuple[int, ...]]]:
    return [[tuple(weight.shape) for weight in stage.weights] for stage in stages]


def test_dead_columns_go_and_a_positive_bias_stays() -> None:
    first = torch.tensor([[1.0], [0.0], [0.0], [1.0]])
    last = torch.tensor([[1.0, 1.0, 1.0, 0.0]])
    assert live(gcn([first, last], [None, None])) == [[0], [0], [0], [0], [0]]
    bias = torch.tensor([0.0, 1.0, -1.0, 1.0])  # 1 tells the degree, 2 is zero behind ReLU, 3 leads nowhere
    assert live(gcn([first, last], [bias, None])) == [[0], [0, 1], [0, 1], [0], [0]]


def test_a_dead_column_kills_those_that_lead_to_it() -> None:
    chain = gcn([torch.eye(2), torch.eye(2), torch.tensor([[1.0, 0.0]])], [None] * 3)
    assert live(chain) == [[0]] * 7
    assert planned(chain, sparse=False).units == [1, 1, 1, 1]


def test_one_column_is_kept_where_all_are_dead() -> None:
    assert live(gcn([torch.zeros(3, 2), torch.ones(2, 3)], [None, None])) == [[0], [0], [0], [0, 1], [0, 1]]


def test_what_is_added_shares_its_columns() -> None:
    program = Program(2)
    stream = program.add(Multiply(torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 0.0]])), 0)
    branch = program.add(Multiply(torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])), stream)
    stream = program.add(A, branch, Relu(), Plus(stream))
    program.add(Multiply(torch.ones(1, 3)), stream)
    # column 0 comes from the features, 1 from the branch, 2 from nowhere
    assert live(program) == [[0], [0, 1], [0, 1], [0, 1], [0]]


@pytest.mark.parametrize("op", [A, Softmax(Kind(), 0, 1.0, 1e-7), Maximum(Kind(), 0, 1.0), None])
def test_under_layer_normalisation_all_columns_live(op: object) -> None:
    program = Program(2)
    value = program.add(Multiply(torch.tensor([[1.0, 0.0], [0.0, 0.0]])), 0)
    value = program.add(op, value, LayerNorm(None, None, 1e-5))
    program.add(Multiply(torch.tensor([[1.0, 0.0]])), value)
    assert live(program) == [[0], [0, 1], [0, 1], [0]]


def test_what_is_zero_before_a_softmax_is_not_zero_behind_it() -> None:
    program = Program(2)
    value = program.add(Multiply(torch.tensor([[1.0, 0.0], [0.0, 0.0]])), 0)
    program.add(Multiply(torch.ones(1, 2)), program.add(Softmax(Kind(), 0, 1.0, 0.5), value))
    assert live(program) == [[0], [0, 1], [0, 1], [0]]


def test_scores_keep_all_heads_and_columns_go_from_some() -> None:
    program = Program(2)
    scores = program.add(Multiply(torch.eye(2).repeat(2, 1)), 0)
    value = program.add(Multiply(torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 1.0], [1.0, 1.0]])), 0)
    value = program.add(Attend(Kind(), 0, torch.tensor([0, 0, 1, 1]), scores, 0.2), value, Elu())
    program.add(Multiply(torch.tensor([[1.0, 1.0, 0.0, 1.0]])), value)
    masks = live_columns(program)
    assert live(program) == [[0, 1], [0, 1, 2, 3], [0, 3], [0, 3], [0]]
    attend = slimmed(program, masks).steps[2].op
    assert isinstance(attend, Attend)
    assert attend.heads.tolist() == [0, 1]


def test_constants_pass_through_scale_and_shift() -> None:
    program = Program(1)
    value = program.add(Multiply(torch.zeros(3, 1)), 0)
    value = program.add(None, value, Affine(torch.ones(3), torch.tensor([-1.0, 0.0, 1.0])), Relu())
    program.add(Multiply(torch.ones(1, 3)), value)
    assert live(program)[2] == [2]


def test_the_narrower_side_is_propagated() -> None:
    found = planned(gcn([torch.ones(8, 3), torch.ones(8, 8), torch.ones(2, 8)], [None] * 3), sparse=False).stages
    assert [stage.hop is not None for stage in found] == [True, True, True]
    assert shapes(found) == [[(8, 3)], [(8, 8), (2, 8)], []]
    shrinking = planned(gcn([torch.ones(3, 8), torch.ones(2, 3)], [None] * 2), sparse=False).stages
    assert [stage.hop is not None for stage in shrinking] == [False, True, True]


def test_a_product_moves_behind_all_hops_where_it_is_wider() -> None:
    hops = Program(2)
    value = hops.add(Multiply(torch.ones(4, 2)), 0)
    hops.add(A, hops.add(A, value), Bias(torch.ones(4)))
    moved = commuted(hops)
    assert [type(step.op).__name__ for step in moved.steps] == ["Propagate", "Propagate", "Multiply"]
    assert [len(step.touches) for step in moved.steps] == [0, 0, 1]
    assert commuted(hops, sparse=True).steps == hops.steps  # products of sparse features stay


def test_what_is_read_twice_ends_a_stage() -> None:
    program = Program(2)
    value = program.add(Multiply(torch.ones(2, 2)), 0, Relu())
    itself = program.add(Multiply(torch.ones(2, 2)), value)
    program.add(A, program.add(Multiply(torch.ones(2, 2)), value), Plus(itself))
    found = staged(program)
    assert [(stage.makes, stage.last) for stage in found] == [(1, (0,)), (2, ()), (3, (1,)), (4, (3, 2))]


def test_features_that_are_not_read_are_left_out_if_that_halves_them() -> None:
    narrow = gcn([torch.tensor([[0.0, 1.0, 0.0, 1.0]])], [None])
    plan = planned(narrow, sparse=False)
    assert plan.inputs is not None
    assert plan.inputs.tolist() == [1, 3]
    assert shapes(plan.stages)[0] == [(1, 2)]
    assert planned(narrow, sparse=True).inputs is None
    wide = planned(gcn([torch.tensor([[0.0, 1.0, 1.0, 1.0]])], [None]), sparse=False)
    assert (wide.inputs, wide.units) == (None, [3, 1])


EDGES = np.array([1, 2, 0]), np.array([0, 0, 1]), np.array([1.0, 0.5, -1.0], np.float32)
MATRICES = [
    (Kind(), [[0, 1, 0.5], [-1, 0, 0], [0, 0, 0]]),
    (Kind(own=2.0), [[2, 1, 0.5], [-1, 2, 0], [0, 0, 2]]),
    (Kind(positive=True, own=1.0), [[1, 1, 0.5], [0, 1, 0], [0, 0, 1]]),
    (Kind("mean"), [[0, 1 / 1.5, 0.5 / 1.5], [-1, 0, 0], [0, 0, 0]]),
]


@pytest.mark.parametrize(("kind", "wanted"), MATRICES)
def test_matrices_by_hand(kind: Kind, wanted: list[list[float]]) -> None:
    found = whole(EDGES, 3, kind)
    assert (found.indices.dtype, found.data.dtype) == (np.int32, np.float32)
    assert found.has_sorted_indices
    np.testing.assert_allclose(found.toarray(), wanted, rtol=1e-6)


def test_a_sample_is_some_rows_from_all_over_and_what_they_read(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = np.arange(100)
    matrix = Matrix.of(whole((nodes, nodes[::-1].copy(), np.ones(100, np.float32)), 100, Kind()))  # k reads 99 - k
    x = torch.arange(100.0).unsqueeze(1)
    work = Work(Scratch(), {0: x}, matrix)
    assert sample(work) is work
    monkeypatch.setattr("glt._infer_backends._ROWS", 32)
    for one, few in ((work, sample(work)), (Work(Scratch(), {0: x}), sample(Work(Scratch(), {0: x})))):
        found = few.own(few.values[0]).squeeze(1).long().tolist()
        assert (len(found), found[0], found[-1]) == (32, 0, 99)
        if one.matrix is not None:
            assert len(few.values[0]) < 100
            assert (few.there.scipy @ few.values[0].numpy()).squeeze(1).tolist() == [99 - node for node in found]
    monkeypatch.setattr("glt._infer_backends._ENTRIES", 16)
    assert len(sample(work).there.parts[1]) == 16
    part = Work(Scratch(), {0: x}, matrix.some([(0, 50)]))  # rows that are not the columns' nodes
    assert sample(part).rows is None
    assert len(sample(part).values[0]) == 16
