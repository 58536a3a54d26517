"""Blocks to tensors: what a fitted estimator remembers of its input, and the data that batches are cut from."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import scipy.sparse as sp
import torch
from sklearn.utils.extmath import randomized_svd
from torch import Tensor, nn

from skmm.blocks import KINDS, Block, BlockInfo, Blocks, RaggedArray, block_kind, is_lazy, sample_shape
from skmm.layers import SparseRows
from skmm.network import Masks, Values
from skmm.prefetch import Read, read_ahead
from skmm.spec import Encoder, as_spec, unknown

CLIP = 5.0  # standardised inputs past this many deviations say no more
_CHUNK = 1 << 22  # values converted at a time, so that no whole block is ever copied to float64


def as_kind(block: Block, wanted: tuple[str, ...]) -> Block:
    """A block as one of the kinds wanted, where the two differ in form alone."""
    kind = block_kind(block)
    if kind in wanted or isinstance(block, RaggedArray) or is_lazy(block):
        return block
    if kind == "sparse":
        return block.toarray() if "vector" in wanted else block
    if kind == "vector" and "sparse" in wanted:
        return sp.csr_array(block)
    if kind == "vector" and "tokens" in wanted and block.dtype.kind in "iu":
        n, length = block.shape
        return RaggedArray(block.reshape(-1), np.arange(n + 1, dtype=np.int64) * length)
    if kind == "vector" and "sequence" in wanted:
        return block[:, :, None]
    if kind == "sequence" and "image" in wanted:
        return block[:, :, :, None]
    if kind == "image" and "sequence" in wanted and block.ndim == 3:
        return block.astype(np.float32)
    return block


def _chunks(block: Block, present: np.ndarray, n_jobs: int | None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows that exist, some at a time, as float64 (rows or steps, *shape), with the row of each."""
    rows = np.flatnonzero(present)
    if isinstance(block, RaggedArray):
        part = block[rows]
        yield part.values.astype(np.float64), np.repeat(rows, part.lengths)
        return
    size = max(1, _CHUNK // max(1, math.prod(block.shape[1:])))
    parts = [rows[start : start + size] for start in range(0, len(rows), size)]
    if is_lazy(block):
        for chosen, (values, exists) in zip(parts, read_ahead(block, parts, n_jobs), strict=True):
            yield values[exists].astype(np.float64), chosen[exists]
        return
    whole = len(rows) == len(present)
    for chosen in parts:
        part = block[chosen[0] : chosen[-1] + 1] if whole else block[chosen]
        yield np.asarray(part, dtype=np.float64), chosen


class Scaler:
    """Shift and scale of one modality, learned in fit.

    A vector is standardised per feature, a sequence, image or video per channel; a sparse block is only scaled, by
    the root mean square of its stored values. Weighted by the sample weights; constant features are left alone.
    """

    def __init__(self, mean: np.ndarray, scale: np.ndarray) -> None:
        self.mean = mean
        self.scale = scale

    @classmethod
    def fit(cls, block: Block, present: np.ndarray, weights: np.ndarray, n_jobs: int | None = None) -> Scaler:
        """Learn from the rows that exist, in one pass; ``n_jobs`` processes read a lazy block."""
        if sp.issparse(block):
            each = np.repeat(weights * present, np.diff(block.indptr))
            stored = block.data.astype(np.float64)
            stored = np.where(each > 0, stored, 0.0)
            mass = each[stored != 0].sum()
            rms = math.sqrt((each * stored**2).sum() / mass) if mass else 1.0
            return cls(np.zeros(1), np.array([rms or 1.0]))
        # a picture of (height, width) has one channel, not one for each column
        channels = 1 if block_kind(block) == "image" and len(block.shape) == 3 else sample_shape(block)[-1]
        total, mean, squares = 0.0, np.zeros(channels), np.zeros(channels)
        for x, rows in _chunks(block, present, n_jobs):
            each, flat = cls._per_channel(x, weights[rows], channels)
            mass = each.sum()
            if not mass:
                continue
            # moments of the parts joined, as in Chan et al. 1983
            own = each @ flat / mass
            away = own - mean
            squares += each @ (flat - own) ** 2 + away**2 * (total * mass / (total + mass))
            mean = mean + away * (mass / (total + mass))
            total += mass
        if not total:
            return cls(np.zeros(channels), np.ones(channels))
        scale = np.sqrt(squares / total)
        # a constant feature has a deviation of rounding errors, not of information
        constant = scale <= 10 * np.finfo(np.float64).eps * np.maximum(np.abs(mean), 1e-300)
        return cls(mean, np.where(constant, 1.0, scale))

    @staticmethod
    def _per_channel(x: np.ndarray, weights: np.ndarray, channels: int) -> tuple[np.ndarray, np.ndarray]:
        flat = x.reshape(-1, channels)
        return np.repeat(weights, len(flat) // max(1, len(x))), flat

    def apply(self, x: Tensor, out: Tensor | None = None) -> Tensor:
        """Standardise (*, d) in the precision of x; ``out`` may be x itself."""
        mean = torch.as_tensor(self.mean, dtype=x.dtype, device=x.device)
        scale = torch.as_tensor(self.scale, dtype=x.dtype, device=x.device)
        return torch.sub(x, mean, out=out).div_(scale).clamp_(-CLIP, CLIP)


class Projection:
    """Principal directions of a wide sparse block, learned in fit: a dense copy of few columns for its encoder.

    Truncated singular value decomposition of the rows, not centred so that they stay sparse (latent semantic
    analysis, Deerwester et al. 1990), and one scale for all components.

    Parameters
    ----------
    block : sparse matrix of shape (n_samples, n_features)
        Training rows.
    weights : ndarray of shape (n_samples,)
        Their weights, 0 for missing rows.
    n_components : int
        Directions wanted; fewer are kept where there are not as many rows or columns.
    """

    def __init__(self, block: Block, weights: np.ndarray, n_components: int) -> None:
        rows = np.flatnonzero(weights > 0)
        weighted = sp.diags_array(np.sqrt(weights[rows])) @ sp.csr_array(block)[rows].astype(np.float64)
        k = min(n_components, *weighted.shape)
        _, singular, directions = randomized_svd(weighted, k, random_state=0)
        scale = math.sqrt((singular**2).sum() / (weights[rows].sum() * k)) or 1.0
        self.matrix = (directions / scale).T

    def apply(self, block: Block) -> np.ndarray:
        """(n, n_features) sparse -> (n, n_components)."""
        return sp.csr_array(block) @ self.matrix


class _Column(Protocol):
    """One modality's data, ready to be cut into batches by row numbers of any shape."""

    def take(self, rows: Tensor) -> tuple[Any, Tensor]: ...


def _like(mask: Tensor, x: Tensor) -> Tensor:
    """A mask over the first axes of x, with further axes of size 1."""
    return mask.view(*mask.shape, *[1] * (x.ndim - mask.ndim))


class _Vectors:
    """Vectors that every sample has, side by side in one tensor: one read serves all these modalities."""

    def __init__(self, parts: list[Tensor]) -> None:
        self.data = parts[0] if len(parts) == 1 else torch.cat(parts, 1)
        self.sizes = [part.shape[1] for part in parts]
        self.true = torch.ones((), dtype=torch.bool, device=self.data.device)

    def take(self, rows: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        return take_rows(self.data, rows).split(self.sizes, -1), self.true.expand(rows.shape)


def take_rows(data: Tensor, rows: Tensor) -> Tensor:
    """``data[rows]`` for rows of any shape, by the faster of torch's ways."""
    if rows.ndim == 1:
        return data.index_select(0, rows)
    return data.index_select(0, rows.reshape(-1)).view(*rows.shape, *data.shape[1:])


class _Dense:
    """Samples of one shape. Floats were scaled once; other types are when a batch is cut."""

    def __init__(
        self, data: Tensor, present: Tensor | None, scaler: Scaler | None, dtype: torch.dtype, *, sequence: bool
    ) -> None:
        self.data, self.present, self.scaler, self.dtype, self.sequence = data, present, scaler, dtype, sequence
        self.true = torch.ones((), dtype=torch.bool, device=data.device)

    def take(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        x = take_rows(self.data, rows)
        mask = self.true.expand(rows.shape) if self.present is None else take_rows(self.present, rows)
        if x.dtype != self.dtype:
            x = x.to(self.dtype)
            if self.scaler is not None:
                x = self.scaler.apply(x)
            if self.present is not None:
                x = torch.where(_like(mask, x), x, 0.0)
        if self.sequence:
            mask = mask.unsqueeze(-1).expand(*rows.shape, x.shape[rows.ndim])
        return x, mask


class _Ragged:
    """Samples of different lengths, filled up with zeros to the longest of the batch."""

    def __init__(self, values: Tensor, offsets: Tensor) -> None:
        self.values, self.starts, self.lengths = values, offsets[:-1], offsets.diff()

    def take(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        lengths = self.lengths[rows]
        step = torch.arange(max(1, int(lengths.max())), device=rows.device)
        mask = step < lengths.unsqueeze(-1)
        x = self.values[torch.where(mask, self.starts[rows].unsqueeze(-1) + step, 0)]
        return torch.where(_like(mask, x), x, 0), mask


class _Sparse:
    """Rows of a CSR matrix, filled up with zeros to the one that stores most."""

    def __init__(
        self, columns: Tensor, weights: Tensor, offsets: Tensor, compressed: Tensor, present: Tensor
    ) -> None:
        self.columns, self.weights = _Ragged(columns, offsets), _Ragged(weights, offsets)
        self.compressed, self.present = compressed, present

    def take(self, rows: Tensor) -> tuple[SparseRows, Tensor]:
        columns = self.columns.take(rows)[0].long()
        stored = SparseRows(columns, self.weights.take(rows)[0], take_rows(self.compressed, rows))
        return stored, take_rows(self.present, rows)


class _Lazy:
    """Samples that are read when a batch needs them, or ahead of it."""

    def __init__(
        self,
        block: Block,
        present: Tensor,
        scaler: Scaler | None,
        dtype: torch.dtype,
        name: str,
        n_jobs: int | None,
    ) -> None:
        self.block, self.present, self.scaler, self.dtype, self.name = block, present, scaler, dtype, name
        self.n_jobs = n_jobs
        self.sequence = block_kind(block) == "sequence"

    def take(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        return next(self.stream([rows]))

    def stream(self, batches: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """What ``take`` gives for each batch in turn."""
        flat = [rows.reshape(-1) for rows in batches]
        there = [take_rows(self.present, rows) for rows in flat]
        wanted = [rows[mask].cpu().numpy() for rows, mask in zip(flat, there, strict=True)]
        reading = read_ahead(self.block, wanted, self.n_jobs)
        for rows, mask, numbers in zip(batches, there, wanted, strict=True):
            with _naming(self.name):
                read = next(reading)
            yield self._finish(rows, mask, numbers, read)

    def _finish(self, rows: Tensor, mask: Tensor, numbers: np.ndarray, read: Read) -> tuple[Tensor, Tensor]:
        """A batch of the rows, of which those of ``mask``, with these numbers, were read."""
        values, exists = read
        x = torch.from_numpy(values).to(rows.device, self.dtype)
        if values.dtype.kind == "f" and not torch.isfinite(x).all():
            finite = torch.isfinite(x.flatten(1)).all(1).cpu().numpy()
            bad = np.flatnonzero(exists & ~finite)
            if len(bad):
                raise ValueError(
                    f"modality {self.name!r}, row {numbers[bad[0]]}: NaN or infinity in a lazily read block."
                )
        if self.scaler is not None:
            x = self.scaler.apply(x, out=x)  # what was read is nobody else's
        if len(numbers) < len(mask) or not exists.all():
            found = torch.from_numpy(exists).to(rows.device)
            full = x.new_zeros(len(mask), *x.shape[1:])
            full[mask] = torch.where(_like(found, x), x, 0.0)
            mask = mask.masked_scatter(mask, found)
            x = full
        x, mask = x.reshape(*rows.shape, *x.shape[1:]), mask.reshape(rows.shape)
        if self.sequence:
            mask = mask.unsqueeze(-1).expand(*rows.shape, x.shape[rows.ndim])
        return x, mask


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Name the modality in whatever its block raises."""
    try:
        yield
    except Exception as error:
        error.add_note(f"Raised in modality {name!r}, while its block was read.")
        raise


class _Absent:
    """A modality that no sample has: zeros, made when a batch is cut."""

    def __init__(self, info: BlockInfo, dtype: torch.dtype, device: torch.device) -> None:
        self.info, self.device = info, device
        self.dtype = torch.int64 if info.kind == "tokens" else dtype
        self.steps = (info.length or 1,) if info.kind in ("sequence", "tokens") else ()

    def take(self, rows: Tensor) -> tuple[Any, Tensor]:
        def zeros(*shape: int, dtype: torch.dtype = self.dtype) -> Tensor:
            return torch.zeros(*rows.shape, *shape, dtype=dtype, device=self.device)

        mask = zeros(*self.steps, dtype=torch.bool)
        if self.info.kind == "sparse":
            return SparseRows(zeros(1, dtype=torch.int64), zeros(1), zeros(self.info.n_components)), mask
        return zeros(*self.steps, *(() if self.info.kind == "tokens" else self.info.shape)), mask


class Batches:
    """All modalities of some samples on one device, from which batches are cut by row numbers."""

    def __init__(self, columns: dict[str, _Column | Tensor], n_samples: int, device: torch.device) -> None:
        self.names = list(columns)
        self.columns = {name: c for name, c in columns.items() if not isinstance(c, Tensor)}
        vectors = {name: c for name, c in columns.items() if isinstance(c, Tensor)}
        self.vector_names = list(vectors)
        self.vectors = _Vectors(list(vectors.values())) if vectors else None
        self.n_samples = n_samples
        self.device = device

    def __len__(self) -> int:
        return self.n_samples

    @property
    def lazy(self) -> bool:
        """Whether a modality is read when a batch needs it, so that no row should be cut oftener than needed."""
        return any(isinstance(column, _Lazy) for column in self.columns.values())

    @property
    def numbers(self) -> int:
        """Numbers in one sample of the largest dense modality."""
        return max((c.data[0].numel() for c in self.columns.values() if isinstance(c, _Dense)), default=1)

    def stream(self, batches: Sequence[Tensor]) -> Iterator[tuple[Values, Masks]]:
        """What :meth:`take` gives for each batch of rows in turn, what is read lazily being read ahead."""
        ahead = {n: c.stream(batches) for n, c in self.columns.items() if isinstance(c, _Lazy)}
        for rows in batches:
            yield self.take(rows, {name: next(batch) for name, batch in ahead.items()})

    def take(self, rows: Tensor, read: Mapping[str, Any] | None = None) -> tuple[Values, Masks]:
        """Values and masks of the rows; ``rows`` (B,) or (K, B), as the result's leading axes.

        What was ``read`` of modalities already is not cut again.
        """
        values: dict[str, Any] = dict.fromkeys(self.names)
        present: dict[str, Any] = dict.fromkeys(self.names)  # in the order of the modalities
        if self.vectors is not None:
            parts, mask = self.vectors.take(rows)
            for name, part in zip(self.vector_names, parts, strict=True):
                values[name], present[name] = part, mask
        for name, column in self.columns.items():
            values[name], present[name] = read[name] if read and name in read else column.take(rows)
        return values, present


class Inputs:
    """What a fitted estimator remembers of its modalities: names, kinds, shapes and scaling.

    Parameters
    ----------
    blocks : Blocks
        Training samples.
    weights : ndarray of shape (n_samples,)
        Sample weights, for the scaling.
    encoders : dict of str to encoder
        The encoder chosen for each modality, whose kinds decide how a block is read.
    scale : bool
        Whether to learn a scaling.
    sparse_components : int or None
        Size of the dense copy of a sparse block that is wider than that.
    dropped : bool
        Whether training drops modalities at random, and so knows samples without them.
    n_jobs : int or None
        Processes that read lazy blocks.
    device : torch.device
        Where a frozen encoder's model runs.
    """

    def __init__(
        self,
        blocks: Blocks,
        weights: np.ndarray,
        encoders: Mapping[str, Any],
        scale: bool,
        sparse_components: int | None = None,
        *,
        dropped: bool = False,
        n_jobs: int | None = None,
        device: torch.device,
    ) -> None:
        self.n_jobs = n_jobs
        self.wanted = {name: _kinds_of(choice) for name, choice in encoders.items()}
        self.readers = {name: r for name, choice in encoders.items() if (r := _reader_of(name, choice)) is not None}
        self.raw: dict[str, BlockInfo] = {}  # of modalities that a frozen encoder turns into vectors, what it reads
        self.infos: dict[str, BlockInfo] = {}
        self.seen: set[str] = set()  # modalities that some training sample had
        self.lacked: set[str] = set(blocks) if dropped else set()  # and that some lacked
        self._note(blocks)
        blocks = self._convert(blocks)
        self.scalers: dict[str, Scaler | None] = {}
        self.projections: dict[str, Projection] = {}
        for name, block in blocks.items():
            self.infos[name] = info = _info(name, block)
            present, reader = blocks.present[name], self.readers.get(name)
            if reader is not None:
                reader.check(name, info.kind, block)
                if reader.frozen:
                    self.raw[name] = info
                    block, present = reader.vectors(name, info.kind, block, present, device)
                    self.infos[name] = info = BlockInfo("vector", block.shape[1:], source=info.kind)
            if info.kind == "sparse" and sparse_components is not None and info.shape[0] > sparse_components:
                self.projections[name] = projection = Projection(block, weights * present, sparse_components)
                self.infos[name] = replace(info, n_components=projection.matrix.shape[1])
            learn = scale and info.kind != "tokens" and (reader is None or reader.frozen)
            with _naming(name):
                self.scalers[name] = Scaler.fit(block, present, weights, n_jobs) if learn else None

    def _note(self, blocks: Blocks) -> None:
        """Remember which modalities samples had, and which they lacked."""
        self.seen.update(name for name, mask in blocks.present.items() if mask.any())
        self.lacked.update(name for name, mask in blocks.present.items() if not mask.all())
        self.lacked.update(self.infos.keys() - blocks.keys())

    def _convert(self, blocks: Blocks) -> Blocks:
        converted = {name: as_kind(block, self._read_as(name)) for name, block in blocks.items()}
        return Blocks._trusted(converted, blocks.present, len(blocks))

    def _read_as(self, name: str) -> tuple[str, ...]:
        """Kinds that a block may have: before the fit those of its encoder, then the one that was fitted."""
        return (self._read_info(name).kind,) if name in self.infos else self.wanted[name]

    def _read_info(self, name: str) -> BlockInfo:
        """The block as it comes in, which a frozen encoder turns into vectors."""
        return self.raw.get(name, self.infos[name])

    @property
    def n_features(self) -> int:
        """Numbers per sample; per step for a sequence without one length."""
        return sum(math.prod(info.shape) * (info.length or 1) for info in self.infos.values())

    def check(self, blocks: Blocks, *, training: bool = False) -> Blocks:
        """Samples as training's were, or an error that names the modality and what was expected.

        A modality may be absent as a whole where training knew samples without it. What ``training`` goes on with
        adds to what is known.
        """
        if training:
            self._note(blocks)
        for name in self.infos:
            if name not in blocks and name not in self.lacked:
                raise ValueError(
                    f"modality {name!r} is missing; fitted with {list(self.infos)}, got {list(blocks)}, and no "
                    "training sample lacked it. An estimator learns to do without a modality from samples that "
                    "lack it, or with modality_dropout, e.g. modality_dropout=0.2."
                )
        for name in blocks:
            if name not in self.infos:
                raise unknown("modality", name, self.infos)
            if name not in self.seen and blocks.present[name].any():
                raise ValueError(
                    f"modality {name!r}, row {blocks.present[name].argmax()}: there is a value, but every training "
                    "sample lacked this modality, so nothing is known of it."
                )
        blocks = self._convert(blocks.select(name for name in self.infos if name in blocks))
        for name, block in blocks.items():
            info = self._read_info(name)
            kind = block_kind(block)
            if kind != info.kind:
                raise ValueError(
                    f"modality {name!r} was {info.kind} in fit ({KINDS[info.kind]}), now it is {kind}."
                )
            if kind != "tokens" and sample_shape(block) != info.shape:
                raise ValueError(
                    f"modality {name!r} has {_shape_text(kind, sample_shape(block))}, "
                    f"fitted with {_shape_text(kind, info.shape)}."
                )
            if name in self.readers:
                self.readers[name].check(name, kind, block)
        check_finite(blocks)
        return blocks

    def dtype(self, blocks: Blocks) -> torch.dtype:
        """float64 where every block is given in that precision, as scikit-learn keeps it; else float32."""
        numeric = [
            np.dtype(np.float32) if name in self.raw else b.dtype
            for name, b in blocks.items()
            if self.infos[name].kind != "tokens"
        ]
        wide = bool(numeric) and all(np.result_type(np.float32, t) == np.float64 for t in numeric)
        return torch.float64 if wide else torch.float32

    def load(self, blocks: Blocks, dtype: torch.dtype, device: torch.device) -> Batches:
        """Move checked blocks to a device, scaled, with zeros where a sample or a whole modality is missing."""
        blocks = self._convert(blocks.select(name for name in self.infos if name in blocks))
        columns = {
            name: self._column(name, blocks[name], blocks.present[name], dtype, device)
            if name in blocks
            else _Absent(info, dtype, device)
            for name, info in self.infos.items()
        }
        return Batches(columns, len(blocks), device)

    def _column(
        self, name: str, block: Block, present: np.ndarray, dtype: torch.dtype, device: torch.device
    ) -> _Column | Tensor:
        scaler = self.scalers[name]
        if name in self.raw:
            block, present = self.readers[name].vectors(name, self.raw[name].kind, block, present, device)
        exists = torch.from_numpy(present).to(device)
        if is_lazy(block):
            return _Lazy(block, exists, scaler, dtype, name, self.n_jobs)
        if sp.issparse(block):
            # a matrix may be as large as memory allows: no copy that is wider than the matrix itself
            stored = np.where(np.repeat(present, np.diff(block.indptr)), block.data, 0)
            stored = stored.astype(np.result_type(stored, np.float32), copy=False)
            if scaler is not None:
                stored /= scaler.scale[0]
            weights = _tensor(stored, dtype).to(device)
            columns = torch.from_numpy(np.array(block.indices)).to(device)
            offsets = torch.from_numpy(block.indptr.astype(np.int64)).to(device)
            projection = self.projections.get(name)
            compressed = np.zeros((len(present), 0)) if projection is None else projection.apply(block)
            compressed = np.where(present[:, None], compressed, 0.0)
            return _Sparse(columns, weights, offsets, _tensor(compressed, dtype).to(device), exists)
        if isinstance(block, RaggedArray):
            if not present.all():  # a sample marked missing has no steps
                kept = np.where(present, block.lengths, 0)
                block = RaggedArray(
                    block.values[np.repeat(present, block.lengths)], np.concatenate([[0], np.cumsum(kept)])
                )
            values, offsets = block.values, torch.from_numpy(block.offsets).to(device)
            if len(values) == 0:
                values = np.zeros((1, *values.shape[1:]), values.dtype)
            if self.infos[name].kind == "tokens":
                return _Ragged(torch.from_numpy(values.astype(np.int64)).to(device), offsets)
            return _Ragged(_scaled(values if values.ndim > 1 else values[:, None], scaler, dtype, device), offsets)
        missing = None if present.all() else exists
        kind = self.infos[name].kind
        if block.dtype.kind != "f" and kind in ("image", "video"):
            data = torch.from_numpy(_writable(block)).to(device)  # stays small until a batch is cut
        else:
            data = _scaled(block, scaler, dtype, device)
            if missing is not None:
                data = torch.where(_like(exists, data), data, 0.0)
            elif kind == "vector":
                return data
        return _Dense(data, missing, scaler, dtype, sequence=kind == "sequence")


def _reader_of(name: str, choice: Any) -> Any:
    """What prepares the block of an encoder that reads raw samples; None where the encoder's class has none."""
    spec = as_spec(Encoder, choice)
    target: Any = spec.target() if isinstance(spec, Encoder) and spec.name != "auto" else None
    if not hasattr(target, "reader"):
        return None
    try:
        return target.reader(**spec.resolve())
    except ValueError as error:
        raise ValueError(f"modality {name!r}: {error}") from None


def _kinds_of(choice: Any) -> tuple[str, ...]:
    """Kinds that an encoder asks for; where it does not say all, but of a user's module those that are arrays."""
    spec = as_spec(Encoder, choice)
    target = spec.target() if isinstance(spec, Encoder) and spec.name != "auto" else spec
    arrays = [kind for kind in KINDS if kind != "sparse"]
    return tuple(getattr(target, "kinds", arrays if isinstance(target, nn.Module) else KINDS))


def _info(name: str, block: Block) -> BlockInfo:
    kind, shape = block_kind(block), sample_shape(block)
    if kind == "tokens":
        values = block.values
        return BlockInfo(kind, (int(values.max(initial=0)) + 1,))
    if 0 in shape:
        raise ValueError(
            f"modality {name!r} has 0 feature(s) (shape of a sample {shape}) while a minimum of 1 is required."
        )
    length = int(block.shape[1]) if kind == "sequence" and not isinstance(block, RaggedArray) else None
    return BlockInfo(kind, tuple(int(s) for s in shape), length)


def _shape_text(kind: str, shape: tuple[int, ...]) -> str:
    if kind in ("vector", "sparse"):
        return f"{shape[0]} features"
    return f"steps of shape {shape}" if kind == "sequence" else f"samples of shape {shape}"


def check_finite(blocks: Blocks) -> None:
    """No infinity, NaN only where a whole row is missing, and no negative token ids."""
    for name, block in blocks.items():
        _check_values(name, block, blocks.present[name])


def _sum_is_finite(values: np.ndarray) -> bool:
    """Whether no value needs a closer look."""
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(values.sum(dtype=np.float64)))


def _check_values(name: str, block: Block, present: np.ndarray) -> None:
    if isinstance(block, RaggedArray) and block_kind(block) == "tokens" and block.values.min(initial=0) < 0:
        first = int((block.values < 0).argmax())
        holder = int(np.searchsorted(block.offsets, first, side="right") - 1)
        raise ValueError(f"modality {name!r}, row {holder}: token id {block.values[first]} is negative.")
    if is_lazy(block) or block.dtype.kind != "f":
        return
    if isinstance(block, RaggedArray) or sp.issparse(block):
        values = block.values if isinstance(block, RaggedArray) else block.data
        if _sum_is_finite(values):
            return
        starts = block.offsets if isinstance(block, RaggedArray) else block.indptr
        bad_steps = ~np.isfinite(values.reshape(len(values), -1)).all(axis=1)
        rows = np.searchsorted(starts, np.flatnonzero(bad_steps), side="right") - 1
        bad = np.unique(rows[present[rows]])
        if len(bad):
            row = values[starts[bad[0]] : starts[bad[0] + 1]]
    else:
        if _sum_is_finite(block):
            return
        flat = block.reshape(len(block), -1)
        bad = np.flatnonzero(present & ~np.isfinite(flat).all(axis=1))
        if len(bad):
            row = flat[bad[0]]
    if not len(bad):
        return
    where = f"modality {name!r}, row {bad[0]}"
    if np.isinf(row).any():
        raise ValueError(f"{where}: {np.isinf(row).sum()} of {row.size} values are inf; they must be finite.")
    raise ValueError(
        f"{where}: {np.isnan(row).sum()} of {row.size} values are NaN. A sample lacks a modality where all "
        "its values are NaN; fill gaps first, e.g. with a SimpleImputer in the ModalityTransformer."
    )


def _writable(array: np.ndarray) -> np.ndarray:
    """torch warns about arrays that it may not write to, and refuses some layouts; it never writes here."""
    array = np.ascontiguousarray(array)
    return array if array.flags.writeable else array.copy()


def _scaled(array: np.ndarray, scaler: Scaler | None, dtype: torch.dtype, device: torch.device) -> Tensor:
    """A block on the device, standardised in its own precision: a time stamp has its news in its last digits."""
    if scaler is None:
        return _tensor(array, dtype).to(device)
    own = torch.float64 if np.result_type(np.float32, array.dtype) == np.float64 else dtype
    return scaler.apply(_tensor(array, own).to(device)).to(dtype)


def _tensor(array: np.ndarray, dtype: torch.dtype) -> Tensor:
    """A new tensor, never one that shares the user's memory."""
    wanted = np.float64 if dtype == torch.float64 else np.float32
    return torch.from_numpy(np.array(array, dtype=wanted, order="C", copy=True))
