"""Tables larger than memory, whose rows are read when they are needed."""

from __future__ import annotations

import html
import os
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from numbers import Integral
from typing import Any, Self

import numpy as np

from skmm._checks import is_whole, unknown
from skmm._optional import import_optional
from skmm.columns._tables import as_frame
from skmm.files._parquet import HuggingFaceSource, ParquetSource, check_dataset
from skmm.files._runs import Runs

HELD = 2**28  # bytes of rows that are held at a time, unless the user says otherwise
_PARTS_OF_SAMPLE = 32  # of the table that a sample is read from


class LazyTable:
    """A table on disk, whose rows are read when they are needed: an X larger than memory.

    ``len(X)``, ``X.shape`` and ``X.columns`` say what there is. ``X["price"]`` are the values of one column, in
    memory; ``X[["price", "review"]]`` are some columns and ``X[rows]`` some rows, as another LazyTable. An
    estimator takes it as X, with the name of a column as y, and a :class:`~skmm.ModalityTransformer` as a table.
    What is held in memory, and what not, stands in the guide "Tables larger than memory".

    Made by :meth:`from_parquet` and :meth:`from_huggingface`.

    Attributes
    ----------
    columns : list of str
        Names of the columns.
    shape : tuple of int
        Numbers of rows and columns.

    Examples
    --------
    >>> import tempfile
    >>> import pandas as pd
    >>> from skmm import LazyTable, MultimodalClassifier
    >>> df = pd.DataFrame({
    ...     "price": [3.5, 4.0, 5.5, 1.0, 2.0] * 8,
    ...     "review": [f"{w} film of {i} minutes" for i, w in enumerate(["good", "bad", "long", "short"] * 10)],
    ...     "liked": ["yes", "no"] * 20,
    ... })
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     df.to_parquet(f"{folder}/films.parquet")
    ...     X = LazyTable.from_parquet(folder)
    ...     clf = MultimodalClassifier(n_members=1, max_epochs=2, random_state=0).fit(X, "liked")
    ...     clf.predict(X).shape
    (40,)
    """

    def __init__(self, source: Any, rows: np.ndarray | None, columns: Sequence[str]) -> None:
        self._source = source
        self._rows = rows  # None for all, in their order
        self.columns = list(columns)
        self._lacking: dict[tuple[str, ...], np.ndarray] = {}

    @classmethod
    def from_parquet(
        cls,
        path: str | os.PathLike[str],
        columns: Sequence[str] | None = None,
        *,
        buffer_bytes: int = HELD,
    ) -> Self:
        """A Parquet file, or a folder of such files with the same columns.

        Needs the package pyarrow: ``pip install "skmm[dataframe]"``.

        Parameters
        ----------
        path : str or path
            The file or folder. In a folder, names that begin with ``_`` or ``.`` or end in ``.tmp`` are left out.
        columns : sequence of str, optional
            The columns that are read; None for all.
        buffer_bytes : int, default=268435456
            Bytes of rows, as they are when they are read, that are held at a time. In training rows are shuffled
            among these, and row groups in the whole.

        Returns
        -------
        LazyTable

        Raises
        ------
        ImportError
            If pyarrow is not installed.
        ValueError
            If there is no such file or no Parquet file in the folder; if a part cannot be read, or has other
            columns or types than the first; if a column is not there, or is of a type that no modality is made of.

        Warns
        -----
        UserWarning
            If a row group is larger than ``buffer_bytes``: its rows are shuffled within parts of it alone.
        """
        return cls._of(ParquetSource(os.fspath(path), _named(columns), _checked(buffer_bytes)))

    @classmethod
    def from_huggingface(
        cls, dataset: Any, columns: Sequence[str] | None = None, *, buffer_bytes: int = HELD
    ) -> Self:
        """A Dataset of Hugging Face, whose files are memory-mapped.

        Needs the packages datasets and pyarrow.

        Parameters
        ----------
        dataset : datasets.Dataset
            Numbers of a ``ClassLabel`` are read as the names that they stand for. One whose rows were shuffled is
            read in that order, row by row; ``flatten_indices()`` writes it anew.
        columns : sequence of str, optional
            The columns that are read; None for all.
        buffer_bytes : int, default=268435456
            Bytes of rows that are held, and shuffled, at a time.

        Returns
        -------
        LazyTable

        Raises
        ------
        ValueError
            If it is no Dataset, or one that can only be read in turn; if a column is not there, or is of a type
            that no modality is made of.
        """
        check_dataset(dataset)
        return cls._of(HuggingFaceSource(dataset, _named(columns), _checked(buffer_bytes)))

    @classmethod
    def _of(cls, source: Any) -> Self:
        if not len(source):
            raise ValueError(f"Found 0 sample(s) in {source.described()} while a minimum of 1 is required.")
        return cls(source, None, source.columns)

    # -- what there is ---------------------------------------------------------------------------------------

    @property
    def shape(self) -> tuple[int, int]:
        return len(self), len(self.columns)

    def __len__(self) -> int:
        return len(self._source) if self._rows is None else len(self._rows)

    @property
    def schema(self) -> Any:
        """The columns and their types, a ``pyarrow.Schema``."""
        pa = import_optional("pyarrow", extra="dataframe")
        return pa.schema([self._source.schema.field(name) for name in self.columns])

    def __repr__(self) -> str:
        width = max(map(len, self.columns), default=0)
        lines = [f"  {field.name.ljust(width)}  {field.type}" for field in self.schema]
        return "\n".join([f"LazyTable({len(self)} rows of {self._source.described()})", *lines])

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(repr(self))}</pre>"

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        raise TypeError(
            "a LazyTable is read part by part and is no array. Give it to an estimator or a ModalityTransformer; "
            "X.head(n) are its first rows in memory, X['name'] the values of a column."
        )

    # -- parts -----------------------------------------------------------------------------------------------

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, str):
            self._check([key])
            return self._column(key)
        if isinstance(key, tuple):  # scikit-learn indexes by rows as X[rows, ...]
            if len(key) != 2 or key[1] is not Ellipsis:
                raise IndexError(f"a LazyTable is indexed by rows or columns, X[rows] or X['name'], got {key!r}")
            key = key[0]
        if isinstance(key, list) and key and all(isinstance(name, str) for name in key):
            self._check(key)
            return LazyTable(self._source, self._rows, key)
        if isinstance(key, Integral):
            key = [key]
        rows = np.arange(len(self)) if self._rows is None else self._rows
        chosen = rows[key if isinstance(key, slice) else np.asarray(key, dtype=np.intp if len(key) == 0 else None)]
        return LazyTable(self._source, chosen, self.columns)

    def drop(self, columns: str | Sequence[str]) -> LazyTable:
        """The table without some columns.

        Parameters
        ----------
        columns : str or sequence of str
            Names.

        Returns
        -------
        LazyTable
        """
        gone = [columns] if isinstance(columns, str) else list(columns)
        self._check(gone)
        left = [name for name in self.columns if name not in gone]
        if not left:
            raise ValueError(f"without {gone} no column of {self.columns} is left.")
        return LazyTable(self._source, self._rows, left)

    def head(self, n: int = 5) -> Any:
        """The first rows.

        Parameters
        ----------
        n : int, default=5
            How many.

        Returns
        -------
        pandas.DataFrame
        """
        return self.frame(np.arange(min(n, len(self))))

    def _check(self, names: Iterable[str]) -> None:
        for name in names:
            if name not in self.columns:
                raise unknown("column", name, self.columns)

    def _column(self, name: str) -> np.ndarray:
        """Values of a column, read from end to end."""
        pa = import_optional("pyarrow", extra="dataframe")
        source = self._source.another()
        parts = [source.read(run, [name]) for run in range(len(source.runs.n_bytes))]
        source.close()
        values = as_frame(pa.concat_tables(parts))[name].to_numpy()
        return values if self._rows is None else values[self._rows]

    # -- reading ---------------------------------------------------------------------------------------------

    def stored(self, rows: np.ndarray) -> np.ndarray:
        """Numbers of rows where they are stored."""
        return rows if self._rows is None else self._rows[rows]

    @property
    def all_stored(self) -> np.ndarray:
        """The same, of all rows."""
        return np.arange(len(self)) if self._rows is None else self._rows

    def reader(self, columns: Sequence[str]) -> RunReader:
        """What reads some of the columns."""
        return RunReader(self._source, columns)

    def where(self, row: int) -> str:
        """A row as messages name it."""
        return self._source.where(int(self.stored(np.array([row]))[0]))

    def frame(self, rows: np.ndarray, columns: Sequence[str] | None = None) -> Any:
        """Some rows as a DataFrame of pandas, whose index is their numbers."""
        return self._frame(self.reader(self.columns if columns is None else columns), rows)

    def _frame(self, reader: RunReader, rows: np.ndarray) -> Any:
        stored, place = np.unique(self.stored(rows), return_inverse=True)
        frame = as_frame(reader.read(stored))
        frame.index = np.arange(len(frame))
        return frame.iloc[place].set_axis(np.asarray(rows), axis=0)

    def frames(self, most: int) -> Iterator[tuple[np.ndarray, Any]]:
        """All rows, at most so many at a time and no more than a quarter of what is held, as they are stored.

        Yields
        ------
        rows : ndarray of int
            Their numbers.
        frame : pandas.DataFrame
            Their content.
        """
        reader, order = self.reader(self.columns), np.argsort(self.all_stored, kind="stable")
        size = min(most, self._most_in_frame)
        for first in range(0, len(order), size):
            rows = order[first : first + size]
            yield rows, self._frame(reader, rows)

    @property
    def _most_in_frame(self) -> int:
        """Rows that a frame may have, in which they take several times as much as where they are held."""
        runs: Runs = self._source.runs
        return max(1, int(runs.held / 4 / runs.row_bytes))

    def sample(self, n: int) -> np.ndarray:
        """Numbers of at most ``n`` rows, from parts that are spread evenly over the table; all of a smaller one."""
        runs: Runs = self._source.runs
        n = min(n, self._most_in_frame)
        if n >= len(self):
            return np.arange(len(self))
        own = runs.of(self.all_stored)
        there = np.unique(own)
        if len(there) > _PARTS_OF_SAMPLE:
            there = there[np.linspace(0, len(there) - 1, _PARTS_OF_SAMPLE).round().astype(int)]
        rows = np.flatnonzero(np.isin(own, there))
        return rows if len(rows) <= n else rows[np.linspace(0, len(rows) - 1, n).round().astype(int)]

    def present(self, columns: Sequence[str]) -> np.ndarray:
        """Rows that have a value in one of some columns, shape (n_rows,); read where the footers do not say so."""
        key = tuple(columns)
        if key not in self._lacking:
            stored = self.all_stored
            exists = np.ones(len(self._source), dtype=bool)
            source = self._source.another()
            starts = source.runs.starts
            for run in np.unique(source.runs.of(stored)).tolist():
                if all(source.may_lack(run, name) for name in columns):
                    table = source.read(run, columns)
                    valid = [table.column(name).is_valid().to_numpy() for name in columns]
                    exists[starts[run] : starts[run + 1]] = np.any(valid, axis=0)
            source.close()
            self._lacking[key] = exists[stored]
        return self._lacking[key].copy()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_lacking": {}}


def without_rows_of(X: Any) -> Any:
    """The columns of a LazyTable as a frame without rows; anything else as it is."""
    return X.frame(np.arange(0)) if isinstance(X, LazyTable) else X


class RunReader:
    """Rows of some columns of a source; runs that are read stay while their rows are likely to be wanted.

    Parameters
    ----------
    source : ParquetSource or HuggingFaceSource
        What is read.
    columns : sequence of str
        Columns that are read.
    """

    def __init__(self, source: Any, columns: Sequence[str]) -> None:
        self.source, self.columns = source.another(), list(columns)
        self._held: OrderedDict[int, Any] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def runs(self) -> Runs:
        return self.source.runs

    def read(self, rows: np.ndarray) -> Any:
        """The rows of these numbers, sorted and none of them twice, as a table of pyarrow."""
        pa = import_optional("pyarrow", extra="dataframe")
        if not len(rows):
            return self.source.schema.empty_table().select(self.columns)
        runs = self.runs
        own = runs.of(rows)
        numbers, firsts = np.unique(own, return_index=True)
        local = dict(zip(numbers.tolist(), np.split(rows - runs.starts[own], firsts[1:]), strict=True))
        with self._lock:
            parts: dict[int, Any] = {}
            # what is held first: to read others may let it go
            for number in sorted(local, key=lambda run: (run not in self._held, run)):
                parts[number] = _taken(self._run(number), local[number])
        return pa.concat_tables([parts[number] for number in sorted(parts)]).combine_chunks()

    def _run(self, number: int) -> Any:
        if number in self._held:
            self._held.move_to_end(number)
            return self._held[number]
        runs = self.runs
        # rows that are shuffled together may be more than is held by one run, which is no more than an eighth
        most = runs.held * 1.25 - runs.n_bytes[number]
        while self._held and runs.n_bytes[list(self._held)].sum() > most:
            self._held.popitem(last=False)
        self._held[number] = self.source.read(number, self.columns).combine_chunks()
        return self._held[number]

    @property
    def n_held(self) -> int:
        """Runs that are held now."""
        return len(self._held)

    def __getstate__(self) -> dict[str, Any]:
        return {"source": self.source, "columns": self.columns}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(vars(type(self)(**state)))


def _taken(table: Any, rows: np.ndarray) -> Any:
    if len(rows) == table.num_rows:
        return table
    if len(rows) and rows[-1] - rows[0] == len(rows) - 1:
        return table.slice(int(rows[0]), len(rows))
    return table.take(rows)


def _named(columns: Any) -> list[str] | None:
    if columns is None:
        return None
    if isinstance(columns, str) or not all(isinstance(name, str) for name in columns):
        raise ValueError(f"columns must be a list of names, got {columns!r}.")
    return list(columns)


def _checked(buffer_bytes: Any) -> int:
    if not is_whole(buffer_bytes) or buffer_bytes < 2**16:
        raise ValueError(f"buffer_bytes={buffer_bytes!r} must be a whole number of bytes, 65536 or more.")
    return int(buffer_bytes)
