"""Keep a `torchvision` that was built for another torch importable.

A torchvision from a package index next to a CPU build of torch cannot load its compiled operators. Its own import then
fails with `operator torchvision::nms does not exist`, and with it those of lightning, diffusers, torchmetrics and
torch-fidelity, which import it whenever it is installed (pytorch/vision issues 8985, 9077, 9085). None of them needs
the operators, only their schemas. So, right before torchvision is executed for the first time, the operators are loaded
the way torchvision does it; where that fails, the two missing schemas are declared. Transforms, models and image grids
then work, and calling `torchvision.ops.nms` still raises. Where the operators load, nothing changes.
"""

from __future__ import annotations

import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import EXTENSION_SUFFIXES, ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

__all__ = ["install", "repair"]

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_library: list[Any] = []  # a torch.library.Library undoes its definitions when it is collected


def repair(folder: Path) -> bool:
    """Make torch know torchvision's schemas; True where the real operators could not be loaded.

    Args:
        folder: the torchvision package, with `_C.so` inside.
    """
    import torch

    compiled = [path for suffix in EXTENSION_SUFFIXES if (path := folder / f"_C{suffix}").is_file()]
    try:
        for path in compiled[:1]:
            torch.ops.load_library(path)
            return False
    except OSError:
        pass
    if not _library:
        library = torch.library.Library("torchvision", "FRAGMENT")
        for schema in _SCHEMAS:
            library.define(schema)
        _library.append(library)
    return True


class _Loader(SourceFileLoader):
    """Loads torchvision after `repair`."""

    def exec_module(self, module: ModuleType) -> None:
        repair(Path(self.path).parent)
        super().exec_module(module)


class _Finder(MetaPathFinder):
    """Finds what Python's own path finder finds; only torchvision's loader differs, and only asking costs nothing."""

    def find_spec(self, fullname: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if fullname != "torchvision":
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or type(spec.loader) is not SourceFileLoader:
            return None
        spec.loader = _Loader(fullname, spec.loader.path)
        return spec


def install() -> None:
    """Put the finder in front of Python's own, once."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
