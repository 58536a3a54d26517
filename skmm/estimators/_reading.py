"""Tables as blocks, whatever the order of their rows, and samples that say nothing."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import clone
from sklearn.utils.validation import validate_data

from skmm._missing import is_missing, missing_cells
from skmm._private import safe_indexing
from skmm._warnings import warn
from skmm.blocks import Blocks, FlatLayout, LazyTable
from skmm.blocks._divided import NUMBERS, divide, noted_modalities
from skmm.blocks._given import as_blocks, is_named, refuse_unnamed
from skmm.columns._lazy import without_rows_of
from skmm.columns._tables import as_frame, has_only_numbers, is_table, note_columns
from skmm.compose import AutoModalities, ModalityTransformer
from skmm.compose._frames import told_in_a_line
from skmm.compose._rows import rows_as_frame
from skmm.training._samples import frame_order


class TableReading:
    """The part of an estimator that reads X, of whatever form, as Blocks."""

    modalities: Any
    verbose: int
    OF_FORM: ClassVar[Any]
    modality_transformer_: ModalityTransformer
    modalities_: dict[str, Any]

    def set_params(self, **params: Any) -> Self:
        """Set parameters, and those of what they hold; a parameter of ``modalities``, where that is None or "auto",
        makes it an :class:`AutoModalities`.
        """
        chosen = params.get("modalities", self.modalities)
        nested = next((key for key in params if key.startswith("modalities__")), None)
        if nested and (chosen is None or isinstance(chosen, str)):
            params["modalities"] = AutoModalities()
        elif nested and not hasattr(chosen, "set_params"):
            raise ValueError(
                f"parameter {nested!r} is none of modalities={chosen!r}: AutoModalities and ModalityTransformer "
                "have parameters."
            )
        return super().set_params(**params)  # type: ignore[misc]

    def _read(self, X: Any) -> Blocks:
        """X as Blocks, of whatever form the first fit's was."""
        reader = self.__dict__.get("modality_transformer_")
        names = getattr(self, "feature_names_in_", None) if reader is None else reader._names
        X = rows_as_frame(as_frame(X), None if names is None else list(names), getattr(self, "modalities_", ()))
        if is_named(X):
            return _not_empty(as_blocks(X, reset=False))
        if reader is not None:
            return _not_empty(read_table(reader, X))
        refuse_unnamed(X)
        return self._divide(validate_data(self, X, reset=False, **NUMBERS), X)

    def _first_read(self, X: Any) -> tuple[Blocks, Self]:
        """X as Blocks, and a copy of the estimator that reads what looks like X, and nothing else."""
        noted = copy.copy(self)  # scikit-learn writes what it notes of the columns on what it is given
        for name in self.OF_FORM:
            noted.__dict__.pop(name, None)
        X = as_frame(X)
        if is_named(X):
            return as_blocks(X, reset=True), noted
        reader = reader_of(self.modalities, X, told=type(self).__name__ if self.verbose else "")
        if reader is not None:
            note_columns(noted, without_rows_of(X))
            noted.modality_transformer_ = reader
            return fit_transformer(reader, X), noted
        refuse_unnamed(X)
        try:
            return noted._divide(validate_data(noted, X, reset=True, **NUMBERS), X), noted
        except ValueError as error:
            if is_table(X) and not has_only_numbers(X):
                error.add_note(
                    "Columns that are divided by modalities=... hold numbers; AutoModalities() or a "
                    "ModalityTransformer reads others."
                )
            raise

    def _divide(self, X: Any, given: Any) -> Blocks:
        """The columns of a table of numbers as modalities, those that a ``given`` frame notes if none are named."""
        modalities = noted_modalities(given) if self.modalities is None else self.modalities
        return divide(X, modalities, list(getattr(self, "feature_names_in_", [])))


def _not_empty(blocks: Blocks) -> Blocks:
    """Refuse samples of which there are none, in the words of scikit-learn."""
    if not len(blocks):
        raise ValueError(f"Found array with 0 sample(s) in {list(blocks)} while a minimum of 1 is required.")
    return blocks


def reader_of(modalities: Any, X: Any, told: str = "") -> ModalityTransformer | None:
    """What is to be fitted to make modalities of X, a table; None of one of numbers, whose columns are divided.

    Parameters
    ----------
    modalities : object
        As the estimators take it: the transformer itself, or what finds it; None does where not all are numbers.
    X : object
        What an estimator is fitted to.
    told : str, optional
        Who prints a line that says what the columns were taken for; nobody if empty.
    """
    if isinstance(modalities, ModalityTransformer):
        return clone(modalities).set_output(transform="default")
    lazy = isinstance(X, LazyTable)
    if lazy and isinstance(modalities, Mapping | FlatLayout):
        raise ValueError(
            "modalities of columns of numbers: X is a LazyTable, of which Blocks.from_parquet(path, modalities) "
            "makes them; or leave modalities at None, which reads the columns by what they hold."
        )
    found = lazy or (is_table(X) and not has_only_numbers(X)) if modalities is None else isinstance(modalities, str)
    if found and modalities in (None, "auto"):
        modalities = AutoModalities()
    if not isinstance(modalities, AutoModalities):
        return None
    if not is_table(X):
        raise ValueError(
            "modalities='auto' reads a pandas or polars DataFrame, a pyarrow Table or a Dataset of Hugging "
            f"Face, got {type(X).__name__}."
        )
    reader = modalities.typed(X)
    if told and not modalities.verbose:  # which has said it
        print(f"[{told}] {told_in_a_line(reader._decisions)}")
    return reader


def read_table(reader: ModalityTransformer, X: Any) -> Blocks:
    """What a fitted transformer makes of a table."""
    names = getattr(reader, "_names", None)
    if names is not None and not is_table(X):
        raise ValueError(
            f"X is a {type(X).__name__}; fit was given a table with the columns {names}. Give a DataFrame that has "
            "them, one row of it as a dict or Series, or a list of dicts."
        )
    return reader.transform(X)


def fit_transformer(transformer: ModalityTransformer, X: Any) -> Blocks:
    """What a transformer that is fitted to a table makes of it, whatever the order of its rows."""
    if isinstance(X, LazyTable):
        return transformer.fit_transform(X)
    # sums are rounded by the order of their terms, and what is learned is not to depend on that of the rows
    order = frame_order(X)
    try:
        blocks = transformer.fit_transform(safe_indexing(X, order))
    except Exception:
        transformer.fit_transform(X)  # says the same of the rows as they were given
        raise
    return blocks[np.argsort(order)]


def with_target(X: Any, y: Any) -> tuple[Any, Any]:
    """X and y; of a LazyTable the columns that y names as y, and the others as X."""
    if isinstance(y, LazyTable):
        named = repr(y.columns[0]) if len(y.columns) == 1 else y.columns
        raise TypeError(
            f"y is a LazyTable of {y.columns}; give the name, y={named}, of what X has too, or values, X['name']."
        )
    names = [y] if isinstance(y, str) else y
    if (
        not isinstance(X, LazyTable)
        or not isinstance(names, list)
        or not names
        or not all(isinstance(name, str) for name in names)
    ):
        return X, y
    if len(names) == len(X) and not set(names) <= set(X.columns):  # a list of labels
        return X, y
    values = [X[name] for name in names]
    return X.drop(names), values[0] if isinstance(y, str) else np.column_stack(values)


def refuse_gaps(y: Any) -> None:
    """Raise if y is the name of a column, or some samples have no target."""
    if isinstance(y, str):
        raise ValueError(f"y is the string {y!r}: give values, such as X[{y!r}], and leave that column out of X.")
    gaps: Any
    if isinstance(y, list | tuple):
        gaps = np.array([any(map(is_missing, row if isinstance(row, list | tuple) else [row])) for row in y])
    elif (isinstance(y, np.ndarray) and y.ndim) or any(hasattr(y, m) for m in ("isna", "iter_columns", "is_null")):
        gaps = np.asarray(y.isna()) if hasattr(y, "isna") else missing_cells(y)
    else:
        return
    if gaps.any():
        rows = gaps.reshape(len(gaps), -1).any(axis=1)
        raise ValueError(
            f"Input y contains NaN: {rows.sum()} of {len(rows)} samples have no target, the first is row "
            f"{rows.argmax()}. Leave these rows out: known = pd.notna(y), fit(X[known], y[known])."
        )


def drop_empty(blocks: Blocks, weights: np.ndarray) -> np.ndarray:
    """Weights, 0 for a sample without any modality, which cannot be learned from."""
    empty = ~np.any(list(blocks.present.values()), axis=0) & (weights > 0)
    if not empty.any():
        return weights
    if empty.sum() == (weights > 0).sum():
        raise ValueError(f"no sample has any of the modalities {list(blocks)}: all rows are missing (NaN).")
    warn(
        f"{empty.sum()} of {len(weights)} samples have no modality at all and are left out of training, "
        f"the first is row {np.flatnonzero(empty)[0]}."
    )
    return np.where(empty, 0.0, weights)
