"""One modality of one call: its transformer, run over the rows that exist."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from skmm._missing import missing_cells
from skmm._private import safe_indexing
from skmm._warnings import warn
from skmm.blocks import Block, Blocks, is_lazy
from skmm.blocks._kinds import spread
from skmm.columns._tables import pass_through


@contextmanager
def _naming(name: str, table: Any, rows: np.ndarray) -> Iterator[None]:
    """Name the modality, and the row of the whole table, in whatever its transformer raises."""
    try:
        yield
    except Exception as error:
        found = re.search(r"\brow (\d+)", str(error))
        place = int(found[1]) if found else len(rows)
        if place < len(rows):
            label = table.index.tolist()[place] if hasattr(table, "index") else rows[place]
            label = "" if label == rows[place] else f", index {label!r}"
            if label or rows[place] != place:
                error.add_note(
                    f"Row {place} of those that are not missing is row {rows[place]} of the table{label}."
                )
        given = "a 1-D column (a list of columns gives a table)" if len(table.shape) == 1 else "a 2-D table"
        error.add_note(f"Raised in modality {name!r}, whose transformer is given {given}.")
        raise


@dataclass(frozen=True)
class Job:
    """One modality of one call: what its transformer is to do with which columns."""

    name: str
    transformer: Any
    table: Any
    # a block without rows, shaped as in fit: what is left if all rows are missing; None in fit itself
    template: Block | None = None
    y: Any = None
    progress: str = ""
    errors: str = "raise"


def run(job: Job) -> tuple[Any, Block, np.ndarray]:
    """The transformer, fitted in fit, its output over all rows, and which of them exist."""
    start = time.perf_counter()
    missing = missing_cells(job.table)
    if missing.ndim == 2:
        missing = np.all(missing, axis=1)
    rows, n_samples = np.flatnonzero(~missing), len(missing)
    if len(rows) == 0:
        if job.template is None:
            raise ValueError(
                f"modality {job.name!r}: all {n_samples} rows are missing, there is nothing to fit. Leave the "
                "modality out of transformers, or give at least one row that has it."
            )
        return job.transformer, spread(job.template, rows, n_samples), ~missing
    try:
        part = _output(job, rows)
    except Exception as error:  # whatever a transformer raises of a cell that it was not made for
        if job.template is None or job.errors == "raise" or isinstance(error, ImportError):
            raise
        rows = _readable(job, rows)
        missing = ~np.isin(np.arange(n_samples), rows)
        if len(rows) == 0:
            return job.transformer, spread(job.template, rows, n_samples), ~missing
        part = _output(job, rows)
    if len(part) != len(rows):
        transformer = type(job.transformer).__name__
        raise ValueError(f"modality {job.name!r}: {transformer} returned {len(part)} rows, given {len(rows)}.")
    present = ~missing
    present[rows] = part.present[job.name]
    if job.progress:
        print(f"[ModalityTransformer] {job.progress} {job.name}: {time.perf_counter() - start:.1f} s")
    return job.transformer, spread(part[job.name], rows, n_samples), present


def _output(job: Job, rows: np.ndarray) -> Blocks:
    """What the transformer, fitted in fit, makes of some rows."""
    given, y = job.table, job.y
    if len(rows) < len(given):
        given = safe_indexing(given, rows)
        y = None if y is None else safe_indexing(y, rows)
    with _naming(job.name, given, rows):
        if isinstance(job.transformer, str):
            out = pass_through(given)
        elif job.template is not None:
            out = job.transformer.transform(given)
        elif hasattr(job.transformer, "fit_transform"):
            out = job.transformer.fit_transform(given, y)
        else:
            out = job.transformer.fit(given, y).transform(given)
        part = Blocks({job.name: out})
        if job.errors == "missing":
            _check_shape(part[job.name], job.template)
    return part


def _check_shape(block: Block, template: Block | None) -> None:
    """Refuse samples of another shape than those of fit."""
    dense = isinstance(block, np.ndarray) and isinstance(template, np.ndarray)
    if dense and block.shape[1:] != template.shape[1:]:  # type: ignore[union-attr]
        raise ValueError(f"its shape is {block.shape[1:]}, in fit it was {template.shape[1:]}")  # type: ignore[union-attr]


def _readable(job: Job, rows: np.ndarray) -> np.ndarray:
    """Those of some rows that the transformer can read, with one warning of the others."""
    faults: dict[int, str] = {}

    def look(part: np.ndarray) -> None:
        try:
            _output(job, part)
        except Exception as error:  # whatever a transformer raises of a cell that it was not made for
            if len(part) == 1:
                faults[int(part[0])] = re.sub(r"\brow 0\b", f"row {part[0]}", str(error))
            else:
                for half in np.array_split(part, 2):
                    look(half)

    look(rows)
    if faults:
        row, fault = next(iter(faults.items()))
        warn(
            f"modality {job.name!r}: {len(faults)} of {len(rows)} rows cannot be read and are taken as missing, "
            f"the first is row {row}: {fault}"
        )
    return np.array([row for row in rows if row not in faults], dtype=np.intp)


def without_rows(block: Block) -> Block:
    """A block as a template: of its shape and type, without rows."""
    if is_lazy(block):  # it would keep its file
        return np.empty((0, *block.shape[1:]), block.dtype)
    return block[:0].copy() if isinstance(block, np.ndarray) else block[:0]
