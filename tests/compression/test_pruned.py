"""What pruning takes away, what it leaves, and what it costs."""

import numpy as np
import pytest
from conftest import ensemble

from skmm import Blocks
from skmm.compression import Pruned
from skmm.compression._members import expected_rise

HALF = {"members": None, "heads": None, "tol": np.inf}


def data(n=120, seed=0):
    """Two modalities that tell of y, and one that does not."""
    rng = np.random.RandomState(seed)
    a, b = rng.randn(n, 4), rng.randn(n, 5, 2)
    y = (a[:, 0] + b[:, 2, 0] + 0.5 * rng.randn(n) > 0).astype(int)
    return Blocks(a=a, b=b), y


X, Y = data()


@pytest.fixture(scope="module")
def opened():
    """A fitted classifier, and what its fit had open."""
    clf = ensemble()
    return clf, clf._fit_open(X, Y)


def pruned(opened, **params):
    return Pruned(opened[0], **{"members": None, "heads": None, **params})._prune(*opened)


def test_fewer_members_predict(opened):
    clf, summary = pruned(opened, members=2, tol=np.inf)
    assert clf.n_members == 2
    assert summary["after"] == [2]
    assert summary["parameters_after"][0] == pytest.approx(summary["parameters_before"][0] / 2, rel=0.01)
    np.testing.assert_array_equal(clf.oof_prediction_, opened[0].oof_prediction_)
    assert np.abs(clf.predict_proba(X) - opened[0].predict_proba(X)).max() < 0.3


def test_what_is_given_stays_as_it_is(opened):
    before = opened[0].predict_proba(X)
    pruned(opened, members=1, heads=["a"], tol=np.inf)
    np.testing.assert_array_equal(opened[0].predict_proba(X), before)
    assert opened[0].n_members == 4


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
    free, _ = pruned(opened, members="auto", tol=np.inf)
    none, summary = pruned(opened, members="auto", tol=0.0)
    assert (free.n_members, none.n_members) == (1, 4)
    assert summary["rise"] == [0.0]
