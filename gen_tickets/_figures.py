"""The pictures of a report: the curve, and samples of networks one below the other, from the same noise."""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from common.runs.errors import RunFolderError
from common.runs.pictures import fitting, image_rows
from common.runs.plots import Rung, density_curve, layer_densities
from common.runs.report import Figure
from common.runs.store import Run
from common.runs.words import bars, share
from gen_tickets._judging import from_noise
from gen_tickets.summary import Level, Summary

__all__ = ["NAMES", "by_method", "by_round", "curve", "layers", "side_by_side", "thinned"]

NAMES = {"ticket": "ticket", "random": "random ticket", "reinit": "re-initialised ticket"}
_LOG_ABOVE = 20.0

Shown = npt.NDArray[np.uint8]


def curve(summary: Summary, rungs: Sequence[Rung], note: str = "") -> list[Figure]:
    """The main score against the density; nothing where there is no number to show."""
    found = [one for rung in rungs for one in rung.series.values()]
    if not any(math.isfinite(one.mean) for one in found):
        return []
    texts = [
        f"{summary.label} against the share of weights kept; less is better.",
        bars(len(summary.seeds)),
        note,
        "" if all(math.isfinite(one.mean) for one in found) else "Rungs in which a seed diverged are not drawn.",
    ]
    svg = density_curve(
        rungs, dense=summary.dense, metric=f"{summary.label}, less is better", percent=False, log_above=_LOG_ABOVE
    )
    return [Figure("Quality against density", " ".join(filter(None, texts)), svg)]


def side_by_side(store: Run, summary: Summary, level: Level, seed: int) -> list[Figure]:
    """Samples of the dense network, of a rung's ticket and of its controls."""
    rows = {"dense network": _shown(store, seed).get("ticket")}
    shown = _shown(store, seed, level)
    rows |= {f"{title}\n{share(level.density)} kept": shown.get(name) for name, title in NAMES.items()}
    return _samples("of dense network, ticket and controls", rows, summary, seed, lines=2)


def by_round(store: Run, summary: Summary, levels: Sequence[Level], seed: int) -> list[Figure]:
    """Samples of the ticket, round by round; nothing where there is but one round."""
    rows = {"round 0\ndense": _shown(store, seed).get("ticket")}
    rows |= {f"round {one.round}\n{share(one.density)} kept": _shown(store, seed, one).get("ticket") for one in levels}
    return _samples("of the ticket, round by round", rows, summary, seed, lines=1) if len(levels) > 1 else []


def by_method(store: Run, summary: Summary, levels: Sequence[Level], seed: int) -> list[Figure]:
    """Samples of one rung of every method, and of the controls that were trained with them."""
    rows = {"dense network": _shown(store, seed).get("ticket")}
    shown = [(level, _shown(store, seed, level)) for level in levels]
    rows |= {f"{level.method}\n{share(level.density)} kept": images.get("ticket") for level, images in shown}
    for level, images in shown:
        rows |= {f"{NAMES[name]}\nof {level.method}": images[name] for name in ("random", "reinit") if name in images}
    return _samples("of the methods", rows, summary, seed, lines=1)


def layers(columns: Mapping[str, Level], what: str, seeds: int) -> list[Figure]:
    """The share that every tensor keeps, by rounds or by methods; nothing where tensors are not told apart."""
    densities = {name: level.layers for name, level in columns.items() if level.layers}
    over = f", mean over {seeds} seeds" if seeds > 1 else ""
    text = f"Per cent of entries kept, by tensor and {what}{over}."
    return [Figure("What every tensor keeps", text, layer_densities(densities, columns=what))] if densities else []


def thinned(levels: Sequence[Level], most: int) -> list[Level]:
    """At most so many rungs, evenly chosen, the first and the last among them."""
    if len(levels) <= most:
        return list(levels)
    return [levels[round(i * (len(levels) - 1) / (most - 1))] for i in range(most)]


def _samples(title: str, rows: Mapping[str, Shown | None], summary: Summary, seed: int, *, lines: int) -> list[Figure]:
    """One picture of the rows that there are; nothing if the dense network is alone."""
    kept = {label: images for label, images in rows.items() if images is not None and len(images)}
    if len(kept) < 2:
        return []
    _, height, width, _ = next(iter(kept.values())).shape
    across = fitting(height, width)
    drawn = from_noise(summary.about)
    same = "drawn from the same noise" if drawn else "reconstructions of the same test image"
    text = f"Place by place, the images of all rows are {same} (seed {seed}): the first ones, none picked out."
    title = f"{'Samples' if drawn else 'Reconstructions'} {title}"
    return [
        Figure(title, text, image_rows({label: images[: lines * across] for label, images in kept.items()}, across))
    ]


def _shown(store: Run, seed: int, level: Level | None = None) -> dict[str, Shown]:
    """The stored images of a rung, or of the dense network; nothing where there are none.

    Raises:
        RunFolderError: the file is damaged.
    """
    place = "dense" if level is None else f"{level.method}/round-{level.round:02d}"
    path = Path(store.folder) / "rounds" / f"seed-{seed}" / place / "samples.npz"
    if not path.is_file():
        return {}
    try:
        with path.open("rb") as raw, np.load(raw) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise RunFolderError(
            f"{path}: found no images that can be read ({error}); expected arrays as numpy.savez writes them. Delete "
            f"the folder {path.parent}, and the same command repeats that round; or start over (--fresh)."
        ) from error
