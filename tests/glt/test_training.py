"""Retraining: it leaves the best epoch, and says when there is none."""

from dataclasses import replace

import pytest
import torch

from common.runs.errors import DivergedError
from glt.config import Find
from glt.data import Graph
from glt.tasks import NodeClassification
from glt.training import trainer
from glt.trial import build


def test_the_model_is_left_at_its_best_validation_epoch(graph: Graph, config: Find) -> None:
    model, task = build(graph, config, 0), NodeClassification(graph)
    found = trainer(task, config.training, 0)(model, 0, 6)
    assert task.evaluate(model) == {"val": found["val"], "test": found["test"]}
    shorter = build(graph, config, 0)
    trainer(task, config.training, 0)(shorter, 0, int(found["epoch"]))
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), shorter.parameters(), strict=True))


def test_divergence_is_an_error_and_no_accuracy(graph: Graph, config: Find) -> None:
    task = NodeClassification(graph)
    with pytest.raises(DivergedError, match=r"diverged.*lr 1e\+30.*Lower --training\.lr"):
        trainer(task, replace(config.training, lr=1e30), 0)(build(graph, config, 0), 0, 6)


def test_a_network_of_nan_has_no_accuracy(graph: Graph, config: Find) -> None:
    model = build(graph, config, 0)
    with torch.no_grad():
        next(iter(model.net.parameters())).fill_(float("nan"))
    found = NodeClassification(graph).evaluate(model)
    assert all(value != value for value in found.values())
