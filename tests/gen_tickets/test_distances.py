"""Distances between features: by their definitions and by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from common.runs.stats import estimate
from gen_tickets import distances


def test_the_kernel_distance_by_its_definition() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(12, 3)), rng.normal(0.5, 1, size=(12, 3))

    def mean(x: np.ndarray, y: np.ndarray, *, same: bool) -> float:
        values = [(x[i] @ y[j] / 3 + 1) ** 3 for i in range(12) for j in range(12) if not (same and i == j)]
        return float(np.mean(values))

    wanted = mean(a, a, same=True) + mean(b, b, same=True) - 2 * mean(a, b, same=False)
    found = distances.kernel(torch.from_numpy(a), torch.from_numpy(b), subsets=1, size=12, seed=0)
    assert found.mean == pytest.approx(wanted, rel=1e-12)
    assert found.ci95 is None
    values = [distances.kernel(torch.from_numpy(a), torch.from_numpy(b), 1, 6, seed).mean for seed in range(200)]
    assert np.mean(values) == pytest.approx(wanted, abs=2 * estimate(values).ci95)  # unbiased


def test_precision_and_recall_by_hand() -> None:
    real = torch.tensor([[0.0], [1.0], [2.0], [10.0]])
    fake = torch.tensor([[0.5], [0.6], [40.0], [41.0]])
    assert distances.precision_recall(fake, real, neighbours=1) == (0.5, 0.0)  # 0.5, 0.6 reach 0.1; 40, 41 reach 1
    assert distances.precision_recall(real, fake, neighbours=1) == (0.0, 0.5)
    assert distances.precision_recall(fake, real, neighbours=3) == (0.5, 1.0)
    assert distances.precision_recall(real, real, neighbours=1) == (1.0, 1.0)
