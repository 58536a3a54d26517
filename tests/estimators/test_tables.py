"""Tables given to fit as they are: what is typed, by which parameters, and rows that come one by one."""

import pickle
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import soundfile
from conftest import assert_same, small
from PIL import Image
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_validate, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skmm import (
    AutoModalities,
    Blocks,
    ModalityTransformer,
    MultimodalClassifier,
    MultimodalRegressor,
    SpeechRecognizer,
    compare_fusions,
    load,
    save,
)
from skmm.model_selection import FusionSearchCV
from skmm.preprocessing import ImageLoader

N = 32
LABEL = np.arange(N) % 2


def quick(cls=MultimodalClassifier, **params):
    return small(cls, max_epochs=2, hidden_dim=4, experts=None, **params)


@pytest.fixture
def df():
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "price": 2 * rng.random(N) + LABEL,
            "shop": rng.choice(["north", "south"], N),
            "review": [
                f"{rng.choice(['good', 'fine'])} film {rng.choice(['long', 'short'])} x{i % 5}" for i in range(N)
            ],
            "day": pd.date_range("2020-01-01", periods=N, freq="9D"),
        }
    )


@pytest.fixture
def photos(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for i, label in enumerate(LABEL):
        Image.new("RGB", (9, 9), (200 * int(label), 5 * i, 0)).save(f"{i}.png")
    return pd.DataFrame({"photo": [f"{i}.png" for i in range(N)], "price": np.linspace(0, 1, N)})


# -- what is typed -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", [pd.DataFrame, pl.from_pandas, pa.Table.from_pandas])
def test_a_table_goes_into_fit_as_it_is(df, given):
    clf, auto = quick().fit(given(df), LABEL), quick(modalities="auto").fit(df, LABEL)
    assert list(clf.modalities_) == ["table", "review"]
    assert clf.feature_names_in_.tolist() == list(df)
    assert clf.modality_transformer_.describe()["kind"] == ["number", "category", "text", "date"]
    assert_same(clf, auto, df)


def test_a_dataset_of_hugging_face_goes_into_fit_as_it_is(df):
    datasets = pytest.importorskip("datasets")
    X = datasets.Dataset.from_pandas(df)
    assert_same(quick().fit(X, LABEL), quick().fit(df, LABEL), df)


def test_a_regressor_types_a_table_too(df):
    assert list(quick(MultimodalRegressor).fit(df, np.arange(N) % 5).modalities_) == ["table", "review"]


@pytest.mark.parametrize(
    "column",
    [
        np.arange(N) / 7,
        np.arange(N) % 3 == 1,
        pd.array(np.arange(N) % 9, dtype="Int64"),
        pd.Series(np.arange(N) % 9).astype(object),
    ],
)
def test_numbers_alone_are_one_modality(column):
    X = pd.DataFrame({"a": np.linspace(0, 1, N), "b": column})
    for table in (X, pl.from_pandas(X)):
        clf = quick().fit(table, LABEL)
        assert list(clf.modalities_) == ["X"]
        assert not hasattr(clf, "modality_transformer_")


@pytest.mark.parametrize(
    "column",
    [
        pd.Categorical(np.arange(N) % 3),
        pd.date_range("2020", periods=N),
        np.resize(["a", "b", "b"], N),
        [np.arange(3.0) + i for i in range(N)],
    ],
)
def test_anything_else_is_typed(column):
    X = pd.DataFrame({"a": np.linspace(0, 1, N), "b": column})
    assert hasattr(quick().fit(X, LABEL), "modality_transformer_")


def test_a_line_says_what_was_taken_where_it_is_asked_for(df, capsys):
    df["id"] = [f"P{i:05}" for i in range(N)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quick().fit(df, LABEL)
        assert capsys.readouterr().out == ""
        quick(verbose=1).fit(df, LABEL)
    line = "table (1 number, 1 category, 1 date), review (text); dropped: id\n"
    assert capsys.readouterr().out == f"[MultimodalClassifier] {line}"


def test_a_table_without_surprises_is_typed_without_a_warning(df):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        quick().fit(df, LABEL).predict(df)


def test_a_fit_of_blocks_forgets_the_table_before_it(df):
    clf = quick().fit(df, LABEL).fit(Blocks(a=df[["price"]].to_numpy()), LABEL)
    assert not hasattr(clf, "modality_transformer_")
    assert not hasattr(clf, "feature_names_in_")


def test_scikit_learn_cuts_tables_and_blocks(df):
    assert cross_val_predict(quick(), df, LABEL, cv=2).shape == (N,)
    train, test, y, _ = train_test_split(pl.from_pandas(df), LABEL, random_state=0)
    assert quick().fit(train, y).predict(test).shape == (len(test),)
    scores = cross_validate(quick(), Blocks(a=df[["price"]].to_numpy()), LABEL, cv=2)
    assert scores["test_score"].shape == (2,)


# -- parameters ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("modalities", [None, "auto", AutoModalities()])
def test_parameters_reach_what_reads_the_columns(photos, modalities):
    clf = quick(modalities=modalities).set_params(modalities__image__size=6, modalities__n_jobs=1)
    assert clone(clf).get_params()["modalities__image__size"] == 6
    clf = clone(clf).fit(photos, LABEL)
    assert clf.modalities_["photo"].shape == (6, 6, 3)
    assert clf.modality_transformer_.get_params()["photo__n_jobs"] == 1


def test_a_search_reaches_what_reads_the_columns(df):
    search = GridSearchCV(quick(), {"modalities__text__max_features": [2, 4]}, cv=2).fit(df, LABEL)
    wanted = search.best_params_["modalities__text__max_features"]
    assert search.best_estimator_.modalities_["review"].shape == (wanted,)


def test_a_parameter_of_divided_columns_is_none_of_a_reader():
    clf = quick(modalities={"a": [0], "b": [1]})
    with pytest.raises(ValueError, match="'modalities__errors' is none of modalities=.*'a': .*AutoModalities"):
        clf.set_params(modalities__errors="missing")
    assert clf.modalities == {"a": [0], "b": [1]}


def test_what_is_known_of_a_column_goes_before_its_content(df):
    clf = quick(modalities=AutoModalities({"shop": "drop", "review": "category"})).fit(df, LABEL)
    assert list(clf.modalities_) == ["table"]
    assert clf.modality_transformer_.describe()["modality"] == ["table", None, "table", "table"]


def test_a_transformer_is_fitted_as_it_is(df):
    transformer = ModalityTransformer([("table", StandardScaler(), ["price"])])
    clf = quick(modalities=transformer).fit(df, LABEL)
    assert not hasattr(transformer, "transformers_")
    assert list(clf.modalities_) == ["table"]
    assert clone(clf).set_params(modalities__table__with_mean=False).fit(df, LABEL).modalities.transformers[0][
        1
    ].get_params() == {
        "copy": True,
        "with_mean": False,
        "with_std": True,
    }
    rows = df[["price"]].to_numpy()
    assert quick(modalities=ModalityTransformer([("t", StandardScaler(), [0])])).fit(rows, LABEL).predict(
        rows
    ).shape == (N,)


def test_auto_modalities_in_a_pipeline(df):
    pipeline = make_pipeline(AutoModalities(), quick()).fit(df, LABEL)
    assert_same(pipeline, pickle.loads(pickle.dumps(pipeline)), df)
    assert pipeline[0].describe()["column"] == list(df)
    assert len(pipeline[0].get_feature_names_out()) == sum(
        pipeline[1].inputs_.infos[m].shape[0] for m in ("table", "review")
    )


def test_loaders_that_are_given_are_told_what_they_do_not_say(photos):
    given = {"own": ImageLoader(4, n_jobs=2), "photo": ImageLoader(5)}
    photos["own"] = photos["photo"]
    made = AutoModalities(given, n_jobs=3, errors="missing").typed(photos).get_params()
    assert (made["own__n_jobs"], made["photo__n_jobs"]) == (2, 3)
    assert made["own__errors"] == made["photo__errors"] == "missing"
    assert given["own"].errors == "raise"
    chosen = AutoModalities(image=ImageLoader(4)).typed(photos)
    assert chosen.describe()["transformer"][0] == "ImageLoader"


@pytest.mark.parametrize("modalities", [None, AutoModalities(errors="missing")])
def test_what_types_a_table_is_saved(df, tmp_path, modalities):
    pytest.importorskip("skops")
    clf = quick(modalities=modalities).fit(df, LABEL)
    save(clf, tmp_path / "model.skmm")
    assert_same(load(tmp_path / "model.skmm"), clf, df)


# -- rows that come one by one -------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", [pd.DataFrame, pl.from_pandas])
def test_a_row_is_a_dict_a_series_or_in_a_list(df, given):
    clf = quick().fit(given(df), LABEL)
    wanted = clf.predict_proba(df)
    for rows, of in [
        (df.iloc[3].to_dict(), [3]),
        (df.iloc[3], [3]),
        (dict(reversed(df.iloc[3].to_dict().items())), [3]),
        (df.iloc[3:5].to_dict("records"), [3, 4]),
        (df.iloc[3:5].to_dict("list"), [3, 4]),
    ]:
        np.testing.assert_allclose(clf.predict_proba(rows), wanted[of], atol=1e-6)


def test_a_row_of_numbers_is_a_dict_too():
    X = pd.DataFrame({"a": np.linspace(0, 1, N), "b": LABEL % 2 + np.arange(N) % 3})
    clf = quick().fit(X, LABEL)
    for row in ({"b": X["b"][3], "a": X["a"][3]}, X.iloc[3], X.iloc[[3]].to_dict("records")):
        np.testing.assert_allclose(clf.predict_proba(row), clf.predict_proba(X)[[3]], atol=1e-6)


def test_a_row_goes_through_a_pipeline(df):
    pipeline = make_pipeline(ModalityTransformer.from_frame(df), quick()).fit(df, LABEL)
    np.testing.assert_allclose(
        pipeline.predict_proba(df.iloc[3].to_dict()), pipeline.predict_proba(df)[[3]], atol=1e-6
    )


def test_blocks_by_the_names_of_modalities_stay_blocks():
    X = pd.DataFrame({"wave": [np.arange(3.0) + i for i in range(N)], "price": np.linspace(0, 1, N)})
    clf = quick().fit(X, LABEL)
    blocks = clf.modality_transformer_.transform(X)
    assert_same(clf, clf, X)
    as_dict = {name: blocks[name] for name in blocks}
    np.testing.assert_allclose(clf.predict_proba(as_dict), clf.predict_proba(X), atol=1e-6)


@pytest.mark.parametrize("X", [[["a"]], np.zeros((1, 4)), pd.Series([1.0], index=["other"]), []])
def test_what_is_no_row_of_the_table_is_refused(df, X):
    clf = quick().fit(df, LABEL)
    with pytest.raises(ValueError, match=r"fit was given a table with the columns \['price'.*as a dict or Series"):
        clf.predict(X)


# -- cells that cannot be read -------------------------------------------------------------------------------------


def test_bad_cells_are_errors_unless_they_are_to_be_missing(df):
    strict = quick().fit(df, LABEL)
    lenient = quick(modalities=AutoModalities(errors="missing"), modality_dropout=0.1).fit(df, LABEL)
    for column, cell, said in [
        ("price", "oops", "1 of 32 cells of column 'price' are taken as missing: .*row 5: 'oops' is no number"),
        ("price", float("inf"), "column 'price', row 5: the number is infinite"),
        ("day", "never", "column 'day', row 5: 'never' is no date"),
        ("review", 7, r"modality 'review': 1 of 32 rows cannot be read.*row 5: expected text \(str\), got 7"),
    ]:
        bad, gap = df.astype(object), df.astype(object)
        bad.loc[5, column], gap.loc[5, column] = cell, None
        with pytest.raises(ValueError, match="row 5"):
            strict.predict(bad)
        with pytest.warns(UserWarning, match=said):
            found = lenient.predict_proba(bad)
        np.testing.assert_allclose(found, lenient.predict_proba(gap), atol=1e-6)


def with_a_new_shop(df):
    """Of each shop the first row is of one that differs by a space, and row 9 of one that there was not."""
    other = df.copy()
    first = ~df["shop"].duplicated()
    other.loc[first, "shop"] = " " + df.loc[first, "shop"]
    other.loc[9, "shop"] = "west"
    return other


def test_a_category_that_fit_did_not_see_is_named_once(df):
    clf = quick().fit(df, LABEL)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        clf.predict(with_a_new_shop(df))
    (said,) = (str(warning.message) for warning in caught)
    assert "column 'shop': 3 of 32 cells are categories that fit did not see" in said
    assert all(told in said for told in ["' north' in 1", "' south' in 1", "'west' in 1", "' meant as '"])


def test_that_a_fold_lacks_rare_categories_is_as_it_is(df):
    df["shop"] = np.where(np.arange(N) % 7 == 0, [f"shop {i}" for i in range(N)], df["shop"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cross_validate(quick(), df, LABEL, cv=3, error_score="raise")
        search = GridSearchCV(quick(), {"lr": [0.01]}, cv=2, error_score="raise").fit(df, LABEL)
        FusionSearchCV(quick(), {"lr": [0.01, 0.02]}, cv=2, error_score="raise").fit(df, LABEL)
    with pytest.warns(UserWarning, match="did not see"):
        search.predict(with_a_new_shop(df))


SHUFFLED = pd.Series(LABEL).sample(frac=1, random_state=0)


@pytest.mark.parametrize("pipeline", [False, True])
def test_a_target_whose_labels_are_those_of_the_table_in_another_order_is_told(df, pipeline):
    model = make_pipeline(AutoModalities(), quick()) if pipeline else quick()
    with pytest.warns(UserWarning, match=r"index of y has .* another order.*row 0 is 0 in X .*y\.loc\[X\.index\]"):
        model.fit(df, SHUFFLED)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        by_position = clone(model).fit(df, SHUFFLED.to_numpy())
        clone(model).fit(df, SHUFFLED.loc[df.index])
        clone(model).fit(df, SHUFFLED.set_axis(np.arange(N) + 7))  # other labels say nothing
    np.testing.assert_array_equal(model.predict_proba(df), by_position.predict_proba(df))


def test_weights_and_groups_in_another_order_are_told_too(df):
    for name, given in {"sample_weight": SHUFFLED + 1.0, "groups": SHUFFLED + 0}.items():
        with pytest.warns(UserWarning, match=f"the index of {name} has the labels"):
            quick().fit(df, LABEL, **{name: given})


@pytest.mark.parametrize(
    ("reader", "key", "said"),
    [
        (
            AutoModalities(),
            "review__min_df",
            "valid are .*'text'.*goes by the kind of its columns, text__ngram_range",
        ),
        (AutoModalities(), "txt__min_df", r"Invalid parameter 'txt__min_df'.*Did you mean 'text__min_df'\?"),
        (AutoModalities(), "text__mindf", r"valid after 'text__' are .*Did you mean 'text__min_df'\?"),
        (None, "reviw__min_df", r"valid are .*'review'.*Did you mean 'review__min_df'\?"),
        (None, "table__strategy", r"'number'.*Did you mean 'table__number__simpleimputer__strategy'\?"),
    ],
)
def test_a_parameter_that_no_reader_has_says_which_there_are(df, reader, key, said):
    clf = quick(modalities=ModalityTransformer.from_frame(df) if reader is None else reader)
    with pytest.raises(ValueError, match=said):
        clone(clf).set_params(**{f"modalities__{key}": 2})


def test_an_array_of_another_shape_is_a_missing_row():
    X = pd.DataFrame({"wave": [np.arange(3.0) + i for i in range(N)], "price": np.linspace(0, 1, N)})
    transformer = AutoModalities(errors="missing").fit(X)
    bad = X.copy()
    bad.at[2, "wave"], bad.at[4, "wave"] = np.arange(4.0), "text"
    with pytest.warns(UserWarning, match="modality 'wave': 2 of 32 rows cannot be read .* the first is row 2"):
        blocks = transformer.transform(bad)
    assert np.flatnonzero(~blocks.present["wave"]).tolist() == [2, 4]
    with pytest.warns(UserWarning, match="1 of 1 rows"):
        assert not transformer.transform(bad.iloc[[2]]).present["wave"].any()


def test_a_cell_of_another_type_among_files_is_a_missing_row(photos):
    transformer = AutoModalities(errors="missing").fit(photos)
    bad = photos.astype(object)
    bad.loc[1, "photo"] = 3.5
    with pytest.warns(UserWarning, match="modality 'photo': 1 of 32 rows"):
        assert not transformer.transform(bad).present["photo"][1]


def test_errors_is_checked():
    with pytest.raises(ValueError, match=r"unknown errors 'skip', valid are \['raise', 'missing'\]"):
        quick(modalities=AutoModalities(errors="skip")).fit(pd.DataFrame({"a": ["x", "y"] * 4}), [0, 1] * 4)
    with pytest.raises(ValueError, match="unknown errors 'skip'"):
        ModalityTransformer([("a", "passthrough", [0])], errors="skip").fit(np.ones((2, 1)))


# -- what is wrong, and what to do ---------------------------------------------------------------------------------


def test_renamed_and_missing_columns_are_named(df):
    clf = quick().fit(df, LABEL)
    with pytest.raises(
        ValueError, match=r"'table' needs column 'price'.*X.rename\(columns=\{'Price ': 'price'\}\)"
    ):
        clf.predict(df.rename(columns={"price": "Price "}))
    with pytest.raises(
        ValueError, match=r"needs column 'price' \(and \['day'\]\), which X lacks.*a column of None"
    ):
        clf.predict(df[["shop", "review"]])
    with (
        pytest.warns(UserWarning, match=r"'review' is left out.*X.rename\(columns=\{'Review': 'review'\}\)"),
        pytest.raises(ValueError, match="modality 'review' is missing"),
    ):
        clf.predict(df.rename(columns={"review": "Review"}))


@pytest.mark.parametrize(
    "y",
    [
        np.where(LABEL, 1.0, np.nan),
        ["a" if label else None for label in LABEL],
        pd.Series(np.where(LABEL, "a", None)),
        pd.array(np.where(LABEL, "a", None), dtype="string"),
        pl.Series([1 if label else None for label in LABEL]),
        [[1, 0] if label else [np.nan, 1] for label in LABEL],
    ],
)
def test_a_target_with_gaps_is_counted(df, y):
    with pytest.raises(ValueError, match=r"y contains NaN: 16 of 32 samples .*first is row 0\. .*pd.notna\(y\)"):
        quick().fit(df, y)


def test_the_name_of_the_target_is_no_target(df):
    with pytest.raises(ValueError, match=r"y is the string 'shop': give values, such as X\['shop'\]"):
        quick().fit(df, "shop")


def test_a_column_that_cannot_be_typed_says_how_to_go_on(df):
    df["code"] = ["a", 1, 1, "a"] * (N // 4)
    with pytest.raises(ValueError, match=r"'code' mixes str.*modalities=AutoModalities\(\{'code': 'category'\}\)"):
        quick().fit(df, LABEL)
    assert quick(modalities=AutoModalities({"code": "category"})).fit(df, LABEL).predict(df).shape == (N,)


@pytest.mark.parametrize(
    ("X", "said"),
    [
        (["a.wav"] * N, r"a list of strings, such as 'a.wav'.*pd.DataFrame\(\{'audio': X\}\)"),
        (
            {"audio": ["a.wav"] * N},
            r"pd.DataFrame\(\{'audio': paths\}\), or by make_pipeline\(AudioLoader\(\), LogMel\(\)\)",
        ),
        (pd.Series(["good"] * N), r"a Series of strings, such as 'good'.*pd.DataFrame\(\{'text': X\}\)"),
        ([{"a": 1}] * N, r"a list of 32 dicts.*pd.DataFrame\(X\)"),
        (np.full((N, 2), "P00122"), "text in it, such as 'P00122'.*DataFrame"),
    ],
)
def test_what_is_no_table_yet_says_how_to_make_one(X, said):
    with pytest.raises(ValueError, match=said) as caught:
        quick().fit(X, LABEL)
    assert "Tfidf" not in str(caught.value)


def test_divided_columns_are_numbers(df):
    with pytest.raises(ValueError, match="could not convert") as caught:
        quick(modalities={"a": ["price"], "b": ["review"]}).fit(df, LABEL)
    assert "AutoModalities" in caught.value.__notes__[0]


# -- beside the estimators -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", [pd.DataFrame, pa.Table.from_pandas])
def test_fusions_are_compared_on_a_table(df, given, capsys):
    result = compare_fusions(
        given(df), LABEL, estimator=quick(), fusions=["late"], baselines=["LR concat"], cv=2, verbose=1
    )
    assert sorted(result.summary["method"]) == ["LR concat", "late"]
    assert capsys.readouterr().out == "[compare_fusions] table (1 number, 1 category, 1 date), review (text)\n"


def test_a_dict_of_arrays_is_compared_and_searched():
    X = {"a": LABEL[:, None] + np.linspace(0, 1, N)[:, None], "b": np.ones((N, 2))}
    assert compare_fusions(X, LABEL, estimator=quick(), fusions=["late"], baselines=False, cv=2).scores["late"]
    search = FusionSearchCV(quick(), {"fusion": ["late"]}, cv=2, verbose=0).fit(X, LABEL)
    assert search.predict(X).shape == (N,)


def test_a_recogniser_reads_files(tmp_path):
    rng = np.random.default_rng(0)
    paths = [str(tmp_path / f"{i}.wav") for i in range(6)]
    for i, path in enumerate(paths):
        soundfile.write(path, 0.1 * rng.normal(size=3000 + 200 * i), 8000)
    texts = ["ab", "ba", "ab", "ba", "a", "b"]
    model = SpeechRecognizer(max_epochs=1, hidden_dim=4, random_state=0).fit(paths, texts)
    assert model.modalities_["audio"].shape == (40,)
    wanted = model.emissions(paths)
    for X in (np.array(paths), pd.Series(paths), {"audio": paths}, [tmp_path / path for path in paths]):
        np.testing.assert_array_equal(model.emissions(X)[5], wanted[5])
    with pytest.warns(UserWarning, match="1 of 2 samples have no audio"):
        assert model.predict([paths[0], None])[1] == ""
    with pytest.raises(ValueError, match=r"such as X\['path'\], or let make_pipeline\(AutoModalities\(\), Speech"):
        model.fit(pd.DataFrame({"path": paths}), texts)
    with pytest.raises(ValueError, match=r"row 0: cannot read 'gone.wav'"):
        model.fit(["gone.wav"] * 6, texts)
