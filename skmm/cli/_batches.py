"""Tables of files, read some rows at a time: what a column is does not depend on where it is cut."""

from __future__ import annotations

import argparse
import codecs
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from skmm._optional import how_to_install, import_optional
from skmm.cli._errors import UsageError

_SCANNED = 100_000  # rows that are looked at at a time for what a column is


class TextTable:
    """A .csv or .tsv file, of which separator and encoding are given or found out.

    Parameters
    ----------
    path : Path
    args : Namespace
        With ``sep`` and ``encoding``.
    strings : collection of str
        Columns whose cells are read as they are written: codes keep their zeros in front, whatever else there is.

    Attributes
    ----------
    names : list of str
        Of the columns, without spaces around them.
    """

    def __init__(self, path: Path, args: argparse.Namespace, strings: Any = ()) -> None:
        import pandas as pd

        self.path = path
        encoding = _encoding(path, args.encoding)
        separator = _separator(path, args.sep, encoding)
        self._how: dict[str, Any] = {
            "sep": separator,
            "encoding": encoding,
            "skipinitialspace": separator != " ",
            "low_memory": False,
        }
        self.at = 0  # bytes that are read
        self._given = list(pd.read_csv(path, nrows=0, **self._how).columns)
        self.names = [_stripped(name) for name in self._given]
        self._types = {given: str for given in self._given if _stripped(given) in strings}

    def read(self) -> Any:
        """All of it, as a DataFrame."""
        import pandas as pd

        return pd.read_csv(self.path, dtype=self._types, **self._how).rename(columns=_stripped)

    def batches(self, columns: list[str] | None, rows: int) -> Iterator[Any]:
        """Some columns, by default all, of so many rows at a time, of the types that :meth:`read` gives them."""
        import pandas as pd

        chosen = [given for given in self._given if columns is None or _stripped(given) in columns]
        types = self._types | dict.fromkeys(self._mixed([c for c in chosen if c not in self._types]), str)
        with self.path.open("rb") as stream:
            for frame in pd.read_csv(stream, usecols=chosen, dtype=types, chunksize=rows, **self._how):
                self.at = stream.tell()
                yield frame.rename(columns=_stripped)

    def types(self, columns: list[str]) -> dict[str, Any]:
        """None are written in such a file."""
        return {}

    def kinds(self, columns: list[str] | None) -> dict[str, str]:
        """None are known before it is read."""
        return {}

    def _mixed(self, columns: list[str]) -> set[str]:
        """Columns that are strings as a whole, though parts of them may look like numbers."""
        import pandas as pd

        if not columns:
            return set()
        kinds: dict[str, set[str]] = {}
        for frame in pd.read_csv(self.path, usecols=columns, chunksize=_SCANNED, **self._how):
            for name in frame.columns[frame.notna().any()]:
                kinds.setdefault(name, set()).add(
                    "number" if frame[name].dtype.kind in "iuf" else str(frame[name].dtype)
                )
        return {name for name, found in kinds.items() if len(found) > 1 or not found <= {"number", "bool"}}


class ParquetTable:
    """A .parquet file; what is said of :class:`TextTable` holds, but its columns have types of their own."""

    def __init__(self, path: Path) -> None:
        parquet = import_optional("pyarrow.parquet", extra="dataframe")
        self.path, self.at = path, 0
        with parquet.ParquetFile(path) as file:  # which is not kept open: there may be thousands
            self._schema = file.schema_arrow
        self.names = list(self._schema.names)

    def batches(self, columns: list[str] | None, rows: int) -> Iterator[Any]:
        """Some columns, by default all, of so many rows at a time or fewer."""
        arrow, parquet = (import_optional(name, extra="dataframe") for name in ("pyarrow", "pyarrow.parquet"))
        size, done = self.path.stat().st_size, 0
        with parquet.ParquetFile(self.path) as file:
            for batch in file.iter_batches(rows, columns=columns):
                done += batch.num_rows
                self.at = size * done // max(1, file.metadata.num_rows)
                yield arrow.Table.from_batches([batch]).to_pandas()

    def types(self, columns: list[str]) -> dict[str, Any]:
        """Types of columns, of categories that of their names."""
        found = {name: self._schema.field(name).type for name in columns}
        return {
            name: getattr(kind, "value_type", kind) if _is_categorical(kind) else kind
            for name, kind in found.items()
        }

    def kinds(self, columns: list[str] | None) -> dict[str, str]:
        """What columns hold, in words; nothing of one without values."""
        return {name: _in_words(kind) for name, kind in self.types(columns or self.names).items()}


def _is_categorical(kind: Any) -> bool:
    return bool(import_optional("pyarrow.types", extra="dataframe").is_dictionary(kind))


def _in_words(kind: Any) -> str:
    types = import_optional("pyarrow.types", extra="dataframe")
    if types.is_null(kind):
        return ""
    if types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind) or types.is_boolean(kind):
        return "numbers"
    if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        return "strings"
    return "dates" if types.is_temporal(kind) else str(kind)


def open_table(path: Path, args: argparse.Namespace, strings: Any = ()) -> Any:
    """The table of a file by its ending, of which nothing is read yet but what it is made of.

    Raises
    ------
    UsageError
        If it cannot be read, as one that is still being written.
    """
    with readable(path):
        return ParquetTable(path) if path.suffix.lower() == ".parquet" else TextTable(path, args, strings)


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Errors of reading a file are said with its name."""
    try:
        yield
    except ImportError as error:
        raise UsageError(
            f"reading {path.suffix} files needs more packages: {how_to_install('dataframe')}."
        ) from error
    except (ValueError, OSError) as error:
        raise UsageError(f"cannot read {path}: {error}") from error


def _stripped(name: Any) -> Any:
    return name.strip() if isinstance(name, str) else name


def _encoding(path: Path, given: str | None) -> str:
    from skmm.files._csv import find_encoding

    if given is None:
        found = find_encoding(path)
        if not found.startswith("utf"):
            print(f"skmm: {path} is not UTF-8, and read as {found}; --encoding says another.", file=sys.stderr)
        return found
    try:
        codecs.lookup(given)
    except LookupError as error:
        raise UsageError(f"--encoding {given} is none that Python knows; such as utf-8, cp1252.") from error
    return given


def _separator(path: Path, given: str | None, encoding: str) -> str:
    from skmm.files._csv import find_separator

    separator = {"tab": "\t", "\\t": "\t"}.get(given or "", given)
    if separator is None:
        return "\t" if path.suffix.lower() == ".tsv" else find_separator(path, encoding)
    if len(separator) != 1 or separator in '\r\n"':
        raise UsageError(f"--sep takes one character, or 'tab'; got {given!r}.")
    return separator
