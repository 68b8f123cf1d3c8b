"""The ladder: exact counts, nesting, rewinding, controls, resuming, and the same bits twice."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from common.masks import Masks
from common.ticket import Ticket, TicketError
from glt.config import AdaGLT, Find, Network, preset
from glt.data import Graph, load
from glt.ladder import Rung, climb
from glt.models import EDGES
from glt.tasks import NodeClassification
from glt.trial import build, control_tickets, densities, retrain


def rungs(graph: Graph, config: Find, **arguments: object) -> list[Rung]:
    return list(climb(graph, config, 0, **arguments))


@pytest.mark.parametrize("method", ["ugs", "random"])
@pytest.mark.parametrize("symmetric", [True, False])
def test_counts_are_exact_and_rungs_nested(graph: Graph, config: Find, method: str, symmetric: bool) -> None:
    config = replace(config, method=method, symmetric=symmetric)
    total = {"edges": graph.edge_index.size(1) // (2 if symmetric else 1), "weights": 6 * 8 + 8 * 2}
    found = rungs(graph, config)
    for rung, density in zip(found, densities(config), strict=True):
        assert rung.counts["edges"] == {"total": total["edges"], "kept": round(density[EDGES] * total["edges"])}
        assert rung.counts["weights"] == {"total": total["weights"], "kept": round(density["net.*"] * total["weights"])}
    for before, after in pairwise(found):
        assert all(bool((after.ticket.masks[n] <= before.ticket.masks[n]).all()) for n in after.ticket.masks)


def test_symmetric_pairs_live_and_die_together(graph: Graph, config: Find) -> None:
    model = build(graph, config, 0)
    for rung in rungs(graph, config):
        mask = rung.ticket.masks[EDGES]
        assert torch.equal(mask, mask[model.edges.reverse])
    apart = rungs(graph, replace(config, symmetric=False))[-1].ticket.masks[EDGES]
    assert not torch.equal(apart, apart[model.edges.reverse])


def test_every_ticket_starts_from_the_initial_weights(graph: Graph, config: Find) -> None:
    initial = build(graph, config, 0).state_dict()
    for rung in rungs(graph, config):
        for name, mask in rung.ticket.masks.items():
            assert torch.equal(rung.ticket.weights[name][mask], initial[name][mask])


def test_two_runs_are_the_same_to_the_bit_and_a_stopped_one_goes_on(graph: Graph, config: Find, tmp_path: Path) -> None:
    whole, again = rungs(graph, config), rungs(graph, config)
    Ticket.load(whole[0].ticket.save(tmp_path / "0"))
    middle = Ticket.load(whole[1].ticket.save(tmp_path / "1"))
    late = rungs(graph, config, start=middle, rung=2)
    for one, other in [*zip(whole, again, strict=True), (whole[2], late[0])]:
        assert one.ticket.digest == other.ticket.digest
        assert one.accuracy == other.accuracy
        assert one.controls == other.controls
        assert all(torch.equal(one.ticket.trained[n], t) for n, t in other.ticket.trained.items())


def test_controls_keep_the_counts_and_change_one_thing(graph: Graph, config: Find) -> None:
    ticket = rungs(graph, config)[-1].ticket
    drawn = control_tickets(ticket, graph, config, 0)
    assert drawn["random"].masks.counts() == ticket.masks.counts()
    assert drawn["random"].masks.distance(ticket.masks) > 0
    pairs = drawn["random"].masks[EDGES]
    assert torch.equal(pairs, pairs[build(graph, config, 0).edges.reverse])
    assert drawn["reinit"].masks.distance(ticket.masks) == 0
    name = "net.convs.0.lin.weight"
    assert not torch.equal(drawn["reinit"].weights[name], ticket.weights[name])
    saved = replace(ticket, weights={n: w * ticket.masks.get(n, torch.tensor(1)) for n, w in ticket.weights.items()})
    again = control_tickets(saved, graph, config, 0)
    assert again["random"].digest == drawn["random"].digest


@pytest.mark.parametrize("symmetric", [True, False])
def test_random_edges_of_layers_shrink_with_depth_as_the_tickets_do(
    graph: Graph, config: Find, symmetric: bool
) -> None:
    """Drawn anew in every layer they would join more nodes over all layers than a ticket's do."""
    config = preset(replace(config, method="adaglt", symmetric=symmetric, network=Network(hidden=8, depth=3)))
    model = build(graph, config, 0)
    first = torch.rand(graph.edge_index.size(1), generator=torch.Generator().manual_seed(0))
    first = first[model.edges.pair[0] if symmetric else slice(None)]  # both directions have one number
    mask = first < torch.tensor([0.8, 0.5, 0.4])[:, None]
    ticket = Ticket(Masks({EDGES: mask}), model.state_dict())
    found = control_tickets(ticket, graph, config, 0)
    drawn = found["edges"].masks[EDGES]
    assert torch.equal(found["random"].masks[EDGES], drawn)
    assert torch.equal(drawn.sum(1), mask.sum(1))
    assert bool((drawn[1:] <= drawn[:-1]).all())
    assert not torch.equal(drawn[0], mask[0])
    assert not symmetric or torch.equal(drawn, drawn[:, model.edges.reverse])


def test_a_method_with_edges_for_every_layer_gets_the_same_random_ones_in_each(graph: Graph, config: Find) -> None:
    config = replace(config, method="adaglt", edges="random", network=Network(hidden=8, depth=3))
    config = preset(replace(config, adaglt=AdaGLT(epochs=2, pretrain=0)))
    flat = rungs(graph, replace(config, method="random"))[1:]
    for rung, other in zip(rungs(graph, config)[1:], flat, strict=True):
        mask = rung.ticket.masks[EDGES]
        assert bool((mask[1:] <= mask[:-1]).all())
        assert int((mask[0] != other.ticket.masks[EDGES]).sum()) <= 2  # a pair more or less
        assert int(mask.sum()) == 2 * rung.counts["edges"]["kept"]
        assert int(mask[0].sum() - mask[2].sum()) <= 2  # the count of all layers need not be one of each


def test_another_graph_is_refused(graph: Graph, config: Find) -> None:
    ticket = rungs(graph, config)[-1].ticket
    other = replace(graph, edge_index=graph.edge_index[:, 2:])
    with pytest.raises(TicketError, match="another graph"):
        retrain(ticket, other, config, 0, NodeClassification(other))


def test_a_directed_graph_is_pruned_edge_by_edge(graph: Graph, config: Find) -> None:
    forward = graph.edge_index[:, graph.edge_index[0] < graph.edge_index[1]]
    last = rungs(replace(graph, edge_index=forward), config)[-1]
    assert last.counts["edges"] == {"total": forward.size(1), "kept": round(0.64 * forward.size(1))}


@pytest.mark.data
def test_published_ladder_counts_on_cora() -> None:
    """20 rounds of 5 % of the edges and 20 % of the weights; one epoch a phase is enough to count."""
    config = preset(Find("cora"))
    config = replace(config, training=replace(config.training, epochs=1), ugs=replace(config.ugs, epochs=1))
    weights = 1433 * 512 + 512 * 7
    for rung in climb(load("cora"), config, 0):
        assert rung.counts["edges"] == {"total": 5278, "kept": round(0.95**rung.number * 5278)}
        assert rung.counts["weights"] == {"total": weights, "kept": round(0.8**rung.number * weights)}
