"""The curve of distances: logarithmic where it must be, many methods told apart, what diverged left out."""

from __future__ import annotations

import math
import re
from xml.etree import ElementTree

import pytest

from common.runs import curves
from common.runs.curves import Rung, density_curve
from common.runs.stats import Estimate, estimate

METHODS = [f"method {k}" for k in range(15)]


def said(svg: str) -> list[str]:
    ElementTree.fromstring(svg)
    return re.findall(r"<!-- (.*?) -->", svg)


def ladder(*scores: float, name: str = "ticket") -> list[Rung]:
    return [Rung(0.5**k, {name: estimate([score])}) for k, score in enumerate(scores)]


def distance(rungs: list[Rung], dense: Estimate | None = None) -> list[str]:
    return said(density_curve(rungs, dense=dense, metric="FD", percent=False, log_above=20))


def test_distances_of_a_wide_range_are_on_a_logarithmic_axis():
    assert {"2", "5", "10", "20", "50"} <= set(distance(ladder(3.0, 30.0, 61.0)))
    assert {"10", "1000", "100000"} <= set(distance(ladder(3.0, 30.0, 6e5)))
    assert "5" not in distance(ladder(3.0, 30.0, 60.0))  # twenty times is not more than twenty times
    assert "5" not in said(density_curve(ladder(3.0, 30.0, 61.0), metric="FD", percent=False))


def test_the_dense_network_counts_for_the_range():
    floor = curves._floor(ladder(30.0, 70.0), None, 20)
    assert floor == -math.inf
    assert curves._floor(ladder(30.0, 70.0), estimate([3.0]), 20) == pytest.approx(3.0 / 1.6)


@pytest.mark.parametrize("low", [0.0, -0.001])
def test_scores_that_are_not_all_positive_stay_linear(low: float):
    assert curves._floor(ladder(low, 30.0), None, 20) == -math.inf
    distance(ladder(low, 30.0))


def test_intervals_that_reach_below_zero_end_at_the_axis():
    scale = curves._Scale(1.0, 2.0)
    assert scale.ends(Estimate(3.0, 5.0, 3)) == (3.0, 2.0, 8.0)
    assert scale.ends(Estimate(1.0, 5.0, 3)) == (1.0, 1.0, 6.0)
    assert curves._Scale(100.0, -math.inf).ends(Estimate(0.5, 0.75, 3)) == (50.0, -25.0, 125.0)
    wide = [Rung(d, {"ticket": Estimate(s, 500.0, 2), "random": Estimate(s, 9.0, 2)}) for d, s in ((0.5, 2), (0.1, 90))]
    distance(wide, Estimate(3.0, 40.0, 2))


def test_no_interval_of_a_share_goes_beyond_none_and_all():
    wide = [Rung(d, {"ugs": Estimate(0.5, 2.0, 2)}) for d in (0.5, 0.1)]
    assert {"0", "100"} <= set(shown := said(density_curve(wide, dense=Estimate(0.6, 0.1, 2))))
    assert not {"200", "\N{MINUS SIGN}100"} & set(shown)
    assert "200" in said(density_curve([Rung(1.0, {"ugs": Estimate(50.0, 200.0, 2)})], metric="FD", percent=False))


@pytest.mark.parametrize("lost", [math.nan, math.inf])
def test_what_diverged_is_left_out(lost: float):
    rungs = ladder(3.0, lost, 4.0) + ladder(lost, lost, name="random")
    assert {"ticket", "random ticket"} <= set(distance(rungs, estimate([lost, 1.0])))
    assert "dense network" not in distance(rungs, estimate([lost, 1.0]))
    distance(ladder(lost))


def test_many_methods_are_told_apart():
    names = [*METHODS, "random", "reinit"]
    looks = [curves._look(name, names) for name in names]
    assert len({(look["color"], str(look["linestyle"])) for look in looks}) == len(names)
    assert len({look["marker"] for look in looks}) > 12
    few = [curves._look(name, names[:4]) for name in names[:4]]
    assert len({look["color"] for look in few}) == 4
    assert {look["linestyle"] for look in few} == {"-"}


def test_methods_come_before_their_controls_and_the_ticket_before_all():
    rungs = [Rung(d, {name: estimate([1.0, 2.0]) for name in ("random", "global", "reinit")}) for d in (0.5, 0.1)]
    assert distance(rungs, estimate([1.0]))[-4:] == [
        "dense network",
        "global",
        "random ticket",
        "re-initialised ticket",
    ]
    rungs = [Rung(0.5, {name: estimate([1.0]) for name in ("ours", "random", "ticket")})]
    assert distance(rungs)[-3:] == ["ticket", "random ticket", "ours"]


def test_densities_that_nearly_agree_share_a_tick():
    rungs = [Rung(d * (1 - k / 300), {f"m{k}": estimate([1.0])}) for d in (0.5, 0.1) for k in range(4)]
    assert distance(rungs)[:2] == ["50.0", "9.9"]
    assert curves._apart([1.0], 7.4) == [1.0]
    assert curves._apart([0.8**k for k in range(21)], 11.0)[-1] == 0.8**20
    assert len(curves._apart([0.99**k for k in range(300)], 11.0)) < 25


def test_long_names_make_fewer_columns_and_more_lines():
    assert curves._columns(["ticket", "dense network", "random ticket", "re-initialised ticket"], 7.4) == 4
    assert curves._columns(["x" * 40] * 4, 7.4) == 1
    assert curves._columns(["abc"] * 9, 7.4) == 3
    texts = said(density_curve(ladder(1.0, 2.0), metric="FD[an-extractor-of-a-long-name], less is better"))
    assert "FD[an-extractor-of-a-long-name], less" in texts
