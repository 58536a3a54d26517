"""MultimodalClassifier and MultimodalRegressor: targets, weights, training options, parameters, forms of input."""

import functools
import warnings
from collections import OrderedDict, UserDict
from types import MappingProxyType

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from conftest import (
    KINDS,
    LEVELS,
    MISSING,
    assert_same,
    ensemble,
    every_estimator,
    linear_data,
    make_block,
    make_data,
    members,
    outputs,
    small,
)
from sklearn.base import clone
from sklearn.metrics import log_loss, mean_absolute_error
from sklearn.model_selection import ParameterGrid
from sklearn.utils.class_weight import compute_class_weight, compute_sample_weight
from skorch.callbacks import Callback, LRScheduler

from skmm import (
    Blocks,
    Encoder,
    Fusion,
    MultimodalClassifier,
    MultimodalRegressor,
    Optimizer,
    list_optimizers,
)
from skmm.training._optimizers import SCHEDULES


class Spy(Callback):
    """Notes the learning rate of every step, and counts what it is told of."""

    def initialize(self):
        self.lr, self.epochs, self.norms = [], 0, []
        return self

    def on_batch_end(self, net, training=False, **kwargs):
        if training:
            self.lr.append(net.optimizer_.param_groups[0]["lr"])

    def on_epoch_end(self, net, **kwargs):
        self.epochs += 1


# -- classifier: targets -------------------------------------------------------------------------------------------


@pytest.mark.one_by_default
@members
@pytest.mark.parametrize("n_classes", [2, 3, 5])
def test_classes(n_classes, n_members):
    X, y = make_data(150, n_classes=n_classes, noise=0.3)
    clf = small(n_members=n_members, max_epochs=25).fit(X[:100], y[:100])
    proba = clf.predict_proba(X[100:])
    assert proba.shape == (50, n_classes)
    np.testing.assert_allclose(proba.sum(axis=1), 1)
    np.testing.assert_array_equal(clf.predict(X[100:]), clf.classes_[proba.argmax(axis=1)])
    assert clf.score(X[100:], y[100:]) > 0.9


@members
def test_decision_function_of_two_classes_is_the_log_odds_of_the_second(n_members):
    X, y = make_data()
    clf = small(n_members=n_members).fit(X, y)
    proba = clf.predict_proba(X)
    np.testing.assert_allclose(clf.decision_function(X), np.log(proba[:, 1] / proba[:, 0]), atol=1e-5)


@members
def test_decision_function_of_three_classes_ranks_as_the_probabilities(n_members):
    X, y = make_data(n_classes=3)
    clf = small(n_members=n_members).fit(X, y)
    logits, proba = clf.decision_function(X), clf.predict_proba(X)
    assert logits.shape == (60, 3)
    differences = np.log(proba) - logits
    np.testing.assert_allclose(differences - differences[:, :1], 0, atol=1e-5)


@pytest.mark.one_by_default
@members
@pytest.mark.parametrize("fusion", ["concat", "late", "mfb"])
def test_multilabel(fusion, n_members):
    X, y = make_data(120, n_classes=4, noise=0.2)
    Y = np.column_stack([y % 2, y // 2, y == 3]).astype(int)
    clf = small(fusion=fusion, n_members=n_members, max_epochs=30).fit(X[:80], Y[:80])
    proba, predicted = clf.predict_proba(X[80:]), clf.predict(X[80:])
    assert proba.shape == predicted.shape == (40, 3)
    np.testing.assert_array_equal(predicted, (proba > 0.5).astype(int))
    np.testing.assert_allclose(clf.decision_function(X[80:]), np.log(proba / (1 - proba)), atol=1e-5)
    assert (predicted == Y[80:]).mean() > 0.9
    np.testing.assert_array_equal(clf.classes_, [0, 1, 2])


def test_multilabel_as_a_sparse_matrix():
    X, y = make_data(n_classes=4)
    Y = np.column_stack([y % 2, y // 2])
    assert_same(small().fit(X, sp.csr_array(Y)), small().fit(X, Y), X)


# -- regressor: targets and losses ---------------------------------------------------------------------------------


@pytest.mark.one_by_default
@members
def test_one_target(n_members):
    X, y = linear_data(300)
    params = {"max_epochs": 25, "dropout": 0.0, "modality_loss": 0, "n_members": n_members}
    reg = small(MultimodalRegressor, **params).fit(X[:250], y[:250])
    assert reg.predict(X).shape == (300,)
    assert reg.score(X[250:], y[250:]) > 0.9


@pytest.mark.one_by_default
@members
def test_many_targets(n_members):
    X, y = linear_data(300)
    Y = np.column_stack([y, 1000 * X["table"][:, 1], 1e-4 * y])
    params = {"max_epochs": 25, "dropout": 0.0, "modality_loss": 0, "n_members": n_members}
    reg = small(MultimodalRegressor, **params).fit(X[:250], Y[:250])
    assert reg.predict(X).shape == (300, 3)
    # each target counts alike, whatever its unit
    for column in range(3):
        assert np.corrcoef(reg.predict(X[250:])[:, column], Y[250:, column])[0, 1] > 0.9


# Training without chance: all samples in one batch, since values decide the order in which samples are drawn.
SIDE_BY_SIDE = Fusion("concat", n_layers=0)  # what the encoders give, as it is
NO_CHANCE = {"batch_size": 150, "dropout": 0.0, "encoders": {"table": Encoder("mlp", input_dropout=0.0)}}


@pytest.mark.parametrize("loss", ["squared_error", "absolute_error", "huber", "quantile"])
def test_units_of_the_target_mean_nothing(loss):
    X, y = linear_data()
    params = {"loss": loss, "max_epochs": 5, **NO_CHANCE}
    plain = small(MultimodalRegressor, **params).fit(X, y).predict(X)
    scaled = small(MultimodalRegressor, **params).fit(X, 1000 * y - 7).predict(X)
    np.testing.assert_allclose((scaled + 7) / 1000, plain, rtol=1e-4)


def no_signal(n=1000, seed=0):
    """A target of a skewed distribution, of which the inputs say nothing: the best guess is a constant."""
    rng = np.random.RandomState(seed)
    return Blocks(a=np.zeros((n, 2)) + rng.randn(n, 2) * 1e-9), rng.exponential(size=n)


# The features are worth nothing, so only the biases learn: the constant that makes the loss least.
CONSTANT = {"max_epochs": 10, "dropout": 0.0, "hidden_dim": 4, "lr": 0.01, "scale_inputs": False}


@pytest.mark.parametrize("alpha", [0.1, 0.5, 0.8, 0.95])
def test_quantile_has_its_share_below(alpha):
    X, y = no_signal()
    reg = small(MultimodalRegressor, loss="quantile", alpha=alpha, **CONSTANT).fit(X, y)
    assert np.mean(y <= reg.predict(X)) == pytest.approx(alpha, abs=0.03)


@pytest.mark.slow
def test_quantile_depends_on_the_input():
    rng = np.random.RandomState(0)
    x = rng.uniform(-1, 1, size=(1500, 1))
    y = 2 * x[:, 0] + np.exp(x[:, 0]) * rng.randn(1500)
    params = {"loss": "quantile", "alpha": 0.9, "max_epochs": 25, "dropout": 0.0}
    reg = small(MultimodalRegressor, encoders=Encoder("mlp", input_dropout=0.0), **params).fit({"a": x}, y)
    below = y <= reg.predict({"a": x})
    for part in (x[:, 0] < 0, x[:, 0] >= 0):
        assert below[part].mean() == pytest.approx(0.9, abs=0.04)


@pytest.mark.slow
def test_constants_that_the_losses_choose():
    X, y = no_signal()
    predicted = {
        loss: np.mean(small(MultimodalRegressor, loss=loss, epsilon=0.5, **CONSTANT).fit(X, y).predict(X))
        for loss in ("squared_error", "absolute_error", "huber")
    }
    assert predicted["squared_error"] == pytest.approx(y.mean(), abs=0.05)
    assert predicted["absolute_error"] == pytest.approx(np.median(y), abs=0.05)
    assert np.median(y) + 0.03 < predicted["huber"] < y.mean() - 0.03


def test_huber_of_a_large_epsilon_is_the_squared_error():
    X, y = linear_data()
    huge = small(MultimodalRegressor, loss="huber", epsilon=1e6, lr=0.001, optimizer="sgd").fit(X, y)
    squared = small(MultimodalRegressor, loss="squared_error", lr=0.0005, optimizer="sgd").fit(X, y)
    # half of the square at twice the rate; the pull towards zero is of no size here
    np.testing.assert_allclose(huge.predict(X), squared.predict(X), rtol=1e-3)


# -- weights -------------------------------------------------------------------------------------------------------


@members
@every_estimator
def test_weight_2_is_a_repeated_row_and_weight_0_an_absent_one(cls, n_members):
    X, y = make_data(kinds=["vector", "ragged", "sparse"])
    weights = np.resize([2, 0, 1, 1, 3], 60)
    repeated = np.repeat(np.arange(60), weights)
    weighted = small(cls, n_members=n_members).fit(X, y, sample_weight=weights)
    assert_same(weighted, small(cls, n_members=n_members).fit(X[repeated], y[repeated]), X)


@members
@every_estimator
def test_data_stated_in_another_way_are_the_same_to_the_last_bit(cls, n_members):
    rng = np.random.RandomState(42)
    X, y = Blocks(a=rng.rand(15, 30)), np.arange(15) % 3
    weights = np.resize([2, 0, 3, 1], 15)
    repeated = rng.permutation(np.repeat(np.arange(15), weights))
    params = {"n_members": n_members, "max_epochs": 5}
    weighted = small(cls, **params).fit(X, y, sample_weight=weights)
    other = small(cls, **params).fit(X[repeated], y[repeated])
    np.testing.assert_array_equal(outputs(other, X), outputs(weighted, X))


@every_estimator
def test_a_factor_on_all_weights_means_nothing(cls):
    X, y = make_data()
    weights = np.random.RandomState(0).uniform(0.5, 2, size=60)
    assert_same(
        small(cls).fit(X, y, sample_weight=weights),
        small(cls).fit(X, y, sample_weight=1000 * weights),
        X,
        atol=1e-4,
    )
    assert_same(small(cls).fit(X, y, sample_weight=np.full(60, 3.0)), small(cls).fit(X, y), X)


def test_weights_move_the_prediction():
    X, _ = no_signal(400)
    y = np.arange(400) % 2
    weights = np.where(y == 1, 3.0, 1.0)
    clf = small(**CONSTANT).fit(X, y, sample_weight=weights)
    assert clf.predict_proba(X)[:, 1].mean() == pytest.approx(0.75, abs=0.05)


@members
def test_class_weight_is_a_weight_of_each_sample(n_members):
    X, y = make_data(n_classes=3)
    named = np.array(["a", "b", "c"])[y]
    given = small(class_weight={"a": 1, "b": 4, "c": 0.5}, n_members=n_members).fit(X, named)
    weights = np.array([1, 4, 0.5])[y]
    assert_same(given, small(n_members=n_members).fit(X, named, sample_weight=weights), X)


@members
def test_balanced_class_weight(n_members):
    X, y = make_data(60)
    y[10:40] = 0
    weights = compute_class_weight("balanced", classes=np.unique(y), y=y)
    balanced = small(class_weight="balanced", n_members=n_members).fit(X, y)
    assert_same(balanced, small(n_members=n_members).fit(X, y, sample_weight=weights[y]), X, atol=1e-5)


@pytest.mark.parametrize("class_weight", ["balanced", [{0: 1, 1: 5}, {0: 2, 1: 1}]])
def test_class_weight_of_several_labels(class_weight):
    X, y = make_data(60)
    labels = np.column_stack([y, np.arange(60) % 5 == 0]).astype(int)
    weights = compute_sample_weight(class_weight, labels)
    given = small(class_weight=class_weight).fit(X, labels)
    assert_same(given, small().fit(X, labels, sample_weight=weights), X, atol=1e-5)


def test_labels_are_named_by_the_columns_of_y():
    X, y = make_data(60)
    labels = pd.DataFrame({"happy": y, "loud": 1 - y})
    clf = ensemble().fit(X, labels)
    assert clf.classes_.tolist() == ["happy", "loud"]
    assert clf.stack_weights_.columns == ["head", "happy", "loud"]
    np.testing.assert_array_equal(clf.predict(X), ensemble().fit(X, labels.to_numpy()).predict(X))
    again = small(warm_start=True, max_epochs=1).fit(X, labels)
    with pytest.raises(
        ValueError, match=r"columns \['loud', 'happy'\], in the first fit they were \['happy', 'loud'\]"
    ):
        again.fit(X, labels[["loud", "happy"]])


def test_a_stack_that_listens_to_nobody_says_so():
    X = Blocks(a=np.random.RandomState(3).randn(80, 3), b=np.random.RandomState(103).randn(80, 3))
    y = np.random.RandomState(3).permutation(np.arange(80) % 2)
    with pytest.warns(UserWarning, match="each of the 3 heads and experts the weight 0"):
        clf = ensemble(max_epochs=30).fit(X, y)
    assert max(clf.stack_weights_["weight"]) == 0
    assert np.ptp(clf.predict_proba(X)[:, 1]) < 0.2


# -- training on ---------------------------------------------------------------------------------------------------


@members
@every_estimator
def test_partial_fit_learns_from_a_stream(cls, n_members):
    X, y = make_data(300, noise=0.3)
    estimator = small(cls, n_members=n_members)
    options = {"classes": [0, 1]} if cls is MultimodalClassifier else {}
    for start in range(0, 240, 24):
        assert estimator.partial_fit(X[start : start + 24], y[start : start + 24], **options) is estimator
        options = {}
    assert estimator.n_iter_ == len(estimator.loss_curve_) == 10
    assert estimator.loss_curve_[-1] < 0.5 * estimator.loss_curve_[0]
    assert estimator.score(X[240:], y[240:]) > 0.7


def test_partial_fit_starts_with_any_of_its_classes():
    X, y = make_data(60, n_classes=3)
    clf = small().partial_fit(X[y < 2], y[y < 2], classes=[0, 1, 2])
    assert clf.predict_proba(X).shape == (60, 3)
    clf.partial_fit(X[y == 2], y[y == 2])
    assert clf.n_iter_ == 2


def test_a_part_of_one_class_alone_can_start():
    X, y = make_data(60)
    clf = small().partial_fit(X[y == 1], y[y == 1], classes=[0, 1])
    np.testing.assert_array_equal(clf.predict(X), 1)


@every_estimator
def test_partial_fit_is_not_there_with_early_stopping(cls):
    assert not hasattr(small(cls, early_stopping=True), "partial_fit")
    assert hasattr(small(cls), "partial_fit")


@members
@every_estimator
def test_warm_start_goes_on(cls, n_members):
    X, y = make_data()
    params = {"n_members": n_members, "dropout": 0.0, "lr_schedule": None, "batch_size": 60}
    halves = small(cls, max_epochs=5, warm_start=True, **params).fit(X, y)
    assert halves.n_iter_ == 5
    halves.fit(X, y)
    assert halves.n_iter_ == 10
    # with all samples in one batch, no dropout and no schedule, two halves are a whole
    whole = small(cls, max_epochs=10, **params).fit(X, y)
    np.testing.assert_allclose(halves.loss_curve_, whole.loss_curve_, rtol=1e-3)
    assert_same(halves, whole, X, atol=1e-3)


@every_estimator
def test_without_warm_start_a_fit_starts_over(cls):
    X, y = make_data()
    estimator = small(cls, max_epochs=3).fit(X, y)
    first = list(estimator.loss_curve_)
    assert estimator.fit(X, y).loss_curve_ == first


def test_a_new_fit_takes_new_modalities():
    X, y = make_data(kinds=["vector", "sequence"])
    other, labels = make_data(kinds=["image", "sparse"], n_classes=3)
    clf = small().fit(X, y).fit(other, labels)
    assert list(clf.modalities_) == ["image", "sparse"]
    assert_same(clf, small().fit(other, labels), other)


def half_noise():
    """Data of which more is learned by heart than there is to learn, so that the validation loss turns."""
    rng = np.random.RandomState(0)
    X = Blocks(a=rng.randn(200, 20))
    return X, np.where(rng.rand(200) < 0.4, rng.randint(2, size=200), X["a"][:, 0] > 0).astype(int)


EARLY = {"early_stopping": True, "validation_fraction": 0.3, "n_iter_no_change": 5, "lr_schedule": None}


@every_estimator
def test_early_stopping_keeps_the_best_weights(cls):
    X, y = half_noise()
    stopped = small(cls, **EARLY, dropout=0.0, max_epochs=60).fit(X, y)
    valid = stopped.history_[:, "valid_loss"]
    assert stopped.n_iter_ == len(stopped.loss_curve_) == len(valid) < 60
    best = int(np.argmin(valid)) + 1
    # training that ends at the best epoch leaves the same network
    shorter = clone(stopped).set_params(max_epochs=best).fit(X, y)
    assert shorter.history_[:, "valid_loss"] == valid[:best]
    assert_same(stopped, shorter, X)


@every_estimator
def test_early_stopping_of_several_members_ends_when_the_last_has_stopped(cls):
    X, y = half_noise()
    estimator = small(cls, **EARLY, dropout=0.0, max_epochs=60, n_members=3).fit(X, y)
    assert 5 < estimator.n_iter_ < 60


@every_estimator
def test_early_stopping_ends_when_nothing_improves_enough(cls):
    X, y = make_data()
    estimator = small(cls, early_stopping=True, tol=100.0, n_iter_no_change=3, max_epochs=50).fit(X, y)
    assert estimator.n_iter_ == 4  # the first is the best, and three more are waited for


# -- options of training -------------------------------------------------------------------------------------------


def test_clip_grad_norm_limits_each_step():
    X, y = make_data()
    params = {
        "optimizer": "sgd",
        "lr": 1.0,
        "lr_schedule": None,
        "weight_decay": 0,
        "batch_size": 60,
        "max_epochs": 1,
    }
    start = weights(small(**{**params, "lr": 1e-30}).fit(X, y))
    free = weights(small(**params).fit(X, y))
    clipped = weights(small(clip_grad_norm=1e-3, **params).fit(X, y))
    assert np.linalg.norm(free - start) > 0.1
    # one step of rate 1 is the gradient itself
    assert np.linalg.norm(clipped - start) == pytest.approx(1e-3, rel=1e-3)


def weights(estimator):
    return np.concatenate([p.detach().numpy().ravel() for p in estimator.net_.module_.parameters()])


@pytest.mark.parametrize("schedule", [None, *SCHEDULES])
def test_lr_schedule(schedule):
    X, y = make_data(40)
    spy = Spy()
    params = {"lr": 0.1, "lr_schedule": schedule, "batch_size": 4, "max_epochs": 12}
    small(callbacks=[spy], **params).fit(X, y)
    lr = np.array(spy.lr)
    assert len(lr) == 120
    done = np.arange(120) / 120
    expected = {
        None: np.full(120, 0.1),
        "constant": np.full(120, 0.1),
        "linear": 0.1 * (1 - done),
        "step": np.repeat([0.1, 0.01, 0.001], 40),
        "exponential": 0.1 * 0.01**done,
    }
    if schedule in expected:
        np.testing.assert_allclose(lr, expected[schedule])
    else:
        # up over the first twentieth, then half a cosine down to nothing
        assert (np.diff(lr[:7]) > 0).all()
        assert lr[6] == pytest.approx(0.1)
        assert (np.diff(lr[6:]) < 0).all()
        assert lr[6 + 57] == pytest.approx(0.05)
        assert lr[-1] < 1e-4


def test_callbacks_are_handed_to_skorch():
    X, y = make_data()
    spy = Spy()
    clf = small(callbacks=[spy, ("named", LRScheduler("StepLR", step_size=5, gamma=0.1))], lr_schedule=None)
    clf.fit(X, y)
    assert spy.epochs == 15
    np.testing.assert_allclose(spy.lr[::2], np.repeat([0.02, 0.002, 0.0002], 5), rtol=1e-6)


def test_verbose_1_shows_a_bar_on_stderr(capsys):
    X, y = make_data()
    small(verbose=1).fit(X, y)
    shown = capsys.readouterr()
    assert "/15" in shown.err
    assert "epoch" in shown.err
    assert shown.out == ""


def test_verbose_2_prints_a_line_for_each_epoch(capsys):
    X, y = make_data()
    small(verbose=2, max_epochs=3).fit(X, y)
    lines = capsys.readouterr().out.strip().splitlines()
    assert "train_loss" in lines[0]
    assert len(lines) == 5  # the head, a rule and the epochs


def test_verbose_0_is_silent(capsys):
    X, y = make_data()
    small().fit(X, y)
    assert capsys.readouterr() == ("", "")


@members
@every_estimator
def test_what_a_fit_leaves(cls, n_members):
    X, y = make_data(kinds=["vector", "sequence", "ragged"])
    estimator = small(cls, n_members=n_members, max_epochs=4).fit(X, y)
    assert estimator.n_iter_ == len(estimator.history_) == len(estimator.loss_curve_) == 4
    assert estimator.loss_curve_ == list(estimator.history_[:, "train_loss"])
    assert estimator.loss_curve_[-1] < estimator.loss_curve_[0]
    assert list(estimator.modalities_) == ["vector", "sequence", "ragged"]
    assert [info.kind for info in estimator.modalities_.values()] == ["vector", "sequence", "sequence"]
    assert [info.shape for info in estimator.modalities_.values()] == [(6,), (3,), (3,)]
    assert estimator.modalities_["sequence"].length == 7
    assert estimator.modalities_["ragged"].length is None
    assert estimator.n_features_in_ == 6 + 7 * 3 + 3
    assert not hasattr(estimator, "feature_names_in_")


def test_feature_names_of_a_frame_and_none_after_blocks():
    x, y = make_block("vector", np.arange(40) % 2), np.arange(40) % 2
    frame = pd.DataFrame(x, columns=list("abcdef"))
    clf = small(modalities={"left": ["a", "c"], "right": slice(3, 6)}).fit(frame, y)
    np.testing.assert_array_equal(clf.feature_names_in_, list("abcdef"))
    assert clf.n_features_in_ == 6
    with pytest.raises(ValueError, match="feature names"):
        clf.predict(frame[list("fedcba")])
    clf.fit({"left": x}, y)
    assert not hasattr(clf, "feature_names_in_")


# -- transform -----------------------------------------------------------------------------------------------------


@members
@every_estimator
def test_transform_is_named_and_can_be_a_frame(cls, n_members):
    X, y = make_data()
    estimator = small(cls, n_members=n_members).fit(X, y)
    fused = estimator.transform(X)
    assert fused.shape == (60, 16 * n_members)
    names = estimator.get_feature_names_out()
    np.testing.assert_array_equal(names, [f"{cls.__name__.lower()}{i}" for i in range(fused.shape[1])])
    estimator.set_output(transform="pandas")
    frame = estimator.transform(X)
    assert list(frame.columns) == list(names)
    np.testing.assert_array_equal(frame.to_numpy(), fused)
    assert estimator.set_output(transform="polars").transform(X).columns == list(names)


def test_fit_transform_is_fit_and_transform():
    X, y = make_data()
    np.testing.assert_array_equal(small().fit_transform(X, y), small().fit(X, y).transform(X))


def test_head_reads_what_transform_gives():
    X, y = make_data(n_classes=3)
    clf = small(modality_loss=0).fit(X, y)
    *_, weight, bias = (p.detach().double().numpy() for p in clf.net_.module_.parameters())
    np.testing.assert_allclose(clf.transform(X) @ weight.T + bias, clf.decision_function(X), atol=1e-5)


# -- scaling and precision -----------------------------------------------------------------------------------------


@every_estimator
def test_units_of_the_features_mean_nothing_where_inputs_are_scaled(cls):
    X, y = make_data(150, kinds=["vector", "sequence", "ragged"])
    factor = np.array([1e-6, 1.0, 1e6, 3.0, 7.0, 50.0])
    moved = Blocks(
        vector=X["vector"] * factor + 7 * factor,
        sequence=X["sequence"] * factor[:3] - factor[:3],
        ragged=[item * factor[:3] + 100 * factor[:3] for item in X["ragged"]],
    )
    params = {**NO_CHANCE, "encoders": {"vector": Encoder("mlp", input_dropout=0.0)}, "max_epochs": 5}
    plain, other = small(cls, **params).fit(X, y), small(cls, **params).fit(moved, y)
    np.testing.assert_allclose(outputs(other, moved), outputs(plain, X), atol=1e-4)


@pytest.mark.parametrize("units", [1e-60, 1e-30, 1e60])
@pytest.mark.parametrize("kind", ["vector", "sequence", "ragged", "sparse"])
def test_units_far_out_of_the_range_of_float32(kind, units):
    X, y = make_data(kinds=[kind])
    block = [item * units for item in X[kind]] if kind == "ragged" else X[kind] * units
    assert small().fit({kind: block}, y).score({kind: block}, y) > 0.9


@pytest.mark.one_by_default
@members
@pytest.mark.parametrize("kind", ["vector", "sequence", "ragged"])
def test_what_is_learned_of_time_stamps_is_their_differences(kind, n_members):
    X, y = make_data(kinds=[kind])
    offset = 1.7e9  # seconds since 1970, of which float32 tells apart those two minutes away from each other
    block = [item + offset for item in X[kind]] if kind == "ragged" else X[kind] + offset
    clf = small(n_members=n_members).fit({kind: block}, y)
    plain = small(n_members=n_members).fit(X, y)
    assert clf.loss_curve_[-1] < 0.3
    np.testing.assert_allclose(clf.predict_proba({kind: block}), plain.predict_proba(X), atol=0.1)


def test_values_are_taken_as_they_are_without_scaling():
    X, y = make_data(kinds=["vector"])
    raw = small(scale_inputs=False).fit(X, y)
    factor = 1e-3
    assert np.abs(raw.predict_proba(Blocks(vector=X["vector"] * factor)) - raw.predict_proba(X)).max() > 0.1
    bare = small(fusion=SIDE_BY_SIDE, encoders="identity", scale_inputs=False, modality_loss=0)
    np.testing.assert_array_equal(bare.fit(X, y).transform(X), X["vector"])


def test_scaled_values_are_standardised():
    X, y = make_data(kinds=["vector"])
    fused = small(fusion=SIDE_BY_SIDE, encoders="identity").fit(X, y).transform(X)
    np.testing.assert_allclose(fused.mean(axis=0), 0, atol=1e-7)
    np.testing.assert_allclose(fused.std(axis=0), 1, atol=1e-6)


def test_a_constant_feature_does_no_harm():
    X, y = make_data(kinds=["vector"])
    with_constant = Blocks(vector=np.column_stack([X["vector"], np.full(60, 1e6)]))
    assert small().fit(with_constant, y).score(with_constant, y) > 0.9


@pytest.mark.one_by_default
@members
@every_estimator
def test_float64_is_predicted_in_float64(cls, n_members):
    X, y = make_data(100, kinds=["vector", "sequence", "sparse"])
    estimator = small(cls, n_members=n_members).fit(X, y)
    together = outputs(estimator, X)
    alone = np.concatenate([outputs(estimator, X[i : i + 1]) for i in range(0, 100, 9)])
    np.testing.assert_allclose(alone, together[::9], rtol=0, atol=1e-13)
    assert estimator.transform(X).dtype == np.float64
    single = Blocks({name: block.astype(np.float32) for name, block in X.items()})
    assert estimator.transform(single).dtype == np.float32
    np.testing.assert_allclose(outputs(estimator, single), together, atol=1e-5)


# -- parameters ----------------------------------------------------------------------------------------------------


def test_names_of_a_grid_reach_inside():
    clf = MultimodalClassifier("mfb", encoders={"text": "mlp", "audio_1": Encoder("gru")}, optimizer="sgd")
    clf.set_params(
        fusion__factor=3,
        optimizer__momentum=0.9,
        encoders__text__hidden_dim=8,
        encoders__audio_1__n_layers=2,
    )
    assert repr(clf.fusion) == "Fusion('mfb', factor=3)"
    assert repr(clf.optimizer) == "Optimizer('sgd', momentum=0.9)"
    assert repr(clf.encoders) == "{'text': Encoder('mlp', hidden_dim=8), 'audio_1': Encoder('gru', n_layers=2)}"
    params = clf.get_params()
    assert params["fusion__factor"] == 3
    assert params["optimizer__momentum"] == 0.9
    assert params["encoders__text__hidden_dim"] == 8
    assert params["encoders__audio_1__n_layers"] == 2


@pytest.mark.parametrize("encoders", [None, {"vector": "mlp"}, {"vector": Encoder("mlp")}, {}])
def test_a_parameter_of_one_encoder(encoders):
    X, y = make_data()
    clf = (
        small(fusion=SIDE_BY_SIDE, encoders=encoders, modality_loss=0)
        .set_params(encoders__vector__hidden_dim=3)
        .fit(X, y)
    )
    assert clf.transform(X).shape == (60, 3 + 16)


@pytest.mark.parametrize("encoders", ["mlp", Encoder("mlp")])
def test_a_parameter_of_one_encoder_for_all(encoders):
    X, y = make_data(kinds=["vector", "sparse"])
    clf = small(fusion=SIDE_BY_SIDE, encoders=encoders).set_params(encoders__hidden_dim=3).fit(X, y)
    assert clf.transform(X).shape == (60, 6)
    with pytest.raises(ValueError, match="give a dict"):
        small(encoders="mlp").set_params(encoders__vector__hidden_dim=3)


def test_the_fusion_itself_and_its_parameter_in_one_grid():
    X, y = make_data()
    clf = small()
    for params in ParameterGrid({"fusion": ["mfb", Fusion("mfh", order=3)], "fusion__factor": [2, 3]}):
        fitted = clone(clf).set_params(**params).fit(X, y)
        assert fitted.get_params()["fusion__factor"] == params["fusion__factor"]
    assert clf.fusion == "concat"


def test_setting_a_parameter_leaves_the_spec_of_another_estimator_alone():
    shared = Fusion("mfb", factor=5)
    first, second = MultimodalClassifier(shared), MultimodalClassifier(shared)
    first.set_params(fusion__factor=2)
    assert second.get_params()["fusion__factor"] == 5
    assert shared.get_params()["factor"] == 5


@every_estimator
def test_clone_has_the_same_parameters(cls):
    estimator = cls(Fusion("mfh", factor=2), encoders={"a": Encoder("gru", hidden_dim=3)}, optimizer="sgd", lr=0.5)
    assert repr(clone(estimator)) == repr(estimator)
    assert clone(estimator).fusion is not estimator.fusion


def test_encoders_by_modality():
    X, y = make_data(kinds=["vector", "sequence", "ragged"])
    encoders = {"sequence": "gru", "ragged": Encoder("transformer", hidden_dim=8, n_heads=2)}
    clf = small(fusion=SIDE_BY_SIDE, encoders=encoders).fit(X, y)
    assert clf.transform(X).shape == (60, 16 + 16 + 8)
    assert clf.score(X, y) > 0.9


class Doubler(torch.nn.Module):
    """An encoder of the user's own, in plain torch."""

    def __init__(self, size=6, out=5):
        super().__init__()
        self.linear = torch.nn.Linear(size, out)

    def forward(self, x):
        return 2 * self.linear(x)


@members
@every_estimator
def test_a_module_of_the_user_as_encoder(cls, n_members):
    X, y = make_data()
    mine = Doubler()
    before = mine.linear.weight.detach().clone()
    estimator = small(cls, SIDE_BY_SIDE, encoders={"vector": mine}, n_members=n_members, max_epochs=40).fit(X, y)
    assert estimator.transform(X).shape == (60, (5 + 16) * n_members)
    assert estimator.score(X, y) > 0.7
    assert torch.equal(mine.linear.weight, before)  # it is a copy that is trained


class MyEncoder(torch.nn.Module):
    """An encoder that keeps the contract of those here."""

    kinds = ("vector",)

    def __init__(self, info, tokens, *, hidden_dim=None, power=2):
        super().__init__()
        self.linear = torch.nn.Linear(info.shape[0], hidden_dim)
        self.power, self.out_dim = power, hidden_dim

    def forward(self, x, mask):
        return self.linear(x).abs() ** self.power, mask


@members
@pytest.mark.parametrize("encoder", [MyEncoder, Encoder(MyEncoder, power=1)])
def test_a_class_of_the_user_as_encoder(encoder, n_members):
    X, y = make_data()
    clf = small(encoders={"vector": encoder}, n_members=n_members).fit(X, y)
    assert clf.score(X, y) > 0.9


class MyFusion(torch.nn.Module):
    """The mean of the vectors, times a number that is learned."""

    level = "feature"

    def __init__(self, dims, *, scale=1.0):
        super().__init__()
        self.names = list(dims)
        self.out_dim = next(iter(dims.values()))
        self.scale = torch.nn.Parameter(torch.tensor([scale]))

    def forward(self, values, present):
        return self.scale * torch.stack([values[name] for name in self.names]).mean(0)


@members
@pytest.mark.parametrize(
    "fusion", [MyFusion, Fusion(MyFusion, scale=2.0), MyFusion({"vector": 16, "sequence": 16})]
)
def test_a_module_of_the_user_as_fusion(fusion, n_members):
    X, y = make_data()
    clf = small(fusion=fusion, n_members=n_members).fit(X, y)
    assert clf.transform(X).shape == (60, 16 * n_members)
    assert clf.score(X, y) > 0.9


# names of torch.optim that cannot train a net like this, with the reason
UNFIT_OPTIMIZERS = {
    "lbfgs": "asks for the loss several times a step",
    "muon": "takes matrices alone, no biases",
}


@pytest.mark.one_by_default
@pytest.mark.parametrize("optimizer", [o for o in list_optimizers() if o not in UNFIT_OPTIMIZERS])
def test_every_optimizer_trains(optimizer):
    X, y = make_data()
    clf = small(optimizer=optimizer, lr="auto", max_epochs=30, batch_size=16).fit(X, y)
    assert clf.loss_curve_[-1] < 0.9 * clf.loss_curve_[0]
    assert clf.score(X, y) > 0.8


@pytest.mark.one_by_default
@pytest.mark.parametrize(
    "optimizer", ["sgd", "adamw", *(pytest.param(name, marks=pytest.mark.slow) for name in ("adam", "rmsprop"))]
)
def test_optimizers_train_several_members(optimizer):
    X, y = make_data()
    clf = small(optimizer=optimizer, lr="auto", max_epochs=30, batch_size=16, n_members=3).fit(X, y)
    assert clf.score(X, y) > 0.8


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, Optimizer(torch.optim.Adam, betas=(0.8, 0.9))])
def test_a_class_as_optimizer(optimizer):
    X, y = make_data()
    assert small(optimizer=optimizer).fit(X, y).score(X, y) > 0.9


def test_optimizer_by_name_and_by_class_are_the_same():
    X, y = make_data()
    by_name = small(optimizer=Optimizer("sgd", momentum=0.5), lr="auto").fit(X, y)
    by_class = small(optimizer=Optimizer(torch.optim.SGD, momentum=0.5), lr="auto").fit(X, y)
    assert by_class.loss_curve_ == by_name.loss_curve_


# -- the network, counted and computed by hand ---------------------------------------------------------------------


def test_a_small_network_has_the_parameters_and_the_losses_of_one_written_in_torch():
    rng = np.random.RandomState(0)
    y = np.arange(80) % 2
    X = Blocks({name: rng.randn(80, 100) + 0.2 * y[:, None] for name in ("text", "audio", "video")})
    params = {
        "fusion": Fusion("sum", hidden_dim=50),
        "encoders": "identity",
        "modality_loss": 0,
        "optimizer": Optimizer("sgd", momentum=0.9),
        "lr_schedule": None,
        "weight_decay": 0.0,
        "scale_inputs": False,
        "batch_size": 80,  # all samples at once, so that their order means nothing
    }
    # a rate so small that no weight changes: the weights that training starts from
    start = small(**params, lr=1e-30, max_epochs=1).fit(X, y)
    initial = [p.detach().clone() for p in start.net_.module_.parameters()]
    assert sum(p.numel() for p in initial) == 15_252

    clf = small(**params, lr=0.1, max_epochs=20).fit(X, y)
    hidden = [torch.nn.Linear(100, 50) for _ in range(3)]
    head = torch.nn.Linear(50, 2)
    parameters = [p for layer in [*hidden, head] for p in layer.parameters()]
    with torch.no_grad():
        for parameter, value in zip(parameters, initial, strict=True):
            parameter.copy_(value)
    optimizer = torch.optim.SGD(parameters, lr=0.1, momentum=0.9)
    inputs = [torch.tensor(block, dtype=torch.float32) for block in X.values()]
    losses = []
    for _ in range(20):
        total = sum(torch.relu(layer(x)) for layer, x in zip(hidden, inputs, strict=True))
        loss = torch.nn.functional.cross_entropy(head(total), torch.as_tensor(y))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    np.testing.assert_allclose(clf.loss_curve_, losses, rtol=1e-4)
    with torch.no_grad():
        total = sum(torch.relu(layer(x)) for layer, x in zip(hidden, inputs, strict=True))
        expected = head(total).softmax(-1)
    np.testing.assert_allclose(clf.predict_proba(X), expected, atol=1e-5)


def test_loss_curve_is_the_log_loss_of_training():
    X, y = make_data(n_classes=3)
    clf = small(dropout=0.0, encoders={"vector": Encoder("mlp", input_dropout=0.0)}, modality_loss=0, batch_size=60)
    frozen = clf.set_params(lr=1e-30, max_epochs=1).fit(X, y)
    assert frozen.loss_curve_[0] == pytest.approx(log_loss(y, frozen.predict_proba(X)), rel=1e-5)


def test_loss_curve_of_a_regressor_is_in_deviations_of_the_target():
    X, y = linear_data()
    reg = small(MultimodalRegressor, loss="absolute_error", modality_loss=0, lr=1e-30)
    reg.set_params(max_epochs=1, **NO_CHANCE).fit(X, y)
    assert reg.loss_curve_[0] == pytest.approx(mean_absolute_error(y, reg.predict(X)) / y.std(), rel=1e-5)


# -- 2-D input and its columns -------------------------------------------------------------------------------------

COLUMNS = [
    {"left": slice(0, 2), "right": slice(2, 6)},
    {"left": [0, 1], "right": range(2, 6)},
    {"left": np.array([0, 1]), "right": (2, 3, 4, 5)},
    {"left": [True, True, False, False, False, False], "right": np.arange(6) >= 2},
    {"left": [-6, -5], "right": slice(-4, None)},
    {"left": slice(None, 2), "right": slice(2, None, 1)},
]
NAMED_COLUMNS = [
    {"left": ["a", "b"], "right": ["c", "d", "e", "f"]},
    {"left": np.array(["a", "b"]), "right": pd.Index(["c", "d", "e", "f"])},
]


def halves():
    y = np.arange(60) % 2
    x = make_block("vector", y)
    return x, y, Blocks(left=x[:, :2], right=x[:, 2:])


@functools.cache
def predicted_of_halves(n_members):
    _, y, X = halves()
    return small(n_members=n_members, max_epochs=3).fit(X, y).predict_proba(X)


@pytest.mark.parametrize(("columns", "n_members"), [*((c, 1) for c in COLUMNS), (COLUMNS[0], 3)], ids=repr)
def test_columns_of_an_array(columns, n_members):
    x, y, _ = halves()
    expected = predicted_of_halves(n_members)
    clf = small(n_members=n_members, max_epochs=3, modalities=columns)
    np.testing.assert_array_equal(clf.fit(x, y).predict_proba(x), expected)
    assert list(clf.modalities_) == ["left", "right"]


@pytest.mark.parametrize("columns", [*COLUMNS, *NAMED_COLUMNS], ids=repr)
def test_columns_of_a_frame(columns):
    x, y, _ = halves()
    expected = predicted_of_halves(1)
    frame = pd.DataFrame(x, columns=list("abcdef"))
    clf = small(max_epochs=3, modalities=columns)
    np.testing.assert_array_equal(clf.fit(frame, y).predict_proba(frame), expected)


def test_one_column_by_its_name():
    x, y, _ = halves()
    frame = pd.DataFrame(x, columns=list("abcdef"))
    clf = small(max_epochs=2, modalities={"one": "c", "rest": ["a", "b"]}).fit(frame, y)
    assert clf.modalities_["one"].shape == (1,)


def test_columns_of_a_sparse_matrix():
    y = np.arange(60) % 2
    x = make_block("sparse", y)
    X = Blocks(left=x[:, :2], right=x[:, 2:])
    expected = small(max_epochs=3).fit(X, y).predict_proba(X)
    clf = small(max_epochs=3, modalities={"left": slice(0, 2), "right": slice(2, 6)}).fit(x, y)
    np.testing.assert_array_equal(clf.predict_proba(x), expected)


@pytest.mark.parametrize(
    ("kinds", "n_members"),
    [
        (["vector"], 1),
        (["vector", "sequence"], 3),
        (["ragged", "vector"], 1),
        (["tokens", "image"], 1),
        (["sparse", "vector"], 1),
        (["sparse", "ragged"], 1),
    ],
)
def test_flat_form_gives_the_same_predictions(kinds, n_members):
    X, y = make_data(kinds=kinds)
    flat, layout = X.to_flat()
    expected = small(n_members=n_members, max_epochs=3).fit(X, y).predict_proba(X)
    clf = small(n_members=n_members, max_epochs=3, modalities=layout).fit(flat, y)
    np.testing.assert_allclose(clf.predict_proba(flat), expected, rtol=0, atol=1e-6)
    assert list(clf.modalities_) == kinds
    assert clf.n_features_in_ == flat.shape[1]


def test_flat_form_with_missing_modalities():
    X, y = make_data(kinds=["vector", "ragged"])
    X = Blocks(X, present={"vector": ~MISSING, "ragged": np.roll(~MISSING, 1)})
    flat, layout = X.to_flat()
    expected = small(max_epochs=3).fit(X, y).predict_proba(X)
    np.testing.assert_allclose(
        small(max_epochs=3, modalities=layout).fit(flat, y).predict_proba(flat), expected, rtol=0, atol=1e-6
    )


class OtherMapping(UserDict):
    """A mapping that is no dict."""


@pytest.mark.parametrize("form", [OrderedDict, MappingProxyType, OtherMapping])
def test_any_mapping_of_arrays(form):
    X, y = make_data()
    mapping = form(dict(X.items()))
    np.testing.assert_array_equal(
        small(max_epochs=2).fit(mapping, y).predict_proba(mapping), small(max_epochs=2).fit(X, y).predict_proba(X)
    )


# -- members and what they leave out -------------------------------------------------------------------------------


def noise_data(n=120):
    rng = np.random.RandomState(0)
    return Blocks(a=rng.randn(n, 30)), np.arange(n) % 2


@pytest.mark.parametrize("stack", [False, True])
def test_out_of_fold_score_is_honest(stack):
    X, y = noise_data()
    clf = small(n_members=4, stack=stack, max_epochs=40, hidden_dim=32).fit(X, y)
    assert clf.score(X, y) > 0.9  # learned by heart
    assert 0.3 < clf.oof_score_ < 0.7  # and of no use
    assert clf.oof_score_ == pytest.approx(np.mean(clf.oof_prediction_.argmax(axis=1) == y))
    assert clf.oof_prediction_.shape == (120, 2)


@pytest.mark.slow
def test_out_of_fold_score_of_a_regressor():
    X, y = linear_data()
    reg = small(MultimodalRegressor, n_members=4, max_epochs=60).fit(X, y)
    assert reg.oof_prediction_.shape == (150,)
    assert reg.oof_score_ > 0.7
    X, y = noise_data()
    assert small(MultimodalRegressor, n_members=4, max_epochs=40).fit(X, y).oof_score_ < 0.2


@pytest.mark.slow
def test_groups_are_left_out_as_a_whole():
    # samples of one group are near copies with one label: only a fold that parts groups could learn the labels
    rng = np.random.RandomState(0)
    group = np.repeat(np.arange(30), 6)
    X = Blocks(a=rng.randn(30, 20)[group] + 0.01 * rng.randn(180, 20))
    y = rng.permutation(np.arange(30) % 2)[group]
    params = {"n_members": 5, "max_epochs": 30}
    assert small(**params).fit(X, y).oof_score_ > 0.9
    assert small(**params).fit(X, y, groups=group).oof_score_ < 0.75


@pytest.mark.filterwarnings("ignore:n_members=. is more than:UserWarning")
def test_a_sample_of_each_class():
    clf = small(n_members=3).fit([[0.0], [1.0]], ["no", "yes"])
    np.testing.assert_array_equal(clf.predict([[0.0], [1.0]]), ["no", "yes"])


def test_one_member_has_no_out_of_fold_score():
    X, y = make_data()
    clf = small(n_members=3).fit(X, y)
    assert hasattr(clf, "oof_score_")
    clf.set_params(n_members=1).fit(X, y)
    assert not hasattr(clf, "oof_score_")


# -- the fusion chosen ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kinds", "chosen"),
    [
        (["sequence", "ragged"], "gated"),
        (["sequence"], "concat"),
        (["sequence", "vector"], "concat"),
        (["vector", "sparse", "image"], "concat"),
    ],
)
def test_auto_says_which_fusion_it_chose(kinds, chosen):
    X, y = make_data(kinds=kinds)
    clf = small(fusion="auto", max_epochs=2).fit(X, y)
    assert repr(clf.fusion_) == f"Fusion({chosen!r})"
    np.testing.assert_array_equal(
        clf.predict_proba(X), small(fusion=chosen, max_epochs=2).fit(X, y).predict_proba(X)
    )
    assert clf.fusion == "auto"


# -- weights inside the network ------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_members", [1, 3])
@pytest.mark.parametrize("fusion", ["attention", "moe", Fusion("late", rule="learned"), "gated"])
def test_gates_are_weights_of_what_a_sample_has(fusion, n_members):
    X, y = make_data(kinds=["vector", "sequence", "ragged"])
    X = Blocks(X, present={"vector": ~MISSING})
    gates = small(fusion=fusion, n_members=n_members, max_epochs=2).fit(X, y).gates(X)
    assert list(gates) == [*X, *(["joint"] if fusion == "moe" else [])]
    weights = np.stack(list(gates.values()))
    assert weights.shape[1] == 60
    assert (weights >= 0).all()
    if fusion == "gated":  # of more than two, each has a gate of its own
        assert (weights[1:] < 1).all()
    else:
        np.testing.assert_allclose(weights.sum(axis=0), 1, atol=1e-6)
    assert not gates["vector"][MISSING].any()


def test_gates_of_two_modalities_are_shares():
    X, y = make_data()
    gates = small(fusion="gated", max_epochs=2).fit(X, y).gates(X)
    np.testing.assert_allclose(gates["vector"] + gates["sequence"], 1, atol=1e-6)


@pytest.mark.parametrize("n_members", [1, 3])
@pytest.mark.parametrize("fusion", ["attention", "crossmodal"])
def test_attention_weights_are_labelled_and_sum_to_one(fusion, n_members):
    X, y = make_data(kinds=["ragged", "sequence", "vector"])
    X = Blocks(X, present={"vector": ~MISSING})
    encoders = {"ragged": "gru", "sequence": "gru"}  # one token per step
    clf = small(fusion=fusion, encoders=encoders, n_members=n_members, max_epochs=2).fit(X, y)
    found = clf.attention_weights(X)
    assert [w.target for w in found] == [name for name in X for _ in range(1 if fusion == "attention" else 2)]
    for weights in found:
        assert weights.columns[0] == (None, 0)
        assert weights.values.shape[0] == 60
        assert weights.values.shape[-1] == len(weights.columns)
        total = weights.values.sum(axis=-1)
        if weights.target == "ragged":
            there = np.arange(total.shape[-1]) < X["ragged"].lengths[:, None]
        else:
            there = np.broadcast_to(X.present[weights.target][:, None], total.shape[::2])
        np.testing.assert_allclose(total, np.broadcast_to(there[:, None], total.shape), atol=1e-6)
        for k, (name, step) in enumerate(weights.columns):
            if name == "vector":
                assert not weights.values[MISSING][..., k].any()
            elif name == "ragged":
                assert not weights.values[X["ragged"].lengths <= step][..., k].any()


@pytest.mark.parametrize("method", ["gates", "attention_weights"])
def test_a_fusion_without_such_weights_has_no_such_method(method):
    clf = MultimodalClassifier("concat")
    assert not hasattr(clf, method)
    with pytest.raises(AttributeError, match=f"no attribute '{method}'") as caught:
        getattr(clf, method)
    assert f"fusion 'concat' has no {method}" in str(caught.value.__cause__)


# -- sparse rows that store nothing --------------------------------------------------------------------------------


@pytest.mark.parametrize("sparse_components", [None, 3], ids=["narrow", "wide"])
@pytest.mark.parametrize(("fusion", "n_members"), [*((name, 1) for name in LEVELS), ("concat", 3), ("late", 3)])
def test_an_empty_sparse_row_alone_is_that_row_in_a_batch(fusion, n_members, sparse_components):
    X, y = make_data(kinds=["sparse", "vector"])
    sparse = X["sparse"].tolil()
    sparse[[4, 9]] = 0
    X = Blocks(sparse=sparse, vector=X["vector"])
    clf = small(fusion=fusion, n_members=n_members, sparse_components=sparse_components, max_epochs=2).fit(X, y)
    together = clf.predict_proba(X)
    for rows in ([4], [9, 4]):
        np.testing.assert_allclose(clf.predict_proba(X[rows]), together[rows], rtol=0, atol=1e-6)


@pytest.mark.parametrize(("sparse_components", "n_members"), [(None, 1), (3, 1), (3, 3)])
@every_estimator
def test_a_sparse_block_that_stores_nothing_does_no_harm(cls, sparse_components, n_members):
    X, y = make_data(kinds=["vector"])
    empty = Blocks(X, sparse=sp.csr_array((60, 6)))
    fitted = small(cls, n_members=n_members, sparse_components=sparse_components).fit(empty, y)
    assert fitted.score(empty, y) > 0.9
    assert np.isfinite(outputs(fitted, empty[:1])).all()


# -- None in the place of a modality or a sample -------------------------------------------------------------------


@every_estimator
def test_none_for_a_modality_in_predict_is_a_modality_that_is_not_named(cls):
    X, y = make_data()
    fitted = small(cls, modality_dropout=0.3, max_epochs=2).fit(X, y)
    for form in (dict, UserDict):
        given = form({"vector": X["vector"], "sequence": None})
        expected = outputs(fitted, {"vector": X["vector"]})
        np.testing.assert_array_equal(outputs(fitted, given), expected)
        np.testing.assert_array_equal(fitted.transform(given), fitted.transform({"vector": X["vector"]}))
    with pytest.raises(ValueError, match="modality"):
        fitted.predict({"vector": None, "sequence": None})


@pytest.mark.parametrize(("kind", "n_members"), [*((kind, 1) for kind in KINDS), ("vector", 3)])
def test_a_sample_given_as_none_lacks_the_modality(kind, n_members):
    kinds = [kind, "vector" if kind != "vector" else "sequence"]
    X, y = make_data(kinds=kinds)
    clf = small(n_members=n_members, max_epochs=2).fit(Blocks(X, present={kind: ~MISSING}), y)
    expected = clf.predict_proba(Blocks(X, present={kind: np.arange(60) > 1}))
    other = {name: X[name][:2] for name in X}
    np.testing.assert_allclose(clf.predict_proba({**other, kind: [None, None]}), expected[:2], rtol=0, atol=1e-6)
    if kind != "sparse":
        given = {name: X[name][:4] for name in X} | {kind: [None, None, *(X[kind][i] for i in (2, 3))]}
        np.testing.assert_allclose(clf.predict_proba(given), expected[:4], rtol=0, atol=1e-6)


def test_a_sample_of_nothing_but_none_is_predicted_as_the_frequencies_of_training():
    X, y = make_data()
    clf = small(max_epochs=2).fit(X, y)
    with pytest.warns(UserWarning, match="1 of 1 samples have no modality at all"):
        proba = clf.predict_proba({"vector": [None], "sequence": [None]})
    np.testing.assert_allclose(proba, [[0.5, 0.5]])


def test_vectors_given_as_a_list_of_arrays_where_the_encoder_reads_vectors():
    X, y = make_data(kinds=["vector", "sequence"])
    gaps = [None if m else row for row, m in zip(X["vector"], MISSING, strict=True)]
    as_list = {"vector": gaps, "sequence": X["sequence"]}
    as_array = Blocks(X, present={"vector": ~MISSING})
    clf = small(encoders={"vector": "mlp"}, max_epochs=3).fit(as_list, y)
    assert clf.modalities_["vector"].kind == "vector"
    assert clf.modalities_["vector"].shape == (6,)
    np.testing.assert_allclose(clf.predict_proba(as_list), clf.predict_proba(as_array), rtol=0, atol=1e-6)


# -- the end of a sample -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fusion", ["concat", "attention", "early"])
def test_what_fills_up_a_sequence_means_nothing(fusion):
    X, y = make_data(kinds=["ragged", "vector"])
    lengths = X["ragged"].lengths
    over_time = np.arange(lengths.max()) < lengths[:, None]
    dense = X["ragged"].pad()
    zeros = Blocks({"ragged": dense, "vector": X["vector"]}, present={"ragged": over_time})
    nan = {"ragged": np.where(over_time[..., None], dense, np.nan), "vector": X["vector"]}
    fitted = small(fusion=fusion, max_epochs=3).fit(X, y)
    for way in (zeros, nan):
        assert_same(small(fusion=fusion, max_epochs=3).fit(way, y), fitted, X)
        np.testing.assert_allclose(fitted.predict_proba(way), fitted.predict_proba(X), rtol=0, atol=1e-6)


@pytest.mark.parametrize("form", [np.asarray, list], ids=["dense", "ragged"])
@pytest.mark.parametrize("fusion", ["early", "concat", "crossmodal"])
def test_a_new_length_of_a_sequence_beside_an_absent_one(fusion, form):
    rng = np.random.RandomState(0)
    X, y = Blocks(a=rng.randn(60, 6, 2), b=rng.randn(60, 6, 3)), np.arange(60) % 2
    clf = small(fusion=fusion, modality_dropout=0.3, max_epochs=2).fit(X, y)
    longer = form(rng.randn(5, 9, 2))
    marked = Blocks({"a": longer, "b": np.zeros((5, 9, 3))}, present={"b": np.zeros(5, dtype=bool)})
    np.testing.assert_allclose(clf.predict_proba({"a": longer}), clf.predict_proba(marked), rtol=0, atol=1e-6)
    assert np.isfinite(clf.predict_proba({"a": longer, "b": [None] * 5})).all()


# -- a modality that is called as the fused head -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "label"), [(["a", "b"], "fused"), (["fused", "a"], "fused_"), (["fused_", "fused"], "fused__")]
)
def test_the_fused_head_takes_a_name_that_no_modality_has(names, label):
    X, y = make_data()
    X = dict(zip(names, X.values(), strict=True))
    clf = small(n_members=3, max_epochs=3).fit(X, y)
    heads = clf.predict_proba_by_head(X)
    assert list(heads) == [label, *names]
    assert [row["head"] for row in clf.stack_weights_] == [label, *names]
    # the modality's head reads it alone, the fused one both
    changed = clf.predict_proba_by_head({names[0]: X[names[0]], names[1]: X[names[1]][::-1].copy()})
    np.testing.assert_allclose(changed[names[0]], heads[names[0]])
    assert np.abs(changed[label] - heads[label]).max() > 1e-3
    reg = small(MultimodalRegressor, max_epochs=1).fit(X, y)
    assert list(reg.predict_by_head(X)) == [label, *names]
    bare = small(modality_loss=0, max_epochs=1).fit(X, y)
    assert list(bare.predict_proba_by_head(X)) == [label]


# -- targets and inputs of any size, held-out parts, optimizers ---------------------------------------------------


@pytest.mark.parametrize(
    "unit", [1e-300, 1e299, *(pytest.param(unit, marks=pytest.mark.slow) for unit in (1e-200, 1e200))]
)
def test_targets_and_inputs_of_any_size_are_learned(unit):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 3))
    y = np.column_stack([x[:, 0], x[:, 1] * unit])
    reg = MultimodalRegressor(n_members=2, max_epochs=40, random_state=0).fit({"x": x}, y)
    found = reg.predict({"x": x}) / [1, unit]
    assert np.corrcoef(found[:, 1], x[:, 1])[0, 1] > 0.9
    assert 0.5 < found[:, 1].std() < 1.5
    assert reg.oof_score_ > 0.5
    scaled = {"dense": x * unit, "sparse": sp.csr_array(x * unit)}
    reg.fit(scaled, y[:, 0])
    assert np.corrcoef(reg.predict(scaled), x[:, 0])[0, 1] > 0.9


def test_a_target_too_large_to_be_predicted():
    with pytest.raises(ValueError, match=r"y, row 3: a value of size 1e\+305 is too large"):
        MultimodalRegressor().fit({"x": np.arange(6.0)[:, None]}, [1.0, 2.0, 3.0, -1e305, 4.0, 5.0])


def test_a_modality_that_only_the_held_out_part_has_counts_as_missing():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 3)), np.arange(40) % 2
    clf = MultimodalClassifier(n_members=1, max_epochs=1, hidden_dim=8, early_stopping=True, random_state=0)
    warned = 0
    for row in range(40):
        rare = np.full((40, 2), np.nan)
        rare[row] = 1.0
        X = Blocks(x=x, rare=rare)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            clf.fit(X, y)
        if any("'rare': early_stopping holds out all samples that have it" in str(w.message) for w in caught):
            warned += 1
            lacking = Blocks(X, present={"rare": np.zeros(40, dtype=bool)})
            np.testing.assert_array_equal(clf.predict_proba(X), clf.predict_proba(lacking))
        assert clf.predict(X).shape == (40,)
        if warned == 1:
            break
    assert warned == 1


def test_early_stopping_names_the_class_that_is_alone():
    X = {"x": np.arange(21.0)[:, None]}
    with pytest.raises(ValueError, match=r"1 of each of the classes \['owl'\]"):
        MultimodalClassifier(early_stopping=True).fit(X, ["cat"] * 10 + ["dog"] * 10 + ["owl"])


def test_an_optimizer_of_one_loss_needs_one_network():
    X, y = {"x": np.arange(20.0)[:, None]}, np.arange(20) % 2
    for wrong in ({"n_members": 2}, {"n_members": 1, "precision": "16"}):
        with pytest.raises(ValueError, match="optimizer='lbfgs'.*needs n_members=1.*such as 'adamw'"):
            MultimodalClassifier(optimizer="lbfgs", **wrong).fit(X, y)
    assert MultimodalClassifier(optimizer="lbfgs", n_members=1, max_epochs=2).fit(X, y).n_iter_ == 2
    with pytest.raises(ValueError, match="optimizer Muon: .*; choose another, such as 'adamw'"):
        MultimodalClassifier(optimizer="muon").fit(X, y)


@pytest.mark.parametrize("cls", [MultimodalClassifier, MultimodalRegressor])
def test_the_order_of_a_frame_means_nothing(cls):
    rng = np.random.default_rng(0)
    words = ["red", "wine", "good", "bad", "sky", "far", "tree"]
    text = [" ".join(rng.choice(words, 4)) for _ in range(40)]
    df = pd.DataFrame({"a": rng.normal(size=40) * 7, "shop": rng.choice(["n", "s"], 40), "text": text})
    y, mixed = (df["a"].to_numpy() + 5 * rng.normal(size=40) > 0).astype(int), rng.permutation(40)
    one, other = (cls(modalities="auto", n_members=2, max_epochs=3, random_state=0) for _ in range(2))
    one.fit(df, y)
    other.fit(df.iloc[mixed], y[mixed])
    np.testing.assert_array_equal(one.predict(df), other.predict(df))
    np.testing.assert_allclose(one.oof_prediction_[mixed], other.oof_prediction_, atol=1e-6)
