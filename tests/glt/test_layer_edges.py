"""Edge weights that differ from layer to layer."""

import pytest
import torch

from common.allocate import prune
from common.apply import masked
from common.masks import Masks
from glt.data import Graph
from glt.edges import Edges
from glt.layer_edges import LayerEdges
from glt.models import GCN, GraphModel

PATH = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])


def test_pairs_are_tied_within_a_layer_only() -> None:
    edges = LayerEdges(PATH, 3, 2)
    assert edges.pair.tolist() == [[0, 0, 1, 1], [2, 2, 3, 3]]
    score = torch.tensor([[4.0, 2.0, 1.0, 1.0], [0.0, 1.0, 5.0, 9.0]])
    masks = prune({"edges.weight": score}, 0.5, structure={"edges.weight": edges.structure()})
    assert masks["edges.weight"].int().tolist() == [[1, 1, 0, 0], [0, 0, 1, 1]]
    assert edges.count(masks["edges.weight"]) == {"total": 4, "kept": 2}


def test_one_way_edges_are_counted_one_by_one() -> None:
    edges = LayerEdges(PATH[:, :3], 3, 2)
    assert not edges.symmetric
    assert edges.count(torch.tensor([[True, False, True], [True, True, True]])) == {"total": 6, "kept": 5}
    assert LayerEdges(PATH[:, :0], 3, 2).count() == {"total": 0, "kept": 0}


def test_the_graph_is_the_same_graph() -> None:
    assert LayerEdges(PATH, 3, 4).fingerprint() == Edges(PATH, 3).fingerprint()
    with pytest.raises(ValueError, match="depth must be at least 1; found 0"):
        LayerEdges(PATH, 3, 0)


@pytest.mark.parametrize("learned", [True, False])
def test_each_layer_has_its_own_values(learned: bool) -> None:
    edges = LayerEdges(PATH, 3, 2)
    with torch.no_grad():
        edges.weight[1, :2] = 0
        edges.weight[0, 2] = 3
    edges.weight.requires_grad_(learned)
    first, second = edges()
    assert first.values.tolist() == [1, 1, 2, 2]  # the directions share their mean
    assert second.values[second.values != 0].tolist() == [1, 1]
    assert (second.values.numel() == 4) == learned
    assert edges()[0].pattern is first.pattern


def test_masks_reach_their_layer_alone(graph: Graph) -> None:
    torch.manual_seed(0)
    model = GraphModel(GCN(6, 5, 2).eval(), LayerEdges(graph.edge_index, 60, 2))
    mask = torch.ones_like(model.edges.weight, dtype=torch.bool)
    mask[1] = False
    with torch.no_grad(), masked(model, Masks({"edges.weight": mask})):
        found = model(graph.x)
    first, second = model.net.convs
    full, edgeless = Edges(graph.edge_index, 60)(), Edges(graph.edge_index[:, :0], 60)()
    torch.testing.assert_close(found, second(torch.relu(first(graph.x, full)), edgeless))
