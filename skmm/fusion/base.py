"""What fusions share."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping

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
