"""Rewinding: which weights a pruned model goes back to and where its training resumes, and how a state is kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from common._ties import follow, ties

__all__ = ["Rewind", "restore", "snapshot"]

_INITIAL = "Frankle and Carbin, The Lottery Ticket Hypothesis: Finding Sparse, Trainable Neural Networks, ICLR 2019"
_STEP_K = "Frankle et al., Linear Mode Connectivity and the Lottery Ticket Hypothesis, ICML 2020"
_RETRAIN = "Renda et al., Comparing Rewinding and Fine-tuning in Neural Network Pruning, ICLR 2020"


@dataclass(frozen=True)
class Rewind:
    """Which weights a pruned model goes back to, and at which step its training resumes.

    Args:
        weights: the step of dense training whose weights are restored; None keeps the trained ones.
        start: the step at which training resumes, which is where a schedule of the learning rate is; a negative one
            counts from the end, as an index does.

    Raises:
        ValueError: a negative step of weights.

    >>> Rewind.step(100), Rewind.fine_tune(20)
    (Rewind(weights=100, start=100), Rewind(weights=None, start=-20))
    """

    weights: int | None
    start: int

    def __post_init__(self) -> None:
        if self.weights is not None and self.weights < 0:
            raise ValueError(
                f"Rewind.weights is {self.weights}; expected a step from 0 on, or None to keep the weights"
            )

    @classmethod
    def initial(cls) -> Rewind:
        """To the weights at initialisation (Frankle and Carbin, ICLR 2019)."""
        return cls(0, 0)

    @classmethod
    def step(cls, k: int) -> Rewind:
        """To the weights after k steps of dense training, resuming there (Frankle et al., ICML 2020)."""
        return cls(k, k)

    @classmethod
    def learning_rate(cls, start: int = 0) -> Rewind:
        """Keep the weights and rewind only the schedule, to a step (Renda et al., ICLR 2020)."""
        return cls(None, start)

    @classmethod
    def fine_tune(cls, steps: int) -> Rewind:
        """Keep the weights and repeat the last steps of the schedule (Renda et al., ICLR 2020)."""
        return cls(None, -steps)

    def resume(self, steps: int) -> int:
        """The step at which training of this many steps resumes.

        Raises:
            ValueError: there would be nothing left to train.

        >>> Rewind.fine_tune(20).resume(100)
        80
        """
        start = self.start + steps if self.start < 0 else self.start
        if not 0 <= start < steps or (self.weights or 0) >= steps:
            raise ValueError(f"{self} does not fit a training of {steps} steps; expected steps within [0, {steps})")
        return start

    @property
    def reference(self) -> str:
        """The paper that introduced this way of rewinding."""
        return _RETRAIN if self.weights is None else _STEP_K if self.weights else _INITIAL


def snapshot(model: nn.Module) -> dict[str, Tensor]:
    """A copy of every tensor of a model's state_dict, buffers included; names of one tensor share one copy.

    >>> sorted(snapshot(nn.Linear(1, 1)))
    ['bias', 'weight']
    """
    state = {name: value.detach() for name, value in model.state_dict().items() if isinstance(value, Tensor)}
    return follow({name: value.clone() for name, value in state.items()}, ties(state))


def restore(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Put a snapshot back in place; parameters stay the same objects.

    >>> model = nn.Linear(1, 1)
    >>> restore(model, {"bias": model.bias.detach() * 0 + 2})
    >>> model.bias.tolist()
    [2.0]
    """
    state = model.state_dict()
    state.update(weights)
    model.load_state_dict(state)
