"""Training of GANs: steps that repeat, zeros in weights and averages, what is rewound, distillation, divergence."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from common.apply import masked
from common.masks import Masks
from common.rewind import Rewind, snapshot
from common.runs.errors import DivergedError
from common.search import tickets
from gen_tickets.gan import DCGAN, SNGAN, WGAN, WGAN_CLIPPED, Settings, averaged, trainer, within
from gen_tickets.gan_losses import distillation
from gen_tickets.gan_models import GAN
from gen_tickets.models import build
from gen_tickets.moments import gaps, moments

DIGITS = torch.tensor(load_digits().images, dtype=torch.float32)[:, None] / 8 - 1
SMALL: dict[str, Settings] = {
    "dcgan": replace(DCGAN, batch=16, generator_batch=16),
    "sngan": replace(SNGAN, batch=8, generator_batch=16, critic_steps=2),
    "wgan": replace(WGAN, batch=8, generator_batch=8, critic_steps=2),
}


def made(family: str = "dcgan", seed: int = 0) -> GAN:
    torch.manual_seed(seed)
    gan = build(family, "tiny")
    assert isinstance(gan, GAN)
    return gan


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_features_are_perturbed_where_it_is_said_and_against_the_discriminator() -> None:
    losses = {}
    for size in (0.0, 0.1, 0.5):
        gan = made("sngan")
        chosen = replace(SMALL["sngan"], feature=2, size=size, critic_steps=1, lr=0.0)
        losses[size] = trainer(DIGITS, chosen)(gan, 0, 1)["discriminator"]
    clean = trainer(DIGITS, replace(SMALL["sngan"], critic_steps=1, lr=0.0))(made("sngan"), 0, 1)["discriminator"]
    assert losses[0.0] == pytest.approx(clean, rel=1e-2)  # spectral norm iterates once more
    assert losses[0.0] < losses[0.1] < losses[0.5]


@pytest.mark.parametrize("family", ["dcgan", "sngan", "wgan"])
def test_six_steps_are_three_and_three(family: str) -> None:
    whole, parts = made(family), made(family)
    first, second = (trainer(DIGITS, SMALL[family], seed=2) for _ in range(2))
    expected = first(whole, 0, 6)
    second(parts, 0, 3)
    torch.manual_seed(99)
    assert second(parts, 3, 6) == expected
    assert same(whole, parts)
    assert same(averaged(whole, first), averaged(parts, second))
    assert not same(averaged(whole, first), whole.generator)


def test_the_average_follows_its_rule() -> None:
    gan = made()
    start = gan.generator.layers[3].weight.detach().clone()
    train = trainer(DIGITS, replace(SMALL["dcgan"], average=0.9))
    train(gan, 0, 1)
    expected = 0.9 * start + 0.1 * gan.generator.layers[3].weight.detach()
    torch.testing.assert_close(train.carried["layers.3.weight"], expected)


def test_images_come_closer_to_the_digits() -> None:
    gan, pixels = made(), lambda images: [images]
    real = moments(pixels, DIGITS)
    chosen = replace(DCGAN, batch=64, generator_batch=64, average=0.95, lr=1e-3)
    before = gaps(gan.generator, real, pixels)
    found = trainer(DIGITS, chosen, measure=partial(gaps, real=real, extractor=pixels))(gan, 0, 80)
    assert found["mean_gap"] < 0.25 * before["mean_gap"]
    assert found["variance_gap"] < 0.5 * before["variance_gap"]


@pytest.mark.parametrize("family", ["dcgan", "sngan", "wgan"])
def test_the_discriminators_loss_falls_with_its_updates(family: str) -> None:
    first, last = (
        trainer(DIGITS, replace(SMALL[family], critic_steps=count, lr=1e-3))(made(family), 0, 1)["discriminator"]
        for count in (1, 40)
    )
    assert last < first - 0.5


def test_clipped_weights_stay_within_their_bound() -> None:
    gan = made("wgan")
    trainer(DIGITS, replace(WGAN_CLIPPED, batch=8, critic_steps=1))(gan, 0, 2)
    assert max(float(p.detach().abs().max()) for p in gan.discriminator.parameters()) == pytest.approx(0.01)
    assert max(float(p.detach().abs().max()) for p in gan.generator.parameters()) > 0.05


def zeros(masks: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> list[str]:
    return [name for name, mask in masks.items() if bool(state[name][~mask].any())]


@pytest.mark.parametrize("parts", [("generator",), ("generator", "discriminator")])
@pytest.mark.parametrize("family", ["dcgan", "sngan", "wgan"])
def test_pruned_weights_are_zero_in_weights_and_averages_at_every_density(family: str, parts: tuple[str, ...]) -> None:
    gan = made(family)
    train = trainer(DIGITS, SMALL[family])
    found = []
    for ticket in tickets(gan, train, [1.0, 0.5, 0.2], steps=5, rewind=Rewind.step(2), params=within(gan, *parts)):
        found.append(round(ticket.density, 2))
        assert zeros(ticket.masks, gan.state_dict()) == []
        average = {f"generator.{name}": value for name, value in train.carried.items()}
        assert zeros(ticket.masks.only("generator.*"), average) == []
        assert any(name.startswith("discriminator") for name in ticket.masks) == (len(parts) == 2)
    assert found == [1.0, 0.5, 0.2]
    for name, mask in ticket.masks.items():
        if name.endswith(".original"):
            layer = gan.get_submodule(name.removesuffix(".parametrizations.weight.original"))
            assert torch.equal(layer.weight != 0, mask)


def test_both_networks_are_rewound() -> None:
    gan = made("sngan")
    before, starts = snapshot(gan), list[dict[str, Tensor]]()
    train = trainer(DIGITS, SMALL["sngan"])

    def watched(model: nn.Module, start: int, stop: int) -> Mapping[str, float]:
        starts.append(snapshot(model))
        return train(model, start, stop)

    *_, last = tickets(gan, watched, [1.0, 0.3], steps=2, params=within(gan, "generator"))
    for name, value in starts[1].items():
        assert torch.equal(value, before[name] * last.masks[name] if name in last.masks else before[name]), name


def test_a_teacher_pulls_the_sparse_discriminator_and_stays_as_it_was() -> None:
    gan = made("sngan")
    trainer(DIGITS, SMALL["sngan"])(gan, 0, 10)
    teacher = copy.deepcopy(gan.discriminator)
    kept, apart = snapshot(teacher), {}
    masks = Masks({name: torch.rand_like(p) < 0.5 for name, p in within(gan, "discriminator").items()})
    for weight in (0.0, 30.0):
        student = made("sngan", seed=1)
        with masked(student, masks):
            trainer(DIGITS, replace(SMALL["sngan"], distil=weight, lr=1e-3), teacher=teacher)(student, 0, 15)
        with torch.no_grad():
            logits = student.discriminator.eval()(DIGITS[:200]), teacher.eval()(DIGITS[:200])
        apart[weight] = distillation(*logits).item()
    assert apart[30.0] < 0.5 * apart[0.0]
    assert all(torch.equal(value, kept[name]) for name, value in teacher.state_dict().items())


def test_divergence_of_either_network_keeps_the_last_good_weights() -> None:
    gan, before = made("sngan"), snapshot(made("sngan"))
    with pytest.raises(DivergedError, match=r"diverged at step [01]: found .*before step 0\. Lower"):
        trainer(DIGITS, replace(SMALL["sngan"], lr=torch.inf))(gan, 0, 9)
    assert all(torch.equal(value, before[name]) for name, value in gan.state_dict().items())


@pytest.mark.parametrize("family", ["dcgan", "sngan"])
def test_distillation_and_perturbed_features_train_a_ticket_together(family: str) -> None:
    gan = made(family)
    masks = Masks({name: torch.rand_like(p) < 0.5 for name, p in within(gan).items()})
    train = trainer(DIGITS, replace(SMALL[family], feature=1), teacher=made(family, seed=1).discriminator)
    start = snapshot(gan)
    with masked(gan, masks) as guard:
        train(gan, 0, 3)
    assert guard.steps == 3 * SMALL[family].critic_steps
    assert zeros(masks, gan.state_dict()) == []
    moved = [name for name, mask in masks.items() if not torch.equal(gan.state_dict()[name][mask], start[name][mask])]
    assert moved == list(masks)


def test_impossible_requests_say_what_was_found_and_expected() -> None:
    with pytest.raises(TypeError, match=r"found a Linear; expected a gen_tickets\.gan_models\.GAN"):
        trainer(DIGITS)(nn.Linear(1, 1), 0, 1)
    with pytest.raises(ValueError, match="found BatchNorm in the discriminator; a gradient penalty"):
        trainer(DIGITS, WGAN)(made("dcgan"), 0, 1)
    with pytest.raises(ValueError, match="found feature=9; the discriminator has 5 layers"):
        trainer(DIGITS, replace(SNGAN, feature=9))(made("sngan"), 0, 1)
    with pytest.raises(ValueError, match="this trainer has not trained yet"):
        averaged(made(), trainer(DIGITS))
