"""The report: verdict first, everything escaped, nothing fetched."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from common.runs.report import Count, Figure, Report, Table, render
from common.runs.stats import estimate

FULL = Report(
    title="digits <graph>",
    verdict="81.0% with 75% of the edges",
    winning=True,
    counts=[Count("edges", kept=7_500, total=10_000)],
    summary=["Five seeds & one graph."],
    columns=["round", "ticket"],
    rows=[["1", f"{estimate([0.8, 0.82]):.1%}"]],
    figures=[Figure('Accuracy "curve"', "Higher is better.", "<svg xmlns='http://www.w3.org/2000/svg'/>")],
    command="glt find digits",
    settings={"method": "ugs", "prune": {"density": 0.8, "by": None}, "seeds": [0, 1]},
    references=["Chen et al., A Unified Lottery Ticket Hypothesis for Graph Neural Networks, ICML 2021"],
    provenance={"versions": {"torch": "2.13.0"}},
)


class Tags(HTMLParser):
    """Every tag with its attributes; fails on tags that do not nest."""

    void = frozenset({"meta", "link", "img", "br"})

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in self.void:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def tags(page: str) -> list[tuple[str, dict[str, str | None]]]:
    parser = Tags()
    parser.feed(page)
    assert parser.open == []
    return parser.seen


def test_the_verdict_comes_first_and_the_numbers_are_exact():
    page = render(FULL)
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page[page.index("<body") :]))
    assert text.startswith(" digits &lt;graph&gt; A winning ticket: 81.0% with 75% of the edges")
    assert "75% of the edges kept 7,500 kept, 2,500 removed, 10,000 in all" in text
    assert "Five seeds &amp; one graph." in text
    assert "prune.density 0.8 prune.by not set seeds 0, 1" in text
    assert "versions.torch 2.13.0" in text


def test_the_page_is_well_formed_and_asks_for_nothing():
    seen = tags(render(FULL))
    addresses = [attrs[key] for _, attrs in seen for key in ("src", "href") if key in attrs]
    assert addresses
    assert all(address.startswith("data:") for address in addresses if address)
    assert not any(tag in {"script", "iframe", "object"} for tag, _ in seen)
    assert "url(" not in render(FULL)


def test_a_picture_can_be_read_out():
    (image,) = [attrs for tag, attrs in tags(render(FULL)) if tag == "img"]
    assert image["alt"] == 'Accuracy "curve". Higher is better.'


@pytest.mark.parametrize(
    ("winning", "start", "look"),
    [
        (True, "A winning ticket: x", "verdict win"),
        (False, "Not a winning ticket: x", "verdict lose"),
        (None, "x", "verdict"),
    ],
)
def test_the_three_verdicts(winning: bool | None, start: str, look: str):
    page = render(Report("t", "x", winning=winning))
    assert f'<p class="{look}">{start}</p>' in page


def test_an_empty_report_has_no_empty_sections():
    assert [tag for tag, _ in tags(render(Report("t", "v"))) if tag in {"h2", "table", "details", "ul"}] == []


def test_a_row_must_fit_the_head():
    with pytest.raises(ValueError, match="row 1 has 1 cells, the head 2"):
        Report("t", "v", columns=["a", "b"], rows=[["only"]])


@pytest.mark.parametrize(
    ("kept", "total", "share"), [(1, 3, "33.33%"), (0, 5, "0%"), (0, 0, "100%"), (9999, 10000, "99.99%")]
)
def test_shares(kept: int, total: int, share: str):
    assert Count("weights", kept, total).share == share


def test_further_tables_have_a_title_a_text_and_rows():
    table = Table("Costs <CPU>", "In seconds & MB.", ["method", "s"], [["ugs", 1.5], ["a<b", 2]])
    page = render(replace(FULL, tables=[table, Table("Bare", "", ["x"], [])]))
    tags(page)
    assert '<h2 id="table-1">Costs &lt;CPU&gt;</h2>' in page
    assert "<p>In seconds &amp; MB.</p>" in page
    assert '<th scope="row">a&lt;b</th><td>2</td>' in page
    assert page.index("Accuracy") < page.index("Costs") < page.index("Bare") < page.index("Run it again")
    with pytest.raises(ValueError, match="row 1 has 1 cells, the head 2"):
        Table("Costs", "", ["a", "b"], [["1"]])
