"""Calibration error and the scores of sentiment against their definitions."""

import numpy as np
import pytest

from skmm.metrics import expected_calibration_error, sentiment_metrics


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


# -- sentiment -----------------------------------------------------------------------------------------------------


def sentiment_case(n=500, scale=3, seed=0):
    rng = np.random.RandomState(seed)
    y = np.round(rng.uniform(-scale, scale, n), 1)
    y[::9] = 0
    predicted = 0.8 * y + 0.4 * scale * rng.randn(n)
    predicted[::50] = 0
    return y, predicted


def weighted_f1(truth, said):
    """Sum over the classes of their share in the truth times 2 PR / (P + R)."""
    total = 0.0
    for c in np.unique(truth):
        hit = np.sum((truth == c) & (said == c))
        precision, recall = hit / max(np.sum(said == c), 1), hit / np.sum(truth == c)
        total += np.mean(truth == c) * (2 * precision * recall / (precision + recall) if hit else 0.0)
    return total


@pytest.mark.parametrize("seed", range(3))
def test_sentiment_metrics_equal_their_definitions(seed):
    y, p = sentiment_case(seed=seed)
    told = y != 0
    expected = {
        "mae": np.abs(y - p).mean(),
        "pearson": np.corrcoef(y, p)[0, 1],
        "acc_7": np.mean(np.round(np.clip(y, -3, 3)) == np.round(np.clip(p, -3, 3))),
        "acc_5": np.mean(np.round(np.clip(y, -2, 2)) == np.round(np.clip(p, -2, 2))),
        "acc_2": np.mean((y >= 0) == (p >= 0)),
        "f1": weighted_f1(y >= 0, p >= 0),
        "acc_2_nonzero": np.mean((y[told] > 0) == (p[told] > 0)),
        "f1_nonzero": weighted_f1(y[told] > 0, p[told] > 0),
    }
    assert sentiment_metrics(y, p) == pytest.approx(expected)
    assert list(sentiment_metrics(y, p)) == list(expected)


def interval(values, ends):
    """Number of ends below each value: an end belongs to the interval below it."""
    return np.array([sum(value > end for end in ends) for value in values])


@pytest.mark.parametrize("seed", range(3))
def test_sentiment_metrics_of_ch_sims_equal_their_definitions(seed):
    y, p = sentiment_case(scale=1, seed=seed)
    assert (np.abs(p) > 1).any()
    p_in = np.clip(p, -1, 1)
    five, three = [-0.7, -0.1, 0.1, 0.7], [-0.1, 0.1]
    assert sentiment_metrics(y, p, scale=1) == pytest.approx(
        {
            "mae": np.abs(y - p_in).mean(),
            "pearson": np.corrcoef(y, p_in)[0, 1],
            "acc_5": np.mean(interval(y, five) == interval(p_in, five)),
            "acc_3": np.mean(interval(y, three) == interval(p_in, three)),
            "acc_2": np.mean((y > 0) == (p_in > 0)),
            "f1": weighted_f1(y > 0, p_in > 0),
        }
    )


def test_a_perfect_prediction_and_its_opposite():
    y = np.array([-3.0, -1.2, 0.0, 0.6, 2.0])
    perfect = sentiment_metrics(y, y)
    assert perfect.pop("mae") == 0
    assert all(value == pytest.approx(1) for value in perfect.values())
    opposite = sentiment_metrics(y, -y)
    assert opposite["pearson"] == pytest.approx(-1)
    assert opposite["acc_2"] == pytest.approx(1 / 5)  # the 0 alone
    assert opposite["acc_2_nonzero"] == 0


def test_a_neutral_prediction_is_not_negative_and_not_positive():
    scores = sentiment_metrics([1.0, -1.0], [0.0, 0.0])
    assert scores["acc_2"] == 0.5
    assert scores["acc_2_nonzero"] == 0.5
    assert sentiment_metrics([1.0, 1.0], [0.0, 0.0])["acc_2"] == 1
    assert sentiment_metrics([1.0, 1.0], [0.0, 0.0])["acc_2_nonzero"] == 0


def test_predictions_past_the_ends_count_as_the_ends_and_halves_round_to_the_even():
    assert sentiment_metrics([3.0, 2.0, 0.0], [5.5, 2.5, 0.5])["acc_7"] == 1
    assert sentiment_metrics([3.0, 2.0], [2.0, 5.0])["acc_5"] == 1


def test_scores_over_nothing_are_nan():
    scores = sentiment_metrics([0.0, 0.0], [1.0, 1.0])
    assert all(np.isnan(scores[name]) for name in ("pearson", "acc_2_nonzero", "f1_nonzero"))
    assert scores["acc_2"] == 1


@pytest.mark.parametrize(
    ("args", "params", "message"),
    [
        (([0.0, 3.5], [0.0, 0.0]), {}, r"y_true holds 3.5 in row 1, which is outside \[-3, 3\]"),
        (([0.0, -2.0], [0.0, 0.0]), {"scale": 1}, r"y_true holds -2 in row 1, which is outside \[-1, 1\]"),
        (([0.0], [0.0]), {"scale": 2}, "scale=2; valid are 3"),
        (([0.0, np.nan], [0.0, 0.0]), {}, "y_true contains NaN"),
        (([0.0, 1.0], [0.0, np.inf]), {}, "y_pred contains infinity"),
        (([0.0, 1.0], [0.0]), {}, "inconsistent numbers of samples"),
        (([[0.0, 1.0]], [[0.0, 1.0]]), {}, "1d array"),
    ],
)
def test_sentiment_that_cannot_be_scored(args, params, message):
    with pytest.raises(ValueError, match=message):
        sentiment_metrics(*args, **params)
