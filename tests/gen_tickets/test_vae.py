"""Training of VAEs and auto-encoders: losses by hand, steps that repeat, tickets of either half, divergence."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from sklearn.datasets import load_digits
from torch import Tensor, nn

from common.rewind import Rewind, snapshot
from common.runs.errors import DivergedError
from common.search import tickets
from common.ticket import Ticket
from gen_tickets.models import build
from gen_tickets.vae import Settings, divergence, evaluate, objective, trainer, within
from gen_tickets.vae_models import Reconstruction

DIGITS = torch.tensor(load_digits().images, dtype=torch.float32)[:, None] / 8 - 1
QUICK = Settings(batch=32)


def made(family: str = "vae", seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return build(family, "tiny")


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_the_loss_is_that_of_literal_numbers() -> None:
    images = torch.tensor([[1.0, 0.0], [0.0, 0.0]]).reshape(2, 1, 1, 2)
    output = Reconstruction(torch.zeros_like(images), torch.tensor([[2.0], [0.0]]), torch.zeros(2, 1))
    found = {name: value.item() for name, value in objective(output, images, beta=4.0).items()}
    assert found == {"reconstruction": 0.5, "kl": 1.0, "loss": 4.5}  # of two images: 1 and 0, 2 and 0
    assert objective(output.images, images)["loss"].item() == 0.5


def test_the_divergence_is_torchs() -> None:
    mean, log_variance = torch.randn(5, 3), torch.randn(5, 3)
    normal = torch.distributions.Normal
    expected = torch.distributions.kl_divergence(normal(mean, (log_variance / 2).exp()), normal(0.0, 1.0))
    torch.testing.assert_close(divergence(mean, log_variance), expected.sum(1))


@pytest.mark.parametrize("family", ["vae", "autoencoder"])
def test_losses_fall_on_held_out_digits(family: str) -> None:
    model = made(family)
    before = evaluate(model, DIGITS[1500:])["loss"]
    found = trainer(DIGITS[:1500], Settings(batch=64), measure=partial(evaluate, images=DIGITS[1500:]))(model, 0, 60)
    assert found["loss"] < 0.7 * before
    assert found == evaluate(model, DIGITS[1500:])


def test_a_larger_beta_buys_a_smaller_divergence() -> None:
    small, large = (made() for _ in range(2))
    low, high = (
        trainer(DIGITS, Settings(batch=64, beta=beta), measure=partial(evaluate, images=DIGITS[:300]))(model, 0, 30)
        for beta, model in ((1.0, small), (20.0, large))
    )
    assert high["kl"] < 0.7 * low["kl"]


@pytest.mark.parametrize("family", ["vae", "autoencoder"])
def test_twenty_steps_are_ten_and_ten(family: str) -> None:
    whole, parts, other = (made(family) for _ in range(3))
    expected = trainer(DIGITS, QUICK, seed=3)(whole, 0, 20)
    train = trainer(DIGITS, QUICK, seed=3)
    train(parts, 0, 10)
    torch.manual_seed(99)  # what others draw is of no consequence
    state = torch.get_rng_state()
    assert train(parts, 10, 20) == expected
    assert same(whole, parts)
    assert torch.equal(torch.get_rng_state(), state)
    trainer(DIGITS, QUICK, seed=4)(other, 0, 20)
    assert not same(whole, other)


def test_what_is_remembered_can_be_saved_and_taken_up_in_another_process(tmp_path: Path) -> None:
    whole, parts = made(), made()
    trainer(DIGITS, QUICK)(whole, 0, 20)
    first, second = (trainer(DIGITS, QUICK) for _ in range(2))
    first(parts, 0, 10)
    save_file(first.kept[10], tmp_path / "kept.safetensors")
    second.kept[10] = load_file(tmp_path / "kept.safetensors")
    second(parts, 10, 20)
    assert same(whole, parts)


def test_other_weights_than_those_remembered_start_with_a_fresh_optimizer() -> None:
    train, fresh = trainer(DIGITS, QUICK), trainer(DIGITS, QUICK)
    train(made(seed=0), 0, 5)
    other, again = made(seed=1), made(seed=1)
    train(other, 5, 8)
    fresh(again, 5, 8)
    assert same(other, again)
    assert len(train.kept) == 2
    assert all(step in train.kept for step in (5, 8))


def test_tickets_of_a_late_rewinding_share_the_optimizers_state_and_keep_their_zeros() -> None:
    model, train = made(), trainer(DIGITS, QUICK)
    found = list(tickets(model, train, [1.0, 0.5, 0.2], steps=12, rewind=Rewind.step(4)))
    assert [round(ticket.density, 3) for ticket in found] == [1.0, 0.5, 0.2]
    for ticket in found:
        assert ticket.trained is not None
        assert [n for n, mask in ticket.masks.items() if bool(ticket.trained[n][~mask].any())] == []
    straight = made()
    trainer(DIGITS, QUICK)(straight, 0, 12)  # the dense ticket is a plain training
    assert all(torch.equal(value, (found[0].trained or {})[name]) for name, value in snapshot(straight).items())


def test_a_search_goes_on_from_a_saved_ticket_as_if_it_had_not_stopped(tmp_path: Path) -> None:
    *_, expected = tickets(made(), trainer(DIGITS, QUICK), [1.0, 0.5, 0.2], steps=6)
    *_, half = tickets(made(), trainer(DIGITS, QUICK), [1.0, 0.5], steps=6)
    start = Ticket.load(half.save(tmp_path))
    found = next(tickets(made(seed=5), trainer(DIGITS, QUICK), [0.2], steps=6, start=start))
    assert found.digest == expected.digest
    assert found.metrics == expected.metrics


@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_one_half_can_be_pruned(part: str) -> None:
    model = made()
    chosen = within(model, part)
    ticket = next(tickets(model, trainer(DIGITS, QUICK), [0.1], steps=3, params=chosen))
    assert set(ticket.masks) == {name for name in within(model) if name.startswith(part)}
    dense = [name for name in within(model) if name not in chosen]
    assert all(int((model.get_parameter(name) == 0).sum()) == 0 for name in dense)
    assert set(within(model, "encoder", "decoder")) == set(within(model))


def test_a_part_that_is_not_there_is_named() -> None:
    with pytest.raises(KeyError, match="nothing to prune in a part 'encode'; the nearest part is 'encoder'"):
        within(made(), "encode")


def test_divergence_names_the_step_and_keeps_the_last_good_weights() -> None:
    model, good = made(), made()
    calls: list[int] = []

    def break_(module: nn.Module, inputs: Any, output: Reconstruction) -> Reconstruction:
        calls.append(1)
        return output._replace(images=output.images * (torch.nan if len(calls) == 6 else 1.0))

    model.register_forward_hook(break_)
    train = trainer(DIGITS, QUICK)
    with pytest.raises(DivergedError, match=r"diverged at step 5: found the losses .*nan.*before step 4\. Lower"):
        train(model, 0, 10)
    trainer(DIGITS, QUICK)(good, 0, 4)
    assert same(model, good)
    assert not train.kept


@pytest.mark.parametrize("steps", [1, 8])
def test_weights_that_are_not_finite_are_no_result(steps: int) -> None:
    model = made()
    before = snapshot(model)
    with pytest.raises(DivergedError, match="expected finite"):
        trainer(DIGITS, Settings(batch=32, lr=torch.inf))(model, 0, steps)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


WRONG: list[tuple[Any, int, str]] = [
    (torch.zeros(4, 1, 8, 8, dtype=torch.uint8), 2, "found images of torch.uint8; expected a float32 tensor"),
    ([1], 2, "found images of list"),
    (torch.zeros(4, 8, 8), 2, r"found images of the shape \(4, 8, 8\); expected \(N, C, H, W\)"),
    (torch.full((4, 1, 8, 8), 255.0), 2, r"found images from 255 to 255; expected \[-1, 1\]. Rescale"),
    (torch.full((4, 1, 8, 8), torch.nan), 2, "found images from nan"),
    (torch.zeros(4, 1, 8, 8), 0, "found a batch of 0"),
]


@pytest.mark.parametrize(("images", "batch", "message"), WRONG)
def test_bad_images_are_refused(images: Tensor, batch: int, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        trainer(images, Settings(batch=batch))


def test_steps_and_shapes_are_checked() -> None:
    with pytest.raises(ValueError, match="found the steps 5 to 5"):
        trainer(DIGITS)(made(), 5, 5)
    with pytest.raises(ValueError, match="found reconstructions"):
        objective(torch.zeros(2, 1, 4, 4), torch.zeros(2, 1, 8, 8))
