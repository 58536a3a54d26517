"""One model fitted by several processes is the model that one fits."""

import numpy as np
import pytest
import ranks

from skmm import MultimodalClassifier
from skmm.distributed import data_parallel

slow = pytest.mark.slow


@slow
@pytest.mark.parametrize(("n_ranks", "parallel"), [(2, "rows"), (4, "rows"), (2, "members")])
def test_ranks_fit_what_one_process_fits(tmp_path, n_ranks, parallel):
    alone = ranks.fit_all(tmp_path)
    found = ranks.run("same", n_ranks, tmp_path, parallel)
    assert set(alone) - set(found[0]) <= {"late, alone"}
    for name, (said, weights, losses, left_out) in found[0].items():
        expected = alone[name]
        np.testing.assert_allclose(said, expected[0], rtol=0, atol=1e-6, err_msg=name)
        for own, other in zip(weights, expected[1], strict=True):
            np.testing.assert_allclose(own, other, rtol=0, atol=1e-6, err_msg=name)
        np.testing.assert_allclose(losses, expected[2], rtol=0, atol=1e-6, err_msg=name)
        if expected[3] is not None:
            np.testing.assert_allclose(left_out, expected[3], rtol=0, atol=1e-6, err_msg=name)
    for other in found[1:]:  # to the bit
        for name in found[0]:
            np.testing.assert_array_equal(other[name][0], found[0][name][0])
            for own, first in zip(other[name][1], found[0][name][1], strict=True):
                np.testing.assert_array_equal(own, first)


@slow
def test_ranks_without_a_seed_end_alike(tmp_path):
    first, second = ranks.run("random_start", 2, tmp_path)
    assert (first[0], second[0]) == (0, 1)
    np.testing.assert_array_equal(first[1], second[1])
    for one, other in zip(first[2] + first[3], second[2] + second[3], strict=True):
        np.testing.assert_array_equal(one, other)


@slow
def test_what_is_drawn_outside_of_a_fit_is_drawn_by_the_first(tmp_path):
    first, second = ranks.run("drawn", 2, tmp_path)
    assert first[0] == second[0]
    assert np.isfinite(first[1]).all()
    np.testing.assert_array_equal(first[1], second[1])
    np.testing.assert_array_equal(first[2], second[2])


@slow
def test_ranks_that_do_not_do_the_same_are_all_told(tmp_path):
    first, second = ranks.run("refused", 2, tmp_path)
    for name, what in [
        ("samples", "modality 'known' of rank 1"),
        ("targets", "y of rank 1"),
        ("fewer", "y of rank 1"),
        ("parameters", "the parameter max_epochs of rank 1 (2 there, 1 on rank 0)"),
    ]:
        assert first[name] == second[name]
        assert what in first[name], name
        assert first[name].startswith("ValueError: the 2 ranks do not fit the same"), name
    # who is at fault is told so itself, the other by whom
    assert second["one wrong"].startswith("ValueError: dropout == -1")
    assert first["one wrong"].startswith("RuntimeError: rank 1 of 2 ended with ValueError: dropout == -1")
    assert "inconsistent numbers of samples" in second["one unreadable"]
    assert "rank 1 of 2 ended with ValueError: Found input variables" in first["one unreadable"]
    for each in (first, second):
        assert "n_members=1" in each["few members"]
        assert "partial_fit" in each["stream"]
    for one, other in zip(first["after"], second["after"], strict=True):
        np.testing.assert_array_equal(one, other)


@slow
def test_a_rank_that_dies_ends_the_others_within_the_time(tmp_path):
    (message, seconds, fitted), nothing = ranks.run("one_dies", 2, tmp_path)
    assert nothing is None
    assert message.startswith("rank 0 of 2: another rank has ended, or did not answer within 20 s")
    assert seconds < 60
    assert not fitted


@slow
def test_an_error_of_one_rank_that_is_caught_leaves_no_other_waiting(tmp_path):
    (first, seconds), (second, _) = ranks.run("one_raises", 2, tmp_path)
    assert second[0].startswith("KeyError")
    assert first[0].startswith("RuntimeError: rank 0 of 2: another rank has ended")
    assert seconds < 50  # no wait until the time is over
    for told in (first, second):
        assert told[1].startswith("RuntimeError: the ranks are not together any more")
        assert "start all of them anew" in told[1]


@slow
def test_ranks_stay_together_after_a_loss_that_is_no_number_for_all(tmp_path):
    first, second = ranks.run("diverges", 2, tmp_path)
    for what in ("loss became", "is cut or no checkpoint", "n_parts == 0"):
        assert what in first[0]
    assert first[0] == second[0]
    np.testing.assert_array_equal(first[1], second[1])


def test_without_a_launcher_a_fit_is_as_it_was():
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=40)
    X = {"a": rng.normal(size=(40, 3)) + y[:, None], "b": rng.normal(size=(40, 2))}
    clf = MultimodalClassifier(n_members=2, max_epochs=2, experts=None, random_state=0)
    plain = clf.fit(X, y).predict_proba(X)
    with data_parallel() as alone:
        assert (alone.rank, alone.world_size) == (0, 1)
        np.testing.assert_array_equal(clf.fit(X, y).predict_proba(X), plain)


def test_what_data_parallel_refuses(monkeypatch):
    with pytest.raises(ValueError, match="unknown parallel 'row'.*'members'"), data_parallel("row"):
        pass
    with pytest.raises(ValueError, match="timeout == 0"), data_parallel(timeout=0):
        pass
    monkeypatch.setenv("RANK", "0")
    lacks = "not WORLD_SIZE, MASTER_ADDR, MASTER_PORT: start .* torchrun"
    with pytest.raises(RuntimeError, match=lacks), data_parallel():
        pass
    for name, value in [("WORLD_SIZE", "2"), ("MASTER_ADDR", "127.0.0.1"), ("MASTER_PORT", "1")]:
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("RANK", "1")
    nobody = "rank 1 of 2 found no group at 127.0.0.1:1 within 1 s"
    with pytest.raises(RuntimeError, match=nobody), data_parallel(timeout=1):
        pass
