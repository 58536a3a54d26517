"""FusionSearchCV: the results of GridSearchCV, with candidates and folds trained together."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import torch
from conftest import KINDS, MISSING, every_estimator, every_fusion, linear_data, make_data, members, small
from joblib import parallel_config
from sklearn import config_context
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.exceptions import FitFailedWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, make_scorer
from sklearn.model_selection import GridSearchCV, GroupKFold, KFold, ParameterSampler, RandomizedSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from torch import nn

import skmm.model_selection._search_tasks
from skmm import Blocks, MultimodalClassifier, MultimodalRegressor
from skmm.augmentation import GaussianNoise, Mixup, ModalityDropout, TimeShift
from skmm.model_selection import FusionSearchCV
from skmm.model_selection._search_loop import SearchLoop
from skmm.model_selection._search_networks import MembersDropout, _random_bits
from skmm.model_selection._search_tasks import Task
from skmm.training._net import MultimodalNet

LOSSES = {"loss": "neg_log_loss", "accuracy": "accuracy"}


def exact(cls=MultimodalClassifier, fusion="concat", **params):
    """An estimator without dropout, whose training draws nothing but weights and orders."""
    return small(cls, fusion, **{"max_epochs": 4, "dropout": 0.0, "batch_size": 20, **params})


def assert_same_results(search, X, y, atol=1e-4, **fit_params):
    """Compare a search with GridSearchCV of the same arguments."""
    params = search.get_params(deep=False)
    shared = ("scoring", "cv", "refit", "error_score", "return_train_score")
    ours = search.fit(X, y, **fit_params)
    theirs = GridSearchCV(search.estimator, search.param_grid, **{key: params[key] for key in shared})
    theirs.fit(Blocks(X) if isinstance(X, dict) else X, y, **fit_params)
    assert ours.cv_results_["params"] == theirs.cv_results_["params"]
    for key, expected in theirs.cv_results_.items():
        if "_test_" in key or "_train_" in key:
            np.testing.assert_allclose(ours.cv_results_[key], expected, rtol=0, atol=atol, err_msg=key)
    assert set(ours.cv_results_) == {*theirs.cv_results_, "n_epochs"}
    assert ours.best_params_ == theirs.best_params_
    return ours


# -- the same as GridSearchCV -------------------------------------------------------------------------------------


@pytest.mark.one_by_default
@members
@pytest.mark.parametrize("early_stopping", [False, True])
def test_results_are_those_of_grid_search(n_members, early_stopping):
    X, y = make_data(61, noise=2.0)  # folds of different sizes, some with a batch more
    stopping = {"early_stopping": early_stopping, "n_iter_no_change": 2, "max_epochs": 12 if early_stopping else 3}
    clf = exact(n_members=n_members, **stopping)
    grid = {"lr": [0.003, 0.1], "weight_decay": [0.0, 0.5]}
    search = FusionSearchCV(clf, grid, cv=3, scoring=LOSSES, refit="loss", return_train_score=True)
    ours = assert_same_results(search, X, y)
    assert ours.stacks_["trained"] == ["together"]
    assert ours.stacks_["fits"] == [12]
    if early_stopping:
        assert ours.cv_results_["n_epochs"].min() < 12


@pytest.mark.one_by_default
@pytest.mark.parametrize(
    "grid",
    [
        {"optimizer": ["sgd", "adam", "rmsprop"], "lr": [0.01, 0.05]},
        {"optimizer": ["sgd"], "optimizer__momentum": [0.0, 0.9], "clip_grad_norm": [None, 0.1]},
        {"lr_schedule": [None, "linear", "cosine"], "max_epochs": [2, 5]},
        {"class_weight": [None, "balanced", {0: 1, 1: 9}], "modality_loss": [0.2, 1.0]},
        {"random_state": [0, 1], "stack": [False, "auto"]},
        # of these nothing is left to chance, and noise too small for float32 leaves no last bit to rank by
        {"augment": [{"sequence": [GaussianNoise(0.0), TimeShift(0)]}], "augment__sequence__0__std": [0.0, 1e-30]},
        {"augment": [{"*": ModalityDropout(0.0)}, None], "modality_dropout": [0.0], "tol": [0.0, 1.0]},
    ],
    ids=lambda grid: "-".join(grid),
)
def test_what_may_differ_in_one_loop(grid):
    X, y = make_data(61)
    search = FusionSearchCV(exact(), grid, cv=KFold(3), scoring="neg_log_loss")
    ours = assert_same_results(search, X, y)
    assert ours.stacks_["trained"] == ["together"]


@pytest.mark.slow
def test_candidates_with_augmentations_of_their_own_do_not_depend_on_each_other():
    X, y = make_data(61, ("vector", "sequence"))
    clf = exact(augment={"vector": GaussianNoise(), "*": Mixup()}, modality_dropout=0.2)
    grid = {"augment__vector__std": [0.01, 0.5], "augment__*__alpha": [0.1, 1.0], "modality_dropout": [0.0, 0.4]}
    options = {"cv": KFold(3), "scoring": "neg_log_loss", "refit": False}
    whole = FusionSearchCV(clf, grid, **options).fit(X, y)
    assert whole.stacks_["trained"] == ["together"]
    scores = whole.cv_results_["mean_test_score"]
    assert len(set(scores.round(6))) == len(scores)  # each strength is another training
    for number in (0, 5):
        one = {key: [value] for key, value in whole.cv_results_["params"][number].items()}
        part = FusionSearchCV(clf, one, **options).fit(X, y)
        assert part.cv_results_["mean_test_score"][0] == pytest.approx(scores[number], abs=1e-5)


def test_another_kind_of_augmentation_is_another_loop():
    X, y = make_data(60, ("sequence",))
    grid = {"augment": [{"sequence": GaussianNoise()}, {"sequence": TimeShift()}, None], "lr": [0.01, 0.05]}
    search = FusionSearchCV(exact(), grid, cv=2).fit(X, y)
    assert search.stacks_["candidates"] == [[0, 1], [2, 3], [4, 5]]


@every_fusion
def test_every_fusion(fusion):
    X, y = make_data(40, ("vector", "sequence"))
    clf = exact(fusion=fusion, max_epochs=2)
    if "dropout" in clf.set_params(fusion__name=fusion).fusion.get_params():
        clf.set_params(fusion__dropout=0.0)
    # small steps: in larger ones the gradient of mcb's square root near 0 turns rounding into a difference
    search = FusionSearchCV(clf, {"lr": [0.0001, 0.001]}, cv=2, scoring="neg_log_loss")
    ours = assert_same_results(search, X, y)
    assert ours.stacks_["trained"] == ["together"]
    assert abs(np.diff(ours.cv_results_["mean_test_score"])) > 1e-3


@pytest.mark.one_by_default
@pytest.mark.parametrize("kind", [*KINDS, "video"])
@pytest.mark.parametrize("missing", [False, True])
def test_every_kind_of_input(kind, missing):
    X, y = make_data(60, (kind, "vector") if kind != "vector" else (kind,))
    if missing and "vector" in X and kind != "vector":
        X = Blocks(X, present={kind: ~MISSING})
    clf = exact(max_epochs=2, batch_size=10)  # in which pictures and videos are small
    search = FusionSearchCV(clf, {"lr": [0.01, 0.05]}, cv=2, scoring="neg_log_loss")
    ours = assert_same_results(search, X, y)
    assert ours.stacks_["trained"] == ["together"]


@pytest.mark.one_by_default
@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize("n_members", [1, 2])
def test_large_pictures_are_trained_one_after_another_unless_the_worse_are_dropped(monkeypatch, n_members, scale):
    monkeypatch.setattr(
        "skmm.network._members.PICTURES_LIMIT", 1000
    )  # of the 20 pictures of 8 x 8 that are a batch
    X, y = make_data(60, ("image", "vector"))
    X = Blocks(X, present={"image": ~MISSING})
    clf = exact(n_members=n_members, scale_inputs=scale, modality_dropout=0.0)
    search = FusionSearchCV(clf, {"lr": [0.0001, 0.02, 0.05]}, cv=2, scoring="neg_log_loss")
    whole = assert_same_results(search, X, y)
    assert whole.stacks_["trained"] == ["alone"]
    assert "pictures of 'image'" in whole.stacks_["reason"][0]
    halved = clone(search).set_params(halving=True).fit(X, y)
    assert halved.stacks_["trained"] == ["together"]
    kept = ~halved.cv_results_["dropped"]
    assert kept.sum() == 1
    scores = [search.cv_results_["mean_test_score"][kept] for search in (halved, whole)]
    np.testing.assert_allclose(*scores, rtol=0, atol=1e-4)


def as_dict(X, flat, layout):
    return dict(X), {}


def as_array(X, flat, layout):
    return flat, {"modalities": layout}


def as_frame(X, flat, layout):
    frame = pd.DataFrame(flat, columns=[f"c{i}" for i in range(flat.shape[1])])
    return frame, {"modalities": {"a": ["c0", "c1"], "b": list(frame.columns[2:])}}


@pytest.mark.parametrize("form", [as_dict, as_array, as_frame])
def test_every_form_of_input(form):
    blocks, y = make_data(60, ("vector", "sparse"))
    blocks = Blocks(a=blocks["vector"], b=blocks["sparse"].toarray())
    X, params = form(blocks, *blocks.to_flat())
    ours = assert_same_results(FusionSearchCV(exact(**params), {"lr": [0.01, 0.05]}, cv=2), X, y)
    assert ours.stacks_["fits"] == [4]
    assert ours.predict(X).shape == (60,)
    assert hasattr(ours, "feature_names_in_") == isinstance(X, pd.DataFrame)


@pytest.mark.one_by_default
@pytest.mark.parametrize("loss", ["squared_error", "absolute_error", "huber", "quantile"])
def test_regression(loss):
    X, y = linear_data(90)
    reg = exact(MultimodalRegressor, loss=loss)
    grid = {"lr": [0.003, 0.01], "weight_decay": [0.0, 0.1]}
    metrics = ["r2", "neg_mean_absolute_error"]
    search = FusionSearchCV(reg, grid, cv=3, scoring=metrics, refit="r2")
    ours = assert_same_results(search, X, y, atol=1e-3)
    assert ours.stacks_["trained"] == ["together"]
    loaded = pickle.loads(pickle.dumps(ours))
    np.testing.assert_array_equal(loaded.predict(X), ours.predict(X))


@every_estimator
def test_several_outputs(cls):
    X, y = make_data(60, n_classes=4)
    Y = np.column_stack([y % 2, y // 2])
    assert_same_results(FusionSearchCV(exact(cls), {"lr": [0.01, 0.05]}, cv=2), X, Y)


@pytest.mark.slow
def test_distributions():
    X, y = make_data(60)
    space = {"lr": scipy.stats.loguniform(1e-3, 1e-1), "dropout": [0.0]}
    clf = exact()
    ours = FusionSearchCV(clf, space, n_iter=4, cv=2, random_state=3).fit(X, y)
    theirs = RandomizedSearchCV(clf, space, n_iter=4, cv=2, random_state=3).fit(X, y)
    assert ours.cv_results_["params"] == list(ParameterSampler(space, 4, random_state=3))
    np.testing.assert_allclose(ours.cv_results_["mean_test_score"], theirs.cv_results_["mean_test_score"])


@pytest.mark.filterwarnings("ignore:the folds of the cross-validation are divided by groups")
@pytest.mark.one_by_default
@pytest.mark.parametrize("routing", [False, True])
def test_weights_and_groups_go_where_grid_search_sends_them(routing):
    X, y = make_data(60)
    rng = np.random.RandomState(0)
    weight, groups = rng.rand(60), np.arange(60) // 5
    with config_context(enable_metadata_routing=routing):
        clf, scoring = exact(n_members=2), "neg_log_loss"
        if routing:
            clf.set_fit_request(sample_weight=True, groups=True)
            scoring = make_scorer(accuracy_score).set_score_request(sample_weight=True)
        pipe = make_pipeline(FunctionTransformer(), clf)
        prefix = "" if routing else "multimodalclassifier__"
        search = FusionSearchCV(pipe, {"multimodalclassifier__lr": [0.01, 0.05]}, cv=GroupKFold(3), scoring=scoring)
        ours = assert_same_results(search, X, y, groups=groups, **{f"{prefix}sample_weight": weight})
    assert ours.stacks_["trained"] == ["together"]


def test_the_estimator_takes_weights_without_a_pipeline():
    X, y = make_data(60)
    weight = np.random.RandomState(0).rand(60)
    assert_same_results(FusionSearchCV(exact(), {"lr": [0.01, 0.05]}, cv=2), X, y, sample_weight=weight)


# -- pipelines ----------------------------------------------------------------------------------------------------


class Counting(TransformerMixin, BaseEstimator):
    """Scales one modality, and counts its fits and what it transforms."""

    fits, transforms = 0, 0

    def __init__(self, factor=1.0):
        self.factor = factor

    def fit(self, X, y=None):
        Counting.fits += 1
        self.mean_ = X["vector"].mean(axis=0)
        return self

    def transform(self, X):
        Counting.transforms += 1
        return Blocks(vector=self.factor * (X["vector"] - self.mean_), sequence=X["sequence"])


@pytest.mark.slow
def test_transformers_are_fitted_once_for_each_fold_and_setting():
    X, y = make_data(60)
    pipe = make_pipeline(Counting(), exact(scale_inputs=False))
    grid = {"counting__factor": [0.1, 1.0], "multimodalclassifier__lr": [0.001, 0.01, 0.05]}
    Counting.fits = Counting.transforms = 0
    search = FusionSearchCV(pipe, grid, cv=3, refit=False, scoring="neg_log_loss").fit(X, y)
    assert Counting.fits == 3 * 2
    assert Counting.transforms == 2 * 3 * 2  # training and test rows
    theirs = GridSearchCV(pipe, grid, cv=3, refit=False, scoring="neg_log_loss").fit(X, y)
    for key in ("mean_test_score", "rank_test_score"):
        np.testing.assert_allclose(search.cv_results_[key], theirs.cv_results_[key], rtol=0, atol=1e-4)
    assert search.stacks_["fits"] == [18]


@pytest.mark.slow
def test_transformers_are_fitted_once_where_one_of_several_grids_names_the_default():
    X, y = make_data(60)
    pipe = make_pipeline(Counting(), exact())
    grids = [{"counting__factor": [1.0, 0.1]}, {"multimodalclassifier__lr": [0.01, 0.05]}]
    Counting.fits = 0
    search = FusionSearchCV(pipe, grids, cv=2, refit=False, scoring="neg_log_loss").fit(X, y)
    assert Counting.fits == 2 * 2
    theirs = GridSearchCV(pipe, grids, cv=2, refit=False, scoring="neg_log_loss").fit(X, y)
    np.testing.assert_allclose(
        search.cv_results_["mean_test_score"], theirs.cv_results_["mean_test_score"], rtol=0, atol=1e-4
    )


def looks_inside(estimator, X, y):
    assert estimator.named_steps["counting"].mean_.shape == (6,)
    return estimator.score(X, y)


def test_a_function_that_scores_is_given_the_pipeline():
    X, y = make_data(60)
    pipe = make_pipeline(Counting(), exact())
    assert_same_results(
        FusionSearchCV(pipe, {"multimodalclassifier__lr": [0.01, 0.05]}, cv=2, scoring=looks_inside), X, y
    )


def test_a_transformer_that_fails_fails_its_own_candidates():
    X, y = make_data(60)
    pipe = make_pipeline(Counting(), exact())
    search = FusionSearchCV(pipe, {"counting__factor": [1.0, "two"]}, cv=2, refit=False)
    with pytest.warns((FitFailedWarning, UserWarning)):
        search.fit(X, y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).tolist() == [True, False]


class Refusing(BaseEstimator, TransformerMixin):
    """Refuses to learn from rows one of which begins with 5."""

    def fit(self, X, y=None):
        if (X[:, 0] == 5).any():
            raise ValueError("five")
        self.fitted_ = True
        return self

    def transform(self, X):
        return X


def test_a_transformer_that_fails_on_a_later_fold_fails_that_fold():
    X, y = np.arange(60.0)[:, None], np.arange(60) % 2
    search = FusionSearchCV(make_pipeline(Refusing(), LogisticRegression()), {}, cv=KFold(3), refit=False)
    with pytest.warns((FitFailedWarning, UserWarning)):
        search.fit(X, y)
    splits = [search.cv_results_[f"split{i}_test_score"][0] for i in range(3)]
    assert np.isfinite(splits).tolist() == [True, False, False]


# -- what is not trained together ---------------------------------------------------------------------------------


def alone(estimator, grid, X, y):
    search = FusionSearchCV(estimator, grid, cv=2, scoring="neg_log_loss")
    rows = list(assert_same_results(search, X, y).stacks_)
    assert [row["trained"] for row in rows] == ["alone"]
    return rows[0]["reason"]


def test_what_vmap_cannot_run_says_so():
    X, y = make_data(60)
    clf = exact(encoders={"sequence": "gru"}, max_epochs=2)
    assert "GRU" in alone(clf, {"lr": [0.01, 0.05]}, X, y)


@pytest.mark.slow
def test_an_optimizer_that_mixes_weights_says_so():
    X, y = make_data(60)
    assert "Adafactor" in alone(exact(optimizer="adafactor"), {"lr": [0.01, 0.05]}, X, y)


class Branching(nn.Module):
    """An encoder whose path depends on the data, which torch.vmap cannot follow."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(6, 5)

    def forward(self, x):
        return self.linear(x) if x.mean() > 0 else -self.linear(x)


class SGD(torch.optim.SGD):
    """An optimizer of a user's own with a name of torch's."""


class Upside(MultimodalClassifier):
    """An estimator whose fit is its own."""

    def fit(self, X, y, sample_weight=None, groups=None):
        return super().fit(X, 1 - y, sample_weight, groups)


@pytest.mark.parametrize(
    ("clf", "reason"),
    [
        (exact(optimizer=SGD), "optimizer SGD is not known"),
        (exact(Upside), "Upside has a fit of its own"),
    ],
)
def test_what_a_user_wrote_anew_is_never_passed_over(clf, reason):
    X, y = make_data(60)
    ours = assert_same_results(FusionSearchCV(clf, {"lr": [0.01, 0.05]}, cv=2, scoring="neg_log_loss"), X, y)
    assert reason in ours.stacks_["reason"][0]


def test_weights_are_found_under_another_name_in_a_pipeline():
    X, y = make_data(60)
    weight = np.where(np.arange(60) % 3, 1.0, 9.0)
    with config_context(enable_metadata_routing=True):
        clf = exact().set_fit_request(sample_weight="importance")
        pipe = make_pipeline(FunctionTransformer(), clf)
        scorer = "neg_log_loss"
        search = FusionSearchCV(pipe, {"multimodalclassifier__lr": [0.01, 0.05]}, cv=2, scoring=scorer)
        ours = assert_same_results(search, X, y, importance=weight)
        unweighted = clone(search).fit(X, y)
    assert not np.allclose(ours.cv_results_["mean_test_score"], unweighted.cv_results_["mean_test_score"])


def test_a_module_that_cannot_run_together_says_so():
    X, y = make_data(60)
    clf = exact(encoders={"vector": Branching()}, max_epochs=2)
    assert "data-dependent control flow" in alone(clf, {"lr": [0.01, 0.05]}, X, y)


def test_other_shapes_are_other_loops():
    X, y = make_data(60)
    grid = {"hidden_dim": [8, 16], "lr": [0.01, 0.05]}
    ours = assert_same_results(FusionSearchCV(exact(), grid, cv=2), X, y)
    assert ours.stacks_["trained"] == ["together", "together"]
    assert ours.stacks_["candidates"] == [[0, 1], [2, 3]]


def test_another_kind_of_estimator():
    X, y = make_data(60, ("vector",))
    flat = X["vector"]
    pipe = make_pipeline(StandardScaler(), exact())
    grid = {"multimodalclassifier": [LogisticRegression(), exact(), exact(lr=0.1)]}
    search = FusionSearchCV(pipe, grid, cv=2).fit(flat, y)
    theirs = GridSearchCV(pipe, grid, cv=2).fit(flat, y)
    np.testing.assert_allclose(search.cv_results_["mean_test_score"], theirs.cv_results_["mean_test_score"])
    reasons = {row["reason"]: row["candidates"] for row in search.stacks_}
    assert reasons == {"": [1, 2], "LogisticRegression cannot be stacked": [0]}


@pytest.mark.one_by_default
@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8589934592 bytes."),
        MemoryError(),
    ],
    ids=["GPU", "CPU", "NumPy"],
)
@pytest.mark.parametrize(
    ("most", "stacks"), [(4, [("together", 2), ("together", 4)]), (2, [("together", 2)] * 3), (1, [("alone", 6)])]
)
def test_a_stack_that_runs_out_of_memory_is_trained_in_halves(monkeypatch, error, most, stacks):
    X, y = make_data(60)
    search = FusionSearchCV(exact(), {"lr": [0.01, 0.02, 0.05]}, cv=2, scoring="neg_log_loss")
    whole = clone(search).fit(X, y)
    train = SearchLoop._train

    def out_of_memory(loop):
        if len(loop.learners) > most:
            raise error
        return train(loop)

    monkeypatch.setattr(SearchLoop, "_train", out_of_memory)
    split = search.fit(X, y)
    rows = list(split.stacks_)
    assert [(row["trained"], row["fits"]) for row in rows] == stacks
    assert all("memory" in row["reason"] for row in rows if row["trained"] == "alone")
    np.testing.assert_allclose(
        split.cv_results_["mean_test_score"], whole.cv_results_["mean_test_score"], rtol=0, atol=1e-4
    )


@pytest.mark.parametrize(
    ("most", "stacks"),
    [(5, [("together", 3), ("together", 3)]), (2, [("together", 2), ("together", 2), ("alone", 2)])],
)
def test_too_little_memory_splits_a_stack_and_then_the_folds_of_a_candidate(monkeypatch, most, stacks):
    X, y = make_data(60)
    search = FusionSearchCV(exact(), {"lr": [0.01, 0.05]}, cv=3, scoring="neg_log_loss")
    whole = clone(search).fit(X, y)
    tasks = skmm.model_selection._search_tasks
    monkeypatch.setattr(tasks, "free_memory", lambda device: 100 * most / tasks._MEMORY_SHARE)
    monkeypatch.setattr(tasks, "_member_bytes", lambda learner: 100 / learner.n_members)
    monkeypatch.setattr(tasks, "bytes_of", lambda data: 0)
    split = search.fit(X, y)
    assert whole.stacks_["fits"] == [6]
    assert list(zip(split.stacks_["trained"], split.stacks_["fits"], strict=True)) == stacks
    assert split.stacks_["reason"][-1] == ("" if most == 5 else tasks._TOO_LARGE)
    np.testing.assert_allclose(
        split.cv_results_["mean_test_score"], whole.cv_results_["mean_test_score"], rtol=0, atol=1e-4
    )


def test_a_stack_of_one_candidate_that_runs_out_of_memory_is_trained_in_halves_of_its_folds(monkeypatch):
    X, y = make_data(60)
    search = FusionSearchCV(exact(), {"lr": [0.05]}, cv=4, scoring="neg_log_loss")
    whole = clone(search).fit(X, y)
    train = SearchLoop._train

    def out_of_memory(loop):
        if len(loop.learners) > 2:
            raise MemoryError
        return train(loop)

    monkeypatch.setattr(SearchLoop, "_train", out_of_memory)
    split = search.fit(X, y)
    assert split.stacks_["folds"] == [[0, 1], [2, 3]]
    np.testing.assert_allclose(
        split.cv_results_["mean_test_score"], whole.cv_results_["mean_test_score"], rtol=0, atol=1e-4
    )


# -- failures -----------------------------------------------------------------------------------------------------


@pytest.mark.one_by_default
@pytest.mark.parametrize(
    "drawn",
    [{}, {"dropout": 0.3}, {"modality_dropout": 0.2}, {"augment": {"vector": GaussianNoise(), "*": Mixup()}}],
)
def test_a_loss_that_becomes_nan_leaves_its_neighbours_as_they_are(drawn):
    X, y = make_data(60)
    clf = exact(MultimodalClassifier, optimizer="sgd", scale_inputs=False, **drawn)
    search = FusionSearchCV(clf, {"lr": [0.01, 1e30, 0.05]}, cv=2, scoring="neg_log_loss", error_score=-9.0)
    with pytest.warns(FitFailedWarning, match="loss became"):
        failed = clone(search).fit(X, y)
    fine = search.set_params(param_grid={"lr": [0.01, 0.02, 0.05]}).fit(X, y)
    assert failed.cv_results_["mean_test_score"][1] == -9.0
    for key in ("split0_test_score", "split1_test_score"):
        np.testing.assert_array_equal(failed.cv_results_[key][[0, 2]], fine.cv_results_[key][[0, 2]])


def test_losses_that_are_never_a_number_fail_under_early_stopping_too():
    X, y = make_data(60)
    clf = exact(MultimodalClassifier, optimizer="sgd", scale_inputs=False, early_stopping=True)
    search = FusionSearchCV(clf, {"lr": [1e30, 1e32]}, cv=2, refit=False)
    with pytest.raises(ValueError, match=r"All the 4 fits failed[\s\S]*loss became"):
        search.fit(X, y)


@pytest.mark.parametrize("refit", [True, False])
def test_an_argument_that_fit_does_not_take_is_an_error(refit):
    X, y = make_data(40)
    search = FusionSearchCV(exact(), {"lr": [0.01, 0.05]}, cv=2, refit=refit)
    with pytest.raises(
        ValueError, match=r"All the 4 fits failed[\s\S]*unexpected keyword argument 'sample_weigth'"
    ):
        search.fit(X, y, sample_weigth=np.ones(40))


def test_a_device_that_does_not_exist_fails_its_own_candidates():
    X, y = make_data(40)
    search = FusionSearchCV(exact(), {"device": ["cpu", "nonsense"]}, cv=2, error_score=-9.0)
    with pytest.warns(FitFailedWarning, match="device='nonsense'"):
        search.fit(X, y)
    assert (search.cv_results_["mean_test_score"] == -9.0).tolist() == [False, True]


def test_no_splits():
    X, y = make_data(20)
    with pytest.raises(ValueError, match="gives no splits"):
        FusionSearchCV(exact(), {"lr": [0.1]}, cv=[]).fit(X, y)


def test_errors_are_raised_where_that_is_asked_for():
    X, y = make_data(60)
    clf = exact(optimizer="sgd", scale_inputs=False)
    with pytest.raises(ValueError, match="loss became"):
        FusionSearchCV(clf, {"lr": [0.01, 1e30]}, cv=2, error_score="raise").fit(X, y)


@pytest.mark.parametrize(
    ("grid", "match"),
    [
        ({"lr": [0.1], "rate": [1]}, "Invalid parameter 'rate'"),
        ({"lr": []}, "need to be a non-empty sequence"),
        ([], "no candidates"),
    ],
)
def test_a_grid_that_cannot_be_searched(grid, match):
    X, y = make_data(20)
    with pytest.raises(ValueError, match=match):
        FusionSearchCV(exact(), grid).fit(X, y)


@pytest.mark.parametrize(
    ("params", "match"),
    [({"factor": 1}, "factor"), ({"min_epochs": 0}, "min_epochs"), ({"n_iter": 0}, "n_iter")],
)
def test_parameters_of_the_search_are_checked(params, match):
    X, y = make_data(20)
    with pytest.raises(ValueError, match=match):
        FusionSearchCV(exact(), {"lr": [0.1]}, halving=True, **params).fit(X, y)


def test_every_candidate_failing_is_an_error():
    X, y = make_data(20)
    with pytest.raises(ValueError, match=r"All the 4 fits failed[\s\S]*unknown fusion 'nonsense'"):
        FusionSearchCV(exact(fusion="nonsense"), {"lr": [0.1, 0.2]}, cv=2).fit(X, y)


@pytest.mark.parametrize("error_score", [np.nan, "raise"])
def test_what_is_finished_at_an_interrupt_is_kept(monkeypatch, error_score):
    X, y = make_data(60)
    run = SearchLoop.run

    def interrupted(self, until=None):
        if self.learners[0].estimator.hidden_dim == 16:
            raise KeyboardInterrupt
        run(self, until)

    monkeypatch.setattr(SearchLoop, "run", interrupted)
    grid = {"hidden_dim": [8, 16], "lr": [0.01, 0.05]}
    search = FusionSearchCV(exact(), grid, cv=2, error_score=error_score)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with pytest.raises(KeyboardInterrupt):  # whatever runs the search ends too
            search.fit(X, y)
    assert any("interrupted after 4 of 8 fits" in str(w.message) for w in caught)
    assert np.isfinite(search.cv_results_["mean_test_score"]).tolist() == [True, True, False, False]
    assert search.best_params_["hidden_dim"] == 8
    assert not hasattr(search, "best_estimator_")


def test_an_interrupt_of_a_fit_alone_ends_the_search(monkeypatch):
    X, y = make_data(60)
    epoch, done = MultimodalNet.run_single_epoch, []

    def interrupted(self, iterator, training, **kwargs):
        done.extend([training] if training else [])
        if len(done) == 6 and training:  # in the second fit of four epochs
            raise KeyboardInterrupt
        epoch(self, iterator, training, **kwargs)

    monkeypatch.setattr(MultimodalNet, "run_single_epoch", interrupted)
    search = FusionSearchCV(exact(encoders={"sequence": "gru"}), {"lr": [0.01, 0.05]}, cv=2)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with pytest.raises(KeyboardInterrupt):
            search.fit(X, y)
    assert any("interrupted after 1 of 4 fits" in str(w.message) for w in caught)
    assert len(done) == 6
    assert np.isfinite(search.cv_results_["split0_test_score"]).tolist() == [True, False]


def test_an_interrupt_before_anything_is_finished_is_one(monkeypatch):
    def interrupted(self, until=None):
        raise KeyboardInterrupt

    monkeypatch.setattr(SearchLoop, "run", interrupted)
    X, y = make_data(20)
    with pytest.raises(KeyboardInterrupt):
        FusionSearchCV(exact(), {"lr": [0.01, 0.05]}, cv=2).fit(X, y)


# -- halving ------------------------------------------------------------------------------------------------------


def test_halving_keeps_the_best_and_never_starts_over():
    X, y = make_data(90, noise=1.0)
    grid = {"lr": [1e-6, 1e-5, 0.02, 1e-7]}
    clf = exact(max_epochs=8)
    search = FusionSearchCV(clf, grid, cv=2, scoring="neg_log_loss", halving=True, factor=2, min_epochs=2).fit(X, y)
    found = search.cv_results_
    assert found["n_epochs"][2] == 8
    assert search.best_params_ == {"lr": 0.02}
    assert found["dropped"].tolist() == [True, True, False, True]
    assert sorted(found["n_epochs"]) == [2, 2, 4, 8]
    # the survivor is what it would have been without the others
    whole = FusionSearchCV(clf, grid, cv=2, scoring="neg_log_loss").fit(X, y)
    np.testing.assert_allclose(found["mean_test_score"][2], whole.cv_results_["mean_test_score"][2], atol=1e-4)


@pytest.mark.slow
def test_halving_compares_all_candidates_however_many_processes_there_are():
    X, y = make_data(90, noise=1.0)
    grid = {"lr": [1e-6, 1e-5, 0.02, 1e-7]}
    search = FusionSearchCV(exact(max_epochs=8), grid, cv=2, halving=True, factor=2, min_epochs=2)
    one = clone(search).fit(X, y)
    with parallel_config("threading"):
        two = search.set_params(n_jobs=2, pre_dispatch="2*n_jobs").fit(X, y)
    assert two.cv_results_["n_epochs"].tolist() == one.cv_results_["n_epochs"].tolist()


def test_a_dropped_candidate_has_the_score_it_had():
    X, y = make_data(90, noise=1.0)
    clf = exact(max_epochs=9, lr_schedule=None)
    grid = {"lr": [1e-5, 0.02, 1e-6]}
    halved = FusionSearchCV(clf, grid, cv=2, scoring="neg_log_loss", halving=True, min_epochs=2).fit(X, y)
    short = FusionSearchCV(clf.set_params(max_epochs=2), grid, cv=2, scoring="neg_log_loss").fit(X, y)
    dropped = halved.cv_results_["dropped"]
    assert dropped.tolist() == [True, False, True]
    np.testing.assert_allclose(
        halved.cv_results_["mean_test_score"][dropped], short.cv_results_["mean_test_score"][dropped], atol=1e-4
    )


def test_what_is_dropped_is_scored_once():
    X, y = make_data(60)
    calls = []

    def scorer(estimator, X, y):
        calls.append(estimator.n_iter_)
        return accuracy_score(y, estimator.predict(X))

    grid = {"lr": [1e-5, 0.02, 1e-6, 0.03]}
    FusionSearchCV(
        exact(max_epochs=8), grid, cv=2, scoring=scorer, halving=True, factor=2, min_epochs=2, refit=False
    ).fit(X, y)
    assert sorted(calls) == 8 * [2] + 4 * [4] + 2 * [8]


@pytest.mark.one_by_default
@members
def test_the_best_is_one_that_was_not_dropped(n_members):
    X, y = make_data(60)
    clf = exact(n_members=n_members, early_stopping=True, max_epochs=9)
    search = FusionSearchCV(clf, {"lr": [0.001, 0.01, 0.05, 0.1]}, cv=2, halving=True).fit(X, y)
    assert not search.cv_results_["dropped"][search.best_index_]
    assert search.cv_results_["dropped"].sum() >= 2
    assert search.best_estimator_.n_iter_ > 1


# -- running ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["threading", pytest.param("loky", marks=pytest.mark.slow)])
def test_stacks_side_by_side(backend):
    X, y = make_data(60)
    search = FusionSearchCV(
        exact(), {"fusion": ["concat", "sum"], "lr": [0.01, 0.05]}, cv=2, scoring="neg_log_loss"
    )
    one = clone(search).fit(X, y)
    with parallel_config(backend):
        two = search.set_params(n_jobs=2).fit(X, y)
    assert len(two.stacks_) == 2
    np.testing.assert_allclose(two.cv_results_["mean_test_score"], one.cv_results_["mean_test_score"], atol=1e-4)


def test_the_stack_that_costs_least_is_begun_last(monkeypatch):
    X, y = make_data(60)
    begun = []
    run = Task.run
    monkeypatch.setattr(Task, "run", lambda task: begun.append(task.candidates) or run(task))
    with parallel_config("threading"):
        FusionSearchCV(exact(), {"hidden_dim": [4, 64, 128], "lr": [0.01, 0.05]}, cv=2, n_jobs=2).fit(X, y)
    sizes = [candidates[0].params["hidden_dim"] for candidates in begun]
    assert sizes[2] == 4
    assert sorted(sizes) == [4, 64, 128]


def test_the_caller_is_left_alone():
    X, y = make_data(60)
    torch.manual_seed(1)
    np.random.seed(1)
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), torch.get_num_threads()
    FusionSearchCV(small(max_epochs=2), {"dropout": [0.1, 0.3]}, cv=2).fit(X, y)
    assert torch.equal(torch.get_rng_state(), before[0])
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])
    assert torch.get_num_threads() == before[2]


def test_the_same_seed_gives_the_same_with_dropout():
    X, y = make_data(60)
    clf = small(max_epochs=3, modality_dropout=0.2)
    grid = {"dropout": [0.1, 0.5], "modality_dropout": [0.1, 0.3]}
    search = FusionSearchCV(clf, grid, cv=2, scoring="neg_log_loss")
    a, b = clone(search).fit(X, y), clone(search).fit(X, y)
    assert a.stacks_["trained"] == ["together"]
    np.testing.assert_array_equal(a.cv_results_["mean_test_score"], b.cv_results_["mean_test_score"])
    assert len(set(a.cv_results_["mean_test_score"])) == 4


def test_pickles():
    X, y = make_data(60)
    search = FusionSearchCV(small(max_epochs=2), {"lr": [0.01, 0.05]}, cv=2).fit(X, y)
    loaded = pickle.loads(pickle.dumps(search))
    np.testing.assert_array_equal(loaded.predict_proba(X), search.predict_proba(X))
    assert loaded.stacks_["fits"] == [4]


def test_refit_as_grid_search_does():
    X, y = make_data(60)
    search = FusionSearchCV(exact(), {"lr": [0.001, 0.05]}, cv=2, scoring=LOSSES, refit="accuracy").fit(X, y)
    best = exact(**search.best_params_).fit(X, y)
    np.testing.assert_array_equal(search.predict_proba(X), best.predict_proba(X))
    assert search.score(X, y) == best.score(X, y)
    chosen = search.set_params(refit=lambda results: 0).fit(X, y)
    assert chosen.best_index_ == 0
    none = search.set_params(refit=False).fit(X, y)
    assert not hasattr(none, "predict")


# -- dropout of members -------------------------------------------------------------------------------------------


def test_each_member_has_its_own_rate_of_dropout():
    layer = MembersDropout()
    rates = torch.tensor([0.0, 0.2, 0.7])
    layer.set_rates(rates)
    x = torch.ones(3, 50, 400)
    generators = [torch.Generator().manual_seed(seed) for seed in (0, 1, 1)]
    (bits,) = _random_bits([50 * 400], generators, x.device)
    out = x * layer.factor(bits.reshape(x.shape))
    assert torch.equal(out[0], x[0])
    torch.testing.assert_close((out == 0).float().mean((1, 2)), rates, rtol=0, atol=0.015)
    for member, rate in enumerate(rates):
        kept = out[member][out[member] != 0]
        torch.testing.assert_close(kept, torch.full_like(kept, 1 / (1 - rate)))
    # of two members with one seed the one of the higher rate keeps a part of what the other keeps
    assert not ((out[2] != 0) & (out[1] == 0)).any()


@pytest.mark.parametrize("kinds", [("vector", "vector"), ("sequence", "ragged"), ("sparse", "vector")])
def test_with_dropout_a_candidate_scores_the_same_whatever_it_is_trained_with(kinds):
    X, y = make_data(60, kinds)
    clf = exact(dropout=0.3, fusion="attention", max_epochs=3)
    options = {"cv": 2, "scoring": "neg_log_loss"}
    whole = FusionSearchCV(clf, {"lr": [0.001, 0.01, 0.05], "dropout": [0.3, 0.0]}, **options).fit(X, y)
    part = FusionSearchCV(clf, {"lr": [0.01, 0.05], "dropout": [0.3]}, **options).fit(X, y)
    scores = {
        str(p): s for p, s in zip(*(whole.cv_results_[k] for k in ("params", "mean_test_score")), strict=True)
    }
    for params, score in zip(part.cv_results_["params"], part.cv_results_["mean_test_score"], strict=True):
        assert scores[str(params)] == pytest.approx(score, abs=1e-5)
    assert whole.stacks_["trained"] == ["together"]


class Plain(nn.Module):
    """An encoder of a user's own, whose activation is not a layer."""

    def __init__(self, activation):
        super().__init__()
        self.linear, self.activation = nn.Linear(6, 5), activation

    def forward(self, x):
        return self.activation(self.linear(x))


def test_networks_that_differ_in_an_attribute_are_not_mixed_up():
    X, y = make_data(60, ("vector",))
    grid = [{"encoders": [Plain(torch.relu)], "lr": [0.01, 0.05]}, {"encoders": [Plain(torch.tanh)], "lr": [0.01]}]
    search = FusionSearchCV(exact(), grid, cv=2, scoring="neg_log_loss").fit(X, y)
    theirs = GridSearchCV(exact(), grid, cv=2, scoring="neg_log_loss").fit(X, y)
    np.testing.assert_allclose(
        search.cv_results_["mean_test_score"], theirs.cv_results_["mean_test_score"], rtol=0, atol=1e-4
    )
    assert search.stacks_["candidates"] == [[0, 1], [2]]
