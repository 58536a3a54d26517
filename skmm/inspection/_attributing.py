"""The computation of attributions: gradients on the way from a baseline, falls without a part, gradients."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from skmm._optional import import_optional
from skmm.blocks import BlockInfo, Blocks
from skmm.inputs._scaling import CLIP
from skmm.inspection._explained import Explained, Goal
from skmm.inspection._names import Names

_STEPS, MOST_STEPS = 16, 512  # of integrated gradients: the first number that is tried, and the last
_LONGER, _ROUNDING = 8.0, 1e-6  # parts of the way beyond the ends of inputs, and a change that is none
_ROWS = 2048  # samples, each with a value of its own, that the network is asked about at a time, at most
_NUMBERS = 1 << 22  # that the modality may hold of these


@dataclass
class Asked:
    """What is asked."""

    method: str
    info: BlockInfo
    baseline: Any
    window: tuple[int, ...]
    owners: np.ndarray | None
    n_steps: int | str
    tolerance: float


@dataclass
class Found:
    """Of some samples their attributions, as the module read them, and all that is said of each."""

    rows: np.ndarray
    values: np.ndarray
    there: np.ndarray
    stored: np.ndarray | None  # ids of tokens, or of sparse rows the columns
    places: np.ndarray
    output: np.ndarray
    base: np.ndarray
    changed: np.ndarray
    n_steps: np.ndarray
    baseline: np.ndarray

    @property
    def exists(self) -> np.ndarray:
        """Which samples have the modality, (B,)."""
        return np.asarray(self.there.any(axis=1) if self.there.ndim == 2 else self.there)


def explain(explained: Explained, how: Asked, blocks: Blocks, places: np.ndarray | None) -> list[Found]:
    found = []
    for rows in explained.read(blocks, places):
        stands_for_it = _baseline(explained, how)
        nothing = stands_for_it.broadcast_to(explained.x.shape[1:]).unsqueeze(0)
        there = explained.there if explained.there.ndim == 1 else explained.there.any(1)
        known = torch.where(there)[0]
        values = torch.zeros(explained.x.shape, dtype=torch.float64)
        base, held = explained.output.clone(), explained.output.clone()
        n_steps = np.zeros(len(rows), dtype=np.int64)
        for part in known.split(_at_a_time(explained, 1)):
            base[part] = explained.of_baseline(nothing, part, hold=False)
            held[part] = explained.of_baseline(nothing, part, hold=True)
        changed = explained.output - held
        if how.method == "integrated_gradients":
            n_steps[known.numpy()] = _integrate(explained, how, known, nothing, changed, values)
        elif how.method == "occlusion":
            for part in known.split(_at_a_time(explained, 1)):
                values[part] = _occlude(explained, how, part, nothing)
        else:
            for part in known.split(_at_a_time(explained, 1)):
                values[part] = _slope(explained, part)
        kind = how.info.kind
        found.append(
            Found(
                rows=rows,
                values=values.numpy(),
                there=explained.there.numpy(),
                stored=explained.stored.numpy() if kind in ("sparse", "tokens") else None,
                places=explained.places.numpy(),
                output=explained.output.numpy(),
                base=base.numpy(),
                changed=changed.numpy(),
                n_steps=n_steps,
                baseline=stands_for_it.numpy().copy(),
            )
        )
    return found


def _baseline(explained: Explained, how: Asked) -> Tensor:
    given, info = how.baseline, how.info
    if given is not None and info.kind in ("sparse", "tokens"):
        raise ValueError(
            f"baseline: of modality {explained.modality!r}, {info.kind}, nothing is that nothing is stored; leave "
            "it at None."
        )
    try:
        nothing = explained.baseline(given)
    except (TypeError, ValueError, RuntimeError):
        shape = np.asarray(given, dtype=object).shape
        what = f"of shape {shape}" if shape else repr(given)
        each = "whose steps have" if info.kind == "sequence" else "of"
        raise ValueError(
            f"baseline {what} does not fit modality {explained.modality!r}, {info.kind} {each} shape {info.shape}; "
            "give a number, or numbers of that shape."
        ) from None
    if not bool(nothing.isfinite().all()):
        raise ValueError(f"baseline of modality {explained.modality!r} holds NaN or infinity.")
    return nothing


def _at_a_time(explained: Explained, each: int) -> int:
    """Samples that are asked about together, each with so many values."""
    numbers = max(1, math.prod(explained.x.shape[1:]))
    return max(1, min(_ROWS, _NUMBERS // numbers) // each)


def _integrate(
    explained: Explained, how: Asked, rows: Tensor, nothing: Tensor, changed: Tensor, values: Tensor
) -> np.ndarray:
    """Write integrated gradients of some rows into the values; points that each took."""
    captum = import_optional("captum.attr", extra="explain")
    integrated = captum.IntegratedGradients(explained)
    taken = np.zeros(len(rows), dtype=np.int64)
    adapts = how.n_steps == "auto"
    n_steps = _STEPS if isinstance(how.n_steps, str) else int(how.n_steps)
    open_ = torch.arange(len(rows))
    while len(open_):
        limit = _at_a_time(explained, 1)
        for part in open_.split(_at_a_time(explained, n_steps)):
            own = rows[part]
            values[own] = 0.0
            for leg, start, end in _legs(explained, own, nothing):
                values[leg] += integrated.attribute(
                    end,
                    start,
                    additional_forward_args=(leg,),
                    n_steps=n_steps,
                    internal_batch_size=limit if n_steps > limit else None,  # of one large sample
                ).double()
        taken[open_.numpy()] = n_steps
        if not adapts or n_steps >= MOST_STEPS:
            break
        own = rows[open_]
        smallest = explained.goal.smallest[explained.places[own].numpy()]
        sums = values[own].flatten(1).sum(1).numpy()
        error = _error(sums, changed[own].numpy(), smallest)
        open_ = open_[torch.from_numpy(error >= how.tolerance)]
        n_steps *= 2
    return taken


def _legs(explained: Explained, rows: Tensor, nothing: Tensor) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Of the way from the baseline to samples the straight parts: the rows that go there, start and end.

    Past the ends of inputs the network is flat, and points that are spread to an outlier would miss all that
    changes before.
    """
    x = explained.x[rows]
    nothing = nothing.expand(x.shape)
    first, last = _to_the_ends(explained, rows, nothing), _to_the_ends(explained, rows, x)
    back = [(leg, end, start) for leg, start, end in _outwards(explained, rows, first, nothing)]
    return [*back, (rows, first, last), *_outwards(explained, rows, last, x)]


def _to_the_ends(explained: Explained, rows: Tensor, x: Tensor, reach: float = CLIP) -> Tensor:
    return torch.where(_real(explained, rows), explained.within(x, reach), x)


def _outwards(explained: Explained, rows: Tensor, start: Tensor, x: Tensor) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Parts of the way from the ends to x, each longer than the last: experts, which sum up, may see beyond."""
    legs: list[tuple[Tensor, Tensor, Tensor]] = []
    if torch.equal(start, x):
        return legs
    with torch.no_grad():
        changes = (explained(x, rows) - explained(start, rows)).abs() > _ROUNDING
    rows, start, x, reach = rows[changes], start[changes], x[changes], CLIP
    while not torch.equal(start, x):
        reach *= _LONGER
        end = _to_the_ends(explained, rows, x, reach)
        legs.append((rows, start, end))
        start = end
    return legs


def _error(sums: np.ndarray, changed: np.ndarray, smallest: np.ndarray) -> np.ndarray:
    """By how much sums of attributions miss a change, as a share of it."""
    return np.abs(sums - changed) / np.maximum(np.abs(changed), smallest)


def _slope(explained: Explained, rows: Tensor) -> Tensor:
    captum = import_optional("captum.attr", extra="explain")
    x = explained.x[rows].clone().requires_grad_()
    return captum.Saliency(explained).attribute(x, abs=False, additional_forward_args=(rows,)).detach().double()


def _occlude(explained: Explained, how: Asked, rows: Tensor, nothing: Tensor) -> Tensor:
    captum = import_optional("captum.attr", extra="explain")
    groups = _groups(explained, how, rows)
    several = max(1, _at_a_time(explained, 1) // max(1, len(rows)))
    fall = captum.FeatureAblation(explained).attribute(
        explained.x[rows],
        nothing,
        additional_forward_args=(rows,),
        feature_mask=groups,
        perturbations_per_eval=several,
    )
    # what goes together shares the fall, so that a sum over it is the fall
    flat = groups.expand(len(rows), *explained.x.shape[1:]).flatten(1)
    real = _real(explained, rows).flatten(1).double()
    sizes = torch.zeros(len(rows), int(flat.max()) + 1, dtype=torch.float64).scatter_add(1, flat, real)
    return (fall.double().flatten(1) * real / sizes.gather(1, flat).clamp(min=1)).reshape(fall.shape)


def _groups(explained: Explained, how: Asked, rows: Tensor) -> Tensor:
    """Numbers that are occluded together, by the number of their group: (1, ...), or (R, N) of sparse rows."""
    shape = explained.x.shape[1:]
    if how.owners is not None:
        owners = torch.from_numpy(how.owners)
        return owners[explained.stored[rows]] if how.info.kind == "sparse" else owners.unsqueeze(0)
    group = torch.zeros(shape, dtype=torch.int64)
    window = (1,) if how.info.kind == "sparse" else how.window
    for axis, (size, width) in enumerate(zip(shape, window, strict=True)):
        cells = torch.arange(size) // (width or max(1, size))
        place = cells.reshape(-1, *[1] * (len(shape) - axis - 1))
        group = group * (int(cells.max()) + 1 if size else 1) + place
    return group.unsqueeze(0)


def _real(explained: Explained, rows: Tensor) -> Tensor:
    """Which numbers of x are there, and no filling."""
    x = explained.x[rows]
    if explained.there.ndim == 2:
        return explained.there[rows].reshape(*explained.there[rows].shape, *[1] * (x.ndim - 2)).expand(x.shape)
    if explained.info.kind == "sparse":
        return x != 0
    return torch.ones(x.shape, dtype=torch.bool)


# -- the result -------------------------------------------------------------------------------------------------


def said_of_each(found: list[Found], n: int, goal: Goal, method: str) -> dict[str, Any]:
    """What is said of each sample, in the order that they were given."""

    def joined(each: list[np.ndarray]) -> np.ndarray:
        out = np.zeros(n, dtype=each[0].dtype)
        for part, own in zip(found, each, strict=True):
            out[part.rows] = own
        return out

    output, base, changed, places, n_steps = (
        joined([getattr(part, name) for part in found])
        for name in ("output", "base", "changed", "places", "n_steps")
    )
    present = joined([part.exists for part in found])
    sums = joined([part.values.reshape(len(part.rows), -1).sum(axis=1) for part in found])
    error = np.where(present, _error(sums, changed, goal.smallest[places]), 0.0)
    return {
        "target": goal.labels[places],
        "output": output,
        "baseline_output": base,
        "baseline": found[-1].baseline,
        "present": present,
        "completeness_error": None if method == "saliency" else error,
        "n_steps": n_steps if method == "integrated_gradients" else None,
        "unattributed": output - base - changed,
    }


def joined_values(found: list[Found], info: BlockInfo, n: int, owners: np.ndarray | None, n_columns: int) -> Any:
    """Attributions of all samples, of features or of the columns that own these."""
    values = _sparse(found, n, info.shape[0]) if info.kind == "sparse" else _dense(found, n)
    if owners is None:
        return values
    ones = (np.ones(len(owners)), (np.arange(len(owners)), owners))
    summed = values @ sp.csr_array(ones, shape=(len(owners), n_columns))
    if sp.issparse(summed):
        summed = summed.toarray()
        for part in found:
            summed[part.rows[~part.exists]] = np.nan
    return summed


def _steps(found: list[Found]) -> int:
    """Of the longest sample; what a batch was filled up with is more."""
    return max(int(part.there.sum(axis=1).max(initial=0)) for part in found)


def _dense(found: list[Found], n: int) -> np.ndarray:
    shape = list(np.max([part.values.shape[1:] for part in found], axis=0))
    if found[0].there.ndim == 2:
        shape[0] = _steps(found)
    values = np.full((n, *shape), np.nan)
    for part in found:
        there = part.there.reshape(part.there.shape + (1,) * (part.values.ndim - part.there.ndim))
        own = np.where(there, part.values, np.nan)[:, : shape[0]]
        values[part.rows, : own.shape[1]] = own
    return values


def _sparse(found: list[Found], n: int, width: int) -> Any:
    rows, columns, values = [], [], []
    for part in found:
        at, place = np.nonzero(part.values)
        rows.append(part.rows[at])
        columns.append(place if part.stored is None else part.stored[at, place])
        values.append(part.values[at, place])
    return sp.csr_array((np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))), (n, width))


def labels_of(names: Names, found: list[Found], info: BlockInfo, n: int, columns: list[str]) -> np.ndarray | None:
    if columns:
        return np.array(columns, dtype=object)
    if info.kind != "tokens":
        return names.features
    words = np.full((n, _steps(found)), "", dtype=object)
    for part in found:
        assert part.stored is not None
        own = np.where(part.there, names.words(part.stored), "")[:, : words.shape[1]]
        words[part.rows, : own.shape[1]] = own
    return words
