"""Provenance: what it holds, and that it is found out without importing anything heavy."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import torch

from common.runs.manifest import cpu_seconds, manifest


def test_what_a_manifest_holds():
    facts = manifest(["/usr/bin/glt", "find", "two words"], {"a": 1}, [3], data={"name": "cora", "sha256": "ab"})
    assert facts["command"] == "glt find 'two words'"
    assert facts["seeds"] == [3]
    assert facts["data"] == {"name": "cora", "sha256": "ab"}
    assert facts["config_sha256"].startswith("015abd7f5cc5")
    assert facts["versions"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert facts["versions"]["python"] == sys.version.split()[0]
    assert facts["machine"]["cpus"] == os.cpu_count()
    assert facts["machine"]["cpu"]
    assert facts["torch"]["threads"] == torch.get_num_threads()
    assert facts["torch"]["deterministic_algorithms"] is False
    assert json.loads(json.dumps(facts)) == facts


def test_a_manifest_imports_neither_torch_nor_numpy():
    code = (
        "import sys; from common.runs.manifest import manifest\n"
        "facts = manifest([], {}, []); print(facts['torch'], facts['command'] == '')\n"
        "print([m for m in ('torch', 'numpy', 'scipy', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["{} True", "[]"]


def test_the_peak_grows_with_what_is_held():
    code = (
        "from common.runs.manifest import peak_rss_mb\n"
        "before = peak_rss_mb(); held = b'x' * 100_000_000\n"
        "print(before, peak_rss_mb() - before)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, growth = map(float, done.stdout.split())
    assert 5 < before < 500
    assert 90 < growth < 120


def test_processor_time_counts_work_and_not_waiting():
    start = cpu_seconds()
    time.sleep(0.2)
    waited = cpu_seconds() - start
    while cpu_seconds() - start < waited + 0.05:
        sum(range(10_000))
    assert waited < 0.15
