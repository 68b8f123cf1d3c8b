"""AUC and Hits@K: by hand, and as scikit-learn has them."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from glt.tasks.ranking import auc, hits


@pytest.mark.parametrize(
    ("positive", "negative", "expected"),
    [
        ([2.0, 3.0], [0.0, 1.0], 1.0),
        ([0.0, 1.0], [2.0, 3.0], 0.0),
        ([1.0, 3.0], [2.0, 0.0], 0.75),  # of four pairs, 1 against 2 alone is wrong
        ([1.0], [1.0], 0.5),
        ([1.0, 1.0], [1.0, 0.0], 0.75),
    ],
)
def test_auc_by_hand(positive: list[float], negative: list[float], expected: float) -> None:
    assert auc(torch.tensor(positive), torch.tensor(negative)) == expected


@pytest.mark.parametrize("levels", [3, 50, 10**6])
def test_auc_is_that_of_scikit_learn_ties_or_not(levels: int) -> None:
    rng = np.random.default_rng(levels)
    scores = torch.from_numpy(rng.integers(0, levels, 500)).float()
    truth = torch.from_numpy(rng.random(500) < 0.3)
    assert auc(scores[truth], scores[~truth]) == pytest.approx(roc_auc_score(truth, scores), abs=1e-12)


def test_hits_at_k_by_hand() -> None:
    positive, negative = torch.tensor([4.0, 2.0, 1.0, 3.0]), torch.tensor([3.0, 1.5, 0.0])
    assert [hits(positive, negative, k) for k in (1, 2, 3, 4)] == [0.25, 0.75, 1.0, 1.0]
    assert hits(torch.tensor([3.0]), negative, 1) == 0.0  # as high as the best absent pair is not above it


def test_scores_that_are_not_finite_have_no_metric() -> None:
    good, bad = torch.tensor([1.0, 2.0]), torch.tensor([1.0, float("nan")])
    assert math.isnan(auc(good, bad))
    assert math.isnan(hits(bad, good, 1))
    assert math.isnan(auc(torch.tensor([math.inf, 1.0]), good))
