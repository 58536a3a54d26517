"""Low-rank bilinear pooling."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from skmm._checks import at_least_one
from skmm.fusion.base import ProjectedProduct
from skmm.spec import INHERIT, register_fusion


@register_fusion("mlb")
class MLBFusion(nn.Module):
    """Multimodal low-rank bilinear pooling: P^T ∘_m tanh(U_m^T x_m) + b, a product of projected modalities.

    At two modalities this is the paper's equation; more enter the same product. One alone is P^T tanh(U^T x) + b.
    A learned vector, 1 at first, stands in for the term of an absent one.

    Parameters
    ----------
    hidden_dim : int, optional
        d, the rank of each output's bilinear form, and the size of the output. The paper's d is 1200.
    dropout : float, optional
        Dropout of the product. The paper's is 0.5.

    Raises
    ------
    ValueError
        If ``hidden_dim`` is no whole number of 1 or more.

    Shape
    -----
    values (B, d_m), present (B,) -> (B, hidden_dim)

    References
    ----------
    Kim et al. 2017, Hadamard product for low-rank bilinear pooling, section 3.2.

    Examples
    --------
    >>> import torch
    >>> from skmm.fusion.mlb import MLBFusion
    >>> fusion = MLBFusion({"text": 3, "image": 5}, hidden_dim=1200, dropout=0.5)  # the paper's size
    >>> values = {"text": torch.ones(2, 3), "image": torch.ones(2, 5)}
    >>> present = {"text": torch.tensor([True, True]), "image": torch.tensor([True, False])}
    >>> fusion(values, present).shape
    torch.Size([2, 1200])
    """

    level = "feature"
    source = "Kim et al. 2017, sec. 3.2"

    def __init__(self, dims: Mapping[str, int], *, hidden_dim: int = INHERIT, dropout: float = INHERIT) -> None:
        super().__init__()
        at_least_one(hidden_dim=hidden_dim)
        self.product = ProjectedProduct(dims, hidden_dim, activation="tanh")
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(hidden_dim, hidden_dim)
        self.out_dim = hidden_dim

    def forward(self, values: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        return self.out(self.dropout(self.product(values, present)))
