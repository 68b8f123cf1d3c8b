"""`gen-tickets speed` on the smallest networks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from common.masks import Masks
from common.runs.race import race, verdict
from common.ticket import Ticket
from gen_tickets.cli import main
from gen_tickets.models import build

KEYS = {
    "engines", "best_dense_fp32", "best_dense", "speedup_fp32", "speedup", "max_abs_diff", "threads", "batch",
    "density",
}  # fmt: skip
QUICK = ["--batch", "2", "--repeats", "1", "--compiled", "false", "--json"]


def speed(capsys: pytest.CaptureFixture[str], *words: str) -> dict:
    assert main(["speed", *words, *QUICK]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("model", ["tiny", "dcgan/tiny", "sngan/tiny", "vae/tiny", "gfmn/tiny"])
def test_every_family_is_timed_and_agrees(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = speed(capsys, "--model", model, "--density", "0.3")
    assert found.keys() >= KEYS
    assert {"eager", "channels-last", "masked", "sparse"} <= found["engines"].keys()
    for times in found["engines"].values():
        assert 0 < times["seconds_min"] <= times["seconds"] <= times["seconds_max"]
    assert found["speedup"] <= found["speedup_fp32"]
    assert found["max_abs_diff"] < 1e-4
    assert abs(found["density"] - 0.3) < 0.02


def test_the_reasons_are_given(capsys: pytest.CaptureFixture[str]) -> None:
    found = speed(capsys, "--model", "tiny", "--tuned", "false")
    for kinds in (found["shares"]["sparse"], found["shares"]["eager"]):
        assert sum(kinds.values()) == pytest.approx(1.0)
    names = {name for name, p in build("ddpm", "tiny").named_parameters() if p.dim() == 4}
    layers = {layer["weight"]: layer for layer in found["layers"]}
    assert names <= layers.keys()
    assert all(
        layer["sparse"] > 0 and layer["dense"] > 0 and 0 <= layer["break_even"] <= 1 for layer in layers.values()
    )
    assert 1 <= found["amdahl"] <= found["ceiling"]


def test_a_structured_ticket_is_also_timed_slim(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    generator = build("dcgan", "tiny").generator
    masks = {n: torch.ones_like(p) > 0 for n, p in generator.named_parameters() if p.dim() == 4}
    last = list(masks)[-1]
    masks[last][::2] = False  # the last layer reads every other channel of the one before
    Ticket(Masks(masks), dict(generator.state_dict())).save(tmp_path)
    assert "slim" in speed(capsys, str(tmp_path), "--model", "dcgan/tiny")["engines"]


def test_steps_of_a_sampler(capsys: pytest.CaptureFixture[str]) -> None:
    found = speed(capsys, "--model", "tiny", "--steps", "3")
    assert found["steps"] == 3
    assert found["max_abs_diff"] < 1e-3


def test_a_tickets_own_masks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = build("ddpm", "tiny")
    masks = Masks({n: torch.rand_like(p) < 0.25 for n, p in model.named_parameters() if p.dim() == 4})
    Ticket(masks, dict(model.state_dict())).save(tmp_path)
    assert speed(capsys, str(tmp_path), "--model", "tiny")["density"] == pytest.approx(masks.density)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--density", "1.5"], "--density is the share to keep and must lie in (0, 1]; found 1.5"),
        (["--batch", "0"], "--batch must be at least 1; found 0"),
        (
            ["--model", "smal"],
            "found the configuration of ddpm 'smal'; expected one of tiny, small, cifar10. Did you mean",
        ),
        (["--model", "dcgan/tiny", "--steps", "5"], "--steps counts steps of DDIM"),
        (["--model", "autoencoder/linear"], "found no latent"),
    ],
)
def test_mistakes_get_one_clear_line(words: list[str], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["speed", *words]) == 2
    shown = capsys.readouterr()
    assert text in shown.err
    assert shown.out == ""


def test_the_best_dense_engine_is_the_measure() -> None:
    times = {name: {"seconds": s} for name, s in (("eager", 4.0), ("last", 3.0), ("half", 2.0), ("sparse", 1.0))}
    found = verdict(times, "sparse", {"eager": True, "last": True, "half": False})
    assert (found["best_dense_fp32"], found["speedup_fp32"]) == ("last", 3.0)
    assert (found["best_dense"], found["speedup"]) == ("half", 2.0)


def test_engines_take_turns_and_the_warm_up_does_not_count() -> None:
    seen: list[str] = []
    found = race({"a": lambda: seen.append("a"), "b": lambda: seen.append("b")}, 2, warmup=1)
    assert seen == ["a", "b"] * 3
    assert found.keys() == {"a", "b"}
