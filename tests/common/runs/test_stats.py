"""Confidence intervals and paired tests against scipy's own, and what wins."""

from __future__ import annotations

import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from common.runs.stats import Estimate, estimate, is_winning, paired

VALUES = st.lists(st.floats(-1e3, 1e3).map(lambda x: round(x, 3)), min_size=2, max_size=12)


@given(VALUES)
def test_the_interval_is_scipys(values: list[float]):
    found = estimate(values)
    spread = stats.sem(values)
    low, high = stats.t.interval(0.95, len(values) - 1, loc=0, scale=spread) if spread > 0 else (0, 0)
    assert found.mean == pytest.approx(sum(values) / len(values), abs=1e-9)
    assert found.ci95 == pytest.approx((high - low) / 2, abs=1e-9)
    assert found.std == pytest.approx(statistics.stdev(values), abs=1e-9)
    assert Estimate.from_dict(found.as_dict()) == found


def test_a_table_value():
    # t(0.975, 4) = 2.776; the values have standard deviation sqrt(2.5)
    found = estimate([1, 2, 3, 4, 5])
    assert found.ci95 == pytest.approx(2.776 * math.sqrt(2.5 / 5), abs=1e-3)


def test_one_seed_has_no_interval():
    assert estimate([0.75]) == Estimate(0.75, None, 1, (0.75,))
    assert estimate([0.75]).std is None


@pytest.mark.parametrize(
    ("found", "spec", "text"),
    [
        (Estimate(81.34, 0.62, 5), ".1f", "81.3 ± 0.6 (n=5)"),
        (Estimate(0.8134, 0.0062, 5), ".1%", "81.3% ± 0.6% (n=5)"),
        (Estimate(0.8134, None, 1), ".1%", "81.3% (n=1)"),
        (Estimate(2.96, 0.1, 3), "", "2.96 ± 0.1 (n=3)"),
    ],
)
def test_how_an_estimate_is_written(found: Estimate, spec: str, text: str):
    assert format(found, spec) == text


def test_no_values_are_refused():
    with pytest.raises(ValueError, match="at least one value, found none"):
        estimate([])


def test_a_diverged_seed_is_not_dropped_and_never_wins():
    diverged = estimate([0.8, float("nan")])
    assert math.isnan(diverged.mean)
    assert not is_winning(diverged, estimate([0.1, 0.2]))
    assert not is_winning(estimate([0.9]), diverged)


def test_winning_is_within_one_standard_deviation_of_dense():
    dense = estimate([0.79, 0.80, 0.81])  # mean 0.80, standard deviation 0.01
    assert is_winning(estimate([0.7901]), dense)
    assert not is_winning(estimate([0.7899]), dense)
    assert not is_winning(estimate([0.7999]), estimate([0.80]))
    assert is_winning(estimate([0.8099]), dense, higher_is_better=False)
    assert not is_winning(estimate([0.8101]), dense, higher_is_better=False)


@given(st.integers(2, 12).flatmap(lambda n: st.tuples(*[st.lists(st.integers(0, 1000), min_size=n, max_size=n)] * 2)))
def test_the_paired_test_is_that_of_differences_against_zero(pair: tuple[list[int], list[int]]):
    a, b = ([value / 1000 for value in values] for values in pair)
    found = paired(a, b)
    assert found.difference == estimate([x - y for x, y in zip(a, b, strict=True)])
    if len({x - y for x, y in zip(*pair, strict=True)}) == 1:
        assert found.p is None
        return
    oracle = stats.ttest_1samp([x - y for x, y in zip(a, b, strict=True)], 0.0)
    assert found.p == pytest.approx(oracle.pvalue, rel=1e-6)
    mean, half = found.difference.mean, found.difference.ci95
    assert half is not None
    if abs(found.p - 0.05) > 1e-6:
        assert (abs(mean) > half) == (found.p < 0.05)  # the interval and the test say the same
    assert paired(b, a).p == pytest.approx(found.p, rel=1e-6)


def test_a_paired_test_from_a_table():
    # differences 1, 2, 3: t = 2 / (1 / sqrt(3)) = 3.4641 with two degrees of freedom, p = 0.0742
    found = paired([1.0, 3.0, 5.0], [0.0, 1.0, 2.0])
    assert (found.difference.mean, round(found.p or 0, 4)) == (2.0, 0.0742)
    assert found.numbers() == {"mean": 2.0, "ci95": pytest.approx(2.4841, abs=1e-4), "n": 3, "p": found.p}


@pytest.mark.parametrize(
    ("a", "b"),
    [([0.8], [0.7]), ([0.8, 0.7], [0.8, 0.7]), ([0.8, 0.81], [0.79, 0.80]), ([0.8, math.nan, 0.7], [0.7, 0.6, 0.5])],
)
def test_no_p_where_differences_have_no_spread(a: list[float], b: list[float]):
    assert paired(a, b).p is None


def test_what_does_not_pair_is_refused():
    with pytest.raises(ValueError, match="found 2 and 1 values; expected pairs"):
        paired([0.8, 0.9], [0.7])
    with pytest.raises(ValueError, match="at least one value"):
        paired([], [])
