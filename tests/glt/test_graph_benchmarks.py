"""The benchmark of graph tickets: its tables stand in the documentation as the results have them."""

from __future__ import annotations

from pathlib import Path

import pytest

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
