"""A converted network: a module with the model's call, in groups of 16 images or one by one."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from common.sparse.execute import Executor
from common.sparse.layer import Where
from common.sparse.layout import IMAGES
from common.sparse.machine import Machine, host
from common.sparse.program import Program, Step, decode, encode
from common.sparse.signature import Signature
from common.sparse.team import Team
from common.sparse.weights import Kept
from common.ticket_file import Form, layout, read, refuse, write

__all__ = ["SparseNetwork"]

_FORM = Form("lottery-sparse-network", 1, "network.json", "sparse network")
_FILE = "network.safetensors"
_ALONE = 9  # so many images or fewer beyond a multiple of 16 go one by one, which takes no longer than a group


class Settings(dict[str, Any]):
    """A model's settings, also as attributes, as diffusers has them."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"no setting {name!r}; there are {', '.join(self)}") from None


class SparseNetwork(nn.Module):
    """What `common.sparse.convert` returns.

    Attributes:
        report: weight name to its `form` (`sparse` or `dense`) and `density`.
        unknown: ATen operations that run as torch runs them, with how often.
        config: the model's plain settings, for diffusers' pipelines.
    """

    def __init__(
        self,
        program: Program,
        signature: Signature,
        report: Mapping[str, Mapping[str, Any]],
        settings: Mapping[str, Any] | None,
        threads: int | None,
        machine: Machine | None = None,
    ) -> None:
        super().__init__()
        self.report = {name: dict(facts) for name, facts in report.items()}
        self.config = Settings(settings or {})
        self._program, self._signature = program, signature
        self._threads, self._machine = threads, machine or host()
        self._executors: dict[tuple[int, int], Executor] = {}
        self._lock = threading.Lock()

    @property
    def unknown(self) -> Mapping[str, int]:
        """Operations that the runtime leaves to torch, and how many times each occurs."""
        names = [step.op for step in self._program.steps if not step.op.startswith("sparse.")]
        return MappingProxyType({name: names.count(name) for name in dict.fromkeys(names)})

    @property
    def dtype(self) -> torch.dtype:
        """The type of its activations, as diffusers asks for it."""
        return torch.float32

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        return torch.device("cpu")

    @torch.no_grad()
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Call the network as the model was called; a number for a batched argument stands for the whole batch.

        Raises:
            TypeError: other arguments than those of the conversion.
            ValueError: an empty batch, or tensors that are not on the CPU.
        """
        tensors, plain = self._signature.arguments(args, kwargs)
        size = len(tensors[0])
        if not size or any(tensor.device.type != "cpu" for tensor in tensors):
            raise ValueError(f"found a batch of {size} on {tensors[0].device}; expected at least one image on the CPU")
        whole = size // IMAGES * IMAGES
        with self._lock:
            parts = [self._group(tensors, start, start + IMAGES) for start in range(0, whole, IMAGES)]
            if size - whole > _ALONE:
                parts.append([out[: size - whole] for out in self._group(tensors, whole, size)])
            else:
                parts += [self._group(tensors, start, start + 1) for start in range(whole, size)]
        return self._signature.result([torch.cat(outs) for outs in zip(*parts, strict=True)], plain=plain)

    def save(self, folder: str | Path) -> Path:
        """Write the network into a folder, as safetensors and json, and return the folder.

        Raises:
            TicketError: the folder cannot be written.
        """
        tensors: dict[str, Tensor] = {}
        for name, value in self._program.constants.items():
            if isinstance(value, Kept):
                tensors |= {f"bits/{name}": value.bits, f"values/{name}": value.values}
            else:
                tensors[f"dense/{name}"] = value
        program = self._program
        body = {
            "inputs": program.inputs,
            "outputs": program.outputs,
            "steps": [
                [s.out, s.op, encode(s.args), {k: encode(v) for k, v in s.kwargs.items()}] for s in program.steps
            ],
            "shapes": {name: list(shape) for name, shape in program.shapes.items()},
            "kept": {n: list(v.shape) for n, v in program.constants.items() if isinstance(v, Kept)},
            "signature": self._signature.as_dict(),
            "report": self.report,
            "config": dict(self.config),
        }
        write(Path(folder), {_FILE: layout(tensors, {})}, lambda _: body, form=_FORM)
        return Path(folder)

    @classmethod
    def load(cls, folder: Path, threads: int | None = None) -> SparseNetwork:
        """Read a network back; see `common.sparse.convert.load`."""
        body, files = read(folder, _FORM)
        stored = files[_FILE]
        try:
            constants: dict[str, Any] = {
                name.removeprefix("dense/"): tensor.clone()
                for name, tensor in stored.items()
                if name.startswith("dense/")
            }
            for name, shape in body["kept"].items():
                constants[name] = Kept(tuple(shape), stored[f"bits/{name}"].clone(), stored[f"values/{name}"].clone())
            steps = [
                Step(out, op, tuple(decode(args)), {k: decode(v) for k, v in kwargs.items()})
                for out, op, args, kwargs in body["steps"]
            ]
            shapes = {name: tuple(shape) for name, shape in body["shapes"].items()}
            program = Program(body["inputs"], steps, body["outputs"], constants, shapes)
            return cls(program, Signature.from_dict(body["signature"]), body["report"], body["config"], threads)
        except (KeyError, TypeError, ValueError) as error:
            refuse(folder / _FORM.manifest, f"steps that do not fit ({error})", "the files of one sparse network",
                   "Nothing was loaded; convert the model again.")  # fmt: skip

    def _group(self, tensors: list[Tensor], start: int, stop: int) -> list[Tensor]:
        """The outputs for some images, filled up to 16 unless it is one."""
        batched = self._signature.batched
        group = [tensor[start:stop] if b else tensor for tensor, b in zip(tensors, batched, strict=True)]
        missing = IMAGES - len(group[0])
        if len(group[0]) > 1 and missing:
            group = [
                torch.cat([t, t[:1].expand(missing, *t.shape[1:])]) if b else t
                for t, b in zip(group, batched, strict=True)
            ]
        group[0] = group[0].float()
        return self._executor(len(group[0]))(group)

    def _executor(self, images: int) -> Executor:
        threads = self._threads or torch.get_num_threads()
        key = (images, threads)
        if key not in self._executors:
            constants = dict(self._program.constants)
            self._executors[key] = Executor(
                replace(self._program, constants=constants), Where(self._machine, Team(threads))
            )
        return self._executors[key]
