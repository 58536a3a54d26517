"""A small network that learns what a teacher says."""

import pickle
import signal

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp
import sklearn
from conftest import ensemble, make_data, make_task, small
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, clone, is_classifier, is_regressor
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor, StackingClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeClassifier
from sklearn.model_selection import GridSearchCV, GroupKFold, TimeSeriesSplit, cross_val_predict, cross_validate
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks
from sklearn.utils.metaestimators import available_if
from skorch.callbacks import Callback

import skmm
from skmm import Blocks, ModalitySelector, ModalityTransformer, MultimodalClassifier, MultimodalRegressor
from skmm.compression import Distilled
from skmm.testing._fusions import QUICK


def kept(estimator, student=None, **params):
    """One whose teacher and targets can be looked at, of the samples alone."""
    params = {"keep_teacher": True, "n_mixed": 0, **params}
    return Distilled(estimator, small() if student is None else student, **params)


class Known(ClassifierMixin, BaseEstimator):
    """A classifier whose probabilities of the classes are known, by the number in the first column."""

    TABLE = np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6], [0.25, 0.5, 0.25]])

    def __init__(self, out_of_fold=None):
        self.out_of_fold = out_of_fold

    def fit(self, X, y):
        self.classes_ = np.array(["a", "b", "c"])
        if self.out_of_fold is not None:
            self.oof_prediction_ = np.array(self.out_of_fold, dtype=float)
        return self

    def predict_proba(self, X):
        return self.TABLE[np.asarray(X)[:, 0].astype(int)]

    def predict(self, X):
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


def cells(n=90):
    return (np.arange(n) % 3)[:, None].astype(float)


def one_hot(x):
    return np.eye(3)[np.asarray(x)[:, 0].astype(int)]


# -- what is learned ----------------------------------------------------------------------------------------------


class KnownByColumn(Known):
    """The same of one column for each number."""

    def predict_proba(self, X):
        return self.TABLE[np.asarray(X).argmax(axis=1)]


def test_the_student_says_what_the_teacher_says_where_the_labels_say_another_thing():
    X = one_hot(cells())
    y = np.array(["a", "b", "c"])[np.arange(90) % 3]  # of each cell one label alone
    student = MultimodalClassifier.plain(max_epochs=80, lr=0.05, hidden_dim=16, device="cpu", random_state=0)
    distilled = Distilled(KnownByColumn(), student, alpha=0, n_mixed=0).fit(X, y)
    np.testing.assert_allclose(distilled.predict_proba(np.eye(3)), Known.TABLE, atol=0.02)


@pytest.mark.parametrize("alpha", [0, 0.25, 1])
def test_targets_are_a_mixture_of_what_is_said_out_of_folds_and_of_the_training_samples(alpha):
    X, y = cells(30), np.array(list("abc" * 10))
    out_of_fold = np.random.default_rng(0).dirichlet(np.ones(3), size=30)
    out_of_fold[4] = np.nan  # a row that nobody left out
    distilled = kept(Known(out_of_fold), alpha=alpha).fit(X, y)
    expected = alpha * out_of_fold + (1 - alpha) * Known.TABLE[X[:, 0].astype(int)]
    expected[4] = Known.TABLE[1]
    np.testing.assert_allclose(distilled.soft_targets_, expected, rtol=0, atol=1e-12)


def test_the_predictions_out_of_folds_of_a_network_are_its_own():
    X, y = make_data()
    distilled = kept(ensemble(max_epochs=2), small(max_epochs=1), alpha=1).fit(X, y)
    alone = ensemble(max_epochs=2).fit(X, y)
    np.testing.assert_array_equal(distilled.soft_targets_, alone.oof_prediction_)


def test_the_predictions_out_of_folds_of_others_are_those_of_cross_val_predict():
    X, y = make_data(n_classes=3)
    X = X["vector"]
    distilled = kept(LogisticRegression(), alpha=1, cv=3).fit(X, y)
    expected = cross_val_predict(LogisticRegression(), X, y, cv=3, method="predict_proba")
    np.testing.assert_allclose(distilled.soft_targets_, expected)
    groups = np.arange(60) // 10
    distilled = kept(LogisticRegression(), alpha=1, cv=GroupKFold(3)).fit(X, y, groups=groups)
    expected = cross_val_predict(
        LogisticRegression(), X, y, groups=groups, cv=GroupKFold(3), method="predict_proba"
    )
    np.testing.assert_allclose(distilled.soft_targets_, expected)


@pytest.mark.parametrize("task", ["classes", "values"])
def test_folds_part_no_group(task):
    # two rows of a group are the same, and its label is like no other's: who has seen one knows the other
    rng = np.random.default_rng(1)
    X, groups = np.repeat(rng.normal(size=(20, 4)), 2, axis=0), np.repeat(np.arange(20), 2)
    if task == "classes":
        y, teacher, student = np.repeat(rng.permutation(20) % 2, 2), KNeighborsClassifier(1), small()
    else:
        y, teacher = np.repeat(rng.normal(size=20), 2), KNeighborsRegressor(1)
        student = small(MultimodalRegressor)
    distilled = kept(teacher, student, alpha=1).fit(X, y, groups=groups)
    np.testing.assert_array_equal(distilled.soft_targets_[::2], distilled.soft_targets_[1::2])
    told = distilled.soft_targets_[::2, -1]
    assert np.abs(told - y[::2]).mean() > 0.3  # who knows the other row makes no error


class Counting(LogisticRegression):
    """Counts its fits."""

    fits = 0

    def fit(self, X, y, sample_weight=None):
        Counting.fits += 1
        return super().fit(X, y, sample_weight)


def test_without_a_share_out_of_folds_the_teacher_is_fitted_once():
    X, y = make_data()
    Counting.fits = 0
    Distilled(Counting(), small(), alpha=0).fit(X["vector"], y)
    assert Counting.fits == 1
    Distilled(Counting(), small(), cv=3).fit(X["vector"], y)
    assert Counting.fits == 1 + 4


@pytest.mark.parametrize("alone", [True, False])
def test_a_frozen_teacher_is_taken_as_it_is(alone):
    X, y = make_data()
    X = X["vector"]
    frozen = FrozenEstimator(LogisticRegression().fit(X[:20], y[:20]))
    distilled = kept(frozen if alone else make_pipeline("passthrough", frozen)).fit(X, 1 - y)
    np.testing.assert_array_equal(distilled.soft_targets_, frozen.predict_proba(X))


def test_a_teacher_may_know_more_classes_than_are_given():
    X, y = make_data(n_classes=3)
    X, names = X["vector"], np.array(["a", "b", "c"])
    frozen = FrozenEstimator(LogisticRegression().fit(X, names[y]))
    distilled = Distilled(frozen, small(max_epochs=60)).fit(X[y < 2], names[y[y < 2]], X_unlabelled=X[y == 2])
    assert distilled.classes_.tolist() == ["a", "b", "c"]
    assert (distilled.predict(X) == names[y]).mean() > 0.9
    distilled = Distilled(frozen, small()).fit(X[y < 2], names[y[y < 2]])
    assert distilled.predict_proba(X).shape == (60, 3)


def test_a_class_that_a_fold_lacks_is_in_its_place():
    X, y = np.arange(9.0)[:, None], np.array(list("bbbbacccc"))
    with pytest.warns(UserWarning, match="least populated class"):
        distilled = kept(LogisticRegression(), alpha=1, cv=3).fit(X, y)
    assert distilled.soft_targets_.shape == (9, 3)
    assert distilled.soft_targets_[4, 0] == 0  # left out where it was the only one
    np.testing.assert_allclose(distilled.soft_targets_.sum(axis=1), 1)


@pytest.mark.parametrize("task", ["one target", "two targets"])
def test_values_are_learned(task):
    cls, X, y = make_task(task, error=3.0)
    teacher = ensemble(cls)
    distilled = kept(teacher, small(cls, max_epochs=40)).fit(X, y)
    expected = (distilled.teacher_.oof_prediction_ + distilled.teacher_.predict(X)) / 2
    np.testing.assert_allclose(distilled.soft_targets_, expected.reshape(len(y), -1))
    assert distilled.predict(X).shape == y.shape
    # nearer to what the teacher says than to what is true, which it has not seen
    near, far = (np.abs(distilled.predict(X) - of).mean() for of in (expected, y))
    assert near < far


@pytest.mark.parametrize("teacher", ["network", "forest"])
def test_several_labels(teacher):
    cls, X, y = make_task("multilabel")
    X = Blocks(sequence=X["sequence"]) if teacher == "network" else X["sequence"].reshape(60, -1)
    # teachers that have made up their minds: labels of one who says .5 of a class are those of either class
    network = ensemble(cls, max_epochs=30)
    estimator = network if teacher == "network" else RandomForestClassifier(10, random_state=0)
    distilled = kept(estimator, small(cls, max_epochs=30), alpha=0).fit(X, y)
    said = distilled.teacher_.predict_proba(X)
    expected = said if teacher == "network" else np.column_stack([each[:, 1] for each in said])
    np.testing.assert_array_equal(distilled.soft_targets_, expected)
    assert distilled.predict(X).shape == (60, 2)
    assert distilled.score(X, y) > 0.6  # of both labels at the same time
    # and what it says of them is the teacher's, of which a constant would know nothing
    apart, constant = (np.abs(of - expected).mean() for of in (distilled.predict_proba(X), expected.mean(axis=0)))
    assert apart < constant / 4


def test_labels_that_are_never_or_always_there():
    X, y = make_data(kinds=["vector"])
    labels = np.column_stack([y, np.zeros(60), np.ones(60)]).astype(int)
    distilled = kept(RandomForestClassifier(5, random_state=0), alpha=0).fit(X["vector"], labels)
    np.testing.assert_array_equal(distilled.soft_targets_[:, 1:], labels[:, 1:])


# -- teachers and students -----------------------------------------------------------------------------------------


def blocks_teachers():
    logistic = make_pipeline(ModalitySelector("vector"), LogisticRegression())
    return {
        "pipeline": logistic,
        "network of one member": small(),
        "stacking": StackingClassifier([("one", logistic), ("two", clone(logistic))], cv=2),
        "search": GridSearchCV(logistic, {"logisticregression__C": [0.1, 1.0]}, cv=2),
        "search of networks": GridSearchCV(ensemble(max_epochs=2), {"lr": [0.01]}, cv=2),
    }


@pytest.mark.parametrize("name", blocks_teachers())
def test_any_teacher_that_reads_blocks(name):
    X, y = make_data(n_classes=3, noise=0.2)
    distilled = Distilled(blocks_teachers()[name], small(max_epochs=30), cv=2).fit(X, y)
    assert distilled.score(X, y) > 0.8
    assert not hasattr(distilled, "teacher_")


def test_the_default_student_is_one_network_that_reads_what_the_teacher_reads():
    X, y = make_data(kinds=["vector"])
    teacher = ensemble(modalities={"left": [0, 1], "right": [2, 3, 4, 5]}, n_jobs=1)
    distilled = Distilled(teacher, random_state=0).fit(X["vector"], y)
    student = distilled.student_
    assert isinstance(student, MultimodalClassifier)
    assert (student.n_members, student.device, student.n_jobs) == (1, "cpu", 1)
    assert list(student.modalities_) == ["left", "right"]
    student = Distilled(RandomForestRegressor(n_jobs=2))._will_predict_by()
    assert isinstance(student, MultimodalRegressor)
    assert (student.n_members, student.n_jobs) == (1, 2)


def a_table():
    rng = np.random.default_rng(0)
    y = np.arange(60) % 2
    words = np.array([["cold", "snow"], ["warm", "sun"]])[
        np.where(rng.random(60) < 0.1, 1 - y, y), np.arange(60) // 30
    ]
    return pd.DataFrame({"text": words, "number": y + rng.normal(size=60)}), y


def test_a_pipeline_teaches_a_student_behind_the_same_steps():
    X, y = a_table()
    transformer = ModalityTransformer.from_frame(X)
    teacher = make_pipeline(transformer, ensemble(max_epochs=10))
    distilled = Distilled(teacher, random_state=0).fit(X, y, X_unlabelled=X[:7])
    assert isinstance(distilled.student_, Pipeline)
    assert distilled.student_[-1].n_members == 1
    assert distilled.score(X, y) > 0.75
    assert distilled.feature_names_in_.tolist() == ["text", "number"]


@pytest.mark.parametrize("read", ["pandas", "polars"])
def test_tables_whose_columns_say_what_they_are(read):
    X, y = a_table()
    X = X if read == "pandas" else pl.from_pandas(X)
    distilled = Distilled(ensemble(modalities="auto"), random_state=0)
    distilled.fit(X, y, X_unlabelled=X[:9][["number", "text"]])
    assert distilled.score(X, y) > 0.75
    assert distilled.feature_names_in_.tolist() == ["text", "number"]
    assert distilled.n_features_in_ == 2


def test_a_student_behind_steps_of_its_own():
    X, y = make_data()
    X = 1000 + 500 * X["vector"]
    student = make_pipeline(StandardScaler(), small(scale_inputs=False))
    distilled = Distilled(RandomForestClassifier(10, random_state=0), student, n_mixed=0)
    distilled.fit(X, y, X_unlabelled=X[:10] + 1)
    assert distilled.score(X, y) > 0.9
    assert distilled.student_[0].n_samples_seen_ == 70
    assert not hasattr(student[0], "mean_")  # that of the user stays
    words = ["cold snow", "warm sun", "snow ice", "sun beach"] * 10
    student = make_pipeline(TfidfVectorizer(), small())
    distilled = Distilled(make_pipeline(TfidfVectorizer(), LogisticRegression()), student)
    distilled.fit(words, ["cold", "warm"] * 20, X_unlabelled=["ice", "beach"])
    assert distilled.predict(["ice snow", "beach"]).tolist() == ["cold", "warm"]


def test_a_student_of_several_members_keeps_them():
    X, y = make_data()
    distilled = Distilled(ensemble(max_epochs=1), ensemble(n_members=2, max_epochs=1)).fit(X, y)
    assert distilled.student_.net_.module_.n_members == 2
    assert distilled.student_.stack_ is not None


@pytest.mark.parametrize("seed", [None, 3])
def test_a_seed_is_one_for_teacher_and_student(seed):
    X, y = make_data(noise=5.0)
    X = X["vector"]
    teacher = make_pipeline(StandardScaler(), RandomForestClassifier(5))
    own = small(random_state=7)
    distilled = Distilled(teacher, own, random_state=seed, keep_teacher=True, alpha=0)
    a, b = (clone(distilled).fit(X, y) for _ in range(2))
    assert np.array_equal(a.soft_targets_, b.soft_targets_) == (seed is not None)
    assert a.student_.random_state == 7  # that of the user stays
    assert teacher[-1].random_state is None
    if seed is not None:
        np.testing.assert_array_equal(a.predict_proba(X), b.predict_proba(X))


# -- what a fit is given -------------------------------------------------------------------------------------------


class Noting(Known):
    """Says what weights, groups and times it was given."""

    given = None

    def fit(self, X, y, sample_weight=None, groups=None, time=None):
        Noting.given = [None if each is None else np.asarray(each) for each in (sample_weight, groups, time)]
        return super().fit(X, y)


@pytest.mark.parametrize("form", ["alone", "pipeline", "search", "routed"])
def test_weights_groups_and_times_come_to_the_teacher(form):
    X, y = cells(30), np.array(list("abc" * 10))
    teacher = Noting()
    if form == "pipeline":
        teacher = make_pipeline("passthrough", teacher)
    if form == "search":
        teacher = GridSearchCV(make_pipeline("passthrough", teacher), {}, cv=GroupKFold(2))
    weights, marks = np.arange(30.0) + 1, np.arange(30) // 3
    with sklearn.config_context(enable_metadata_routing=form == "routed"):
        if form == "routed":
            requests = {"sample_weight": True, "groups": True, "time": True}
            teacher = make_pipeline("passthrough", teacher.set_fit_request(**requests))
        Distilled(teacher, small(), alpha=0).fit(X, y, sample_weight=weights, groups=marks, time=marks)
    for given, expected in zip(Noting.given, [weights, marks, marks], strict=True):
        if form == "search" and expected is marks and given is None:
            continue  # groups are for its own folds
        np.testing.assert_array_equal(given, expected)


def test_weights_are_cut_to_the_folds():
    X, y = make_data()
    X, weights = X["vector"], np.where(y == 1, 1.0, 0.01)
    distilled = kept(LogisticRegression(), alpha=1, cv=3).fit(X, 0 * y + np.arange(60) % 2, sample_weight=weights)
    params = {"sample_weight": weights}
    expected = cross_val_predict(
        LogisticRegression(), X, np.arange(60) % 2, cv=3, method="predict_proba", params=params
    )
    np.testing.assert_allclose(distilled.soft_targets_, expected)


def test_a_student_may_hold_out_later_samples():
    X, y = make_data()
    distilled = Distilled(ensemble(max_epochs=1), small(early_stopping=True, max_epochs=3))
    assert distilled.fit(X, y, time=np.arange(60)).predict(X).shape == (60,)
    distilled = kept(LogisticRegression(), alpha=1, cv=TimeSeriesSplit(3))
    X = X["vector"]
    distilled.fit(X, y, time=np.arange(60))
    first = distilled.teacher_.predict_proba(X[:15])  # that no split leaves out
    np.testing.assert_array_equal(distilled.soft_targets_[:15], first)


# -- samples without labels ----------------------------------------------------------------------------------------


def regions(n=40, seed=0):
    """Two regions, apart in the first column, of which the second is labelled the other way round."""
    rng = np.random.default_rng(seed)
    left = np.column_stack([np.full(n, -2.0), rng.normal(size=n)])
    right = np.column_stack([np.full(n, 2.0), rng.normal(size=n)])
    truth = np.concatenate([left[:, 1] > 0, right[:, 1] < 0]).astype(int)
    return left, right, truth


def test_unlabelled_samples_teach_what_the_labelled_do_not_show():
    left, right, truth = regions()
    frozen = FrozenEstimator(RandomForestClassifier(20, random_state=0).fit(np.concatenate([left, right]), truth))
    student = small(max_epochs=60, lr=0.05, batch_size=40)
    alone = Distilled(frozen, student).fit(left, truth[:40])
    helped = Distilled(frozen, student).fit(left, truth[:40], X_unlabelled=right)
    assert alone.score(right, truth[40:]) < 0.6
    assert helped.score(right, truth[40:]) > 0.85
    assert helped.score(left, truth[:40]) > 0.85


FORMS = {
    "list": lambda X: X.tolist(),
    "sparse": sp.csr_array,
    "frame": lambda X: pd.DataFrame(X, columns=["a", "b"]),
    "blocks": lambda X: Blocks(side=X[:, :1], level=X[:, 1:]),
    "dict": lambda X: {"level": X[:, 1:], "side": X[:, :1]},
}


@pytest.mark.parametrize("form", FORMS)
def test_unlabelled_samples_in_any_form(form):
    left, right, truth = regions()
    give = FORMS[form]
    distilled = kept(small(max_epochs=2), small(max_epochs=2), alpha=0)
    distilled.fit(give(left), truth[:40], X_unlabelled=give(right[:7]))
    said = distilled.teacher_.predict_proba(give(np.concatenate([left, right[:7]])))
    np.testing.assert_allclose(distilled.soft_targets_, said, rtol=0, atol=1e-6)
    assert distilled.predict(give(right)).shape == (40,)


def test_unlabelled_samples_weigh_what_others_do_on_average_and_are_groups_of_their_own(monkeypatch):
    X, y = make_data()
    seen = {}
    original = MultimodalClassifier._fit_open

    def noted(self, X, y, sample_weight=None, groups=None, time=None, **more):
        seen.update(weights=sample_weight, groups=groups, y=y, n=len(X))
        return original(self, X, y, sample_weight, groups, time, **more)

    monkeypatch.setattr(MultimodalClassifier, "_fit_open", noted)
    weights, groups = np.linspace(1, 3, 60), np.array([f"g{i // 10}" for i in range(60)])
    frozen = FrozenEstimator(small().fit(X, y))
    Distilled(frozen, small(), n_mixed=0).fit(X, y, X_unlabelled=X[:20], sample_weight=weights, groups=groups)
    assert seen["n"] == 80
    np.testing.assert_allclose(seen["weights"], [*weights, *[2.0] * 20])
    assert len(np.unique(seen["groups"])) == 6 + 20
    assert len(np.unique(seen["groups"][60:])) == 20
    np.testing.assert_array_equal(seen["y"], np.concatenate([y, frozen.predict(X[:20])]))


@pytest.mark.parametrize("task", ["multilabel", "one target", "two targets"])
def test_unlabelled_samples_of_other_tasks(task):
    cls, X, y = make_task(task)
    distilled = kept(ensemble(cls, max_epochs=2), small(cls, max_epochs=2), alpha=0).fit(X, y, X_unlabelled=X[:9])
    assert distilled.soft_targets_.shape == (69, y.shape[1] if y.ndim == 2 else 1)
    # of 9 samples at a time and of 60: sums in another order, by the processor's kernels
    np.testing.assert_allclose(distilled.soft_targets_[60:], distilled.soft_targets_[:9], rtol=1e-13)
    assert distilled.predict(X).shape == y.shape


def test_unlabelled_samples_through_cross_validation():
    X, y = make_data()
    with sklearn.config_context(enable_metadata_routing=True):
        distilled = kept(ensemble(max_epochs=2), small(max_epochs=2))
        distilled.set_fit_request(X_unlabelled=True)
        params = {"X_unlabelled": make_data(13)[0]}
        done = cross_validate(distilled, X, y, cv=3, params=params, return_estimator=True, error_score="raise")
    assert [len(each.soft_targets_) for each in done["estimator"]] == [40 + 13] * 3


# -- as any estimator ----------------------------------------------------------------------------------------------

SEVERAL = {**QUICK, "n_members": 3, "experts": None, "max_epochs": 8, "lr": 0.05}
CHECKED = [
    Distilled(MultimodalClassifier(**SEVERAL), MultimodalClassifier(**QUICK), n_mixed=1),
    Distilled(MultimodalRegressor(**SEVERAL), MultimodalRegressor(**QUICK), n_mixed=1),
    Distilled(LogisticRegression(), MultimodalClassifier(**QUICK), alpha=0, n_mixed=1),
]


def not_to_the_last_digit(distilled):
    """Repeated samples change the last digits of what another teacher says, and so what the student does."""
    if not isinstance(distilled.estimator, LogisticRegression):
        return {}
    reason = "the teacher is only nearly the same"
    return {f"check_sample_weight_equivalence_on_{form}_data": reason for form in ("dense", "sparse")}


@pytest.mark.filterwarnings("ignore:n_members=. is more than:UserWarning")
@parametrize_with_checks(CHECKED, expected_failed_checks=not_to_the_last_digit)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


def test_it_is_what_its_student_is():
    assert is_classifier(Distilled(RandomForestClassifier()))
    assert is_regressor(Distilled(RandomForestRegressor()))
    assert not hasattr(Distilled(RandomForestRegressor()), "predict_proba")


def test_a_search_over_parameters_of_both():
    X, y = make_data()
    grid = {"student__hidden_dim": [4, 8], "estimator__max_epochs": [1, 2], "alpha": [0.5]}
    search = GridSearchCV(Distilled(ensemble(), small(max_epochs=1)), grid, cv=2).fit(X, y)
    assert len(search.cv_results_["params"]) == 4
    best = search.best_estimator_
    assert best.student_.hidden_dim == search.best_params_["student__hidden_dim"]


def test_a_pickle_is_small_and_predicts_the_same():
    X, y = make_data()
    distilled = Distilled(ensemble(n_members=8, max_epochs=1), small(max_epochs=1)).fit(X, y)
    content = pickle.dumps(distilled)
    with_teacher = clone(distilled).set_params(keep_teacher=True).fit(X, y)
    assert len(content) < len(pickle.dumps(with_teacher)) / 2
    np.testing.assert_array_equal(pickle.loads(content).predict_proba(X), distilled.predict_proba(X))
    with_teacher.set_params(keep_teacher=False).fit(X, y)
    assert not hasattr(with_teacher, "teacher_")
    assert not hasattr(with_teacher, "soft_targets_")


@pytest.mark.parametrize("cls", [MultimodalClassifier, MultimodalRegressor])
def test_a_file_predicts_the_same(cls, tmp_path):
    X, y = make_data()
    distilled = Distilled(ensemble(cls, max_epochs=1), small(cls, max_epochs=1)).fit(X, y)
    skmm.save(distilled, tmp_path / "m.skmm")
    np.testing.assert_array_equal(skmm.load(tmp_path / "m.skmm").predict(X), distilled.predict(X))


@pytest.mark.slow  # the exporter alone takes seconds
def test_it_is_exported_as_its_student(tmp_path):
    X, y = make_data()
    distilled = Distilled(ensemble(), small()).fit(X, y)
    skmm.to_onnx(distilled, tmp_path / "m.onnx", check=X)
    said = skmm.load_onnx(tmp_path / "m.onnx").predict_proba(X)
    np.testing.assert_allclose(said, distilled.predict_proba(X), rtol=0, atol=1e-5)
    skmm.to_torch(distilled, tmp_path / "m.pt2", check=X)


# -- what goes wrong -----------------------------------------------------------------------------------------------


class HidesThem(Known):
    @available_if(lambda self: False)
    def predict_proba(self, X):
        raise AssertionError


X_BAD, Y_BAD = make_data(30)
BAD = {
    "no probabilities": (Distilled(RidgeClassifier()), "the teacher RidgeClassifier.* has no predict_proba"),
    "a class": (Distilled(MultimodalClassifier), "estimator=MultimodalClassifier is a class; give an instance"),
    "a student's class": (Distilled(small(), MultimodalClassifier), "student=MultimodalClassifier is a class"),
    "no estimator": (Distilled("network"), "estimator='network' is no estimator"),
    "no probabilities after its fit": (Distilled(HidesThem()), r"the teacher HidesThem\(\) has no predict_proba"),
    "no task": (Distilled(StandardScaler()), "is neither a classifier nor a regressor"),
    "another task": (
        Distilled(small(), small(MultimodalRegressor)),
        "(?s)student=MultimodalRegressor.* is no classifier",
    ),
    "a student of values": (Distilled(LinearRegression(), small()), "is no regressor, as the teacher LinearReg"),
    "not ours": (Distilled(small(), LogisticRegression()), "student=LogisticRegression.*must be a MultimodalClas"),
    "not ours in a pipeline": (
        Distilled(small(), make_pipeline(StandardScaler(), LogisticRegression())),
        "must be a MultimodalClassifier, or a Pipeline",
    ),
    "alpha": (Distilled(small(), alpha=1.5), "alpha must lie between 0 and 1, got 1.5"),
    "alpha's type": (Distilled(small(), alpha="half"), "alpha must lie between 0 and 1, got 'half'"),
    "cv": (Distilled(small(), cv=1), "cv=1 must be at least 2"),
    "cv's rows": (
        Distilled(small(), cv=[(np.arange(20), [20, -1])]),
        "cv, fold 0: -1 is the position of none of the .* rows.*Set another cv",
    ),
    "cv's type": (Distilled(small(), cv="five"), "Expected `cv` as an integer.*got 'five'|Got five"),
    "the student's parameters": (Distilled(small(), small(hidden_dim=0)), "hidden_dim"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_parameters(name):
    distilled, message = BAD[name]
    with pytest.raises((ValueError, TypeError), match=message):
        distilled.fit(X_BAD, Y_BAD)
    assert not hasattr(distilled, "student_")


UNLABELLED = {
    "an unknown modality": ({"vector": X_BAD["vector"], "sensor": X_BAD["vector"]}, "'sensor'.*valid are"),
    "another shape": ({"vector": X_BAD["vector"][:, :3]}, "modality 'vector' of X_unlabelled .*(3,).* in X .*(6,)"),
    "another form": (X_BAD["vector"], "X is a Blocks of the modalities .* and X_unlabelled is a numpy.ndarray"),
}


@pytest.mark.parametrize("name", UNLABELLED)
def test_bad_unlabelled_blocks(name):
    given, message = UNLABELLED[name]
    with pytest.raises(ValueError, match=message):
        Distilled(small(), small()).fit(X_BAD, Y_BAD, X_unlabelled=given)


def test_bad_unlabelled_tables():
    X, y = a_table()
    distilled = Distilled(small(modalities="auto"))
    with pytest.raises(ValueError, match=r"X_unlabelled lacks the columns \['text'\] of X"):
        distilled.fit(X, y, X_unlabelled=X[["number"]])
    with pytest.raises(ValueError, match="unknown column of X_unlabelled: 'numbr'.*Did you mean 'number'"):
        distilled.fit(X, y, X_unlabelled=X.rename(columns={"number": "numbr"}))
    with pytest.raises(ValueError, match=r"X has shape \(30, 6\) and X_unlabelled has \(5, 2\)"):
        Distilled(small()).fit(X_BAD["vector"], Y_BAD, X_unlabelled=np.ones((5, 2)))


def test_samples_that_cannot_be_distilled():
    X, y = X_BAD["vector"], Y_BAD
    with pytest.raises(ValueError, match="X_unlabelled has no time"):
        Distilled(small()).fit(X, y, X_unlabelled=X, time=np.arange(30))
    with pytest.raises(ValueError, match="the teacher KNeighborsClassifier.* does not take weights"):
        Distilled(KNeighborsClassifier()).fit(X, y, sample_weight=np.ones(30))
    with pytest.raises(ValueError, match="cv=5 knows nothing of time"):
        Distilled(LogisticRegression()).fit(X, y, time=np.arange(30))
    with pytest.raises(ValueError, match="all samples are of one group"):
        Distilled(LogisticRegression()).fit(X, y, groups=np.zeros(30))
    frozen = FrozenEstimator(LogisticRegression().fit(X, y))
    with pytest.raises(ValueError, match=r"y holds 7, which is not among the teacher's classes \[0, 1\]"):
        Distilled(frozen).fit(X, np.where(y, 7, 0))
    labels = FrozenEstimator(small(max_epochs=1).fit(X, np.column_stack([y, y])))
    with pytest.raises(ValueError, match="do not sum to 1; y holds one class of each sample"):
        Distilled(labels).fit(X, y)
    with pytest.raises(ValueError, match="cv=5: n_splits=5 cannot be greater.*Set another cv, or alpha=0"):
        Distilled(LogisticRegression()).fit(X[:6], [0, 1, 2, 0, 1, 2])
    with pytest.raises(ValueError, match="predicts 1 outputs of a sample, y has 2"):
        Distilled(FrozenEstimator(LinearRegression().fit(X, y))).fit(X, np.column_stack([y, y]))


class Broken(RegressorMixin, BaseEstimator):
    def fit(self, X, y):
        return self

    def predict(self, X):
        return np.where(np.arange(len(X)) == 3, np.nan, 0.0)


def test_a_teacher_that_says_nan():
    with pytest.raises(ValueError, match=r"the teacher predicts \[nan\] of row 3"):
        Distilled(Broken(), alpha=0).fit(X_BAD["vector"], Y_BAD)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_fit_that_fails_leaves_what_was(error, monkeypatch):
    X, y = make_data()
    distilled = kept(ensemble(max_epochs=2), small(max_epochs=2)).fit(X, y)
    before, said = dict(vars(distilled)), distilled.predict_proba(X)

    def broken(self, *given, **params):
        raise error("no")

    monkeypatch.setattr(MultimodalClassifier, "_fit_open", broken)
    with pytest.raises(error):
        distilled.fit(X, y)
    assert vars(distilled) == before
    np.testing.assert_array_equal(distilled.predict_proba(X), said)


class PressCtrlC(Callback):
    """A real SIGINT at the end of an epoch."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_epoch_end(self, net, **kwargs):
        if len(net.history) == self.epoch:
            signal.raise_signal(signal.SIGINT)


def test_what_a_student_learned_before_an_interrupt_is_kept():
    X, y = make_data()
    distilled = Distilled(ensemble(max_epochs=2), small(callbacks=[PressCtrlC(3)]))
    with pytest.warns(UserWarning, match="after 3 of 15 epochs"), pytest.raises(KeyboardInterrupt):
        distilled.fit(X, y)
    assert distilled.student_.n_iter_ == 3
    assert distilled.predict(X).shape == (60,)
