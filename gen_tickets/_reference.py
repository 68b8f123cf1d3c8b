"""Features of the real images and their statistics, kept in the user's cache and computed once."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import dataclass

import torch
from torch import Tensor

from common.sparse import cache
from common.ticket_file import Form, TicketError, layout, read, write
from gen_tickets.distances import Statistics, statistics
from gen_tickets.extractors import Extractor

__all__ = ["Reference", "reference"]

_FORM = Form("reference-features", 1, "reference.json", "set of reference features")
_FILE = "features.safetensors"


@dataclass(frozen=True)
class Reference:
    """What a score needs of the real images.

    Attributes:
        sha256: of the images.
        features: (M, D).
        statistics: of them.
    """

    sha256: str
    features: Tensor
    statistics: Statistics


def reference(real: Tensor, extractor: Extractor, device: str = "cpu") -> Reference:
    """Features and statistics of real images (M, C, H, W) uint8, from the cache if they are there.

    They are kept by the sha256 of the images and of the extractor, and by the kind of device. A damaged file, or a
    cache that cannot be written, is passed over.

    Raises:
        ValueError: see `Extractor`.
    """
    digest = hashlib.sha256(repr(tuple(real.shape)).encode())
    digest.update(real.contiguous().cpu().numpy().data)
    data = digest.hexdigest()
    folder = cache.folder().parent / "features" / f"{extractor.registered}-{extractor.sha256[:12]}-{data[:24]}"
    folder = folder.with_name(f"{folder.name}-{torch.device(device).type}")
    try:
        stored = read(folder, _FORM)[1][_FILE]
        return Reference(data, stored["features"], Statistics(stored["mean"].numpy(), stored["covariance"].numpy()))
    except (TicketError, KeyError):
        features, _ = extractor(real, device=device)
    found = statistics(features)
    kept = {name: torch.from_numpy(part) for name, part in found._asdict().items()} | {"features": features}
    with suppress(TicketError):
        write(folder, {_FILE: layout(kept, {})}, lambda _: {"images": data, "extractor": extractor.sha256}, form=_FORM)
    return Reference(data, features, found)
