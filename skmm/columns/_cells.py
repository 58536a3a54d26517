"""Columns of pandas, polars and numpy as numpy reads them: as numbers, categories, dates, texts and arrays."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer

from skmm._missing import missing_cells
from skmm._private import safe_indexing
from skmm._warnings import warn
from skmm.columns._tables import as_values
from skmm.columns._written import NumberForm, read_array, read_date

_DAY = np.timedelta64(1, "D")
_YEAR = 365.2425


def cells(column: Any) -> tuple[np.ndarray, np.ndarray]:
    """Values of a column, objects where numpy has no type for them, and which are missing."""
    missing = missing_cells(column)
    values = as_values(column)
    if values.ndim > 1:  # polars keeps arrays of one shape in one array
        rows = np.empty(len(values), dtype=object)
        rows[:] = list(values)
        values = rows
    return values, missing


def short(cell: Any) -> str:
    """A cell in a message, as a user would write it."""
    if isinstance(cell, np.generic):
        cell = str(cell) if cell.dtype.kind in "mM" else cell.item()
    text = repr(cell)
    return text if len(text) <= 40 else f"{text[:37]}..."


def columns_of(table: Any) -> Iterator[tuple[Any, np.ndarray, np.ndarray]]:
    """Name or position, values and missing cells of each column of a table."""
    names = list(getattr(table, "columns", range(table.shape[1])))
    for i, name in enumerate(names):
        yield name, *cells(safe_indexing(table, i, axis=1))


def as_floats(name: Any, values: np.ndarray, rows: np.ndarray, form: NumberForm | None = None) -> np.ndarray:
    """Cells of these rows as float64, durations in seconds; strings by the form in which they are written.

    Raises
    ------
    ValueError
        If one is no number; names the column and the row.
    """
    there, form = values[rows], form or NumberForm()
    if there.dtype.kind == "m":
        return there / np.timedelta64(1, "s")
    if there.dtype.kind not in "OUS" or form == NumberForm():
        try:
            return there.astype(np.float64)
        except (TypeError, ValueError):  # durations, placeholders, or what is no number
            there = there.astype(object)
    return np.array([_float(name, row, value, form) for row, value in zip(rows, there, strict=True)], np.float64)


def _float(name: Any, row: int, value: Any, form: NumberForm) -> float:
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if isinstance(value, np.timedelta64):
        return float(value / np.timedelta64(1, "s"))
    try:
        return form.read(value) if isinstance(value, str) else float(value)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"column {name!r}, row {row}: {short(value)} is no number {form}".rstrip() + "."
        ) from error


def numbers(table: Any, forms: Sequence[NumberForm] | None = None, errors: str = "raise") -> np.ndarray:
    """A table of numbers as float64, missing cells NaN, durations in seconds.

    ``forms`` are those in which the columns write numbers as strings, by default as Python does. With
    ``errors="missing"`` a cell that is no number is a missing one, with a warning.
    """
    out = np.full(table.shape, np.nan, order="F")
    for j, (name, values, missing) in enumerate(columns_of(table)):
        rows, form = np.flatnonzero(~missing), forms[j] if forms else None
        try:
            out[:, j] = _finite(name, values, rows, form)
        except ValueError:
            if errors == "raise":
                raise
            each = _Lenient(name)
            for row in rows.tolist():
                with each.reading(row):
                    out[row, j] = _finite(name, values, np.array([row]), form)[row]
            each.tell(len(rows))
    return out


def _finite(name: Any, values: np.ndarray, rows: np.ndarray, form: NumberForm | None) -> np.ndarray:
    """Cells of these rows as floats, the others NaN; none is infinite."""
    out = np.full(len(values), np.nan)
    out[rows] = as_floats(name, values, rows, form)
    if np.isinf(out).any():
        raise ValueError(f"column {name!r}, row {np.isinf(out).argmax()}: the number is infinite.")
    return out


class _Lenient:
    """Cells of a column that cannot be read, of which one warning tells."""

    def __init__(self, name: Any) -> None:
        self.name = name
        self.found: list[str] = []

    @contextlib.contextmanager
    def reading(self, row: int) -> Iterator[None]:
        """Read one cell, and go on where that cannot be done."""
        try:
            yield
        except (TypeError, ValueError) as error:
            self.found.append(str(error))

    def tell(self, n: int) -> None:
        """Tell how many of the cells that hold a value were not read."""
        if self.found:
            warn(f"{len(self.found)} of {n} cells of column {self.name!r} are taken as missing: {self.found[0]}")


def dates(table: Any, order: str | None = None, errors: str = "raise") -> np.ndarray:
    """A table of dates as numbers: years since 1970, and the places in year, week and day on a circle.

    With ``errors="missing"`` a cell that is no date is a missing one, with a warning.
    """
    parts = []
    for name, values, missing in columns_of(table):
        times = np.full(len(values), np.datetime64("NaT"), dtype="datetime64[us]")
        if values.dtype.kind == "M":
            times = values.astype("datetime64[us]")
        else:
            rows, each = np.flatnonzero(~missing).tolist(), _Lenient(name)
            for row in rows:
                with each.reading(row) if errors == "missing" else contextlib.nullcontext():
                    times[row] = _date(name, row, values[row], order)
            each.tell(len(rows))
        since = times - np.datetime64("1970-01-01")
        years = since / _DAY / _YEAR
        # the rest of whole days is exact: the same time of each day is the same number, which is then a constant
        week, day = (since % unit / unit for unit in (7 * _DAY, _DAY))
        turns = 2 * np.pi * np.stack([years % 1, week, day])
        parts += [years, *np.sin(turns), *np.cos(turns)]
    return np.stack(parts, axis=1)


def _date(name: Any, row: int, value: Any, order: str | None) -> np.datetime64:
    try:
        return as_date(value, order)
    except (TypeError, ValueError) as error:
        what = f"no date, {order}" if order else "no date"
        raise ValueError(f"column {name!r}, row {row}: {short(value)} is {what}.") from error


def date_names(transformer: Any, names: Sequence[str]) -> list[str]:
    """Names of what :func:`dates` gives."""
    circles = [f"{part}_{period}" for part in ("sin", "cos") for period in ("year", "week", "day")]
    return [f"{name}_{part}" for name in names for part in ("years", *circles)]


def as_date(value: Any, order: str | None = None) -> np.datetime64:
    """A date in UTC; a time of day is that of the first of January 1970.

    Parameters
    ----------
    value : str, date, datetime, time or datetime64
        A string as :func:`~skmm.columns._written.read_date` reads it.
    order : {"day/month/year", "month/day/year"}, optional
        How to read a string with the year last.
    """
    if isinstance(value, str):
        value = read_date(value, order)
        if value is None:
            return np.datetime64("NaT", "us")
    elif isinstance(value, datetime.time):
        value = datetime.datetime.combine(datetime.date(1970, 1, 1), value)
    elif not isinstance(value, (datetime.date, np.datetime64)):
        raise TypeError(f"{type(value).__name__} is no date")
    if getattr(value, "tzinfo", None) is not None:
        value = value.astimezone(datetime.UTC).replace(tzinfo=None)
    return np.datetime64(value, "us")


def texts(column: Any) -> list[str]:
    """A column of text that is but a part of a modality: a missing one is empty."""
    values, missing = cells(column)
    return ["" if gone else str(value) for value, gone in zip(values, missing, strict=True)]


class ColumnTfidf(TfidfVectorizer):
    """scikit-learn's TfidfVectorizer for a column of a table: a cell that is no text is named by its row."""

    def fit(self, raw_documents: Any, y: Any = None) -> ColumnTfidf:
        return super().fit(_checked_texts(raw_documents), y)

    def fit_transform(self, raw_documents: Any, y: Any = None) -> Any:
        return super().fit_transform(_checked_texts(raw_documents), y)

    def transform(self, raw_documents: Any) -> Any:
        return super().transform(_checked_texts(raw_documents))


def _checked_texts(column: Any) -> list[str]:
    values = list(column.to_numpy() if hasattr(column, "to_numpy") else column)
    row = next((i for i, value in enumerate(values) if not isinstance(value, str)), None)
    if row is not None:
        where = f"column {column.name!r}, row {row}" if hasattr(column, "name") else f"row {row}"
        raise ValueError(f"{where}: expected text (str), got {short(values[row])} ({type(values[row]).__name__}).")
    return values


def as_array(cell: Any) -> np.ndarray:
    """A cell as an array, one that is written as text too.

    An array of arrays, as tables of arrow have lists of lists, is one of more dimensions.

    Raises
    ------
    ValueError
        If it is text that is no array of numbers, or lists of unequal length.
    """
    if isinstance(cell, str):
        return read_array(cell)
    array = np.asarray(cell)
    return np.array([as_array(part) for part in array]) if array.dtype == object and array.ndim else array


def stacked(column: Any) -> np.ndarray:
    """Arrays of one shape, as one array."""
    arrays = _arrays(column)
    odd = next((i for i, array in enumerate(arrays) if array.shape != arrays[0].shape), None)
    if odd is not None:
        raise ValueError(f"row {odd} has shape {arrays[odd].shape}, the rows before it {arrays[0].shape}.")
    return np.stack(arrays)


def listed(column: Any) -> list[np.ndarray]:
    """Arrays of any length: sequences of numbers, also where all of them are whole, which Blocks takes for ids."""
    return [array.astype(np.float64) if array.dtype.kind in "biu" else array for array in _arrays(column)]


def token_ids(column: Any) -> list[np.ndarray]:
    """Arrays of ids of any length."""
    arrays = _arrays(column)
    odd = next((i for i, array in enumerate(arrays) if array.ndim != 1 or array.dtype.kind not in "iu"), None)
    if odd is not None:
        raise ValueError(
            f"row {odd}: expected a list of whole numbers, the ids of tokens, got {short(arrays[odd])}."
        )
    return arrays


def _arrays(column: Any) -> list[np.ndarray]:
    """Cells as arrays."""
    arrays = []
    for row, cell in enumerate(cells(column)[0]):
        try:
            arrays.append(as_array(cell))
        except ValueError as error:
            raise ValueError(f"row {row}: {short(cell)} is no array of numbers.") from error
    return arrays
