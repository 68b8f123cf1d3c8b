"""A VAE decoder's ticket trains as a GAN's generator and back; across data sets, what fits is kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from common.apply import masked
from common.masks import Masks
from common.rewind import snapshot
from common.search import tickets
from common.study.transfer import transfer
from common.ticket import Ticket, TicketError
from gen_tickets import gan, vae
from gen_tickets.models import FAMILIES, build

DIGITS = torch.tensor(load_digits().images, dtype=torch.float32)[:, None] / 8 - 1
TRAINERS = {
    "vae": lambda: vae.trainer(DIGITS, vae.Settings(batch=16)),
    "dcgan": lambda: gan.trainer(DIGITS, replace(gan.DCGAN, batch=16, generator_batch=16)),
}
PARTS = {"vae": "decoder", "dcgan": "generator"}


def made(family: str, seed: int = 0, size: str = "tiny", image: tuple[int, int, int] | None = None) -> nn.Module:
    torch.manual_seed(seed)
    return build(family, size, image=image)


def searched(family: str, *parts: str) -> Ticket:
    model = made(family)
    return next(tickets(model, TRAINERS[family](), [0.2], steps=3, params=gan.within(model, *parts)))


def zeros(masks: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> bool:
    return all(torch.equal(state[name] == 0, ~mask.to(state[name].device)) for name, mask in masks.items())


@pytest.mark.parametrize(("first", "second"), [("vae", "dcgan"), ("dcgan", "vae")])
def test_a_ticket_found_in_one_family_trains_in_the_other(first: str, second: str) -> None:
    found, model, train = searched(first), made(second, seed=1), TRAINERS[second]()
    source, target = PARTS[first], PARTS[second]
    before = snapshot(model)
    moved = transfer(found, model, source=source, target=target)
    assert set(moved.masks) == set(gan.within(model, target))
    for name, mask in moved.masks.items():
        assert torch.equal(mask, found.masks[f"{source}.{name.removeprefix(f'{target}.')}"])
    moved.apply(model)
    with masked(model, moved.masks) as guard:
        losses = train(model, 0, 4)
    assert guard.steps >= 4
    assert all(torch.isfinite(torch.tensor(value)) for value in losses.values())
    assert zeros(moved.masks, model.state_dict())
    for name, mask in moved.masks.items():
        assert not torch.equal(model.state_dict()[name][mask], before[name][mask])
    rest = [name for name in gan.within(model) if name not in moved.masks]
    assert rest
    assert all(int((model.state_dict()[name] == 0).sum()) == 0 for name in rest)
    if second == "dcgan":
        average = {f"generator.{name}": value for name, value in train.carried.items()}
        assert zeros(moved.masks, average)


@pytest.mark.parametrize("family", ["vae", "dcgan"])
def test_a_ticket_that_stays_in_its_family_trains_to_the_very_same_weights(family: str) -> None:
    model = made(family)
    found = next(tickets(model, TRAINERS[family](), [0.2], steps=3, params=gan.within(model, PARTS[family])))
    again = made(family)
    moved = transfer(found, again, source=PARTS[family])
    moved.apply(again)
    with masked(again, moved.masks):
        TRAINERS[family]()(again, 0, 3)
    assert all(torch.equal(value, (found.trained or {})[name]) for name, value in snapshot(again).items())


def test_the_decoders_weights_can_come_along_to_the_generator() -> None:
    found, model = searched("vae", "decoder"), made("dcgan", seed=1)
    moved = transfer(found, model, source="decoder", target="generator", weights=True)
    moved.apply(model)
    latents = torch.randn(3, 32)
    expected = made("vae")
    found.apply(expected)
    assert torch.equal(model.generator.eval()(latents), expected.decoder.eval()(latents))


@pytest.mark.parametrize("size", ["tiny", "small", "cifar10"])
def test_named_sizes_share_generator_and_decoder(size: str) -> None:
    with torch.device("meta"):
        pair = FAMILIES["dcgan"][size].make(FAMILIES["dcgan"][size].image)
        model = FAMILIES["vae"][size].make(FAMILIES["vae"][size].image)
    shapes = [{n: p.shape for n, p in part.state_dict().items()} for part in (pair.generator, model.decoder)]
    assert shapes[0] == shapes[1]


def test_colour_images_change_the_last_layer_and_larger_ones_the_first() -> None:
    found = searched("dcgan", "generator")
    with pytest.raises(
        TicketError, match=r"1 of 3 tensors do not fit: .*layers\.3\.weight \(1, 48, 3, 3\) in the ticket"
    ):
        transfer(found, made("dcgan", image=(3, 8, 8)), source="generator")
    with pytest.raises(TicketError, match=r"1 of 3 .*layers\.1\.conv\.weight \(32, 96, 4, 4\) .*\(32, 96, 8, 8\)"):
        transfer(found, made("dcgan", image=(1, 16, 16)), source="generator")
    model = made("dcgan", image=(3, 16, 16))
    moved = transfer(found, model, skip_mismatched=True)
    assert list(moved.masks) == ["generator.layers.2.conv.weight"]
    assert moved.recipe["transfer"]["left_dense"] == ["generator.layers.1.conv.weight", "generator.layers.3.weight"]
    moved.verify(model)


def test_a_larger_network_is_refused_with_the_first_tensors_named() -> None:
    ticket = Ticket(Masks.dense(gan.within(made("vae"), "decoder")), snapshot(made("vae")))
    with pytest.raises(
        TicketError, match=r"3 of 3 tensors .*\(32, 96, 4, 4\) .*generator\.layers\.1\.conv\.weight \(64"
    ):
        transfer(ticket, made("dcgan", size="small"), source="decoder", target="generator", skip_mismatched=True)
