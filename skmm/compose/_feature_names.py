"""Names of the numbers that a transformer makes of a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from skmm.blocks import Block
from skmm.columns._tables import Positions
from skmm.compose._output import width


class FeatureNames:
    """The part of a ModalityTransformer that names its output."""

    n_features_in_: int
    named_transformers_: Any
    _names: Any
    _positions: dict[str, Positions]
    _templates: Mapping[str, Block]

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Names of the numbers that make up a sample, ``modality__feature``.

        Parameters
        ----------
        input_features : array-like of str, default=None
            Names of the table's columns; if it had names in ``fit``, these must be the same.

        Returns
        -------
        ndarray of str, shape (n_features_out,)
            A modality whose transformer names no features has ``x0``, ``x1``, ..., in the order of its flattened
            sample (for ragged sequences, of one step).
        """
        check_is_fitted(self)
        known = getattr(self, "feature_names_in_", None)
        if input_features is None:
            names = self._column_labels()
        else:
            names = np.asarray(input_features, dtype=object)
            if known is not None and not np.array_equal(names, known):
                raise ValueError("input_features is not equal to feature_names_in_")
            if len(names) != self.n_features_in_:
                raise ValueError(
                    f"input_features has {len(names)} names, X had {self.n_features_in_} columns in fit"
                )
        each = [f"{name}__{feature}" for name in self._positions for feature in self._features_of(name, names)[1]]
        return np.array(each, dtype=object)

    def _features_of(self, modality: str, names: np.ndarray | None = None) -> tuple[list[str], list[str]]:
        """Names of the columns that a modality is made of, and of its features."""
        names = self._column_labels() if names is None else names
        columns = names[np.atleast_1d(self._positions[modality])]
        features = _feature_names(self.named_transformers_[modality], columns, self._templates[modality])
        return columns.tolist(), features

    def _column_labels(self) -> np.ndarray:
        """Names of the columns of the table; x0, x1 and so on where it had none."""
        own = [f"x{i}" for i in range(self.n_features_in_)] if self._names is None else map(str, self._names)
        return np.array(list(own), dtype=object)


def _feature_names(transformer: Any, columns: np.ndarray, template: Block) -> list[str]:
    if isinstance(transformer, str):  # passthrough
        if len(columns) == width(template):
            return columns.tolist()
    elif hasattr(transformer, "get_feature_names_out"):
        try:
            return list(transformer.get_feature_names_out(columns))
        except AttributeError:  # a Pipeline has the method even if one of its steps has none
            pass
    return [f"x{i}" for i in range(width(template))]
