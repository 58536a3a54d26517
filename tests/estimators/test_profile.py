"""What a fit will take is said before it, and nothing is changed by asking."""

import numpy as np
import pytest
from conftest import assert_same, ensemble, every_estimator, make_data, make_task, small
from sklearn.base import clone

from skmm import MultimodalClassifier

X, Y = make_data()


@every_estimator
@pytest.mark.parametrize("n_members", [1, 4])
def test_parameters_are_those_of_the_fit(cls, n_members):
    y = Y if cls is MultimodalClassifier else Y * 1.5
    made = ensemble(cls, n_members=n_members, max_epochs=2)
    profile = made.profile(X, y)
    fitted = made.fit(X, y)
    weights = list(fitted.net_.module_.parameters())
    assert profile.n_parameters == profile.n_trained == sum(p.numel() for p in weights)
    assert sum(profile.parts["parameters"]) * n_members == profile.n_parameters
    assert profile.parts["part"] == ["encoder vector", "encoder sequence", "fusion", "heads"]
    assert (profile.n_members, profile.n_epochs) == (n_members, fitted.n_iter_)
    assert profile.n_steps == fitted.history_[-1, "train_batch_count"]
    assert profile.memory["weights"] == profile.memory["gradients"] == 4 * profile.n_parameters


def test_adamw_keeps_two_numbers_for_each_weight():
    memory = small().profile(X, Y).memory
    assert 2 * memory["weights"] <= memory["optimizer"] < 2.2 * memory["weights"]
    assert memory["activations"] > 0
    assert memory["samples"] >= 60 * (6 + 7 * 3) * 4


def test_seconds_add_up():
    profile = small(max_epochs=7).profile(X, Y)
    assert profile.seconds == profile.seconds_before + 7 * profile.seconds_per_epoch
    assert 0 < profile.seconds_per_epoch < 60


def test_nothing_is_changed():
    random = np.random.RandomState(3)
    clf = small(random_state=random, dropout=0.2)
    before = dict(vars(clf))
    clf.profile(X, Y)
    assert vars(clf) == before
    assert random.randint(2**31) == np.random.RandomState(3).randint(2**31)


def test_a_fit_after_it_is_the_same():
    clf = ensemble(dropout=0.2)
    asked = clone(clf)
    asked.profile(X, Y)
    assert_same(asked.fit(X, Y), clf.fit(X, Y), X, atol=0)


def test_a_fitted_estimator_stays_fitted():
    clf = small(warm_start=True).fit(X, Y)
    before = clf.predict_proba(X)
    clf.profile(X[:20], Y[:20])
    np.testing.assert_array_equal(clf.predict_proba(X), before)


@pytest.mark.parametrize("task", ["multilabel", "two targets"])
def test_of_each_task(task):
    cls, blocks, y = make_task(task)
    assert small(cls).profile(blocks, y).parts["parameters"][-1] > 0


def test_wrong_samples_are_refused_as_by_fit():
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        small().profile(X, Y[:-1])
    with pytest.raises(ValueError, match="lr == -1"):
        small(lr=-1).profile(X, Y)


def test_rounds_are_told():
    assert small().profile(X, Y).most_epochs == 15
    blocks, y = make_data(4200, kinds=["vector"])
    profile = MultimodalClassifier(n_members=2, hidden_dim=4, random_state=0).profile(blocks, y)
    assert profile.most_epochs == 100
    assert profile.n_epochs < 100
    assert "up to 100 epochs while they pay" in repr(profile)


def test_it_can_be_read():
    told = repr(ensemble().profile(X, Y))
    assert told.startswith("4 networks of ")
    assert "  encoder vector " in told
    assert "then 8 epochs of 2 steps, " in told
    assert "experts and stack are not measured" in told
    alone = repr(small().profile(X, Y))
    assert alone.startswith("1 network of ")
    assert "stack" not in alone


def test_it_is_quiet(capsys):
    small().profile(X, Y)
    assert capsys.readouterr() == ("", "")
