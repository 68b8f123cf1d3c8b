"""Forms of layers: equal in what they compute, chosen by time, remembered."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from common.sparse import tune as tuning
from common.sparse.convert import convert, load
from common.sparse.profile import Cost, profile, shares
from common.sparse.tune import tune

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")


class Mixed(nn.Module):
    """Every kind of layer, joined, with what surrounds layers: norm, doubling, padding, residual, concatenation."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3, padding=1)
        self.norm = nn.GroupNorm(4, 16)
        self.down = nn.Conv2d(16, 16, 3, stride=2)
        self.same = nn.Conv2d(16, 16, (2, 3), padding="same")
        self.up = nn.ConvTranspose2d(16, 8, 4, 2, 1)
        self.grouped = nn.Conv2d(16, 8, 3, padding=1, groups=2)
        self.tokens = nn.Linear(16, 16)
        self.time = nn.Linear(4, 16)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        y = self.first(x) + self.time(t)[:, :, None, None]
        z = self.down(nn.functional.pad(nn.functional.silu(self.norm(y)), (0, 1, 0, 1)))
        z = torch.relu(self.same(z) + z)
        flat = z.flatten(2).transpose(1, 2)
        z = (self.tokens(flat) + flat).transpose(1, 2).reshape(z.shape)
        wide = self.grouped(nn.functional.interpolate(z, scale_factor=2.0))
        return torch.cat([self.up(z), wide, y], 1)


def inputs(batch: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(batch)
    return torch.randn(batch, 3, 12, 10, generator=generator), torch.randn(batch, 4, generator=generator)


def masked(density: float, *, channels: bool) -> nn.Module:
    """A model with zeros in it: scattered, or half of each layer's inputs and outputs."""
    torch.manual_seed(1)
    model = Mixed().eval()
    with torch.no_grad():
        for param in model.parameters():
            if param.dim() > 1:
                param.mul_(torch.rand_like(param) < density)
                if channels and len(param) > 8:
                    param[::2] = 0
                    param[:, 1::3] = 0
    return model


@pytest.mark.parametrize("form", ["dense", "slim"])
@pytest.mark.parametrize("channels", [False, True])
@torch.no_grad()
def test_every_form_computes_the_same(form: str, channels: bool) -> None:
    model = masked(0.5, channels=channels)
    sparse = convert(model, None, inputs(2), backend="sparse", threads=2)
    assert {name.split(".")[0] for name in sparse.choices} == {
        "first", "down", "same", "up", "grouped", "tokens"
    }  # fmt: skip
    changed = sparse.with_forms(dict.fromkeys(sparse.choices, form), fused=True)
    for batch in (1, 5, 16, 30):
        torch.testing.assert_close(changed(*inputs(batch)), model(*inputs(batch)), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_layer_without_any_weight_in_every_form() -> None:
    model = masked(0.0, channels=False)
    sparse = convert(model, None, inputs(2))
    for form in ("sparse", "dense", "slim"):
        changed = sparse.with_forms(dict.fromkeys(sparse.choices, form), fused=True)
        torch.testing.assert_close(changed(*inputs(16)), model(*inputs(16)), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_forms_mix_and_survive_the_disk(tmp_path: Path) -> None:
    model = masked(0.3, channels=True)
    sparse = convert(model, None, inputs(2))
    forms = {name: ("sparse", "dense", "slim")[i % 3] for i, name in enumerate(sparse.choices)}
    mixed = sparse.with_forms(forms, alone=3)
    again = load(mixed.save(tmp_path / "network"))
    for batch in (1, 3, 4, 20):
        torch.testing.assert_close(mixed(*inputs(batch)), model(*inputs(batch)), atol=1e-5, rtol=1e-5)
        assert torch.equal(again(*inputs(batch)), mixed(*inputs(batch)))
    assert again.alone == 3
    assert {name: again.report[name]["form"] for name in forms} == forms


def test_unknown_forms_and_layers_are_refused() -> None:
    sparse = convert(masked(0.5, channels=False), None, inputs(2))
    with pytest.raises(ValueError, match=r"'thin'.*expected one of sparse, dense, slim"):
        sparse.with_forms({"first.weight": "thin"})
    with pytest.raises(KeyError, match=r"time\.weight"):
        sparse.with_forms({"time.weight": "sparse"})


def test_a_weight_that_is_also_read_elsewhere_stays_dense() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(2, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(x) + (self.conv.weight * self.conv.weight).sum()

    model, x = Tied().eval(), torch.randn(3, 2, 4, 4)
    with torch.no_grad():
        model.conv.weight[0] = 0
        torch.testing.assert_close(convert(model, None, (x,), backend="sparse")(x), model(x))


@torch.no_grad()
def test_tuned_networks_compute_the_same_and_say_what_was_measured() -> None:
    model = masked(0.2, channels=True)
    sparse = convert(model, None, inputs(20))
    tuned = tune(sparse, inputs(20), fresh=True)
    torch.testing.assert_close(tuned(*inputs(20)), model(*inputs(20)), atol=1e-5, rtol=1e-5)
    timed = {name: set(facts.get("seconds", ())) for name, facts in tuned.report.items()}
    assert timed["first.weight"] == {"sparse", "dense", "slim"}
    assert timed["time.weight"] == set()
    assert all(seconds > 0 for facts in tuned.report.values() for seconds in facts.get("seconds", {}).values())


def test_the_quickest_form_is_taken_and_the_whole_has_the_last_word(monkeypatch: pytest.MonkeyPatch) -> None:
    sparse = convert(masked(0.2, channels=True), None, inputs(16))
    quick = {"first.weight": "dense", "down.weight": "slim"}

    def costs(network: Any, *_: object, **__: object) -> list[Cost]:
        forms = {name: network.report[name]["form"] for name in network.choices}
        return [Cost(name, "", name, 1.0 if form == quick.get(name, "sparse") else 1.1) for name, form in forms.items()]

    whole = {"mixed": 1.0, "dense": 2.0, "group": 5.5, "single": 1.0}
    monkeypatch.setattr(tuning, "profile", costs)
    monkeypatch.setattr(tuning, "race", lambda engines, _: {name: {"seconds": whole[name]} for name in engines})
    tuned = tune(sparse, inputs(16), fresh=True)
    assert tuned.alone == 5
    assert {n: tuned.report[n]["form"] for n in tuned.choices} == dict.fromkeys(tuned.choices, "sparse") | quick
    whole["mixed"] = 3.0
    tuned = tune(sparse, inputs(16), fresh=True)
    assert {tuned.report[n]["form"] for n in tuned.choices} == {"dense"}


def test_choices_are_remembered_for_the_same_case_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GLT_HOME", str(tmp_path))
    measured = []

    def fake(network: Any, _: object) -> dict[str, Any]:
        measured.append(copy.copy(network.report))
        return {"forms": {}, "alone": 4, "seconds": {}}

    monkeypatch.setattr(tuning, "_measured", fake)
    sparse = convert(masked(0.2, channels=False), None, inputs(2), threads=1)
    for case, times in (
        (sparse, 1),
        (sparse, 1),
        (convert(masked(0.5, channels=False), None, inputs(2), threads=1), 2),
    ):
        assert tune(case, inputs(16)).alone == 4
        assert len(measured) == times
    tune(sparse, inputs(8))
    tune(sparse, inputs(16), fresh=True)
    sparse.threads = 2
    tune(sparse, inputs(16))
    assert len(measured) == 5
    for path in tmp_path.rglob("*.json"):
        path.write_bytes(b"broken")
    tune(sparse, inputs(16))
    assert len(measured) == 6


def test_a_profile_knows_layers_and_kinds() -> None:
    sparse = convert(masked(0.2, channels=False), None, inputs(16))
    kinds = {cost.weight: cost.kind for cost in profile(sparse, inputs(16), repeats=1) if cost.weight}
    assert kinds == {
        "first.weight": "convolution 3x3", "down.weight": "convolution 3x3", "same.weight": "convolution 2x3",
        "up.weight": "transposed convolution 4x4", "grouped.weight": "convolution 3x3", "tokens.weight": "linear",
        "time.weight": "linear",
    }  # fmt: skip
    assert sum(shares(profile(sparse, inputs(16), repeats=1)).values()) == pytest.approx(1.0)
