"""The torchvision finder, in fresh interpreters: imports work, and `import common` stays light."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import common
from common import _torchvision

needs_torchvision = pytest.mark.skipif(importlib.util.find_spec("torchvision") is None, reason="no torchvision here")


def fresh(code: str) -> str:
    """What a new interpreter prints on running `code`."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_common_imports_no_torch():
    assert fresh("import sys, common; print('torch' in sys.modules, 'numpy' in sys.modules)") == "False False"


def test_looking_for_torchvision_imports_no_torch():
    code = "import sys, common, importlib.util as u; u.find_spec('torchvision'); print('torch' in sys.modules)"
    assert fresh(code) == "False"


@needs_torchvision
def test_everything_that_imports_torchvision_imports():
    code = (
        "import common, torchvision, lightning, torchmetrics, diffusers\n"
        "from diffusers import UNet2DModel\n"
        "from torchvision.utils import make_grid\n"
        "import torch\n"
        "print(tuple(make_grid(torch.zeros(4, 1, 2, 2), nrow=2, padding=0).shape))"
    )
    assert fresh(code).splitlines()[-1] == "(3, 4, 4)"


@needs_torchvision
def test_missing_operators_still_raise_when_called():
    code = (
        "import common, torch, torchvision\n"
        "boxes = torch.tensor([[0., 0., 1., 1.]])\n"
        "try: print(torchvision.ops.nms(boxes, torch.ones(1), 0.5).tolist())\n"
        "except RuntimeError as error: print(type(error).__name__)"
    )
    native = "[0]"
    assert fresh(code) in {native, "RuntimeError"}


def test_repair_of_a_folder_without_operators_declares_the_schemas(tmp_path: Path):
    code = (
        "import torch\nfrom pathlib import Path\nfrom common._torchvision import repair\n"
        f"folder = Path({str(tmp_path)!r})\n"
        "print(repair(folder), repair(folder), torch.ops.torchvision.nms.default._schema.name)"
    )
    assert fresh(code) == "True True torchvision::nms"


def test_repair_survives_operators_that_cannot_be_loaded(tmp_path: Path):
    (tmp_path / "_C.so").write_bytes(b"not a shared library")
    code = f"from pathlib import Path\nfrom common._torchvision import repair\nprint(repair(Path({str(tmp_path)!r})))"
    assert fresh(code) == "True"


def test_the_finder_is_installed_once_and_minds_only_torchvision():
    _torchvision.install()
    finders = [finder for finder in sys.meta_path if isinstance(finder, _torchvision._Finder)]
    assert len(finders) == 1
    assert finders[0].find_spec("torch") is None


def test_public_names_are_those_of_their_modules():
    from common.masks import Masks, prunable

    assert common.Masks is Masks
    assert common.prunable(torch.nn.Linear(2, 2)).keys() == prunable(torch.nn.Linear(2, 2)).keys()
    assert set(common.__all__) <= set(dir(common))
    for name in common.__all__:
        assert getattr(common, name).__module__ == f"common.{common._HOME[name]}"


def test_an_unknown_name_lists_what_there_is():
    with pytest.raises(AttributeError, match=r"no attribute 'prun'; it offers Masks, .*tickets"):
        _ = common.prun
