"""What seeds say together, on numbers that can be checked in one's head."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest

from common.runs.stats import estimate
from gen_tickets.summary import summarise, verdict

NAN = math.nan
ABOUT = {"samples": 64, "scheduler": "ddim", "steps": 20, "against": "digits/test#00", "extractor_sha256": "ab"}


def rung(
    seed: int,
    method: str,
    number: int,
    kept: int,
    score: float,
    *,
    controls: Mapping[str, float] | None = None,
    about: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """A rung of a network of 100 weights in two tensors."""
    return {
        "seed": seed,
        "method": method,
        "round": number,
        "weights": {"total": 100, "kept": kept},
        "by_layer": {"a": [kept, 80], "b": [kept // 2, 20]},
        "quality": {"FD[x]": score, "KD[x]": score / 10},
        "controls": {name: {"FD[x]": value, "KD[x]": value / 10} for name, value in (controls or {}).items()},
        "seconds": 2.0,
        "cpu_seconds": 1.5,
        "metrics": {},
        "about": {**ABOUT, "seed": seed, "warnings": ["few images"], **(about or {})},
    }


def dense(*scores: float) -> list[dict[str, Any]]:
    return [rung(seed, "dense", 0, 100, score) for seed, score in enumerate(scores)]


def of(method: str, number: int, kept: int, *scores: float, **controls: float) -> list[dict[str, Any]]:
    return [rung(seed, method, number, kept, score, controls=controls) for seed, score in enumerate(scores)]


DENSE = dense(3.0, 4.0, 5.0)  # mean 4, standard deviation 1


def test_estimates_of_every_rung_and_label():
    found = summarise([*DENSE, *of("global", 1, 20, 4.0, 4.5, 5.0, random=9.0, reinit=5.0)])
    (level,) = found.methods["global"]
    assert (found.label, found.seeds, found.dense) == ("FD[x]", (0, 1, 2), estimate([3.0, 4.0, 5.0]))
    assert list(found.quality) == ["FD[x]", "KD[x]"]
    assert level.scores["ticket"] == estimate([4.0, 4.5, 5.0])
    assert level.quality["KD[x]"]["random"].mean == pytest.approx(0.9)
    assert (level.density, level.kept, level.total, level.counted) == (0.2, (20, 20, 20), 100, "20 of 100")
    assert level.layers == {"a": 0.25, "b": 0.5}
    assert level.winners == ("ticket", "reinit")
    assert (found.missing, found.seconds, found.cpu_seconds) == (0, 12.0, 9.0)
    assert (found.warnings, found.about["samples"]) == (("few images",), 64)


@pytest.mark.parametrize(("score", "wins"), [(4.999, True), (5.0, True), (5.001, False), (0.0, True), (NAN, False)])
def test_less_is_better_and_one_deviation_is_allowed(score: float, wins: bool):
    found = summarise([*DENSE, *of("global", 1, 20, *[score] * 3)])
    assert found.methods["global"][0].winning is wins
    assert found.winning is wins
    assert (found.best is not None) is wins


def test_a_seed_that_diverged_is_not_dropped():
    found = summarise([*DENSE, *of("global", 1, 20, 1.0, NAN, 1.0, random=1.0)])
    score = found.levels[0].scores["ticket"]
    assert math.isnan(score.mean)
    assert score.n == 3
    assert found.levels[0].winners == ("random",)
    assert "reach no FD[x]: it diverged for 1 of 3 seeds (dense 4.00, random 1.00)" in verdict(found)


@pytest.mark.parametrize("lost", [NAN, math.inf])
def test_beside_a_dense_network_that_diverged_nothing_wins(lost: float):
    found = summarise([*dense(lost), *of("global", 1, 20, 1.0)])
    assert (found.levels[0].winning, found.winning) == (False, None)
    assert verdict(found) == "The dense network diverged for 1 of 1 seed, so that no ticket can be judged."


def test_rungs_that_some_seeds_lack_do_not_count_and_are_counted():
    rest = [*of("global", 1, 50, 1.0, 1.0, 1.0), *of("global", 2, 20, 1.0, 1.0), *of("set", 1, 20, 1.0), {}]
    found = summarise([*DENSE, *rest])
    assert [level.round for level in found.methods["global"]] == [1]
    assert found.methods["set"] == ()
    assert found.missing == 1 + 2
    assert found.sparsest == {"global": found.levels[0], "set": None}


def test_controls_count_only_if_every_seed_has_them():
    results = [*DENSE, *of("global", 1, 20, 1.0, 1.0, 1.0, random=2.0)]
    results[-1]["controls"] = {}
    assert list(summarise(results).levels[0].scores) == ["ticket"]


def test_the_densest_come_first_and_methods_stay_in_order():
    results = [*of("b", 2, 10, 1.0), *of("b", 1, 50, 1.0), *of("a", 1, 30, 1.0), *dense(1.0)]
    found = summarise(results)
    assert [(level.method, level.density) for level in found.levels] == [("b", 0.5), ("b", 0.1), ("a", 0.3)]


def test_the_sparsest_winner_and_of_equals_the_better_one():
    results = [*dense(3.0), *of("a", 1, 50, 2.0), *of("a", 2, 10, 2.5), *of("a", 3, 5, 9.0), *of("b", 1, 10, 2.0)]
    found = summarise(results)
    assert found.best == found.methods["b"][0]
    assert found.sparsest["a"] == found.methods["a"][1]


@pytest.mark.parametrize(
    ("results", "message"),
    [
        ([], "found no dense network of any seed"),
        ([*dense(1.0), *of("a", 1, 9, 1.0, 2.0)], r"found no dense network of seeds \[1\]; expected one a seed"),
        ([*dense(1.0), *dense(1.0)], "found round 0 of dense, seed 0, twice"),
        ([*dense(1.0), rung(0, "a", 1, 9, 1.0, about={"steps": 50})], "found rungs with steps 20 and 50; expected one"),
        ([*dense(1.0), {**rung(0, "a", 1, 9, 1.0), "quality": {"FD[y]": 1.0}}], r"main score FD\[x\] and FD\[y\]"),
        (
            [*dense(1.0, 1.0), *of("a", 1, 9, 1.0), {**rung(1, "a", 1, 9, 1.0), "weights": {"total": 50, "kept": 9}}],
            "found networks of 50 and 100 weights; expected one size",
        ),
    ],
)
def test_what_does_not_go_together(results: list[dict[str, Any]], message: str):
    with pytest.raises(ValueError, match=message):
        summarise(results)


WON = "20.0% of weights (20 of 100) reach FD[x] 4.50, less is better"


def test_verdicts_of_one_method():
    def said(score: float, **controls: float) -> str:
        return verdict(summarise([*DENSE, *of("global", 1, 20, *[score] * 3, **controls)]))

    assert said(4.5) == f"A winning ticket: {WON} (dense 4.00)."
    assert said(4.5, random=9.0, reinit=8.0) == f"A winning ticket: {WON} (dense 4.00, random 9.00, reinit 8.00)."
    assert said(4.5, random=4.0, reinit=4.0).endswith(
        "Random tickets of the same counts win as well, so the search did not make the difference."
    )
    assert said(4.5, random=9.0, reinit=4.0).endswith(
        "Re-initialised tickets win as well: it is the mask that counts, not the initial weights."
    )
    assert said(6.0) == (
        "Not a winning ticket: 20.0% of weights (20 of 100) reach FD[x] 6.00, less is better (dense 4.00)."
    )


def test_a_loss_names_the_sparsest_winner_or_says_that_there_is_none():
    ladder = [*DENSE, *of("global", 2, 20, 6.0, 6.0, 6.0)]
    won = verdict(summarise([*ladder, *of("global", 1, 50, 3.0, 3.0, 3.0)]))
    assert won.endswith("(dense 4.00). The sparsest rung that wins is round 1: 50.0% of weights (50 of 100).")
    assert verdict(summarise([*ladder, *of("global", 1, 50, 7.0, 7.0, 7.0)])).endswith("(dense 4.00). No rung wins.")


def test_seeds_that_keep_different_numbers():
    results = [*dense(3.0, 4.0), *of("early-bird", 1, 0, 3.0, 3.0)]
    for result, kept in zip(results[2:], (18, 24), strict=True):
        result["weights"]["kept"] = kept
    assert "21.0% of weights (18 to 24 of 100) reach" in verdict(summarise(results))


def test_verdicts_of_several_methods():
    results = [
        *dense(3.0),
        *of("global", 1, 50, 2.0),
        *of("global", 2, 10, 2.5, random=8.0),
        *of("one-shot", 1, 50, 9.0),
    ]
    assert verdict(summarise([*results, *of("uniform", 1, 50, 2.0)])) == (
        "A winning ticket: global, 10.0% of weights (10 of 100), reach FD[x] 2.50, less is better (dense 3.00, random "
        "8.00). None sparser wins; the sparsest winners of the others: one-shot none, uniform 50.0%."
    )
    lost = [*dense(1.0), *results[1:]]
    assert verdict(summarise(lost)) == (
        "Not a winning ticket: no rung of global and one-shot matches FD[x] 1.00 of the dense network, less is better; "
        "the nearest is global, 50.0% of weights (50 of 100), with 2.00."
    )
    assert summarise(lost).winning is False
    diverged = [*dense(1.0), *of("a", 1, 50, NAN), *of("b", 1, 50, NAN)]
    assert verdict(summarise(diverged)).endswith("less is better; all diverged.")


def test_before_any_rung_is_finished():
    found = summarise([*DENSE, *of("global", 1, 20, 1.0)])
    assert found.winning is None
    assert verdict(found) == "Nothing can be said yet: no rung is finished for all 3 seeds."
