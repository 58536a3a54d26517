"""HDF5 files, which may point at other files: none of these is opened."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from typing import Any

import numpy as np

from skmm._optional import import_optional
from skmm.files._reading import Budget, check_regular, reading

_MOST_TIMES = 64  # by which the arrays of a file may be larger than the file
_MOST_LINKS = 16  # that lead from one to the next
# gzip, shuffle, Fletcher's checksum, szip, n-bit, scale-offset, and h5py's LZF; any other is loaded as a library
_FILTERS = {1, 2, 3, 4, 5, 6, 32000}
# drivers that read a file of this machine, which another process can open by its name
_BY_NAME = {"sec2", "stdio", "direct", "windows"}


def is_dataset(value: Any) -> bool:
    """Whether an object is a data set of an HDF5 file; nobody has one who has not imported h5py."""
    h5py = sys.modules.get("h5py")
    return h5py is not None and isinstance(value, h5py.Dataset)


def check_inside(dataset: Any) -> None:
    """Raise a ValueError if the values of a data set stand in other files than its own."""
    h5py = import_optional("h5py", extra="sequences")
    plist = dataset.id.get_create_plist()
    if plist.get_external_count():
        raise ValueError(f"the values of {dataset.name!r} stand in another file, {plist.get_external(0)[0]!r}")
    if plist.get_layout() == h5py.h5d.VIRTUAL:
        raise ValueError(f"{dataset.name!r} is a virtual data set, put together of others in any file")


class TrustlessFile:
    """Groups and arrays of an HDF5 file, and nothing outside of it.

    Parameters
    ----------
    file : h5py.File
        Open for reading.
    n_bytes : int
        Its size, which bounds what is read of it.
    """

    def __init__(self, file: Any, n_bytes: int) -> None:
        self.h5py = import_optional("h5py", extra="sequences")
        self.root = file["/"]
        self.n_bytes = n_bytes
        self.budget = Budget(n_bytes, _MOST_TIMES)

    def child(self, group: Any, name: str, most_links: int = _MOST_LINKS) -> Any:
        """The group or data set of a name in a group; None if there is none.

        Raises
        ------
        ValueError
            If the name leads to another file, or to no end.
        """
        if "/" in name:
            raise ValueError(f"the name {name!r} in {group.name!r} is a path")
        link = group.get(name, getlink=True)
        if link is None:
            return None
        if isinstance(link, self.h5py.ExternalLink):
            raise ValueError(f"{name!r} in {group.name!r} is a link to another file, {link.filename!r}")
        if not isinstance(link, self.h5py.SoftLink):
            return group[name]
        if not most_links:
            raise ValueError(f"{name!r} in {group.name!r} is a link to a link, and so on")
        found = self.root if link.path.startswith("/") else group
        for part in filter(None, link.path.split("/")):
            found = self.child(found, part, most_links - 1) if isinstance(found, self.h5py.Group) else None
        return found

    def items(self, group: Any) -> Iterator[tuple[str, Any]]:
        """Names in a group and what they lead to, None for a link to nothing."""
        return ((name, self.child(group, name)) for name in group)

    def array(self, dataset: Any) -> np.ndarray:
        """Numbers in this machine's byte order, or strings, of a data set.

        Raises
        ------
        ValueError
            If they stand in another file, are neither numbers nor strings, need a filter that HDF5 does not bring
            along, or are more than a file of this size may hold.
        """
        check_inside(dataset)
        name, dtype = dataset.name, dataset.dtype
        plist = dataset.id.get_create_plist()
        filters = {plist.get_filter(i)[0] for i in range(plist.get_nfilters())}
        if filters - _FILTERS:
            raise ValueError(
                f"{name!r} needs the filter {min(filters - _FILTERS)}, which would be loaded as a library"
            )
        words = self.h5py.check_string_dtype(dtype) is not None
        if dataset.shape is None or not (words or dtype.kind in "biuf"):
            raise ValueError(f"{name!r} holds neither numbers nor strings, but {dtype} of shape {dataset.shape}")
        # whole chunks are unpacked, however little of them is inside the shape
        self.budget.take(max(dataset.size, prod(dataset.chunks or ())) * dtype.itemsize)
        if not words:
            return np.asarray(dataset[()]).astype(dtype.newbyteorder("="), copy=False)
        return self._texts(np.asarray(dataset[()]) if dtype.kind == "S" else self._of_any_length(dataset))

    def _of_any_length(self, dataset: Any) -> np.ndarray:
        """Strings that stand elsewhere in the file; many places may point at a single long one."""
        if not dataset.shape:
            return np.array(dataset[()], dtype=object)
        if dataset.size != len(dataset):
            raise ValueError(f"{dataset.name!r} holds strings of shape {dataset.shape}, expected one column")
        out = np.empty(dataset.shape, dtype=object)
        at_a_time = max(1, self.budget.most // max(1, self.n_bytes))
        for start in range(0, len(dataset), at_a_time):
            part = dataset[start : start + at_a_time]
            self.budget.take(sum(map(len, part.ravel())))
            out[start : start + at_a_time] = part
        return out

    def _texts(self, cells: np.ndarray) -> np.ndarray:
        texts = [
            cell.decode("utf-8", "replace") if isinstance(cell, bytes) else str(cell) for cell in cells.ravel()
        ]
        self.budget.take(
            4 * len(texts) * max(map(len, texts), default=0)
        )  # numpy gives each as much as the longest
        return np.array(texts, dtype=str).reshape(cells.shape)


@contextmanager
def open_hdf5(path: str) -> Iterator[TrustlessFile]:
    """Open a file that may have been made to do harm; whatever fails inside is a ValueError that names it.

    Needs the package h5py.
    """
    h5py = import_optional("h5py", extra="sequences")
    with reading(path, "HDF5"):
        n_bytes = check_regular(path)
        with h5py.File(path, "r") as file:
            yield TrustlessFile(file, n_bytes)


class StoredDataset:
    """A data set of an HDF5 file, which h5py itself cannot send to another process: there it is opened by name.

    Parameters
    ----------
    dataset : h5py.Dataset
        Of an open file. If that is closed later, it is opened again for reading when rows are asked for.

    Raises
    ------
    ValueError
        If its values stand in other files.
    """

    def __init__(self, dataset: Any) -> None:
        check_inside(dataset)
        self.shape, self.dtype = dataset.shape, dataset.dtype
        file = dataset.file
        self.name = dataset.name
        self.path = os.path.abspath(file.filename) if file.driver in _BY_NAME and self.name else None
        self._dataset = dataset

    def __repr__(self) -> str:
        return f"<HDF5 data set {self.name!r} of {self.path!r}: {self.shape}, {self.dtype}>"

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> Any:
        return self._opened()[rows]

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return np.asarray(self._opened()[()], dtype=dtype)

    def _opened(self) -> Any:
        if self._dataset:  # False once its file is closed
            return self._dataset
        if self.path is None:
            raise ValueError(
                f"the HDF5 file of {self.name!r} is closed, and was none that can be opened by its name."
            )
        h5py = import_optional("h5py", extra="sequences")
        with reading(self.path, "HDF5"):
            n_bytes = check_regular(self.path)
            try:
                file = h5py.File(self.path, "r")
            except OSError:  # another process, which may write to it, has locked it
                file = h5py.File(self.path, "r", locking=False)
            inside = TrustlessFile(file, n_bytes)
            found = file["/"]
            for part in filter(None, self.name.split("/")):
                found = inside.child(found, part) if isinstance(found, h5py.Group) else None
            if not isinstance(found, h5py.Dataset) or (found.shape, found.dtype) != (self.shape, self.dtype):
                raise ValueError(f"{self.name!r} is no longer a data set of {self.dtype} and shape {self.shape}")
            check_inside(found)
        self._dataset = found
        return found

    def __getstate__(self) -> dict[str, Any]:
        if self.path is None:
            raise TypeError(
                f"the HDF5 data set {self.name!r} cannot be pickled, since its file has no name on this machine's "
                "disk; give its values, dataset[:], or compute in one process, n_jobs=1"
            )
        if self._dataset and self._dataset.file.mode != "r":
            self._dataset.file.flush()  # what others are to read
        return {**self.__dict__, "_dataset": None}
