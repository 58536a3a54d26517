"""Which column of a table each number is made of that a fitted transformer gives."""

from __future__ import annotations

import copy
import re
from typing import Any

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import FeatureUnion, Pipeline

from skmm.blocks._divided import positions

# A name of a column that no name of another, and no category, holds a part of: of characters for private use.
_MARK, _MARKED = "\ue000{}\ue001", re.compile("\ue000(\\d+)\ue001")


def origins(transformer: Any, n_columns: int, width: int | None = None) -> np.ndarray | None:
    """The place of the column that each output comes from.

    It is read from what a transformer is made of, and asked of by names that no other column can have: names of
    features alone do not tell category ``size`` of ``city`` from the column ``city_size``.

    Parameters
    ----------
    transformer : object
        Fitted; None and "passthrough" are the columns themselves.
    n_columns : int
        Columns that it reads.
    width : int or None
        Numbers that it gives, where that is known.

    Returns
    -------
    ndarray of int, shape (n_outputs,), or None
        -1 of what is made of several columns; None if it is not known.
    """
    if n_columns == 1 and width is not None:
        return np.zeros(width, dtype=np.int64)
    if isinstance(transformer, Pipeline):
        found = _through([step for _, step in transformer.steps], n_columns, width)
    elif isinstance(transformer, ColumnTransformer):
        found = _of_parts(transformer, n_columns)
    elif isinstance(transformer, FeatureUnion):
        each = [origins(part, n_columns) for _, part in transformer.transformer_list if part != "drop"]
        known = [part for part in each if part is not None]
        found = np.concatenate(known) if known and len(known) == len(each) else None
    elif transformer is None or isinstance(transformer, str):
        found = np.arange(n_columns)
    else:
        found = _asked(transformer, n_columns)
    return found if found is None or width in (None, len(found)) else None


def _through(steps: list[Any], n_columns: int, width: int | None) -> np.ndarray | None:
    """Of steps one after the other."""
    found = np.arange(n_columns)
    for i, step in enumerate(steps):
        own = origins(step, len(found), width if i == len(steps) - 1 else None)
        if own is None:
            return None
        found = np.where(own >= 0, found[own], -1)
    return found


def _of_parts(transformer: ColumnTransformer, n_columns: int) -> np.ndarray | None:
    """Of parts side by side, each of some of the columns."""
    slices = transformer.output_indices_
    found = np.full(max(part.stop for part in slices.values()), -1)
    names = [str(name) for name in getattr(transformer, "feature_names_in_", [])]
    for name, part, where in transformer.transformers_:
        size = slices[name].stop - slices[name].start
        if size == 0:
            continue
        try:
            columns = positions(name, where, n_columns, names)
        except ValueError:  # a slice of names
            return None
        own = origins(part, len(columns), size)
        if own is None:
            return None
        found[slices[name]] = np.where(own >= 0, columns[own], -1)
    return found


def _asked(transformer: Any, n_columns: int) -> np.ndarray | None:
    """Of a transformer that names its features after those that it is given."""
    try:
        bare = copy.copy(transformer)
        vars(bare).pop("feature_names_in_", None)  # it would insist on these
        names = bare.get_feature_names_out([_MARK.format(i) for i in range(n_columns)])
    except Exception:  # whatever a transformer of somebody's own raises: then it does not say
        return None
    each = [set(_MARKED.findall(str(name))) for name in names]
    return np.array([int(*places) if len(places) == 1 else -1 for places in each], dtype=np.int64)
