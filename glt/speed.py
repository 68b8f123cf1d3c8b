"""`glt speed`: a ticket's full-graph inference beside the dense network in every form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from common.masks import Masks
from common.runs.errors import UsageError
from common.runs.manifest import cpu_model, peak_rss_mb
from common.runs.progress import Console
from common.runs.race import race
from common.scoped import threads
from glt.config import Speed
from glt.convs import GCNConv
from glt.data import Graph, load
from glt.edges import Edges
from glt.features import Features
from glt.infer import Inference
from glt.models import EDGES, GCN, WEIGHTS, GraphModel
from glt.predict import open_ticket

__all__ = ["pyg_network", "run"]


def run(config: Speed, console: Console) -> dict[str, Any]:
    """Time all engines and compare.

    `pyg`: torch-geometric's `GCNConv`, all edges and weights, normalised once. `masked`: the suite's own forward of the
    pruned model, with its weights as zeros. `dense-csr`: `Inference` with all edges and weights. `ticket`: `Inference`
    of the ticket.

    Returns:
        `engines` (name to `seconds`, `seconds_min`, `seconds_max`), `speedup_dense_csr`, `speedup_pyg` (null without
        it), `speedup_masked`, `max_abs_diff` (ticket against masked), `max_abs_diff_dense` (dense-csr against pyg),
        `backends`, and what was measured: `threads`, `edges_density`, `weights_density`, `dataset`, `nodes`, `edges`,
        `widths`, `peak_rss_mb`, `torch`, `hardware`.

    Raises:
        UsageError: a setting is out of its range.
        TicketError: the ticket cannot be read, or belongs to another graph.
        MissingData: the data set is not at hand.
    """
    _check(config)
    with threads(config.threads), torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(config.seed)
        graph, dense, model, masks = _networks(config)
        if not isinstance(model.net, GCN):
            raise UsageError(f"found a ticket of a {type(model.net).__name__}; glt speed times GCN only, so far")
        edges, weights = model.edges.count(masks[EDGES]), masks.only(WEIGHTS)
        kept = edges["kept"] / max(1, edges["total"])
        console.line(f"{graph.name}: {kept:.1%} of {edges['total']:,} edges and {weights.density:.1%} of weights kept")
        found = _timed(graph, dense, model, masks, config)
    _show(found, console)
    return {
        **found,
        "threads": config.threads,
        "edges_density": kept,
        "weights_density": weights.density,
        "dataset": graph.name,
        "nodes": graph.x.size(0),
        "edges": edges["total"],
        "peak_rss_mb": round(peak_rss_mb(), 1),
        "torch": torch.__version__,
        "hardware": f"{cpu_model()}, {torch.backends.cpu.get_cpu_capability()}",
    }


def _timed(graph: Graph, dense: GraphModel, model: GraphModel, masks: Masks, config: Speed) -> dict[str, Any]:
    """All engines in turn, and how far they differ."""
    x = Features(graph.x)
    full = Inference(dense, backend=config.backend, threads=config.threads)
    ticket = Inference(model, masks, backend=config.backend, threads=config.threads)
    engines: dict[str, Callable[[], Tensor]] = {
        "masked": lambda: model(x),
        "dense-csr": lambda: full(x),
        "ticket": lambda: ticket(x),
    }
    if config.pyg:
        rival, edge_index = pyg_network(dense), dense.edges.edge_index
        engines["pyg"] = lambda: rival(graph.x, edge_index)
    times = race(engines, config.repeats)
    far = float((engines["pyg"]() - full(x)).abs().max()) if config.pyg else None
    return {
        "engines": times,
        **_ratios(times),
        "max_abs_diff": float((model(x) - ticket(x)).abs().max()),
        "max_abs_diff_dense": far,
        "backends": {"dense-csr": full.choices, "ticket": ticket.choices},
        "widths": [full.features, *full.units[1:]],
    }


def pyg_network(model: GraphModel) -> nn.Module:
    """The same network of torch-geometric's layers, called with (N, F) features and (2, E) edges.

    Args:
        model: a GCN whose degrees count incoming edges, as torch-geometric's do.
    """
    from torch_geometric import nn as pyg

    class Stack(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convs = nn.ModuleList()
            for ours in _convs(model):
                theirs = pyg.GCNConv(
                    ours.lin.in_features, ours.lin.out_features, cached=True, bias=ours.bias is not None
                )
                theirs.load_state_dict(ours.state_dict())
                self.convs.append(theirs)

        def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
            for number, conv in enumerate(self.convs):
                x = conv(x if number == 0 else x.relu_(), edge_index)
            return x

    return Stack().eval()


def _convs(model: nn.Module) -> list[GCNConv]:
    return [module for module in model.modules() if isinstance(module, GCNConv)]


def _check(config: Speed) -> None:
    for name, value in (
        ("threads", config.threads),
        ("repeats", config.repeats),
        ("network.hidden", config.network.hidden or 0),
        ("network.depth", config.network.depth),
    ):
        if value < 1:
            raise UsageError(f"--{name} must be at least 1; found {value}")
    for name, share in (("edges-density", config.edges_density), ("weights-density", config.weights_density)):
        if not 0 < share <= 1:
            raise UsageError(f"--{name} is the share to keep and must lie in (0, 1]; found {share:g}")


def _networks(config: Speed) -> tuple[Graph, GraphModel, GraphModel, Masks]:
    """The graph, a dense network, the pruned one with zeros in place, and the masks."""
    if config.ticket is not None:
        ticket, graph, model = open_ticket(config.ticket, config.dataset, config.data_root)
        convs = _convs(model)
        return graph, _network(graph, convs[0].lin.out_features, len(convs)), model, ticket.masks
    graph = load(config.dataset or "photo-grid", config.data_root)
    dense, model = (_network(graph, config.network.hidden or 0, config.network.depth) for _ in range(2))
    pairs = torch.rand(model.edges.count()["total"]) < config.edges_density
    masks = Masks({EDGES: pairs[model.edges.pair] if model.edges.symmetric else pairs})
    for name, weight in model.net.named_parameters(prefix="net"):
        masks[name] = torch.rand_like(weight) < config.weights_density
        weight.mul_(masks[name]).div_(config.weights_density**0.5)  # so that logits keep their size
    model.edges.weight.mul_(masks[EDGES])
    return graph, dense, model, masks


def _network(graph: Graph, hidden: int, depth: int) -> GraphModel:
    """A network without bias, in eval mode, whose logits are of about the features' size."""
    net = GCN(graph.x.size(1), hidden, graph.classes, depth=depth)
    for weight in net.parameters():
        torch.nn.init.kaiming_normal_(weight)
    return GraphModel(net, Edges(graph.edge_index, graph.x.size(0))).eval()


def _ratios(times: dict[str, dict[str, float]]) -> dict[str, float | None]:
    ticket = times["ticket"]["seconds"]
    rivals = {"speedup_dense_csr": "dense-csr", "speedup_pyg": "pyg", "speedup_masked": "masked"}
    return {key: times[name]["seconds"] / ticket if name in times else None for key, name in rivals.items()}


def _show(found: dict[str, Any], console: Console) -> None:
    for name, times in sorted(found["engines"].items(), key=lambda item: item[1]["seconds"]):
        console.line(f"{name:14} {times['seconds']:8.4f} s  ({times['seconds_min']:.4f} to {times['seconds_max']:.4f})")
    against = f" and {found['speedup_pyg']:.2f}x torch-geometric" if found["speedup_pyg"] is not None else ""
    console.line(
        f"ticket is {found['speedup_dense_csr']:.2f}x dense-csr{against}; largest difference from the masked model "
        f"{found['max_abs_diff']:.1e}"
    )
