"""Samples between others, of which a teacher is asked as of any."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp

from skmm.blocks import Blocks, RaggedArray
from skmm.blocks._blocks import trusted_blocks
from skmm.blocks._kinds import Block, block_kind, is_lazy
from skmm.training import canonical


def can_mix(X: Any) -> bool:
    """Whether there is something between samples in this form: not of words and categories, or of lazy blocks."""
    if isinstance(X, Blocks):
        return not any(is_lazy(block) for block in X.values())
    if hasattr(X, "columns"):
        X = np.asarray(X[:1])
    return sp.issparse(X) or (isinstance(X, np.ndarray) and X.dtype.kind in "fiu" and X.ndim == 2)


def mix(X: Any, often: int, weights: np.ndarray, random: np.random.RandomState) -> tuple[Any, np.ndarray]:
    """So many samples for each: weighted means of it and another, drawn anew, at least half of it its own.

    Vectors, sparse rows, pictures and steps of sequences are mixed; a sequence keeps its length, and is mixed where
    the other has a step. Token ids, and whatever one of the two lacks, are those of the sample itself. Of whole
    numbers the means are rounded. A sample given twice is one of weight 2, and their order means nothing.

    Parameters
    ----------
    X : Blocks, or array, sparse matrix or DataFrame of numbers of shape (n_samples, n_features)
        Samples.
    often : int
        How many to make of each distinct one.
    weights : ndarray of shape (n_samples,)
        Weights, not negative; with these others are drawn.
    random : RandomState
        From which others and their shares are drawn.

    Returns
    -------
    The same form, of ``n_mixed`` samples, and their weights (n_mixed,)
    """
    if hasattr(X, "columns") and not isinstance(X, Blocks):
        mixed, each = mix(np.asarray(X), often, weights, random)
        named = {"columns" if hasattr(X, "iloc") else "schema": list(X.columns)}
        return type(X)(mixed, **named), each
    if isinstance(X, Blocks):
        blocks = X
    else:
        n, X = X.shape[0], sp.csr_array(X) if sp.issparse(X) else X
        blocks = trusted_blocks({"X": X}, {"X": np.ones(n, dtype=bool)}, n)
    rows, each, _ = canonical(blocks, np.zeros(len(blocks)), weights)
    own = np.tile(np.arange(len(rows)), often)
    others = random.choice(len(rows), len(own), p=each / each.sum())
    return between(X, rows[own], rows[others], random.uniform(0.5, 1.0, len(own))), each[own]


def between(X: Any, rows: np.ndarray, others: np.ndarray, shares: np.ndarray) -> Any:
    """Of each pair of samples what has this share of the first, and the rest of the other."""
    if not isinstance(X, Blocks):
        return _mixed(X, rows, others, shares)
    blocks, present = {}, {}
    for name, block in X.items():
        both = X.present[name][others] & X.present[name][rows]
        blocks[name] = _mixed(block, rows, others, np.where(both, shares, 1.0))
        present[name] = X.present[name][rows]
    return trusted_blocks(blocks, present, len(rows))


def _mixed(block: Block, rows: np.ndarray, others: np.ndarray, shares: np.ndarray) -> Block:
    own = block[rows]
    if sp.issparse(block):
        mixed = sp.csr_array(sp.diags_array(shares) @ own + sp.diags_array(1 - shares) @ block[others])
        return type(block)(mixed.astype(np.result_type(block.dtype, np.float32), copy=False))
    if block.dtype.kind not in "fiu" or (isinstance(block, RaggedArray) and block_kind(block) == "tokens"):
        return own
    if not isinstance(block, RaggedArray):
        return _mean(own, block[others], shares)
    # of each step of a sample, the same step of the other, if it has one
    lengths = own.lengths
    step = np.arange(len(own.values)) - np.repeat(own.offsets[:-1], lengths)
    there = step < np.repeat(block.lengths[others], lengths)
    place = np.where(there, np.repeat(block.offsets[:-1][others], lengths) + step, 0)
    each = np.where(there, np.repeat(shares, lengths), 1.0)
    values = _mean(own.values, block.values[place], each) if len(own.values) else own.values
    return RaggedArray(values, own.offsets)


def _mean(own: np.ndarray, other: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Weighted means of two arrays, that of ``own`` where there is no number in the other."""
    share = shares.reshape(-1, *[1] * (own.ndim - 1))
    if own.dtype.kind == "f":
        share = share.astype(own.dtype)
    means = share * own + (1 - share) * other
    if own.dtype.kind == "f":
        return np.where(np.isnan(other) | (share == 1), own, means)
    return np.rint(means).astype(own.dtype)
