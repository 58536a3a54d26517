"""Columns as numbers, dates and texts, and cells that are none."""

import datetime
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pytest

from skmm import ModalityTransformer
from skmm.columns._cells import date_names, dates


def test_a_day_says_where_in_year_week_and_day_it_is():
    df = pd.DataFrame({"at": pd.to_datetime(["2021-03-04 06:00", "2021-03-05 12:00", None, "2022-06-30 18:00"])})
    transformer = ModalityTransformer.from_frame(df).fit(df)
    names = [
        "table__date__at_years",
        *(f"table__date__at_{part}_{period}" for part in ("sin", "cos") for period in ("year", "week", "day")),
    ]
    assert transformer.get_feature_names_out().tolist() == names
    read = transformer.named_transformers_["table"].named_transformers_["date"][0].transform(df.dropna())
    days = np.array([18690.25, 18691.5, 19173.75])  # since 1970-01-01
    np.testing.assert_allclose(read[:, 0], days / 365.2425)
    for column, period in enumerate([365.2425, 7, 1]):
        np.testing.assert_allclose(read[:, 1 + column], np.sin(2 * np.pi * days / period), atol=1e-9)
        np.testing.assert_allclose(read[:, 4 + column], np.cos(2 * np.pi * days / period), atol=1e-9)


@pytest.mark.parametrize(
    "column",
    [
        ["25/03/2021 06:00", "4/5/2021 12:00", "30/06/2022 18:00"],
        ["03-25-2021 06:00", "5-4-2021 12:00", "06-30-2022 18:00"],
    ],
)
def test_dates_with_the_year_last_are_those_of_iso(column):
    df = pd.DataFrame({"at": column})
    iso = pd.DataFrame({"at": ["2021-03-25 06:00", "2021-05-04 12:00", "2022-06-30 18:00"]})
    wanted = ModalityTransformer.from_frame(iso).fit_transform(iso)["table"]
    transformer = ModalityTransformer.from_frame(df)
    np.testing.assert_allclose(transformer.fit_transform(df)["table"], wanted)
    kind = transformer.describe()["kind"][0]
    with pytest.raises(ValueError, match=f"column 'at', row 1: '13/13/2020' is no date, {kind}"):
        transformer.transform(pd.DataFrame({"at": [*column[:1], "13/13/2020"]}))


def test_dates_that_may_be_either_are_as_they_are_said_to_be():
    df = pd.DataFrame({"at": ["1/2/2020", "2/3/2020", "4/3/2020", "5/6/2020"], "price": [1.0, 2.5, 2.0, 4.0]})
    with pytest.warns(
        UserWarning, match="column 'at' is read as characters: dates, but is '1/2/2020' day or month first"
    ):
        found = next(iter(ModalityTransformer.from_frame(df).describe()))
    assert found["why"] == "dates, but is '1/2/2020' day or month first: say 'day/month/year' or 'month/day/year'"
    assert found["modality"] is not None
    for order, iso in [("day/month/year", "2020-{1}-{0}"), ("month/day/year", "2020-{0}-{1}")]:
        same = df.assign(at=[iso.format(*(f"{int(p):02}" for p in cell.split("/")[:2])) for cell in df["at"]])
        read = ModalityTransformer.from_frame(df, at=order).fit_transform(df)["table"]
        np.testing.assert_allclose(read, ModalityTransformer.from_frame(same).fit_transform(same)["table"])


def test_durations_decimals_and_strings_are_numbers_of_seconds_and_of_what_they_say():
    df = pd.DataFrame(
        {
            "lasts": pd.Series([datetime.timedelta(hours=h) for h in (1, 4, 2)], dtype=object),
            "price": pd.Series([Decimal("1.5"), Decimal("9.5"), Decimal("2")], dtype=object),
            "size": ["1.5", " 9.5 ", "2"],
        }
    )
    transformer = ModalityTransformer.from_frame(df).fit(df)
    read = transformer.named_transformers_["table"].named_transformers_["number"][0].transform(df)
    np.testing.assert_array_equal(read, [[3600, 1.5, 1.5], [14400, 9.5, 9.5], [7200, 2, 2]])


@pytest.mark.parametrize(
    ("kind", "column", "message"),
    [
        ("number", ["1", 2, "cheap"], r"column 'x', row 2: 'cheap' is no number"),
        ("text", ["a film", "b c", 5], r"column 'x', row 2: expected text \(str\), got 5 \(int\)"),
        ("characters", ["a film", ["b"], "c"], r"column 'x', row 1: expected text \(str\), got \['b'\] \(list\)"),
    ],
)
def test_a_cell_of_another_type_is_named_by_column_and_row(kind, column, message):
    df = pd.DataFrame({"x": pd.Series(column, dtype=object), "price": [1.0, 2.5, 2.0]})
    for frame in (df, pl.DataFrame({"x": pl.Series(column, dtype=pl.Object), "price": [1.0, 2.5, 2.0]})):
        with pytest.raises(ValueError, match=message):
            ModalityTransformer.from_frame(frame, x=kind).fit(frame)


def test_text_of_another_type_is_named_in_new_rows_too():
    reviews = [f"{['bad', 'great'][i % 2]} film with a plot, seen {i} times" for i in range(24)]
    df = pd.DataFrame({"review": reviews, "price": np.linspace(0, 1, 24)})
    transformer = ModalityTransformer.from_frame(df).fit(df)
    new = pd.DataFrame({"review": ["good", 7], "price": [1.0, 2.0]})
    with pytest.raises(ValueError, match=r"column 'review', row 1: expected text \(str\), got 7 \(int\)"):
        transformer.transform(new)


@pytest.mark.parametrize("time", ["00:00", "10:00", "23:59:59.999999"])
def test_dates_at_one_time_of_day_say_nothing_by_it(time):
    days = pd.DataFrame({"day": [pd.Timestamp(f"2020-01-{d:02} {time}") for d in range(1, 29)]})
    told = dict(zip(date_names(None, ["day"]), dates(days).T, strict=True))
    assert np.ptp(told["day_sin_day"]) == np.ptp(told["day_cos_day"]) == 0
    assert np.ptp(told["day_sin_week"]) > 1


def test_a_time_of_day_that_training_did_not_see_is_no_large_number():
    days = pd.DataFrame({"day": pd.date_range("2020-01-01", periods=40, freq="9D"), "shop": ["a", "b"] * 20})
    transformer = ModalityTransformer.from_frame(days).fit(days)
    later = days.assign(day=days["day"] + pd.Timedelta(hours=10))
    assert abs(np.asarray(transformer.transform(later)["table"])).max() < 5
