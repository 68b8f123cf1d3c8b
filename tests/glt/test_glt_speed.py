"""`glt speed` on small graphs: every engine computes what it says."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from common.runs.progress import Console
from glt.cli import main
from glt.config import Find, Network, preset
from glt.data import load
from glt.edges import Edges
from glt.find import run as find
from glt.method_settings import AdaGLT
from glt.models import GCN, NETWORKS, GraphModel
from glt.speed import pyg_network

QUICK = ["--repeats", "1", "--network.hidden", "16", "--json"]
KEYS = {
    "engines", "speedup_dense_csr", "speedup_pyg", "max_abs_diff", "threads", "backends", "peak_rss_mb",
    "edges_density", "weights_density", "dataset", "hardware",
}  # fmt: skip


def speed(capsys: pytest.CaptureFixture[str], *words: str) -> dict:
    assert main(["speed", *words, *QUICK]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("dataset", ["digits", "sbm-500"])
def test_all_engines_are_timed_and_agree(dataset: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = speed(capsys, "--dataset", dataset)
    assert found.keys() >= KEYS
    assert found["engines"].keys() == {"pyg", "masked", "dense-csr", "ticket"}
    for times in found["engines"].values():
        assert 0 < times["seconds_min"] <= times["seconds"] <= times["seconds_max"]
    seconds = {name: times["seconds"] for name, times in found["engines"].items()}
    assert found["speedup_dense_csr"] == pytest.approx(seconds["dense-csr"] / seconds["ticket"])
    assert found["speedup_pyg"] == pytest.approx(seconds["pyg"] / seconds["ticket"])
    assert found["max_abs_diff"] < 1e-4
    assert found["max_abs_diff_dense"] < 1e-4
    assert abs(found["edges_density"] - 0.5) < 0.05
    assert abs(found["weights_density"] - 0.1) < 0.05
    assert found["widths"][1:3] == [16, 16]


@pytest.mark.parametrize("model", NETWORKS)
def test_every_network_is_timed(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--dataset", "sbm-100", "--model", model, "--repeats", "1", "--json"]
    words += [] if model == "sgc" else ["--network.hidden", "16"]
    assert main(["speed", *words]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["model"] == model
    assert found["engines"].keys() == {"pyg", "masked", "dense-csr", "ticket"}
    assert found["max_abs_diff"] < 1e-4
    assert found["max_abs_diff_dense"] < 1e-4
    assert found["widths"][0] == 128
    assert found["widths"][-1] == 25
    assert model == "sgc" or found["widths"][1] == (16 * 8 if model == "gat" else 16)


def test_settings_are_obeyed(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--dataset", "digits", "--pyg", "false", "--backend", "torch", "--network.depth", "2", "--threads", "2")
    found = speed(capsys, *words)
    assert "pyg" not in found["engines"]
    assert found["speedup_pyg"] is None
    assert all(name.startswith("torch") for names in found["backends"].values() for name in names)
    assert (len(found["widths"]), found["threads"]) == (3, 2)


@pytest.mark.parametrize(("model", "method"), [("gcn", "ugs"), ("gat", "random"), ("resgcn", "adaglt")])
def test_a_tickets_own_masks(
    model: str,
    method: str,
    config: Find,
    npz: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = preset(replace(config, dataset=npz, model=model, method=method, network=Network(hidden=8)))
    config = replace(config, adaglt=AdaGLT(epochs=3), out=str(tmp_path / "runs"))
    ticket = find(preset(config), Console(quiet=True))
    found = speed(capsys, str(ticket["ticket"]))
    assert found["model"] == model
    assert found["max_abs_diff_dense"] < 1e-4
    assert "The graph" in Path(ticket["report"]).read_text()  # layers with edges of their own are drawn as well
    assert found["edges_density"] == pytest.approx(ticket["edges"]["density"])
    assert found["weights_density"] == pytest.approx(ticket["weights"]["density"])
    assert found["max_abs_diff"] < 1e-4


@torch.no_grad()
def test_the_rival_is_the_same_network() -> None:
    graph = load("digits")
    model = GraphModel(GCN(64, 8, 10, depth=3, bias=True), Edges(graph.edge_index, 1797)).eval()
    x = graph.x.clone()
    found = pyg_network(model)(x, model.edges.edge_index)
    torch.testing.assert_close(found, model(graph.x), rtol=1e-4, atol=1e-4)
    assert torch.equal(x, graph.x)


@pytest.mark.parametrize(
    ("words", "text", "code"),
    [
        (["--edges_density", "0"], "--edges-density is the share to keep and must lie in (0, 1]; found 0", 2),
        (["--weights-density", "1.5"], "--weights-density is the share to keep", 2),
        (["--model", "mlp"], "--model must be one of gcn, gat, gin, sage, sgc, resgcn, deepergcn; found mlp", 2),
        (
            ["--model", "sgc", "--dataset", "digits", "--network.hidden", "16"],
            "--network.hidden 16 means nothing to --model sgc",
            2,
        ),
        (["--threads", "0"], "--threads must be at least 1; found 0", 2),
        (["--network.depth", "0"], "--network.depth must be at least 1; found 0", 2),
        (["--dataset", "digit"], "Did you mean", 2),
        (["nowhere"], "nowhere", 1),
    ],
)
def test_mistakes_get_one_clear_line(
    words: list[str], text: str, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["speed", *words]) == code
    shown = capsys.readouterr()
    assert text in shown.err
    assert shown.out == ""
