"""The full-supervised split: all nodes but those of validation and test train."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from common.runs.errors import UsageError
from glt.config import Find, Task
from glt.data import Graph, load
from glt.tasks import NodeClassification, make
from glt.trial import build


def test_the_loss_is_that_of_all_nodes_not_held_out(graph: Graph, config: Find) -> None:
    few = replace(graph, train=graph.train & (torch.arange(60) % 3 == 0))
    rest = ~(few.val | few.test)
    assert int(rest.sum()) == 20 > int(few.train.sum())
    model = build(few, config, 0).eval()
    logits = model(few.x).detach()
    for split, rows in (("full", rest), ("public", few.train)):
        found = float(make(few, Task(split=split)).loss(model).detach())
        assert found == pytest.approx(float(nn.functional.cross_entropy(logits[rows], few.y[rows])), abs=1e-6)


def test_it_goes_with_inductive_training_and_with_nodes_alone(graph: Graph) -> None:
    task = make(graph, Task(split="full", inductive=True))
    assert isinstance(task, NodeClassification)
    assert task.seen is not None
    assert task.seen.numel() == 40
    with pytest.raises(UsageError, match=r"--task\.split full means nothing to --task\.kind graphs"):
        make(graph, Task(kind="graphs", split="full"))


@pytest.mark.data
@pytest.mark.parametrize(("name", "nodes"), [("cora", 1208), ("citeseer", 1827), ("pubmed", 18217)])
def test_counts_are_those_of_the_literature(name: str, nodes: int) -> None:
    task = make(load(name), Task(split="full"))
    assert isinstance(task, NodeClassification)
    assert task._train.numel() == nodes
