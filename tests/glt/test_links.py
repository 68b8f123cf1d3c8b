"""Link prediction: what is held out, what a network sees, the loss, and tickets from the first command to the last."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from common.runs.errors import UsageError
from common.scoped import seeded
from glt.config import Find, Task
from glt.data import Graph, load
from glt.tasks import LinkPrediction, Teacher, make, message_edges
from glt.tasks.pairs import Absent, split_links
from glt.trial import build, task_of

LINKS = Task(kind="links", embedding=4)


class Given(nn.Module):
    """A network that has found its embeddings."""

    def __init__(self, embeddings: Tensor) -> None:
        super().__init__()
        self.embeddings = nn.Parameter(embeddings)

    def forward(self, x: object, rows: object = None) -> Tensor:
        return self.embeddings


def value(task: LinkPrediction, model: nn.Module, teacher: Teacher | None = None) -> float:
    return float(task.loss(model, teacher).detach())


def pairs_of(edges: Tensor) -> set[frozenset[int]]:
    return {frozenset(pair) for pair in edges.T.tolist() if pair[0] != pair[1]}


@pytest.fixture(name="links")
def _links(config: Find) -> Find:
    return replace(config, task=LINKS)


@pytest.mark.parametrize("directed", [False, True])
def test_held_out_edges_leave_the_message_graph_in_both_directions(graph: Graph, directed: bool) -> None:
    edges = graph.edge_index[:, ::3] if directed else graph.edge_index
    split = split_links(edges, 60, val=0.1, test=0.2, seed=3)
    parts = [pairs_of(part) for part in (split.train, split.val, split.test)]
    assert set.union(*parts) == pairs_of(edges)
    total = len(pairs_of(edges))
    assert [len(part) for part in parts] == [
        total - int(0.1 * total) - int(0.2 * total),
        int(0.1 * total),
        int(0.2 * total),
    ]
    assert pairs_of(split.message) == parts[0]
    kept = [pair for pair in edges.T.tolist() if frozenset(pair) in parts[0]]
    assert split.message.T.tolist() == kept


def test_shares_are_those_of_the_published_setting() -> None:
    star = torch.stack([torch.zeros(200, dtype=torch.int64), torch.arange(1, 201)])
    split = split_links(star, 201)
    assert [part.size(1) for part in (split.train, split.val, split.test)] == [170, 10, 20]
    again, other = split_links(star, 201), split_links(star, 201, seed=1)
    assert torch.equal(split.test, again.test)
    assert not torch.equal(split.test, other.test)


def test_too_few_edges_or_too_few_pairs_without_one_are_refused() -> None:
    path = torch.tensor([[0, 1], [1, 2]])
    with pytest.raises(UsageError, match=r"leave none of 2 edges to train on"):
        split_links(path, 3)
    with pytest.raises(UsageError, match=r"found an edge between every two of 3 nodes"):
        Absent(torch.tensor([[0, 1, 0], [1, 2, 2]]), 3)
    with pytest.raises(UsageError, match=r"found 1 pairs of nodes without an edge; expected 2"):
        Absent(path, 3).distinct(2, seed=0)


def test_absent_pairs_are_no_edge_no_loop_and_different(graph: Graph) -> None:
    edges, absent = pairs_of(graph.edge_index), Absent(graph.edge_index, 60)
    assert absent.count == 60 * 59 // 2 - len(edges)
    drawn = absent.drawn(5000, torch.Generator().manual_seed(0))
    assert pairs_of(drawn).isdisjoint(edges)
    assert bool((drawn[0] != drawn[1]).all())
    every = absent.distinct(absent.count, seed=0)
    assert len(pairs_of(every)) == absent.count
    assert torch.equal(absent.distinct(50, seed=1), absent.distinct(50, seed=1))
    assert not torch.equal(absent.distinct(50, seed=1), absent.distinct(50, seed=2))


def test_the_network_sees_training_edges_alone_and_only_these_are_counted(graph: Graph, links: Find) -> None:
    split = split_links(graph.edge_index, 60)
    model = build(graph, links, 0)
    assert pairs_of(model.edges.edge_index) == pairs_of(split.train)
    assert model.edges.count()["total"] == split.train.size(1)
    assert model(graph.x).shape == (60, 4)
    assert torch.equal(message_edges(graph, Task()), graph.edge_index)


def test_the_loss_in_evaluation_mode_is_that_of_fixed_pairs(graph: Graph) -> None:
    task = LinkPrediction(graph)
    model = Given(torch.randn(60, 3, generator=torch.Generator().manual_seed(0))).eval()
    first = value(task, model)
    assert first == value(task, model)
    pairs = torch.cat([task._joined, task._fixed], 1)
    probability = (model.embeddings[pairs[0]] * model.embeddings[pairs[1]]).sum(1).sigmoid().detach().double()
    count = task._joined.size(1)
    assert pairs.size(1) == 2 * count
    wanted = -(probability[:count].log().sum() + (1 - probability[count:]).log().sum()) / (2 * count)
    assert first == pytest.approx(float(wanted), abs=1e-5)


def test_absent_pairs_of_training_know_nothing_of_what_is_held_out(graph: Graph) -> None:
    task, split = LinkPrediction(graph), split_links(graph.edge_index, 60)
    drawn = pairs_of(torch.cat([task._fixed, task._absent.drawn(20_000, torch.Generator().manual_seed(0))], 1))
    assert drawn.isdisjoint(pairs_of(split.train))
    assert drawn >= pairs_of(split.test)


def test_training_draws_other_pairs_every_time_and_the_same_from_a_seed(graph: Graph) -> None:
    task, model = LinkPrediction(graph), Given(torch.randn(60, 3, generator=torch.Generator().manual_seed(0)))

    def losses() -> list[float]:
        with seeded(5):
            return [value(task, model) for _ in range(3)]

    assert len(set(losses())) == 3
    assert losses() == losses()
    assert next(iter(task.objective(model))).requires_grad


def test_auc_is_that_of_held_out_pairs(graph: Graph) -> None:
    task, model = LinkPrediction(graph, k=3), Given(torch.randn(60, 3, generator=torch.Generator().manual_seed(0)))
    found = task.evaluate(model)
    val, val_absent, test, test_absent = task._held_out.split(task._sizes, dim=1)
    known = split_links(graph.edge_index, 60)
    assert torch.equal(test, known.test)
    assert torch.equal(val, known.val)
    absent = pairs_of(torch.cat([val_absent, test_absent], 1))
    assert len(absent) == val.size(1) + test.size(1)
    assert absent.isdisjoint(pairs_of(graph.edge_index))
    score = (model.embeddings @ model.embeddings.T).detach()
    scores = torch.cat([score[test[0], test[1]], score[test_absent[0], test_absent[1]]])
    assert found["test"] == pytest.approx(roc_auc_score(np.repeat([1, 0], test.size(1)), scores))
    assert set(found) == {"val", "test", "val_hits@3", "test_hits@3"}


def test_embeddings_that_know_the_edges_are_best_and_nan_is_none(graph: Graph) -> None:
    adjacency = torch.zeros(60, 60)
    adjacency[graph.edge_index[0], graph.edge_index[1]] = 1
    values, vectors = torch.linalg.eigh(adjacency + 60 * torch.eye(60))
    found = LinkPrediction(graph).evaluate(Given(vectors * values.sqrt()))
    assert all(value == 1.0 for value in found.values())
    assert all(math.isnan(value) for value in LinkPrediction(graph).evaluate(Given(vectors * float("nan"))).values())


def test_a_teacher_adds_how_far_its_links_are_away(graph: Graph) -> None:
    task = LinkPrediction(graph)
    model = Given(torch.randn(60, 3, generator=torch.Generator().manual_seed(0))).eval()
    same = Teacher(task.outputs(model), 10.0)
    assert value(task, model, same) == pytest.approx(value(task, model), abs=1e-5)
    pairs = torch.cat([task._joined, task._fixed], 1)
    p = torch.full((pairs.size(1),), 0.5).double()  # a teacher that knows nothing
    q = (model.embeddings[pairs[0]] * model.embeddings[pairs[1]]).sum(1).sigmoid().detach().double()
    divergence = (p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()).mean()
    added = value(task, model, Teacher(torch.zeros(60, 3), 2.0)) - value(task, model)
    assert added == pytest.approx(2 * float(divergence), rel=1e-4)


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (Task(kind="links", inductive=True), "--task.inductive True means nothing to --task.kind links"),
        (Task(kind="links", split="full"), "--task.split full means nothing to --task.kind links"),
        (Task(kind="links", metric="AUC"), "--task.metric AUC means nothing to --task.kind links"),
        (Task(hits=3), "--task.hits 3 means nothing to --task.kind nodes"),
        (Task(kind="links", test_links=1.0), r"--task.test-links is a share to hold out and must lie in \(0, 1\)"),
        (Task(kind="links", val_links=0.6, test_links=0.5), "leave none of 170 edges to train on"),
        (Task(kind="graphs"), "blocks is one graph; expected --task.kind nodes or links, found --task.kind graphs"),
    ],
)
def test_settings_that_cannot_be_met_are_refused(graph: Graph, task: Task, message: str) -> None:
    total = len(pairs_of(graph.edge_index))
    with pytest.raises(UsageError, match=message.replace("170", str(total))):
        make(graph, task)


@pytest.mark.data
def test_cora_has_the_published_counts_and_is_learnt_in_a_few_epochs() -> None:
    from glt.config import Network, Training, preset
    from glt.trial import trained_by

    graph = load("cora")
    config = preset(Find("cora", task=Task(kind="links"), network=Network(hidden=16), training=Training(epochs=60)))
    model, task = build(graph, config, 0), task_of(graph, config)
    assert model.edges.count()["total"] == 5278 - 263 - 527
    assert (config.training.lr, config.training.weight_decay) == (0.01, 0.0)
    before = task.evaluate(model)["test"]
    assert trained_by(task, graph, config, 0)(model, 0, 60)["test"] > max(0.75, before)
