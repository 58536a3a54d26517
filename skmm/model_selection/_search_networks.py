"""Networks and data of the estimators that a search trains in one loop, joined along the member axis."""

from __future__ import annotations

import copy
import functools
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from skmm._private import tree_leaves
from skmm.inputs._batches import Batches
from skmm.inputs._columns import AbsentColumn, DenseColumn, RaggedColumn, SparseColumn, VectorColumns
from skmm.inputs._scaling import Scaler, standardised
from skmm.layers import Masks, Values
from skmm.network._members import MemberNetworks, StackedNetworks, Template, of_member
from skmm.network._network import FusionNetwork
from skmm.training._sets import TrainingSet

# -- dropout with a rate and a generator of each member's own -----------------------------------------------------


class MembersDropout(nn.Module):
    """``nn.Dropout`` whose rate differs from member to member.

    What it multiplies by is drawn before a batch goes through the network, for all layers at once: from inside
    torch.vmap a layer sees neither the other members nor a generator. :class:`JointNetworks` lets it note the
    shapes of what it gets, or gives it ``factors`` of these shapes, in the order of its calls.
    """

    def __init__(self) -> None:
        super().__init__()
        self.noted: list[torch.Size] | None = None
        self.factors: list[Tensor] = []

    def set_rates(self, rates: Tensor) -> None:
        """Rates (K,)."""
        self.threshold = ((rates * 65536).round() - 32768).clamp(max=32767).to(torch.int16)
        self.scale = 1 / (1 - rates)
        self.off = not bool(rates.any())

    def factor(self, bits: Tensor) -> Tensor:
        """0 or the scale of the member, of random bits (K, ...)."""
        each = (-1, *[1] * (bits.ndim - 1))
        kept = torch.empty(bits.shape, dtype=self.scale.dtype, device=bits.device)
        # written as numbers at once: a mask times a number takes ten times as long
        return torch.ge(bits, self.threshold.view(each), out=kept).mul_(self.scale.view(each))

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.off:
            return x
        if self.noted is not None:
            self.noted.append(x.shape)
            return x
        factor, *self.factors = self.factors
        return x * factor


def _random_bits(counts: list[int], generators: list[torch.Generator], device: torch.device) -> list[Tensor]:
    """Random int16 (K, count) for each count, a member's from its own generator."""
    # 16 random bits decide about a number: drawn as 64 for four, ten times faster than a draw for each
    words = torch.empty(len(generators), (sum(counts) + 3) // 4, dtype=torch.int64, device=device)
    for own, generator in zip(words, generators, strict=True):
        own.random_(-(2**63), None, generator=generator)
    return list(words.view(torch.int16)[:, : sum(counts)].split(counts, 1))


# -- networks and data of several estimators as one ---------------------------------------------------------------


class JointNetworks(StackedNetworks):
    """The members of several estimators, one after the other along the member axis; never without that axis.

    Parameters
    ----------
    modules : list of MemberNetworks
        Those of each estimator, whose tensors are copied.
    network : FusionNetwork
        One of them, with or without weights.

    Attributes
    ----------
    tables, gradients : list of Tensor of shape (K, n)
        Weights, which decay, and the rest; and the gradients of both.
    gradient_of_each : list of Tensor
        The gradients as those of the parameters, (K, ...) each.
    dropouts : list of MembersDropout
        The layers of dropout, in the order of the network's.
    """

    def __init__(self, modules: list[MemberNetworks], network: FusionNetwork) -> None:
        super().__init__()

        def behind_axis(module: MemberNetworks, tensors: Any) -> list[Tensor]:
            return [x.detach().unsqueeze(0) if module.n_members == 1 else x.detach() for x in tensors]

        parts = [behind_axis(module, module.parameters()) for module in modules]
        stacked = [torch.cat(each) for each in zip(*parts, strict=True)]
        # Weights, which decay, and the rest, each as one table (K, n): an optimizer steps tables, not layers. Those
        # of linear layers lie transposed, as the batched product leaves their gradient.
        linear = {id(layer.weight) for layer in network.modules() if isinstance(layer, nn.Linear)}
        self.layout = []
        widths = [0, 0]
        for x, p in zip(stacked, network.parameters(), strict=True):
            table, start = int(x.ndim <= 2), widths[int(x.ndim <= 2)]
            widths[table] = start + x[0].numel()
            self.layout.append((table, start, widths[table], x.shape[1:], id(p) in linear))
        self.tables = [x.new_empty(len(x), width) for width in widths]
        for x, view in zip(stacked, self.views(self.tables), strict=True):
            view.copy_(x)
        self.gradients = [torch.zeros_like(table) for table in self.tables]
        self.gradient_of_each = self.views(self.gradients)
        buffers = zip(*(behind_axis(module, module.buffers()) for module in modules), strict=True)
        parameters = [nn.Parameter(view) for view in self.views(self.tables)]
        self.stack(network, parameters, [torch.cat(each) for each in buffers], vectorized=True)
        self.dropouts: list[MembersDropout] = []
        self._shapes: dict[Any, list[list[torch.Size]]] = {}
        members: Any = list(self.network.modules())
        for layer in members:
            for name, child in layer.named_children():
                if type(child) is nn.Dropout:
                    self.dropouts.append(MembersDropout())
                    setattr(layer, name, self.dropouts[-1])
        self.call_itself()  # whose layers of dropout these are

    def drop_out(self, values: Values, present: Masks, generators: list[torch.Generator]) -> None:
        """Draw what the layers of dropout multiply by in the next call, which has these inputs (K, B, ...)."""
        layers = [layer for layer in self.dropouts if not layer.off]
        if not layers:
            return
        for layer in layers:
            layer.factors = []
        key = tuple(x.shape[1:] for x in tree_leaves(values))
        if key not in self._shapes:
            for layer in layers:
                layer.noted = []
            with torch.no_grad(), self.calling("forward", False) as (call, tensors):
                call(*of_member((tensors, values, present), 0))
            self._shapes[key] = [layer.noted or [] for layer in layers]
            for layer in layers:
                layer.noted = None
        shapes = self._shapes[key]
        counts = [shape.numel() for each in shapes for shape in each]
        bits = iter(_random_bits(counts, generators, self.tables[0].device))
        for layer, each in zip(layers, shapes, strict=True):
            layer.factors = [layer.factor(next(bits).reshape(-1, *shape)) for shape in each]

    def filling(self, template: Template) -> tuple[list[tuple[dict[str, Any], str]], list[Any]]:
        slots, tensors = super().filling(template)
        given = [layer for layer in self.dropouts if layer.factors]
        return slots + [(vars(layer), "factors") for layer in given], tensors + [layer.factors for layer in given]

    def views(self, tables: list[Tensor]) -> list[Tensor]:
        """The parameters of which tables consist, (K, *shape) each."""

        def view(table: Tensor, shape: torch.Size, transposed: bool) -> Tensor:
            return table.view(-1, *shape[::-1]).transpose(1, 2) if transposed else table.view(-1, *shape)

        return [
            view(tables[i][:, start:stop], shape, transposed) for i, start, stop, shape, transposed in self.layout
        ]

    def keep(self, members: Tensor) -> None:
        """Go on with some of the members."""
        self.tables = [table[members] for table in self.tables]
        self.gradients = [table[members] for table in self.gradients]
        self.gradient_of_each = self.views(self.gradients)
        self._shapes.clear()  # with fewer members other layers may be off
        for layer in self.dropouts:
            layer.factors = []
        for p, view in zip(self.stacked, self.views(self.tables), strict=True):
            p.data = view
        for i in range(self.n_buffers):
            setattr(self, f"buffer{i}", getattr(self, f"buffer{i}")[members])


class ScaledBySet(DenseColumn):
    """Raw samples of several sets, one after the other, each scaled as those of its own set.

    Parameters
    ----------
    column : DenseColumn
        Those of all.
    scalers : list of Scaler
        That of each set.
    lengths : list of int
        Samples of each.
    """

    def __init__(self, column: DenseColumn, scalers: list[Scaler], lengths: list[int]) -> None:
        super().__init__(column.data, column.present, None, column.dtype, sequence=column.sequence, raw=True)

        def of_sets(values: list[np.ndarray]) -> Tensor:
            return torch.as_tensor(np.stack(values)).to(column.data.device, column.dtype)

        self.mean, self.scale = of_sets([s.mean for s in scalers]), of_sets([s.scale for s in scalers])
        sets = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths))
        self.set_of_row = sets.to(column.data.device)

    def standardise(self, x: Tensor, rows: Tensor) -> Tensor:
        own = self.set_of_row[rows]
        each = (*rows.shape, *[1] * (x.ndim - rows.ndim - 1), -1)
        return standardised(x.to(self.dtype), self.mean[own].view(each), self.scale[own].view(each))


@functools.singledispatch
def _join(first: Any, *others: Any) -> Any:
    """One modality's data of several sets, one after the other."""
    raise TypeError(f"{type(first).__name__} cannot be joined.")


@_join.register
def _(first: VectorColumns, *others: VectorColumns) -> VectorColumns:
    joined = copy.copy(first)
    joined.data = torch.cat([c.data for c in (first, *others)])
    return joined


@_join.register
def _(first: DenseColumn, *others: DenseColumn) -> DenseColumn:
    joined, all_ = copy.copy(first), (first, *others)
    joined.data = torch.cat([c.data for c in all_])
    if any(c.present is not None for c in all_):
        joined.present = torch.cat([c.true.expand(len(c.data)) if c.present is None else c.present for c in all_])
    scalers = [c.scaler for c in all_ if c.raw and c.scaler is not None]
    return ScaledBySet(joined, scalers, [len(c.data) for c in all_]) if scalers else joined


@_join.register
def _(first: RaggedColumn, *others: RaggedColumn) -> RaggedColumn:
    joined, all_ = copy.copy(first), (first, *others)
    joined.values, joined.lengths = torch.cat([c.values for c in all_]), torch.cat([c.lengths for c in all_])
    before = torch.tensor([0, *(len(c.values) for c in all_)]).cumsum(0).tolist()
    joined.starts = torch.cat([c.starts + n for c, n in zip(all_, before, strict=False)])
    return joined


@_join.register
def _(first: SparseColumn, *others: SparseColumn) -> SparseColumn:
    joined, all_ = copy.copy(first), (first, *others)
    joined.indices = _join(*(c.indices for c in all_))
    joined.weights = _join(*(c.weights for c in all_))
    joined.compressed = torch.cat([c.compressed for c in all_])
    joined.present = torch.cat([c.present for c in all_])
    return joined


@_join.register
def _(first: AbsentColumn, *others: AbsentColumn) -> AbsentColumn:
    return first


def joinable(column: Any) -> bool:
    """Whether a modality's data can be joined with that of other sets."""
    return type(column) in _join.registry


def join_batches(sets: list[Batches]) -> Batches:
    joined = copy.copy(sets[0])
    joined.columns = {name: _join(*(s.columns[name] for s in sets)) for name in joined.columns}
    if joined.vectors is not None:
        joined.vectors = _join(*(s.vectors for s in sets))
    joined.n_samples = sum(len(s) for s in sets)
    return joined


class JointRows:
    """Rows of every member in one table, filled up to the longest with rows of weight 0.

    Parameters
    ----------
    sets : list of TrainingSet
        Those of each learner.
    first : list of int
        Where the samples of each begin among those of all.
    size : int
        Rows of a batch.
    """

    def __init__(self, sets: list[TrainingSet], first: list[int], size: int, device: torch.device) -> None:
        longest = max(len(s) for s in sets)
        self.size = size
        self.lengths = [len(s) for s in sets for _ in s.rows]

        def filled(x: Tensor, value: Tensor) -> Tensor:
            return torch.cat([x, value.expand(len(x), longest - x.shape[1])], 1)

        self.rows = torch.cat([filled(s.rows + n, s.rows[:, :1] + n) for s, n in zip(sets, first, strict=True)])
        starts = range(0, longest, size)
        length = torch.tensor(self.lengths).unsqueeze(1)
        # rows of a member's own in each batch, (K, batches)
        self.counts = (length - torch.tensor(list(starts))).clamp(0, size)
        self.weights: Tensor | None = None
        if min(self.lengths) < longest or any(s.weights is not None for s in sets):
            zero, one = torch.zeros(1, 1, device=device), torch.ones((), device=device)
            weights = [one.expand(s.rows.shape) if s.weights is None else s.weights for s in sets]
            # a mean over a batch that was filled up is to be one over the member's own rows
            widths = torch.tensor([min(size, longest - start) for start in starts])
            factor = (widths / self.counts.clamp(min=1)).repeat_interleave(widths, 1).to(device)
            self.weights, self.factor = torch.cat([filled(w, zero) for w in weights]), factor

    def batches(self, generators: list[torch.Generator] | None = None) -> Any:
        """Rows and weights of each batch, (K, size), in an order drawn for each where generators are given."""
        rows, weights = self.rows, self.weights
        if generators is not None:
            end = torch.arange(rows.shape[1])
            orders = [
                torch.cat([torch.randperm(n, generator=g), end[n:]])
                for n, g in zip(self.lengths, generators, strict=True)
            ]
            order = torch.stack(orders).to(rows.device)
            rows = rows.gather(1, order)
            weights = None if weights is None else weights.gather(1, order)
        parts = rows.split(self.size, 1)
        if weights is None:
            return ((part, None) for part in parts)
        return zip(parts, (weights * self.factor).split(self.size, 1), strict=True)

    def mean(self, losses: list[Tensor]) -> Tensor:
        """Mean over a member's rows of its losses by batch, (K,)."""
        each = torch.stack(losses, 1).double().cpu()
        # where a member has no rows its loss says nothing, be it a number or not
        return torch.where(self.counts > 0, each * self.counts, 0.0).sum(1) / self.counts.sum(1)
