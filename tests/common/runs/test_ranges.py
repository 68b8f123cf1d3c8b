"""Settings out of their range are refused before any work, by the words of their table."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest

from common.runs.errors import UsageError
from common.runs.ranges import (
    AT_LEAST_ONE,
    FIRST_SEED,
    KEPT,
    NOT_NEGATIVE,
    POSITIVE,
    SEEDS,
    Range,
    at_least,
    check_ranges,
)


@pytest.mark.parametrize(
    ("asked", "inside", "outside"),
    [
        (AT_LEAST_ONE, [1, 1.5], [0, -1, math.nan]),
        (at_least(2), [2], [1]),
        (POSITIVE, [1e-9, 3], [0, -1, math.inf, math.nan]),
        (NOT_NEGATIVE, [0, 3], [-1e-9, math.inf, math.nan]),
        (KEPT, [1e-9, 1], [0, 1.01, math.nan]),
        (SEEDS, [1, 10**6], [0, 10**6 + 1]),
        (FIRST_SEED, [0, 2**32 - 1], [-1, 2**32]),
    ],
)
def test_a_range_takes_what_is_inside(asked: Range, inside: list[float], outside: list[float]) -> None:
    for value in inside:
        check_ranges(SimpleNamespace(it=value), {"it": asked})
    for value in outside:
        with pytest.raises(UsageError) as refused:
            check_ranges(SimpleNamespace(it=value), {"it": asked})
        assert str(refused.value) == f"--it {asked[1]}; found {value}"


def test_a_setting_of_a_group_is_named_as_it_is_typed_and_none_is_left_to_others() -> None:
    config = SimpleNamespace(one=SimpleNamespace(two_words=0, other=None))
    check_ranges(config, {"one.other": AT_LEAST_ONE})
    with pytest.raises(UsageError, match=r"^--task\.one\.two-words must be at least 1; found 0$"):
        check_ranges(config, {"one.other": AT_LEAST_ONE, "one.two_words": AT_LEAST_ONE}, prefix="task.")
