"""The benchmark of graph tickets: its tables stand in the documentation as the results have them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from common.allocate import prune
from common.masks import Masks
from common.scoped import seeded
from common.ticket import Ticket
from glt.data import load
from glt.edges import Edges
from glt.models import EDGES, GCN, GraphModel

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "graph-results.md"


@pytest.fixture(autouse=True)
def _scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))


def test_the_page_has_the_tables_of_the_results() -> None:
    from graph_tickets import asked
    from pages import ASKED, filled

    page = PAGE.read_text(encoding="utf-8")
    assert len(ASKED.findall(page)) > 2
    assert filled(page, asked) == page


def test_a_page_is_filled_and_asks_only_for_what_is_there() -> None:
    from graph_tickets import asked
    from pages import filled

    page = "before\n<!-- table: controls at round 20 of cora -->\nold\n<!-- end -->\nafter\n"
    found = filled(page, asked)
    assert found.startswith("before\n<!-- table: controls at round 20 of cora -->\nRound 20, 35.8% / 1.15% of edges")
    assert "| default |" in found
    assert found.endswith("\n\n<!-- end -->\nafter\n")
    assert "old" not in found
    for wrong, message in (
        (page.replace("cora", "karate"), "found no rows of 'karate'"),
        (page.replace("20", "7"), "found no round 7 of 'cora'; expected one of 4"),
        (page.replace("controls at round 20", "all"), "found the table 'all of cora'"),
    ):
        with pytest.raises(SystemExit, match=message):
            filled(wrong, asked)


def test_an_unseen_graph_is_scored_with_edges_that_its_ticket_lacks() -> None:
    from unseen_graph import by_edges

    graph, generator = load("digits"), torch.Generator().manual_seed(0)
    with seeded(0):
        model = GraphModel(GCN(64, 16, 10), Edges(graph.edge_index, len(graph.y))).eval()
        structure = {EDGES: model.edges.structure()}
        chosen = prune({EDGES: torch.rand(model.edges.weight.shape)}, 0.3, structure=structure)[EDGES]
    ticket = Ticket(Masks({EDGES: chosen}), dict(model.state_dict()), graph=model.edges.fingerprint())
    wanted = {}
    with torch.no_grad():
        for name, mask in {"all": chosen | True, "none": chosen & False, "masker": chosen}.items():
            model.edges.weight.copy_(mask)
            wanted[name] = float((model(graph.x).argmax(1) == graph.y).float().mean())
    found = by_edges(ticket, model, graph, generator)  # of a network that has lost the ticket's pruned edges
    assert {name: found[name] for name in wanted} == pytest.approx(wanted, abs=1e-3)
    assert len(set(found.values())) == 4
