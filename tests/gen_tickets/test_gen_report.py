"""The reports of find and compare: what they say and show of stored rounds."""

from __future__ import annotations

import base64
import html
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.runs.errors import RunFolderError
from common.runs.store import Run
from gen_tickets.report import About, write_comparison, write_report
from gen_tickets.summary import summarise

ABOUT = About("ddpm on digits", "gen-tickets find ddpm digits", {"rounds": 2, "training": {"lr": 0.1}}, ["A paper"], 0)
JUDGED = {"samples": 1000, "real": 360, "against": "digits/test#00", "extractor_sha256": "f00d" * 16, "averaged": True}
DDIM = {"scheduler": "ddim", "steps": 20, "warnings": ["few images"]}


def rung(seed: int, method: str, number: int, kept: int, score: float, **controls: float) -> dict[str, Any]:
    def quality(value: float) -> dict[str, float]:
        return {"FD[digits-cnn]": value, "KD[digits-cnn]": value / 100, "loss": 0.5}

    return {
        "seed": seed,
        "method": method,
        "round": number,
        "weights": {"total": 1000, "kept": kept},
        "by_layer": {"conv_in.weight": [kept // 2, 500], "conv_out.weight": [kept - kept // 2, 500]},
        "quality": quality(score),
        "controls": {name: quality(value) for name, value in controls.items()},
        "seconds": 100.0,
        "cpu_seconds": 90.0,
        "about": {**JUDGED, **DDIM, "seed": seed},
    }


LADDER = [
    *(rung(seed, "dense", 0, 1000, score) for seed, score in enumerate((3.0, 4.0, 5.0))),
    *(rung(seed, "by-depth", 1, 500, 4.0) for seed in range(3)),
    *(rung(seed, "by-depth", 2, 100, 4.5, random=9.0, reinit=8.0) for seed in range(3)),
]
METHODS = [
    *LADDER[:3],
    *(rung(seed, "by-depth", 1, 500, 4.0, random=9.0) for seed in range(3)),
    *(rung(seed, "by-depth", 2, 100, 8.0, random=9.0) for seed in range(3)),
    *(rung(seed, "uniform", 1, 498, 4.4) for seed in range(3)),
    *(rung(seed, "uniform", 2, 100, 4.7) for seed in range(3)),
]


@pytest.fixture(name="store")
def _store(tmp_path: Path) -> Run:
    with Run.open(tmp_path, {"command": "find"}, name="run", seeds=[0]) as store:
        return store


def keep(store: Run, results: Sequence[dict[str, Any]], side: int = 8) -> None:
    """Store samples as a run does."""
    for result in results:
        part = "dense" if result["method"] == "dense" else f"{result['method']}/round-{result['round']:02d}"
        names = ["ticket", *result["controls"]]
        images = {name: np.full((64, side, side, 1), 9 * k, dtype=np.uint8) for k, name in enumerate(names)}
        np.savez_compressed(store.round(f"seed-{result['seed']}/{part}") / "samples.npz", **images)


def read(path: Path) -> tuple[str, list[str], list[list[str]]]:
    """All words of a page in one line, the titles of its figures, and the rows of its first table."""
    page = path.read_text(encoding="utf-8")
    assert 'src="http' not in page
    assert "<script" not in page
    table = page[page.index("<thead>") : page.index("</table>")] if "<thead>" in page else ""
    rows = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in table.split("<tr>")[1:]]
    cells = [[html.unescape(cell).replace("\xa0", " ") for cell in row] for row in rows]
    words = re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", page[page.index("<body") :])))
    return words, re.findall(r"<figure><h3>(.*?)</h3>", page), cells


def pictures(path: Path) -> list[str]:
    found = re.findall(r"data:image/svg\+xml;base64,([\w+/=]+)", path.read_text(encoding="utf-8"))
    return [base64.b64decode(one).decode() for one in found]


def test_the_report_of_a_ladder(store: Run):
    keep(store, LADDER)
    path = write_report(store, summarise(LADDER), ABOUT)
    words, titles, rows = read(path)
    assert words.startswith(
        " ddpm on digits A winning ticket: 10.0% of weights (100 of 1,000) reach FD[digits-cnn] 4.50"
    )
    for text in (
        "10% of the weights kept 100 kept, 900 removed, 1,000 in all",
        "at most the dense mean plus one standard deviation; less is better. Numbers are means over 3 seeds",
        "FD[digits-cnn] is the Frechet distance of 1,000 generated images to 360 of digits/test#00, in features of "
        "digits-cnn (sha256 f00df00df00d). Images are drawn by ddim in 20 steps; weights are running averages (EMA).",
        "Note: few images.",
        "Search and training took 15.0 minutes, 13.5 minutes of processor time, without controls and",
        "the images of all rows are drawn from the same noise (seed 0)",
        "gen-tickets find ddpm digits",
        "training.lr 0.1",
        "A paper",
        "Heusel et al.",
        "Binkowski et al.",
    ):
        assert text in words, text
    assert "Salimans" not in words
    assert rows == [
        ["round", "kept", "of 1,000 weights", "FD[digits-cnn], ticket", "random", "re-initialised", "wins",
         "KD", "loss"],
        ["0", "100%", "all", "4.00 ± 2.48", "", "", "dense", "0.0400", "0.500"],
        ["1", "50.0%", "500", "4.00 ± 0.00", "", "", "yes", "0.0400", "0.500"],
        ["2", "10.0%", "100", "4.50 ± 0.00", "9.00 ± 0.00", "8.00 ± 0.00", "yes", "0.0450", "0.500"],
    ]  # fmt: skip
    assert titles == [
        "Quality against density",
        "Samples of dense network, ticket and controls",
        "Samples of the ticket, round by round",
        "What every tensor keeps",
    ]


def test_the_samples_shown_are_those_of_the_last_round_and_of_every_round(store: Run):
    keep(store, LADDER)
    _, last, rounds, _ = pictures(write_report(store, summarise(LADDER), ABOUT))
    assert re.findall(r"<text[^>]*>(.*?)</text>", last) == [
        "dense network", "ticket", "10.0% kept", "random ticket", "10.0% kept", "re-initialised ticket", "10.0% kept",
    ]  # fmt: skip
    assert last.count("<image") == 4
    sizes = re.findall(r'<image .*?width="(\d+)" height="(\d+)"', last + rounds)
    assert sizes == [("674", "86")] * 4 + [("674", "44")] * 3  # sixteen images of 42 in two lines, or in one
    assert re.findall(r"<text[^>]*>(round .*?)</text>", rounds) == ["round 0", "round 1", "round 2"]


def test_without_samples_there_are_none_and_one_round_is_not_shown_twice(store: Run):
    _, titles, _ = read(write_report(store, summarise(LADDER), ABOUT))
    assert titles == ["Quality against density", "What every tensor keeps"]
    results = [LADDER[0], rung(0, "strong", 1, 100, 2.0)]
    keep(store, results, side=28)
    words, titles, rows = read(write_report(store, summarise(results), ABOUT))
    assert rows[0] == ["round", "kept", "of 1,000 weights", "FD[digits-cnn], ticket", "wins", "KD", "loss"]
    assert titles[1:] == ["Samples of dense network, ticket and controls", "What every tensor keeps"]
    assert "Numbers are of one seed." in words
    assert "Random tickets" not in words
    assert "One seed, so there are no intervals" in words


def test_damaged_samples_say_what_to_delete(store: Run):
    keep(store, LADDER)
    path = store.folder / "rounds" / "seed-0" / "by-depth" / "round-02" / "samples.npz"
    whole = path.read_bytes()
    flipped = bytes(byte ^ (255 if k in (60, 61, 62) else 0) for k, byte in enumerate(whole))
    np.save(path.with_suffix(".npy"), np.zeros(3))
    for damage in (whole[:-30], flipped, b"", b"no zip", path.with_suffix(".npy").read_bytes()):
        path.write_bytes(damage)
        with pytest.raises(RunFolderError, match=r"samples.npz: found no images that can be read .* Delete the folder"):
            write_report(store, summarise(LADDER), ABOUT)


def test_reconstructions_are_called_so(store: Run):
    results = [
        {**rung(0, method, number, 500, 1.0), "quality": {"loss": 0.1}, "about": {"averaged": False}}
        for method, number in (("dense", 0), ("global", 1))
    ]
    keep(store, results)
    words, titles, _ = read(write_report(store, summarise(results), ABOUT))
    assert titles[1] == "Reconstructions of dense network, ticket and controls"
    assert "The main score, loss, is taken on the test images; the pictures are reconstructions of them." in words
    assert "noise" not in words


def test_a_run_under_way_and_one_that_diverged(store: Run):
    words, titles, _ = read(write_report(store, summarise(LADDER[:5]), ABOUT))
    assert words.startswith(" ddpm on digits Nothing can be said yet: no rung is finished for all 3 seeds.")
    assert "Not finished: 1 rung of single seeds." in words
    assert titles == []
    lost = [*LADDER[:6], *(rung(seed, "by-depth", 2, 100, math.nan) for seed in range(3))]
    words, titles, rows = read(write_report(store, summarise(lost), ABOUT))
    assert rows[-1][3] == "diverged"
    assert "Rungs in which a seed diverged are not drawn." in words
    nothing = [LADDER[0], rung(0, "by-depth", 1, 100, math.nan)]
    assert read(write_report(store, summarise(nothing), ABOUT))[1] == ["What every tensor keeps"]


def test_the_report_of_a_comparison(store: Run):
    keep(store, METHODS)
    path = write_comparison(store, summarise(METHODS), ABOUT)
    words, titles, rows = read(path)
    assert words.startswith(" ddpm on digits A winning ticket: uniform, 10.0% of weights (100 of 1,000), reach FD[")
    assert "the sparsest winners of the others: by-depth 50.0%." in words
    assert rows == [
        ["weights kept", "by-depth", "uniform", "random ticket of by-depth"],
        ["100% (dense)", "4.00 ± 2.48", "4.00 ± 2.48", ""],
        ["49.9%", "4.00 ± 0.00, wins", "4.40 ± 0.00, wins", "9.00 ± 0.00"],
        ["10.0%", "8.00 ± 0.00", "4.70 ± 0.00, wins", "9.00 ± 0.00"],
    ]
    assert titles == ["Quality against density", "Samples of the methods", "What every tensor keeps"]
    curve, samples, layers = pictures(path)
    assert re.findall(r"<!-- (.*?) -->", curve)[-4:] == ["dense network", "by-depth", "uniform", "random ticket"]
    assert re.findall(r"<text[^>]*>(.*?)</text>", samples)[1::2] == ["by-depth", "uniform", "random ticket"]
    assert "method (numbers: share kept, %)" in layers


def test_a_comparison_shows_the_density_of_the_sparsest_winner(store: Run):
    results = [
        LADDER[0],
        *(rung(0, name, k, kept, s) for name in "ab" for k, kept, s in ((1, 500, 2.0), (2, 100, 9.0))),
    ]
    keep(store, results)
    _, samples, _ = pictures(write_comparison(store, summarise(results), ABOUT))
    assert re.findall(r"<text[^>]*>(.*?)</text>", samples)[1:] == ["a", "50.0% kept", "b", "50.0% kept"]


def test_a_comparison_that_nothing_wins(store: Run):
    results = [LADDER[0], rung(0, "a", 1, 100, 9.0), rung(0, "b", 1, 100, math.nan), rung(0, "b", 2, 50, 8.0)]
    words, titles, rows = read(write_comparison(store, summarise(results), ABOUT))
    assert "Not a winning ticket: no rung of a and b matches" in words
    assert "removed" not in words
    assert rows[1:] == [["100% (dense)", "3.00", "3.00"], ["10.0%", "9.00", "diverged"], ["5.0%", "", "8.00"]]
    assert titles == ["Quality against density", "What every tensor keeps"]


def test_what_a_report_is_not_for(store: Run):
    with pytest.raises(ValueError, match=r"found 2 methods; expected one. Use write_comparison"):
        write_report(store, summarise(METHODS), ABOUT)
    other = About("t", "c", {}, [], seed=7)
    with pytest.raises(ValueError, match="found seed 7 to show; expected one of 0, 1, 2"):
        write_report(store, summarise(LADDER), other)
