"""`gen-tickets sample`: the same images by every engine, on disk as they were drawn."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from common.masks import Masks
from common.ticket import Ticket
from gen_tickets.cli import main
from gen_tickets.draw import Sampler, denoise
from gen_tickets.engines import ENGINES, engine
from gen_tickets.models import build

DRAW = ["--model", "tiny", "--count", "5", "--batch", "3", "--steps", "3", "--threads", "1", "--json"]


@pytest.fixture(scope="module")
def ticket(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ticket of the tiny U-Net without every other channel of its first residual block, trained weights apart."""
    torch.manual_seed(0)
    model = build("ddpm", "tiny")
    masks = {n: torch.rand_like(p) < 0.3 for n, p in model.named_parameters() if p.dim() == 4}
    masks["mid_block.resnets.0.conv2.weight"][:, ::2] = False
    trained = {name: value * 0.5 for name, value in model.state_dict().items()}
    trained |= {name: trained[name] * mask for name, mask in masks.items()}
    return Ticket(Masks(masks), dict(model.state_dict()), trained=trained).save(tmp_path_factory.mktemp("ticket"))


def sample(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[dict[str, Any], np.ndarray]:
    assert main(["sample", *words, *DRAW]) == 0
    found = json.loads(capsys.readouterr().out)
    with np.load(found["samples"]) as stored:
        return found, stored["images"]


def test_every_engine_draws_the_same_images(ticket: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = {}
    for kind in ENGINES:
        found, images[kind] = sample(capsys, str(ticket), "--engine", kind, "--out", str(tmp_path / kind))
        assert (found["engine"], found["images"], found["steps"], found["scheduler"]) == (kind, 5, 3, "ddim")
        assert found["weights"] == "trained"
        assert found["density"] == pytest.approx(0.3, abs=0.02)
        assert found["seconds_per_image"] == pytest.approx(found["seconds"] / 5)
        assert Path(found["grid"]).read_bytes().startswith(b"\x89PNG")
    assert images["dense"].shape == (5, 8, 8, 1)
    assert images["dense"].std() > 10
    for kind in ENGINES:
        assert np.abs(images[kind].astype(int) - images["dense"]).max() <= 1


@torch.no_grad()
def test_samples_of_the_sparse_engine_follow_the_masked_model(ticket: Path) -> None:
    stored = Ticket.load(ticket)
    model = build("ddpm", "tiny").eval()
    stored.apply(model)
    noise, times = torch.randn(17, 1, 8, 8), torch.full((17,), 5)
    for scheduler in ("ddim", "ddpm", "dpm-solver++"):
        ours, theirs = (
            denoise(engine(kind, model, stored.masks, (noise, times)), noise, Sampler(scheduler, 10))
            for kind in ("sparse", "masked")
        )
        assert (ours - theirs).abs().max() <= 1e-3 * theirs.abs().max()


def test_seed_scheduler_and_family_count(ticket: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def images(*words: str) -> np.ndarray:
        return sample(capsys, str(ticket), "--engine", "dense", "--out", str(tmp_path), *words)[1]

    first = images("--seed", "1")
    assert np.array_equal(images("--seed", "1"), first)
    assert not np.array_equal(images("--seed", "2"), first)
    assert not np.array_equal(images("--seed", "1", "--scheduler", "ddpm"), first)


def test_a_generator_is_drawn_in_one_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    generator = build("dcgan", "tiny").generator
    masks = Masks({n: torch.rand_like(p) < 0.3 for n, p in generator.named_parameters() if p.dim() == 4})
    folder = Ticket(masks, dict(generator.state_dict())).save(tmp_path / "ticket")
    words = ["sample", str(folder), "--model", "dcgan/tiny", "--count", "4", "--json", "--out", str(tmp_path)]
    assert main(words) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["steps"], found["scheduler"], found["weights"]) == (1, None, "rewound")


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        ([], 2, "name the folder of a ticket"),
        (["TICKET", "--engine", "fast"], 2, "--engine is one of dense, masked, sparse, slim; found 'fast'"),
        (["TICKET", "--scheduler", "euler"], 2, "such as EulerDiscreteScheduler; found 'euler'"),
        (["TICKET", "--count", "0"], 2, "--count must be at least 1; found 0"),
        (["TICKET", "--model", "small"], 1, "a ticket for another model"),
        (["nowhere"], 1, "nowhere"),
    ],
)
def test_mistakes_get_one_clear_line(
    ticket: Path, tmp_path: Path, words: list[str], code: int, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [str(ticket) if word == "TICKET" else word for word in words]
    assert main(["sample", "--model", "tiny", "--out", str(tmp_path / "out"), *given]) == code
    shown = capsys.readouterr()
    assert text in shown.err
    assert shown.out == ""
    assert not (tmp_path / "out").exists()
