"""Fusion of the inputs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from skmm._checks import at_least_one
from skmm.blocks._blocks import BlockInfo
from skmm.encoders.conv import Conv1dEncoder
from skmm.fusion.base import Placeholders
from skmm.layers import DenseBlock, make_activation, make_linear, masked_max, masked_mean
from skmm.spec import INHERIT, register_fusion


@register_fusion("early")
class EarlyFusion(nn.Module):
    """The blocks side by side into one joint network, without encoders of their own.

    Where all modalities are sequences of one length they are joined step by step and read by a one-dimensional
    convolutional encoder. Otherwise a sequence enters as the mean and maximum of each channel, an image
    flattened, and the joint network is a multi-layer perceptron; its first layer on the joined vector is computed
    as the sum of one product per block, so that sparse blocks stay sparse. Where a modality is absent a learned
    vector stands in for its product.

    Parameters
    ----------
    hidden_dim : int, optional
        Width of every layer.
    n_layers : int
        Number of layers of the joint perceptron.
    dropout : float, optional
        Dropout after each layer.
    activation : str, optional
        Name of the activation.

    Raises
    ------
    ValueError
        If a block is tokens or a video, or if ``hidden_dim`` or ``n_layers`` is no whole number of 1 or more; from
        ``forward`` if sequences that had one length are now of several.

    Shape
    -----
    values: one batch of each block; present (B,) or (B, T) -> (B, hidden_dim)

    References
    ----------
    Baltrušaitis et al. 2019, Multimodal machine learning: a survey and taxonomy, section 6.1.

    Examples
    --------
    >>> import torch
    >>> from skmm.blocks import BlockInfo
    >>> from skmm.fusion.early import EarlyFusion
    >>> infos = {"text": BlockInfo("vector", (3,)), "image": BlockInfo("image", (8, 8))}
    >>> fusion = EarlyFusion(infos, hidden_dim=4, dropout=0.1, activation="relu")
    >>> values = {"text": torch.ones(2, 3), "image": torch.ones(2, 8, 8)}
    >>> present = {"text": torch.tensor([True, True]), "image": torch.tensor([True, False])}
    >>> fusion(values, present).shape
    torch.Size([2, 4])
    """

    level = "input"
    source = "Baltrušaitis et al. 2019, sec. 6.1"

    def __init__(
        self,
        dims: Mapping[str, BlockInfo],
        *,
        hidden_dim: int = INHERIT,
        n_layers: int = 1,
        dropout: float = INHERIT,
        activation: str = INHERIT,
    ) -> None:
        super().__init__()
        for name, info in dims.items():
            if info.kind in ("tokens", "video"):
                raise ValueError(
                    f"cannot join modality {name!r}, which is {info.kind}; it reads vector, sparse, "
                    "sequence and image blocks. Use a fusion with encoders, such as 'concat'."
                )
        at_least_one(hidden_dim=hidden_dim, n_layers=n_layers)
        self.names = list(dims)
        self.kinds = [info.kind for info in dims.values()]
        lengths = {info.length if info.kind == "sequence" else None for info in dims.values()}
        self.length = lengths.pop() if len(lengths) == 1 else None
        self.out_dim = hidden_dim
        if self.length is not None:
            sizes = {name: math.prod(info.shape) for name, info in dims.items()}
            self.placeholders = Placeholders(sizes, value=0.0)
            joined = BlockInfo("sequence", (sum(sizes.values()),), self.length)
            self.joint: nn.Module = Conv1dEncoder(
                joined, False, hidden_dim=hidden_dim, dropout=dropout, activation=activation
            )
            return
        self.first = nn.ModuleList(
            make_linear(info.kind, math.prod(info.shape) * (2 if info.kind == "sequence" else 1), hidden_dim)
            for info in dims.values()
        )
        # not 0, where LayerNorm and ReLU have no gradient
        self.absent = nn.ParameterList(0.1 * torch.randn(hidden_dim) for _ in dims)
        layers: list[nn.Module] = [nn.LayerNorm(hidden_dim), make_activation(activation), nn.Dropout(dropout)]
        for _ in range(n_layers - 1):
            linear = nn.Linear(hidden_dim, hidden_dim)
            layers.append(DenseBlock(linear, hidden_dim, activation=activation, dropout=dropout))
        self.joint = nn.Sequential(*layers)

    def forward(self, values: Mapping[str, Any], present: Mapping[str, Tensor]) -> Tensor:
        if self.length is not None:
            return self._step_by_step(values, present)
        total: Tensor | float = 0.0
        for name, kind, linear, absent in zip(self.names, self.kinds, self.first, self.absent, strict=True):
            x, mask = values[name], present[name]
            if kind == "sequence":
                x = x.flatten(2)
                x, mask = torch.cat([masked_mean(x, mask), masked_max(x, mask)], -1), mask.any(-1)
            elif kind == "image":
                x = x.flatten(1)
            total = total + torch.where(mask.unsqueeze(-1), linear(x), absent)
        return self.joint(total)

    def _step_by_step(self, values: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        lengths = {name: values[name].shape[1] for name in self.names}
        if len(set(lengths.values())) > 1:
            raise ValueError(
                f"fusion 'early' was fitted on sequences of one length, {self.length}, and joins them step by "
                f"step; now their lengths are {lengths}."
            )
        x = torch.cat(self.placeholders({name: values[name].flatten(2) for name in self.names}, present), -1)
        mask = torch.stack([present[name] for name in self.names]).any(0)
        mask = mask | ~mask.any(-1, keepdim=True)  # a row that lacks everything is its placeholders
        return self.joint(x, mask)[0]
