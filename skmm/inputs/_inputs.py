"""Blocks to tensors: what a fitted estimator remembers of its input."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skmm._devices import free_memory
from skmm._warnings import warn
from skmm.blocks import Block, BlockInfo, Blocks, block_kind, is_lazy
from skmm.blocks._blocks import trusted_blocks
from skmm.blocks._kinds import as_kind, sample_shape
from skmm.inputs._batches import Batches
from skmm.inputs._columns import (
    AbsentColumn,
    Column,
    DenseColumn,
    Destination,
    Learned,
    StreamedColumn,
    as_ids,
    make_column,
    n_bytes,
    naming,
)
from skmm.inputs._known import KnownInputs
from skmm.inputs._scaling import Projection, Scaler, read_parts
from skmm.spec import Encoder, as_spec, kinds_of, numbers_ids_anew


class Inputs(KnownInputs):
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
        self.readers = {name: r for name, choice in encoders.items() if (r := _reader_of(name, choice)) is not None}
        self.sources: dict[str, BlockInfo] = {}  # what a frozen encoder reads, where it makes vectors of a modality
        self.infos: dict[str, BlockInfo] = {}
        self.ids: dict[str, np.ndarray] = {}  # token ids of training in order, where their place is their number
        self.seen: set[str] = set()  # modalities that some training sample had
        self.lacked: set[str] = set(blocks) if dropped else set()  # and that some lacked
        self.held_out: set[str] = set()  # modalities that only samples had which the training did not see
        self._note(blocks)
        read = {name: as_kind(block, kinds_of(encoders[name])) for name, block in blocks.items()}
        blocks = trusted_blocks(read, blocks.present, len(blocks))
        self.scalers: dict[str, Scaler | None] = {}
        self.projections: dict[str, Projection] = {}
        for name, block in blocks.items():
            present, reader = blocks.present[name], self.readers.get(name)
            self.infos[name] = info = _info(name, block)
            if info.kind == "tokens" and numbers_ids_anew(encoders[name], info):
                self.ids[name] = ids = _distinct_ids(block, present, n_jobs)
                self.infos[name] = info = BlockInfo("tokens", (max(1, len(ids)),))
            elif info.kind == "tokens" and is_lazy(block):
                most = int(_distinct_ids(block, present, n_jobs).max(initial=0))
                self.infos[name] = info = BlockInfo("tokens", (most + 1,))
            if reader is not None:
                reader.check(name, info.kind, block)
                if reader.frozen:
                    self.sources[name] = info
                    block, present = reader.vectors(name, info.kind, block, present, device)
                    self.infos[name] = info = BlockInfo("vector", block.shape[1:], source=info.kind)
            learnable = info.kind == "sparse" and present.any()
            if learnable and sparse_components is not None and info.shape[0] > sparse_components:
                self.projections[name] = projection = _project(block, weights * present, sparse_components)
                self.infos[name] = replace(info, n_components=projection.matrix.shape[1])
            learn = scale and info.kind != "tokens" and (reader is None or reader.frozen)
            with naming(name):
                self.scalers[name] = Scaler.fit(block, present, weights, n_jobs) if learn else None

    def begin(self, blocks: Blocks, held_out: np.ndarray) -> Blocks:
        """All samples of the fit, converted, the rows included that the training does not see.

        A modality that only these have, of which nothing is learned, counts as missing, here and in predictions.
        """
        there = {name: int(mask[held_out].sum()) for name, mask in blocks.present.items()}
        self.held_out = {name for name in there if there[name] and name not in self.seen}
        for name in sorted(self.held_out):
            warn(
                f"modality {name!r}: early_stopping holds out all samples that have it ({there[name]}), so nothing "
                "is learned of it, and it counts as missing, in predictions too."
            )
        return self.convert(blocks)

    def dtype(self, blocks: Blocks) -> torch.dtype:
        """float64 where every block is given in that precision, as scikit-learn keeps it; else float32."""
        numeric = [
            np.dtype(np.float32) if name in self.sources else b.dtype
            for name, b in blocks.items()
            if self.infos[name].kind != "tokens"
        ]
        wide = bool(numeric) and all(np.result_type(np.float32, t) == np.float64 for t in numeric)
        return torch.float64 if wide else torch.float32

    def load(
        self,
        blocks: Blocks,
        dtype: torch.dtype,
        device: torch.device,
        *,
        once: bool = False,
        room: float | None = None,
    ) -> Batches:
        """Move converted blocks to a device, scaled, with zeros where a sample or a whole modality is missing.

        What the device has no room for stays in the memory of the host, the largest modalities first. What is read
        ``once`` is scaled when its batch is cut, so that there is never a second copy of it all. There is ``room``
        for as many bytes as the device says, unless it is given.
        """
        streamed, room = set(), _room(device) if room is None else room
        if room < math.inf:
            sizes = {name: n_bytes(block, dtype) for name, block in blocks.items() if name not in self.sources}
            by_size = sorted(sizes, key=lambda name: sizes[name])
            together = np.cumsum([sizes[name] for name in by_size])
            streamed = {name for name, size in zip(by_size, together, strict=True) if size > room}
        there = [name for name, mask in blocks.present.items() if mask.any()]
        columns: dict[str, Column | Tensor] = {}
        for name, info in self.infos.items():
            if name not in there:
                peers = [n for n in there if info.length and self.infos[n].length == info.length]
                columns[name] = AbsentColumn(info, dtype, device, peers)
                continue
            place = torch.device("cpu") if name in streamed else device
            block, present = blocks[name], blocks.present[name]
            if name in self.sources:
                block, present = self.readers[name].vectors(name, self.sources[name].kind, block, present, place)
            column = make_column(block, present, self._learned(name), Destination(dtype, place, once))
            if name in streamed:
                if isinstance(column, Tensor):
                    column = DenseColumn(column, None, None, dtype, sequence=False, raw=False)
                column = StreamedColumn(column, device)
            columns[name] = column
        return Batches(columns, len(blocks), device)

    def _learned(self, name: str) -> Learned:
        return Learned(
            name,
            self.infos[name],
            self.scalers[name],
            self.projections.get(name),
            self.ids.get(name),
            self.n_jobs,
        )


def _room(device: torch.device) -> float:
    """Bytes that data may take on a device: half of what a GPU has free, the rest is the network's."""
    return math.inf if device.type == "cpu" else free_memory(device) / 2


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


def _distinct_ids(block: Block, present: np.ndarray, n_jobs: int | None) -> np.ndarray:
    """Token ids of the samples that exist, in order; what is read lazily is read once for that."""
    if not is_lazy(block):
        return np.unique(as_ids(block.values[np.repeat(present, block.lengths)]))
    ids = np.zeros(0, dtype=np.int64)
    for part, _ in read_parts(block, np.flatnonzero(present), n_jobs):
        ids = np.union1d(ids, as_ids(part.values))
    return ids


_PROJECTED = 5_000  # rows of a lazily read block that its principal directions are learned from


def _project(block: Block, weights: np.ndarray, n_components: int) -> Projection:
    """Principal directions of a sparse block; of one that is read lazily, of rows spread evenly over it."""
    if is_lazy(block):
        rows = np.flatnonzero(weights > 0)
        if len(rows) > _PROJECTED:  # stretches of them, since what lies together is read together
            parts = np.array_split(rows, 32)
            rows = np.concatenate([part[: _PROJECTED // 32] for part in parts])
        block, exists = block.read(rows)
        weights = weights[rows] * exists
    return Projection(block, weights, n_components)


def _info(name: str, block: Block) -> BlockInfo:
    kind, shape = block_kind(block), sample_shape(block)
    if kind == "tokens":
        values = np.zeros(0) if is_lazy(block) else block.values
        return BlockInfo(kind, (int(values.max(initial=0)) + 1,))
    if 0 in shape:
        raise ValueError(
            f"modality {name!r} has 0 feature(s) (shape of a sample {shape}) while a minimum of 1 is required."
        )
    one_length = isinstance(block, np.ndarray) or (is_lazy(block) and block.template is None)
    length = int(block.shape[1]) if kind == "sequence" and one_length else None
    return BlockInfo(kind, tuple(int(s) for s in shape), length)
