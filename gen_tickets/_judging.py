"""What a report says of how its numbers came about: definitions, extractor, sampling, references, time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from common.runs.words import plural
from gen_tickets.summary import Summary

__all__ = ["definitions", "extractor", "from_noise", "references"]

_FRECHET = (
    "Heusel et al., GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium, NeurIPS 2017"
)
_KERNEL = "Binkowski et al., Demystifying MMD GANs, ICLR 2018"
_MANIFOLDS = "Kynkaanniemi et al., Improved Precision and Recall Metric for Assessing Generative Models, NeurIPS 2019"
_CLASSIFIER = "Salimans et al., Improved Techniques for Training GANs, NeurIPS 2016"
_SCORES = {
    "FID": ("Frechet inception distance", _FRECHET),
    "FD": ("Frechet distance", _FRECHET),
    "KID": ("kernel inception distance", _KERNEL),
    "KD": ("kernel distance", _KERNEL),
    "precision": ("precision", _MANIFOLDS),
    "recall": ("recall", _MANIFOLDS),
    "IS": ("inception score", _CLASSIFIER),
    "CS": ("classifier score", _CLASSIFIER),
}
_UNITS = (("hours", 3600.0), ("minutes", 60.0))
_CONTROLS = (
    "Random tickets keep as many weights of every tensor at random places; re-initialised tickets keep the ticket's "
    "places, with freshly drawn weights."
)


def definitions(summary: Summary) -> list[str]:
    """The sentences between verdict and table: what wins, what the controls are, how it was judged, what is missing."""
    seeds = len(summary.seeds)
    margin = "the dense mean plus one standard deviation" if seeds > 1 else "that of the dense network"
    spread = f"Numbers are means over {seeds} seeds with a 95 % t interval" if seeds > 1 else "Numbers are of one seed"
    controls = any(name in level.scores for level in summary.levels for name in ("random", "reinit"))
    pending = f"Not finished: {plural(summary.missing, 'rung')} of single seeds. A rung counts once all seeds have it."
    return [
        f"Densities are shares kept. A ticket wins if its {summary.label} is at most {margin}; less is better. "
        f"{spread}. The last state of every training is judged, never the best of several.",
        *([_CONTROLS] if controls else []),
        _judged(summary),
        *(f"Note: {warning.rstrip('.')}." for warning in summary.warnings),
        *([pending] if summary.missing else []),
        f"Search and training took {_times(summary.seconds, summary.cpu_seconds)} of processor time, without controls "
        "and judging.",
    ]


def extractor(label: str) -> str:
    """The extractor in a label; nothing where there is none.

    >>> extractor("FD[mnist-cnn]"), extractor("loss")
    ('mnist-cnn', '')
    """
    return label.partition("[")[2].rstrip("]")


def from_noise(about: Mapping[str, Any]) -> bool:
    """Whether the pictures were drawn from noise; else they are reconstructions."""
    return about.get("samples") is not None


def references(summary: Summary) -> list[str]:
    """The papers of the scores."""
    known = (_SCORES.get(label.partition("[")[0]) for label in summary.quality)
    return list(dict.fromkeys(score[1] for score in known if score))


def _judged(summary: Summary) -> str:
    about, label = summary.about, summary.label
    if not from_noise(about):
        return f"The main score, {label}, is taken on the test images; the pictures are reconstructions of them."
    kind = _SCORES.get(label.partition("[")[0], (label, ""))[0]
    real = f"{about['real']:,} of " if "real" in about else ""
    text = (
        f"{label} is the {kind} of {about['samples']:,} generated images to {real}{about.get('against', 'real ones')}"
    )
    if name := extractor(label):
        sha = f" (sha256 {about['extractor_sha256'][:12]})" if about.get("extractor_sha256") else ""
        text += f", in features of {name}{sha}"
    if about.get("scheduler"):
        text += f". Images are drawn by {about['scheduler']} in {plural(about['steps'], 'step')}"
    if about.get("averaged") is not None:
        text += f"; weights are {'running averages (EMA)' if about['averaged'] else 'as trained, without averaging'}"
    return f"{text}."


def _times(wall: float, processor: float) -> str:
    unit, size = next((one for one in _UNITS if wall >= 2 * one[1]), ("seconds", 1.0))
    return f"{wall / size:.1f} {unit}, {processor / size:.1f} {unit}"
