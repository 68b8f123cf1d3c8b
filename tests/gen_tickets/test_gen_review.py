"""What searches must not do: compare with other controls than said, look at test images, go on from lost weights."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from common.masks import Masks
from common.runs.store import Run
from common.ticket import Ticket
from gen_tickets._controls import random_like
from gen_tickets._steps import Trainer
from gen_tickets.cli import main
from gen_tickets.config import Find, Training
from gen_tickets.data import Images, load
from gen_tickets.draw import Sampler, denoise
from gen_tickets.judge import Judge, Judgement
from gen_tickets.ladder import Ladder
from gen_tickets.methods import Found, Search, find
from gen_tickets.methods.from_scratch import _end
from gen_tickets.networks import Network
from gen_tickets.presets import preset
from gen_tickets.recipes import bind

DIGITS = load("digits")
QUICK = ["--training.steps", "12", "--seeds", "1", "--jobs", "1", "--quality.samples", "24", "--quality.steps", "2"]


def settings(family: str, method: str, **more: Any) -> Find:
    found: Find = preset(Find(family, method=method, training=Training(steps=24, batch=16), **more), DIGITS)
    return found


def searched(config: Find, density: float) -> tuple[Ladder, Found]:
    """A seed's ladder, its model trained to nothing in particular, and a ticket of the method."""
    ladder = Ladder(config, DIGITS, 0)
    recipe = ladder.recipe
    recipe.train(recipe.model, 0, recipe.steps)
    dense = Ticket(Masks.dense(recipe.params), ladder.initial, trained=dict(recipe.model.state_dict()))
    search = Search(recipe, [density], dense, dense, ladder.initial, 0)
    return ladder, next(find(str(config.method), search))


@pytest.mark.parametrize(
    ("family", "method", "density", "ticket", "reinit"),
    [
        ("vae", "static", 0.5, (0, 24), (0, 24)),
        ("ddpm", "sr-ste", 0.5, (18, 24), (0, 24)),
        ("ddpm", "diff-pruning", 0.7, (24, 48), (0, 48)),
    ],
)
def test_controls_have_the_steps_of_their_ticket(
    family: str, method: str, density: float, ticket: tuple[int, int], reinit: tuple[int, int], monkeypatch: Any
) -> None:
    from gen_tickets import denoising

    monkeypatch.setattr(denoising, "_timesteps", lambda _: 20)  # of 1000, which diff-pruning goes through one by one
    ladder, found = searched(settings(family, method), density)
    assert found.ticket.recipe["steps"] == list(ticket)
    spans: list[tuple[int, int]] = []
    whole, call = Trainer.__call__, lambda *words: spans.append(words[2:]) or whole(*words)
    monkeypatch.setattr(Trainer, "__call__", call)
    seen: list[Masks] = []
    monkeypatch.setattr(Judge, "__call__", lambda _, __, masks: seen.append(masks) or Judgement({}, None, {}))  # type: ignore[arg-type, func-returns-value]
    for kind in ("random", "reinit"):
        ladder.control(kind, found.ticket)
    assert spans == [ticket, reinit]
    assert seen[0].counts() == found.ticket.masks.counts()
    if method == "diff-pruning":  # random channels, not random entries
        first = [mask for name, mask in seen[0].items() if name.endswith("conv1.weight")]
        assert all(set(mask.flatten(1).float().mean(1).tolist()) == {0.0, 1.0} for mask in first)


def test_random_tickets_have_the_structure_of_their_ticket() -> None:
    four = torch.tensor([[True, False, True, False], [False, False, True, True]])
    ticket = Ticket(
        Masks({"w": four, "v": torch.ones(2, 3, dtype=torch.bool)}), {"w": torch.ones(2, 4), "v": torch.ones(2, 3)}
    )
    pairs = [random_like(replace(ticket, recipe={"structure": "2:4"}), seed).masks["w"] for seed in range(20)]
    assert all(mask.sum(1).tolist() == [2, 2] for mask in pairs)
    rows = torch.tensor([True, False]).repeat(8)
    masks = Masks({"norm.weight": rows, "norm.bias": rows})
    bird = Ticket(masks, {name: torch.ones(16) for name in masks}, recipe={"structure": "batchnorm"})
    drawn = random_like(bird, 0).masks
    assert torch.equal(drawn["norm.weight"], drawn["norm.bias"])
    assert drawn["norm.weight"].sum() == 8


def test_an_early_bird_is_of_the_part_named_and_leaves_steps_to_train() -> None:
    config = settings("dcgan", "early-bird", part="discriminator")
    config = replace(config, training=replace(config.training, steps=3))
    _, found = searched(config, 0.5)
    assert {name.split(".")[0] for name in found.ticket.masks} == {"discriminator"}
    start, stop = found.ticket.recipe["steps"]
    assert start < stop == 3
    assert found.ticket.recipe["structure"] == "batchnorm"


def test_masks_move_for_three_quarters_of_the_training_of_a_discriminator_too() -> None:
    ends = {}
    for part in ("generator", "discriminator"):
        config = settings("sngan", "set", part=part)
        recipe = bind(replace(config, training=replace(config.training, steps=400)), DIGITS, 0)
        ends[part] = _end(Search(recipe, [0.5], None, None, {}, 0))  # type: ignore[arg-type]
    assert ends == {"generator": 300, "discriminator": 1500}  # five steps of its optimizer in one of the training


def test_a_reinitialised_gfmn_starts_as_the_dense_one_did() -> None:
    ladder = Ladder(settings("gfmn", "global"), DIGITS, 0)
    params = ladder.recipe.params
    ticket = Ticket(Masks.dense(params), ladder.initial, trained=ladder.initial)
    fresh = ladder._fresh(ticket)
    for name in params:
        assert float(fresh[name].std()) == pytest.approx(0.02, rel=0.2)
        assert not torch.equal(fresh[name], ladder.initial[name])


def test_no_test_image_decides_where_a_vae_is_pruned() -> None:
    def losses(images: Images) -> list[Tensor]:
        recipe = bind(settings("vae", "sensitivity"), images, 0)
        assert recipe.objective is not None
        return [loss.detach() for _ in range(2) for loss in recipe.objective(recipe.model.eval())]

    first, again = losses(DIGITS)
    assert torch.equal(first, again)  # the same noise at every call
    assert torch.equal(first, losses(replace(DIGITS, test=255 - DIGITS.test))[0])


def test_a_stochastic_scheduler_adds_other_noise_than_the_images_start_from() -> None:
    network = Network("ddpm", "tiny", (1, 8, 8))
    noise = network.noise(4, 3)
    drawn: list[Tensor] = []

    class Blank(torch.nn.Module):
        def forward(self, x: Tensor, _: Tensor) -> Any:
            drawn.append(x.clone())
            return type("Output", (), {"sample": torch.zeros_like(x)})

    denoise(Blank(), noise, Sampler("ddpm", 50), seed=3)
    solver = Sampler("ddpm", 50).solver()
    mean = solver.step(torch.zeros_like(noise), solver.timesteps[0], noise, generator=torch.Generator().manual_seed(9))
    unlike = solver.step(
        torch.zeros_like(noise), solver.timesteps[0], noise, generator=torch.Generator().manual_seed(8)
    )
    spread = (mean.prev_sample - unlike.prev_sample).std() / 2**0.5
    clean = mean.prev_sample - spread * torch.randn(noise.shape, generator=torch.Generator().manual_seed(9))
    added = (drawn[1] - clean) / spread
    assert abs(float(torch.corrcoef(torch.stack([added.flatten(), noise.flatten()]))[0, 1])) < 0.3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["ddpm", "--method", "sr-ste"], "--densities 0.5"),
        (["ddpm", "--method", "diff-pruning", "--densities", "0.02"], "leaves 31.95% of the weights"),
        (["gfmn", "--method", "sensitivity"], "no loss to scan"),
        (["dcgan", "--method", "rigl", "--part", "all"], "--part generator"),
        (["dcgan", "--method", "early-bird", "--densities", "0.001"], "each keep one"),
        (["ddpm", "--quality.steps", "2000"], "at most its 1000"),
        (["ddpm", "--quality.scheduler", "FooScheduler"], "no such class"),
        (["ddpm", "--size", "smal"], "Did you mean small?"),
        (["vae", "--adversarial.distil"], "for GANs"),
        (["ddpm", "--training.rewind", "0.99"], "smaller share"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_trained(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    usual = [word for pair in zip(QUICK[::2], QUICK[1::2], strict=True) if pair[0] not in words for word in pair]
    assert main(["find", words[0], "digits", *words[1:], *usual, "--out", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err
    assert not any(tmp_path.iterdir())


def test_a_deleted_round_is_found_again_and_those_after_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["find", "autoencoder", "digits", "--densities", "0.6", "0.3", "0.1", "--controls", "none", "--json"]
    command = [*words, *QUICK, "--name", "run", "--out", str(tmp_path)]
    assert main(command) == 0
    first = json.loads(capsys.readouterr().out)
    rounds = tmp_path / "run/rounds/seed-0/global"
    digests = [Ticket.load(rounds / f"round-0{k}").digest for k in (1, 2, 3)]
    shutil.rmtree(rounds / "round-02")
    assert main(command) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["quality"] == first["quality"]
    assert [Ticket.load(rounds / f"round-0{k}").digest for k in (1, 2, 3)] == digests
    repeated = [event["key"] for event in Run(tmp_path / "run").events("round")][-2:]
    assert repeated == ["seed-0/global/round-02", "seed-0/global/round-03"]
