"""Settings of `glt compare`: what is distilled, processes, refusals before any work, and what a search looks at."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from common.masks import Masks, prunable
from common.runs.store import Run
from common.ticket import Ticket
from glt._runs import identity, shown
from glt.cli import main
from glt.compare_config import Compare, filled
from glt.config import Find, preset
from glt.graph import Graph
from glt.ladder import climb
from glt.methods import METHODS
from glt.methods.search import Search, choose
from glt.models import EDGES
from glt.trial import build, densities, task_of

QUICK = ["--network.hidden", "8", "--training.epochs", "4", "--ugs.epochs", "3", "--jobs", "1"]


def compare(*words: str) -> int:
    return main(["compare", *words, "--json"])


def plain(result: dict) -> dict:
    """Accuracies and counts."""
    return {
        name: [(row["edges"], row["weights"], row["accuracy"], row["versus_edges"]) for row in rows]
        for name, rows in result["methods"].items()
    }


def test_nothing_is_distilled_unless_asked_and_then_everything(
    npz: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [npz, "--methods", "teddy", "random", "--rounds", "1", "--seeds", "1", *QUICK, "--out", str(tmp_path)]
    weights = {}
    for more in ([], ["--training.distil", "3"]):
        assert compare(*words, *more) == 0
        result = json.loads(capsys.readouterr().out)
        folder = Path(result["report"]).parent
        tickets = [Ticket.load(path) for path in sorted(folder.glob("rounds/seed-0/**/round-0*"))]
        weights[len(more)] = {ticket.recipe["find"]["training"]["distil"] for ticket in tickets}
        row = result["methods"]["random"][0]
        spent = Run(folder).done("seed-0/random/round-01")["cpu_seconds"]["search"]  # type: ignore[index]
        dense = Run(folder).done("seed-0/round-00")["cpu_seconds"]["train"]  # type: ignore[index]
        assert row["search_seconds"]["mean"] == pytest.approx(spent + (dense if more else 0))
        assert ("distilled from the dense network with weight 3" in Path(result["report"]).read_text()) == bool(more)
        assert row["credit"]["ci95"] is row["credit"]["p"] is None
    assert weights == {0: {0.0}, 2: {3.0}}


def test_processes_and_one_process_agree_and_random_edges_can_be_left_out(
    npz: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [npz, "--methods", "degree", "dspar", "--rounds", "1", "--seeds", "1", *QUICK, "--random-edges", "false"]
    results = []
    for jobs in ("1", "2"):
        assert compare(*words, "--jobs", jobs, "--out", str(tmp_path / jobs)) == 0
        results.append(json.loads(capsys.readouterr().out))
    assert plain(results[0]) == plain(results[1])
    row = results[0]["methods"]["degree"][0]
    assert row["credit"] is None
    assert list(row["accuracy"]) == ["ticket", "random", "reinit", "edges"]
    assert "credit of its edges" not in Path(results[0]["report"]).read_text()


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--methods", "ugs", "degre"], 2, "--methods: unknown method 'degre'. Did you mean degree? Known: "),
        (["--methods", "ugs", "degree", "ugs"], 2, "--methods names ugs twice; found ugs, degree, ugs. Name each once"),
        (["--methods", "[]"], 2, "--methods names none; give at least one of "),
        (["--rungs", "4", "9"], 2, "--rungs must be some of the rounds 1 to 8; found [4, 9]"),
        (["--rungs", "0"], 2, "--rungs must be some of the rounds 1 to 8; found [0]"),
        (["--method", "ugs"], 2, "Did you mean --methods?"),
        (["--edges-density", "1.5"], 2, "--edges-density is the share to keep"),
        (["--weights-density", "1e-9"], 2, "--weights-density 1e-09 keeps none of"),
        (["--model", "gcnn"], 2, "Did you mean gcn?"),
        (["--model", "gat", "--ugs.exact-rng"], 2, "--ugs.exact-rng repeats published code that has only gcn"),
        (["--dataset", "nowhere.npz"], 3, "nowhere.npz"),
    ],
)
def test_mistakes_get_one_clear_line(
    words: list[str], code: int, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert compare(*words) == code
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_what_diverges_is_named(npz: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [npz, "--methods", "ugs", "--rounds", "1", "--seeds", "1", *QUICK, "--training.lr", "1e30"]
    assert compare(*words, "--out", str(tmp_path)) == 1
    assert "the dense network, seed 0: training diverged" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("rounds", "given", "expected"),
    [(20, None, [4, 8, 12, 16, 20]), (8, None, [4, 8]), (10, None, [4, 8, 10]), (2, None, [2]), (8, [3], [3])],
)
def test_rungs_are_those_of_the_tables(rounds: int, given: list[int] | None, expected: list[int]) -> None:
    assert filled(Compare(rounds=rounds, rungs=given)).rungs == expected


def test_only_settings_of_methods_that_search_name_a_run() -> None:
    one, other = identity(Find(method="degree")), identity(Compare(methods=["degree", "igrp"]), "compare")
    assert "ugs" in one  # its exact_rng says how everything is drawn
    assert not {"igrp", "adaglt", "earlybird"} & set(one)
    assert "igrp" in other
    assert not {"adaglt", "earlybird", "jobs", "out"} & set(other)
    assert (one["command"], other["command"]) == ("find", "compare")


class Watched:
    """A ticket that knows whether anybody looked at it."""

    def __init__(self, ticket: Ticket) -> None:
        self.ticket, self.looked = ticket, False

    def __getattr__(self, name: str) -> object:
        self.looked = True
        return getattr(self.ticket, name)


@pytest.mark.parametrize("method", METHODS)
def test_whether_a_search_looks_at_the_dense_network_is_said(method: str, graph: Graph, config: Find) -> None:
    """Its training then counts as a cost of the search."""
    own = getattr(config, method.replace("-", "_"), None)
    short = {method: replace(own, epochs=4)} if hasattr(own, "epochs") else {}
    config = preset(replace(config, method=method, training=replace(config.training, distil=0.0), **short))
    dense = Watched(next(iter(climb(graph, replace(config, rungs=[1]), 0))).ticket)
    masks = Masks.dense({EDGES: build(graph, config, 0).edges.weight, **prunable(build(graph, config, 0))})
    search = Search(
        config, task_of(graph, config), lambda: build(graph, config, 0), densities(config)[1:], dense, masks, 0
    )
    assert next(choose(method, search)).masks
    assert dense.looked == METHODS[method].dense


def test_more_methods_and_seeds_go_into_the_same_run(npz: str, tmp_path: Path) -> None:
    quick = ["--rounds", "2", "--rungs", "2", "--network.hidden", "4", "--training.epochs", "2", "--jobs", "1"]
    words = ["compare", npz, *quick, "--out", str(tmp_path / "runs"), "--json", "--quiet"]
    assert main([*words, "--methods", "random", "--seeds", "1"]) == 0
    (folder,) = (tmp_path / "runs").iterdir()
    first = folder / "rounds/seed-0/random/round-02/done.json"
    before = (first.stat().st_mtime_ns, (folder / "rounds/seed-0/round-00/done.json").stat().st_mtime_ns)
    assert main([*words, "--methods", "degree", "random", "--seeds", "2"]) == 0
    assert list((tmp_path / "runs").iterdir()) == [folder]
    assert before == (first.stat().st_mtime_ns, (folder / "rounds/seed-0/round-00/done.json").stat().st_mtime_ns)
    assert (folder / "rounds/seed-1/degree-random-edges/round-02/done.json").is_file()
    assert main([*words, "--methods", "random", "--seeds", "1", "--ugs.epochs", "3"]) == 0
    assert len(list((tmp_path / "runs").iterdir())) == 2


def test_a_rung_that_leaves_nothing_of_a_tensor_says_so() -> None:
    done = {
        "seed": 0, "round": 20, "accuracy": {"test": 0.5}, "controls": {}, "densities": {"edges": 0.4, "second": 0.01},
        "counts": {"edges": {"kept": 4, "total": 10}, "weights": {"kept": 1, "total": 100}},
    }  # fmt: skip
    assert "nothing left of" not in shown(done)
    emptied = {**done, "densities": {"edges": 0.4, "first": 0.0, "second": 0.0}}
    assert shown(emptied)["nothing left of"] == "first, second"
