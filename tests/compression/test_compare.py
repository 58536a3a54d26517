"""Comparing what compression costs, on folds."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skmm import Blocks, MultimodalClassifier, MultimodalRegressor
from skmm.compression import Distilled, Pruned, compare_compression

QUICK = {"n_members": 2, "max_epochs": 2, "experts": None, "hidden_dim": 32, "random_state": 0}
COLUMNS = ["model", "loss", "rise", "low", "high", "score", "ms_one_row", "ms_10000_rows", "megabytes"]


@pytest.fixture(scope="module")
def samples():
    rng = np.random.default_rng(0)
    X = Blocks(text=rng.normal(size=(60, 30)), image=rng.normal(size=(60, 20)))
    return X, X["text"][:, 0] > 0


@pytest.fixture(scope="module")
def found(samples):
    clf = MultimodalClassifier(**QUICK)
    models = {"distilled": Distilled(clf, MultimodalClassifier(**{**QUICK, "n_members": 1}), n_mixed=1)}
    return compare_compression(clf, *samples, cv=KFold(2), models=models, repeats=3)


def test_each_model_and_the_same_with_int8_weights(found):
    assert found.summary["model"] == ["whole", "whole, int8", "distilled", "distilled, int8"]
    assert found.summary.columns == COLUMNS


@pytest.mark.slow
def test_what_is_made_of_an_estimator_where_nothing_is_named(samples):
    found = compare_compression(MultimodalClassifier(**QUICK), *samples, cv=2, repeats=1)
    names = ["whole", "1 members", "distilled", "pruned"]
    assert found.summary["model"] == [n + suffix for n in names for suffix in ("", ", int8")]
    size = dict(zip(found.summary["model"], found.summary["megabytes"], strict=True))
    assert size["1 members"] < size["whole"]


def test_the_whole_estimator_is_what_cross_validation_of_it_finds(found, samples):
    X, y = samples
    wanted = []
    for train, test in KFold(2).split(y):
        clf = MultimodalClassifier(**QUICK).fit(X[train], y[train])
        wanted.append(log_loss(y[test], clf.predict_proba(X[test])))
    np.testing.assert_allclose(found.losses["whole"], wanted, atol=1e-5)
    row = next(iter(found.summary))
    assert (row["rise"], row["low"], row["high"]) == (0, 0, 0)
    assert row["loss"] == pytest.approx(np.mean(wanted), abs=1e-5)


def test_int8_files_are_smaller_and_one_network_than_two(found):
    size = dict(zip(found.summary["model"], found.summary["megabytes"], strict=True))
    assert size["whole, int8"] < size["whole"]
    assert size["distilled"] < size["whole"]


def test_the_plot_shows_sizes_and_losses(found):
    pytest.importorskip("matplotlib")
    from matplotlib.figure import Figure

    ax = found.plot(Figure().subplots())
    assert ax.get_xscale() == "log"
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("Size of the file (MB)", "Log-loss")
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["whole", "distilled"]
    assert len(ax.containers) == 4  # each with both types of weights


def test_it_says_what_the_numbers_are(found):
    said = "Loss: log-loss, mean of 2 folds; low to high: 95% interval of the rise. Times: onnxruntime alone, one"
    assert f"{said} thread." in repr(found)
    assert found._repr_html_().startswith("<table")


@pytest.mark.slow
def test_values_behind_other_steps(samples):
    X, _ = samples
    pipeline = make_pipeline(FunctionTransformer(), MultimodalRegressor(**QUICK))
    models = {"one": Pruned(pipeline[-1], members=1, heads=None, modalities=None, tol=np.inf)}
    found = compare_compression(pipeline, X, X["text"][:, 0], cv=2, models=models, repeats=1)
    assert found.metric == "mean squared error"
    assert found.summary["model"] == ["whole", "whole, int8", "one", "one, int8"]


def test_bad_input(samples):
    clf = MultimodalClassifier(**QUICK)
    with pytest.raises(ValueError, match=r"estimator must be a MultimodalClassifier .* got LogisticRegression"):
        compare_compression(LogisticRegression(), *samples)
    with pytest.raises(ValueError, match=r"(?s)at least 2 folds, cv=.* gives 1"):
        compare_compression(clf, *samples, cv=[(np.arange(30), np.arange(30, 60))])
    with pytest.raises(ValueError, match="model 'small' must be a Distilled or a Pruned"):
        compare_compression(clf, *samples, models={"small": LogisticRegression()})
    with pytest.raises(ValueError, match="model 'whole': that is what the table calls another"):
        compare_compression(clf, *samples, models={"whole": Distilled(clf)})
