"""Masks are data: a dictionary from parameter names to boolean tensors.

Everything in the suite takes and returns a `Masks`: a criterion scores parameters, an allocation counts, `prune` turns
both into masks, `masked` trains under them, a ticket stores them. True means kept. `density` is the share kept.
"""

from __future__ import annotations

import fnmatch
import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Masks", "agree_across_ranks", "closest", "prunable"]

_NORMS = ("Norm",)  # BatchNorm, LayerNorm, GroupNorm, InstanceNorm, RMSNorm and their subclasses


class Masks(dict[str, Tensor]):
    """Boolean masks keyed by parameter name; True is kept.

    Args:
        masks: name to a bool tensor, or to a tensor that holds only 0 and 1, of the parameter's shape.

    Raises:
        TypeError: a name is no string or a value no tensor.
        ValueError: a value is neither bool nor 0/1.

    >>> masks = Masks({"fc.weight": torch.tensor([[1, 0], [1, 1]])})
    >>> masks.kept, masks.total, masks.density
    (3, 4, 0.75)
    """

    def __init__(self, masks: Mapping[str, Tensor] | None = None) -> None:
        super().__init__()
        for name, mask in (masks or {}).items():
            self[name] = mask

    def __setitem__(self, name: str, mask: Tensor) -> None:
        if not isinstance(name, str):
            raise TypeError(f"a mask is keyed by its parameter's name; found a {type(name).__name__}: {name!r}")
        if not isinstance(mask, Tensor):
            raise TypeError(f"the mask of {name!r} must be a tensor; found a {type(mask).__name__}")
        if mask.dtype != torch.bool:
            if not bool(((mask == 0) | (mask == 1)).all()):
                raise ValueError(
                    f"the mask of {name!r} must be bool or hold only 0 and 1; found {mask.dtype} values. "
                    "Threshold scores with prune() first."
                )
            mask = mask.bool()
        super().__setitem__(name, mask.detach())

    def update(self, *args: Any, **masks: Any) -> None:
        """As `dict.update`, which replaces masks of the same name; nothing changes unless all are masks."""
        super().update(Masks(dict(*args, **masks)))

    def setdefault(self, name: str, mask: Tensor) -> Tensor:  # type: ignore[override]
        """As `dict.setdefault`, for a mask."""
        if name not in self:
            self[name] = mask
        return self[name]

    @classmethod
    def dense(cls, params: Mapping[str, Tensor]) -> Masks:
        """All-True masks for the given tensors (names to tensors of any shape).

        >>> Masks.dense({"w": torch.zeros(2, 3)}).kept
        6
        """
        return cls({name: torch.ones_like(p, dtype=torch.bool) for name, p in params.items()})

    @property
    def kept(self) -> int:
        """How many entries survive."""
        return sum(int(mask.sum()) for mask in self.values())

    @property
    def total(self) -> int:
        """How many entries there are."""
        return sum(mask.numel() for mask in self.values())

    @property
    def density(self) -> float:
        """The share kept, in [0, 1]; an empty set of masks is dense."""
        return self.kept / self.total if self.total else 1.0

    def counts(self) -> dict[str, tuple[int, int]]:
        """Name to (kept, total).

        >>> Masks({"w": torch.tensor([True, False])}).counts()
        {'w': (1, 2)}
        """
        return {name: (int(mask.sum()), mask.numel()) for name, mask in self.items()}

    def only(self, *patterns: str) -> Masks:
        """The masks whose name matches one of the shell patterns (`fnmatch`).

        Raises:
            KeyError: a pattern matches nothing.

        >>> sorted(Masks({"a.weight": torch.ones(1), "b.weight": torch.ones(1)}).only("a.*"))
        ['a.weight']
        """
        for pattern in patterns:
            if not fnmatch.filter(self, pattern):
                raise KeyError(f"no mask matches {pattern!r}; the names are {', '.join(self) or '(none)'}")
        return Masks({n: m for n, m in self.items() if any(fnmatch.fnmatchcase(n, p) for p in patterns)})

    def distance(self, other: Mapping[str, Tensor]) -> float:
        """Normalised Hamming distance in [0, 1]: the share of entries on which two masks differ.

        Raises:
            ValueError: names or shapes differ.
        """
        self._check_same(other)
        differ = sum(int((mask != other[name].to(mask.device)).sum()) for name, mask in self.items())
        return differ / self.total if self.total else 0.0

    def digests(self) -> dict[str, str]:
        """Name to a sha256 of shape and bits, equal on every device and rank that holds the same mask."""
        return {
            name: hashlib.sha256(str(tuple(m.shape)).encode() + m.cpu().contiguous().numpy().tobytes()).hexdigest()
            for name, m in self.items()
        }

    def __and__(self, other: Mapping[str, Tensor]) -> Masks:
        return self._combine(other, torch.logical_and)

    def __or__(self, other: Mapping[str, Tensor]) -> Masks:  # type: ignore[override]
        """Entry-wise union on shared names, and the dictionaries' union on the others."""
        return self._combine(other, torch.logical_or)

    def __ror__(self, other: Mapping[str, Tensor]) -> Masks:  # type: ignore[override]
        return Masks(other) | self

    def __ior__(self, other: Mapping[str, Tensor]) -> Masks:  # type: ignore[override,misc]
        self.update(self | other)
        return self

    def __invert__(self) -> Masks:
        return Masks({name: ~mask for name, mask in self.items()})

    def _combine(self, other: Mapping[str, Tensor], join: Callable[[Tensor, Tensor], Tensor]) -> Masks:
        shared = Masks({n: m for n, m in other.items() if n in self})
        Masks({n: self[n] for n in shared})._check_same(shared)
        merged = Masks(self)
        for name, mask in other.items():
            merged[name] = join(self[name], mask.to(self[name].device)) if name in self else mask
        return merged

    def _check_same(self, other: Mapping[str, Tensor]) -> None:
        if self.keys() != other.keys():
            raise ValueError(f"the masks name different tensors: {sorted(self.keys() ^ other.keys())} are in one only")
        for name, mask in self.items():
            if mask.shape != other[name].shape:
                raise ValueError(
                    f"the masks of {name!r} differ in shape: {tuple(mask.shape)} and {tuple(other[name].shape)}"
                )


def prunable(model: nn.Module, *patterns: str) -> dict[str, nn.Parameter]:
    """The parameters that are pruned by default: tensors of two or more dimensions outside normalisation layers.

    Biases (attention's `bias_k` and `bias_v`, too), tensors without entries and the scales of BatchNorm, LayerNorm and
    GroupNorm are left alone. A tensor shared by two modules appears once.

    Args:
        model: any module.
        patterns: shell patterns of parameter names; when given, exactly the matching parameters are returned,
            whatever their shape (this is how an edge-weight vector becomes prunable).

    Raises:
        KeyError: a pattern matches no parameter.

    >>> sorted(prunable(nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3), nn.Linear(3, 1))))
    ['0.weight', '2.weight']
    """
    named = dict(model.named_parameters())
    if patterns:
        for pattern in patterns:
            if not fnmatch.filter(named, pattern):
                raise KeyError(f"no parameter matches {pattern!r}; the nearest is {closest(pattern, named)}")
        return {n: p for n, p in named.items() if any(fnmatch.fnmatchcase(n, q) for q in patterns)}
    norms = {
        f"{path}.{n}" if path else n
        for path, module in model.named_modules()
        if any(word in type(module).__name__ for word in _NORMS)
        for n, _ in module.named_parameters(recurse=False)
    }
    return {n: p for n, p in named.items() if p.dim() >= 2 and p.numel() and n not in norms and not _is_bias(n)}


def _is_bias(name: str) -> bool:
    last = name.rpartition(".")[2]
    return last == "bias" or last.startswith("bias_")


def closest(name: str, known: Mapping[str, object]) -> str:
    """The known name nearest to an unknown one, quoted, for error messages; '(none)' if there is none."""
    import difflib

    found = difflib.get_close_matches(name, list(known), n=1, cutoff=0.0)
    return repr(found[0]) if found else "(none)"


def agree_across_ranks(masks: Masks) -> None:
    """Check that every process of the default group holds the same masks; a no-op without torch.distributed.

    Raises:
        RuntimeError: naming the tensors whose masks differ between ranks.
    """
    dist = torch.distributed
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return
    gathered: list[dict[str, str] | None] = [None] * dist.get_world_size()
    dist.all_gather_object(gathered, masks.digests())
    names = sorted({n for digests in gathered for n in (digests or {})})
    differ = [n for n in names if len({(digests or {}).get(n) for digests in gathered}) > 1]
    if differ:
        raise RuntimeError(
            f"the ranks hold different masks for {', '.join(differ)}. Compute scores from the same data, or all-reduce "
            "them, so that every rank prunes alike; or broadcast the masks of rank 0."
        )
