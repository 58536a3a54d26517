"""What is given as X, as Blocks, and what any use of it asks of its values."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy.sparse as sp

from skmm._warnings import warn
from skmm.blocks._blocks import Blocks, RaggedArray
from skmm.blocks._forms import n_axes
from skmm.blocks._kinds import Block, as_kind, block_kind, is_lazy
from skmm.files._sources import KIND_OF, extension


def is_named(X: Any) -> bool:
    """Whether X holds named blocks; some of scipy's sparse arrays are mappings, of positions to values."""
    return isinstance(X, (Blocks, Mapping)) and not sp.issparse(X)


def blocks_if_named(X: Any) -> Any:
    """Named blocks as Blocks; anything else, such as a table, as it is."""
    return Blocks(X) if is_named(X) and not isinstance(X, Blocks) else X


def as_blocks(X: Any, *, reset: bool) -> Blocks:
    """Named blocks as Blocks; after a first fit, where ``reset`` is over, one that is None is as if not named."""
    if not isinstance(X, Blocks):
        X = Blocks(X if reset else {name: block for name, block in X.items() if block is not None})
    if len(X) == 0:
        raise ValueError(f"Found 0 sample(s) in {list(X)} while a minimum of 1 is required.")
    return X


def refuse_unnamed(X: Any) -> None:
    """Raise if X, without names, is no table of numbers but looks like a block or a list of blocks."""
    if isinstance(X, (list, tuple)) and any(n_axes(block) > 1 for block in X):
        names = ", ".join(f"'modality_{i}': X[{i}]" for i in range(min(2, len(X))))
        raise ValueError(
            f"X is a {type(X).__name__} of {len(X)} arrays of 2 or more dimensions. Each modality needs a name: "
            f"give a dict, {{{names}{', ...' * (len(X) > 2)}}}, or Blocks of it. If the arrays are the samples of "
            "one modality, give {'modality': X}."
        )
    if isinstance(X, (list, tuple)) and X and all(isinstance(row, Mapping) for row in X):
        raise ValueError(
            f"X is a {type(X).__name__} of {len(X)} dicts: give a table, pd.DataFrame(X), whose columns are read "
            "by what they hold."
        )
    text = _first_text(X)
    if text is not None and n_axes(X) == 2:
        raise ValueError(
            f"X is a {type(X).__name__} with text in it, such as {text!r}: could not convert string to float. Give "
            "a DataFrame, pd.DataFrame(X, columns=...), whose columns are read by what they hold."
        )
    if text is not None:
        name = KIND_OF.get(extension(text), "text")
        raise ValueError(
            f"X is a {type(X).__name__} of strings, such as {text!r}: give them as a column of a table, "
            f"pd.DataFrame({{{name!r}: X}}), which is read by what it holds."
        )
    if n_axes(X) > 2:
        raise ValueError(
            f"Found array with dim {n_axes(X)}: X without names is a table, of shape (n_samples, n_features). "
            "Give the modality a name, {'modality': X}, or Blocks of it."
        )


def _first_text(X: Any) -> str | None:
    """The first string in a list, or an array of objects or strings, that is no number."""
    if isinstance(X, (list, tuple)):
        cells = X
    elif isinstance(X, np.ndarray) and X.dtype.kind in "OU":
        cells = X.ravel().tolist()
    elif n_axes(X) == 1 and hasattr(X, "to_list"):  # a Series
        cells = X.to_list()
    else:
        return None
    return next(
        (os.fspath(cell) for cell in cells if isinstance(cell, (str, os.PathLike)) and not _is_float(cell)), None
    )


def _is_float(cell: Any) -> bool:
    try:
        float(cell)
    except (TypeError, ValueError):
        return False
    return True


def sample_lengths(blocks: Blocks, name: str) -> np.ndarray:
    """Steps of each sample of a sequence or video, (n,); 0 where it is missing."""
    if name not in blocks:
        return np.zeros(len(blocks), dtype=np.int64)
    block = blocks[name]
    return np.where(blocks.present[name], block.lengths if isinstance(block, RaggedArray) else block.shape[1], 0)


def warn_of_channels(blocks: Blocks) -> None:
    """Warn of pictures whose channels seem to come first, as torch has them: they are read as a few rows."""
    for name, block in blocks.items():
        if block_kind(block) not in ("image", "video") or isinstance(block, RaggedArray) or len(block.shape) < 4:
            continue
        *_, first, height, width = block.shape
        if first in (1, 3, 4) and min(height, width) > 4:
            axis = len(block.shape) - 3
            warn(
                f"modality {name!r}: {block_kind(block)} samples of shape {tuple(block.shape[1:])} are read with "
                f"the channels last, as {first} rows of {height} pixels with {width} channels. If they come "
                f"first, as torch has them, give np.moveaxis({name}, {axis}, -1)."
            )


def check_finite(blocks: Blocks, kinds: Mapping[str, tuple[str, ...]] | None = None) -> None:
    """No infinity, NaN only where a whole row is missing, and no negative token ids.

    With ``kinds``, those that each modality's encoder reads, whole numbers that it reads as a sequence are no token
    ids.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # a sum that overflows only has its values looked at
        for name, block in blocks.items():
            if kinds is not None and block_kind(block) == "tokens":
                block = as_kind(block, kinds[name])
            _check_values(name, block, blocks.present[name])


def _sum_is_finite(values: np.ndarray) -> bool:
    """Whether no value needs a closer look."""
    return bool(np.isfinite(values.sum()))


def _check_values(name: str, block: Block, present: np.ndarray) -> None:
    if is_lazy(block) and block.template is not None:  # values are looked at when they are read
        return
    if block_kind(block) == "sequence" and not isinstance(block, RaggedArray) and block.shape[1] == 0 < len(block):
        raise ValueError(
            f"modality {name!r}: sequences of 0 steps, the shape is {tuple(block.shape)}. Leave the modality out, "
            "or give None in the place of each sample that lacks it."
        )
    if isinstance(block, RaggedArray) and block_kind(block) == "tokens" and block.values.min(initial=0) < 0:
        first = int((block.values < 0).argmax())
        holder = int(np.searchsorted(block.offsets, first, side="right") - 1)
        raise ValueError(
            f"modality {name!r}, row {holder}: token id {block.values[first]} is negative. A list of whole numbers "
            "holds token ids: give what is measured, such as sound, as floats, or name an encoder of sequences, "
            f"encoders={{{name!r}: 'conv1d'}}."
        )
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
        "its values are NaN; fill gaps first, e.g. with a SimpleImputer in the ModalityTransformer. Of a DataFrame "
        "modalities='auto' does."
    )
