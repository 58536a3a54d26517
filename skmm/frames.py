"""What the columns of a DataFrame hold, and which transformer makes a modality of them."""

from __future__ import annotations

import datetime
import os
import re
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sklearn.utils import _safe_indexing

from skmm._sources import check_folder, is_encoded, unpacked
from skmm.cells import (
    DAY_FIRST,
    MONTH_FIRST,
    YEAR_LAST,
    ColumnTfidf,
    as_array,
    as_date,
    as_floats,
    cells,
    date_names,
    dates,
    labels,
    listed,
    numbers,
    short,
    stacked,
    texts,
)
from skmm.spec import unknown

# Of strings that come again and again no more than this many are categories of their own.
_MAX_CATEGORIES = 40
_PROBED = 5, 50  # files, evenly spaced, that are tried until one can be read: these first, then more
# one word of these characters, different in every row, names the row
_CODE = re.compile(r"[\x21-\x7e]{1,64}")
_ID_NAME = re.compile(r"(?i:(^|[_\W])(id|uuid|guid|index|key|row)$)|[a-z](Id|ID|Key)$")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}([T ]|$)")
_NUMBER = re.compile(r"\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*")
_LEADING_ZERO = re.compile(r"\s*[-+]?0\d")  # of a code: a number would not have it
_ODD = 0.1  # strings of which no more than this share are no numbers are numbers with faults
_PATH = re.compile(r"[^\s].*[/\\][^/\\]*\.[A-Za-z]\w{0,4}")
_ADDRESS = re.compile(r"[A-Za-z][\w+.-]*://")
_EXTENSIONS = {
    "image": (
        *("jpg", "jpeg", "jpe", "jfif", "png", "apng", "webp", "bmp", "gif", "tif", "tiff", "ppm", "pgm", "jp2"),
        *("avif", "heic", "heif"),
    ),
    "audio": ("wav", "flac", "ogg", "mp3", "oga", "aiff", "aif", "opus", "m4a", "aac", "mka", "weba", "wma"),
    "video": ("mp4", "mkv", "avi", "webm", "mov", "m4v", "mpg", "mpeg"),
}
_KIND_OF = {extension: kind for kind, extensions in _EXTENSIONS.items() for extension in extensions}
# sound that libsndfile does not read; PyAV does, as the sound of videos
_SOUNDTRACKS = {"m4a", "aac", "mka", "weba", "wma"}

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


def _soundtrack() -> Any:
    from skmm.preprocessing import LogMel, VideoAudio

    return make_pipeline(VideoAudio(), LogMel())


def _video() -> Any:
    from skmm.preprocessing import VideoFrames

    return VideoFrames()


def _text() -> Any:
    return ColumnTfidf(sublinear_tf=True)


def _characters() -> Any:
    return ColumnTfidf(sublinear_tf=True, analyzer="char", ngram_range=(1, 2))


_KINDS = {
    "number": _Kind("SimpleImputer + StandardScaler"),
    "category": _Kind("OneHotEncoder"),
    **dict.fromkeys(("date", DAY_FIRST, MONTH_FIRST), _Kind("year, and places in year, week and day")),
    "text": _Kind("TfidfVectorizer", _text),
    "characters": _Kind("TfidfVectorizer of characters", _characters),
    "image": _Kind("ImageLoader", _image),
    "audio": _Kind("AudioLoader + LogMel", _audio),
    "video": _Kind("VideoFrames", _video),
    "soundtrack": _Kind("VideoAudio + LogMel", _soundtrack),
    "array": _Kind("stacked", lambda: FunctionTransformer(stacked)),
    "sequence": _Kind("passed on", lambda: FunctionTransformer(listed)),
    "drop": _Kind("dropped"),
}
_FILES = ("image", "audio", "video", "soundtrack")


@dataclass(frozen=True)
class Loading:
    """What loaders are told: what unreadable files are, where relative paths start, and where files must lie."""

    errors: str = "raise"
    base_dir: Any = None
    within: Any = None

    def made(self, kind: str) -> Any:
        """The transformer of a modality of one column."""
        made = _KINDS[kind].make()  # type: ignore[misc]  # only kinds of the table make none, and never come here
        told = {name: getattr(self, name.rpartition("__")[2], None) for name in made.get_params()}
        return made.set_params(**{name: value for name, value in told.items() if value is not None})

    def placed(self, transformer: Any) -> Any:
        """A transformer that is given; of its loaders, those that say nothing of it know where files lie."""
        params = transformer.get_params() if hasattr(transformer, "get_params") else {}
        loaders = [name.removesuffix("base_dir") for name in params if name.rpartition("__")[2] == "base_dir"]
        told = {
            f"{loader}{name}": getattr(self, name)
            for loader in loaders
            if params[f"{loader}base_dir"] is None and params.get(f"{loader}within") is None
            for name in ("base_dir", "within")
        }
        return clone(transformer).set_params(**told) if told else transformer


@dataclass(frozen=True)
class Found:
    """What a column holds, and why that is believed; ``useless`` says why nothing can be learned from it."""

    kind: str
    why: str
    useless: str = ""


def find_kind(name: Any, column: Any, loading: Loading = Loading()) -> Found:
    """Kind of a column, by its type and its content.

    Raises
    ------
    ValueError
        If it mixes types, or its cells are of a type that no transformer reads, or look like files of which none
        can be read; names the column and a row.
    """
    dtype = str(getattr(column, "dtype", "object"))
    if dtype.startswith("Struct") and not _family_of(dict.fromkeys(field.name for field in column.dtype.fields)):
        raise ValueError(
            f"column {name!r} is a {dtype}: make columns of its fields (unnest), or {_ways_out(name)}."
        )
    try:
        values, missing = cells(column)
    except Exception as error:  # of a type that numpy lacks, whatever the table's package raises
        raise ValueError(
            f"column {name!r} of type {dtype} is nothing that numpy reads ({error}); cast it, or {_ways_out(name)}."
        ) from error
    there, rows = values[~missing], np.flatnonzero(~missing)
    if not len(there):
        return Found("drop", "no cell has a value", "all its cells are missing")
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
        return _array(name, there, rows, loading)
    if family == "bytes":
        return _probed(name, _FILES, there, f"its cells are {type(there[0]).__name__} objects", loading)
    if family in _FILES:
        return _probed(name, [family], there, f"its cells are {type(there[0]).__name__} objects", loading)
    if family in ("number", "duration"):
        return _few(there, missing, _number(name, as_floats(name, values, rows), f"its cells are {family}s"))
    if family == "boolean":
        return _few(there, missing, Found("category", "its cells are True and False"))
    if family == "date":
        return _few(there, missing, Found("date", "its cells are dates"))
    return _strings(name, [os.fspath(cell) for cell in there], missing, loading)


def _ways_out(name: Any) -> str:
    return f"say what it is, e.g. from_frame(df, {{{name!r}: 'category'}}), or {{{name!r}: 'drop'}}"


def _family(name: Any, values: np.ndarray, missing: np.ndarray) -> str:
    """What the cells of a column of objects have in common."""
    rows = np.flatnonzero(~missing)
    families = [_family_of(values[row]) for row in rows]
    odd = next((i for i, family in enumerate(families) if family != families[0] or not family), None)
    if odd is not None:
        both = [f"{type(values[row]).__name__} in row {row} ({short(values[row])})" for row in rows[[0, odd]]]
        what = f"mixes {' and '.join(both)}" if families[odd] else f"holds {both[1]}, which no transformer reads"
        raise ValueError(f"column {name!r} {what}; {_ways_out(name)}")
    return families[0]


def _family_of(cell: Any) -> str:
    if isinstance(cell, (str, os.PathLike)):
        return "string"
    if isinstance(cell, (bool, np.bool_)):
        return "boolean"
    if isinstance(cell, (Real, Decimal)):
        return "number"
    if isinstance(cell, (datetime.timedelta, np.timedelta64)):
        return "duration"
    if isinstance(cell, (datetime.date, datetime.time, np.datetime64)):
        return "date"
    if isinstance(cell, (bytes, bytearray, memoryview)):
        return "bytes"
    if type(cell).__module__.startswith("PIL."):
        return "image"
    if isinstance(cell, tuple) and len(cell) == 2 and isinstance(cell[0], np.ndarray):
        return "audio"  # a waveform and its sample rate
    if isinstance(cell, Mapping) and unpacked(cell) is not cell:  # as Hugging Face's data sets have files
        return "audio" if "array" in cell else "bytes"
    if isinstance(cell, (list, tuple, np.ndarray)) and len(cell) and all(_is_picture(frame) for frame in cell):
        return "video"  # its frames
    if isinstance(cell, (list, tuple, np.ndarray)) or hasattr(cell, "__array__"):
        return "array"
    return ""


def _is_picture(frame: Any) -> bool:
    """Whether what stands in a list is the path or the content of a picture, or one itself."""
    if isinstance(frame, (str, os.PathLike)):
        return is_encoded(frame) or _KIND_OF.get(_extension(os.fspath(frame))) == "image"
    return _family_of(frame) in ("bytes", "image")


def _few(there: np.ndarray, missing: np.ndarray, found: Found) -> Found:
    """Of a column with one value for all rows, that it is useless."""
    if found.useless or len(set(there.tolist())) > 1:
        return found
    if not missing.any():
        return Found(found.kind, found.why, f"all its cells are {short(there[0])}")
    return Found("category", f"{found.why}, with one value {short(there[0])}: what tells is whether it is missing")


def _number(name: Any, there: np.ndarray, why: str) -> Found:
    whole = there.dtype.kind in "iu" or (there.dtype.kind == "f" and bool((there == np.floor(there)).all()))
    if whole and len(there) > 2:
        distinct = np.unique(there)
        if len(distinct) == len(there):
            named = bool(_ID_NAME.search(str(name)))
            if (np.diff(there) == 1).all() and (named or there[0] in (0, 1)):
                return Found("number", why, "it counts the rows")
            if named:
                return Found("number", why, "it names each row by a number of its own")
    return Found("number", why)


def _array(name: Any, there: np.ndarray, rows: np.ndarray, loading: Loading) -> Found:
    arrays = []
    for row, cell in zip(rows, there, strict=True):
        try:
            array = as_array(cell)
        except ValueError:  # lists of lists of unequal length
            array = np.empty(1, dtype=object)
        if array.dtype.kind not in "biuf":
            raise ValueError(f"column {name!r}, row {row}: {short(cell)} is no array of numbers; {_ways_out(name)}")
        if not array.size:
            raise ValueError(
                f"column {name!r}, row {row}: {short(cell)} is empty; mark what is missing with None, or "
                f"{_ways_out(name)}"
            )
        arrays.append(array)
    shapes = [array.shape for array in arrays]
    if len(set(shapes)) > 1 and all(array.dtype == np.uint8 and array.ndim == 3 for array in arrays):
        return _probed(name, ["image"], there, f"its cells are pictures of {len(set(shapes))} shapes", loading)
    if len(set(shapes)) == 1:
        return Found("array", f"its cells are arrays of shape {shapes[0]}")
    return Found("sequence", f"its cells are arrays of {len(set(shapes))} shapes, such as {shapes[0]}")


def _strings(name: Any, strings: list[str], missing: np.ndarray, loading: Loading) -> Found:
    distinct = set(strings)
    there = np.array(strings, dtype=object)
    found = _files(name, strings, loading) or _written_numbers(name, strings, missing)
    if found is not None:
        return _few(there, missing, found) if found.kind == "number" else found
    if all(_DATE.match(cell) for cell in strings) and _are_dates(distinct):
        return _few(there, missing, Found("date", "its cells are dates, year-month-day"))
    order = _order_of_dates(distinct)
    if order is not None and _are_dates(distinct, order):
        return _few(there, missing, Found(order, f"its cells are dates, {order}"))
    found = _words(strings)
    if order is None and _are_dates(distinct, DAY_FIRST) and _are_dates(distinct, MONTH_FIRST):
        why = f"dates, but is {strings[0]!r} day or month first: say {DAY_FIRST!r} or {MONTH_FIRST!r}"
        return _few(there, missing, Found("characters" if found.useless else found.kind, why))
    if found.useless or found.kind in ("text", "characters"):
        _refuse_paths(name, strings, loading)
    return _few(there, missing, found) if len(distinct) == 1 else found


def _words(strings: list[str]) -> Found:
    """What strings are that are no files, numbers or dates."""
    n, distinct = len(strings), set(strings)
    if len(distinct) == 1:
        return Found("category", "its cells are strings")
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


def _extension(cell: str) -> str:
    cell = cell.strip()
    path = re.split(r"[?#]", cell)[0] if _ADDRESS.match(cell) else cell
    return os.path.splitext(path)[1][1:].lower()


def _files(name: Any, strings: list[str], loading: Loading) -> Found | None:
    """The kind of file that at least half of the cells which say anything are, by their extension."""
    said = [cell for cell in strings if cell.strip()]
    contents = [cell for cell in said if is_encoded(cell)]
    if contents and 2 * len(contents) >= len(said):
        return _probed(name, _FILES, contents, f"{len(contents)} of {len(said)} cells are files in base64", loading)
    extensions = [_extension(cell) for cell in said]
    kinds = Counter(_KIND_OF[ext] for ext in extensions if ext in _KIND_OF)
    if not said or 2 * kinds.total() < len(said):
        return None
    (kind, count), *others = kinds.most_common()
    if 2 * count < len(said) or (others and others[0][1] == count):
        both = [kind, others[0][0]]
        a, b = (said[[_KIND_OF.get(ext) for ext in extensions].index(each)] for each in both)
        raise ValueError(f"column {name!r} mixes {' and '.join(both)} files ({a!r}, {b!r}); {_ways_out(name)}")
    own = [cell for cell, ext in zip(said, extensions, strict=True) if _KIND_OF.get(ext) == kind]
    known = sorted({_extension(cell) for cell in own})
    why = f"its cells end in .{', .'.join(known)}"
    if count < len(said):
        why = f"{count} of {len(said)} cells end in .{', .'.join(known)}"
    return _probed(name, ["soundtrack" if _SOUNDTRACKS & set(known) else kind], own, why, loading)


def _refuse_paths(name: Any, strings: list[str], loading: Loading) -> None:
    """Raise if strings are paths of files that nothing here reads: what they name would be lost."""
    paths = [cell for cell in strings if _PATH.fullmatch(cell.strip()) and not _ADDRESS.match(cell)]
    sample = [strings[place] for place in _spaced(len(strings), _PROBED[0])]
    if 2 * len(paths) >= len(strings) or all(
        os.path.isfile(os.path.join(loading.base_dir or "", cell)) for cell in sample
    ):
        example = paths[0] if paths else sample[0]
        raise ValueError(
            f"column {name!r} looks like paths of files, such as {example!r}, of which no transformer is known; "
            f"name the kind of file ({', '.join(map(repr, _FILES))}) or a transformer of your own, or "
            f"{_ways_out(name)}."
        )


def _written_numbers(name: Any, strings: list[str], missing: np.ndarray) -> Found | None:
    """Numbers that are written as strings."""
    odd = [i for i, cell in enumerate(strings) if not _NUMBER.fullmatch(cell)]
    if len(odd) > _ODD * len(strings) or any(_LEADING_ZERO.match(cell) for cell in strings):
        return None
    if odd:
        row = np.flatnonzero(~missing)[odd[0]]
        raise ValueError(
            f"column {name!r} holds numbers, written as strings, in all rows but {len(odd)}: row {row} has "
            f"{short(strings[odd[0]])}. Correct it or mark it as missing, or {_ways_out(name)}."
        )
    return _number(name, np.array(strings, dtype=np.float64), "its cells are numbers, written as strings")


def _order_of_dates(strings: set[str]) -> str | None:
    """Whether day or month comes first in dates whose year is last, where a day above 12 tells."""
    parts = [YEAR_LAST.fullmatch(cell) for cell in strings]
    days = {DAY_FIRST: 1, MONTH_FIRST: 3}
    told = [order for order, place in days.items() if any(p is not None and int(p[place]) > 12 for p in parts)]
    return told[0] if len(told) == 1 else None


def _are_dates(strings: set[str], order: str | None = None) -> bool:
    if order and not all(YEAR_LAST.fullmatch(cell) for cell in strings):
        return False
    try:
        return all(as_date(cell, order) is not None for cell in strings)
    except ValueError:
        return False


def _spaced(n: int, n_wanted: int) -> list[int]:
    """Evenly spaced places, the first and the last among them."""
    return list(dict.fromkeys(np.linspace(0, n - 1, n_wanted).round().astype(int).tolist()))


def _probed(name: Any, kinds: Sequence[str], files: Any, why: str, loading: Loading) -> Found:
    """The first of some kinds as which a file can be read, of a few over the whole column, then of more."""
    loaders: dict[str, Any] = {kind: replace(loading, errors="raise").made(kind) for kind in kinds}
    errors = []
    places = list(dict.fromkeys(place for n in _PROBED for place in _spaced(len(files), n)))
    for place in places:
        for kind, made in loaders.items():
            loader = made[0] if isinstance(made, Pipeline) else made
            try:
                loader.fit_transform([files[place]])
            except ValueError as error:
                errors.append(str(error).partition(": ")[2])
            except ImportError as error:
                if len(kinds) == 1:
                    raise
                errors.append(f"{error}.")
            else:
                return Found(kind, f"{why}, and one that was tried can be read")
    raise ValueError(
        f"column {name!r} looks like {' or '.join(kinds)} files ({why}), but none of the {len(places)} that were "
        f"tried can be read: {errors[0]} Otherwise {_ways_out(name)}."
    )


# -- modalities ----------------------------------------------------------------------------------------------------


def _table(by_kind: Mapping[str, list[Any]]) -> ColumnTransformer:
    """One transformer for columns of numbers, categories and dates, and for texts that share their modality."""
    from sklearn.impute import SimpleImputer  # brings neighbours, which nothing else here needs

    impute = SimpleImputer(keep_empty_features=True)
    one_hot = OneHotEncoder(
        max_categories=_MAX_CATEGORIES, handle_unknown="infrequent_if_exist", sparse_output=False
    )
    steps = {
        "number": make_pipeline(_reading(numbers), impute, StandardScaler()),
        "category": make_pipeline(_reading(labels), one_hot),
    }
    for kind, order in {"date": None, DAY_FIRST: DAY_FIRST, MONTH_FIRST: MONTH_FIRST}.items():
        read = FunctionTransformer(dates, feature_names_out=date_names, kw_args={"order": order})
        steps[kind] = make_pipeline(read, impute, StandardScaler())
    parts = [(kind, step, by_kind[kind]) for kind, step in steps.items() if by_kind.get(kind)]
    words = [
        (modality_name(f"text_{column}", set()), make_pipeline(FunctionTransformer(texts), make()), column)
        for kind, make in {"text": _text, "characters": _characters}.items()
        for column in by_kind.get(kind, [])
    ]
    return ColumnTransformer([*parts, *words], sparse_threshold=bool(words))


def _reading(function: Callable[[Any], np.ndarray]) -> FunctionTransformer:
    return FunctionTransformer(function, feature_names_out="one-to-one")


_TABLE = ("number", "category", "date", DAY_FIRST, MONTH_FIRST)


def modality_of(frame: Any, columns: list[Any], loading: Loading = Loading()) -> tuple[Any, Any]:
    """A transformer of some columns as one modality, and the columns as it takes them.

    Raises
    ------
    ValueError
        If files or arrays are among several columns.
    """
    by_kind: dict[str, list[Any]] = {}
    for name in columns:
        column = _safe_indexing(frame, list(frame.columns).index(name), axis=1)
        by_kind.setdefault(find_kind(name, column, loading).kind, []).append(name)
    kinds = list(by_kind)
    if "drop" in kinds:
        raise ValueError(f"column {by_kind['drop'][0]!r} has no values.")
    if len(columns) == 1 and _KINDS[kinds[0]].make is not None:
        return loading.made(kinds[0]), columns[0]
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
    frame: Any, overrides: Mapping[Any, Any], reserved: set[str], loading: Loading = Loading()
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
    loading : Loading, optional
        What the loaders are told.
    """
    if loading.errors not in ("raise", "missing"):
        raise unknown("errors", loading.errors, ["raise", "missing"])
    check_folder("base_dir", loading.base_dir)
    check_folder("within", loading.within)
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
            found = find_kind(name, _safe_indexing(frame, place, axis=1), loading)
        else:
            found = Found(choice if isinstance(choice, str) else "given", "you say so")
        kind = "drop" if found.useless else found.kind
        made = kind
        if kind == "given":
            alone.append((name, (loading.placed(choice), column)))
            made = type(choice).__name__
        elif kind in _TABLE:
            table.setdefault(kind, []).append(column)
        elif kind != "drop":
            alone.append((name, (loading.made(kind), column)))
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
