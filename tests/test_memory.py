"""What predictions, stacks and pickles hold: cut and reduced as they come, and nothing twice."""

import copy
import pickle
import warnings

import joblib
import numpy as np
import pytest
import scipy.sparse as sp
import torch
from conftest import make_block, make_data, small
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from skmm import Blocks, MultimodalClassifier, MultimodalRegressor
from skmm.estimators._stack import Stack
from skmm.estimators._targets import ClassTarget, ValueTarget
from skmm.inputs._batches import Batches
from skmm.inputs._columns import Width
from skmm.inputs._scaling import Projection, Scaler
from skmm.speech import SpeechRecognizer
from skmm.training._losses import squared_error

CPU = torch.device("cpu")


class Largest(TorchDispatchMode):
    """How many numbers the largest of torch's results holds."""

    n = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        self.n = max([self.n, *(x.numel() for x in tree_leaves(result) if isinstance(x, torch.Tensor))])
        return result


# -- batches -------------------------------------------------------------------------------------------------------


def with_a_long_one(kind, rng):
    """200 samples, the one in the middle of which holds a hundred times as much as the others."""
    lengths = np.full(200, 5)
    lengths[100] = 3000
    if kind == "sequence":
        return [rng.normal(size=(n, 3)).astype(np.float32) for n in lengths]
    if kind == "tokens":
        return [rng.integers(0, 50, n) for n in lengths]
    columns = [np.sort(rng.choice(4000, n, replace=False)) for n in lengths]
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    values = rng.random(offsets[-1]).astype(np.float32)
    return sp.csr_array((values, np.concatenate(columns), offsets), shape=(200, 4000))


@pytest.mark.one_by_default
@pytest.mark.parametrize("kind", ["sequence", "tokens", "sparse"])
def test_a_long_sample_fills_up_no_others(kind, monkeypatch):
    X = {"a": with_a_long_one(kind, np.random.default_rng(0)), "b": np.arange(400.0).reshape(200, 2)}
    clf = MultimodalClassifier(max_epochs=1, n_members=2, hidden_dim=8, random_state=0).fit(X, np.arange(200) % 2)
    calls = [clf.predict_proba, clf.transform, lambda X: clf.predict_proba_by_head(X)["a"]]
    expected = [call(X) for call in calls]
    monkeypatch.setattr(Batches, "most_numbers", 2**17)
    with Largest() as largest:
        found = [call(X) for call in calls]
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    assert largest.n < 2**18 < 200 * 3000  # of all, filled up


@pytest.mark.parametrize("kind", ["sequence", "tokens", "sparse"])
def test_each_part_holds_no_more_than_is_allowed(kind, monkeypatch):
    block = with_a_long_one(kind, np.random.default_rng(0))
    clf = small(max_epochs=1).fit({"a": block}, np.arange(200) % 2)
    data = clf.inputs_.load(clf.inputs_.check(Blocks(a=block)), torch.float32, CPU)
    (held,) = data.held(Width(members=2, step=10))
    monkeypatch.setattr(Batches, "most_numbers", int(20 * held.min()))
    parts = [part.numpy() for part in data.parts(torch.arange(200), 64, Width(members=2, step=10))]
    assert sorted(np.concatenate(parts)) == list(range(200))
    assert [100] in [part.tolist() for part in parts]
    assert all(len(part) == 1 or held[part].max() * len(part) <= 20 * held.min() for part in parts)


def test_samples_that_are_alike_stay_in_order():
    X, y = make_data(60, kinds=("vector", "sequence"))
    clf = small(max_epochs=1).fit(X, y)
    data = clf.inputs_.load(clf.inputs_.check(X), torch.float32, CPU)
    parts = data.parts(torch.arange(60), 25, Width())
    assert [part.tolist() for part in parts] == [list(range(25)), list(range(25, 50)), list(range(50, 60))]


@pytest.mark.slow
def test_early_stopping_sees_the_same_loss_however_its_batches_are_cut(monkeypatch):
    block = with_a_long_one("sequence", np.random.default_rng(0))
    curves = []
    for numbers in (2**24, 2**12):
        monkeypatch.setattr(Batches, "most_numbers", numbers)
        clf = small(early_stopping=True, max_epochs=3, n_members=2).fit({"a": block}, np.arange(200) % 2)
        curves.append([row["valid_loss"] for row in clf.history_])
    np.testing.assert_allclose(*curves, rtol=1e-5)


def test_ragged_steps_are_scaled_alike_in_parts():
    X = Blocks(a=with_a_long_one("sequence", np.random.default_rng(0)))
    at_once = Scaler.fit(X["a"], X.present["a"], np.ones(200))
    in_parts = Scaler.fit(X["a"], X.present["a"], np.ones(200), at_a_time=100)
    np.testing.assert_allclose(in_parts.mean, at_once.mean, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(in_parts.scale, at_once.scale, rtol=1e-9)


# -- stacks and many columns ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", [ClassTarget(np.arange(3)), ValueTarget(squared_error, 3)])
@pytest.mark.parametrize("mixing", [None, 30.0])
def test_a_stack_fitted_in_parts_is_the_one_fitted_at_once(target, mixing, monkeypatch):
    rng = np.random.default_rng(0)
    labels = rng.integers(3, size=120)
    z = -np.abs(rng.normal(size=(120, 2, 3)) + 2 * np.eye(3)[labels][:, None])
    z[:40, 1] = 0  # a head that is silent
    encoded = torch.from_numpy(labels if target.competing else np.eye(3)[labels])
    at_once = Stack(target, mixing).fit(z, encoded, np.ones(120))
    monkeypatch.setattr("skmm.estimators._stack._AT_A_TIME", 100)
    in_parts = Stack(target, mixing).fit(z, encoded, np.ones(120))
    np.testing.assert_allclose(in_parts.combine(z), at_once.combine(z), atol=1e-3)
    assert in_parts.temperatures.keys() == at_once.temperatures.keys()


@pytest.mark.parametrize("cls", [MultimodalClassifier, MultimodalRegressor])
def test_out_of_fold_predictions_stay_the_same_where_they_are_stored_in_float32(cls, monkeypatch):
    X, y = make_data(90, kinds=("vector", "sequence"))
    X = Blocks({name: X[name] for name in X}, present={"sequence": np.arange(90) % 3 > 0})
    double = small(cls, n_members=3, max_epochs=2, modality_loss=0.5).fit(X, y.astype(int))
    monkeypatch.setattr("skmm.estimators._stack._NUMBERS", 0)
    monkeypatch.setattr("skmm.estimators._stack._AT_A_TIME", 50)
    single = small(cls, n_members=3, max_epochs=2, modality_loss=0.5).fit(X, y.astype(int))
    np.testing.assert_allclose(single.oof_prediction_, double.oof_prediction_, atol=1e-3)


def test_the_directions_of_very_many_columns_are_those_of_the_heaviest():
    X = sp.random_array((40, 500), density=0.05, format="csr", rng=np.random.default_rng(0))
    heavy = np.argsort(-np.asarray(X.multiply(X).sum(axis=0)).ravel(), kind="stable")[:100]
    expected = Projection(sp.csr_array(X[:, np.sort(heavy)]), np.ones(40), 5)
    found = Projection(X, np.ones(40), 5, n_read=100)
    assert found.matrix.shape == (100, 5)
    np.testing.assert_allclose(found.apply(X), expected.apply(sp.csr_array(X[:, np.sort(heavy)])), atol=1e-12)


# -- pickles -------------------------------------------------------------------------------------------------------


def wide(**params):
    X = np.random.default_rng(0).normal(size=(30, 4000)).astype(np.float32)
    y = np.arange(30) % 2
    return MultimodalClassifier(max_epochs=2, n_members=2, random_state=0, **params), X, y


def n_bytes(clf):
    return sum(p.nbytes for p in clf.net_.module_.parameters())


def test_a_pickle_holds_the_weights_once():
    clf, X, y = wide(early_stopping=True)
    clf.fit(X, y)
    assert len(pickle.dumps(clf)) < 1.2 * n_bytes(clf)
    again = pickle.loads(pickle.dumps(clf))
    assert again.net_.module is again.net_.module_
    np.testing.assert_array_equal(again.predict_proba(X), clf.predict_proba(X))


@pytest.mark.parametrize("how", [lambda e: pickle.loads(pickle.dumps(e)), copy.deepcopy], ids=["pickle", "copy"])
@pytest.mark.parametrize("n_members", [1, 2])
def test_what_goes_on_goes_on_as_if_never_pickled(n_members, how):
    X, y = make_data(60, kinds=("vector", "vector"))
    started = small(max_epochs=2, n_members=n_members, warm_start=True).fit(X, y)
    streamed = small(n_members=n_members).partial_fit(X, y)
    for clf, step in ((started, lambda e: e.fit(X, y)), (streamed, lambda e: e.partial_fit(X, y))):
        other = how(clf)
        np.testing.assert_array_equal(step(other).predict_proba(X), step(clf).predict_proba(X))


def test_a_finished_fit_can_still_be_gone_on_with_from_its_pickle():
    X, y = make_data(60, kinds=("vector", "vector"))
    clf = small(max_epochs=2, lr_schedule=None).fit(X, y)
    before = clf.predict_proba(X)
    again = pickle.loads(pickle.dumps(clf))
    assert again.net_.optimizer_ is None
    assert (again.partial_fit(X, y).predict_proba(X) != before).any()
    np.testing.assert_array_equal(clf.predict_proba(X), before)


def test_a_recogniser_holds_its_weights_once():
    rng = np.random.default_rng(0)
    audio = [rng.normal(size=(20, 3)).astype(np.float32) for _ in range(8)]
    fitted = SpeechRecognizer(max_epochs=1, hidden_dim=64, random_state=0).fit({"audio": audio}, ["ab", "ba"] * 4)
    content = pickle.dumps(fitted)
    assert len(content) < 1.3 * n_bytes(fitted)
    for one, other in zip(pickle.loads(content).emissions(audio), fitted.emissions(audio), strict=True):
        np.testing.assert_array_equal(one, other)


# -- memory maps ---------------------------------------------------------------------------------------------------


def test_models_and_samples_may_be_memory_maps(tmp_path):
    rng = np.random.default_rng(0)
    y = np.arange(40) % 2
    X = {
        "vector": make_block("vector", y).astype(np.float32),
        "sequence": make_block("sequence", y).astype(np.float32),
        "image": rng.integers(0, 255, (40, 8, 8, 3), dtype=np.uint8),
        "sparse": sp.random_array((40, 300), density=0.1, format="csr", dtype=np.float32, rng=rng),
    }
    ragged = Blocks({**X, "ragged": [rng.normal(size=(3 + i % 4, 2)).astype(np.float32) for i in range(40)]})
    joblib.dump(ragged, tmp_path / "X")
    mapped = joblib.load(tmp_path / "X", mmap_mode="r")
    clf = small(max_epochs=1, n_members=2).fit(mapped, y)
    joblib.dump(clf, tmp_path / "clf")
    content = [(tmp_path / name).read_bytes() for name in ("X", "clf")]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded = joblib.load(tmp_path / "clf", mmap_mode="r")
        np.testing.assert_array_equal(loaded.predict_proba(mapped), clf.predict_proba(ragged))
        loaded.partial_fit(mapped, y)
    assert content == [(tmp_path / name).read_bytes() for name in ("X", "clf")]
