"""Small graphs and settings that the tests of `glt` share."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from glt.config import UGS, Find, Network, Training, preset
from glt.data import Graph


def two_blocks(nodes: int = 60, seed: int = 0) -> Graph:
    """Two communities with noisy features: easy, quick, undirected."""
    rng = np.random.default_rng(seed)
    y = np.arange(nodes) % 2
    link = rng.random((nodes, nodes)) < np.where(y[:, None] == y[None], 0.2, 0.02)
    link = np.triu(link, 1)
    link |= link.T
    x = rng.normal(size=(nodes, 6)) + y[:, None]
    split = rng.permutation(nodes)
    masks = [torch.zeros(nodes, dtype=torch.bool) for _ in range(3)]
    for mask, part in zip(masks, (split[:20], split[20:40], split[40:]), strict=True):
        mask[part] = True
    edge_index = torch.from_numpy(np.stack(link.nonzero()))
    return Graph("blocks", torch.from_numpy(x).float(), edge_index, torch.from_numpy(y), *masks)


@pytest.fixture(name="graph")
def _graph() -> Graph:
    return two_blocks()


@pytest.fixture(name="config")
def _config() -> Find:
    """Two rounds of a few epochs, one seed, one process."""
    config = Find(
        rounds=2, edges_density=0.64, weights_density=0.25, seeds=1, jobs=1, network=Network(hidden=8),
        training=Training(epochs=6), ugs=UGS(epochs=5),
    )  # fmt: skip
    return preset(config)


@pytest.fixture(name="npz")
def _npz(tmp_path, graph: Graph) -> str:
    """The small graph as a file of the user's own."""
    path = tmp_path / "blocks.npz"
    fields = {name: getattr(graph, name).numpy() for name in ("x", "edge_index", "y", "train", "val", "test")}
    np.savez(path, **fields)
    return str(path)


def with_edges(graph: Graph, edge_index: torch.Tensor) -> Graph:
    """The same nodes on other edges."""
    return replace(graph, edge_index=edge_index)
