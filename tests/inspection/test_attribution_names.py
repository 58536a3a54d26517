"""Names of features and columns that attributions have, and tables that they are read from."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from conftest import small
from sklearn.compose import ColumnTransformer, make_column_transformer
from sklearn.decomposition import PCA
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    OneHotEncoder,
    PolynomialFeatures,
    StandardScaler,
)

from skmm import LazyTable, ModalityTransformer
from skmm.inspection import attributions
from skmm.inspection._origins import origins
from skmm.preprocessing import TableTokens, TextTokens

N = 40


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(0)
    y = np.tile(["no", "yes"], 40)
    cities = np.where(rng.random(80) < 0.8, np.where(y == "yes", "Rome", "Bern"), "Oslo")
    words = np.where(rng.random(80) < 0.8, np.where(y == "yes", "fine", "dull"), "odd")
    told = [f"the {word} {city} of number {i}" for i, (word, city) in enumerate(zip(words, cities, strict=True))]
    return pd.DataFrame({"review": told, "city": cities, "price": rng.normal(50, 10, 80)}), y


@pytest.fixture(scope="module")
def of_table(table):
    frame, y = table
    return small(modalities="auto", experts=None).fit(frame, y)


def test_the_columns_of_a_table_go_by_their_names(of_table, table):
    frame, _ = table
    known = [name for name, info in of_table.modalities_.items() if info.kind == "vector"]
    features = attributions(of_table, frame, known[0], target="yes")
    assert [name.rpartition("__")[2] for name in features.names] == ["price", "city_Bern", "city_Oslo", "city_Rome"]
    columns = attributions(of_table, frame, known[0], target="yes", level="column")
    assert columns.names.tolist() == ["city", "price"]
    np.testing.assert_allclose(columns.values[:, 0], features.values[:, 1:].sum(axis=1))
    np.testing.assert_allclose(columns.values[:, 1], features.values[:, 0])
    # and behind a pipeline that ends with the estimator
    piped = attributions(make_pipeline(of_table), frame, known[0], target="yes")
    np.testing.assert_array_equal(piped.values, features.values)
    words = [
        attributions(of_table, frame, "review", method="occlusion", level=level) for level in ("feature", "column")
    ]
    assert words[1].names.tolist() == ["review"]
    assert words[1].values.shape == (80, 1)
    np.testing.assert_allclose(words[1].values[:, 0], words[1].output - words[1].baseline_output, atol=1e-4)
    assert np.abs(words[1].values[:, 0] - words[0].values.sum(axis=1)).max() > 1e-3  # one by one they do not add up
    # occluded together a column is missed as a whole
    whole = attributions(of_table, frame, known[0], target="yes", level="column", method="occlusion")
    assert whole.values.shape == (80, 2)
    assert np.abs(whole.values[:, 0]).mean() > np.abs(whole.values[:, 1]).mean()


def test_one_row_and_a_table_on_disk_are_read_as_predict_reads_them(of_table, table, tmp_path):
    frame, _ = table
    frame.to_parquet(tmp_path / "rows.parquet")
    stored = LazyTable.from_parquet(tmp_path / "rows.parquet")
    for modality in of_table.modalities_:
        expected = attributions(of_table, frame[:6], modality, target="yes")
        read = attributions(of_table, stored[:6], modality, target="yes")
        rows = [frame.iloc[i].to_dict() for i in range(6)]
        for found in (read, attributions(of_table, rows, modality, target="yes")):
            values = (v.toarray() if sp.issparse(v) else v for v in (found.values, expected.values))
            np.testing.assert_allclose(*values, atol=1e-4)
        one = attributions(of_table, rows[0], modality, target="yes")
        np.testing.assert_allclose(one.output, expected.output[:1], atol=1e-5)
    assert len(attributions(of_table, stored, "review").output) == 80
    with pytest.raises(ValueError, match=r"0 sample\(s\)"):
        attributions(of_table, frame[:0], "review")


def test_words_and_tokens_of_tables_go_by_what_they_were(table):
    frame, y = table
    readers = [("words", TextTokens(), "review"), ("cells", TableTokens(), ["city"])]
    pipe = make_pipeline(ModalityTransformer(readers), small(max_epochs=5)).fit(frame, y)
    found = attributions(pipe, frame[:2], "words")
    assert found.names.tolist() == [text.lower().split() for text in frame["review"][:2]]
    assert attributions(pipe, frame[:2], "cells").names.tolist() == [["city"], ["city"]]


def test_columns_of_numbers_that_are_divided_by_name():
    rng = np.random.RandomState(0)
    frame = pd.DataFrame(rng.randn(N, 3), columns=["a", "b", "c"])
    model = small(modalities={"one": ["c", "a"], "two": ["b"]}, max_epochs=2).fit(frame, np.arange(N) % 2)
    assert attributions(model, frame, "one").names.tolist() == ["c", "a"]
    columns = attributions(model, frame, "one", level="column")
    assert columns.names.tolist() == ["c", "a"]
    np.testing.assert_array_equal(columns.values, attributions(model, frame, "one").values)


def test_columns_are_told_apart_whatever_they_and_their_categories_are_called():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "city": rng.choice(["size", "bern"], N),
            "city_size": rng.normal(size=N),
            "x": rng.normal(size=N),
            "number__x": rng.normal(size=N),
            "when": pd.date_range("2020-01-01", periods=N),
        }
    )
    model = small(modalities="auto", max_epochs=2).fit(frame, np.arange(N) % 2)
    each = attributions(model, frame[:5], "table")
    found = attributions(model, frame[:5], "table", level="column")
    assert found.names.tolist() == list(frame)
    sums = {
        "city": "category__",
        "city_size": "number__city_size",
        "x": "number__x",
        "number__x": "number__number__x",
    }
    for place, name in enumerate(list(sums.values())):
        own = [f.startswith(name) if name == "category__" else f == name for f in each.names]
        np.testing.assert_allclose(found.values[:, place], each.values[:, own].sum(axis=1), rtol=1e-5)
    np.testing.assert_allclose(found.values.sum(axis=1), each.values.sum(axis=1), rtol=1e-5)
    # whatever the features are called
    called = [f"city_{i}" for i in range(each.values.shape[1])]
    again = attributions(model, frame[:5], "table", level="column", feature_names=called)
    np.testing.assert_array_equal(again.values, found.values)


@pytest.mark.parametrize(
    ("transformer", "expected"),
    [
        ("passthrough", [0, 1]),
        (OneHotEncoder(drop="first"), [0, 0, 1]),
        (make_pipeline(StandardScaler(), PolynomialFeatures(include_bias=False)), [0, 1, 0, -1, 1]),
        (FeatureUnion([("own", StandardScaler()), ("pca", PCA(1))]), [0, 1, -1]),
        (
            ColumnTransformer([("b", StandardScaler(), ["b"]), ("rest", "passthrough", [0]), ("no", "drop", [1])]),
            [1, 0],
        ),
        (
            make_column_transformer(
                (KBinsDiscretizer(2, quantile_method="linear"), lambda X: ["a"]), remainder=PCA(1)
            ),
            [0, 0, 1],
        ),
        (FunctionTransformer(np.abs), None),  # which says nothing of its features
    ],
)
def test_the_column_that_each_output_of_a_transformer_comes_from(transformer, expected):
    frame = pd.DataFrame({"a": [0.0, 1, 2, 0], "b": [3.0, 4, 4, 3]})
    if not isinstance(transformer, str):
        transformer = transformer.fit(frame)
    found = origins(transformer, 2, None)
    assert (found if found is None else found.tolist()) == expected


def test_what_is_made_of_several_columns_stands_for_itself_or_is_refused(table):
    frame, y = table
    frame = pd.DataFrame({"pca0": frame["price"], "b": np.arange(80.0) % 7})
    pca = make_pipeline(ModalityTransformer([("t", PCA(2), [0, 1])]), small(max_epochs=1)).fit(frame, y)
    with pytest.raises(
        ValueError, match=r"feature 'pca0' of modality 't' may be of any of the columns \['pca0', 'b'\]"
    ):
        attributions(pca, frame[:3], "t", level="column")
    pca.fit(frame.rename(columns={"pca0": "a"}), y)
    found = attributions(pca, frame[:3].rename(columns={"pca0": "a"}), "t", level="column")
    assert found.names.tolist() == ["pca0", "pca1"]
