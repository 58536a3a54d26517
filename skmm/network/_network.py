"""Encoders -> fusion -> head, as one module; and several such networks as one."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from skmm._checks import unknown
from skmm.blocks._blocks import BlockInfo
from skmm.layers import Masks, SparseRows, Values, make_linear, masked_mean
from skmm.network._encoders import check_encoders, make_encoder
from skmm.spec import FUSIONS, Fusion, as_spec, check_level


def known_fusion(fusion: Any) -> Any:
    """A fusion as a spec or a module.

    Raises
    ------
    ValueError
        If it is neither, nor the name of one; lists the names, ``"auto"`` among them.
    """
    spec, names = as_spec(Fusion, fusion), ["auto", *FUSIONS]
    if not isinstance(spec, (Fusion, nn.Module)):
        raise ValueError(
            f"fusion must be a name, a Fusion, a class or a module, got {fusion!r}; names are {names}."
        )
    if isinstance(spec, Fusion) and isinstance(spec.name, str) and spec.name not in names:
        raise unknown("fusion", spec.name, names)
    return spec


def choose_fusion(fusion: Any, infos: Mapping[str, BlockInfo]) -> Any:
    """The fusion that ``"auto"`` stands for: ``"gated"`` where all of several modalities are sequences, else
    ``"concat"``; any other as it is given."""
    spec = known_fusion(fusion)
    if not (isinstance(spec, Fusion) and spec.name == "auto"):
        return spec
    sequences = len(infos) > 1 and all(info.kind == "sequence" for info in infos.values())
    return Fusion("gated" if sequences else "concat", **spec.given)


class _ModalityHead(nn.Module):
    """Outputs from one modality alone: a linear layer on its encoding, and one on a vector itself.

    The second path treats features as a linear model does, wide sparse ones at the cost of those that are stored.

    Shape
    -----
    encoded (B, d), x (B, ...) -> (B, n_outputs)
    """

    def __init__(self, dim: int, info: BlockInfo, n_outputs: int) -> None:
        super().__init__()
        self.encoded = nn.Linear(dim, n_outputs)
        linear = info.kind in ("vector", "sparse")
        self.skip = make_linear(info.kind, info.shape[0], n_outputs) if linear else None

    def forward(self, encoded: Tensor, x: Tensor | SparseRows) -> Tensor:
        logits = self.encoded(encoded)
        return logits if self.skip is None else logits + self.skip(x)


class FusionNetwork(nn.Module):
    """One network: an encoder per modality, the fusion, the head; on request a head per modality beside it.

    Parameters
    ----------
    infos : mapping of str to BlockInfo
        The modalities, in order.
    fusion : str, Fusion, nn.Module class or nn.Module
        The fusion; ``"auto"`` as :func:`choose_fusion` says.
    encoders : None, encoder, or mapping of str to encoder
        For all modalities or for each; ``"auto"`` where nothing is said.
    n_outputs : int
        Number of logits or values.
    link : {"softmax", "sigmoid", "identity"}
        What turns the outputs into predictions.
    inherited : mapping
        Values for hyperparameters left at None: hidden_dim, dropout, activation.
    modality_heads : bool or sequence of str
        Whether every modality has a head of its own, or which of them have.
    fused_head : bool
        Whether the fused representation has a head; without, there is no fusion.

    Attributes
    ----------
    heads : list of int
        The heads, by their place among all that there can be: the fused one, then that of each modality.

    Shape
    -----
    values and present per modality, one batch -> (B, n_outputs), or with modality heads (B, H, n_outputs), the
    fused head first.
    """

    heads: list[int]

    def __init__(
        self,
        infos: Mapping[str, BlockInfo],
        fusion: Any,
        encoders: Any,
        n_outputs: int,
        link: str,
        inherited: Mapping[str, Any],
        *,
        modality_heads: bool | Sequence[str] = False,
        fused_head: bool = True,
    ) -> None:
        super().__init__()
        self.names, self.n_outputs = list(infos), n_outputs
        choices = check_encoders(encoders, self.names)
        spec = choose_fusion(fusion, infos)
        own = isinstance(spec, nn.Module)
        self.level = check_level(spec if own else spec.target())
        self.encoders: Any = nn.ModuleList()
        dims: dict[str, Any] = dict(infos)
        # a fusion of the input needs no encoders, but heads of single modalities do
        if self.level != "input" or modality_heads:
            for name, info in infos.items():
                tokens = self.level == "token"
                self.encoders.append(make_encoder(name, choices[name], info, tokens, inherited))
        if self.level != "input":
            dims = {name: encoder.out_dim for name, encoder in zip(infos, self.encoders, strict=True)}
        structure = (dims, n_outputs, link) if self.level == "decision" else (dims,)
        self.fusion: Any = copy.deepcopy(spec) if own else spec.build(*structure, inherited=inherited)
        self.head = None if self.level == "decision" else nn.Linear(self.fusion.out_dim, n_outputs)
        self.modality_heads = nn.ModuleList()
        if modality_heads:
            for encoder, info in zip(self.encoders, infos.values(), strict=True):
                dim: Any = encoder.out_dim
                self.modality_heads.append(_ModalityHead(dim, info, n_outputs))
        self.heads = list(range(1 + len(self.modality_heads)))
        if not (fused_head and isinstance(modality_heads, bool)):
            named = self.names if modality_heads is True else modality_heads or []
            self.keep_heads([*([0] if fused_head else []), *(1 + self.names.index(name) for name in named)])

    def keep_heads(self, places: Sequence[int]) -> None:
        """Drop all other heads, given by their places, and what only they need."""
        kept = sorted(set(places) & set(self.heads))
        own = dict(zip([place for place in self.heads if place], self.modality_heads, strict=True))
        self.modality_heads = nn.ModuleList([own[place] for place in kept if place])
        if 0 not in kept:
            self.fusion, self.head = None, None
        if 0 not in kept or self.level == "input":  # an encoder is there for the fusion or for its own head
            for m in range(len(self.encoders)):
                if 1 + m not in kept:
                    self.encoders[m] = nn.Identity()
        if not self.modality_heads and self.level == "input":
            self.encoders = nn.ModuleList()
        self.heads = kept

    @property
    def reads(self) -> list[str]:
        """Modalities that the heads which are left need."""
        return [name for m, name in enumerate(self.names) if 0 in self.heads or 1 + m in self.heads]

    def _encode(self, values: Values, present: Masks) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        encoded, masks = {}, {}
        for name, encoder in zip(self.names, self.encoders, strict=True):
            if isinstance(encoder, nn.Identity):  # in the place of one that nothing needs
                continue
            x, mask = encoder(values[name], present[name])
            if self.level == "token":
                if x.ndim == 2:
                    x, mask = x.unsqueeze(-2), mask.unsqueeze(-1)
            elif x.ndim == 3:
                x, mask = masked_mean(x, mask), mask.any(-1)
            encoded[name], masks[name] = x, mask
        return encoded, masks

    def fuse(self, values: Values, present: Masks) -> Tensor:
        """What the head reads, (B, out_dim); of a decision fusion the logits."""
        if self.level == "input":
            return self._fusing()(values, present)
        return self._fusing()(*self._encode(values, present))

    def _fusing(self) -> Any:
        """The fusion, if it was not pruned."""
        if self.fusion is None:
            raise ValueError("the fused head was pruned, and the fusion with it: heads of modalities are left.")
        return self.fusion

    def gates(self, values: Values, present: Masks) -> dict[str, Tensor]:
        """Weights with which the fusion takes up each modality, (B,) or (B, d)."""
        return self._fusing().gates(*self._encode(values, present))

    def attention_weights(self, values: Values, present: Masks) -> tuple[dict[Any, Tensor], dict[str, Tensor]]:
        """Weights (B, heads, T_target, 1 + Σ T_source) by target and sources, and which tokens exist."""
        encoded, masks = self._encode(values, present)
        return self._fusing().attention_weights(encoded, masks), masks

    def forward(self, values: Values, present: Masks) -> Tensor:
        if not self.modality_heads:
            return self._decide(self.fuse(values, present))
        encoded, masks = self._encode(values, present)
        outputs = []
        if self.fusion is not None:
            fused = self.fusion(values, present) if self.level == "input" else self.fusion(encoded, masks)
            outputs.append(self._decide(fused))
        return torch.stack([*outputs, *self._of_modalities(values, encoded, masks)], -2)

    def without(self, values: Values, present: Masks, gone: Sequence[Collection[str]]) -> tuple[Tensor, ...]:
        """Outputs as if the modalities of a set were missing, for each of several: all are encoded once."""
        encoded, masks = self._encode(values, present) if len(self.encoders) else ({}, {})
        alone = self._of_modalities(values, encoded, masks)
        read, there = (values, present) if self.level == "input" else (encoded, masks)
        found = []
        for names in gone:
            outputs = []
            if self.fusion is not None:
                left = {name: torch.zeros_like(mask) if name in names else mask for name, mask in there.items()}
                outputs.append(self._decide(self.fusion(read, left)))
            found.append(torch.stack([*outputs, *alone], -2) if self.modality_heads else outputs[0])
        return tuple(found)

    def _of_modalities(self, values: Values, encoded: Values, masks: Masks) -> list[Tensor]:
        """What the heads of single modalities say, (B, n_outputs) each."""
        outputs = []
        names = [self.names[place - 1] for place in self.heads if place]
        for name, head in zip(names, self.modality_heads, strict=True):
            x: Any = encoded[name]
            outputs.append(head(masked_mean(x, masks[name]) if self.level == "token" else x, values[name]))
        return outputs

    def _decide(self, fused: Tensor) -> Tensor:
        return fused if self.head is None else self.head(fused)
