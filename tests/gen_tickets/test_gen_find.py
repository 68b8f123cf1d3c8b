"""`gen-tickets find` and `compare` on real data, small: results, files, going on after an interruption, controls."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from common.runs.store import Run
from common.ticket import Ticket
from gen_tickets.cli import main
from gen_tickets.networks import opened

QUICK = ["--training.steps", "12", "--training.rewind", "0.25", "--jobs", "1", "--json"]
UNET = ["find", "ddpm", "digits", "--seeds", "1", "--densities", "0.5", "0.2", "--quality.samples", "24",
        "--quality.steps", "2", "--controls", "every", *QUICK]  # fmt: skip
AUTO = ["find", "autoencoder", "digits", "--seeds", "2", "--rounds", "2", "--density", "0.25", *QUICK]


def call(capsys: pytest.CaptureFixture[str], words: list[str], out: Path) -> dict[str, Any]:
    assert main([*words, "--out", str(out)]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


@pytest.fixture(scope="module")
def unet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of `find ddpm digits`."""
    out = tmp_path_factory.mktemp("unet")
    assert main([*UNET, "--name", "run", "--out", str(out)]) == 0
    return out / "run"


def test_the_result_says_what_the_ticket_keeps_and_how_good_it_is(unet: Path, capsys: Any) -> None:
    found = call(capsys, [*UNET, "--name", "run"], unet.parent)  # everything is done already
    assert sorted(found) == sorted(
        ["ticket", "family", "dataset", "method", "weights", "quality", "winning", "seconds", "peak_rss_mb", "report"]
    )
    weights = found["weights"]
    assert weights["kept"] == round(0.2 * weights["total"])
    assert weights["kept"] == sum(layer["kept"] for layer in weights["by_layer"].values())
    assert found["quality"]["name"] == "FD[digits-cnn]"
    assert {"name", "dense", "ticket", "random", "reinit"} == found["quality"].keys()
    assert found["quality"]["ticket"]["n"] == 1
    assert found["method"] == "by-depth"
    assert "<svg" in Path(found["report"]).read_text() or "data:image/svg" in Path(found["report"]).read_text()


def test_the_ticket_draws_the_images_that_were_judged(unet: Path) -> None:
    ticket = Ticket.load(unet / "ticket")
    found = opened(ticket)
    assert found.trained
    for name, mask in found.masks.items():
        assert not found.maker.get_parameter(name)[~mask].any()
    with np.load(unet / "rounds/seed-0/by-depth/round-02/samples.npz") as shown:
        assert shown["ticket"].shape == shown["random"].shape == shown["reinit"].shape == (24, 8, 8, 1)
        first = shown["ticket"]
    from gen_tickets.draw import Sampler, draw, pixels

    noise = found.network.noise(24, 0)
    again = pixels(draw(found.network, found.maker, noise, Sampler("dpm-solver++", 2), batch=24))
    assert np.abs(again.astype(int) - first).max() <= 1


def test_rounds_are_nested_and_rewound_to_one_point(unet: Path) -> None:
    dense, first, second = (
        Ticket.load(unet / "rounds/seed-0" / name) for name in ("dense", "by-depth/round-01", "by-depth/round-02")
    )
    assert all(bool((second.masks[n] <= first.masks[n]).all()) for n in first.masks)
    for name, mask in second.masks.items():
        assert torch.equal(dense.weights[name][mask], second.weights[name][mask])


def test_a_broken_off_run_goes_on_to_the_same_result(unet: Path, tmp_path: Path, capsys: Any) -> None:
    copied = tmp_path / "run"
    shutil.copytree(unet, copied)
    shutil.rmtree(copied / "rounds/seed-0/by-depth/round-02")
    shutil.copy(unet / "rounds/seed-0/by-depth/round-02/raw.safetensors", tmp_path)  # only a finished round removes it
    whole = Run(unet).done("seed-0/by-depth/round-01")
    first = copied / "rounds/seed-0/by-depth/round-01"
    if not (first / "raw.safetensors").exists():  # as it was before round 2 was finished
        shutil.rmtree(first)
    call(capsys, [*UNET, "--name", "run"], tmp_path)
    assert Run(copied).done("seed-0/by-depth/round-01")["quality"] == whole["quality"]  # type: ignore[index]
    for key in ("seed-0/by-depth/round-02",):
        before, after = Run(unet).done(key), Run(copied).done(key)
        assert before is not None
        assert after is not None
        assert after["quality"] == before["quality"]
        assert after["controls"] == before["controls"]


def test_an_auto_encoder_is_judged_by_its_loss(tmp_path: Path, capsys: Any) -> None:
    found = call(capsys, AUTO, tmp_path)
    assert found["quality"]["name"] == "loss"
    assert found["quality"]["dense"]["n"] == 2
    assert found["weights"]["density"] == pytest.approx(0.25, abs=1e-4)


def test_two_processes_find_what_one_finds(tmp_path: Path, capsys: Any) -> None:
    alone = call(capsys, AUTO, tmp_path / "a")
    words = [word if word != "1" else "2" for word in AUTO]  # --jobs 2
    beside = call(capsys, words, tmp_path / "b")
    for kind in ("dense", "ticket", "random"):
        assert beside["quality"][kind]["mean"] == pytest.approx(alone["quality"][kind]["mean"], rel=1e-4)


def test_compare_shares_the_dense_networks(tmp_path: Path, capsys: Any) -> None:
    words = ["compare", "vae", "digits", "--methods", "global", "one-shot", "static", "--seeds", "1", "--densities",
             "0.5", "0.2", "--quality.samples", "24", *QUICK]  # fmt: skip
    found = call(capsys, [*words, "--name", "run"], tmp_path)
    assert list(found["methods"]) == ["global", "one-shot", "static"]
    assert [row["density"] for row in found["methods"]["one-shot"]] == pytest.approx([0.5, 0.2], abs=1e-4)
    assert found["methods"]["global"][1]["quality"].keys() == {"ticket", "random", "reinit"}
    assert found["methods"]["static"][1]["quality"].keys() == {"ticket"}
    first = {name: Ticket.load(tmp_path / f"run/rounds/seed-0/{name}/round-01") for name in ("global", "one-shot")}
    assert first["global"].digest == first["one-shot"].digest  # the first round is the same


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["find", "digits"], 2, "The data come second, as in: gen-tickets find ddpm digits"),
        (["find", "ddmp"], 2, "Did you mean ddpm?"),
        (["find", "ddpm", "digits", "--method", "globl"], 2, "Did you mean global?"),
        (["find", "ddpm", "digits", "--method", "strong"], 2, "strong is for gfmn; found ddpm"),
        (["find", "vae", "digits", "--part", "encodr"], 2, "--part encodr"),
        (["find", "ddpm", "--density", "1.5"], 2, "--density is the share to keep"),
        (["find", "ddpm", "--densities", "0.2", "0.5"], 2, "from high to low"),
        (["find", "vae", "--density", "1e-9"], 2, "keeps none of"),
        (["find", "vae", "--conditional"], 2, "are for ddpm; found the family vae"),
        (["find", "ddpm", "--from", "nowhere"], 3, "nowhere"),
        (["find", "ddpm", "digits", "--quality.scheduler", "euler"], 2, "--scheduler is one of"),
        (["find", "ddpm", "digits", "--image-size", "13"], 2, "found images of 13x13 pixels"),
        (["find", "vae", "digits", "--quality.samples", "5"], 2, "needs at least 8 each"),
        (["find", "ddpm", "digits", "--quality.extractor", "mnist-cnn"], 2, "These images go with digits-cnn"),
        (["find", "sngan", "digits", "--quality.by", "loss"], 2, "a GAN has no loss on test images"),
        (["find", "vae", "digits", "--densities", "0.5", "--rounds", "2"], 2, "leave out --rounds and --density"),
        (["compare", "dcgan", "digits", "--methods", "global", "early-bird"], 2, "find it alone"),
        (["compare", "vae", "--methods", "global", "global"], 2, "names one twice"),
    ],
)
def test_mistakes_get_one_clear_line(words: list[str], code: int, text: str, tmp_path: Path, capsys: Any) -> None:
    assert main([*words, "--out", str(tmp_path / "runs")]) == code
    shown = capsys.readouterr()
    assert text in shown.err
    assert shown.err.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_a_training_that_diverges_says_where_and_keeps_what_was_good(tmp_path: Path, capsys: Any) -> None:
    words = ["find", "autoencoder", "digits", "--seeds", "1", "--training.lr", "1e38", "--jobs", "1"]
    assert main([*words, "--training.steps", "5", "--name", "run", "--out", str(tmp_path)]) == 1
    shown = capsys.readouterr().err
    path = tmp_path / "run/rounds/seed-0/dense/last-good.safetensors"
    assert "diverged at step" in shown
    assert "Lower the learning rate." in shown
    assert str(path) in shown
    assert all(bool(value.isfinite().all()) for value in load_file(path).values())


SHORT = ["find", "ddpm", "digits", "--seeds", "1", "--densities", "0.5", "--controls", "none", "--jobs", "1", "--json"]


def test_classes_latents_and_pipelines_go_the_same_way(tmp_path: Path, capsys: Any) -> None:
    from diffusers import AutoencoderKL

    torch.manual_seed(0)
    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
    sizes = {"in_channels": 1, "out_channels": 1, "latent_channels": 2, "norm_num_groups": 4}
    coder = AutoencoderKL(block_out_channels=(8, 8), **blocks, **sizes)
    coder.save_pretrained(tmp_path / "coder")
    steps = ["--training.steps", "3", "--quality.samples", "10", "--quality.steps", "2", "--method", "global"]
    short = [*SHORT, *steps]
    conditional = call(capsys, [*short, "--conditional", "true"], tmp_path / "a")
    assert Ticket.load(conditional["ticket"]).recipe["network"]["classes"] == 10
    latent = call(capsys, [*short, "--autoencoder", str(tmp_path / "coder")], tmp_path / "b")
    found = opened(Ticket.load(latent["ticket"]))
    assert found.network.noise_shape() == (2, 4, 4)
    words = ["export", latent["ticket"], "--format", "state-dict", "--out", str(tmp_path / "latent.safetensors")]
    assert main(words) == 0
    plain = call(capsys, short, tmp_path / "c")
    assert main(["export", plain["ticket"], "--format", "diffusers", "--out", str(tmp_path / "pipeline")]) == 0
    capsys.readouterr()
    again = call(capsys, [*short, "--from", str(tmp_path / "pipeline")], tmp_path / "d")
    assert again["weights"]["total"] == plain["weights"]["total"]
    assert not torch.equal(*(Ticket.load(one["ticket"]).weights["conv_in.bias"] for one in (again, plain)))
    assert main(["sample", again["ticket"], "--count", "2", "--steps", "2", "--out", str(tmp_path / "drawn")]) == 0
    assert main(["sample", latent["ticket"], "--count", "2", "--steps", "2", "--out", str(tmp_path / "drawn")]) == 0


@pytest.mark.parametrize("method", ["set", "rigl", "gradual", "sr-ste", "lamp", "sensitivity", "diff-pruning"])
def test_every_method_of_a_unet_keeps_what_it_says(method: str, tmp_path: Path, capsys: Any) -> None:
    steps = ["--training.steps", "4", "--training.batch", "2", "--quality.by", "loss", "--quality.steps", "2"]
    found = call(capsys, [*SHORT, *steps, "--method", method], tmp_path)
    off = 0.01 if method == "diff-pruning" else 2e-3  # groups of channels; rows that are no multiple of four stay dense
    assert found["weights"]["density"] == pytest.approx(0.5, abs=off)
    assert found["quality"]["name"] == "loss"


@pytest.mark.parametrize(
    ("family", "method"), [("dcgan", "early-bird"), ("sngan", "global"), ("gfmn", "strong"), ("gfmn", "strong-global")]
)
def test_generators_are_drawn_from_their_tickets(family: str, method: str, tmp_path: Path, capsys: Any) -> None:
    steps = ["--training.steps", "20", "--training.batch", "8", "--quality.samples", "16", "--controls", "last"]
    words = ["find", family, *SHORT[2:], *steps, "--method", method]
    found = call(capsys, words, tmp_path)
    assert found["quality"].keys() == {"name", "dense", "ticket", "random", "reinit"}
    assert main(["sample", found["ticket"], "--count", "2", "--out", str(tmp_path / "drawn")]) == 0
    assert opened(Ticket.load(found["ticket"])).trained == (family != "gfmn")
