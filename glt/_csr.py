"""CSR tensors without torch's once-a-process notice that they are in beta."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

__all__ = ["csr", "from_dense", "product"]

with warnings.catch_warnings():  # the notice is given for the first CSR tensor, so it is made here
    warnings.simplefilter("ignore")
    torch.sparse_csr_tensor(torch.tensor([0, 0]), torch.tensor([], dtype=torch.long), torch.tensor([]), size=(1, 1))


def csr(rows: Tensor, columns: Tensor, values: Tensor, size: tuple[int, int]) -> Tensor:
    """A CSR tensor from (rows + 1,) pointers, (E,) columns and (E,) values, taken as they are."""
    return torch.sparse_csr_tensor(rows, columns, values, size=size, check_invariants=False)


def from_dense(x: Tensor) -> Tensor:
    """The CSR form of a matrix."""
    return x.contiguous().to_sparse_csr()


def product(matrix: Tensor, x: Tensor) -> Tensor:
    """`matrix @ x` of a CSR matrix (N, M) and a dense one (M, D).

    Where no gradient is recorded, without that operator's two passes over the result: it copies zeros into it first.

    >>> product(from_dense(torch.tensor([[0.0, 2.0], [0.0, 0.0]])), torch.tensor([[1.0], [3.0]])).tolist()
    [[6.0], [0.0]]
    """
    if torch.is_grad_enabled():  # gradients of gradients
        return matrix @ x
    out = x.new_empty((matrix.size(0), x.size(1)))
    return torch.addmm(out, matrix, x, beta=0, out=out)
