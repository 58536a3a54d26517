"""Parts of tables on disk, of which a run of rows is read at a time: Parquet files, data sets of Hugging Face."""

from __future__ import annotations

import os
import re
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from skmm._checks import unknown
from skmm._optional import import_optional
from skmm._warnings import warn
from skmm.files._reading import check_regular, reading
from skmm.files._runs import Runs

_RUNS_HELD = 16  # that one run is that share of what is held: small groups are joined, larger ones are cut
_PROBED = 1024  # rows that say how many bytes a row takes
_OPEN_FILES = 4
_OPEN_GROUPS = 2  # row groups that are read in parts, of which the next part is likely to be wanted
_BUFFER = 2**20  # bytes of a column that are read from disk at a time
_INDEX = re.compile(r"__index_level_\d+__")  # what pandas stores its index as
_PLACES = re.compile(r"[\w.-]+=")  # a folder that says what a column of its files is


class _Run(NamedTuple):
    """Rows of some row groups of a file; ``first`` is the place of the first among those of the groups."""

    file: int
    groups: tuple[int, ...]
    first: int
    n_rows: int
    whole: bool


def parts_of(path: str) -> list[str]:
    """The files of a table: one, or those in a folder and the folders in it, by name.

    Names that begin with ``_`` or ``.``, as those of files that are being written and of notes do, or end in
    ``.tmp`` are left out.

    Raises
    ------
    ValueError
        If there is nothing at the path, nothing to read in the folder, or its folders say what a column is.
    """
    if not os.path.exists(path):
        raise ValueError(f"there is no file or folder {path!r}.")
    if not os.path.isdir(path):
        check_regular(path)
        return [path]
    found = []
    for part in sorted(Path(path).rglob("*")):
        inner = part.relative_to(path).parts
        if any(name.startswith(("_", ".")) for name in inner) or part.name.endswith(".tmp") or part.is_dir():
            continue
        if any(_PLACES.match(folder) for folder in inner[:-1]):
            raise ValueError(
                f"{str(part)!r}: the folder {inner[0]!r} holds the value of a column, which is in none of the "
                "files in it. Give one such folder, or write the table with that column in its files."
            )
        found.append(str(part))
    if not found:
        raise ValueError(
            f"the folder {path!r} has no Parquet file in it (names that begin with '_' or '.', or end in '.tmp', "
            "are left out)."
        )
    return found


class _Source:
    """A table on disk, by its ``schema`` and its ``runs`` of rows."""

    schema: Any
    runs: Runs

    @property
    def columns(self) -> list[str]:
        return list(self.schema.names)

    def __len__(self) -> int:
        return int(self.runs.starts[-1])


class ParquetSource(_Source):
    """A Parquet file, or a folder of such that have the same columns.

    Parameters
    ----------
    path : str
        The file or folder.
    columns : sequence of str or None
        Those that are read; None for all.
    held : int
        Bytes of rows that are held at a time.

    Raises
    ------
    ValueError
        If a part cannot be read, has other columns than the first, or the same of another type; if a column is not
        there, or of a type that is no modality. Names the file and the column.
    """

    def __init__(self, path: str, columns: Sequence[str] | None, held: int) -> None:
        self._parquet = import_optional("pyarrow.parquet", extra="dataframe")
        self.path = path
        self.files = parts_of(path)
        self._metadata, self._states = [], []
        for number, file in enumerate(self.files):
            with reading(file, "Parquet"):
                check_regular(file)
                metadata = self._parquet.read_metadata(file)
            schema = _without_index(metadata.schema.to_arrow_schema())
            if number == 0:
                self.schema = chosen_columns(schema, columns, file)
            else:
                _check_same(self.schema, schema, self.files[0], file, whole=columns is None)
            self._metadata.append(metadata)
            self._states.append(_state(file))
        self._open: OrderedDict[int, Any] = OrderedDict()
        self._streams: OrderedDict[Any, _Stream] = OrderedDict()  # by the run and columns that come next
        self.runs = self._cut(held)

    def _cut(self, held: int) -> Runs:
        """Row groups joined or cut to runs of a size."""
        widths = self._widths()
        most = held / _RUNS_HELD
        self._runs: list[_Run] = []
        stretches: list[int] = []
        sizes: list[float] = []
        largest = (0.0, 0, 0)

        def add(run: _Run, n_bytes: float, stretch: int) -> None:
            self._runs.append(run)
            stretches.append(stretch)
            sizes.append(n_bytes)

        for file, metadata in enumerate(self._metadata):
            joined: list[int] = []
            rows, size = 0, 0.0
            for group in range(metadata.num_row_groups):
                own, n_bytes = self._size(metadata.row_group(group), widths)
                if not own:
                    continue
                largest = max(largest, (n_bytes, file, group))
                if joined and size + n_bytes > most:
                    add(_Run(file, tuple(joined), 0, rows, True), size, _next(stretches))
                    joined, rows, size = [], 0, 0.0
                if n_bytes <= 2 * most:
                    joined.append(group)
                    rows, size = rows + own, size + n_bytes
                    continue
                stretch, step = _next(stretches), max(1, int(own * most / n_bytes))
                for first in range(0, own, step):
                    part = min(step, own - first)
                    add(_Run(file, (group,), first, part, False), n_bytes * part / own, stretch)
            if joined:
                add(_Run(file, tuple(joined), 0, rows, True), size, _next(stretches))
        if largest[0] > held:
            warn(
                f"row group {largest[2]} of {self.files[largest[1]]!r} takes about {largest[0] / 2**20:.1f} MiB, "
                f"more than the {held / 2**20:.1f} MiB that are held at a time, so its rows are shuffled "
                "within parts of it alone. If they are in an order that tells the target, shuffle them, or write "
                "smaller row groups: pyarrow.parquet.write_table(table, path, row_group_size=10_000)."
            )
        starts = np.concatenate([[0], np.cumsum([run.n_rows for run in self._runs], dtype=np.int64)])
        return Runs(starts.astype(np.int64), np.array(stretches, dtype=np.int64), np.array(sizes), float(held))

    def _widths(self) -> dict[str, float]:
        """Bytes that a row takes, by column, as the first rows say: what is written once may be said often."""
        for file, metadata in enumerate(self._metadata):
            if metadata.num_rows:
                with reading(self.files[file], "Parquet"):
                    batches = self._file(file).iter_batches(batch_size=_PROBED, columns=self.columns)
                    first = next(batches)
                return {name: first.column(name).nbytes / len(first) for name in self.columns}
        return dict.fromkeys(self.columns, 0.0)

    def _size(self, group: Any, widths: dict[str, float]) -> tuple[int, float]:
        """Rows of a row group, and what they take in memory."""
        stored = dict.fromkeys(widths, 0)
        for place in range(group.num_columns):
            column = group.column(place)
            name = _owner(column.path_in_schema, stored)
            if name is not None:
                stored[name] += column.total_uncompressed_size
        return group.num_rows, sum(max(stored[name], widths[name] * group.num_rows) for name in stored)

    # -- reading ---------------------------------------------------------------------------------------------

    def read(self, number: int, columns: Sequence[str]) -> Any:
        """The rows of a run, of some columns, as a table of pyarrow."""
        run = self._runs[number]
        with reading(self.files[run.file], "Parquet"):
            if run.whole:
                table = self._file(run.file).read_row_groups(list(run.groups), columns=list(columns))
            else:
                table = self._next_of_group(number, run, columns)
            if table.num_rows != run.n_rows:
                raise ValueError(f"there are {table.num_rows} rows where its footer promises {run.n_rows}")
        return table.select(list(columns))

    def _next_of_group(self, number: int, run: _Run, columns: Sequence[str]) -> Any:
        """A part of a row group, which is read from where the last one ended if it follows that."""
        stream = self._streams.pop((number, *columns), None)
        if stream is None:
            file = self._file(run.file)
            stream = _Stream(
                file.iter_batches(batch_size=run.n_rows, row_groups=list(run.groups), columns=list(columns))
            )
            stream.skip(run.first)
        table = stream.take(run.n_rows)
        while len(self._streams) >= _OPEN_GROUPS:
            self._streams.popitem(last=False)
        if number + 1 < len(self._runs) and self._runs[number + 1].first:
            self._streams[number + 1, *columns] = stream
        return table

    def _file(self, number: int) -> Any:
        """A file, open, as it was when it was first looked at."""
        if number in self._open:
            self._open.move_to_end(number)
            return self._open[number]
        path = self.files[number]
        if _state(path) != self._states[number]:
            raise ValueError(f"{path!r} has changed since the table was opened; open it again.")
        while len(self._open) >= _OPEN_FILES:
            self._open.popitem(last=False)  # a row group of it that is read in parts may still need it
        opened = self._parquet.ParquetFile(
            path, metadata=self._metadata[number], pre_buffer=False, buffer_size=_BUFFER
        )
        self._open[number] = opened
        return opened

    def close(self) -> None:
        """Close the files; they are opened again when rows are asked for."""
        while self._open:
            self._open.popitem()[1].close()
        self._streams.clear()

    def another(self) -> ParquetSource:
        """The same source, with files and a place in them of its own."""
        other = object.__new__(ParquetSource)
        other.__dict__.update(self.__dict__, _open=OrderedDict(), _streams=OrderedDict())
        return other

    def may_lack(self, number: int, column: str) -> bool:
        """Whether a run may have rows without a value in a column, by what the footer says."""
        run = self._runs[number]
        for group in run.groups:
            parts = self._metadata[run.file].row_group(group)
            for place in range(parts.num_columns):
                part = parts.column(place)
                if _owner(part.path_in_schema, [column]) is None:
                    continue
                flat = part.path_in_schema == column
                known = flat and part.is_stats_set and part.statistics.has_null_count
                if not known or part.statistics.null_count:
                    return self.schema.field(column).nullable
        return False

    def where(self, row: int) -> str:
        """The file of a row, and its place there, for messages."""
        number = int(self.runs.of(np.array([row]))[0])
        file = self._runs[number].file
        first = next(i for i, run in enumerate(self._runs) if run.file == file)
        return f"row {row - int(self.runs.starts[first])} of {self.files[file]!r}"

    def described(self) -> str:
        return repr(self.path)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": OrderedDict(), "_streams": OrderedDict(), "_parquet": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._parquet = import_optional("pyarrow.parquet", extra="dataframe")


class _Stream:
    """Rows of a row group, in their order, some at a time."""

    def __init__(self, batches: Iterator[Any]) -> None:
        self.batches, self.rest = batches, None

    def take(self, n_rows: int) -> Any:
        pa = import_optional("pyarrow", extra="dataframe")
        parts, found = [], 0
        while found < n_rows:
            part = self.rest if self.rest is not None else next(self.batches, None)
            if part is None:
                raise ValueError("a row group has fewer rows than its footer promises")
            taken = part.slice(0, n_rows - found)
            self.rest = part.slice(len(taken)) if len(taken) < len(part) else None
            parts.append(taken)
            found += len(taken)
        return pa.Table.from_batches(parts)

    def skip(self, n_rows: int) -> None:
        while n_rows > 0:
            n_rows -= self.take(min(n_rows, 10_000)).num_rows


class HuggingFaceSource(_Source):
    """A Dataset of Hugging Face, whose rows are memory-mapped.

    Parameters
    ----------
    dataset : datasets.Dataset
        One whose rows can be read in any order.
    columns : sequence of str or None
        Those that are read; None for all.
    held : int
        Bytes of rows that are held at a time.
    """

    def __init__(self, dataset: Any, columns: Sequence[str] | None, held: int) -> None:
        names = list(dataset.column_names)
        for name in columns or []:
            if name not in names:
                raise unknown("column", name, names)
        self._data = dataset.select_columns(list(columns or names)).with_format("arrow")
        features = self._data.features
        # as in the reader of tables in memory, the numbers of classes become their names
        self._labels = {n: f.names for n, f in features.items() if type(f).__name__ == "ClassLabel"}
        self.schema = chosen_columns(self._named(self._data[:0]).schema, columns, self.described())
        n = len(self._data)
        width = self._data[: min(n, _PROBED)].nbytes / max(1, min(n, _PROBED))
        step = max(1, int(held / _RUNS_HELD / max(width, 1.0)))
        starts = np.append(np.arange(0, n, step), n).astype(np.int64)
        self.runs = Runs(starts, np.arange(len(starts) - 1), np.diff(starts) * width, float(held))

    def _named(self, table: Any) -> Any:
        pa = import_optional("pyarrow", extra="dataframe")
        for name, labels in self._labels.items():
            if name in table.column_names:
                codes = table.column(name).to_pylist()
                cells = [None if code is None or code < 0 else labels[code] for code in codes]
                table = table.set_column(table.column_names.index(name), name, pa.array(cells, pa.string()))
        return table

    def read(self, number: int, columns: Sequence[str]) -> Any:
        """The rows of a run, of some columns, as a table of pyarrow."""
        start, stop = self.runs.starts[number : number + 2]
        return self._named(self._data.select_columns(list(columns))[int(start) : int(stop)]).select(list(columns))

    def close(self) -> None:
        """Nothing is open."""

    def another(self) -> HuggingFaceSource:
        """The same source."""
        return self

    def may_lack(self, number: int, column: str) -> bool:
        """Whether a run may have rows without a value in a column."""
        return True

    def where(self, row: int) -> str:
        """The place of a row, for messages."""
        return f"row {row} of {self.described()}"

    def described(self) -> str:
        return "the Dataset"


def check_dataset(dataset: Any) -> None:
    """Refuse what is no Dataset of Hugging Face, or one whose rows can only be read in turn."""
    package = type(dataset).__module__.partition(".")[0]
    if package != "datasets" or not hasattr(dataset, "select_columns") or isinstance(dataset, dict):
        hint = f": give one of its parts, such as X[{next(iter(dataset))!r}]" if isinstance(dataset, dict) else ""
        raise ValueError(f"expected a Dataset of Hugging Face, got {type(dataset).__name__}{hint}.")
    if not hasattr(dataset, "__len__"):
        raise ValueError(
            f"a {type(dataset).__name__} can only be read in turn, and training shuffles; save it as Parquet, "
            "and give the folder to from_parquet."
        )


# -- schemas -------------------------------------------------------------------------------------------------------

_VALID = (
    "valid are numbers, true and false, text, bytes, dates, times, categories (dictionary), lists of these, and "
    "files as Hugging Face has them (struct of bytes and path)"
)


def chosen_columns(schema: Any, columns: Sequence[str] | None, file: str) -> Any:
    """A schema of the columns chosen, each of a type that a modality can be made of."""
    pa = import_optional("pyarrow", extra="dataframe")
    names = list(schema.names)
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"column {twice[0]!r} stands in {file!r} {names.count(twice[0])} times.")
    for name in columns or []:
        if name not in names:
            raise unknown(f"column of {file!r}:", name, names)
    chosen = pa.schema([schema.field(name) for name in (names if columns is None else columns)])
    if not len(chosen):
        raise ValueError(f"{file!r} has no columns." if columns is None else "columns=[] leaves nothing to read.")
    for field in chosen:
        if not _is_valid(field.type, pa.types):
            raise ValueError(
                f"column {field.name!r} of {file!r} is of type {field.type}, of which no modality is made; "
                f"{_VALID}. Leave it out, columns={[name for name in names if name != field.name]}, or cast it."
            )
    return chosen


def _is_valid(kind: Any, types: Any) -> bool:
    if hasattr(kind, "storage_type"):
        return _is_valid(kind.storage_type, types)
    if types.is_struct(kind):
        return {kind.field(i).name for i in range(kind.num_fields)} in ({"bytes"}, {"bytes", "path"})
    if is_list(kind, types):
        return _is_valid(kind.value_type, types)
    if types.is_dictionary(kind):
        return _is_valid(kind.value_type, types)
    simple = (
        *(types.is_boolean, types.is_integer, types.is_floating, types.is_decimal, types.is_temporal),
        *(types.is_string, types.is_large_string, types.is_string_view),
        *(types.is_binary, types.is_large_binary, types.is_binary_view, types.is_fixed_size_binary),
    )
    return any(is_type(kind) for is_type in simple) and not types.is_interval(kind)


def is_list(kind: Any, types: Any) -> bool:
    """Whether a type is one of pyarrow's lists."""
    return types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)


def _check_same(first: Any, schema: Any, first_file: str, file: str, *, whole: bool) -> None:
    """Refuse a part that has other columns than the first, or other types; ``whole`` if all are read."""
    for field in first:
        if field.name not in schema.names:
            raise ValueError(
                f"column {field.name!r} of {first_file!r} is not in {file!r}, which has {schema.names}; the parts "
                "of a table have the same columns."
            )
        other = schema.field(field.name).type
        if other != field.type:
            raise ValueError(
                f"column {field.name!r} is of type {field.type} in {first_file!r} and of type {other} in {file!r}; "
                "write the parts with one schema, pyarrow.parquet.write_table(table.cast(schema), path)."
            )
    if more := [name for name in schema.names if name not in first.names] if whole else []:
        raise ValueError(
            f"column {more[0]!r} of {file!r} is not in {first_file!r}, which has {first.names}; the parts of a "
            "table have the same columns. columns=[...] names those to read."
        )


def _without_index(schema: Any) -> Any:
    """Without what pandas stored its index as."""
    pa = import_optional("pyarrow", extra="dataframe")
    return pa.schema([field for field in schema if not _INDEX.fullmatch(field.name)])


def _owner(path: str, columns: Any) -> str | None:
    """The column that a path in a schema of Parquet is of: lists have paths below their name."""
    if path in columns:
        return path
    return next((name for name in columns if path.startswith(f"{name}.")), None)


def _next(stretches: list[int]) -> int:
    return stretches[-1] + 1 if stretches else 0


def _state(path: str) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_size, status.st_mtime_ns
