"""`glt infer`: what it predicts, with which weights, and how it refuses."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from common.runs.progress import Console
from common.ticket import Ticket
from glt._graph_sources import of_graph
from glt.cli import main
from glt.config import Find, Network, Training, preset
from glt.data import Graph
from glt.find import run as find
from glt.mapped import write_graph
from glt.method_settings import AdaGLT
from glt.models import NETWORKS
from glt.predict import open_ticket
from glt.tasks import NodeClassification
from glt.trial import build


@pytest.fixture(name="ticket")
def _ticket(config: Find, npz: str, tmp_path: Path) -> str:
    found = find(replace(config, dataset=npz, out=str(tmp_path / "runs")), Console(quiet=True))
    return str(found["ticket"])


def test_infer_predicts_with_the_trained_weights(
    ticket: str, graph: Graph, config: Find, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "labels.npz"
    assert main(["infer", ticket, "--out", str(out), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    model = build(graph, config, 0)
    model.load_state_dict(Ticket.load(ticket).trained or {})
    wanted = NodeClassification(graph).evaluate(model)
    assert found["state"] == "trained"
    assert found["accuracy"] == pytest.approx(wanted, abs=1e-6)
    with np.load(out) as file:
        assert file["prediction"].shape == (60,)
        assert set(file["prediction"]) <= {0, 1}


@pytest.mark.parametrize(("model", "method"), [*((name, "random") for name in NETWORKS), ("gcn", "adaglt")])
def test_infer_serves_tickets_of_every_network(
    model: str,
    method: str,
    npz: str,
    graph: Graph,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The last one has edges of its own in every layer."""
    monkeypatch.setattr("glt.report.write_report", lambda *_: tmp_path)  # a ticket is all that is wanted
    hidden = {} if model == "sgc" else {"hidden": 8}
    config = Find(
        npz, model=model, method=method, rounds=1, edges_density=0.6, weights_density=0.5, seeds=1, jobs=1,
        network=Network(**hidden), training=Training(epochs=3), adaglt=AdaGLT(epochs=3), out=str(tmp_path / "runs"),
    )  # fmt: skip
    ticket = str(find(preset(config), Console(quiet=True))["ticket"])
    out = tmp_path / "labels.npy"
    assert main(["infer", ticket, "--out", str(out), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    trained = open_ticket(ticket, None, None)[2]
    with torch.no_grad():
        np.testing.assert_array_equal(np.load(out), trained(graph.x).argmax(1).numpy())
    assert found["state"] == "trained"
    assert found["accuracy"] == pytest.approx(NodeClassification(graph).evaluate(trained), abs=1e-6)
    if method == "adaglt":
        assert main(["infer", ticket, "--memory", "1GB"]) == 2
        assert "found a ticket with edges of its own in each of 2 layers" in capsys.readouterr().err
    elif model not in ("gcn", "sgc"):
        assert main(["infer", ticket, "--memory", "1GB"]) == 1
        assert f"found the network {type(trained.net).__name__}; expected a GCN or an SGC" in capsys.readouterr().err


def test_infer_says_when_weights_are_not_trained(ticket: str, capsys: pytest.CaptureFixture[str]) -> None:
    replace(Ticket.load(ticket), trained=None).save(ticket)
    capsys.readouterr()
    assert main(["infer", ticket, "--backend", "scipy", "--json"]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["state"] == "rewound"
    assert "no trained weights" in shown.err


FACTS = ("ticket", "state", "nodes", "edges", "weights", "threads", "units")


@pytest.mark.parametrize("name", ["labels.npy", "labels.npz"])
def test_blocks_predict_what_memory_does(
    name: str, ticket: str, graph: Graph, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = tmp_path / "graph", tmp_path / "out"
    write_graph(graph, folder)
    out.mkdir()
    results = []
    for place in ([], ["--memory", "50MB"], ["--dataset", str(folder), "--memory", "50MB"], ["--dataset", str(folder)]):
        assert main(["infer", ticket, *place, "--out", str(out / name), "--backend", "scipy", "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        labels = np.load(out / name)
        results.append((found, labels if name.endswith(".npy") else labels["prediction"]))
        assert [path.name for path in out.iterdir()] == [name]
    for found, labels in results[1:]:
        assert labels.dtype == np.int64
        np.testing.assert_array_equal(labels, results[0][1])
        assert {key: found[key] for key in FACTS} == {key: results[0][0][key] for key in FACTS}
        assert found["accuracy"] == pytest.approx(results[0][0]["accuracy"])
        assert found.keys() >= results[0][0].keys()
        assert found["processes"] == 1
    assert [found.get("memory") for found, _ in results] == [None, 50_000_000, 50_000_000, None]


def test_a_graph_without_labels(ticket: str, graph: Graph, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_graph(replace(of_graph(graph), labels=dict), tmp_path / "graph")
    assert main(["infer", ticket, "--dataset", str(tmp_path / "graph"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["accuracy"] is None


def test_a_ticket_of_another_graph_is_refused(
    ticket: str, graph: Graph, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_graph(replace(graph, edge_index=graph.edge_index[:, 1:]), tmp_path / "other")
    assert main(["infer", ticket, "--dataset", str(tmp_path / "other")]) == 1
    assert "a ticket for another graph" in capsys.readouterr().err
    wide = replace(graph, x=torch.cat([graph.x, graph.x], 1))
    write_graph(wide, tmp_path / "wide")
    assert main(["infer", ticket, "--dataset", str(tmp_path / "wide")]) == 1
    assert "a ticket for another model" in capsys.readouterr().err


def test_too_little_memory(ticket: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "out").mkdir()
    out = str(tmp_path / "out" / "labels.npy")
    for size, text in (("1KB", "reading a ticket of"), ("100KB", "need at least 17MB")):
        assert main(["infer", ticket, "--memory", size, "--out", out]) == 2
        assert f"--memory {size} is too little" in (error := capsys.readouterr().err)
        assert text in error
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("stop", [KeyboardInterrupt, OSError])
def test_nothing_is_left_when_it_ends_early(
    stop: type[BaseException], ticket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out").mkdir()

    def broken(*_: object) -> None:
        raise stop("in the middle")

    monkeypatch.setattr("glt._predict_blocks.announce", broken)
    assert main(["infer", ticket, "--memory", "50MB", "--out", str(tmp_path / "out" / "a.npy")]) != 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.npy"]
    monkeypatch.setattr("glt._sweep.Sweeper._loaded", broken)
    assert main(["infer", ticket, "--memory", "50MB", "--out", str(tmp_path / "out" / "b.npz")]) != 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.npy"]


@pytest.mark.parametrize(
    ("words", "text", "code"),
    [
        ([], "name the folder of a ticket", 2),
        (["nowhere"], "nowhere", 1),
        (["x", "--threads", "0"], "--threads must be at least 1; found 0", 2),
        (["x", "--out", "labels.txt"], "--out must be an .npy or .npz in a folder that exists; found labels.txt", 2),
        (["x", "--out", "none/labels.npy"], "in a folder that exists; found none/labels.npy", 2),
        (["x", "--memory", "2"], "--memory must be a positive number with a unit", 2),
        (["x", "--memory", "lots"], "as in 2GB, 512MB or 1.5GiB; found 'lots'", 2),
        (["x", "--backend", "cuda"], "cuda", 2),
    ],
)
def test_infer_mistakes(words: list[str], text: str, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["infer", *words]) == code
    assert text in capsys.readouterr().err
