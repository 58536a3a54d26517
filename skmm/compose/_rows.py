"""Rows of a table that come one by one, as a service has them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import scipy.sparse as sp

from skmm._optional import import_optional
from skmm.blocks._forms import n_axes


def rows_as_frame(X: Any, columns: Collection[Any] | None, modalities: Collection[str] = ()) -> Any:
    """Rows that are given by the names of their columns, as a DataFrame; anything else as it is.

    One row is a dict or a Series, several are a list of dicts; a dict of columns is a table as well.

    Parameters
    ----------
    X : object
        What was given.
    columns : collection or None
        Names of the columns of the table of fit, None if it had none.
    modalities : collection of str
        Names of what a dict of blocks may hold instead.
    """
    if not columns:
        return X
    if n_axes(X) == 1 and hasattr(X, "index") and hasattr(X, "to_dict"):  # a Series of pandas
        return X if set(columns).isdisjoint(X.index) else _frame([X.to_dict()], columns)
    if isinstance(X, list | tuple) and len(X) and all(isinstance(row, Mapping) for row in X):
        return _frame([*X], columns)
    if not isinstance(X, Mapping) or sp.issparse(X) or set(columns).isdisjoint(X):
        return X
    cells = [_is_cell(value) for value in X.values()]
    if any(cells):
        return _frame([X], columns)
    # what holds nothing but modalities by their names are blocks
    return X if set(X) <= set(modalities) else _frame({k: list(v) for k, v in X.items()}, columns)


def _is_cell(value: Any) -> bool:
    """Whether a value of a dict can be nothing but one cell: it is no list or array."""
    if isinstance(value, str | bytes | bytearray | Mapping):
        return True
    return not (n_axes(value) if hasattr(value, "shape") else hasattr(value, "__len__"))


def _frame(rows: Any, columns: Collection[Any]) -> Any:
    """A DataFrame of rows or columns, in the order of fit: a dict has none that means anything."""
    frame = import_optional("pandas", extra="dataframe").DataFrame(rows)
    return frame[[*(c for c in columns if c in frame), *(c for c in frame if c not in columns)]]
