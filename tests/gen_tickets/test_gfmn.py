"""Moment matching: moments against numpy, the first step by hand, strong tickets whose weights never move."""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from common.masks import Masks
from common.rewind import snapshot
from common.search import tickets
from gen_tickets._popup import gateable
from gen_tickets._steps import step_seed
from gen_tickets.gan_models import ResNetGenerator
from gen_tickets.gfmn import Settings, gaps, moments, strong_ticket, strong_trainer, trainer
from gen_tickets.models import build
from gen_tickets.vae_models import normal_

DIGITS = torch.tensor(load_digits().images, dtype=torch.float32)[:, None] / 8 - 1
QUICK = Settings(batch=16, lr=1e-3, average_lr=1e-2)


def extractor(images: Tensor) -> list[Tensor]:
    """Pixels and their means over quarters."""
    return [images, nn.functional.avg_pool2d(images, 4)]


REAL = moments(extractor, DIGITS)


def made(seed: int = 0) -> ResNetGenerator:
    torch.manual_seed(seed)
    model = build("gfmn", "tiny")
    assert isinstance(model, ResNetGenerator)
    return model


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


@pytest.mark.parametrize("batch", [1, 7, 5000])
def test_moments_are_numpys_whatever_the_batch(batch: int) -> None:
    found = moments(extractor, DIGITS[:50] + 100, batch)
    flat = np.concatenate([f.flatten(1).numpy() for f in extractor(DIGITS[:50] + 100)], 1).astype(np.float64)
    np.testing.assert_allclose(found.mean, flat.mean(0), rtol=1e-6)
    np.testing.assert_allclose(found.variance, flat.var(0, ddof=1), rtol=1e-3, atol=1e-6)


def test_the_first_step_is_known_by_hand() -> None:
    model, train = made(), trainer(REAL, extractor, Settings(lr=0.0, average_lr=0.5, batch=8))
    latents = torch.randn(8, 32, generator=torch.Generator().manual_seed(step_seed(0, 0)))
    flat = torch.cat([f.flatten(1) for f in extractor(made().train()(latents))], 1)
    apart = REAL.mean - flat.mean(0), REAL.variance - flat.var(0)
    found = train(model, 0, 1)
    signs = torch.cat([train.carried["mean_average"], train.carried["variance_average"]])
    torch.testing.assert_close(signs, 0.5 * torch.cat(apart).sign())  # Adam's first step has the size of its rate
    assert found["loss"] == pytest.approx(0.5 * torch.cat(apart).abs().sum().item(), rel=1e-4)
    assert found["mean_gap"] == pytest.approx(apart[0].square().mean().item(), rel=1e-4)


def test_the_vectors_approach_the_differences_and_descent_closes_the_gap() -> None:
    model = made().apply(normal_)
    before = gaps(model, REAL, extractor)
    judge = partial(gaps, real=REAL, extractor=extractor)
    chosen = Settings(batch=32, lr=3e-3, average_lr=0.1)
    found = trainer(REAL, extractor, chosen, measure=judge)(model, 0, 60)
    assert found["mean_gap"] < 0.25 * before["mean_gap"]
    assert found["variance_gap"] < 0.6 * before["variance_gap"]


def test_twenty_steps_are_ten_and_ten() -> None:
    whole, parts = made(), made()
    expected = trainer(REAL, extractor, QUICK)(whole, 0, 20)
    train = trainer(REAL, extractor, QUICK)
    train(parts, 0, 10)
    assert train(parts, 10, 20) == expected
    assert same(whole, parts)


@pytest.mark.parametrize("across", [False, True])
def test_scores_go_on_where_they_stopped(across: bool) -> None:
    found = []
    for cuts in ((0, 12), (0, 6, 12)):
        model, train = made(), strong_trainer(REAL, extractor, 0.3, QUICK, across=across)
        for start, stop in pairwise(cuts):
            metrics = train(model, start, stop)
        found.append((metrics, train.carried))
    assert found[0][0] == found[1][0]
    assert all(torch.equal(value, found[1][1][name]) for name, value in found[0][1].items())


@pytest.mark.parametrize("across", [False, True])
def test_a_strong_ticket_never_trains_a_weight_and_keeps_exactly_its_share(across: bool) -> None:
    model = made()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    keys = list(model.state_dict())
    ticket = strong_ticket(model, REAL, extractor, density=0.1, steps=5, settings=QUICK, across=across)
    after = dict(model.named_parameters())
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert list(model.state_dict()) == keys
    assert all(p.requires_grad for p in model.parameters())
    assert list(ticket.masks) == list(gateable(model))
    assert any(name.endswith("bias") for name in ticket.masks)
    if across:
        assert ticket.masks.kept == round(0.1 * ticket.masks.total)
        assert len({round(kept / total, 2) for kept, total in ticket.masks.counts().values()}) > 1
    else:
        assert all(kept == round(0.1 * total) for kept, total in ticket.masks.counts().values())
    ticket.apply(model)
    assert gaps(model, REAL, extractor) == pytest.approx(dict(ticket.metrics), rel=1e-4)


def test_learning_scores_finds_better_tickets_than_the_first_draw() -> None:
    chosen = Settings(batch=32, lr=1e-2, average_lr=1e-2)
    drawn, found = (
        strong_ticket(made(), REAL, extractor, density=0.3, steps=steps, settings=chosen).metrics for steps in (1, 50)
    )
    assert found["mean_gap"] < 0.3 * drawn["mean_gap"]


def test_the_budget_of_all_tensors_lies_where_scores_are_high() -> None:
    model, train = made(), strong_trainer(REAL, extractor, 0.2, QUICK, across=True)
    train(model, 0, 3)
    scores = {n.removeprefix("score."): s for n, s in train.carried.items() if n.startswith("score.")}
    kept = torch.cat([s.flatten() for s in scores.values()]).topk(round(0.2 * sum(s.numel() for s in scores.values())))
    expected = Masks({name: score >= kept.values.min() for name, score in scores.items()})
    ticket = strong_ticket(made(), REAL, extractor, density=0.2, steps=3, settings=QUICK, across=True)
    assert ticket.masks.distance(expected) == 0


def test_trained_tickets_of_a_generator() -> None:
    model = made().apply(normal_)
    found = list(tickets(model, trainer(REAL, extractor, QUICK), [1.0, 0.5, 0.2], steps=3))
    assert [round(ticket.density, 2) for ticket in found] == [1.0, 0.5, 0.2]
    state = snapshot(model)
    assert [name for name, mask in found[-1].masks.items() if bool(state[name][~mask].any())] == []


def test_impossible_requests_say_what_was_found_and_expected() -> None:
    with pytest.raises(ValueError, match="found 1 images; expected at least 2"):
        moments(extractor, DIGITS[:1])
    with pytest.raises(ValueError, match="found the density 0; expected a share to keep"):
        strong_ticket(made(), REAL, extractor, density=0, steps=1)
    with pytest.raises(TypeError, match="found a Linear without an integer `latent`"):
        trainer(REAL, extractor, QUICK)(nn.Linear(1, 1), 0, 1)
