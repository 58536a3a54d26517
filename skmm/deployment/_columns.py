"""Tables as the arrays that an exported model reads, where preprocessing is part of it; without torch."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from sklearn.feature_extraction.text import CountVectorizer

from skmm._missing import missing_cells
from skmm._private import safe_indexing
from skmm.blocks import BlockInfo
from skmm.columns._cells import as_floats, cells, short
from skmm.columns._levels import Known, labelled
from skmm.columns._tables import Positions, as_frame, check_table, column_names, find_columns
from skmm.inputs._known import KnownInputs

# what stands for a category that fit did not see, and for a missing one: control characters, which no label is
UNKNOWN, MISSING = "\x1a", "\x18"
_ROWS = 1024  # of a table that a model reads at a time, at most
_FEW = 16  # rows of a table that are read at once
_NUMBERS = 1 << 22  # that a modality of them may become
_SPACES = re.compile(r"\s\s+")  # which scikit-learn takes for one where it counts characters


@dataclass
class Column:
    """One column of a table, as a model reads it: (n, 1).

    Attributes
    ----------
    name : str
        Of the array.
    modality, place : str, int
        The modality, and which of its columns this is.
    reading : {"number", "category", "text"}
        What its cells are; numbers are float64 with NaN where one is missing, the others strings.
    gaps : bool
        Whether a cell may be missing where others of the modality are not.
    labels : list of [level, str]
        Of categories, those that fit saw.
    unseen : bool
        Whether others may come.
    lowercase, strip_accents, one_space : bool, str or None, bool
        How texts are written before they are taken apart, as scikit-learn's vectorizers do.
    strict : bool
        Whether cells must be texts, else they are taken for what they are written as.
    """

    name: str
    modality: str
    place: int
    reading: str
    gaps: bool = True
    labels: list[Any] = field(default_factory=list)
    unseen: bool = True
    lowercase: bool = False
    strip_accents: str | None = None
    one_space: bool = False
    strict: bool = True

    @property
    def dtype(self) -> Any:
        """Type of the array."""
        return np.float64 if self.reading == "number" else object

    def read(self, name: Any, values: np.ndarray, missing: np.ndarray) -> np.ndarray:
        """The array, (n, 1), of the cells of a column and which of them are missing; ``name`` is for messages."""
        out = np.full(len(values), np.nan if self.reading == "number" else "", dtype=self.dtype)
        rows = np.flatnonzero(~missing)
        if self.reading == "number":
            out[rows] = as_floats(name, values, rows)
            if np.isinf(out).any():
                raise ValueError(f"column {name!r}, row {np.isinf(out).argmax()}: the number is infinite.")
        elif self.reading == "category":
            out[missing] = MISSING
            out[rows] = self._labels(name, values, rows)
        else:
            out[rows] = [self._text(name, int(row), values[row]) for row in rows]
        return out[:, None]

    def _labels(self, name: Any, values: np.ndarray, rows: np.ndarray) -> list[str]:
        found = [label for _, label in labelled(name, values[rows], self._known, usual=True)]
        new = next((row for row, label in zip(rows, found, strict=True) if label is None), None)
        if new is not None and not self.unseen:
            raise ValueError(
                f"column {name!r}, row {new}: {short(values[new])} is a category that fit did not see; it saw "
                f"{[level for level, _ in self.labels[:5]]}{', ...' if len(self.labels) > 5 else ''}."
            )
        return [UNKNOWN if label is None else label for label in found]

    @cached_property
    def _known(self) -> Known:
        return Known(dict(self.labels))

    @cached_property
    def _written(self) -> Any:
        """scikit-learn's own: the graph's lower case is that of a locale, in which final letters are as others."""
        return CountVectorizer(lowercase=self.lowercase, strip_accents=self.strip_accents).build_preprocessor()

    def _text(self, name: Any, row: int, cell: Any) -> str:
        if self.strict and not isinstance(cell, str):
            raise ValueError(
                f"column {name!r}, row {row}: expected text (str), got {short(cell)} ({type(cell).__name__})."
            )
        text = self._written(str(cell))
        return _SPACES.sub(" ", text) if self.one_space else text


@dataclass
class RawTable:
    """The table that a model reads.

    Attributes
    ----------
    names : list or None
        Names of its columns in fit, if they had any.
    n_columns : int
        Their number.
    named : bool
        Whether columns must have names.
    positions : dict of str to int or list of int
        Where the columns of each modality stood.
    columns : list of Column
        What is read of them.
    """

    names: list[Any] | None
    n_columns: int
    named: bool
    positions: dict[str, Positions]
    columns: list[Column]

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> RawTable:
        """From data."""
        return cls(**{**given, "columns": [Column(**column) for column in given["columns"]]})

    def read(self, X: Any, known: KnownInputs) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Arrays by the names of the columns, and by modality which rows have it, as an estimator checks them."""
        X = as_frame(X)
        if self.named and column_names(X) is None:
            raise ValueError(f"the model reads a DataFrame with the columns {self.names}, got {type(X).__name__}.")
        check_table(X)
        positions = find_columns(X, self.positions, self.names, self.n_columns)
        labels, n = column_names(X), X.shape[0]
        if n == 0:
            raise ValueError(f"Found 0 sample(s) in {list(positions)} while a minimum of 1 is required.")
        places = {name: [at] if isinstance(at, int) else at for name, at in positions.items()}
        held = _cells(X, {i for every in places.values() for i in every})
        present = {name: ~np.all([held[i][1] for i in every], axis=0) for name, every in places.items()}
        arrays = {}
        for column in self.columns:
            if column.modality not in places:
                arrays[column.name] = np.full((n, 1), np.nan if column.reading == "number" else "", column.dtype)
                continue
            place = places[column.modality][column.place]
            values, missing = held[place]
            name = place if labels is None else labels[place]
            arrays[column.name] = column.read(name, values, missing)
            if not column.gaps and (gap := missing & present[column.modality]).any():
                raise ValueError(
                    f"modality {column.modality!r}, row {gap.argmax()}: column {name!r} is missing, and others of "
                    "the modality are not; fill gaps first, e.g. with a SimpleImputer in the ModalityTransformer."
                )
        known.check_present(present)
        nothing = np.zeros(n, dtype=bool)
        there = present.keys() - known.held_out
        return arrays, {name: present[name] if name in there else nothing for name in known.infos}


def _cells(X: Any, places: set[int]) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """Values of some columns of a table, and which are missing."""
    few = _few(X) if X.shape[0] <= _FEW else None
    if few is None:
        return {i: cells(safe_indexing(X, i, axis=1)) for i in places}
    missing = missing_cells(few)
    return {i: (few[:, i], missing[:, i]) for i in places}


def _few(X: Any) -> np.ndarray | None:
    """A table of few rows as objects: one column after the other takes longer. None where that may lose digits."""
    if hasattr(X, "iloc"):
        # what a float32 stands for is lost by that
        return X.to_numpy(dtype=object) if all(d.kind != "f" or d == np.float64 for d in X.dtypes) else None
    if hasattr(X, "iter_rows") and "Float32" not in map(str, X.dtypes):
        values = np.empty(X.shape, dtype=object)
        for i, row in enumerate(X.iter_rows()):
            values[i] = row
        return values
    return None


def feeds(
    columns: Mapping[str, np.ndarray], present: Mapping[str, np.ndarray], infos: Mapping[str, BlockInfo]
) -> Iterator[tuple[slice, dict[str, np.ndarray]]]:
    """What a model reads of a table, some rows at a time."""
    n = len(next(iter(columns.values())))
    size = min(_ROWS, max(1, _NUMBERS // max(info.shape[0] for info in infos.values())))
    given = {**columns, **{f"{name}.present": mask for name, mask in present.items()}}
    for start in range(0, n, size):
        rows = slice(start, start + size)
        yield rows, {name: array[rows] for name, array in given.items()}
