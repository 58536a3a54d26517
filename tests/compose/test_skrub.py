"""skrub's transformers as those of a modality."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from conftest import small
from sklearn.base import clone
from sklearn.impute import SimpleImputer
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from skrub import DatetimeEncoder, GapEncoder, MinHashEncoder, StringEncoder, TableVectorizer

from skmm import ModalityTransformer

N = 60
Y = np.arange(N) % 2
COLUMNS = ["price", "city", "day"]


@pytest.fixture
def table():
    """Names that tell of y, and columns beside them with gaps of their own; one row has nothing but its number."""
    rng = np.random.default_rng(0)
    df = pd.DataFrame(
        {
            "price": rng.normal(size=N) + Y,
            "city": rng.choice(["Bern", "Rome", "Oslo"], N),
            "day": pd.date_range("2020-01-01", periods=N, freq="9D"),
            "name": [
                f"{['bad', 'good'][c]} item {rng.integers(100)} of {w}"
                for c, w in zip(Y, rng.choice(list("abc"), N), strict=True)
            ],
        }
    )
    for column in df:
        df.loc[rng.choice(np.arange(4, N), 6, replace=False), column] = None
    df.loc[3] = None
    return df.assign(number=np.linspace(0, 1, N))


def as_polars(df):
    """The same table in polars."""
    return pl.DataFrame({name: [None if pd.isna(cell) else cell for cell in column] for name, column in df.items()})


def vectorizer():
    """A TableVectorizer passes missing numbers on, which an imputer behind it fills."""
    return make_pipeline(TableVectorizer(high_cardinality=MinHashEncoder(n_components=4)), SimpleImputer())


CASES = {
    "StringEncoder": (StringEncoder(n_components=3, random_state=0), "name"),
    "GapEncoder": (GapEncoder(n_components=3, random_state=0), "name"),
    "MinHashEncoder": (MinHashEncoder(n_components=4), "name"),
    "DatetimeEncoder": (DatetimeEncoder(), "day"),
    "TableVectorizer": (vectorizer(), COLUMNS),
}


@pytest.mark.parametrize("library", ["pandas", "polars"])
@pytest.mark.parametrize(("transformer", "columns"), CASES.values(), ids=CASES)
def test_a_transformer_makes_a_modality_that_trains(table, transformer, columns, library):
    X = table if library == "pandas" else as_polars(table)
    modality = ModalityTransformer([("part", transformer, columns)])
    blocks = modality.fit_transform(X)
    assert blocks.kinds == {"part": "vector"}
    missing = table[columns].isna().to_numpy().reshape(N, -1).all(axis=1)
    np.testing.assert_array_equal(blocks.present["part"], ~missing)
    assert np.isfinite(blocks["part"][~missing]).all()
    again = modality.transform(X)
    np.testing.assert_allclose(again["part"][~missing], blocks["part"][~missing], atol=1e-5)
    assert len(modality.get_feature_names_out()) == blocks["part"].shape[1]
    both = ModalityTransformer([("part", clone(transformer), columns), ("number", "passthrough", ["number"])])
    clf = make_pipeline(both, small(max_epochs=3)).fit(X, Y)
    assert clf.predict_proba(X).shape == (N, 2)


def test_numbers_that_are_missing_are_passed_through_without_an_imputer(table):
    modality = ModalityTransformer([("part", TableVectorizer(), COLUMNS)])
    assert np.isnan(modality.fit_transform(table)["part"]).any()
    with pytest.raises(ValueError, match="modality 'part', row .*NaN.*SimpleImputer"):
        make_pipeline(modality, small(max_epochs=1)).fit(table.drop(index=3), np.delete(Y, 3))


@pytest.mark.one_by_default
@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_modalities_together_and_their_parameters_in_a_grid(table, library):
    X = table if library == "pandas" else as_polars(table)
    pipe = make_pipeline(
        ModalityTransformer([("name", CASES["StringEncoder"][0], "name"), ("table", vectorizer(), COLUMNS)]),
        small(max_epochs=15),
    )
    grid = {
        "modalitytransformer__name__n_components": [2, 3],
        "modalitytransformer__table__tablevectorizer__cardinality_threshold": [2, 40],
        "multimodalclassifier__fusion": ["concat", "attention"],
    }
    rows = np.flatnonzero(np.arange(N) != 3)  # the one that has nothing
    X, y = (X.iloc[rows] if library == "pandas" else X[rows]), Y[rows]
    search = GridSearchCV(pipe, grid, cv=2, error_score="raise").fit(X, y)
    assert len(search.cv_results_["params"]) == 8
    assert search.score(X, y) > 0.8
    encoder = search.best_estimator_[0].named_transformers_["name"]
    assert encoder.n_components == search.best_params_["modalitytransformer__name__n_components"]


def test_as_what_is_known_better_of_a_column(table):
    transformer = ModalityTransformer.from_frame(table, name=CASES["StringEncoder"][0])
    assert transformer.describe()["transformer"][3] == "StringEncoder"
    assert transformer.fit_transform(table)["name"].shape == (N, 3)
