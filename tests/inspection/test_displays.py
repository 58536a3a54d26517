"""Displays: what all of them keep, over a registry, and that each draws the numbers that it is given."""

import itertools
import sys

import numpy as np
import pandas as pd
import pytest
from conftest import make_data, small
from matplotlib import pyplot
from matplotlib.figure import Figure
from sklearn.base import BaseEstimator
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.exceptions import NotFittedError
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, HalvingGridSearchCV
from sklearn.pipeline import make_pipeline
from skorch.callbacks import Callback

from skmm import MultimodalRegressor
from skmm.compression import Distilled
from skmm.inspection import (
    ComparisonDisplay,
    ContributionDisplay,
    FusionSpaceDisplay,
    ImportanceDisplay,
    LearningCurveDisplay,
    RiskCoverageDisplay,
    RobustnessDisplay,
    SearchDisplay,
    StackDisplay,
    modality_importances,
)
from skmm.model_selection import FusionComparison, FusionSearchCV
from skmm.table import Table

HOSTILE = ["$x_1$ and $", "_hidden", "<b>bold</b>", "Größe αβ", "%s {x} \\n"]


@pytest.fixture(scope="module")
def data():
    return make_data()


@pytest.fixture(scope="module")
def model(data):
    return small(n_members=2, experts=None, modality_dropout=0.3, max_epochs=3).fit(*data)


@pytest.fixture(scope="module")
def search(data):
    grid = {"fusion": ["concat", "late"], "lr": [0.001, 0.01], "dropout": [0.1, 0.2]}
    return FusionSearchCV(small(max_epochs=4), grid, cv=2, halving=True, factor=2).fit(*data)


class Searched(BaseEstimator):
    """As a search leaves what it fitted."""

    def __init__(self, estimator):
        self.best_estimator_ = estimator

    def fit(self, X, y):
        return self


def compared(baselines=True):
    rows = [{"fusion": "mfb", "baseline": "LR", "difference": 0.1, "low": 0.05, "high": 0.15}]
    rows += [{"fusion": "late", "baseline": "LR", "difference": -0.1, "low": -0.3, "high": 0.1}]
    scores = {"mfb": [0.9, 0.8], "LR": [0.8, 0.7], "late": [0.6, 0.7]}
    return FusionComparison(
        summary=Table({"method": list(scores), "kind": ["fusion", "baseline", "fusion"]}),
        differences=Table(rows if baselines else []),
        scores={name: {"accuracy": np.array(own)} for name, own in scores.items()},
        metric="accuracy",
        confidence=0.9,
    )


# By display: how one is made and drawn of what is fitted, and what its constructor takes for some names.
MADE = {
    ComparisonDisplay: lambda model, search, X, y, ax: ComparisonDisplay.from_comparison(compared(), ax=ax),
    ContributionDisplay: lambda model, search, X, y, ax: ContributionDisplay.from_estimator(model, X, row=1, ax=ax),
    FusionSpaceDisplay: lambda model, search, X, y, ax: FusionSpaceDisplay.from_estimator(model, X, y, ax=ax),
    ImportanceDisplay: lambda model, search, X, y, ax: ImportanceDisplay.from_estimator(
        model, X, y, n_bootstrap=5, ax=ax
    ),
    LearningCurveDisplay: lambda model, search, X, y, ax: LearningCurveDisplay.from_estimator(model, ax=ax),
    SearchDisplay: lambda model, search, X, y, ax: SearchDisplay.from_estimator(search, ax=ax),
    StackDisplay: lambda model, search, X, y, ax: StackDisplay.from_estimator(model, ax=ax),
}
GIVEN = {
    ComparisonDisplay: lambda names: {
        "methods": names,
        "kinds": ["fusion"] * len(names),
        "scores": [[0.5, 0.6]] * len(names),
        "fusions": names,
        **dict.fromkeys(["differences", "low", "high"], np.zeros(len(names))),
        "baseline": "$LR$",
    },
    ContributionDisplay: lambda names: {
        "modalities": names,
        "contributions": np.ones(len(names)),
        "base": 0.0,
        "prediction": float(len(names)),
    },
    FusionSpaceDisplay: lambda names: {"points": np.eye(len(names), 2), "y": np.array(names)},
    ImportanceDisplay: lambda names: {"modalities": names, "importances": np.arange(len(names))},
    LearningCurveDisplay: lambda names: {"epochs": [1, 2], "losses": {name: [0.5, 0.4] for name in names}},
    SearchDisplay: lambda names: {
        "candidates": [{"fusion": name, "lr": 0.1} for name in names],
        "scores": np.ones((len(names), 2)),
    },
    StackDisplay: lambda names: {"heads": names, "weights": np.ones(len(names))},
}
every_display = pytest.mark.parametrize("cls", list(MADE))


def axes_of(display):
    return [display.ax_] if hasattr(display, "ax_") else list(display.axes_)


def texts(figure):
    figure.canvas.draw()
    return {text.get_text(): text for text in figure.findobj(pyplot.Text) if text.get_text()}


# -- what all displays keep ------------------------------------------------------------------------------------


@every_display
def test_the_constructor_stores_and_nothing_else(cls):
    given = GIVEN[cls](["a", "b"])
    display = cls(**given)
    assert given.items() <= vars(display).items()
    assert not [name for name in vars(display) if name.endswith("_")]


@every_display
def test_it_draws_on_the_axes_that_are_given(cls, model, search, data):
    figure = Figure(layout="constrained")
    ax = figure.subplots()
    display = MADE[cls](model, search, *data, ax)
    assert isinstance(display, cls)
    assert display.figure_ is figure
    assert ax in axes_of(display) or not ax.axison  # where it is divided
    figure.canvas.draw()
    assert display.plot() is display
    assert display.figure_.number in pyplot.get_fignums()
    pyplot.close(display.figure_)


@every_display
def test_every_axis_says_what_it_shows(cls, model, search, data):
    display = MADE[cls](model, search, *data, Figure().subplots())
    for ax in axes_of(display):
        assert ax.get_xlabel() or ax.get_xticklabels()
        assert ax.get_ylabel() or ax.get_yticklabels()


@every_display
def test_without_matplotlib_the_extra_is_named_before_anything_is_computed(cls, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"skmm\[plot\]"):
        cls(**GIVEN[cls](["a"])).plot()
    with pytest.raises(ImportError, match=r"skmm\[plot\]"):
        MADE[cls](None, None, None, None, None)


@every_display
def test_names_are_shown_as_they_are(cls):
    display = cls(**GIVEN[cls](HOSTILE)).plot(Figure(figsize=(9, 6), layout="constrained").subplots())
    found = texts(display.figure_)
    assert set(HOSTILE) <= set(found)
    assert not any(found[name].get_parse_math() or found[name].get_usetex() for name in HOSTILE)


@every_display
def test_thirty_long_names_find_room(cls):
    names = [f"{i}: {'long ' * 20}name" for i in range(30)]
    display = cls(**GIVEN[cls](names)).plot()
    display.figure_.canvas.draw()
    width, height = display.figure_.get_size_inches() * display.figure_.dpi
    for ax in axes_of(display):
        legend = ax.get_legend()
        for part in (ax.get_yticklabels(), [] if legend is None else legend.get_texts()):
            boxes = [text.get_window_extent() for text in part if "long" in text.get_text()]
            assert all(box.x0 > -1 and box.x1 < width + 1 for box in boxes)
            assert all(box.y0 > -1 and box.y1 < height + 1 for box in boxes)
            assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
    pyplot.close(display.figure_)


LEGENDS = {
    "stack": lambda: StackDisplay(
        heads=["fused", "a", "boost"], weights=np.array([0, 0, 1.0]), experts=["boost"]
    ).plot(),
    "stack with temperatures": lambda: StackDisplay(
        heads=["fused", "boost"], weights=np.ones(2), experts=["boost"], temperatures={("fused", "boost"): 2.0}
    ).plot(),
    "halving": lambda: SearchDisplay(
        candidates=[{"lr": i} for i in range(3)],
        scores=np.ones((3, 2)),
        resources=np.array([8, 8, 8]),
        dropped=np.array([False, False, True]),
    ).plot(kind="halving"),
    "candidates": lambda: SearchDisplay(
        candidates=[{"lr": i} for i in range(9)], scores=np.linspace(0, [1, 2], 9)
    ).plot(kind="candidates"),
    "comparison": lambda: ComparisonDisplay.from_comparison(compared(), kind="both"),
}


@pytest.mark.parametrize("name", LEGENDS)
def test_legends_of_rows_cover_nothing(name):
    figure = LEGENDS[name]().figure_
    figure.canvas.draw()
    (legend,) = [ax.get_legend() for ax in figure.axes if ax.get_legend()]
    box = legend.get_window_extent()
    assert box.x0 >= 0
    assert box.y0 >= 0
    assert box.x1 <= figure.bbox.x1
    assert box.y1 <= figure.bbox.y1
    drawn = [text for ax in figure.axes for text in [*ax.texts, *ax.get_yticklabels(), *ax.lines, *ax.patches]]
    assert not any(box.overlaps(part.get_window_extent()) for part in drawn)
    pyplot.close(figure)


WITH_FORMULA = "$x$ and $"
LABELS = {
    "comparison": lambda: ComparisonDisplay(**GIVEN[ComparisonDisplay](["a"]), metric=WITH_FORMULA),
    "contribution": lambda: ContributionDisplay(**GIVEN[ContributionDisplay](["a"]), output_name=WITH_FORMULA),
    "space": lambda: FusionSpaceDisplay(**GIVEN[FusionSpaceDisplay](["a"]), axis_names=[WITH_FORMULA, "b"]),
    "importance": lambda: ImportanceDisplay(**GIVEN[ImportanceDisplay](["a"]), score_name=WITH_FORMULA, score=1.0),
    "learning": lambda: LearningCurveDisplay(**GIVEN[LearningCurveDisplay](["a"]), loss_name=WITH_FORMULA),
    "search": lambda: SearchDisplay(**GIVEN[SearchDisplay](["a"]), score_name=WITH_FORMULA),
    "robustness": lambda: RobustnessDisplay(
        rates=[0, 1], scores={("$a", "b$"): np.ones((2, 1))}, baseline=1.0, score_name=WITH_FORMULA
    ),
    "risk": lambda: RiskCoverageDisplay(coverage=[0.5, 1], risk=[0, 1], area=0.5, risk_name=WITH_FORMULA),
}


@pytest.mark.parametrize("name", LABELS)
def test_names_of_scores_and_outputs_are_no_formulas(name):
    display = LABELS[name]().plot(Figure().subplots())
    found = [text for shown, text in texts(display.figure_).items() if "$" in shown]
    assert any(WITH_FORMULA in text.get_text() for text in found)
    assert not any(text.get_parse_math() or text.get_usetex() for text in found)


def test_of_many_modalities_the_legend_stands_beside_their_curves():
    scores = {f"modality {i}": np.full((2, 1), i) for i in range(12)} | {("a", "b"): np.zeros((2, 1))}
    display = RobustnessDisplay(rates=np.array([0, 1]), scores=scores, baseline=1.0).plot()
    display.figure_.canvas.draw()
    box = display.legend_.get_window_extent()
    assert not box.overlaps(display.ax_.get_window_extent())
    assert box.x1 <= display.figure_.bbox.x1
    assert "a and b" in [text.get_text() for text in display.legend_.get_texts()]
    pyplot.close(display.figure_)


OF_THE_FITTED = {
    StackDisplay: lambda fitted, X: StackDisplay.from_estimator(fitted, ax=Figure().subplots()).weights,
    LearningCurveDisplay: lambda fitted, X: LearningCurveDisplay.from_estimator(
        fitted, ax=Figure().subplots()
    ).losses["train_loss"],
    FusionSpaceDisplay: lambda fitted, X: (
        FusionSpaceDisplay.from_estimator(fitted, X, ax=Figure().subplots()).points
    ),
}


@pytest.mark.parametrize("cls", list(OF_THE_FITTED))
def test_of_a_compressed_or_searched_estimator_what_it_predicts_by_is_shown(cls, model, data):
    distilled = Distilled(small())
    distilled.student_ = model
    expected = OF_THE_FITTED[cls](model, data[0])
    each = [distilled, Searched(distilled), Searched(make_pipeline(model)), FrozenEstimator(distilled)]
    for fitted in [*each, *map(make_pipeline, each)]:
        np.testing.assert_array_equal(OF_THE_FITTED[cls](fitted, data[0]), expected)


@pytest.mark.parametrize("cls", list(OF_THE_FITTED))
def test_what_has_nothing_to_show_is_told_what_is_valid(cls):
    fitted = make_pipeline(LogisticRegression()).fit([[0], [1]], [0, 1])
    with pytest.raises(ValueError, match=r"LogisticRegression has no .*; valid are a fitted MultimodalClassifier"):
        OF_THE_FITTED[cls](fitted, [[0], [1]])


# -- importances -----------------------------------------------------------------------------------------------


@pytest.fixture
def importances():
    return ImportanceDisplay(
        modalities=["text", ("image", "sound"), "table"],
        importances=np.array([0.1, 0.3, -0.1]),
        low=np.array([0.0, 0.2, np.nan]),
        high=np.array([0.1, 0.5, np.nan]),
        interactions=np.array([[0, 0.2, -0.1], [0.2, 0, 0.05], [-0.1, 0.05, 0]]),
        score=0.9,
        baseline=0.6,
        score_name="accuracy",
    )


def test_importances_are_bars_with_their_intervals_the_largest_first(importances):
    display = importances.plot(Figure().subplots())
    assert [bar.get_width() for bar in display.bars_] == [0.3, 0.1, -0.1]
    (ax,) = display.axes_
    assert [text.get_text() for text in ax.get_yticklabels()] == ["image and sound", "text", "table"]
    segments = display.errorbar_.lines[2][0].get_segments()
    np.testing.assert_allclose([segment[:, 0] for segment in segments], [[0.2, 0.5], [0.0, 0.1]])
    assert ax.get_xlabel() == "Importance (accuracy)"
    assert ax.get_title() == "accuracy: 0.9 with all, 0.6 with none"


def test_synergy_is_a_heat_map_in_the_order_of_the_bars(importances):
    display = importances.plot(Figure().subplots(), kind="both")
    assert len(display.axes_) == 2
    drawn = display.im_.get_array().filled(np.nan)
    np.testing.assert_allclose(drawn, [[np.nan, 0.2, 0.05], [0.2, np.nan, -0.1], [0.05, -0.1, np.nan]])
    assert {text.get_text() for text in display.text_} == {"0.20", "0.05", "-0.10"}
    assert display.colorbar_.ax.get_ylabel() == "Synergy (accuracy)"
    assert importances.plot(Figure().subplots(), kind="synergy").bars_ is None


def test_importances_of_an_estimator_are_those_computed(model, data):
    settings = {"scoring": "neg_log_loss", "n_bootstrap": 0, "random_state": 0}
    display = ImportanceDisplay.from_estimator(model, *data, **settings, ax=Figure().subplots())
    found = modality_importances(model, *data, **settings)
    np.testing.assert_array_equal(display.importances, found.importances)
    assert display.axes_[0].get_xlabel() == "Importance (negative log loss)"
    again = ImportanceDisplay.from_importances(
        found, score_name="log loss", kind="both", ax=Figure().subplots(1, 2)
    )
    np.testing.assert_array_equal(again.interactions, found.interactions)
    assert again.errorbar_ is None


def test_importances_without_interactions_say_so(importances):
    importances.interactions = None
    with pytest.raises(ValueError, match="kind='both' shows interactions, and these importances have none"):
        importances.plot(kind="both")
    with pytest.raises(ValueError, match=r"unknown kind 'pie', valid are \['bars', 'synergy', 'both'\]"):
        importances.plot(kind="pie")
    importances.interactions = np.zeros((3, 3))
    with pytest.raises(ValueError, match="ax has 3 axes, 2 are drawn on"):
        importances.plot(Figure().subplots(1, 3), kind="both")


# -- the stack -------------------------------------------------------------------------------------------------


def test_the_stack_of_an_estimator(model, data):
    for fitted in (model, make_pipeline(model), Searched(model)):
        display = StackDisplay.from_estimator(fitted, ax=Figure().subplots())
        assert list(display.heads) == model.stack_weights_["head"]
        np.testing.assert_array_equal([bar.get_width() for bar in display.bars_], model.stack_weights_["weight"])


def test_experts_are_told_from_heads_and_weights_of_0_are_seen():
    display = StackDisplay(heads=["fused", "text", "forest"], weights=np.array([0.7, 0.0, 0.3]), experts=["forest"])
    display.plot(Figure().subplots())
    assert [text.get_text() for text in display.text_] == ["0.70", "0", "0.30"]
    fused, text, forest = (bar.get_facecolor() for bar in display.bars_)
    assert fused == text != forest
    assert [t.get_text() for t in display.legend_.get_texts()] == ["head of the network", "expert"]


def test_outputs_with_weights_of_their_own_are_a_heat_map():
    weights = np.array([[0.5, 0.0], [0.25, 1.0]])
    display = StackDisplay(heads=["fused", "forest"], weights=weights, experts=["forest"], outputs=["$a$", "b"])
    display.plot(Figure().subplots())
    np.testing.assert_array_equal(display.im_.get_array().filled(0), weights)
    assert [text.get_text() for text in display.axes_[0].get_yticklabels()] == ["fused", "forest (expert)"]
    assert [text.get_text() for text in display.axes_[0].get_xticklabels()] == ["$a$", "b"]


def test_each_set_of_heads_with_a_temperature_is_named():
    heads = ["fused", "text", "image"]
    temperatures = {tuple(heads): 1.2, ("fused", "text"): 2.0, ("image",): 0.5}
    display = StackDisplay(heads=heads, weights=np.ones(3), temperatures=temperatures).plot(Figure().subplots())
    assert [bar.get_width() for bar in display.temperature_bars_] == [1.2, 2.0, 0.5]
    assert [t.get_text() for t in display.axes_[1].get_yticklabels()] == ["all", "without image", "only image"]
    assert len(display.plot(Figure().subplots(), temperatures=False).axes_) == 1


def test_temperatures_of_an_estimator_are_by_who_speaks(model, data):
    X, y = make_data(n=160)
    X = type(X)(vector=X["vector"], sequence=X["sequence"], present={"vector": np.arange(160) % 2 == 0})
    fitted = small(n_members=2, experts=None, max_epochs=2).fit(X, y)
    display = StackDisplay.from_estimator(fitted, ax=Figure().subplots())
    assert set(display.temperatures) == {("fused", "vector", "sequence"), ("fused", "sequence")}
    assert set(display.temperatures.values()) == set(fitted.stack_.temperatures.values())


def test_two_values_have_weights_each(data):
    X, y = data
    fitted = small(MultimodalRegressor, n_members=2, experts=None, max_epochs=2).fit(X, np.column_stack([y, -y]))
    display = StackDisplay.from_estimator(fitted, ax=Figure().subplots())
    np.testing.assert_array_equal(display.weights, fitted.stack_.weights)
    assert list(display.heads) == fitted.stack_weights_["head"][:-1]


def test_an_estimator_without_a_stack_is_refused(data):
    with pytest.raises(NotFittedError):
        StackDisplay.from_estimator(small())
    with pytest.raises(ValueError, match="MultimodalClassifier has no stack to show"):
        StackDisplay.from_estimator(small(max_epochs=1).fit(*data))


# -- comparisons -----------------------------------------------------------------------------------------------


def test_a_comparison_is_drawn_with_its_intervals():
    figure = Figure(layout="constrained")
    display = ComparisonDisplay.from_comparison(compared(), kind="both", ax=figure.subplots())
    drawn = [bar.lines[2][0].get_segments()[0][:, 0] for bar in display.errorbars_]
    np.testing.assert_allclose(drawn, [[0.05, 0.15], [-0.3, 0.1]])
    np.testing.assert_allclose([bar.lines[0].get_xdata()[0] for bar in display.errorbars_], [0.1, -0.1])
    assert "Better than LR by (accuracy),\n90% interval" in texts(figure)
    np.testing.assert_array_equal(
        [line.get_xdata() for line in display.points_], [[0.9, 0.8], [0.8, 0.7], [0.6, 0.7]]
    )
    np.testing.assert_allclose([line.get_xdata()[0] for line in display.means_], [0.85, 0.75, 0.65])
    assert [text.get_text() for text in display.legend_.get_texts()] == ["fusion", "baseline"]


def test_a_comparison_without_baselines_has_scores_alone():
    with pytest.raises(ValueError, match="nothing was compared with one; call compare_fusions with baselines"):
        ComparisonDisplay.from_comparison(compared(baselines=False))
    display = ComparisonDisplay.from_comparison(compared(baselines=False), kind="scores", ax=Figure().subplots())
    assert len(display.points_) == 3
    with pytest.raises(TypeError, match="what compare_fusions returned, got dict"):
        ComparisonDisplay.from_comparison({})


# -- learning curves -------------------------------------------------------------------------------------------


def test_the_losses_of_a_fit_by_epoch(model, data):
    display = LearningCurveDisplay.from_estimator(make_pipeline(model), ax=Figure().subplots())
    np.testing.assert_array_equal(display.lines_["train_loss"].get_ydata(), model.history_[:, "train_loss"])
    np.testing.assert_array_equal(display.lines_["train_loss"].get_xdata(), [1, 2, 3])
    assert list(display.lines_) == ["train_loss"]
    assert display.best_line_ is None
    members = np.array([line.get_ydata() for line in display.member_lines_])
    assert members.shape == (2, 3)
    np.testing.assert_allclose(members.mean(axis=0), model.history_[:, "train_loss"])
    np.testing.assert_allclose(members[:, -1], model.net_.member_losses_["train"])
    assert not np.allclose(*members)
    (ax,) = display.axes_
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("Epoch", "Loss (nats)")


def test_the_best_epoch_is_that_whose_weights_are_kept(data):
    X, y = data
    stopped = small(max_epochs=60, early_stopping=True, n_iter_no_change=3, tol=0.01).fit(X, y)
    display = LearningCurveDisplay.from_estimator(stopped, ax=Figure().subplots())
    assert display.best_epoch == stopped.n_iter_ - 3
    assert display.max_epochs == 60
    assert not display.member_lines_  # of one network it is the loss itself
    assert list(display.best_line_.get_xdata()) == [display.best_epoch] * 2
    names = [text.get_text().replace("\n", " ") for text in display.legends_[0].get_texts()]
    assert names[:2] == ["training", "validation"]  # of one network there are no members
    assert names[2] == f"best epoch: {display.best_epoch}, stopped after {stopped.n_iter_} of 60"


def test_recorded_scores_have_axes_of_their_own(data):
    X, y = data

    class Records(Callback):
        def on_epoch_end(self, net, **kwargs):
            net.history.record("$share_$", 1 / len(net.history))
            net.history.record("note", "text")

    fitted = small(max_epochs=2, callbacks=[Records()]).fit(X, y)
    display = LearningCurveDisplay.from_estimator(fitted, ax=Figure().subplots())
    assert list(display.lines_) == ["train_loss", "$share_$"]
    np.testing.assert_array_equal(display.lines_["$share_$"].get_ydata(), [1, 0.5])
    assert len(display.axes_) == 2


def test_an_estimator_without_a_history_is_refused():
    with pytest.raises(NotFittedError):
        LearningCurveDisplay.from_estimator(small())
    with pytest.raises(ValueError, match="LogisticRegression has no history of epochs to show"):
        LearningCurveDisplay.from_estimator(LogisticRegression().fit([[0], [1]], [0, 1]))


# -- searches --------------------------------------------------------------------------------------------------


def test_a_search_is_a_line_for_each_fusion(search):
    display = SearchDisplay.from_estimator(search, param="lr", ax=Figure().subplots())
    results = search.cv_results_
    for bars, fusion in zip(display.errorbars_, ["concat", "late"], strict=True):
        own = [i for i, params in enumerate(results["params"]) if params["fusion"] == fusion]
        best = {
            lr: max(results["mean_test_score"][i] for i in own if results["params"][i]["lr"] == lr)
            for lr in (0.001, 0.01)
        }
        np.testing.assert_allclose(bars.lines[0].get_xydata(), list(best.items()))
    assert [text.get_text() for text in display.legend_.get_texts()] == ["concat", "late"]
    assert display.ax_.get_xlabel() == "lr"
    assert display.ax_.get_ylabel() == "accuracy, mean and deviation over folds"
    assert display.ax_.get_xscale() == "log"


def test_deviations_are_those_of_the_folds():
    display = SearchDisplay(
        candidates=[{"fusion": "a"}, {"fusion": "b"}], scores=np.array([[0.5, 0.7], [np.nan, 1]])
    )
    display.plot(Figure().subplots(), kind="candidates")
    (bars,) = display.errorbars_
    np.testing.assert_allclose(bars.lines[2][0].get_segments()[0][:, 0], [0.5, 0.7])
    assert [text.get_text() for text in display.ax_.get_yticklabels()] == ["fusion=a", "fusion=b"]
    np.testing.assert_array_equal(display.points_[0].get_xdata(), [0.5, 0.7])


def test_a_search_of_fusions_alone_has_them_on_the_axis():
    display = SearchDisplay(candidates=[{"fusion": "a"}, {"fusion": "b"}], scores=[[0.5, 0.7], [0.8, 0.8]])
    display.plot(Figure().subplots())
    (bars,) = display.errorbars_
    np.testing.assert_allclose(bars.lines[0].get_xydata(), [[0, 0.6], [1, 0.8]])
    assert [text.get_text() for text in display.ax_.get_xticklabels()] == ["a", "b"]
    assert display.legend_ is None


def test_values_that_are_no_numbers_or_not_set_stand_side_by_side():
    candidates = [{"fusion": "mfb", "fusion__factor": 2}, {"fusion": "concat"}]
    display = SearchDisplay(candidates=candidates, scores=np.ones((2, 2))).plot(Figure().subplots())
    assert [text.get_text() for text in display.ax_.get_xticklabels()] == ["2", "not set"]


def test_halving_shows_what_each_candidate_was_given(search):
    display = SearchDisplay.from_estimator(search, kind="halving", ax=Figure().subplots())
    results = search.cv_results_
    given = sorted(results["n_epochs"], reverse=True)
    np.testing.assert_array_equal([bar.get_width() for bar in display.bars_], given)
    kept = {bar.get_facecolor() for bar in display.bars_[: (~results["dropped"]).sum()]}
    gone = {bar.get_facecolor() for bar in display.bars_[(~results["dropped"]).sum() :]}
    assert len(kept) == len(gone) == 1
    assert kept != gone
    rounds = [text.get_text() for text in display.text_ if "got here" in text.get_text()]
    assert rounds == [f"{sum(results['n_epochs'] >= e)} got here" for e in np.unique(results["n_epochs"])]


def test_searches_of_scikit_learn(data):
    X = np.random.default_rng(0).normal(size=(80, 2))
    y = (X[:, 0] > 0).astype(int)
    grid = {"C": [0.01, 1.0, 10.0, 100.0], "fit_intercept": [True, False]}
    search = GridSearchCV(
        LogisticRegression(), grid, cv=2, scoring=["accuracy", "neg_log_loss"], refit="neg_log_loss"
    )
    display = SearchDisplay.from_estimator(search.fit(X, y), ax=Figure().subplots())
    np.testing.assert_allclose(display.scores.mean(axis=1), search.cv_results_["mean_test_neg_log_loss"])
    assert display.ax_.get_xlabel() == "C"
    assert SearchDisplay.from_estimator(search, metric="accuracy", ax=Figure().subplots()).score_name == "accuracy"
    with pytest.raises(ValueError, match="unknown metric 'f1', valid are"):
        SearchDisplay.from_estimator(search, metric="f1")
    with pytest.raises(ValueError, match="what halving gave each candidate, and this search had none"):
        SearchDisplay.from_estimator(search, kind="halving")
    with pytest.raises(ValueError, match="unknown parameter 'D', valid are"):
        SearchDisplay.from_estimator(search, param="D")
    halving = HalvingGridSearchCV(LogisticRegression(), grid, cv=2, min_resources=20, random_state=0).fit(X, y)
    display = SearchDisplay.from_estimator(halving, kind="halving", ax=Figure().subplots())
    assert len(display.candidates) == 8
    assert max(display.resources) == max(halving.n_resources_)
    assert (~display.dropped).sum() == halving.n_candidates_[-1]
    assert display.resource_name == "samples"


def test_what_is_no_fitted_search_is_refused(model):
    with pytest.raises(NotFittedError):
        SearchDisplay.from_estimator(GridSearchCV(LogisticRegression(), {}))
    with pytest.raises(ValueError, match="MultimodalClassifier has no cv_results_ to show"):
        SearchDisplay.from_estimator(model)


# -- the fused space -------------------------------------------------------------------------------------------


def test_the_fused_space_by_class(model, data):
    X, y = data
    display = FusionSpaceDisplay.from_estimator(model, X, pd.Series(y, name="$kind$"), ax=Figure().subplots())
    points = PCA(2, random_state=0).fit_transform(model.transform(X))
    for i, scatter in enumerate(display.scatters_):
        np.testing.assert_allclose(scatter.get_offsets(), points[y == i])
    assert [text.get_text() for text in display.legend_.get_texts()] == ["0", "1"]
    assert display.legend_.get_title().get_text() == "$kind$"
    assert display.ax_.get_xlabel().startswith("Principal component 1 (")
    first, second = display.scatters_
    assert not np.array_equal(first.get_facecolor(), second.get_facecolor())
    assert len(first.get_paths()[0]) != len(second.get_paths()[0])  # another marker


def test_another_reducer_and_no_target(model, data):
    reducer = TruncatedSVD(2, random_state=0)
    display = FusionSpaceDisplay.from_estimator(model, data[0], reducer=reducer, ax=Figure().subplots())
    np.testing.assert_allclose(
        display.points, TruncatedSVD(2, random_state=0).fit_transform(model.transform(data[0]))
    )
    assert not hasattr(reducer, "components_")
    assert len(display.scatters_) == 1
    with pytest.raises(ValueError, match=r"PCA made \(60, 3\) of 60 samples, expected \(60, 2\)"):
        FusionSpaceDisplay.from_estimator(model, data[0], reducer=PCA(3))
    with pytest.raises(ValueError, match="y has the shape"):
        FusionSpaceDisplay.from_estimator(model, *data[:1], np.zeros((60, 2)))
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        FusionSpaceDisplay.from_estimator(model, *data[:1], np.zeros(3))
    with pytest.raises(NotFittedError):
        FusionSpaceDisplay.from_estimator(small(), *data)


def test_values_have_a_colour_bar(data):
    X, y = data
    fitted = small(MultimodalRegressor, max_epochs=2).fit(X, y * 1.5)
    display = FusionSpaceDisplay.from_estimator(
        fitted, X, y * 1.5, target_name="price in $", ax=Figure().subplots()
    )
    np.testing.assert_array_equal(display.scatters_[0].get_array(), y * 1.5)
    assert display.colorbar_.ax.get_ylabel() == "price in $"


@pytest.mark.parametrize(
    "y", [[None, "a", 1], [np.nan, "a", "1"], np.array([np.nan, 1, 0]), pd.Series([pd.NA, 1, 0])]
)
def test_a_sample_without_a_class_is_grey(y):
    display = FusionSpaceDisplay(points=np.eye(3, 2), y=y).plot(Figure().subplots())
    *classes, unknown = display.scatters_
    assert [len(scatter.get_offsets()) for scatter in classes] == [1, 1]
    np.testing.assert_array_equal(unknown.get_offsets(), [[1, 0]])
    red, green, blue, _ = unknown.get_facecolor()[0]
    assert red == green == blue
    assert [text.get_text() for text in display.legend_.get_texts()][-1] == "unknown"


@pytest.mark.parametrize("y", [np.array([np.nan, 1.5, 0]), [None, 1.5, 0], np.array([np.inf, 1.5, 0])])
def test_a_sample_without_a_value_is_grey(y):
    display = FusionSpaceDisplay(points=np.eye(3, 2), y=y, continuous=True)
    display.plot(Figure().subplots(), scatter_kw={"cmap": "plasma", "vmin": 0})
    coloured, unknown = display.scatters_
    np.testing.assert_array_equal(coloured.get_array(), [1.5, 0])
    np.testing.assert_array_equal(unknown.get_offsets(), [[1, 0]])
    assert display.colorbar_.ax.get_ylabel() == "value (grey: unknown)"


@pytest.mark.parametrize("continuous", [False, True])
def test_samples_of_which_nothing_is_known_are_all_grey(continuous):
    display = FusionSpaceDisplay(points=np.eye(3, 2), y=[np.nan] * 3, continuous=continuous).plot(
        Figure().subplots()
    )
    display.figure_.canvas.draw()
    assert len(display.scatters_[-1].get_offsets()) == 3


def test_more_classes_than_looks_are_named_among_their_points():
    points = np.random.default_rng(0).normal(size=(160, 2))
    display = FusionSpaceDisplay(points=points, y=np.arange(160) // 2).plot(Figure().subplots())
    assert display.legend_ is None
    assert [text.get_text() for text in display.text_] == [str(i) for i in range(80)]
