"""Which cells of a table or column hold no value."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np


def is_missing(value: Any) -> bool:
    pandas = sys.modules.get("pandas")  # its marks can only be met if it was imported
    return (
        value is None
        or (isinstance(value, (float, np.floating, np.datetime64, np.timedelta64)) and bool(value != value))
        or (pandas is not None and (value is pandas.NA or value is pandas.NaT))
    )


def missing_cells(table: Any) -> np.ndarray:
    """Which cells of a table, shape (n, d), or of a column, shape (n,), hold no value."""
    if hasattr(table, "isna"):  # pandas
        return table.isna().to_numpy()
    if hasattr(table, "iter_columns"):  # a polars DataFrame
        return np.column_stack([missing_cells(column) for column in table.iter_columns()])
    if hasattr(table, "is_null"):  # a polars Series
        null = table.is_null().to_numpy()
        if table.dtype.is_float():
            return null | table.is_nan().fill_null(True).to_numpy()
        return null
    if table.dtype.kind == "O":
        return np.frompyfunc(is_missing, 1, 1)(table).astype(bool)
    if table.dtype.kind in "fcmM":
        return np.not_equal(table, table)
    return np.zeros(table.shape, dtype=bool)
