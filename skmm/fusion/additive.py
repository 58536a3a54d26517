"""Fusions that put the modalities' vectors side by side or add them up."""

from __future__ import annotations

import functools
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from skmm._checks import at_least, at_least_one
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

    Raises
    ------
    ValueError
        If ``hidden_dim`` is no whole number of 1 or more, or ``n_layers`` none of 0 or more.

    Shape
    -----
    values (B, d_m), present (B,) -> (B, hidden_dim), or without layers (B, Σ d_m)

    Examples
    --------
    >>> import torch
    >>> from skmm.fusion.additive import ConcatFusion
    >>> fusion = ConcatFusion({"text": 3, "image": 5}, hidden_dim=4, dropout=0.1, activation="relu")
    >>> values = {"text": torch.ones(2, 3), "image": torch.ones(2, 5)}
    >>> present = {"text": torch.tensor([True, True]), "image": torch.tensor([True, False])}
    >>> fusion(values, present).shape
    torch.Size([2, 4])
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
        at_least_one(hidden_dim=hidden_dim)
        at_least(0, n_layers=n_layers)
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

    Raises
    ------
    ValueError
        If ``hidden_dim`` is no whole number of 1 or more.

    Shape
    -----
    values (B, d_m), present (B,) -> (B, hidden_dim)

    Notes
    -----
    The network of the textbooks, 50 hidden units on the features themselves, trained by Adam with a learning rate
    of 1e-3 for 10 epochs, is ``MultimodalClassifier.plain("sum", hidden_dim=50, max_epochs=10)``.

    References
    ----------
    Ngiam et al. 2011, Multimodal deep learning, for a shared layer over per-modality layers.

    Examples
    --------
    >>> import torch
    >>> from skmm.fusion.additive import SumFusion
    >>> fusion = SumFusion({"text": 3, "image": 5}, hidden_dim=50, activation="relu")
    >>> values = {"text": torch.ones(2, 3), "image": torch.ones(2, 5)}
    >>> present = {"text": torch.tensor([True, True]), "image": torch.tensor([True, False])}
    >>> fusion(values, present).shape
    torch.Size([2, 50])
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
        at_least_one(hidden_dim=hidden_dim)
        self.names = list(dims)
        self.hidden = nn.ModuleList(nn.Linear(dim, hidden_dim) for dim in dims.values())
        self.activation = make_activation(activation)
        self.output_activation = make_activation(output_activation)
        self.out_dim = hidden_dim

    def forward(self, values: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        hidden = [
            keep(self.activation(layer(values[name])), present[name])
            for name, layer in zip(self.names, self.hidden, strict=True)
        ]
        return self.output_activation(functools.reduce(torch.add, hidden))
