"""What a round of UGS costs: CPU-seconds a mask epoch and peak memory, on Cora and PubMed, one thread.

    GLT_DATA=... python benchmarks/graph_search.py [--epochs 50] [--datasets cora pubmed]

Each data set runs in a process of its own, so that its peak memory is its own. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time

from common.runs.manifest import cpu_model

LIMITS = {"cora": (0.1, 700), "pubmed": (0.6, 1200)}


def measure(dataset: str, epochs: int) -> dict[str, float]:
    """Median of five repeats of a search of `epochs` epochs after a warm-up, in process time."""
    import statistics
    from dataclasses import replace

    import torch

    from common.masks import Masks, prunable
    from common.runs.manifest import peak_rss_mb
    from glt.config import Find, preset
    from glt.data import load
    from glt.methods.ugs import train_masks
    from glt.models import EDGES
    from glt.tasks import NodeClassification
    from glt.trial import build

    torch.set_num_threads(1)
    config = preset(Find(dataset))
    graph = load(dataset)
    model, task = build(graph, config, 0), NodeClassification(graph)
    masks = Masks.dense({EDGES: model.edges.weight, **prunable(model)})
    spent = []
    for repeat in range(6):
        ugs = replace(config.ugs, epochs=epochs if repeat else 2)
        start = time.process_time()
        train_masks(model, masks, task, config.training, ugs, seed=repeat)
        spent.append((time.process_time() - start) / ugs.epochs)
    return {
        "cpu_seconds_a_mask_epoch": statistics.median(spent[1:]),
        "min": min(spent[1:]),
        "max": max(spent[1:]),
        "peak_rss_mb": peak_rss_mb(),
    }


def main() -> None:
    """Measure, compare with the limits of the project, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--datasets", nargs="+", default=list(LIMITS))
    words = parser.parse_args()
    result: dict[str, object] = {"threads": 1, "hardware": cpu_model()}
    for dataset in words.datasets:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            found = pool.apply(measure, (dataset, words.epochs))
        seconds, memory = LIMITS.get(dataset, (float("inf"), float("inf")))
        within = found["cpu_seconds_a_mask_epoch"] <= seconds and found["peak_rss_mb"] <= memory
        result[dataset] = {**found, "limit_cpu_seconds": seconds, "limit_rss_mb": memory, "within": within}
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
