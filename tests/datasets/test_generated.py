"""Generated data: the stated information is what it holds, and no classifier can beat the stated best score."""

from itertools import product

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.preprocessing import PolynomialFeatures

from skmm import Blocks
from skmm.blocks import RaggedArray
from skmm.datasets import make_multimodal_classification, make_multimodal_regression
from skmm.datasets._generated import bayes_accuracy

PURE = {
    "redundant": {"redundant": 1, "unique": 0, "synergistic": 0},
    "unique": {"redundant": 0, "unique": 1, "synergistic": 0},
    "synergistic": {"redundant": 0, "unique": 0, "synergistic": 1},
}
MIXED = {"redundant": 0.3, "unique": [0.2, 0.1], "synergistic": 0.4}
MAKERS = [make_multimodal_classification, make_multimodal_regression]


def symbols(block):
    """Which of its centers each row of a noiseless block is at."""
    _, numbers = np.unique(block.round(6), axis=0, return_inverse=True)
    return numbers


def mutual_information(a, b):
    """Plug-in estimate, in bits, for two arrays of numbers from 0."""
    joint = np.zeros((a.max() + 1, b.max() + 1))
    np.add.at(joint, (a, b), 1 / len(a))
    outer = joint.sum(1, keepdims=True) * joint.sum(0)
    return (joint[joint > 0] * np.log2(joint[joint > 0] / outer[joint > 0])).sum()


def best_of_table(seen, y):
    """Accuracy of always saying the commonest class of what is seen."""
    table = np.zeros((seen.max() + 1, y.max() + 1))
    np.add.at(table, (seen, y), 1)
    return table.max(axis=1).sum() / len(y)


def both(X):
    first, *others = (symbols(block) for block in X.values())
    for other in others:
        first = np.unique(np.stack([first, other]), axis=1, return_inverse=True)[1]
    return first


# -- classification: information ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shares", "each", "together"), [("redundant", 1, 1), ("unique", 0.5, 1), ("synergistic", 0, 1)]
)
def test_pure_shares_in_bits(shares, each, together):
    X, y = make_multimodal_classification(20_000, noise=0, random_state=0, **PURE[shares])
    for block in X.values():
        assert mutual_information(symbols(block), y) == pytest.approx(each, abs=0.02)
    assert mutual_information(both(X), y) == pytest.approx(together, abs=0.002)


@pytest.mark.parametrize("weights", [None, [0.6, 0.3, 0.1]])
def test_shares_are_the_information_that_each_subset_holds(weights):
    X, y, bayes = make_multimodal_classification(
        40_000, n_classes=3, weights=weights, noise=0, flip_y=0.1, random_state=1, return_bayes=True, **MIXED
    )
    bits, total = bayes.bits, sum(bayes.bits.values())
    for name, own in (("modality_0", 0.2), ("modality_1", 0.1)):
        assert mutual_information(symbols(X[name]), y) == pytest.approx((0.3 + own) * total, abs=0.01)
    assert mutual_information(both(X), y) == pytest.approx(total, abs=0.01)
    assert [bits["redundant"], bits["unique"], bits["synergistic"]] == pytest.approx(
        [0.3 * total, 0.3 * total, 0.4 * total]
    )


def test_without_flips_the_bits_are_the_entropy_of_the_class():
    *_, bayes = make_multimodal_classification(1, weights=[0.75, 0.25], return_bayes=True)
    assert sum(bayes.bits.values()) == pytest.approx(-0.75 * np.log2(0.75) - 0.25 * np.log2(0.25))


def test_synergy_of_three_modalities_needs_all_three():
    X, y = make_multimodal_classification(20_000, n_modalities=3, noise=0, random_state=0, **PURE["synergistic"])
    for pair in (["modality_0", "modality_1"], ["modality_1", "modality_2"], ["modality_0", "modality_2"]):
        assert mutual_information(both(X.select(pair)), y) < 0.002
    assert mutual_information(both(X), y) == pytest.approx(1, abs=0.002)


# -- classification: the best accuracy ----------------------------------------------------------------------------


@pytest.mark.parametrize("flip_y", [0, 0.2])
@pytest.mark.parametrize("weights", [None, [0.7, 0.2, 0.1]])
def test_without_noise_the_best_accuracy_has_a_closed_form(weights, flip_y):
    *_, bayes = make_multimodal_classification(
        1, n_classes=3, weights=weights, noise=0, flip_y=flip_y, missing_rate=0.3, return_bayes=True, **MIXED
    )
    prior = np.array(weights or [1 / 3] * 3)
    # of a known class the chance to be right after the flip, and of an unknown one that of the commonest class
    known = prior @ np.maximum((1 - flip_y) + flip_y * prior, flip_y * prior.max())
    guessed = prior.max()
    # 0.09 lose both and keep either
    own = {"modality_0": 0.21 + 0.045, "modality_1": 0.21 + 0.045}
    told = {"modality_0": 0.5, "modality_1": 0.4}
    expected = {name: p * known + (1 - p) * guessed for name, p in told.items()}
    assert bayes.accuracy == pytest.approx(known)
    assert bayes.accuracy_by_modality == pytest.approx(expected)
    assert bayes.accuracy_with_missing == pytest.approx(
        0.49 * known + sum(own[name] * expected[name] for name in own)
    )
    assert bayes.error < 1e-9


def bayes_by_enumeration(n, shares, prior, noise, flip_y, present, seed):
    """Accuracy of the posterior over every joint state of way, class and parts, on its own simulated data."""
    rng = np.random.default_rng(seed)
    n_classes, n_modalities = len(prior), len(present)
    states, probability, label = [], [], []
    for y in range(n_classes):
        for way, share in enumerate(shares):
            if way == 0:
                shown = [tuple([y] * n_modalities)]
            elif way <= n_modalities:
                shown = [tuple(n_classes + y if m == way - 1 else None for m in range(n_modalities))]
            else:
                parts = product(range(n_classes), repeat=n_modalities)
                shown = [tuple(2 * n_classes + a for a in p) for p in parts if sum(p) % n_classes == y]
            states += shown
            probability += [share * prior[y] / len(shown)] * len(shown)
            label += [y] * len(shown)
    codes = np.zeros((len(states), n_modalities, 3 * n_classes))
    for i, state in enumerate(states):
        for m, symbol in enumerate(state):
            if symbol is not None:
                codes[i, m, symbol] = 1
    codes = codes[:, present].reshape(len(states), -1)
    true = rng.choice(len(states), n, p=probability)
    x = codes[true] + noise * rng.normal(size=(n, codes.shape[1]))
    density = np.stack([norm.logpdf(x, code, noise).sum(axis=1) for code in codes], axis=1)
    weight = np.array(probability) * np.exp(density - density.max(axis=1, keepdims=True))
    posterior = np.stack([weight[:, np.array(label) == c].sum(axis=1) for c in range(n_classes)], axis=1)
    posterior /= posterior.sum(axis=1, keepdims=True)
    guess = ((1 - flip_y) * posterior + flip_y * np.array(prior)).argmax(axis=1)
    y = np.where(rng.random(n) < flip_y, rng.choice(n_classes, n, p=prior), np.array(label)[true])
    return np.mean(guess == y)


@pytest.mark.parametrize(
    ("n_modalities", "prior", "noise", "flip_y", "unique"),
    [
        (2, [0.5, 0.5], 0.5, 0.0, [0.2, 0.1]),
        (2, [0.6, 0.3, 0.1], 0.35, 0.15, [0.0, 0.3]),
        (3, [0.8, 0.2], 0.7, 0.1, [0.1, 0.1, 0.1]),
    ],
)
def test_with_noise_the_best_accuracy_is_that_of_an_enumerating_classifier(
    n_modalities, prior, noise, flip_y, unique
):
    options = {"redundant": 0.3, "unique": unique, "synergistic": 0.4, "noise": noise, "flip_y": flip_y}
    *_, bayes = make_multimodal_classification(
        1, n_modalities=n_modalities, n_classes=len(prior), weights=prior, return_bayes=True, **options
    )
    n = 40_000

    def expected(present):
        return bayes_by_enumeration(n, [0.3, *unique, 0.4], prior, noise, flip_y, np.array(present), seed=1)

    assert 0 < bayes.error < 0.002
    within = 4 * np.hypot(bayes.error, 0.5 / np.sqrt(n))
    assert bayes.accuracy == pytest.approx(expected([True] * n_modalities), abs=within)
    for m, found in enumerate(bayes.accuracy_by_modality.values()):
        assert found == pytest.approx(expected(np.arange(n_modalities) == m), abs=within)


def test_the_best_accuracy_is_reached_and_not_beaten_on_the_data_itself():
    options = {"n_samples": 20_000, "random_state": 3, "return_bayes": True, **MIXED}
    clear, y, _ = make_multimodal_classification(noise=0, **options)
    X, same, bayes = make_multimodal_classification(noise=0.35, **options)
    np.testing.assert_array_equal(y, same)
    # where each modality's blobs lie, and how often which pair of them goes with which class, is counted
    centers = [np.unique(block.round(6), axis=0) for block in clear.values()]
    numbers = [symbols(block) for block in clear.values()]
    counts = np.zeros((len(centers[0]), len(centers[1]), 2))
    np.add.at(counts, (*numbers, y), 1)
    density = [
        np.exp(-((block[:, None] - c) ** 2).sum(-1) / (2 * 0.35**2))
        for block, c in zip(X.values(), centers, strict=True)
    ]
    guess = np.einsum("ni,nj,ijc->nc", *density, counts).argmax(axis=1)
    assert np.mean(guess == y) == pytest.approx(bayes.accuracy, abs=0.01)


def test_the_error_shrinks_to_the_stated_size_over_other_draws():
    both, shares, prior = np.ones((1, 2), dtype=bool), np.array([0.3, 0.2, 0.1, 0.4]), np.full(2, 0.5)
    accuracy, error = bayes_accuracy(both, np.ones(1), shares, prior, 0.5, 0.0)
    coarse, coarse_error = bayes_accuracy(both, np.ones(1), shares, prior, 0.5, 0.0, n_draws=500)
    assert 5 < coarse_error / error < 20  # a hundred times the draws, a tenth of the error
    assert abs(coarse - accuracy) < 4 * coarse_error


@pytest.mark.parametrize("noise", [0, 0.5])
def test_one_modality_alone_knows_all_that_there_is(noise):
    prior, flip_y = [0.6, 0.4], 0.1
    X, y, bayes = make_multimodal_classification(
        20_000,
        n_modalities=1,
        weights=prior,
        noise=noise,
        flip_y=flip_y,
        random_state=0,
        return_bayes=True,
        **PURE["unique"],
    )
    expected = bayes_by_enumeration(40_000, [0, 1, 0], prior, noise or 1e-3, flip_y, np.array([True]), seed=1)
    assert bayes.accuracy == pytest.approx(expected, abs=4 * np.hypot(bayes.error, 0.5 / np.sqrt(40_000)))
    assert bayes.accuracy_by_modality == {"modality_0": bayes.accuracy}
    assert bayes.accuracy_with_missing == bayes.accuracy  # no sample lacks the one that it has
    assert bayes.bits == {"redundant": 0, "unique": pytest.approx(sum(bayes.bits.values())), "synergistic": 0}
    if noise == 0:
        assert best_of_table(symbols(X["modality_0"]), y) == pytest.approx(bayes.accuracy, abs=0.01)
        assert mutual_information(symbols(X["modality_0"]), y) == pytest.approx(bayes.bits["unique"], abs=0.01)


# -- classification: what can be learned ---------------------------------------------------------------------------


def test_a_linear_model_learns_all_but_the_synergy():
    X, y = make_multimodal_classification(6000, n_features=6, noise=0.1, random_state=0, **MIXED)
    joined = np.hstack(list(X.values()))
    linear = LogisticRegression(C=10, max_iter=1000).fit(joined[:4000], y[:4000]).score(joined[4000:], y[4000:])
    pairs = PolynomialFeatures(2, interaction_only=True).fit_transform(joined)
    square = LogisticRegression(max_iter=1000).fit(pairs[:4000], y[:4000]).score(pairs[4000:], y[4000:])
    assert linear == pytest.approx(0.6 + 0.4 / 2, abs=0.03)
    assert square > 0.97


@pytest.mark.parametrize("steps", [6, (3, 9)])
def test_the_mean_over_steps_is_as_noisy_as_a_vector(steps):
    options = {"n_samples": 3000, "n_features": 6, "random_state": 0}
    clear, _ = make_multimodal_classification(n_steps=steps, noise=0, **options)
    noisy, _ = make_multimodal_classification(n_steps=steps, noise=0.3, **options)

    def mean(block):
        return np.stack([sample.mean(axis=0) for sample in block])

    for name in clear:
        deviation = mean(noisy[name]) - mean(clear[name])
        np.testing.assert_allclose(deviation.std(axis=0), 0.3, rtol=0.05)


# -- regression ----------------------------------------------------------------------------------------------------


def explained(features, y):
    half = len(y) // 2
    return LinearRegression().fit(features[:half], y[:half]).score(features[half:], y[half:])


@pytest.mark.parametrize("noise", [0, 0.5])
def test_r2_of_one_modality(noise):
    X, y, bayes = make_multimodal_regression(
        40_000,
        n_modalities=1,
        n_features=3,
        noise=noise,
        target_noise=0.4,
        missing_rate=0.5,
        random_state=0,
        return_bayes=True,
        **PURE["unique"],
    )
    assert X.present["modality_0"].all()
    assert explained(X["modality_0"], y) == pytest.approx(bayes.r2, abs=0.02)
    assert bayes.r2_by_modality == {"modality_0": bayes.r2}
    assert bayes.r2_with_missing == bayes.r2


@pytest.mark.parametrize("n_modalities", [2, 3])
@pytest.mark.parametrize("noise", [0, 0.5])
@pytest.mark.parametrize(
    "shares", [*PURE.values(), {"redundant": 0.3, "unique": 0.3, "synergistic": 0.4}], ids=[*PURE, "mixed"]
)
def test_r2_is_that_of_a_regression_on_all_products(shares, noise, n_modalities):
    X, y, bayes = make_multimodal_regression(
        40_000,
        n_modalities=n_modalities,
        n_features=3,
        noise=noise,
        target_noise=0.4,
        random_state=0,
        return_bayes=True,
        **shares,
    )
    # without synergy the best prediction is linear; the synergy is a product of one direction of each modality
    features = PolynomialFeatures(n_modalities, interaction_only=True).fit_transform(np.hstack(list(X.values())))
    assert explained(features, y) == pytest.approx(bayes.r2, abs=0.03)
    for name, found in bayes.r2_by_modality.items():
        assert explained(X[name], y) == pytest.approx(found, abs=0.02)


def test_missing_modalities_cost_the_stated_r2():
    X, y, bayes = make_multimodal_regression(
        60_000,
        n_features=3,
        noise=0.5,
        target_noise=0.3,
        missing_rate={"modality_1": 0.4},
        random_state=0,
        return_bayes=True,
        **MIXED,
    )
    there = X.present["modality_1"]
    left = 0
    for rows, names in ((there, list(X)), (~there, ["modality_0"])):
        features = PolynomialFeatures(2, interaction_only=True).fit_transform(
            np.hstack([X[n][rows] for n in names])
        )
        left += ((y[rows] - LinearRegression().fit(features, y[rows]).predict(features)) ** 2).sum()
    assert 1 - left / ((y - y.mean()) ** 2).sum() == pytest.approx(bayes.r2_with_missing, abs=0.02)
    assert bayes.r2_with_missing < bayes.r2 - 0.05


# -- form ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", MAKERS)
def test_form(make):
    X, y = make(30, n_modalities=3, n_features=[6, 7, 8], n_steps=[None, 4, (2, 5)], random_state=0)
    assert isinstance(X, Blocks)
    assert list(X) == ["modality_0", "modality_1", "modality_2"]
    assert X["modality_0"].shape == (30, 6)
    assert X["modality_1"].shape == (30, 4, 7)
    assert isinstance(X["modality_2"], RaggedArray)
    assert set(X["modality_2"].lengths) == {2, 3, 4, 5}
    assert X["modality_2"].inner_shape == (8,)
    assert y.shape == (30,)
    assert all(mask.all() for mask in X.present.values())


@pytest.mark.parametrize("make", MAKERS)
def test_seeds(make):
    X, y = make(50, random_state=3)
    again, same = make(50, random_state=np.random.RandomState(3))
    other, _ = make(50, random_state=4)
    np.testing.assert_array_equal(y, same)
    np.testing.assert_array_equal(X["modality_1"], again["modality_1"])
    assert not np.array_equal(X["modality_1"], other["modality_1"])


def test_the_best_accuracy_does_not_depend_on_the_seed():
    one, two = (make_multimodal_classification(20, random_state=i, return_bayes=True)[2] for i in (0, 1))
    assert one == two


@pytest.mark.parametrize("steps", [None, 3, (2, 4)])
@pytest.mark.parametrize("make", MAKERS)
def test_missing_modalities(make, steps):
    n = 4000
    rates = {"modality_0": 0.6, "modality_2": 0.3}
    X, y = make(n, n_modalities=3, n_steps=steps, missing_rate=rates, random_state=0)
    whole, same = make(n, n_modalities=3, n_steps=steps, random_state=0)
    np.testing.assert_array_equal(y, same)
    present = X.present
    missing = {name: 1 - mask.mean() for name, mask in present.items()}
    assert missing == pytest.approx({"modality_0": 0.6, "modality_1": 0, "modality_2": 0.3}, abs=0.03)
    for name in X:
        here, there = X[name][present[name]], whole[name][present[name]]
        if steps == (2, 4):
            np.testing.assert_array_equal(here.values, there.values)
            assert (X[name].lengths[~present[name]] == 0).all()
        else:
            np.testing.assert_array_equal(here, there)
            assert np.isnan(X[name][~present[name]]).all()


def test_a_sample_never_lacks_everything():
    X, _, bayes = make_multimodal_classification(
        20_000, missing_rate=0.8, noise=0, random_state=0, return_bayes=True, **PURE["synergistic"]
    )
    left, right = X.present.values()
    assert (left | right).all()
    assert np.mean(left & right) == pytest.approx(0.04, abs=0.01)
    assert np.mean(left) == pytest.approx(np.mean(right), abs=0.03)
    assert bayes.accuracy_with_missing == pytest.approx(0.04 + 0.96 / 2)


def test_weights_of_the_classes_survive_flips():
    _, y = make_multimodal_classification(
        20_000, weights=[0.8, 0.15, 0.05], n_classes=3, flip_y=0.5, random_state=0
    )
    np.testing.assert_allclose(np.bincount(y) / len(y), [0.8, 0.15, 0.05], atol=0.01)


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"redundant": 1}, r"redundant=1, unique=0\.333\d*, .* must sum to 1, their sum is 1\.66667"),
        ({"redundant": 1.5, "unique": -0.5, "synergistic": 0}, "must not be negative"),
        ({"unique": [0.1, 0.1, 0.1]}, "has length 3, there are 2 modalities"),
        ({"redundant": np.nan}, "their sum is nan"),
        ({"n_modalities": 0}, "n_modalities == 0, must be >= 1"),
        (
            {"n_modalities": 1},
            r"redundant=0\.333\d*, .* with n_modalities=1: all that one modality tells is unique; valid are "
            "redundant=0, unique=1, synergistic=0",
        ),
        ({"n_modalities": 1, "unique": 1, "redundant": 0}, "synergistic=0.333.* with n_modalities=1"),
        ({"n_modalities": 1, "unique": 0.5, "redundant": 0, "synergistic": 0}, "their sum is 0.5"),
        ({"n_samples": 0}, "n_samples == 0, must be >= 1"),
        ({"n_features": [10, 2]}, "n_features of modality_1 == 2, must be >= "),
        ({"n_features": [10]}, r"n_features=\[10\] has length 1, there are 2 modalities"),
        ({"n_steps": 0}, "n_steps of modality_0 is 0; valid are None"),
        ({"n_steps": [None, (5, 2)]}, r"n_steps of modality_1 is \(5, 2\)"),
        ({"n_steps": (2, 3, 4)}, r"n_steps of modality_0 is \(2, 3, 4\)"),
        ({"n_steps": 2.5}, r"n_steps of modality_0 is 2\.5"),
        ({"noise": -0.1}, r"noise must be a number in \[0, inf\), got -0\.1"),
        ({"noise": np.nan}, r"noise must be a number in \[0, inf\), got nan"),
        ({"missing_rate": 1.0}, r"missing_rate of modality_0 must be a number in \[0, 1\), got 1\.0"),
        ({"missing_rate": {"text": 0.1}}, r"unknown modality in missing_rate: 'text', valid are \['modality_0'"),
    ],
)
def test_wrong_parameters(make, options, message):
    with pytest.raises(ValueError, match=message):
        make(**options)


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (make_multimodal_classification, {"n_classes": 1}, "n_classes == 1, must be >= 2"),
        (make_multimodal_classification, {"n_classes": 4}, "n_features of modality_0 == 10, must be >= 12"),
        (make_multimodal_classification, {"weights": [0.5, 0.6]}, "sum to 1, their sum is 1.1"),
        (make_multimodal_classification, {"weights": [1, 0, 0]}, "weights must be 2 numbers, one per class"),
        (make_multimodal_classification, {"flip_y": 1.1}, r"flip_y must be a number in \[0, 1\], got 1\.1"),
        (make_multimodal_regression, {"target_noise": "much"}, "target_noise must be a number .* got 'much'"),
    ],
)
def test_wrong_parameters_of_one_kind(make, options, message):
    with pytest.raises(ValueError, match=message):
        make(**options)
