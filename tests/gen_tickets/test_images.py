"""Images: the embedded set, idx files, CIFAR-10 without foreign code, folders, batches that go on, and refusals."""

from __future__ import annotations

import gzip
import os
import pickle
import struct
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from common.runs.cli import run_main
from common.runs.errors import MissingData, UsageError
from gen_tickets import _cifar, _idx
from gen_tickets.data import Images, as_bytes, as_floats, batches, digits, load, picks


def idx(values: np.ndarray) -> bytes:
    """Bytes as MNIST's authors describe them."""
    return struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape) + values.astype(np.uint8).tobytes()


@pytest.fixture
def mnist(tmp_path: Path) -> Path:
    """Five images to train on, gzipped, and three to test on."""
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for number, (count, ending) in enumerate([(5, ".gz"), (5, ".gz"), (3, ""), (3, "")]):
        content = idx(np.full((count, 28, 28), 7) if number % 2 == 0 else np.arange(count))
        (raw / f"{_idx.MNIST[number]}{ending}").write_bytes(gzip.compress(content, mtime=0) if ending else content)
    return raw


def test_digits_are_the_same_on_every_machine() -> None:
    images = load("Digits")
    assert (images.name, images.shape, images.classes) == ("digits", (1, 8, 8), 10)
    assert (len(images.train), len(images.test)) == (1437, 360)
    assert images.sha256.startswith("9374bbf2ce0a")
    assert sorted(images.train.unique().tolist()) == [round(level * 255 / 16) for level in range(17)]
    assert digits(seed=1).sha256 != images.sha256
    assert images.labels_test is not None
    assert images.labels_test.bincount().min() > 20


@pytest.mark.data
@pytest.mark.parametrize(("name", "shape", "tests"), [("mnist", (1, 28, 28), 10000), ("cifar10", (3, 32, 32), 10000)])
def test_the_real_sets(name: str, shape: tuple[int, int, int], tests: int) -> None:
    images = load(name)
    assert (images.shape, len(images.test), images.classes) == (shape, tests, 10)
    assert len(images.train) >= 2 * tests
    means = {"mnist": 33.3, "cifar10": 120.7}  # 0.1307 and 0.4734 of 255, as everybody normalises by
    assert float(images.train.float().mean()) == pytest.approx(means[name], abs=1.5)


def test_idx_files_gzipped_or_not(mnist: Path) -> None:
    for root in (mnist.parent.parent, mnist):
        images = load("mnist", root)
        assert (tuple(images.train.shape), tuple(images.test.shape)) == ((5, 1, 28, 28), (3, 1, 28, 28))
        assert images.labels_train is not None
        assert images.labels_train.tolist() == [0, 1, 2, 3, 4]
        assert bool((images.train == 7).all())


@pytest.mark.parametrize(
    ("number", "content", "message"),
    [
        (2, idx(np.zeros((3, 28, 28)))[:-1], r"t10k-images.*found 2367 bytes; expected 2368.*3 x 28 x 28"),
        (2, idx(np.zeros((3, 28, 28)))[:9], "found 9 bytes; expected a header of 16"),
        (3, idx(np.zeros((3, 28, 28))), "begins with 00000803; expected 00000801"),
        (3, b"", "begins with nothing"),
        (2, gzip.compress(idx(np.zeros((3, 28, 28))), mtime=0)[:-9], "damaged gzip"),
        (3, idx(np.arange(2)), "found 2 labels; expected one for each of 3 images"),
    ],
)
def test_a_damaged_idx_file_is_named(mnist: Path, number: int, content: bytes, message: str) -> None:
    (mnist / _idx.MNIST[number]).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        load("mnist", mnist)


def test_a_set_that_is_absent_says_where_to_put_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("GLT_DATA", raising=False)
    monkeypatch.setenv("GLT_HOME", str(tmp_path / "cache"))
    with pytest.raises(MissingData, match=r"t10k-labels-idx1-ubyte.*cache/MNIST/raw.*GLT_DATA"):
        load("mnist", tmp_path)
    with pytest.raises(MissingData, match=r"data_batch_5, test_batch.*test\.npz"):
        load("cifar10")
    with pytest.raises(MissingData, match="there is no folder"):
        load(str(tmp_path / "none.zip"))
    assert run_main("gen-tickets", lambda: len(load("cifar10").train)) == 3
    assert "cifar-10-batches-py" in capsys.readouterr().err
    with pytest.raises(UsageError, match="Did you mean mnist"):
        load("minst")


def cifar(folder: Path, protocol: int = 2) -> dict[bytes, object]:
    """Six pickled batches of two images each; the last of them."""
    folder.mkdir()
    for number, name in enumerate((*_cifar.BATCHES, "test_batch")):
        data = np.full((2, 3072), number, np.uint8)
        data[:, 1024:2048] = 99  # all greens come after all reds
        batch = {b"data": data, b"labels": [number, 0], b"batch_label": b"x"}
        (folder / name).write_bytes(pickle.dumps(batch, protocol))
    return batch


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_pickled_cifar_is_read_in_order(tmp_path: Path, protocol: int) -> None:
    cifar(tmp_path / "cifar-10-batches-py", protocol)
    images = load("cifar10", tmp_path)
    assert images.train[:, 0, 31, 31].tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert images.train[:, 1].unique().tolist() == [99]
    assert images.labels_test is not None
    assert images.labels_test.tolist() == [5, 0]


class Trap:
    """What a hostile pickle would do."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("trapped",)


def test_a_pickle_runs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    batch = cifar(tmp_path / "cifar10")
    path = tmp_path / "cifar10" / "data_batch_3"
    for content in (pickle.dumps(batch | {b"labels": Trap()}), pickle.dumps(Trap())):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"data_batch_3: found damaged data.*mkdir"):
            load("cifar10", tmp_path)
    for content in (b"", pickle.dumps([]), pickle.dumps(batch | {b"labels": [1]}), pickle.dumps(batch)[:-900]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="data_batch_3: found"):
            load("cifar10", tmp_path)
    assert not (tmp_path / "trapped").exists()


def test_cifar_as_npz(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(256, size=(4, 32, 32, 3), dtype=np.uint8)
    for name in ("train20k", "test"):
        np.savez(tmp_path / f"{name}.npz", x=pixels, y=np.arange(4, dtype=np.uint8))
    images = load("cifar10", tmp_path)
    assert torch.equal(images.train, torch.from_numpy(pixels).permute(0, 3, 1, 2))
    np.savez(tmp_path / "test.npz", x=pixels[:, :9], y=np.arange(4))
    with pytest.raises(ValueError, match=r"test\.npz: found x of shape \(4, 9, 32, 3\)"):
        load("cifar10", tmp_path)


def test_batches_go_on_where_they_stopped() -> None:
    images = load("digits")
    straight = list(islice(batches(images, 500, seed=3, flip=True), 5))
    again = list(islice(batches(images.train, 500, seed=3, start=2, flip=True), 3))
    assert all(torch.equal(a, b) for a, b in zip(straight[2:], again, strict=True))
    assert straight[0].shape == (500, 1, 8, 8)
    assert (straight[0].dtype, float(straight[0].min()), float(straight[0].max())) == (torch.float32, -1.0, 1.0)
    assert not torch.equal(straight[0], next(batches(images, 500, seed=4, flip=True)))
    plain = next(batches(images, 500, seed=3))
    mirrored = (straight[0] == plain.flip(-1)).flatten(1).all(1) & (straight[0] != plain).flatten(1).any(1)
    assert 180 < int(mirrored.sum()) < 320
    kept = (straight[0] == plain).flatten(1).all(1)
    assert bool((kept | mirrored).all())


@pytest.mark.parametrize(("total", "size"), [(7, 3), (3, 7), (4, 4), (1, 5)])
def test_every_image_is_drawn_equally_often(total: int, size: int) -> None:
    drawn = torch.cat([picks(total, size, 0, step) for step in range(total)])
    assert drawn.bincount(minlength=total).tolist() == [size] * total
    assert sorted(drawn[:total].tolist()) == list(range(total))


def test_bytes_survive_floats() -> None:
    every = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(as_bytes(as_floats(every)), every)
    with pytest.raises(ValueError, match="batches of 0 from 256 images"):
        next(batches(every, 0))


def test_bad_tensors_are_refused() -> None:
    good = torch.zeros(3, 1, 4, 4, dtype=torch.uint8)
    for message, fields in {
        r"train images of torch.float32": (good.float(), good),
        r"1 or 3 channels": (good.expand(3, 2, 4, 4), good),
        r"\(0, 1, 4, 4\) test images": (good, good[:0]),
        r"\(3, 1, 4, 3\) test images": (good, good[..., :3]),
        r"shape \(2,\) in train": (good, good, torch.zeros(2, dtype=torch.int64)),
        r"the label -1": (good, good, torch.tensor([0, 1, -1])),
    }.items():
        with pytest.raises(ValueError, match=message):
            Images("x", *fields)
