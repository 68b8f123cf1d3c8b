"""`gen-tickets compare`: several methods at the same densities and seeds, from the same dense networks."""

from __future__ import annotations

from typing import Any

from common.runs.errors import UsageError
from common.runs.progress import Console
from common.runs.session import peak_mb
from common.ticket import Ticket
from gen_tickets.config import Compare
from gen_tickets.find import Finished, about, search
from gen_tickets.report import write_comparison
from gen_tickets.rounds import round_key
from gen_tickets.summary import Level, verdict

__all__ = ["run"]

_USUAL = {"ddpm": ["by-depth", "global", "uniform", "one-shot"], "gfmn": ["strong", "global", "static"]}


def run(config: Compare, console: Console) -> dict[str, Any]:
    """Compare methods; the first one has random and re-initialised controls.

    Returns:
        `report` (path), `family`, `dataset`, `methods` (name to a list of rounds with `density`, `weights`, `quality`,
        `winning`), `dense`, `name` of the score, `best` (method, density and ticket of the sparsest winning round, or
        null), `seconds`, `peak_rss_mb`.

    Raises:
        UsageError: a method is unknown, or none for this family; and whatever `gen_tickets.find.run` raises.
    """
    methods = config.methods or _USUAL.get(config.family, ["global", "uniform", "one-shot"])
    if len(set(methods)) < len(methods):
        raise UsageError(f"--methods names one twice; found {', '.join(methods)}")
    with search(config, methods, console) as done:
        summary = done.summary
        references = [one for name in methods for one in _references(done, name)]
        report = write_comparison(done.store, summary, about(done, "compare", list(dict.fromkeys(references))))
        console.line(verdict(summary))
        console.line(f"report: {report}")
        best = summary.best
        return {
            "report": str(report),
            "family": config.family,
            "dataset": done.images.name,
            "name": summary.label,
            "dense": summary.dense.numbers(),
            "methods": {name: [_row(level) for level in levels] for name, levels in summary.methods.items()},
            "best": None if best is None else {"method": best.method, **_row(best), "ticket": _folder(done, best)},
            "seconds": round(done.seconds, 3),
            "peak_rss_mb": round(peak_mb(done.store), 1),
        }


def _row(level: Level) -> dict[str, Any]:
    scores = {name: estimate.numbers() for name, estimate in level.scores.items()}
    return {"round": level.round, "density": level.density, "quality": scores, "winning": level.winning}


def _folder(done: Finished, level: Level) -> str:
    key = round_key(done.config.first_seed, level.method, level.round)
    return str(done.store.folder / "rounds" / key)


def _references(done: Finished, method: str) -> list[str]:
    levels = done.summary.methods.get(method, ())
    return list(Ticket.load(_folder(done, levels[-1])).references) if levels else []
