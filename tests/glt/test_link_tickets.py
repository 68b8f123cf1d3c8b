"""Tickets of link prediction: every method, the same bits twice, and the commands."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from common.runs.errors import UsageError
from common.ticket import Ticket
from glt._settings import check
from glt.cli import main
from glt.config import Find, Task, preset
from glt.data import Graph
from glt.ladder import Rung, climb
from glt.methods import METHODS
from glt.models import EDGES
from glt.tasks import LinkPrediction
from glt.trial import build, densities, task_of

SMALL = ["--rounds", "1", "--seeds", "2", "--jobs", "1", "--network.hidden", "4", "--training.epochs", "3"]
SMALL += ["--ugs.epochs", "3", "--task.kind", "links", "--task.embedding", "3", "--task.hits", "5"]


def settled(config: Find, method: str) -> Find:
    """Link prediction by a method, in a few epochs."""
    config = preset(replace(config, method=method, task=Task(kind="links", embedding=4)))
    own = getattr(config, method.replace("-", "_"), None)
    return replace(config, **{method: replace(own, epochs=3)}) if hasattr(own, "epochs") else config


def rungs(graph: Graph, config: Find, **more: object) -> list[Rung]:
    return list(climb(graph, config, 0, **more))


@pytest.mark.parametrize("method", METHODS)
def test_every_method_does_it_exactly_or_refuses(graph: Graph, config: Find, method: str) -> None:
    config = settled(config, method)
    try:
        check(config)
        found = rungs(graph, config)
    except UsageError as error:
        assert "--task.kind" in str(error)  # noqa: PT017 - either outcome is right
        return
    total = build(graph, config, 0).edges.count()["total"]
    for rung, density in zip(found, densities(config), strict=True):
        assert rung.counts["edges"] == {"total": total, "kept": round(density[EDGES] * total)}
        assert set(rung.accuracy) == {"val", "test", "val_hits@20", "test_hits@20", "epoch"}
        assert set(rung.controls) == ({"random", "reinit", "edges"} if rung.number else {"no_edges"})


def test_two_runs_are_the_same_to_the_bit_and_a_stopped_one_goes_on(graph: Graph, config: Find, tmp_path: Path) -> None:
    config = settled(config, "ugs")
    whole, again = rungs(graph, config), rungs(graph, config)
    middle = Ticket.load(whole[1].ticket.save(tmp_path / "1"))
    late = rungs(graph, config, start=middle, rung=2)
    for one, other in [*zip(whole, again, strict=True), (whole[2], late[0])]:
        assert one.ticket.digest == other.ticket.digest
        assert one.accuracy == other.accuracy
        assert one.controls == other.controls


def test_no_choice_follows_from_test_edges(graph: Graph, config: Find, monkeypatch: pytest.MonkeyPatch) -> None:
    config = settled(config, "ugs")

    def swapped(graph: Graph, config: Find, device: str = "cpu") -> LinkPrediction:
        """The task with test edges and their absent pairs in each other's place."""
        task = task_of(graph, config, device)
        test = slice(sum(task._sizes[:2]), None)
        task._held_out[:, test] = task._held_out[:, test].flip(1)
        return task

    found = rungs(graph, config)
    monkeypatch.setattr("glt.ladder.task_of", swapped)
    for one, other in zip(found, rungs(graph, config), strict=True):
        assert one.ticket.digest == other.ticket.digest
        assert one.accuracy["val"] == other.accuracy["val"]
        assert one.accuracy["test"] == pytest.approx(1 - other.accuracy["test"])


def glt(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict, str]:
    code = main([*words, "--json"])
    out, err = capsys.readouterr()
    return code, json.loads(out) if out.startswith("{") else {}, err


def test_the_commands_speak_of_auc(npz: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, found, err = glt(capsys, "find", npz, *SMALL, "--out", str(tmp_path / "runs"))
    assert code == 0, err
    assert found["metric"] == "AUC"
    assert "test AUC" in err
    assert "accuracy" not in err
    page = Path(found["report"]).read_text(encoding="utf-8")
    assert "The AUC is that of test edges" in page
    assert "AUC against density" in page
    assert "mean accuracy" not in page
    rung = Path(found["ticket"]).parent / "rounds" / "seed-0" / "round-01"
    done = json.loads((rung / "done.json").read_text())
    assert done["metric"] == "AUC"
    assert 0 <= done["accuracy"]["test_hits@5"] <= 1
    code, again, err = glt(capsys, "eval", found["ticket"], "--seeds", "1")
    assert (code, again["metric"], again["edges"]) == (0, "AUC", found["edges"]), err
    code, _, err = glt(capsys, "infer", found["ticket"])
    assert code == 2
    assert "glt infer predicts labels of nodes; found a ticket of --task.kind links" in err


def test_another_split_of_edges_is_another_graph(graph: Graph, config: Find) -> None:
    config = settled(config, "random")
    other = replace(config, task=replace(config.task, links_seed=1))
    one, two = build(graph, config, 0).edges, build(graph, other, 0).edges
    assert one.fingerprint() != two.fingerprint()
    assert not torch.equal(one.edge_index, two.edge_index)
