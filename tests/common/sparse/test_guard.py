"""Random cases against references, some between pages that nobody may touch; and that both can find a fault."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="forbids pages as Linux does")
SEGMENTATION_FAULT = -11

CHANGED = """
from dataclasses import replace
import numpy as np
from common.sparse import summation
import fuzz_kernels
plain = summation.taps
def changed(*args, **kwargs):
    found = plain(*args, **kwargs)
    entries = found.entries.copy()
    {change}
    return replace(found, entries=entries)
summation.taps = changed
fuzz_kernels.work(3, 6, guard={guard})
"""

DYING = """
import os
import fuzz_kernels
plain = fuzz_kernels.case
fuzz_kernels.case = lambda seed, fenced: os.abort() if seed == 12 else plain(seed, fenced)
fuzz_kernels.__file__ = __file__
fuzz_kernels.main()
"""


def python(*words: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(BENCHMARKS), str(BENCHMARKS.parent)])
    command = [sys.executable, *words]
    return subprocess.run(command, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=False)


def fuzz(*options: str) -> dict[str, Any]:
    return json.loads(python(str(BENCHMARKS / "fuzz_kernels.py"), *options).stdout)


def test_random_cases_equal_their_references() -> None:
    found = fuzz("--cases", "60", "--seed", "0")
    assert (found["cases"], found["failures"]) == (60, [])
    assert 0 < found["largest_difference"] < 1e-4
    assert found["kernels"] > 30


@LINUX
def test_no_kernel_reads_or_writes_beyond_its_buffers() -> None:
    found = fuzz("--cases", "30", "--seed", "100", "--guard")
    assert (found["cases"], found["guard"], found["failures"]) == (30, True, [])


def test_a_weight_off_by_a_thousandth_is_found() -> None:
    result = python("-c", CHANGED.format(change="entries[:, 1].view(np.float32)[...] *= 1.001", guard=False))
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    dense = [line for line in lines if line["drawn"]["density"] > 0]
    assert len(lines) == 6
    assert len(dense) >= 3
    assert all("relative difference" in line["wrong"] for line in dense)


@LINUX
@pytest.mark.parametrize("stray", [64, -64])
def test_reading_one_vector_too_far_is_a_segmentation_fault(stray: int) -> None:
    result = python("-c", CHANGED.format(change=f"entries[:, 0] += {stray}", guard=True))
    assert result.returncode == SEGMENTATION_FAULT


@LINUX
@pytest.mark.parametrize("end", [True, False])
def test_the_float_next_to_a_buffer_is_forbidden(end: bool) -> None:
    script = f"""
import ctypes
import numpy as np
from guard_pages import Fence
fence = Fence()
fence.end = {end}
values = fence.zeros(24, np.float32)
read = lambda index: ctypes.c_float.from_address(values.ctypes.data + 4 * index).value
print(read(0), read(23), flush=True)
print(read({24 if end else -1}))
"""
    result = python("-c", script)
    assert (result.stdout, result.returncode) == ("0.0 0.0\n", SEGMENTATION_FAULT)


def test_a_death_is_reported_with_its_seed_and_the_other_cases_go_on(tmp_path: Path) -> None:
    (tmp_path / "dying.py").write_text(DYING)
    result = python(str(tmp_path / "dying.py"), "--cases", "3", "--seed", "11")
    found = json.loads(result.stdout)
    assert result.returncode == 1
    assert found["cases"] == 3
    assert [(failure["seed"], failure["wrong"]) for failure in found["failures"]] == [
        (12, "the process died of the signal SIGABRT")
    ]
