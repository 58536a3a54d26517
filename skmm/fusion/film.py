"""Fusion by feature-wise linear modulation."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skmm._checks import at_least_one, unknown
from skmm.layers import keep, make_activation
from skmm.spec import INHERIT, register_fusion


@register_fusion("film")
class FiLMFusion(nn.Module):
    """Feature-wise linear modulation (FiLM): one modality scales and shifts the features of the others.

    F_m = LayerNorm(W_m x_m + b_m) are the features of a conditioned modality, the norm without weights of its own;
    γ_m = 1 + Δγ_m, and Δγ_m and β_m are linear in the conditioning vector c. The output is Σ_m f(γ_m ∘ F_m + β_m).
    At two modalities, which is the paper's number, one conditions the other; of more, one conditions each of the
    others. One modality alone is not conditioned: γ = 1 and β = 0.

    Where the conditioning modality is absent, γ = 1 and β = 0. Where a conditioned one is, F_m = 0, and of its term
    stays what the conditioning modality says, f(β_m).

    Parameters
    ----------
    conditioning : str or None
        Name of the modality that conditions; the first one if None.
    hidden_dim : int, optional
        Size of F_m and of the output.
    activation : str, optional
        f. The paper's is ``"relu"``.

    Raises
    ------
    ValueError
        If there is no modality named ``conditioning``, or ``hidden_dim`` is no whole number of 1 or more.

    Shape
    -----
    values (B, d_m), present (B,) -> (B, hidden_dim)

    References
    ----------
    Perez et al. 2018, FiLM: visual reasoning with a general conditioning layer, equations 1 and 2.

    Examples
    --------
    >>> from skmm.fusion.film import FiLMFusion
    >>> fusion = FiLMFusion({"image": 5, "question": 3}, conditioning="question", hidden_dim=4, activation="relu")
    >>> fusion.conditioned
    ['image']
    """

    level = "feature"
    source = "Perez et al. 2018, eq. 1-2"

    def __init__(
        self,
        dims: Mapping[str, int],
        *,
        conditioning: str | None = None,
        hidden_dim: int = INHERIT,
        activation: str = INHERIT,
    ) -> None:
        super().__init__()
        at_least_one(hidden_dim=hidden_dim)
        if conditioning is not None and conditioning not in list(dims):  # a list finds what a dict cannot hash
            raise unknown("modality in conditioning:", conditioning, dims)
        self.conditioning = next(iter(dims)) if conditioning is None else conditioning
        self.conditioned = [name for name in dims if name != self.conditioning] or [self.conditioning]
        self.features = nn.ModuleList(nn.Linear(dims[name], hidden_dim) for name in self.conditioned)
        self.modulation = nn.ModuleList(
            nn.Linear(dims[self.conditioning], 2 * hidden_dim)
            for name in self.conditioned
            if name != self.conditioning
        )
        self.activation = make_activation(activation)
        self.out_dim = hidden_dim

    def forward(self, values: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        features = [
            keep(F.layer_norm(layer(keep(values[name], present[name])), (self.out_dim,)), present[name])
            for name, layer in zip(self.conditioned, self.features, strict=True)
        ]
        exists = present[self.conditioning]
        condition = keep(values[self.conditioning], exists)
        for m, layer in enumerate(self.modulation):
            scale, shift = keep(layer(condition), exists).chunk(2, -1)
            features[m] = (1 + scale) * features[m] + shift
        return torch.stack([self.activation(x) for x in features]).sum(0)
