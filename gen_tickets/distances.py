"""Distances between two sets of features, as torch-fidelity computes them.

Everything here takes features (N, D), the generated ones first, and knows nothing of images or of where features come
from; `gen_tickets.quality` gives the numbers their names.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from torch import Tensor

from common.runs.stats import Estimate

__all__ = ["Statistics", "classifier_score", "frechet", "kernel", "precision_recall", "statistics"]


class Statistics(NamedTuple):
    """The mean (D,) and the covariance (D, D) of features."""

    mean: np.ndarray
    covariance: np.ndarray


def statistics(features: Tensor) -> Statistics:
    """Mean and sample covariance of features (N, D); N at least 2."""
    from torch_fidelity.metric_fid import fid_features_to_statistics

    found = fid_features_to_statistics(features)
    return Statistics(found["mu"], found["sigma"])


def frechet(fake: Statistics, real: Statistics) -> float:
    r"""The Frechet distance of two normal distributions; rounding never makes it negative.

    .. math:: \|\mu_1 - \mu_2\|^2 + \operatorname{tr}(\Sigma_1 + \Sigma_2 - 2 (\Sigma_1 \Sigma_2)^{1/2})

    References:
        Heusel et al., GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium, NeurIPS 2017.

    >>> eye = np.eye(2)
    >>> frechet(Statistics(np.zeros(2), eye), Statistics(np.array([3.0, 4.0]), 4 * eye))
    27.0
    """
    from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_statistics_to_metric

    first, second = ({"mu": part.mean, "sigma": part.covariance} for part in (fake, real))
    return max(0.0, float(fid_statistics_to_metric(first, second, False)[KEY_METRIC_FID]))


def kernel(fake: Tensor, real: Tensor, subsets: int, size: int, seed: int) -> Estimate:
    r"""The unbiased squared maximum mean discrepancy under $(x^\top y / D + 1)^3$, over random subsets.

    The interval is over subsets of these very images: it says how well the number is known for them, and nothing about
    other seeds. It is the t interval, for which overlapping subsets count as independent.

    Args:
        fake, real: (N, D) and (M, D).
        subsets: how many.
        size: of each, at most N and M.
        seed: of the draw.

    References:
        Binkowski et al., Demystifying MMD GANs, ICLR 2018.
    """
    from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, KEY_METRIC_KID_STD, kid_features_to_metric

    found = kid_features_to_metric(fake, real, kid_subsets=subsets, kid_subset_size=size, rng_seed=seed, verbose=False)
    mean, deviation = float(found[KEY_METRIC_KID_MEAN]), float(found[KEY_METRIC_KID_STD])
    if subsets == 1:
        return Estimate(mean, None, 1)
    from scipy.stats import t

    return Estimate(mean, float(t.ppf(0.975, subsets - 1)) * deviation / math.sqrt(subsets - 1), subsets)


def precision_recall(fake: Tensor, real: Tensor, neighbours: int) -> tuple[float, float]:
    """The share of fakes within the reach of real images, and of real images within the reach of fakes.

    An image reaches as far as the nearest `neighbours` images of its own set.

    References:
        Kynkaanniemi et al., Improved Precision and Recall Metric for Assessing Generative Models, NeurIPS 2019.
    """
    from torch_fidelity.metric_prc import KEY_METRIC_PRECISION, KEY_METRIC_RECALL, prc_features_to_metric

    found = prc_features_to_metric(
        fake, real, prc_neighborhood=neighbours, prc_batch_size=2000, save_cpu_ram=True, verbose=False
    )
    return float(found[KEY_METRIC_PRECISION]), float(found[KEY_METRIC_RECALL])


def classifier_score(logits: Tensor, splits: int, seed: int) -> tuple[float, float]:
    r"""$\exp E_x KL(p(y|x) \,\|\, p(y))$ of logits (N, classes): mean and standard deviation over splits.

    References:
        Salimans et al., Improved Techniques for Training GANs, NeurIPS 2016.

    >>> import torch
    >>> round(classifier_score(99 * torch.eye(4), 1, 0)[0], 6)
    4.0
    """
    from torch_fidelity.metric_isc import KEY_METRIC_ISC_MEAN, KEY_METRIC_ISC_STD, isc_features_to_metric

    found = isc_features_to_metric(logits, splits=splits, rng_seed=seed)
    return float(found[KEY_METRIC_ISC_MEAN]), float(found[KEY_METRIC_ISC_STD])
