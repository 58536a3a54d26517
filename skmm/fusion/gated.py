"""Fusions that weigh the modalities by learned gates."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from skmm._checks import at_least_one
from skmm.fusion.base import Placeholders
from skmm.layers import DenseBlock, keep, masked_softmax
from skmm.spec import INHERIT, register_fusion


@register_fusion("gated")
class GatedFusion(nn.Module):
    """Gated multimodal unit (GMU): a gate per modality and unit, which reads all modalities.

    h_m = tanh(W_m x_m) and h = Σ_m z_m ∘ h_m, with z_1 = σ(W_z [x_1; x_2]) and z_2 = 1 - z_1 for two modalities,
    z_m = σ(W_zm [x_1; …; x_M]) for more. One modality alone has nothing to be weighed against: z = 1.

    An absent modality is left out of the sum. Of two, the other one then has gate 1; of more, the gates read a
    learned vector in its place.

    Parameters
    ----------
    hidden_dim : int, optional
        Size of h.

    Raises
    ------
    ValueError
        If ``hidden_dim`` is no whole number of 1 or more.

    Shape
    -----
    values (B, d_m), present (B,) -> (B, hidden_dim)

    References
    ----------
    Arevalo et al. 2017, Gated multimodal units for information fusion, section 3.1.

    Examples
    --------
    >>> import torch
    >>> from skmm.fusion.gated import GatedFusion
    >>> fusion = GatedFusion({"text": 3, "image": 5}, hidden_dim=4)
    >>> values = {"text": torch.ones(1, 3), "image": torch.ones(1, 5)}
    >>> gates = fusion.gates(values, {"text": torch.tensor([True]), "image": torch.tensor([False])})
    >>> gates["text"].tolist()
    [[1.0, 1.0, 1.0, 1.0]]
    """

    level = "feature"
    source = "Arevalo et al. 2017, sec. 3.1"

    def __init__(self, dims: Mapping[str, int], *, hidden_dim: int = INHERIT) -> None:
        super().__init__()
        at_least_one(hidden_dim=hidden_dim)
        self.names = list(dims)
        self.hidden = nn.ModuleList(nn.Linear(dim, hidden_dim, bias=False) for dim in dims.values())
        n_gates = {1: 0, 2: 1}.get(len(dims), len(dims))
        self.gate = nn.ModuleList(nn.Linear(sum(dims.values()), hidden_dim, bias=False) for _ in range(n_gates))
        # of two modalities, both gates are known where one is absent
        self.placeholders = Placeholders(dims, value=0.0) if n_gates > 1 else None
        self.out_dim = hidden_dim

    def forward(self, values: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        gates = self.gates(values, present)
        hidden = [
            gates[name] * layer(keep(values[name], present[name])).tanh()
            for name, layer in zip(self.names, self.hidden, strict=True)
        ]
        return torch.stack(hidden).sum(0)

    def gates(self, values: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The gates z_m by modality, (B, hidden_dim) each; 0 where the modality is absent."""
        if self.placeholders is not None:
            joined = torch.cat(self.placeholders(values, present), -1)
            opened = [gate(joined).sigmoid() for gate in self.gate]
        elif len(self.gate):
            joined = torch.cat([keep(values[name], present[name]) for name in self.names], -1)
            z = self.gate[0](joined).sigmoid()
            first, second = (present[name].unsqueeze(-1) for name in self.names)
            opened = [torch.where(second, z, 1.0), torch.where(first, 1 - z, 1.0)]
        else:
            opened = [torch.ones_like(self.hidden[0](values[name])) for name in self.names]
        return {name: keep(z, present[name]) for name, z in zip(self.names, opened, strict=True)}


@register_fusion("moe")
class MixtureOfExpertsFusion(nn.Module):
    """Mixture of experts: one expert per modality and one of all of them, weighed by a softmax gate.

    h = Σ_e p_e E_e, where E_m is a dense layer (linear, LayerNorm, activation, dropout) on x_m, the joint expert is
    one on [x_1; …; x_M], and p = softmax(V [x_1; …; x_M] + c). The expert of an absent modality is left out of the
    softmax; the joint expert and the gate read a learned vector in its place. Of one modality there are two
    experts, both of the same vector, as in the paper, where all experts read the same.

    Among the gates the joint expert is called ``"joint"``, with as many underscores behind it as keep that name
    apart from those of the modalities.

    Parameters
    ----------
    hidden_dim : int, optional
        Size of h.
    dropout : float, optional
        Dropout of each expert.
    activation : str, optional
        Name of the activation.

    Raises
    ------
    ValueError
        If ``hidden_dim`` is no whole number of 1 or more.

    Shape
    -----
    values (B, d_m), present (B,) -> (B, hidden_dim)

    References
    ----------
    Jacobs et al. 1991, Adaptive mixtures of local experts, equation 1.1 for the blend of experts.

    Examples
    --------
    >>> import torch
    >>> from skmm.fusion.gated import MixtureOfExpertsFusion
    >>> fusion = MixtureOfExpertsFusion({"text": 3, "image": 5}, hidden_dim=4, dropout=0.1, activation="relu")
    >>> values = {"text": torch.ones(1, 3), "image": torch.ones(1, 5)}
    >>> gates = fusion.gates(values, {"text": torch.tensor([True]), "image": torch.tensor([False])})
    >>> list(gates), gates["image"].tolist()
    (['text', 'image', 'joint'], [0.0])
    """

    level = "feature"
    source = "Jacobs et al. 1991, eq. 1.1"

    def __init__(
        self,
        dims: Mapping[str, int],
        *,
        hidden_dim: int = INHERIT,
        dropout: float = INHERIT,
        activation: str = INHERIT,
    ) -> None:
        super().__init__()
        at_least_one(hidden_dim=hidden_dim)
        self.names = list(dims)
        self.joint = "joint"
        while self.joint in dims:  # what a modality is named is not ours to choose
            self.joint += "_"
        self.placeholders = Placeholders(dims, value=0.0)
        total = sum(dims.values())
        self.experts = nn.ModuleList(
            DenseBlock(nn.Linear(dim, hidden_dim), hidden_dim, activation=activation, dropout=dropout)
            for dim in [*dims.values(), total]
        )
        self.gate = nn.Linear(total, len(dims) + 1)
        self.out_dim = hidden_dim

    def forward(self, values: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        filled = self.placeholders(values, present)
        inputs = [*filled, torch.cat(filled, -1)]
        experts = torch.stack([expert(x) for expert, x in zip(self.experts, inputs, strict=True)], -2)
        return (self._weights(inputs[-1], present).unsqueeze(-2) @ experts).squeeze(-2)

    def _weights(self, joined: Tensor, present: Mapping[str, Tensor]) -> Tensor:
        """Weights of the experts, (B, M + 1)."""
        masks = [present[name] for name in self.names]
        return masked_softmax(self.gate(joined), torch.stack([*masks, torch.ones_like(masks[0])], -1))

    def gates(self, values: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Weights p by expert, each modality's (0 where it is absent) and the joint one's, (B,) each.

        They sum to 1. The joint expert is called ``"joint"``, or ``"joint_"`` and so on if that is a modality.
        """
        weights = self._weights(torch.cat(self.placeholders(values, present), -1), present)
        return dict(zip([*self.names, self.joint], weights.unbind(-1), strict=True))
