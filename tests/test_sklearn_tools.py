"""scikit-learn's tools with Blocks as X, or, where a tool insists on 2-D input, with its flat form."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from conftest import make_data, small
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    BaggingRegressor,
    StackingClassifier,
    StackingRegressor,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.exceptions import NotFittedError
from sklearn.experimental import enable_halving_search_cv  # noqa: F401 the import itself enables
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import (
    FixedThresholdClassifier,
    GridSearchCV,
    GroupKFold,
    HalvingGridSearchCV,
    RandomizedSearchCV,
    StratifiedKFold,
    TunedThresholdClassifierCV,
    cross_val_predict,
    cross_val_score,
    cross_validate,
    learning_curve,
    train_test_split,
    validation_curve,
)
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier
from sklearn.multioutput import ClassifierChain, MultiOutputClassifier, MultiOutputRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.semi_supervised import SelfTrainingClassifier
from sklearn.utils import estimator_html_repr

from skmm import Blocks, Fusion, ModalityTransformer, MultimodalClassifier, MultimodalRegressor


@pytest.fixture(scope="module")
def data():
    return make_data(90, kinds=["sparse", "ragged"])


@pytest.fixture(scope="module")
def three_classes():
    return make_data(90, kinds=["vector", "ragged"], n_classes=3, noise=0.3)


@pytest.fixture(scope="module")
def numbers():
    X, _ = make_data(80, kinds=["vector", "sequence"])
    return X, X["vector"][:, 0] + X["sequence"].mean(axis=(1, 2)) + 10


@pytest.fixture(scope="module")
def flat(data):
    X, y = data
    array, layout = X.to_flat()
    return array, layout, y


@pytest.fixture(scope="module")
def flat_dense():
    X, y = make_data(90, kinds=["vector", "sequence"])
    array, layout = X.to_flat()
    return array, layout, y


# -- cross-validation ----------------------------------------------------------------------------------------------


def test_train_test_split(data):
    X, y = data
    X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=0)
    assert (len(X_train), len(X_test)) == (67, 23)
    assert small().fit(X_train, y_train).score(X_test, y_test) > 0.8


def test_cross_validate_with_several_metrics(data):
    X, y = data
    scoring = ["accuracy", "roc_auc", "neg_log_loss", "f1_macro"]
    done = cross_validate(small(), X, y, cv=3, scoring=scoring, return_train_score=True, return_estimator=True)
    for metric in ("accuracy", "roc_auc", "f1_macro"):
        assert done[f"test_{metric}"].shape == (3,)
        assert done[f"test_{metric}"].mean() > 0.8
    # scored on the rows that were left out
    _, test = next(StratifiedKFold(3).split(np.zeros(90), y))
    expected = -log_loss(y[test], done["estimator"][0].predict_proba(X[test]))
    assert done["test_neg_log_loss"][0] == pytest.approx(expected)


@pytest.mark.parametrize("n_members", [1, 3])
def test_cross_val_score(data, n_members):
    assert cross_val_score(small(n_members=n_members), *data, cv=3).mean() > 0.8


@pytest.mark.parametrize(("method", "shape"), [("predict", (90,)), ("predict_proba", (90, 2))])
def test_cross_val_predict(data, method, shape):
    X, y = data
    predicted = cross_val_predict(small(), X, y, cv=3, method=method)
    assert predicted.shape == shape
    labels = predicted if method == "predict" else predicted.argmax(axis=1)
    assert np.mean(labels == y) > 0.8


def test_groups_in_cross_validation(data):
    X, y = data
    done = cross_val_score(small(), X, y, groups=np.arange(90) % 10, cv=GroupKFold(3))
    assert done.mean() > 0.8


def test_learning_curve(data):
    X, y = data
    sizes, _, test = learning_curve(small(), X, y, cv=3, train_sizes=[0.3, 1.0], shuffle=True, random_state=0)
    np.testing.assert_array_equal(sizes, [18, 60])
    assert test[-1].mean() > 0.8


def test_validation_curve(data):
    X, y = data
    train, test = validation_curve(small(), X, y, param_name="max_epochs", param_range=[1, 15], cv=3)
    assert train.shape == test.shape == (2, 3)
    assert test[1].mean() > 0.8


# -- searches ------------------------------------------------------------------------------------------------------

GRID = {"fusion": ["concat", Fusion("mfb", factor=2)], "optimizer": ["sgd", "adam"]}


@pytest.mark.slow
def test_grid_search_over_fusion_and_optimizer(data):
    X, y = data
    search = GridSearchCV(small(), GRID, cv=2, n_jobs=2).fit(X, y)
    assert len(search.cv_results_["params"]) == 4
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.best_score_ > 0.8
    assert search.score(X, y) > 0.8
    assert search.predict(X).shape == (90,)
    np.testing.assert_array_equal(search.classes_, [0, 1])


def test_grid_search_inside_of_specs(data):
    X, y = data
    grid = {"fusion__factor": [2, 3], "encoders__sparse__hidden_dim": [4, 8], "optimizer__momentum": [0.0, 0.9]}
    search = GridSearchCV(small(fusion="mfb", optimizer="sgd", max_epochs=2), grid, cv=2).fit(X, y)
    best = search.best_estimator_.get_params()
    assert {name: best[name] for name in grid} == search.best_params_


def test_grid_search_whose_candidate_fails_says_so(data):
    X, y = data
    search = GridSearchCV(small(), {"fusion": ["concat", "cnocat"]}, cv=2, error_score="raise")
    with pytest.raises(ValueError, match=r"unknown fusion 'cnocat'.*Did you mean 'concat'"):
        search.fit(X, y)


@pytest.mark.slow
def test_randomized_search(data):
    X, y = data
    search = RandomizedSearchCV(small(), {"hidden_dim": range(4, 33), **GRID}, n_iter=3, cv=2, random_state=0)
    assert search.fit(X, y).best_score_ > 0.8


@pytest.mark.slow
def test_halving_search_over_samples(data):
    X, y = data
    params = {"min_resources": 40, "factor": 2, "cv": 2, "random_state": 0}
    search = HalvingGridSearchCV(small(), {"hidden_dim": [4, 16]}, **params).fit(X, y)
    assert search.n_resources_ == [40, 80]
    assert search.score(X, y) > 0.8


def test_halving_search_over_epochs(data):
    X, y = data
    params = {"resource": "max_epochs", "min_resources": 4, "max_resources": 8, "cv": 2, "factor": 2}
    search = HalvingGridSearchCV(small(), {"hidden_dim": [4, 16]}, random_state=0, **params).fit(X, y)
    assert search.n_resources_ == [4, 8]


# -- meta-estimators of classifiers --------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["sigmoid", "isotonic"])
def test_calibration(data, method):
    X, y = data
    calibrated = CalibratedClassifierCV(small(), method=method, cv=3).fit(X, y)
    assert calibrated.predict_proba(X).shape == (90, 2)
    assert calibrated.score(X, y) > 0.8


@pytest.mark.slow
def test_stacking(data):
    X, y = data
    stack = StackingClassifier([("concat", small()), ("late", small(fusion="late"))], LogisticRegression(), cv=2)
    assert stack.fit(X, y).score(X, y) > 0.8
    assert stack.transform(X).shape == (90, 2)


@pytest.mark.parametrize("voting", ["hard", "soft"])
def test_voting(data, voting):
    X, y = data
    vote = VotingClassifier([("concat", small()), ("late", small(fusion="late"))], voting=voting).fit(X, y)
    assert vote.score(X, y) > 0.8


def test_tuned_threshold(data):
    X, y = data
    tuned = TunedThresholdClassifierCV(small(), cv=3, thresholds=20).fit(X, y)
    assert tuned.score(X, y) > 0.8


def test_fixed_threshold(data):
    X, y = data
    proba = small().fit(X, y).predict_proba(X)[:, 1]
    threshold = float(np.median(proba))
    fixed = FixedThresholdClassifier(small(), threshold=threshold, response_method="predict_proba").fit(X, y)
    np.testing.assert_array_equal(fixed.predict(X), proba >= threshold)


def test_one_versus_rest(three_classes):
    X, y = three_classes
    ovr = OneVsRestClassifier(small()).fit(X, y)
    assert ovr.score(X, y) > 0.8
    assert ovr.predict_proba(X).shape == (90, 3)


def test_one_versus_one_in_the_flat_form(three_classes):
    X, y = three_classes
    array, layout = X.to_flat()
    assert OneVsOneClassifier(small(modalities=layout)).fit(array, y).score(array, y) > 0.8


def test_many_outputs_at_once(data):
    X, y = data
    Y = np.column_stack([y, 1 - y, y])
    multi = MultiOutputClassifier(small()).fit(X, Y)
    assert multi.score(X, Y) > 0.8
    assert len(multi.predict_proba(X)) == 3


def test_chain_in_the_flat_form(flat_dense):
    array, layout, y = flat_dense
    # a chain adds columns, so the last modality is what it adds
    columns = {"vector": slice(0, 6), "rest": slice(6, None)}
    Y = np.column_stack([y, 1 - y])
    assert layout.n_features == array.shape[1]
    assert ClassifierChain(small(modalities=columns)).fit(array, Y).score(array, Y) > 0.8


# -- meta-estimators of regressors ---------------------------------------------------------------------------------


def regressor(**params):
    return small(MultimodalRegressor, dropout=0.0, max_epochs=20, **params)


@pytest.mark.slow
def test_stacking_of_regressors(numbers):
    X, y = numbers
    stack = StackingRegressor([("concat", regressor()), ("sum", regressor(fusion="sum"))], cv=2)
    assert stack.fit(X, y).score(X, y) > 0.8


def test_voting_of_regressors(numbers):
    X, y = numbers
    vote = VotingRegressor([("concat", regressor()), ("sum", regressor(fusion="sum"))]).fit(X, y)
    each = [estimator.predict(X) for estimator in vote.estimators_]
    np.testing.assert_allclose(vote.predict(X), np.mean(each, axis=0))
    assert vote.score(X, y) > 0.8


def test_transformed_target(numbers):
    X, y = numbers
    model = TransformedTargetRegressor(regressor(), func=np.log, inverse_func=np.exp).fit(X, y)
    np.testing.assert_allclose(np.log(model.predict(X)), regressor().fit(X, np.log(y)).predict(X))
    assert model.score(X, y) > 0.8


def test_many_outputs_of_a_regressor(numbers):
    X, y = numbers
    Y = np.column_stack([y, -y])
    assert MultiOutputRegressor(regressor()).fit(X, Y).score(X, Y) > 0.8


# -- tools that insist on 2-D input --------------------------------------------------------------------------------


def test_bagging(flat):
    array, layout, y = flat
    bagging = BaggingClassifier(small(modalities=layout), n_estimators=3, random_state=0).fit(array, y)
    assert bagging.score(array, y) > 0.8


def test_bagging_of_regressors(numbers):
    X, y = numbers
    array, layout = X.to_flat()
    bagging = BaggingRegressor(regressor(modalities=layout), n_estimators=2, random_state=0).fit(array, y)
    assert bagging.score(array, y) > 0.8


def test_permutation_importance(flat_dense):
    array, layout, y = flat_dense
    array = np.column_stack([array, np.random.RandomState(0).randn(90)])
    columns = {"vector": slice(0, 6), "sequence": slice(6, 27), "noise": [27]}
    clf = small(modalities=columns, max_epochs=30).fit(array, y)
    found = permutation_importance(clf, array, y, n_repeats=5, scoring="neg_log_loss", random_state=0)
    assert found.importances_mean.shape == (28,)
    assert found.importances_mean[:6].max() > found.importances_mean[27]
    assert layout.n_features == 27


def test_self_training(flat):
    array, layout, y = flat
    known = np.where(np.arange(90) % 3 == 0, y, -1)
    clf = SelfTrainingClassifier(small(modalities=layout), max_iter=2).fit(array, known)
    assert clf.score(array, y) > 0.8


def test_ada_boost(flat_dense):
    array, layout, y = flat_dense
    boosted = AdaBoostClassifier(small(modalities=layout), n_estimators=2).fit(array, y)
    assert boosted.score(array, y) > 0.8


# -- pipelines -----------------------------------------------------------------------------------------------------


def test_as_a_transformer_before_a_linear_model(data):
    X, y = data
    pipe = make_pipeline(small(), StandardScaler(), LogisticRegression()).fit(X[:60], y[:60])
    assert pipe.score(X[60:], y[60:]) > 0.8
    assert pipe[:-1].transform(X).shape == (90, 16)
    assert list(pipe[:-1].get_feature_names_out())[:2] == ["multimodalclassifier0", "multimodalclassifier1"]


WORDS = [["dull", "slow", "poor", "weak"], ["bright", "fast", "good", "strong"]]


def raw_table(n=80):
    rng = np.random.RandomState(0)
    y = rng.permutation(np.arange(n) % 2)
    review = [" ".join(rng.choice([*WORDS[label], "film", "plot"], size=5)) for label in y]
    return {"review": review, "price": y + rng.randn(n), "age": 5 * y + 10 * rng.randn(n)}, np.array(["no", "yes"])[
        y
    ]


@pytest.mark.one_by_default
@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame])
def test_a_search_from_a_raw_table_over_fusion_optimizer_and_the_preprocessing(frame):
    columns, y = raw_table()
    table = frame(columns)
    pipe = make_pipeline(
        ModalityTransformer([("text", TfidfVectorizer(), "review"), ("table", StandardScaler(), ["price", "age"])]),
        small(),
    )
    grid = [
        {"multimodalclassifier__fusion": ["concat", "attention"]},
        {"multimodalclassifier__optimizer": ["sgd"], "modalitytransformer__text__ngram_range": [(1, 1), (1, 2)]},
    ]
    search = GridSearchCV(pipe, grid, cv=2).fit(table, y)
    assert len(search.cv_results_["params"]) == 4
    assert search.best_score_ > 0.8
    np.testing.assert_array_equal(search.classes_, ["no", "yes"])
    assert list(search.best_estimator_[-1].modalities_) == ["text", "table"]


# -- what explains a pipeline from a raw table ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def from_table():
    """A frame whose review, or else price, tells of y, and whose age does not; y, and a pipeline fitted to it."""
    columns, y = raw_table()
    rng = np.random.RandomState(1)
    frame = pd.DataFrame(columns).assign(price=2 * (y == "yes") + rng.randn(80), age=rng.randn(80))
    frame.loc[::2, "review"] = "film plot"
    text = ("text", TfidfVectorizer(), "review")
    transformer = ModalityTransformer([text, ("table", StandardScaler(), ["price", "age"])])
    return frame, y, make_pipeline(transformer, small(experts=None)).fit(frame, y)


def test_permutation_importance_of_raw_columns(from_table):
    frame, y, pipe = from_table
    found = permutation_importance(pipe, frame, y, scoring="neg_log_loss", n_repeats=3, random_state=0)
    of = dict(zip(frame.columns, found.importances_mean, strict=True))
    assert min(of["review"], of["price"]) > 5 * abs(of["age"])


@pytest.mark.slow  # shap compiles what it runs
@pytest.mark.filterwarnings("ignore")  # of shap itself
def test_shap_tells_the_words_of_a_text_column(from_table):
    shap = pytest.importorskip("shap")
    frame, _, pipe = from_table

    def by_words(texts):
        return pipe.predict_proba(frame.iloc[[0] * len(texts)].assign(review=list(texts)))[:, 1]

    found = shap.Explainer(by_words, shap.maskers.Text(r"\W+"), seed=0)(["good film bright", "plot slow"])
    good, film, bright = found.values[0]
    assert min(good, bright) > film
    plot, slow = found.values[1]
    assert slow < plot
    sums = [own.sum() + base for own, base in zip(found.values, found.base_values, strict=True)]
    np.testing.assert_allclose(sums, by_words(["good film bright", "plot slow"]), atol=1e-6)


@pytest.mark.slow  # importing shap takes seconds
@pytest.mark.filterwarnings("ignore")  # of shap itself
def test_shap_tells_the_numbers_of_a_row(from_table):
    shap = pytest.importorskip("shap")
    frame, y, pipe = from_table
    row = frame[y == "yes"].iloc[[0]].assign(review="film")
    numbers = frame[["price", "age"]].to_numpy()

    def by_numbers(values):
        return pipe.predict_proba(row.iloc[[0] * len(values)].assign(price=values[:, 0], age=values[:, 1]))[:, 1]

    expensive = np.array([[3.0, 0.0]])
    found = shap.KernelExplainer(by_numbers, numbers)(expensive)
    assert found.values[0, 0] > abs(found.values[0, 1])
    np.testing.assert_allclose(found.values.sum() + found.base_values, by_numbers(expensive), atol=1e-6)
    with pytest.raises(TypeError):  # of a frame with text among its columns
        shap.explainers.Permutation(lambda values: np.zeros(len(values)), frame)(frame[:1])


# -- metadata routing ----------------------------------------------------------------------------------------------


def test_sample_weight_is_routed():
    X, y = make_data(60)
    weights = np.where(np.arange(60) < 30, 1.0, 1e-6)
    with sklearn.config_context(enable_metadata_routing=True):
        estimator = small().set_fit_request(sample_weight=True).set_score_request(sample_weight=False)
        done = cross_validate(estimator, X, y, cv=3, params={"sample_weight": weights}, return_estimator=True)
    for (train, _), fitted in zip(StratifiedKFold(3).split(np.zeros(60), y), done["estimator"], strict=True):
        expected = small().fit(X[train], y[train], sample_weight=weights[train])
        np.testing.assert_array_equal(fitted.predict_proba(X), expected.predict_proba(X))


def test_groups_are_routed():
    X, y = make_data(60)
    groups = np.arange(60) // 4
    with sklearn.config_context(enable_metadata_routing=True):
        estimator = small(n_members=3, max_epochs=2).set_fit_request(groups=True)
        done = cross_validate(estimator, X, y, cv=GroupKFold(3), params={"groups": groups}, return_estimator=True)
    for (train, _), fitted in zip(GroupKFold(3).split(X, y, groups), done["estimator"], strict=True):
        expected = small(n_members=3, max_epochs=2).fit(X[train], y[train], groups=groups[train])
        np.testing.assert_array_equal(fitted.predict_proba(X), expected.predict_proba(X))


# -- the rest ------------------------------------------------------------------------------------------------------


def test_clone_is_not_fitted(data):
    X, y = data
    fitted = small(fusion=Fusion("mfb", factor=2)).fit(X, y)
    copied = clone(fitted)
    with pytest.raises(NotFittedError):
        copied.predict(X)
    assert copied.get_params()["fusion__factor"] == 2


@pytest.mark.parametrize("cls", [MultimodalClassifier, MultimodalRegressor])
def test_html_of_an_estimator(cls):
    with sklearn.config_context(display="diagram"):
        html = estimator_html_repr(make_pipeline(StandardScaler(), cls(Fusion("mfb", factor=7))))
    assert cls.__name__ in html
    assert "factor=7" in html


def test_html_of_a_fitted_estimator_and_a_search(data):
    X, y = data
    assert "MultimodalClassifier" in estimator_html_repr(small().fit(X, y))
    assert "Fusion" in estimator_html_repr(GridSearchCV(small(), GRID, cv=2))


def test_a_dict_of_arrays_is_taken_where_nothing_cuts_it():
    X, y = make_data(60)
    as_dict = dict(X.items())
    predicted = small().fit(as_dict, y).predict(as_dict)
    np.testing.assert_array_equal(predicted, small().fit(Blocks(X), y).predict(X))


@pytest.mark.filterwarnings("ignore")  # of what Optuna itself says is experimental or will go
def test_optuna_searches_over_fusions():
    distributions = pytest.importorskip("optuna.distributions")
    optuna_integration = pytest.importorskip("optuna_integration")
    X, y = make_data(60)
    space = {
        "fusion": distributions.CategoricalDistribution(["concat", "gated"]),
        "lr": distributions.FloatDistribution(1e-3, 1e-1, log=True),
    }
    search = optuna_integration.OptunaSearchCV(small(max_epochs=3), space, n_trials=4, cv=2, random_state=0)
    search.fit(X, y)
    assert set(search.best_params_) == {"fusion", "lr"}
    assert search.best_estimator_.fusion == search.best_params_["fusion"]
    assert search.score(X, y) > 0.8
