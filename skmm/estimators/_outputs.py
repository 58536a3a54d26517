"""What a fitted estimator says of samples: outputs of its heads, the fused representation, weights inside it."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Collection, Iterable, Sequence
from numbers import Integral
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_scalar
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from skmm._checks import unknown
from skmm._progress import showing
from skmm._warnings import warn_of_empty
from skmm.blocks import Blocks
from skmm.blocks._given import sample_lengths
from skmm.estimators._experts import Experts, with_experts
from skmm.estimators._heads import by_member, combined, combined_without, head_names, reduced
from skmm.estimators._stack import Stack, average
from skmm.estimators._targets import Target
from skmm.inputs._batches import Batches, ChangedBatches
from skmm.inputs._inputs import Inputs
from skmm.layers import Masks, Values
from skmm.spec import Fusion, as_spec, offers
from skmm.training._net import MultimodalNet

Said = tuple[np.ndarray, np.ndarray] | None  # by experts: outputs (n, E, C), and of what they know (n, E)


_AT_ONCE = 8192  # samples whose outputs are held for many sets of modalities


class AttentionWeights(NamedTuple):
    """What the tokens of one modality read.

    Attributes
    ----------
    target : str
        The modality whose tokens attend.
    columns : list of (str or None, int)
        What the last axis stands for: a modality and the number of its token. None is a learned one: the null
        token, and of ``"bottleneck"`` the bottleneck tokens and then the class token, which alone has a row.
    values : ndarray of shape (n_samples, n_heads, n_tokens, n_columns)
        Weights, the mean over the members. Those of a token that exists sum to 1, all others are 0.
    """

    target: str
    columns: list[tuple[str | None, int]]
    values: np.ndarray


def _occluded(data: Batches, name: str, steps: slice) -> Batches:
    """The samples of some batches, with zeros in the place of some steps of one modality."""

    def occlude(rows: torch.Tensor, values: Values, present: Masks) -> tuple[Values, Masks]:
        x: Any = values[name]
        x = x.clone()
        x[:, steps] = 0
        return {**values, name: x}, present

    return ChangedBatches(data, occlude)


def _fusion_has(method: str) -> Any:
    """Whether the fusion chosen has a method, for ``available_if``."""

    def check(estimator: Any) -> bool:
        spec = as_spec(Fusion, getattr(estimator, "fusion_", estimator.fusion))
        if offers(spec, method):
            return True
        raise AttributeError(f"fusion {estimator.fusion!r} has no {method}.")

    return check


class NetworkOutputs(ClassNamePrefixFeaturesOutMixin, TransformerMixin):
    """The part of an estimator that reads its fitted network, and changes nothing in it."""

    fusion: Any
    verbose: int
    modalities_: dict[str, Any]
    inputs_: Inputs
    net_: MultimodalNet
    stack_: Stack | None
    experts_: Experts | None
    _target: Target

    @abstractmethod
    def _read(self, X: Any) -> Blocks:
        """X as Blocks, whatever its form."""

    def _load(self, X: Any) -> tuple[Batches, torch.dtype, Blocks]:
        """Checked samples on the device, in the precision that their prediction is computed in."""
        check_is_fitted(self)
        blocks = self.inputs_.check(self._read(X))
        dtype = self.inputs_.dtype(blocks)
        # where the weights are now: a net trained on a GPU may have been unpickled where there is none
        device = next(self.net_.module_.parameters()).device
        return self.inputs_.load(blocks, dtype, device, once=True), dtype, blocks

    def _said(self, blocks: Blocks) -> Said:
        """What the experts say of samples, if there are any."""
        return None if self.experts_ is None else self.experts_.said(blocks)

    def _outputs(self, X: Any) -> np.ndarray:
        """Combined outputs, (n_samples, C) logits or values."""
        with showing(bool(self.verbose)):
            data, dtype, blocks = self._load(X)
            said = self._said(blocks)
            outputs, exists = combined(self.net_, self._target, self.stack_, data, dtype, experts=said)
        empty = ~exists
        warn_of_empty(empty)
        return np.where(empty[:, None], self._target.prior, outputs) if empty.any() else outputs

    def _outputs_without(self, X: Blocks, gone: Sequence[Collection[str]]) -> np.ndarray:
        """Combined outputs (S, n_samples, C) of X, each of S sets of modalities marked as missing.

        What single modalities and experts say of a sample is asked once for all sets.
        """
        parts = []
        for start in range(0, len(X), _AT_ONCE):
            data, dtype, blocks = self._load(X[start : start + _AT_ONCE])
            said = None if self.experts_ is None else list(self.experts_.said_without(blocks, gone))
            outputs, some = combined_without(self.net_, self._target, self.stack_, data, dtype, gone, said)
            parts.append(np.where(some[..., None], outputs, self._target.prior))
        return np.concatenate(parts, axis=1)

    def _saying(self, outputs: np.ndarray) -> Self:
        """A copy that takes these for the combined outputs of whatever it is asked about."""
        told: Any = copy.copy(self)
        told._outputs = lambda X: outputs
        return told

    def _finished_by_head(self, X: Any) -> dict[str, np.ndarray]:
        """Probabilities or values of each head alone, the members' mean; NaN where its modality is missing."""
        data, dtype, blocks = self._load(X)

        def averaged(positions: np.ndarray, outputs: np.ndarray, exists: np.ndarray) -> tuple[np.ndarray, ...]:
            each = (average(self._target, outputs[:, :, h]) for h in range(outputs.shape[2]))
            return tuple(np.where(exists[:, h, None], x, np.nan) for h, x in enumerate(each))

        outputs = reduced(self.net_, data, dtype, averaged)
        names = head_names(self.net_, self.modalities_)
        if self.experts_ is not None:
            said, says = self.experts_.said(blocks)
            outputs += [np.where(says[:, e, None], said[:, e], np.nan) for e in range(says.shape[1])]
            names = with_experts(names, self.experts_.names)
        return {name: self._target.finish(own) for name, own in zip(names, outputs, strict=True)}

    def _finished_by_member(self, X: Any) -> np.ndarray:
        """Probabilities or values (n, K, C) that each member would give alone; NaN where there is no modality."""
        data, dtype, blocks = self._load(X)
        outputs, exists = by_member(self.net_, self._target, self.stack_, data, dtype, self._said(blocks))
        found = self._target.finish(outputs.reshape(-1, outputs.shape[2])).reshape(outputs.shape)
        return np.where(exists[:, None, None], found, np.nan)

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
        (found, masks), _ = self.net_.outputs(data, dtype, "attention_weights", whole=True)
        n_tokens = {name: mask.shape[-1] for name, mask in masks.items()}
        shown = []
        for (target, sources), weights in found.items():
            steps = [(source, step) for source in sources for step in range(n_tokens[source])]
            learned = [(None, number) for number in range(weights.shape[-1] - len(steps))]
            shown.append(AttentionWeights(target, [*learned, *steps], self._over_members(weights)))
        return shown

    def frame_evidence(
        self, X: Any, modalities: str | Iterable[str] | None = None, *, width: int = 1
    ) -> dict[str, np.ndarray]:
        """How much each frame of a video, or step of a sequence, speaks for each class.

        The fall of the class's log-probability where the frame is occluded: set to zero as the network reads it,
        which with ``scale_inputs`` is the mean of training. Above 0 it speaks for the class, below 0 against it. Of
        a regressor it is the fall of the predicted value.

        Parameters
        ----------
        X : Blocks, dict of arrays, or array-like of shape (n_samples, n_features)
            Samples.
        modalities : str or iterable of str, default=None
            Sequences and videos to ask; None for all.
        width : int, default=1
            Odd number of neighbouring frames that are occluded together, the frame in their middle: neighbours
            often show the same, and then one of them alone is not missed.

        Returns
        -------
        dict of str to ndarray of shape (n_samples, n_frames, n_classes)
            By modality, n_frames that of the longest sample; NaN where a sample has no such frame. Of a regressor
            the last axis is that of the targets.

        Raises
        ------
        ValueError
            If a modality is neither sequence nor video, or if ``width`` is not odd.

        See Also
        --------
        skmm.inspection.attributions : Shares of a prediction inside a modality of any kind, which add up.

        Notes
        -----
        All samples are predicted once for each frame, and lazily read blocks are read as often. It is that of the
        network: experts in the stack keep what they said of the whole sample. Evidence does not
        add up over frames: what two of them show alike is missed only where both are gone.

        References
        ----------
        Zeiler and Fergus 2014, Visualizing and understanding convolutional networks (there patches of a picture).

        Examples
        --------
        >>> import numpy as np
        >>> from skmm import MultimodalClassifier
        >>> rng = np.random.default_rng(0)
        >>> X = {"sensor": rng.normal(size=(80, 6, 3)), "table": rng.normal(size=(80, 2))}
        >>> y = X["sensor"][:, 4, 0] > 0  # the fifth of six steps decides
        >>> clf = MultimodalClassifier(max_epochs=10, random_state=0).fit(X, y)
        >>> evidence = clf.frame_evidence(X)["sensor"]
        >>> evidence.shape
        (80, 6, 2)
        >>> int(np.abs(evidence).mean(axis=(0, 2)).argmax())
        4
        """
        data, dtype, blocks = self._load(X)
        known = [name for name, info in self.modalities_.items() if info.kind in ("sequence", "video")]
        chosen = known if modalities is None else [modalities] if isinstance(modalities, str) else list(modalities)
        for name in chosen:
            if name not in known:
                raise unknown("sequence or video:", name, known)
        if not known:
            raise ValueError(f"none of the modalities {list(self.modalities_)} is a sequence or a video.")
        check_scalar(width, "width", Integral, min_val=1)
        if width % 2 == 0:
            raise ValueError(f"width={width} must be odd, so that the frame stands in the middle.")
        said = self._said(blocks)
        whole = self._told(data, dtype, said)
        found = {}
        for name in chosen:
            lengths = sample_lengths(blocks, name)
            found[name] = np.full((len(blocks), lengths.max(initial=0), whole.shape[1]), np.nan)
            for step in range(found[name].shape[1]):
                rows = np.flatnonzero(lengths > step)
                occluded = _occluded(data, name, slice(max(0, step - width // 2), step + width // 2 + 1))
                found[name][rows, step] = whole[rows] - self._told(occluded, dtype, said, rows)
        return found

    def _told(self, data: Batches, dtype: torch.dtype, said: Said, rows: np.ndarray | None = None) -> np.ndarray:
        """Log-probabilities, or of a regressor values, (n, C), of all rows or some; ``said`` is of all."""
        said = said if rows is None or said is None else (said[0][rows], said[1][rows])
        outputs, _ = combined(self.net_, self._target, self.stack_, data, dtype, rows, said)
        return self._target.told(outputs)

    def _over_members(self, values: torch.Tensor) -> np.ndarray:
        """The mean over the members, if there are several: (K, n, ...) or (n, ...) -> (n, ...)."""
        values = values[self.net_.speakers].mean(0) if self.net_.module_.n_members > 1 else values
        return values.cpu().numpy()
