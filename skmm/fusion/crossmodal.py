"""Fusion by stacks of cross-attention between each two modalities."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from skmm._checks import at_least_one
from skmm.fusion.base import Placeholders
from skmm.layers import TransformerBlock, add_positions, check_heads, keep, masked_last
from skmm.spec import INHERIT, register_fusion


class _Target(nn.Module):
    """One modality, adapted by each source in turn, then by self-attention; its last step is the vector.

    Shape
    -----
    tokens and masks of all modalities, (B, T_m, d) and (B, T_m) -> (B, S · d), and per source the weights of its
    last layer (B, heads, T, 1 + T_source)
    """

    def __init__(
        self,
        target: str,
        sources: list[str],
        dim: int,
        *,
        n_layers: int,
        **block: Any,
    ) -> None:
        super().__init__()
        self.target = target
        self.sources = sources
        self.out_dim = len(sources) * dim

        def stack(dim: int) -> nn.ModuleList:
            return nn.ModuleList(TransformerBlock(dim, **block) for _ in range(n_layers))

        self.cross: Any = nn.ModuleList(stack(dim) for _ in sources)
        self.joint = stack(self.out_dim)

    def forward(self, tokens: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> tuple[Tensor, list[Tensor]]:
        adapted, last_weights = [], []
        for source, stack in zip(self.sources, self.cross, strict=True):
            x = tokens[self.target]
            for block in stack:
                x, weights = block(x, masks[source], keys=tokens[source])
            adapted.append(x)
            last_weights.append(weights)
        joined = torch.cat(adapted, -1)
        for block in self.joint:
            joined, _ = block(joined, masks[self.target])
        return masked_last(joined, masks[self.target]), last_weights


@register_fusion("crossmodal")
class CrossmodalFusion(nn.Module):
    """Multimodal transformer: each modality is adapted by each other one through layers of cross-attention.

    Tokens are projected to one size and given sinusoidal positions: Z_m^0. For every ordered pair β -> α a stack
    of blocks starts from Z_α^0; each attends to Z_β^0 and is followed by a feed-forward network. What all β made of
    α is joined per token, passes blocks of self-attention, and its last step that exists is the vector of α. The
    vectors of all α, joined, are the output; a learned one stands in for an absent α. Beside the tokens
    that a block reads stands a learned null token, as in ``"attention"``. One modality is its own source.

    Blocks are pre-norm and add to their input itself, as the authors' program does, where equation 4 adds to the
    normalised input; there is no causal mask.

    Parameters
    ----------
    hidden_dim : int, optional
        d, size of the tokens of a stack. The paper's is 40.
    n_layers : int
        D, blocks of each cross-attention stack, and of each self-attention. The paper's is 4; here 1, as a few
        hundred or thousand samples have M (M - 1) stacks to train.
    n_heads : int
        Attention heads; must divide ``hidden_dim``. The paper's are 8 or 10.
    dropout : float, optional
        Dropout of the attention weights and inside the feed-forward networks. The paper's is 0.1.
    activation : str, optional
        Activation of the feed-forward networks. The paper's is ReLU.
    null_token : bool
        Whether there is a null token. The paper has none.
    feed_forward_factor : int
        Width of the hidden layer of the feed-forward networks, in tokens. The authors' program has 4.

    Raises
    ------
    ValueError
        If ``hidden_dim``, ``n_layers`` or ``feed_forward_factor`` is no whole number of 1 or more, or ``n_heads``
        does not divide ``hidden_dim``.

    Shape
    -----
    values (B, T_m, d_m), present (B, T_m) -> (B, M · (M - 1) · hidden_dim), of one modality (B, hidden_dim)

    References
    ----------
    Tsai et al. 2019, Multimodal transformer for unaligned multimodal language sequences, equations 1 to 4.

    Examples
    --------
    >>> import torch
    >>> from skmm.fusion.crossmodal import CrossmodalFusion
    >>> fusion = CrossmodalFusion({"text": 3, "image": 5}, hidden_dim=8, dropout=0.1, activation="relu")
    >>> values = {"text": torch.ones(2, 6, 3), "image": torch.ones(2, 1, 5)}
    >>> present = {"text": torch.ones(2, 6, dtype=torch.bool), "image": torch.tensor([[True], [False]])}
    >>> fusion(values, present).shape
    torch.Size([2, 16])
    """

    level = "token"
    source = "Tsai et al. 2019, eq. 1-4"

    def __init__(
        self,
        dims: Mapping[str, int],
        *,
        hidden_dim: int = INHERIT,
        n_layers: int = 1,
        n_heads: int = 4,
        dropout: float = INHERIT,
        activation: str = INHERIT,
        null_token: bool = True,
        feed_forward_factor: int = 2,
    ) -> None:
        super().__init__()
        at_least_one(n_layers=n_layers, feed_forward_factor=feed_forward_factor)
        check_heads(n_heads, hidden_dim)
        self.names = list(dims)
        self.project = nn.ModuleList(nn.Linear(dim, hidden_dim) for dim in dims.values())
        self.targets: Any = nn.ModuleList(
            _Target(
                target,
                [name for name in self.names if name != target] or [target],
                hidden_dim,
                n_layers=n_layers,
                n_heads=n_heads,
                dropout=dropout,
                activation=activation,
                null_token=null_token,
                feed_forward_factor=feed_forward_factor,
            )
            for target in self.names
        )
        width = max(len(dims) - 1, 1) * hidden_dim
        self.placeholders = Placeholders(dict.fromkeys(dims, width), value=0.0)
        self.out_dim = len(dims) * width

    def forward(self, values: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        tokens = self._tokens(values, present)
        vectors = {name: target(tokens, present)[0] for name, target in zip(self.names, self.targets, strict=True)}
        exists = {name: present[name].any(-1) for name in self.names}
        return torch.cat(self.placeholders(vectors, exists), -1)

    def attention_weights(
        self, values: Mapping[str, Tensor], present: Mapping[str, Tensor]
    ) -> dict[tuple[str, tuple[str, ...]], Tensor]:
        """How much each token of a modality reads of each token of another, in the last layer of their stack.

        Parameters
        ----------
        values, present : mapping of str to Tensor
            As in ``forward``.

        Returns
        -------
        dict
            (target, (source,)) -> weights of shape (B, heads, T_target, 1 + T_source), that of the null token
            first, if there is one. They sum to 1 for a token that exists and has something to read, and are 0 for
            others.
        """
        tokens = self._tokens(values, present)
        weights: dict[tuple[str, tuple[str, ...]], Tensor] = {}
        for name, target in zip(self.names, self.targets, strict=True):
            for source, w in zip(target.sources, target(tokens, present)[1], strict=True):
                weights[name, (source,)] = keep(w, present[name].unsqueeze(-2))
        return weights

    def _tokens(self, values: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Z_m^0 of each modality, (B, T_m, hidden_dim)."""
        return {
            name: add_positions(layer(keep(values[name], present[name])))
            for name, layer in zip(self.names, self.project, strict=True)
        }
