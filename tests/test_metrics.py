"""Calibration error against its definition."""

import numpy as np
import pytest

from skmm.metrics import expected_calibration_error


def make_case(n=400, n_classes=4, seed=0):
    rng = np.random.RandomState(seed)
    proba = rng.dirichlet(np.full(n_classes, 0.6), size=n)
    y = np.array([rng.choice(n_classes, p=0.7 * p + 0.3 / n_classes) for p in proba])
    return y, proba


def by_definition(y, proba, n_bins):
    """Sum over bins of |B_m| / n |acc(B_m) - conf(B_m)|, bin by bin."""
    confidence, hit = proba.max(1), proba.argmax(1) == y
    total = 0.0
    for m in range(1, n_bins + 1):
        inside = (confidence > (m - 1) / n_bins) & (confidence <= m / n_bins)
        if inside.any():
            total += inside.sum() / len(y) * abs(hit[inside].mean() - confidence[inside].mean())
    return total


@pytest.mark.parametrize("n_bins", [1, 2, 10, 15, 100])
@pytest.mark.parametrize("n_classes", [2, 3, 10])
def test_equals_the_definition(n_classes, n_bins):
    y, proba = make_case(n_classes=n_classes)
    assert expected_calibration_error(y, proba, n_bins=n_bins) == pytest.approx(by_definition(y, proba, n_bins))


def test_known_answer():
    proba = np.array([[0.95, 0.05], [0.95, 0.05], [0.3, 0.7], [0.3, 0.7], [0.3, 0.7], [0.3, 0.7]])
    y = [0, 1, 1, 1, 1, 0]
    # bin of 0.95: accuracy 1/2; bin of 0.7: accuracy 3/4
    assert expected_calibration_error(y, proba) == pytest.approx((2 * 0.45 + 4 * 0.05) / 6)


def test_fifteen_bins_unless_told():
    y, proba = make_case()
    assert expected_calibration_error(y, proba) == expected_calibration_error(y, proba, n_bins=15)
    assert expected_calibration_error(y, proba) != expected_calibration_error(y, proba, n_bins=14)


def test_an_edge_belongs_to_the_bin_below_it():
    # bins (0, 0.5] and (0.5, 1]: a sure miss at 0.5 and a sure hit at 0.75 do not cancel
    error = expected_calibration_error([1, 0], [[0.5, 0.5], [0.75, 0.25]], n_bins=2)
    assert error == pytest.approx((0.5 + 0.25) / 2)
    # in one bin they do
    assert expected_calibration_error([1, 0], [[0.5, 0.5], [0.75, 0.25]], n_bins=1) == pytest.approx(0.125)


@pytest.mark.parametrize(("y", "expected"), [([0, 1], 0.0), ([1, 0], 1.0)])
def test_sure_and_right_or_wrong(y, expected):
    assert expected_calibration_error(y, np.eye(2)) == expected


def test_labels_drawn_from_the_probabilities_are_calibrated():
    rng = np.random.RandomState(0)
    proba = rng.dirichlet([1, 1, 1], size=20_000)
    y = (rng.rand(20_000, 1) > proba.cumsum(1)).sum(1)
    assert expected_calibration_error(y, proba) < 0.015
    sharpened = proba**3 / (proba**3).sum(1, keepdims=True)
    assert expected_calibration_error(y, sharpened) > 0.1


def test_weight_2_is_a_repeated_sample_and_weight_0_an_absent_one():
    y, proba = make_case()
    weights = np.random.RandomState(1).randint(3, size=len(y))
    repeated = np.repeat(np.arange(len(y)), weights)
    error = expected_calibration_error(y, proba, sample_weight=weights)
    assert error == pytest.approx(expected_calibration_error(y[repeated], proba[repeated], labels=range(4)))
    assert error != pytest.approx(expected_calibration_error(y, proba))


def test_named_classes():
    y, proba = make_case(n_classes=3)
    names = np.array(["cat", "dog", "eel"])
    assert expected_calibration_error(names[y], proba) == expected_calibration_error(y, proba)


def test_labels_are_those_of_the_columns():
    y, proba = make_case(n_classes=3)
    error = expected_calibration_error(y, proba)
    assert expected_calibration_error(y, proba[:, [2, 0, 1]], labels=[2, 0, 1]) == error
    # a class that no sample has
    wider = np.column_stack([proba, np.zeros(len(y))])
    assert expected_calibration_error(y, wider, labels=[0, 1, 2, 3]) == error


def test_the_order_of_samples_means_nothing():
    y, proba = make_case()
    order = np.random.RandomState(1).permutation(len(y))
    assert expected_calibration_error(y[order], proba[order]) == pytest.approx(expected_calibration_error(y, proba))


def test_float32_is_a_distribution_too():
    y, proba = make_case(n_classes=10)
    assert expected_calibration_error(y, proba.astype(np.float32)) == pytest.approx(
        expected_calibration_error(y, proba), abs=1e-6
    )


@pytest.mark.parametrize(
    ("y", "proba", "options", "message"),
    [
        (
            [0, 1],
            [[0.5, 0.5], [0.5, 0.6]],
            {},
            r"row 1 of y_proba, \[0.5, 0.6\], is no distribution: it sums to 1.1",
        ),
        ([0, 1], [[1.5, -0.5], [0.5, 0.5]], {}, r"row 0 of y_proba, \[1.5, -0.5\], is no distribution"),
        ([0, 1], [[np.nan, 0.5], [0.5, 0.5]], {}, "Input y_proba contains NaN"),
        ([0, 1], [0.2, 0.8], {}, "Expected 2D array"),
        ([0, 1, 1], [[0.5, 0.5]] * 2, {}, "inconsistent numbers of samples"),
        ([0, 1], np.full((2, 4), 0.25), {}, r"4 columns, but y_true holds 2 classes, \[0, 1\]. Give .* as labels"),
        ([0, 1], [[0.5, 0.5]] * 2, {"labels": [0, 1, 2]}, r"2 columns, but labels holds 3 classes, \[0, 1, 2\]"),
        ([0, 5], [[0.5, 0.5]] * 2, {"labels": [0, 1]}, r"y_true holds 5, which is not among the labels \[0, 1\]"),
        ([0, 1], [[0.5, 0.5]] * 2, {"n_bins": 0}, "n_bins == 0, must be >= 1"),
        ([0, 1], [[0.5, 0.5]] * 2, {"sample_weight": [1, -1]}, "Negative values in data passed to `sample_weight`"),
        ([0, 1], [[0.5, 0.5]] * 2, {"sample_weight": [0, 0]}, "Sample weights must contain at least one non-zero"),
        ([0, 1], [[0.5, 0.5]] * 2, {"sample_weight": [1, 1, 1]}, "sample_weight.shape == "),
    ],
)
def test_bad_input(y, proba, options, message):
    with pytest.raises(ValueError, match=message):
        expected_calibration_error(y, proba, **options)


def test_the_number_of_bins_is_an_integer():
    with pytest.raises(TypeError, match="n_bins must be an instance of int"):
        expected_calibration_error([0, 1], np.eye(2), n_bins=2.5)
