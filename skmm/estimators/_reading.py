"""Tables as blocks, whatever the order of their rows, and samples that say nothing."""

from __future__ import annotations

from typing import Any

import numpy as np

from skmm._private import safe_indexing
from skmm._warnings import warn
from skmm.blocks import Blocks
from skmm.columns._tables import as_frame
from skmm.compose import ModalityTransformer
from skmm.training._samples import frame_order


def frame(X: Any) -> Any:
    """A table whose columns have names, as a DataFrame."""
    X = as_frame(X)
    if not hasattr(X, "columns"):
        raise ValueError(
            "modalities='auto' reads a pandas or polars DataFrame, a pyarrow Table or a Dataset of Hugging "
            f"Face, got {type(X).__name__}."
        )
    return X


def fit_transformer(transformer: ModalityTransformer, X: Any) -> Blocks:
    """What a transformer that is fitted to a table makes of it, whatever the order of its rows."""
    # sums are rounded by the order of their terms, and what is learned is not to depend on that of the rows
    order = frame_order(X)
    try:
        blocks = transformer.fit_transform(safe_indexing(X, order))
    except Exception:
        transformer.fit_transform(X)  # says the same of the rows as they were given
        raise
    return blocks[np.argsort(order)]


def drop_empty(blocks: Blocks, weights: np.ndarray) -> np.ndarray:
    """Weights, 0 for a sample without any modality, which cannot be learned from."""
    empty = ~np.any(list(blocks.present.values()), axis=0) & (weights > 0)
    if not empty.any():
        return weights
    if empty.sum() == (weights > 0).sum():
        raise ValueError(f"no sample has any of the modalities {list(blocks)}: all rows are missing (NaN).")
    warn(
        f"{empty.sum()} of {len(weights)} samples have no modality at all and are left out of training, "
        f"the first is row {np.flatnonzero(empty)[0]}."
    )
    return np.where(empty, 0.0, weights)
