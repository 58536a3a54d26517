"""Factorised bilinear pooling."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from skmm._checks import at_least_one
from skmm.fusion.base import ProjectedProduct, sum_groups
from skmm.layers import l2_normalize, signed_sqrt
from skmm.spec import INHERIT, register_fusion


def _squeeze(expanded: Tensor, factor: int) -> Tensor:
    """Sum over consecutive groups of ``factor``, signed square root, L2: (B, factor · o) -> (B, o)."""
    return l2_normalize(signed_sqrt(sum_groups(expanded, factor)))


@register_fusion("mfb")
class MFBFusion(nn.Module):
    """Multi-modal factorised bilinear pooling.

    e = Dropout(∘_m U_m^T x_m) in R^(k·o), z_i the sum over the i-th group of k consecutive entries, then signed
    square root and L2 normalisation. At two modalities this is the paper's equation; more enter the same product.
    One modality is its projection, pooled. A learned vector, 1 at first, stands in for the term of an absent one.

    Parameters
    ----------
    hidden_dim : int, optional
        o, the size of the output. The paper's is 1000.
    factor : int
        k, the rank of each output's bilinear form. The paper's is 5.
    dropout : float
        Dropout of the product. The paper's is 0.1.

    Raises
    ------
    ValueError
        If ``hidden_dim`` or ``factor`` is no whole number of 1 or more.

    Shape
    -----
    values (B, d_m), present (B,) -> (B, hidden_dim)

    References
    ----------
    Yu et al. 2017, Multi-modal factorized bilinear pooling with co-attention learning for visual question
    answering, section 3.

    Examples
    --------
    >>> import torch
    >>> from skmm.fusion.bilinear import MFBFusion
    >>> fusion = MFBFusion({"text": 3, "image": 5}, hidden_dim=1000)  # the paper's size
    >>> values = {"text": torch.ones(2, 3), "image": torch.ones(2, 5)}
    >>> present = {"text": torch.tensor([True, True]), "image": torch.tensor([True, False])}
    >>> fusion(values, present).shape
    torch.Size([2, 1000])
    """

    level = "feature"
    source = "Yu et al. 2017, sec. 3"

    def __init__(
        self, dims: Mapping[str, int], *, hidden_dim: int = INHERIT, factor: int = 5, dropout: float = 0.1
    ) -> None:
        super().__init__()
        at_least_one(hidden_dim=hidden_dim, factor=factor)
        self.factor = factor
        self.product = ProjectedProduct(dims, factor * hidden_dim)
        self.dropout = nn.Dropout(dropout)
        self.out_dim = hidden_dim

    def forward(self, values: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        return _squeeze(self.dropout(self.product(values, present)), self.factor)


@register_fusion("mfh")
class MFHFusion(nn.Module):
    """Multi-modal factorised high-order pooling: a cascade of MFB blocks.

    e^i = Dropout(∘_m U_{i,m}^T x_m ∘ e^{i-1}) with e^0 = 1; each e^i is pooled and normalised as in MFB, and the
    results are joined. No weights are shared between the blocks.

    Parameters
    ----------
    hidden_dim : int, optional
        o, the size of each block's output. The paper's is 1000.
    factor : int
        k, the rank of each output's bilinear form. The paper's is 5.
    order : int
        p, the number of blocks. The paper's is 2.
    dropout : float
        Dropout of each product. The paper's is 0.1.

    Raises
    ------
    ValueError
        If ``hidden_dim``, ``factor`` or ``order`` is no whole number of 1 or more.

    Shape
    -----
    values (B, d_m), present (B,) -> (B, order · hidden_dim)

    References
    ----------
    Yu et al. 2018, Beyond bilinear: generalized multimodal factorized high-order pooling for visual question
    answering, section 3.

    Examples
    --------
    >>> import torch
    >>> from skmm.fusion.bilinear import MFHFusion
    >>> fusion = MFHFusion({"text": 3, "image": 5}, hidden_dim=1000, order=3)
    >>> values = {"text": torch.ones(2, 3), "image": torch.ones(2, 5)}
    >>> present = {"text": torch.tensor([True, True]), "image": torch.tensor([True, False])}
    >>> fusion(values, present).shape
    torch.Size([2, 3000])
    """

    level = "feature"
    source = "Yu et al. 2018, sec. 3"

    def __init__(
        self,
        dims: Mapping[str, int],
        *,
        hidden_dim: int = INHERIT,
        factor: int = 5,
        order: int = 2,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        at_least_one(hidden_dim=hidden_dim, factor=factor, order=order)
        self.factor = factor
        self.products = nn.ModuleList(ProjectedProduct(dims, factor * hidden_dim) for _ in range(order))
        self.dropout = nn.Dropout(dropout)
        self.out_dim = order * hidden_dim

    def forward(self, values: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        pooled = []
        cascade = None
        for product in self.products:
            expanded = product(values, present)
            cascade = self.dropout(expanded if cascade is None else expanded * cascade)
            pooled.append(_squeeze(cascade, self.factor))
        return torch.cat(pooled, -1)
