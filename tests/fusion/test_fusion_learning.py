"""What each fusion learns, on generated tasks whose answer is known."""

import functools

import numpy as np
import pytest

from skmm import Blocks, MultimodalClassifier, list_fusions

# A sum over the modalities of what each says alone cannot tell whether two signs agree.
ADDITIVE = ["late", "sum"]


@functools.cache
def make(task):
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(2, 2000, 5))
    y = a[:, 0] * b[:, 0] > 0 if task == "xor" else a[:, 0] + b[:, 0] > 0
    return Blocks(a=a, b=b), y


def score(fusion, X, y):
    clf = MultimodalClassifier(fusion, n_members=2, experts=None, random_state=0, device="cpu")
    clf.fit(X[:1000], y[:1000])
    return clf.score(X[1000:], y[1000:])


@pytest.mark.slow
@pytest.mark.parametrize("fusion", [name for name in list_fusions() if name not in ADDITIVE])
def test_sees_whether_two_signs_agree(fusion):
    assert score(fusion, *make("xor")) > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("fusion", ADDITIVE)
def test_a_sum_over_modalities_cannot_see_whether_two_signs_agree(fusion):
    assert abs(score(fusion, *make("xor")) - 0.5) < 0.05


@functools.cache
def best_single():
    X, y = make("halves")
    return max(score("concat", X.select([name]), y) for name in X)


@pytest.mark.slow
@pytest.mark.parametrize("fusion", list_fusions())
def test_two_halves_of_the_signal_are_better_than_one(fusion):
    assert best_single() < 0.8
    assert score(fusion, *make("halves")) > best_single() + 0.1
