"""ICPG: a masker trained on one graph prunes another; its file; what it may see."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from common.allocate import prune
from common.masks import Masks, prunable
from common.runs.errors import DivergedError, MissingData
from glt.config import Find, Inductive
from glt.data import Graph
from glt.edges import Edges
from glt.features import Features
from glt.masker import Masker, load, save
from glt.methods.inductive import Trained, train_masker
from glt.models import EDGES, WEIGHTS, GraphModel
from glt.tasks import NodeClassification
from glt.trial import build


def two_blocks(nodes: int, seed: int) -> Graph:
    """A draw of the graphs of these tests: two communities, features that tell little, an edge in six between them."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(nodes) % 2
    chance = torch.where(y.unsqueeze(1) == y, 0.1, 0.02)
    link = (torch.rand(nodes, nodes, generator=generator) < chance).triu(1)
    x = torch.randn(nodes, 6, generator=generator) + (y.unsqueeze(1) - 0.5)
    place = torch.randperm(nodes, generator=generator)
    splits = [(place >= low) & (place < high) for low, high in ((0, nodes // 3), (nodes // 3, nodes // 2))]
    edge_index = (link | link.T).nonzero().T
    return Graph("blocks", x, edge_index, y, *splits, ~(splits[0] | splits[1]))


def masks_of(model: GraphModel) -> Masks:
    return Masks.dense({EDGES: model.edges.weight, **prunable(model)})


def trained(graph: Graph, config: Find, *, inductive: bool = False, **changes: object) -> Trained:
    settings = replace(Inductive(epochs=5, hidden=16), **changes)  # type: ignore[arg-type]
    model, task = build(graph, config, 0), NodeClassification(graph, inductive=inductive)
    return train_masker(model, masks_of(model), task, config.training, settings, 0)


@pytest.mark.parametrize(("encoder", "least"), [("gcn", 0.9), ("mlp", 0.65)])
def test_a_masker_prunes_a_graph_it_has_never_seen(config: Find, encoder: str, least: float) -> None:
    """One edge in six is between the communities, hurts, and should be among the first to go."""
    found = trained(two_blocks(200, seed=1), config, epochs=60, encoder=encoder, hidden=32, masker_lr=5e-3)
    assert found.masker is not None
    new = two_blocks(150, seed=51)
    edges = Edges(new.edge_index, 150)
    scores = found.masker.scores(new.x, edges)
    between = new.y[edges.edge_index[0]] != new.y[edges.edge_index[1]]
    ahead = (scores[~between].unsqueeze(1) > scores[between]).float().mean()
    assert ahead > least  # by chance: 0.5
    kept = prune({EDGES: scores}, 0.9, structure={EDGES: edges.structure()})[EDGES]
    assert float(between[~kept].float().mean()) > 1.5 * float(between.float().mean())


def test_both_directions_share_their_score(graph: Graph) -> None:
    torch.manual_seed(0)
    masker, x = Masker(6, 8), Features(graph.x)
    edges = Edges(graph.edge_index, 60)
    scores = masker.scores(x, edges)
    assert torch.equal(scores, scores[edges.reverse])
    apart = masker.scores(x, Edges(graph.edge_index, 60, symmetric=False))
    assert not torch.equal(apart, apart[edges.reverse])
    torch.testing.assert_close(scores, (apart + apart[edges.reverse]) / 2)


def test_an_encoder_of_neighbours_sees_live_edges_alone(graph: Graph) -> None:
    torch.manual_seed(0)
    whole, edgeless = Edges(graph.edge_index, 60), Edges(graph.edge_index, 60)
    with torch.no_grad():
        edgeless.weight.zero_()
    for encoder, differs in (("gcn", True), ("mlp", False)):
        masker = Masker(6, 8, encoder)  # type: ignore[arg-type]
        assert torch.equal(masker.scores(graph.x, whole), masker.scores(graph.x, edgeless)) != differs


def test_a_masker_comes_back_from_its_file(graph: Graph, tmp_path: Path) -> None:
    torch.manual_seed(0)
    edges = Edges(graph.edge_index, 60)
    for encoder in ("gcn", "mlp"):
        masker = Masker(6, 8, encoder)  # type: ignore[arg-type]
        assert save(masker, tmp_path / "ticket").name == "masker.safetensors"
        assert torch.equal(load(tmp_path / "ticket").scores(graph.x, edges), masker.scores(graph.x, edges))


def test_what_is_no_masker_is_refused(graph: Graph, tmp_path: Path) -> None:
    with pytest.raises(MissingData, match=r"there is no masker\.safetensors"):
        load(tmp_path)
    path = save(Masker(6, 8), tmp_path)
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(ValueError, match=r"masker.safetensors: found no masker .*expected what glt.masker.save wrote"):
        load(tmp_path)
    with pytest.raises(ValueError, match=r"found features of shape \(60, 6\); expected \(60, 5\)"):
        Masker(5).scores(graph.x, Edges(graph.edge_index, 60))


def test_scores_are_of_the_last_or_the_best_epoch(graph: Graph, config: Find) -> None:
    found = trained(graph, config, mask_at="best")
    best = max(h["val"] for h in found.history)
    assert found.epoch == max(i for i, h in enumerate(found.history, 1) if h["val"] == best)
    shorter = trained(graph, config, epochs=found.epoch)
    assert shorter.epoch == found.epoch
    assert all(torch.equal(score, shorter.scores[name]) for name, score in found.scores.items())


def test_the_masker_learns_with_the_network(graph: Graph, config: Find) -> None:
    still, moving = (trained(graph, config, masker_lr=lr, epochs=30) for lr in (1e-12, 1e-2))
    assert float((moving.scores[EDGES] - still.scores[EDGES]).abs().max()) > 0.05


def test_given_edges_need_no_masker(graph: Graph, config: Find) -> None:
    model = build(graph, config, 0)
    masks = masks_of(model).only(WEIGHTS)
    found = train_masker(model, masks, NodeClassification(graph), config.training, Inductive(epochs=2), 0)
    assert found.masker is None
    assert set(found.scores) == set(masks)


def test_pruned_weights_stay_zero(graph: Graph, config: Find) -> None:
    model = build(graph, config, 0)
    masks = masks_of(model)
    name = "net.convs.0.lin.weight"
    masks[name] = torch.rand_like(model.get_parameter(name)) > 0.5
    model.get_parameter(name).data.mul_(masks[name])
    found = train_masker(model, masks, NodeClassification(graph), config.training, Inductive(epochs=3), 0)
    assert bool((found.scores[name][~masks[name]] == 0).all())


def test_seen_edges_are_scored_as_if_there_were_no_others(graph: Graph, config: Find) -> None:
    other = replace(graph, x=torch.where(graph.test.unsqueeze(1), torch.randn_like(graph.x), graph.x))
    one, two = (trained(each, config, inductive=True) for each in (graph, other))
    new = graph.test[build(graph, config, 0).edges.edge_index].any(0)
    assert torch.equal(one.scores[EDGES][~new], two.scores[EDGES][~new])
    assert not torch.equal(one.scores[EDGES][new], two.scores[EDGES][new])
    assert all(torch.equal(one.scores[name], two.scores[name]) for name in one.scores if name != EDGES)


def test_a_search_that_never_is_finite_says_so(graph: Graph, config: Find) -> None:
    with pytest.raises(DivergedError, match=r"the search diverged.*Lower --inductive\.lr"):
        trained(graph, config, lr=1e30)
