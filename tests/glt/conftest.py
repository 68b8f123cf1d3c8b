"""Small graphs and settings that the tests of `glt` share."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from common.masks import Masks, prunable
from common.ticket import Ticket
from glt.config import UGS, Find, Network, Training, preset
from glt.data import Graph
from glt.data_file import write_npz
from glt.methods.search import Search
from glt.models import EDGES
from glt.trial import build, densities, task_of


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


def written(folder: Path, graph: Graph) -> str:
    """Write a graph, and say where."""
    return str(write_npz(graph, folder / f"{graph.name}.npz"))


@pytest.fixture(name="blocks", scope="session")
def _blocks(tmp_path_factory: pytest.TempPathFactory) -> str:
    return written(tmp_path_factory.mktemp("data"), two_blocks(50, seed=1))


@pytest.fixture(name="other")
def _other() -> Graph:
    """A draw of the same kind that `graph` is, of its own size."""
    return replace(two_blocks(90, seed=1), name="other")


@pytest.fixture(name="file")
def _file(tmp_path: Path) -> Callable[[Graph], str]:
    return partial(written, tmp_path)


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


@pytest.fixture(name="search")
def _search(graph: Graph) -> Callable[..., Search]:
    """What a method is given, for its own settings; the dense network is not trained."""

    def search(config: Find, edges: list[torch.Tensor] | None = None) -> Search:
        model = build(graph, config, 0)
        whole = Masks.dense({EDGES: model.edges.weight, **prunable(model)})
        return Search(
            config, task_of(graph, config), lambda: build(graph, config, 0), densities(config)[1:],
            Ticket(whole, model.state_dict()), whole, 0, edges=edges,
        )  # fmt: skip

    return search


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
