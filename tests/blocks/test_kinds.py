"""Tests of skmm.blocks: kinds."""

import numpy as np
import pytest
from conftest import ROWS_OF_SIX

from skmm.blocks import RaggedArray

N = 6


def ragged(seed=0, n=N, inner=(2,)):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(1 + i % 4, *inner)) for i in range(n)]


def test_ragged_array_from_list():
    r = RaggedArray.from_list([[1, 2], None, [3]])

    assert len(r) == 3
    assert r.lengths.tolist() == [2, 0, 1]
    assert r.offsets.tolist() == [0, 2, 2, 3]
    assert r.values.tolist() == [1, 2, 3]
    assert r.dtype == np.int64
    assert [sample.tolist() for sample in r] == [[1, 2], [], [3]]


@pytest.mark.parametrize("items", [[], [None, None]])
def test_ragged_array_without_values(items):
    r = RaggedArray.from_list(items)

    assert len(r) == len(items)
    assert r.lengths.tolist() == [0] * len(items)


@pytest.mark.parametrize("rows", ROWS_OF_SIX, ids=repr)
def test_ragged_array_indexing(rows):
    items = ragged()
    part = RaggedArray.from_list(items)[rows]

    expected = np.arange(N)[rows]
    assert len(part) == len(expected)
    for sample, row in zip(part, expected, strict=True):
        np.testing.assert_array_equal(sample, items[row])


@pytest.mark.parametrize("row", [0, 5, -1, np.int64(3)])
def test_ragged_array_sample(row):
    np.testing.assert_array_equal(RaggedArray.from_list(ragged())[row], ragged()[row])


@pytest.mark.parametrize("row", [6, -7])
def test_ragged_array_sample_that_is_not_there(row):
    with pytest.raises(IndexError):
        RaggedArray.from_list(ragged())[row]


def test_ragged_array_from_padded_is_the_inverse_of_pad():
    r = RaggedArray.from_list([*ragged(), None])
    back = RaggedArray.from_padded(r.pad(6), r.lengths)

    np.testing.assert_array_equal(back.values, r.values)
    assert back.offsets.tolist() == r.offsets.tolist()


def test_ragged_array_pad():
    r = RaggedArray.from_list([np.array([[1, 2], [3, 4]]), None, np.array([[5, 6]])])
    expected = [[[1, 2], [3, 4]], [[0, 0], [0, 0]], [[5, 6], [0, 0]]]

    assert r.pad().tolist() == expected
    assert r.pad().dtype == r.dtype
    longer = r.pad(4)
    assert longer.shape == (3, 4, 2)
    assert longer[:, :2].tolist() == expected
    assert not longer[:, 2:].any()
    assert r[[2]].pad().tolist() == [[[5, 6]]]
    assert r[[1]].pad().shape == (1, 0, 2)


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([np.ones((2, 3)), np.ones((2, 2))], r"row 1 has shape \(2, 2\)"),
        ([None, np.ones((2, 3)), np.ones(2)], r"row 2 has shape \(2,\)"),
        ([[1, 2], 3], "row 1 is the single value 3, expected a sequence"),
    ],
)
def test_ragged_array_of_unlike_samples(items, message):
    with pytest.raises(ValueError, match=message):
        RaggedArray.from_list(items)


def test_ragged_array_repr():
    assert repr(RaggedArray.from_list(ragged())) == "RaggedArray(6 samples, inner shape (2,), float64)"
