"""Extractors: trained once, known by their hash, registered with torch-fidelity, never passed off as another."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from common.runs.errors import MissingData, UsageError
from gen_tickets import _classifier, _inception
from gen_tickets.data import Images, load
from gen_tickets.extractors import Extractor, wrap
from gen_tickets.extractors import load as extractor


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache of this module's own."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("home")
        patch.setenv("GLT_HOME", str(folder))
        yield folder


@pytest.fixture(scope="module")
def cnn(home: Path) -> Extractor:
    return extractor("digits-cnn")


@pytest.fixture
def untrained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever trains now, fails."""

    def fail(*_: object) -> None:
        raise AssertionError("it was trained again")

    monkeypatch.setattr(_classifier, "train", fail)


def test_a_classifier_knows_its_digits(cnn: Extractor) -> None:
    images = load("digits")
    assert cnn.trained["accuracy"] > 0.97
    assert cnn.trained["data"] == images.sha256
    features, logits = cnn(images.test)
    assert (features.shape, logits.shape, cnn.features) == ((360, 64), (360, 10), 64)
    assert float((logits.argmax(1) == images.labels_test).double().mean()) == cnn.trained["accuracy"]
    assert float(features.std(0).min()) > 1e-3  # no feature is dead


def test_what_is_spoilt_is_farther_than_what_is_real(cnn: Extractor) -> None:
    rows = cnn.trained["sanity"]
    assert list(rows) == ["real", "noise", "blur", "missing class"]
    assert all(rows[name] > 1.3 * rows["real"] for name in ("noise", "blur", "missing class"))


@pytest.mark.usefixtures("untrained")
def test_it_is_trained_once(cnn: Extractor, home: Path) -> None:
    again = extractor("digits-cnn")
    assert (again.sha256, dict(again.trained)) == (cnn.sha256, dict(cnn.trained))
    pixels = load("digits").test
    assert torch.equal(again(pixels)[0], cnn(pixels)[0])
    assert sorted(path.name for path in home.rglob("*.*") if path.is_file()) == [
        "extractor.json", "extractor.safetensors",
    ]  # fmt: skip
    with pytest.raises(AssertionError, match="trained again"):
        extractor("digits-cnn", seed=1)
    fewer = load("digits")
    with pytest.raises(AssertionError, match="trained again"):
        extractor("digits-cnn", replace(fewer, train=fewer.train[:-1], labels_train=fewer.labels_train[:-1]))


def test_a_damaged_one_is_trained_again_to_the_same_bits(cnn: Extractor, home: Path) -> None:
    stored = next(home.rglob("extractor.safetensors"))
    content = stored.read_bytes()
    stored.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    torch.manual_seed(99)
    before = torch.get_rng_state()
    assert extractor("digits-cnn").sha256 == cnn.sha256
    assert torch.equal(torch.get_rng_state(), before)
    assert stored.read_bytes() == content


def test_images_of_ones_own(home: Path, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(256, size=(80, 3, 12, 12), dtype=np.uint8)
    labels = np.arange(80) % 2
    pixels[labels == 1] //= 4
    np.savez(tmp_path / "dusk.npz", images=pixels, labels=labels)
    images = load(str(tmp_path / "dusk.npz"))
    made = extractor("dusk-cnn", images)
    assert (made.name, made.image, made.trained["accuracy"]) == ("dusk-cnn", (3, 12, 12), 1.0)
    bare = Images("dusk", images.train, images.test)
    with pytest.raises(ValueError, match="dusk: found no labels"):
        extractor("dusk-cnn", bare)
    with pytest.raises(UsageError, match="These images go with dusk-cnn"):
        extractor("digits-cnn", images)


def test_torch_fidelity_creates_it_by_name(cnn: Extractor) -> None:
    from torch_fidelity.utils import create_feature_extractor

    pixels = load("digits").test[:9]
    made = create_feature_extractor(cnn.registered, ["logits"], cuda=False, verbose=False)
    assert torch.equal(made(pixels)[0], cnn(pixels)[1])
    assert cnn.registered == f"digits-cnn-{cnn.sha256[:12]}"


class Sums(nn.Module):
    """Two features and two logits by arithmetic."""

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        totals = images.float().flatten(2).sum(2)
        return totals[:, :2], totals[:, -2:]


def test_networks_of_ones_own() -> None:
    pixels = torch.arange(24, dtype=torch.uint8).reshape(2, 3, 2, 2)
    made = wrap("sums", Sums(), (3, 2, 2))
    assert made(pixels)[0].tolist() == [[6.0, 22.0], [54.0, 70.0]]
    assert made(pixels, batch=1)[1].tolist() == [[22.0, 38.0], [70.0, 86.0]]
    assert made(pixels)[0].dtype is torch.float64
    with pytest.raises(UsageError, match="no FID"):
        wrap("inception", Sums(), (3, 2, 2))
    for bad in (pixels.float(), pixels[0], pixels[:, :1], pixels[:0]):
        with pytest.raises(ValueError, match=r"sums: found images of .* expected uint8 \(N, 3, 2, 2\)"):
            made(bad)


def test_grey_images_are_repeated_for_inception_only() -> None:
    colour = replace(wrap("sums", Sums(), (3, 2, 2)), name="inception", image=None)
    grey = torch.tensor([[[[1, 2], [3, 4]]]], dtype=torch.uint8)
    assert colour(grey)[0].tolist() == [[10.0, 10.0]]
    with pytest.raises(ValueError, match=r"inception: .*expected uint8 \(N, C, H, W\) with 1 or 3 channels"):
        colour(grey.expand(1, 2, 2, 2))


def test_unknown_names() -> None:
    with pytest.raises(UsageError, match="Did you mean mnist-cnn"):
        extractor("mnits-cnn")
    with pytest.raises(UsageError, match="expected one of inception, digits-cnn, mnist-cnn, cifar10-cnn"):
        extractor("mnist")


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without Inception's file and without a network; where the file belongs."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("GLT_OFFLINE", "1")
    return tmp_path / "torch" / "hub" / "checkpoints" / "weights-inception-2015-12-05-6726825d.pth"


def test_inception_that_is_absent_says_where_to_put_it(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for weights in (None, str(nowhere.parent.parent)):
        with pytest.raises(MissingData, match=r"96 MB, its sha256 begins 6726825d") as caught:
            extractor("inception", weights=weights)
        assert str(nowhere) in str(caught.value)
        assert "--weights" in str(caught.value)
    monkeypatch.delenv("GLT_OFFLINE")

    def unreachable(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "download_url_to_file", unreachable)
    with pytest.raises(MissingData, match="The download failed: OSError"):
        extractor("inception")


class Trap:
    """What a hostile file would do when torch-fidelity reads it."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.mkdir, (Path("trapped"),)


def test_inception_is_checked_before_it_is_read(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere.parent.mkdir(parents=True)
    monkeypatch.chdir(nowhere.parent)
    torch.save({"w": torch.zeros(1)}, nowhere)
    with pytest.raises(ValueError, match="expected one that begins 6726825d"):
        extractor("inception")
    digest = hashlib.sha256(nowhere.read_bytes()).hexdigest()
    monkeypatch.setattr(_inception, "begins", lambda: digest[:8])
    for weights in (None, nowhere, nowhere.parent):
        found = extractor("inception", weights=weights)
        assert (found.sha256, found.features, found.name) == (digest, 2048, "inception")
        assert found.options == {"feature_extractor_weights_path": str(nowhere)}
    torch.save({"w": Trap()}, nowhere)
    monkeypatch.setattr(_inception, "begins", lambda: "")
    with pytest.raises(ValueError, match="found more than weights"):
        extractor("inception")
    nowhere.write_bytes(pickle.dumps(Trap(), 2))
    with pytest.raises(ValueError, match="found more than weights"):
        extractor("inception")
    assert not (nowhere.parent / "trapped").exists()
