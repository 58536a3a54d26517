"""What a column of a DataFrame holds, by its type, its cells and the files that they name."""

from __future__ import annotations

import datetime
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np
from sklearn.pipeline import Pipeline

from skmm.blocks import RaggedArray, block_kind
from skmm.columns._cells import as_array, as_floats, cells, short
from skmm.columns._written import is_array, is_placeholder
from skmm.compose._findings import (
    Found,
    Reading,
    few,
    names_rows,
    plain_number,
    ways_out,
    words,
    written_dates,
    written_numbers,
)
from skmm.compose._kinds import DEFAULT_LOADING, FILES, TABLE, Loading
from skmm.files._sources import ADDRESS, KIND_OF, extension, is_encoded, unpacked

_PROBED = 5, 50  # files, evenly spaced, that are tried until one can be read: these first, then more
_PATH = re.compile(r"[^\s].*[/\\][^/\\]*\.[A-Za-z]\w{0,4}")
# sound that libsndfile does not read; PyAV does, as the sound of videos
_SOUNDTRACKS = {"m4a", "aac", "mka", "weba", "wma"}


def find_kind(name: Any, column: Any, loading: Loading = DEFAULT_LOADING) -> Found:
    """Kind of a column, by its type and its content.

    Raises
    ------
    ValueError
        If it mixes types, or its cells are of a type that no transformer reads, or look like files of which none
        can be read; names the column and a row.
    """
    dtype = str(getattr(column, "dtype", "object"))
    if dtype.startswith("Struct") and not _family_of(dict.fromkeys(field.name for field in column.dtype.fields)):
        raise ValueError(f"column {name!r} is a {dtype}: make columns of its fields (unnest), or {ways_out(name)}.")
    try:
        values, missing = cells(column)
    except Exception as error:  # of a type that numpy lacks, whatever the table's package raises
        raise ValueError(
            f"column {name!r} of type {dtype} is nothing that numpy reads ({error}); cast it, or {ways_out(name)}."
        ) from error
    there, rows = values[~missing], np.flatnonzero(~missing)
    if not len(there):
        return Found("drop", "", "all its cells are missing")
    kind = values.dtype.kind
    if kind == "c":
        raise ValueError(f"column {name!r} holds complex numbers; {ways_out(name)}")
    if dtype.lower().startswith(("category", "categorical", "enum")):
        declared = _declared(name, there, dtype)
        if declared is not None:
            return few(there, missing, declared)
    if kind == "M":
        return few(there, missing, Found("date", f"its type is {dtype}"))
    if kind == "b":
        return few(there, missing, Found("category", f"its type is {dtype}"))
    if kind in "iufm":
        return few(there, missing, plain_number(name, there, f"its type is {dtype}"))
    family = _family(name, values, missing)
    if family == "array":
        return _array(name, there, rows, loading)
    if family == "bytes":
        return _probed(name, FILES, there, f"its cells are {type(there[0]).__name__} objects", loading)
    if family in FILES:
        return _probed(name, [family], there, f"its cells are {type(there[0]).__name__} objects", loading)
    if family in ("number", "duration"):
        return few(there, missing, plain_number(name, as_floats(name, values, rows), f"its cells are {family}s"))
    if family == "boolean":
        return few(there, missing, Found("category", "its cells are True and False"))
    if family == "date":
        return few(there, missing, Found("date", "its cells are dates"))
    return _strings(name, [os.fspath(cell) for cell in there], missing, loading)


def _declared(name: Any, there: np.ndarray, dtype: str) -> Found | None:
    """Of a column of categories whose cells are no strings or dates, that these name categories.

    Strings and dates are often stored as categories to save memory, which says nothing of them.
    """
    if there.dtype.kind == "M" or (there.dtype.kind == "O" and {*map(_family_of, there)} <= {"string", "date"}):
        return None
    found = Found("category", f"its type is {dtype}, of {type(there[0]).__name__}")
    if names_rows(name) and (there.dtype.kind in "iuf" or isinstance(there[0], Real)):
        return replace(found, useless=plain_number(name, as_floats(name, there, np.arange(len(there))), "").useless)
    return found


def _family(name: Any, values: np.ndarray, missing: np.ndarray) -> str:
    """What the cells of a column of objects have in common."""
    rows = np.flatnonzero(~missing)
    families = [_family_of(values[row]) for row in rows]
    odd = next((i for i, family in enumerate(families) if family != families[0] or not family), None)
    if odd is not None:
        both = [f"{type(values[row]).__name__} in row {row} ({short(values[row])})" for row in rows[[0, odd]]]
        what = f"mixes {' and '.join(both)}" if families[odd] else f"holds {both[1]}, which no transformer reads"
        raise ValueError(f"column {name!r} {what}; {ways_out(name)}")
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
        return is_encoded(frame) or KIND_OF.get(extension(os.fspath(frame))) == "image"
    return _family_of(frame) in ("bytes", "image")


def _array(name: Any, there: np.ndarray, rows: np.ndarray, loading: Loading, what: str = "arrays") -> Found:
    arrays = []
    for row, cell in zip(rows, there, strict=True):
        try:
            array = as_array(cell)
        except ValueError:  # lists of lists of unequal length
            array = np.empty(1, dtype=object)
        if array.dtype.kind not in "biuf":
            raise ValueError(f"column {name!r}, row {row}: {short(cell)} is no array of numbers; {ways_out(name)}")
        if not array.size:
            raise ValueError(
                f"column {name!r}, row {row}: {short(cell)} is empty; mark what is missing with None, or "
                f"{ways_out(name)}"
            )
        arrays.append(array)
    shapes = [array.shape for array in arrays]
    if len(set(shapes)) > 1 and all(array.dtype == np.uint8 and array.ndim == 3 for array in arrays):
        return _probed(name, ["image"], there, f"its cells are pictures of {len(set(shapes))} shapes", loading)
    if len(set(shapes)) == 1:
        return Found("array", f"its cells are {what} of shape {shapes[0]}")
    why = f"its cells are {what} of {len(set(shapes))} shapes, such as {shapes[0]}"
    if {array.ndim for array in arrays} == {1} and block_kind(RaggedArray.from_list(arrays)) == "tokens":
        return Found("tokens", f"{why}, of whole numbers: say 'sequence' if these are no ids")
    return Found("sequence", why)


def _strings(name: Any, strings: list[str], missing: np.ndarray, loading: Loading) -> Found:
    there = np.array(strings, dtype=object)
    found = _files(name, strings, loading)
    if found is not None:
        return found
    rows = np.flatnonzero(~missing)
    # what says that a value is unknown does not say what the others are
    said = [i for i, cell in enumerate(strings) if not is_placeholder(cell)]
    texts, rows_of = [strings[i] for i in said], rows[said]
    marks = sorted({strings[i].strip() for i in {*range(len(strings))} - {*said}})
    hindrances, doubtful = [], False
    for read in (written_numbers, _written_arrays, written_dates) if texts else ():
        found, hindrance = read(name, texts, rows_of)
        if found is None:
            hindrances += [hindrance] if hindrance else []
            doubtful |= bool(hindrance) and read is written_dates
        elif not marks:
            return few(there, missing, found)
        elif found.kind in TABLE and found.kind != "category":
            why = f"{found.why}; {len(strings) - len(said)} are missing ({', '.join(map(repr, marks))})"
            return few(np.array(texts, dtype=object), np.ones(1, dtype=bool), replace(found, why=why))
        else:
            hindrances.append(f"{found.why}, but for {marks[0]!r}")
    found = words(strings)
    if found.useless or found.kind in ("text", "characters"):
        _refuse_paths(name, strings, loading)
    if hindrances:
        hindrance = f"{hindrances[0]}: correct it, mark it as missing, or say what the column is"
        if found.useless:
            found = replace(found, useless=f"{found.useless}; {hindrance}")
        else:
            found = replace(found, why=f"{found.why}; {hindrance}", doubtful=doubtful)
    return few(there, missing, found) if len(set(strings)) == 1 else found


def _files(name: Any, strings: list[str], loading: Loading) -> Found | None:
    """The kind of file that at least half of the cells which say anything are, by their extension."""
    said = [cell for cell in strings if cell.strip()]
    contents = [cell for cell in said if is_encoded(cell)]
    if contents and 2 * len(contents) >= len(said):
        return _probed(name, FILES, contents, f"{len(contents)} of {len(said)} cells are files in base64", loading)
    extensions = [extension(cell) for cell in said]
    kinds = Counter(KIND_OF[ext] for ext in extensions if ext in KIND_OF)
    if not said or 2 * kinds.total() < len(said):
        return None
    (kind, count), *others = kinds.most_common()
    if 2 * count < len(said) or (others and others[0][1] == count):
        both = [kind, others[0][0]]
        a, b = (said[[KIND_OF.get(ext) for ext in extensions].index(each)] for each in both)
        raise ValueError(f"column {name!r} mixes {' and '.join(both)} files ({a!r}, {b!r}); {ways_out(name)}")
    own = [cell for cell, ext in zip(said, extensions, strict=True) if KIND_OF.get(ext) == kind]
    known = sorted({extension(cell) for cell in own})
    why = f"its cells end in .{', .'.join(known)}"
    if count < len(said):
        why = f"{count} of {len(said)} cells end in .{', .'.join(known)}"
    return _probed(name, ["soundtrack" if _SOUNDTRACKS & set(known) else kind], own, why, loading)


def _refuse_paths(name: Any, strings: list[str], loading: Loading) -> None:
    """Raise if strings are paths of files that nothing here reads: what they name would be lost."""
    paths = [cell for cell in strings if _PATH.fullmatch(cell.strip()) and not ADDRESS.match(cell)]
    sample = [strings[place] for place in _spaced(len(strings), _PROBED[0])]
    if 2 * len(paths) >= len(strings) or all(
        os.path.isfile(os.path.join(loading.base_dir or "", cell)) for cell in sample
    ):
        example = paths[0] if paths else sample[0]
        raise ValueError(
            f"column {name!r} looks like paths of files, such as {example!r}, of which no transformer is known; "
            f"name the kind of file ({', '.join(map(repr, FILES))}) or a transformer of your own, or "
            f"{ways_out(name)}."
        )


def _written_arrays(name: Any, strings: list[str], rows: np.ndarray) -> Reading:
    """Arrays of numbers that are written as strings."""
    odd = [i for i, cell in enumerate(strings) if not is_array(cell)]
    n = len(strings)
    if not odd:
        try:
            return _array(name, np.array(strings, dtype=object), rows, Loading(), "arrays, written as strings,"), ""
        except ValueError as error:
            return None, f"they look like arrays: {str(error).partition(';')[0]}"
    if 2 * len(odd) > n:
        return None, ""
    return None, f"{n - len(odd)} of {n} are arrays, row {rows[odd[0]]} has {short(strings[odd[0]])}"


def _spaced(n: int, n_wanted: int) -> list[int]:
    """Evenly spaced places, the first and the last among them."""
    return list(dict.fromkeys(np.linspace(0, n - 1, n_wanted).round().astype(int).tolist()))


def _probed(name: Any, kinds: Sequence[str], files: Any, why: str, loading: Loading) -> Found:
    """The first of some kinds as which a file can be read, of a few over the whole column, then of more."""
    # whether there is such a file is asked of the loader alone, not of what a user would have made of it
    plain = replace(loading, errors="raise", n_jobs=None, transformers={})
    loaders: dict[str, Any] = {kind: plain.made(kind) for kind in kinds}
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
        f"tried can be read: {errors[0]} Otherwise {ways_out(name)}."
    )
