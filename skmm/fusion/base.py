"""What fusions share."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from numbers import Integral
from typing import Any

import torch
from torch import Tensor, nn

from skmm.layers import make_activation


class Placeholders(nn.Module):
    """A learned vector per modality that stands in where the modality is absent.

    Parameters
    ----------
    dims : mapping of str to int
        Size per modality.
    value : float
        What they start from: 1 is neutral in a product, 0 in a sum.

    Shape
    -----
    values (B, d_m) and present (B,) per modality -> list of (B, d_m), in fitted order
    """

    def __init__(self, dims: Mapping[str, int], *, value: float) -> None:
        super().__init__()
        self.names = list(dims)
        self.vectors = nn.ParameterList(torch.full((dim,), value) for dim in dims.values())

    def forward(self, values: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> list[Tensor]:
        return [
            torch.where(present[name].unsqueeze(-1), values[name], vector)
            for name, vector in zip(self.names, self.vectors, strict=True)
        ]


def is_whole(value: Any) -> bool:
    """Whether a value is a whole number by its type: not 2.0, and not True."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def at_least(least: int, **values: Any) -> None:
    """Refuse hyperparameters that are no whole numbers of ``least`` or more, by name."""
    for name, value in values.items():
        if not is_whole(value) or value < least:
            raise ValueError(f"{name}={value!r} must be at least {least}, a whole number.")


def at_least_one(**values: Any) -> None:
    """Refuse sizes, ranks and numbers of layers that are no whole numbers of 1 or more, by name."""
    at_least(1, **values)


def divisors(size: int) -> list[int]:
    """The numbers that divide a size."""
    return [n for n in range(1, size + 1) if size % n == 0]


def check_heads(n_heads: Any, hidden_dim: Any) -> None:
    """Refuse tokens of no size, and a number of attention heads that does not divide their size."""
    at_least_one(hidden_dim=hidden_dim)
    valid = divisors(hidden_dim)
    if not is_whole(n_heads) or n_heads not in valid:
        raise ValueError(f"n_heads={n_heads!r} does not divide the dimension {hidden_dim}; valid are {valid}.")


def unit_linear(in_features: int, out_features: int) -> nn.Linear:
    """A linear layer without bias whose output starts as large as its input.

    That of torch starts at about half; a product of many such terms vanishes.
    """
    layer = nn.Linear(in_features, out_features, bias=False)
    nn.init.normal_(layer.weight, std=in_features**-0.5)
    return layer


def multiply(terms: Iterable[Tensor]) -> Tensor:
    """The elementwise product of all terms."""
    return functools.reduce(torch.mul, terms)


class ProjectedProduct(nn.Module):
    """∘_m f(U_m^T x_m), the product of the projected modalities.

    The term of an absent one is a learned vector, 1 at first.

    Parameters
    ----------
    dims : mapping of str to int
        Size per modality.
    size : int
        Size of the projections and of their product.
    activation : str
        f.

    Shape
    -----
    values (B, d_m) and present (B,) per modality -> (B, size)
    """

    def __init__(self, dims: Mapping[str, int], size: int, *, activation: str = "identity") -> None:
        super().__init__()
        self.names = list(dims)
        self.project = nn.ModuleList(unit_linear(dim, size) for dim in dims.values())
        self.activation = make_activation(activation)
        self.placeholders = Placeholders(dict.fromkeys(dims, size), value=1.0)

    def forward(self, values: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        terms = {
            name: self.activation(layer(values[name])) for name, layer in zip(self.names, self.project, strict=True)
        }
        return multiply(self.placeholders(terms, present))


def sum_groups(x: Tensor, size: int) -> Tensor:
    """Sums over consecutive groups of ``size`` entries: (B, o · size) -> (B, o)."""
    return x.unflatten(-1, (-1, size)).sum(-1)
