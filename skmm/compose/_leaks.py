"""Columns of a table that say what is to be predicted, or where a row stood."""

from __future__ import annotations

import re
import warnings
from collections.abc import Hashable
from typing import Any

import numpy as np

from skmm._private import safe_indexing
from skmm._warnings import warn
from skmm.columns._cells import as_date, as_floats, cells
from skmm.columns._levels import levels

_LEAST_ROWS = 30  # of fewer a column may tell the target by chance
_LEAST_OF_A_CLASS = 5


def find_leaks(X: Any, places: list[int], y: Any, groups: Any = None) -> list[str]:
    """What is to be suspected of columns, one sentence for each, before anything is fitted.

    A column is named if it numbers the rows in another order, or if it alone tells the target perfectly: each of
    its values comes again and always with the same target (texts count as the same where they differ in case,
    spaces and punctuation alone), its numbers or dates lie in one interval for each class, or they rise or fall
    with a target of values without exception.

    Parameters
    ----------
    X : DataFrame or ndarray of shape (n_samples, n_features)
    places : list of int
        The columns that are learned from.
    y : array-like of shape (n_samples,)
        The target; several at once are not looked at.
    groups : array-like of shape (n_samples,), optional
        Groups that no fold parts: in each a value counts once.

    Returns
    -------
    list of str
    """
    target = np.asarray(y)
    if target.ndim != 1 or len(target) < _LEAST_ROWS or len(target) != X.shape[0]:
        return []
    names = list(getattr(X, "columns", range(X.shape[1])))
    codes = np.unique(target.astype(str) if target.dtype == object else target, return_inverse=True)[1]
    found = []
    for place in places:
        values, missing = cells(safe_indexing(X, place, axis=1))
        ordered = _as_numbers(names[place], values, missing)
        if ordered is not None and _numbers_the_rows(ordered):
            found.append(f"column {names[place]!r} numbers the rows, in another order")
            continue
        same = _same(values, missing)
        if _always_with_one(same, codes, groups) or (ordered is not None and _in_order(ordered, codes)):
            found.append(f"column {names[place]!r} alone tells the target, perfectly")
    return found


def warn_of_leaks(found: list[str]) -> None:
    """One warning of all columns that are suspected."""
    if found:
        warn(
            f"{_SAID}: {'; '.join(found)}. If that will not be known of new rows, or tells how the table was made, "
            "leave it out; rows that are copies of one another belong into one group."
        )


_SAID = "before the fit"


def ignore_leaks() -> None:
    """Within ``warnings.catch_warnings``: say nothing, since it was said."""
    warnings.filterwarnings("ignore", message=_SAID)


def _as_numbers(name: Any, values: np.ndarray, missing: np.ndarray) -> np.ndarray | None:
    """A column of numbers or dates as floats, None for any other."""
    there = values[~missing]
    if missing.any() or not len(there) or there.dtype.kind not in "iufMmO" or isinstance(there[0], (str, bytes)):
        return None
    try:
        if there.dtype.kind == "M":
            return there.astype("datetime64[us]").astype(np.int64)
        if not isinstance(there[0], Hashable):
            return None
        try:
            return as_floats(name, values, np.arange(len(values)))
        except ValueError:
            return np.array([as_date(value) for value in there]).astype(np.int64)
    except (TypeError, ValueError):
        return None


def _numbers_the_rows(numbers: np.ndarray) -> bool:
    whole = numbers.dtype.kind in "iu" or bool((numbers == np.floor(numbers)).all())
    return bool(whole and np.ptp(numbers) == len(numbers) - 1) and len(np.unique(numbers)) == len(numbers)


def _same(values: np.ndarray, missing: np.ndarray) -> np.ndarray | None:
    """A number for each value, the same for values that say the same; None if the cells are no single values."""
    there = levels(values[~missing])
    places: dict[Any, int] = {}
    same = np.zeros(len(values), dtype=np.int64)  # what is missing is a value of its own
    try:
        same[~missing] = [1 + places.setdefault(_plain(cell), len(places)) for cell in there]
    except TypeError:  # lists, arrays, or tuples that hold such
        return None
    return same


def _plain(cell: Any) -> Any:
    return re.sub(r"[\W_]+", " ", cell.casefold()).strip() if isinstance(cell, str) else cell


def _always_with_one(same: np.ndarray | None, codes: np.ndarray, groups: Any) -> bool:
    """Whether values which come again stand with one target each, of all classes."""
    if same is None:
        return False
    if groups is not None:
        first = np.unique(np.stack([same, np.unique(groups, return_inverse=True)[1]]), axis=1, return_index=True)[1]
        same, codes = same[first], codes[first]
    again = np.bincount(same)[same] > 1
    if 2 * again.sum() < len(same) or len(same) < _LEAST_ROWS:
        return False
    pairs = np.unique(np.stack([same[again], codes[again]]), axis=1)
    counts = np.bincount(codes[again], minlength=codes.max() + 1)
    rare = counts.min() < _LEAST_OF_A_CLASS and len(counts) <= len(codes) // 2  # else values, not classes
    pure = len(pairs[0]) == len(np.unique(same[again]))
    return pure and int(np.count_nonzero(counts)) > 1 and not bool(rare)


def _in_order(numbers: np.ndarray, codes: np.ndarray) -> bool:
    """Whether the targets lie in one interval of the numbers each."""
    counts = np.bincount(codes)
    order = np.lexsort((codes, numbers))
    sorted_codes, sorted_numbers = codes[order], numbers[order]
    changes = np.flatnonzero(np.diff(sorted_codes))
    if (np.diff(sorted_numbers)[changes] == 0).any():  # one value with two targets
        return False
    if len(counts) > len(codes) // 2:  # a target of values
        steps = np.diff(sorted_codes)
        return bool((steps >= 0).all() or (steps <= 0).all())
    return len(counts) > 1 and len(changes) == len(counts) - 1 and int(counts.min()) >= _LEAST_OF_A_CLASS
