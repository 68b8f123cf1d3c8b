"""`glt compare`: shared dense networks, numbers that are those of the rungs, credit, going on, the report."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from common.runs.store import Run
from common.ticket import Ticket
from glt.cli import main
from glt.models import EDGES

QUICK = ["--network.hidden", "8", "--training.epochs", "4", "--ugs.epochs", "3", "--jobs", "1"]
WORDS = ["--methods", "ugs", "degree", "--rounds", "3", "--rungs", "1", "3", "--seeds", "2", *QUICK]
TIMED = ("inference", "seconds", "peak_rss_mb", "search_mb", "report", "ticket", "search_seconds", "train_seconds")
LABELS = ("ugs", "ugs-random-edges", "degree", "degree-random-edges")


def compare(*words: str) -> int:
    return main(["compare", *words, "--json"])


@pytest.fixture(name="found", scope="module")
def _found(blocks: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict, Run]:
    """What a comparison printed, and its folder."""
    out = tmp_path_factory.mktemp("runs")
    assert compare(blocks, *WORDS, "--out", str(out), "--name", "whole") == 0
    return json.loads((out / "whole" / "comparison.json").read_text()), Run(out / "whole")


def of_seeds(run: Run, label: str, rung: int) -> list[dict]:
    place = f"{label}/" if label else ""
    return [run.done(f"seed-{seed}/{place}round-{rung:02d}") or {} for seed in (0, 1)]


def test_the_json_has_what_is_promised(found: tuple[dict, Run]) -> None:
    result, run = found
    keys = "dataset model metric dense no_edges methods diverged inference seconds peak_rss_mb report"
    assert " ".join(result) == keys
    assert (result["dataset"], result["model"], result["metric"]) == ("blocks", "gcn", "accuracy")
    assert list(result["methods"]) == ["ugs", "degree"]
    for rows in result["methods"].values():
        assert [row["round"] for row in rows] == [1, 3]
        for row in rows:
            for group in ("edges", "weights"):
                count = row[group]
                assert count["kept"] + count["removed"] == count["total"]
                assert count["density"] == count["kept"] / count["total"]
            assert row["edges"]["kept"] == round(0.95 ** row["round"] * row["edges"]["total"])
            assert row["weights"]["kept"] == round(0.8 ** row["round"] * (6 * 8 + 8 * 2))
            assert list(row["accuracy"]) == ["ticket", "random", "reinit", "edges", "random_edges"]
            assert {one["n"] for one in row["accuracy"].values()} == {2}
            assert row["inference"]["speedup"] == row["inference"]["dense_seconds"] / row["inference"]["seconds"]
            assert Path(row["ticket"]).parts[-2:] == (
                next(name for name, own in result["methods"].items() if row in own), f"round-{row['round']:02d}",
            )  # fmt: skip
    assert result["inference"]["threads"] == 1
    assert Path(result["report"]) == run.folder / "report.html"


def test_accuracies_and_tests_are_those_of_the_rungs(found: tuple[dict, Run]) -> None:
    result, run = found
    dense = [one["accuracy"]["test"] for one in of_seeds(run, "", 0)]
    assert result["dense"]["accuracy"]["mean"] == pytest.approx(np.mean(dense))
    bare = [one["controls"]["no_edges"]["test"] for one in of_seeds(run, "", 0)]
    assert result["no_edges"]["accuracy"]["mean"] == pytest.approx(np.mean(bare))
    for method, rows in result["methods"].items():
        for row in rows:
            done = of_seeds(run, method, row["round"])
            own = [one["accuracy"]["test"] for one in done]
            rivals = {
                "versus_edges": [one["controls"]["edges"]["test"] for one in done],
                "credit": [one["accuracy"]["test"] for one in of_seeds(run, f"{method}-random-edges", row["round"])],
            }
            assert row["accuracy"]["ticket"]["mean"] == pytest.approx(np.mean(own))
            assert row["accuracy"]["edges"]["mean"] == pytest.approx(np.mean(rivals["versus_edges"]))
            assert row["accuracy"]["random_edges"]["mean"] == pytest.approx(np.mean(rivals["credit"]))
            assert row["winning"] == (np.mean(own) >= np.mean(dense) - np.std(dense, ddof=1))
            for name, other in rivals.items():
                assert row[name]["mean"] == pytest.approx(np.mean(own) - np.mean(other))
                if row[name]["p"] is None:
                    assert math.isclose(own[0] - other[0], own[1] - other[1], abs_tol=1e-9)
                else:
                    assert row[name]["p"] == pytest.approx(stats.ttest_rel(own, other).pvalue)


def test_costs_are_those_of_the_rungs(found: tuple[dict, Run]) -> None:
    """Rounds of ugs follow from each other, and degree looks at the dense network."""
    result, run = found

    def seconds(label: str, rung: int, what: str) -> float:
        return float(np.mean([one["cpu_seconds"][what] for one in of_seeds(run, label, rung)]))

    dense, (first, last), (one, other) = seconds("", 0, "train"), result["methods"]["ugs"], result["methods"]["degree"]
    assert result["dense"]["train_seconds"]["mean"] == pytest.approx(dense)
    assert first["search_seconds"]["mean"] == pytest.approx(seconds("ugs", 1, "search"))
    assert last["search_seconds"]["mean"] == pytest.approx(seconds("ugs", 3, "search"))
    assert seconds("ugs", 3, "search") > seconds("ugs", 1, "search")
    assert one["search_seconds"]["mean"] == pytest.approx(seconds("degree", 1, "search") + dense)
    assert other["search_seconds"]["mean"] == pytest.approx(seconds("degree", 3, "search") + dense)
    assert other["train_seconds"]["mean"] == pytest.approx(seconds("degree", 3, "train"))
    epochs = [done["found"]["epoch"] for done in of_seeds(run, "ugs", 3)]
    assert last["found"]["epoch"]["mean"] == pytest.approx(np.mean(epochs))
    assert other["found"] == {}
    for name, key in {"peak_rss_mb": "peak_rss_mb", "search_mb": "search_mb"}.items():
        assert other[name] == round(max(done[key] for done in of_seeds(run, "degree", 3)), 1)
    assert result["dense"]["macs"]["weights"] == 50 * 64
    assert last["macs"]["weights"] == 50 * last["weights"]["kept"]
    assert last["macs"]["edges"] == (2 * last["edges"]["kept"] + 50) * (6 + 2)
    assert last["macs"]["total"] == last["macs"]["weights"] + last["macs"]["edges"]


def test_methods_share_dense_networks_and_random_edges_have_no_controls(found: tuple[dict, Run]) -> None:
    _, run = found
    rungs = [f"{label}/round-0{k}" for label in LABELS for k in (1, 3)]
    assert run.finished() == sorted(f"seed-{s}/{rung}" for s in (0, 1) for rung in ["round-00", *rungs])
    for label in LABELS:
        done, dense = of_seeds(run, label, 1)[0], Ticket.load(run.folder / "rounds/seed-0/round-00")
        ticket = Ticket.load(run.folder / "rounds/seed-0" / label / "round-01")
        assert ticket.parent == dense.digest
        assert done["label"] == label
        assert list(done["controls"]) == ([] if label.endswith("-random-edges") else ["random", "reinit", "edges"])
        assert ticket.recipe["find"]["edges"] == ("random" if label.endswith("-random-edges") else "chosen")
    edges = {label: Ticket.load(run.folder / f"rounds/seed-1/{label}/round-03").masks[EDGES] for label in LABELS}
    assert len({int(mask.sum()) for mask in edges.values()}) == 1
    assert bool((edges["ugs-random-edges"] == edges["degree-random-edges"]).all())
    assert not bool((edges["ugs"] == edges["ugs-random-edges"]).all())


def untimed(value: object) -> object:
    """All but what a clock or a place says."""
    if isinstance(value, list):
        return [untimed(one) for one in value]
    if isinstance(value, dict):
        return {name: untimed(one) for name, one in value.items() if name not in TIMED}
    return value


def test_an_interrupted_comparison_goes_on_to_equal_numbers(
    found: tuple[dict, Run], blocks: str, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    finish, count = Run.finish, [0]

    def broken_off(run: Run, key: str, result: dict) -> None:
        finish(run, key, result)
        count[0] += 1
        if count[0] == 3:  # two dense networks and the first rung of ugs
            raise KeyboardInterrupt

    words = [blocks, *WORDS, "--out", str(tmp_path), "--name", "part"]
    with monkeypatch.context() as patch:
        patch.setattr(Run, "finish", broken_off)
        assert compare(*words) == 130
    run = Run(tmp_path / "part")
    before = {key: (run.folder / "rounds" / key / "done.json").stat().st_mtime_ns for key in run.finished()}
    assert sorted(before) == ["seed-0/round-00", "seed-0/ugs/round-01", "seed-1/round-00"]
    capsys.readouterr()
    assert compare(*words) == 0
    out, err = capsys.readouterr()
    assert "going on after 3 finished rounds" in err
    assert "round 18/18" in err
    assert all((run.folder / "rounds" / k / "done.json").stat().st_mtime_ns == when for k, when in before.items())
    assert untimed(json.loads(out)) == untimed(found[0])


def test_the_report_is_one_file_that_says_it_all(found: tuple[dict, Run], blocks: str) -> None:
    result, _ = found
    page = Path(result["report"]).read_text(encoding="utf-8")
    assert page.count("data:image/svg+xml;base64,") == 1
    assert 'src="http' not in page
    for text in (
        "2 methods on blocks, GCN of depth 2", ">Round 1</h2>", ">Round 3</h2>", ">Counts and costs</h2>", "no edges",
        "degree-random-edges", "credit of its edges", "paired t-test", "Nothing is distilled", "ICML 2021", "ICLR 2024",
        f"glt compare {blocks} --rounds 3 --seeds 2", "--methods ugs degree",
    ):  # fmt: skip
        assert text in page, text
    row = result["methods"]["degree"][1]
    assert f"<td>{row['edges']['kept']} / {row['edges']['removed']}</td>" in page
    assert f"{100 * row['accuracy']['ticket']['mean']:.1f}\xa0±" in page
    assert "earlybird." not in page  # settings of methods that took no part
