"""When a search may stop: the mask has settled (early bird), or the outputs have (KL divergence).

Each criterion is a small object whose `update` takes the newest state and says whether to stop.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping

from torch import Tensor
from torch.nn import functional

from common.masks import Masks

__all__ = ["EarlyBird", "JointEarlyBird", "KLStop"]


class EarlyBird:
    """Stop when the newest mask is close to all of the last few: an early-bird ticket has emerged.

    After each epoch draw the mask that pruning would give now. The distance is the normalised Hamming distance between
    the newest mask and each other of the last `window`; training stops when the largest is below the threshold.

    Args:
        window: how many masks to look at, the newest included; at least 2. The paper uses 5, GEBT (You et al., AAAI
            2022) uses 3.
        threshold: in [0, 1].

    Attributes:
        distance: the largest distance of the last `update`; infinite until the window is full.

    Raises:
        ValueError: an argument is out of range; from `update`, a mask names or shapes other tensors than the last.

    Reference:
        You et al., Drawing Early-Bird Tickets, ICLR 2020.

    >>> import torch
    >>> bird = EarlyBird(window=2, threshold=0.3)
    >>> masks = [Masks({"w": torch.tensor(kept)}) for kept in ([1, 1, 0, 0], [0, 0, 1, 1], [0, 1, 1, 1])]
    >>> [bird.update(mask) for mask in masks]
    [False, False, True]
    >>> bird.distance
    0.25
    """

    reference = "You et al., Drawing Early-Bird Tickets, ICLR 2020"

    def __init__(self, window: int = 5, threshold: float = 0.1) -> None:
        if window < 2:
            raise ValueError(f"window is {window}; it must be at least 2, to compare a mask with the one before it.")
        if not 0.0 <= threshold <= 1.0:
            raise ValueError(f"threshold is {threshold}; a share of differing entries lies between 0 and 1.")
        self.threshold = threshold
        self.distance = math.inf
        self._masks: deque[Masks] = deque(maxlen=window - 1)  # the earlier ones

    def update(self, masks: Mapping[str, Tensor]) -> bool:
        """Take the newest masks; whether to stop."""
        newest = Masks({name: mask.clone() for name, mask in masks.items()})
        earlier = list(self._masks)
        distances = [newest.distance(other) for other in earlier]
        self._masks.append(newest)
        self.distance = max(distances) if len(earlier) == self._masks.maxlen else math.inf
        return self.distance < self.threshold


class JointEarlyBird:
    r"""Stop when masks of several kinds have settled together, such as a graph's and a network's.

    $\frac{1}{n} \sum_i d_i / d_i^0 < \eta$, where $d_i$ is a branch's `EarlyBird` distance and $d_i^0$ the first one
    that was not zero: kinds of very different size and speed count alike. A branch that never moved counts as zero.

    Args:
        window: how many masks of a branch to look at, the newest included; at least 2.
        threshold: $\eta$, in [0, 1].

    Attributes:
        distances: by branch, $d_i / d_i^0$ of the last `update`; infinite until the window is full.
        distance: their mean.

    Raises:
        ValueError: an argument is out of range; from `update`, there is no branch, branches are others than before, or
            a branch's masks name or shape other tensors.

    Reference:
        You et al., Early-Bird GCNs, AAAI 2022.

    >>> import torch
    >>> bird = JointEarlyBird(window=2, threshold=0.3)
    >>> still = Masks({"w": torch.tensor([1, 0])})
    >>> masks = [Masks({"e": torch.tensor(kept)}) for kept in ([1, 1, 0, 0], [0, 0, 1, 1], [0, 1, 1, 1])]
    >>> [bird.update({"graph": mask, "network": still}) for mask in masks]
    [False, False, True]
    >>> bird.distances
    {'graph': 0.25, 'network': 0.0}
    """

    reference = "You et al., Early-Bird GCNs, AAAI 2022"

    def __init__(self, window: int = 3, threshold: float = 0.1) -> None:
        EarlyBird(window, threshold)
        self.window, self.threshold = window, threshold
        self.distances: dict[str, float] = {}
        self.distance = math.inf
        self._birds: dict[str, EarlyBird] = {}
        self._first: dict[str, float] = {}

    def update(self, branches: Mapping[str, Mapping[str, Tensor]]) -> bool:
        """Take the newest masks of every branch; whether to stop."""
        self._birds = self._birds or {name: EarlyBird(self.window, self.threshold) for name in branches}
        if not branches or branches.keys() != self._birds.keys():
            raise ValueError(f"found the branches {sorted(branches)}; expected the same ones, at least one, every time")
        for name, masks in branches.items():
            self._birds[name].update(masks)
            moved = self._birds[name].distance
            if 0 < moved < math.inf:
                self._first.setdefault(name, moved)
            self.distances[name] = moved / self._first.get(name, 1.0)
        self.distance = sum(self.distances.values()) / len(self.distances)
        return self.distance < self.threshold


class KLStop:
    r"""Stop when the output distribution no longer moves.

    $KL(p \| q) = \sum_c p_c \log(p_c / q_c)$ in nats, averaged over rows, where $q$ is the newest distribution and $p$
    the one of the call before, or a fixed teacher's. Both come as logits on the same held-out inputs, never test ones.

    Args:
        threshold: in nats, at least 0.
        patience: consecutive calls below the threshold before it stops.
        teacher: logits (..., classes) to compare with, such as the dense model's; absent, the call before.

    Attributes:
        divergence: the last one measured; infinite before there is any.

    Raises:
        ValueError: an argument is out of range; from `update`, shapes differ, or there is no second class.

    Reference:
        Kullback and Leibler, On Information and Sufficiency, Annals of Mathematical Statistics 1951.

    >>> import torch
    >>> stop = KLStop(threshold=0.01)
    >>> [stop.update(torch.tensor([[0.0, x]])) for x in (0.0, 3.0, 3.01)]
    [False, False, True]
    """

    reference = "Kullback and Leibler, On Information and Sufficiency, Annals of Mathematical Statistics 1951"

    def __init__(self, threshold: float, patience: int = 1, *, teacher: Tensor | None = None) -> None:
        if threshold < 0 or patience < 1:
            raise ValueError(f"threshold must be at least 0 and patience at least 1; found {threshold} and {patience}.")
        self.threshold, self.patience = threshold, patience
        self.divergence = math.inf
        self._below = 0
        self._fixed = teacher is not None
        self._previous = None if teacher is None else teacher.detach().clone()

    def update(self, logits: Tensor) -> bool:
        """Take the newest logits (..., classes); whether to stop."""
        if logits.dim() == 0 or logits.size(-1) < 2:
            raise ValueError(
                f"logits have shape {tuple(logits.shape)}; the last dimension must hold two classes or more. For one "
                "logit x a row pass torch.stack([zeros, x], -1)."
            )
        logits, previous = logits.detach().clone(), self._previous
        if not self._fixed:
            self._previous = logits
        if previous is None:
            return False
        if previous.shape != logits.shape:
            raise ValueError(f"logits have shape {tuple(logits.shape)}, those to compare with {tuple(previous.shape)}")
        old = functional.log_softmax(previous.to(logits), -1)
        new = functional.log_softmax(logits, -1)
        terms = functional.kl_div(new, old, log_target=True, reduction="none").sum(-1)
        self.divergence = float(terms.mean())
        self._below = self._below + 1 if self.divergence < self.threshold else 0
        return self._below >= self.patience
