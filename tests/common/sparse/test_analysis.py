"""What `analyse` makes of measured times."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from common.sparse import analysis
from common.sparse.analysis import analyse
from common.sparse.convert import convert
from common.sparse.profile import Cost


def test_bounds_and_break_even_of_known_times(monkeypatch: pytest.MonkeyPatch) -> None:
    net = nn.Sequential(nn.Conv2d(2, 4, 3), nn.Sigmoid(), nn.Conv2d(4, 2, 1))
    masks = {"0.weight": torch.arange(72).view(4, 2, 3, 3) % 4 == 0, "2.weight": torch.ones(2, 4, 1, 1) > 0}
    inputs = (torch.randn(16, 2, 5, 5),)
    sparse = convert(net, masks, inputs)

    def timed(network: Any, *_: object, **__: object) -> list[Cost]:
        kinds = {step.op for step in network._program.steps}
        forms = {network.report[name]["form"] for name in network.choices}
        if "sparse.conv" not in kinds:  # as torch runs it: 8 + 1 of layers, 1 of the rest
            times = 8.0, 1.0, 1.0
        elif forms == {"dense"}:
            times = 9.0, 1.0, 1.0
        elif all(int(torch.count_nonzero(network.weight(name))) == 0 for name in network.choices):
            times = 1.0, 0.5, 1.0
        else:
            times = 3.0, 2.5, 1.0
        return [
            Cost("a", "convolution 3x3", "0.weight", times[0]),
            Cost("b", "convolution 1x1", "2.weight", times[1]),
            Cost("c", "other", None, times[2]),
        ]

    monkeypatch.setattr(analysis, "profile", timed)
    found = analyse(sparse, inputs)
    assert found.amdahl == pytest.approx(10 / (1 + 8 * 0.25 + 1))
    assert found.ceiling == pytest.approx(10.0)
    first, second = found.layers
    assert (first.form, first.density, first.sparse, first.dense, first.empty) == ("sparse", 0.25, 3.0, 9.0, 1.0)
    assert first.break_even == 1.0  # 8 seconds at 8 seconds a whole weight
    assert (second.form, second.break_even) == ("dense", pytest.approx(0.25))
    assert found.shares["eager"] == {"convolution 3x3": 0.8, "convolution 1x1": 0.1, "other": 0.1}
