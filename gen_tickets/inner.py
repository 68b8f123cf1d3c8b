"""Inner channels of a U-Net's residual blocks, in whole normalisation groups: what can be taken out for good.

A block's first convolution and its projection of the time embedding write channels that its second normalisation
normalises in groups, and that nobody reads but its second convolution. A group goes with its rows of the former and its
columns of the latter; what enters and leaves the block keeps its size, so that blocks share nothing and any choice of
groups fits. `common.sparse.slim` then removes the group with its biases and its share of the normalisation, exactly.

References:
    Fang et al., DepGraph: Towards Any Structural Pruning, CVPR 2023.
    Fang et al., Structural Pruning for Diffusion Models, NeurIPS 2023.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from common.masks import Masks

__all__ = ["Block", "best", "blocks", "kept_of", "least", "masks", "pooled", "shuffled"]

_SIDES = {"conv1.weight": 0, "time_emb_proj.weight": 0, "conv2.weight": 1}  # the dimension of the inner channels


@dataclass(frozen=True)
class Block:
    """A residual block.

    Attributes:
        name: of the module.
        channels: inner ones.
        groups: in which the second normalisation takes them.
    """

    name: str
    channels: int
    groups: int

    def sides(self, tensors: Mapping[str, Tensor]) -> dict[str, int]:
        """The block's weights among these, and the dimension of each that holds inner channels, maybe several times."""
        return {f"{self.name}.{side}": dim for side, dim in _SIDES.items() if f"{self.name}.{side}" in tensors}

    def size(self, shapes: Mapping[str, Tensor]) -> int:
        """Weights of one group."""
        return sum(shapes[name].numel() for name in self.sides(shapes)) // self.groups


def blocks(model: nn.Module) -> list[Block]:
    """The residual blocks of diffusers in a model, in its order.

    >>> from gen_tickets.models import build
    >>> blocks(build("ddpm", "tiny"))[0]
    Block(name='down_blocks.0.resnets.0', channels=16, groups=8)
    """
    from diffusers.models.resnet import ResnetBlock2D

    found = ((name, module) for name, module in model.named_modules() if isinstance(module, ResnetBlock2D))
    return [
        Block(name, module.norm2.num_channels, module.norm2.num_groups)
        for name, module in found
        if isinstance(module.norm2, nn.GroupNorm)
    ]


def least(shapes: Mapping[str, Tensor], among: Sequence[Block]) -> float:
    """The share of the weights that stays whatever is chosen: those outside of the blocks, and one group of each.

    Args:
        shapes: name to any tensor of a weight's shape.
        among: from `blocks`.
    """
    return 1.0 - sum(block.size(shapes) * (block.groups - 1) for block in among) / _total(shapes)


def pooled(scores: Mapping[str, Tensor], among: Sequence[Block]) -> dict[str, Tensor]:
    """Name of a block to the sums of its groups' scores over all their entries, (groups,).

    Args:
        scores: name of a weight to scores of its shape.
        among: from `blocks`.
    """
    found = {}
    for block in among:
        shape = -1, block.groups, block.channels // block.groups
        rows = [scores[name].detach().cpu().movedim(dim, 0).flatten(1) for name, dim in block.sides(scores).items()]
        found[block.name] = torch.stack([one.sum(1).reshape(shape).sum((0, 2)) for one in rows]).sum(0)
    return found


def best(
    scores: Mapping[str, Tensor], shapes: Mapping[str, Tensor], among: Sequence[Block], density: float
) -> dict[str, Tensor]:
    """The groups to keep, bool (groups,) a block: the best, and as large a share of one block as of another.

    Args:
        scores: from `pooled`; where shares are equal, the group that is nearer to the best of its block goes first.
        shapes: name to any tensor of a weight's shape.
        among: from `blocks`.
        density: share of all weights to keep, met to half a group; never less than `least`.
    """
    left = (density - least(shapes, among)) * _total(shapes)
    found, ranked = {}, []
    for block in among:
        score = scores[block.name]
        order = score.argsort(descending=True, stable=True).tolist()
        found[block.name] = torch.arange(block.groups) == order[0]
        top = float(score[order[0]]) or 1.0
        ranked += [(place / block.groups, -float(score[one]) / top, block, one) for place, one in enumerate(order)][1:]
    for _, _, block, one in sorted(ranked, key=lambda item: item[:2]):
        if block.size(shapes) > 2 * left:
            break
        found[block.name][one] = True
        left -= block.size(shapes)
    return found


def kept_of(found: Mapping[str, Tensor], among: Sequence[Block]) -> dict[str, Tensor]:
    """The groups that masks keep, bool (groups,) a block.

    Args:
        found: from `masks`.
        among: from `blocks`.
    """
    return {name: sums > 0 for name, sums in pooled(found, among).items()}


def shuffled(kept: Mapping[str, Tensor], seed: int) -> dict[str, Tensor]:
    """As many groups of every block, at random.

    >>> shuffled({"b": torch.tensor([True, False, False])}, 0)["b"].sum().item()
    1
    """
    generator = torch.Generator().manual_seed(seed)
    return {name: alive[torch.randperm(len(alive), generator=generator)] for name, alive in kept.items()}


def masks(shapes: Mapping[str, Tensor], among: Sequence[Block], kept: Mapping[str, Tensor]) -> Masks:
    """Masks of all weights: inner channels as chosen, everything else whole.

    Args:
        shapes: name to any tensor of a weight's shape.
        among: from `blocks`.
        kept: name of a block to bool (groups,).

    >>> shapes = {"b.conv1.weight": torch.ones(4, 1, 1, 1), "b.conv2.weight": torch.ones(2, 4, 1, 1)}
    >>> found = masks(shapes, [Block("b", 4, 2)], {"b": torch.tensor([True, False])})
    >>> found["b.conv1.weight"].flatten().int().tolist(), found["b.conv2.weight"].flatten(1).int().tolist()
    ([1, 1, 0, 0], [[1, 1, 0, 0], [1, 1, 0, 0]])
    """
    found = {name: torch.ones_like(one, dtype=torch.bool) for name, one in shapes.items()}
    for block in among:
        channels = kept[block.name].repeat_interleave(block.channels // block.groups)
        for name, dim in block.sides(shapes).items():
            repeated = channels.repeat(shapes[name].shape[dim] // block.channels).to(found[name].device)
            found[name] &= repeated.view([-1 if i == dim else 1 for i in range(shapes[name].dim())])
    return Masks(found)


def _total(shapes: Mapping[str, Tensor]) -> int:
    return sum(one.numel() for one in shapes.values())
