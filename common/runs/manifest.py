"""Provenance: enough to say afterwards what ran, where, and with which versions. Imports nothing heavy to find out."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from common.runs.files import canonical, plain

__all__ = ["cpu_model", "cpu_seconds", "forget_peak", "hardware", "manifest", "peak_rss_mb"]

_LIBRARIES = (
    "lottery-tickets",
    "torch",
    "torchvision",
    "torch-geometric",
    "lightning",
    "torchmetrics",
    "diffusers",
    "torch-fidelity",
    "safetensors",
    "numpy",
    "scipy",
    "networkx",
    "scikit-learn",
)


def manifest(
    argv: Sequence[str], config: Mapping[str, Any], seeds: Sequence[int], *, data: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The facts of a start: command, configuration hash, seeds, code, versions, machine, threads, determinism.

    Args:
        argv: the command line, `sys.argv`.
        config: the configuration; only its sha256 is kept here.
        seeds: every seed of the run.
        data: what is known of the data, such as `{"name": "cora", "sha256": "..."}`.

    >>> facts = manifest(["glt", "find", "cora"], {"method": "ugs"}, [0, 1, 2])
    >>> facts["command"], facts["seeds"], sorted(facts)[:3]
    ('glt find cora', [0, 1, 2], ['argv', 'code', 'command'])
    """
    words = [Path(argv[0]).name, *argv[1:]] if argv else []
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join(words),
        "argv": list(argv),
        "config_sha256": hashlib.sha256(canonical(config).encode()).hexdigest(),
        "seeds": [int(seed) for seed in seeds],
        "data": plain(data or {}),
        "code": _git(),
        "versions": _versions(),
        "machine": {
            "platform": platform.platform(),
            "cpu": cpu_model(),
            "cpus": os.cpu_count(),
        },
        "torch": _torch(),
    }


def peak_rss_mb() -> float:
    """The most memory this process has held, in MB (10^6 bytes); NaN where the system does not say.

    >>> peak_rss_mb() > 1
    True
    """
    for line in _lines("/proc/self/status"):  # getrusage would report the parent's peak where that was larger
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    try:
        import resource
    except ImportError:  # Windows
        return float("nan")
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def forget_peak() -> None:
    """Let `peak_rss_mb` count from now on, so that a piece of work shows its own peak; only Linux can.

    >>> forget_peak()
    """
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")


def cpu_seconds() -> float:
    """Processor time of this process so far, all threads, user and system, in seconds.

    >>> cpu_seconds() > 0
    True
    """
    return time.process_time()


def _lines(path: str) -> list[str]:
    """A file of Linux's /proc; nothing elsewhere."""
    return Path(path).read_text(encoding="utf-8", errors="replace").splitlines() if Path(path).is_file() else []


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


@cache
def cpu_model() -> str:
    """The processor's name, as the system gives it."""
    for line in _lines("/proc/cpuinfo"):
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    return platform.processor() or platform.machine()


def hardware() -> str:
    """Processor and the instructions that torch uses of it, as stands beside a measured time."""
    import torch

    return f"{cpu_model()}, {torch.backends.cpu.get_cpu_capability()}"


def _git() -> dict[str, Any]:
    """Commit and dirtiness of the checkout this very file is tracked in; empty for an installed wheel."""
    here = Path(__file__).resolve()

    def ask(*words: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(here.parent), *words], capture_output=True, text=True, timeout=10, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    if ask("ls-files", "--error-unmatch", here.name) is None:
        return {}
    commit, changed = ask("rev-parse", "HEAD"), ask("status", "--porcelain", "--untracked-files=no")
    return {"commit": commit, "dirty": bool(changed)} if commit else {}


def _torch() -> dict[str, Any]:
    """Threads, devices and determinism of a torch that is loaded already; empty where it is not."""
    torch = sys.modules.get("torch")
    if torch is None:
        return {}
    cuda = torch.cuda.is_available()
    return {
        "threads": torch.get_num_threads(),
        "deterministic_algorithms": torch.are_deterministic_algorithms_enabled(),
        "cudnn_deterministic": torch.backends.cudnn.deterministic,
        "cudnn_benchmark": torch.backends.cudnn.benchmark,
        "matmul_precision": torch.get_float32_matmul_precision(),
        "cuda": torch.version.cuda if cuda else None,
        "devices": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if cuda else [],
    }
