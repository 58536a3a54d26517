"""Tests of skmm.compose."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp
from conftest import small
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.feature_selection import SelectKBest
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MinMaxScaler,
    OneHotEncoder,
    StandardScaler,
)

from skmm.blocks import Blocks, RaggedArray
from skmm.compose import ModalitySelector, ModalityTransformer, make_modality_transformer
from skmm.preprocessing import ImageLoader

COLUMNS = {
    "review": ["good film", None, "bad film", "a good plot", "dull", "good"],
    "price": [3.0, 4.0, None, 6.0, 7.0, 8.0],
    "age": [1.0, 2.0, None, None, 5.0, 6.0],
    "city": ["Bern", "Rome", "Bern", "Oslo", "Rome", "Bern"],
}
N = 6
Y = np.array([1, 0, 0, 1, 0, 1])


def as_pandas(columns=COLUMNS):
    return pd.DataFrame(columns)


def as_polars(columns=COLUMNS):
    return pl.DataFrame(columns)


def as_object_array(columns=COLUMNS):
    return np.array(list(columns.values()), dtype=object).T


FRAMES = [as_pandas, as_polars]
TABLES = [*FRAMES, as_object_array]


def images_of(column):
    """An image per value, all of whose pixels are the value."""
    values = np.asarray(column, dtype=np.uint8).reshape(-1)
    return np.ones((len(values), 4, 5, 3), np.uint8) * values[:, None, None, None]


class Spy(TransformerMixin, BaseEstimator):
    """Notes what it was given and passes on the lengths of the texts."""

    def fit(self, X, y=None):
        self.fitted_on_, self.y_ = list(X), y
        self.transformed_ = []
        return self

    def transform(self, X):
        self.transformed_.append(list(X))
        return np.array([[float(len(text))] for text in X])


def three(**kwargs):
    return ModalityTransformer(
        [
            ("text", TfidfVectorizer(), 0),
            ("image", FunctionTransformer(images_of), 1),
            ("table", make_pipeline(SimpleImputer(), StandardScaler()), [1, 2]),
        ],
        **kwargs,
    )


# -- output ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", TABLES)
def test_each_modality_is_its_transformer_s_output(table):
    out = three().fit_transform(table())

    assert out.kinds == {"text": "sparse", "image": "image", "table": "vector"}
    texts = [COLUMNS["review"][i] for i in (0, 2, 3, 4, 5)]
    np.testing.assert_array_equal(
        out["text"][[0, 2, 3, 4, 5]].toarray(), TfidfVectorizer().fit_transform(texts).toarray()
    )
    assert out["image"].shape == (N, 4, 5, 3)
    assert out["image"].dtype == np.uint8
    assert (out["image"][[0, 1, 3, 4, 5], 0, 0, 0] == [3, 4, 6, 7, 8]).all()
    numbers = np.array([COLUMNS["price"], COLUMNS["age"]], dtype=float).T[[0, 1, 3, 4, 5]]
    expected = StandardScaler().fit_transform(SimpleImputer().fit_transform(numbers))
    np.testing.assert_allclose(out["table"][[0, 1, 3, 4, 5]], expected)
    assert np.isnan(out["table"][2]).all()


@pytest.mark.parametrize("table", TABLES)
def test_missing_rows_are_marked(table):
    present = three().fit_transform(table()).present

    assert present["text"].tolist() == [True, False, True, True, True, True]
    assert present["image"].tolist() == [True, True, False, True, True, True]
    # row 3 lacks only one of two columns
    assert present["table"].tolist() == [True, True, False, True, True, True]


@pytest.mark.parametrize("table", TABLES)
def test_fit_then_transform_is_fit_transform(table):
    X = table()
    first = three().fit_transform(X)
    again = three().fit(X).transform(X)

    assert_same(first, again)


@pytest.mark.parametrize("table", TABLES)
def test_a_row_does_not_depend_on_its_batch(table):
    X = table()
    fitted = three().fit(X)
    together = fitted.transform(X)

    for i in range(N):
        assert_same(fitted.transform(X[i : i + 1]), together[i : i + 1])


@pytest.mark.slow
def test_n_jobs_changes_nothing():
    assert_same(three(n_jobs=2).fit_transform(as_pandas()), three().fit_transform(as_pandas()))


def assert_same(a, b):
    assert list(a) == list(b)
    assert len(a) == len(b)
    for name in a:
        np.testing.assert_array_equal(a.present[name], b.present[name])
        left, right = (x[name].toarray() if sp.issparse(x[name]) else np.asarray(x[name]) for x in (a, b))
        assert left.dtype == right.dtype
        np.testing.assert_array_equal(left, right)


# -- missing values --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", TABLES)
def test_missing_values_are_never_handed_over(table):
    X = table()
    transformer = ModalityTransformer([("text", Spy(), 0)]).fit(X, Y)
    transformer.transform(X)

    spy = transformer.named_transformers_["text"]
    given = [text for text in COLUMNS["review"] if text is not None]
    assert spy.fitted_on_ == given
    assert spy.transformed_ == [given, given]
    np.testing.assert_array_equal(spy.y_, Y[[0, 2, 3, 4, 5]])


@pytest.mark.parametrize(
    "missing", [None, float("nan"), np.float32("nan"), np.datetime64("NaT"), pd.NA, pd.NaT], ids=repr
)
@pytest.mark.parametrize("frame", [True, False])
def test_every_mark_of_a_missing_value(missing, frame):
    X = np.array([["ab"], [missing], ["abcd"]], dtype=object)
    X = pd.DataFrame(X, columns=["t"], dtype=object) if frame else X
    out = ModalityTransformer([("text", Spy(), 0)]).fit_transform(X)

    assert out.present["text"].tolist() == [True, False, True]
    assert out["text"][[0, 2]].ravel().tolist() == [2, 4]


@pytest.mark.parametrize("dtype", ["Int64", "Float64", "string", "category", "datetime64[ns]"])
def test_missing_in_pandas_dtypes(dtype):
    X = pd.DataFrame({"a": pd.Series([1, None, 3], dtype=dtype if dtype != "string" else None).astype(dtype)})
    sizes = FunctionTransformer(lambda column: np.ones((len(column), 1)))

    assert ModalityTransformer([("a", sizes, "a")]).fit_transform(X).present["a"].tolist() == [True, False, True]


@pytest.mark.parametrize(
    "column",
    [
        pl.Series([1, None, 3]),
        pl.Series([1.0, float("nan"), None]),
        pl.Series(["x", None, "y"], dtype=pl.Categorical),
        pl.Series([[1], None, [2, 3]]),
        pl.Series([{1}, None, {2}], dtype=pl.Object),
    ],
    ids=lambda s: str(s.dtype),
)
def test_missing_in_polars_dtypes(column):
    X = pl.DataFrame({"a": column})
    sizes = FunctionTransformer(lambda column: np.ones((len(column), 1)))
    expected = [value is not None and value == value for value in column.to_list()]

    assert ModalityTransformer([("a", sizes, "a")]).fit_transform(X).present["a"].tolist() == expected


def test_arrays_in_cells_are_not_missing():
    X = pd.DataFrame({"clip": pd.Series([np.full(3, np.nan), None, np.ones(2)], dtype=object)})
    lengths = FunctionTransformer(lambda clips: np.array([[float(len(clip))] for clip in clips]))
    out = ModalityTransformer([("clip", lengths, "clip")]).fit_transform(X)

    assert out.present["clip"].tolist() == [True, False, True]
    assert out["clip"][[0, 2]].ravel().tolist() == [3, 2]


def test_rows_that_a_transformer_leaves_out_are_missing_too():
    X = pd.DataFrame({"path": ["a", None, "broken", "b"]})
    load = FunctionTransformer(lambda paths: [None if p == "broken" else np.ones((2, 3)) for p in paths])
    out = ModalityTransformer([("clip", load, "path")]).fit_transform(X)

    assert out.present["clip"].tolist() == [True, False, False, True]
    assert out["clip"].lengths.tolist() == [2, 0, 0, 2]


def test_all_missing_in_fit_names_the_modality():
    X = pd.DataFrame({"a": [1.0, 2.0], "b": [None, None]})
    transformer = ModalityTransformer([("kept", "passthrough", "a"), ("gone", "passthrough", ["b"])])

    with pytest.raises(
        ValueError, match=r"'gone'.*all 2 rows are missing.*Leave the modality out of transformers, or"
    ):
        transformer.fit(X)


@pytest.mark.parametrize("table", TABLES)
def test_all_missing_in_transform_keeps_shape_and_dtype(table):
    fitted = three().fit(table())
    full = fitted.transform(table())
    out = fitted.transform(table({name: [None, None] for name in COLUMNS}))

    assert not any(mask.any() for mask in out.present.values())
    for name in full:
        assert out[name].shape == (2, *full[name].shape[1:])
        assert out[name].dtype == full[name].dtype


def test_all_missing_in_transform_of_ragged_sequences():
    load = FunctionTransformer(lambda n: [np.ones((int(i), 3), np.float32) for i in n])
    fitted = ModalityTransformer([("clip", load, "n")]).fit(pd.DataFrame({"n": [1, 2]}))
    out = fitted.transform(pd.DataFrame({"n": [None, None]}))

    assert out["clip"].inner_shape == (3,)
    assert out["clip"].dtype == np.float32
    assert out["clip"].lengths.tolist() == [0, 0]
    assert not out.present["clip"].any()


def test_no_rows_in_transform():
    fitted = three().fit(as_pandas())

    assert len(fitted.transform(as_pandas()[:0])) == 0


# -- passthrough, drop, remainder ------------------------------------------------------------------------------


@pytest.mark.parametrize("table", TABLES)
def test_passthrough_keeps_partly_missing_rows(table):
    out = ModalityTransformer([("table", "passthrough", [1, 2])]).fit_transform(table())

    nan = np.nan
    np.testing.assert_array_equal(out["table"], [[3, 1], [4, 2], [nan, nan], [6, nan], [7, 5], [8, 6]])


def test_passthrough_keeps_the_dtype():
    X = pd.DataFrame({"a": np.arange(3, dtype=np.int8), "b": np.arange(3, dtype=np.int8)})

    assert ModalityTransformer([("a", "passthrough", ["a", "b"])]).fit_transform(X)["a"].dtype == np.int8


def test_passthrough_of_pandas_nullable_numbers():
    X = pd.DataFrame({"a": pd.array([1, None, None], dtype="Int64"), "b": [1.5, 2.5, np.nan]})
    out = ModalityTransformer([("a", "passthrough", ["a", "b"])]).fit_transform(X)

    np.testing.assert_array_equal(out["a"], [[1, 1.5], [np.nan, 2.5], [np.nan, np.nan]])


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame])
def test_passthrough_of_a_column_of_sequences(frame):
    X = frame({"clip": [[1.0, 2.0], None, [3.0]]})
    fitted = ModalityTransformer([("clip", "passthrough", "clip")]).fit(X)

    assert [step.tolist() for step in fitted.transform(X)["clip"]] == [[1, 2], [], [3]]
    # one row alone has one length, and is a sequence all the same
    assert isinstance(fitted.transform(X[:1])["clip"], RaggedArray)


def test_passthrough_of_text_names_the_modality():
    with pytest.raises(ValueError, match="'city' must be numeric"):
        ModalityTransformer([("city", "passthrough", ["city"])]).fit(as_pandas())


@pytest.mark.parametrize("table", TABLES)
def test_drop_and_remainder(table):
    transformers = [("text", "drop", 0), ("city", OneHotEncoder(), [3])]
    assert list(ModalityTransformer(transformers).fit_transform(table())) == ["city"]

    out = ModalityTransformer(transformers, remainder="passthrough").fit_transform(table())
    assert list(out) == ["city", "remainder"]
    np.testing.assert_array_equal(out["remainder"][0], [3, 1])

    scaled = ModalityTransformer(transformers, remainder=MinMaxScaler()).fit(table())
    np.testing.assert_allclose(np.nanmax(scaled.transform(table())["remainder"], axis=0), [1, 1])
    assert isinstance(scaled.named_transformers_["remainder"], MinMaxScaler)


def test_without_columns_left_there_is_no_remainder():
    X = as_pandas()[["price"]]

    assert list(
        ModalityTransformer([("a", "passthrough", ["price"])], remainder="passthrough").fit(X).transform(X)
    ) == ["a"]


def test_a_selector_that_selects_nothing_leaves_the_modality_out():
    X = as_pandas()[["price", "age"]]
    transformer = ModalityTransformer(
        [
            ("text", TfidfVectorizer(), make_column_selector(dtype_include="string")),
            ("table", "passthrough", ["age"]),
        ]
    )

    assert list(transformer.fit_transform(X)) == ["table"]


def test_nothing_left():
    with pytest.raises(ValueError, match=r"no modality is left.*'text'"):
        ModalityTransformer([("text", "drop", 0)]).fit(as_pandas())


# -- columns ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", FRAMES)
@pytest.mark.parametrize(
    "columns",
    [
        ["price", "age"],
        ("price", "age"),
        np.array(["price", "age"]),
        pd.Index(["price", "age"]),
        [1, 2],
        [-3, -2],
        np.array([1, 2]),
        slice(1, 3),
        slice("price", "age"),
        [False, True, True, False],
        np.array([False, True, True, False]),
        pytest.param(make_column_selector("price|age"), id="make_column_selector"),
        pytest.param(lambda X: ["price", "age"], id="callable giving names"),
        pytest.param(lambda X: slice(1, 3), id="callable giving a slice"),
    ],
    ids=repr,
)
def test_columns_are_selected_as_by_column_transformer(table, columns):
    X = table()
    if table is as_polars and isinstance(columns, make_column_selector):
        X = X.to_pandas()  # scikit-learn's selector reads pandas alone
    expected = ColumnTransformer([("table", "passthrough", columns)]).fit_transform(X)
    out = ModalityTransformer([("table", "passthrough", columns)]).fit_transform(X)

    np.testing.assert_array_equal(out["table"], np.asarray(expected, dtype=float))


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize(("columns", "ndim"), [(1, 1), (np.int64(1), 1), ([1], 2), (slice(1, 2), 2)])
def test_a_single_column_is_1d_and_a_list_2d(table, columns, ndim):
    seen = []
    look = FunctionTransformer(lambda X: seen.append(len(X.shape)) or np.ones((len(X), 1)))
    ModalityTransformer([("a", look, columns)]).fit(table())

    assert set(seen) == {ndim}


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ("colour", "'a' needs column 'colour', which X lacks.*'price'"),
        (["price", "colour"], "'a' needs column 'colour'"),
        (slice("price", "colour"), "'a' needs column 'colour'"),
        (4, "'a' needs column 4, X has 4 columns"),
        ([0, -5], "'a' needs column -5"),
        ([True, False], "'a' has a mask of 2 columns, X has 4"),
        (["price", 1], "'a' has columns .*valid are"),
        (1.0, "'a' has columns 1.0; valid are"),
        (None, "'a' has columns None; valid are"),
    ],
)
def test_wrong_columns(columns, message):
    with pytest.raises(ValueError, match=message):
        ModalityTransformer([("a", "passthrough", columns)]).fit(as_pandas())


def test_names_need_a_frame():
    with pytest.raises(ValueError, match="'text' names column 'review', but X is an array"):
        ModalityTransformer([("text", TfidfVectorizer(), "review")]).fit(as_object_array())


def test_a_name_that_two_columns_have():
    transformer = ModalityTransformer([("m", "passthrough", ["a"])])
    twice = pd.DataFrame(np.ones((2, 2)), columns=["a", "a"])

    with pytest.raises(ValueError, match="unique column names"):
        transformer.fit(twice)
    transformer.fit(pd.DataFrame({"a": [1.0, 2.0]}))
    with pytest.raises(ValueError, match="'m' needs column 'a', which X has 2 times"):
        transformer.transform(twice)


@pytest.mark.parametrize("table", FRAMES)
def test_columns_in_another_order_and_others_besides(table):
    fitted = three(remainder="drop").fit(table())
    shuffled = table({"new": [0] * N, **{name: COLUMNS[name] for name in ("age", "review", "price")}})

    assert_same(fitted.transform(shuffled), fitted.transform(table()))


def test_fit_on_pandas_transform_on_polars():
    assert_same(three().fit(as_pandas()).transform(as_polars()), three().fit_transform(as_polars()))


def test_a_column_absent_in_transform():
    fitted = three().fit(as_pandas())

    with pytest.raises(ValueError, match="modality 'table' needs column 'age', which X lacks"):
        fitted.transform(as_pandas().drop(columns="age"))


@pytest.mark.parametrize("table", FRAMES)
@pytest.mark.parametrize(
    ("gone", "left_out"), [("review", "text"), ("price", "image"), ("age", "table"), ("city", "remainder")]
)
def test_a_modality_without_any_of_its_columns_in_transform_is_left_out(table, gone, left_out):
    modalities = [
        ("text", TfidfVectorizer(), "review"),
        ("image", FunctionTransformer(images_of), "price"),
        ("table", "passthrough", ["age"]),
    ]
    fitted = ModalityTransformer(modalities, remainder=OneHotEncoder()).fit(table())
    rest = table({name: column for name, column in COLUMNS.items() if name != gone})

    with pytest.warns(UserWarning, match=f"modality '{left_out}' is left out: X has none of its columns.*'{gone}'"):
        out = fitted.transform(rest)
    whole = fitted.transform(table())
    assert_same(out, whole.select([name for name in whole if name != left_out]))


def test_no_modality_has_a_column_in_transform():
    fitted = three().fit(as_pandas())

    with pytest.raises(
        ValueError, match=r"lacks the columns of every modality, \{'text': \['review'\].*are \['city'\]"
    ):
        fitted.transform(as_pandas()[["city"]])


def test_fit_leaves_no_modality_out():
    transformer = ModalityTransformer([("text", TfidfVectorizer(), "review"), ("table", "passthrough", ["age"])])

    with pytest.raises(ValueError, match="modality 'text' needs column 'review', which X lacks"):
        transformer.fit(as_pandas().drop(columns="review"))


def test_an_array_of_another_width_in_transform():
    fitted = three().fit(as_object_array())

    with pytest.raises(ValueError, match="X has 3 features, but ModalityTransformer is expecting 4"):
        fitted.transform(as_object_array()[:, :3])


def test_integer_column_labels_are_selected_by_position():
    X = pd.DataFrame([[1.0, 2.0], [3.0, 4.0]], columns=[1, 0])
    fitted = ModalityTransformer([("a", "passthrough", [0])], remainder="passthrough").fit(X)

    assert fitted.transform(X)["a"].ravel().tolist() == [1, 3]
    assert fitted.transformers_[-1][2] == [1]


# -- parameters ------------------------------------------------------------------------------------------------


def test_nested_parameters():
    transformer = three(remainder=StandardScaler())
    params = transformer.get_params()

    assert params["text__ngram_range"] == (1, 1)
    assert params["table__simpleimputer__strategy"] == "mean"
    assert params["remainder__with_mean"] is True
    transformer.set_params(text__ngram_range=(1, 2), table="passthrough", remainder__with_mean=False)
    assert transformer.transformers[0][1].ngram_range == (1, 2)
    assert transformer.transformers[2] == ("table", "passthrough", [1, 2])
    assert transformer.remainder.with_mean is False
    with pytest.raises(ValueError, match="Invalid parameter"):
        transformer.set_params(sound__rate=3)


def test_new_transformers_and_their_parameters_in_one_call():
    transformer = three().set_params(transformers=[("words", CountVectorizer(), "review")], words__lowercase=False)

    assert transformer.get_params()["words__lowercase"] is False
    assert "text" not in transformer.get_params()


def test_grid_search_over_nested_names():
    pipe = make_pipeline(
        ModalityTransformer([("text", TfidfVectorizer(), "review"), ("city", OneHotEncoder(), ["city"])]),
        ModalitySelector(None),
        LogisticRegression(),
    )
    pipe[0].transformers[1][1].set_params(handle_unknown="ignore")
    search = GridSearchCV(
        pipe,
        {
            "modalitytransformer__text__ngram_range": [(1, 1), (1, 2)],
            "modalitytransformer__city": ["drop", OneHotEncoder(handle_unknown="ignore")],
            "logisticregression__C": [1.0],
        },
        cv=2,
        error_score="raise",
    ).fit(as_pandas(), Y)

    assert len(search.cv_results_["params"]) == 4
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.predict(as_pandas()).shape == (N,)


def test_clone_and_fit_leave_the_user_s_transformers_alone():
    vectorizer, scaler = TfidfVectorizer(), StandardScaler()
    given = [("text", vectorizer, "review"), ("table", scaler, ["price"])]
    transformer = ModalityTransformer(given, remainder=(rest := OneHotEncoder())).fit(as_pandas())

    assert transformer.transformers is given
    assert given[0][1] is vectorizer
    for estimator in (vectorizer, scaler, rest):
        assert not [name for name in vars(estimator) if name.endswith("_") and not name.startswith("_")]
    copy = clone(transformer)
    assert copy.transformers[0][1] is not vectorizer
    assert not hasattr(copy, "transformers_")


def test_fit_leaves_the_table_alone():
    X = as_pandas()
    three().fit(X).transform(X)

    pd.testing.assert_frame_equal(X, as_pandas())


@pytest.mark.parametrize("name", ["self", "a.b", "keys", "present", "文本", "attr", "X"])
def test_any_string_names_a_modality(name):
    fitted = ModalityTransformer([(name, TfidfVectorizer(), "review")]).set_params(**{f"{name}__binary": True})
    out = fitted.fit_transform(as_pandas())

    assert list(out) == [name]
    assert fitted.named_transformers_[name].binary is True
    assert fitted.get_feature_names_out()[0] == f"{name}__bad"


def test_make_modality_transformer_names_by_class():
    made = make_modality_transformer(
        (StandardScaler(), ["price"]),
        (StandardScaler(), ["age"]),
        ("passthrough", ["city"]),
        remainder="passthrough",
        n_jobs=2,
        verbose=True,
    )

    assert [name for name, *_ in made.transformers] == ["standardscaler-1", "standardscaler-2", "passthrough"]
    assert (made.remainder, made.n_jobs, made.verbose) == ("passthrough", 2, True)


def test_y_reaches_the_transformers():
    X = np.array([[0, 0.9], [0, 0.1], [1, 0], [1, 1.1], [1, 0.2], [0, 1]])
    out = ModalityTransformer([("best", SelectKBest(k=1), [0, 1])]).fit_transform(X, Y)

    np.testing.assert_array_equal(out["best"], X[:, [1]])


# -- what was fitted -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", FRAMES)
def test_feature_names(table):
    fitted = three(remainder=OneHotEncoder()).fit(table())

    assert fitted.n_features_in_ == 4
    assert fitted.feature_names_in_.tolist() == list(COLUMNS)
    names = fitted.get_feature_names_out().tolist()
    words = ["bad", "dull", "film", "good", "plot"]
    assert names[:5] == [f"text__{word}" for word in words]
    assert names[5:65] == [f"image__x{i}" for i in range(60)]
    assert names[65:] == [
        "table__price",
        "table__age",
        "remainder__city_Bern",
        "remainder__city_Oslo",
        "remainder__city_Rome",
    ]
    assert fitted.get_feature_names_out(list(COLUMNS)).tolist() == names
    with pytest.raises(ValueError, match="input_features is not equal to feature_names_in_"):
        fitted.get_feature_names_out(["a", "b", "c", "d"])


def test_feature_names_without_column_names():
    fitted = ModalityTransformer([("a", "passthrough", [1, 0]), ("b", StandardScaler(), [1])]).fit(np.eye(2))

    assert fitted.get_feature_names_out().tolist() == ["a__x1", "a__x0", "b__x1"]
    assert fitted.get_feature_names_out(["p", "q"]).tolist() == ["a__q", "a__p", "b__q"]
    with pytest.raises(ValueError, match="input_features has 3 names"):
        fitted.get_feature_names_out(["p", "q", "r"])


def test_feature_names_of_a_pipeline_that_has_none():
    nameless = make_pipeline(StandardScaler(), FunctionTransformer(lambda X: X * 2))
    fitted = ModalityTransformer([("a", nameless, [0, 1])]).fit(np.eye(2))

    assert fitted.get_feature_names_out().tolist() == ["a__x0", "a__x1"]


def test_transformers_after_fit():
    fitted = three().set_params(image="drop").fit(as_pandas())

    assert [name for name, *_ in fitted.transformers_] == ["text", "image", "table", "remainder"]
    assert fitted.named_transformers_["image"] == "drop"
    assert fitted.named_transformers_.text.vocabulary_["good"] == 3
    assert fitted.transformers_[-1] == ("remainder", "drop", ["city"])


def test_refit_forgets():
    transformer = three().fit(as_pandas()).fit(as_object_array())

    assert not hasattr(transformer, "feature_names_in_")
    with pytest.raises(NotFittedError):
        three().transform(as_pandas())


@pytest.mark.parametrize("fit", [True, False])
def test_diagram_names_modalities_and_columns(fit):
    transformer = ModalityTransformer(
        [("the_text", TfidfVectorizer(), "review"), ("the_numbers", StandardScaler(), ["price", "age"])],
        remainder=OneHotEncoder(),
    )
    pipe = make_pipeline(transformer, ModalitySelector(None))
    html = (pipe.fit(as_pandas()) if fit else pipe)._repr_html_()

    for text in ("the_text", "the_numbers", "review", "price", "StandardScaler", "remainder", "OneHotEncoder"):
        # once in the text form, and in the diagram
        assert html.split("sk-text-repr-fallback")[-1].split("</pre>", 1)[1].count(text) >= 1


def test_verbose_prints_each_modality(capsys):
    three(verbose=True).fit(as_pandas())
    lines = capsys.readouterr().out.splitlines()

    assert [line.split(":")[0] for line in lines] == [
        "[ModalityTransformer] (1 of 3) text",
        "[ModalityTransformer] (2 of 3) image",
        "[ModalityTransformer] (3 of 3) table",
    ]


@pytest.mark.parametrize("output", ["pandas", "polars"])
def test_transformers_that_return_frames(output):
    X = as_pandas()[["price", "age"]]
    scaler = make_pipeline(SimpleImputer(), StandardScaler()).set_output(transform=output)
    out = ModalityTransformer([("table", scaler, ["price", "age"])]).fit_transform(X)
    expected = ModalityTransformer([("table", scaler.set_output(transform="default"), ["price", "age"])])

    assert_same(out, expected.fit_transform(X))


def test_a_global_output_setting_does_not_reach_blocks():
    from sklearn import config_context

    with config_context(transform_output="pandas"):
        assert isinstance(ModalityTransformer([("a", StandardScaler(), [0])]).fit_transform(np.eye(2)), Blocks)


@pytest.mark.parametrize("container", [sp.csr_matrix, sp.csr_array, sp.coo_array])
def test_sparse_output_keeps_its_class_and_missing_rows_store_nothing(container):
    X = pd.DataFrame({"a": [1.0, None, 3.0]})
    out = ModalityTransformer([("a", FunctionTransformer(lambda X: container(X)), ["a"])]).fit_transform(X)

    assert type(out["a"]) is type(container((1, 1)).tocsr())
    assert np.diff(out["a"].indptr).tolist() == [1, 0, 1]
    assert out["a"].toarray().ravel().tolist() == [1, 0, 3]


# -- errors ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "X",
    [
        [[1, 2], [3, 4]],
        {"a": [1, 2]},
        Blocks(a=np.ones((2, 2))),
        np.ones(3),
        np.ones((3, 2, 2)),
        sp.csr_array(np.eye(2)),
        pd.Series([1, 2]),
        pl.LazyFrame({"a": [1]}),
        None,
    ],
    ids=lambda X: type(X).__name__,
)
def test_only_tables(X):
    transformer = ModalityTransformer([("a", "passthrough", [0])])
    with pytest.raises(ValueError, match=f"reads a table: .* got {type(X).__name__}"):
        transformer.fit(X)
    with pytest.raises(ValueError, match="reads a table"):
        transformer.fit(np.eye(2)).transform(X)


@pytest.mark.parametrize(
    ("transformers", "error", "message"),
    [
        ([("a", "drop", 0), ("a", "passthrough", [1])], ValueError, "not unique"),
        ([("n_jobs", "passthrough", [1])], ValueError, "conflict with constructor arguments"),
        ([("remainder", "passthrough", [1])], ValueError, "conflict with constructor arguments"),
        ([("a__b", "passthrough", [1])], ValueError, "must not contain __"),
        ([("a", StandardScaler, [1])], TypeError, r"instance \(StandardScaler\(\)\)"),
        ([("a", "pass", [1])], TypeError, "'a'.*got 'pass'"),
        ([("a", LogisticRegression(), [1])], TypeError, "'a'.*LogisticRegression"),
        ([("a", None, [1])], TypeError, "'a'.*None"),
        ([("a", "drop")], ValueError, r"must hold \(name, transformer, columns\)"),
        ([(1, "drop", [1])], ValueError, r"must hold \(name, transformer, columns\)"),
        ([], ValueError, "must be a list"),
        (None, ValueError, "must be a list"),
        (StandardScaler(), ValueError, "must be a list"),
    ],
)
def test_wrong_transformers(transformers, error, message):
    transformer = ModalityTransformer(transformers)
    with pytest.raises(error, match=message):
        transformer.fit(np.eye(2))


def test_wrong_remainder():
    with pytest.raises(TypeError, match=r"'remainder'.*'keep'"):
        ModalityTransformer([("a", "passthrough", [0])], remainder="keep").fit(np.eye(2))


def test_another_number_of_rows_names_the_modality():
    X = np.arange(6.0).reshape(3, 2)
    with pytest.raises(ValueError, match="'a': FunctionTransformer returned 2 rows, given 3"):
        ModalityTransformer([("a", FunctionTransformer(lambda X: X[1:]), [0])]).fit(X)


def test_y_of_another_length():
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        three().fit(as_pandas(), [1, 0])


class Failure(Exception):
    """Raised by the test's transformer."""


def fail(X):
    raise Failure("no such codec")


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_an_error_in_a_transformer_keeps_its_type_and_names_the_modality(n_jobs):
    transformer = ModalityTransformer(
        [("fine", "passthrough", [0]), ("video", FunctionTransformer(fail), [1])], n_jobs=n_jobs
    )
    with pytest.raises(Failure, match="no such codec") as caught:
        transformer.fit(np.eye(2))
    assert "modality 'video'" in caught.value.__notes__[0]


def test_a_1d_column_for_a_2d_transformer_says_what_to_do():
    with pytest.raises(ValueError, match=r"1D|1-dimensional|2-dimensional") as caught:
        ModalityTransformer([("table", StandardScaler(), "price")]).fit(as_pandas())
    assert "a list of columns gives a table" in caught.value.__notes__[0]


# -- before an estimator ---------------------------------------------------------------------------------------


def reviews(n=60, missing=()):
    rng = np.random.default_rng(0)
    y = np.arange(n) % 2
    texts = [f"a {'good' if label else 'bad'} film, number {rng.integers(1000)} of the year" for label in y]
    frame = pd.DataFrame({"review": texts, "price": rng.normal(size=n) + y, "age": rng.normal(size=n)})
    frame.loc[list(missing), "review"] = None
    return frame, y


def reading(modality_dropout=0.3, **params):
    modalities = [("text", TfidfVectorizer(), "review"), ("table", "passthrough", ["price", "age"])]
    return make_pipeline(
        ModalityTransformer(modalities), small(modality_dropout=modality_dropout, max_epochs=3, **params)
    )


def test_texts_of_which_no_word_is_known_and_texts_that_are_all_missing():
    X, y = reviews()
    pipe = reading().fit(X, y)
    unknown = X.assign(review=np.where(np.arange(60) < 3, "xyz", X["review"]))
    gaps = X.assign(review=np.where(np.arange(60) < 3, None, X["review"]))
    for frame in (unknown, gaps):
        together = pipe.predict_proba(frame)
        for rows in (slice(3), slice(1, 2)):
            np.testing.assert_allclose(pipe.predict_proba(frame[rows]), together[rows], rtol=0, atol=1e-6)


@pytest.mark.parametrize(("gone", "left_out"), [(["review"], "text"), (["price", "age"], "table")])
@pytest.mark.parametrize("modalities", [None, "auto"])
def test_an_estimator_that_learned_to_does_without_a_modality_of_a_table(modalities, gone, left_out):
    X, y = reviews()
    if modalities is None:
        model = reading()
    else:
        model = small(modality_dropout=0.3, max_epochs=3, modalities="auto")
        left_out = {"text": "review"}.get(left_out, left_out)
    model.fit(X, y)
    with pytest.warns(UserWarning, match=f"modality '{left_out}' is left out"):
        without = model.predict_proba(X.drop(columns=gone))
    nothing = X.assign(**{name: pd.Series([None] * 60, dtype=object) for name in gone})
    np.testing.assert_allclose(without, model.predict_proba(nothing), rtol=0, atol=1e-6)


def test_an_estimator_that_never_learned_to_refuses_a_table_without_a_modality():
    X, y = reviews()
    pipe = reading(modality_dropout=0).fit(X, y)
    with (
        pytest.warns(UserWarning, match="modality 'text' is left out"),
        pytest.raises(ValueError, match="modality 'text' is missing; fitted with.*modality_dropout"),
    ):
        pipe.predict(X.drop(columns="review"))
    with pytest.raises(ValueError, match="modality 'table' needs column 'age', which X lacks"):
        pipe.predict(X.drop(columns="age"))
    some_without, y = reviews(missing=range(0, 60, 5))
    pipe = reading(modality_dropout=0).fit(some_without, y)
    with pytest.warns(UserWarning, match="modality 'text' is left out"):
        assert pipe.predict_proba(X.drop(columns="review")).shape == (60, 2)


def test_a_row_that_cannot_be_read_is_found_in_the_whole_table(tmp_path):
    pytest.importorskip("PIL")
    (tmp_path / "bad.png").write_bytes(b"no image")
    df = pd.DataFrame({"photo": [None, None, str(tmp_path / "bad.png")]}, index=[10, 11, 12])
    with pytest.raises(ValueError, match=r"row 0: cannot read .*bad\.png") as caught:
        ModalityTransformer([("image", ImageLoader(), "photo")]).fit(df)
    assert "Row 0 of those that are not missing is row 2 of the table, index 12." in caught.value.__notes__
