"""Modalities as the tables that experts read, of raw tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from skmm.blocks import BlockInfo
from skmm.compose._summary import MOMENTS, SEQUENCE, edges, has_steps
from skmm.deployment._readers import Compression, Places, constant
from skmm.estimators._flat import FlatForm
from skmm.estimators._kernels import RandomKernels, features
from skmm.inputs._scaling import CLIP, Scaler
from skmm.layers import SparseRows

Part = Tensor | SparseRows  # of a table: the columns of one modality


class _VectorTable(nn.Module):
    """A vector as it is, NaN where it is missing: (B, d), (B,) -> (B, d)."""

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return torch.where(mask.unsqueeze(-1), x.double(), torch.nan)


class _SparseTable(nn.Module):
    """Sparse rows as they are, empty where they are missing: SparseRows, (B,) -> SparseRows."""

    def forward(self, x: SparseRows, mask: Tensor) -> SparseRows:
        weights = torch.where(mask.unsqueeze(-1), x.weights, 0.0).double()
        return SparseRows(x.columns, weights, weights[:, :0])


class _TokenTable(nn.Module):
    """How often each known id stands in a sample, log(1 + count): (B, T), (B, T) -> SparseRows of all columns.

    A mask of numbers says how much of a step counts.
    """

    def __init__(self, ids: np.ndarray) -> None:
        super().__init__()
        self.places = Places(ids)
        self.n_ids = len(ids)

    def forward(self, x: Tensor, mask: Tensor) -> SparseRows:
        place, found = self.places(x)
        counts = torch.zeros(x.shape[0], max(1, self.n_ids), device=x.device)
        counts = torch.scatter_add(counts, 1, place, torch.where(found, mask.float(), 0.0))[:, : self.n_ids]
        return SparseRows(None, counts.log1p().double(), counts[:, :0])


def _root(squares: Tensor) -> Tensor:
    """Square roots, with a gradient that is 0 where they are, and not infinite."""
    return torch.where(squares > 0, torch.where(squares > 0, squares, 1.0).sqrt(), squares)


def _over_time(x: Tensor, mask: Tensor, statistics: Sequence[str]) -> Tensor:
    """Statistics of the steps that exist, NaN where there is none: (B, T, d), (B, T) -> (B, n_statistics * d)."""
    there = mask.unsqueeze(-1)
    n = mask.sum(-1, keepdim=True).double()
    mean = torch.where(there, x, 0.0).sum(1) / n
    found = []
    for statistic in statistics:
        if statistic == "mean":
            one = mean
        elif statistic == "std":
            one = _root(torch.where(there, x - mean.unsqueeze(1), 0.0).square().sum(1) / n)
        elif statistic == "last":
            step = torch.arange(x.shape[1], device=x.device)
            last = torch.where(mask, step, 0).amax(-1, keepdim=True)
            one = torch.where(there & (step == last).unsqueeze(-1), x, 0.0).sum(1)
        elif statistic == "min":
            one = torch.where(there, x, torch.inf).amin(1)
        else:
            one = torch.where(there, x, -torch.inf).amax(1)
        found.append(one)
    return torch.where(n > 0, torch.cat(found, -1), torch.nan)


class _SequenceTable(nn.Module):
    """Statistics over the steps, and how many there are: (B, T, ...), (B, T) -> (B, 5 d + 1)."""

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        found = _over_time(x.flatten(2).double(), mask, SEQUENCE)
        n = mask.sum(-1, keepdim=True).double()
        return torch.cat([found, torch.where(n > 0, n, torch.nan)], -1)


class _KernelTable(nn.Module):
    """Random convolutions, in deviations and 0 where there is no step: (B, T, ...), (B, T) -> (B, n)."""

    mean: Tensor
    scale: Tensor
    own_mean: Tensor
    own_scale: Tensor

    def __init__(self, kernels: RandomKernels, scaler: Scaler) -> None:
        super().__init__()
        self.register_buffer("mean", constant(kernels.scaler.mean, torch.float64))
        self.register_buffer("scale", constant(kernels.scaler.scale, torch.float64))
        self.register_buffer("own_mean", constant(scaler.mean, torch.float64))
        self.register_buffer("own_scale", constant(scaler.scale, torch.float64))
        self.distances = [distance for distance, _, _ in kernels.banks]
        for i, (_, weights, bias) in enumerate(kernels.banks):
            self.register_buffer(f"weights{i}", constant(weights))
            self.register_buffer(f"bias{i}", constant(bias))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        banks = [(d, getattr(self, f"weights{i}"), getattr(self, f"bias{i}")) for i, d in enumerate(self.distances)]
        found = features(x.flatten(2).double(), mask, self.mean, self.scale, banks)
        return _standardised(found, self.own_mean, self.own_scale)


def _standardised(table: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    """In deviations, clipped, 0 in gaps."""
    scaled = ((table - mean) / scale).clamp(-CLIP, CLIP)
    return torch.where(scaled.isnan(), 0.0, scaled).float()


class _ImageTable(nn.Module):
    """Mean and deviation of each channel, then means of a grid: (B, H, W[, C]), (B,) -> (B, d)."""

    rows: Tensor
    columns: Tensor

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        for name, size in zip(("rows", "columns"), shape[:2], strict=True):
            starts = edges(size)
            cell = np.searchsorted(starts, np.arange(size), side="right") - 1
            inside = cell == np.arange(len(starts))[:, None]
            self.register_buffer(name, constant(inside / inside.sum(axis=1, keepdims=True), torch.float64))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        found = self.summarise(x if x.ndim == 4 else x.unsqueeze(-1))
        return torch.where(mask.unsqueeze(-1), found, torch.nan)

    def summarise(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, d)."""
        x = x.double()
        mean = x.mean((1, 2))
        deviation = _root((x - mean[:, None, None]).square().mean((1, 2)))
        by_row = torch.matmul(self.rows, x.flatten(2)).unflatten(2, x.shape[2:])  # (B, R, W, C)
        cells = torch.matmul(self.columns, by_row)  # (B, R, K, C)
        return torch.cat([mean, deviation, cells.flatten(1)], -1)


class _VideoTable(nn.Module):
    """Mean and deviation over the frames of what is said of each: (B, T, H, W, C), (B,) -> (B, 2 d + 1)."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.image = _ImageTable(shape)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        frames = self.image.summarise(x.flatten(0, 1)).unflatten(0, x.shape[:2])
        there = mask.unsqueeze(-1).expand(x.shape[:2])
        n = torch.full_like(frames[:, :1, 0], x.shape[1])
        return torch.cat([_over_time(frames, there, MOMENTS), torch.where(mask.unsqueeze(-1), n, torch.nan)], -1)


def _make_table(name: str, info: BlockInfo, form: FlatForm) -> nn.Module:
    selector = form.selectors[name]
    shape = selector.shapes_[name]
    if name in selector.ids_:
        return _TokenTable(selector.ids_[name])
    if info.kind == "sparse":
        return _SparseTable()
    if has_steps(shape):
        return _VideoTable(shape[1:]) if len(shape) == 4 else _SequenceTable()
    return _ImageTable(shape) if len(shape) > 1 else _VectorTable()


class Tables(nn.Module):
    """The forms in which experts read modalities, and of which samples each has something to say.

    Shape
    -----
    values and present per modality -> a table of each, and random convolutions of sequences that have any
    """

    def __init__(self, form: FlatForm, infos: dict[str, BlockInfo], *, kernels: bool) -> None:
        super().__init__()
        self.names, self.widths = form.names, form.widths
        self.gaps = form.gaps.tolist()
        # by number, for names of modules have no dots
        self.made = nn.ModuleList(_make_table(name, infos[name], form) for name in form.names)
        for m, name in enumerate(form.names):
            self.register_buffer(f"mean{m}", constant(form.scalers[name].mean, torch.float64))
            self.register_buffer(f"scale{m}", constant(form.scalers[name].scale, torch.float64))
        self.compressions = nn.ModuleDict(
            {
                str(form.names.index(name)): Compression(p, form.widths[name], torch.float64)
                for name, p in form.projections.items()
            }
        )

        self.convolved = list(form.kernels) if kernels else []
        self.kernels = nn.ModuleList(
            _KernelTable(form.kernels[name], form.kernel_scalers[name]) for name in self.convolved
        )

    def forward(
        self, values: dict[str, Any], present: dict[str, Tensor]
    ) -> tuple[dict[str, Part], dict[str, Tensor]]:
        tables, kernels = (
            {name: module(values[name], present[name]) for name, module in zip(names, modules, strict=True)}
            for names, modules in ((self.names, self.made), (self.convolved, self.kernels))
        )
        return tables, kernels

    def exists(self, present: dict[str, Tensor], names: Sequence[str]) -> Tensor:
        """Of which samples one who reads these modalities says something, (B,)."""
        there = [present[name] if present[name].ndim == 1 else present[name].any(-1) for name in names]
        gaps = [self.gaps[self.names.index(name)] for name in names]
        says = torch.stack(there, -1).any(-1)
        for mask, gap in zip(there, gaps, strict=True):
            says = says if gap else says & mask
        return says

    def parts(self, raw: tuple[dict[str, Part], dict[str, Tensor]], names: Sequence[str], form: str) -> list[Part]:
        """Some modalities in one of the forms, side by side."""
        tables, kernels = raw
        if form == "kernels":
            return [kernels[name] if name in kernels else self._scaled(name, tables[name]) for name in names]
        return [getattr(self, f"_{form}")(name, tables[name]) for name in names]

    def _raw(self, name: str, table: Part) -> Part:
        return table

    def _scaled(self, name: str, table: Part) -> Part:
        m = self.names.index(name)
        mean, scale = getattr(self, f"mean{m}"), getattr(self, f"scale{m}")
        if isinstance(table, SparseRows):
            return table._replace(weights=table.weights / scale)
        return _standardised(table, mean, scale)

    def _dense(self, name: str, table: Part) -> Tensor:
        if isinstance(table, SparseRows):
            return self.compressions[str(self.names.index(name))](table).float()
        return table.float()
