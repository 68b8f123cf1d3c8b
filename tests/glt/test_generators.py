"""Generated graphs: sizes counted by hand, seeds, degrees, names."""

from __future__ import annotations

import pytest
import torch

from common.runs.errors import UsageError
from glt.data import Graph, canonical, load
from glt.edges import Edges
from glt.generators import photo_grid, rmat, sbm


def degrees(graph: Graph) -> torch.Tensor:
    return graph.edge_index[0].bincount(minlength=graph.x.size(0))


def test_photo_grid_is_the_photograph() -> None:
    graph = photo_grid()
    assert graph.x.shape == (273_280, 75)
    assert graph.edge_index.shape == (2, 2 * 1_089_921)
    assert Edges(graph.edge_index, 273_280).symmetric
    assert (int(degrees(graph).min()), int(degrees(graph).max())) == (3, 8)
    assert graph.classes == 40
    centre = graph.x.view(427, 640, 3, 5, 5)
    assert torch.equal(centre[10, 10, :, 2, 3], centre[10, 11, :, 2, 2])
    assert torch.equal(centre[10, 10, :, 3, 2], centre[11, 10, :, 2, 2])


@pytest.mark.parametrize("make", [lambda: rmat(10), lambda: sbm(1000)])
def test_drawn_graphs_come_from_their_seed(make) -> None:
    one, two = make(), make()
    assert one.sha256 == two.sha256
    assert Edges(one.edge_index, one.x.size(0)).symmetric


def test_rmat_has_hubs_and_blocks_have_homophily() -> None:
    power, blocks = rmat(12), sbm(4000)
    assert int(degrees(power).max()) > 20 * float(degrees(power).float().mean())
    assert int(degrees(blocks).max()) < 4 * float(degrees(blocks).float().mean())
    source, target = blocks.y[blocks.edge_index]
    assert 0.72 < float((source == target).float().mean()) < 0.80


def test_generated_graphs_by_name() -> None:
    assert load("RMAT-6").name == canonical("RMAT-6") == "rmat-6"
    assert load("sbm-100").x.size(0) == 100
    with pytest.raises(UsageError, match=r"found the data set 'rmat-60'; expected a size from 4 to 26"):
        load("rmat-60")
    with pytest.raises(UsageError, match="unknown data set 'rmat'"):
        load("rmat")
