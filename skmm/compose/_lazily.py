"""A ModalityTransformer on a table larger than memory: fitted to a sample or in passes, applied when it is read."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from skmm._missing import missing_cells
from skmm._private import safe_indexing
from skmm.blocks import Block, Blocks, LazyTable, RaggedArray, block_kind, is_lazy
from skmm.blocks._kinds import LazyRows, StoredRows, as_kind
from skmm.columns._tables import as_frame, find_columns, select
from skmm.compose._jobs import Job, run, without_rows

if TYPE_CHECKING:
    from skmm.compose._transformer import ModalityTransformer

_AT_A_TIME = 10_000  # rows of a pass
_SHOWN = 100  # rows whose output says of what form a transformer's is, after passes


class TransformedRows(StoredRows):
    """Columns of a table on disk as the base of a lazily read block: what a fitted transformer makes of the rows.

    Parameters
    ----------
    table : LazyTable
        The table.
    columns : list of str
        Columns of the modality.
    single : bool
        Whether the transformer is given a 1-D column.
    job : Job
        What the transformer is to do; of its table nothing is read.
    """

    def __init__(self, table: LazyTable, columns: list[str], single: bool, job: Job) -> None:
        self.reader = table.reader(columns)
        self.runs = self.reader.runs
        self.positions = 0 if single else list(range(len(columns)))
        self.job = job
        form = _lazy_form(job.template)
        self.template = None if isinstance(form, np.ndarray) else form
        self.dtype = form.dtype
        inner = () if isinstance(form, RaggedArray) else form.shape[1:]
        self.shape = (int(self.runs.starts[-1]), *inner)

    def read(self, rows: np.ndarray) -> tuple[Block, np.ndarray]:
        """Block of the rows of these numbers, sorted, and which of them exist."""
        frame = as_frame(self.reader.read(rows))
        frame.index = rows  # by which a message names the row of a cell
        _, block, present = run(replace(self.job, table=select(frame, self.positions)))
        if is_lazy(block):
            block, exists = block.read(np.arange(len(rows)))
            present = present & exists
        return self._formed(block), present

    def _formed(self, block: Block) -> Block:
        """A block in the form that all batches have."""
        form = _lazy_form(self.job.template)
        block = as_kind(block, (block_kind(form),))
        if isinstance(form, RaggedArray) and isinstance(block, np.ndarray):
            block = RaggedArray.from_padded(block, np.full(len(block), block.shape[1]))
        same = type(block) is type(form) or (sp.issparse(block) and sp.issparse(form))
        shapes = [x.inner_shape if isinstance(x, RaggedArray) else x.shape[1:] for x in (block, form)]
        if not same or (shapes[0] != shapes[1] and len(block)):
            raise ValueError(
                f"modality {self.job.name!r}: {type(self.job.transformer).__name__} made {block_kind(block)} "
                f"samples of shape {shapes[0]} of some rows; in fit they were {block_kind(form)} of {shapes[1]}."
            )
        return block.astype(self.dtype, copy=False) if isinstance(block, np.ndarray) else block


def _lazy_form(template: Block) -> Block:
    """The form of what is read: sequences may differ in length whatever those of one batch do."""
    if isinstance(template, np.ndarray) and block_kind(template) == "sequence":
        return RaggedArray(template.reshape(0, *template.shape[2:]), np.zeros(1, dtype=np.int64))
    return template


def sampled(table: LazyTable, n: int | None, *others: Any) -> tuple[Any, ...]:
    """At most ``n`` rows of a table as a DataFrame, and the same rows of what goes along with it, if given."""
    rows = table.sample(_AT_A_TIME if n is None else n)
    frame = table.frame(rows)
    frame.index = rows
    return (frame, *(None if other is None else safe_indexing(other, rows) for other in others))


def transform_lazily(made: ModalityTransformer, table: LazyTable) -> Blocks:
    """Blocks whose batches are transformed when they are read."""
    positions = find_columns(table, made._positions, made._names, made.n_features_in_)
    blocks, present = {}, {}
    for name, where in positions.items():
        columns = [table.columns[place] for place in np.atleast_1d(where).tolist()]
        transformer = made.named_transformers_[name]
        job = Job(name, transformer, None, made._templates[name], errors=made.errors)
        base = TransformedRows(table, columns, isinstance(where, int), job)
        blocks[name] = LazyRows(base, table.all_stored)
        present[name] = table.present(columns)
    return Blocks(blocks, present=present)


def fit_in_passes(made: ModalityTransformer, table: LazyTable, y: Any) -> None:
    """Fit each transformer by its ``partial_fit``, on all rows of the table in turn."""
    active = made._look_at(table.frame(table.sample(_SHOWN)))
    for name, transformer, *_ in active:
        if not isinstance(transformer, str) and not hasattr(transformer, "partial_fit"):
            raise ValueError(
                f"modality {name!r}: n_fit_samples=None fits in passes over the table, for which a transformer "
                f"needs partial_fit, and {type(transformer).__name__} has none. Give a number of rows to fit it "
                "to, n_fit_samples=10_000, or a transformer that has, such as HashingVectorizer or StandardScaler."
            )
    columns = {name: [table.columns[p] for p in np.atleast_1d(where).tolist()] for name, *_, where in active}
    for rows, frame in table.frames(_AT_A_TIME):
        for _, transformer, _, where in active:
            if not isinstance(transformer, str):
                _fit_part(transformer, select(frame, where), None if y is None else safe_indexing(y, rows))
    shown = {}
    for name, transformer, _, where in active:
        rows = np.flatnonzero(table.present(columns[name]))[:_SHOWN]
        frame = table.frame(rows)
        shown[name] = run(Job(name, transformer, select(frame, where), template=np.empty((0, 1))))[1]
    made._keep({name: transformer for name, transformer, *_ in active})
    made._templates = {name: without_rows(block) for name, block in shown.items()}


def _fit_part(transformer: Any, part: Any, y: Any) -> None:
    missing = missing_cells(part)
    rows = np.flatnonzero(~(np.all(missing, axis=1) if missing.ndim == 2 else missing))
    if len(rows):
        transformer.partial_fit(safe_indexing(part, rows), None if y is None else safe_indexing(y, rows))
