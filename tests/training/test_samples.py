"""Tests of skmm.training._samples: one data set, however it is stated, is one list of distinct samples."""

import itertools

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from skmm import Blocks
from skmm.blocks import RaggedArray
from skmm.training._samples import canonical, frame_order

N = 20


def ragged(seed=0):
    rng = np.random.default_rng(seed)
    return [None if i == 4 else rng.normal(size=(1 + i % 5, 2)) for i in range(N)]


def make(kind, seed=0):
    rng = np.random.default_rng(seed)
    vector = rng.normal(size=(N, 40))
    return {
        "dense": lambda: Blocks(x=vector),
        "sparse": lambda: Blocks(x=sp.random_array((N, 30), density=0.2, format="csr", random_state=seed)),
        "ragged": lambda: Blocks(x=ragged(seed)),
        "tokens": lambda: Blocks(x=[rng.integers(0, 9, 3 + i % 6) for i in range(N)]),
        "images": lambda: Blocks(x=rng.integers(0, 256, (N, 6, 5, 3), dtype=np.uint8)),
        "integers": lambda: Blocks(x=rng.integers(0, 100, (N, 30))),
        "missing": lambda: Blocks(
            {"a": np.where(np.arange(N)[:, None] % 3 == 0, np.nan, vector), "b": rng.normal(size=(N, 2))},
            present={"b": np.arange(N) % 4 != 0},
        ),
        "several": lambda: Blocks(a=vector, b=ragged(seed), c=rng.integers(0, 256, (N, 4, 4), dtype=np.uint8)),
    }[kind]()


KINDS = ["dense", "sparse", "ragged", "tokens", "images", "integers", "missing", "several"]
kinds = pytest.mark.parametrize("kind", KINDS)


def target(seed=0):
    return np.random.default_rng(seed).integers(0, 3, N).astype(float)


def listing(rows, weights, order):
    """Original numbers of the samples in their canonical order, and their weights."""
    return np.asarray(order)[rows].tolist(), weights.tolist()


# -- what does not change the list --------------------------------------------------------------------------------


@kinds
def test_distinct_samples_are_all_there_once(kind):
    rows, weights, owner = canonical(make(kind), target(), np.ones(N))
    assert sorted(rows) == list(range(N))
    assert (weights == 1).all()
    assert rows[owner].tolist() == list(range(N))


@kinds
@pytest.mark.parametrize("seed", [0, 1])
def test_order_of_the_samples_makes_no_difference(kind, seed):
    X, y, w = make(kind), target(), np.random.default_rng(2).random(N)
    order = np.random.default_rng(seed).permutation(N)
    expected = listing(*canonical(X, y, w)[:2], np.arange(N))
    assert listing(*canonical(X[order], y[order], w[order])[:2], order) == expected


@kinds
def test_a_sample_given_k_times_is_one_of_weight_k(kind):
    X, y = make(kind), target()
    counts = np.random.default_rng(1).integers(0, 4, N)
    repeated = np.random.default_rng(2).permutation(np.repeat(np.arange(N), counts))
    expected = listing(*canonical(X, y, counts.astype(float))[:2], np.arange(N))
    rows, weights, owner = canonical(X[repeated], y[repeated], np.ones(len(repeated)))
    assert listing(rows, weights, repeated) == expected
    # each repetition is owned by the sample that stands for it
    assert repeated[rows[owner]].tolist() == repeated.tolist()


@kinds
def test_weight_zero_is_absence(kind):
    X, y = make(kind), target()
    w = (np.arange(N) % 3 != 1).astype(float)
    kept = np.flatnonzero(w)
    rows, weights, owner = canonical(X, y, w)
    assert (owner[w == 0] == -1).all()
    assert rows[owner[kept]].tolist() == kept.tolist()
    expected = listing(*canonical(X[kept], y[kept], w[kept])[:2], kept)
    assert listing(rows, weights, np.arange(N)) == expected


@kinds
def test_weights_of_equal_samples_add_up(kind):
    X, y = make(kind), target()
    twice = np.r_[np.arange(N), np.arange(N)]
    w = np.random.default_rng(0).random(2 * N)
    rows, weights, _ = canonical(X[twice], y[twice], w)
    np.testing.assert_allclose(weights, (w[:N] + w[N:])[rows % N])


@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.uint8])
def test_type_of_equal_numbers_makes_no_difference(dtype):
    x = np.random.default_rng(0).integers(0, 200, (N, 30))
    same = [canonical(Blocks(x=x.astype(t)), target(), np.ones(N))[0].tolist() for t in (dtype, np.float64)]
    assert same[0] == same[1]


def test_negative_zero_is_zero():
    x = np.zeros((2, 3))
    x[1] = -0.0
    assert len(canonical(Blocks(x=x), np.zeros(2), np.ones(2))[0]) == 1


def test_stored_zeros_and_the_order_of_stored_entries_make_no_difference():
    a = sp.csr_array((np.array([3.0, 5.0, 5.0, 0.0, 3.0]), np.array([1, 4, 4, 2, 1]), np.array([0, 2, 5])), (2, 6))
    assert len(canonical(Blocks(x=a), np.zeros(2), np.ones(2))[0]) == 1


def test_what_stands_in_a_missing_row_makes_no_difference():
    x = np.random.default_rng(0).normal(size=(3, 4))
    X = Blocks({"x": x, "y": np.ones((3, 1))}, present={"x": np.zeros(3, bool)})
    rows, weights, _ = canonical(X, np.zeros(3), np.ones(3))
    assert (len(rows), weights.tolist()) == (1, [3.0])


# -- what must never be merged ------------------------------------------------------------------------------------


def n_distinct(x):
    X = Blocks(x=x)
    return len(canonical(X, np.zeros(len(X)), np.ones(len(X)))[0])


@pytest.mark.parametrize(
    ("values", "length"),
    [
        ((0, 1), 16),
        ((-1, 1), 15),
        ((-1, 0, 1), 9),
        ((0, 1, 2, 3), 8),
        ((1, 2), 15),
        (range(10), 4),
        ((0.25, 0.5), 15),
        ((1.0, 1.0 + 2**-52), 15),
        ((0, 1e10, -1e10), 9),
    ],
)
def test_vectors_of_few_values_are_told_apart(values, length):
    grid = np.array(list(itertools.product(values, repeat=length)), dtype=float)
    assert n_distinct(grid) == len(values) ** length


@pytest.mark.parametrize("values", [(0, 1), (1, 2)])
def test_sparse_rows_of_few_values_are_told_apart(values):
    grid = np.array(list(itertools.product(values, repeat=13)), dtype=float)
    assert n_distinct(sp.csr_array(grid)) == 2**13


@pytest.mark.parametrize("n_ids", [2, 3])
def test_token_sequences_of_few_ids_are_told_apart(n_ids):
    sequences = [np.array(s) for length in range(1, 9) for s in itertools.product(range(n_ids), repeat=length)]
    assert n_distinct(sequences) == len(sequences)


def test_random_samples_are_told_apart():
    rng = np.random.default_rng(0)
    assert n_distinct(rng.normal(size=(200_000, 3))) == 200_000
    assert n_distinct(np.arange(200_000.0)[:, None]) == 200_000
    few = rng.integers(0, 3, (100_000, 12))
    assert n_distinct(few) == len(np.unique(few, axis=0))


@kinds
def test_samples_that_differ_in_one_value_are_told_apart(kind):
    """Also in one that the first look does not read."""
    X = make(kind)
    name = list(X)[-1]
    block = X[name]
    twice = X[np.r_[np.arange(N), np.arange(N)]]
    changed = twice[name]
    rng = np.random.default_rng(3)
    if isinstance(changed, RaggedArray):
        values = changed.values.copy()
        for i in range(N, 2 * N):
            if changed.lengths[i]:
                step = rng.integers(changed.offsets[i], changed.offsets[i + 1])
                values.reshape(len(values), -1)[step, 0] += 1
        changed = RaggedArray(values, changed.offsets)
    elif sp.issparse(changed):
        changed = changed.copy()
        starts = changed.indptr[N : 2 * N]
        changed.data[starts[np.diff(changed.indptr[N:]) > 0]] += 1
    else:
        changed = changed.copy()
        flat = changed.reshape(2 * N, -1)
        flat[np.arange(N, 2 * N), rng.integers(0, flat.shape[1], N)] += 1
    Y = Blocks({**dict(twice.items()), name: changed}, present=twice.present)
    same = ~X.present[name]
    if sp.issparse(block):
        same = same | (np.diff(block.indptr) == 0)
    assert len(canonical(Y, np.r_[target(), target()], np.ones(2 * N))[0]) == 2 * N - same.sum()


def test_a_row_of_zeros_is_not_a_missing_row():
    for block in (np.zeros((2, 3)), sp.csr_array((2, 3), dtype=float)):
        X = Blocks({"x": block, "y": np.ones((2, 1))}, present={"x": np.array([True, False])})
        assert len(canonical(X, np.zeros(2), np.ones(2))[0]) == 2


def test_the_same_values_in_another_modality_are_another_sample():
    x = np.array([[1.0], [2.0]])
    assert len(canonical(Blocks(a=x, b=x[::-1].copy()), np.zeros(2), np.ones(2))[0]) == 2
    missing = {"a": np.array([True, False]), "b": np.array([False, True])}
    ones = np.ones((2, 1))
    assert len(canonical(Blocks({"a": ones, "b": ones}, present=missing), np.zeros(2), np.ones(2))[0]) == 2


def test_sequences_that_differ_in_length_alone_are_told_apart():
    assert n_distinct([np.zeros((k, 2)) for k in range(1, 30)]) == 29


@pytest.mark.parametrize("y", [np.array([0.0, 1.0]), np.array([[0.0, 1.0], [1.0, 0.0]])])
def test_equal_samples_with_different_targets_stay_apart(y):
    assert len(canonical(Blocks(x=np.ones((2, 3))), y, np.ones(2))[0]) == 2
    assert len(canonical(Blocks(x=np.ones((2, 3))), np.zeros_like(y), np.ones(2))[0]) == 1


@pytest.mark.parametrize("y", [np.zeros(6), np.zeros((6, 2))])
def test_equal_samples_of_different_groups_stay_apart(y):
    X, groups = Blocks(x=np.ones((6, 3))), np.array([5, 5, 7, 7, 7, 9])
    rows, weights, owner = canonical(X, y, np.ones(6), groups)
    assert dict(zip(groups[rows].tolist(), weights.tolist(), strict=True)) == {5: 2, 7: 3, 9: 1}
    assert groups[rows[owner]].tolist() == groups.tolist()
    assert len(canonical(X, y, np.ones(6))[0]) == 1


# -- lazily read blocks, and the caller's data --------------------------------------------------------------------


class Lazy:
    def __init__(self, data):
        self.data, self.shape, self.dtype = data, data.shape, data.dtype

    def __getitem__(self, rows):
        raise AssertionError("a lazily read block must not be read here")


def test_lazily_read_samples_stay_as_they_come():
    X = Blocks(x=Lazy(np.ones((4, 3))))
    rows, weights, owner = canonical(X, np.zeros(4), np.array([1.0, 0.0, 2.0, 1.0]))
    assert (rows.tolist(), weights.tolist(), owner.tolist()) == ([0, 2, 3], [1, 2, 1], [0, -1, 1, 2])


@kinds
def test_nothing_is_written_to(kind):
    X, y, w = make(kind), target(), np.ones(N)
    twice = X[np.r_[np.arange(N), np.arange(N)]]
    arrays = [b.values if isinstance(b, RaggedArray) else b.data if sp.issparse(b) else b for b in twice.values()]
    for a in arrays:
        a.flags.writeable = False
    canonical(twice, np.r_[y, y], np.r_[w, w])


def test_one_sample():
    rows, weights, owner = canonical(Blocks(x=np.ones((1, 3))), np.zeros(1), np.array([0.5]))
    assert (rows.tolist(), weights.tolist(), owner.tolist()) == ([0], [0.5], [0])


# -- frames, and lists that hold None ------------------------------------------------------------------------------


def frame():
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "number": rng.normal(size=N) * 100,
            "count": rng.integers(0, 3, N),
            "gap": np.where(np.arange(N) % 4 == 0, np.nan, rng.normal(size=N)),
            "word": rng.choice(["red", "green", "blue"], N),
            "cells": [None if i == 3 else rng.normal(size=3) for i in range(N)],
            "day": pd.date_range("2020-01-01", periods=N),
            "level": pd.Categorical(rng.choice(["x", "y"], N)),
            "list": [[i, str(i)] for i in range(N)],
        }
    )


@pytest.mark.parametrize("columns", [*[[name] for name in frame()], list(frame())], ids=str)
def test_rows_of_a_frame_have_an_order_of_their_own(columns):
    given = frame().loc[:, columns]
    mixed = given.iloc[np.random.default_rng(1).permutation(N)]
    first, second = (x.iloc[frame_order(x)].map(repr).to_numpy() for x in (given, mixed))
    np.testing.assert_array_equal(first, second)


def test_rows_of_a_polars_frame_have_an_order_of_their_own():
    polars = pytest.importorskip("polars")
    given = polars.DataFrame({"number": np.arange(N) * 0.1, "word": [f"w{i % 7}" for i in range(N)]})
    mixed = given[np.random.default_rng(1).permutation(N).tolist()]
    assert given[frame_order(given).tolist()].equals(mixed[frame_order(mixed).tolist()])


@pytest.mark.parametrize("number", [np.int64, np.float64])
def test_an_empty_sample_of_a_ragged_array_has_no_neighbour(number):
    """Its place in the order is its own, and it is missing, as the None that it was made of."""
    rows = [None if i % 4 == 0 else (np.arange(1 + i % 5) + i).astype(number) for i in range(N)]
    X = Blocks(x=RaggedArray.from_list(rows), y=np.arange(N)[:, None])
    np.testing.assert_array_equal(X.present["x"], np.arange(N) % 4 != 0)
    mixed = np.random.default_rng(1).permutation(N)
    again = Blocks(x=RaggedArray.from_list([rows[i] for i in mixed]), y=mixed[:, None])
    # lengths alone decide of an empty row, whether it is marked missing or not
    for blocks in (X, again):
        blocks.present["x"][:] = True
    target, weights = np.zeros(N), np.ones(N)
    first, second = canonical(X, target, weights)[0], canonical(again, target, weights)[0]
    np.testing.assert_array_equal(first, mixed[second])
