"""What the seeds say together: estimates a rung, which rungs win, one sentence of verdict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from common.runs import words
from common.runs.stats import Estimate, estimate, is_winning
from common.runs.store import Run
from glt.config import Find
from glt.seeds import key, rungs
from glt.task_settings import metric_of

__all__ = ["Level", "Summary", "kept_of", "level_of", "summarise", "verdict"]


@dataclass(frozen=True)
class Level:
    """A rung over all seeds: counts; accuracy (or what a task measures) on the test of `dense`, `ticket`, `random` and
    `reinit`; layers."""

    number: int
    counts: dict[str, dict[str, float]]
    accuracy: dict[str, Estimate]
    layers: dict[str, float]
    winning: bool


@dataclass(frozen=True)
class Summary:
    """All rungs after the dense one, the dense accuracy, and the seed whose ticket is kept."""

    dense: Estimate
    rungs: list[Level]
    chosen_seed: int
    verdict: str


def summarise(config: Find, store: Run) -> Summary:
    """Read a finished run's rungs. The kept ticket is that of the seed with the best metric in validation."""
    seeds = range(config.first_seed, config.first_seed + config.seeds)
    wanted = rungs(config)
    results = {(s, k): store.done(key(s, k)) or {} for s in seeds for k in (0, *wanted)}
    dense = estimate(results[s, 0]["accuracy"]["test"] for s in seeds)
    levels = [level_of([results[s, k] for s in seeds], dense) for k in wanted]
    chosen = max(seeds, key=lambda s: (results[s, wanted[-1]]["accuracy"]["val"], -s))
    return Summary(dense, levels, chosen, verdict(levels[-1], levels, metric=metric_of(config.task)))


def level_of(results: list[dict[str, Any]], dense: Estimate) -> Level:
    """A rung over all seeds.

    Args:
        results: what `done.json` says of it, one a seed.
        dense: the dense network over the same seeds.
    """
    first = results[0]
    counts = {
        group: {**count, "density": count["kept"] / count["total"] if count["total"] else 1.0}
        for group, count in first["counts"].items()
    }
    accuracy = {"dense": dense, "ticket": estimate(r["accuracy"]["test"] for r in results)}
    for name in first["controls"]:
        accuracy[name] = estimate(r["controls"][name]["test"] for r in results)
    layers = {n: sum(r["densities"][n] for r in results) / len(results) for n in first["densities"]}
    return Level(first["round"], counts, accuracy, layers, is_winning(accuracy["ticket"], dense))


def verdict(level: Level, rungs: list[Level] | None = None, *, metric: str = "accuracy") -> str:
    """One or two sentences: does the last rung win, and if not, which is the sparsest that does.

    Args:
        level: the rung.
        rungs: all of them.
        metric: what `Level.accuracy` is, as in "accuracy" or "AUC".
    """
    numbers = level.accuracy
    winners = [rung for rung in rungs or [] if rung.winning]
    return words.verdict(
        kept_of(level),
        f"{numbers['ticket'].mean:.1%} test {metric}",
        {name: f"{numbers[name].mean:.1%}" for name in ("dense", "random", "reinit") if name in numbers},
        winning=level.winning,
        random_wins="random" in numbers and is_winning(numbers["random"], numbers["dense"]),
        sparsest=f"round {winners[-1].number}: {kept_of(winners[-1])}" if winners else None,
    )


def kept_of(level: Level) -> str:
    """What a rung keeps of edges and weights, in shares and numbers."""
    return " and ".join(
        f"{count['density']:.1%} of {group} ({count['kept']:,} of {count['total']:,})"
        for group, count in level.counts.items()
    )
