"""What a comparison runs: folds of a fusion together, prepared once for all, with the scores of single fits."""

import functools

import numpy as np
import pytest
from conftest import make_data, small
from joblib import parallel_config
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.dummy import DummyClassifier
from sklearn.model_selection import StratifiedKFold, cross_validate
from sklearn.pipeline import make_pipeline
from skorch.callbacks import LRScheduler

from skmm import Blocks
from skmm.estimators._base import MultimodalEstimator
from skmm.estimators._experts import ExpertFolds
from skmm.model_selection import compare_fusions
from skmm.model_selection._search_loop import SearchLoop

X, Y = make_data(60)


def quick(**params):
    return small(**{"max_epochs": 3, "dropout": 0.0, "batch_size": 20, **params})


def compare(fusions, estimator=None, X=X, **params):
    given = {"cv": 3, "baselines": False, "random_state": 0, "scoring": ["neg_log_loss", "accuracy"], **params}
    return compare_fusions(X, Y, estimator=estimator or quick(), fusions=fusions, **given)


def calls_of(monkeypatch, owner, name):
    """Notes each call of a method."""
    noted, plain = [], getattr(owner, name)

    @functools.wraps(plain)  # also says that it is the package's own
    def noting(self, *args, **kwargs):
        noted.append(self)
        return plain(self, *args, **kwargs)

    monkeypatch.setattr(owner, name, noting)
    return noted


@pytest.mark.parametrize("n_members", [1, 2])
def test_scores_are_those_of_fits_one_by_one(n_members, monkeypatch):
    loops = calls_of(monkeypatch, SearchLoop, "run")
    estimator = quick(n_members=n_members)
    found = compare(["concat", "late"], estimator)
    assert len(loops) == 2
    for fusion, scores in found.scores.items():
        model = quick(n_members=n_members, fusion=fusion, random_state=0)
        one_by_one = cross_validate(model, X, Y, cv=StratifiedKFold(3), scoring="neg_log_loss")
        np.testing.assert_allclose(scores["log_loss"], -one_by_one["test_score"], rtol=0, atol=1e-4)


def test_folds_are_prepared_and_experts_fitted_once_for_all_fusions(monkeypatch):
    prepared = calls_of(monkeypatch, MultimodalEstimator, "_prepare")
    fitted = calls_of(monkeypatch, ExpertFolds, "_fit")
    experts = {"majority": DummyClassifier(strategy="prior"), "same": DummyClassifier(strategy="prior")}
    compare(["concat", "late", "sum"], quick(n_members=2, experts=experts))
    assert len(prepared) == 3
    assert len(fitted) == 3 * len(experts)


@pytest.mark.parametrize("params", [{"encoders": {"sequence": "gru"}}, {"callbacks": [("lr", LRScheduler())]}])
def test_what_is_fitted_alone_shares_preparation_and_experts_and_is_the_same_to_the_last_bit(params, monkeypatch):
    experts = {"majority": DummyClassifier(strategy="prior")}
    estimator = quick(n_members=2, experts=experts, max_epochs=2, **params)
    singles = [clone(estimator).set_params(fusion=fusion, random_state=0) for fusion in ("concat", "late")]
    expected = [cross_validate(single, X, Y, cv=3, scoring="neg_log_loss") for single in singles]
    prepared = calls_of(monkeypatch, MultimodalEstimator, "_prepare")
    fitted = calls_of(monkeypatch, ExpertFolds, "_fit")
    found = compare(["concat", "late"], estimator)
    assert (len(prepared), len(fitted)) == (3, 3)
    for scores, alone in zip(found.scores.values(), expected, strict=True):
        np.testing.assert_array_equal(scores["log_loss"], -alone["test_score"])


def test_processes_divide_the_folds_so_that_each_fits_its_experts_once(monkeypatch):
    estimator = quick(n_members=2, experts={"majority": DummyClassifier(strategy="prior")}, max_epochs=1)
    one = compare(["concat", "late"], estimator, cv=4)
    fitted = calls_of(monkeypatch, ExpertFolds, "_fit")
    with parallel_config("threading"):
        two = compare(["concat", "late"], estimator, cv=4, n_jobs=2)
    assert len(fitted) == 4
    for name, scores in one.scores.items():
        np.testing.assert_allclose(two.scores[name]["log_loss"], scores["log_loss"], rtol=0, atol=1e-4)


class Counting(TransformerMixin, BaseEstimator):
    """Leaves Blocks as they are, and counts its fits."""

    fits = 0

    def fit(self, X, y=None):
        Counting.fits += 1
        self.fitted_ = True
        return self

    def transform(self, X):
        return Blocks(X)


def test_earlier_steps_are_fitted_once_on_a_fold_for_the_fusions_and_once_for_the_baselines():
    Counting.fits = 0
    baselines = {"majority": DummyClassifier(), "prior": DummyClassifier(strategy="prior")}
    compare(["concat", "late", "sum"], make_pipeline(Counting(), quick()), baselines=baselines, scoring="accuracy")
    assert Counting.fits == 3 + 3 + 1  # and once before, to see what Blocks they give


def interrupting(monkeypatch, fusion):
    run = SearchLoop.run

    def interrupted(self, until=None):
        if self.learners[0].estimator.fusion == fusion:
            raise KeyboardInterrupt
        run(self, until)

    monkeypatch.setattr(SearchLoop, "run", interrupted)


def test_an_interrupt_has_the_methods_that_are_finished(monkeypatch):
    whole = compare(["concat", "late", "sum"])
    interrupting(monkeypatch, "sum")
    with pytest.raises(KeyboardInterrupt) as caught:
        compare(["concat", "late", "sum"], refit=True)
    finished = caught.value.comparison
    assert set(finished.scores) == {"concat", "late"}
    assert finished.best_estimator_ is None
    for name, scores in finished.scores.items():
        np.testing.assert_array_equal(scores["log_loss"], whole.scores[name]["log_loss"])
    assert "ended after 6 of 9 fits" in caught.value.__notes__[0]
    assert "['concat', 'late'], is the interrupt's .comparison" in caught.value.__notes__[1]


def test_an_interrupt_before_any_fusion_is_finished_has_no_comparison(monkeypatch):
    interrupting(monkeypatch, "concat")
    with pytest.raises(KeyboardInterrupt) as caught:
        compare(["concat", "late"])
    assert not hasattr(caught.value, "comparison")


def test_a_comparison_that_runs_out_of_memory_trains_fewer_folds_at_once(monkeypatch):
    whole = compare(["concat"], cv=4)
    train, sizes = SearchLoop._train, []

    def out_of_memory(loop):
        if len(loop.learners) > 2:
            raise MemoryError
        sizes.append(len(loop.learners))
        return train(loop)

    monkeypatch.setattr(SearchLoop, "_train", out_of_memory)
    found = compare(["concat"], cv=4)
    assert sizes == [2] * 6  # twice two folds of three epochs
    np.testing.assert_allclose(
        found.scores["concat"]["log_loss"], whole.scores["concat"]["log_loss"], rtol=0, atol=1e-4
    )


def test_the_time_of_a_fit_is_its_share():
    found = compare(["concat"])
    assert found.summary["fit_time"][0] > 0
    assert found.summary["predict_time"][0] > 0
