"""Test set-up of the whole repository: one thread a process, the `data` marker, repeatable property tests."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read once, when torch is first imported
os.environ.setdefault("MPLBACKEND", "agg")

import pytest
from hypothesis import HealthCheck, settings

import common  # noqa: F401  first: it keeps an ill-matched torchvision importable

settings.register_profile(
    "suite", deadline=None, derandomize=True, max_examples=50, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("suite")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    folder = os.environ.get("GLT_DATA")
    if folder and Path(folder).is_dir():
        return
    why = "GLT_DATA names no folder" if folder else "GLT_DATA is not set"
    for item in items:
        if item.get_closest_marker("data"):
            item.add_marker(pytest.mark.skip(reason=f"needs the real data sets: {why}"))
