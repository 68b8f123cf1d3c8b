"""What the seeds say together: estimates of every rung, which rungs win, and a verdict in a sentence or two.

The result of a rung, as `done.json` has it, is a mapping with

    seed, method, round      `"dense"` is the method of the dense network
    weights                  `{"total": ..., "kept": ...}`
    by_layer                 name to `[kept, total]`
    quality                  label to score; the first label is the main score, of which less is better
    controls                 `"random"` and `"reinit"`, where they were trained, to scores as in `quality`
    seconds, cpu_seconds     of the rung
    about                    how it was judged: `samples`, `scheduler`, `steps`, `averaged`, `against`,
                             `extractor_sha256`, `warnings`
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from common.runs import words
from common.runs.stats import Estimate, estimate, is_winning
from gen_tickets._levels import Level, Summary

__all__ = ["Level", "Summary", "summarise", "verdict"]

Result = Mapping[str, Any]
_SAME = ("samples", "scheduler", "steps", "against", "extractor_sha256")


def summarise(results: Sequence[Result]) -> Summary:
    """Bring the rungs of all seeds together.

    A seed that diverged, whose score is NaN, is not dropped: mean and interval are NaN as well, and nothing wins. What
    not all seeds have finished is left out and counted in `missing`.

    Args:
        results: one a rung of a seed, as described at the top of this module, in any order; methods stay in the order
            in which they come. Empty ones are left out.

    Raises:
        ValueError: a seed has no dense network or one rung twice, or rungs were judged in different ways.

    >>> def rung(seed, method, round, kept, score):
    ...     about = {"samples": 64, "against": "digits/test", "warnings": []}
    ...     return {"seed": seed, "method": method, "round": round, "weights": {"total": 10, "kept": kept},
    ...             "by_layer": {"w": [kept, 10]}, "quality": {"FD[x]": score}, "controls": {}, "about": about,
    ...             "seconds": 1.0, "cpu_seconds": 1.0}
    >>> found = summarise([rung(0, "dense", 0, 10, 3.0), rung(0, "global", 1, 5, 2.5), rung(0, "global", 2, 2, 8.0)])
    >>> found.best.density, found.winning
    (0.5, False)
    """
    results = [result for result in results if result]
    table = _table(results)
    seeds = tuple(sorted({seed for seed, _, _ in table}))
    quality = {name: one["ticket"] for name, one in _quality(_dense(table, seeds)).items()}
    label = _judged_alike(results)
    rungs = dict.fromkeys((method, number) for _, method, number in table if method != "dense")
    methods: dict[str, list[Level]] = {method: [] for method, _ in rungs}
    for method, number in rungs:
        found = [table[seed, method, number] for seed in seeds if (seed, method, number) in table]
        if len(found) == len(seeds):
            methods[method].append(_level(found, quality[label]))
    return Summary(
        label=label,
        seeds=seeds,
        quality=quality,
        methods={
            name: tuple(sorted(levels, key=lambda one: (-one.density, one.round))) for name, levels in methods.items()
        },
        missing=len(seeds) * (len(rungs) + 1) - len(table),
        about=results[0]["about"],
        warnings=tuple(dict.fromkeys(text for result in results for text in result["about"].get("warnings", ()))),
        seconds=math.fsum(result["seconds"] for result in results),
        cpu_seconds=math.fsum(result["cpu_seconds"] for result in results),
    )


def _table(results: Sequence[Result]) -> dict[tuple[int, str, int], Result]:
    table: dict[tuple[int, str, int], Result] = {}
    for result in results:
        key = (int(result["seed"]), str(result["method"]), int(result["round"]))
        if key in table:
            raise ValueError(f"found round {key[2]} of {key[1]}, seed {key[0]}, twice; expected it once")
        table[key] = result
    return table


def _dense(table: Mapping[tuple[int, str, int], Result], seeds: Sequence[int]) -> list[Result]:
    missing = [seed for seed in seeds if (seed, "dense", 0) not in table]
    if missing or not seeds:
        raise ValueError(
            f"found no dense network of {f'seeds {missing}' if missing else 'any seed'}; expected one a seed. The "
            "command that started the run trains what is missing."
        )
    return [table[seed, "dense", 0] for seed in seeds]


def _judged_alike(results: Sequence[Result]) -> str:
    """The one main label; refuses scores that do not compare."""
    ways = {"main score": [next(iter(result["quality"])) for result in results]}
    ways |= {name: [result["about"].get(name) for result in results] for name in _SAME}
    for name, found in ways.items():
        if len(kinds := list(dict.fromkeys(found))) > 1:
            raise ValueError(
                f"found rungs with {name} {' and '.join(map(str, kinds))}; expected one. Scores that were taken in "
                "different ways do not compare; start over (--fresh)."
            )
    return str(ways["main score"][0])


def _quality(results: Sequence[Result]) -> dict[str, dict[str, Estimate]]:
    """Label to name to estimate, of the labels and names that all results have."""
    rows = [{"ticket": result["quality"], **result.get("controls", {})} for result in results]
    return {
        label: {
            name: estimate(row[name][label] for row in rows)
            for name in rows[0]
            if all(label in row.get(name, ()) for row in rows)
        }
        for label in rows[0]["ticket"]
        if all(label in row["ticket"] for row in rows)
    }


def _level(results: Sequence[Result], dense: Estimate) -> Level:
    first, quality = results[0], _quality(results)
    scores = next(iter(quality.values()))
    shares = [{name: kept / total if total else 1.0 for name, (kept, total) in r["by_layer"].items()} for r in results]
    if len(totals := {result["weights"]["total"] for result in results}) > 1:
        raise ValueError(f"found networks of {' and '.join(map(str, sorted(totals)))} weights; expected one size")
    return Level(
        method=first["method"],
        round=first["round"],
        kept=tuple(result["weights"]["kept"] for result in results),
        total=first["weights"]["total"],
        quality=quality,
        layers={name: math.fsum(one[name] for one in shares) / len(shares) for name in shares[0]},
        winners=tuple(name for name, one in scores.items() if _matches(one, dense)),
    )


def _matches(found: Estimate, dense: Estimate) -> bool:
    finite = math.isfinite(found.mean) and math.isfinite(dense.mean)
    return finite and is_winning(found, dense, higher_is_better=False)


def verdict(summary: Summary) -> str:
    """One to three sentences: whether there is a winning ticket, and what puts that into proportion.

    Of one method the last rung is judged, as `glt find` does it; of several, the sparsest that wins is named.

    >>> def rung(method, round, kept, score):
    ...     return {"seed": 0, "method": method, "round": round, "weights": {"total": 10, "kept": kept},
    ...             "by_layer": {}, "quality": {"FD[x]": score}, "about": {}, "seconds": 1.0, "cpu_seconds": 1.0}
    >>> verdict(summarise([rung("dense", 0, 10, 3.0), rung("global", 1, 5, 2.5)]))
    'A winning ticket: 50.0% of weights (5 of 10) reach FD[x] 2.50, less is better (dense 3.00).'
    """
    if not math.isfinite(summary.dense.mean):
        return f"The dense network {_diverged(summary.dense)}, so that no ticket can be judged."
    if not summary.levels:
        return f"Nothing can be said yet: no rung is finished for {_every(len(summary.seeds))}."
    return _of_one(summary) if len(summary.methods) == 1 else _of_several(summary)


def _of_one(summary: Summary) -> str:
    final, best = summary.levels[-1], summary.best
    text = words.verdict(
        _kept(final),
        _score(summary.label, final.scores["ticket"]),
        _compared(summary, final),
        winning=final.winning,
        random_wins="random" in final.winners,
        sparsest=None if best is None else f"round {best.round}: {_kept(best)}",
    )
    if best is None:
        text += " No rung wins." if len(summary.levels) > 1 else ""
    return text + _initial_weights(final)


def _of_several(summary: Summary) -> str:
    best = summary.best
    names = f"{', '.join(list(summary.methods)[:-1])} and {list(summary.methods)[-1]}"
    if best is None:
        near = min(summary.levels, key=_mean)
        nearest = f"the nearest is {near.method}, {_kept(near)}, with {words.number(_mean(near))}"
        return (
            f"Not a winning ticket: no rung of {names} matches {summary.label} {words.number(summary.dense.mean)} of "
            f"the dense network, less is better; {nearest if math.isfinite(_mean(near)) else 'all diverged'}."
        )
    text = words.verdict(
        f"{best.method}, {_kept(best)},",
        _score(summary.label, best.scores["ticket"]),
        _compared(summary, best),
        winning=True,
        random_wins="random" in best.winners,
    )
    others = {name: level for name, level in summary.sparsest.items() if name != best.method}
    shares = ", ".join(f"{name} {words.share(level.density) if level else 'none'}" for name, level in others.items())
    return f"{text} None sparser wins; the sparsest winners of the others: {shares}.{_initial_weights(best)}"


def _kept(level: Level) -> str:
    return f"{words.share(level.density)} of weights ({level.counted})"


def _score(label: str, found: Estimate) -> str:
    if not math.isfinite(found.mean):
        return f"no {label}: it {_diverged(found)}"
    return f"{label} {words.number(found.mean)}, less is better"


def _compared(summary: Summary, level: Level) -> dict[str, str]:
    found = {"dense": summary.dense, **level.scores}
    return {name: words.number(one.mean) for name, one in found.items() if name != "ticket"}


def _initial_weights(level: Level) -> str:
    if level.winning and "reinit" in level.winners and "random" not in level.winners:
        return " Re-initialised tickets win as well: it is the mask that counts, not the initial weights."
    return ""


def _mean(level: Level) -> float:
    mean = level.scores["ticket"].mean
    return mean if math.isfinite(mean) else math.inf


def _diverged(found: Estimate) -> str:
    many = sum(not math.isfinite(value) for value in found.values)
    return f"diverged for {many} of {words.plural(len(found.values), 'seed')}"


def _every(seeds: int) -> str:
    return "the seed" if seeds == 1 else f"all {seeds} seeds"
