"""UGS against the released code's own accuracies, and its choices one by one."""

from dataclasses import replace

import pytest
import torch

from common.masks import Masks, prunable
from common.runs.errors import DivergedError
from glt.config import Find, preset
from glt.data import Graph, load
from glt.methods import ugs
from glt.methods.search import Round
from glt.models import EDGES, GraphModel
from glt.tasks import NodeClassification
from glt.trial import build

# per cent on validation/test in the first eight mask epochs on Cora, seed 2377, as the released reference code prints
RELEASED = "74.0/74.2 75.8/76.7 76.0/76.6 76.0/76.8 76.2/76.8 76.0/76.8 76.4/77.3 76.2/77.4"


def masks_of(model: GraphModel) -> Masks:
    return Masks.dense({EDGES: model.edges.weight, **prunable(model)})


@pytest.mark.data
def test_the_released_code_is_repeated_to_the_digit() -> None:
    config = preset(Find("cora", symmetric=False))
    assert (config.training.lr, config.training.weight_decay) == (8e-3, 8e-5)
    assert (config.ugs.l1_edges, config.ugs.l1_weights, config.network.hidden) == (1e-2, 1e-2, 512)
    config = replace(config, ugs=replace(config.ugs, exact_rng=True, epochs=8))
    graph = load("cora")
    model = build(graph, config, 2377)
    task = NodeClassification(graph, whole=True)
    found = ugs.train_masks(model, masks_of(model), task, config.training, config.ugs, 2377)
    assert " ".join(f"{h['val']:.1%}/{h['test']:.1%}".replace("%", "") for h in found.history) == RELEASED
    assert found.epoch == 7


def run(graph: Graph, config: Find, **changes: object) -> Round:
    config = replace(config, ugs=replace(config.ugs, **changes))
    model = build(graph, config, 0)
    return ugs.train_masks(model, masks_of(model), NodeClassification(graph), config.training, config.ugs, 0)


def test_the_mask_is_that_of_the_best_validation_epoch(graph: Graph, config: Find) -> None:
    found = run(graph, config)
    best = max(h["val"] for h in found.history)
    assert found.epoch == next(i for i, h in enumerate(found.history, 1) if h["val"] == best)
    assert run(graph, config, mask_at="last").epoch == 5
    shorter = run(graph, config, epochs=found.epoch, mask_at="last")
    assert torch.equal(shorter.scores[EDGES], found.scores[EDGES])


def test_l1_as_a_sub_gradient_equals_l1_in_the_loss(graph: Graph, config: Find) -> None:
    by_hand, in_loss = run(graph, config, mask_at="last"), run(graph, config, mask_at="last", l1="loss")
    for name, score in by_hand.scores.items():
        torch.testing.assert_close(score, in_loss.scores[name])


def test_l1_and_decay_shrink_the_masks(graph: Graph, config: Find) -> None:
    """Adam's first step moves by lr whatever the gradient's size, so more pull cannot mean larger masks."""
    config = replace(config, training=replace(config.training, weight_decay=0.1))
    free = run(graph, config, l1_edges=0.0, l1_weights=0.0, decay_masks=False, mask_at="last")
    pulled = run(graph, config, l1_edges=0.0, l1_weights=0.0, decay_masks=True, mask_at="last")
    strong = run(graph, config, l1_edges=1.0, l1_weights=1.0, decay_masks=False, mask_at="last")
    for name in free.scores:
        assert pulled.scores[name].mean() < free.scores[name].mean()
        assert strong.scores[name].mean() < free.scores[name].mean()


def test_pruned_entries_score_zero_and_stay_out(graph: Graph, config: Find) -> None:
    model = build(graph, config, 0)
    masks = masks_of(model)
    masks[EDGES] = model.edges.pair % 3 > 0
    found = ugs.train_masks(model, masks, NodeClassification(graph), config.training, config.ugs, 0)
    assert bool((found.scores[EDGES][~masks[EDGES]] == 0).all())
    assert bool((found.scores[EDGES][masks[EDGES]] > 0).all())


def test_a_round_ends_where_degrees_turn_negative_and_keeps_its_best_epoch(graph: Graph, config: Find) -> None:
    config = replace(config, training=replace(config.training, lr=0.2))
    found = run(graph, config, epochs=60, mask_at="last")
    assert 0 < len(found.history) < 60  # masks of 1 lose 0.2 an epoch and pass zero
    assert found.epoch == len(found.history)
    assert all(score.isfinite().all() for score in found.scores.values())
    assert all(0 <= accuracy["val"] <= 1 for accuracy in found.history)


def test_mask_training_that_never_is_finite_says_so(graph: Graph, config: Find) -> None:
    with pytest.raises(DivergedError, match=r"the search diverged.*Lower --training\.lr"):
        run(graph, replace(config, training=replace(config.training, lr=1e30)))
