"""What a fitted estimator says of samples: outputs of its heads, the fused representation, weights inside it."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from skmm.batches import Batches, Inputs
from skmm.blocks import Blocks
from skmm.spec import Fusion, as_spec
from skmm.stacking import Stack, average
from skmm.training import MultimodalNet


class AttentionWeights(NamedTuple):
    """What the tokens of one modality read.

    Attributes
    ----------
    target : str
        The modality whose tokens attend.
    columns : list of (str or None, int)
        What the last axis stands for: a modality and the number of its token; None is the learned null token.
    values : ndarray of shape (n_samples, n_heads, n_tokens, n_columns)
        Weights, the mean over the members. Those of a token that exists sum to 1, all others are 0.
    """

    target: str
    columns: list[tuple[str | None, int]]
    values: np.ndarray


def _fusion_has(method: str) -> Any:
    """Whether the fusion chosen has a method, for ``available_if``."""

    def check(estimator: Any) -> bool:
        spec = as_spec(Fusion, getattr(estimator, "fusion_", estimator.fusion))
        target = spec.target() if isinstance(spec, Fusion) else spec
        if hasattr(target, method):
            return True
        raise AttributeError(f"fusion {estimator.fusion!r} has no {method}.")

    return check


class NetworkOutputs(ClassNamePrefixFeaturesOutMixin, TransformerMixin):
    """The part of an estimator that reads its fitted network, and changes nothing in it."""

    fusion: Any
    n_members: int
    modality_loss: float
    modalities_: dict[str, Any]
    inputs_: Inputs
    net_: MultimodalNet
    stack_: Stack
    _link: str
    _prior_output: np.ndarray

    @abstractmethod
    def _read(self, X: Any, *, reset: bool) -> Blocks:
        """X as Blocks, whatever its form."""

    @property
    def _heads(self) -> list[str]:
        return ["fused", *self.modalities_] if self.modality_loss > 0 else ["fused"]

    def _member_outputs(
        self, data: Batches, dtype: torch.dtype, rows: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Outputs of every head of every member (K, n, H, C), and which heads have something to say (n, H)."""
        outputs, exists = self.net_.outputs(data, dtype, rows=rows)
        if outputs.ndim == 2 or (outputs.ndim == 3 and self.n_members > 1 and self.modality_loss == 0):
            outputs = outputs.unsqueeze(-2)
        if self.n_members == 1:
            outputs = outputs.unsqueeze(0)
        heads = exists.any(-1, keepdim=True)
        if self.modality_loss > 0:
            heads = torch.cat([heads, exists], -1)
        return outputs.double().cpu().numpy(), heads.cpu().numpy()

    def _load(self, X: Any) -> tuple[Batches, torch.dtype, Blocks]:
        """Checked samples on the device, in the precision that their prediction is computed in."""
        check_is_fitted(self)
        blocks = self.inputs_.check(self._read(X, reset=False))
        dtype = self.inputs_.dtype(blocks)
        # where the weights are now: a net trained on a GPU may have been unpickled where there is none
        device = next(self.net_.module_.parameters()).device
        return self.inputs_.load(blocks, dtype, device), dtype, blocks

    def _outputs(self, X: Any) -> np.ndarray:
        """Combined outputs, (n_samples, C) logits or values."""
        data, dtype, blocks = self._load(X)
        outputs, exists = self._member_outputs(data, dtype)
        combined = self._combine(outputs, exists)
        empty = ~exists[:, 0]
        if empty.any():
            warnings.warn(
                f"{empty.sum()} of {len(blocks)} samples have no modality at all, the first is row "
                f"{np.flatnonzero(empty)[0]}; their prediction is the one of training as a whole.",
                stacklevel=3,
            )
            combined = np.where(empty[:, None], self._prior_output, combined)
        return combined

    def _combine(self, outputs: np.ndarray, exists: np.ndarray) -> np.ndarray:
        """Outputs (K, n, H, C) of all members and heads as one, (n, C)."""
        if hasattr(self, "stack_"):
            return self.stack_.combine(Stack.features(outputs, exists, self._link).mean(axis=0))
        return average(outputs[:, :, 0], self._link)

    def _outputs_by_head(self, X: Any) -> dict[str, np.ndarray]:
        """Outputs of each head alone, averaged over the members; NaN where its modality is missing."""
        data, dtype, _ = self._load(X)
        outputs, exists = self._member_outputs(data, dtype)
        return {
            head: np.where(exists[:, h, None], average(outputs[:, :, h], self._link), np.nan)
            for h, head in enumerate(self._heads)
        }

    def transform(self, X: Any) -> np.ndarray:
        """The fused representation.

        Parameters
        ----------
        X : Blocks, dict of arrays, or array-like of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        ndarray of shape (n_samples, n_fused)
            What the head reads, of several members side by side; of a decision fusion such as ``"late"`` the
            combined logits.
        """
        data, dtype, _ = self._load(X)
        fused, _ = self.net_.outputs(data, dtype, "fuse")
        if fused.ndim == 3:
            fused = fused.movedim(0, 1).flatten(1)
        return fused.cpu().numpy()

    @available_if(_fusion_has("gates"))
    def gates(self, X: Any) -> dict[str, np.ndarray]:
        """Weights with which the fusion takes up each modality, or expert: the mean over the members.

        Parameters
        ----------
        X : Blocks, dict of arrays, or array-like of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        dict of str to ndarray of shape (n_samples,) or (n_samples, n_units)
            By modality; of ``"moe"`` by expert. Where the fusion normalises them they sum to 1 over those that a
            sample has; the class of the fusion says what they are.

        Examples
        --------
        >>> import numpy as np
        >>> from skmm import MultimodalClassifier
        >>> rng = np.random.default_rng(0)
        >>> X = {"text": rng.normal(size=(40, 3)), "image": rng.normal(size=(40, 2))}
        >>> y = X["text"][:, 0] > 0
        >>> clf = MultimodalClassifier("attention", max_epochs=2, random_state=0).fit(X, y)
        >>> gates = clf.gates(X)
        >>> np.allclose(gates["text"] + gates["image"], 1)
        True
        """
        data, dtype, _ = self._load(X)
        found, _ = self.net_.outputs(data, dtype, "gates")
        return {name: self._over_members(weights) for name, weights in found.items()}

    @available_if(_fusion_has("attention_weights"))
    def attention_weights(self, X: Any) -> list[AttentionWeights]:
        """What the tokens of each modality read of the others, in the last layer that crosses modalities.

        Parameters
        ----------
        X : Blocks, dict of arrays, or array-like of shape (n_samples, n_features)
            Samples. All are held in memory at once.

        Returns
        -------
        list of AttentionWeights
            One for each modality, or of ``"crossmodal"`` for each ordered pair.

        Examples
        --------
        >>> import numpy as np
        >>> from skmm import MultimodalClassifier
        >>> rng = np.random.default_rng(0)
        >>> X = {"text": rng.normal(size=(40, 6, 3)), "image": rng.normal(size=(40, 2))}
        >>> y = X["image"][:, 0] > 0
        >>> clf = MultimodalClassifier("attention", max_epochs=2, random_state=0).fit(X, y)
        >>> text, image = clf.attention_weights(X)
        >>> text.target, text.columns
        ('text', [(None, 0), ('image', 0)])
        >>> np.allclose(image.values.sum(axis=-1), 1)
        True
        """
        data, dtype, _ = self._load(X)
        (found, masks), _ = self.net_.outputs(data, dtype, "attention_weights", batch_size=len(data))
        n_tokens = {name: mask.shape[-1] for name, mask in masks.items()}
        return [
            AttentionWeights(
                target,
                [(None, 0), *((source, step) for source in sources for step in range(n_tokens[source]))],
                self._over_members(weights),
            )
            for (target, sources), weights in found.items()
        ]

    def _over_members(self, values: torch.Tensor) -> np.ndarray:
        """The mean over the members, if there are several: (K, n, ...) or (n, ...) -> (n, ...)."""
        values = values.mean(0) if self.n_members > 1 else values
        return values.cpu().numpy()
