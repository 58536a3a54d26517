"""Samples between others, of which a teacher is asked as of any."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp

from skmm.blocks import Blocks, RaggedArray
from skmm.blocks._blocks import trusted_blocks
from skmm.blocks._kinds import Block, block_kind, is_lazy


def can_mix(X: Any) -> bool:
    """Whether there is something between samples in this form: not of a table of any columns, or of lazy blocks."""
    if isinstance(X, Blocks):
        return not any(is_lazy(block) for block in X.values())
    return sp.issparse(X) or isinstance(X, np.ndarray)


def mix(X: Any, often: int, random: np.random.RandomState) -> Any:
    """So many samples for each: weighted means of it and another, drawn anew, at least half of it its own.

    Vectors, sparse rows, pictures and steps of sequences are mixed; a sequence keeps its length, and is mixed where
    the other has a step. Token ids, and whatever one of the two lacks, are those of the sample itself. Of whole
    numbers the means are rounded.

    Parameters
    ----------
    X : Blocks, or array or sparse matrix of shape (n_samples, n_features)
        Samples.
    often : int
        How many to make of each.
    random : RandomState
        From which partners and weights are drawn.

    Returns
    -------
    The same form, of ``often * n_samples`` samples; that of sample ``i`` are ``i``, ``n_samples + i`` and so on.
    """
    n = len(X) if isinstance(X, Blocks) else X.shape[0]
    rows = np.tile(np.arange(n), often)
    others = np.concatenate([random.permutation(n) for _ in range(often)])
    shares = random.uniform(0.5, 1.0, len(rows))
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
