"""Published settings of networks and trainings by model and data set, without heavy imports."""

from __future__ import annotations

__all__ = ["SETTINGS", "published", "searched"]

SETTINGS: dict[str, tuple[str, ...]] = {
    "gcn": ("hidden", "dropout", "norm"),
    "gat": ("hidden", "heads", "dropout", "norm"),
    "gin": ("hidden", "dropout", "norm", "aggregation"),
    "sage": ("hidden", "dropout", "norm", "aggregation"),
    "sgc": (),
    "resgcn": ("hidden", "dropout", "norm"),
    "deepergcn": ("hidden", "dropout", "norm"),
}
"""Which fields of `glt.config.Network` a network has, beside depth."""

_BASE: dict[str, object] = {
    "hidden": 512, "heads": 8, "dropout": 0.5, "norm": "none", "aggregation": "mean", "rounds": 20, "lr": 8e-3,
    "weight_decay": 8e-5, "l1_edges": 1e-2, "l1_weights": 1e-2,
}  # fmt: skip

_DATA: dict[str, dict[str, object]] = {
    "digits": {"hidden": 128, "rounds": 8},
    "motifs": {"hidden": 64, "rounds": 8, "lr": 1e-2, "weight_decay": 0.0},
    "ogbg-molhiv": {"metric": "AUC"},
    "citeseer": {"lr": 1e-2, "weight_decay": 5e-4},
    "pubmed": {"lr": 1e-2, "weight_decay": 5e-4, "l1_edges": 1e-6, "l1_weights": 1e-3},
}

_KIND: dict[str, dict[str, object]] = {"links": {"hidden": 128, "lr": 1e-2, "weight_decay": 0.0}}

_MODEL: dict[str, dict[str, object]] = {
    "gat": {"hidden": 8, "l1_edges": 1e-3, "l1_weights": 1e-3},
    "gin": {"l1_edges": 1e-3, "l1_weights": 1e-3},
    "resgcn": {"hidden": 128, "norm": "batch"},
    "deepergcn": {"hidden": 128, "norm": "batch"},
}

_BOTH: dict[tuple[str, str], dict[str, object]] = {
    ("gat", "citeseer"): {"l1_edges": 1e-7, "l1_weights": 1e-3},
    ("gat", "pubmed"): {"l1_edges": 1e-2, "l1_weights": 1e-2},
    ("gin", "citeseer"): {"l1_edges": 1e-5, "l1_weights": 1e-5},
    ("gin", "pubmed"): {"l1_edges": 1e-5, "l1_weights": 1e-5},
}

_DEEP = 4  # layers, from which on AdaGLT has its setting for deep networks
_SEARCHES: dict[str, dict[tuple[str, str], dict[str, object]]] = {
    "adaglt": {
        ("", ""): {
            "epochs": 400, "pretrain": 0, "lr": 1e-2, "weight_decay": 5e-4, "edges_penalty": 5e-5,
            "weights_penalty": 1e-3, "coefficient": 0.005, "linear": 20.0, "spread": 0.1,
        },
        ("gcn", "citeseer"): {"epochs": 600, "pretrain": 200, "edges_penalty": 9e-5, "coefficient": 0.01},
        ("gat", ""): {"epochs": 600, "pretrain": 50, "lr": 1e-3, "coefficient": 0.5, "linear": 2.0},
        ("gin", ""): {
            "epochs": 500, "lr": 1e-3, "edges_penalty": 2e-6, "weights_penalty": 2e-3, "coefficient": 0.2,
            "linear": 5.0, "spread": 1.0,
        },
        ("deep", ""): {"edges_penalty": 2e-3},
    },
}  # fmt: skip


def published(dataset: str, model: str, kind: str = "nodes") -> dict[str, object]:
    """Values by field name for a data set, a model and a kind of task, Cora's and gcn's where none are published.

    Learning rates, decays and L1 weights are those of UGS (Chen et al., ICML 2021), and so are the widths, with two
    exceptions: gat has the 8 heads of width 8 of Veličković et al. (ICLR 2018), where UGS has 8 of 512, and the deep
    networks the 128 that Li et al. (2020) use on ogbn-arxiv. For links, learning rate and decay are those of Kipf &
    Welling (2016), and the width is our own. Fields that the model does not have are left out.

    >>> published("cora", "gat")["hidden"], published("pubmed", "gin")["l1_edges"]
    (8, 1e-05)
    >>> "hidden" in published("cora", "sgc")
    False
    """
    dataset = dataset.lower()
    known = _BASE | _DATA.get(dataset, {}) | _KIND.get(kind, {}) | _MODEL.get(model, {})
    known |= _BOTH.get((model, dataset), {})
    lacks = {name for names in SETTINGS.values() for name in names} - set(SETTINGS.get(model, SETTINGS["gcn"]))
    return {name: value for name, value in known.items() if name not in lacks}


def searched(method: str, dataset: str, model: str, depth: int = 2) -> dict[str, object]:
    """Values by field name that were published for the settings of one method alone; deep networks have four layers.

    >>> searched("adaglt", "citeseer", "gcn")["epochs"], searched("adaglt", "cora", "sage")["epochs"]
    (600, 400)
    >>> searched("adaglt", "cora", "gcn", depth=16)["edges_penalty"]
    0.002
    """
    table, dataset = _SEARCHES.get(method, {}), dataset.lower()
    deep = [("deep", "")] if depth >= _DEEP else []
    return {k: v for key in (("", ""), (model, ""), (model, dataset), *deep) for k, v in table.get(key, {}).items()}
