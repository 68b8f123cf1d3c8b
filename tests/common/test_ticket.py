"""Tickets on disk: bit-exact both ways, refused when a byte is wrong, applied only where they belong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor, nn

from common.masks import Masks
from common.ticket import Ticket, TicketError


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(12, 2))


def ticket_of(model: nn.Module, density: float = 0.4) -> Ticket:
    generator = torch.Generator().manual_seed(1)
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    masks = Masks({n: torch.rand(w.shape, generator=generator) < density for n, w in weights.items() if w.dim() > 1})
    return Ticket(masks, weights, recipe={"score": "magnitude"}, metrics={"accuracy": 0.5}, seeds=[3])


def same_bits(a: Tensor, b: Tensor) -> bool:
    raw = [x.contiguous().reshape(-1).view(torch.uint8) for x in (a, b)]
    return a.dtype == b.dtype and a.shape == b.shape and torch.equal(*raw)


def zeroed(ticket: Ticket, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {n: w.masked_fill(~ticket.masks[n], 0) if n in ticket.masks else w for n, w in state.items()}


def test_the_file_is_packed_bits_and_kept_values(tmp_path: Path) -> None:
    mask = torch.tensor([[1, 0, 1], [0, 0, 1]])
    weights = {"w": torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]), "b": torch.tensor([7.0, 8.0])}
    Ticket(Masks({"w": mask}), weights).save(tmp_path)
    stored = load_file(tmp_path / "ticket.safetensors")
    assert {name: value.tolist() for name, value in stored.items()} == {
        "mask/w": [0b10100100],
        "weight/w": [1.0, 3.0, 6.0],
        "weight/b": [7.0, 8.0],
    }


def test_round_trip_keeps_every_field(tmp_path: Path) -> None:
    ticket = replace(
        ticket_of(network()), parent="ab", references=["A paper"], graph={"nodes": 3}, metrics={"accuracy": 0.1, "n": 3}
    )
    loaded = Ticket.load(ticket.save(tmp_path / "deep" / "folder"))
    for name in ("recipe", "metrics", "seeds", "parent", "references", "graph", "versions", "density", "digest"):
        assert getattr(loaded, name) == getattr(ticket, name), name
    assert list(loaded.weights) == list(ticket.weights)
    assert list(loaded.masks) == list(ticket.masks)
    assert all(torch.equal(loaded.masks[n], ticket.masks[n]) for n in ticket.masks)
    wanted = zeroed(ticket, ticket.weights)
    assert all(same_bits(loaded.weights[n], wanted[n]) for n in wanted)
    assert loaded.trained is None


DTYPES = [torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.complex64, torch.int64, torch.uint8]


@settings(max_examples=40, deadline=None)
@given(
    shape=st.lists(st.integers(0, 7), max_size=4),
    dtype=st.sampled_from(DTYPES),
    density=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    seed=st.integers(0, 99),
    transposed=st.booleans(),
)
def test_any_tensor_survives_bit_for_bit(
    tmp_path_factory: pytest.TempPathFactory,
    shape: list[int],
    dtype: torch.dtype,
    density: float,
    seed: int,
    transposed: bool,
) -> None:
    generator = torch.Generator().manual_seed(seed)
    width = torch.empty(0, dtype=dtype).element_size()
    raw = torch.randint(0, 256, (*shape, width), dtype=torch.uint8, generator=generator)  # NaN payloads included
    weight, mask = raw.view(dtype).reshape(shape), torch.rand(shape, generator=generator) < density
    if transposed:
        weight, mask = weight.movedim(0, -1) if shape else weight, mask.movedim(0, -1) if shape else mask
    ticket = Ticket(Masks({"w": mask}), {"w": weight, "step": torch.tensor(seed)})
    loaded = Ticket.load(ticket.save(tmp_path_factory.mktemp("ticket")))
    assert torch.equal(loaded.masks["w"], mask)
    assert same_bits(loaded.weights["w"], weight.masked_fill(~mask, 0))
    assert int(loaded.weights["step"]) == seed
    assert loaded.digest == ticket.digest


@pytest.mark.parametrize("density", [0.0, 0.003, 0.1, 0.6, 1.0])
def test_tensors_of_several_chunks_agree_with_boolean_indexing(tmp_path: Path, density: float) -> None:
    generator = torch.Generator().manual_seed(2)
    weight = torch.randn(1100, 2003, generator=generator)
    mask = torch.rand(1100, 2003, generator=generator) < density
    ticket = Ticket(Masks({"a": mask, "b": mask[:5]}), {"a": weight, "b": weight[:5]})
    loaded = Ticket.load(ticket.save(tmp_path))
    assert torch.equal(load_file(tmp_path / "ticket.safetensors")["weight/a"], weight[mask])
    assert torch.equal(loaded.weights["a"], torch.where(mask, weight, 0.0))
    assert torch.equal(loaded.masks["a"], mask)


def test_size_is_one_bit_a_weight_and_four_bytes_a_kept_one(tmp_path: Path) -> None:
    mask = torch.rand(500, 400, generator=torch.Generator().manual_seed(0)) < 0.1
    Ticket(Masks({"w": mask}), {"w": torch.ones(500, 400)}).save(tmp_path)
    size = sum(file.stat().st_size for file in tmp_path.iterdir())
    assert size <= 1.05 * (mask.numel() / 8 + 4 * int(mask.sum()))


def test_dense_weights_keep_what_is_pruned(tmp_path: Path) -> None:
    ticket = ticket_of(network())
    loaded = Ticket.load(ticket.save(tmp_path, dense_weights=True))
    assert all(same_bits(loaded.weights[n], w) for n, w in ticket.weights.items())
    assert loaded.digest == ticket.digest == Ticket.load(ticket.save(tmp_path)).digest


def test_trained_weights_are_a_second_file_that_follows_the_ticket(tmp_path: Path) -> None:
    ticket = ticket_of(network())
    trained = zeroed(ticket, {n: w + 1 for n, w in ticket.weights.items()})
    loaded = Ticket.load(replace(ticket, trained=trained).save(tmp_path))
    assert loaded.trained is not None
    assert all(same_bits(loaded.trained[n], w) for n, w in trained.items())
    Ticket.load(replace(ticket, trained=trained).save(tmp_path, trained=False))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["ticket.json", "ticket.safetensors"]


def test_digest_tells_masks_weights_and_shapes_apart() -> None:
    base = Ticket(Masks({"w": torch.tensor([[True, False]])}), {"w": torch.tensor([[1.0, 2.0]])})
    assert base.digest == replace(base, weights={"w": torch.tensor([[1.0, 9.0]])}, seeds=[5]).digest  # 9 is pruned
    others = [
        replace(base, weights={"w": torch.tensor([[3.0, 2.0]])}),
        replace(base, masks=Masks({"w": torch.tensor([[False, True]])})),
        Ticket(Masks({"w": torch.tensor([[True], [False]])}), {"w": torch.tensor([[1.0], [2.0]])}),
        Ticket(Masks({}), base.weights),
    ]
    assert len({base.digest, *(other.digest for other in others)}) == 5


def test_apply_keeps_parameters_and_zeroes_the_pruned_even_nan() -> None:
    model = network()
    ticket = ticket_of(model)
    ticket.weights["3.weight"][~ticket.masks["3.weight"]] = torch.nan
    objects = dict(model.named_parameters())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    ticket.apply(model)
    assert all(objects[n] is p for n, p in model.named_parameters())
    wanted = zeroed(ticket, ticket.weights)
    assert all(same_bits(value, wanted[n]) for n, value in model.state_dict().items())


def test_apply_prunes_a_tensor_that_has_two_names() -> None:
    first, second = nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)
    second.weight = first.weight
    model = nn.Sequential(first, second)
    mask = torch.tensor([[True, False], [False, True]])
    ticket = Ticket(Masks({"0.weight": mask}), dict(model.state_dict()))
    ticket.apply(model)
    assert second.weight[~mask].tolist() == [0.0, 0.0]
    assert first.weight is second.weight


def test_a_ticket_with_shared_memory_can_be_saved(tmp_path: Path) -> None:
    weight = torch.ones(2)
    loaded = Ticket.load(Ticket(Masks({}), {"a": weight, "b": weight}).save(tmp_path))
    assert loaded.weights["b"].tolist() == [1.0, 1.0]


def test_another_model_is_refused_and_left_alone() -> None:
    ticket = ticket_of(network())
    other = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten())
    before = {n: v.clone() for n, v in other.state_dict().items()}
    with pytest.raises(
        TicketError, match=r"another model.*0\.weight: float32 \(4, 1, 3, 3\) in the model, float32 \(3,"
    ):
        ticket.apply(other)
    assert all(torch.equal(v, before[n]) for n, v in other.state_dict().items())
    with pytest.raises(TicketError, match="float64"):
        ticket.verify(network().double())


def test_another_graph_is_refused() -> None:
    model = network()
    ticket = replace(ticket_of(model), graph={"nodes": 3, "shape": [2, 3]})
    ticket.verify(model, {"nodes": 3, "shape": (2, 3)})
    with pytest.raises(TicketError, match=r"another graph: found the graph \{'nodes': 4\}, expected .*'nodes': 3"):
        ticket.verify(model, {"nodes": 4})
    with pytest.raises(TicketError, match="expected None"):
        ticket_of(model).verify(model, {"nodes": 4})


def test_masks_must_fit_their_weights() -> None:
    with pytest.raises(TicketError, match=r"'w'.*found nothing; expected the mask's shape \(2,\)"):
        Ticket(Masks({"w": torch.ones(2)}), {})
    with pytest.raises(TicketError, match=r"trained weights of 'w'.*\(3,\)"):
        Ticket(Masks({"w": torch.ones(2)}), {"w": torch.ones(2)}, trained={"w": torch.ones(3)})
