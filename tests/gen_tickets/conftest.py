"""What tests of generative tickets share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gen_tickets import _classifier


@pytest.fixture(scope="module", name="home")
def _home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache of a module's own, and a classifier of one epoch."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("home")
        patch.setenv("GLT_HOME", str(folder))
        patch.setitem(_classifier.RECIPES, "digits", _classifier.Recipe((8, 16), 1))
        yield folder
