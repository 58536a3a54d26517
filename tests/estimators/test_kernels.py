"""Random convolutions of sequences, which experts read."""

import numpy as np
import pytest
from conftest import ensemble
from sklearn.linear_model import LogisticRegression

from skmm import Blocks
from skmm.blocks import RaggedArray
from skmm.estimators._kernels import RandomKernels, affordable, n_kernels
from skmm.inputs._batches import Batches


def tones(n=120, n_steps=24, seed=0):
    """Waves of two frequencies: phase, height and noise are random, so that no statistic of their values tells."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    phase, height = rng.uniform(0, 2 * np.pi, n), rng.uniform(1, 2, n)
    angle = np.arange(n_steps) * np.where(y, 1.7, 0.8)[:, None] + phase[:, None]
    return (height[:, None] * np.sin(angle) + 0.3 * rng.normal(size=angle.shape))[:, :, None], y


def drawn(block, weights=None, n=12):
    return RandomKernels(block, np.ones(len(block)) if weights is None else weights, n, np.random.default_rng(0))


def by_hand(kernels, sample):
    """The features of one sample (T, d), from their definition."""
    x = np.clip((sample - kernels.scaler.mean) / kernels.scaler.scale, -5, 5)
    found = []
    for distance, weights, bias in kernels.banks:
        z = np.tile(bias.astype(float)[:, None], len(x))
        for t in range(len(x)):
            for i in range(9):
                step = t + (i - 4) * distance
                if 0 <= step < len(x):
                    z[:, t] += weights[:, :, i] @ x[step]
        found += [np.clip(z + 0.5, 0, 1).mean(axis=1), z.max(axis=1)]
    return np.concatenate(found)


@pytest.fixture
def ragged():
    rng = np.random.default_rng(1)
    return RaggedArray.from_list([rng.normal(3, 2, size=(n, 3)) for n in (20, 31, 9, 40, 1)])


def test_features_are_those_of_the_definition(ragged):
    kernels = drawn(ragged)
    assert [distance for distance, _, _ in kernels.banks] == [1, 2]  # 8 and 16 steps, of 20 in the middle
    found = kernels.table(ragged, np.ones(5, bool))
    assert found.shape == (5, kernels.n_features) == (5, 24)
    np.testing.assert_allclose(found, [by_hand(kernels, ragged[i]) for i in range(5)], rtol=1e-4, atol=1e-5)


def test_each_kernel_reads_some_channels_which_without_their_mean_say_nothing():
    kernels = drawn(np.random.default_rng(0).normal(size=(6, 50, 30)), n=200)
    weights = np.concatenate([own for _, own, _ in kernels.banks])
    np.testing.assert_allclose(weights.sum(axis=2), 0, atol=1e-5)
    read = (weights != 0).any(axis=2).sum(axis=1)
    assert read.min() == 1
    assert 2 <= np.median(read) <= read.max() <= 10


def test_company_length_of_others_order_and_memory_change_nothing(ragged, monkeypatch):
    kernels, everyone = drawn(ragged), np.ones(5, bool)
    found = kernels.table(ragged, everyone)
    monkeypatch.setattr(Batches, "most_numbers", 100)
    np.testing.assert_allclose(kernels.table(ragged, everyone), found, rtol=1e-5, atol=1e-6)
    order = np.array([4, 0, 3, 1, 2])
    np.testing.assert_allclose(kernels.table(ragged[order], everyone), found[order], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(kernels.table(ragged[:1], everyone[:1]), found[:1], rtol=1e-5, atol=1e-6)
    dense = np.stack([ragged[3]] * 2)
    np.testing.assert_allclose(kernels.table(dense, everyone[:2])[0], found[3], rtol=1e-5, atol=1e-6)


def test_what_is_missing_is_a_gap_and_teaches_nothing(ragged):
    present = np.array([True, True, False, True, True])
    assert np.isnan(drawn(ragged).table(ragged, present)).all(axis=1).tolist() == [False, False, True, False, False]
    other = RaggedArray(ragged.values.copy(), ragged.offsets)
    other.values[other.offsets[2] : other.offsets[3]] = 1e6
    one, two = drawn(ragged, present.astype(float)), drawn(other, present.astype(float))
    np.testing.assert_array_equal(one.table(ragged, present), two.table(other, present))


def test_they_tell_what_statistics_of_the_values_do_not():
    x, y = tones()
    found = drawn(x, n=100).table(x, np.ones(len(y), bool))
    values = np.stack([x.mean((1, 2)), x.std((1, 2)), x.min((1, 2)), x.max((1, 2)), x[:, -1, 0]], axis=1)
    half = len(y) // 2

    def score(features):
        return LogisticRegression(max_iter=1000).fit(features[:half], y[:half]).score(features[half:], y[half:])

    assert score(found) > 0.95
    assert score(values) < 0.75


def test_an_expert_of_each_sequence_and_of_all():
    x, y = tones()
    X = Blocks(
        sound=x, motion=np.random.default_rng(0).normal(size=(len(y), 12, 2)), table=np.eye(2)[y][:, :1] + x[:, 0]
    )
    clf = ensemble(experts="auto", n_members=2).fit(X, y)
    scores = dict(zip(clf.expert_scores_["head"], clf.expert_scores_["score"], strict=True))
    assert {"kernels sound", "kernels motion", "kernels"} <= set(scores)
    assert "kernels table" not in scores
    assert scores["kernels sound"] > 0.95


def test_none_for_experts_of_ones_own_and_where_there_would_be_too_much_to_compute():
    x, y = tones(n=40)
    own = ensemble(experts={"own": LogisticRegression()}, n_members=2).fit(Blocks(sound=x), y)
    assert own.experts_.form.kernels == {}
    assert n_kernels(1) == n_kernels(2) == 500
    assert n_kernels(5) == 200
    assert affordable(10_000, 10_000 * 100, 6, 1)
    assert not affordable(10_000, 10_000 * 1_000, 64, 1)  # a minute of convolutions
    assert not affordable(100_000, 100_000 * 10, 6, 1)  # a gigabyte of features
    assert not affordable(100, 100 * 10, 768, 1)  # which hardly any kernel would read
    assert not affordable(100, 100 * 10, 1, 30)  # each of which had hardly any


def test_an_estimator_of_before_has_none_and_predicts():
    x, y = tones(n=40)
    clf = ensemble(experts={"own": LogisticRegression()}, n_members=2).fit(Blocks(sound=x), y)
    expected = clf.predict_proba(Blocks(sound=x))
    for name in ("kernels", "kernel_scalers"):
        del vars(clf.experts_.form)[name]
    np.testing.assert_array_equal(clf.predict_proba(Blocks(sound=x)), expected)
