"""What pruning takes away, what it leaves, and what it costs."""

import copy
import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import ensemble, make_task, outputs, small
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks
from torch.nn.utils import prune

import skmm
from skmm import Blocks, MultimodalClassifier, MultimodalRegressor
from skmm.compose import ModalityTransformer
from skmm.compression import Pruned
from skmm.compression._members import expected_rise
from skmm.deployment import DeployedModule
from skmm.estimators import _base
from skmm.testing._fusions import QUICK

ALL = {"members": None, "heads": None, "modalities": None, "tol": np.inf, "recovery_epochs": 1}


def data(n=240, seed=0):
    """Two modalities of which the first tells of y, and the second tells nothing."""
    rng = np.random.RandomState(seed)
    told, noise = rng.randn(n, 4), rng.randn(n, 3)
    y = (told[:, 0] + 0.3 * rng.randn(n) > 0).astype(int)
    return Blocks(told=told, noise=noise), y


X, Y = data()


@pytest.fixture(scope="module")
def opened():
    """A fitted classifier, and what its fit had open."""
    clf = ensemble()
    return clf, clf._fit_open(X, Y)


def pruned(opened, samples=None, **params):
    return Pruned(opened[0], **{**ALL, **params})._prune(*opened, samples)


def row(summary, what):
    return next(step for step in summary if step["what"] == what)


def matrices(clf):
    """The matrices of each member."""
    return [p.detach() for p in clf.net_.module_.decayed()[0]]


# -- members -------------------------------------------------------------------------------------------------------


def test_fewer_members_predict_nearly_the_same(opened):
    clf, summary = pruned(opened, members=2)
    assert clf.n_members == 2
    assert row(summary, "members")["parameters_after"] == pytest.approx(
        row(summary, "members")["parameters_before"] / 2, rel=0.01
    )
    np.testing.assert_array_equal(clf.oof_prediction_, opened[0].oof_prediction_)
    assert np.abs(clf.predict_proba(X) - opened[0].predict_proba(X)).max() < 0.3


def test_expected_rise_is_that_of_squared_errors():
    rng = np.random.RandomState(0)
    said, y = rng.randn(4, 50), rng.randn(50)

    def loss(members):
        return ((said[list(members)].mean(axis=0) - y) ** 2).mean()

    pairs = [(i, j) for i in range(4) for j in range(i)]
    gain = np.mean([(loss([i]) + loss([j])) / 2 - loss([i, j]) for i, j in pairs])
    assert expected_rise(gain, 4, 2) == pytest.approx(np.mean([loss(pair) for pair in pairs]) - loss(range(4)))
    assert expected_rise(gain, 4, 1) == pytest.approx(np.mean([loss([k]) for k in range(4)]) - loss(range(4)))


def test_no_more_members_go_than_tol_allows(opened):
    free, _ = pruned(opened, members="auto")
    none, summary = pruned(opened, members="auto", tol=0.0)
    assert (free.n_members, none.n_members) == (1, 4)
    assert summary["rise"] == [0.0]


def test_members_that_only_leave_out_go_for_nothing():
    groups = np.arange(len(Y)) % 5  # fewer than two for each member: half of them predict
    clf = ensemble()
    opened = clf, clf._fit_open(X, Y, groups=groups)
    fewer, summary = pruned(opened, members="auto", tol=0.0)
    assert fewer.n_members == 2
    assert summary["rise"] == [0.0]
    np.testing.assert_allclose(fewer.predict_proba(X), clf.predict_proba(X), atol=1e-6)


# -- heads ---------------------------------------------------------------------------------------------------------


def test_heads_that_are_not_needed_go_and_the_rest_predicts(opened):
    clf, summary = pruned(opened, heads="auto", tol=0.1)
    assert row(summary, "heads")["rise"] <= 0.1
    assert "noise" in row(summary, "heads")["dropped"]
    assert clf.stack_weights_["head"] == clf.oof_heads_.heads == list(clf.predict_proba_by_head(X))
    assert clf.score(X, Y) > 0.85


def test_the_heads_that_are_named_stay(opened):
    clf, _ = pruned(opened, heads=["told"])
    assert clf.stack_weights_["head"] == ["told"]
    with pytest.raises(ValueError, match="fused head was pruned"):
        clf.transform(X)


def test_a_head_that_says_what_another_says_goes_for_nothing():
    twice = Blocks(one=X["told"], two=X["told"])
    experts = {"first": LogisticRegression(), "second": LogisticRegression()}
    clf = ensemble(experts=experts)
    opened = clf, clf._fit_open(twice, Y)
    _, summary = pruned(opened, heads=["one", "two", "fused", "first"], tol=np.inf)
    assert row(summary, "heads")["dropped"] == "second"
    assert abs(row(summary, "heads")["rise"]) < 1e-3
    both, _ = pruned(opened, heads=["one", "two", "fused"], tol=np.inf)
    assert both.experts_ is None


# -- modalities ----------------------------------------------------------------------------------------------------


def test_a_modality_of_noise_goes_and_may_be_absent_then():
    model = Pruned(ensemble(), members=None, heads=None, tol=0.02).fit(X, Y)
    assert row(model.summary_, "modalities")["dropped"] == "noise"
    assert list(model.estimator_.modalities_) == ["told"]
    p = model.predict_proba(X)
    np.testing.assert_array_equal(model.predict_proba({"told": X["told"]}), p)
    np.testing.assert_array_equal(model.predict_proba({"told": X["told"], "noise": X["noise"][::-1] * 9}), p)
    assert model.score(X, Y) > 0.85


def test_a_table_is_read_as_before_without_a_modality():
    table, columns = np.hstack([X["told"], X["noise"]]), {"told": [0, 1, 2, 3], "noise": [4, 5, 6]}
    model = Pruned(ensemble(modalities=columns), **{**ALL, "modalities": ["told"]}).fit(table, Y)
    p = model.predict_proba(table)
    table[:, 4:] = 0
    np.testing.assert_array_equal(model.predict_proba(table), p)
    assert model.n_features_in_ == 7


def test_what_is_needed_stays(opened):
    with pytest.warns(UserWarning, match="modalities=1 raises the out-of-fold loss by"):
        clf, summary = pruned(opened, (X, Y, None, None, None), modalities=["noise"], tol=0.0)
    assert list(clf.modalities_) == ["told", "noise"]
    assert row(summary, "modalities")["after"] == 2


# -- weights and units ---------------------------------------------------------------------------------------------


def test_half_of_the_weights_of_each_matrix_are_zero(opened):
    clf, summary = pruned(opened, weights=0.5)
    for matrix in matrices(clf):
        each = (matrix == 0).flatten(1).sum(1)
        assert (each == round(matrix[0].numel() / 2)).all()
    assert row(summary, "weights")["after"] == 0.5
    assert clf.score(X, Y) > 0.85


def test_half_of_the_units_make_a_network_of_half_the_width(opened):
    clf, summary = pruned(opened, units=0.5)
    assert clf.hidden_dim == clf.net_.made_of_["inherited"]["hidden_dim"] == 4
    assert row(summary, "units")["parameters_after"] < 0.6 * row(summary, "units")["parameters_before"]
    assert clf.score(X, Y) > 0.85


def test_weights_that_would_cost_too_much_stay(opened):
    with pytest.warns(UserWarning, match=r"weights=0\.99 raises the out-of-fold loss"):
        clf, summary = pruned(opened, weights=0.99, tol=0.0)
    assert row(summary, "weights")["after"] == 0.0
    np.testing.assert_array_equal(clf.predict_proba(X), opened[0].predict_proba(X))


def test_units_of_a_layer_that_cannot_be_told_are_refused():
    clf = ensemble(fusion="mcb", max_epochs=1)
    with pytest.raises(ValueError, match=r"units: which parts of the layer 'fusion.sketches.0.bucket'"):
        pruned((clf, clf._fit_open(X, Y)), units=0.5)


def test_one_network_can_be_thinned_too():
    model = Pruned(small(max_epochs=3), weights=0.5, units=0.5, recovery_epochs=1).fit(X, Y)
    assert model.estimator_.hidden_dim == 8
    assert all((p == 0).sum() == round(p.numel() / 2) for p in matrices(model.estimator_))
    assert [step["rise"] for step in model.summary_] == [0.0, 0.0, None, None, 0.0]


# -- all of it -----------------------------------------------------------------------------------------------------


def test_what_is_given_stays_as_it_is(opened):
    before = opened[0].predict_proba(X)
    weights = [p.clone() for p in opened[0].net_.module_.parameters()]
    pruned(opened, members=1, heads=["told"], weights=0.5, units=0.5)
    np.testing.assert_array_equal(opened[0].predict_proba(X), before)
    assert all(map(torch.equal, weights, opened[0].net_.module_.parameters()))
    assert (opened[0].n_members, opened[0].hidden_dim) == (4, 8)


@pytest.mark.parametrize("task", ["multiclass", "multilabel", "two targets"])
def test_every_task_is_pruned_saved_and_loaded(task, tmp_path):
    cls, blocks, y = make_task(task)
    model = Pruned(ensemble(cls, max_epochs=4), members=2, weights=0.3, recovery_epochs=1, tol=9.0)
    said = outputs(model.fit(blocks, y), blocks)
    assert model.estimator_.n_members == 2
    np.testing.assert_array_equal(outputs(pickle.loads(pickle.dumps(model)), blocks), said)
    skmm.save(model, tmp_path / "m.skmm")
    np.testing.assert_array_equal(outputs(skmm.load(tmp_path / "m.skmm"), blocks), said)


@pytest.mark.slow
def test_a_pruned_estimator_is_exported_and_ignores_what_went(tmp_path):
    model = Pruned(ensemble(max_epochs=2), members=1, heads=["told"], modalities=["told"], tol=np.inf).fit(X, Y)
    skmm.to_onnx(model, tmp_path / "m.onnx", check=X)
    file = skmm.load_onnx(tmp_path / "m.onnx")
    np.testing.assert_allclose(file.predict_proba(X), model.predict_proba(X), atol=1e-5)
    np.testing.assert_allclose(file.predict_proba({"told": X["told"]}), model.predict_proba(X), atol=1e-5)


@pytest.mark.slow
def test_a_table_is_exported_without_the_columns_of_what_went(tmp_path):
    table = pd.DataFrame({"a": X["told"][:, 0], "b": X["told"][:, 1], "c": X["noise"][:, 0]})
    read = ModalityTransformer([("one", StandardScaler(), ["a", "b"]), ("two", StandardScaler(), ["c"])])
    model = Pruned(ensemble(max_epochs=2), **{**ALL, "members": 1, "modalities": ["one"]})
    pipe = make_pipeline(read, model).fit(table, Y)
    skmm.to_onnx(pipe, tmp_path / "m.onnx", check=table)
    said = skmm.load_onnx(tmp_path / "m.onnx").predict_proba(table[["a", "b"]].assign(c=0.0))
    np.testing.assert_allclose(said, pipe.predict_proba(table), atol=1e-5)


@pytest.mark.slow
def test_a_modality_that_no_head_reads_is_no_part_of_an_export(opened, tmp_path):
    clf, _ = pruned(opened, members=1, heads=["told"])
    skmm.to_onnx(clf, tmp_path / "m.onnx", check=X)


def test_rows_without_what_the_heads_read_are_predicted_all_the_same(opened):
    told, noise = X["told"].copy(), X["noise"].copy()
    told[:30] = np.nan
    noise[30:60] = np.nan
    lacking = Blocks(told=told, noise=noise)
    clf = ensemble(max_epochs=3)
    fewer, _ = pruned((clf, clf._fit_open(lacking, Y)), heads=["told", "noise"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        alone = fewer.predict_proba(lacking[:30])
    np.testing.assert_allclose(alone, fewer.predict_proba(lacking)[:30], atol=1e-6)
    assert np.ptp(alone[:, 0]) > 1e-3


def test_a_grid_reaches_the_estimator_and_the_pruning():
    grid = {"weights": [0.0, 0.5], "estimator__lr": [0.02]}
    model = Pruned(small(max_epochs=2), recovery_epochs=1)
    found = GridSearchCV(model, grid, cv=2).fit(X[:40], Y[:40])
    assert found.best_params_["estimator__lr"] == 0.02


def test_a_fit_that_fails_leaves_the_model_as_it_was(monkeypatch):
    model = Pruned(small(max_epochs=1)).fit(X, Y)
    before = copy.copy(vars(model))
    monkeypatch.setattr(Pruned, "_prune", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y)
    assert vars(model) == before


def test_ctrl_c_in_the_recovery_is_raised(opened, monkeypatch):
    def interrupted(net, *args, **kwargs):
        net.interrupted_ = True

    monkeypatch.setattr(_base.MultimodalNet, "train", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pruned(opened, weights=0.5)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"members": 0}, "members=0 must be 'auto', None or how many to keep, 1 to the n_members=4"),
        ({"members": 5}, "members=5"),
        ({"members": True}, "members=True"),
        ({"heads": []}, "heads=\\[\\] keeps none"),
        ({"heads": "told"}, "heads='told' must be 'auto', None or a list of the names"),
        ({"modalities": []}, "modalities=\\[\\] keeps none"),
        ({"modalities": ["other"]}, "unknown modality 'other', valid are \\['told', 'noise'\\]"),
        ({"weights": 1.0}, "weights must be a number in \\[0, 1\\), got 1.0"),
        ({"units": -0.1}, "units must be a number in \\[0, 1\\), got -0.1"),
        ({"tol": -1}, "tol must be a number in"),
        ({"recovery_epochs": -1}, "recovery_epochs=-1"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_fitted(params, message, monkeypatch):
    monkeypatch.setattr(MultimodalClassifier, "_fit_open", lambda *args: pytest.fail("it was fitted"))
    with pytest.raises(ValueError, match=message):
        Pruned(ensemble(), **params).fit(X, Y)


def test_heads_that_are_unknown_or_all_of_the_network_are_refused(opened):
    with pytest.raises(ValueError, match="unknown head 'tolld', valid are .*Did you mean 'told'"):
        pruned(opened, heads=["tolld"])
    with pytest.raises(ValueError, match="are chosen among those of a stack"):
        Pruned(small(), heads=["told"]).fit(X, Y)


def test_another_estimator_is_refused():
    with pytest.raises(TypeError, match="must be a MultimodalClassifier or a MultimodalRegressor"):
        Pruned(LogisticRegression()).fit(X, Y)


@parametrize_with_checks(
    [
        Pruned(cls(**{**QUICK, "n_members": 2, "experts": None, "max_epochs": 8, "lr": 0.05}), recovery_epochs=1)
        for cls in (MultimodalClassifier, MultimodalRegressor)
    ]
)
def test_scikit_learn_checks(estimator, check):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "n_members=2 is more than", UserWarning)
        check(estimator)


def test_clones_are_equal():
    model = Pruned(small(), weights=0.5)
    assert str(clone(model)) == str(model)


# -- pruning by torch's own functions ------------------------------------------------------------------------------


def test_stacked_weights_that_torch_pruned_are_refused(opened):
    clf = copy.deepcopy(opened[0])
    prune.l1_unstructured(clf.net_.module_.stacked, "3", amount=0.5)
    for use in (clf.predict, lambda X: DeployedModule(clf), lambda X: skmm.save(clf, "never.skmm")):
        with pytest.raises(RuntimeError, match=r"use skmm.compression.Pruned\(estimator, weights=...\)"):
            use(X)


def test_a_single_network_that_torch_pruned_predicts():
    clf = small(max_epochs=1).fit(X, Y)
    head = clf.net_.module_.single.head
    prune.l1_unstructured(head, "weight", amount=0.5)
    prune.remove(head, "weight")
    zeroed = clf.predict_proba(X)
    assert (head.weight == 0).sum() == head.weight.numel() // 2
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(clf)).predict_proba(X), zeroed)
