"""Tests of skmm.preprocessing.table."""

import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
from conftest import small
from sklearn.utils.estimator_checks import check_estimator

from skmm import Blocks, ModalityTransformer
from skmm.blocks import RaggedArray
from skmm.preprocessing.table import TableTokens

DATA = {
    "city": ["Bern", "Rome", "Bern", "Oslo", "Bern", "Rome"],
    "answer": ["yes", "no", None, "no", "yes", "no"],
    "size": ["no", "no", "no", "yes", "no", "no"],
}
N = 6


def as_object_array(data):
    return np.array(list(data.values()), dtype=object).T


TABLES = [pd.DataFrame, pl.DataFrame, as_object_array]


def ids(tokens, table):
    block = tokens.transform(table)
    return np.array([row.tolist() for row in block])


@pytest.mark.parametrize("make", TABLES)
def test_each_category_of_each_column_has_its_own_id(make):
    table = make(DATA)
    found = ids(TableTokens().fit(table), table)
    cells = as_object_array(DATA)
    pairs = {(j, cells[i, j]): found[i, j] for i in range(N) for j in range(3)}
    assert all(found[i, j] == pairs[j, cells[i, j]] for i in range(N) for j in range(3))
    assert sorted(pairs.values()) == list(range(8))  # 3 + 2 + missing + 2: no two share one, none is left out


def test_the_output_is_tokens_of_one_length():
    block = TableTokens().fit_transform(pd.DataFrame(DATA))
    assert isinstance(block, RaggedArray)
    assert block.lengths.tolist() == [3] * N
    assert Blocks(table=block).kinds == {"table": "tokens"}


@pytest.mark.filterwarnings("ignore:column .* did not see")
def test_what_fit_did_not_see_has_ids_after_all_that_it_saw():
    tokens = TableTokens().fit(pd.DataFrame(DATA))
    found = ids(tokens, pd.DataFrame({"city": ["Paris", None], "answer": ["maybe", None], "size": ["?", None]}))
    assert found[0].tolist() == tokens.unknown_ids_
    assert found[1].tolist() == tokens.missing_ids_
    assert tokens.missing_ids_[1] < tokens.n_seen_ids_  # "answer" had a missing cell
    unseen = [*tokens.unknown_ids_, tokens.missing_ids_[0], tokens.missing_ids_[2]]
    assert sorted(unseen) == list(range(tokens.n_seen_ids_, tokens.n_seen_ids_ + 5))


@pytest.mark.parametrize("min_frequency", [2, 0.2])
def test_rare_categories_share_their_columns_unknown_id(min_frequency):
    table = pd.DataFrame(DATA)
    tokens = TableTokens(min_frequency=min_frequency).fit(table)
    assert list(tokens.ids_[0]) == ["Bern", "Rome"]
    assert list(tokens.ids_[2]) == ["no"]
    assert ids(tokens, table)[3, [0, 2]].tolist() == [tokens.unknown_ids_[0], tokens.unknown_ids_[2]]
    other = table.assign(city="Paris")
    assert set(ids(tokens, other)[:, 0]) == {tokens.unknown_ids_[0]}
    assert tokens.unknown_ids_[0] < tokens.n_seen_ids_ <= tokens.unknown_ids_[1]


@pytest.mark.parametrize("mark", [None, np.nan, pd.NA, pd.NaT])
def test_every_mark_of_a_missing_value_is_the_same(mark):
    tokens = TableTokens().fit(pd.DataFrame(DATA))
    table = pd.DataFrame(DATA).astype(object)
    table.iloc[0, 0] = mark
    assert ids(tokens, table)[0, 0] == tokens.missing_ids_[0]


@pytest.mark.filterwarnings("ignore:column .* did not see")
def test_numbers_are_categories_by_their_value():
    tokens = TableTokens().fit(np.array([[1.0], [2.0], [np.nan]]))
    np.testing.assert_array_equal(ids(tokens, np.array([[2], [1], [3]])), [[1], [0], [4 - 1]])
    assert tokens.missing_ids_ == [2]


def test_columns_are_found_by_the_names_that_fit_knew():
    tokens = TableTokens().fit(pd.DataFrame(DATA))
    assert tokens.get_feature_names_out().tolist() == list(DATA)
    with pytest.raises(ValueError, match="feature names"):
        tokens.transform(pd.DataFrame(DATA)[["size", "city", "answer"]])


@pytest.mark.parametrize(
    ("cell", "where"), [(["a"], "row 4, column 'answer'"), ({"a": 1}, "row 4"), (np.ones(2), "a ndarray")]
)
def test_a_cell_that_is_no_category_is_named(cell, where):
    table = pd.DataFrame(DATA, dtype=object)
    table["answer"] = pd.Series([*DATA["answer"][:4], cell, "no"], dtype=object)
    with pytest.raises(ValueError, match=where):
        TableTokens().fit(table)


@pytest.mark.parametrize("value", [0, -1, 1.0, 1.5, 0.0, True, "rare", None])
def test_min_frequency_is_checked(value):
    with pytest.raises(ValueError, match=f"min_frequency .*{value!r}"):
        TableTokens(min_frequency=value).fit(pd.DataFrame(DATA))


@pytest.mark.parametrize(
    "column", [pd.Series(["a", "b", "a"]), pl.Series("x", ["a", "b", "a"]), np.array(list("aba"))]
)
def test_a_single_column_is_a_table_of_one(column):
    tokens = TableTokens().fit(column)
    assert ids(tokens, column).tolist() == [[0], [1], [0]]


@pytest.mark.parametrize("make", TABLES[:2])
def test_columns_of_a_table_are_learned_from_as_a_modality(make):
    rng = np.random.RandomState(0)
    a, b = rng.choice(list("xyz"), 80), rng.choice(["p", "q", None], 80)
    y = (a == "x").astype(int)
    transformer = ModalityTransformer([("table", TableTokens(), ["a", "b"])])
    X = transformer.fit_transform(make({"a": a.tolist(), "b": b.tolist()}))
    assert X.kinds == {"table": "tokens"}
    model = small().fit(X[:60], y[:60])
    assert model.score(X[60:], y[60:]) == 1.0


def test_fitted_tokens_survive_pickling():
    tokens = TableTokens().fit(pd.DataFrame(DATA))
    again = pickle.loads(pickle.dumps(tokens))
    np.testing.assert_array_equal(ids(again, pd.DataFrame(DATA)), ids(tokens, pd.DataFrame(DATA)))


RAGGED = "the output is a RaggedArray, a block of tokens, where the check expects an array"
EXPECTED = {
    "check_transformer_general": RAGGED,
    "check_transformer_data_not_an_array": RAGGED,
    "check_fit1d": "a column of a ModalityTransformer is one-dimensional, and is read as a table of one",
    "check_fit2d_predict1d": "a column of a ModalityTransformer is one-dimensional, and is read as a table of one",
}


def test_scikit_learns_checks():
    results = check_estimator(TableTokens(), expected_failed_checks=EXPECTED, on_skip=None)
    assert {r["check_name"] for r in results if r["status"] == "xfail"} == set(EXPECTED)
