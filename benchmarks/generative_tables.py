"""The rows of the benchmarks of generative tickets as tables in markdown.

    python benchmarks/generative_tables.py                    # all results that are there
    python benchmarks/generative_tables.py --table vae

Means over seeds with 95 % intervals. A ticket wins where its mean is no worse than dense by more than one standard
deviation of dense over seeds (`common.runs.stats.is_winning`) and both controls at its density are worse than that;
without controls it is said to match. Fewer than three seeds get no verdict.
Prints markdown; rows of other settings than the last one's are left out, and said so.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from math import floor, log10
from pathlib import Path
from typing import Any

from common.runs.files import read_lines
from common.runs.stats import Estimate, estimate, is_winning

Row = Mapping[str, Any]
RESULTS = Path(__file__).parent / "results"
FILES = ("autoencoder_tickets", "strong_tickets", "gan_tickets", "early_bird")
FD = "FD[mnist-cnn]"
MAIN = {"autoencoder": "reconstruction", "vae": "loss", "halves": "loss"}  # FD of the others
SHOWN = {"autoencoder": ("reconstruction",), "vae": ("loss", FD), "halves": ("loss", FD)}
SHARED = {"halves": "vae"}  # whose dense networks these are
FEWEST = 3  # seeds of a verdict
CONTROLS = ("random", "reinit")
ORDER = ("dense", "ticket", "early-bird", "encoder", "decoder", "random", "reinit")


def groups(rows: Iterable[Row]) -> dict[tuple[str, float], list[Row]]:
    """Rows by method and density, dense first, then from dense to sparse."""
    found: dict[tuple[str, float], list[Row]] = {}
    for row in sorted(rows, key=lambda row: (-row["density"], ORDER.index(row["method"]), row["seed"])):
        found.setdefault((row["method"], row["density"]), []).append(row)
    return found


def scored(rows: Iterable[Row], score: str) -> Estimate:
    """A score over seeds."""
    return estimate(row["scores"][score] for row in rows)


def verdict(method: str, found: Mapping[str, Estimate], dense: Estimate) -> str:
    """What the last column says of a method, given the main scores of all methods at its density."""
    if method == "dense":
        return ""
    if min(found[method].n, dense.n) < FEWEST:
        return "too few seeds"
    matching = {name: is_winning(score, dense, higher_is_better=False) for name, score in found.items()}
    beside = [matching[name] for name in CONTROLS if name in matching]
    if matching[method]:
        return "wins" if method not in CONTROLS and beside and not any(beside) else "matches"
    return "worse"


def table(name: str, rows: Sequence[Row], dense: Sequence[Row]) -> list[str]:
    """A table's lines: a line a method and density, the scores, CPU seconds, and how it compares with dense."""
    found = groups([*dense, *rows])
    main, shown = MAIN.get(name, FD), SHOWN.get(name, (FD, "precision[mnist-cnn]", "recall[mnist-cnn]"))
    goal = scored(dense, main) if dense else None
    heads = ["method", "kept", *shown, "seeds", "CPU s a training", "against dense"]
    lines = [f"| {' | '.join(heads)} |", "| " + " | ".join("---" for _ in heads) + " |"]
    for (method, density), some in found.items():
        scores = [_cell(scored(some, score)) for score in shown]
        seconds = estimate(spent(row) for row in some).mean
        rivals = {other: scored(part, main) for (other, share), part in found.items() if share == density}
        words = "" if goal is None else verdict(method, rivals, goal)
        cells = [method, f"{density:.1%}", *scores, str(len(some)), f"{seconds:.0f}", words]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def savings(rows: Sequence[Row]) -> list[str]:
    """What early birds cost against dense training, seed by seed: of a whole training, and of an epoch after."""
    heads = (
        "seed",
        "emerged after epoch",
        "weights",
        "FLOPs",
        "CPU s",
        "FLOPs saved",
        "time saved",
        "an epoch later on",
    )
    lines = [f"| {' | '.join(heads)} |", "| --- " * len(heads) + "|"]
    by_seed: dict[int, dict[str, Row]] = {}
    for row in rows:
        by_seed.setdefault(row["seed"], {})[row["method"]] = row
    for seed, pair in sorted(by_seed.items()):
        dense, bird = pair["dense"], pair["early-bird"]
        work, time = [cost(row, dense) for row in (dense, bird)], [spent(row) for row in (dense, bird)]
        emerged = "did not" if bird["emerged"] is None else str(bird["emerged"])
        step, epoch = (1 - bird[name] / dense[name] for name in ("flops_a_step", "seconds_after"))
        cells = [
            str(seed), emerged, f"{dense['weights']:,} to {bird['weights']:,}", f"{work[0]:.3g} to {work[1]:.3g}",
            f"{time[0]:.0f} to {time[1]:.0f}", f"{1 - work[1] / work[0]:.0%}", f"{1 - time[1] / time[0]:.0%}",
            f"{step:.0%} of FLOPs, {epoch:.0%} of time",
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def cost(row: Row, dense: Row) -> float:
    """FLOPs of a whole training: dense epochs until a ticket emerged, then its own."""
    how = row["settings"]
    after = how["epochs"] - row["common_epochs"]
    return float(how["epoch"] * (row["common_epochs"] * dense["flops_a_step"] + after * row["flops_a_step"]))


def spent(row: Row) -> float:
    """CPU seconds of a whole training; with the scores or, of an early bird, the drawing of masks and the cutting."""
    if "seconds_common" not in row:
        return float(row["cpu_seconds"])
    return float(row["seconds_common"] + row["seconds_after"] + row["seconds_cutting"])


def _cell(found: Estimate) -> str:
    """With three digits of the mean, and as many places of the interval."""
    return f"{found:.{max(0, 2 - floor(log10(abs(found.mean) or 1)))}f}".partition(" (")[0]


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--table")
    words = parser.parse_args()
    rows = [row for name in FILES for row in read_lines(words.results / f"{name}.jsonl")]
    for name in dict.fromkeys(row["table"] for row in rows):
        if words.table not in (None, name):
            continue
        own = [row for row in rows if row["table"] == name]
        same = [row for row in own if row["settings"] == own[-1]["settings"]]
        if len(same) < len(own):
            print(f"{len(own) - len(same)} rows of {name} have other settings and are left out\n")
        dense = [row for row in rows if row["table"] == SHARED.get(name, name) and row["method"] == "dense"]
        others = [row for row in same if row["method"] != "dense"]
        print("\n".join([f"### {name}", "", *table(name, others, dense), ""]))
        if name == "early-bird":
            print("\n".join([*savings(same), ""]))


if __name__ == "__main__":
    main()
