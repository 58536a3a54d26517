"""Numbers, dates and arrays as people write them."""

import datetime

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.base import clone

from skmm import ModalityTransformer
from skmm.columns._written import NumberForm, is_array, number_form, read_array, read_date

N = 12
NUMBERS = np.array([1234.5, 7, -0.25, 12000, 3.5, 99, 100, 2500000, 18.75, 0.5, 42, 1])


def spelled(number, group=",", decimal="."):
    return f"{number:,}".replace(".", "*").replace(",", group).replace("*", decimal).removesuffix(f"{decimal}0")


SPELLINGS = {
    "as Python does": (lambda v: f" {v!r}", 1),
    "grouped by commas": (spelled, 1),
    "with a decimal comma": (lambda v: spelled(v, "", ","), 1),
    "grouped by points": (lambda v: spelled(v, ".", ","), 1),
    "grouped by spaces": (lambda v: spelled(v, " "), 1),
    "grouped by narrow spaces, with a decimal comma": (lambda v: spelled(v, "\N{NARROW NO-BREAK SPACE}", ","), 1),
    "grouped by apostrophes": (lambda v: spelled(v, "'"), 1),
    "dollars": (lambda v: f"{'-' if v < 0 else ''}${spelled(abs(v))}", 1),
    "dollars of accountants": (lambda v: f"(${spelled(-v)})" if v < 0 else f"${spelled(v)}", 1),
    "euros": (lambda v: f"{spelled(v, '.', ',')} €", 1),
    "francs": (lambda v: f"CHF {spelled(v, chr(39))}", 1),
    "shares": (lambda v: f"{spelled(v)}%", 0.01),
    "weights": (lambda v: f"{spelled(v)} kg", 1),
    "speeds": (lambda v: f"{spelled(v)}km/h", 1),
    "temperatures": (lambda v: f"{v} °C", 1),
    "months": (lambda v: f"{v:g} month{'s' * (v != 1)}", 1),
    "a true minus": (lambda v: f"{v}".replace("-", "\N{MINUS SIGN}"), 1),
}


def frame_of(cells, package=pd):
    return package.DataFrame({"x": cells, "other": np.resize([0.5, 1.5, 2.5], len(cells))})


def found_in(cells, **overrides):
    transformer = ModalityTransformer.from_frame(frame_of(cells), **overrides)
    return transformer, next(iter(transformer.describe()))


def read_by(transformer, frame, kind="number"):
    """What stands before the imputer, the first column."""
    frame = frame[["x"]] if kind == "date" else frame
    return transformer.named_transformers_["table"].named_transformers_[kind][0].transform(frame)[:, 0]


@pytest.mark.parametrize(("write", "scale"), SPELLINGS.values(), ids=SPELLINGS)
def test_numbers_are_what_they_say_however_they_are_written(write, scale):
    cells = [write(v) for v in NUMBERS.tolist()]
    transformer, row = found_in(cells)
    assert (row["kind"], row["modality"]) == ("number", "table")
    longest = max(cells, key=len)
    if not longest.startswith(" "):
        assert f"its cells are numbers, {longest!r} is " in row["why"] or "written as strings" in row["why"]
    for package in (pd, pl):
        frame = frame_of(cells, package)
        np.testing.assert_allclose(read_by(clone(transformer).fit(frame), frame), NUMBERS * scale)
    transformer.fit(frame_of(cells))
    # one row, that might be read otherwise, is read as in fit
    for i, cell in enumerate(cells):
        np.testing.assert_allclose(read_by(transformer, frame_of([cell])), [NUMBERS[i] * scale])


def test_a_form_that_fit_found_holds_for_cells_that_say_something_else_alone():
    transformer, _ = found_in(["3,50", "1.234,00", "7"] * 4)
    transformer.fit(frame_of(["3,50", "1.234,00", "7"] * 4))
    assert read_by(transformer, frame_of(["1,234", "1.234", "12"])).tolist() == [1.234, 1234, 12]
    with pytest.raises(ValueError, match=r"column 'x', row 1: '3.5' is no number written as 1.234,5\."):
        transformer.transform(frame_of(["1", "3.5"]))
    assert read_by(transformer, frame_of([1.5, 2.0])).tolist() == [1.5, 2]


def test_a_unit_that_fit_did_not_see_is_named():
    cells = [f"{i * i} kg" for i in range(N)]
    transformer = found_in(cells)[0].fit(frame_of(cells))
    with pytest.raises(ValueError, match="column 'x', row 0: '300 g' is no number written as 1234.5 kg"):
        transformer.transform(frame_of(["300 g"]))


def test_a_comma_that_may_be_either_is_as_it_is_said_to_be():
    cells = ["1,234", "5,678", "9,012"] * 4
    transformer, row = found_in(cells)
    assert row["why"] == "its cells are numbers, '1,234' is 1234: say '1.234,5' if its comma is decimal"
    assert read_by(transformer.fit(frame_of(cells)), frame_of(cells))[0] == 1234
    transformer, row = found_in(cells, x="1.234,5")
    assert (row["kind"], row["why"]) == ("number", "you say so")
    assert read_by(transformer.fit(frame_of(cells)), frame_of(cells))[0] == 1.234


PLACEHOLDERS = ["?", "-", "NA", "", " ", "n/a", "N/A", "null", "None", "NaN", "--", "\N{EM DASH}", "#N/A"]


@pytest.mark.parametrize("mark", PLACEHOLDERS)
def test_what_says_unknown_is_missing_however_often_it_stands(mark):
    cells = [mark, "1.5", mark, "2", mark, mark, "4", mark]
    transformer, row = found_in(cells)
    assert row["kind"] == "number"
    assert row["why"] == f"its cells are numbers, written as strings; 5 are missing ({mark.strip()!r})"
    transformer.fit(frame_of(cells))
    wanted = [np.nan, 1.5, np.nan, 2, np.nan, np.nan, 4, np.nan]
    np.testing.assert_array_equal(read_by(transformer, frame_of(cells)), wanted)
    # one that fit did not meet is missing as well, in a column of numbers too
    np.testing.assert_array_equal(read_by(transformer, frame_of(["?", "n/a", "3"])), [np.nan, np.nan, 3])
    assert found_in(["2020-01-01", mark, "2021-05-06"] * 4)[1]["kind"] == "date"
    days = ["2020-01-01", mark, "2021-05-06"] * 4
    read = read_by(found_in(days)[0].fit(frame_of(days)), frame_of(days), "date")
    np.testing.assert_array_equal(np.isnan(read), [False, True, False] * 4)


def test_a_placeholder_among_words_is_a_category_like_others():
    _, row = found_in(["?", "red", "blue", "red"] * 4)
    assert (row["kind"], row["why"]) == ("category", "3 strings in 16 cells")


DATES = {
    "slashes": ([f"2020/03/{25 + i % 4}" for i in range(N)], "2020-03-25"),
    "points": ([f"2020.3.{25 + i % 4}" for i in range(N)], "2020-03-25"),
    "months": ([f"{2001 + i}-05" for i in range(N)], "2001-05-01"),
    "months, slashes": ([f"{2001 + i}/5" for i in range(N)], "2001-05-01"),
    "times of day": ([f"{12 + i}:30" for i in range(N)], "1970-01-01T12:30"),
    "times of day by halves": ([f"{1 + i}:30 PM" for i in range(11)], "1970-01-01T13:30"),
    "slashes and a time": ([f"2020/03/{25 + i % 4} 6:30 am" for i in range(N)], "2020-03-25T06:30"),
    "names of months": ([f"{25 + i % 4} Mar 2020" for i in range(N)], "2020-03-25"),
    "full names of months": ([f"March {25 + i % 4}, 2020" for i in range(N)], "2020-03-25"),
    "dashes around names": ([f"{25 + i % 4}-Mar-2020" for i in range(N)], "2020-03-25"),
    "iso with a zone": ([f"2020-03-{25 + i % 4}T10:00:00+02:00" for i in range(N)], "2020-03-25T08:00"),
}


@pytest.mark.parametrize(("cells", "first"), DATES.values(), ids=DATES)
def test_dates_are_what_they_say_however_they_are_written(cells, first):
    transformer, row = found_in(cells)
    assert (row["kind"], row["modality"]) == ("date", "table")
    years = (np.datetime64(first, "s") - np.datetime64("1970-01-01")) / np.timedelta64(1, "D") / 365.2425
    np.testing.assert_allclose(read_by(transformer.fit(frame_of(cells)), frame_of(cells), "date")[0], years)
    with pytest.raises(ValueError, match="column 'x', row 1: 'soon' is no date"):
        transformer.transform(frame_of([cells[0], "soon"]))


@pytest.mark.parametrize(
    ("cells", "kind", "says"),
    [
        ([*(f"{i * i} kg" for i in range(8)), *("300 g", "20 g") * 2], "text", "8 of 12 are numbers written as 1234.5 kg, row 8 has '300 g'"),  # noqa: E501
        ([*map(str, range(8)), *("cheap", "dear") * 2], "category", "8 of 12 are numbers, row 8 has 'cheap'"),
        ([*(f"2020/03/{i}" for i in range(10, 20)), "soon", "later"], "drop", "10 of 12 are dates, year-month-day, row 10 has 'soon'"),  # noqa: E501
        ([*(f"{i}:30" for i in range(20, 28)), "1:30"], "drop", "5 of 9 are times of day, row 4 has '24:30'"),
        ([f"{i % 4:03}" for i in range(12)], "category", "they are numbers but for the leading zero of '000'"),
        ([*("[0.1, 0.2]",) * 8, "none", "red"], "category", "8 of 9 are arrays, row 9 has 'red'"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:column 'x' is dropped")
def test_what_stands_in_the_way_of_numbers_and_dates_is_said(cells, kind, says):
    _, row = found_in(cells)
    assert row["kind"] == kind
    assert f"{says}: correct it, mark it as missing, or say what the column is" in row["why"]


def test_what_would_be_dropped_says_what_stood_in_the_way():
    with pytest.warns(UserWarning, match=r"'x' is dropped: it names each row .* row 4 has '24:30': correct it"):
        found_in([f"{i}:30" for i in range(20, 28)])


@pytest.mark.parametrize(
    "cells",
    [
        [f"u-{i}" for i in range(N)],
        [f"{i} Main St" for i in range(N)],
        [f"192.168.{i}.{i * 7}" for i in range(N)],
        [f"1.2.{i}" for i in range(N)],
        [f"{i}-{i + 1}" for i in range(N)],
        [f"B{i} 7" for i in range(N)],
        [f"555 123 4{i:03}" for i in range(N)],
        [f"{1000 + i}-{i:02}" for i in range(N)],
    ],
)
@pytest.mark.filterwarnings("ignore:column 'x' is dropped")
def test_codes_are_no_numbers(cells):
    row = found_in(cells)[1]
    assert row["kind"] in ("category", "text", "characters", "drop")
    assert "strings" in row["why"]


ARRAYS = {
    "lists": ([f"[0.{i}, 0.2]" for i in range(N)], lambda i: [i / 10 if i < 10 else i / 100, 0.2]),
    "arrays of numpy": ([str(np.array([i, 0.5, -2.0])) for i in range(N)], lambda i: [i, 0.5, -2]),
    "tables": ([str([[i, 1], [2, 3]]) for i in range(N)], lambda i: [[i, 1], [2, 3]]),
    "tables of numpy": ([str(np.array([[i, 1.5], [2, 3]])) for i in range(N)], lambda i: [[i, 1.5], [2, 3]]),
    "tuples": ([f"({i}, 1.5)" for i in range(N)], lambda i: [i, 1.5]),
    "pixels": ([" ".join(map(str, range(i, i + 48))) for i in range(N)], lambda i: list(range(i, i + 48))),
    "coordinates": ([f"48.{i + 10}, 2.5" for i in range(N)], lambda i: [48 + (i + 10) / 100, 2.5]),
}


@pytest.mark.parametrize(("cells", "wanted"), ARRAYS.values(), ids=ARRAYS)
def test_arrays_as_text_are_arrays(cells, wanted):
    transformer, row = found_in(cells)
    assert (row["kind"], row["modality"]) == ("array", "x")
    assert "arrays, written as strings, of shape" in row["why"]
    block = transformer.fit_transform(frame_of(cells))["x"]
    np.testing.assert_allclose(np.asarray(block), [wanted(i) for i in range(N)])
    np.testing.assert_array_equal(transformer.transform(frame_of(cells[3:4]))["x"], block[3:4])
    with pytest.raises(ValueError, match="row 1: 'soon' is no array of numbers"):
        transformer.transform(frame_of([cells[0], "soon"]))


NO_ARRAYS = ["[" * 90_000 + "1" + "]" * 90_000, "[1, [2]]", "[1] [2]", "1 2 [", "__import__('os')"]


@pytest.mark.parametrize("cell", NO_ARRAYS, ids=lambda cell: cell[:9])
def test_what_is_no_array_is_an_error_soon(cell):
    with pytest.raises(ValueError):  # noqa: PT011  # of whatever reads it; the cell is named by its row
        read_array(cell)


LONG = ["1" * 100_000, "1," * 50_000, " " * 50_000, "$" * 50_000, "1" + " " * 50_000 + "x", "(" * 9999]


@pytest.mark.parametrize("cell", LONG, ids=lambda cell: repr(cell[:3]))
def test_long_cells_are_looked_at_quickly(cell):
    """A pattern that tries all ways to divide a cell would take hours."""
    assert number_form([cell])[1] == [0]
    assert not is_array(cell) or cell.startswith("1,")
    with pytest.raises(ValueError, match=r"shorter|\d"):
        read_date(f"{cell}1")


def test_lists_of_whole_numbers_are_what_they_become():
    cells = [list(range(1, 3 + i % 4)) for i in range(N)]
    transformer, row = found_in(cells)
    assert row["kind"] == transformer.fit_transform(frame_of(cells)).kinds["x"] == "tokens"
    assert row["why"].endswith("of whole numbers: say 'sequence' if these are no ids")
    as_text, row = found_in([str(cell) for cell in cells])
    assert row["kind"] == as_text.fit_transform(frame_of([str(c) for c in cells])).kinds["x"] == "tokens"
    said, row = found_in(cells, x="sequence")
    assert row["kind"] == said.fit_transform(frame_of(cells)).kinds["x"] == "sequence"
    with pytest.raises(ValueError, match="row 0: expected a list of whole numbers, the ids of tokens"):
        transformer.transform(frame_of([[0.5], [1.0]]))


def test_forms_say_how_they_look():
    assert str(NumberForm()) == ""
    assert str(NumberForm(",", ".", "kg")) == "written as 1.234,5 kg"
    assert read_date("?") is None
    assert read_date("3/4/2020 1:05 pm", "month/day/year") == datetime.datetime(2020, 3, 4, 13, 5)
