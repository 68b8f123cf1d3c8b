"""Networks of the generative suite: sizes against published ones, shapes, initialisation, gradients, what is pruned."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from common.apply import masked
from common.masks import Masks, prunable
from gen_tickets.gan_models import GAN, DCGANDiscriminator, ResNetGenerator, SNDiscriminator, signed_constant_
from gen_tickets.models import FAMILIES, build, ddpm
from gen_tickets.vae_models import VAE, AutoEncoder, first_side

EVERY = [(family, config) for family, table in FAMILIES.items() for config in table]


def count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def outputs(model: nn.Module, image: tuple[int, int, int], n: int = 2) -> list[Tensor]:
    """What a model of any family makes of a batch of n images or latents."""
    if isinstance(model, GAN | ResNetGenerator):
        images = model(torch.randn(n, model.latent))
        return [images, model.discriminator(images)] if isinstance(model, GAN) else [images]
    images = torch.rand(n, *image) * 2 - 1
    if isinstance(model, VAE):
        return list(model(images))
    return [model(images)] if isinstance(model, AutoEncoder) else [model(images, torch.arange(n)).sample]


PUBLISHED = [
    ("ddpm", "", 35_746_307),  # google/ddpm-cifar10-32
    ("sngan", "generator", 4_276_739),
    ("sngan", "discriminator", 1_053_824),
    ("gfmn", "", 3_319_555),
    ("vae", "", pytest.approx(5.6e6, rel=0.02)),  # this and those below in Kalibhat et al.
    ("dcgan", "", pytest.approx(6.5e6, rel=0.02)),
    ("autoencoder", "", pytest.approx(3.0e6, rel=0.02)),
]


@pytest.mark.parametrize(("family", "part", "parameters"), PUBLISHED)
def test_published_sizes(family: str, part: str, parameters: int) -> None:
    assert count(build(family, "cifar10").get_submodule(part)) == parameters


def test_residual_generators_counted_by_hand() -> None:
    for family, first, widths in (("sngan", 129 * 256 * 16, [256] * 4), ("gfmn", 100 * 512 * 16, [512, 256, 128, 64])):
        blocks = sum(o * (9 * i + 9 * o + i + 3) + 2 * (i + o) for i, o in pairwise(widths))
        generator = build(family, "cifar10").get_submodule("generator" if family == "sngan" else "")
        assert count(generator) == first + blocks + (2 + 27) * widths[-1] + 3


@pytest.mark.parametrize("family", FAMILIES)
def test_tiny_and_small_keep_their_limits_and_refuse_what_they_cannot_reach(family: str) -> None:
    assert 100_000 < count(build(family, "tiny")) < 200_000
    assert all(8e5 < count(build(family, "small", image=(1, side, side))) < 1.2e6 for side in (28, 32))
    with pytest.raises(ValueError, match=r"found images of 30x30 pixels; expected squares .* that 4 divides"):
        build(family, "small", image=(1, 30, 30))


@pytest.mark.parametrize(("family", "config"), EVERY)
def test_shapes_and_ranges(family: str, config: str) -> None:
    torch.manual_seed(0)
    image = FAMILIES[family][config].image
    model = build(family, config).eval()
    with torch.no_grad():
        found, *rest = outputs(model, image)
    assert found.shape == (2, *image)
    assert all(bool(part.isfinite().all()) for part in (found, *rest))
    if family != "ddpm":
        assert float(found.abs().max()) <= 1
    if isinstance(model, GAN):
        assert rest[0].shape == (2,)
        layers, head = model.discriminator.layers, model.discriminator.head
        torch.testing.assert_close(head(layers[1:](layers[:1](found))), rest[0])  # a feature inside is within reach
    assert {p.dtype for p in model.double().parameters()} == {torch.float64}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("image", [(3, 32, 32), (4, 16, 16)])
def test_small_takes_other_images(family: str, image: tuple[int, int, int]) -> None:
    assert outputs(build(family, "small", image=image), image)[0].shape == (2, *image)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_seed_determines_weights_and_outputs(family: str) -> None:
    made = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        model = build(family, "tiny")
        made.append([*model.state_dict().values(), *outputs(model, (1, 8, 8))])
    assert all(torch.equal(a, b) for a, b in zip(made[0], made[1], strict=True))
    assert not torch.equal(made[0][-1], made[2][-1])


@pytest.mark.parametrize(("family", "config"), EVERY)
def test_gradients_reach_every_parameter(family: str, config: str) -> None:
    torch.manual_seed(0)
    model = build(family, config)
    found = outputs(model, FAMILIES[family][config].image, n=4)
    torch.stack([(part * torch.randn_like(part)).sum() for part in found]).sum().backward()
    grads = {name: p.grad for name, p in model.named_parameters()}
    assert [name for name, grad in grads.items() if grad is None or not bool(grad.isfinite().all())] == []
    assert [name for name in prunable(model) if not bool(grads[name].any())] == []


@pytest.mark.parametrize(("family", "config"), EVERY)
def test_what_is_pruned_are_the_weights_of_convolutions_and_linear_layers(family: str, config: str) -> None:
    model = build(family, config)
    layers = {
        name: layer
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear)
    }
    normed = {name for name in layers if family == "sngan" and name.startswith("discriminator")}
    expected = {f"{n}.parametrizations.weight.original" if n in normed else f"{n}.weight" for n in layers}
    assert set(prunable(model)) == expected
    assert [n for n, p in model.named_parameters() if p.dim() >= 2 and n not in expected] == []


def test_names_that_tickets_will_carry() -> None:
    assert list(prunable(build("dcgan", "tiny"))) == [
        "generator.layers.1.conv.weight", "generator.layers.2.conv.weight", "generator.layers.3.weight",
        "discriminator.layers.0.conv.weight", "discriminator.layers.1.conv.weight", "discriminator.head.1.weight",
    ]  # fmt: skip
    names = ["0.weight", "2.conv1.weight", "2.conv2.weight", "2.shortcut.weight", "5.weight"]
    assert list(prunable(build("gfmn", "tiny"))) == [f"layers.{name}" for name in names]


@pytest.mark.parametrize("config", ["tiny", "small", "cifar10"])
def test_a_decoders_ticket_fits_the_generator(config: str) -> None:
    parts = build("vae", config).get_submodule("decoder"), build("dcgan", config).get_submodule("generator")
    decoder, generator = ([(n, p.shape) for n, p in part.state_dict().items()] for part in parts)
    assert decoder == generator


def test_spectral_norm_is_that_of_the_masked_weight() -> None:
    torch.manual_seed(0)
    critic = SNDiscriminator((1, 8, 8), width=8)
    masks = Masks({name: torch.rand_like(p) < 0.3 for name, p in prunable(critic).items()})
    with masked(critic, masks):
        for _ in range(200):  # a power iteration a forward
            critic(torch.zeros(1, 1, 8, 8))
    for name, mask in masks.items():
        weight = critic.get_submodule(name.removesuffix(".parametrizations.weight.original")).weight.detach()
        assert torch.equal(weight != 0, mask)
        assert float(torch.linalg.matrix_norm(weight.flatten(1), 2)) == pytest.approx(1, rel=1e-3)
    images = torch.randn(2, 1, 8, 8)
    torch.testing.assert_close(copy.deepcopy(critic.eval())(images), critic(images))


def test_wgan_has_a_critic_without_batchnorm_that_a_gradient_penalty_can_train() -> None:
    torch.manual_seed(0)
    critic = build("wgan", "tiny").get_submodule("discriminator")
    assert not any(isinstance(module, nn.BatchNorm2d) for module in critic.modules())
    images = torch.randn(4, 1, 8, 8, requires_grad=True)
    (slope,) = torch.autograd.grad(critic(images).sum(), images, create_graph=True)
    (slope.flatten(1).norm(dim=1) - 1).square().mean().backward()
    assert [n for n, p in prunable(critic).items() if p.grad is None or not bool(p.grad.any())] == []
    torch.testing.assert_close(torch.cat([critic(image[None]) for image in images]), critic(images))


@torch.no_grad()
def test_initialisation_is_the_published_one() -> None:
    torch.manual_seed(0)
    for weight in prunable(build("dcgan", "cifar10")).values():
        assert float(weight.std()) == pytest.approx(0.02, rel=0.05)
    sngan = build("sngan", "cifar10")
    for weight in prunable(sngan, "generator.layers.*.conv?.weight").values():
        bound = (6 / (weight[0].numel() + weight[:, 0].numel())) ** 0.5
        assert float(weight.abs().max()) == pytest.approx(bound, rel=1e-3)
    scales = torch.cat([p for n, p in sngan.named_parameters() if "norm" in n and n.endswith("weight")])
    assert (float(scales.mean()), float(scales.std())) == pytest.approx((1, 0.02), rel=0.1)


@torch.no_grad()
def test_signed_constants_of_gfmn_of_transposed_convolutions_and_below_spectral_norm() -> None:
    torch.manual_seed(0)
    for density in (1.0, 0.25):
        model = build("gfmn", "tiny")
        signed_constant_(model, density)
        for weight in prunable(model).values():
            magnitude = (2 / (density * weight[0].numel())) ** 0.5
            torch.testing.assert_close(weight.abs(), torch.full_like(weight, magnitude))
            assert abs(float(weight.sign().mean())) < 0.2
    critic, conv = SNDiscriminator((1, 8, 8), width=8), nn.ConvTranspose2d(64, 64, 4, stride=2, padding=1, bias=False)
    signed_constant_(nn.Sequential(critic, conv))
    assert {len(w.abs().unique()) for w in prunable(critic).values()} == {1}
    inside = conv(torch.randn(8, 64, 16, 16).relu())[:, :, 1:-1, 1:-1]
    assert float(inside.square().mean()) == pytest.approx(1, rel=0.15)


@torch.no_grad()
def test_vae_draws_from_its_posterior() -> None:
    torch.manual_seed(0)
    model = build("vae", "tiny").eval()
    images = torch.rand(3, 1, 8, 8) * 2 - 1
    mean, log_variance = model.encode(images)
    assert mean.shape == log_variance.shape == (3, 32)
    assert torch.equal(*(model(images, torch.Generator().manual_seed(7)).images for _ in range(2)))
    torch.testing.assert_close(model.reparameterise(mean, torch.full_like(mean, -100.0)), mean)
    draws = model.reparameterise(torch.full((40_000, 1), 3.0), torch.full((40_000, 1), 4.0).log())
    assert (float(draws.mean()), float(draws.std())) == pytest.approx((3, 2), abs=0.05)


def test_unet_is_the_one_diffusers_publishes_and_may_be_conditional() -> None:
    expected = {
        "down_block_types": ("DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
        "flip_sin_to_cos": False, "freq_shift": 1, "norm_eps": 1e-6, "downsample_padding": 0, "dropout": 0.1,
    }  # fmt: skip
    assert expected.items() <= build("ddpm", "cifar10").config.items()
    model = build("ddpm", "tiny", classes=10).eval()
    first, second = model(torch.randn(1, 1, 8, 8).expand(2, 1, 8, 8), 5, torch.tensor([1, 2])).sample
    assert not torch.allclose(first, second)


IMPOSSIBLE = [
    (lambda: build("dgan", "tiny"), "found the family 'dgan'; expected one of ddpm, dcgan, .*mean 'dcgan'"),
    (lambda: build("vae", "smal"), "found the configuration of vae 'smal'; expected one of tiny, .*mean 'small'"),
    (lambda: build("dcgan", "tiny")(torch.zeros(2, 3)), r"found latents \(2, 3\); expected \(N, 32\)"),
    (lambda: build("vae", "tiny")(torch.zeros(2, 3, 8, 8)), r"found images \(2, 3, 8, 8\); expected \(N, 1, 8, 8\)"),
    (lambda: build("vae", "tiny", classes=10), "only ddpm has a class-conditional form"),
    (lambda: ddpm((1, 8, 8), (12, 16), attention=()), "multiples of groups=8"),
    (lambda: SNDiscriminator((1, 2, 2), 8), "at least 4 a side"),
    (lambda: DCGANDiscriminator((1, 8, 8), (8, 8, 8, 8)), "8x8 pixels; expected at least 16 a side for 4 halvings"),
    (lambda: first_side((1, 28, 32), 2), "28x32 pixels"),
    (lambda: signed_constant_(nn.Linear(1, 1), 0), "found the density 0"),
]


@pytest.mark.parametrize(("request_", "message"), IMPOSSIBLE)
def test_impossible_requests_say_what_was_found_and_expected(request_: Callable, message: str) -> None:
    with pytest.raises((KeyError, ValueError), match=message):
        request_()


def test_diffusers_is_imported_only_by_the_family_that_needs_it() -> None:
    code = "import sys, gen_tickets.models as m; m.build('vae', 'tiny'); sys.exit('diffusers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
