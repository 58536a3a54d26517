"""Tables: what counts as one, which of its columns are meant, and what they are as arrays."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Mapping
from numbers import Integral, Number
from typing import Any

import numpy as np
from sklearn.utils.validation import validate_data

from skmm._missing import is_missing, missing_cells
from skmm._optional import import_optional
from skmm._private import safe_indexing
from skmm._warnings import warn

Positions = int | list[int]  # of columns: one, to be handed over as 1-D, or those of a table


def check_table(X: Any) -> None:
    """Refuse what is no table with rows and columns, with a ValueError that names its type."""
    if not is_table(X) and not (isinstance(X, np.ndarray) and X.ndim == 2):
        shape = f" of shape {X.shape}" if hasattr(X, "shape") else ""
        raise ValueError(
            "ModalityTransformer reads a table: a pandas or polars DataFrame, a pyarrow Table, a Dataset of "
            f"Hugging Face, or a 2-D numpy array; got {type(X).__name__}{shape}."
        )


def as_frame(X: Any) -> Any:
    """A pyarrow Table, or a Dataset of Hugging Face, as a pandas DataFrame; anything else as it is.

    Pictures and sounds of a Dataset stay as they are stored, ``{"bytes": ..., "path": ...}``, and the numbers of a
    ``ClassLabel`` become the names that they stand for.

    Raises
    ------
    ValueError
        If X is several Datasets, or one whose rows can only be read in turn.
    ImportError
        If pandas is not installed.
    """
    package = type(X).__module__.partition(".")[0]
    names: dict[str, list[str]] = {}
    if package == "datasets":
        if isinstance(X, Mapping):
            raise ValueError(
                f"X is a {type(X).__name__} of {list(X)}: give one of these, such as X[{next(iter(X))!r}]."
            )
        if not hasattr(X, "with_format") or not hasattr(X, "__len__"):
            raise ValueError(
                f"X is a {type(X).__name__}, whose rows can only be read in turn; make a Dataset of those that are "
                "to be read: Dataset.from_list(list(X), features=X.features)."
            )
        names = {name: f.names for name, f in X.features.items() if type(f).__name__ == "ClassLabel"}
        X = X.with_format("arrow")[:]
    elif package != "pyarrow" or not hasattr(X, "to_pandas") or len(getattr(X, "shape", ())) != 2:
        return X
    pd = import_optional("pandas", extra="dataframe")
    # whole numbers among which some are missing would become floats, which do not hold all of them
    with_gaps = {
        column.type for column in X.columns if str(column.type).lstrip("u").startswith("int") and column.null_count
    }

    def integers(kind: Any) -> Any:
        return (
            pd.api.types.pandas_dtype(str(kind).replace("int", "Int").replace("u", "U"))
            if kind in with_gaps
            else None
        )

    frame = X.to_pandas(types_mapper=integers)
    for name, labels in names.items():
        frame[name] = [None if is_missing(code) or code < 0 else labels[code] for code in frame[name]]
    for name in frame.columns[[type(dtype).__module__.startswith("datasets.") for dtype in frame.dtypes]]:
        frame[name] = pd.Series(
            list(frame[name]), index=frame.index, dtype=object
        )  # of theirs no rows can be taken
    return frame


def is_table(X: Any) -> bool:
    """Whether X has named columns: a DataFrame of pandas or polars."""
    return len(getattr(X, "shape", ())) == 2 and hasattr(X, "columns")


def has_only_numbers(X: Any) -> bool:
    """Whether a table holds numbers, true, false and gaps alone: what categories say is no number."""
    return all(_is_numeric(safe_indexing(X, place, axis=1)) for place in range(X.shape[1]))


def _is_numeric(column: Any) -> bool:
    dtype = column.dtype
    if str(dtype).lower().startswith(("category", "categorical", "enum")):
        return False
    if getattr(dtype, "kind", "") in tuple("biufc") or (hasattr(dtype, "is_numeric") and dtype.is_numeric()):
        return True
    if str(dtype).lower() != "object":
        return str(dtype) == "Boolean"
    return all(isinstance(cell, Number | np.bool_) or is_missing(cell) for cell in as_values(column))


def column_names(X: Any) -> list[Any] | None:
    """Names of the columns, of any type; None of an array, which has none."""
    return list(X.columns) if hasattr(X, "columns") else None


def note_columns(estimator: Any, X: Any) -> None:
    """Set ``n_features_in_`` and, where the names of all columns are strings, ``feature_names_in_``."""
    if _are_mixed(X):  # which scikit-learn refuses, instead of taking the table for one without names
        X = np.broadcast_to(0.0, X.shape)
    validate_data(estimator, X=X, skip_check_array=True)


def warn_of_another_order(X: Any, **beside: Any) -> None:
    """Warn of what stands beside a table, by name, whose index has the labels of the table's in another order.

    Positions count, as everywhere in scikit-learn: who took y of a table that was shuffled means the labels.
    """
    pandas = sys.modules.get("pandas")  # without it nothing has an index
    if pandas is None or not isinstance(X, pandas.DataFrame):
        return
    for name, values in beside.items():
        if not isinstance(values, pandas.Series | pandas.DataFrame) or len(values) != len(X):
            continue
        labels, others = X.index, values.index
        if labels.equals(others) or not (labels.is_unique and others.is_unique and others.isin(labels).all()):
            continue
        row = int(np.not_equal(np.asarray(labels), np.asarray(others)).argmax())
        one, other = (index[row : row + 1].tolist()[0] for index in (labels, others))
        warn(
            f"the index of {name} has the labels of that of X in another order. Rows are matched by position: row "
            f"{row} is {one!r} in X and {other!r} in {name}. If the labels are "
            f"meant, give {name}.loc[X.index]; if not, {name}.to_numpy()."
        )


def select(X: Any, positions: Positions) -> Any:
    """Columns as a transformer of scikit-learn takes them: their names all strings, or none of them."""
    part = safe_indexing(X, positions, axis=1)
    if isinstance(positions, list) and _are_mixed(part):
        return part.set_axis([str(name) for name in part.columns], axis=1)
    return part


def _are_mixed(table: Any) -> bool:
    """Whether some names of columns are strings and others are not."""
    return len({isinstance(name, str) for name in column_names(table) or []}) == 2


def find_name(column: Any, names: list[Any] | None, where: str) -> int:
    """Position of the one column of a name.

    Raises
    ------
    ValueError
        If none or several have it; says ``where`` it is needed.
    """
    if names is None:
        raise ValueError(
            f"{where} names column {column!r}, but X is an array without column names. A tool that makes arrays of "
            "tables, such as BaggingClassifier, goes after the transformer: make_pipeline(transformer, "
            "FlatEstimator(BaggingClassifier(...)))."
        )
    found = [i for i, name in enumerate(names) if name == column]
    if len(found) != 1:
        fault = "which X lacks" if not found else f"which X has {len(found)} times"
        raise ValueError(f"{where} needs column {column!r}, {fault}; the columns of X are {names}.")
    return found[0]


def find_positions(columns: Any, names: list[Any] | None, n_columns: int, where: str) -> Positions:
    """Where the columns stand: an int for a single column, to be handed over as 1-D, else a list."""
    if isinstance(columns, str):
        return find_name(columns, names, where)
    if isinstance(columns, slice):
        start, stop = columns.start, columns.stop
        if isinstance(start, str):
            start = find_name(start, names, where)
        if isinstance(stop, str):  # names include their end, as in ColumnTransformer and in pandas
            stop = find_name(stop, names, where) + 1
        return list(range(n_columns)[slice(start, stop, columns.step)])
    single = isinstance(columns, Integral) and not isinstance(columns, bool)
    items = [columns] if single else list(columns) if hasattr(columns, "__iter__") else None
    if items is not None and all(isinstance(c, (bool, np.bool_)) for c in items):
        if items and len(items) != n_columns:
            raise ValueError(f"{where} has a mask of {len(items)} columns, X has {n_columns}.")
        return np.flatnonzero(items).tolist()
    if items is not None and all(isinstance(c, str) for c in items):
        return [find_name(c, names, where) for c in items]
    if items is not None and all(isinstance(c, Integral) and not isinstance(c, bool) for c in items):
        outside = [c for c in items if not -n_columns <= c < n_columns]
        if outside:
            raise ValueError(f"{where} needs column {outside[0]}, X has {n_columns} columns.")
        found = [range(n_columns)[c] for c in items]
        return found[0] if single else found
    raise ValueError(
        f"{where} has columns {columns!r}; valid are a name, a position, a list of names or of positions, a slice, "
        "a boolean mask, or a function of X that returns one of these."
    )


def find_columns(
    X: Any, positions: Mapping[str, Positions], known: list[Any] | None, n_columns: int
) -> dict[str, Positions]:
    """Where the columns of each modality stand in X: by name, or where they stood if X or fit's table has none.

    Modalities all of whose columns are gone are left out, with a warning.

    Parameters
    ----------
    X : table
        To be transformed.
    positions : dict of str to int or list of int
        Of the columns of each modality in the table of fit.
    known : list or None
        Names of the columns of that table.
    n_columns : int
        Their number.
    """
    names = column_names(X)
    if names is None or known is None:
        if X.shape[1] != n_columns:
            raise ValueError(
                f"X has {X.shape[1]} features, but ModalityTransformer is expecting {n_columns} features as input."
            )
        return dict(positions)
    wanted = {
        name: [known[place] for place in ([places] if isinstance(places, int) else places)]
        for name, places in positions.items()
    }
    absent = {name: columns for name, columns in wanted.items() if set(columns).isdisjoint(names)}
    if len(absent) == len(wanted):
        raise ValueError(f"X lacks the columns of every modality, {absent}; the columns of X are {names}.")
    for name, columns in absent.items():
        warn(
            f"modality {name!r} is left out: X has none of its columns, {columns}; the columns of X are {names}."
            f"{_renamed(columns, names, known)}"
        )
    for name, columns in wanted.items():
        lacking = [column for column in columns if column not in names]
        if lacking and name not in absent:
            others = f" (and {lacking[1:]})" if len(lacking) > 1 else ""
            raise ValueError(
                f"modality {name!r} needs column {lacking[0]!r}{others}, which X lacks; the columns of X are "
                f"{names}.{_renamed(lacking, names, known) or ' Give what is not known as a column of None.'}"
            )
    found = {
        name: [find_name(column, names, f"modality {name!r}") for column in columns]
        for name, columns in wanted.items()
        if name not in absent
    }
    return {name: places[0] if isinstance(positions[name], int) else places for name, places in found.items()}


def _renamed(lacking: list[Any], names: list[Any], known: list[Any]) -> str:
    """What to do about columns that seem to have other names than in fit; nothing of columns that are gone."""
    new = {str(name).strip().lower(): name for name in names if name not in known}
    found = {}
    for column in lacking:
        near = difflib.get_close_matches(str(column).strip().lower(), new, n=1, cutoff=0.8)
        if near:
            found[new.pop(near[0])] = column
    return f" Were they renamed? X.rename(columns={found}) gives them back the names of fit." if found else ""


def as_values(column: Any) -> np.ndarray:
    """A column or table as numpy has it, structs of polars as dicts."""
    if str(getattr(column, "dtype", "")).startswith("Struct"):
        values = np.empty(len(column), dtype=object)
        values[:] = column.to_list()
        return values
    return column.to_numpy() if hasattr(column, "to_numpy") else np.asarray(column)


def pass_through(table: Any) -> Any:
    """The values of a table or column, missing cells NaN; sequences if the cells of a column are such."""
    values = table.to_numpy() if hasattr(table, "to_numpy") else table
    if values.dtype != object:
        return values
    if values.ndim == 1:
        # of lists of equal length Blocks would make a dense array, which another batch need not be
        return [np.asarray(cell) if isinstance(cell, (list, tuple)) else cell for cell in values]
    return np.where(missing_cells(table), np.nan, values)
