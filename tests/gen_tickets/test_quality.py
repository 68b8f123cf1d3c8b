"""Scores: against other implementations, by their names, from the cache, over seeds, with the warnings they need."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import Tensor

from common.runs.stats import estimate
from gen_tickets._classifier import Classifier
from gen_tickets.data import Images, as_floats, load
from gen_tickets.extractors import Extractor, wrap
from gen_tickets.quality import collect, over_seeds, score


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GLT_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture(scope="module")
def images() -> Images:
    return load("digits")


@pytest.fixture(scope="module")
def extractor() -> Extractor:
    """Random features of digits."""
    torch.manual_seed(0)
    return wrap("random", Classifier(1, (16, 32), 10), (1, 8, 8))


@pytest.fixture(scope="module")
def noisy(images: Images) -> Tensor:
    noise = 40 * torch.randn(300, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    return (images.train[:300] + noise).clamp(0, 255).to(torch.uint8)


def plain_frechet(a: np.ndarray, b: np.ndarray) -> float:
    """The formula, the trace of the root from eigenvalues of a symmetric product."""
    first, second = np.cov(a.T), np.cov(b.T)
    values, vectors = scipy.linalg.eigh(first)
    root = vectors * np.sqrt(values.clip(0)) @ vectors.T
    cross = np.sqrt(scipy.linalg.eigvalsh(root @ second @ root).clip(0)).sum()
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(first + second) - 2 * cross)


def test_the_frechet_distance_is_that_of_numpy_and_of_torchmetrics(
    images: Images, extractor: Extractor, noisy: Tensor
) -> None:
    from torchmetrics.image.fid import FrechetInceptionDistance

    class Features(torch.nn.Module):
        num_features = 64

        def forward(self, pixels: Tensor) -> Tensor:
            return extractor(pixels)[0]

    found = score(noisy, images, extractor)
    real = extractor(images.test)[0].numpy()
    assert found.frechet == pytest.approx(plain_frechet(extractor(noisy)[0].numpy(), real), rel=1e-6)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        metric = FrechetInceptionDistance(Features(), input_img_size=(1, 8, 8)).set_dtype(torch.float64)
    metric.update(noisy, real=False)
    metric.update(images.test, real=True)
    assert found.frechet == pytest.approx(metric.compute().item(), rel=1e-6)


class Pixels(torch.utils.data.Dataset[Tensor]):
    """A tensor as torch-fidelity takes it."""

    def __init__(self, pixels: Tensor) -> None:
        self.pixels = pixels

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> Tensor:
        return self.pixels[index]


def test_every_score_is_torch_fidelitys_own(images: Images, extractor: Extractor, noisy: Tensor) -> None:
    from torch_fidelity import calculate_metrics

    found = score(noisy, images, extractor, seed=5, subsets=20, subset_size=100)
    wanted = calculate_metrics(
        input1=Pixels(noisy), input2=Pixels(images.test), feature_extractor=extractor.registered, isc=True, fid=True,
        kid=True, prc=True, kid_subsets=20, kid_subset_size=100, rng_seed=5, batch_size=250, cuda=False, cache=False,
        save_cpu_ram=True, verbose=False,
    )  # fmt: skip
    assert found.frechet == pytest.approx(wanted["frechet_inception_distance"], rel=1e-9)
    assert found.kernel.mean == pytest.approx(wanted["kernel_inception_distance_mean"], rel=1e-9)
    assert found.precision == wanted["precision"]
    assert found.recall == wanted["recall"]
    assert found.classifier[0] == pytest.approx(wanted["inception_score_mean"], rel=1e-9)
    assert found.classifier[1] == pytest.approx(wanted["inception_score_std"], rel=1e-6)
    spread = wanted["kernel_inception_distance_std"]  # divided by 20, not by 19
    assert found.kernel.std == pytest.approx(spread * (20 / 19) ** 0.5, rel=1e-9)


def test_only_inception_gives_fid(images: Images, extractor: Extractor, noisy: Tensor) -> None:
    found = score(noisy, images, extractor, subset_size=100)
    assert list(found.scores) == ["FD[random]", "KD[random]", "precision[random]", "recall[random]", "CS[random]"]
    for text in (str(found), str(found.as_dict())):
        assert "FID" not in text
        assert "KID" not in text
        assert "IS[" not in text
    colour = wrap("colour", Classifier(3, (8,), 10), (3, 8, 8))
    proper = score(noisy, images, replace(colour, name="inception", image=None), subset_size=100)
    assert list(proper.scores)[:2] == ["FID[inception]", "KID[inception]"]
    assert proper.label("classifier") == "IS[inception]"
    assert any("grey images" in text for text in proper.warnings)


def test_what_a_score_depends_on_stands_beside_it(images: Images, extractor: Extractor, noisy: Tensor) -> None:
    found = score(noisy, images, extractor, seed=7, subset_size=100, neighbours=5).as_dict()
    about = {
        name: found[name] for name in ("extractor", "fake", "real", "seed", "neighbours", "subsets", "subset_size")
    }
    assert about == {
        "extractor": "random", "fake": 300, "real": 360, "seed": 7, "neighbours": 5, "subsets": 100, "subset_size": 100,
    }  # fmt: skip
    assert found["sha256"] == extractor.sha256
    assert found["against"].startswith("digits/test#")
    assert found["warnings"] == []
    assert set(found["KD[random]"]) == {"mean", "std", "ci95"}
    assert score(noisy, images, extractor, split="train").against.startswith("digits/train#")
    assert score(noisy, images.test, extractor).against.replace("images", "digits/test") == found["against"]


def test_batches_of_a_generator_are_the_same_images(images: Images, extractor: Extractor, noisy: Tensor) -> None:
    def generator() -> Iterator[Tensor]:
        yield from as_floats(noisy).split(70)

    whole = score(noisy, images, extractor)
    for fake in (generator(), as_floats(noisy), [part.requires_grad_() for part in generator()]):
        assert score(fake, images, extractor) == whole


def test_real_features_are_computed_once(
    images: Images, extractor: Extractor, noisy: Tensor, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    call = Extractor.__call__

    def counted(self: Extractor, pixels: Tensor, *args: object, **more: object) -> tuple[Tensor, Tensor]:
        seen.append(len(pixels))
        return call(self, pixels, *args, **more)

    monkeypatch.setattr(Extractor, "__call__", counted)
    first = score(noisy, images, extractor)
    assert score(noisy, images, extractor) == first
    assert seen == [300, 360, 300]
    stored = next(home.rglob("features.safetensors"))
    stored.write_bytes(stored.read_bytes()[:-8])
    assert score(noisy, images, extractor) == first
    other = wrap("random", Classifier(1, (16, 32), 10), (1, 8, 8))
    assert score(noisy, images, other).frechet != first.frechet
    assert score(noisy, images.test.flip(0), extractor).frechet == pytest.approx(first.frechet, rel=1e-6)
    assert seen[3:] == [300, 360, 300, 360, 300, 360]
    home.rename(home.with_name("gone"))
    home.write_text("a file where the cache should be")
    assert score(noisy, images, extractor) == first


def test_too_few_images_are_said(images: Images, extractor: Extractor) -> None:
    few = score(images.train[:40], images, extractor)
    assert few.settings.subset_size == 20
    assert any("too few for subsets of 1000: the kernel distance takes 20" in text for text in few.warnings)
    assert any("40 images are fewer than features + 1 (65)" in text for text in few.warnings)
    enough = score(images.train, images, extractor, subset_size=300)
    assert enough.warnings == ()
    with pytest.raises(ValueError, match=r"found 7 generated and 360 real images.*at least 8 images each"):
        score(images.train[:7], images, extractor)
    for settings in ({"subsets": 0}, {"subset_size": 1}, {"neighbours": 0}, {"neighbours": 360}):
        with pytest.raises(ValueError, match="correct the setting"):
            score(images.train, images, extractor, **settings)
    with pytest.raises(ValueError, match="the split 'val'"):
        score(images.train, images, extractor, split="val")


def test_a_collapsed_generator_scores_badly(images: Images, extractor: Extractor) -> None:
    one = score(images.train[:1].expand(100, 1, 8, 8), images, extractor)
    many = score(images.train[:100], images, extractor)
    assert one.frechet > 3 * many.frechet
    assert one.recall < 0.05 < many.recall
    assert one.classifier[0] == pytest.approx(1.0)


def test_generated_images_are_checked() -> None:
    grid = torch.zeros(2, 1, 8, 8)
    for message, fake in {
        "found no generated image": [],
        r"a batch of shape \(1, 8, 8\)": grid[0],
        r"a batch of shape \(2, 1, 4, 4\)": [grid, grid[:, :, :4, :4]],
        "float32 up to nan": grid + torch.nan,
        "float32 up to 255": grid + 255,
        "int64 up to 0": grid.long(),
    }.items():
        with pytest.raises(ValueError, match=message):
            collect(fake)
    assert "as if the images were in [0, 1]" in collect(grid)[1][0]
    assert collect(grid - 0.1)[1] == []
    assert collect(iter([grid.byte()]))[1] == []


def test_seeds_together(images: Images, extractor: Extractor) -> None:
    found = [score(images.train[start : start + 100], images, extractor, seed=start) for start in (0, 100, 200)]
    together = over_seeds(found)
    assert together["FD[random]"] == estimate(part.frechet for part in found)
    assert list(together) == list(found[0].scores)
    for other, message in (
        (score(images.train[:120], images, extractor, seed=9), "fake 100 and 120|fake 120 and 100"),
        (score(images.train[:100], images, extractor, seed=9, split="train"), "against digits/t"),
        (found[0], "expected one a seed"),
    ):
        with pytest.raises(ValueError, match=message):
            over_seeds([*found, other])
    with pytest.raises(ValueError, match="found 0 scores"):
        over_seeds([])
