"""Folders of diffusers' `DDPMPipeline`: read to prune what is in them, written so that stock diffusers loads a ticket.

Only local folders and only safetensors are read: nothing is downloaded, and no pickle is opened.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import nn

from common.runs.errors import MissingData, RunFolderError
from common.runs.files import read_object
from common.scoped import seeded
from gen_tickets._exports import write_folder

__all__ = ["config_of", "load_pipeline", "save_pipeline", "solver_of"]

_INDEX, _WEIGHTS = "model_index.json", "diffusion_pytorch_model.safetensors"
_SAVE = "Save it with diffusers' DDPMPipeline(unet, scheduler).save_pretrained."


def load_pipeline(folder: str | Path) -> tuple[nn.Module, Any]:
    """The U-Net, float32 and in eval mode, and the scheduler of a folder that `DDPMPipeline.save_pretrained` wrote.

    Args:
        folder: a local one, with `model_index.json`, `unet` and `scheduler`; its weights are safetensors.

    Raises:
        MissingData: there is no such folder, or no weights in it.
        ValueError: it holds another pipeline, another network, a network that does not predict noise, or damage.

    >>> load_pipeline("nowhere")
    Traceback (most recent call last):
    common.runs.errors.MissingData: nowhere: found no such folder; expected one that diffusers' DDPMPipeline was ...
    """
    place = Path(folder).expanduser()
    if not place.is_dir():
        raise MissingData(
            f"{place}: found no such folder; expected one that diffusers' DDPMPipeline was saved in. Check the path; a "
            "model of a hub must be downloaded first."
        )
    if not (place / _INDEX).is_file():
        _refuse(place, f"no {_INDEX}", "the folder of a saved DDPMPipeline", f"Check the path. {_SAVE}")
    index = _read(place / _INDEX)
    _expect(place / _INDEX, index.get("_class_name"), "DDPMPipeline", "Only its pipelines can be pruned.")
    unet = "Pipelines of other networks cannot be pruned."
    _expect(place / _INDEX, index.get("unet"), ["diffusers", "UNet2DModel"], unet)
    return _unet(place / "unet"), _scheduler(place / "scheduler", index.get("scheduler"))


def save_pipeline(unet: nn.Module, scheduler: Any, folder: str | Path, about: Mapping[str, Any] | None = None) -> Path:
    """Write a folder that stock `DDPMPipeline.from_pretrained` loads, whole or not at all, and return it.

    The weights are written as they are, zeros included, so that samples are the same bit for bit.

    Args:
        unet: a `UNet2DModel`.
        scheduler: of diffusers.
        folder: a new or an empty one, or an earlier export, which is replaced.
        about: what the export's mark says of it, plain json.

    Raises:
        UsageError: the folder holds something else, or is a file.
        ValueError: a U-Net that the pipeline cannot draw from.
        OSError: it cannot be written; what was there stays.
    """
    import diffusers

    if not isinstance(unet, diffusers.UNet2DModel):
        raise ValueError(f"found a {type(unet).__name__}; expected a UNet2DModel, which a DDPMPipeline is made of")
    config: Any = unet.config
    if config.get("num_class_embeds") is not None or config.get("class_embed_type") is not None:
        raise ValueError(
            "found a U-Net that takes class labels; expected one without, as DDPMPipeline draws without labels. "
            "Export its state_dict instead."
        )
    made: Any = diffusers.DDPMPipeline(unet, scheduler)
    return write_folder(
        folder, made.save_pretrained, (_INDEX, "unet", "scheduler"), {"format": "diffusers", **(about or {})}
    )


def config_of(part: Any) -> dict[str, Any]:
    """The config of a network or a scheduler of diffusers as plain json, with its `_class_name` and nothing local.

    >>> import diffusers
    >>> config_of(diffusers.DDPMScheduler())["_class_name"]
    'DDPMScheduler'
    """
    known = json.loads(part.to_json_string())
    return {"_class_name": type(part).__name__, **{k: v for k, v in known.items() if not k.startswith("_")}}


def solver_of(config: Mapping[str, Any] | None) -> Any:
    """A scheduler of diffusers from its config, `_class_name` included; without one, that of DDPM.

    Raises:
        ValueError: diffusers has no such scheduler, or it does not take these values.

    >>> solver_of({"_class_name": "DDIMScheduler", "num_train_timesteps": 100}).config.num_train_timesteps
    100
    """
    import diffusers

    given = dict(config or {})
    name = given.get("_class_name", "DDPMScheduler")
    kind = getattr(diffusers, name, None) if isinstance(name, str) else None
    if not isinstance(kind, type) or not issubclass(kind, diffusers.SchedulerMixin):
        raise ValueError(f"found the scheduler {name!r}; expected one of diffusers, such as DDPMScheduler")
    try:
        with _silent():
            return kind.from_config(given)
    except Exception as error:  # a constructor raises whatever it likes
        why = f"{type(error).__name__}: {error}"
        raise ValueError(f"found a {name} that cannot be made ({why}); expected the values it takes") from error


def _unet(place: Path) -> nn.Module:
    """The network, every tensor of it from the file."""
    import diffusers

    if not (place / "config.json").is_file():
        _refuse(place, "no config.json", "that of a UNet2DModel", _SAVE)
    config = _read(place / "config.json")
    _expect(place / "config.json", config.get("_class_name"), "UNet2DModel", "Other networks cannot be pruned.")
    _check_weights(place)
    try:
        with _silent(), seeded(0):
            read, info = diffusers.UNet2DModel.from_pretrained(
                place, torch_dtype=torch.float32, use_safetensors=True, local_files_only=True,
                low_cpu_mem_usage=False, output_loading_info=True,
            )  # fmt: skip
            unet = diffusers.UNet2DModel.from_config({k: v for k, v in config.items() if k != "_name_or_path"})
    except Exception as error:  # diffusers and safetensors raise almost anything
        why = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        found = f"a U-Net that cannot be loaded ({why})"
        raise ValueError(f"{place}: found {found}; expected a whole one. Restore the folder from a copy.") from error
    for what in ("missing", "unexpected"):
        if names := sorted(info[f"{what}_keys"]):
            found = f"{len(names)} {what} tensor{'s' * (len(names) > 1)} ({', '.join(names[:3])})"
            _refuse(place, found, "those of the config", "Restore the folder from a copy.")
    channels = config.get("in_channels", 3), config.get("out_channels", 3)
    if channels[0] != channels[1] or config.get("sample_size") is None:
        found = f"a U-Net from {channels[0]} to {channels[1]} channels and sample_size {config.get('sample_size')}"
        _refuse(place, found, "as many out as in, and a size", "One that predicts a variance too cannot be pruned.")
    unet.load_state_dict(read.state_dict())  # the one that was read also knows where, which its config would tell
    return unet.eval()  # type: ignore[no-any-return]


def _check_weights(place: Path) -> None:
    if (place / _WEIGHTS).is_file() or (place / f"{_WEIGHTS}.index.json").is_file():
        return
    others = sorted(path.name for path in place.iterdir() if path.suffix in (".bin", ".safetensors", ".pt", ".ckpt"))
    if others:
        _refuse(place, f"weights as {', '.join(others)}", _WEIGHTS, "Load the pipeline with diffusers and save it "
                "with save_pretrained, as safetensors and without a variant; no pickle is read here.")  # fmt: skip
    raise MissingData(f"{place}: found no weights; expected {_WEIGHTS}. Download the whole folder, or save it again.")


def _scheduler(place: Path, named: Any) -> Any:
    path = place / "scheduler_config.json"
    if not path.is_file():
        _refuse(place, "no scheduler_config.json", "that of a scheduler of diffusers", _SAVE)
    if not isinstance(named, list) or len(named) != 2 or named[0] != "diffusers":
        _refuse(place.parent / _INDEX, f"the scheduler {named!r}", "one of diffusers", "No other code is run.")
    config = {**_read(path), "_class_name": named[1]}
    try:
        made = solver_of(config)
    except ValueError as error:
        raise ValueError(f"{path}: {error}. Restore the folder from a copy.") from error
    kind = made.config.get("prediction_type", "epsilon")
    _expect(path, kind, "epsilon", "Only networks that predict the noise are trained here.", "the prediction_type ")
    return made


def _read(path: Path) -> dict[str, Any]:
    try:
        return read_object(path, "Restore the folder from a copy.")
    except RunFolderError as error:
        raise ValueError(str(error)) from error


def _expect(path: Path, found: Any, expected: Any, todo: str, what: str = "") -> None:
    if found != expected:
        _refuse(path, f"{what}{found!r}", repr(expected), todo)


def _refuse(place: Path, found: str, expected: str, todo: str) -> NoReturn:
    raise ValueError(f"{place}: found {found}; expected {expected}. {todo}")


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """diffusers without its notes; what matters of them is raised here."""
    from diffusers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity(logging.CRITICAL)
    try:
        yield
    finally:
        logging.set_verbosity(before)
