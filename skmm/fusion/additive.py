"""Fusions that put the modalities' vectors side by side or add them up."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from skmm.fusion.base import Placeholders
from skmm.layers import DenseBlock, keep, make_activation
from skmm.spec import INHERIT, register_fusion


@register_fusion("concat")
class ConcatFusion(nn.Module):
    """The vectors side by side, [x_1; …; x_M], then dense layers; a learned vector stands in for an absent one.

    Without a layer the concatenation alone goes to the head, which adds up what each modality says; one layer is
    enough for interactions between them.

    Parameters
    ----------
    hidden_dim : int, optional
        Width of each layer.
    n_layers : int
        Number of dense layers (linear, LayerNorm, activation, dropout) after the concatenation.
    dropout : float, optional
        Dropout after each layer.
    activation : str, optional
        Name of the activation.

    Shape
    -----
    values (B, d_m), present (B,) -> (B, hidden_dim), or without layers (B, Σ d_m)
    """

    level = "feature"

    def __init__(
        self,
        dims: Mapping[str, int],
        *,
        hidden_dim: int = INHERIT,
        n_layers: int = 1,
        dropout: float = INHERIT,
        activation: str = INHERIT,
    ) -> None:
        super().__init__()
        self.placeholders = Placeholders(dims, value=0.0)
        self.out_dim = sum(dims.values())
        layers = []
        for _ in range(n_layers):
            linear = nn.Linear(self.out_dim, hidden_dim)
            layers.append(DenseBlock(linear, hidden_dim, activation=activation, dropout=dropout))
            self.out_dim = hidden_dim
        self.layers = nn.Sequential(*layers)

    def forward(self, values: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        return self.layers(torch.cat(self.placeholders(values, present), -1))


@register_fusion("sum")
class SumFusion(nn.Module):
    """Multi-modal neural network: the sum of one hidden layer per modality.

    h^(m) = f(W^(m) x^(m) + b^(m)) and h = g(Σ_m h^(m)), an absent modality left out of the sum.

    Parameters
    ----------
    hidden_dim : int, optional
        Size of every h^(m) and of h.
    activation : str, optional
        f.
    output_activation : str
        g.

    Shape
    -----
    values (B, d_m), present (B,) -> (B, hidden_dim)

    References
    ----------
    Ngiam et al. 2011, Multimodal deep learning, for a shared layer over per-modality layers.
    """

    level = "feature"
    source = "Ngiam et al. 2011"

    def __init__(
        self,
        dims: Mapping[str, int],
        *,
        hidden_dim: int = INHERIT,
        activation: str = INHERIT,
        output_activation: str = "identity",
    ) -> None:
        super().__init__()
        self.names = list(dims)
        self.hidden = nn.ModuleList(nn.Linear(dim, hidden_dim) for dim in dims.values())
        self.activation = make_activation(activation)
        self.output_activation = make_activation(output_activation)
        self.out_dim = hidden_dim

    def forward(self, values: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        hidden = torch.stack(
            [self.activation(layer(values[name])) for name, layer in zip(self.names, self.hidden, strict=True)], -2
        )  # (B, M, hidden_dim)
        exists = torch.stack([present[name] for name in self.names], -1)
        return self.output_activation(keep(hidden, exists).sum(-2))
