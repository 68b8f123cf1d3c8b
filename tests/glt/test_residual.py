"""Deep residual networks: the blocks of torch-geometric, and a stream that reaches the end."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from glt.data import Graph
from glt.edges import Edges
from glt.models import DeeperGCN, GraphModel, ResGCN


def test_what_a_residual_block_carries_on_is_not_dropped(graph: Graph) -> None:
    """Of a stream that is halved at random in every block, 16 leave nothing."""
    net = ResGCN(6, 5, 2, depth=16, dropout=0.9).train()
    model = GraphModel(net, Edges(graph.edge_index, graph.x.size(0))).train()
    with torch.no_grad():
        for norm in net.norms:
            norm.weight.zero_()
        assert torch.equal(model(graph.x), net.decoder(net.encoder(graph.x)))
        net.norms[0].bias.fill_(1.0)
        assert not torch.allclose(model(graph.x), model(graph.x))


@pytest.mark.parametrize("block", ["res", "res+"])
def test_residual_blocks_are_those_of_torch_geometric(graph: Graph, block: str) -> None:
    from torch_geometric import nn as pyg

    torch.manual_seed(0)
    ours = (ResGCN if block == "res" else DeeperGCN)(6, 5, 2, depth=3).eval()
    convs = [pyg.GCNConv(5, 5, bias=False) if block == "res" else
             pyg.GENConv(5, 5, "softmax_sg", t=0.1, num_layers=1) for _ in range(3)]  # fmt: skip
    norms = [nn.BatchNorm1d(5).eval() for _ in range(3)]
    for theirs, mine in zip([*convs, *norms], [*ours.convs, *ours.norms], strict=True):
        theirs.load_state_dict(mine.state_dict())
    layers = [pyg.DeepGCNLayer(c, n, nn.ReLU(), block).eval() for c, n in zip(convs, norms, strict=True)]
    with torch.no_grad():
        hidden = ours.encoder(graph.x)
        if block == "res":
            for layer in layers:
                hidden = layer(hidden, graph.edge_index)
        else:  # as in torch-geometric's example: the first convolution alone, the first norm last
            hidden = convs[0](hidden, graph.edge_index)
            for norm, layer in zip(norms, layers[1:], strict=False):
                layer.norm = norm
                hidden = layer(hidden, graph.edge_index)
            hidden = torch.relu(norms[-1](hidden))
        expected = ours.decoder(hidden)
        found = GraphModel(ours, Edges(graph.edge_index, graph.x.size(0)))(graph.x)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
