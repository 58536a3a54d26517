"""Fusion through a few tokens that all modalities share."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skmm._checks import at_least, at_least_one, is_whole
from skmm.layers import TransformerBlock, add_positions, check_heads, keep, masked_mean
from skmm.spec import INHERIT, register_fusion


@register_fusion("bottleneck")
class BottleneckFusion(nn.Module):
    """Multimodal bottleneck transformer: modalities exchange what fits into a few shared tokens.

    Tokens are projected to one size, scaled by its square root, given sinusoidal positions, and led by a learned
    class token: z_m. Layers before ``fusion_layer`` are a transformer per modality. From there on each also holds
    the bottleneck tokens b, [z_m, b_m] = T_m([z_m, b]), and the next b is the mean of b_m over the modalities that
    a row has. The output is the mean of their class tokens; the paper averages the logits that one linear layer
    makes of each, which is the same under a linear head. Every block can read a learned null token as well, as in
    ``"attention"``; it needs none, since a class token is always there. One modality alone has the bottleneck to
    itself. A row without any modality gives 0.

    Parameters
    ----------
    hidden_dim : int, optional
        Size of tokens and output. The paper's is 768.
    n_layers : int
        L, number of layers. The paper's is 12, pretrained; trained from scratch on hundreds or thousands of
        samples, 2 is the default, the fewest that let one modality read another.
    fusion_layer : int
        L_f, number of layers before the bottleneck; at most ``n_layers - 2``, since what a layer writes into the
        bottleneck is read by the next. The paper's is 8; here 0, as each modality has an encoder of its own.
    n_bottlenecks : int
        B, number of bottleneck tokens. The paper's is 4.
    n_heads : int
        Attention heads; must divide ``hidden_dim``. The paper's are 12.
    dropout : float
        Dropout of the attention weights and inside the feed-forward networks. Few tokens carry all there is to
        learn, so that the 0.3 that suits other fusions hides too much of it.
    activation : str, optional
        Activation of the feed-forward networks. The paper's is GELU.
    null_token : bool
        Whether there is a null token. The paper has none; with one, interactions are learned later, by some seeds
        too late.
    feed_forward_factor : int
        Width of the hidden layer of the feed-forward networks, in tokens. The paper's is 4.

    Raises
    ------
    ValueError
        If ``hidden_dim``, ``n_bottlenecks`` or ``feed_forward_factor`` is no whole number of 1 or more, or
        ``n_layers`` none of 2 or more; if ``fusion_layer`` leaves fewer than two layers; or if ``n_heads`` does not
        divide ``hidden_dim``.

    Shape
    -----
    values (B, T_m, d_m), present (B, T_m) -> (B, hidden_dim)

    References
    ----------
    Nagrani et al. 2021, Attention bottlenecks for multimodal fusion, sections 3.2 and 3.3.

    Examples
    --------
    >>> import torch
    >>> from skmm.fusion.bottleneck import BottleneckFusion
    >>> fusion = BottleneckFusion({"text": 3, "image": 5}, hidden_dim=8, activation="gelu")
    >>> values = {"text": torch.ones(2, 6, 3), "image": torch.ones(2, 1, 5)}
    >>> present = {"text": torch.ones(2, 6, dtype=torch.bool), "image": torch.tensor([[True], [False]])}
    >>> fusion(values, present).shape
    torch.Size([2, 8])
    """

    level = "token"
    source = "Nagrani et al. 2021, sec. 3.2-3.3"

    def __init__(
        self,
        dims: Mapping[str, int],
        *,
        hidden_dim: int = INHERIT,
        n_layers: int = 2,
        fusion_layer: int = 0,
        n_bottlenecks: int = 4,
        n_heads: int = 4,
        dropout: float = 0.1,
        activation: str = INHERIT,
        null_token: bool = False,
        feed_forward_factor: int = 2,
    ) -> None:
        super().__init__()
        at_least(2, n_layers=n_layers)  # one to write the bottleneck, one to read it
        at_least_one(n_bottlenecks=n_bottlenecks, feed_forward_factor=feed_forward_factor)
        check_heads(n_heads, hidden_dim)
        if not is_whole(fusion_layer) or not 0 <= fusion_layer <= n_layers - 2:
            raise ValueError(
                f"fusion_layer={fusion_layer!r} with n_layers={n_layers}: valid are 0 to {n_layers - 2}, so that "
                "one layer writes the bottleneck and another reads it."
            )
        self.names = list(dims)
        self.fusion_layer = fusion_layer
        self.project = nn.ModuleList(nn.Linear(dim, hidden_dim) for dim in dims.values())
        # The class tokens know only what they read: unless that outweighs what is the same for every sample
        # (positions, biases, what tokens start from), interactions between modalities are learned late if at all.
        self.scale = math.sqrt(hidden_dim)
        self.class_tokens = nn.Parameter(0.02 * torch.randn(len(dims), hidden_dim))
        self.bottleneck = nn.Parameter(0.02 * torch.randn(n_bottlenecks, hidden_dim))
        self.layers: Any = nn.ModuleList(
            nn.ModuleList(
                TransformerBlock(
                    hidden_dim,
                    n_heads=n_heads,
                    dropout=dropout,
                    activation=activation,
                    null_token=null_token,
                    feed_forward_factor=feed_forward_factor,
                )
                for _ in dims
            )
            for _ in range(n_layers)
        )
        for linear in self.layers.modules():
            if isinstance(linear, nn.Linear):
                nn.init.xavier_uniform_(linear.weight)
                if linear.bias is not None:
                    nn.init.zeros_(linear.bias)
        self.out_dim = hidden_dim

    def forward(self, values: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        vectors, exists, _ = self._exchange(values, present)
        return masked_mean(vectors, exists)

    def attention_weights(
        self, values: Mapping[str, Tensor], present: Mapping[str, Tensor]
    ) -> dict[tuple[str, tuple[str, ...]], Tensor]:
        """What the class token of each modality reads in the last layer: of other modalities, the bottleneck alone.

        The output is made of the class tokens; what others read in the last layer goes nowhere. No token reads one
        of another modality, so that none of these weights is that of a pair of modalities.

        Parameters
        ----------
        values, present : mapping of str to Tensor
            As in ``forward``.

        Returns
        -------
        dict
            (m, (m,)) -> weights of shape (B, heads, 1, n + T_m): first those of the learned tokens, which are the
            null token, where the attention has one, the bottleneck and the class token itself, then those of the
            modality's tokens. They sum to 1, and are 0 where the modality is absent.
        """
        _, exists, weights = self._exchange(values, present)
        size = len(self.bottleneck)
        return {
            (name, (name,)): keep(w[..., size : size + 1, :], exists[..., m, None, None])
            for m, (name, w) in enumerate(zip(self.names, weights, strict=True))
        }

    def _exchange(
        self, values: Mapping[str, Tensor], present: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Class tokens (B, M, d), which modalities exist (B, M), and the attention of each one's last layer."""
        exists = torch.stack([present[name].any(-1) for name in self.names], -1)  # (B, M)
        tokens, masks = [], []
        for name, layer, lead in zip(self.names, self.project, self.class_tokens, strict=True):
            x = add_positions(self.scale * layer(keep(values[name], present[name])))
            tokens.append(torch.cat([lead.expand(*x.shape[:-2], 1, -1), x], -2))
            masks.append(F.pad(present[name], (1, 0), value=True))
        size = len(self.bottleneck)
        shared = self.bottleneck.expand(*tokens[0].shape[:-2], -1, -1)
        for depth, blocks in enumerate(self.layers):
            if depth < self.fusion_layer:
                tokens = [block(x, mask)[0] for block, x, mask in zip(blocks, tokens, masks, strict=True)]
                continue
            written, weights = [], []
            for m, block in enumerate(blocks):
                x, read = block(torch.cat([shared, tokens[m]], -2), F.pad(masks[m], (size, 0), value=True))
                written.append(x[..., :size, :])
                tokens[m] = x[..., size:, :]
                weights.append(read)
            shared = masked_mean(torch.stack(written, -2), exists.unsqueeze(-2))
        return torch.stack([x[..., 0, :] for x in tokens], -2), exists, weights
