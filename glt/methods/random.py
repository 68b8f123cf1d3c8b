"""Random tickets on the same ladder: every live edge and weight has the same chance to stay.

The baseline of Chen et al. (ICML 2021). It draws weights as well as edges at random, which is what collapses at low
density; a fair reading of an edge criterion also needs random edges under good weights.
"""

from __future__ import annotations

from common.scores import Scorer, random
from common.ticket import Ticket
from glt.config import UGS, Training
from glt.tasks import NodeClassification

__all__ = ["scorer"]


def scorer(task: NodeClassification, ticket: Ticket, training: Training, ugs: UGS, seed: int) -> Scorer:
    """The engine's random scorer, seeded afresh for the round after `ticket`."""
    del task, training, ugs
    return random(seed * 1_000_003 + ticket.masks.kept)
