"""`gen-tickets schedule`: from tickets to a schedule, its scores beside the baselines, a report; what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from common.masks import Masks, prunable
from common.runs.store import Run
from common.ticket import Ticket
from gen_tickets.cli import main
from gen_tickets.networks import Network
from gen_tickets.schedule import StepSchedule
from gen_tickets.stepwise.family import folders

pytestmark = pytest.mark.usefixtures("home")
SIZES = {"intervals": 3, "steps": 6, "noises": 6, "samples": 40, "seeds": 2, "batch": 20, "engine": "dense",
         "finalists": 2}  # fmt: skip
QUICK = [word for name, value in SIZES.items() for word in (f"--{name}", str(value))] + ["--cost", "macs"]
BASELINES = {"dense", "ticket", "small-to-large", "large-to-small", "interleaved", "uniform", "random", "fewer-steps",
             "thinned"}  # fmt: skip


def ticket(folder: Path, density: float, network: Network | None = None) -> str:
    """A ticket as a search leaves it; its masks are nested, its weights those of one network."""
    made = network or Network("ddpm", "tiny", (1, 8, 8))
    model = made.initial(0)
    torch.manual_seed(0)
    masks = Masks({name: torch.rand_like(param) < density for name, param in prunable(model).items()})
    trained = {name: value * masks.get(name, 1) for name, value in model.state_dict().items()}
    recipe = {"network": made.as_dict(), "find": {"dataset": "digits"}}
    return str(Ticket(masks, dict(model.state_dict()), trained=trained, recipe=recipe).save(folder))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder with a dense network and two rounds."""
    home = tmp_path_factory.mktemp("run") / "rounds" / "seed-0"
    ticket(home / "dense", 1.0)
    for number, density in ((1, 0.5), (2, 0.2)):
        ticket(home / "global" / f"round-{number:02d}", density)
    return home.parents[1]


def schedule(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> tuple[Any, str]:
    bare = next((number for number, word in enumerate(words) if word.startswith("--")), len(words))
    assert main(["schedule", *words[:bare], *QUICK, *words[bare:], "--json"]) == code  # what comes last wins
    shown = capsys.readouterr()
    return json.loads(shown.out) if code == 0 else None, shown.err


def test_a_schedule_from_a_run(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found, _ = schedule(capsys, str(run), "--budget", "0.6", "--out", str(tmp_path))
    assert set(found) == {
        "schedule", "intervals", "cost_ratio", "measured_speedup", "times", "quality", "kernel", "winning", "damage",
        "search_seconds", "seconds", "report",
    }  # fmt: skip
    assert 0.2 < found["cost_ratio"] <= 0.6
    assert found["quality"]["name"] == "FD[digits-cnn]"
    assert found["kernel"]["name"] == "KD[digits-cnn]"
    assert set(found["quality"]) == set(found["kernel"]) == {"name", "schedule", *BASELINES}
    costs = {label: one["cost"] for label, one in found["quality"].items() if label != "name"}
    assert costs.pop("dense") == 1.0
    assert max(costs.values()) <= 0.6
    assert min(costs[mixed] for mixed in ("small-to-large", "large-to-small", "interleaved")) > 0.6 - 1 / 6
    assert costs["fewer-steps"] == costs["thinned"] == pytest.approx(3 / 6)
    assert found["quality"]["dense"]["n"] == 2
    assert found["damage"]["drift"] > 0
    assert found["intervals"][0]["log_snr_from"] is None
    assert found["intervals"][-1]["log_snr_to"] is None
    kept = StepSchedule.load(found["schedule"])
    assert [one.ticket for one in kept.intervals] == [one["ticket"] for one in found["intervals"]]
    assert kept.about["budget"] == 0.6
    page = Path(found["report"]).read_text()
    for words in ("What every swap damages", "Damage against cost", "Who denoises when", "Samples along the budget"):
        assert words in page
    drawn = ["sample", "--schedule", found["schedule"], "--steps", "6", "--count", "2", "--out", str(tmp_path / "x")]
    assert main([*drawn, "--json"]) == 0
    with np.load(json.loads(capsys.readouterr().out)["samples"]) as stored:
        assert stored["images"].shape == (2, 8, 8, 1)
    scored = ["fid", "--schedule", found["schedule"], "--steps", "6", "--scheduler", "ddim", "--samples", "40"]
    assert main([*scored, "--batch", "20", "--engine", "dense", "--seeds", "2", "--first-seed", "1", "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["quality"]["FD[digits-cnn]"]["mean"] == pytest.approx(found["quality"]["schedule"]["mean"], rel=1e-6)
    assert sum(again["steps_of"].values()) == 6


def test_a_schedule_is_scored_with_other_samplers(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    import schedule_transfer

    found, _ = schedule(capsys, str(run), "--budget", "0.6", "--space", "prior", "--out", str(tmp_path))
    row = {"label": "macs", "seed": 0, "budget": 0.6, "schedule": found["schedule"]}
    rows, results = tmp_path / "rows.jsonl", tmp_path / "results.jsonl"
    rows.write_text("".join(json.dumps({**row, **other}) + "\n" for other in ({}, {"label": "seconds"}, {"budget": 1})))
    samplers = ["ddim:3", "dpm-solver++:2"]
    words = ["--schedules", rows, "--results", results, "--budget", 0.6, "--samples", 40, "--samplers", *samplers]
    monkeypatch.setattr("sys.argv", ["schedule_transfer.py", *map(str, words)])
    for _ in range(2):  # what is scored is not scored again
        schedule_transfer.main()
        kept = [json.loads(line) for line in results.read_text().splitlines()]
        assert [f"{one['scheduler']}:{one['steps']}" for one in kept] == samplers
    assert all(one["quality"][name]["FD[digits-cnn]"] > 0 for one in kept for name in ("dense", "schedule"))
    assert len(schedule_transfer.table(results)) == 4


def test_a_schedule_by_the_distance_from_training_images(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(run), "--budget", "0.6", "--noises", "16", "--samples", "8", "--seeds", "1", "--out", str(tmp_path)]
    found, _ = schedule(capsys, *words, "--finalists", "6")
    assert Path(found["schedule"]).name == "budget-0.6-macs"
    assert found["damage"]["drift"] > 0
    store = Run(Path(found["schedule"]).parents[1])
    keys = list(store.finished())
    for look, count in (("look", 7), ("final", 6)):
        looks = [store.done(key) or {} for key in keys if key.startswith(f"search/{look}-data/")]
        assert len(looks) >= count
        own = [one["drift"] - one["damage"] for one in looks]  # that of the dense network
        assert own == pytest.approx([own[0]] * len(own))
    assert found["damage"]["drift"] == min(one["drift"] for one in looks)
    assert "the best 6 again from 128 more" in Path(found["report"]).read_text()
    assert "rises above that of the dense network" in Path(found["report"]).read_text()
    swaps = {key: store.done(key) for key in keys if key.startswith("search/damage-")}
    took = {key: one["took"] for key, one in swaps.items() if one is not None}
    assert all((seconds > 0) == ("-data/" in key) for key, seconds in took.items())  # time counts once
    for space in ("features", "pixels"):  # of the same images
        other, _ = schedule(capsys, *words, "--space", space)
        assert Path(other["schedule"]).parents[1] == store.folder
        assert {key: store.done(key) for key in store.finished() if key.startswith("search/damage-")} == swaps
    other, _ = schedule(capsys, *words, "--space", "prior")
    assert "others, in pixels" in Path(other["report"]).read_text()
    assert not any("look-prior" in key for key in store.finished())


def test_another_budget_measures_only_the_rest(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--out", str(tmp_path), "--name", "one", "--space", "features"]  # to which nothing beats the dense network
    first, _ = schedule(capsys, str(run), "--budget", "1.0", *where)
    swaps = [key for key in Run(tmp_path / "one").finished() if "damage-features" in key]
    times = [(tmp_path / "one" / "rounds" / key / "done.json").stat().st_mtime_ns for key in swaps]
    assert len(swaps) == 3 * 13  # the dense network and two tickets, each at four paces, and skipping
    assert [one["ticket"] for one in first["intervals"]] == ["dense"]
    assert first["quality"]["schedule"] == first["quality"]["dense"]
    less, _ = schedule(capsys, str(run), "--budget", "0.4", *where)
    assert less["cost_ratio"] <= 0.4 < first["cost_ratio"]
    assert times == [(tmp_path / "one" / "rounds" / key / "done.json").stat().st_mtime_ns for key in swaps]
    assert StepSchedule.load(first["schedule"]).about["budget"] == 1.0
    assert StepSchedule.load(less["schedule"]).about["budget"] == 0.4


def test_seconds_of_the_sparse_engine_and_every_way_of_searching(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--out", str(tmp_path), "--name"]
    sparse = ["--engine", "sparse", "--cost", "seconds", "--budget", "1", "--refine", "12", "--space", "pixels"]
    first, _ = schedule(
        capsys, str(run), *where, "sparse", *sparse
    )  # whatever tickets take here, the dense one is paid
    assert set(first["times"]) == {"eager", "channels-last", "schedule"}
    rising, _ = schedule(capsys, str(run), *where, "dense", "--monotone", "--space", "prior", "--budget", "0.7")
    density = [one["density"] for one in rising["intervals"]]
    assert density == sorted(density)
    assert rising["cost_ratio"] <= 0.7


@pytest.mark.parametrize("how", [["--tune", "12"], ["--joint", "12", "--lr", "1e-3"]])
def test_training_for_the_schedule_and_another_search(
    how: list[str], run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found, shown = schedule(
        capsys, str(run), "--budget", "0.6", "--skip", "false", "--paces", "1", "--out", str(tmp_path), *how
    )
    before = found["before_training"]
    assert all(
        before["quality"][label] == found["quality"][label] for label in before["quality"] if label != "schedule"
    )
    assert before["quality"]["schedule"] != found["quality"]["schedule"]
    assert ("dense-trained" in found["quality"]) == (how[0] == "--joint")
    assert "Losses while training" in Path(found["report"]).read_text()
    assert "trained-" in shown
    assert {one.ticket for one in StepSchedule.load(found["schedule"]).intervals} - {"dense"}
    again, shown = schedule(
        capsys, str(run), "--budget", "0.6", "--skip", "false", "--paces", "1", "--out", str(tmp_path), *how
    )
    assert again["quality"] == found["quality"]
    assert "swap 1/" not in shown


def test_trainings_for_two_budgets_are_told_apart(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--out", str(tmp_path), "--name", "one", "--space", "features"]
    words = [str(run), "--skip", "false", "--paces", "1", "--tune", "12", *where]
    first, _ = schedule(capsys, *words, "--budget", "0.8")
    second, _ = schedule(capsys, *words, "--budget", "0.3")
    after = {key.split("/")[0] for key in Run(tmp_path / "one").finished() if key.startswith("trained-")}
    assert len(after) == 2
    for found in (first, second):
        assert found["quality"]["schedule"] != found["before_training"]["quality"]["schedule"]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ([], 2, "name tickets, or the run"),
        (
            ["RUN", "--budget", "0.01", "--skip", "false", "--paces", "1"],
            1,
            "budget of 0.01 of the dense cost; expected 0.2",
        ),
        (["RUN", "--noises", "1"], 2, "--noises must be at least 2; found 1"),  # drift needs a covariance
        (["RUN", "--paces", "2", "3"], 2, "whole numbers from 1 on, 1 among them; found [2, 3]"),
        (["RUN", "--budget", "1.5"], 2, "--budget is a share of the dense network's cost, in (0, 1]; found 1.5"),
        (["RUN/rounds/seed-0/dense"], 1, "found 1 ticket; expected a dense network and at least one ticket"),
        (["RUN/rounds/seed-0/global/round-01", "RUN/rounds/seed-0/global/round-02"], 1, "found no dense network"),
        (["RUN", "OTHER"], 1, "Schedule tickets of one network"),
        (["RUN/rounds"], 1, "found no ticket in"),
        (["RUN", "--intervals", "7"], 1, "found 7 intervals; expected 1 to 6"),
        (["RUN", "--tune", "5", "--joint", "5"], 2, "leave one of them out"),
        (["RUN", "--engine", "fast"], 2, "--engine is one of"),
        (["RUN", "--first-seed", "0"], 2, "--first-seed must be at least 1, as the search draws from seed 0; found 0"),
        (["RUN", "--scheduler", "HeunDiscreteScheduler"], 1, "expected one call of the network a step"),
    ],
)
def test_bad_input_gets_one_clear_error(
    words: list[str], code: int, message: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = ticket(tmp_path / "other", 0.3, Network("ddpm", "tiny", (1, 16, 16))) if "OTHER" in words else ""
    given = [word.replace("RUN", str(run)).replace("OTHER", other) for word in words]
    _, shown = schedule(capsys, *given, "--out", str(tmp_path / "runs"), code=code)
    assert message in shown
    assert "Traceback" not in shown


def test_a_comparison_is_searched_one_method_at_a_time(run: Path, tmp_path: Path) -> None:
    assert [path.name for path in folders([run])] == ["dense", "round-01", "round-02"]
    assert folders([run / "rounds" / "seed-0" / "global"]) == folders([run])
    ticket(tmp_path / "rounds" / "seed-0" / "dense", 1.0)
    for method in ("global", "uniform"):
        ticket(tmp_path / "rounds" / "seed-0" / method / "round-01", 0.5)
    with pytest.raises(ValueError, match="found the methods global, uniform"):
        folders([tmp_path])
