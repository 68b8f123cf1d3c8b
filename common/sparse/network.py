"""A converted network: a module with the model's call, in groups of 16 images or one by one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from common.sparse.execute import Executor
from common.sparse.fuse import fuse
from common.sparse.layer import Where
from common.sparse.layout import IMAGES
from common.sparse.machine import host
from common.sparse.network_file import load, save
from common.sparse.program import Program, Step, decode, encode
from common.sparse.recognise import eligible
from common.sparse.signature import Signature
from common.sparse.team import Team
from common.sparse.weights import Kept

__all__ = ["ALONE", "FORMS", "SparseNetwork"]

ALONE = 9
"""Single images that take about as long as a group of 16, when nothing was measured."""
FORMS = ("sparse", "dense", "slim")
"""What a layer can run as: over its non-zeros, by torch, by torch on the channels that are left."""


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
        report: weight name to its `form` (`sparse`, `dense` or `slim`) and `density`.
        unknown: ATen operations that run as torch runs them, with how often.
        config: the model's plain settings, for diffusers' pipelines.
        choices: the weights whose layers can take another form.
        alone: so many images or fewer beyond a multiple of 16 go one by one, more are filled up to 16.
        threads: how many it runs on; torch's number at the time of a call if None.
    """

    def __init__(
        self,
        program: Program,
        signature: Signature,
        report: Mapping[str, Mapping[str, Any]],
        settings: Mapping[str, Any] | None,
        threads: int | None,
        *,
        alone: int = ALONE,
        fused: bool | None = None,
    ) -> None:
        super().__init__()
        self.report = {name: dict(facts) for name, facts in report.items()}
        self.config = Settings(settings or {})
        self.alone, self.threads = alone, threads
        self._signature, self._machine = signature, host()
        self.choices = [name for name in eligible(program) if name in report]
        forms = {name: str(report[name]["form"]) for name in self.choices}
        self._source = replace(program, constants=_held(program.constants, forms))
        self._fused = any(form != "dense" for form in forms.values()) if fused is None else fused
        self._program = fuse(self._source, forms) if self._fused else self._source
        self._executors: dict[tuple[int, int], Executor] = {}
        self._lock = threading.Lock()
        self._watch: Callable[[Step, float], None] | None = None

    @property
    def outline(self) -> list[str]:
        """The operations in order, for telling one architecture from another."""
        return [step.op for step in self._source.steps]

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a weight."""
        return tuple(self._source.constants[name].shape)

    def weight(self, name: str) -> Tensor:
        """A weight as a dense tensor."""
        held = self._source.constants[name]
        return held.dense() if isinstance(held, Kept) else held

    def with_forms(
        self, forms: Mapping[str, str], *, alone: int | None = None, fused: bool | None = None
    ) -> SparseNetwork:
        """The same network with layers in other forms.

        Args:
            forms: name of a weight to `sparse`, `dense` or `slim`; others keep theirs.
            alone: see the attribute; kept if not given.
            fused: whether layers run in the runtime's layout; by default if any of them is not dense.

        Raises:
            KeyError: a name that is not among `choices`.
            ValueError: an unknown form.
        """
        for name, form in forms.items():
            if name not in self.choices:
                raise KeyError(f"no layer of {name!r} can change its form; there are {', '.join(self.choices)}")
            if form not in FORMS:
                raise ValueError(f"found the form {form!r} for {name!r}; expected one of {', '.join(FORMS)}")
        report = {n: facts | {"form": forms.get(n, facts["form"])} for n, facts in self.report.items()}
        alone = self.alone if alone is None else alone
        return SparseNetwork(self._source, self._signature, report, self.config, self.threads, alone=alone, fused=fused)

    def without_weights(self) -> SparseNetwork:
        """The same network with nothing left of the layers over their non-zeros: what they cost at least."""
        constants = {
            name: Kept.of(torch.zeros(value.shape)) if isinstance(value, Kept) else value
            for name, value in self._source.constants.items()
        }
        how: dict[str, Any] = {"alone": self.alone, "fused": self._fused}
        program = replace(self._source, constants=constants)
        return SparseNetwork(program, self._signature, self.report, self.config, self.threads, **how)

    @contextmanager
    def watched(self, watch: Callable[[Step, float], None]) -> Iterator[None]:
        """While it lasts, tell of every step that ran and its seconds."""
        self._watch = watch
        try:
            yield
        finally:
            self._watch = None

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
            if not self._fused:
                return self._signature.result(self._run(tensors, 0), plain=plain)
            parts = [self._group(tensors, start, start + IMAGES) for start in range(0, whole, IMAGES)]
            if size - whole > self.alone:
                parts.append([out[: size - whole] for out in self._group(tensors, whole, size)])
            else:
                parts += [self._group(tensors, start, start + 1) for start in range(whole, size)]
        return self._signature.result([torch.cat(outs) for outs in zip(*parts, strict=True)], plain=plain)

    def save(self, folder: str | Path) -> Path:
        """Write the network into a folder, as safetensors and json, and return the folder.

        Raises:
            TicketError: the folder cannot be written.
        """
        program = self._source
        steps = [[s.out, s.op, encode(s.args), {k: encode(v) for k, v in s.kwargs.items()}] for s in program.steps]
        return save(Path(folder), program.constants, {
            "inputs": program.inputs,
            "outputs": program.outputs,
            "steps": steps,
            "shapes": {name: list(shape) for name, shape in program.shapes.items()},
            "signature": self._signature.as_dict(),
            "report": self.report,
            "config": dict(self.config),
            "alone": self.alone,
            "fused": self._fused,
        })  # fmt: skip

    @classmethod
    def load(cls, folder: Path, threads: int | None = None) -> SparseNetwork:
        """Read a network back; see `common.sparse.convert.load`."""

        def build(body: dict[str, Any], constants: dict[str, Any]) -> SparseNetwork:
            steps = [
                Step(out, op, tuple(decode(args)), {k: decode(v) for k, v in kwargs.items()})
                for out, op, args, kwargs in body["steps"]
            ]
            shapes = {name: tuple(shape) for name, shape in body["shapes"].items()}
            program = Program(body["inputs"], steps, body["outputs"], constants, shapes)
            signature, how = Signature.from_dict(body["signature"]), {key: body[key] for key in ("alone", "fused")}
            return cls(program, signature, body["report"], body["config"], threads, **how)

        return load(folder, build)

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
        return self._run(group, len(group[0]))

    def _run(self, tensors: list[Tensor], images: int) -> list[Tensor]:
        """The outputs for tensors as they are; images 0 stands for any number, by torch alone."""
        threads = self.threads or torch.get_num_threads()
        if (images, threads) not in self._executors:
            program = replace(self._program, constants=dict(self._program.constants))
            self._executors[images, threads] = Executor(program, Where(self._machine, Team(threads)))
        executor = self._executors[images, threads]
        executor.watch = self._watch
        return executor([tensors[0].float(), *tensors[1:]])


def _held(constants: Mapping[str, Any], forms: Mapping[str, str]) -> dict[str, Any]:
    """The constants, weights of sparse layers as what is kept of them, others dense."""
    found = dict(constants)
    for name, form in forms.items():
        value = found[name]
        if form == "sparse" and not isinstance(value, Kept):
            found[name] = Kept.of(value)
        elif form != "sparse" and isinstance(value, Kept):
            found[name] = value.dense()
    return found
