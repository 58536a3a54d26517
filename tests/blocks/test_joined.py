"""Samples put below others."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp
from conftest import KINDS, make_data

from skmm import Blocks
from skmm.blocks import RaggedArray
from skmm.blocks._joined import join


def assert_equal(a, b):
    """Of two Blocks: the same values of the same samples."""
    assert list(a) == list(b)
    for name in a:
        np.testing.assert_array_equal(a.present[name], b.present[name])
        if isinstance(b[name], RaggedArray):
            np.testing.assert_array_equal(a[name].offsets, b[name].offsets)
            np.testing.assert_array_equal(a[name].values, b[name].values)
        else:
            x, y = (block.toarray() if sp.issparse(block) else np.asarray(block) for block in (a[name], b[name]))
            np.testing.assert_array_equal(x, y)
            assert a[name].dtype == b[name].dtype


@pytest.mark.parametrize("kind", [*KINDS, "video"])
def test_parts_of_blocks_are_the_whole_again(kind):
    X, _ = make_data(30, kinds=[kind, "vector"])
    present = np.arange(30) % 4 > 0
    X = Blocks(X, present={kind: present})
    joined = join(X[:11], X[11:].select([*X][::-1]), "more")
    assert_equal(joined, X)


def test_sequences_of_other_lengths():
    long, short = np.ones((3, 5, 2)), 2 * np.ones((2, 4, 2))
    expected = Blocks(x=[*long, *short])
    assert_equal(join(Blocks(x=long), {"x": short}, "more"), expected)
    assert_equal(join(Blocks(x=list(long)), {"x": short}, "more"), expected)
    assert_equal(join(Blocks(x=long), {"x": list(short)}, "more"), expected)
    assert isinstance(join(Blocks(x=long), {"x": long}, "more")["x"], np.ndarray)


@pytest.mark.parametrize("absent", [True, False])
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "vector"])
def test_a_modality_that_further_samples_lack(kind, absent):
    X, _ = make_data(6, kinds=["vector", kind])
    more = {"vector": X["vector"][:2], **({} if absent else {kind: [None, None]})}
    joined = join(X, more, "more")
    assert joined.present[kind].tolist() == [True] * 6 + [False] * 2
    assert_equal(joined[:6], X)


class Stored:
    """Numbers that are read by rows; the third is hidden."""

    def __init__(self, values):
        self.values, self.shape, self.dtype = values, values.shape, values.dtype

    def __getitem__(self, rows):
        found = np.ma.MaskedArray(self.values[rows])
        if not isinstance(rows, int):
            found[np.asarray(rows) == 2] = np.ma.masked
        return found


@pytest.mark.parametrize("lazy", ["both", "first", "second"])
def test_rows_that_are_read_when_they_are_needed(lazy):
    a, b = np.random.default_rng(0).normal(size=(2, 4, 3, 3, 2))
    give = {True: lambda x: {"x": Stored(x)}, False: lambda x: {"x": x}}
    joined = join(Blocks(give[lazy != "second"](a)), give[lazy != "first"](b), "more")
    values, exists = joined["x"].read(np.array([6, 1, 2, 0, 6]))
    hidden = {"both": [6, 2], "first": [2], "second": [6]}[lazy]
    assert exists.tolist() == [row not in hidden for row in [6, 1, 2, 0, 6]]
    np.testing.assert_array_equal(values[exists], np.concatenate([a, b])[[6, 1, 2, 0, 6]][exists])
    np.testing.assert_array_equal(joined["x"][5], b[1])


TABLE = pd.DataFrame({"a": [1.0, 2.0], "b": ["x", None]})


def test_tables_by_the_names_of_their_columns():
    joined = join(TABLE, TABLE[["b", "a"]], "more")
    pd.testing.assert_frame_equal(joined, pd.concat([TABLE, TABLE], ignore_index=True))
    table = pl.from_pandas(TABLE)
    assert join(table, table.select("b", "a"), "more").equals(pl.concat([table, table]))
    pd.testing.assert_frame_equal(join(TABLE, table.to_arrow(), "more")[["a"]], joined[["a"]])


def test_arrays():
    X = np.arange(6.0).reshape(3, 2)
    np.testing.assert_array_equal(join(X[:1], X[1:].tolist(), "more"), X)
    np.testing.assert_array_equal(join(sp.csr_array(X[:1]), X[1:], "more").toarray(), X)
    np.testing.assert_array_equal(join(X[:1], sp.csr_array(X[1:]), "more").toarray(), X)


VECTORS = Blocks(x=np.ones((2, 3)))
WRONG = {
    "tables of two packages": (TABLE, pl.from_pandas(TABLE), "X is a pandas.*DataFrame and more is a polars"),
    "an array and a table": (TABLE, np.ones((2, 2)), "more is a numpy.ndarray; give both in one form"),
    "blocks and an array": (VECTORS, np.ones((2, 3)), "X is a Blocks of the modalities"),
    "another column": (TABLE, TABLE.assign(c=1), "unknown column of more: 'c'"),
    "a column less": (TABLE, TABLE[["a"]], r"more lacks the columns \['b'\] of X"),
    "another modality": (VECTORS, {"y": np.ones((2, 3))}, "unknown modality of more: 'y'"),
    "another shape": (VECTORS, {"x": np.ones((2, 4))}, r"is vector of shape \(4,\) a sample; in X it is vector of"),
    "another kind": (VECTORS, {"x": np.ones((2, 4, 3))}, "modality 'x' of more is sequence"),
    "other columns": (np.ones((2, 3)), np.ones((2, 4)), "must have one shape"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_joined(name):
    X, more, message = WRONG[name]
    with pytest.raises(ValueError, match=message):
        join(X, more, "more")
