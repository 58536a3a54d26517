"""Table: building, reading, showing."""

import pickle
import sys

import numpy as np
import pytest

from skmm.table import Table

ROWS = [{"method": "mfb", "accuracy": 0.91234, "n": 3}, {"method": "late", "accuracy": 0.9, "n": 12}]


def test_rows_and_columns_make_the_same_table():
    from_rows = Table(iter(ROWS))
    from_columns = Table({"method": ["mfb", "late"], "accuracy": np.array([0.91234, 0.9]), "n": (3, 12)})
    assert list(from_rows) == list(from_columns) == ROWS
    assert from_rows.columns == from_columns.columns == ["method", "accuracy", "n"]
    assert len(from_rows) == 2
    assert from_rows["accuracy"] == [0.91234, 0.9]


def test_order_of_keys_in_later_rows_does_not_matter():
    assert Table([{"a": 1, "b": 2}, {"b": 4, "a": 3}])["a"] == [1, 3]


def test_nothing_handed_out_or_taken_in_can_change_the_table():
    given = {"a": [1, 2]}
    table = Table(given)
    given["a"].append(3)
    table["a"].append(3)
    table.columns.append("b")
    next(iter(table))["a"] = 5
    assert list(table) == [{"a": 1}, {"a": 2}]
    with pytest.raises(TypeError):
        table["a"] = [0, 0]


def test_unknown_column_lists_the_columns():
    with pytest.raises(KeyError, match=r"no column 'recall'; there are \['method', 'accuracy', 'n'\]"):
        Table(ROWS)["recall"]


def test_rows_with_other_columns_are_refused():
    with pytest.raises(ValueError, match=r"row 1 has the columns \['a', 'c'\], the first row has \['a', 'b'\]"):
        Table([{"a": 1, "b": 2}, {"a": 1, "c": 2}])


def test_columns_of_unequal_length_are_refused():
    with pytest.raises(ValueError, match=r"different lengths: \{'a': 1, 'b': 2\}"):
        Table({"a": [1], "b": [1, 2]})


def test_repr_aligns_text_left_and_numbers_right():
    assert repr(Table(ROWS)).splitlines() == [
        "method  accuracy   n",
        "mfb       0.9123   3",
        "late      0.9000  12",
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.91234, "0.9123"),
        (np.float32(0.5), "0.5000"),
        (-12345.6, "-12345.6000"),
        (0.0, "0.0000"),
        (3.2e-6, "3.200e-06"),
        (6.02e23, "6.020e+23"),
        (float("nan"), "nan"),
        (float("inf"), "inf"),
        (7, "7"),
        (np.int64(7), "7"),
        (True, "True"),
        ("text", "text"),
        (None, ""),
    ],
)
def test_cells(value, text):
    assert Table([{"x": value}]).to_markdown().splitlines()[-1] == f"| {text} |"


def test_an_absent_number_keeps_its_column_aligned_right():
    assert repr(Table({"x": [None, 1.0]})).splitlines() == ["     x", "", "1.0000"]


def test_markdown():
    assert Table([{"a|b": "x|y\nz", "n": 1}]).to_markdown().splitlines() == [
        "| a\\|b | n |",
        "| :--- | ---: |",
        "| x\\|y z | 1 |",
    ]


def test_html_is_escaped():
    html = Table([{"<b>": "<script>&"}])._repr_html_()
    assert "&lt;b&gt;" in html
    assert "&lt;script&gt;&amp;" in html
    assert "<script" not in html


def test_to_pandas():
    frame = Table(ROWS).to_pandas()
    assert frame.columns.tolist() == ["method", "accuracy", "n"]
    assert frame["accuracy"].tolist() == [0.91234, 0.9]
    assert frame["n"].dtype == np.int64


def test_to_pandas_without_pandas_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"skmm\[dataframe\]"):
        Table(ROWS).to_pandas()


def test_empty_table():
    table = Table([])
    assert len(table) == 0
    assert table.columns == []
    assert list(table) == []
    assert repr(table) == "Table(0 rows)"


def test_pickle():
    assert list(pickle.loads(pickle.dumps(Table(ROWS)))) == ROWS
