"""What the transformers share that read a column of files: rows, errors, parallel reading, laziness."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from joblib import Parallel, delayed
from sklearn.base import BaseEstimator, TransformerMixin

from skmm._checks import unknown
from skmm._documentation import Documented
from skmm._missing import is_missing
from skmm._progress import progress
from skmm._warnings import warn
from skmm.columns._tables import as_values
from skmm.files._sources import check_folder, decoded, is_encoded, local_path, unpacked

ERRORS = ["raise", "missing"]
# files that a thread reads at a time
_CHUNK = 16
# what a decoder opens: the path of a regular file that is not empty, or its content
Source = str | io.BytesIO


@dataclass(frozen=True)
class Failure:
    """Why a row could not be read, and whether that is an error in any case."""

    reason: str
    always: bool = False


def as_column(X: Any) -> list[Any]:
    """The rows of a column, as they are.

    Parameters
    ----------
    X : list, 1-D array, Series, one-column DataFrame or array of shape (n_samples, 1)
        An array of numbers with two or more dimensions has one object per row, such as an image.

    Raises
    ------
    ValueError
        If X is a single object, or has several columns.
    """
    shape = getattr(X, "shape", None)
    if sp.issparse(X):
        raise ValueError(f"expected a column, got a sparse {type(X).__name__} of shape {shape}.")
    if hasattr(X, "to_numpy"):  # pandas, polars: a DataFrame or a Series
        if shape is not None and len(shape) == 2 and shape[1] != 1:
            raise ValueError(f"expected one column, got a {type(X).__name__} of shape {shape}.")
        rows = as_values(X.to_series() if hasattr(X, "to_series") else X)  # of a DataFrame of polars
        return list(rows[:, 0] if rows.ndim == 2 else rows)
    if isinstance(X, np.ndarray) and X.ndim:
        if X.dtype.kind in "biuf" or X.ndim == 1:
            return list(X)
        if X.ndim == 2 and X.shape[1] == 1:
            return list(X[:, 0])
        raise ValueError(f"expected one column, got an array of shape {X.shape}.")
    if isinstance(X, (list, tuple)):
        return list(X)
    raise ValueError(
        f"expected a column: a list, a 1-D array, a Series or a one-column DataFrame; got {describe(X)}."
    )


def names_nothing(item: Any) -> bool:
    """Whether a row is missing: a missing value, or an empty path, as tables without such values have it."""
    item = unpacked(item)
    return is_missing(item) or (isinstance(item, str) and not item.strip())


def describe(item: Any) -> str:
    """Name a row's value in a message: the path of a file, the size of its content, the type of an object."""
    item = unpacked(item)
    if isinstance(item, (str, os.PathLike)):
        text = os.fspath(item)
        return repr(f"{text[:37]}..." if is_encoded(text) else text)
    if isinstance(item, (bytes, bytearray, memoryview)):
        return f"{len(item)} bytes"
    if isinstance(item, (bool, int, float, np.generic)):
        return f"{item} ({type(item).__name__})"
    if hasattr(item, "shape"):
        return f"a {type(item).__name__} of shape {tuple(item.shape)}"
    return f"an object of type {type(item).__name__}"


def open_source(item: Any, base_dir: Any = None, within: Any = None) -> Source | None:
    """What a decoder opens for a path or for content, in bytes or as base64 text; None for any other object.

    Parameters
    ----------
    item : object
        A row.
    base_dir, within : str or path, optional
        As in :func:`local_path`.

    Raises
    ------
    ValueError
        If there is no such file, it is a folder or a device (which could block for ever), it is empty, or
        :func:`local_path` refuses it.
    """
    item = unpacked(item)
    if is_encoded(item):
        item = decoded(item)
    if isinstance(item, (bytes, bytearray, memoryview)):
        if not len(item):
            raise ValueError("it is empty (0 bytes)")
        return io.BytesIO(item)
    if not isinstance(item, (str, os.PathLike)):
        return None
    try:
        path = local_path(item, base_dir, within)
        status = os.stat(path)
    except OSError as error:
        reason = error.strerror or str(error)
        looked = "" if os.path.isabs(item) else f"; looked for {os.path.abspath(path)}"
        raise ValueError(f"{reason}{looked}") from error
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("it is a folder" if stat.S_ISDIR(status.st_mode) else "it is no regular file")
    if status.st_size == 0:
        raise ValueError("it is empty (0 bytes)")
    return path


# the output is no table that `set_output` could wrap; scikit-learn, which has no types, takes the keyword
class FileLoader(TransformerMixin, Documented, BaseEstimator, auto_wrap_output_keys=None):  # type: ignore[call-arg]
    """Base of the transformers that turn each row of a column of files into one array.

    A subclass has the parameters ``base_dir``, ``within``, ``errors``, ``n_jobs`` and ``verbose``, and ``lazy`` if
    its samples have a fixed shape. It implements:

    - ``_decode(source)``: the array of one file, from a path or a ``BytesIO``; any exception it raises is the
      reason why the row cannot be read, want of memory among them;
    - ``_convert(item)``: the array of an object that is decoded already, None if it is not of the types read;
    - ``_sample_shape()`` and ``_sample_dtype()``: of every array, or None for the shape of ragged ones; of these
      ``_shape_of_none()`` is what stands for one where all rows are missing, so that they stay of their kind, or
      None;
    - ``_check_params()``, calling ``super()._check_params()``: raise ValueError for a wrong parameter;
    - ``_accepts``: the objects that ``_convert`` reads, in words.

    Rows of other types are always an error. Missing values (None, NaN, ``pandas.NA``), and paths without any
    character but spaces, are missing rows, without a warning.
    """

    _accepts = ""

    base_dir: str | os.PathLike[str] | None = None
    within: str | os.PathLike[str] | None = None
    errors: str
    n_jobs: int | None
    verbose: int | bool

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(auto_wrap_output_keys=None, **kwargs)

    # -- what a subclass says --------------------------------------------------------------------------------

    def _decode(self, source: Source) -> np.ndarray:
        raise NotImplementedError

    def _convert(self, item: Any) -> np.ndarray | None:
        return None

    def _sample_shape(self) -> tuple[int, ...] | None:
        return None

    def _shape_of_none(self) -> tuple[int, ...] | None:
        return None

    def _sample_dtype(self) -> np.dtype:
        return np.dtype(np.float32)

    def _check_params(self) -> None:
        if self.errors not in ERRORS:
            raise unknown("errors", self.errors, ERRORS)
        for name in ("base_dir", "within"):
            check_folder(name, getattr(self, name))

    # -- scikit-learn ----------------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any = None) -> FileLoader:
        """Check the parameters; nothing is learned and no file is read.

        Parameters
        ----------
        X : list, 1-D array, Series or one-column DataFrame of shape (n_samples,)
            The column.
        y : object, default=None
            Ignored.

        Returns
        -------
        self : FileLoader
        """
        self._check_params()
        as_column(X)
        return self

    def transform(self, X: Any) -> Any:
        """Read the files.

        Parameters
        ----------
        X : list, 1-D array, Series or one-column DataFrame of shape (n_samples,)
            Paths, contents of files in bytes, or decoded objects.

        Returns
        -------
        ndarray of shape (n_samples, ...), MaskedArray, LazyFiles or list of ndarray
            If rows are missing, a MaskedArray in which these are wholly masked. With ``lazy=True``, an object
            that reads the rows it is indexed by. Arrays of unequal length come as a list, None where missing.
        """
        self._check_params()
        items = as_column(X)
        if getattr(self, "lazy", False):
            return LazyFiles(self, items)
        block, failures = self.read_rows(items, range(len(items)))
        if failures:
            warn(failure_text(failures, items, len(items)))
        return block

    def read_rows(self, items: Sequence[Any], rows: Sequence[int]) -> tuple[Any, dict[int, str]]:
        """Read some rows, given their place in the whole column, and say which ones could not be read."""
        shape = self._sample_shape()
        n = len(rows)
        out: Any = [None] * n if shape is None else np.zeros((n, *shape), dtype=self._sample_dtype())
        missing = np.zeros(n, dtype=bool)
        failures: dict[int, str] = {}
        for place, (row, result) in enumerate(zip(rows, self._results([items[r] for r in rows]), strict=True)):
            if isinstance(result, Failure):
                if self.errors == "raise" or result.always:
                    raise ValueError(failure_text({row: result.reason}, items))
                failures[row] = result.reason
            if result is None or isinstance(result, Failure):
                missing[place] = True
            else:
                out[place] = result
        if shape is None and missing.all():
            shape = self._shape_of_none()
            out = out if shape is None else np.zeros((n, *shape), dtype=self._sample_dtype())
        if shape is not None and missing.any():
            mask = np.broadcast_to(missing.reshape(n, *[1] * len(shape)), out.shape)
            out = np.ma.MaskedArray(out, mask=mask.copy())
        return out, failures

    def _results(self, items: list[Any]) -> Iterator[Any]:
        """One array, Failure or None per item, in order."""
        # decoders release the interpreter's lock, and threads need no copy of the arrays; workers of a cluster may
        # not see the files. The results come a few at a time, so that little but the output stands in memory.
        # joblib's own functions, not scikit-learn's, which give each task a context with the caller's settings:
        # that takes as long as a small image
        chunks = (items[start : start + _CHUNK] for start in range(0, len(items), _CHUNK))
        read = Parallel(n_jobs=self.n_jobs, require="sharedmem", return_as="generator")(
            delayed(self._try_all)(chunk) for chunk in chunks
        )
        results = (result for chunk in read for result in chunk)
        # of a lazy block a few rows are read for each batch, whose steps are shown
        after, shown = 0.0 if self.verbose else 1.0, bool(self.verbose)
        with progress(type(self).__name__, len(items), "file", after=after, shown=shown) as bar:
            for result in results:
                bar.advance()
                yield result

    def _try_all(self, items: list[Any]) -> list[np.ndarray | Failure | None]:
        return [self._try(item) for item in items]

    def _try(self, item: Any) -> np.ndarray | Failure | None:
        if names_nothing(item):
            return None
        try:
            source = open_source(item, self.base_dir, self.within)
            if source is not None:
                return self._decode(source)
            converted = self._convert(unpacked(item))
        except ImportError:
            raise  # not the file's fault
        except MemoryError as error:  # a small file may ask for more than there is, and the others need not suffer
            return Failure(f"it takes more memory than there is ({str(error).rstrip('.') or 'MemoryError'})")
        except Exception as error:  # decoders raise whatever their formats' plugins raise
            text = str(error)
            return Failure(text if type(error) is ValueError else f"{type(error).__name__}: {text}".rstrip(": "))
        if converted is None:
            return Failure(f"expected {self._accepts}", always=True)
        return converted

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Any:
        tags = file_tags(super().__sklearn_tags__())
        tags.requires_fit = False
        return tags


def file_tags(tags: Any) -> Any:
    """The tags of what reads a column of objects."""
    tags.no_validation = True
    tags.input_tags.two_d_array = False
    tags.input_tags.one_d_array = tags.input_tags.string = tags.input_tags.allow_nan = True
    return tags


def failure_text(failures: dict[int, str], items: Sequence[Any], n_rows: int | None = None) -> str:
    """The first of the rows that could not be read, and with ``n_rows`` how many there are."""
    row, reason = next(iter(failures.items()))
    first = f"row {row}: cannot read {describe(items[row])}: {reason}."
    return first if n_rows is None else f"{len(failures)} of {n_rows} rows cannot be read and are missing; {first}"


class LazyFiles:
    """Files that are read when their rows are indexed: a block that need not fit into memory.

    Indexed by an int it gives one sample, by a slice or an array of ints an array of samples, in which rows
    that cannot be read are masked where the loader has ``errors="missing"``.

    Parameters
    ----------
    loader : FileLoader
        Reads the files; all its samples have one shape.
    items : list
        Paths, contents of files, or decoded objects.

    Attributes
    ----------
    shape : tuple of int
        ``(n_samples, ...)``.
    dtype : dtype
    n_jobs : int or None
        Of the loader: processes that read ahead of the training batches.
    failures : dict of int to str
        Rows that turned out to be unreadable so far, and why. The first is warned of at once; how many there are,
        when all rows have been read, or those that were come again.
    """

    def __init__(self, loader: FileLoader, items: list[Any]) -> None:
        self.loader, self.items = loader, items
        shape = loader._sample_shape()
        if shape is None:
            raise ValueError("lazy=True needs samples of one shape; these differ in length.")
        self.shape = (len(items), *shape)
        self.dtype = np.dtype(loader._sample_dtype())
        self.failures: dict[int, str] = {}
        self._was_read = np.zeros(len(items), dtype=bool)
        self._counted = False

    @property
    def n_jobs(self) -> int | None:
        return self.loader.n_jobs

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, rows: Any) -> np.ndarray:
        places = np.arange(len(self.items))[rows]
        wanted = np.atleast_1d(places)
        block, failures = self.loader.read_rows(self.items, wanted.tolist())
        if failures and not self.failures:
            warn(
                f"{failure_text(failures, self.items)} It is missing, as will be any other such row; their "
                "number is told when all have been read."
            )
        self.failures.update(failures)
        self.note(wanted, ~np.isin(wanted, list(failures)))
        return block if np.ndim(places) else block[0]

    def name_of(self, row: int) -> str:
        """What a row is read from, in words."""
        return describe(self.items[row])

    def note(self, rows: np.ndarray, exists: np.ndarray) -> None:
        """Take notice of rows that were read, here or by another process, and of which of them exist.

        After a pass over all rows, or over a part that then comes again, the unreadable ones are counted once.
        """
        passed = len(rows) > 0 and bool(self._was_read[rows].all())
        self._was_read[rows] = True
        for row in rows[~exists].tolist():
            if row not in self.failures and not names_nothing(self.items[row]):
                self.failures[row] = "another process could not read it"
        if self.failures and not self._counted and (passed or self._was_read.all()):
            self._counted = True
            warn(
                f"{len(self.failures)} of {self._was_read.sum()} rows cannot be read and are missing; "
                f"{failure_text(self.failures, self.items)}"
            )

    def __repr__(self) -> str:
        return f"LazyFiles({self.loader!r}, shape={self.shape}, dtype={self.dtype})"
