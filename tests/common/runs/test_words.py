"""Words of the reports: a command that really repeats its settings, verdicts, numbers."""

from __future__ import annotations

import math
import shlex
from dataclasses import dataclass, field

import pytest

from common.runs.options import parse
from common.runs.stats import Estimate, Paired, estimate
from common.runs.words import command_line, number, plural, points, share, spread, verdict


@dataclass(frozen=True)
class Training:
    steps: int | None = None
    lr: float = 1e-3
    clip_norm: bool = True


@dataclass(frozen=True)
class Settings:
    family: str = "ddpm"
    dataset: str = "digits"
    from_: str | None = None
    out: str = "runs"
    densities: list[float] | None = None
    methods: list[str] = field(default_factory=list)
    first_seed: int = 0
    training: Training = field(default_factory=Training)
    fresh: bool = False
    json: bool = False


PLACES = ("family", "dataset")


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (Settings(), "gen-tickets find ddpm digits"),
        (Settings("vae", "my images"), "gen-tickets find vae 'my images'"),
        (Settings(from_="a model", first_seed=7), "gen-tickets find ddpm digits --from 'a model' --first-seed 7"),
        (Settings(densities=[0.5, 0.1]), "gen-tickets find ddpm digits --densities 0.5 0.1"),
        (Settings(methods=["by-depth", "set"]), "gen-tickets find ddpm digits --methods by-depth set"),
        (
            Settings(training=Training(steps=5, lr=1e-5, clip_norm=False)),
            "gen-tickets find ddpm digits --training.steps 5 --training.lr 1e-05 --training.clip-norm false",
        ),
        (Settings(out="-x y"), "gen-tickets find ddpm digits '--out=-x y'"),
    ],
)
def test_the_command_repeats_the_settings(config: Settings, said: str):
    found = command_line("gen-tickets find", config, Settings(), positional=PLACES)
    assert found == said
    again = parse("gen-tickets find", "", Settings, shlex.split(found)[2:], positional=PLACES)
    assert again == config


def test_what_is_usual_differs_and_how_it_is_shown_is_not_repeated():
    usual = Settings(out="elsewhere", densities=[0.5], methods=["set"])
    found = command_line("x", Settings(fresh=True, json=True), usual, positional=("dataset",))
    assert found == "x digits --out runs --densities=null --methods '[]'"
    assert parse("x", "", Settings, shlex.split(found)[1:], positional="dataset") == Settings()


def test_verdicts():
    score = ("20.0% of weights (20 of 100)", "81.0% test accuracy", {"dense": "81.0%", "random": "50.0%"})
    said = "20.0% of weights (20 of 100) reach 81.0% test accuracy (dense 81.0%, random 50.0%)."
    assert verdict(*score, winning=True, sparsest="round 1") == f"A winning ticket: {said}"
    assert verdict(*score, winning=True, random_wins=True).startswith(f"A winning ticket: {said} Random tickets of the")
    assert verdict(*score, winning=False, random_wins=True) == f"Not a winning ticket: {said}"
    assert verdict(*score, winning=False, sparsest="round 1").endswith(" The sparsest rung that wins is round 1.")
    assert verdict("All", "3", {}, winning=True) == "A winning ticket: All reach 3."


@pytest.mark.parametrize(
    ("value", "said"),
    [(0.0, "0"), (1.0, "1.00"), (99.96, "100"), (123.4, "123"), (999.4, "999"), (999.6, "1,000"), (-0.5, "-0.500"),
     (1e6, "1,000,000"), (1.23e-5, "1.23e-05"), (math.inf, "diverged"), (math.nan, "diverged")],
)  # fmt: skip
def test_numbers(value: float, said: str):
    assert number(value) == said


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (estimate([3.0]), "3.00"),
        (Estimate(3.21, 0.456, 3), "3.21 ± 0.46"),
        (Estimate(123.4, 45.6, 3), "123 ± 46"),
        (Estimate(12345.6, 1234.5, 3), "12,346 ± 1,234"),
        (Estimate(0.012345, 0.0012345, 3), "0.0123 ± 0.0012"),
        (Estimate(1.2e-5, 3.4e-6, 3), "1.20e-05 ± 3.4e-06"),
        (estimate([3.0, math.nan]), "diverged"),
        (estimate([2.0, 2.0]), "2.00 ± 0.00"),
    ],
)
def test_spreads_stay_in_one_line_and_have_the_places_of_their_mean(found: Estimate, said: str):
    assert spread(found) == said.replace(" ", "\xa0")


def test_shares_and_counts():
    assert [share(x) for x in (1.0, 0.0126, 0.00996, 0.0094, 1e-5)] == ["100.0%", "1.3%", "1.0%", "0.94%", "0.001%"]
    assert [plural(n, "rung") for n in (0, 1, 2000)] == ["0 rungs", "1 rung", "2,000 rungs"]


def test_differences_are_in_points_with_what_is_known_of_them():
    shown = {
        "+1.2\xa0±\xa00.5, p\xa0<\xa00.001": Paired(Estimate(0.012, 0.005, 10), 0.0004),
        "-0.4\xa0±\xa01.1, p\xa00.43": Paired(Estimate(-0.004, 0.011, 10), 0.4321),
        "+0.0\xa0±\xa00.0": Paired(Estimate(0.0, 0.0, 2), None),
        "-2.0": Paired(Estimate(-0.02, None, 1), None),
        "diverged": Paired(Estimate(math.nan, math.nan, 2), None),
    }
    assert [points(found) for found in shown.values()] == list(shown)
