"""What `glt find` and `glt compare` share: settings bound to the data, the run folder, what is shown of a rung."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from common.runs.progress import Console
from common.runs.session import Watch, clock, remedy
from common.runs.store import Run
from glt.config import Experiment, Find
from glt.graph import Graph
from glt.methods import METHODS

__all__ = ["Bound", "bound", "identity", "opened", "opening", "seeds_of", "settings_of", "shown", "watched"]

_NOT_IDENTITY = ("out", "name", "fresh", "jobs", "json", "quiet", "data_root")


@dataclasses.dataclass(frozen=True)
class Bound(Find):
    """Settings and the very data they were opened with, as every rung's ticket carries them."""

    data: str = ""
    """`Graph.sha256` of the data set."""


def bound(config: Find, graph: Graph) -> Bound:
    """Settings with the data they are opened with."""
    values = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    return Bound(**values, data=graph.sha256)


def identity(config: Experiment, command: str = "find") -> dict[str, Any]:
    """What determines the result, and so names a run folder and is in a ticket's recipe.

    Within a run that is, beside the settings, `data`: the sha256 of the data set.
    """
    return {"command": command, **{n: value for n, value in settings_of(config).items() if n not in _NOT_IDENTITY}}


def settings_of(config: Experiment) -> dict[str, Any]:
    """All settings but those of methods that are not searched by.

    Those of ugs stay, since `ugs.exact_rng` also says how everything else is drawn.
    """
    searched = getattr(config, "methods", None) or [getattr(config, "method", "ugs")]
    unused = {name.replace("-", "_") for name in METHODS if name not in ("ugs", *searched)}
    return {name: value for name, value in dataclasses.asdict(config).items() if name not in unused}


def seeds_of(config: Experiment) -> range:
    """The seeds of a run.

    >>> list(seeds_of(Find(seeds=2, first_seed=5)))
    [5, 6]
    """
    return range(config.first_seed, config.first_seed + config.seeds)


@contextmanager
def opened(config: Experiment, known: Mapping[str, Any], graph: Graph) -> Iterator[Run]:
    """The run folder of some settings, ours inside the block; a damaged rung in it says what to delete.

    Args:
        config: filled.
        known: what determines the result, see `identity`.
        graph: the data.
    """
    facts = {"name": graph.name, "sha256": graph.sha256}
    root, seeds = Path(config.out), list(seeds_of(config))
    with Run.open(root, known, name=config.name, fresh=config.fresh, seeds=seeds, data=facts) as store:
        with remedy(store):
            yield store


@contextmanager
def watched(store: Run, total: int, console: Console) -> Iterator[Watch]:
    """Count the seconds of the block and show what is done of so many rungs."""
    with clock(store) as tick:
        yield Watch(store, total, console, tick, shown)


def opening(graph: Graph, store: Run, what: str) -> str:
    """The first line: the data, what is to be done, where, and how much of it is there already."""
    finished = len(store.finished())
    going_on = f", going on after {finished} finished rounds" if finished else ""
    return (
        f"{graph.name}: {graph.x.size(0)} nodes, {graph.edge_index.size(1)} directed edges; {what}; in "
        f"{store.folder}{going_on}"
    )


def shown(done: Mapping[str, Any]) -> dict[str, Any]:
    """What is shown of a finished rung, tensors of which nothing is left by name: behind them is nothing to know."""
    kept = {group: c["kept"] / c["total"] for group, c in done["counts"].items()}
    label = f"{done['label']} " if done.get("label") else ""
    gone = [name for name, density in done.get("densities", {}).items() if density == 0]
    return {
        "rung": f"{label}{done['round']} of seed {done['seed']}",
        "edges kept": f"{kept['edges']:.1%}",
        "weights kept": f"{kept['weights']:.1%}",
        **({"nothing left of": ", ".join(gone)} if gone else {}),
        "test": f"{done['accuracy']['test']:.1%}",
        **{name: f"{control['test']:.1%}" for name, control in done["controls"].items()},
    }
