"""UGS on Cora, rung by rung, beside the figures measured with a port of the released code.

    GLT_DATA=... glt find cora --symmetric false --seeds 5 --name cora-ugs
    python benchmarks/cora_ladder.py runs/cora-ugs --svg docs/images/cora-ugs.svg > benchmarks/results/cora_ugs.jsonl

Reads a finished run and prints one JSON object a rung: exact counts, accuracies in per cent with their 95 % interval,
the reference's single-seed figure where there is one, and whether it lies within the interval of the mean and within
the wider interval for one more seed (t * s * sqrt(1 + 1/n)).
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

from common.runs.store import Run
from glt.config import Find
from glt.report import curve
from glt.summary import Level, summarise

# Test accuracy of one seed (2377) in rounds of 5 % of the edges and 20 % of the weights.
REFERENCE = {
    1: 81.2, 2: 80.0, 3: 80.6, 4: 80.8, 5: 79.8, 6: 78.5, 7: 79.1, 8: 78.8, 9: 78.7, 10: 74.3, 12: 74.4, 14: 73.5,
    16: 71.3,
}  # fmt: skip


def row(level: Level) -> dict[str, object]:
    """One rung as plain data."""
    accuracy = {
        name: {"mean": round(100 * e.mean, 2), "ci95": e.ci95 and round(100 * e.ci95, 2), "n": e.n}
        for name, e in level.accuracy.items()
    }
    result: dict[str, object] = {"round": level.number, **level.counts, "accuracy": accuracy, "winning": level.winning}
    if level.number in REFERENCE and level.accuracy["ticket"].ci95 is not None:
        ticket, reference = level.accuracy["ticket"], REFERENCE[level.number]
        gap = 100 * ticket.mean - reference
        result["reference"] = reference
        result["within_ci95_of_mean"] = abs(gap) <= 100 * (ticket.ci95 or 0)
        result["within_interval_for_one_seed"] = abs(gap) <= 100 * (ticket.ci95 or 0) * math.sqrt(ticket.n + 1)
    return result


def main() -> None:
    """Print the rows, and draw the curve if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--svg", type=Path)
    words = parser.parse_args()
    store = Run(words.run)
    config = Find(rounds=store.config["rounds"], seeds=store.config["seeds"], first_seed=store.config["first_seed"])
    summary = summarise(config, store)
    for level in summary.rungs:
        print(json.dumps(row(level)))
    if words.svg:
        words.svg.parent.mkdir(parents=True, exist_ok=True)
        words.svg.write_text(curve(summary), encoding="utf-8")


if __name__ == "__main__":
    main()
