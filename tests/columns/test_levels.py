"""Categories are their values: what is equal is one level, in whatever type a later table holds it."""

import datetime
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pytest
from conftest import small
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from skmm import ModalityTransformer
from skmm.columns._levels import Categories
from skmm.preprocessing.table import TableTokens

N = 30
PLACE = np.arange(N) % 3  # which of three values stands in a row
WORDS, WHOLE, PARTS = np.array(["a", "b", "c"]), np.array([1, 2, 30]), np.array([0.5, 1.5, 0.1])
DAYS = np.array(["2020-01-01", "2020-02-03", "2021-05-06"], dtype="datetime64[D]")
GAP = np.arange(N) == 4


def objects(values):
    return pd.Series([None if gone else v for v, gone in zip(values, GAP, strict=True)], dtype=object)


def forms(values, **types):
    """One column of values in several types, by what they are."""
    own = {
        "numpy": pd.Series(values),
        "objects": objects(values.tolist()),
        "Categorical": pd.Series(pd.Categorical(values)),
        "Categorical with a gap": pd.Series(pd.Categorical(objects(values.tolist()))),
        "polars": pl.Series(values),
        "polars with a gap": pl.Series(objects(values.tolist()).tolist()),
    }
    given = {str(dtype): pd.Series(values).astype(dtype) for dtype in types.get("dtypes", [])}
    with_gap = {f"{name} with a gap": column.mask(pd.Series(GAP)) for name, column in given.items()}
    return {**own, **given, **with_gap, **types.get("others", {})}


SAME = {
    "whole numbers": forms(
        WHOLE[PLACE],
        dtypes=["float64", "float32", "int8", "Int64", "Float64", "int64[pyarrow]", "double[pyarrow]", "UInt16"],
        others={
            "decimals": pd.Series([Decimal(int(v)) for v in WHOLE[PLACE]], dtype=object),
            "decimals of polars": pl.Series([Decimal(int(v)) for v in WHOLE[PLACE]]),
            "int32 of polars": pl.Series(WHOLE[PLACE].astype(np.int32)),
            "strings": pd.Series(WHOLE[PLACE].astype(str)),
            "strings of floats": pd.Series(WHOLE[PLACE].astype(float).astype(str)),
        },
    ),
    "true and false": forms(
        PLACE == 1,
        dtypes=["int64", "float64", "boolean", "Int8", "bool[pyarrow]", "int32[pyarrow]"],
        others={"strings": pd.Series((PLACE == 1).astype(str))},
    ),
    "fractions": forms(
        PARTS[PLACE],
        dtypes=["float32", "Float64", "Float32", "double[pyarrow]", "float[pyarrow]"],
        others={
            "decimals": pd.Series([Decimal(str(v)) for v in PARTS[PLACE]], dtype=object),
            "strings": pd.Series(PARTS[PLACE].astype(str)),
        },
    ),
    "words": forms(
        WORDS[PLACE],
        dtypes=["object", "str", "string", "string[pyarrow]", "category"],
        others={
            "Categorical of polars": pl.Series(WORDS[PLACE].tolist(), dtype=pl.Categorical),
            "Enum of polars": pl.Series(WORDS[PLACE].tolist(), dtype=pl.Enum(WORDS.tolist())),
        },
    ),
    "days": forms(
        DAYS[PLACE].astype("datetime64[us]"),
        dtypes=["datetime64[ns]", "datetime64[s]"],
        others={
            "date objects": pd.Series(DAYS[PLACE].tolist(), dtype=object),
            "dates of polars": pl.Series(DAYS[PLACE].tolist(), dtype=pl.Date),
            "timestamps": pd.Series([pd.Timestamp(day) for day in DAYS[PLACE]], dtype=object),
        },
    ),
}


def table(column):
    return column.alias("x").to_frame() if isinstance(column, pl.Series) else pd.DataFrame({"x": column})


def there(column):
    return ~np.asarray(column.is_null() if isinstance(column, pl.Series) else column.isna(), dtype=bool)


def read(made, column):
    """The level of each cell, as a string or an id."""
    found = made.transform(table(column))
    return found[:, 0] if isinstance(found, np.ndarray) else found.values


def made_for(make, column):
    return make().fit(table(column))


both_readers = pytest.mark.parametrize("make", [Categories, TableTokens])


@both_readers
@pytest.mark.parametrize("what", SAME)
def test_equal_values_are_equal_levels_in_whatever_type(make, what):
    """Each form is fitted, and each other is read by it."""
    for name, first in SAME[what].items():
        made = made_for(make, first)
        wanted = read(made, first)
        assert len(set(wanted[there(first)])) == (2 if what == "true and false" else 3), name
        for later_name, later in SAME[what].items():
            both = there(first) & there(later)
            found = read(made, later)
            np.testing.assert_array_equal(found[both], wanted[both], err_msg=f"{name}, then {later_name}")


@pytest.mark.parametrize("what", SAME)
def test_a_typed_frame_reads_equal_values_alike(what):
    first, *later = SAME[what].values()
    made = ModalityTransformer.from_frame(table(first), x="category")
    wanted = made.fit_transform(table(first))["table"]
    for column in later:
        found = made.transform(table(column))["table"]
        np.testing.assert_array_equal(found[there(column)], wanted[there(column)])


@both_readers
def test_a_string_that_is_another_one_stays_another(make):
    made = made_for(make, pd.Series(["1", "01", "1.0", "one"] * 5))
    assert len(set(read(made, pd.Series(["1", "01", "1.0", "one"])))) == 4
    with pytest.warns(UserWarning, match="column 'x': 20 of 20 cells are categories that fit did not see"):
        found = read(made_for(make, pd.Series([7, 8] * 5)), pd.Series(["07", "08"] * 10))
    assert not set(found) & set(read(made_for(make, pd.Series([7, 8] * 5)), pd.Series([7, 8])))


@both_readers
def test_a_column_of_new_categories_is_said_once(make):
    made = made_for(make, pd.Series(["north", "south"] * 5))
    strange = pd.Series(["N", "S"] * 10)
    with pytest.warns(UserWarning, match="did not see") as said:
        read(made, strange)
    assert [str(w.message) for w in said] == [
        "column 'x': 20 of 20 cells are categories that fit did not see, 'N' in 10, 'S' in 10; it saw 2, such as "
        "'north', 'south'. They say nothing to the model."
    ]


@both_readers
def test_one_new_category_is_named_with_what_it_may_be_meant_as(make):
    made = made_for(make, pd.Series(["north", "south"] * 5))
    with pytest.warns(UserWarning, match="did not see") as said:
        read(made, pd.Series([" North", "south", None, "west", "west"]))
    assert [str(w.message) for w in said] == [
        "column 'x': 3 of 4 cells are categories that fit did not see, 'west' in 2, ' North' in 1; it saw 2, such "
        "as 'north', 'south'. They say nothing to the model. Is ' North' meant as 'north'? Then write it so."
    ]


@both_readers
def test_of_many_categories_a_few_new_ones_are_nothing_to_tell_of(make):
    made = made_for(make, pd.Series([f"c{i}" for i in range(50)]))
    read(made, pd.Series(["c1", "c2", "new"] * 10))
    with pytest.warns(UserWarning, match="'new5' in 1 and 25 more; it saw 50"):
        read(made, pd.Series([f"new{i}" for i in range(1, 31)]))


def test_rare_categories_are_known():
    made = TableTokens(min_frequency=3).fit(pd.DataFrame({"x": ["a"] * 5 + ["b", "c"]}))
    assert made.transform(pd.DataFrame({"x": ["b", "c"] * 5})).values.tolist() == made.unknown_ids_ * 10


def test_one_gap_that_makes_floats_of_integers_does_not_change_a_score():
    rng = np.random.default_rng(0)
    grade = rng.integers(1, 4, 120)
    df = pd.DataFrame({"grade": grade, "flag": rng.random(120) < 0.5, "noise": rng.normal(size=120)})
    y = (grade == 2).astype(int)
    made = ModalityTransformer.from_frame(df, grade="category")
    pipe = make_pipeline(made, small(max_epochs=40)).fit(df, y)
    later = df.astype({"grade": float, "flag": int})
    later.loc[0, "grade"] = np.nan
    assert pipe.score(df, y) == 1
    assert pipe.score(later[1:], y[1:]) == 1


def test_integers_that_a_float_does_not_hold_are_told_apart():
    big = pd.DataFrame({"x": [2**60, 2**60 + 1] * 3, "y": [0.5, 1.5] * 3})
    assert len(TableTokens().fit(big).ids_[0]) == 2
    assert Categories().fit_transform(big)[:2, 0].tolist() == [str(2**60), str(2**60 + 1)]


def test_names_of_levels_are_as_they_are_written():
    df = pd.DataFrame({"n": [1.0, 2.0, 1.0], "b": [True, False, True], "s": ["1.0", "x", "x"]})
    names = make_pipeline(Categories(), OneHotEncoder()).fit(df).get_feature_names_out()
    assert names.tolist() == ["n_1", "n_2", "b_False", "b_True", "s_1", "s_x"]
    assert Categories().fit_transform(pd.DataFrame({"x": [datetime.date(2020, 1, 2)]})).tolist() == [
        ["2020-01-02 00:00:00"]
    ]
