"""Displays: what all of them keep, over a registry, and that each draws the numbers that it is given."""

import sys

import numpy as np
import pytest
from conftest import make_data, small
from matplotlib import pyplot
from matplotlib.figure import Figure
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline

from skmm import MultimodalRegressor
from skmm.inspection import ComparisonDisplay, ImportanceDisplay, StackDisplay, modality_importances
from skmm.model_selection import FusionComparison
from skmm.table import Table

HOSTILE = ["$x_1$ and $", "_hidden", "<b>bold</b>", "Größe αβ", "%s {x} \\n"]


@pytest.fixture(scope="module")
def data():
    return make_data()


@pytest.fixture(scope="module")
def model(data):
    return small(n_members=2, experts=None, modality_dropout=0.3, max_epochs=3).fit(*data)


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


# By display: how one is made and drawn, and what its constructor takes, of modalities, heads or classes with names.
MADE = {
    ImportanceDisplay: lambda model, X, y, ax: ImportanceDisplay.from_estimator(model, X, y, n_bootstrap=5, ax=ax),
    StackDisplay: lambda model, X, y, ax: StackDisplay.from_estimator(model, ax=ax),
    ComparisonDisplay: lambda model, X, y, ax: ComparisonDisplay.from_comparison(compared(), ax=ax),
}
GIVEN = {
    ImportanceDisplay: lambda names: {"modalities": names, "importances": np.arange(len(names))},
    StackDisplay: lambda names: {"heads": names, "weights": np.ones(len(names))},
    ComparisonDisplay: lambda names: {
        "methods": names,
        "kinds": ["fusion"] * len(names),
        "scores": [[0.5, 0.6]] * len(names),
        "fusions": names,
        **dict.fromkeys(["differences", "low", "high"], np.zeros(len(names))),
        "baseline": "$LR$",
    },
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
def test_it_draws_on_the_axes_that_are_given(cls, model, data):
    figure = Figure(layout="constrained")
    ax = figure.subplots()
    display = MADE[cls](model, *data, ax)
    assert isinstance(display, cls)
    assert display.figure_ is figure
    assert ax in axes_of(display) or not ax.axison  # where it is divided
    figure.canvas.draw()
    assert display.plot() is display
    assert display.figure_.number in pyplot.get_fignums()
    pyplot.close(display.figure_)


@every_display
def test_every_axis_says_what_it_shows(cls, model, data):
    display = MADE[cls](model, *data, Figure().subplots())
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
        MADE[cls](None, None, None, None)


@every_display
def test_names_are_shown_as_they_are(cls):
    display = cls(**GIVEN[cls](HOSTILE)).plot(Figure(figsize=(9, 6), layout="constrained").subplots())
    found = texts(display.figure_)
    assert set(HOSTILE) <= set(found)
    assert not any(found[name].get_parse_math() for name in HOSTILE)


@every_display
def test_thirty_long_names_find_room(cls):
    names = [f"{i}: {'long ' * 20}name" for i in range(30)]
    display = cls(**GIVEN[cls](names)).plot()
    display.figure_.canvas.draw()
    for ax in axes_of(display):
        boxes = [text.get_window_extent() for text in ax.get_yticklabels()]
        gaps = np.diff(sorted((box.y0 + box.y1) / 2 for box in boxes))
        assert all(box.x0 >= -1 for box in boxes)
        assert not len(gaps) or gaps.min() > max(box.height for box in boxes) - 2
    pyplot.close(display.figure_)


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
    assert again.errorbar_ is None or not len(again.errorbar_.lines[2][0].get_segments())


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
