"""What the parts of a modality are called: features, words and bands, and the raw columns that they come from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from sklearn.pipeline import Pipeline

from skmm.blocks import Blocks, FlatLayout
from skmm.blocks._divided import positions
from skmm.compose import AutoModalities, ModalityTransformer
from skmm.inspection._origins import origins
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
    origins : ndarray of int, shape (width,), or None
        The place among them of the one that each feature comes from, -1 of what is made of several.
    """

    def __init__(self, estimator: Any, modality: str, width: int) -> None:
        self.features: np.ndarray | None = None
        self.columns: list[str] | None = None
        self.origins: np.ndarray | None = None
        self._step: Any = None
        made = next((t for t in _transformers(estimator) if modality in t.named_transformers_), None)
        if made is not None:
            self._made_by(made, modality, width)
        elif (features := _divided(estimator, modality)) is not None:
            self.are_columns(features, width)

    def _made_by(self, made: ModalityTransformer, modality: str, width: int) -> None:
        whole = made.named_transformers_[modality]
        self._step = whole.steps[-1][1] if isinstance(whole, Pipeline) else whole
        self.columns, features = made._features_of(modality)
        self.origins = origins(whole, len(self.columns), width)
        if len(features) == width:
            self.features = np.array(features, dtype=object)

    def are_columns(self, names: list[str], width: int) -> None:
        """Each number is a column of a table."""
        if len(names) == width:
            self.features, self.columns = np.array(names, dtype=object), names
            self.origins = np.arange(width)

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

        What is made of several columns, such as a principal component, stands for itself.

        Raises
        ------
        ValueError
            If it is not known which columns the features come from, or a feature of several is called like one.
        """
        if self.origins is None or self.columns is None:
            raise ValueError(
                f"level='column': of modality {modality!r} it is not known which columns its features come from. "
                "Give the estimator a DataFrame, by modalities='auto' or behind a ModalityTransformer, whose "
                "transformers name their features; or take level='feature'."
            )
        used = [place for place in range(len(self.columns)) if place in self.origins]
        names = [self.columns[place] for place in used]
        mixed = np.flatnonzero(self.origins < 0)
        for place in mixed.tolist():
            feature = str(place) if self.features is None else str(self.features[place])
            if feature in self.columns:
                raise ValueError(
                    f"level='column': feature {feature!r} of modality {modality!r} may be of any of the columns "
                    f"{self.columns}. Rename the column {feature!r}, or take level='feature'."
                )
            names.append(feature)
        owners = np.searchsorted(used, self.origins)
        owners[mixed] = len(used) + np.arange(len(mixed))
        return owners, names


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
