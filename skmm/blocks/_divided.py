"""A table of numbers as modalities."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from skmm._checks import unknown
from skmm.blocks._blocks import Blocks, FlatLayout

# how scikit-learn's checks read such a table
NUMBERS: dict[str, Any] = {"accept_sparse": "csr", "dtype": "numeric", "ensure_all_finite": False}


_NOTE = "modalities of skmm"  # in the attrs of a DataFrame, which rows that are selected keep


def note_modalities(frame: Any, widths: Mapping[str, int]) -> None:
    """Note in a DataFrame of pandas how many columns each modality has, in their order."""
    frame.attrs[_NOTE] = dict(widths)


def noted_modalities(X: Any) -> dict[str, slice] | None:
    """The columns of each modality, if X is a DataFrame in which they are noted and none was added or dropped."""
    widths = getattr(X, "attrs", {}).get(_NOTE)
    if widths is None or sum(widths.values()) != X.shape[1]:
        return None
    ends = np.cumsum(list(widths.values())).tolist()
    return {name: slice(end - width, end) for (name, width), end in zip(widths.items(), ends, strict=True)}


def divide(X: Any, modalities: Any, names: list[str]) -> Blocks:
    """The columns of a table of numbers as modalities.

    Parameters
    ----------
    X : ndarray or sparse matrix of shape (n_samples, n_features)
        The table.
    modalities : None, FlatLayout, or mapping of str to columns
        What the columns are: one modality ``"X"``, a flat form of Blocks, or columns by their positions, a slice or
        their names.
    names : list of str
        Names of the columns; empty if they have none.
    """
    if modalities is None:
        return Blocks({"X": X})
    if isinstance(modalities, FlatLayout):
        return Blocks.from_flat(X, modalities)
    if not isinstance(modalities, Mapping):
        raise ValueError(
            "modalities must be 'auto', AutoModalities, a ModalityTransformer, a dict of name -> columns or the "
            f"layout of Blocks.to_flat(), got {modalities!r}."
        )
    return Blocks({name: X[:, positions(name, c, X.shape[1], names)] for name, c in modalities.items()})


def positions(name: str, columns: Any, n_columns: int, names: list[str]) -> np.ndarray:
    """Column numbers of one modality."""
    if not isinstance(columns, (str, slice)):
        columns = np.atleast_1d(np.asarray(columns)).tolist()
    if isinstance(columns, str) or (isinstance(columns, list) and any(isinstance(c, str) for c in columns)):
        wanted = [columns] if isinstance(columns, str) else columns
        for column in wanted:
            if column not in names:
                raise unknown(f"column of modality {name!r}:", column, names)
        return np.array([names.index(column) for column in wanted])
    try:
        chosen = np.arange(n_columns)[columns if isinstance(columns, slice) else np.asarray(columns)]
    except IndexError as error:
        raise ValueError(f"modality {name!r}: columns {columns!r} of {n_columns}: {error}.") from None
    if chosen.size == 0:
        raise ValueError(f"modality {name!r}: columns {columns!r} select nothing from {n_columns} columns.")
    return np.atleast_1d(chosen)
