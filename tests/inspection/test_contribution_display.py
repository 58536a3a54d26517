"""One sample's waterfall, and what is shown of the sample beside it, whatever that is."""

import itertools

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from conftest import make_data, small
from matplotlib import pyplot
from matplotlib.figure import Figure
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import make_pipeline
from sklearn.utils import Bunch

from skmm import MultimodalRegressor
from skmm.compose import ModalityTransformer
from skmm.compression import Distilled
from skmm.inspection import ContributionDisplay, modality_contributions
from skmm.inspection._displays._sample import sample_of
from skmm.preprocessing import ImageLoader


@pytest.fixture(scope="module")
def data():
    return make_data()


@pytest.fixture(scope="module")
def model(data):
    return small(modality_dropout=0.3, max_epochs=3).fit(*data)


def test_axes_that_stand_freely_are_divided_where_they_are(model):
    ax = Figure().add_axes((0.2, 0.3, 0.6, 0.5))
    display = ContributionDisplay(
        modalities=["a"], contributions=np.ones(1), base=0.0, prediction=1.0, sample={"a": "text", "b": None}
    ).plot(ax)
    boxes = [own.get_position() for own in display.axes_]
    assert all(box.x0 >= 0.2 - 1e-9 and box.x1 <= 0.8 + 1e-9 for box in boxes)
    assert all(box.y0 >= 0.3 - 1e-9 and box.y1 <= 0.8 + 1e-9 for box in boxes)
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))


def test_all_forms_of_a_sample(model, data):
    X, y = data
    forms = {"blocks": X, "dict": dict(X), "one": X[[4]]}
    drawn = [
        ContributionDisplay.from_estimator(model, form, row=0 if name == "one" else 4, ax=Figure().subplots())
        for name, form in forms.items()
    ]
    for display in drawn:
        np.testing.assert_allclose(display.contributions, drawn[0].contributions)
        np.testing.assert_array_equal(display.sample["vector"], X["vector"][4])
    flat, layout = X.to_flat()
    fitted = small(modalities=layout, max_epochs=2, modality_dropout=0.3).fit(flat, y)
    display = ContributionDisplay.from_estimator(fitted, flat, row=4, ax=Figure().subplots())
    np.testing.assert_array_equal(display.sample["vector"], X["vector"][4])


def test_contributions_lead_from_the_base_to_the_answer(model, data):
    X, _ = data
    display = ContributionDisplay.from_estimator(model, X, row=2, ax=Figure().subplots())
    found = modality_contributions(model, X[[2]])
    best = int(found.predictions[0].argmax())
    expected = found.contributions[0, :, best]
    order = np.argsort(-abs(expected))
    np.testing.assert_allclose([bar.get_width() for bar in display.bars_], expected[order])
    starts = found.base[0, best] + np.cumsum([0.0, expected[order][0]])
    np.testing.assert_allclose([bar.get_x() for bar in display.bars_], starts)
    np.testing.assert_allclose(display.base_line_.get_xdata(), found.base[0, best])
    np.testing.assert_allclose(display.prediction_line_.get_xdata(), model.predict_proba(X[[2]]).max())
    bars, *panels = display.axes_
    assert [text.get_text() for text in bars.get_yticklabels()] == [
        "without any",
        *np.array(list(X))[order],
        "with all",
    ]
    assert bars.get_xlabel() == f"Probability of {best}"
    assert [panel.get_title(loc="left") for panel in panels] == list(X)
    alone = ContributionDisplay.from_estimator(model, X[[2]], output=1, show_sample=False, ax=Figure().subplots())
    assert len(alone.axes_) == 1
    assert alone.prediction == pytest.approx(model.predict_proba(X[[2]])[0, 1])


def test_which_sample_and_output_has_to_be_there(model, data):
    X, y = data
    with pytest.raises(ValueError, match="X has 60 samples, and one is shown; say which: row=0"):
        ContributionDisplay.from_estimator(model, X)
    for row in (60, -1, 1.0, True):
        with pytest.raises(ValueError, match=f"row={row!r} is none of the 60 samples of X; valid are 0 to 59"):
            ContributionDisplay.from_estimator(model, X, row=row)
    with pytest.raises(ValueError, match="unknown output 7, valid are"):
        ContributionDisplay.from_estimator(model, X, row=0, output=7)
    with pytest.raises(ValueError, match="X has 0 samples, and one is shown; give at least 1"):
        ContributionDisplay.from_estimator(model, X[:0])
    found = modality_contributions(model, X[:2])
    with pytest.raises(ValueError, match="contributions has 2 samples"):
        ContributionDisplay.from_contributions(found)
    display = ContributionDisplay.from_contributions(found, row=1, output=0, ax=Figure().subplots())
    assert display.prediction == found.predictions[1, 0]
    regressor = small(MultimodalRegressor, max_epochs=2, modality_dropout=0.3).fit(X, np.column_stack([y, -y]))
    with pytest.raises(ValueError, match=r"there are 2 outputs, \[0, 1\], and one is shown; say which: output=0"):
        ContributionDisplay.from_estimator(regressor, X, row=0)
    display = ContributionDisplay.from_estimator(regressor, X, row=0, output=1, ax=Figure().subplots())
    assert display.axes_[0].get_xlabel() == "Predicted value 1"
    with pytest.raises(ValueError, match="output=array.* is several, and one is shown; valid are"):
        ContributionDisplay.from_estimator(model, X, row=0, output=np.array([0, 1]))


def contributions_of(outputs):
    """What modality_contributions finds of a sample, of whose outputs the last is the largest."""
    predictions = np.arange(len(outputs), dtype=float)[None]
    return Bunch(
        modalities=["a"],
        contributions=predictions[:, None],
        base=np.zeros_like(predictions),
        predictions=predictions,
        outputs=outputs,
    )


def test_of_contributions_too_one_of_several_values_has_to_be_named():
    found = contributions_of([0, 1])
    with pytest.raises(ValueError, match=r"there are 2 outputs, \[0, 1\], and one is shown; say which: output=0"):
        ContributionDisplay.from_contributions(found, row=0)
    display = ContributionDisplay.from_contributions(found, output=1, ax=Figure().subplots())
    assert display.output_name == "Predicted value 1"


@pytest.mark.parametrize("classes", [[0, 1], ["cat", "dog"], [False, True], [0.5, 1.5]])
def test_of_classes_the_most_probable_is_shown(classes):
    found = contributions_of(list(np.array(classes)))
    display = ContributionDisplay.from_contributions(found, ax=Figure().subplots())
    assert display.output_name == f"Probability of {classes[1]}"


def test_the_label_is_the_class_itself():
    found = contributions_of(list(np.array([False, True])))
    display = ContributionDisplay.from_contributions(found, output=1, ax=Figure().subplots())
    assert display.output_name == "Probability of True"
    with pytest.raises(ValueError, match=r"is several, and one is shown; valid are \['False', 'True'\]"):
        ContributionDisplay.from_contributions(found, output=[True])


SAMPLES = {
    "long": "word " * 500,
    "$numbers_$": {"price_$": 1.5, "age": None, "day": pd.Timestamp("2026-01-02")},
    "nothing": None,
    "nan": np.nan,
    "object": object(),
    "bytes": b"\x00\xff",
    "picture": np.zeros((4, 6, 3), np.uint8),
    "grey": np.arange(24, dtype=np.uint8).reshape(4, 6),
    "deep": np.full((4, 4, 7), np.nan),
    "video": np.ones((9, 4, 4, 3)),
    "lines": np.zeros((5, 2)),
    "spectrum": np.full((20, 30), np.inf),
    "sound": np.sin(np.arange(100.0)),
    "ids": np.arange(1000),
    "few": np.array([1.0, np.nan]),
    "sparse": sp.csr_array([[0, 2.5, 0]]),
    "zeros": sp.csr_array((1, 3)),
    "empty": np.zeros((0, 3)),
    "text": "",
    "five axes": np.zeros((2, 2, 2, 2, 2)),
    "ragged": [[1], [1, 2]],
    "list": [1.0, 2.0],
    "complex": np.array([1j]),
}


def test_whatever_a_sample_is_there_is_something_to_see():
    display = ContributionDisplay(
        modalities=["a"], contributions=np.ones(1), base=0.0, prediction=1.0, sample=SAMPLES
    ).plot(Figure(figsize=(12, 20), layout="constrained").subplots())
    display.figure_.canvas.draw()
    panels = {panel.get_title(loc="left"): panel for panel in display.axes_[1:]}
    assert list(panels) == list(SAMPLES)
    said = {name: "".join(text.get_text() for text in panel.texts) for name, panel in panels.items()}
    assert said["$numbers_$"] == "price_$: 1.50\nage: missing\nday: 2026-01-02 00:00:00"
    assert said["nothing"] == said["nan"] == "missing"
    assert said["object"] == "object, not shown"
    assert said["bytes"] == "bytes, not shown"
    assert said["sparse"] == "1: 2.50"
    assert said["few"] == "0: 1.00\n1: missing"
    assert said["long"].endswith("…")
    assert said["long"].count("\n") < 8
    assert {name for name, panel in panels.items() if panel.images} == {
        "picture",
        "grey",
        "deep",
        "video",
        "spectrum",
    }
    assert {name for name, panel in panels.items() if panel.lines} == {"lines", "sound"}


def test_text_and_names_beside_the_bars_are_not_cut_off():
    sample = {"w" * 60: "wide words, " * 60, "sound": np.sin(np.arange(9000.0)), "picture": np.zeros((9, 9, 3))}
    display = ContributionDisplay(modalities=["a"], contributions=[1.0], base=0.0, prediction=1.0, sample=sample)
    figure = display.plot().figure_
    figure.canvas.draw()
    width, height = figure.get_size_inches() * figure.dpi
    for text in figure.findobj(pyplot.Text):
        if text.get_text() and text.get_visible() and "w" in text.get_text():
            box = text.get_window_extent()
            assert box.x0 >= 0
            assert box.x1 <= width
            assert 0 <= box.y0 < box.y1 <= height
    pyplot.close(figure)


def test_of_a_table_the_raw_cells_are_shown_and_pictures_as_they_are_read(tmp_path):
    image = pytest.importorskip("PIL.Image")
    n = 40
    for i in range(2):
        image.new("RGB", (9, 9), ["red", "blue"][i]).save(tmp_path / f"{i}.png")
    frame = pd.DataFrame(
        {
            "review": ["a good film", "a bad film"] * (n // 2),
            "price": np.arange(n) / 2,
            "photo": [str(tmp_path / f"{i % 2}.png") for i in range(n)],
        }
    )
    reader = ModalityTransformer(
        [
            ("text", TfidfVectorizer(), "review"),
            ("table", "passthrough", ["price"]),
            ("image", ImageLoader(size=8), "photo"),
        ]
    )
    model = make_pipeline(reader, small(max_epochs=2, modality_dropout=0.3)).fit(frame, np.arange(n) % 2)
    display = ContributionDisplay.from_estimator(model, frame, row=3, ax=Figure().subplots())
    assert display.sample["text"] == "a bad film"
    assert display.sample["table"] == 1.5
    np.testing.assert_array_equal(display.sample["image"][0, 0], [0, 0, 255])
    by_column = ContributionDisplay.from_estimator(
        model, frame, row=3, level="column", modalities=["review", ("price", "photo")], ax=Figure().subplots()
    )
    assert list(by_column.sample) == ["review", "price", "photo"]
    assert by_column.sample["photo"].shape == (128, 128, 3)


def test_one_row_of_a_table_is_the_same_sample_in_all_forms():
    n = 40
    frame = pd.DataFrame({"review": ["a good film", "a bad film"] * (n // 2), "price": np.arange(n) / 2})
    model = small(modalities="auto", experts=None, max_epochs=2, modality_dropout=0.3)
    model.fit(frame, np.arange(n) // 2 % 2)
    rows = [frame.iloc[i] for i in range(n)]
    expected = ContributionDisplay.from_estimator(model, frame, row=3, ax=Figure().subplots())
    for X, row in [(rows[3], None), (rows[3], 0), (rows[3].to_dict(), 0), ([row.to_dict() for row in rows], 3)]:
        display = ContributionDisplay.from_estimator(model, X, row=row, ax=Figure().subplots())
        np.testing.assert_allclose(display.contributions, expected.contributions)
        assert display.sample == {"table": {"review": "a bad film", "price": 1.5}}
    compressed = Distilled(small())
    compressed.student_ = model
    display = ContributionDisplay.from_estimator(compressed, rows[3], ax=Figure().subplots())
    np.testing.assert_allclose(display.contributions, expected.contributions)
    assert display.sample == expected.sample
    by_column = ContributionDisplay.from_estimator(model, rows[3], level="column", ax=Figure().subplots())
    assert by_column.sample == {"review": "a bad film", "price": 1.5}
    with pytest.raises(ValueError, match="row=1 is none of the 1 samples of X"):
        ContributionDisplay.from_estimator(model, rows[3], row=1)


def test_columns_may_have_numbers_for_names():
    frame = pd.DataFrame([["a good film", 1.5]])
    assert sample_of(None, frame, ["1"]) == {"1": 1.5}
    assert sample_of(None, frame) == {"0": "a good film", "1": 1.5}


def test_a_path_in_a_column_of_words_is_not_opened(tmp_path):
    image = pytest.importorskip("PIL.Image")
    image.new("RGB", (9, 9)).save(tmp_path / "secret.png")
    paths = [str(tmp_path / "secret.png"), "a good film"] * 20
    network = small(max_epochs=2, modality_dropout=0.3)
    model = make_pipeline(ModalityTransformer([("text", TfidfVectorizer(), "review")]), network)
    frame = pd.DataFrame({"review": paths})
    model.fit(frame, np.arange(40) % 2)
    for level in ("modality", "column"):
        display = ContributionDisplay.from_estimator(model, frame, row=0, level=level, ax=Figure().subplots())
        assert list(display.sample.values()) == paths[:1]
