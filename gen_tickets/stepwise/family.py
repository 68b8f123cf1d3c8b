"""The networks that a schedule chooses between: a dense one and its tickets, densest first."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from torch import nn

from common.masks import Masks
from common.runs.files import canonical, read_object
from common.ticket import Ticket
from common.ticket_file import TICKET
from gen_tickets._intervals import refuse
from gen_tickets.networks import Network, Opened, opened
from gen_tickets.schedule import Member

__all__ = ["DENSE", "Family", "family", "folders"]

DENSE = "dense"


@dataclass(frozen=True)
class Family:
    """Tickets of one dense network, and that network, ready to predict noise.

    Attributes:
        network: what they all are.
        models: name to denoiser in eval mode, pruned weights zero; the dense one first, then by density.
        masks: name to masks; all of it is kept in the dense one.
        members: name to where the ticket is.
        find: the settings of the search that found them, as the dense ticket's recipe has them.
    """

    network: Network
    models: Mapping[str, nn.Module]
    masks: Mapping[str, Masks]
    members: Mapping[str, Member]
    find: Mapping[str, Any]

    @property
    def names(self) -> list[str]:
        """`dense` first, then from dense to sparse."""
        return list(self.models)

    def files(self) -> dict[str, dict[str, str]]:
        """Name to the sha256 of each file of the ticket; its digest is silent about trained weights."""
        paths = {name: Path(member.folder) / TICKET.manifest for name, member in self.members.items()}
        known = {name: read_object(path, "Restore it from a copy.")["files"] for name, path in paths.items()}
        return {name: {file: one["sha256"] for file, one in files.items()} for name, files in known.items()}

    def fingerprint(self) -> str:
        """Twelve letters that no other family has."""
        return hashlib.sha256(canonical(self.files()).encode()).hexdigest()[:12]


def folders(paths: Sequence[str | Path], seed: int | None = None) -> list[Path]:
    """Folders of tickets; that of a run stands for its dense network and all rounds of one seed and method.

    Args:
        paths: of tickets, or of runs of `gen-tickets find` or `compare`; of a compare, `RUN/rounds/seed-0/METHOD` too.
        seed: of a run; its first if not given.

    Raises:
        ScheduleError: there is nothing in a folder.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        if (path / "ticket.json").is_file():
            found.append(path)
            continue
        seeds = _seeds(path) if seed is None else [path / "rounds" / f"seed-{seed}"]
        home = seeds[0] if seeds and (seeds[0] / "dense").is_dir() else path.parent
        methods = [path] if home == path.parent else sorted(one for one in home.iterdir() if one.name != DENSE)
        rounds = [one.parent for one in sorted(methods[0].glob("round-*/ticket.json"))] if len(methods) == 1 else []
        if len(methods) > 1:
            names = ", ".join(one.name for one in methods)
            refuse(f"the methods {names} in {path}", "the rounds of one", f"Name its folder, as in {methods[0]}.")
        if not rounds:
            refuse(f"no ticket in {path}", "a folder of a ticket or of a run", "Check the path.")
        found += [*([home / DENSE] if (home / DENSE / "ticket.json").is_file() else []), *rounds]
    return list(dict.fromkeys(found))


def _seeds(run: Path) -> list[Path]:
    """Folders of the seeds of a run, by number."""
    return sorted(run.glob("rounds/seed-*"), key=lambda one: int(one.name.removeprefix("seed-")))


def family(paths: Sequence[str | Path]) -> Family:
    """Open tickets, and check that they belong together.

    Args:
        paths: folders of tickets, a dense network's (density 1) among them, see `folders`.

    Raises:
        ScheduleError: fewer than two, none or several of them dense, two of one density, tickets of different networks
            or data, one without trained weights, or of a network that takes no steps.
        TicketError: a ticket cannot be read.
    """
    tickets = sorted(((Ticket.load(path), Path(path)) for path in paths), key=lambda pair: -pair[0].density)
    _check(tickets)
    dense: Opened | None = None
    models: dict[str, nn.Module] = {}
    masks: dict[str, Masks] = {}
    members: dict[str, Member] = {}
    for ticket, path in tickets:
        found = opened(ticket)
        dense = dense or found
        _fits(found, dense, path)
        name = DENSE if ticket.density == 1 else f"kept-{100 * ticket.density:.3g}"
        if name in members:
            refuse(f"two tickets of density {ticket.density:.4g}", "tickets of different densities", "Leave one out.")
        models[name], masks[name] = found.maker.eval().requires_grad_(False), found.masks
        members[name] = Member(str(path), ticket.density, ticket.digest)
    return Family(cast(Opened, dense).network, models, masks, members, _find(tickets[0][0]))


def _check(tickets: Sequence[tuple[Ticket, Path]]) -> None:
    if len(tickets) < 2:
        refuse(f"{len(tickets)} ticket{'s' * (not tickets)}", "a dense network and at least one ticket of it",
               "Name them, or the folder of a run.")  # fmt: skip
    if tickets[0][0].density < 1:
        refuse(f"no dense network, the densest keeps {tickets[0][0].density:.4g}", "a ticket of density 1",
               "Add the folder RUN/rounds/seed-0/dense.")  # fmt: skip


def _fits(found: Opened, dense: Opened, path: Path) -> None:
    if not found.network.denoises:
        refuse(f"a ticket of {found.network} in {path}", "one of a U-Net, which takes steps", "Leave it out.")
    if found.network != dense.network:
        theirs, ours = (f"{one.network}, {one.network.image}" for one in (found, dense))
        refuse(f"a ticket of {theirs} in {path}", f"{ours}, as the dense one", "Schedule tickets of one network.")
    theirs, ours = (str(_find(one.ticket).get("data")) for one in (found, dense))
    if theirs != ours:
        refuse(f"a ticket in {path} of the data {theirs[:12]}", f"{ours[:12]}, as the dense one",
               "Schedule tickets of one dense network.")  # fmt: skip
    if not found.trained:
        refuse(f"no trained weights in {path}", "a ticket as gen-tickets find leaves it", "Train it first.")


def _find(ticket: Ticket) -> dict[str, Any]:
    """The settings of the search that a ticket is of; nothing where it does not say."""
    return dict(ticket.recipe.get("find") or {})
