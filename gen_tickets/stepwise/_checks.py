"""What `gen-tickets schedule` refuses at once."""

from __future__ import annotations

from common.runs.errors import UsageError
from common.runs.ranges import POSITIVE, Range, at_least, check_ranges
from gen_tickets import extractors
from gen_tickets._config_schedule import Schedule
from gen_tickets.draw import Sampler
from gen_tickets.engines import ENGINES
from gen_tickets.quality import FEWEST
from gen_tickets.stepwise._nsga import load_optuna

__all__ = ["check"]

_LEAST = {"batch": 1, "threads": 1, "intervals": 1, "noises": 2, "looks": 1, "finalists": 1, "seeds": 1, "refine": 0,
          "tune": 0, "joint": 0, "samples": FEWEST}  # fmt: skip
_RANGES: dict[str, Range] = {
    **{name: at_least(least) for name, least in _LEAST.items()},
    "lr": POSITIVE,
    "first_seed": (lambda v: v >= 1, "must be at least 1, as the search draws from seed 0"),
    "budget": (lambda v: 0 < v <= 1, "is a share of the dense network's cost, in (0, 1]"),
}


def check(config: Schedule) -> None:
    """Raise a UsageError where a setting is out of its range, before anything is read or measured."""
    if not config.tickets:
        raise UsageError("name tickets, or the run that they are of, as in: gen-tickets schedule runs/0123456789ab")
    check_ranges(config, _RANGES)
    if 1 not in config.paces or min(config.paces) < 1:
        raise UsageError(f"--paces are whole numbers from 1 on, 1 among them; found {config.paces}")
    if config.engine not in ENGINES:
        raise UsageError(f"--engine is one of {', '.join(ENGINES)}; found {config.engine!r}")
    if config.tune and config.joint:
        raise UsageError("--tune trains every ticket alone and --joint all with shared weights; leave one of them out")
    if config.weights and config.extractor != extractors.INCEPTION:
        raise UsageError("--weights names the file of Inception-v3; add --extractor inception, or leave it out")
    Sampler(config.scheduler, config.steps).solver()
    if config.refine:
        load_optuna()
