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
    given, y = job.table, job.y
    if len(rows) < n_samples:
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
    if len(part) != len(rows):
        transformer = type(job.transformer).__name__
        raise ValueError(f"modality {job.name!r}: {transformer} returned {len(part)} rows, given {len(rows)}.")
    present = ~missing
    present[rows] = part.present[job.name]
    if job.progress:
        print(f"[ModalityTransformer] {job.progress} {job.name}: {time.perf_counter() - start:.1f} s")
    return job.transformer, spread(part[job.name], rows, n_samples), present


def without_rows(block: Block) -> Block:
    """A block as a template: of its shape and type, without rows."""
    if is_lazy(block):  # it would keep its file
        return np.empty((0, *block.shape[1:]), block.dtype)
    return block[:0].copy() if isinstance(block, np.ndarray) else block[:0]
