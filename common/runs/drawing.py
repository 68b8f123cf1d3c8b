"""A graph with its pruned edges, as SVG text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from common.runs.figure import COLOURS, INK, MUTED, new_figure, style, to_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["graph_drawing"]

_NODE_COLOURS = (*COLOURS[:1], "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#F0E442", "#6A51A3", "#A6761D", "#7F7F7F")
_PRUNED = "#E8836B"


@style()
def graph_drawing(
    edge_index: npt.ArrayLike,
    kept: npt.ArrayLike,
    *,
    positions: npt.ArrayLike | None = None,
    labels: npt.ArrayLike | None = None,
    label_names: Sequence[str] | None = None,
    max_nodes: int = 400,
    seed: int = 0,
) -> str:
    """A graph: kept edges dark, pruned ones light red and dashed, nodes coloured by label.

    Two directions of one edge are drawn once, as kept if either is; self-loops are left out. Of a graph with more than
    `max_nodes` nodes a neighbourhood in its largest component is drawn, and the picture says so.

    Args:
        edge_index: (2, E) integers, source and target of every edge.
        kept: (E,) booleans.
        positions: (N, 2) coordinates; a spring layout with `seed` otherwise.
        labels: (N,) integers.
        label_names: what label 0, 1, ... are called in the legend.
        max_nodes: how many nodes are drawn at most.
        seed: of the layout.

    Returns:
        An `<svg>` element.

    Raises:
        ValueError: shapes do not fit each other, or there is no edge between two nodes.

    References:
        Fruchterman and Reingold, Graph drawing by force-directed placement, Software: Practice and Experience 1991.

    >>> graph_drawing([[0, 1, 1, 2], [1, 0, 2, 1]], [True, True, False, False], labels=[0, 1, 1])[:4]
    '<svg'
    """
    edges, alive = _pairs(np.asarray(edge_index), np.asarray(kept, dtype=bool))
    known = [len(np.asarray(given)) for given in (positions, labels) if given is not None]
    total = max(int(np.max(edge_index)) + 1, *known, 0)
    graph = _subset(edges, max_nodes)
    nodes = np.array(sorted(graph), dtype=np.int64)
    inside = np.isin(edges, nodes).all(axis=1)
    places = _places(graph, nodes, positions, total, seed)
    figure = new_figure(7.4, 5.6)
    axes = figure.add_subplot()
    _draw_edges(axes, places, edges[inside], alive[inside])
    _draw_nodes(axes, places, nodes, labels, label_names)
    _frame(axes, f"{len(nodes):,} of {total:,}" if len(nodes) < total else f"all {total:,}", int(inside.sum()))
    axes.set_aspect("equal" if positions is not None else "auto")
    return to_svg(figure, "kept and pruned edges of the graph")


def _pairs(edge_index: npt.NDArray[Any], kept: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    if edge_index.ndim != 2 or edge_index.shape[0] != 2 or kept.shape != edge_index.shape[1:]:
        raise ValueError(f"expected edge_index (2, E) and kept (E,); found {edge_index.shape} and {kept.shape}")
    proper = edge_index[0] != edge_index[1]
    ends = np.sort(edge_index[:, proper].T, axis=1)
    if not len(ends):
        raise ValueError(f"found {edge_index.shape[1]} edges, none between two nodes; there is nothing to draw")
    edges, inverse = np.unique(ends, axis=0, return_inverse=True)
    alive = np.zeros(len(edges), dtype=bool)
    np.logical_or.at(alive, inverse.reshape(-1), kept[proper])
    return edges, alive


def _subset(edges: npt.NDArray[Any], max_nodes: int) -> Any:
    """The whole graph if it is small; else the nodes nearest to the best connected node of the largest component."""
    import networkx as nx

    graph = nx.Graph()
    graph.add_edges_from(edges.tolist())
    if len(graph) <= max_nodes:
        return graph
    component = max(nx.connected_components(graph), key=lambda nodes: (len(nodes), -min(nodes)))
    start = max(component, key=lambda node: (graph.degree[node], -node))
    reached = [start]
    for _, node in nx.bfs_edges(graph, start, sort_neighbors=sorted):
        if len(reached) == max_nodes:
            break
        reached.append(node)
    return graph.subgraph(reached)


def _places(
    graph: Any, nodes: npt.NDArray[Any], positions: npt.ArrayLike | None, total: int, seed: int
) -> npt.NDArray[Any]:
    places = np.full((total, 2), np.nan)
    if positions is not None:
        given = np.asarray(positions, dtype=float)
        if given.ndim != 2 or given.shape[1] != 2 or len(given) < total:
            raise ValueError(f"expected positions ({total}, 2); found {given.shape}")
        places[nodes] = given[nodes]
        return places
    import networkx as nx

    ordered = nx.Graph()
    ordered.add_nodes_from(nodes.tolist())
    ordered.add_edges_from(sorted(tuple(sorted(edge)) for edge in graph.edges))
    layout = nx.spring_layout(ordered, seed=seed, iterations=120, k=1.6 / np.sqrt(len(nodes)))
    for node, place in layout.items():
        places[node] = place
    return places


def _draw_edges(axes: Axes, places: npt.NDArray[Any], edges: npt.NDArray[Any], alive: npt.NDArray[np.bool_]) -> None:
    from matplotlib.collections import LineCollection

    thin = 1.0 if len(edges) < 300 else 0.7 if len(edges) < 1500 else 0.45
    looks: tuple[tuple[npt.NDArray[np.bool_], dict[str, Any], str], ...] = (
        (~alive, {"colors": _PRUNED, "linewidths": thin, "linestyles": [(0, (3, 2))], "zorder": 1}, "pruned edges"),
        (alive, {"colors": INK, "linewidths": thin * 1.15, "alpha": 0.8, "zorder": 2}, "kept edges"),
    )
    for chosen, look, name in looks:
        segments = places[edges[chosen]]
        axes.add_collection(LineCollection(list(segments), label=f"{name}: {int(chosen.sum()):,}", **look))
    axes.autoscale_view()


def _draw_nodes(
    axes: Axes,
    places: npt.NDArray[Any],
    nodes: npt.NDArray[Any],
    given: npt.ArrayLike | None,
    names: Sequence[str] | None,
) -> None:
    look: dict[str, Any] = {"edgecolors": "white", "linewidths": 0.6, "zorder": 3}
    look["s"] = 46.0 if len(nodes) < 80 else 26.0 if len(nodes) < 200 else 15.0
    if given is None:
        axes.scatter(places[nodes, 0], places[nodes, 1], color=COLOURS[0], **look)
        return
    labels = np.asarray(given)
    if len(labels) <= nodes.max():
        raise ValueError(f"expected a label for each of {int(nodes.max()) + 1} nodes; found {len(labels)}")
    found = np.unique(labels[nodes])
    for label in found.tolist():
        mine = nodes[labels[nodes] == label]
        name = names[label] if names is not None else f"class {label}"
        look["color"] = _NODE_COLOURS[label % len(_NODE_COLOURS)]
        axes.scatter(places[mine, 0], places[mine, 1], label=name if len(found) <= 10 else None, **look)


def _frame(axes: Axes, shown: str, edges: int) -> None:
    axes.set_title(f"{shown} nodes, {edges:,} edges", loc="left", fontsize=9, color=MUTED)
    axes.set_axis_off()
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.01), ncols=5, frameon=False, fontsize=9, handlelength=2.2)
