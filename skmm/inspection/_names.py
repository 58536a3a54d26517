"""What the parts of a modality are called: features, words and bands, and the raw columns that they come from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.pipeline import Pipeline

from skmm.blocks import Blocks, FlatLayout
from skmm.blocks._divided import positions
from skmm.compose import AutoModalities, ModalityTransformer
from skmm.preprocessing import MFCC, LogMel, TableTokens, TextTokens


class Names:
    """Names in one modality, as far as the transformers before an estimator know them.

    Parameters
    ----------
    estimator : estimator or Pipeline
        Fitted.
    modality : str
        The modality.
    width : int
        Numbers that make up its sample, of sequences a step.

    Attributes
    ----------
    features : ndarray of str, shape (width,), or None
        Names of the features.
    columns : list of str or None
        The raw columns of the table that the modality is made of.
    """

    def __init__(self, estimator: Any, modality: str, width: int) -> None:
        self.features: np.ndarray | None = None
        self.columns: list[str] | None = None
        self._step: Any = None
        made = next((t for t in _transformers(estimator) if modality in t.named_transformers_), None)
        features = _divided(estimator, modality) if made is None else self._made_by(made, modality)
        if features is not None and len(features) == width:
            self.features = np.array(features, dtype=object)

    def _made_by(self, made: ModalityTransformer, modality: str) -> list[str]:
        step = made.named_transformers_[modality]
        self._step = step.steps[-1][1] if isinstance(step, Pipeline) else step
        self.columns, features = made._features_of(modality)
        return features

    def words(self, ids: np.ndarray) -> np.ndarray:
        """Token ids (n, T) as words, or as columns of a table; as numbers where nothing is known of them."""
        if isinstance(self._step, TableTokens) and self.columns is not None and ids.shape[1] == len(self.columns):
            return np.broadcast_to(np.array(self.columns, dtype=object), ids.shape).copy()
        known: Mapping[int, str] = {}
        if isinstance(self._step, TextTokens):
            known = {i: word for word, i in self._step.vocabulary_.items()}
            known = {**known, self._step.unknown_id_: "[unknown]"}
        each = [known.get(i, str(i)) for i in ids.ravel().tolist()]
        return np.array(each, dtype=object).reshape(ids.shape)

    @property
    def seconds(self) -> float | None:
        """Seconds from one step to the next, if that is known."""
        return float(self._step.hop) if isinstance(self._step, LogMel) else None

    @property
    def hertz(self) -> np.ndarray | None:
        """Where each band of a spectrogram hears most, in hertz."""
        if not isinstance(self._step, LogMel) or isinstance(self._step, MFCC):
            return None
        n_fft = 2 * (len(self._step.filters_) - 1)
        return self._step.filters_.argmax(axis=0) * self._step.sample_rate / n_fft

    def by_column(self, modality: str) -> tuple[np.ndarray, list[str]]:
        """The raw column of each feature, as its number (width,), and the columns' names.

        Raises
        ------
        ValueError
            If nothing is known of the features or columns, or a feature may come from either of two.
        """
        if self.features is None or self.columns is None:
            raise ValueError(
                f"level='column': of modality {modality!r} it is not known which columns its features come from. "
                "Give the estimator a DataFrame, by modalities='auto' or behind a ModalityTransformer, whose "
                "transformers name their features; or take level='feature'."
            )
        columns = list(self.columns)
        if len(columns) == 1:
            return np.zeros(len(self.features), dtype=np.int64), columns
        owners = [_owner(str(feature), columns, modality) for feature in self.features]
        used = list(dict.fromkeys(owners))
        names = [column for column in columns if column in used] + [own for own in used if own not in columns]
        return np.array([names.index(own) for own in owners]), names


def _owner(feature: str, columns: Sequence[str], modality: str) -> str:
    """The column that a feature is named after: itself, or what comes before a category."""
    parts = feature.split("__")
    tails = ["__".join(parts[i:]) for i in range(len(parts))]
    exact = [column for column in columns if column in tails or f"text_{column}" in parts]
    if exact:
        return max(exact, key=len)
    found = [column for column in columns if any(tail.startswith(f"{column}_") for tail in tails)]
    if len(found) > 1:
        raise ValueError(
            f"level='column': feature {feature!r} of modality {modality!r} may be of any of the columns {found}. "
            "Rename them so that none begins like another and an underscore, or take level='feature'."
        )
    return found[0] if found else feature


def _transformers(estimator: Any) -> Iterator[ModalityTransformer]:
    """What makes modalities of a table, on the way to an estimator and in it."""
    steps = [step for _, step in estimator.steps] if isinstance(estimator, Pipeline) else []
    for step in [*steps, getattr(estimator, "modality_transformer_", None)]:
        if isinstance(step, Pipeline):
            yield from _transformers(step)
        elif isinstance(step, AutoModalities):
            yield step.transformer_
        elif isinstance(step, ModalityTransformer):
            yield step
        elif step is not estimator and hasattr(step, "modality_transformer_"):
            yield step.modality_transformer_


def _divided(estimator: Any, modality: str) -> list[str] | None:
    """Names of the columns of numbers that a modality is."""
    while isinstance(estimator, Pipeline):
        estimator = estimator[-1]
    names = [str(name) for name in getattr(estimator, "feature_names_in_", [])]
    given = getattr(estimator, "modalities", None)
    if not names or isinstance(given, FlatLayout):
        return None
    if isinstance(given, Mapping):
        return [names[i] for i in positions(modality, given[modality], len(names), names)]
    return names if modality == "X" else None


def frame_names(X: Any, modality: str) -> list[str] | None:
    """Names of the columns of a DataFrame that was given as a modality, before it became a block."""
    if isinstance(X, Blocks) or not isinstance(X, Mapping) or modality not in X:
        return None
    columns = getattr(X[modality], "columns", None)
    return None if columns is None else [str(column) for column in columns]
