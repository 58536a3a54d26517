"""Conformal sets and intervals: the quantile, the law of the coverage, and what they are calibrated on."""

import pickle

import numpy as np
import pandas as pd
import pytest
from conftest import ensemble, make_data, small
from scipy.stats import beta, kstest
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.svm import LinearSVC

import skmm
from skmm import Blocks, MultimodalClassifier, MultimodalRegressor
from skmm.inspection import ConformalClassifier, ConformalRegressor, conformal
from skmm.inspection.prediction_sets import quantile


class SaysX(ClassifierMixin, BaseEstimator):
    """Whose probabilities are the samples themselves."""

    def __init__(self, classes=(0, 1, 2)):
        self.classes = classes

    def fit(self, X=None, y=None):
        self.classes_ = np.array(self.classes)
        return self

    def predict_proba(self, X):
        return np.asarray(X)

    def predict(self, X):
        return self.classes_[np.argmax(X, axis=1)]


class SaysValue(RegressorMixin, BaseEstimator):
    """Who predicts the same of all, one value or several."""

    def __init__(self, n_outputs=None, says=0.0):
        self.n_outputs = n_outputs
        self.says = says

    def fit(self, X=None, y=None):
        self.fitted_ = True
        return self

    def predict(self, X):
        return np.full(len(X) if self.n_outputs is None else (len(X), self.n_outputs), self.says)


def drawn(n, seed=0, shape=(0.5, 0.4, 0.2)):
    """Probabilities of three classes, and classes drawn by them."""
    rng = np.random.RandomState(seed)
    proba = rng.dirichlet(shape, size=n)
    return proba, (rng.uniform(size=(n, 1)) > proba.cumsum(axis=1)).sum(axis=1).clip(max=2)


def covered(sets, y):
    return sets[np.arange(len(y)), y].mean()


@pytest.fixture(scope="module")
def classes():
    X, y = make_data(120, n_classes=3, noise=1.5)
    return X, np.array(["a", "b", "c"])[y]


@pytest.fixture(scope="module")
def clf(classes):
    return ensemble(n_members=2, max_epochs=3).fit(*classes)


@pytest.fixture(scope="module")
def values():
    X, _ = make_data(90, noise=1.5)
    return X, X["vector"][:, :2] @ np.array([[1.0, 10.0], [0.5, -5.0]]) + 100


@pytest.fixture(scope="module")
def reg(values):
    return ensemble(MultimodalRegressor, n_members=2, max_epochs=3).fit(*values)


# -- the quantile --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "alpha", "rank"),
    [(9, 0.1, 9), (10, 0.1, 10), (19, 0.1, 18), (99, 0.01, 99), (9, 0.7, 3), (4, 0.2, 4), (999, 0.1, 900)],
)
def test_the_quantile_is_that_of_its_definition(n, alpha, rank):
    assert quantile(np.arange(1.0, n + 1), alpha) == rank


@pytest.mark.parametrize(("alpha", "needed"), [(0.1, 9), (0.05, 19), (0.3, 3), (0.001, 999)])
def test_too_few_samples_for_alpha_are_refused_with_the_number_needed(alpha, needed):
    quantile(np.zeros(needed), alpha)
    with pytest.raises(ValueError, match=f"alpha={alpha} needs at least {needed} .*, there are {needed - 1}"):
        quantile(np.zeros(needed - 1), alpha)
    with pytest.raises(ValueError, match=f"needs at least {needed}"):
        conformal(SaysValue().fit(), np.zeros(needed - 1), np.arange(needed - 1), alpha=alpha)


# -- the law of the coverage: by one calibration of n samples it is drawn from a beta distribution -----------------


@pytest.mark.parametrize("method", ["lac", "aps"])
@pytest.mark.parametrize(("n", "alpha"), [(39, 0.1), (20, 0.3)])
def test_the_coverage_of_sets_has_its_known_law(method, n, alpha):
    X_new, y_new = drawn(4000, seed=1)
    says = SaysX().fit()
    found = []
    for seed in range(300):
        sets = conformal(says, *drawn(n, seed=2 + seed), alpha=alpha, method=method, random_state=seed)
        found.append(covered(sets.predict_set(X_new), y_new))
    rank = int(np.ceil(round((n + 1) * (1 - alpha), 9)))
    law = beta(rank, n + 1 - rank)
    assert np.mean(found) == pytest.approx(law.mean(), abs=2.5 * law.std() / np.sqrt(300) + 0.005)
    assert kstest(found, law.cdf).pvalue > 0.01


def test_the_coverage_of_intervals_has_its_known_law():
    # of residuals that are uniform on (0, 1) the coverage is the width itself
    rng, n = np.random.RandomState(0), 19
    found = []
    for _ in range(500):
        intervals = conformal(SaysValue().fit(), np.zeros((n, 1)), rng.uniform(-1, 1, size=n), alpha=0.1)
        found.append(intervals.predict_interval(np.zeros((1, 1)))[0, 1])
    assert kstest(found, beta(18, 2).cdf).pvalue > 0.01


def test_aps_is_fairer_to_easy_and_hard_samples_and_lac_smaller():
    (X_cal, y_cal), (X_new, y_new) = drawn(8000), drawn(8000, seed=1)
    part = np.digitize(X_new.max(axis=1), np.quantile(X_new.max(axis=1), [0.2, 0.4, 0.6, 0.8]))
    sizes, worst = {}, {}
    for method in ("lac", "aps"):
        made = conformal(SaysX().fit(), X_cal, y_cal, method=method, random_state=0)
        sets = made.predict_set(X_new)
        sizes[method] = sets.sum()
        worst[method] = max(abs(covered(sets[part == p], y_new[part == p]) - 0.9) for p in range(5))
    assert sizes["lac"] < sizes["aps"]
    assert 2 * worst["aps"] < worst["lac"]


def test_by_class_a_rare_class_is_covered_as_well():
    (X_cal, y_cal), (X_new, y_new) = drawn(6000), drawn(6000, seed=1)
    rare = y_new == 2
    together = conformal(SaysX().fit(), X_cal, y_cal).predict_set(X_new)
    each = conformal(SaysX().fit(), X_cal, y_cal, by_class=True).predict_set(X_new)
    assert covered(together[rare], y_new[rare]) < 0.85
    for c in range(3):
        assert covered(each[y_new == c], y_new[y_new == c]) == pytest.approx(0.9, abs=0.025)
    with pytest.raises(ValueError, match="at least 9 samples of the class 2, there are 3"):
        few = np.repeat([0, 1, 2], [20, 20, 3])
        conformal(SaysX().fit(), np.full((43, 3), 1 / 3), few, by_class=True)


def test_a_spread_makes_intervals_wide_where_residuals_are_large():
    rng = np.random.RandomState(0)
    X = rng.uniform(0.1, 2, size=(4000, 1))
    y = X[:, 0] * rng.randn(4000)
    calm = X[2000:, 0] < 0.5
    for spread, share in ((None, 1.0), (lambda X: X[:, 0], 0.9)):
        intervals = conformal(SaysValue().fit(), X[:2000], y[:2000], spread=spread).predict_interval(X[2000:])
        inside = (intervals[:, 0] <= y[2000:]) & (y[2000:] <= intervals[:, 1])
        assert inside.mean() == pytest.approx(0.9, abs=0.03)
        assert inside[calm].mean() == pytest.approx(share, abs=0.03)


def test_each_of_several_values_has_its_own_quantile():
    rng = np.random.RandomState(0)
    y = rng.uniform(-1, 1, size=(999, 2)) * [1, 100]
    intervals = conformal(SaysValue(2).fit(), np.zeros((999, 1)), y).predict_interval(np.zeros((4, 1)))
    assert intervals.shape == (4, 2, 2)
    np.testing.assert_allclose(intervals[0], [[-0.9, 0.9], [-90, 90]], rtol=0.03)


@pytest.mark.filterwarnings("ignore")  # of MAPIE itself
@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.3])
def test_sets_and_intervals_are_those_of_mapie(alpha):
    classification, regression = (
        pytest.importorskip("mapie.classification"),
        pytest.importorskip("mapie.regression"),
    )
    X, y = drawn(300)
    new, _ = drawn(200, seed=1)
    logistic = LogisticRegression().fit(X[:100], y[:100])
    theirs = classification.SplitConformalClassifier(logistic, confidence_level=1 - alpha, prefit=True)
    _, sets = theirs.conformalize(X[100:], y[100:]).predict_set(new)
    own = conformal(logistic, X[100:], y[100:], alpha=alpha)
    np.testing.assert_array_equal(own.predict_set(new), sets[:, :, 0])
    linear = LinearRegression().fit(X[:100], y[:100])
    theirs = regression.SplitConformalRegressor(linear, confidence_level=1 - alpha, prefit=True)
    _, intervals = theirs.conformalize(X[100:], y[100:]).predict_interval(new)
    own = conformal(linear, X[100:], y[100:], alpha=alpha)
    np.testing.assert_allclose(own.predict_interval(new), intervals[:, :, 0])


# -- of a multimodal estimator -------------------------------------------------------------------------------------


def test_out_of_fold_predictions_calibrate_without_a_sample_more(clf, classes):
    X, y = classes
    sets = conformal(clf, y_cal=y, alpha=0.2)
    own = clf.oof_prediction_[np.arange(120), np.searchsorted(clf.classes_, y)]
    limit = np.sort(1 - own)[int(np.ceil(121 * 0.8)) - 1]
    np.testing.assert_array_equal(sets.predict_set(X), 1 - clf.predict_proba(X) <= limit)
    assert sets.n_calibration_ == 120
    np.testing.assert_array_equal(sets.predict(X), clf.predict(X))
    np.testing.assert_array_equal(sets.predict_proba(X), clf.predict_proba(X))
    assert sets.score(X, y) == clf.score(X, y)


def test_the_order_of_the_classes_is_that_of_the_estimator():
    X, y = drawn(200)
    names = np.array(["m", "z", "a"])
    sets = conformal(SaysX(tuple(names)).fit(), X, names[y])
    np.testing.assert_array_equal(sets.scores_[0], conformal(SaysX().fit(), X, y).scores_[0])


def test_a_calibration_that_is_refused_leaves_the_one_before(clf, classes):
    X, y = classes
    sets = conformal(clf, X, y)
    before = sets.predict_set(X)
    with pytest.raises(ValueError, match="needs at least 9 samples"):
        sets.fit(X[:5], y[:5])
    np.testing.assert_array_equal(sets.predict_set(X), before)
    with pytest.raises(NotFittedError):
        clone(sets).set_params(estimator=clf).predict_set(X)


def test_the_labels_of_sets(clf, classes):
    X, y = classes
    sets = conformal(clf, X, y, alpha=0.2)
    found = sets.predict_set(X)
    assert found.dtype == bool
    assert [row.tolist() for row in sets.labels_of(found)[:5]] == [sets.classes_[row].tolist() for row in found[:5]]


def test_a_smaller_alpha_at_prediction_gives_larger_sets_without_a_new_calibration(clf, classes, reg, values):
    X, y = classes
    sets = conformal(clf, X, y, alpha=0.2)
    assert (sets.predict_set(X) <= sets.predict_set(X, alpha=0.05)).all()
    with pytest.raises(ValueError, match="alpha=0.001 needs at least 999"):
        sets.predict_set(X, alpha=0.001)
    intervals = conformal(reg, y_cal=values[1], alpha=0.5)
    narrow, wide = intervals.predict_interval(values[0]), intervals.predict_interval(values[0], alpha=0.1)
    assert (np.diff(narrow) < np.diff(wide)).all()
    np.testing.assert_allclose(narrow.mean(axis=-1), reg.predict(values[0]))


def test_random_shares_are_those_of_the_seed(clf, classes):
    X, y = classes
    first, same, other = (
        conformal(clf, X, y, alpha=0.4, method="aps", random_state=seed).predict_set(X) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, same)
    assert (first != other).any()


@pytest.mark.parametrize("spread", ["members", "heads"])
def test_a_spread_of_members_or_heads(reg, values, spread):
    X, y = values
    intervals = conformal(reg, X[:60], y[:60], spread=spread, alpha=0.2)
    width = np.ptp(intervals.predict_interval(X[60:]), axis=-1)
    assert width.shape == (30, 2)
    assert (width.std(axis=0) > 0).all()
    with pytest.raises(ValueError, match=f"spread='{spread}' is smaller .* give X_cal"):
        conformal(reg, y_cal=y, spread=spread)


def test_rows_that_nobody_left_out_do_not_count(classes):
    X, y = classes
    clf = ensemble(n_members=2, max_epochs=1).fit(X, y, time=np.arange(120))
    unknown = int(np.isnan(clf.oof_prediction_).any(axis=1).sum())
    assert 0 < unknown < 120
    assert conformal(clf, y_cal=y).n_calibration_ == 120 - unknown


def test_a_pipeline_from_a_frame_and_a_frozen_estimator(classes):
    _, y = classes
    frame = pd.DataFrame(make_data(120, n_classes=3)[0]["vector"]).add_prefix("c")
    as_blocks = FunctionTransformer(lambda df: Blocks(left=df.to_numpy()[:, :3], right=df.to_numpy()[:, 3:]))
    pipe = make_pipeline(as_blocks, ensemble(n_members=2, max_epochs=1)).fit(frame, y)
    assert conformal(pipe, frame, y).predict_set(frame).shape == (120, 3)
    own = conformal(pipe, y_cal=y)
    np.testing.assert_array_equal(own.scores_[0], conformal(pipe[-1], y_cal=y).scores_[0])
    with pytest.raises(NotFittedError, match=r"not fitted: fit it first.*FrozenEstimator"):
        clone(own).fit(frame, y)
    frozen = conformal(FrozenEstimator(pipe), y_cal=y)
    again = clone(frozen).fit(None, y)
    np.testing.assert_array_equal(again.predict_set(frame), own.predict_set(frame))


def test_sets_are_kept_in_files_with_their_estimator(clf, classes, tmp_path):
    X, y = classes
    sets = conformal(clf, X, y)
    skmm.save(sets, tmp_path / "sets.skmm")
    for kept in (pickle.loads(pickle.dumps(sets)), skmm.load(tmp_path / "sets.skmm")):
        np.testing.assert_array_equal(kept.predict_set(X), sets.predict_set(X))


def test_samples_as_a_dict_of_arrays(clf, classes):
    X, y = classes
    as_dict = dict(X.items())
    np.testing.assert_array_equal(
        conformal(clf, as_dict, y).predict_set(as_dict), conformal(clf, X, y).predict_set(X)
    )


# -- bad input -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [0, 1, -0.1, 1.5, "0.1", True, float("nan")])
def test_an_alpha_that_is_no_share_is_refused(clf, classes, alpha):
    with pytest.raises(ValueError, match="must be a number between 0 and 1"):
        conformal(clf, *classes, alpha=alpha)
    with pytest.raises(ValueError, match="must be a number between 0 and 1"):
        conformal(clf, *classes).predict_set(classes[0], alpha=alpha)


def test_a_class_that_the_estimator_does_not_know_is_refused(clf, classes):
    X, y = classes
    with pytest.raises(ValueError, match=r"y_cal, row 3: 'd' is not among the classes .*\['a', 'b', 'c'\]"):
        conformal(clf, X, np.where(np.arange(120) == 3, "d", y))


def test_a_y_of_another_length_or_order_is_refused(clf, reg, classes, values):
    X, y = classes
    with pytest.raises(ValueError, match="X_cal has 120 samples, and y_cal 119"):
        conformal(clf, X, y[1:])
    with pytest.raises(ValueError, match="y_cal has 119 samples, and the estimator was fitted to 120"):
        conformal(clf, y_cal=y[1:])
    with pytest.raises(ValueError, match=r"y_cal, row \d+: .* is not what the estimator was fitted to there"):
        conformal(clf, y_cal=y[::-1])
    with pytest.raises(ValueError, match=r"y_cal, row \d+: .* is not what the estimator was fitted to there"):
        conformal(reg, y_cal=values[1][::-1])


def test_without_out_of_fold_predictions_it_is_said_what_to_do(classes):
    X, y = classes
    single = small(max_epochs=1, experts=None).fit(X, y)
    with pytest.raises(
        ValueError, match=r"MultimodalClassifier\(n_members=1\) has no oof_prediction_: .*n_members=2"
    ):
        conformal(single, y_cal=y)
    with pytest.raises(ValueError, match="LogisticRegression keeps no out-of-fold predictions; give X_cal"):
        conformal(LogisticRegression().fit(X["vector"], y), y_cal=y)
    assert conformal(single, X, y).predict_set(X).shape == (120, 3)


def test_y_must_be_given(clf, classes):
    with pytest.raises(ValueError, match="y_cal is None: give X_cal and y_cal"):
        conformal(clf, classes[0])


@pytest.mark.parametrize("cls", [MultimodalClassifier, MultimodalRegressor])
def test_an_estimator_that_is_not_fitted_is_refused(cls, classes):
    with pytest.raises(NotFittedError, match=f"this {cls.__name__} is not fitted: fit it first"):
        conformal(cls(), classes[0], np.arange(120) % 2)


def test_several_labels_at_once_are_refused():
    with pytest.raises(ValueError, match="y_cal has 2 columns: .* for each column by itself"):
        conformal(SaysX().fit(), np.eye(2), np.eye(2))
    with pytest.raises(ValueError, match=r"row 1: the probabilities sum to 1\.5, not to 1"):
        conformal(SaysX((0, 1)).fit(), np.array([[0.5, 0.5], [0.9, 0.6]]), [0, 1])


def test_values_of_another_kind_or_shape_are_refused(reg, values):
    X, y = values
    with pytest.raises(ValueError, match="NaN"):
        conformal(reg, X, np.where(np.arange(90)[:, None] == 4, np.nan, y))
    with pytest.raises(ValueError, match="row 0: .* predicts nan"):
        conformal(SaysValue().fit().set_params(says=np.nan), X, y[:, 0])
    with pytest.raises(ValueError, match=r"y_cal has the shape \(90,\), and what is predicted \(90, 2\)"):
        conformal(reg, X, y[:, 0])


def test_what_no_sets_are_made_of_is_refused(clf, reg, classes, values):
    y = np.arange(20) % 2
    with pytest.raises(ValueError, match="LinearSVC has no predict_proba; CalibratedClassifierCV"):
        conformal(LinearSVC().fit(y[:, None], y), y[:, None], y)
    with pytest.raises(ValueError, match="FunctionTransformer is neither classifier nor regressor"):
        conformal(FunctionTransformer(), y[:, None], y)
    with pytest.raises(ValueError, match=r"unknown method 'apss', valid are \['lac', 'aps'\]"):
        conformal(clf, *classes, method="apss")
    with pytest.raises(ValueError, match="unknown spread 'member'"):
        conformal(reg, *values, spread="member")
    with pytest.raises(ValueError, match="spread, row 2: 0.0 is no number above 0"):
        conformal(SaysValue().fit(), np.zeros((20, 1)), y, spread=lambda X: 1.0 - (np.arange(len(X)) == 2))


@pytest.mark.parametrize("made", [ConformalClassifier, ConformalRegressor])
def test_sets_ask_to_be_calibrated_first(made, clf):
    with pytest.raises(NotFittedError):
        made(clf).predict(None)
