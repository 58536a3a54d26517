"""Block-superdiagonal fusion."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from skmm._checks import at_least_one, divisors, is_whole
from skmm.fusion.base import Placeholders, multiply, sum_groups, unit_linear
from skmm.layers import l2_normalize, signed_sqrt
from skmm.spec import INHERIT, register_fusion


@register_fusion("block")
class BLOCKFusion(nn.Module):
    """Bilinear superdiagonal fusion: projections cut in chunks, z_c = Σ_r ∘_m (A_{m,c,r} x_{m,c}) for each chunk.

    Each z_c takes a signed square root and L2 normalisation, then a linear layer reads all of them. At two
    modalities this is the paper's; more enter the same products. One modality is Σ_r A_{c,r} x_c, linear before the
    square root. Learned vectors, 1 at first, stand in for the terms of an absent modality.

    Parameters
    ----------
    hidden_dim : int, optional
        Size of the projections, of all z_c together and of the output. The paper's is 1600 for the projections.
    chunks : int, optional
        C, which must divide ``hidden_dim``. The paper's is 20 chunks of 80 entries, a size four times their number.
        The default is the divisor of ``hidden_dim`` that comes nearest to that proportion: 4 chunks of 16 at 64.
    rank : int
        R, the rank of each slice of a chunk's core tensor. The paper's is 15.
    dropout : float, optional
        Dropout of what the last layer reads.

    Raises
    ------
    ValueError
        If ``hidden_dim`` or ``rank`` is no whole number of 1 or more, or ``chunks`` does not divide ``hidden_dim``.

    Shape
    -----
    values (B, d_m), present (B,) -> (B, hidden_dim)

    References
    ----------
    Ben-younes et al. 2019, BLOCK: bilinear superdiagonal fusion for visual question answering and visual
    relationship detection, section 3.

    Examples
    --------
    >>> import torch
    >>> from skmm.fusion.block import BLOCKFusion
    >>> fusion = BLOCKFusion({"text": 3, "image": 5}, hidden_dim=1600, chunks=20, rank=15, dropout=0.1)
    >>> values = {"text": torch.ones(2, 3), "image": torch.ones(2, 5)}
    >>> present = {"text": torch.tensor([True, True]), "image": torch.tensor([True, False])}
    >>> fusion(values, present).shape
    torch.Size([2, 1600])
    """

    level = "feature"
    source = "Ben-younes et al. 2019, sec. 3"

    def __init__(
        self,
        dims: Mapping[str, int],
        *,
        hidden_dim: int = INHERIT,
        chunks: int | None = None,
        rank: int = 15,
        dropout: float = INHERIT,
    ) -> None:
        super().__init__()
        at_least_one(hidden_dim=hidden_dim, rank=rank)
        valid = divisors(hidden_dim)
        if chunks is None:
            chunks = min(valid, key=lambda c: abs(hidden_dim / c - 4 * c))
        if not is_whole(chunks) or chunks not in valid:
            raise ValueError(f"chunks={chunks!r} does not divide hidden_dim={hidden_dim}; valid are {valid}.")
        size = hidden_dim // chunks
        self.chunks, self.rank = chunks, rank
        self.names = list(dims)
        self.enter = nn.ModuleList(unit_linear(dim, hidden_dim) for dim in dims.values())
        self.cores = nn.ParameterList(torch.randn(chunks, size, size * rank) / size**0.5 for _ in dims)
        self.placeholders = Placeholders(dict.fromkeys(dims, hidden_dim * rank), value=1.0)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(hidden_dim, hidden_dim)
        self.out_dim = hidden_dim

    def forward(self, values: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        terms = {}
        for name, layer, core in zip(self.names, self.enter, self.cores, strict=True):
            x = layer(values[name]).unflatten(-1, (self.chunks, -1))  # (B, C, size)
            terms[name] = torch.einsum("bcs,cst->bct", x, core).flatten(-2)
        z = sum_groups(multiply(self.placeholders(terms, present)), self.rank).unflatten(-1, (self.chunks, -1))
        return self.out(self.dropout(l2_normalize(signed_sqrt(z)).flatten(-2)))
