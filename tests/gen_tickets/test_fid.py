"""`gen-tickets fid`: the score of a ticket's images, everything it depends on, and its name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from common.masks import Masks
from common.runs.cli import Command, main
from common.runs.stats import estimate
from common.ticket import Ticket
from gen_tickets import extractors
from gen_tickets.data import as_bytes, load
from gen_tickets.draw import Sampler, draw
from gen_tickets.networks import Network, opened

pytestmark = pytest.mark.usefixtures("home")
COMMANDS = [Command("fid", "", "gen_tickets._config_tools:Fid", "gen_tickets.fid:run", "ticket")]
QUICK = ("--samples", "80", "--threads", "1", "--batch", "40", "--engine", "dense")
IMAGE = (1, 8, 8)


def ticket_of(network: Network, folder: Path, recipe: dict[str, Any], *, trained: bool = True) -> str:
    torch.manual_seed(0)
    state = dict(network.build().state_dict())
    masks = Masks({name: torch.rand_like(value) < 0.5 for name, value in state.items() if value.dim() == 4})
    later = {name: value * masks.get(name, 1) for name, value in state.items()} if trained else None
    made = Ticket(masks, state, trained=later, recipe={"network": network.as_dict(), **recipe})
    return str(made.save(folder))


@pytest.fixture(scope="module")
def gan(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A ticket of a GAN as a search leaves it."""
    searched = {"find": {"dataset": "digits", "quality": {"steps": 7}}, "seed": 0}
    return ticket_of(Network("dcgan", "tiny", IMAGE), tmp_path_factory.mktemp("gan"), searched)


def fid(*words: str, code: int = 0, capsys: pytest.CaptureFixture[str]) -> tuple[Any, str]:
    assert main("gen-tickets", COMMANDS, ["fid", *words, "--json"]) == code
    shown = capsys.readouterr()
    return json.loads(shown.out) if code == 0 else None, shown.err


def plain_frechet(a: np.ndarray, b: np.ndarray) -> float:
    """The formula; the trace of the root is the sum of the roots of the eigenvalues."""
    first, second = np.cov(a.T), np.cov(b.T)
    roots = np.sqrt(np.linalg.eigvals(first @ second).real.clip(0))
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(first + second) - 2 * roots.sum())


def test_the_score_is_that_of_the_images_drawn(gan: str, capsys: pytest.CaptureFixture[str]) -> None:
    found, shown = fid(gan, *QUICK, "--seeds", "2", "--first-seed", "4", capsys=capsys)
    mine, extractor, values = opened(Ticket.load(gan)), extractors.load("digits-cnn"), []
    real = extractor(load("digits").test)[0].numpy()
    for seed in (4, 5):
        images = as_bytes(draw(mine.network, mine.maker, mine.network.noise(80, seed)))
        values.append(plain_frechet(extractor(images)[0].numpy(), real))
    wanted, score = estimate(values), found["quality"]["FD[digits-cnn]"]
    assert score["values"] == pytest.approx(values, rel=1e-6)
    assert (score["mean"], score["ci95"]) == (pytest.approx(wanted.mean), pytest.approx(wanted.ci95, rel=1e-4))
    assert list(found["quality"]) == [f"{name}[digits-cnn]" for name in ("FD", "KD", "precision", "recall", "CS")]
    assert "FID" not in json.dumps(found)
    assert "seed 2/2  FD[digits-cnn]" in shown


def test_what_a_score_depends_on_stands_beside_it(gan: str, capsys: pytest.CaptureFixture[str]) -> None:
    found, shown = fid(gan, *QUICK, "--seeds", "1", "--split", "train", capsys=capsys)
    extractor = extractors.load("digits-cnn")
    assert found["extractor"] == {
        "name": "digits-cnn", "sha256": extractor.sha256, "accuracy": extractor.trained["accuracy"],
    }  # fmt: skip
    about = ("dataset", "split", "real", "samples", "seeds", "engine", "batch", "threads", "scheduler", "steps")
    assert [found[name] for name in about] == ["digits", "train", 1437, 80, [0], "dense", 40, 1, None, 1]
    assert found["against"].startswith("digits/train#")
    ticket = Ticket.load(gan)
    assert [found[name] for name in ("digest", "density", "network", "state", "ema")] == [
        ticket.digest, ticket.density, "dcgan/tiny", "trained", True,
    ]  # fmt: skip
    assert found["settings"] == {"subsets": 100, "subset_size": 40, "neighbours": 3}
    assert found["quality"]["FD[digits-cnn]"]["ci95"] is None
    assert [text for text in found["warnings"] if "too few for subsets of 1000: the kernel distance takes 40" in text]
    assert shown.count("warning: ") == len(found["warnings"])


def test_a_unet_takes_the_steps_of_its_search(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network = Network("ddpm", "tiny", IMAGE)
    judged = {"scheduler": "ddpm", "steps": 2}
    ticket = ticket_of(network, tmp_path / "a", {"find": {"dataset": "digits", "quality": judged}}, trained=False)
    found, _ = fid(ticket, *QUICK, "--seeds", "1", capsys=capsys)
    assert [found[name] for name in ("scheduler", "steps", "state", "ema")] == ["ddpm", 2, "rewound", False]
    other, _ = fid(ticket, *QUICK, "--seeds", "1", "--scheduler", "ddim", "--steps", "3", capsys=capsys)
    assert [other[name] for name in ("scheduler", "steps")] == ["ddim", 3]
    assert other["quality"] != found["quality"]
    images = draw(network, opened(Ticket.load(ticket)).maker, network.noise(80, 0), Sampler("ddim", 3))
    features = extractors.load("digits-cnn")
    wanted = plain_frechet(features(as_bytes(images))[0].numpy(), features(load("digits").test)[0].numpy())
    assert other["quality"]["FD[digits-cnn]"]["mean"] == pytest.approx(wanted, rel=1e-4)
    masked, _ = fid(ticket, *QUICK, "--seeds", "1", "--engine", "masked", capsys=capsys)
    values = [part["quality"]["FD[digits-cnn]"]["mean"] for part in (masked, found)]
    assert (masked["engine"], values[0]) == ("masked", pytest.approx(values[1], rel=1e-3))


def test_images_of_ones_own_are_resized_as_for_the_search(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own, rng = tmp_path / "own", np.random.default_rng(0)
    own.mkdir()
    for number in range(100):
        Image.fromarray(rng.integers(256, size=(12, 10), dtype=np.uint8)).save(own / f"{number:03}.png")
    searched = {"find": {"dataset": str(own), "image_size": 8}}
    ticket = ticket_of(Network("dcgan", "tiny", IMAGE), tmp_path / "a", searched)
    words = (ticket, *QUICK, "--seeds", "1", "--extractor", "digits-cnn", "--split", "train")
    found, _ = fid(*words, capsys=capsys)
    assert (found["dataset"], found["real"]) == ("own@8", 90)
    _, shown = fid(ticket, *QUICK, code=1, capsys=capsys)
    assert "own@8: found no labels; expected some to train feature layers on" in shown


def test_a_ticket_that_does_not_say_its_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ticket = ticket_of(Network("dcgan", "tiny", IMAGE), tmp_path / "a", {})
    assert "name them, as in --dataset mnist" in fid(ticket, *QUICK, code=2, capsys=capsys)[1]
    found, _ = fid(ticket, *QUICK, "--dataset", "digits", "--seeds", "1", capsys=capsys)
    assert (found["ema"], found["dataset"]) == (None, "digits")


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        ([], 2, "name the folder of a ticket, as in: gen-tickets fid"),
        (["GAN", "--samples", "0"], 2, "--samples must be at least 1; found 0"),
        (["GAN", "--samples", "7"], 1, "found 7 generated and 360 real images"),
        (["GAN", "--engine", "fast"], 2, "--engine is one of dense, masked, sparse, slim; found 'fast'"),
        (["GAN", "--scheduler", "euler"], 2, "such as EulerDiscreteScheduler; found 'euler'"),
        (["GAN", "--steps", "0"], 2, "--steps must be at least 1; found 0"),
        (["GAN", "--split", "val"], 2, "--split must be one of test, train; found 'val'"),
        (["GAN", "--extractor", "minst-cnn"], 2, "unknown extractor 'minst-cnn'"),
        (["GAN", "--dataset", "minst"], 2, "Did you mean mnist"),
        (["GAN", "--weights", "file.pth"], 2, "add --extractor inception, or leave it out"),
        (["GAN", "--extractor", "inception"], 3, "its sha256 begins 6726825d) at "),
        (["GAN", "--extractor", "inception", "--weights", "none.pth"], 3, "weights-inception-2015-12-05-6726825d.pth"),
    ],
)
def test_mistakes_get_one_clear_line(
    gan: str, words: list[str], code: int, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("GLT_OFFLINE", "1")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    given = [gan if word == "GAN" else word for word in words]
    _, shown = fid(*given[:1], "--quiet", "--engine", "dense", *given[1:], code=code, capsys=capsys)
    assert text in shown
    assert len(shown.splitlines()) == 1


def test_data_that_changed_since_the_search(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    searched = {"find": {"dataset": "digits", "data": "0123456789abcdef"}}
    ticket = ticket_of(Network("dcgan", "tiny", IMAGE), tmp_path / "a", searched)
    _, shown = fid(ticket, *QUICK, code=1, capsys=capsys)
    assert "digits: found images of sha256 9374bbf2ce0a...; expected 0123456789ab..., on which the ticket" in shown
    pixels = load("digits").train[:200, 0].numpy()
    np.savez(tmp_path / "other.npz", images=pixels)
    words = ("--dataset", str(tmp_path / "other.npz"), "--split", "train", "--extractor", "digits-cnn", "--seeds", "1")
    assert fid(ticket, *QUICK, *words, capsys=capsys)[0]["against"].startswith("other/train#")


def test_an_autoencoder_has_no_latents_to_draw(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    searched = {"find": {"dataset": "digits"}}
    ticket = ticket_of(Network("autoencoder", "tiny", IMAGE), tmp_path / "a", searched)
    found, shown = fid(ticket, *QUICK, "--seeds", "1", capsys=capsys)
    assert "warning: an auto-encoder has no distribution of latents" in shown
    assert (found["ema"], found["network"]) == (False, "autoencoder/tiny")


def test_colour_where_a_ticket_makes_grey(gan: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(tmp_path / "colour.npz", images=np.zeros((20, 8, 8, 3), np.uint8))
    _, shown = fid(gan, *QUICK, "--dataset", str(tmp_path / "colour.npz"), code=1, capsys=capsys)
    assert "colour: found images of shape (3, 8, 8); expected (1, 8, 8), as the ticket makes them" in shown
