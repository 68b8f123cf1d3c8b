"""Tickets in diffusion U-Nets: rates by depth, scores over timesteps, sparse training from scratch."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from diffusers import DDPMScheduler
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import mse_loss

from common.allocate import erk, prune
from common.apply import gated, masked
from common.dynamic import gradual, moving, rigl
from common.masks import Masks, prunable
from common.scores import grasp, magnitude, random, snip
from common.search import Rewind, tickets
from common.structure import channels, n_of_m
from gen_tickets.ddpm import Settings, averaged, trainer
from gen_tickets.ddpm_tickets import by_depth_rounds, diff_pruning, forward_blocks, over_timesteps
from gen_tickets.denoising import Denoising
from gen_tickets.models import build, ddpm
from gen_tickets.nm import NofM

QUICK = Settings(batch=8, lr=1e-3, decay=0.9)
IMAGES = torch.tensor(load_digits().images[:64], dtype=torch.float32)[:, None] / 8 - 1


def unet(dropout: float = 0.0) -> nn.Module:
    torch.manual_seed(0)
    return ddpm((1, 8, 8), (8, 16), attention=(1,), dropout=dropout)


def test_blocks_are_in_the_order_of_the_forward_pass() -> None:
    model, order = build("ddpm", "tiny"), []
    owner = {id(module): name for name, module in model.named_modules() if isinstance(module, nn.Conv2d)}
    for module in model.modules():
        if id(module) in owner:
            module.register_forward_hook(lambda m, _i, _o: order.append(owner[id(m)].split(".resnets")[0]))
    model(torch.zeros(1, 1, 8, 8), torch.tensor([0]))
    seen = list(dict.fromkeys(name.split(".downsamplers")[0].split(".upsamplers")[0] for name in order))
    blocks = [{name.split(".resnets")[0] for name in block if ".resnets" in name} for block in forward_blocks(model)]
    assert [["conv_in"], *map(list, blocks), ["conv_out"]] == [[name] for name in seen]


def test_rates_by_depth_are_the_papers_down_to_the_floor() -> None:
    model = unet()
    ladder = by_depth_rounds(model, 3, p=20, q=10, floor=0.2)
    shares = [  # 1 - (20 + 10 j) % a round, five blocks
        [1.0, 1.0, 1.0, 1.0, 1.0],
        [0.8, 0.7, 0.6, 0.5, 0.4],
        [0.64, 0.49, 0.36, 0.25, 0.2],
        [0.512, 0.343, 0.216, 0.2, 0.2],
    ]
    for each, wanted in zip(ladder, shares, strict=True):
        for block, share in zip(forward_blocks(model), wanted, strict=True):
            assert [each[name] for name in block] == pytest.approx([share] * len(block))
    assert all(
        param.dim() == 4 and not name.startswith("conv_") for b in forward_blocks(model) for name, param in b.items()
    )
    last = by_depth_rounds(model, 200, floor=0.0)[-1]
    assert all(round(share * model.get_parameter(name).numel()) == 1 for name, share in last.items())


def test_the_published_rates_collapse_without_a_floor() -> None:
    model = ddpm((3, 32, 32), (8, 8, 8, 8), attention=(1,))
    assert len(forward_blocks(model)) == 9
    first, last = (
        by_depth_rounds(model, floor=0.0)[-1][name] for name in (next(iter(forward_blocks(model)[j])) for j in (0, 8))
    )
    assert first == pytest.approx(0.8**25)
    assert last == pytest.approx(max(0.72**25, 1 / (16 * 8 * 9)))


def test_a_search_by_depth_keeps_what_the_rates_say() -> None:
    model, train = unet(), trainer(Denoising(IMAGES), QUICK)
    ladder = by_depth_rounds(model, 2, p=40, q=8, floor=0.15)
    *_, last = tickets(model, train, ladder, steps=4, rewind=Rewind.step(1))
    for name, (kept, total) in last.masks.counts().items():
        assert kept == round(ladder[-1].get(name, 1.0) * total), name
    assert last.masks.only("up_blocks.1.*.conv1.weight").density == pytest.approx(0.15, abs=0.01)


def test_scores_over_timesteps_are_the_sum_by_hand() -> None:
    model = unet(dropout=0.2)
    task = Denoising(IMAGES, scheduler=DDPMScheduler(num_train_timesteps=6, beta_start=0.1, beta_end=0.9))
    trainer(task, QUICK)(model, 0, 10)
    params = prunable(model)
    batch = task.batch(5, seed=2, step=0)
    alphas = torch.cumprod(1 - torch.linspace(0.1, 0.9, 6), 0)
    model.eval()
    values, sums = [], {name: torch.zeros_like(p) for name, p in params.items()}
    for t in range(6):
        noisy = alphas[t].sqrt() * batch.images + (1 - alphas[t]).sqrt() * batch.noise
        loss = mse_loss(model(noisy, torch.full((5,), t)).sample, batch.noise)
        values.append(loss.item())
        for name, grad in zip(params, torch.autograd.grad(loss, list(params.values())), strict=True):
            sums[name] += grad
        if t == 2:
            early = {name: total.clone() for name, total in sums.items()}
    assert values == sorted(values, reverse=True)
    threshold = (values[1] + values[2]) / 2 / values[0]
    found = [loss.item() for loss in over_timesteps(task, size=5, threshold=threshold, seed=2)(model)]
    assert found == pytest.approx(values[:3], rel=1e-4)
    model.train()
    for share, total, steps in ((0.0, sums, 6), (threshold, early, 3)):
        scores = diff_pruning(task, size=5, threshold=share, seed=2)(model, params, None)
        for name, p in params.items():
            assert torch.allclose(scores[name] * steps, (p * total[name]).abs().detach(), rtol=1e-3, atol=1e-7), name
    assert model.training
    with pytest.raises(ValueError, match=r"threshold of 1\.5"):
        over_timesteps(task, threshold=1.5)


def test_scores_over_timesteps_prune_channels() -> None:
    model = unet()
    task = Denoising(IMAGES, scheduler=DDPMScheduler(num_train_timesteps=10))
    params = {n: p for block in forward_blocks(model) for n, p in block.items() if n.endswith("conv1.weight")}
    scores = diff_pruning(task, size=4)(model, params, None)
    masks = prune(scores, 0.5, structure=channels())
    for name, mask in masks.items():
        rows = mask.flatten(1)
        assert bool((rows.all(1) | ~rows.any(1)).all())
        live = rows.all(1)
        if live.any() and not live.all():
            sums = scores[name].flatten(1).sum(1)
            assert sums[live].min() >= sums[~live].max()


def test_other_criteria_take_the_tasks_objective() -> None:
    model, task = unet(), Denoising(IMAGES)
    objective = task.objective(batches=2, size=4)
    for criterion in (snip, grasp):
        scores = criterion(model, prunable(model), objective)
        assert all(bool(score.isfinite().all()) for score in scores.values())
        assert sum(float(score.abs().sum()) for score in scores.values()) > 0


def test_sparse_training_from_scratch_keeps_its_density() -> None:
    task = Denoising(IMAGES)
    for update in (None, rigl(0.3, end=8), gradual(0.5, 0.25, begin=0, end=8)):
        model = unet()
        first = prune(random(0)(model, prunable(model)), 0.5, allocate=erk)
        train = trainer(task, QUICK)
        number = {name: j for j, (name, _) in enumerate(model.named_parameters())}
        with masked(model, first) if update is None else moving(model, first, update, every=2, stop=8) as guard:
            train(model, 0, 10)
            masks = guard.masks
        mean = averaged(model, train)
        for name, mask in masks.items():
            assert not bool(model.get_parameter(name)[~mask].any())
            assert not bool(mean.get_parameter(name)[~mask].any())
            assert not bool(train.kept[10][f"optimizer.0.{number[name]}.exp_avg"][~mask].any())
        if update is None:
            assert masks.distance(first) == 0
        elif masks.density < 0.5:
            assert masks.density == pytest.approx(0.25, abs=0.01)
        else:
            assert masks.counts() == first.counts()
            assert masks.distance(first) > 0


def test_n_of_m_learns_which_weights_stay() -> None:
    model, task = unet(), Denoising(IMAGES)
    params = {n: p for block in forward_blocks(model) for n, p in block.items() if p[0].numel() % 4 == 0}
    before = prune(magnitude(model, params), 0.5, structure=n_of_m(2, 4))
    with gated(model, Masks.dense(params), partial(NofM, n=2, m=4)) as gates:
        trainer(task, Settings(batch=8, lr=1e-2), penalty=gates.penalty)(model, 0, 6)
        masks = prune(gates.scores(), 0.5, structure=n_of_m(2, 4))
        computed = {name: model.get_parameter(f"{_owner(name)}.parametrizations.weight.original") for name in params}
        for name, mask in masks.items():
            weight = model.get_submodule(_owner(name)).weight
            assert torch.equal(weight.detach(), computed[name].detach() * mask)
            assert bool((mask.reshape(-1, 4).sum(1) == 2).all())
    assert masks.distance(before) > 0


def test_the_gradient_of_n_of_m_goes_straight_through_and_decays_the_rest() -> None:
    layer = nn.Linear(4, 1, bias=False)
    layer.weight.data.copy_(torch.tensor([[1.0, -4.0, 3.0, 2.0]]))
    with gated(layer, Masks.dense({"weight": layer.weight}), partial(NofM, n=2, m=4, decay=0.1)) as gates:
        x = torch.tensor([[5.0, 6.0, 7.0, 8.0]])
        assert layer(x).item() == -4 * 6 + 3 * 7
        (layer(x).sum() + gates.penalty()).backward()
        grad = layer.parametrizations.weight.original.grad
    assert grad.flatten().tolist() == pytest.approx([5 + 0.1 * 1, 6, 7, 8 + 0.1 * 2])


def _owner(name: str) -> str:
    return name.rpartition(".")[0]
