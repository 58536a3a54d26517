"""cross_validate: what scikit-learn's gives, with the folds of a network trained together."""

import numpy as np
import pandas as pd
import pytest
import sklearn.model_selection
from conftest import linear_data, make_data, small
from sklearn import config_context
from sklearn.exceptions import FitFailedWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, make_scorer
from sklearn.model_selection import GridSearchCV, GroupKFold, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skmm import Blocks, MultimodalRegressor
from skmm.model_selection import cross_val_score, cross_validate
from skmm.model_selection._search_loop import SearchLoop

X, Y = make_data(60)


def quick(*args, **params):
    return small(*args, **{"max_epochs": 3, "dropout": 0.0, "batch_size": 20, **params})


@pytest.fixture
def loops(monkeypatch):
    """How many fits each loop trains."""
    sizes, run = [], SearchLoop.run
    monkeypatch.setattr(SearchLoop, "run", lambda loop: sizes.append(len(loop.learners)) or run(loop))
    return sizes


def assert_same(estimator, X=X, y=Y, **params):
    ours = cross_validate(estimator, X, y, **params)
    theirs = sklearn.model_selection.cross_validate(
        estimator, Blocks(X) if type(X) is dict else X, y, **{k: v for k, v in params.items() if k != "n_jobs"}
    )
    assert list(ours) == list(theirs)
    for key, expected in theirs.items():
        if key.startswith(("test_", "train_")):
            np.testing.assert_allclose(ours[key], expected, rtol=0, atol=1e-4, err_msg=key)
            assert ours[key].shape == expected.shape
    return ours, theirs


def median_margin(estimator, X, y):
    return float(np.median(estimator.predict_proba(X).max(axis=1)))


@pytest.mark.parametrize(
    "params",
    [
        {"scoring": "neg_log_loss", "cv": 3, "return_train_score": True},
        {"scoring": ["accuracy", "neg_log_loss"], "cv": KFold(3), "return_train_score": True},
        {"scoring": {"mine": median_margin, "brier": "neg_brier_score"}},
        {"scoring": median_margin, "cv": 2},
        {},
    ],
    ids=["one", "several", "dict", "function", "default"],
)
def test_scores_are_scikit_learns(params, loops):
    assert_same(quick(), **params)
    assert loops == [params["cv"] if isinstance(params.get("cv"), int) else 3 if "cv" in params else 5]


def test_estimators_and_indices_are_returned():
    pipe = make_pipeline(FunctionTransformer(), quick())
    for estimator in (quick(), pipe):
        options = {"cv": 3, "return_estimator": True, "return_indices": True}
        ours, theirs = assert_same(estimator, **options)
        for own, other, test in zip(ours["estimator"], theirs["estimator"], ours["indices"]["test"], strict=True):
            assert type(own) is type(estimator)
            np.testing.assert_allclose(own.predict_proba(X[test]), other.predict_proba(X[test]), atol=1e-4)
        for which in ("train", "test"):
            for own, other in zip(ours["indices"][which], theirs["indices"][which], strict=True):
                np.testing.assert_array_equal(own, other)


def test_a_dict_and_a_table_are_read_as_estimators_read_them(loops):
    assert_same(quick(), X={name: X[name] for name in X}, cv=3)
    rng = np.random.default_rng(0)
    texts = [f"{'good' if t else 'bad'} w{rng.integers(9)}" for t in Y]
    frame = pd.DataFrame({"text": texts, "n": rng.normal(size=60)})
    with pytest.warns(UserWarning, match="alone tells"):
        assert_same(quick(modalities="auto"), X=frame, cv=3)
    assert loops == [3]  # the words of each fold are others, and networks of other shapes are trained one by one


def test_a_search_inside_takes_a_dict_too():
    assert_same(GridSearchCV(quick(), {"lr": [0.01, 0.1]}, cv=2), X=dict(X), cv=2)


def test_regression():
    features, values = linear_data(60)
    assert_same(quick(MultimodalRegressor), features, values, cv=3, scoring=["r2", "neg_mean_absolute_error"])


@pytest.mark.parametrize("routing", [False, True])
def test_weights_and_groups_go_where_scikit_learn_sends_them(routing):
    weight, groups = np.random.RandomState(0).rand(60), np.arange(60) // 5
    with config_context(enable_metadata_routing=routing):
        estimator, options = quick(), {"groups": groups, "params": {"sample_weight": weight}}
        if routing:
            estimator.set_fit_request(sample_weight=True, groups=True)
            scorer = make_scorer(accuracy_score).set_score_request(sample_weight=True)
            options = {"scoring": scorer, "params": {"sample_weight": weight, "groups": groups}}
        assert_same(estimator, cv=GroupKFold(3), **options)
        if routing:
            with pytest.raises(ValueError, match="groups are among params"):
                cross_validate(estimator, X, Y, groups=groups)


def test_what_cannot_be_stacked_is_fitted_fold_by_fold(loops):
    assert_same(quick(encoders={"sequence": "gru"}, max_epochs=1), cv=2, scoring="neg_log_loss")
    assert loops == []


def test_any_other_estimator_is_scikit_learns():
    ours, theirs = assert_same(LogisticRegression(), X["vector"], cv=3)
    np.testing.assert_array_equal(ours["test_score"], theirs["test_score"])


def test_fits_that_fail_score_as_they_are_told_to():
    worse = quick(optimizer="sgd", scale_inputs=False, lr=1e30)
    with pytest.raises(ValueError, match=r"All the 2 fits failed[\s\S]*loss became"):
        cross_validate(worse, X, Y, cv=2)
    with pytest.raises(ValueError, match="loss became"):
        cross_validate(worse, X, Y, cv=2, error_score="raise")
    rare = np.where(np.arange(60) < 1, 2, Y)  # of one sample no class of a fold can be left out
    with pytest.warns((FitFailedWarning, UserWarning)):
        found = cross_validate(
            quick(early_stopping=True), X, rare, cv=KFold(2), error_score=-1.0, return_estimator=True
        )
    assert (found["test_score"] == -1.0).tolist() == [False, True]
    assert [estimator is None for estimator in found["estimator"]] == [False, True]


@pytest.mark.parametrize(
    ("params", "message"),
    [({"scoring": "beauty"}, "beauty"), ({"error_score": "no"}, "error_score='no' is neither"), ({"cv": 1}, "1")],
)
def test_wrong_arguments(params, message):
    with pytest.raises(ValueError, match=message):
        cross_validate(quick(), X, Y, **params)


@pytest.mark.slow
def test_processes_share_the_folds():
    one, two = (cross_validate(quick(), X, Y, cv=4, scoring="neg_log_loss", n_jobs=n) for n in (1, 2))
    np.testing.assert_allclose(one["test_score"], two["test_score"], rtol=0, atol=1e-4)


def test_one_score_of_each_fold():
    ours = cross_val_score(quick(), dict(X), Y, cv=3, scoring="neg_log_loss")
    theirs = sklearn.model_selection.cross_val_score(quick(), X, Y, cv=3, scoring="neg_log_loss")
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4)
