"""Blocks whose samples are long, or of unequal length, as a few numbers a sample."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp

from skmm.blocks import Block, RaggedArray
from skmm.blocks._kinds import LazyRows, spread

MOMENTS = ("mean", "std")
SEQUENCE = ("mean", "std", "min", "max", "last")
_GRID = 8  # cells of an image along each axis, at most
_AT_ONCE = 2**22  # values that are read and computed with at a time


# -- numbers --------------------------------------------------------------------------------------------------


def over_time(values: np.ndarray, lengths: np.ndarray, statistics: Sequence[str]) -> np.ndarray:
    """Statistics over the steps of samples that stand end to end.

    Parameters
    ----------
    values : ndarray of shape (total_length, *inner)
    lengths : ndarray of int, shape (n_samples,)
        Steps of each sample, at least one.
    statistics : sequence of str
        Among those of ``SEQUENCE``.

    Returns
    -------
    ndarray of float64, shape (n_samples, n_statistics * n_channels)
        All channels of the first statistic, then of the next.
    """
    # the channels lie one after the other: summing along the steps reads memory in order
    channels = np.ascontiguousarray(values.reshape(len(values), -1).T, dtype=np.float64)
    starts = np.cumsum(lengths) - lengths
    mean = np.add.reduceat(channels, starts, axis=1) / lengths
    found = []
    for statistic in statistics:
        if statistic == "mean":
            one = mean
        elif statistic == "std":
            squares = (channels - np.repeat(mean, lengths, axis=1)) ** 2
            one = np.sqrt(np.add.reduceat(squares, starts, axis=1) / lengths)
        elif statistic == "last":
            one = channels[:, starts + lengths - 1]
        else:
            one = {"min": np.minimum, "max": np.maximum}[statistic].reduceat(channels, starts, axis=1)
        found.append(one)
    return np.concatenate(found).T


def _of_images(images: np.ndarray) -> np.ndarray:
    """Mean and deviation of each channel, then the means of a grid, (n, height, width[, channels]) -> (n, d)."""
    pixels = images.reshape(*images.shape[:3], -1).astype(np.float64)
    n, height, width, _ = pixels.shape
    rows, columns = edges(height), edges(width)
    sums = np.add.reduceat(np.add.reduceat(pixels, rows, axis=1), columns, axis=2)
    sizes = np.outer(np.diff(rows, append=height), np.diff(columns, append=width))
    cells = sums / sizes[:, :, None]
    return np.hstack([pixels.mean(axis=(1, 2)), pixels.std(axis=(1, 2)), cells.reshape(n, -1)])


def edges(size: int) -> np.ndarray:
    """Where the cells of a grid begin along an axis."""
    n_cells = min(size, _GRID)
    return np.arange(n_cells) * size // n_cells


# -- blocks ---------------------------------------------------------------------------------------------------


def has_steps(shape: tuple[Any, ...]) -> bool:
    """Whether samples of this shape are sequences or videos; that of a step follows."""
    return shape[:1] == ("time",)


def _is_video(shape: tuple[Any, ...]) -> bool:
    return has_steps(shape) and len(shape) == 4


def is_series(shape: tuple[Any, ...]) -> bool:
    """Whether samples of this shape are sequences."""
    return has_steps(shape) and not _is_video(shape)


def summary_names(shape: tuple[Any, ...]) -> list[str]:
    """Names of the columns of a summary, by the shape of a sample."""
    if not has_steps(shape):
        rows, columns = (range(len(edges(size))) for size in shape[:2])
        channels = range(int(np.prod(shape[2:])))
        means = [f"{statistic}{c}" for statistic in MOMENTS for c in channels]
        return means + [f"cell{i}_{j}_{c}" for i in rows for j in columns for c in channels]
    if _is_video(shape):
        return [f"{over}_{name}" for over in MOMENTS for name in summary_names(shape[1:])] + ["steps"]
    return [f"{statistic}{c}" for statistic in SEQUENCE for c in range(int(np.prod(shape[1:])))] + ["steps"]


def summarise(block: Block, present: np.ndarray, shape: tuple[Any, ...], dtype: np.dtype) -> np.ndarray:
    """Summaries of sequences, images or videos, NaN where a sample is missing, of shape (n_samples, n_columns)."""
    out = np.full((len(present), len(summary_names(shape))), np.nan, dtype=dtype)
    for rows, chunk in _chunks(block, np.flatnonzero(present)):
        if not has_steps(shape):
            out[rows] = _of_images(chunk)
            continue
        steps, lengths = _end_to_end(chunk)
        full = lengths > 0  # reduceat knows no empty segment
        if _is_video(shape):
            found = over_time(_of_images(steps), lengths[full], MOMENTS)
        else:
            found = over_time(steps, lengths[full], SEQUENCE)
        out[rows[full]] = np.column_stack([found, lengths[full]])
    return out


def segment_means(block: Block, present: np.ndarray, n_segments: int) -> np.ndarray:
    """Means of sequences over parts of their time, as long as one another, of shape (n_samples, n_segments * d).

    NaN where a sample is missing, and in the parts that have no step where there are fewer steps than parts.
    """
    width = int(np.prod(block.inner_shape if isinstance(block, RaggedArray) else block.shape[2:]))
    out = np.full((len(present), n_segments, width), np.nan)
    for rows, chunk in _chunks(block, np.flatnonzero(present)):
        steps, lengths = _end_to_end(chunk)
        bounds = np.arange(n_segments + 1) * lengths[:, None] // n_segments
        lengths = np.diff(bounds, axis=1)
        found = np.full((*lengths.shape, width), np.nan)
        found[lengths > 0] = over_time(steps, lengths[lengths > 0], ("mean",))
        out[rows] = found
    return out.reshape(len(present), -1)


def _chunks(block: Block, rows: np.ndarray) -> Iterator[tuple[np.ndarray, Block]]:
    """The rows, some at a time, and what they hold; of a block that is read by batch those alone that exist."""
    ragged = isinstance(block, RaggedArray)
    size = block.values.size / max(1, len(block)) if ragged else np.prod(block.shape[1:])
    n_rows = max(1, int(_AT_ONCE / max(1, size)))
    for first in range(0, len(rows), n_rows):
        some = rows[first : first + n_rows]
        chunk = block[some]
        if isinstance(chunk, LazyRows):
            chunk, exists = chunk.read(np.arange(len(some)))
            some, chunk = some[exists], chunk[exists]
        yield some, chunk


def _end_to_end(block: Block) -> tuple[np.ndarray, np.ndarray]:
    """All steps of all samples, one after the other, and how many each sample has."""
    if isinstance(block, RaggedArray):
        return block.values, block.lengths
    return block.reshape(-1, *block.shape[2:]), np.full(len(block), block.shape[1])


# -- tokens ---------------------------------------------------------------------------------------------------


def token_ids(block: RaggedArray, present: np.ndarray) -> np.ndarray:
    """The ids that the samples hold, each once, in order."""
    return np.unique(block[np.flatnonzero(present)].values)


def count_tokens(block: RaggedArray, present: np.ndarray, ids: np.ndarray) -> Any:
    """How often each of the ids stands in each sample, log(1 + count), as CSR of shape (n_samples, n_ids)."""
    rows = np.flatnonzero(present)
    chosen = block[rows]
    places = np.searchsorted(ids, chosen.values)
    known = ids[np.minimum(places, len(ids) - 1)] == chosen.values if len(ids) else np.zeros(len(places), bool)
    owners = np.repeat(np.arange(len(rows)), chosen.lengths)
    counts = sp.coo_array(
        (np.ones(known.sum(), dtype=np.float32), (owners[known], places[known])), shape=(len(rows), len(ids))
    ).tocsr()
    counts.data = np.log1p(counts.data)
    return spread(counts, rows, len(present))
