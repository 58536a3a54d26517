"""Rows of a lazily read block, read ahead of their batches by worker processes."""

from __future__ import annotations

import math
import os
import pickle
import shutil
import signal
import struct
import tempfile
import threading
import time
import warnings
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from functools import cache, lru_cache
from itertools import islice
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from joblib import effective_n_jobs, parallel_config

# what joblib's own processes run on: unlike the standard library's they need no guarded main module, start fresh
# (a fork of a process with threads may hang), read classes that a script defines, and a dead one is an error
from joblib.externals.loky import ProcessPoolExecutor
from joblib.externals.loky.backend import resource_tracker
from joblib.externals.loky.backend.reduction import dumps
from joblib.externals.loky.process_executor import BrokenProcessPool

from skmm._warnings import warn
from skmm.blocks._blocks import Block

Read = tuple[Block, np.ndarray]  # rows and which of them exist
_AHEAD = 2  # batches that each process is given before the first is wanted
_ROWS_AT_ONCE = 2048  # of a stored table that are looked up together, if they take no more than
_BYTES_AT_ONCE = 2**24
_WATCH = 0.5  # seconds between two looks at whether the parent process is still there
_MARK = struct.Struct("<q")  # of a batch: the part of it that is being read, counted from 1, or 0
_IDLE = 300.0  # seconds after which a process that has nothing to do ends, as in joblib


def read_ahead(block: Block, batches: Sequence[np.ndarray], n_jobs: int | None) -> Iterator[Read]:
    """Read batches of rows in order, no more of them at a time than the processes are given ahead.

    Parameters
    ----------
    block : lazily read block
        What to read.
    batches : sequence of ndarray of int
        Rows of each batch.
    n_jobs : int or None
        Processes, as joblib counts them. None is what the array-like behind the block says in an attribute
        ``n_jobs``, if it has one; 1 reads in this process when a batch is wanted.

    Yields
    ------
    values : ndarray of shape (n_rows, ...), or what block of rows is read
        Rows of one batch.
    exists : ndarray of bool, shape (n_rows,)
        Which of them are there to be read.

    Raises
    ------
    RuntimeError
        If a process is killed; says which rows, of files which, were being read.

    Warns
    -----
    UserWarning
        If the block cannot be sent to other processes, and is read in this one; and once, what reading warns of.
    """
    n_jobs = effective_n_jobs(getattr(block.base, "n_jobs", None) if n_jobs is None else n_jobs)
    content = _pickled(block) if n_jobs > 1 and len(batches) > 1 else None
    if content is None:
        yield from _read_here(block, batches)
        return
    yield from _read_by_processes(block, content, batches, n_jobs)


def _read_here(block: Block, batches: Sequence[np.ndarray]) -> Iterator[Read]:
    """Read batches in this process; of a stored table several at once, since each time it is looked up anew."""
    if block.runs is None:
        yield from map(block.read, batches)
        return
    sample = math.prod(block.shape[1:]) * block.dtype.itemsize if block.template is None else 1
    # of what is held at a time a part, so that what is read for a batch is still held for the next
    most = min(_ROWS_AT_ONCE, _BYTES_AT_ONCE // max(1, sample), int(block.runs.held / 4 / block.runs.row_bytes))
    start = 0
    while start < len(batches):
        ends = np.cumsum([len(batches[start])])
        while start + len(ends) < len(batches) and ends[-1] + len(batches[start + len(ends)]) <= most:
            ends = np.append(ends, ends[-1] + len(batches[start + len(ends)]))
        values, exists = block.read(np.concatenate(batches[start : start + len(ends)]))
        for first, last in zip([0, *ends[:-1]], ends, strict=True):
            yield values[first:last], exists[first:last]
        start += len(ends)


def _pickled(block: Block) -> bytes | None:
    """The block for other processes, if it can be sent."""
    try:
        return dumps(block)
    except Exception as error:  # whatever the objects in it raise
        warn(
            f"a lazily read {type(block.base).__name__} cannot be sent to other processes ({error}), so it is read "
            "in this one, n_jobs=1."
        )
        return None


@cache
def _pool(n_jobs: int, pid: int) -> ProcessPoolExecutor:
    """Processes that later fits and predictions find running; those of a parent process are of no use here."""
    pool = ProcessPoolExecutor(n_jobs, timeout=_IDLE, initializer=_end_with, initargs=(pid,))
    # a process of multiprocessing would wait at its end until they are idle long enough
    Finalize(None, pool.shutdown, kwargs={"kill_workers": True}, exitpriority=0)
    return pool


def _submit(n_jobs: int, *task: Any) -> Future:
    """Give a task to the processes, to new ones where one of them has died since they were last asked."""
    with _without_interrupts():
        try:
            return _pool(n_jobs, os.getpid()).submit(*task)
        except BrokenProcessPool:
            _pool.cache_clear()
            return _pool(n_jobs, os.getpid()).submit(*task)


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Let Ctrl-C wait: processes that start meanwhile never hear of it, and no lock is left half taken.

    A terminal sends it to them as well. One that dies of it, while it still imports, breaks the pool.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _folder() -> Iterator[Path]:
    """A folder that is removed even if this process is killed, by the process that joblib has for that."""
    folder = tempfile.mkdtemp(prefix="skmm-")
    resource_tracker.register(folder, "folder")
    try:
        yield Path(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        resource_tracker.unregister(folder, "folder")


def _read_by_processes(block: Block, content: bytes, batches: Sequence[np.ndarray], n_jobs: int) -> Iterator[Read]:
    coming: deque[tuple[int, Future]] = deque()
    note = getattr(block.base, "note", None)
    rest, renewed = iter(range(len(batches))), False
    with _folder() as folder:
        (folder / "block").write_bytes(content)
        (folder / "reading").write_bytes(bytes(_MARK.size * len(batches)))

        def asked(numbers: Iterable[int]) -> Iterator[tuple[int, Future]]:
            return ((number, _submit(n_jobs, _read, str(folder), number, batches[number])) for number in numbers)

        try:
            for rows in batches:
                coming.extend(asked(islice(rest, _AHEAD * n_jobs - len(coming))))
                try:
                    read, warned_of = coming[0][1].result()
                except BrokenProcessPool as error:
                    _pool.cache_clear()
                    marks = [place for (place,) in _MARK.iter_unpack((folder / "reading").read_bytes())]
                    if renewed or any(marks):
                        raise RuntimeError(_killed(block, batches, marks)) from error
                    renewed = True  # they were dead before they began with any of it
                    coming = deque(asked([number for number, _ in coming]))
                    read, warned_of = coming[0][1].result()
                coming.popleft()
                if warned_of and not block.warned_of:
                    warn(warned_of[0])
                block.warned_of.update(warned_of)
                if note is not None:  # the reader in this process counts what others could not read
                    note(block.rows[rows], read[1])
                yield read
        finally:
            for _, future in coming:
                future.cancel()


def _killed(block: Block, batches: Sequence[np.ndarray], places: Sequence[int]) -> str:
    """What is known of a process that died; ``places`` as the processes have marked them."""
    parts = [_parts(block, rows)[place - 1] for rows, place in zip(batches, places, strict=True) if place]
    told = "; ".join(_describe(block, part) for part in parts) or "before it read anything"
    return (
        f"a process that read a {type(block.base).__name__} was killed, perhaps since memory ran out. What was "
        f"being read: {told}. Give fewer processes or smaller batches, e.g. n_jobs=1, batch_size=16."
    )


def _parts(block: Block, rows: np.ndarray) -> np.ndarray:
    """Rows that are read at a time: each file by itself, so that it is known which one was being read."""
    return rows[:, None] if hasattr(block.base, "name_of") and len(rows) else rows[None]


def _describe(block: Block, rows: np.ndarray) -> str:
    numbers = block.rows[rows]
    if hasattr(block.base, "name_of"):
        return f"row {numbers[0]}, {block.base.name_of(numbers[0])}"
    return (
        f"row {numbers[0]}" if len(numbers) == 1 else f"{len(numbers)} rows from {min(numbers)} to {max(numbers)}"
    )


# -- in the other processes ----------------------------------------------------------------------------------------


def _end_with(parent: int) -> None:
    """Leave interrupts to the parent process, and end when it does, however that comes about."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_wait_for_the_end_of, args=(parent,), daemon=True).start()


def _wait_for_the_end_of(parent: int) -> None:
    # an orphan has another parent; on Windows it keeps the old one's number, and ends when it has been idle
    while os.getppid() == parent:
        time.sleep(_WATCH)
    os._exit(1)


@lru_cache(maxsize=2)
def _load(file: str) -> Block:
    return pickle.loads(Path(file).read_bytes())


def _read(folder: str, number: int, rows: np.ndarray) -> tuple[Read, list[str]]:
    """Rows of a block, and what reading them warned of; the ``number`` of the batch is where progress is marked."""
    block = _load(os.path.join(folder, "block"))
    # the processes are the parallelism: a loader that reads in threads would start as many in each
    with (
        warnings.catch_warnings(record=True) as caught,
        parallel_config("sequential"),
        open(os.path.join(folder, "reading"), "r+b", buffering=0) as reading,
    ):
        read: list[Any] = []
        for place, part in enumerate(_parts(block, rows)):
            _mark(reading, number, place + 1)
            try:
                read.append(block.read(part))
            except MemoryError as error:
                raise MemoryError(f"{_describe(block, part)}: no memory to read it ({error}).") from error
        _mark(reading, number, 0)
    if len(read) > 1:
        read = [tuple(np.concatenate(column) for column in zip(*read, strict=True))]
    return read[0], [str(w.message) for w in caught]


def _mark(reading: BinaryIO, number: int, place: int) -> None:
    reading.seek(number * _MARK.size)
    reading.write(_MARK.pack(place))
