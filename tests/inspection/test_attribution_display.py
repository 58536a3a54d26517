"""What a display of attributions draws."""

import sys

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from conftest import make_data, small
from matplotlib.figure import Figure

from skmm import Blocks, LazyTable, MultimodalRegressor
from skmm.inspection import AttributionDisplay, Attributions, attributions


@pytest.fixture
def ax():
    return Figure().subplots()


@pytest.fixture
def words():
    return AttributionDisplay(
        values=np.array([0.0, 2.0, -3.0, 0.5]),
        kind="sparse",
        modality="text",
        names=np.array(["a", "good", "tfidf__dull", "film"], dtype=object),
        target="positive",
        output=1.25,
        baseline_output=-0.5,
    )


def test_the_display_stores_what_it_is_given(words):
    stored = {"values", "kind", "modality", "names", "sample", "unit", "target", "output", "baseline_output"}
    assert set(vars(words)) == {*stored, "seconds", "hertz"}


def test_bars_of_the_strongest_with_what_the_others_add(words, ax):
    assert words.plot(ax, n_names=2) is words
    assert words.ax_ is ax
    assert words.figure_ is ax.figure
    assert [label.get_text() for label in ax.get_yticklabels()] == ["good", "tfidf__dull"]  # the strongest on top
    assert [bar.get_width() for bar in words.bars_] == [2, -3]
    for_it, against = (bar.get_facecolor() for bar in words.bars_)
    assert for_it[0] > for_it[2]  # orange
    assert against[2] > against[1]  # purple
    assert ax.get_xlabel() == "attribution (log-odds)"
    assert ax.get_ylabel() == "2 strongest of 4\n(the others add +0.50)"
    assert ax.get_title() == "text: log-odds of positive +1.25,\n-0.50 with the baseline in its place"


def test_words_of_a_raw_text_are_marked(words, ax):
    words.plot(ax, text="A good film, not DULL!")
    assert words.style_ == "text"
    assert [word.get_text() for word in words.words_] == ["A", "good", "film,", "not", "DULL!"]
    assert len(ax.patches) == 4  # "not" has no attribution
    assert words.colorbar_.ax.get_xlabel() == "attribution (log-odds)"
    assert words.colorbar_.mappable.norm.vmin == -3
    assert words.colorbar_.mappable.norm.vmax == 3


def test_tokens_are_marked_in_their_order_or_summed_as_bars():
    names = np.array(["the", "dull", "dull", ""], dtype=object)
    display = AttributionDisplay(
        values=np.array([0.5, -1.0, -2.0, np.nan]), kind="tokens", modality="text", names=names
    )
    shown = display.plot(Figure().subplots())
    assert [word.get_text() for word in shown.words_] == ["the", "dull", "dull"]
    bars = display.plot(Figure().subplots(), style="bars")
    assert [bar.get_width() for bar in bars.bars_] == [0.5, -3]


def test_a_long_text_goes_on_in_lines(ax):
    names = np.array([f"word{i}" for i in range(40)], dtype=object)
    AttributionDisplay(values=np.ones(40), kind="tokens", modality="text", names=names).plot(ax)
    places = np.array([text.get_position() for text in ax.texts])
    assert len(np.unique(places[:, 1])) > 4
    assert (places[:, 0] + 6 <= ax.get_xlim()[1] + 1).all()


def test_an_image_lies_in_grey_beneath_the_heat(ax):
    values = np.zeros((4, 6, 3))
    values[1, 2] = 1.0
    display = AttributionDisplay(values=values, kind="image", modality="photo", sample=np.ones((4, 6, 3)))
    display.plot(ax)
    grey, heat = ax.images
    assert heat is display.heat_
    assert grey.get_cmap().name == "gray"
    np.testing.assert_array_equal(heat.get_array(), values.sum(axis=2))
    assert heat.get_clim() == (-3, 3)
    assert heat.get_alpha()[1, 2] > 0.5 > heat.get_alpha()[0, 0]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("column (pixels)", "row (pixels)")
    assert display.colorbar_.ax.get_ylabel() == "attribution (log-odds)"


def test_a_spectrogram_has_seconds_and_hertz(ax):
    values = np.full((9, 4), np.nan)
    values[:6] = np.arange(24.0).reshape(6, 4) - 12
    display = AttributionDisplay(
        values=values,
        kind="sequence",
        modality="sound",
        sample=np.ones((6, 4)),
        seconds=0.1,
        hertz=np.arange(4) * 100,
    )
    display.plot(ax)
    np.testing.assert_array_equal(display.heat_.get_array(), values[:6].T)
    assert display.heat_.get_extent() == pytest.approx([-0.05, 0.55, -0.5, 3.5])
    assert ax.get_xlabel() == "time (s)"
    assert ax.get_ylabel() == "frequency of the band (Hz)"
    assert [label.get_text() for label in ax.get_yticklabels()] == ["0", "100", "200", "300"]
    line = display.plot(Figure().subplots(), style="line")
    np.testing.assert_allclose(line.line_.get_xdata(), np.arange(6) * 0.1)
    np.testing.assert_allclose(line.line_.get_ydata(), values[:6].sum(axis=1))
    assert line.ax_.get_ylabel() == "attribution (log-odds)"


def test_frames_of_a_video_stand_side_by_side(ax):
    values = np.random.RandomState(0).randn(10, 4, 5, 3)
    display = AttributionDisplay(values=values, kind="video", modality="clip", sample=np.abs(values)).plot(ax)
    shown = [int(label.get_text()) for label in ax.get_xticklabels()]
    assert len(shown) == 8
    assert display.heat_.get_array().shape == (4, 8 * 5)
    np.testing.assert_allclose(display.heat_.get_array()[:, :5], values[shown[0]].sum(axis=2))
    assert ax.get_xlabel() == "frame"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"style": "pie"}, "unknown style 'pie'"),
        (
            {"style": "heat"},
            r"style='heat' does not suit modality 'text' \(sparse\), valid are \['bars'\]",
        ),
        ({"style": "text"}, r"style='text' does not suit .* Marked words need text=\.\.\., and names"),
        ({"text": 3}, "text=3 must be the raw text of the sample, a str"),
        ({"n_names": 0}, "n_names must be a positive integer"),
        ({"text": "nothing known"}, "no word of text='nothing known' is among the names of modality 'text'"),
    ],
)
def test_wrong_options_of_the_plot(words, ax, options, message):
    with pytest.raises(ValueError, match=message):
        words.plot(ax, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "picture"}, r"unknown kind 'picture', valid are \['vector', 'sparse', 'sequence'"),
        ({"kind": ["vector"]}, r"unknown kind \['vector'\]"),
        ({"values": ["a", "b"]}, "values of modality 'text' must be numbers"),
        ({"kind": "image"}, r"values of shape \(3,\): those .* of kind 'image' .* have 2 or 3 axes"),
        (
            {"kind": "sequence", "values": np.zeros((0, 4))},
            r"'text' \(sequence\): the sample has no numbers or steps",
        ),
        ({"kind": "tokens", "values": [np.nan]}, "the sample has no numbers or steps"),
        ({"names": ["a", "b"]}, r"names of shape \(2,\): modality 'text' \(vector\) has 3 to name"),
        ({"names": "abc"}, "names='abc' must be a list of names"),
        ({"kind": "sequence", "values": np.ones((2, 4)), "names": ["a", "b"]}, r"\(sequence\) has 4 to name"),
        (
            {"kind": "sequence", "values": np.ones((2, 4)), "hertz": [1, 2]},
            r"hertz of shape \(2,\): .* has 4 bands",
        ),
        (
            {"kind": "image", "values": np.ones((2, 4)), "sample": np.ones((4, 4))},
            r"sample of shape \(4, 4\) does not",
        ),
    ],
)
def test_what_cannot_be_drawn_is_refused_at_once(options, message):
    with pytest.raises(ValueError, match=message):
        AttributionDisplay(**{"values": [1.0, 2, 3], "kind": "vector", "modality": "text", **options})


def test_one_number_a_step_needs_no_axis_of_its_own(ax):
    values = np.ones((5, 1))
    display = AttributionDisplay(values=values, kind="sequence", modality="sound", sample=np.arange(4)).plot(ax)
    assert display.sample.shape == (4,)
    np.testing.assert_array_equal(display.heat_.get_array(), np.ones((1, 5)))


def test_lists_are_drawn_as_arrays_are(ax):
    pixels = [[0.0, 1.0], [-2.0, 0.0]]
    display = AttributionDisplay(values=pixels, kind="image", modality="photo", sample=[[0, 1], [2, 3]]).plot(ax)
    np.testing.assert_array_equal(display.heat_.get_array(), pixels)


@pytest.mark.parametrize(
    ("kind", "style", "values"),
    [
        ("vector", "bars", [1.0, -2.0]),
        ("tokens", "text", [1.0, -2.0]),
        ("tokens", "bars", [1.0, -2.0]),
        ("sequence", "heat", [[1.0, 2.0], [3.0, -4.0]]),
        ("sequence", "line", [[1.0, 2.0], [3.0, -4.0]]),
    ],
)
def test_names_with_dollars_are_shown_as_they_are(ax, kind, style, values):
    names, unit = ["$a^$", "_$x_1$"], "$u^$"
    how = {"kind": kind, "modality": "$m^$", "names": names, "unit": unit, "target": "$yes^$"}
    display = AttributionDisplay(values=values, **how).plot(ax, style=style)
    ax.figure.canvas.draw()
    assert ax.get_title() == "$m^$: $u^$ of $yes^$"
    labels = [*ax.get_xticklabels(), *ax.get_yticklabels(), *getattr(display, "words_", [])]
    if style != "line":
        assert set(names) <= {label.get_text() for label in labels}


def test_the_title_says_which_of_several_values_is_explained(ax):
    X, y = make_data(30, ("vector",))
    one, two = (small(MultimodalRegressor, max_epochs=1).fit(X, goal) for goal in (y, np.c_[y, -y]))
    drawn = AttributionDisplay.from_estimator(two, X, "vector", target=0, ax=ax)
    assert ax.get_title().startswith("vector: predicted value of output 0 ")
    assert drawn.target == 0
    AttributionDisplay.from_estimator(one, X, "vector", ax=ax)
    assert ax.get_title().startswith(("vector: predicted value +", "vector: predicted value -"))


def test_one_row_of_a_table_is_drawn_as_that_row(ax, tmp_path):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"size": rng.normal(size=30), "city": rng.choice(["a", "b"], 30)})
    model = small(modalities="auto", max_epochs=1).fit(frame, np.arange(30) % 2)
    frame.to_parquet(tmp_path / "rows.parquet")
    expected = AttributionDisplay.from_estimator(model, frame, "table", row=4, target=1, ax=ax)
    row = frame.iloc[4]
    rows = [frame.iloc[i].to_dict() for i in range(6)]
    stored = LazyTable.from_parquet(tmp_path / "rows.parquet")
    for given, place in ((row, 0), (row.to_dict(), 0), (rows, 4), (frame.to_dict("list"), 4), (stored, 4)):
        found = AttributionDisplay.from_estimator(model, given, "table", row=place, target=1, ax=ax)
        np.testing.assert_allclose(found.values, expected.values, atol=1e-5)
    with pytest.raises(ValueError, match="row=1 is none of the 1 samples, 0 to 0"):
        AttributionDisplay.from_estimator(model, row, "table", row=1)


@pytest.fixture(scope="module")
def fitted():
    X, y = make_data(40, ("vector", "ragged", "sparse"))
    vector = X["vector"].copy()
    vector[0] = np.nan
    X = Blocks(vector=vector, ragged=X["ragged"], sparse=X["sparse"])
    return small(max_epochs=5).fit(X, y), X, y


def test_the_display_of_an_estimator_is_that_of_its_attributions(fitted, ax):
    model, X, _ = fitted
    display = AttributionDisplay.from_estimator(model, X, "ragged", row=7, target=1, ax=ax)
    found = attributions(model, X, "ragged", target=1)
    n = len(X["ragged"][7])
    np.testing.assert_allclose(display.values, found.values[7, :n], atol=1e-4)
    np.testing.assert_allclose(display.sample, X["ragged"][7])
    assert display.output == pytest.approx(found.output[7], abs=1e-4)
    assert display.style_ == "heat"
    stored = AttributionDisplay.from_attributions(found, 7)
    assert stored.sample is None
    np.testing.assert_array_equal(stored.values, found.values[7])
    frame = {**dict(X.items()), "vector": pd.DataFrame(X["vector"], columns=list("uvwxyz"))}
    named = AttributionDisplay.from_estimator(model, frame, "vector", row=3, ax=Figure().subplots())
    assert named.names.tolist() == list("uvwxyz")


def test_a_sparse_row_is_drawn_as_bars(fitted, ax):
    model, X, _ = fitted
    found = attributions(model, X, "sparse")
    assert isinstance(found, Attributions)
    assert sp.issparse(found.values)
    display = AttributionDisplay.from_attributions(found, 2).plot(ax)
    assert display.style_ == "bars"
    assert len(display.bars_) == np.count_nonzero(found.values[[2]].toarray())


@pytest.mark.parametrize(
    ("row", "message"),
    [(0, "row 0 lacks modality 'vector'"), (40, "row=40 is none of the 40 samples"), (-1, "row=-1")],
)
def test_a_row_that_cannot_be_drawn(fitted, row, message):
    model, X, _ = fitted
    with pytest.raises(ValueError, match=message):
        AttributionDisplay.from_estimator(model, X, "vector", row=row)
    with pytest.raises(ValueError, match=message):
        AttributionDisplay.from_attributions(attributions(model, X, "vector"), row)


def test_without_axes_a_figure_is_made(words):
    from matplotlib import pyplot

    words.plot()
    assert words.figure_.number in pyplot.get_fignums()
    pyplot.close(words.figure_)


def test_without_matplotlib_the_extra_is_named(words, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"skmm\[plot\]"):
        words.plot()
    with pytest.raises(ImportError, match=r"skmm\[plot\]"):
        AttributionDisplay.from_estimator(None, None, "text")
