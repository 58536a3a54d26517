"""Rows that lie together where they are stored: what is read at a time, and what is shuffled together."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Runs(NamedTuple):
    """Runs of rows of a stored table, each of which is read as a whole.

    Attributes
    ----------
    starts : ndarray of int, shape (n_runs + 1,)
        Number of the first row of each, and the number of rows.
    stretch : ndarray of int, shape (n_runs,)
        Numbers, from 0, of what has to be read from its beginning: runs of one are read in their order.
    n_bytes : ndarray of float, shape (n_runs,)
        What each takes in memory, all columns together, as far as is known before it is read.
    held : float
        Bytes of runs whose rows are shuffled together, and held meanwhile.
    """

    starts: np.ndarray
    stretch: np.ndarray
    n_bytes: np.ndarray
    held: float

    def of(self, rows: np.ndarray) -> np.ndarray:
        """The run of each row."""
        return np.searchsorted(self.starts, rows, side="right") - 1

    @property
    def n_stretches(self) -> int:
        return int(self.stretch[-1]) + 1 if len(self.stretch) else 0

    @property
    def row_bytes(self) -> float:
        """What a row takes on average, 1 at least."""
        return max(1.0, float(self.n_bytes.sum()) / max(1, int(self.starts[-1])))

    def turns(self, rows: np.ndarray, places: np.ndarray) -> np.ndarray:
        """When each row is held, shape (n_rows,): rows of one number at the same time, the lowest first.

        Parameters
        ----------
        rows : ndarray of int, shape (n_rows,)
            Numbers of rows.
        places : ndarray of int, shape (n_stretches,)
            Place of each stretch in the order in which they are read.
        """
        order = np.argsort(places[self.stretch], kind="stable")
        before = np.cumsum(self.n_bytes[order]) - self.n_bytes[order]
        turn = np.empty(len(order), dtype=np.int64)
        turn[order] = before // self.held
        return turn[self.of(rows)]
