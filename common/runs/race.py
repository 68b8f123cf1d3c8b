"""Engines side by side: one process, turn by turn, medians with their spread."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["race", "verdict"]


def race(engines: Mapping[str, Callable[[], object]], repeats: int, *, warmup: int = 1) -> dict[str, dict[str, float]]:
    """Seconds of every engine, all of them run in turn, so that a busy machine slows all alike.

    Args:
        engines: name to what is timed.
        repeats: rounds that count.
        warmup: rounds before them.

    Returns:
        Name to `seconds` (the median), `seconds_min` and `seconds_max`.

    >>> sorted(race({"a": lambda: None, "b": lambda: None}, 3)["a"])
    ['seconds', 'seconds_max', 'seconds_min']
    """
    found: dict[str, list[float]] = {name: [] for name in engines}
    for repeat in range(warmup + repeats):
        for name, engine in engines.items():
            begin = time.perf_counter()
            engine()
            if repeat >= warmup:
                found[name].append(time.perf_counter() - begin)
    return {
        name: {"seconds": statistics.median(times), "seconds_min": min(times), "seconds_max": max(times)}
        for name, times in found.items()
    }


def verdict(engines: Mapping[str, Mapping[str, float]], ticket: str, dense: Mapping[str, bool]) -> dict[str, Any]:
    """The ratio of a ticket's engine to the best dense one.

    Args:
        engines: what `race` returned.
        ticket: the engine that is judged.
        dense: the dense engines, and whether each computes in float32.

    >>> times = {"eager": {"seconds": 3.0}, "bfloat16": {"seconds": 2.0}, "sparse": {"seconds": 1.0}}
    >>> verdict(times, "sparse", {"eager": True, "bfloat16": False})["speedup"]
    2.0
    """

    def quickest(names: list[str]) -> str:
        return min(names, key=lambda name: engines[name]["seconds"])

    full, any_precision = quickest([name for name, exact in dense.items() if exact]), quickest(list(dense))
    return {
        "best_dense_fp32": full,
        "best_dense": any_precision,
        "speedup_fp32": engines[full]["seconds"] / engines[ticket]["seconds"],
        "speedup": engines[any_precision]["seconds"] / engines[ticket]["seconds"],
    }
