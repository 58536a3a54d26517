"""Shares of a value that players make together: arithmetic alone, of values by set of players."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

# Players up to which all sets are looked at, of which there are 2 to the power of their number.
MOST_EXACT = 10


def shapley_values(values: np.ndarray) -> np.ndarray:
    """Shapley values of M players, (M, ...), of the values (2^M, ...) of all sets of them.

    A set is a number whose bit i says whether player i is in it. The sum over the players is what all make together
    above what nobody makes (Shapley 1953, A value for n-person games).
    """
    n_players = _n_players(values)
    sets = np.arange(len(values))
    sizes = np.bitwise_count(sets)
    weight = np.array([_weight(size, n_players - 1) for size in range(n_players)])
    found = np.empty((n_players, *values.shape[1:]))
    for i in range(n_players):
        without = sets[~sets >> i & 1 == 1]
        found[i] = np.tensordot(weight[sizes[without]], values[without | 1 << i] - values[without], 1)
    return found


def interactions(values: np.ndarray) -> np.ndarray:
    """Shapley interaction indices of each two of M players, (M, M), 0 on the diagonal, of values (2^M,) by set.

    What two make together beyond what each makes without the other, averaged over what is there besides: above 0
    they complete each other, below 0 they say the same (Grabisch and Roubens 1999, An axiomatic approach to the
    concept of interaction among players in cooperative games).
    """
    n_players = _n_players(values)
    sets = np.arange(len(values))
    sizes = np.bitwise_count(sets)
    found = np.zeros((n_players, n_players, *values.shape[1:]))
    weight = np.array([_weight(size, n_players - 2) for size in range(max(n_players - 1, 0))])
    for i in range(n_players):
        for j in range(i):
            a, b = 1 << i, 1 << j
            rest = sets[sets & (a | b) == 0]
            gain = values[rest | a | b] - values[rest | a] - values[rest | b] + values[rest]
            found[i, j] = found[j, i] = np.tensordot(weight[sizes[rest]], gain, 1)
    return found


def sampled_shapley_values(
    value: Callable[[int], float], n_players: int, n_permutations: int, rng: np.random.RandomState
) -> tuple[np.ndarray, np.ndarray]:
    """Estimates of the Shapley values, (M,), and their standard errors, from orders in which players come.

    Each order is also gone through backwards, which makes the error smaller, and what a player adds on both ways
    counts once (Castro, Gomez and Tejada 2009, Polynomial calculation of the Shapley value based on sampling;
    Mitchell et al. 2022, Sampling permutations for Shapley value estimation, for the way back).
    """
    added = np.empty((n_permutations, n_players))
    for row in added:
        order = rng.permutation(n_players)
        row[:] = (_added(value, order) + _added(value, order[::-1])) / 2
    error = (
        added.std(axis=0, ddof=1) / math.sqrt(n_permutations) if n_permutations > 1 else np.full(n_players, np.nan)
    )
    return added.mean(axis=0), error


def _added(value: Callable[[int], float], order: np.ndarray) -> np.ndarray:
    """What each player adds to those that came before."""
    found, there = np.empty(len(order)), 0
    before = value(there)
    for player in order:
        there |= 1 << int(player)
        now = value(there)
        found[player], before = now - before, now
    return found


def _weight(size: int, others: int) -> float:
    """The share of orders in which, of so many others, just those of a set of that size came before."""
    return 1 / ((others + 1) * math.comb(others, size))


def _n_players(values: np.ndarray) -> int:
    return len(values).bit_length() - 1
