"""Networks on graphs: trimming to the receptive field changes nothing; dropout; refusals."""

import pytest
import torch

from glt.data import Graph
from glt.edges import Edges
from glt.features import Features
from glt.models import GCN, GraphModel, dropout


@pytest.mark.parametrize("depth", [1, 2, 4])
@pytest.mark.parametrize("learned", [True, False])
def test_rows_alone_equal_rows_of_all(graph: Graph, depth: int, learned: bool) -> None:
    torch.manual_seed(0)
    model = GraphModel(GCN(6, 5, 2, depth=depth, bias=True), Edges(graph.edge_index, 60)).eval()
    model.edges.weight.requires_grad_(learned)
    rows = torch.tensor([40, 3, 17])
    for x in (graph.x, Features(graph.x), Features(graph.x * (torch.rand_like(graph.x) < 0.1))):
        whole, some = model(x)[rows], model(x, rows)
        torch.testing.assert_close(some, whole)
        wanted = [p for p in model.parameters() if p.requires_grad]
        for mine, expected in zip(
            torch.autograd.grad(some.square().sum(), wanted, allow_unused=True),
            torch.autograd.grad(whole.square().sum(), wanted, allow_unused=True),
            strict=True,
        ):
            torch.testing.assert_close(mine, expected)


def test_depth_is_the_number_of_convolutions() -> None:
    names = [name for name, _ in GCN(6, 5, 2, depth=3).named_parameters()]
    assert names == ["convs.0.lin.weight", "convs.1.lin.weight", "convs.2.lin.weight"]


def test_dropout_keeps_the_mean_and_rests_in_evaluation() -> None:
    torch.manual_seed(0)
    x = torch.ones(200, 500)
    dropped = dropout(x, 0.25, training=True)
    assert float(dropped.mean()) == pytest.approx(1.0, abs=0.01)
    assert float((dropped == 0).float().mean()) == pytest.approx(0.25, abs=0.01)
    assert dropout(x, 0.25, training=False) is x


@pytest.mark.parametrize(("arguments", "message"), [({"depth": 0}, "depth=0"), ({"dropout": 1.0}, "found 1.0")])
def test_impossible_networks_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GCN(6, 5, 2, **arguments)
