"""Fusion by cross-modal attention."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from skmm.layers import Attention, check_heads, keep, masked_mean, masked_softmax
from skmm.spec import INHERIT, register_fusion


@register_fusion("attention")
class AttentionFusion(nn.Module):
    """Cross-modal attention: each modality reads the tokens of the others, then the modalities are weighed.

    Tokens are projected to one size. Those of modality m, normalised first (pre-norm), attend to the normalised
    tokens of all others, and what they read is added to them. Beside these tokens stands a learned null token: a
    vector, which is one token, could not be given less weight otherwise, and there is something to read where a row
    has none of the others. The mean of its tokens is the modality's vector. A score per vector, softmax over the
    modalities that are present, weighs the sum. One modality alone attends to its own tokens and has weight 1.

    Parameters
    ----------
    hidden_dim : int, optional
        Size of tokens and output.
    n_heads : int
        Attention heads; must divide ``hidden_dim``.
    dropout : float, optional
        Dropout of the attention weights.
    null_token : bool
        Whether there is a null token. False is equation 1 as published; a row then reads nothing of absent others.

    Raises
    ------
    ValueError
        If ``hidden_dim`` is no whole number of 1 or more, or ``n_heads`` does not divide it.

    Shape
    -----
    values (B, T_m, d_m), present (B, T_m) -> (B, hidden_dim)

    References
    ----------
    Vaswani et al. 2017, Attention is all you need, equation 1; Tsai et al. 2019, Multimodal transformer for
    unaligned multimodal language sequences, equation 1, for attention across modalities.

    Examples
    --------
    >>> import torch
    >>> from skmm.fusion.attention import AttentionFusion
    >>> fusion = AttentionFusion({"text": 3, "image": 5}, hidden_dim=8, dropout=0.1)
    >>> values = {"text": torch.ones(2, 6, 3), "image": torch.ones(2, 1, 5)}
    >>> present = {"text": torch.ones(2, 6, dtype=torch.bool), "image": torch.tensor([[True], [False]])}
    >>> fusion(values, present).shape
    torch.Size([2, 8])
    """

    level = "token"
    source = "Vaswani et al. 2017, eq. 1; Tsai et al. 2019, eq. 1"

    def __init__(
        self,
        dims: Mapping[str, int],
        *,
        hidden_dim: int = INHERIT,
        n_heads: int = 4,
        dropout: float = INHERIT,
        null_token: bool = True,
    ) -> None:
        super().__init__()
        check_heads(n_heads, hidden_dim)
        self.names = list(dims)
        self.project = nn.ModuleList(nn.Linear(dim, hidden_dim) for dim in dims.values())
        self.norms = nn.ModuleList(nn.LayerNorm(hidden_dim) for _ in dims)
        self.attention = nn.ModuleList(
            Attention(hidden_dim, n_heads=n_heads, dropout=dropout, null_token=null_token) for _ in dims
        )
        # one modality has nothing to be weighed against
        self.score = nn.Linear(hidden_dim, 1, bias=False) if len(dims) > 1 else None
        self.out_dim = hidden_dim

    def forward(self, values: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        vectors, weights, _ = self._attend(values, present)
        return (weights.unsqueeze(-2) @ vectors).squeeze(-2)

    def gates(self, values: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Weight of each modality's vector, (B,) each; 0 where it is absent, 1 in sum over those that a row has."""
        _, weights, _ = self._attend(values, present)
        return dict(zip(self.names, weights.unbind(-1), strict=True))

    def attention_weights(
        self, values: Mapping[str, Tensor], present: Mapping[str, Tensor]
    ) -> dict[tuple[str, tuple[str, ...]], Tensor]:
        """What each token of a modality reads: (B, heads, T_target, 1 + Σ T_source) by target and sources.

        Of the last axis the null token is first, if there is one, then the tokens of the sources in their order.
        The weights of a token that exists sum to 1 where there is something to read, those of others are all 0.
        """
        _, _, read = self._attend(values, present)
        return {
            (name, tuple(self.names[i] for i in self._sources(m))): keep(read[name], present[name].unsqueeze(-2))
            for m, name in enumerate(self.names)
        }

    def _sources(self, m: int) -> list[int]:
        """The modalities that the m-th reads: all others, or itself if it is the only one."""
        return [i for i in range(len(self.names)) if i != m] or [m]

    def _attend(
        self, values: Mapping[str, Tensor], present: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Vectors (B, M, d), weights of the modalities (B, M), and per modality those of its attention."""
        masks = [present[name] for name in self.names]
        tokens = [
            torch.where(mask.unsqueeze(-1), layer(values[name]), 0.0)
            for name, layer, mask in zip(self.names, self.project, masks, strict=True)
        ]
        normed = [norm(x) for norm, x in zip(self.norms, tokens, strict=True)]
        vectors, read = [], {}
        for m, name in enumerate(self.names):
            others = self._sources(m)
            found, read[name] = self.attention[m](
                normed[m], torch.cat([normed[i] for i in others], -2), torch.cat([masks[i] for i in others], -1)
            )
            vectors.append(masked_mean(tokens[m] + found, masks[m]))
        stacked = torch.stack(vectors, -2)
        exists = torch.stack([mask.any(-1) for mask in masks], -1)
        if self.score is None:
            return stacked, exists.to(stacked.dtype), read
        return stacked, masked_softmax(self.score(stacked).squeeze(-1), exists), read
