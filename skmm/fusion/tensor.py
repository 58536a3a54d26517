"""Fusion by the tensor of all products between modalities, whole or of low rank."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor, nn

from skmm._checks import at_least_one, is_whole, unknown
from skmm.fusion.base import Placeholders, multiply, sum_groups
from skmm.layers import DenseBlock
from skmm.spec import INHERIT, register_fusion

# Entries that the tensor may have where the sizes are chosen by rule: a layer of 64 units on it has 65,536 weights.
_TARGET_SIZE = 1024


def _modality_dims(dims: Mapping[str, int], chosen: int | Mapping[str, int] | None) -> dict[str, int]:
    """Size that each modality is projected to."""
    # the largest whole number whose power is not past the target: floating-point roots fall just short of it
    largest = next(k for k in range(_TARGET_SIZE, 0, -1) if k ** len(dims) <= _TARGET_SIZE)
    sizes = {name: min(dim, max(largest - 1, 1)) for name, dim in dims.items()}
    if isinstance(chosen, Mapping):
        for name in chosen:
            if name not in dims:
                raise unknown("modality in modality_dim:", name, dims)
        sizes.update(chosen)
    elif chosen is not None:
        sizes = dict.fromkeys(dims, chosen)
    for name, size in sizes.items():
        if not is_whole(size) or size < 1:
            raise ValueError(
                f"modality_dim={chosen!r} gives modality {name!r} size {size!r}; at least 1 is needed, a whole "
                "number."
            )
    return sizes


@register_fusion("tensor")
class TensorFusion(nn.Module):
    """Tensor fusion network (TFN): the outer product of all modalities, each with a 1 before it, then dense layers.

    z = ⊗_m [1; W_m x_m + b_m], so that z holds every feature, every product of features of two modalities, and so
    on up to those of all M: ∏ (d_m + 1) numbers. Dense layers read it, in place of the paper's inference
    subnetwork. Of one modality the tensor is [1; W x + b]. The vector that stands in for an absent W_m x_m + b_m is
    learned, and 0 at first: the tensor is then that of the other modalities.

    Parameters
    ----------
    hidden_dim : int, optional
        Width of each dense layer. The paper's is 128.
    modality_dim : int, mapping of str to int, or None
        d_m, for all modalities or by name. Where nothing is said it is the largest d with (d + 1)^M ≤ 1024, at
        least 1 and at most the size of x_m: 31 for two modalities, 9 for three, 1 for seven. The paper's, on
        CMU-MOSI, is ``{"text": 128, "audio": 32, "video": 32}``, a tensor of 140,481 numbers.
    n_layers : int
        Number of dense layers (linear, LayerNorm, activation, dropout) after the tensor. The paper's is 2.
    dropout : float, optional
        Dropout after each layer.
    activation : str, optional
        Name of the activation. The paper's is ``"relu"``.
    max_size : int
        The most numbers that the tensor may have.

    Raises
    ------
    ValueError
        If the tensor would have more than ``max_size`` numbers; if ``modality_dim`` names a modality that does not
        exist; or if a size or ``n_layers`` is no whole number of 1 or more.

    Shape
    -----
    values (B, d_m), present (B,) -> (B, hidden_dim)

    Notes
    -----
    The tensor grows with the power of the number of modalities, so past three each is left few numbers; ``lowrank``
    computes a map of the same tensor, of the unprojected modalities, without it.

    References
    ----------
    Zadeh et al. 2017, Tensor fusion network for multimodal sentiment analysis, section 4.2.

    Examples
    --------
    >>> from skmm.fusion.tensor import TensorFusion
    >>> fusion = TensorFusion({"text": 64, "audio": 64}, hidden_dim=32, dropout=0.1, activation="relu")
    >>> fusion.size, fusion.out_dim
    (1024, 32)
    """

    level = "feature"
    source = "Zadeh et al. 2017, sec. 4.2"

    def __init__(
        self,
        dims: Mapping[str, int],
        *,
        hidden_dim: int = INHERIT,
        modality_dim: int | Mapping[str, int] | None = None,
        n_layers: int = 1,
        dropout: float = INHERIT,
        activation: str = INHERIT,
        max_size: int = 2**18,
    ) -> None:
        super().__init__()
        at_least_one(hidden_dim=hidden_dim, n_layers=n_layers, max_size=max_size)
        sizes = _modality_dims(dims, modality_dim)
        self.size = math.prod(size + 1 for size in sizes.values())
        if self.size > max_size:
            advice = "Take a fusion whose size grows with their number and not with its power, such as 'lowrank'"
            if max(sizes.values()) > 1:
                advice += ", a smaller modality_dim, or fewer modalities; or raise max_size"
            raise ValueError(
                f"the tensor of modalities projected to {sizes} would have {self.size:,} numbers, more than "
                f"max_size={max_size:,}. {advice}."
            )
        self.names = list(dims)
        self.project = nn.ModuleList(nn.Linear(dims[name], size) for name, size in sizes.items())
        self.placeholders = Placeholders(sizes, value=0.0)
        layers: list[nn.Module] = []
        width = self.size
        for _ in range(n_layers):
            # the tensor's entry 1 is the bias of the first
            linear = nn.Linear(width, hidden_dim, bias=bool(layers))
            layers.append(DenseBlock(linear, hidden_dim, activation=activation, dropout=dropout))
            width = hidden_dim
        self.layers = nn.Sequential(*layers)
        self.out_dim = hidden_dim

    def forward(self, values: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        projected = {name: layer(values[name]) for name, layer in zip(self.names, self.project, strict=True)}
        first, *others = (F.pad(z, (1, 0), value=1.0) for z in self.placeholders(projected, present))
        tensor = first
        for z in others:
            tensor = (tensor.unsqueeze(-1) * z.unsqueeze(-2)).flatten(-2)
        return self.layers(tensor)


@register_fusion("lowrank")
class LowRankFusion(nn.Module):
    """Low-rank multimodal fusion (LMF): a linear map of the tensor of all products, computed without the tensor.

    h = Σ_{r ≤ R} ∘_m W_m^(r) [1; x_m], which equals W · ⊗_m [1; x_m] where the weight tensor of output k has at
    most rank R: W_k = Σ_r ⊗_m w_{m,k}^(r). Of one modality it is a linear map. A learned vector, 0 at first, stands
    in for an absent x_m. The weights of the 1 begin at 1, those of the first modality at 1/R: h then begins at
    about 1, a product of many modalities does not vanish, and an absent one leaves that of the others as it is.

    Parameters
    ----------
    hidden_dim : int, optional
        Size of the output.
    rank : int
        R. The paper tries 1, 4, 8 and 16.

    Raises
    ------
    ValueError
        If ``hidden_dim`` or ``rank`` is no whole number of 1 or more.

    Shape
    -----
    values (B, d_m), present (B,) -> (B, hidden_dim)

    References
    ----------
    Liu et al. 2018, Efficient low-rank multimodal fusion with modality-specific factors, section 3.2.

    Examples
    --------
    >>> from skmm.fusion.tensor import LowRankFusion
    >>> LowRankFusion({"text": 64, "audio": 64}, hidden_dim=32).out_dim
    32
    """

    level = "feature"
    source = "Liu et al. 2018, sec. 3.2"

    def __init__(self, dims: Mapping[str, int], *, hidden_dim: int = INHERIT, rank: int = 4) -> None:
        super().__init__()
        at_least_one(hidden_dim=hidden_dim, rank=rank)
        self.rank = rank
        # the bias is the weight of the 1
        factors = [nn.Linear(dim, rank * hidden_dim) for dim in dims.values()]
        for m, factor in enumerate(factors):
            nn.init.constant_(factor.bias, 1.0 if m else 1 / rank)
        self.factors = nn.ModuleList(factors)
        self.placeholders = Placeholders(dims, value=0.0)
        self.out_dim = hidden_dim

    def forward(self, values: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        filled = self.placeholders(values, present)
        product = multiply(factor(x) for factor, x in zip(self.factors, filled, strict=True))
        return sum_groups(product, self.rank)
