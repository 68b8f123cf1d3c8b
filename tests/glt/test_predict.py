"""`glt infer`: what it predicts, with which weights, and how it refuses."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from common.runs.progress import Console
from common.ticket import Ticket
from glt.cli import main
from glt.config import Find
from glt.data import Graph
from glt.find import run as find
from glt.ladder import build
from glt.tasks import NodeClassification


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


def test_infer_says_when_weights_are_not_trained(ticket: str, capsys: pytest.CaptureFixture[str]) -> None:
    replace(Ticket.load(ticket), trained=None).save(ticket)
    capsys.readouterr()
    assert main(["infer", ticket, "--backend", "scipy", "--json"]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["state"] == "rewound"
    assert "no trained weights" in shown.err


@pytest.mark.parametrize(
    ("words", "text", "code"),
    [
        ([], "name the folder of a ticket", 2),
        (["nowhere"], "nowhere", 1),
        (["x", "--threads", "0"], "--threads must be at least 1; found 0", 2),
        (["x", "--out", "labels.txt"], "--out must be an .npz in a folder that exists; found labels.txt", 2),
        (["x", "--backend", "cuda"], "cuda", 2),
    ],
)
def test_infer_mistakes(words: list[str], text: str, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["infer", *words]) == code
    assert text in capsys.readouterr().err
