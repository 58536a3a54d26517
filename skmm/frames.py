"""What the columns of a DataFrame hold, and which transformer makes a modality of them."""

from __future__ import annotations

import datetime
import os
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sklearn.utils import _safe_indexing

from skmm._columns import missing_cells
from skmm.spec import unknown

# Of strings that come again and again no more than this many are categories of their own.
_MAX_CATEGORIES = 40
_PROBED = 5  # files that are tried until one can be read
_DAY = np.timedelta64(1, "D")
_YEAR = 365.2425
# one word of these characters, different in every row, names the row
_CODE = re.compile(r"[\x21-\x7e]{1,64}")
_ID_NAME = re.compile(r"(?i:(^|[_\W])(id|uuid|guid|index|key)$)|[a-z](Id|ID|Key)$")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}([T ]|$)")
_EXTENSIONS = {
    "image": ("jpg", "jpeg", "png", "webp", "bmp", "gif", "tif", "tiff", "ppm", "pgm"),
    "audio": ("wav", "flac", "ogg", "mp3", "oga", "aiff", "aif", "opus"),
    "video": ("mp4", "mkv", "avi", "webm", "mov", "m4v", "mpg", "mpeg"),
}

# -- cells: a column of pandas, polars or numpy as numpy reads it --------------------------------------------------


def _cells(column: Any) -> tuple[np.ndarray, np.ndarray]:
    """Values of a column, objects where numpy has no type for them, and which are missing."""
    missing = missing_cells(column)
    values = column.to_numpy() if hasattr(column, "to_numpy") else np.asarray(column)
    if values.ndim > 1:  # polars keeps arrays of one shape in one array
        rows = np.empty(len(values), dtype=object)
        rows[:] = list(values)
        values = rows
    return values, missing


def _columns(table: Any) -> Iterator[tuple[Any, np.ndarray, np.ndarray]]:
    """Name or position, values and missing cells of each column of a table."""
    names = list(getattr(table, "columns", range(table.shape[1])))
    for i, name in enumerate(names):
        yield name, *_cells(_safe_indexing(table, i, axis=1))


def _numbers(table: Any) -> np.ndarray:
    """A table of numbers as float64, missing cells NaN, durations in seconds."""
    out = np.full(table.shape, np.nan, order="F")
    for j, (name, values, missing) in enumerate(_columns(table)):
        if values.dtype.kind == "m":
            values = values / np.timedelta64(1, "s")
        try:
            out[~missing, j] = values[~missing].astype(np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError(f"column {name!r} holds numbers, but {error}.") from error
        if np.isinf(out[:, j]).any():
            raise ValueError(f"column {name!r}, row {np.isinf(out[:, j]).argmax()}: the number is infinite.")
    return out


def _labels(table: Any) -> np.ndarray:
    """A table of categories as strings, missing cells None."""
    out = np.full(table.shape, None, dtype=object)
    for j, (_, values, missing) in enumerate(_columns(table)):
        out[~missing, j] = [str(value) for value in values[~missing].tolist()]
    return out


def _dates(table: Any) -> np.ndarray:
    """A table of dates as numbers: years since 1970, and the places in year, week and day on a circle."""
    parts = []
    for name, values, missing in _columns(table):
        times = np.full(len(values), np.datetime64("NaT"), dtype="datetime64[us]")
        if values.dtype.kind == "M":
            times = values.astype("datetime64[us]")
        else:
            for row in np.flatnonzero(~missing):
                try:
                    times[row] = _date(values[row])
                except (TypeError, ValueError) as error:
                    raise ValueError(f"column {name!r}, row {row}: {values[row]!r} is no date.") from error
        days = (times - np.datetime64("1970-01-01")) / _DAY
        turns = 2 * np.pi * np.stack([days / _YEAR, days / 7, days])
        parts += [days / _YEAR, *np.sin(turns), *np.cos(turns)]
    return np.stack(parts, axis=1)


def _date_names(transformer: FunctionTransformer, names: Sequence[str]) -> list[str]:
    circles = [f"{part}_{period}" for part in ("sin", "cos") for period in ("year", "week", "day")]
    return [f"{name}_{part}" for name in names for part in ("years", *circles)]


def _date(value: Any) -> np.datetime64:
    if isinstance(value, str):
        value = datetime.datetime.fromisoformat(value)
    elif not isinstance(value, (datetime.date, np.datetime64)):
        raise TypeError(f"{type(value).__name__} is no date")
    if getattr(value, "tzinfo", None) is not None:
        value = value.astimezone(datetime.UTC).replace(tzinfo=None)
    return np.datetime64(value, "us")


def _texts(column: Any) -> list[str]:
    """A column of text that is but a part of a modality: a missing one is empty."""
    values, missing = _cells(column)
    return ["" if gone else str(value) for value, gone in zip(values, missing, strict=True)]


def _stacked(column: Any) -> np.ndarray:
    """Arrays of one shape, as one array."""
    arrays = [np.asarray(cell) for cell in _cells(column)[0]]
    odd = next((i for i, array in enumerate(arrays) if array.shape != arrays[0].shape), None)
    if odd is not None:
        raise ValueError(f"row {odd} has shape {arrays[odd].shape}, the rows before it {arrays[0].shape}.")
    return np.stack(arrays)


def _listed(column: Any) -> list[np.ndarray]:
    """Arrays of any length."""
    return [np.asarray(cell) for cell in _cells(column)[0]]


# -- kinds of column -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Kind:
    """What is done with columns of a kind; ``make`` a modality of one column, those of the table share theirs."""

    transformer: str
    make: Callable[[], Any] | None = None


def _image() -> Any:
    # the loaders import torch and more, which a table without files need not wait for
    from skmm.preprocessing import ImageLoader

    return ImageLoader()


def _audio() -> Any:
    from skmm.preprocessing import AudioLoader, LogMel

    return make_pipeline(AudioLoader(), LogMel())


def _video() -> Any:
    from skmm.preprocessing import VideoFrames

    return VideoFrames()


def _text() -> Any:
    return TfidfVectorizer(sublinear_tf=True)


def _characters() -> Any:
    return TfidfVectorizer(sublinear_tf=True, analyzer="char", ngram_range=(1, 2))


_KINDS = {
    "number": _Kind("SimpleImputer + StandardScaler"),
    "category": _Kind("OneHotEncoder"),
    "date": _Kind("year, and places in year, week and day"),
    "text": _Kind("TfidfVectorizer", _text),
    "characters": _Kind("TfidfVectorizer of characters", _characters),
    "image": _Kind("ImageLoader", _image),
    "audio": _Kind("AudioLoader + LogMel", _audio),
    "video": _Kind("VideoFrames", _video),
    "array": _Kind("stacked", lambda: FunctionTransformer(_stacked)),
    "sequence": _Kind("passed on", lambda: FunctionTransformer(_listed)),
    "drop": _Kind("dropped"),
}
_FILES = tuple(_EXTENSIONS)


@dataclass(frozen=True)
class Found:
    """What a column holds, and why that is believed; ``useless`` says why nothing can be learned from it."""

    kind: str
    why: str
    useless: str = ""


def find_kind(name: Any, column: Any) -> Found:
    """Kind of a column, by its type and its content.

    Raises
    ------
    ValueError
        If it mixes types, or its cells are of a type that no transformer reads, or look like files of which none
        can be read; names the column and a row.
    """
    values, missing = _cells(column)
    there = values[~missing]
    n = len(there)
    if not n:
        return Found("drop", "no cell has a value", "all its cells are missing")
    dtype = str(getattr(column, "dtype", values.dtype))
    kind = values.dtype.kind
    if kind == "c":
        raise ValueError(f"column {name!r} holds complex numbers; {_ways_out(name)}")
    if dtype.lower().startswith(("category", "categorical", "enum")):
        return _few(there, missing, Found("category", f"its type is {dtype}"))
    if kind == "M":
        return _few(there, missing, Found("date", f"its type is {dtype}"))
    if kind == "b":
        return _few(there, missing, Found("category", f"its type is {dtype}"))
    if kind in "iufm":
        return _few(there, missing, _number(name, there, f"its type is {dtype}"))
    family = _family(name, values, missing)
    if family == "array":
        return _array(name, there, np.flatnonzero(~missing))
    if family in _FILES:
        return _probed(name, family, there, f"its cells are {type(there[0]).__name__} objects")
    if family == "number":
        return _few(there, missing, _number(name, there.astype(np.float64), "its cells are numbers"))
    if family == "boolean":
        return _few(there, missing, Found("category", "its cells are True and False"))
    if family == "date":
        return _few(there, missing, Found("date", "its cells are dates"))
    return _strings(name, [os.fspath(cell) for cell in there], missing)


def _ways_out(name: Any) -> str:
    return f"say what it is, e.g. from_frame(df, {{{name!r}: 'category'}}), or {{{name!r}: 'drop'}}"


def _family(name: Any, values: np.ndarray, missing: np.ndarray) -> str:
    """What the cells of a column of objects have in common."""
    rows = np.flatnonzero(~missing)
    families = [_family_of(values[row]) for row in rows]
    odd = next((i for i, family in enumerate(families) if family != families[0] or not family), None)
    if odd is not None:
        both = [f"{type(values[row]).__name__} in row {row} ({_short(values[row])})" for row in rows[[0, odd]]]
        what = f"mixes {' and '.join(both)}" if families[odd] else f"holds {both[1]}, which no transformer reads"
        raise ValueError(f"column {name!r} {what}; {_ways_out(name)}")
    return families[0]


def _family_of(cell: Any) -> str:
    if isinstance(cell, (str, os.PathLike)):
        return "string"
    if isinstance(cell, (bool, np.bool_)):
        return "boolean"
    if isinstance(cell, Real):
        return "number"
    if isinstance(cell, (datetime.date, np.datetime64)):
        return "date"
    if isinstance(cell, (bytes, bytearray)):
        return "image"  # the probe says whether they are
    if type(cell).__module__.startswith("PIL."):
        return "image"
    if isinstance(cell, tuple) and len(cell) == 2 and isinstance(cell[0], np.ndarray):
        return "audio"  # a waveform and its sample rate
    if isinstance(cell, (list, tuple, np.ndarray)) or hasattr(cell, "__array__"):
        return "array"
    return ""


def _short(cell: Any) -> str:
    text = repr(cell)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _few(there: np.ndarray, missing: np.ndarray, found: Found) -> Found:
    """Of a column with one value for all rows, that it is useless."""
    if found.useless or len(set(there.tolist())) > 1:
        return found
    if not missing.any():
        return Found(found.kind, found.why, f"all its cells are {_short(there[0])}")
    return Found("category", f"{found.why}, with one value {_short(there[0])}: what tells is whether it is missing")


def _number(name: Any, there: np.ndarray, why: str) -> Found:
    whole = there.dtype.kind in "iu" or (there.dtype.kind == "f" and bool((there == np.floor(there)).all()))
    if whole and len(there) > 2:
        distinct = np.unique(there)
        if len(distinct) == len(there):
            if (np.diff(there) == 1).all():
                return Found("number", why, "it counts the rows")
            if _ID_NAME.search(str(name)):
                return Found("number", why, "it names each row by a number of its own")
    return Found("number", why)


def _array(name: Any, there: np.ndarray, rows: np.ndarray) -> Found:
    arrays = [np.asarray(cell) for cell in there]
    odd = next((i for i, array in enumerate(arrays) if array.dtype.kind not in "biuf"), None)
    if odd is not None:
        raise ValueError(
            f"column {name!r}, row {rows[odd]}: {_short(there[odd])} is no array of numbers; {_ways_out(name)}"
        )
    shapes = [array.shape for array in arrays]
    if len(set(shapes)) > 1 and all(array.dtype == np.uint8 and array.ndim == 3 for array in arrays):
        return _probed(name, "image", there, f"its cells are pictures of {len(set(shapes))} shapes")
    if len(set(shapes)) == 1:
        return Found("array", f"its cells are arrays of shape {shapes[0]}")
    return Found("sequence", f"its cells are arrays of {len(set(shapes))} shapes, such as {shapes[0]}")


def _strings(name: Any, cells: list[str], missing: np.ndarray) -> Found:
    n, distinct = len(cells), set(cells)
    extensions = [os.path.splitext(cell)[1][1:].lower() for cell in cells]
    kinds = [next((kind for kind, known in _EXTENSIONS.items() if ext in known), None) for ext in extensions]
    if all(kinds):
        odd = next((i for i, kind in enumerate(kinds) if kind != kinds[0]), None)
        if odd is not None:
            raise ValueError(
                f"column {name!r} mixes {kinds[0]} and {kinds[odd]} files ({cells[0]!r}, {cells[odd]!r}); "
                f"{_ways_out(name)}"
            )
        kind = str(kinds[0])
        return _probed(name, kind, cells, f"its cells end in .{', .'.join(sorted(set(extensions)))}")
    if all(_DATE.match(cell) for cell in cells) and _are_dates(distinct):
        return _few(np.array(cells, dtype=object), missing, Found("date", "its cells are dates, year-month-day"))
    if len(distinct) == 1:
        return _few(np.array(cells, dtype=object), missing, Found("category", "its cells are strings"))
    if len(distinct) <= min(_MAX_CATEGORIES, max(2, n // 2)):
        return Found("category", f"{len(distinct)} strings in {n} cells")
    words = sum(len(cell.split()) for cell in distinct) / len(distinct)
    if words >= 2:
        return Found("text", f"{len(distinct)} strings of {words:.1f} words on average")
    codes = all(_CODE.fullmatch(cell) for cell in distinct)
    if codes and len(distinct) == n:
        return Found("category", "strings of one word", "it names each row by a string of its own")
    if codes:
        return Found("category", f"{len(distinct)} strings of one word in {n} cells")
    return Found("characters", f"{len(distinct)} strings without spaces between words")


def _are_dates(cells: set[str]) -> bool:
    try:
        return all(_date(cell) is not None for cell in cells)
    except ValueError:
        return False


def _probed(name: Any, kind: str, cells: Any, why: str) -> Found:
    """The kind, if one of the first files can be read as such."""
    loader = _KINDS[kind].make()  # type: ignore[misc]
    loader = loader[0] if isinstance(loader, Pipeline) else loader
    errors = []
    for cell in cells[:_PROBED]:
        try:
            loader.fit_transform([cell])
        except ValueError as error:
            errors.append(str(error).partition(": ")[2])
        else:
            return Found(kind, f"{why}, and the first that was tried can be read")
    raise ValueError(
        f"column {name!r} looks like {kind} files ({why}), but none of the first {len(errors)} can be read: "
        f"{errors[0]} Otherwise {_ways_out(name)}."
    )


# -- modalities ----------------------------------------------------------------------------------------------------


def _table(by_kind: Mapping[str, list[Any]]) -> ColumnTransformer:
    """One transformer for columns of numbers, categories and dates, and for texts that share their modality."""
    impute = SimpleImputer(keep_empty_features=True)
    one_hot = OneHotEncoder(
        max_categories=_MAX_CATEGORIES, handle_unknown="infrequent_if_exist", sparse_output=False
    )
    steps = {
        "number": make_pipeline(_reading(_numbers), impute, StandardScaler()),
        "category": make_pipeline(_reading(_labels), one_hot),
        "date": make_pipeline(FunctionTransformer(_dates, feature_names_out=_date_names), impute, StandardScaler()),
    }
    parts = [(kind, step, by_kind[kind]) for kind, step in steps.items() if by_kind.get(kind)]
    texts = [
        (modality_name(f"text_{column}", set()), make_pipeline(FunctionTransformer(_texts), make()), column)
        for kind, make in {"text": _text, "characters": _characters}.items()
        for column in by_kind.get(kind, [])
    ]
    return ColumnTransformer([*parts, *texts], sparse_threshold=bool(texts))


def _reading(function: Callable[[Any], np.ndarray]) -> FunctionTransformer:
    return FunctionTransformer(function, feature_names_out="one-to-one")


_TABLE = ("number", "category", "date")


def modality_of(frame: Any, columns: list[Any]) -> tuple[Any, Any]:
    """A transformer of some columns as one modality, and the columns as it takes them.

    Raises
    ------
    ValueError
        If files or arrays are among several columns.
    """
    by_kind: dict[str, list[Any]] = {}
    for name in columns:
        column = _safe_indexing(frame, list(frame.columns).index(name), axis=1)
        by_kind.setdefault(find_kind(name, column).kind, []).append(name)
    kinds = list(by_kind)
    if "drop" in kinds:
        raise ValueError(f"column {by_kind['drop'][0]!r} has no values.")
    make = _KINDS[kinds[0]].make
    if len(columns) == 1 and make is not None:
        return make(), columns[0]
    alone = next((kind for kind in kinds if kind not in (*_TABLE, "text", "characters")), None)
    if alone is not None:
        raise ValueError(f"column {by_kind[alone][0]!r} is {alone}, which is a modality of its own.")
    return _table(by_kind), columns


def modality_name(column: Any, taken: set[str]) -> str:
    """The column's name, changed where the parameters of a transformer have another use for it."""
    name = re.sub("_{2,}", "_", str(column)) or "column"
    while name in taken:
        name += "_"
    return name


def plan_frame(
    frame: Any, overrides: Mapping[Any, Any], reserved: set[str]
) -> tuple[list[tuple[str, Any, Any]], list[dict[str, Any]]]:
    """Modalities of a DataFrame: the transformers with their columns, and what was decided of each column.

    Parameters
    ----------
    frame : DataFrame
        The table.
    overrides : mapping of column to str or transformer
        What is known better: a kind of column, ``"drop"``, or the transformer itself.
    reserved : set of str
        Names that no modality may have.
    """
    if not hasattr(frame, "columns"):
        raise ValueError(f"columns are typed in a pandas or polars DataFrame, got {type(frame).__name__}.")
    names = list(frame.columns)
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"column {twice!r} stands in the table {names.count(twice)} times; columns are {names}.")
    for name, choice in overrides.items():
        if name not in names:
            raise unknown("column", name, names)
        if isinstance(choice, str) and choice not in _KINDS:
            raise unknown(f"kind of column {name!r}:", choice, _KINDS)
        if not isinstance(choice, str) and not (hasattr(choice, "fit") and hasattr(choice, "transform")):
            raise ValueError(
                f"column {name!r}: {choice!r} is neither a kind ({list(_KINDS)}) nor a transformer, which has fit "
                "and transform."
            )
    rows: list[dict[str, Any]] = []
    table: dict[str, list[Any]] = {}
    alone: list[tuple[Any, Any]] = []
    for place, name in enumerate(names):
        # names that are no strings are no way to select a column
        column = name if isinstance(name, str) else place
        choice = overrides.get(name)
        if choice is None:
            found = find_kind(name, _safe_indexing(frame, place, axis=1))
        else:
            found = Found(choice if isinstance(choice, str) else "given", "you say so")
        kind = "drop" if found.useless else found.kind
        made = kind
        if kind == "given":
            alone.append((name, (choice, column)))
            made = type(choice).__name__
        elif kind in _TABLE:
            table.setdefault(kind, []).append(column)
        elif kind != "drop":
            alone.append((name, (_KINDS[kind].make(), column)))  # type: ignore[misc]
        rows.append(
            {
                "column": name,
                "kind": found.kind,
                "modality": None,
                "transformer": _KINDS[made].transformer if made in _KINDS else made,
                "why": f"{found.why}; {found.useless}" if found.useless else found.why,
            }
        )
        if found.useless:
            warnings.warn(
                f"column {name!r} is dropped: {found.useless}. Keep it with from_frame(df, {{{name!r}: "
                f"{('category' if found.kind == 'drop' else found.kind)!r}}}).",
                stacklevel=3,
            )
    transformers: list[tuple[str, Any, Any]] = []
    modalities: dict[Any, str] = {}
    taken = set(reserved)
    if table:
        transformers.append(("table", _table(table), [c for columns in table.values() for c in columns]))
        taken.add("table")
        modalities = {c: "table" for columns in table.values() for c in columns}
    for name, (transformer, column) in alone:
        modality = modality_name(name, taken)
        taken.add(modality)
        transformers.append((modality, transformer, column))
        modalities[column] = modality
    if not transformers:
        raise ValueError(f"no column of {names} is left to learn from: each is dropped.")
    for place, row in enumerate(rows):
        row["modality"] = modalities.get(row["column"] if isinstance(row["column"], str) else place)
    return transformers, rows
