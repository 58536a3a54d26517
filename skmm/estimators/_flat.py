"""Modalities as the tables that experts read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from skmm._devices import find_device
from skmm.blocks import Block, Blocks
from skmm.blocks._blocks import is_lazy, trusted_blocks
from skmm.blocks._given import sample_lengths
from skmm.blocks._kinds import side_by_side
from skmm.compose import ModalitySelector
from skmm.compose._summary import is_series
from skmm.estimators._kernels import RandomKernels, affordable, n_kernels
from skmm.inputs._inputs import Inputs
from skmm.inputs._scaling import CLIP, Projection, Scaler, power_of_two
from skmm.training._plan import Folds

_RAREST = 10  # samples that share a word: where even the rarest have more, words were not chosen by that
_ROW_NORM = 5.0  # of a sparse block as a linear model reads it: the same penalties then fit it and dense ones
_GAPS = 30  # samples without a modality, from which on one learns what the others say then
_DIRECTIONS = 64  # of a sparse block, for experts that read dense tables


class RawTables(NamedTuple):
    """Samples as tables, before experts scale them.

    Attributes
    ----------
    tables : dict of str to ndarray or csr_array of shape (n_samples, n_columns)
        Each modality; NaN, or of a sparse one nothing, where a sample lacks it.
    kernels : dict of str to ndarray of shape (n_samples, n_features)
        Random convolutions of sequences; NaN where a sample lacks one.
    """

    tables: dict[str, Any]
    kernels: dict[str, np.ndarray]

    def of_rows(self, rows: np.ndarray) -> RawTables:
        """Some of the samples."""
        tables, kernels = ({name: table[rows] for name, table in part.items()} for part in self)
        return RawTables(tables, kernels)

    def without(self, hidden: dict[str, np.ndarray]) -> RawTables:
        """The same with gaps: of each modality in the samples of a mask (n_samples,)."""
        tables, kernels = ({name: _without(table, hidden[name]) for name, table in part.items()} for part in self)
        return RawTables(tables, kernels)


def _without(table: Any, rows: np.ndarray) -> Any:
    """A table without some rows, which stay as gaps."""
    if not isinstance(table, np.ndarray):
        return sp.csr_array(sp.diags_array((~rows).astype(table.dtype)) @ table)
    return np.where(rows[:, None], np.nan, table)


class FlatForm:
    """How each modality becomes a table, one row per sample, learned in fit.

    ``raw`` is what :class:`ModalitySelector` makes of it in its summary form: vectors as they are, statistics of
    sequences and pictures, sparse blocks and counts of tokens as CSR. ``scaled`` standardises that, fills gaps with
    means and clips, for linear models; ``dense`` has the principal directions of what is sparse, for trees;
    ``kernels`` has random convolutions of sequences in place of their statistics, for linear models.

    Parameters
    ----------
    inputs : Inputs
        What the estimator knows of its modalities.
    blocks : Blocks
        The samples that train.
    weights : ndarray of shape (n_samples,)
        Their weights.
    seed : int, optional
        What random convolutions are drawn from; without there are none.

    Attributes
    ----------
    names : list of str
        Modalities that have such a form: those in memory whose samples are numbers.
    kernels : dict of str to RandomKernels
        Of sequences, where their size allows it.
    """

    kernels: Mapping[str, RandomKernels] = MappingProxyType({})  # files from before have none

    def __init__(self, inputs: Inputs, blocks: Blocks, weights: np.ndarray, seed: int | None = None) -> None:
        self.inputs = inputs
        self.names = [name for name in inputs.infos if name in blocks and self._readable(name, blocks)]
        self.selectors = {
            name: ModalitySelector(name, form="summary").fit(self._block(name, blocks)) for name in self.names
        }
        self.gaps = np.array([(~blocks.present[name]).sum() >= _GAPS for name in self.names], dtype=bool)
        self.widths = {name: len(s.get_feature_names_out()) for name, s in self.selectors.items()}
        self.scalers: dict[str, Scaler] = {}
        self.projections: dict[str, Projection] = {}
        self.kernels = {} if seed is None else self._kernels_of(blocks, weights, seed)
        self.kernel_scalers: dict[str, Scaler] = {}

    @classmethod
    def learned(
        cls, inputs: Inputs, blocks: Blocks, weights: np.ndarray, seed: int | None = None
    ) -> tuple[FlatForm, RawTables]:
        """The form of the samples that train, and these in it."""
        form = cls(inputs, blocks, weights, seed)
        raw = form.raw(blocks)
        for name, table in raw.tables.items():
            own = weights * blocks.present[name]
            if sp.issparse(table):
                form.projections[name] = Projection(table, own, _DIRECTIONS)
                form.scalers[name] = Scaler(np.zeros(1), np.array([_row_norm(table, own) / _ROW_NORM]))
            else:
                form.scalers[name] = _scaler_with_gaps(table, own)
        for name, table in raw.kernels.items():
            form.kernel_scalers[name] = _scaler_with_gaps(table, weights * blocks.present[name])
        return form, raw

    def _kernels_of(self, blocks: Blocks, weights: np.ndarray, seed: int) -> dict[str, RandomKernels]:
        """Random convolutions of sequences that are numbers, where these are not too many."""
        shapes = {
            name: s.shapes_[name]
            for name, s in self.selectors.items()
            if name not in self.inputs.sources and name not in s.ids_
        }
        sequences = [name for name, shape in shapes.items() if is_series(shape)]
        found = {}
        for name in sequences:
            n_steps, n_channels = int(sample_lengths(blocks, name).sum()), int(np.prod(shapes[name][1:]))
            if affordable(len(blocks), n_steps, n_channels, len(sequences)):
                own = weights * blocks.present[name]
                rng = np.random.default_rng([seed, self.names.index(name)])
                found[name] = RandomKernels(blocks[name], own, n_kernels(len(sequences)), rng)
        return found

    def _readable(self, name: str, blocks: Blocks) -> bool:
        """Whether it is in memory, and not raw input of an encoder that is trained on it."""
        trained = name in self.inputs.readers and name not in self.inputs.sources
        return not trained and not is_lazy(blocks[name]) and bool(blocks.present[name].any())

    def _block(self, name: str, blocks: Blocks) -> Blocks:
        """A modality alone; of a frozen encoder the vectors that it makes."""
        block: Block = blocks[name]
        present = blocks.present[name]
        if name in self.inputs.sources:
            kind = self.inputs.sources[name].kind
            block, present = self.inputs.readers[name].vectors(name, kind, block, present, find_device("auto"))
            block = np.asarray(block)
        return trusted_blocks({name: block}, {name: present}, len(blocks))

    def present(self, blocks: Blocks) -> np.ndarray:
        """Which of the modalities each sample has, (n, number of names)."""
        nothing = np.zeros(len(blocks), dtype=bool)
        return np.stack([blocks.present.get(name, nothing) for name in self.names], axis=1)

    def told(self, present: np.ndarray, names: Sequence[str]) -> np.ndarray:
        """Of which samples one who reads these modalities side by side can say something, (n,), by ``present``.

        They have some, and lack none that hardly a sample in training lacked: what stands there in its place means
        nothing to who never saw it.
        """
        places = [self.names.index(name) for name in names]
        present = present[:, places]
        return np.asarray(present.any(axis=1) & (present | self.gaps[places]).all(axis=1))

    def raw(self, blocks: Blocks, *, kernels: bool = True) -> RawTables:
        """Each modality as a table; ``kernels`` says whether random convolutions are wanted."""
        tables = {}
        for name in self.names:
            if name in blocks:
                tables[name] = self.selectors[name].transform(self._block(name, blocks))
            else:
                shape = len(blocks), self.widths[name]
                sparse = name in self.projections
                tables[name] = sp.csr_array(shape, dtype=np.float32) if sparse else np.full(shape, np.nan)
        convolved = {}
        for name, own in self.kernels.items() if kernels else ():
            if name in blocks:
                convolved[name] = own.table(blocks[name], blocks.present[name])
            else:
                convolved[name] = np.full((len(blocks), own.n_features), np.nan, dtype=np.float32)
        return RawTables(tables, convolved)

    def table(self, raw: RawTables, names: Sequence[str], form: str) -> Any:
        """Some modalities side by side, in one of the forms: dense, or CSR if any is sparse."""
        return side_by_side([getattr(self, f"_{form}")(name, raw) for name in names])

    def _raw(self, name: str, raw: RawTables) -> Any:
        return raw.tables[name]

    def _scaled(self, name: str, raw: RawTables) -> Any:
        table, scaler = raw.tables[name], self.scalers[name]
        if sp.issparse(table):
            return table / scaler.scale
        return _standardised(table, scaler)

    def _dense(self, name: str, raw: RawTables) -> Any:
        table = raw.tables[name]
        if sp.issparse(table):
            table = self.projections[name].apply(table)
        return np.asarray(table, dtype=np.float32)

    def _kernels(self, name: str, raw: RawTables) -> Any:
        if name in self.kernels:
            return _standardised(raw.kernels[name], self.kernel_scalers[name])
        return self._scaled(name, raw)


def _standardised(table: np.ndarray, scaler: Scaler) -> np.ndarray:
    """In deviations, clipped, 0 in gaps."""
    scaled = np.clip((table - scaler.mean) / scaler.scale, -CLIP, CLIP)
    return np.nan_to_num(scaled, nan=0.0)


def _scaler_with_gaps(table: np.ndarray, weights: np.ndarray) -> Scaler:
    """Mean and deviation of each column over the cells that are there."""
    each = np.where(np.isnan(table), 0.0, weights[:, None])
    total = each.sum(axis=0).clip(min=np.finfo(np.float64).tiny)
    filled = np.nan_to_num(table.astype(np.float64), nan=0.0)
    unit = power_of_two(filled)
    filled /= unit
    mean = (each * filled).sum(axis=0) / total
    deviation = np.sqrt((each * (filled - mean) ** 2).sum(axis=0) / total)
    return Scaler(mean * unit, np.where(deviation > 0, deviation * unit, 1.0))


def _row_norm(table: Any, weights: np.ndarray) -> float:
    """Root mean square over the samples of the norm of a sparse row."""
    largest = float(np.abs(table.data).max(initial=0.0)) or 1.0
    table = table / largest
    squares = np.asarray(table.multiply(table).sum(axis=1)).ravel()
    return largest * (float(np.sqrt(np.average(squares, weights=weights))) or 1.0)


def as_unseen(blocks: Blocks, folds: Folds) -> Blocks:
    """The samples as they would be read, had those of their own fold not been seen: (n,) blocks and folds.

    The words of a text were chosen from all samples: one that only a sample of the fold shares with another would
    not be among them without it. So of sparse blocks the entries go whose column is rarer in what was seen than the
    rarest is in all. Otherwise out-of-fold predictions are better than those of new samples, and are trusted.
    """
    changed = {}
    for name, block in blocks.items():
        if not sp.issparse(block) or is_lazy(block) or not len(folds):
            continue
        block = sp.csr_array(block, copy=True)
        owner = np.repeat(np.arange(len(blocks)), np.diff(block.indptr))
        counts = np.bincount(block.indices, minlength=block.shape[1])
        rarest = counts[counts > 0].min() if counts.any() else 1
        if rarest > _RAREST:
            continue
        fold = folds.fold[owner]
        for f, seen in enumerate(folds.seen):
            known = np.bincount(block.indices[seen[owner]], minlength=block.shape[1]) >= rarest
            block.data[(fold == f) & ~known[block.indices]] = 0
        block.eliminate_zeros()
        changed[name] = block
    if not changed:
        return blocks
    return trusted_blocks({name: changed.get(name, blocks[name]) for name in blocks}, blocks.present, len(blocks))
