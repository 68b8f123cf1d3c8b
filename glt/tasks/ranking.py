"""How well scores tell positives from negatives: AUC and Hits@K."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["auc", "hits"]


def auc(positive: Tensor, negative: Tensor) -> float:
    r"""The area under the ROC curve by ranks, $(\sum_{p} r_p - P(P+1)/2) / (P N)$, ties at their mean rank.

    It is the probability that a positive scores above a negative, where a tie counts one half.

    Args:
        positive: (P,) scores, P at least 1.
        negative: (N,) scores, N at least 1.

    Returns:
        In [0, 1]; NaN where a score is not finite.

    References:
        Hanley and McNeil, The Meaning and Use of the Area under a ROC Curve, Radiology 1982.

    >>> auc(torch.tensor([3.0, 1.0]), torch.tensor([1.0, 0.0]))
    0.875
    """
    scores = torch.cat([positive, negative])
    if not bool(scores.isfinite().all()):
        return float("nan")
    _, place, count = torch.unique(scores, return_inverse=True, return_counts=True)
    last = count.cumsum(0).double()
    rank = (last - (count - 1) / 2)[place[: positive.numel()]]
    most = positive.numel() * (positive.numel() + 1) / 2
    return float((rank.sum() - most) / (positive.numel() * negative.numel()))


def hits(positive: Tensor, negative: Tensor, k: int) -> float:
    """Hits@K: the share of positives that score above the K-th best negative; 1 with fewer than K negatives.

    Args:
        positive: (P,) scores, P at least 1.
        negative: (N,) scores.
        k: K, at least 1.

    Returns:
        In [0, 1]; NaN where a score is not finite.

    References:
        Hu et al., Open Graph Benchmark: Datasets for Machine Learning on Graphs, NeurIPS 2020.

    >>> hits(torch.tensor([3.0, 1.5, 0.5]), torch.tensor([2.0, 1.0, 0.0]), k=2)
    0.6666666666666666
    """
    if not bool(positive.isfinite().all() and negative.isfinite().all()):
        return float("nan")
    if negative.numel() < k:
        return 1.0
    return int((positive > negative.topk(k).values[-1]).sum()) / positive.numel()
