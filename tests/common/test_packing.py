"""Kept values and packed bits against numpy's own boolean indexing and packing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from common import packing


@given(bits=st.lists(st.booleans(), max_size=40))
def test_pack_agrees_with_a_binary_numeral(bits: list[bool]) -> None:
    padded = "".join("01"[b] for b in bits).ljust((len(bits) + 7) // 8 * 8, "0")
    wanted = [int(padded[i : i + 8], 2) for i in range(0, len(padded), 8)]
    packed = packing.pack(torch.tensor(bits, dtype=torch.bool))
    assert packed.tolist() == wanted
    assert packing.unpack({"w": packed}, {"w": (len(bits),)})["w"].tolist() == bits


@given(seed=st.integers(0, 99), density=st.floats(0, 1), sizes=st.lists(st.integers(0, 700), max_size=4))
def test_chunks_agree_with_boolean_indexing(seed: int, density: float, sizes: list[int]) -> None:
    generator = np.random.default_rng(seed)
    values = {str(i): torch.from_numpy(generator.standard_normal(size)) for i, size in enumerate(sizes)}
    masks = {name: torch.from_numpy(generator.random(v.numel()) < density) for name, v in values.items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packing, "_CHUNK", 64)
        kept = packing.compress(values, masks)
        dense = packing.expand(kept, masks)
    for name, value in values.items():
        assert torch.equal(kept[name], value[masks[name]])
        assert torch.equal(dense[name], torch.where(masks[name], value, 0.0))


def test_lengths_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="keeps 2 entries; found 1 values"):
        packing.expand({"w": torch.ones(1)}, {"w": torch.ones(2, dtype=torch.bool)})
    with pytest.raises(ValueError, match=r"'w' of shape \(9,\) has 2 bytes; found 1"):
        packing.unpack({"w": torch.zeros(1, dtype=torch.uint8)}, {"w": (9,)})
