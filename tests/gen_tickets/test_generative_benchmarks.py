"""The benchmarks of generative tickets: nothing is computed twice, and what a table says is so."""

from __future__ import annotations

import json
import re
from itertools import islice
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from common.masks import Masks
from gen_tickets import vae
from gen_tickets.models import build

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def _scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def _row(method: str, density: float, seed: int, loss: float) -> dict[str, Any]:
    scores = {"reconstruction": loss}
    about = {"table": "autoencoder", "seed": seed, "method": method, "density": density}
    return about | {"scores": scores, "cpu_seconds": 2.0, "settings": {"steps": 3}}


def test_a_row_is_written_once_and_other_settings_are_another_row(tmp_path: Path) -> None:
    from generative_rows import Rows

    rows = Rows(tmp_path / "rows.jsonl", "vae", {"steps": 3})
    assert not rows.has(0, "ticket", 0.8**3)
    for loss in (1.0, 2.0):
        rows.add(0, "ticket", 0.8**3, {"loss": loss})
    assert [json.loads(line)["scores"] for line in rows.path.read_text().splitlines()] == [{"loss": 1.0}]
    assert not rows.lacks(0, [("ticket", 0.512)])
    assert rows.lacks(0, [("ticket", 0.512), ("dense", 1.0)])
    assert Rows(rows.path, "vae", {"steps": 4}).lacks(0, [("ticket", 0.512)])


def test_a_search_that_stopped_goes_on_to_the_same_tickets(tmp_path: Path) -> None:
    from generative_rows import climb

    def search(folder: Path) -> Any:
        torch.manual_seed(0)
        model = cast(Any, build("autoencoder", "tiny")).to(memory_format=torch.channels_last)
        trainer = vae.trainer(torch.linspace(-1, 1, 16 * 64).reshape(16, 1, 8, 8), vae.Settings(batch=8), seed=0)
        return climb(folder, model, trainer, [1.0, 0.6, 0.3], steps=4, rewind=1, params=vae.within(model))

    whole = [(ticket.digest, ticket.metrics) for _, ticket in search(tmp_path / "whole")]
    begun = [(ticket.digest, ticket.metrics) for _, ticket in islice(search(tmp_path / "parts"), 3 - 1)]
    rest = [(number, (ticket.digest, ticket.metrics)) for number, ticket in search(tmp_path / "parts")]
    assert begun == whole[:2]
    assert rest == [(1, whole[1]), (2, whole[2])]  # the second round was not saved when the caller stopped in it
    assert list(search(tmp_path / "parts")) == []


def test_random_channels_keep_scale_and_shift_together() -> None:
    from early_bird import shuffled

    kept = torch.arange(8) < 3
    found = shuffled(Masks({"n.weight": kept, "n.bias": kept.clone()}), seed=0)
    assert found["n.weight"].sum() == 3
    assert torch.equal(found["n.weight"], found["n.bias"])
    assert not torch.equal(found["n.weight"], kept)


def test_a_ticket_wins_only_where_both_controls_do_not() -> None:
    from generative_tables import table

    dense = [_row("dense", 1.0, seed, loss) for seed, loss in enumerate((10.0, 11.0, 12.0))]
    at = {(0.5, "ticket"): 11.9, (0.5, "random"): 13.0, (0.5, "reinit"): 12.5,
          (0.2, "ticket"): 11.9, (0.2, "random"): 11.0, (0.2, "reinit"): 12.5, (0.1, "ticket"): 12.1}  # fmt: skip
    rows = [_row(method, density, seed, loss) for (density, method), loss in at.items() for seed in range(3)]
    said = {tuple(line.split(" | ")[:2]): line.split(" | ")[-1] for line in table("autoencoder", rows, dense)[2:]}
    assert {(m.strip("| "), d): words.strip("| ") for (m, d), words in said.items()} == {
        ("dense", "100.0%"): "",
        ("ticket", "50.0%"): "wins", ("random", "50.0%"): "worse", ("reinit", "50.0%"): "worse",
        ("ticket", "20.0%"): "matches", ("random", "20.0%"): "matches", ("reinit", "20.0%"): "worse",
        ("ticket", "10.0%"): "worse",
    }  # fmt: skip

    few = table("autoencoder", [row for row in rows if row["seed"] < 2], dense)[3:]
    assert [line.split(" | ")[-1] for line in few] == ["too few seeds |"] * 7


def test_savings_count_the_dense_epochs_until_a_ticket_emerged() -> None:
    from generative_tables import cost, savings, spent

    shared = {
        "seed": 0,
        "settings": {"epoch": 10, "epochs": 4},
        "common_epochs": 1,
        "emerged": 1,
        "seconds_common": 2.0,
    }
    dense = {
        **shared,
        "method": "dense",
        "weights": 100,
        "flops_a_step": 5,
        "seconds_after": 6.0,
        "seconds_cutting": 0.0,
    }
    bird = dense | {
        "method": "early-bird",
        "weights": 40,
        "flops_a_step": 1,
        "seconds_after": 1.5,
        "seconds_cutting": 0.5,
    }
    assert (cost(dense, dense), cost(bird, dense)) == (200.0, 80.0)
    assert (spent(dense), spent(bird)) == (8.0, 4.0)
    assert (
        savings([dense, bird])[2]
        == "| 0 | 1 | 100 to 40 | 200 to 80 | 8 to 4 | 60% | 50% | 80% of FLOPs, 75% of time |"
    )


def test_the_page_of_schedules_has_the_table_of_the_results() -> None:
    from pages import ASKED, filled
    from step_schedules import asked

    page = (BENCHMARKS.parent / "docs" / "schedules.md").read_text(encoding="utf-8")
    assert ASKED.findall(page)
    assert filled(page, asked) == page


def test_the_picture_of_schedules_leaves_out_budgets_that_a_seed_lacks() -> None:
    """A mean of one seed beside means of three would draw a difference of seeds as one of budgets."""
    from schedule_picture import SHOWN, picture

    rows = [
        {
            "label": "macs",
            "seed": seed,
            "budget": budget,
            "settings": {"cost": "macs", "steps": 50},
            "measured_speedup": 2.0,
            "quality": {"name": "FD"}
            | {name: {"mean": 1.0 + seed + budget, "cost": budget} for name in ("dense", *SHOWN)},
        }
        for seed, budget in ((0, 0.5), (1, 0.5), (0, 0.2))
    ]
    assert picture(rows, rows) == picture(rows[:2], rows[:2]) != picture(rows[:1], rows[:1])
    other = [rows[2], {**rows[2], "seed": 1}]
    same = [{**row, "budget": budget} for row in rows[:2] for budget in (1.0, 0.75)]  # found again, so drawn once
    names = re.findall(r"<!-- (.* of multiply-adds) -->", picture(rows, [*rows[:2], *same, *other]))
    assert names == ["20% of multiply-adds", "50%, 75%, 100% of multiply-adds"]
    for row in rows[:2]:  # what no budget pays for is not there
        del row["quality"]["uniform"]
    assert SHOWN["uniform"] not in picture(rows, rows)
    with pytest.raises(SystemExit, match=r"no budget that all of seeds \[0, 1\] have"):
        picture(rows[1:], rows)
