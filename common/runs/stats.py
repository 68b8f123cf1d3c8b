"""Means over seeds with their 95 % confidence intervals, what counts as a winning ticket, and paired differences."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Estimate", "Paired", "estimate", "is_winning", "paired"]


@dataclass(frozen=True)
class Estimate:
    """A mean over `n` independent seeds, with the half-width of its 95 % confidence interval.

    Args:
        mean: the sample mean.
        ci95: half-width of the t interval; None for one seed, which says nothing about spread.
        n: how many seeds.
        values: the values themselves, where they are known.

    Formatting applies its specification to both numbers:

    >>> f"{estimate([0.81, 0.82, 0.80]):.1%}"
    '81.0% ± 2.5% (n=3)'
    >>> str(estimate([0.75]))
    '0.75 (n=1)'
    """

    mean: float
    ci95: float | None
    n: int
    values: tuple[float, ...] = ()

    @property
    def std(self) -> float | None:
        """The sample standard deviation (n - 1 in the denominator); None for one seed."""
        if self.ci95 is None:
            return None
        return self.ci95 * math.sqrt(self.n) / _quantile(self.n)

    def as_dict(self) -> dict[str, Any]:
        """Mean, interval, count and values as plain data."""
        return {"mean": self.mean, "ci95": self.ci95, "n": self.n, "values": list(self.values)}

    def numbers(self) -> dict[str, Any]:
        """Mean, interval and count, as the results of commands have them.

        >>> estimate([1.0]).numbers()
        {'mean': 1.0, 'ci95': None, 'n': 1}
        """
        return {"mean": self.mean, "ci95": self.ci95, "n": self.n}

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> Estimate:
        """The inverse of `as_dict`.

        >>> Estimate.from_dict(estimate([1.0, 2.0]).as_dict()) == estimate([1.0, 2.0])
        True
        """
        return cls(stored["mean"], stored["ci95"], stored["n"], tuple(stored.get("values", ())))

    def __format__(self, spec: str) -> str:
        spec = spec or ".4g"
        spread = "" if self.ci95 is None else f" ± {self.ci95:{spec}}"
        return f"{self.mean:{spec}}{spread} (n={self.n})"

    def __str__(self) -> str:
        return format(self)


def estimate(values: Iterable[float]) -> Estimate:
    r"""The mean of independent values and its 95 % t interval.

    .. math:: \bar x \pm t_{0.975,\,n-1} \, s / \sqrt n

    A NaN among the values (a seed that diverged) makes mean and interval NaN; it is not dropped.

    Args:
        values: one number a seed.

    Raises:
        ValueError: there are none.

    References:
        Student, The probable error of a mean, Biometrika 1908.

    >>> result = estimate([1.0, 2.0, 3.0])
    >>> result.mean, round(result.ci95, 4), result.n
    (2.0, 2.4841, 3)
    """
    seen = tuple(float(value) for value in values)
    if not seen:
        raise ValueError("an estimate needs at least one value, found none; give the result of at least one seed")
    n = len(seen)
    mean = math.fsum(seen) / n
    if n == 1:
        return Estimate(mean, None, 1, seen)
    spread = math.sqrt(math.fsum((value - mean) ** 2 for value in seen) / (n - 1))
    return Estimate(mean, _quantile(n) * spread / math.sqrt(n), n, seen)


def is_winning(ticket: Estimate, dense: Estimate, *, higher_is_better: bool = True) -> bool:
    """Whether a ticket matches its dense network: its mean is at least the dense mean minus one standard deviation.

    With one dense seed the standard deviation counts as 0. A NaN on either side never wins.

    Args:
        ticket: the ticket's metric over seeds.
        dense: the dense network's metric over seeds.
        higher_is_better: False for an error or a distance such as FID; the ticket may then lie one deviation above.

    References:
        Frankle and Carbin, The Lottery Ticket Hypothesis, ICLR 2019; the margin is that of Frankle et al., Linear Mode
        Connectivity and the Lottery Ticket Hypothesis, ICML 2020 ("matching").

    >>> is_winning(estimate([0.80, 0.81]), estimate([0.80, 0.82]))
    True
    >>> is_winning(estimate([0.70, 0.71]), estimate([0.80, 0.82]))
    False
    """
    margin = dense.std or 0.0
    if higher_is_better:
        return ticket.mean >= dense.mean - margin
    return ticket.mean <= dense.mean + margin


@dataclass(frozen=True)
class Paired:
    """How two metrics differ over the same seeds.

    Args:
        difference: the first minus the second, seed by seed.
        p: of a two-sided paired t-test that the true mean difference is zero; None where the differences have no
            spread to judge by: of one seed, of seeds that all differ alike, or of one that diverged.
    """

    difference: Estimate
    p: float | None

    def numbers(self) -> dict[str, Any]:
        """Mean, interval, count and p, as the results of commands have them."""
        return {**self.difference.numbers(), "p": self.p}


def paired(a: Sequence[float], b: Sequence[float]) -> Paired:
    r"""The mean of $a_i - b_i$ with its 95 % t interval, and the p of a paired t-test.

    .. math:: t = \bar d \, / \, (s_d / \sqrt n), \qquad d_i = a_i - b_i

    Args:
        a, b: one number a seed, in the same order of seeds.

    Raises:
        ValueError: there are none, or not as many of one as of the other.

    References:
        Student, The probable error of a mean, Biometrika 1908.

    >>> found = paired([0.82, 0.80, 0.81, 0.83], [0.80, 0.79, 0.80, 0.80])
    >>> round(found.difference.mean, 4), round(found.p, 3)
    (0.0175, 0.035)
    >>> paired([0.82], [0.80]).p is None and paired([0.5, 0.6], [0.4, 0.5]).p is None
    True
    """
    if len(a) != len(b):
        raise ValueError(f"found {len(a)} and {len(b)} values; expected pairs, one of each a seed")
    difference = estimate(x - y for x, y in zip(a, b, strict=True))
    values = difference.values
    alike = max(values) - min(values) <= 1e-12 * max(map(abs, (*a, *b)))  # apart by rounding only
    if difference.n == 1 or alike or not all(map(math.isfinite, values)):
        return Paired(difference, None)
    from scipy.stats import ttest_rel

    return Paired(difference, float(ttest_rel(a, b).pvalue))


def _quantile(n: int) -> float:
    from scipy.stats import t

    return float(t.ppf(0.975, n - 1))
