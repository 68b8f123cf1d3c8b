"""A ticket of `inductive` on a graph that its search has not seen: `glt find` keeps the masker, `glt infer` uses it."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from common.ticket import Ticket
from glt.cli import main
from glt.data import Graph
from glt.edges import Edges
from glt.features import Features
from glt.masker import load
from glt.models import EDGES
from glt.predict import open_ticket

QUICK = ["--network.hidden", "8", "--training.epochs", "30", "--inductive.epochs", "20", "--jobs", "1"]


File = Callable[[Graph], str]
Captured = pytest.CaptureFixture[str]


def found(graph: str, tmp_path: Path, method: str, capsys: Captured) -> str:
    words = [graph, "--method", method, "--rounds", "1", "--seeds", "1", *QUICK]
    words += ["--edges-density", "0.7", "--weights-density", "0.5", "--out", str(tmp_path / "runs")]
    assert main(["find", *words, "--json"]) == 0
    return str(json.loads(capsys.readouterr().out)["ticket"])


def test_an_inductive_ticket_serves_another_graph(
    graph: Graph, other: Graph, file: File, tmp_path: Path, capsys: Captured
) -> None:
    ticket, place = found(file(graph), tmp_path, "inductive", capsys), file(other)
    assert main(["infer", ticket, "--dataset", place, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    edges = Edges(other.edge_index, 90)
    pairs = edges.edge_index.size(1) // 2
    assert result["nodes"] == 90
    assert result["edges"]["total"] == pairs
    assert abs(result["edges"]["kept"] - 0.7 * pairs) <= 1.5
    assert result["accuracy"]["test"] > 0.7

    moved, _, model = open_ticket(ticket, place, None)
    scores, kept = load(ticket).scores(Features(other.x), edges), moved.masks[EDGES]
    assert scores[kept].min() >= scores[~kept].max()
    origin = Ticket.load(ticket)
    assert moved.parent == origin.digest
    assert all(torch.equal(moved.masks[name], mask) for name, mask in origin.masks.items() if name != EDGES)
    with torch.no_grad():
        labels = model(other.x).argmax(1)
    assert float((labels == other.y)[other.test].float().mean()) == pytest.approx(result["accuracy"]["test"])


@pytest.mark.parametrize(
    ("method", "width", "message"),
    [
        ("degree", 6, "graph"),  # no masker, so it stays with its graph
        ("inductive", 5, "found features of shape (90, 5); expected (90, 6)"),
    ],
)
def test_what_does_not_fit_is_refused(
    graph: Graph, other: Graph, file: File, method: str, width: int, message: str, tmp_path: Path, capsys: Captured
) -> None:
    ticket = found(file(graph), tmp_path, method, capsys)
    place = file(replace(other, x=other.x[:, :width]))
    assert main(["infer", ticket, "--dataset", place, "--json"]) != 0
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
