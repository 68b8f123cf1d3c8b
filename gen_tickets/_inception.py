"""torch-fidelity's file of Inception-v3: found and checked, downloaded, or named as missing."""

from __future__ import annotations

import hashlib
import os
import pickle
from pathlib import Path
from typing import Any

import torch

from common.runs.errors import MissingData

__all__ = ["begins", "file_name", "find"]

_MEGABYTES = 96  # about, of 23.9 million float32


def file_name() -> str:
    """What torch-fidelity calls the file."""
    from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3

    return str(URL_INCEPTION_V3).rpartition("/")[2]


def begins() -> str:
    """How the file's sha256 begins: torch's convention puts it last in the file's name.

    >>> begins()
    '6726825d'
    """
    return Path(file_name()).stem.rpartition("-")[2]


def find(weights: str | Path | None = None) -> tuple[str, dict[str, Any]]:
    """The sha256 of the file, and the options with which torch-fidelity reads it.

    Args:
        weights: the file, or the folder that it is in; else `$TORCH_HOME` and torch's cache are searched, then it is
            downloaded unless `GLT_OFFLINE` is set.

    Raises:
        MissingData: it is not on this machine and cannot be downloaded.
        ValueError: it is another file than torch-fidelity's, or a damaged one.
    """
    path = next((place for place in _places(weights) if place.is_file()), None) or _download(weights)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    remedy = "Delete it and download it again; other weights give numbers that no paper's FID compares with."
    if not digest.startswith(begins()):
        raise ValueError(f"{path}: found the sha256 {digest[:16]}...; expected one that begins {begins()}. {remedy}")
    try:
        torch.load(path, map_location="cpu", weights_only=True, mmap=False)  # torch-fidelity itself reads it unguarded
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise ValueError(
            f"{path}: found more than weights, or damage ({type(error).__name__}); expected weights only. {remedy}"
        ) from error
    return digest, {"feature_extractor_weights_path": str(path)}


def _places(weights: str | Path | None) -> list[Path]:
    if weights:
        given = Path(weights).expanduser()
        return [given, given / file_name()]
    home = os.environ.get("TORCH_HOME")
    above = [Path(home).expanduser()] if home else []
    return [folder / file_name() for folder in (*above, _checkpoints())]


def _checkpoints() -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints"


def _download(weights: str | Path | None) -> Path:
    from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3

    home = _checkpoints() / file_name()
    looked = ", ".join(str(place) for place in _places(weights))
    absent = (
        f"the weights of Inception-v3 are not on this machine (looked for {looked}). Put torch-fidelity's "
        f"{file_name()} (about {_MEGABYTES} MB, its sha256 begins {begins()}) at {home}, or name it by --weights, or "
        "use an extractor of your own, such as mnist-cnn or cifar10-cnn."
    )
    if weights or os.environ.get("GLT_OFFLINE"):
        raise MissingData(absent)
    try:
        home.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(URL_INCEPTION_V3, str(home), begins(), progress=False)
    except Exception as error:  # a transport raises whatever it likes
        raise MissingData(f"{absent} (The download failed: {type(error).__name__}.)") from error
    return home
