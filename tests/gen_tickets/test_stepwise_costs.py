"""Costs of calls: multiply-adds to the last one, seconds of the form that was quicker, tables by interval."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from common.runs.errors import UsageError
from gen_tickets.engines import pruned
from gen_tickets.networks import Network
from gen_tickets.schedule import Member, ScheduleError
from gen_tickets.stepwise import costs
from gen_tickets.stepwise.costs import cost_table, macs, measure, prepared
from gen_tickets.stepwise.family import Family
from gen_tickets.stepwise.grid import Grid

NETWORK = Network("ddpm", "tiny", (1, 8, 8))
DENSITIES = {"dense": 1.0, "kept-50%": 0.5, "kept-5%": 0.05}


@pytest.fixture(scope="module")
def family() -> Family:
    """The tiny U-Net and two of it with random weights kept."""
    torch.manual_seed(0)
    models = {name: NETWORK.initial(0).eval() for name in DENSITIES}
    masks = {name: pruned(models[name], density) for name, density in DENSITIES.items()}
    members = {name: Member(f"rounds/{name}", density) for name, density in DENSITIES.items()}
    return Family(NETWORK, models, masks, members, {})


def only(family: Family, *names: str) -> Family:
    parts = ({name: kind[name] for name in names} for kind in (family.models, family.masks, family.members))
    return Family(family.network, *parts, {})


def test_multiply_adds_by_hand() -> None:
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Flatten(), nn.Linear(12, 5))  # 4 x 4 to 2 x 2
    inputs = (torch.zeros(1, 2, 4, 4),)
    assert macs(model, {}, inputs) == 4 * 54 + 60
    third = torch.arange(54).reshape(3, 2, 3, 3) % 3 == 0
    assert macs(model, {"0.weight": third}, inputs) == 4 * 18 + 60
    fifth = torch.arange(60).reshape(5, 12) < 12
    assert macs(model, {"0.weight": third, "2.weight": fifth}, inputs) == 4 * 18 + 12
    nothing = {"0.weight": third & False, "2.weight": fifth & False}
    assert macs(model, nothing, inputs) == 0
    assert macs(model, {"2.bias": torch.zeros(5, dtype=torch.bool)}, inputs) == 4 * 54 + 60  # added, not multiplied
    assert macs(nn.Linear(2, 3), {"weight": torch.eye(3, 2).bool()}, (torch.zeros(7, 2),)) == 7 * 2


def counted(model: nn.Module, masks: Mapping[str, Tensor], inputs: tuple[Tensor, ...]) -> float:
    """Multiply-adds from the shapes that pass through: a weight counts once for every place it is applied to."""
    found: list[float] = []

    def hook(name: str) -> Callable[..., None]:
        def count(layer: Any, given: tuple[Any, ...], said: Any) -> None:
            if type(layer).__name__ == "Attention":  # queries by keys, and that by values
                tokens = given[0].shape[-2] * given[0].shape[-1]
                found.append(2 * tokens**2 * layer.inner_dim)
            elif isinstance(layer, nn.Conv2d | nn.Linear):
                places = said[0, 0].numel() if said.dim() == 4 else said.numel() // said.shape[-1]
                found.append(places * float(masks.get(f"{name}.weight", torch.ones_like(layer.weight)).sum()))

        return count

    hooks = [module.register_forward_hook(hook(name)) for name, module in model.named_modules()]
    with torch.no_grad():
        model(*inputs)
    for one in hooks:
        one.remove()
    return sum(found)


def test_multiply_adds_of_a_unet_are_those_of_the_weights_kept(family: Family) -> None:
    inputs = NETWORK.inputs(1)
    for name, model in family.models.items():
        assert macs(model, family.masks[name], inputs) == pytest.approx(counted(model, family.masks[name], inputs))


@pytest.mark.parametrize(("engine", "names"), [("masked", tuple(DENSITIES)), ("sparse", ("dense", "kept-5%"))])
def test_every_network_is_measured(family: Family, engine: str, names: tuple[str, ...]) -> None:
    before = torch.get_num_threads()
    some = only(family, *names)
    members, about = measure(some, engine, batch=2, repeats=1, tuned=False)
    assert torch.get_num_threads() == before
    assert tuple(members) == names
    for name, member in members.items():
        assert (member.folder, member.density) == (f"rounds/{name}", DENSITIES[name])
        assert member.seconds is not None
        assert 0 < member.seconds < math.inf
    counts = [member.macs or 0 for member in members.values()]
    assert counts == sorted(counts, reverse=True)
    assert len(set(counts)) == len(names)
    assert counts[0] == macs(family.models["dense"], {}, NETWORK.inputs(1))
    assert (about["engine"], about["batch"], about["threads"], about["repeats"]) == (engine, 2, 1, 1)
    assert about["dense"] in ("eager", "channels-last")
    assert sorted(about["times"]) == sorted({"channels-last", "eager", *names} - {"dense"})
    assert json.loads(json.dumps(about)) == about


@pytest.mark.parametrize(("eager", "last", "quicker"), [(8.0, 6.0, "channels-last"), (6.0, 8.0, "eager")])
def test_the_quicker_dense_form_counts_and_seconds_are_of_one_image(
    family: Family, monkeypatch: pytest.MonkeyPatch, eager: float, last: float, quicker: str
) -> None:
    said, given = dict[str, Tensor](), dict[str, object]()

    def race(engines: Mapping[str, Any], repeats: int) -> dict[str, dict[str, float]]:
        assert repeats == 3
        given.update({name: engine.func for name, engine in engines.items()})
        said.update({name: engine().sample for name, engine in engines.items()})
        times = {"eager": eager, "channels-last": last, "kept-50%": 4.0, "kept-5%": 1.0}
        return {name: {"seconds": times[name]} for name in engines}

    monkeypatch.setattr(costs, "race", race)
    forms = prepared(family, "masked", 4)
    members, about = measure(family, "masked", batch=4, repeats=3, forms=forms)
    assert {name: member.seconds for name, member in members.items()} == {
        "dense": 1.5,
        "kept-50%": 1.0,
        "kept-5%": 0.25,
    }
    assert about["dense"] == quicker
    assert all(given["eager" if name == "dense" else name] is form for name, form in forms.items())
    inputs = NETWORK.inputs(4)
    with torch.no_grad():
        for name, form in {"eager": "dense", "channels-last": "dense", "kept-5%": "kept-5%"}.items():
            assert torch.allclose(said[name], family.models[form](*inputs).sample, atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("engine", ["dense", "masked", "slim"])
def test_prepared_networks_say_what_the_family_says(family: Family, engine: str) -> None:
    inputs, some = NETWORK.inputs(3), only(family, "dense", "kept-5%")
    forms = prepared(some, engine, 3, tuned=False)
    assert forms["dense"] is family.models["dense"]
    assert (forms["kept-5%"] is family.models["kept-5%"]) == (engine == "dense")
    for name, form in forms.items():
        assert torch.allclose(form(*inputs).sample, family.models[name](*inputs).sample, atol=1e-5)


def test_a_table_is_steps_times_calls_and_skipping_is_free() -> None:
    members = {"dense": Member("", 1.0, None, 3.0, 100.0), "small": Member("", 0.1, None, 0.5, 7.0)}
    steps = Grid((-1.0, 1.0), (2, 1, 4), (-3.0, -2.0, 0.0, 2.0, 3.0, 4.0, 5.0))
    names = ["dense", "small", "skip"]
    assert cost_table(members, steps, names).tolist() == [[6.0, 1.0, 0.0], [3.0, 0.5, 0.0], [12.0, 2.0, 0.0]]
    assert cost_table(members, steps, names[:2], of="macs").tolist() == [[200.0, 14.0], [100.0, 7.0], [400.0, 28.0]]
    assert np.isfinite(cost_table(members, steps, names)).all()


def test_costs_that_were_not_measured_are_named(family: Family) -> None:
    steps = Grid((), (2,), (0.0, 1.0))
    with pytest.raises(ScheduleError, match="found no seconds of 'dense'; expected a cost of every network"):
        cost_table(family.members, steps, ["dense"])
    with pytest.raises(ScheduleError, match="found a choice 'tiny'; expected one of dense, kept-50%, kept-5%, skip"):
        cost_table(family.members, steps, ["tiny"])


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"batch": 0}, "--batch must be at least 1; found 0"),
        ({"threads": 0}, "--threads must be at least 1; found 0"),
        ({"repeats": -1}, "--repeats must be at least 1; found -1"),
        ({"engine": "fast"}, "--engine is one of dense, masked, sparse, slim; found 'fast'"),
    ],
)
def test_settings_out_of_range_are_refused(family: Family, settings: dict[str, Any], text: str) -> None:
    with pytest.raises(UsageError) as caught:
        measure(family, **settings)
    assert text in str(caught.value)
