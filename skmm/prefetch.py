"""Rows of a lazily read block, read ahead of their batches by worker processes."""

from __future__ import annotations

import os
import pickle
import tempfile
import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from functools import cache, lru_cache
from itertools import islice
from multiprocessing.util import Finalize
from pathlib import Path

import numpy as np
from joblib import effective_n_jobs, parallel_config

# what joblib's own processes run on: unlike the standard library's they need no guarded main module, start fresh
# (a fork of a process with threads may hang), read classes that a script defines, and a dead one is an error
from joblib.externals.loky import ProcessPoolExecutor
from joblib.externals.loky.backend.reduction import dumps
from joblib.externals.loky.process_executor import BrokenProcessPool

from skmm.blocks import Block

Read = tuple[np.ndarray, np.ndarray]  # rows and which of them exist
_AHEAD = 2  # batches that each process is given before the first is wanted
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
    values : ndarray of shape (n_rows, ...)
        Rows of one batch.
    exists : ndarray of bool, shape (n_rows,)
        Which of them are there to be read.

    Warns
    -----
    UserWarning
        If the block cannot be sent to other processes, and is read in this one; and once, what reading warns of.
    """
    n_jobs = effective_n_jobs(getattr(block.base, "n_jobs", None) if n_jobs is None else n_jobs)
    content = _pickled(block) if n_jobs > 1 and len(batches) > 1 else None
    if content is None:
        yield from map(block.read, batches)
        return
    yield from _read_by_processes(block, content, batches, n_jobs)


def _pickled(block: Block) -> bytes | None:
    """The block for other processes, if it can be sent."""
    try:
        return dumps(block)
    except Exception as error:  # whatever the objects in it raise
        warnings.warn(
            f"a lazily read {type(block.base).__name__} cannot be sent to other processes ({error}), so it is read "
            "in this one, n_jobs=1.",
            stacklevel=2,
        )
        return None


@cache
def _pool(n_jobs: int, pid: int) -> ProcessPoolExecutor:
    """Processes that later fits and predictions find running; those of a parent process are of no use here."""
    pool = ProcessPoolExecutor(n_jobs, timeout=_IDLE)
    # a process of multiprocessing would wait at its end until they are idle long enough
    Finalize(None, pool.shutdown, kwargs={"kill_workers": True}, exitpriority=0)
    return pool


def _read_by_processes(block: Block, content: bytes, batches: Sequence[np.ndarray], n_jobs: int) -> Iterator[Read]:
    pool = _pool(n_jobs, os.getpid())
    coming: deque[tuple[np.ndarray, Future]] = deque()
    note = getattr(block.base, "note", None)
    rest = iter(batches)
    with tempfile.TemporaryDirectory(prefix="skmm-") as folder:
        file = Path(folder) / "block"
        file.write_bytes(content)
        try:
            for _ in batches:
                for rows in islice(rest, _AHEAD * n_jobs - len(coming)):
                    coming.append((rows, pool.submit(_read, str(file), rows)))
                asked, future = coming.popleft()
                read, warned_of = future.result()
                if warned_of and not block.warned_of:
                    warnings.warn(warned_of[0], stacklevel=2)
                block.warned_of.update(warned_of)
                if note is not None:  # the reader in this process counts what others could not read
                    note(block.rows[asked], read[1])
                yield read
        except BrokenProcessPool:  # a process was killed; the next call starts anew
            _pool.cache_clear()
            raise
        finally:
            for _, future in coming:
                future.cancel()


@lru_cache(maxsize=2)
def _load(file: str) -> Block:
    return pickle.loads(Path(file).read_bytes())


def _read(file: str, rows: np.ndarray) -> tuple[Read, list[str]]:
    """In another process: rows of a block, and what reading them warned of."""
    # the processes are the parallelism: a loader that reads in threads would start as many in each
    with warnings.catch_warnings(record=True) as caught, parallel_config("sequential"):
        read = _load(file).read(rows)
    return read, [str(w.message) for w in caught]
