"""Graph classification: the readout, what training sees, and tickets from the first command to the last."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from common.runs.errors import UsageError
from glt.cli import main
from glt.config import Find, Network, Task, Training, preset
from glt.data import Graph, GraphSet
from glt.data_file import write_npz
from glt.graph_sets import motifs
from glt.ladder import climb
from glt.models import EDGES
from glt.tasks import GraphClassification, NodeClassification, Teacher, make, node_task
from glt.trial import build, densities, retrain, task_of

GRAPHS = Task(kind="graphs")


class Given(nn.Module):
    """A network that has found the logits of its nodes."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits)

    def forward(self, x: object, rows: Tensor | None = None) -> Tensor:
        return self.logits if rows is None else self.logits[rows]


@pytest.fixture(name="three")
def _three() -> GraphSet:
    edges = torch.tensor([[0, 1, 2, 3], [1, 0, 3, 2]])
    splits = torch.eye(3, dtype=torch.bool)
    y, batch = torch.tensor([0, 1, 0]), torch.tensor([0, 0, 1, 1, 1, 2])
    return GraphSet("three", torch.ones(6, 1), edges, y, *splits, batch=batch)


@pytest.fixture(name="given")
def _given() -> Given:
    return Given(torch.tensor([[4.0, 0.0], [0.0, 2.0], [0.0, 3.0], [0.0, 0.0], [0.0, 0.0], [0.0, 1.0]])).eval()


@pytest.fixture(name="drawn")
def _drawn() -> GraphSet:
    return motifs(graphs=40)


@pytest.fixture(name="settled")
def _settled(config: Find) -> Find:
    return replace(config, task=GRAPHS)


def test_a_graph_has_the_mean_of_its_nodes(three: GraphSet, given: Given) -> None:
    task = GraphClassification(three)
    assert task.outputs(given).tolist() == [[2.0, 1.0], [0.0, 1.0], [0.0, 1.0]]
    assert task.node_outputs(given).tolist() == given.logits.tolist()
    assert float(task.loss(given).detach()) == pytest.approx(float(torch.tensor(1 + torch.e**-1).log()))  # 2 against 1
    assert task.evaluate(given) == {"val": 1.0, "test": 0.0}


def test_graphs_side_by_side_are_graphs_alone(drawn: GraphSet, settled: Find) -> None:
    for model_name in ("gcn", "gat", "gin", "resgcn"):
        config = preset(replace(settled, model=model_name, network=Network(hidden=4)))
        model = build(drawn, config, 0)
        found = GraphClassification(drawn).outputs(model)
        chosen = drawn.batch == 7
        number = chosen.cumsum(0) - 1
        edges = number[drawn.edge_index[:, chosen[drawn.edge_index[0]]]]
        one = torch.tensor([True, False, False])
        alone = GraphSet(
            "alone", torch.cat([drawn.x[chosen], torch.ones(2, 4)]), edges, torch.tensor([0, 1, 0]), one, one.roll(1),
            one.roll(2), batch=torch.tensor([0] * int(chosen.sum()) + [1, 2]),
        )  # fmt: skip
        other = build(alone, config, 0)
        other.net.load_state_dict(model.net.state_dict())
        assert torch.allclose(GraphClassification(alone).outputs(other)[0], found[7], atol=1e-6)


def test_training_graphs_alone_have_gradients(drawn: GraphSet, settled: Find) -> None:
    model = build(drawn, settled, 0)
    model.edges.weight.requires_grad_(True)
    GraphClassification(drawn).loss(model).backward()
    trained = drawn.train[drawn.batch[model.edges.edge_index[0]]]
    assert float(model.edges.weight.grad[trained].abs().max()) > 0
    assert float(model.edges.weight.grad[~trained].abs().max()) == 0


def test_a_teacher_is_heard_on_all_graphs_or_on_none_of_the_test(three: GraphSet, given: Given) -> None:
    teacher = Teacher(torch.tensor([[2.0, 1.0], [0.0, 1.0], [5.0, 0.0]]), 3.0)  # differs on the test graph alone

    def added(task: GraphClassification) -> float:
        return float((task.loss(given, teacher) - task.loss(given)).detach())

    p, q = teacher.outputs[2].log_softmax(0), torch.tensor([0.0, 1.0]).log_softmax(0)
    assert added(GraphClassification(three)) == pytest.approx(3 * float((p.exp() * (p - q)).sum()) / 3, rel=1e-5)
    inductive = GraphClassification(three, inductive=True)
    assert added(inductive) == pytest.approx(0, abs=1e-6)
    assert inductive.seen is not None
    assert inductive.seen.tolist() == [0, 1, 2, 3, 4]


def test_auc_of_two_classes_is_that_of_scikit_learn(drawn: GraphSet) -> None:
    model = Given(torch.randn(drawn.x.size(0), 2, generator=torch.Generator().manual_seed(0)))
    task = GraphClassification(drawn, metric="AUC")
    margin = task.outputs(model).diff(dim=1).squeeze(1)
    assert task.metric == "AUC"
    expected = roc_auc_score(drawn.y[drawn.test], margin[drawn.test])
    assert task.evaluate(model)["test"] == pytest.approx(expected)


def test_diverged_logits_have_no_metric(three: GraphSet, given: Given) -> None:
    found = GraphClassification(three).evaluate(Given(given.logits.detach() * float("nan")))
    assert all(value != value for value in found.values())


def test_kinds_and_data_must_fit(three: GraphSet, graph: Graph) -> None:
    for kind in ("nodes", "links"):
        with pytest.raises(UsageError, match=f"three is a set of graphs; expected --task.kind graphs, found .*{kind}"):
            make(three, Task(kind=kind))
    with pytest.raises(UsageError, match="AUC needs two classes, with graphs of both in every split"):
        make(three, Task(kind="graphs", metric="AUC"))
    with pytest.raises(UsageError, match=r"--ugs\.exact-rng repeats published code that classifies nodes"):
        make(three, GRAPHS, whole=True)
    with pytest.raises(UsageError, match="a method needs labels of nodes; found GraphClassification"):
        node_task(make(three, GRAPHS), "a method")
    assert isinstance(node_task(make(graph, Task()), "a method"), NodeClassification)


def test_motifs_are_learnt_with_edges_and_not_without() -> None:
    graph = motifs(graphs=200)
    network, training = Network(hidden=16, dropout=0.0), Training(epochs=100, lr=0.02, weight_decay=0.0)
    config = preset(Find("motifs", task=GRAPHS, network=network, training=training, rungs=[]))
    dense = next(iter(climb(graph, config, 0)))
    assert dense.accuracy["test"] > 0.75
    assert dense.controls["no_edges"]["test"] < 0.65


@pytest.mark.parametrize("method", ["ugs", "random", "degree", "magnitude", "teddy"])
def test_methods_do_it_exactly(drawn: GraphSet, settled: Find, method: str) -> None:
    config = preset(replace(settled, method=method))
    found = list(climb(drawn, config, 0))
    total = drawn.edge_index.size(1) // 2
    for rung, density in zip(found, densities(config), strict=True):
        assert rung.counts["edges"] == {"total": total, "kept": round(density[EDGES] * total)}
    last = found[-1].ticket
    if not config.training.distil:
        assert retrain(last, drawn, config, 0, task_of(drawn, config)) == found[-1].accuracy


@pytest.mark.parametrize("method", ["default", "teddy"])
def test_projection_leaves_no_layer_too_few_weights_to_learn(drawn: GraphSet, method: str) -> None:
    training = Training(epochs=2)
    config = Find(method=method, rounds=1, edges_density=0.66, weights_density=1 / 6, task=GRAPHS, training=training)
    *_, last = climb(drawn, preset(config), 0)
    kept = last.ticket.masks.only("net.*")
    assert all(mask.float().mean() > 0.5 / 6 - 1 / mask.numel() for mask in kept.values())


def test_the_commands_take_a_set(drawn: GraphSet, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    npz = str(write_npz(drawn, tmp_path / "drawn.npz"))
    words = ["find", npz, "--rounds", "1", "--seeds", "1", "--network.hidden", "4", "--training.epochs", "3"]
    words += ["--ugs.epochs", "3", "--out", str(tmp_path / "runs"), "--json"]
    assert main(words) == 2
    assert "drawn is a set of graphs; expected --task.kind graphs" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
    assert main([*words, "--task.kind", "graphs"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["metric"], found["dataset"]) == ("accuracy", "drawn")
    assert "that of test graphs" in Path(found["report"]).read_text(encoding="utf-8")
    assert main(["eval", found["ticket"], "--seeds", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["edges"] == found["edges"]
    assert main(["infer", found["ticket"]]) == 2
    assert "found a ticket of --task.kind graphs" in capsys.readouterr().err


def test_a_published_metric_is_filled_in_for_graphs_alone() -> None:
    assert preset(Find("ogbg-molhiv", task=GRAPHS)).task.metric == "AUC"
    assert preset(Find("ogbg-molhiv")).task.metric is None
    assert preset(Find("motifs", task=GRAPHS)).task.metric is None
