"""Which weights of a diffusion U-Net stay: rates by depth, and first-order importance over the timesteps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import Tensor, nn

from common.allocate import by_depth_rates
from common.masks import prunable
from common.scores import Objective, Scorer, taylor
from gen_tickets.denoising import Batch, Denoising, evaluating

__all__ = ["by_depth_rounds", "depths", "diff_pruning", "forward_blocks", "over_timesteps"]

FANG = "Fang et al., Structural Pruning for Diffusion Models, NeurIPS 2023"


def forward_blocks(model: nn.Module) -> list[dict[str, nn.Parameter]]:
    """The weights of the convolutions of a U-Net's blocks, a dict a block, in the order of the forward pass.

    That is down, middle, up: `named_parameters` has the middle block last. The first and the last convolution, norms,
    attention and the embedding of time are in no block.

    Args:
        model: a U-Net of diffusers.

    Raises:
        TypeError: the model has no such blocks.

    >>> from gen_tickets.models import ddpm
    >>> unet = ddpm((1, 8, 8), (8, 16), attention=(1,))
    >>> [next(iter(block)).split(".resnets")[0] for block in forward_blocks(unet)]
    ['down_blocks.0', 'down_blocks.1', 'mid_block', 'up_blocks.0', 'up_blocks.1']
    """
    parts = {name: getattr(model, name, None) for name in ("down_blocks", "mid_block", "up_blocks")}
    down, up = parts["down_blocks"], parts["up_blocks"]
    if not isinstance(down, nn.ModuleList) or not isinstance(up, nn.ModuleList):
        raise TypeError(
            f"found a {type(model).__name__}; expected a U-Net with down_blocks, mid_block and up_blocks, such as "
            "diffusers' UNet2DModel"
        )
    paths = [f"down_blocks.{i}" for i in range(len(down))]
    paths += ["mid_block"] if parts["mid_block"] is not None else []
    paths += [f"up_blocks.{i}" for i in range(len(up))]
    convs = {name: param for name, param in prunable(model).items() if param.dim() == 4}
    blocks = [{n: p for n, p in convs.items() if n.startswith(f"{path}.")} for path in paths]
    return [block for block in blocks if block]


def depths(model: nn.Module) -> dict[str, int]:
    """How deep every prunable weight of a U-Net lies, from 0: which of the blocks down, middle, up it is in.

    What comes before the blocks (the first convolution, the embedding of time) counts with the first, what comes after
    them with the last.

    Args:
        model: a U-Net of diffusers.

    Raises:
        TypeError: the model has no such blocks.

    >>> from gen_tickets.models import ddpm
    >>> found = depths(ddpm((1, 8, 8), (8, 16), attention=(1,)))
    >>> found["conv_in.weight"], found["mid_block.resnets.0.conv1.weight"], found["conv_out.weight"]
    (0, 2, 4)
    """
    blocks = [next(iter(block)).split(".") for block in forward_blocks(model)]
    paths = ["mid_block." if path[0] == "mid_block" else f"{path[0]}.{path[1]}." for path in blocks]
    last = {"conv_out.weight": len(paths) - 1}
    return {
        name: next((j for j, path in enumerate(paths) if name.startswith(path)), last.get(name, 0))
        for name in prunable(model)
    }


def by_depth_rounds(
    model: nn.Module, rounds: int = 25, *, p: float = 20.0, q: float = 1.0, floor: float = 0.02
) -> list[dict[str, float]]:
    r"""Densities for `common.tickets`, a round an entry, that prune deeper blocks faster; the first is dense.

    Every convolution of the j-th block has $\max(\text{floor}, (1 - (p + jq)/100)^r)$ after round r, and at least one
    weight. Only what `forward_blocks` returns is pruned. At the published p = 20, q = 1 and 25 rounds the 9 blocks of a
    CIFAR-10 U-Net would keep 0.38 % to 0.027 % without a floor.

    Args:
        model: a U-Net of diffusers.
        rounds: of pruning.
        p: per cent that a round removes from the first block (20, not 0.2).
        q: per cent more for every next block.
        floor: the share that every convolution keeps at least.

    Raises:
        TypeError: the model has no such blocks.
        ValueError: a rate is not above 0 and below 100, the floor no share, or rounds negative.

    References:
        Jiang et al., Successfully Applying Lottery Ticket Hypothesis to Diffusion Model, NeurIPS workshop 2023.

    >>> from gen_tickets.models import ddpm
    >>> unet = ddpm((1, 8, 8), (8, 16), attention=())
    >>> ladder = by_depth_rounds(unet, 2, p=20, q=10)
    >>> [round(each["down_blocks.1.resnets.0.conv1.weight"], 2) for each in ladder]
    [1.0, 0.7, 0.49]
    """
    if rounds < 0:
        raise ValueError(f"found {rounds} rounds; expected none or more")
    blocks = forward_blocks(model)
    ladder = []
    for number in range(rounds + 1):
        shares = by_depth_rates(len(blocks), p, q, rounds=number, floor=floor)
        each = zip(blocks, shares, strict=True)
        ladder.append({name: max(share, 1 / w.numel()) for block, share in each for name, w in block.items()})
    return ladder


def over_timesteps(task: Denoising, *, size: int = 128, threshold: float = 0.05, seed: int = 0) -> Objective:
    r"""The losses of one batch under one noise at t = 0, 1, 2, ..., up to the first $L_t < \tau \max_{s \le t} L_s$.

    The loss falls with the noise level, so that this leaves out the noisiest timesteps, whose gradients say little.

    Args:
        task: images, noise and loss.
        size: images in the batch.
        threshold: $\tau$, in [0, 1]; 0 goes through all timesteps.
        seed: of images and noise.

    Raises:
        ValueError: the threshold is out of range.

    References:
        Fang et al., Structural Pruning for Diffusion Models, NeurIPS 2023.
    """
    if not 0.0 <= threshold <= 1.0:
        raise ValueError(f"found a threshold of {threshold}; expected a share of the largest loss, in [0, 1]")

    def losses(model: nn.Module) -> Iterator[Tensor]:
        images, noise, timesteps, labels = task.batch(size, seed, 0)
        largest = 0.0
        for t in range(task.timesteps):
            loss = task.loss(model, Batch(images, noise, timesteps.new_full((size,), t), labels))
            yield loss
            largest = max(largest, loss.item())
            if loss.item() < threshold * largest:
                return

    return losses


def diff_pruning(task: Denoising, *, size: int = 128, threshold: float = 0.05, seed: int = 0) -> Scorer:
    r"""Diff-Pruning: $|w \cdot E_t[g_t]|$ with the gradients $g_t$ of `over_timesteps`, in eval mode.

    The published score of a group of channels sums these, $\sum |w \cdot \sum_t g_t|$ over all that goes with it, as
    `gen_tickets.inner.pooled` does.

    Args:
        task, size, threshold, seed: as for `over_timesteps`.

    Raises:
        ValueError: the threshold is out of range; in the scorer, no loss depends on a parameter.

    References:
        Fang et al., Structural Pruning for Diffusion Models, NeurIPS 2023.
    """
    path = over_timesteps(task, size=size, threshold=threshold, seed=seed)

    def score(model: nn.Module, params: Mapping[str, Tensor], objective: Objective | None = None) -> dict[str, Tensor]:
        del objective  # the task is the objective
        with evaluating(model):
            return taylor(model, params, path)

    score.reference = FANG  # type: ignore[attr-defined]
    return score
