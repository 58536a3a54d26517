"""Columns that say what is to be predicted."""

import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
from conftest import small
from sklearn.pipeline import make_pipeline

from skmm import ModalityTransformer, MultimodalRegressor
from skmm.cli import main
from skmm.compose._leaks import find_leaks
from skmm.model_selection import compare_fusions

N = 60
RNG = np.random.default_rng(0)
LABEL = RNG.permutation(np.arange(N) % 3)
VALUE = RNG.normal(size=N)
TEXTS = np.array(["A dull plot", "Great fun!", "Too long", "a  great cast", "no end", "Well made"])


def told(column, y=LABEL, name="x", groups=None):
    return find_leaks(pd.DataFrame({name: column}), [0], y, groups)


TELLS = {
    "a copy": LABEL.copy(),
    "a name of it": np.array(["low", "mid", "high"])[LABEL],
    "an interval for each class": LABEL + RNG.uniform(0, 0.9, N),
    "a finer category": pd.Categorical(LABEL * 10 + np.arange(N) % 4),
    "dates": pd.Timestamp("2020-01-01") + pd.to_timedelta(LABEL * 100 + np.arange(N) % 50, unit="D"),
    "texts that come again": [
        [str.upper, str.lower, "{}!?".format][i % 3](TEXTS[2 * label + i % 2]) for i, label in enumerate(LABEL)
    ],
    "files that come again": [f"photos/{10 * label + i % 5}.jpg" for i, label in enumerate(LABEL)],
}


@pytest.mark.parametrize("column", TELLS.values(), ids=TELLS)
def test_a_column_that_alone_tells_the_class_is_named(column):
    assert told(column) == ["column 'x' alone tells the target, perfectly"]
    assert told(column, np.array(["c", "a", "b"])[LABEL]) == told(column)
    wrong = LABEL.copy()
    wrong[[0, 1]] = (wrong[[0, 1]] + 1) % 3
    assert told(column, wrong) == []


def test_what_is_missing_may_tell():
    gaps = np.where(LABEL == 1, np.nan, 5.0)
    assert told(gaps, LABEL == 1) == ["column 'x' alone tells the target, perfectly"]
    assert told(np.where(RNG.random(N) < 0.5, np.nan, 5.0), LABEL == 1) == []


@pytest.mark.parametrize("column", [VALUE, -(VALUE**3), np.exp(VALUE).astype(np.float32)])
def test_what_rises_or_falls_with_a_value_is_named(column):
    assert told(column, VALUE) == ["column 'x' alone tells the target, perfectly"]
    assert told(column + RNG.normal(size=N), VALUE) == []


def test_a_column_that_numbers_the_rows_is_named():
    assert told(RNG.permutation(N) + 5) == ["column 'x' numbers the rows, in another order"]
    assert told(RNG.permutation(N) * 2) == []


@pytest.mark.parametrize(
    "column",
    [VALUE, RNG.integers(0, 5, N), [f"code {i}" for i in range(N)], list(np.eye(N)), [[1, i] for i in range(N)]],
)
def test_nothing_is_said_of_what_does_not_tell(column):
    assert told(column) == []


def test_nothing_is_said_of_few_rows_or_of_several_targets():
    assert told(LABEL[:20].copy(), LABEL[:20]) == []
    assert told(LABEL.copy(), np.stack([LABEL, LABEL], axis=1)) == []


def test_in_groups_that_no_fold_parts_a_value_counts_once():
    group = np.arange(90) // 3
    y = group % 2
    assert told(group, y) == ["column 'x' alone tells the target, perfectly"]
    assert told(group, y, groups=group) == []


@pytest.fixture
def frame():
    return pd.DataFrame({"price": RNG.normal(size=N), "paid": LABEL * 2.5, "y": LABEL})


def test_only_columns_that_are_learned_from_are_looked_at(frame):
    made = ModalityTransformer.from_frame(frame, y="drop")
    assert made.find_leaks(frame, LABEL) == ["column 'paid' alone tells the target, perfectly"]
    assert made.find_leaks(pl.from_pandas(frame), LABEL) == made.find_leaks(frame, LABEL)
    assert ModalityTransformer.from_frame(frame, y="drop", paid="drop").find_leaks(frame, LABEL) == []


@pytest.mark.parametrize("auto", [True, False])
def test_a_comparison_says_it_once_before_the_fits_and_with_the_result(frame, auto):
    X = frame[["price", "paid"]]
    model = small(modalities="auto") if auto else make_pipeline(ModalityTransformer.from_frame(X), small())
    with pytest.warns(UserWarning, match="before the fit: column 'paid' alone tells the target") as said:
        found = compare_fusions(X, LABEL, estimator=model, fusions=["concat"], baselines=False, cv=2)
    assert len(said) == 1
    assert said[0].filename == __file__
    assert found.suspects == ["column 'paid' alone tells the target, perfectly"]
    assert "Beware: column 'paid' alone tells the target, perfectly." in repr(found)


def test_a_fit_that_types_the_columns_itself_says_it(frame):
    with pytest.warns(UserWarning, match="before the fit: column 'paid' alone tells the target"):
        small(modalities="auto", max_epochs=1).fit(frame[["price", "paid"]], LABEL)
    with pytest.warns(UserWarning, match="before the fit: column 'price' alone"):
        small(MultimodalRegressor, modalities="auto", max_epochs=1).fit(frame[["price"]], 2 * frame["price"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        small(modalities="auto", max_epochs=1).fit(frame[["price"]], LABEL)


def test_the_command_says_it_before_the_result(frame, tmp_path, capsys):
    frame.to_csv(tmp_path / "sales.csv", index=False)
    options = [
        "--fusions",
        "concat",
        "--no-baselines",
        "--cv",
        "2",
        "--epochs",
        "1",
        "--members",
        "1",
        "--jobs",
        "1",
    ]
    assert main(["compare", str(tmp_path / "sales.csv"), "--target", "y", *options]) == 0
    said = capsys.readouterr()
    assert said.err.count("column 'paid' alone tells the target, perfectly") == 1
    assert said.err.startswith("skmm: column 'paid'")
    assert "Beware: column 'paid' alone tells the target" in said.out
