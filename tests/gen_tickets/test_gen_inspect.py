"""`gen-tickets data` and `gen-tickets doctor`, and what either says of bad input."""

from __future__ import annotations

import gzip
import io
import json
import os
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from common.runs import health
from common.runs.cli import Command, main
from gen_tickets import _idx, _inception
from gen_tickets.data import load
from gen_tickets.inspect import moments

DATA = os.environ.get("GLT_DATA")  # before the tests here take it away
COMMANDS = [
    Command("data", "", "gen_tickets._config_tools:Inspect", "gen_tickets.inspect:data", "dataset"),
    Command("doctor", "", "gen_tickets._config_tools:Doctor", "gen_tickets.inspect:doctor"),
]


def tell(*words: str | Path, code: int = 0, capsys: pytest.CaptureFixture[str]) -> tuple[Any, str]:
    assert main("gen-tickets", COMMANDS, [*map(str, words), "--json"]) == code
    shown = capsys.readouterr()
    if code:
        assert shown.out == ""
    return json.loads(shown.out) if code == 0 else None, shown.err


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with nothing but the suite on it."""
    monkeypatch.setenv("GLT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.delenv("GLT_DATA", raising=False)
    return tmp_path / "home"


def mnist(folder: Path, count: int = 4) -> Path:
    """The four idx files, as many images in each split."""
    folder.mkdir(parents=True)
    for number, name in enumerate(_idx.MNIST):
        values = np.full((count, 28, 28), 51, np.uint8) if number % 2 == 0 else np.arange(count, dtype=np.uint8)
        head = struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape)
        (folder / name).write_bytes(head + values.tobytes())
    return folder


def test_the_facts_of_a_set(capsys: pytest.CaptureFixture[str]) -> None:
    facts, shown = tell("data", "digits", capsys=capsys)
    images = load("digits")
    assert [facts[name] for name in ("dataset", "images", "train", "test", "channels", "classes")] == [
        "digits", 1797, 1437, 360, 1, 10,
    ]  # fmt: skip
    assert (facts["shape"], facts["sha256"]) == ([1, 8, 8], images.sha256)
    pixels = images.train.double() / 255
    assert facts["mean"] == pytest.approx([pixels.mean().item()], abs=1e-12)
    assert facts["std"] == pytest.approx([pixels.std(correction=0).item()], abs=1e-12)
    assert f"sha256     {images.sha256}" in shown.splitlines()


def test_every_channel_has_moments_of_its_own() -> None:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (5000, 3, 2, 2), generator=generator, dtype=torch.uint8) // torch.tensor(
        [1, 2, 4], dtype=torch.uint8
    ).view(3, 1, 1)
    mean, std = moments(pixels)
    shares = pixels.double() / 255
    assert mean == pytest.approx(shares.mean((0, 2, 3)).tolist(), abs=1e-12)
    assert std == pytest.approx(shares.std((0, 2, 3), correction=0).tolist(), abs=1e-12)


@pytest.mark.data
def test_the_moments_everybody_normalises_by() -> None:
    mean, std = moments(load("mnist", DATA).train)
    assert (mean[0], std[0]) == (pytest.approx(0.1307, abs=1e-3), pytest.approx(0.3081, abs=1e-3))


def test_where_sets_are(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    places, _ = tell("data", capsys=capsys)
    absent = {"mnist": "not on this machine", "cifar10": "not on this machine"}
    assert places == {"datasets": {"digits": "embedded", **absent}}
    cached = mnist(home / "MNIST" / "raw")
    assert tell("data", capsys=capsys)[0]["datasets"]["mnist"] == str(cached)
    named = mnist(tmp_path / "sets" / "mnist")
    monkeypatch.setenv("GLT_DATA", str(tmp_path / "sets"))
    places, shown = tell("data", capsys=capsys)
    assert places["datasets"]["mnist"] == str(named)
    assert f"mnist      {named}" in shown.splitlines()
    given = mnist(tmp_path / "given")
    assert tell("data", "--data-root", given, capsys=capsys)[0]["datasets"]["mnist"] == str(given)
    for root in (tmp_path / "sets", given):
        facts, _ = tell("data", "mnist", "--data-root", root, capsys=capsys)
        assert (facts["shape"], facts["images"], facts["mean"]) == ([1, 28, 28], 8, [pytest.approx(0.2)])


def test_the_doctor_tries_things(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    facts, shown = tell("doctor", capsys=capsys)
    assert facts["checks"] == dict.fromkeys(
        (
            "torchvision imports", "U-Net denoises", "ticket written and read", "score by torch-fidelity",
            "sparse kernels compile",
        ),
        "ok",
    )  # fmt: skip
    assert (facts["ok"], facts["extractors"]) == (True, {})
    assert facts["inception"].startswith("not on this machine; put weights-inception-2015-12-05-6726825d.pth at ")
    assert "extractors                       none" in shown.splitlines()
    assert list((home / "sparse").rglob("*"))  # kernels were compiled, not found
    for name, text in (("a", '{"accuracy": 0.99}'), ("b", '{"accu')):
        (home / "extractors" / name).mkdir(parents=True)
        (home / "extractors" / name / "extractor.json").write_text(text)
    place = tmp_path / "torch" / _inception.file_name()
    place.parent.mkdir()
    torch.save({"w": torch.zeros(1)}, place)

    def torn() -> None:
        raise OSError("disk full")

    monkeypatch.setattr(health, "ticket", torn)
    _, shown = tell("doctor", code=1, capsys=capsys)
    assert "extractors                       a 0.99" in shown.splitlines()
    assert f"{place} cannot be used: " in shown
    assert "ticket written and read          OSError: disk full" in shown
    assert shown.splitlines()[-1] == "gen-tickets: error: some checks failed: ticket written and read; see above"


def test_inceptions_weights_at_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "torch" / _inception.file_name()
    place.parent.mkdir()
    torch.save({"w": torch.zeros(1)}, place)
    monkeypatch.setattr(_inception, "begins", lambda: "")
    assert tell("doctor", capsys=capsys)[0]["inception"] == str(place)


def png(shape: tuple[int, ...] = (8, 8), shade: int = 9) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full(shape, shade, np.uint8)).save(file, "png")
    return file.getvalue()


GREY = {"a.png": png(), "b.png": png()}
BAD: dict[str, tuple[dict[str, bytes], int, str]] = {
    "corrupt": ({"a.png": png(), "b.png": png()[:50]}, 1, "b.png: found a damaged image"),
    "grey and colour": ({**GREY, "c.png": png((8, 8, 3))}, 1, "c.png: found 3 channels; expected 1"),
    "sizes": ({**GREY, "c.png": png((9, 8))}, 1, "c.png: found 9x8 pixels; expected 8x8"),
    "one": ({"a.png": png()}, 1, "found 1 image; expected at least 2"),
    "none": ({"a.txt": b"text"}, 1, "found no image; expected png or jpg files"),
    "a zip cut short": ({"set.zip": b"PK\x03\x04 and no more"}, 1, "set.zip: found a damaged zip"),
    "no npz": ({"set.npz": b"text"}, 1, "set.npz: found damaged data"),
    "no such zip": ({"a.txt": b""}, 3, "there is no folder, .zip or .npz"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_images_get_one_clear_line(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files, code, text = BAD[name]
    folder = tmp_path / "set"
    folder.mkdir()
    for file, content in files.items():
        (folder / file).write_bytes(content)
    only = next(iter(files))
    place = folder / only if only.startswith("set.") else folder / "gone.zip" if code == 3 else folder
    _, shown = tell("data", place, code=code, capsys=capsys)
    assert text in shown
    assert len(shown.splitlines()) == 1


def test_an_idx_file_cut_short_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw = mnist(tmp_path / "MNIST" / "raw")
    images = raw / _idx.MNIST[0]
    whole = images.read_bytes()
    for content, text in (
        (whole[:-1], f"{images}: found {len(whole) - 1} bytes; expected {len(whole)}, as its header says"),
        (gzip.compress(whole)[:-9], f"{images}: found a damaged gzip file"),
    ):
        images.write_bytes(content)
        _, shown = tell("data", "mnist", "--data-root", tmp_path, code=1, capsys=capsys)
        assert text in shown
        assert len(shown.splitlines()) == 1


def test_a_zip_with_a_damaged_image(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        archive.writestr("a.png", png())
        archive.writestr("b.png", png()[:-30])
    _, shown = tell("data", tmp_path / "set.zip", code=1, capsys=capsys)
    assert "set.zip: b.png: found a damaged image" in shown
