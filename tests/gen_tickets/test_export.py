"""`gen-tickets export`: other programs load a ticket with every zero in place and draw the same bits."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import diffusers
import pytest
import safetensors.torch
import torch
from safetensors import safe_open
from torch import nn

from common.masks import Masks
from common.runs.cli import Command, main
from common.ticket import Ticket
from gen_tickets.draw import Sampler, draw
from gen_tickets.export import state
from gen_tickets.models import build
from gen_tickets.networks import Network, opened
from gen_tickets.pipelines import config_of

COMMANDS = [Command("export", "", "gen_tickets._config_tools:Export", "gen_tickets.export:run", "ticket")]
TINY = Network("ddpm", "tiny", (1, 8, 8))


def ticket_of(network: Network, folder: Path, *, trained: bool = True, named: bool = True) -> Ticket:
    """A ticket with 30 % of the convolutions' weights, others after training than at the rewinding point."""
    torch.manual_seed(0)
    model = network.build()
    masks = Masks({n: torch.rand_like(p) < 0.3 for n, p in model.named_parameters() if p.dim() == 4})
    weights = dict(model.state_dict())
    later = {name: value * masks.get(name, 1) / 2 for name, value in weights.items()} if trained else None
    recipe = {"network": network.as_dict()} if named else {}
    ticket = Ticket(masks, weights, trained=later, recipe=recipe)
    ticket.save(folder)
    return ticket


def export(*words: str | Path, code: int = 0, capsys: pytest.CaptureFixture[str]) -> Any:
    assert main("gen-tickets", COMMANDS, ["export", *map(str, words), "--json"]) == code
    shown = capsys.readouterr()
    return json.loads(shown.out) if code == 0 else shown.err


def zeros(model: nn.Module, masks: Masks) -> bool:
    """Whether exactly what is pruned is zero."""
    named = dict(model.named_parameters())
    return all(torch.equal(named[name] != 0, mask) for name, mask in masks.items())


def test_stock_diffusers_draws_what_the_suite_draws(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ticket = ticket_of(TINY, tmp_path / "ticket")
    found = export(tmp_path / "ticket", "--format", "diffusers", "--out", tmp_path / "made", capsys=capsys)
    stock = diffusers.DDPMPipeline.from_pretrained(found["path"])
    assert zeros(stock.unet, ticket.masks)
    stock.scheduler = diffusers.DDIMScheduler.from_config(stock.scheduler.config)
    stock.set_progress_bar_config(disable=True)
    theirs = stock(5, generator=torch.Generator().manual_seed(3), num_inference_steps=4, output_type="pt").images
    mine = opened(Ticket.load(tmp_path / "ticket"))
    ours = draw(TINY, mine.maker, TINY.noise(5, seed=3), Sampler("ddim", 4))
    assert torch.equal(theirs, (ours / 2 + 0.5).clamp(0, 1))
    assert found == {
        "ticket": str(tmp_path / "ticket"),
        "digest": ticket.digest,
        "format": "diffusers",
        "path": str(tmp_path / "made"),
        "state": "trained",
        "weights": {"total": ticket.masks.total, "kept": ticket.masks.kept, "density": ticket.density},
        "bytes": sum(file.stat().st_size for file in (tmp_path / "made").rglob("*") if file.is_file()),
    }
    mark = json.loads((tmp_path / "made" / "ticket-export.json").read_text())
    assert (mark["digest"], mark["family"], mark["size"]) == (ticket.digest, "ddpm", "tiny")


def test_a_model_of_ones_own_keeps_its_scheduler(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scheduler = diffusers.DDIMScheduler(beta_schedule="squaredcos_cap_v2")
    network = Network("ddpm", "own", (1, 8, 8), unet=config_of(TINY.build()), scheduler=config_of(scheduler))
    ticket = ticket_of(network, tmp_path / "ticket", trained=False)
    found = export(tmp_path / "ticket", "--format", "diffusers", "--out", tmp_path / "made", capsys=capsys)
    stock = diffusers.DDPMPipeline.from_pretrained(found["path"])
    assert zeros(stock.unet, ticket.masks)
    assert (found["state"], type(stock.scheduler).__name__) == ("rewound", "DDIMScheduler")
    assert stock.scheduler.config.beta_schedule == "squaredcos_cap_v2"


@pytest.mark.parametrize("family", ["ddpm", "dcgan", "vae", "gfmn"])
def test_a_state_dict_loads_strictly(family: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ticket = ticket_of(Network(family, "tiny", (1, 8, 8)), tmp_path / "ticket")
    found = export(tmp_path / "ticket", "--format", "state-dict", "--out", tmp_path / "a.safetensors", capsys=capsys)
    model = build(family, "tiny")
    model.load_state_dict(safetensors.torch.load_file(found["path"]))
    assert zeros(model, ticket.masks)
    wanted = opened(Ticket.load(tmp_path / "ticket")).model.state_dict()
    assert all(torch.equal(value, wanted[name]) for name, value in model.state_dict().items())
    with safe_open(found["path"], "pt") as file:
        about = file.metadata()
    assert (about["family"], about["size"], about["digest"]) == (family, "tiny", ticket.digest)
    assert found["bytes"] == Path(found["path"]).stat().st_size


def test_a_ticket_that_names_no_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ticket_of(TINY, tmp_path / "ticket", named=False)
    found = export(tmp_path / "ticket", "--out", tmp_path / "a.safetensors", capsys=capsys)
    assert set(safetensors.torch.load_file(found["path"])) == set(TINY.build().state_dict())
    words = [tmp_path / "ticket", "--format", "diffusers", "--out", tmp_path / "made"]
    assert "name it, as in --model" in export(*words, code=2, capsys=capsys)
    assert export(*words, "--model", "tiny", capsys=capsys)["format"] == "diffusers"


def test_shared_tensors_are_written_under_both_names(tmp_path: Path) -> None:
    shared = torch.tensor([1.0, 2.0])
    ticket = Ticket(Masks({"a": torch.tensor([True, False])}), {"a": shared, "b": shared})
    assert {name: value.tolist() for name, value in state(ticket).items()} == {"a": [1.0, 0.0], "b": [1.0, 0.0]}
    assert shared.tolist() == [1.0, 2.0]
    safetensors.torch.save_file(state(ticket), tmp_path / "w.safetensors")


def mistakes(folder: Path) -> list[tuple[Sequence[str | Path], int, str]]:
    for name in ("made.safetensors", "notes.txt"):
        safetensors.torch.save_file({"w": torch.zeros(1)}, folder / name)
    pipeline = ("--format", "diffusers", "--out", folder / "made")
    return [
        ([], 2, "name the folder of a ticket, as in: gen-tickets export"),
        ([folder / "nowhere"], 1, "no such folder"),
        ([folder / "gan", *pipeline], 2, "found a ticket of dcgan; expected a U-Net that draws images without labels"),
        ([folder / "gan", *pipeline], 2, "--format state-dict"),
        ([folder / "classes", *pipeline], 2, "found a class-conditional U-Net"),
        ([folder / "latent", *pipeline], 2, "found a U-Net on latents"),
        ([folder / "gan", "--model", "tiny"], 1, "a ticket for another model"),
        ([folder / "gan", "--format", "onnx"], 2, "--format must be one of diffusers, state-dict; found 'onnx'"),
        ([folder / "gan", "--out", folder], 2, "is a folder; expected a file to write"),
        ([folder / "gan", "--out", folder / "made.safetensors"], 2, "is there and no earlier export"),
        ([folder / "gan", "--out", folder / "notes.txt" / "a"], 1, "cannot be written"),
    ]


def test_mistakes_get_one_clear_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ticket_of(Network("dcgan", "tiny", (1, 8, 8)), tmp_path / "gan")
    ticket_of(Network("ddpm", "tiny", (1, 8, 8), classes=3), tmp_path / "classes")
    ticket_of(Network("ddpm", "tiny", (1, 8, 8), autoencoder="somewhere"), tmp_path / "latent")
    for words, code, text in mistakes(tmp_path):
        shown = export(*words, code=code, capsys=capsys)
        assert text in shown
        assert len(shown.splitlines()) == 1
    assert not (tmp_path / "made").exists()


def test_an_export_is_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for trained in (True, False):
        ticket = ticket_of(TINY, tmp_path / "ticket", trained=trained)
        found = export(tmp_path / "ticket", "--out", tmp_path / "a.safetensors", capsys=capsys)
        stored = safetensors.torch.load_file(found["path"])
        assert torch.equal(stored["conv_out.bias"], (ticket.trained or ticket.weights)["conv_out.bias"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.safetensors", "ticket"]
