"""A ticket: masks, the weights to start from, and where both came from; on disk as safetensors and one json.

A folder holds `ticket.safetensors` (`mask/<name>` as packed bits; `weight/<name>` as the kept values of a masked tensor
and in full for every other parameter and buffer), optionally `trained.safetensors`, and `ticket.json`. That is one bit
a weight and the width of one value a kept weight.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from common._ties import follow, holders, ties
from common.masks import Masks
from common.packing import compress, expand, kept_counts, pack, unpack
from common.ticket_file import TICKET, TicketError, layout, plain, read, refuse, sha256, write

__all__ = ["Ticket", "TicketError"]

_TICKET, _TRAINED = "ticket.safetensors", "trained.safetensors"
_PLAIN_FIELDS = ("recipe", "metrics", "seeds", "parent", "references", "graph", "versions", "tied")
_State = Mapping[str, Tensor]


def _versions() -> dict[str, str]:
    known = {"python": platform.python_version()}
    for name in ("torch", "numpy", "safetensors", "lottery-tickets"):
        try:
            known[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            known[name] = "unknown"
    return known


@dataclass(frozen=True, eq=False, repr=False)
class Ticket:
    """A sparse subnetwork: which entries survive, the weights they start from, and its provenance.

    A ticket is a value: treat its tensors as read-only, and make variants with `dataclasses.replace`.

    Args:
        masks: parameter name to a bool tensor of its shape; True is kept.
        weights: the whole state_dict at the rewinding point (buffers included). Entries that are pruned may hold
            anything; `apply` zeroes them, and a saved ticket forgets them unless told otherwise.
        recipe: how it was found: dotted paths and arguments, plain json.
        metrics: what its training measured, plain json.
        seeds: the random seeds behind it.
        parent: the digest of the ticket it was pruned or varied from.
        references: the papers to cite for it.
        graph: the fingerprint of the graph it belongs to, plain json; None for a model without one.
        versions: libraries it was made with.
        trained: the whole state_dict after training under the masks, or None.
        tied: alias to name of one shared tensor; it follows and is not stored. By default, weights that share memory.
        whole: whether the pruned entries of `weights` still hold their rewound values.

    Raises:
        TicketError: a mask has no weight, or one of another shape.

    >>> import torch
    >>> ticket = Ticket(Masks({"w": torch.tensor([True, False])}), {"w": torch.tensor([3.0, 4.0])})
    >>> ticket
    Ticket(density=0.5, kept=1 of 2, tensors=1, digest=8da0b868d166)
    """

    masks: Masks
    weights: dict[str, Tensor]
    recipe: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    seeds: list[int] = field(default_factory=list)
    parent: str | None = None
    references: list[str] = field(default_factory=list)
    graph: dict[str, Any] | None = None
    versions: dict[str, str] = field(default_factory=_versions)
    trained: dict[str, Tensor] | None = None
    tied: dict[str, str] | None = None
    whole: bool = True

    def __post_init__(self) -> None:
        if not isinstance(self.masks, Masks):
            object.__setattr__(self, "masks", Masks(self.masks))
        for name, mask in self.masks.items():
            for which, state in (("weights", self.weights), ("trained weights", self.trained)):
                if state is not None and (name not in state or state[name].shape != mask.shape):
                    found = tuple(state[name].shape) if name in state else "nothing"
                    refuse(f"the {which} of {name!r}", f"{found}", f"the mask's shape {tuple(mask.shape)}",
                           "Pass the whole state_dict of the model that the masks belong to.")  # fmt: skip
        tied = holders(self.tied, self.weights, self.masks)
        trained = self.trained and follow(self.trained, tied)
        self.__dict__.update(tied=tied, weights=follow(self.weights, tied), trained=trained)

    def __repr__(self) -> str:
        kept, total = self.masks.kept, self.masks.total
        return (
            f"Ticket(density={self.density:.4g}, kept={kept} of {total}, tensors={len(self.masks)}, "
            f"digest={self.digest[:12]})"
        )

    @property
    def density(self) -> float:
        """The share of the masked entries that is kept, in [0, 1]."""
        return self.masks.density

    @cached_property
    def digest(self) -> str:
        """A sha256 over the masks and the weights that count, the same before and after saving, on any device.

        It is the sha256 of `ticket.safetensors` as `save` writes it by default.
        """
        return sha256(self._layout(dense_weights=False))

    def save(self, folder: str | Path, *, dense_weights: bool = False, trained: bool = True) -> Path:
        """Write the ticket into a folder and return the folder; an older ticket there is replaced atomically.

        Args:
            folder: created if need be.
            dense_weights: also keep the pruned entries of the rewound weights, which `inverted` and
                `shuffled_masks` need of a ticket that was reloaded.
            trained: also write the trained weights, if there are any (their pruned entries are zero).

        Raises:
            TicketError: the folder cannot be written, or a field is no plain json; the older ticket stays.
        """
        files = {_TICKET: self._layout(dense_weights)}
        if trained and self.trained is not None:
            files[_TRAINED] = layout(self._stored(self.trained, self.masks), {})

        def body(hashes: Mapping[str, str]) -> dict[str, Any]:
            if not dense_weights:
                self.__dict__["digest"] = hashes[_TICKET]  # what the property would compute, already at hand
            return self._body(dense_weights)

        write(Path(folder), files, body, _TRAINED)
        return Path(folder)

    @classmethod
    def load(cls, folder: str | Path) -> Ticket:
        """Read a ticket back, bit for bit; pruned entries are zero unless it was saved with `dense_weights`.

        Raises:
            TicketError: the folder or a file is missing, cut short, altered, of another version, or no ticket.

        >>> import tempfile, torch
        >>> ticket = Ticket(Masks({"w": torch.tensor([True, False])}), {"w": torch.tensor([3.0, 4.0])})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Ticket.load(ticket.save(folder)).weights
        {'w': tensor([3., 0.])}
        """
        body, files = read(Path(folder))
        try:
            shapes = {name: tuple(record["shape"]) for name, record in body["tensors"].items()}
            masks = Masks(unpack({n: files[_TICKET][f"mask/{n}"] for n in body["densities"]}, shapes))
            tied = body.get("tied", {})
            states = {
                file: _decode(tensors, list(shapes), {} if dense else masks, tied)
                for file, tensors in files.items()
                for dense in [body["dense_weights"] and file == _TICKET]
            }
            rest = {name: body[name] for name in _PLAIN_FIELDS if name in body}  # earlier releases had fewer
            whole = body.get("whole", body["dense_weights"])
            return cls(masks, states[_TICKET], trained=states.get(_TRAINED), whole=whole, **rest)
        except (KeyError, TypeError, ValueError) as error:
            refuse(Path(folder) / TICKET.manifest, f"tensors that do not fit it ({error})", "the files of one ticket",
                   "Nothing was loaded; save the ticket again.")  # fmt: skip

    def verify(self, model: nn.Module, graph: Mapping[str, Any] | None = None) -> None:
        """Check that this ticket belongs to a model, and to a graph when its fingerprint is given.

        Raises:
            TicketError: names, shapes or types of the model's tensors differ (the first few are named), or the
                fingerprints differ (both are shown).
        """
        if graph is not None and plain(graph) != plain(self.graph):
            raise TicketError(
                f"a ticket for another graph: found the graph {plain(graph)}, expected {plain(self.graph)}. Load the "
                "data that the ticket was found on; nothing was changed."
            )
        state = {name: value for name, value in model.state_dict().items() if isinstance(value, Tensor)}
        names = dict.fromkeys([*self.weights, *state])
        differ = [(n, _look(self.weights, n), _look(state, n)) for n in names]
        differ = [(name, ours, theirs) for name, ours, theirs in differ if ours != theirs]
        if differ:
            first = "; ".join(f"{n}: {theirs} in the model, {ours} in the ticket" for n, ours, theirs in differ[:3])
            more = f" and {len(differ) - 3} more" if len(differ) > 3 else ""
            raise TicketError(
                f"a ticket for another model: {len(differ)} of {len(names)} tensors differ ({first}{more}). Build the "
                "model that the ticket's recipe names; the model was left as it was."
            )

    def apply(self, model: nn.Module) -> None:
        """Load the rewound weights into a model in place, its pruned entries exactly zero.

        Parameters stay the same objects, so optimizers and hooks that hold them stay valid.

        Raises:
            TicketError: the ticket belongs to another model, which is left as it was.

        >>> import torch
        >>> model = nn.Linear(2, 1, bias=False)
        >>> Ticket(Masks({"weight": torch.tensor([[True, False]])}), {"weight": torch.ones(1, 2)}).apply(model)
        >>> model.weight.tolist()
        [[1.0, 0.0]]
        """
        self.verify(model)
        state = model.state_dict()  # which knows its ties, where the ticket's copies may not
        state.update(follow(self.weights, ties(state, self.masks)))
        model.load_state_dict(state)
        state = model.state_dict()
        for name, mask in self.masks.items():  # last, so that a tensor with two names ends up pruned
            state[name].masked_fill_(~mask.to(state[name].device), 0)

    def _body(self, dense_weights: bool) -> dict[str, Any]:
        kept, total = kept_counts(self.masks), {name: mask.numel() for name, mask in self.masks.items()}
        return {
            "digest": self.digest,
            "density": sum(kept.values()) / max(1, sum(total.values())) if kept else 1.0,
            "densities": {name: kept[name] / total[name] if total[name] else 1.0 for name in kept},
            "tensors": {n: {"shape": list(w.shape), "dtype": _dtype(w)} for n, w in self.weights.items()},
            "dense_weights": dense_weights,
            "whole": kept == total or (self.whole and dense_weights),
        } | {name: getattr(self, name) for name in _PLAIN_FIELDS}

    def _layout(self, dense_weights: bool) -> list[memoryview]:
        bits = {f"mask/{name}": pack(mask) for name, mask in self.masks.items()}
        shapes = {name: list(mask.shape) for name, mask in self.masks.items()}
        return layout(bits | self._stored(self.weights, {} if dense_weights else self.masks), {"masks": shapes})

    def _stored(self, state: _State, masks: _State) -> dict[str, Tensor]:
        tensors = dict(state) | compress(state, masks)
        return {f"weight/{name}": tensor for name, tensor in tensors.items() if name not in (self.tied or {})}


def _decode(tensors: _State, order: list[str], masks: _State, tied: Mapping[str, str]) -> dict[str, Tensor]:
    state = expand({name: tensors[f"weight/{name}"] for name in masks}, masks)
    state |= {name: tensors[f"weight/{name}"].clone() for name in order if name not in state and name not in tied}
    return {name: state[tied.get(name, name)] for name in order}


def _look(state: Mapping[str, Tensor], name: str) -> str:
    return f"{_dtype(state[name])} {tuple(state[name].shape)}" if name in state else "missing"


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
