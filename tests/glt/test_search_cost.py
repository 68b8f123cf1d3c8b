"""What a search cost: all of it at every rung, whichever rungs were asked for before, and nothing of the training."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from common.runs.stats import estimate
from common.runs.store import Run
from glt import ladder
from glt.cli import main
from glt.comparison import Comparison, Row
from glt.config import Find
from glt.data import Graph
from glt.methods.search import Choice, Search
from glt.summary import Level


@pytest.fixture(name="ticking")
def _ticking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking at the clock takes a second, and nothing else takes any time."""
    clock = itertools.count()
    monkeypatch.setattr("time.process_time", lambda: float(next(clock)))


def costs(graph: Graph, config: Find, rungs: list[int], **more: object) -> dict[int, float]:
    wanted = replace(config, rungs=rungs)
    return {rung.number: rung.seconds["search"] for rung in ladder.climb(graph, wanted, 0, controls=False, **more)}


@pytest.mark.usefixtures("ticking")
def test_rounds_that_follow_from_each_other_add_up_whichever_are_asked_for(graph: Graph, config: Find) -> None:
    config = replace(config, method="random", rounds=4)
    iterative = replace(config, method="ugs")
    dense, two, *_ = ladder.climb(graph, replace(iterative, rungs=[2]), 0, controls=False)
    assert costs(graph, iterative, [1, 2, 3, 4]) == {0: 0, 1: 1, 2: 2, 3: 3, 4: 4}
    assert costs(graph, iterative, [4]) == {0: 0, 4: 4}
    known = {"seconds": two.seconds["search"], "peak_mb": 1e9}
    assert costs(graph, iterative, [4], dense=dense.ticket, start=two.ticket, rung=3, spent=known) == {4: 4}
    assert costs(graph, config, [1, 4]) == {0: 0, 1: 1, 4: 1}


@pytest.mark.usefixtures("ticking")
def test_what_densities_share_is_a_cost_of_each(graph: Graph, config: Find, monkeypatch: pytest.MonkeyPatch) -> None:
    def method(_: str, search: Search) -> Iterator[Choice]:
        for number in range(len(search.densities)):
            if number == 0:
                with search.once():
                    for _tick in range(10):
                        ladder.time.process_time()
            masks = search.prune(number, {}, search.last)
            yield Choice(masks)

    monkeypatch.setattr(ladder, "choose", method)
    found = costs(graph, replace(config, method="degree"), [1, 2])
    shared, looks = 11, 2  # ten looks within the block and the one that ends it; around the block two more
    assert found == {0: 0, 1: shared + looks, 2: shared + 1}


def test_memory_of_a_search_is_not_that_of_the_training(
    graph: Graph, config: Find, monkeypatch: pytest.MonkeyPatch
) -> None:
    most = SimpleNamespace(mb=0.0)

    def used(mb: float) -> None:
        most.mb = max(most.mb, mb)

    plain, train = ladder.choose, ladder._Lab.train

    def choose(name: str, search: Search) -> Iterator[Choice]:
        for choice, mb in zip(plain(name, search), (5.0, 3.0), strict=False):
            used(mb)
            yield choice

    def trained(*args: object) -> object:
        used(9.0)
        return train(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(ladder, "choose", choose)
    monkeypatch.setattr(ladder._Lab, "train", trained)
    monkeypatch.setattr(ladder, "forget_peak", lambda: setattr(most, "mb", 0.0))
    monkeypatch.setattr(ladder, "peak_rss_mb", lambda: most.mb)
    _, *found = ladder.climb(graph, replace(config, method="random"), 0, controls=False)
    assert [rung.peak_mb for rung in found] == [{"search": 5.0, "rung": 9.0}] * 2


def test_of_winners_the_one_of_the_best_validation_accuracy_is_named() -> None:
    def row(method: str, val: float, test: float) -> Row:
        level = Level(2, {}, {"ticket": estimate([test])}, {}, True)
        return Row(method, level, None, None, estimate([1.0]), estimate([1.0]), 1.0, 1.0, estimate([val]), {})  # type: ignore[arg-type]

    rows = {"one": [row("one", 0.7, 0.9)], "other": [row("other", 0.8, 0.8)]}
    found = Comparison(estimate([0.8]), estimate([0.5]), estimate([1.0]), 1.0, rows)
    assert found.best is rows["other"][0]


def test_edges_get_no_credit_over_random_ones_of_another_number(
    blocks: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [blocks, "--methods", "igrp", "degree", "--rounds", "1", "--seeds", "1", "--jobs", "1", "--training.epochs"]
    words += ["3", "--network.hidden", "4", "--igrp.budget", "joint", "--out", str(tmp_path)]
    assert main(["compare", *words, "--json"]) == 0
    printed = capsys.readouterr()
    found = {name: rows[0] for name, rows in json.loads(printed.out)["methods"].items()}
    assert found["igrp"]["credit"] is None
    assert found["igrp"]["accuracy"]["random_edges"]["n"] == 1
    assert found["degree"]["credit"] is not None
    run = Run(next(tmp_path.iterdir()))
    counts = [run.done(f"seed-0/igrp{kind}/round-01")["counts"]["edges"]["kept"] for kind in ("", "-random-edges")]  # type: ignore[index]
    assert counts[0] != counts[1]
    said = printed.err.splitlines()
    score, cost = (line.split() for line in said if line.startswith("igrp "))
    assert score[1].rstrip(",") == f"{100 * found['igrp']['accuracy']['ticket']['mean']:.1f}"
    assert cost[2:5] == [f"{found['igrp']['edges']['kept']:,}", "/", f"{found['igrp']['edges']['removed']:,}"]
