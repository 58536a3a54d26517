"""Robustness curves: what is removed, what is scored, and that nothing else changes."""

import pickle
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from conftest import make_data, small
from matplotlib.figure import Figure
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skmm import Blocks, MultimodalRegressor
from skmm.compose import ModalitySelector, ModalityTransformer
from skmm.datasets import make_multimodal_classification
from skmm.inspection import RobustnessDisplay, robustness_curve
from skmm.model_selection import make_baselines

N = 40
RATES = [0.0, 0.25, 0.5, 0.75, 1.0]


class Says1WhereItSees(ClassifierMixin, BaseEstimator):
    """Predicts 1 for the samples that have the modality, and notes which have what."""

    def __init__(self, name="a"):
        self.name = name

    def fit(self, X, y):
        self.classes_ = np.array([0, 1])
        self.fitted_, self.seen_ = True, []
        return self

    def predict(self, X):
        self.seen_.append(X.present)
        return X.present[self.name].astype(int)


@pytest.fixture
def X():
    return Blocks(a=np.arange(N)[:, None] + 0.5, b=[np.ones((1 + i % 3, 2)) for i in range(N)], c=sp.eye_array(N))


@pytest.fixture
def says(X):
    return Says1WhereItSees().fit(X, None)


# -- what is removed -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a", "b", "c"])
def test_the_score_falls_by_exactly_the_share_removed(X, name):
    model = Says1WhereItSees(name).fit(X, None)
    curve = robustness_curve(model, X, np.ones(N), rates=RATES, n_repeats=3, random_state=0)
    expected = np.repeat(1 - np.array([RATES]).T, 3, axis=1)
    for other, scores in curve.scores.items():
        np.testing.assert_allclose(scores, expected if other == name else 1.0)
    assert curve.baseline == 1
    assert list(curve.scores) == ["a", "b", "c"]
    np.testing.assert_array_equal(curve.rates, RATES)
    assert all((share == 0).all() for share in curve.empty.values())


def test_a_share_is_of_the_samples_that_have_the_modality(X, says):
    there = np.arange(N) % 4 > 0
    curve = robustness_curve(says, Blocks(a=X["a"], b=X["b"], present={"a": there}), np.ones(N), rates=[0.5])
    assert curve.baseline == 0.75
    np.testing.assert_allclose(curve.scores["a"], 0.375)


def test_a_higher_rate_removes_all_that_a_lower_one_does(X, says):
    robustness_curve(says, X, np.ones(N), rates=[0.2, 0.5, 0.8], modalities=["a"], n_repeats=2, random_state=0)
    _, *seen = (present["a"] for present in says.seen_)
    for first in (0, 1):
        low, mid, high = seen[first::2]
        assert (low >= mid).all()
        assert (mid >= high).all()
    assert not np.array_equal(seen[0], seen[1])


def test_several_modalities_go_missing_independently(X, says):
    curve = robustness_curve(
        says, X, np.ones(N), rates=[0, 0.5, 1], modalities=["b", ("a", "b"), ("a", "b", "c")], random_state=0
    )
    assert list(curve.scores) == ["b", ("a", "b"), ("a", "b", "c")]
    np.testing.assert_allclose(curve.scores["a", "b"][:, 0], [1, 0.5, 0])
    np.testing.assert_array_equal(curve.empty["a", "b", "c"][[0, 2]].T, [[0, 1]] * 5)
    np.testing.assert_allclose(curve.empty["a", "b", "c"][1].mean(), 1 / 8, atol=0.08)
    both = [p for p in says.seen_ if 0 < p["a"].mean() < 1]
    assert all(p["a"].mean() == p["b"].mean() == 0.5 for p in both)
    assert not any(np.array_equal(p["a"], p["b"]) for p in both)


def test_rates_that_leave_no_choice_are_scored_once(X, says):
    robustness_curve(says, X, np.ones(N), rates=[0, 0.5, 1], modalities=["a"], n_repeats=4)
    assert len(says.seen_) == 1 + 4 + 1


def test_seeds(X, says):
    def seen(random_state):
        says.seen_.clear()
        robustness_curve(says, X, np.ones(N), rates=[0.5], random_state=random_state)
        return np.array([present["a"] for present in says.seen_])

    np.testing.assert_array_equal(seen(0), seen(0))
    np.testing.assert_array_equal(seen(0), seen(np.random.RandomState(0)))
    assert not np.array_equal(seen(0), seen(1))
    before = np.random.get_state()[1].copy()
    assert not np.array_equal(seen(None), seen(None))
    np.testing.assert_array_equal(np.random.get_state()[1], before)


# -- what is scored --------------------------------------------------------------------------------------------


def test_a_fitted_network_loses_what_the_modality_told():
    X, y = make_multimodal_classification(
        600, redundant=0, unique=[0.8, 0.2], synergistic=0, noise=0.1, random_state=0
    )
    model = small().fit(X[:400], y[:400])
    curve = robustness_curve(model, X[400:], y[400:], rates=[0, 0.5, 1], n_repeats=2, random_state=0)
    assert curve.baseline == model.score(X[400:], y[400:])
    assert curve.baseline > 0.95
    # without the first one 20 % are known and half of the others guessed
    assert curve.scores["modality_0"].mean(axis=1) == pytest.approx([curve.baseline, 0.8, 0.6], abs=0.08)
    assert curve.scores["modality_1"].mean(axis=1) == pytest.approx([curve.baseline, 0.95, 0.9], abs=0.08)


def test_nothing_else_changes():
    X, y = make_data()
    model = small().fit(X, y)
    before, data = pickle.dumps(model), pickle.dumps(X)
    robustness_curve(model, X, y, rates=[0.5, 1], n_repeats=1, random_state=0)
    assert pickle.dumps(X) == data
    assert pickle.dumps(model) == before


@pytest.mark.parametrize("scoring", ["neg_log_loss", lambda model, X, y: -np.mean(model.predict(X) != y)])
def test_samples_without_any_modality_get_the_prior_and_no_warning(scoring):
    X, y = make_data(kinds=("vector",))
    model = small().fit(X, y)
    curve = robustness_curve(model, X, y, rates=[1], scoring=scoring, random_state=0)
    np.testing.assert_array_equal(curve.empty["vector"], 1)
    np.testing.assert_allclose(curve.scores["vector"], -np.log(2) if scoring == "neg_log_loss" else -0.5, rtol=1e-5)


def test_all_forms_of_the_same_data_give_the_same_curve():
    X, y = make_data(kinds=("vector", "image"))
    options = {"rates": [0.5, 1], "n_repeats": 2, "random_state": 0}
    expected = robustness_curve(small().fit(X, y), X, y, **options)
    flat, layout = X.to_flat()
    given = {
        "dict": (small(), {"vector": X["vector"], "image": X["image"]}),
        "flat": (small(modalities=layout), flat),
        "pipeline": (make_pipeline(FunctionTransformer(), small(modalities=layout)), flat),
        "one step": (make_pipeline(small(modalities=layout)), flat),
        "pipeline on Blocks": (make_pipeline(FunctionTransformer(), small()), X),
    }
    for form, (model, data) in given.items():
        found = robustness_curve(model.fit(data, y), data, y, **options)
        for name in X:
            np.testing.assert_allclose(found.scores[name], expected.scores[name], err_msg=form)


def test_a_pipeline_from_a_table():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 80)
    frame = pd.DataFrame({"told": y + 0.1 * rng.normal(size=80), "noise": rng.normal(size=80)})
    transformer = ModalityTransformer([("good", "passthrough", ["told"]), ("bad", "passthrough", ["noise"])])
    model = make_pipeline(transformer, small()).fit(frame, y)
    curve = robustness_curve(model, frame, y, rates=[1], random_state=0)
    assert curve.scores["good"].mean() < 0.7
    assert curve.scores["bad"].mean() == pytest.approx(curve.baseline, abs=0.05)


def test_a_search_scores_by_its_own_metric_in_every_form():
    X, y = make_data(60)
    frame = pd.DataFrame({name: list(block) for name, block in X.items()})
    transformer = ModalityTransformer([(name, "passthrough", name) for name in X])
    for data, model in ((X, small(max_epochs=1)), (frame, make_pipeline(transformer, small(max_epochs=1)))):
        for scoring, refit in (("neg_log_loss", True), (["accuracy", "neg_log_loss"], "neg_log_loss")):
            search = GridSearchCV(model, {}, cv=2, scoring=scoring, refit=refit).fit(data, y)
            curve = robustness_curve(search, data, y, rates=[0.0], n_repeats=1)
            assert curve.baseline == pytest.approx(search.score(data, y))


def test_the_tokens_of_a_baseline_are_gone_too():
    X, y = make_data(kinds=("tokens", "vector"), noise=3)
    model = make_baselines(X, y, tune=False)["LR tokens"].fit(X, y)
    assert robustness_curve(model, X, y, rates=[1]).scores["tokens"].mean() == pytest.approx(0.5)


def test_a_regressor():
    X, _ = make_data()
    y = X["vector"][:, 0] * 3.0
    model = small(MultimodalRegressor, max_epochs=40).fit(X, y)
    curve = robustness_curve(model, X, y, rates=[0, 1], scoring="r2")
    assert curve.baseline == pytest.approx(model.score(X, y))
    assert curve.scores["vector"][1].mean() < curve.baseline - 0.2


@pytest.mark.slow
def test_parallel_gives_the_same_curve():
    X, y = make_data()
    model = small().fit(X, y)
    one, two = (robustness_curve(model, X, y, random_state=0, n_jobs=n) for n in (1, 2))
    for name in X:
        np.testing.assert_array_equal(one.scores[name], two.scores[name])


# -- wrong input -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rates": [0, 1.5]}, r"a rate must lie between 0 and 1, got 1\.5"),
        ({"rates": [np.nan]}, "a rate must lie between 0 and 1, got nan"),
        ({"rates": []}, "rates is empty"),
        ({"modalities": ["a", "text"]}, r"unknown modality 'text', valid are \['a', 'b', 'c'\]"),
        ({"modalities": [("a", "x")]}, "unknown modality 'x'"),
        ({"modalities": "a"}, r"give a list, \['a'\]"),
        ({"modalities": ["a", "a"]}, "'a' is named twice"),
        ({"modalities": [("b", "b")]}, r"\('b', 'b'\) is named twice"),
        ({"modalities": []}, r"modalities is empty; valid are \['a', 'b', 'c'\]"),
        ({"n_repeats": 0}, "n_repeats == 0, must be >= 1"),
        ({"scoring": ["accuracy", "f1"]}, r"one metric, a name or a function, got \['accuracy', 'f1'\]"),
        ({"scoring": "beauty"}, "'beauty'"),
    ],
)
def test_wrong_options(X, says, options, message):
    with pytest.raises(ValueError, match=message):
        robustness_curve(says, X, np.ones(N), **options)


def test_an_estimator_that_never_sees_blocks_is_refused(X):
    model = LogisticRegression().fit(X["a"], np.arange(N) % 2)
    with pytest.raises(ValueError, match="LogisticRegression is given ndarray, from which no modality"):
        robustness_curve(model, X["a"], np.arange(N) % 2)


def test_any_estimator_behind_a_selector_will_do(X):
    y = (np.arange(N) >= N // 2).astype(int)
    data = Blocks(a=X["a"], d=X["a"] - 3)
    filled = make_pipeline(ModalitySelector("a"), FunctionTransformer(np.nan_to_num), LogisticRegression())
    curve = robustness_curve(filled.fit(data, y), data, y, rates=[1])
    assert curve.baseline == 1
    np.testing.assert_array_equal(curve.scores["a"], 0.5)  # all are 0, which is among the low ones
    np.testing.assert_array_equal(curve.scores["d"], 1)


# -- the display -----------------------------------------------------------------------------------------------


@pytest.fixture
def ax():
    return Figure().subplots()


@pytest.fixture
def display():
    scores = {"text": np.array([[0.6, 0.6], [0.9, 0.7], [1, 1]]), ("text", "image"): np.array([[0.2] * 2] * 3)}
    return RobustnessDisplay(rates=np.array([1, 0.5, 0]), scores=scores, baseline=1.0, score_name="Accuracy")


def test_the_display_stores_what_it_is_given(display):
    assert set(vars(display)) == {"rates", "scores", "baseline", "score_name"}


def test_the_display_draws_means_and_deviations(display, ax):
    assert display.plot(ax) is display
    assert display.ax_ is ax
    assert display.figure_ is ax.figure
    text, both = display.lines_
    np.testing.assert_allclose(text.get_xydata(), [[0, 1], [0.5, 0.8], [1, 0.6]])
    assert both.get_label() == "text and image"
    # numpy's standard deviation of 0.9 and 0.7 is 0.1
    corners = display.fill_between_[0].get_paths()[0].vertices
    assert {0.7, 0.9} <= set(corners[corners[:, 0] == 0.5, 1].round(6))
    assert list(display.baseline_line_.get_ydata()) == [1, 1]
    assert ax.get_ylabel() == "Accuracy"
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["text", "text and image", "nothing removed"]


def test_the_display_passes_styles_on(display, ax):
    display.plot(ax, score_name="Hits", line_kw={"color": "red", "marker": "x"}, fill_between_kw={"alpha": 0.7})
    assert {line.get_color() for line in display.lines_} == {"red"}
    assert {line.get_marker() for line in display.lines_} == {"x"}
    assert {band.get_alpha() for band in display.fill_between_} == {0.7}
    assert ax.get_ylabel() == "Hits"


def test_without_axes_the_display_makes_a_figure(display):
    from matplotlib import pyplot

    display.plot()
    assert display.figure_.number in pyplot.get_fignums()
    pyplot.close(display.figure_)


@pytest.mark.parametrize(
    ("options", "label"),
    [
        ({}, "Score"),
        ({"scoring": "balanced_accuracy"}, "Balanced accuracy"),
        ({"scoring": "neg_brier_score"}, "Negative brier score"),
        ({"scoring": "accuracy", "score_name": "Hits"}, "Hits"),
    ],
)
def test_the_display_of_an_estimator(ax, options, label):
    X, y = make_data()
    model = small().fit(X, y)
    settings = {"rates": [0, 0.5], "modalities": ["vector"], "n_repeats": 2, "random_state": 0}
    display = RobustnessDisplay.from_estimator(model, X, y, ax=ax, **settings, **options)
    curve = robustness_curve(model, X, y, **settings, scoring=options.get("scoring"))
    assert list(display.scores) == ["vector"]
    np.testing.assert_array_equal(display.scores["vector"], curve.scores["vector"])
    assert display.baseline == curve.baseline
    assert ax.get_ylabel() == label


def test_without_matplotlib_the_extra_is_named_before_anything_is_computed(display, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"skmm\[plot\]"):
        display.plot()
    with pytest.raises(ImportError, match=r"skmm\[plot\]"):
        RobustnessDisplay.from_estimator(None, None, None)


@pytest.mark.slow
def test_matplotlib_is_not_imported_with_the_package():
    code = "import sys, skmm.inspection; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
