"""Files of one's own and their damages: read exactly, or refused by path with what was found and what to do."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch_geometric.data import Data

from glt._planetoid import read
from glt.data import Graph, from_npz, from_pyg, load

FIELDS = ("x", "edge_index", "y", "train", "val", "test")


def write(graph: Graph, path: Path, **change: object) -> Path:
    fields = {name: getattr(graph, name).numpy() for name in FIELDS}
    np.savez(path, **(fields | change))
    return path


def damage(path: Path, how: str) -> None:
    content = path.read_bytes()
    if how == "renamed .npy":
        with path.open("wb") as file:
            np.save(file, np.ones(3))
    else:
        damaged = {
            "empty": b"",
            "text": b"x,y\n1,2\n",
            "cut short": content[:-100],
            "flipped": content[:200] + bytes([content[200] ^ 1]) + content[201:],
        }
        path.write_bytes(damaged[how])


@pytest.mark.parametrize(
    ("how", "found"),
    [
        ("empty", "found an empty file"),
        ("text", "found no zip archive"),
        ("cut short", "found a zip archive that was cut short"),
        ("flipped", r"found a damaged x\.npy: its checksum does not fit"),
        ("renamed .npy", r"found a single array \(\.npy\)"),
    ],
)
def test_a_damaged_file_is_named_with_what_to_do(graph: Graph, tmp_path: Path, how: str, found: str) -> None:
    path = write(graph, tmp_path / "mine.npz")
    damage(path, how)
    with pytest.raises(ValueError, match=found) as caught:
        load(str(path))
    text = str(caught.value)
    assert text.startswith(f"{path}: found")
    assert "expected an .npz as numpy.savez writes it, with x, edge_index, y, train, val, test." in text
    assert text.endswith("Write it again, or restore a copy")


def test_no_flipped_byte_changes_a_graph_or_is_unexpected(graph: Graph, tmp_path: Path) -> None:
    whole = write(graph, tmp_path / "mine.npz").read_bytes()
    path = tmp_path / "mine.npz"
    refused = 0
    for at in range(0, len(whole), 61):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 255]) + whole[at + 1 :])
        try:
            assert load(str(path)).sha256 == graph.sha256
        except ValueError as error:
            assert str(path) in str(error)  # noqa: PT017 - either outcome is right
            refused += 1
    assert refused > len(whole) / 61 / 2


def test_objects_are_refused_and_never_unpickled(graph: Graph, tmp_path: Path) -> None:
    path = write(graph, tmp_path / "mine.npz", y=np.array([{}] * 60, dtype=object))
    with pytest.raises(ValueError, match=r"mine\.npz: found Object arrays cannot be loaded"):
        load(str(path))


@pytest.mark.parametrize(
    ("field", "change", "message"),
    [
        ("edge_index", lambda a: a + 0.7, "edge_index must hold integers; found float64"),
        ("y", lambda a: a + 0.5, "y must hold integers; found float64"),
        ("y", lambda a: np.where(a == 1, np.nan, a), "y must hold integers; found float64"),
        ("y", lambda a: np.where(np.arange(60) == 7, 10**7, a), "found labels up to 10000000, of which only 3 occur"),
        ("train", lambda a: a * -1.0, "train must hold a bool a node.*; found float64"),
        ("test", lambda a: a.astype(np.int64), "test must hold a bool a node.*; found int64"),
        ("x", lambda a: a + 1j, "x must hold real numbers; found complex"),
        ("x", lambda a: a[:, :0], r"at least one node and one feature; found shape \(60, 0\)"),
        ("x", lambda a: a[0, 0], r"found shape \(\)"),
        ("x", lambda a: a.astype(str), "x must hold numbers; found <U"),
        ("edge_index", lambda a: a + 1, r"must lie in \[0, 59\] for 60 nodes; found values from"),
        ("edge_index", lambda a: a[:1].repeat(2, 0), "found .* self-loops and no other edge"),
        ("edge_index", lambda a: a[:, :0], "found 0 self-loops and no other edge"),
    ],
)
def test_nothing_is_rounded_truncated_or_guessed(graph: Graph, tmp_path: Path, field, change, message: str) -> None:
    path = write(graph, tmp_path / "mine.npz", **{field: change(getattr(graph, field).numpy())})
    with pytest.raises(ValueError, match=message) as caught:
        load(str(path))
    assert str(caught.value).startswith(f"{path}: ")


def test_what_can_be_converted_without_loss_is_accepted(graph: Graph, tmp_path: Path) -> None:
    path = write(
        graph,
        tmp_path / "mine.npz",
        x=np.asfortranarray(graph.x.double().numpy()).astype(">f8"),
        edge_index=graph.edge_index.numpy().astype(np.uint16),
        y=graph.y.numpy().astype(np.int8),
    )
    assert load(str(path)).sha256 == graph.sha256


def test_edge_weights_are_not_dropped_without_a_word(graph: Graph, tmp_path: Path) -> None:
    weights = np.ones(graph.edge_index.size(1))
    path = write(graph, tmp_path / "mine.npz", edge_weight=weights)
    with pytest.warns(UserWarning, match=r"mine\.npz: edge_weight is not used; every edge starts with weight 1"):
        assert from_npz(path).sha256 == graph.sha256
    data = Data(x=graph.x, edge_index=graph.edge_index, y=graph.y, edge_weight=torch.from_numpy(weights))
    data.train_mask, data.val_mask, data.test_mask = graph.train, graph.val, graph.test
    with pytest.warns(UserWarning, match="data: edge_weight is not used"):
        assert from_pyg(data).sha256 == graph.sha256


def test_pyg_data_is_checked_by_its_own_names(graph: Graph) -> None:
    data = Data(x=graph.x, edge_index=graph.edge_index, y=graph.y)
    data.train_mask, data.val_mask, data.test_mask = graph.train, graph.val.float(), graph.test
    with pytest.raises(ValueError, match=r"mine: val_mask must hold a bool a node.*found float32"):
        from_pyg(data, "mine")
    data.val_mask, data.x = graph.val, graph.x.to_sparse()
    with pytest.raises(ValueError, match=r"mine: x must be a dense tensor; found torch\.sparse_coo"):
        from_pyg(data, "mine")


def test_the_hash_is_of_features_labels_splits_and_edges(graph: Graph, tmp_path: Path) -> None:
    shuffled = graph.edge_index[:, torch.randperm(graph.edge_index.size(1), generator=torch.Generator().manual_seed(0))]
    loops = torch.cat([shuffled, shuffled[:, :3], torch.tensor([[5], [5]])], 1).numpy()
    assert load(str(write(graph, tmp_path / "same.npz", edge_index=loops))).sha256 == graph.sha256
    x, y, edges = graph.x.clone(), graph.y.clone(), graph.edge_index[:, 1:]
    x[3, 2] += 1e-3
    y[3] = 1 - y[3]
    swapped = {"val": graph.test.numpy(), "test": graph.val.numpy()}
    changes = [{"x": x.numpy()}, {"y": y.numpy()}, {"edge_index": edges.numpy()}, swapped]
    hashes = {load(str(write(graph, tmp_path / "other.npz", **change))).sha256 for change in changes}
    assert len(hashes | {graph.sha256}) == 5


@pytest.mark.data
@pytest.mark.parametrize(
    ("part", "keep", "found"),
    [
        ("allx", 1000, "ind.cora.allx"),
        ("graph", 0, "ind.cora.graph"),
        ("test.index", 0, "ind.cora.test.index"),
        ("test.index", 2500, ""),  # a whole file, but too few numbers
    ],
)
def test_a_damaged_planetoid_file_is_named(tmp_path: Path, part: str, keep: int, found: str) -> None:
    raw = tmp_path / "Cora" / "raw"
    shutil.copytree(Path(os.environ["GLT_DATA"]) / "planetoid" / "Cora" / "raw", raw)
    path = raw / f"ind.cora.{part}"
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match="found damaged data") as caught:
        read("Cora", tmp_path)
    assert str(caught.value).startswith(f"{raw / found}: found")
    assert "expected Cora as published" in str(caught.value)
    assert "downloaded again" in str(caught.value)
