"""`glt speed`: a ticket's full-graph inference beside the dense network in every form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from common.masks import Masks, prunable
from common.runs.errors import UsageError
from common.runs.manifest import hardware, peak_rss_mb
from common.runs.progress import Console
from common.runs.race import race
from common.runs.ranges import AT_LEAST_ONE, KEPT, check_ranges
from common.scoped import threads
from glt._pyg import pyg_network
from glt.config import Network, Speed
from glt.data import Graph, load
from glt.edges import Edges
from glt.evaluate import recipe_config
from glt.features import Features
from glt.infer import Inference
from glt.models import EDGES, NETWORKS, WEIGHTS, GraphModel, network
from glt.predict import open_ticket
from glt.presets import SETTINGS, published
from glt.trial import build

__all__ = ["pyg_network", "run"]

_WIDTH = 256  # of hidden layers that are not given


def run(config: Speed, console: Console) -> dict[str, Any]:
    """Time all engines and compare.

    `pyg`: torch-geometric's layers in the same network, all edges and weights. `masked`: the suite's own forward of the
    pruned model, with its weights as zeros. `dense-csr`: `Inference` with all edges and weights. `ticket`: `Inference`
    of the ticket.

    Returns:
        `engines` (name to `seconds`, `seconds_min`, `seconds_max`), `speedup_dense_csr`, `speedup_pyg` (null without
        it), `speedup_masked`, `max_abs_diff` (ticket against masked), `max_abs_diff_dense` (dense-csr against pyg),
        `backends`, and what was measured: `model`, `threads`, `edges_density`, `weights_density`, `dataset`, `nodes`,
        `edges`, `widths`, `peak_rss_mb`, `torch`, `hardware`.

    Raises:
        UsageError: a setting is out of its range.
        TicketError: the ticket cannot be read, or belongs to another graph.
        MissingData: the data set is not at hand.
    """
    _check(config)
    with threads(config.threads), torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(config.seed)
        graph, dense, model, masks = _networks(config)
        edges, weights = model.edges.count(masks[EDGES]), masks.only(WEIGHTS)
        kept = edges["kept"] / max(1, edges["total"])
        console.line(f"{graph.name}: {kept:.1%} of {edges['total']:,} edges and {weights.density:.1%} of weights kept")
        found = _timed(graph, dense, model, masks, config)
    _show(found, console)
    return {
        **found,
        "model": next(name for name, kind in NETWORKS.items() if type(model.net) is kind),
        "threads": config.threads,
        "edges_density": kept,
        "weights_density": weights.density,
        "dataset": graph.name,
        "nodes": graph.x.size(0),
        "edges": edges["total"],
        "peak_rss_mb": round(peak_rss_mb(), 1),
        "torch": torch.__version__,
        "hardware": hardware(),
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


def _check(config: Speed) -> None:
    counts = ("threads", "repeats", "network.hidden", "network.depth")
    check_ranges(config, dict.fromkeys(counts, AT_LEAST_ONE) | {"edges_density": KEPT, "weights_density": KEPT})
    if config.model not in NETWORKS:
        raise UsageError(f"--model must be one of {', '.join(NETWORKS)}; found {config.model}")


def _networks(config: Speed) -> tuple[Graph, GraphModel, GraphModel, Masks]:
    """The graph, a dense network, the pruned one with zeros in place, and the masks."""
    if config.ticket is not None:
        ticket, graph, model = open_ticket(config.ticket, config.dataset, config.data_root)
        recipe = recipe_config(ticket, Path(config.ticket))
        return graph, build(graph, recipe, int(ticket.recipe.get("seed", 0))).eval(), model, ticket.masks
    graph = load(config.dataset or "photo-grid", config.data_root)
    dense, model = (_network(graph, config.model, config.network) for _ in range(2))
    pairs = torch.rand(model.edges.count()["total"]) < config.edges_density
    masks = Masks({EDGES: pairs[model.edges.pair] if model.edges.symmetric else pairs})
    for name, weight in prunable(model.net).items():
        masks[f"net.{name}"] = torch.rand_like(weight) < config.weights_density
        weight.mul_(masks[f"net.{name}"]).div_(config.weights_density**0.5)  # so that logits keep their size
    model.edges.weight.mul_(masks[EDGES])
    return graph, dense, model, masks


def _network(graph: Graph, model: str, settings: Network) -> GraphModel:
    """A network without bias, in eval mode, whose logits are of about the features' size."""
    known: dict[str, Any] = {**published(graph.name, model), "hidden": _WIDTH}
    if model == "gat":
        known["hidden"] = max(1, _WIDTH // (settings.heads or known["heads"]))
    missing = {name: known[name] for name in SETTINGS[model] if getattr(settings, name) is None}
    net = network(model, graph.x.size(1), graph.classes, replace(settings, **missing))
    for weight in prunable(net).values():
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
