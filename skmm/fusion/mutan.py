"""Tucker fusion."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from skmm._checks import at_least_one
from skmm.fusion.base import ProjectedProduct, sum_groups, unit_linear
from skmm.spec import INHERIT, register_fusion


@register_fusion("mutan")
class MUTANFusion(nn.Module):
    """Multimodal Tucker fusion with a core of low rank: z = Σ_r ∘_m (x̃_m^T M_{m,r}), x̃_m = tanh(W_m^T x_m).

    W_o^T z + b is the output. At two modalities this is the paper's equation; more enter the same products. One
    modality is Σ_r x̃^T M_r, linear in x̃. Learned vectors, 1 at first, stand in for the terms of an absent one.

    Parameters
    ----------
    hidden_dim : int, optional
        Size of each x̃_m, of z and of the output. The paper's is 360 for x̃ and z.
    rank : int
        R, the rank of each slice of the core tensor. The paper's is 10.
    dropout : float, optional
        Dropout of z.

    Raises
    ------
    ValueError
        If ``hidden_dim`` or ``rank`` is no whole number of 1 or more.

    Shape
    -----
    values (B, d_m), present (B,) -> (B, hidden_dim)

    Notes
    -----
    Nothing bounds the product: of many modalities it multiplies their noise, dropout's among it. ``"mfb"`` and
    ``"block"``, which normalise theirs, learn better past three.

    References
    ----------
    Ben-younes et al. 2017, MUTAN: multimodal Tucker fusion for visual question answering, section 3.

    Examples
    --------
    >>> import torch
    >>> from skmm.fusion.mutan import MUTANFusion
    >>> fusion = MUTANFusion({"text": 3, "image": 5}, hidden_dim=360, dropout=0.5)  # the paper's size
    >>> values = {"text": torch.ones(2, 3), "image": torch.ones(2, 5)}
    >>> present = {"text": torch.tensor([True, True]), "image": torch.tensor([True, False])}
    >>> fusion(values, present).shape
    torch.Size([2, 360])
    """

    level = "feature"
    source = "Ben-younes et al. 2017, sec. 3"

    def __init__(
        self,
        dims: Mapping[str, int],
        *,
        hidden_dim: int = INHERIT,
        rank: int = 10,
        dropout: float = INHERIT,
    ) -> None:
        super().__init__()
        at_least_one(hidden_dim=hidden_dim, rank=rank)
        self.rank = rank
        self.names = list(dims)
        self.enter = nn.ModuleList(unit_linear(dim, hidden_dim) for dim in dims.values())
        self.product = ProjectedProduct(dict.fromkeys(dims, hidden_dim), rank * hidden_dim)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(hidden_dim, hidden_dim)
        self.out_dim = hidden_dim

    def forward(self, values: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        inner = {name: layer(values[name]).tanh() for name, layer in zip(self.names, self.enter, strict=True)}
        return self.out(self.dropout(sum_groups(self.product(inner, present), self.rank)))
