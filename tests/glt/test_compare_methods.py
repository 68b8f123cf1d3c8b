"""`glt compare` with methods of one's own: edges without credit, a search that diverges."""

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from common.runs.errors import DivergedError
from glt.cli import main
from glt.methods import METHODS, Method
from glt.methods.search import Choice, Search
from glt.models import EDGES

QUICK = ["--network.hidden", "8", "--training.epochs", "4", "--jobs", "1"]


def compare(*words: str) -> int:
    return main(["compare", *words, "--json"])


def register(monkeypatch: pytest.MonkeyPatch, method: Callable[[Search], Iterator[Choice]]) -> None:
    """Make a function a method, under its own name."""
    name = method.__name__
    module = ModuleType(f"glt.methods.{name}")
    method.__module__, method.__qualname__ = module.__name__, name
    setattr(module, name, method)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(METHODS, name, Method(f"{name}:{name}"))


def test_edges_drawn_as_random_ones_are_have_no_credit(
    blocks: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A method whose choice is the very random edges of its control, and the dense network's largest weights."""
    from common.allocate import prune
    from common.scores import random
    from glt.methods.baselines import degree

    def echo(search):
        edges = search.edges
        if edges is None:
            model = search.build()
            scores = random(search.seed)(model, {EDGES: model.edges.weight}, None)
            tied = {EDGES: search.structure}
            edges = [prune(scores, density[EDGES], structure=tied)[EDGES] for density in search.densities]
        return degree(replace(search, edges=edges))

    register(monkeypatch, echo)
    words = [blocks, "--methods", "echo", "random", "--rounds", "2", "--rungs", "1", "2", "--seeds", "3", *QUICK]
    assert compare(*words, "--out", str(tmp_path)) == 0
    found = json.loads(capsys.readouterr().out)["methods"]
    for row in found["echo"]:
        assert (row["credit"]["mean"], row["credit"]["p"]) == (0.0, None)
    for row in found["random"]:  # other edges, as random
        assert abs(row["credit"]["mean"]) <= row["credit"]["ci95"]


@pytest.mark.parametrize("edges", ["chosen", "random"])
def test_a_method_that_diverges_costs_the_others_nothing(
    blocks: str, edges: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It diverges with seed 1, by itself or on random edges; repaired, the same command gives what it would have."""
    from glt.methods.baselines import degree

    broken = True

    def frail(search):
        if broken and search.seed == 1 and (search.edges is None) == (edges == "chosen"):
            raise DivergedError("found a loss of nan")
        return degree(search)

    register(monkeypatch, frail)
    words = [blocks, "--rounds", "1", "--seeds", "2", *QUICK, "--out", str(tmp_path), "--methods", "frail"]
    label = "frail" if edges == "chosen" else "frail-random-edges"
    assert compare(*words, "random") == 0
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    assert found["diverged"] == {label: f"{label}, seed 1: found a loss of nan"}
    assert f"{label}, seed 1: found a loss of nan" in printed.err
    assert f"{label} has no scores" in Path(found["report"]).read_text()
    assert list(found["methods"]) == (["random"] if edges == "chosen" else ["frail", "random"])
    assert found["methods"]["random"][0]["accuracy"]["ticket"]["n"] == 2
    if edges == "random":
        (row,) = found["methods"]["frail"]
        assert row["credit"] is None
        assert "random_edges" not in row["accuracy"]
    else:
        assert compare(*words) == 1
        assert "frail, seed 1: found a loss of nan" in capsys.readouterr().err
    broken = False
    assert compare(*words, "random", "degree") == 0
    mended = json.loads(capsys.readouterr().out)
    assert mended["diverged"] == {}
    assert mended["methods"]["frail"][0]["accuracy"] == mended["methods"]["degree"][0]["accuracy"]
