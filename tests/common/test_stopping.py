"""Early-bird distance on literal masks, KL divergence against its sum."""

from __future__ import annotations

import math

import pytest
import torch

from common.masks import Masks
from common.stopping import EarlyBird, JointEarlyBird, KLStop


def row(text: str) -> Masks:
    return Masks({"w": torch.tensor([c == "1" for c in text])})


def test_early_bird_compares_the_newest_mask_with_the_whole_window() -> None:
    bird = EarlyBird(window=3, threshold=0.3)
    texts = ["11110000", "01111000", "01111100", "01111100", "01111110"]
    seen = [(bird.update(row(text)), bird.distance) for text in texts]
    # distances to the two before: -, -, (3, 1), (1, 0), (1, 1) of 8 entries
    assert seen == [(False, math.inf), (False, math.inf), (False, 3 / 8), (True, 1 / 8), (True, 1 / 8)]


def test_early_bird_keeps_copies() -> None:
    bird, masks = EarlyBird(window=2, threshold=0.2), row("1100")
    bird.update(masks)
    masks["w"].logical_not_()
    bird.update(masks)
    assert bird.distance == 1.0


def test_early_bird_checks_its_arguments_and_masks() -> None:
    with pytest.raises(ValueError, match="window is 1"):
        EarlyBird(window=1)
    with pytest.raises(ValueError, match="threshold is 2"):
        EarlyBird(threshold=2)
    bird = EarlyBird()
    bird.update(row("10"))
    with pytest.raises(ValueError, match="differ in shape"):
        bird.update(row("100"))


def test_joint_early_bird_means_the_distances_over_their_first_non_zero_ones() -> None:
    bird = JointEarlyBird(window=2, threshold=0.3)
    graph = ["11110000", "11110000", "00001111", "00011110", "00111100", "00111100"]  # 0, 8, 2, 2, 0 of 8
    network = ["1100", "1010", "1010", "1010", "1100", "1100"]  # 2, 0, 0, 2, 0 of 4
    seen = []
    for g, n in zip(graph, network, strict=True):
        stop = bird.update({"graph": row(g), "network": row(n)})
        seen.append((stop, bird.distances["graph"], bird.distances["network"], bird.distance))
    assert seen[0] == (False, math.inf, math.inf, math.inf)
    assert seen[1:] == [
        (False, 0.0, 1.0, 0.5),  # the graph has not moved yet
        (False, 1.0, 0.0, 0.5),  # from now on 8 of 8 is its one
        (True, 0.25, 0.0, 0.125),
        (False, 0.25, 1.0, 0.625),
        (True, 0.0, 0.0, 0.0),
    ]


def test_joint_early_bird_waits_for_both_and_checks_its_branches() -> None:
    bird = JointEarlyBird(window=3)
    assert [bird.update({"graph": row("10")}) for _ in range(3)] == [False, False, True]
    with pytest.raises(ValueError, match=r"found the branches \['network'\]; expected the same ones"):
        bird.update({"network": row("10")})
    with pytest.raises(ValueError, match="at least one"):
        JointEarlyBird().update({})
    with pytest.raises(ValueError, match="window is 1"):
        JointEarlyBird(window=1)


def test_kl_is_the_sum_over_classes_averaged_over_rows() -> None:
    p, q = torch.tensor([[0.5, 0.5], [0.9, 0.1]]), torch.tensor([[0.25, 0.75], [0.9, 0.1]])
    stop = KLStop(threshold=0.1, teacher=p.log() + 3)  # logits are free up to a constant a row
    assert stop.update(q.log())
    first = 0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75)
    assert stop.divergence == pytest.approx(first / 2, rel=1e-5)


def test_kl_waits_for_patience_calls_in_a_row() -> None:
    stop = KLStop(threshold=0.01, patience=2)
    logits = [0.0, 0.0, 5.0, 5.0, 5.0, 5.0]
    assert [stop.update(torch.tensor([[0.0, x]])) for x in logits] == [False, False, False, False, True, True]


def test_a_teacher_stays_fixed() -> None:
    stop = KLStop(threshold=1e-3, teacher=torch.zeros(1, 2))
    assert [stop.update(torch.tensor([[0.0, x]])) for x in (3.0, 3.0, 0.0)] == [False, False, True]


def test_kl_checks_its_arguments_and_shapes() -> None:
    with pytest.raises(ValueError, match="found -1 and 1"):
        KLStop(threshold=-1)
    with pytest.raises(ValueError, match=r"found 0\.1 and 0"):
        KLStop(threshold=0.1, patience=0)
    stop = KLStop(threshold=0.1, teacher=torch.zeros(2, 3))
    with pytest.raises(ValueError, match="two classes or more"):
        stop.update(torch.zeros(2, 1))
    with pytest.raises(ValueError, match=r"\(4, 3\), those to compare with \(2, 3\)"):
        stop.update(torch.zeros(4, 3))
