"""What fusions share."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn


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
