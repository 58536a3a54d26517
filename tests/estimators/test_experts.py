"""Experts in the stack, folds that a splitter or a time gives, and how long a fit lasts."""

import pickle
import warnings

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from conftest import TASKS, ensemble, make_data, make_task, outputs
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, clone
from sklearn.cluster import KMeans
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    StackingClassifier,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier
from sklearn.metrics import r2_score
from sklearn.model_selection import KFold, PredefinedSplit, ShuffleSplit, TimeSeriesSplit, cross_val_predict
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import Callback

from skmm import Blocks, MultimodalClassifier, MultimodalRegressor
from skmm.estimators._expert_menu import asked_at_once
from skmm.estimators._flat import as_unseen
from skmm.model_selection import FusionSearchCV
from skmm.training._budget import Rounds
from skmm.training._interrupts import EndOfTraining
from skmm.training._plan import Folds, assign_folds

LINEAR = {"own": LogisticRegression()}


def two_vectors(n=160, seed=0):
    rng = np.random.RandomState(seed)
    y = rng.randint(3, size=n)
    return Blocks(a=np.eye(3)[y] + rng.randn(n, 3), b=np.eye(3)[y] + 2 * rng.randn(n, 3)), y


def table(estimator, column="score"):
    scores = estimator.expert_scores_
    return dict(zip(scores["head"], scores[column], strict=True))


# -- what they say ------------------------------------------------------------------------------------------------


def test_an_expert_is_scored_as_cross_validation_scores_it():
    X, y = two_vectors()
    values = X["a"][:, 0] + 0.1 * y
    splits = list(KFold(4, shuffle=True, random_state=3).split(X["a"]))
    reg = ensemble(MultimodalRegressor, experts={"own": (Ridge(), ["a"])}, cv=splits).fit(X, values)
    left_out = cross_val_predict(Ridge(), X["a"], values, cv=splits)
    assert table(reg)["own"] == pytest.approx(r2_score(values, left_out))
    assert table(reg, "samples") == dict.fromkeys(["fused", "a", "b", "own"], len(y))
    clf = ensemble(experts={"own": LogisticRegression()}, cv=splits).fit(X, y)
    side_by_side = np.hstack([X["a"], X["b"]])
    p = cross_val_predict(LogisticRegression(), side_by_side, y, cv=splits, method="predict_proba")
    assert table(clf, "loss")["own"] == pytest.approx(-np.log(p[np.arange(len(y)), y]).mean())


def test_the_one_that_predicts_has_seen_all_samples():
    X, y = two_vectors()
    clf = ensemble(experts={"own": (LogisticRegression(), "b")}).fit(X, y)
    expected = LogisticRegression().fit(X["b"], y).predict_proba(X["b"])
    np.testing.assert_allclose(clf.predict_proba_by_head(X)["own"], expected)


@pytest.mark.one_by_default
@pytest.mark.parametrize("task", TASKS)
def test_every_task_has_experts_which_are_silent_of_what_they_lack(task):
    cls, X, y = make_task(task, n=120, missing=12, noise=2.0, error=1.0)
    estimator = ensemble(cls, experts="auto", n_members=2).fit(X, y)
    heads = (estimator.predict_proba_by_head if cls is MultimodalClassifier else estimator.predict_by_head)(X)
    names = estimator.stack_weights_["head"]
    assert [n for n in names if n != "bias"] == list(heads)
    assert {"linear", "trees", "linear vector", "trees sequence"} <= set(heads)
    assert np.isnan(heads["trees vector"][:12]).all()  # which these lack
    assert np.isfinite(outputs(estimator, X)).all()


def test_an_expert_says_nothing_where_a_modality_is_missing_that_training_always_had():
    X, y = two_vectors()
    experts = {"both": LogisticRegression(), "a": (LogisticRegression(), "a")}
    without = Blocks(a=X["a"], b=np.full_like(X["b"], np.nan))
    told = ensemble(experts=experts).fit(X, y).predict_proba_by_head(without)
    assert np.isnan(told["both"]).all()
    assert np.isfinite(told["a_"]).all()
    gaps = X["b"].copy()
    gaps[:30] = np.nan  # enough to learn from what the other says then
    reads = {"both": make_pipeline(SimpleImputer(), LogisticRegression())}
    told = ensemble(experts=reads).fit(Blocks(a=X["a"], b=gaps), y).predict_proba_by_head(without)
    assert np.isfinite(told["both"]).all()


def test_combined_by_hand_from_what_experts_and_members_say():
    X, y = two_vectors()
    clf = ensemble(experts=LINEAR, n_members=2).fit(X, y)
    from skmm.estimators._heads import member_outputs

    data, dtype, _ = clf._load(X)
    ((_, said, *_),) = member_outputs(clf.net_, data, dtype)
    z = said - np.log(np.exp(said).sum(-1, keepdims=True))
    z = np.concatenate([np.maximum(z, -8).mean(0), np.log(clf.predict_proba_by_head(X)["own"])[:, None]], axis=1)
    stack = clf.stack_
    total = (z * stack.weights).sum(1) + stack.bias
    if stack.mixing is not None:
        total = total + z.reshape(len(z), -1) @ stack.matrix
    np.testing.assert_allclose(clf.predict_proba(X), softmax(total, 1), rtol=1e-6)


def test_a_head_that_an_expert_is_named_after_keeps_its_name():
    X, y = two_vectors()
    clf = ensemble(experts={"a": LogisticRegression(), "fused": LogisticRegression()}).fit(X, y)
    assert clf.stack_weights_["head"] == ["fused", "a", "b", "a_", "fused_"]


@pytest.mark.one_by_default
@pytest.mark.parametrize("kinds", [("sequence", "image"), ("ragged", "tokens"), ("sparse", "video")])
def test_every_kind_has_a_form_that_experts_read(kinds):
    X, y = make_data(120, kinds)
    clf = ensemble(experts="auto", n_members=2).fit(X, y)
    scores = table(clf)
    for kind in kinds:
        assert max(scores[f"linear {kind}"], scores[f"trees {kind}"]) > 0.8
    assert clf.score(X, y) > 0.9


@pytest.mark.parametrize("gaps", [False, True], ids=["whole", "gaps"])
def test_trees_say_what_scikit_learn_says_of_them(gaps):
    rng = np.random.default_rng(0)
    X, labels = rng.normal(size=(100, 7)), rng.integers(3, size=(100, 2))
    lacking = np.where(rng.random(X.shape) < 0.1, np.nan, X)
    names = np.array(["a", "b", "c"])[labels[:, 0]]
    for y in (names, names == "a", labels, labels * [1, 0]):
        forest = ExtraTreesClassifier(7, random_state=0).fit(lacking if gaps else X, y)
        for asked in (X, lacking):
            said, expected = asked_at_once(forest).predict_proba(asked), forest.predict_proba(asked)
            pairs = [(said, expected)] if y.ndim == 1 else zip(said, expected, strict=True)
            for own, other in pairs:
                np.testing.assert_array_equal(own, other)
    for y in (X[:, 0], X[:, :2]):
        forest = ExtraTreesRegressor(7, random_state=0).fit(lacking if gaps else X, y)
        expected = forest.predict(lacking).reshape(100, -1)
        np.testing.assert_array_equal(asked_at_once(forest).predict(lacking), expected)


@pytest.mark.parametrize("task", ["multiclass", "multilabel", "two targets"])
def test_a_prediction_starts_no_workers_for_its_experts(task, monkeypatch):
    cls, X, y = make_task(task, n=120)
    fitted = ensemble(cls, experts="auto", max_epochs=1, n_members=2).fit(X, y)
    expected = outputs(fitted, X)
    assert any(name.startswith("trees") for name in fitted.expert_scores_["head"])

    def started(*args, **kwargs):
        raise AssertionError("workers were started")

    monkeypatch.setattr("sklearn.ensemble._forest.Parallel", started)
    np.testing.assert_array_equal(outputs(fitted, X), expected)


def test_a_handful_of_samples_has_no_experts():
    X, y = make_data(60)
    clf = ensemble(experts="auto").fit(X, y)
    assert clf.experts_ is None
    assert clf.stack_weights_["head"] == ["fused", "vector", "sequence"]


# -- what they respect --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("experts", ["auto", {"knn": KNeighborsClassifier(), "forest": RandomForestClassifier(20)}])
def test_weights_are_repeated_samples_and_order_means_nothing(experts):
    X, y = two_vectors(220)
    counts = np.random.RandomState(7).randint(0, 3, len(y))
    rows = np.repeat(np.arange(len(y)), counts)
    params = {"n_members": 2, "max_epochs": 2}
    if experts == "auto":
        weighted = ensemble(experts=experts, **params).fit(X, y, sample_weight=counts)
    else:  # neighbours take no weights, and what is given twice counts twice
        weighted = ensemble(experts=experts, **params).fit(X[np.sort(rows)], y[np.sort(rows)])
    order = np.random.RandomState(1).permutation(rows)
    repeated = ensemble(experts=experts, **params).fit(X[order], y[order])
    np.testing.assert_allclose(weighted.predict_proba(X), repeated.predict_proba(X), atol=1e-6)


def test_what_lacks_a_modality_is_told_by_the_others():
    X, y = make_data(120, ("vector", "sequence"))
    vector = X["vector"].copy()
    vector[::3] = np.nan
    X = Blocks(vector=vector, sequence=X["sequence"])
    clf = ensemble(experts="auto").fit(X, y)
    assert table(clf, "samples")["linear vector"] == 80
    assert table(clf, "samples")["linear"] == 120
    absent = {"sequence": X["sequence"]}
    assert (clf.predict(absent) == y).mean() > 0.9


def test_the_same_seed_gives_the_same_experts_and_a_pickle_keeps_them():
    X, y = two_vectors(120)
    forest = {"forest": RandomForestClassifier(5)}
    one, two, other = (ensemble(experts=forest, random_state=seed).fit(X, y) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one.predict_proba(X), two.predict_proba(X))
    forests = [c.predict_proba_by_head(X)["forest"] for c in (one, other)]
    assert not np.allclose(*forests)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(one)).predict_proba(X), one.predict_proba(X))
    assert forest["forest"].random_state is None  # the user's own is a template
    assert not hasattr(forest["forest"], "estimators_")
    clone(one).fit(X, y)


def test_a_word_that_the_left_out_sample_alone_shares_is_not_known_without_it():
    words = np.array([[1, 1, 0], [1, 1, 0], [1, 0, 1], [1, 0, 1]], dtype=float)
    folds = Folds.partition(np.array([0, 1, 0, 0]))
    seen = as_unseen(Blocks(text=sp.csr_array(words)), folds)["text"].toarray()
    # of the second word, which two samples have, one remains when either of their folds is left out
    assert seen[1].tolist() == [1, 0, 0]
    # of the first fold's samples the one other knows no word twice
    assert not seen[[0, 2, 3]].any()


class Counted(ClassifierMixin, BaseEstimator):
    """A logistic regression that counts its fits."""

    n_fits = 0

    def fit(self, X, y, sample_weight=None):
        Counted.n_fits += 1
        self.model_ = LogisticRegression().fit(X, y, sample_weight)
        self.classes_ = self.model_.classes_
        return self

    def predict_proba(self, X):
        return self.model_.predict_proba(X)


def test_a_search_fits_them_once_for_all_candidates_of_a_fold():
    X, y = two_vectors(120)
    Counted.n_fits = 0
    grid = {"lr": [0.01, 0.02, 0.03], "fusion": ["concat", "sum"]}
    FusionSearchCV(ensemble(experts={"own": Counted()}, max_epochs=1), grid, cv=2, refit=False).fit(X, y)
    # of each fold those without one of four inner folds, and that of all
    assert Counted.n_fits == 2 * 5


def test_a_grid_reaches_into_them():
    clf = ensemble(experts={"own": (LogisticRegression(), ["a"]), "trees": RandomForestClassifier()})
    clf.set_params(experts__own__C=3.0, experts__trees__n_estimators=7)
    assert clf.get_params()["experts__own__C"] == 3.0
    assert clf.experts["own"][1] == ["a"]
    assert clf.experts["trees"].n_estimators == 7


@pytest.mark.slow
def test_random_labels_give_chance_with_experts():
    scores = []
    for seed in range(4):
        rng = np.random.RandomState(seed)
        X, y = Blocks(a=rng.randn(600, 5), b=rng.randn(600, 5)), rng.permutation(np.arange(600) % 2)
        clf = ensemble(experts="auto", random_state=seed).fit(X, y)
        assert max(table(clf).values()) < 0.5 + 4 * np.sqrt(0.25 / 600)
        scores.append(clf.oof_score_)
    assert abs(np.mean(scores) - 0.5) < 3 * np.sqrt(0.25 / 600 / 4)


# -- bad input ----------------------------------------------------------------------------------------------------


class Failing(Counted):
    def fit(self, X, y, sample_weight=None):
        raise RuntimeError("no licence")


class Saying(Counted):
    """One that says the same of every sample."""

    def __init__(self, said=(1, 0, 0), classes=None):
        self.said, self.classes = said, classes

    def fit(self, X, y, sample_weight=None):
        super().fit(X, y, sample_weight)
        self.classes_ = self.classes_ if self.classes is None else np.array(self.classes)
        return self

    def predict_proba(self, X):
        return np.tile(np.array(self.said, dtype=float), (len(X), 1))


@pytest.mark.parametrize(
    ("experts", "message"),
    [
        ("all", r"experts must be 'auto', None, or a dict of name -> estimator .*, got 'all'"),
        ({"own": LogisticRegression}, r"expert 'own': expected an estimator or a pair"),
        ({1: LogisticRegression()}, r"experts: 1 is no name"),
        ({"own": Ridge()}, r"expert 'own': Ridge is a regressor, here classes are predicted"),
        ({"own": RidgeClassifier()}, r"expert 'own': RidgeClassifier has no predict_proba.*CalibratedClassifierCV"),
        ({"own": (LogisticRegression(), ["c"])}, r"unknown modality of expert 'own': 'c'.*'a', 'b'"),
        ({"own": (LogisticRegression(), [])}, r"expert 'own' reads no modality; name some of \['a', 'b'\]"),
        ({"own": Failing()}, r"expert 'own' \(Failing on \['a', 'b'\]\): no licence"),
        (
            {"own": Saying([np.nan, 1, 0])},
            r"expert 'own' \(Saying on .*: its predict_proba says nan",
        ),
        ({"own": Saying([-3, 4, 0])}, r"expert 'own' \(Saying on .*: its predict_proba says -3.0"),
        (
            {"own": Saying([1, 0, 0], classes=[0, 1, 7])},
            r"expert 'own' .*classes_ hold 7, .*not among .*0, 1, 2",
        ),
        ({"own": LogisticRegression(), "no": object()}, r"expert 'no': expected an estimator or a pair"),
        ({"own": (LogisticRegression(), 5)}, r"expert 'own': 5 are no names of modalities, valid are \['a', 'b'\]"),
        (
            {"own": StackingClassifier([("lr", LogisticRegression())], final_estimator=RidgeClassifier())},
            r"expert 'own' .*StackingClassifier has no predict_proba",
        ),
    ],
)
def test_what_cannot_be_an_expert_is_named(experts, message):
    X, y = two_vectors(60)
    with pytest.raises(ValueError, match=message):
        ensemble(experts=experts).fit(X, y)


class Unbounded(RegressorMixin, BaseEstimator):
    def fit(self, X, y):
        return self

    def predict(self, X):
        return np.full(len(X), np.inf)


@pytest.mark.parametrize(
    ("expert", "message"),
    [
        (KMeans(2), "expert 'own': KMeans predicts no values"),
        (StandardScaler(), "expert 'own': StandardScaler predicts no values"),
        (Unbounded(), r"expert 'own' \(Unbounded .* it predicts inf of some sample"),
    ],
)
def test_what_predicts_no_values_is_named(expert, message):
    X, y = two_vectors(60)
    with pytest.raises(ValueError, match=message):
        ensemble(MultimodalRegressor, experts={"own": expert}).fit(X, y)


@pytest.mark.parametrize(
    ("experts", "params", "message"),
    [
        ("auto", {"experts__own__C": 1}, r"experts='auto' names none whose 'own__C' could be set; give a dict"),
        (LINEAR, {"experts__won__C": 1}, r"unknown expert: 'won', valid are \['own'\]. Did you mean 'own'"),
    ],
)
def test_a_parameter_of_an_expert_that_there_is_not(experts, params, message):
    with pytest.raises(ValueError, match=message):
        ensemble(experts=experts).set_params(**params)


def test_one_of_which_only_a_fit_shows_that_it_says_probabilities():
    X, y = two_vectors()
    stacked = StackingClassifier([("lr", LogisticRegression())], cv=2)
    clf = ensemble(experts={"own": stacked}).fit(X, y)
    assert table(clf)["own"] > 0.5  # a guess is right in a third
    np.testing.assert_allclose(clf.predict_proba_by_head(X)["own"].sum(1), 1)


@pytest.mark.parametrize("modality", ["tokens", "sparse"])
def test_trees_read_what_is_sparse(modality):
    """Their indices are of 32 bits, as scikit-learn's trees ask."""
    X, y = make_data(60, ("vector", "tokens", "sparse"))
    X = Blocks({name: X[name] for name in X}, present={"sparse": np.arange(60) > 4})
    experts = {"own": (RandomForestClassifier(20, random_state=0), [modality])}
    clf = ensemble(experts=experts, n_members=2, max_epochs=1).fit(X, y)
    assert table(clf)["own"] > 0.8


def test_a_sample_of_which_an_expert_of_sparse_rows_would_read_a_gap():
    X, y = make_data(60, ("vector", "sparse"))
    vector = X["vector"].copy()
    vector[4] = np.nan
    with pytest.raises(ValueError, match=r"expert 'own' .*row 4 .*gaps.*make_pipeline\(SimpleImputer\(\)"):
        ensemble(experts=LINEAR).fit(Blocks(vector=vector, sparse=X["sparse"]), y)


def test_a_fold_without_a_sample_that_an_expert_could_learn_from():
    X, y = two_vectors(60)
    rare = np.full((60, 2), np.nan)
    rare[0] = 1.0
    with pytest.raises(ValueError, match=r"'own' \(KNeigh.* on \['rare'\]\): a fold leaves no row to learn"):
        ensemble(experts={"own": (KNeighborsClassifier(1), "rare")}).fit(Blocks(a=X["a"], rare=rare), y)


def test_named_experts_that_cannot_join_are_told():
    X = Blocks(a=np.arange(8.0)[:, None])
    with pytest.warns(UserWarning, match=r"experts=\['own'\] and the stack are left out: .* none can be"):
        ensemble(experts=LINEAR, max_epochs=1).fit(X, np.arange(8))


def test_gaps_and_sparse_rows_that_an_expert_refuses():
    X, y = make_data(60, ("vector", "sparse"))
    vector = X["vector"].copy()
    vector[4] = np.nan
    X = Blocks(vector=vector, sparse=X["sparse"], other=X["vector"])
    both = ["vector", "other"]
    with pytest.raises(ValueError, match=r"expert 'own' .*row 4 .*gaps.*make_pipeline\(SimpleImputer\(\)"):
        ensemble(experts={"own": (LogisticRegression(), both)}).fit(X, y)
    with pytest.raises(ValueError, match=r"expert 'own' .*sparse, which it refuses.*TruncatedSVD"):
        ensemble(experts={"own": (HistGradientBoostingClassifier(), ["sparse"])}).fit(X, y)
    filled = make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression())
    assert ensemble(experts={"own": (filled, both)}).fit(X, y).score(X, y) > 0.9


def test_an_expert_that_takes_no_weights_is_told_from_one_that_does():
    X, y = two_vectors(60)
    weights = np.random.RandomState(0).rand(60)
    with pytest.raises(ValueError, match=r"KNeighborsClassifier.fit takes no sample_weight"):
        ensemble(experts={"own": KNeighborsClassifier()}).fit(X, y, sample_weight=weights)
    with pytest.raises(ValueError, match=r"OneVsRestClassifier.fit takes no sample_weight"):  # it takes any keyword
        ensemble(experts={"own": OneVsRestClassifier(LogisticRegression())}).fit(X, y, sample_weight=weights)
    ensemble(experts={"own": make_pipeline(StandardScaler(), LogisticRegression())}).fit(
        X, y, sample_weight=weights
    )


def test_one_of_auto_that_fails_is_left_out_and_said(monkeypatch):
    def fit(self, X, y, sample_weight=None):
        raise MemoryError("too many columns")

    monkeypatch.setattr("sklearn.linear_model.LogisticRegression.fit", fit)
    X, y = two_vectors(120)
    with pytest.warns(UserWarning, match=r"expert 'linear.* .*too many columns; it is left out") as told:
        clf = ensemble(experts="auto", n_members=2).fit(X, y)
    assert len(told) == 3
    assert not any(name.startswith("linear") for name in clf.stack_weights_["head"])
    assert "trees a" in clf.stack_weights_["head"]


@pytest.mark.parametrize("params", [{"n_members": 1}, {"stack": False}])
def test_named_experts_need_a_stack(params):
    X, y = two_vectors(60)
    with pytest.raises(ValueError, match=r"experts=\['own'\] join the stack, which needs n_members of 2 or more"):
        ensemble(experts=LINEAR, **params).fit(X, y)


# -- folds --------------------------------------------------------------------------------------------------------


class Look(Callback):
    """Keeps the rows that each member trains on."""

    def on_train_begin(self, net, X=None, **kwargs):
        training = X[0]
        weights = torch.ones(training.rows.shape) if training.weights is None else training.weights
        self.rows = [r[w > 0].numpy() for r, w in zip(training.rows, weights, strict=True)]


def test_with_a_time_what_is_left_out_is_later_than_what_was_learned_from():
    X, y = two_vectors(120)
    time = np.datetime64("2020-01-01") + np.random.RandomState(0).permutation(120) // 2
    look = Look()
    clf = ensemble(callbacks=[look]).fit(X, y, time=time)
    told = ~np.isnan(clf.oof_prediction_).any(1)
    first, second, *whole = look.rows  # two of four members leave a part out
    assert all(len(rows) == 120 for rows in whole)
    assert time[first].max() < time[second].max()
    assert time[first].max() < time[told].min()
    # nothing of the first part was left out, whatever the order of the rows
    assert time[~told].max() < time[told].min()
    order = np.random.RandomState(1).permutation(120)
    again = ensemble().fit(X[order], y[order], time=time[order])
    np.testing.assert_allclose(again.oof_prediction_, clf.oof_prediction_[order], atol=1e-5)


def test_early_stopping_holds_out_the_latest():
    X, y = two_vectors(120)
    look = Look()
    ensemble(n_members=1, early_stopping=True, callbacks=[look]).fit(X, y, time=np.arange(120))
    assert set(look.rows[0]) == set(range(108))


def test_those_that_saw_all_groups_predict_where_groups_are_few():
    labels, groups = np.arange(60) % 2, np.arange(60) // 15
    folds = assign_folds(8, labels, groups, 60, seed=0)
    assert folds.whole
    assert folds.speakers(8) == [4, 5, 6, 7]
    for k, rows in enumerate(folds.members(8)):
        assert len(rows) == (45 if k < 4 else 60)
    assert folds.blind(8)[4:].sum() == 0
    many = assign_folds(8, labels, np.arange(60) // 2, 60, seed=0)
    assert not many.whole


def test_prediction_is_by_the_members_that_saw_all():
    X, y = two_vectors(80)
    clf = ensemble(stack=False).fit(X, y, groups=np.arange(80) // 20)
    data, dtype, _ = clf._load(X)
    _, said, _ = next(iter(clf.net_.batches(data, dtype)))
    fused = said.numpy()[2:, :, 0] if said.ndim == 4 else said.numpy()[2:]
    np.testing.assert_allclose(clf.predict_proba(X), softmax(fused, -1).mean(0), rtol=1e-5)


@pytest.mark.parametrize("cv", [TimeSeriesSplit(2, gap=3), ShuffleSplit(2, random_state=0)])
def test_samples_that_no_fold_leaves_out_have_no_out_of_fold_prediction(cv):
    X, y = two_vectors(90)
    clf = ensemble(cv=cv, experts=LINEAR).fit(X, y)
    left_out = np.unique(np.concatenate([test for _, test in cv.split(X["a"])]))
    np.testing.assert_array_equal(np.flatnonzero(~np.isnan(clf.oof_prediction_).any(1)), left_out)
    assert clf.oof_score_ == pytest.approx((clf.oof_prediction_.argmax(1) == y)[left_out].mean())


@pytest.mark.parametrize("cls", [MultimodalClassifier, MultimodalRegressor])
def test_a_level_that_changed_with_time_is_not_carried_on(cls):
    rng = np.random.default_rng(0)
    X, time = rng.normal(size=(120, 4)), np.arange(120)
    values = X[:, 0] + (time > 40)  # heads that learned from earlier ones say too little
    y = values if cls is MultimodalRegressor else (values > 0.5).astype(int)

    assert not ensemble(cls).fit(X, y, time=time).stack_.bias.any()
    assert ensemble(cls).fit(X, y).stack_.bias.all()


@pytest.mark.parametrize(
    ("params", "fit_params", "message"),
    [
        ({"cv": KFold(6)}, {}, r"cv gives 6 folds, .*n_members=4 has 4 for that; set n_members=6"),
        ({"cv": TimeSeriesSplit(3)}, {}, r"cv gives 3 folds.*has 2 for that.*set n_members=6"),
        ({"cv": "five"}, {}, r"cv"),
        ({"cv": 5}, {}, r"cv=5 folds need as many members, .* n_members=4; set n_members=5, or give fewer folds"),
        ({"cv": 1}, {}, r"cv=1 leaves nothing out; give 2 folds or more, a splitter, or None"),
        ({"cv": True}, {}, r"cv=True leaves nothing out"),
        ({"cv": -3}, {}, r"cv=-3 leaves nothing out"),
        ({"cv": []}, {}, r"cv leaves out no row"),
        ({"cv": PredefinedSplit(np.full(60, -1))}, {}, r"cv leaves out no row"),
        (
            {"cv": [(np.arange(50), np.arange(50, 61))]},
            {},
            r"cv, fold 0: 60 is the position of none of the 60 rows",
        ),
        ({"cv": [(np.arange(50), np.array([-1]))]}, {}, r"cv, fold 0: -1 is the position of none of the 60 rows"),
        ({"cv": [(np.arange(50.0), np.arange(50, 60))]}, {}, r"cv, fold 0: 0.0 is the position of none"),
        ({"cv": [(np.arange(60), np.arange(60))]}, {}, r"cv, fold 0: .* there is none to learn from"),
        ({"cv": [(np.arange(30), np.arange(30, 60), 1)]}, {}, r"cv, fold 0: expected rows .*, got \(array"),
        ({"cv": [1, 2]}, {}, r"cv, fold 0: expected rows to learn from and rows to leave out, got 1"),
        ({}, {"time": np.zeros(60)}, r"time holds 1 distinct value\(s\) for 60 samples"),
        ({}, {"time": [None, *range(59)]}, r"time, row 0: None is no time"),
        ({}, {"time": np.arange(60), "groups": np.zeros(60)}, r"time and groups: every group before part 2"),
        ({"time_limit": 0}, {}, r"time_limit == 0"),
        ({"time_limit": np.inf}, {}, r"time_limit == inf, must be finite"),
    ],
)
def test_folds_that_cannot_be(params, fit_params, message):
    X, y = two_vectors(60)
    with pytest.raises(ValueError, match=message):
        ensemble(**params).fit(X, y, **fit_params)


# -- how long a fit lasts -----------------------------------------------------------------------------------------


class FakeNet:
    """A net of one weight, which counts its epochs."""

    n_batches_ = 3

    def __init__(self):
        self.module_ = torch.nn.Linear(1, 1, bias=False)
        self.rounds = []

    def start_schedule(self, n_batches, epochs):
        self.rounds.append(epochs)


@pytest.mark.parametrize(
    ("losses", "epochs", "rounds", "kept"),
    [
        ([(1.0, 0.99), (0.8, 0.79), (0.79, 0.5)], 12, [3, 6], 12),  # falls, until what was seen is known by heart
        ([(1.0, 0.99), (1.1, 0.9)], 6, [3], 3),  # rises: the best is kept
        ([(1.0, 0.2)], 3, [], 3),  # known by heart from the first
        ([(1.0, 0.99), (0.9, 0.89), (0.8, 0.8), (0.7, 0.7)], 20, [3, 6, 8], 20),  # to the end
    ],
)
def test_training_goes_on_in_rounds_while_it_pays(losses, epochs, rounds, kept):
    net, told = FakeNet(), iter(losses)
    callback = Rounds(3, 20, lambda net: next(told))
    callback.on_train_begin(net)
    with pytest.raises(EndOfTraining):
        for epoch in range(1, 100):
            net.module_.weight.data.fill_(epoch)
            callback.on_epoch_end(net)
    assert epoch == epochs
    assert net.rounds == rounds
    callback.on_train_end(net)
    assert net.module_.weight.item() == kept


def test_a_time_limit_makes_one_epoch_at_least_and_says_what_was_cut():
    X, y = two_vectors(60)
    with pytest.warns(UserWarning, match=r"time_limit=1e-06 s ended training after 1 of 50 epochs"):
        clf = ensemble(max_epochs=50, time_limit=1e-6).fit(X, y)
    assert clf.n_iter_ == 1
    assert clf.predict(X).shape == (60,)
    assert ensemble(time_limit=1000).fit(X, y).n_iter_ == 8


def test_a_time_limit_leaves_out_experts_and_says_which():
    X, y = two_vectors(120)
    said = r"no time for the experts \['linear a', .*'trees'\]; they are left out"
    with pytest.warns(UserWarning, match="ended training after 1 of 8 epochs"), pytest.warns(match=said):
        clf = ensemble(experts="auto", time_limit=1e-6).fit(X, y)
    assert clf.expert_scores_["head"] == ["fused", "a", "b"]
    forest = {"forest": RandomForestClassifier(5)}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        clf = ensemble(experts=forest, time_limit=1e-6).fit(X, y)  # which the user asked for by name
    assert not any("experts" in str(w.message) for w in caught)
    assert clf.expert_scores_["head"][-1] == "forest"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert ensemble(experts="auto", time_limit=1000).fit(X, y).expert_scores_["head"][-1] == "trees"


@pytest.mark.slow
def test_more_samples_train_a_wider_network_for_as_long_as_it_learns():
    rng = np.random.RandomState(0)
    a, b = rng.randn(2, 6000, 4)
    y = (a * b).sum(1)
    reg = MultimodalRegressor(experts=None, n_members=4, random_state=0).fit(Blocks(a=a, b=b)[:5000], y[:5000])
    few = MultimodalRegressor(
        experts=None, n_members=4, random_state=0, hidden_dim=64, dropout=0.3, max_epochs=10
    ).fit(Blocks(a=a, b=b)[:5000], y[:5000])
    assert reg.score(Blocks(a=a, b=b)[5000:], y[5000:]) > few.score(Blocks(a=a, b=b)[5000:], y[5000:]) + 0.02


@pytest.mark.parametrize("experts", [None, "auto"])
@pytest.mark.parametrize("noise", [0.3, 3.0])
def test_out_of_fold_the_stack_is_never_worse_than_its_best_head(experts, noise):
    rng = np.random.RandomState(0)
    y = rng.randint(3, size=130)
    X = Blocks(a=np.eye(3)[y] + noise * rng.randn(130, 3), b=rng.randn(130, 3))
    clf = ensemble(experts=experts, n_members=2).fit(X, y)
    loss = -np.log(clf.oof_prediction_[np.arange(130), y]).mean()
    assert loss <= min(table(clf, "loss").values()) + 1e-9
