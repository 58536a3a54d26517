"""Categories by their value: what is equal is the same level, whatever its type."""

from __future__ import annotations

import datetime
import re
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from skmm._warnings import in_folds, warn
from skmm.columns._cells import columns_of, short
from skmm.columns._tables import note_columns

# strings that stand for a number as it is: a leading zero makes them a code
_PLAIN = re.compile(r"-?(0|[1-9]\d{0,14})(\.\d{1,15})?")
# Of strings that come again and again no more than this many are categories of their own.
MAX_CATEGORIES = 40
# a column of which this share, of no fewer cells, is new is likely to be another than that of fit
_NEARLY_ALL, _LEAST = 0.9, 5
_NAMED = 5  # new levels that a warning names


def levels(values: np.ndarray) -> list[Any]:
    """Cells of a column as Python objects which are equal, and hash alike, where the cells are equal."""
    if values.dtype.kind in "mM":  # numpy gives those of nanoseconds as integers
        return values.astype(f"{values.dtype.kind}8[us]").tolist()
    if values.dtype.kind == "f" and values.dtype.itemsize < 8:
        return [float(str(value)) for value in values]  # the decimal that a float32 stands for
    if values.dtype.kind == "O":
        return [_level(value) for value in values.tolist()]
    return values.tolist()


def _level(value: Any) -> Any:
    if isinstance(value, np.generic):
        return levels(np.asarray(value).reshape(1))[0]
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, datetime.datetime):  # pandas' Timestamp too
        return value.astimezone(datetime.UTC).replace(tzinfo=None) if value.tzinfo else value
    if isinstance(value, datetime.date):
        return datetime.datetime.combine(value, datetime.time())
    return value


def written(level: Any) -> str:
    """A level as a string, the same for all numbers of one value and the strings that are written like them."""
    if isinstance(level, str) and _PLAIN.fullmatch(level):
        level = float(level)
    if isinstance(level, float) and level.is_integer():
        level = int(level)
    return str(level)


def _writing(level: Any) -> str:
    """As :func:`written`, with true and false as the numbers that they equal."""
    return {"True": "1", "False": "0"}.get(text := written(level), text)


class Known:
    """What stands for each level that was seen.

    A level that is not among them is the one that is written like it: ``"1"`` and ``"1.0"`` are 1, and ``"True"``
    is True, in a table that was read as strings.
    """

    def __init__(self, known: Mapping[Any, Any]) -> None:
        self.known = known
        self.by_writing: dict[str, Any] = {}
        for level, value in known.items():
            self.by_writing.setdefault(_writing(level), value)

    def get(self, level: Any) -> Any:
        """What stands for a level, None for one that is new."""
        found = self.known.get(level)
        return self.by_writing.get(_writing(level)) if found is None else found


class Categories(
    OneToOneFeatureMixin,
    TransformerMixin,
    BaseEstimator,
    auto_wrap_output_keys=None,  # type: ignore[call-arg]
):
    """A table of categories as strings, for OneHotEncoder: equal values are equal strings, missing cells None."""

    def fit(self, X: Any, y: Any = None) -> Categories:
        note_columns(self, X)
        self.labels_: list[dict[Hashable, str]] = []
        for _, values, missing in columns_of(X):
            labels: dict[Hashable, str] = {}
            taken: set[str] = set()
            for level in dict.fromkeys(_hashable(levels(values[~missing]))):
                label = written(level)
                labels[level] = label = repr(level) if label in taken else label
                taken.add(label)
            self.labels_.append(labels)
        return self

    def transform(self, X: Any) -> np.ndarray:
        check_is_fitted(self)
        out = np.full(X.shape, None, dtype=object)
        for j, (name, values, missing) in enumerate(columns_of(X)):
            # what no label starts with is new to OneHotEncoder too
            out[~missing, j] = [
                f"\0{written(level)}" if label is None else label
                for level, label in labelled(name, values[~missing], Known(self.labels_[j]))
            ]
        return out


def labelled(
    name: Any, there: np.ndarray, known: Known, *, usual: bool = False
) -> Iterator[tuple[Any, str | None]]:
    """Cells of a column as levels, with their labels, None of new ones; warns of these."""
    found = list(_hashable(levels(there)))
    given = [known.get(level) for level in found]
    warn_of_new(name, found, given, known.known, usual=usual)
    return zip(found, given, strict=True)


def _hashable(cells: Iterable[Any]) -> Iterable[Hashable]:
    return (cell if isinstance(cell, Hashable) else str(cell) for cell in cells)


def warn_of_new(
    name: Any, there: list[Any], found: list[Any], known: Mapping[Any, Any], *, usual: bool = False
) -> None:
    """Warn of the cells of a column that are levels which fit has not seen; ``found`` has None for these.

    Where new ones are ``usual``, as in folds of a cross-validation, or fit saw so many levels that the rare ones
    share a place, only a column nearly all of whose cells are new is told of.
    """
    usual = usual or len(known) > MAX_CATEGORIES or in_folds()
    new = Counter(level for level, label in zip(there, found, strict=True) if label is None)
    least = max(_LEAST, _NEARLY_ALL * len(there)) if usual else 1
    if not known or new.total() < least:
        return
    told = [f"{short(level)} in {count}" for level, count in new.most_common(_NAMED)]
    rest = f" and {len(new) - _NAMED} more" if len(new) > _NAMED else ""
    seen = ", ".join(short(level) for level in list(known)[:3])
    warn(
        f"column {name!r}: {new.total()} of {len(there)} cells are categories that fit did not see, "
        f"{', '.join(told)}{rest}; it saw {len(known)}, such as {seen}. They say nothing to the model."
        f"{_meant(new, known)}",
        about=f"new categories of column {name!r}",  # each fold of a cross-validation has others
    )


def _meant(new: Iterable[Any], known: Iterable[Any]) -> str:
    """What the first of the new levels may be meant as that differs from a known one in case and spaces alone."""
    folded = {" ".join(level.split()).casefold(): level for level in known if isinstance(level, str)}
    for level in new:
        near = folded.get(" ".join(level.split()).casefold()) if isinstance(level, str) else None
        if near is not None:
            return f" Is {short(level)} meant as {short(near)}? Then write it so."
    return ""
