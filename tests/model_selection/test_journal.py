"""A search or comparison that was killed does not repeat what is finished, and finds the same scores."""

import json
import os
import signal
import time

import numpy as np
import pytest
from conftest import in_child, make_data, small
from sklearn.dummy import DummyClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skmm.model_selection import FusionSearchCV, compare_fusions

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork"),
    pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"),  # of Python 3.12, where there are threads
]

X, Y = make_data(48, n_classes=2)
GRID = {"fusion": ["concat", "sum", "early"], "lr": [0.02, 0.05]}


class Killer:
    """Scores as accuracy, and kills the process at the call of a number, if it is told to."""

    at, calls = None, 0

    def __call__(self, estimator, X, y):
        Killer.calls += 1
        if Killer.calls == Killer.at:
            os.kill(os.getpid(), signal.SIGKILL)
        return float(np.mean(estimator.predict(X) == y)) + 1 / 3


def killed_at(work, call):
    """How a child ends that does some work and kills itself at a score: the number of the signal, or 0."""
    Killer.calls, Killer.at = 0, call
    signal_number = in_child(work)
    Killer.at = None
    return signal_number


def search(journal=None, grid=None, estimator=None, **params):
    fast = {"max_epochs": 3, "dropout": 0.2, "verbose": 0}
    estimator = small(**fast) if estimator is None else estimator
    given = {"cv": 2, "refit": False, "scoring": Killer(), **params}
    return FusionSearchCV(estimator, GRID if grid is None else grid, journal=journal, **given)


def compare(journal=None, X=X, y=Y, **params):
    given = {"estimator": small(max_epochs=2), "fusions": ["concat", "late"], "cv": 2, "random_state": 0, **params}
    return compare_fusions(X, y, scoring=Killer(), baselines=["LR concat"], journal=journal, **given)


def n_calls(work):
    """What some work returns, and how often it scored."""
    Killer.calls, Killer.at = 0, None
    return work(), Killer.calls


def assert_same_results(a, b):
    """Every column but the times, to the last bit."""
    assert set(a) == set(b)
    for key in a:
        if "_time" not in key:
            np.testing.assert_array_equal(np.asarray(a[key]), np.asarray(b[key]), err_msg=key)


def n_done(journal):
    lines = journal.read_text().splitlines(keepends=True)
    return sum(len(json.loads(line).get("done", [])) for line in lines if line.endswith("\n"))


def check_search(journal, *moments, **params):
    whole, n = n_calls(lambda: search(**params).fit(X, Y))
    for moment in moments:
        assert killed_at(lambda: search(journal, **params).fit(X, Y), moment) == signal.SIGKILL
    found = n_done(journal)
    again, n_again = n_calls(lambda: search(journal, **params).fit(X, Y))
    assert_same_results(again.cv_results_, whole.cv_results_)
    assert n_again == n - found
    assert n_done(journal) == n
    return found, again


def test_a_killed_search_repeats_nothing_and_scores_the_same(tmp_path):
    found, again = check_search(tmp_path / "search.jsonl", 6, 4)
    assert found == 4  # the first stack: two learning rates on two folds; the kills were in the second
    assert (again.stacks_["trained"], again.stacks_["fits"]) == (["before", "together", "together"], [4, 4, 4])


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("n_members", [1, 2])
def test_a_kill_at_any_score(seed, n_members, tmp_path):
    moment = np.random.RandomState(seed).randint(1, 13)
    estimator = small(max_epochs=3, n_members=n_members, experts=None)
    check_search(tmp_path / "search.jsonl", moment, estimator=estimator)


def test_a_finished_search_fits_nothing_again_but_the_best(tmp_path):
    journal = tmp_path / "search.jsonl"
    first = search(journal, refit=True).fit(X, Y)
    again, n = n_calls(lambda: search(journal, refit=True).fit(X, Y))
    assert n == 0
    assert_same_results(again.cv_results_, first.cv_results_)
    np.testing.assert_array_equal(again.predict(X), first.predict(X))


@pytest.mark.parametrize(
    "params",
    [
        {"estimator": small(max_epochs=2, callbacks=[])},
        {"halving": True, "min_epochs": 1},
        {"return_train_score": True},
        {"scoring": ["accuracy", "neg_log_loss"], "refit": False, "return_train_score": True},
        {"grid": {"lr": [0.02, 1e30, -1.0]}, "estimator": small(max_epochs=2), "error_score": np.nan},
    ],
    ids=["plain", "halving", "train scores", "metrics", "errors"],
)
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")
def test_all_that_a_search_knows_of_a_fit_is_kept(params, tmp_path):
    journal = tmp_path / "search.jsonl"
    first, again = search(journal, **params).fit(X, Y), search(journal, **params).fit(X, Y)
    assert_same_results(again.cv_results_, first.cv_results_)
    assert set(again.stacks_["trained"]) == {"before"}


def test_what_is_fitted_alone_is_written_one_by_one(tmp_path):
    grid = {"strategy": ["prior", "uniform", "stratified"]}
    found, _ = check_search(tmp_path / "search.jsonl", 4, grid=grid, estimator=DummyClassifier(random_state=0))
    assert found == 3


class Noting:
    """A step of a pipeline that counts how often it is fitted."""

    calls = 0

    def __call__(self, X):
        Noting.calls += 1
        return X


def test_transformers_of_finished_folds_are_not_fitted_again(tmp_path):
    journal, step = tmp_path / "search.jsonl", FunctionTransformer(Noting())
    model = make_pipeline(step, small(max_epochs=1))
    given = {"grid": {"multimodalclassifier__lr": [0.02, 0.05]}, "estimator": model, "scoring": "accuracy"}
    search(journal, **given).fit(X, Y)
    Noting.calls = 0
    search(journal, **given).fit(X, Y)
    assert Noting.calls == 0


@pytest.mark.slow
def test_processes_write_into_one_journal(tmp_path):
    journal = tmp_path / "search.jsonl"
    together = search(journal, n_jobs=2, scoring="accuracy").fit(X, Y)
    assert n_done(journal) == 12
    again = search(journal, n_jobs=2, scoring="accuracy").fit(X, Y)
    assert_same_results(together.cv_results_, again.cv_results_)


def test_a_cut_last_line_is_repeated(tmp_path):
    journal = tmp_path / "search.jsonl"
    first = search(journal).fit(X, Y)
    whole = journal.read_bytes()
    journal.write_bytes(whole[:-40])
    again, n = n_calls(lambda: search(journal).fit(X, Y))
    assert n == 4
    assert_same_results(again.cv_results_, first.cv_results_)
    assert n_done(journal) == 12


def test_a_cut_first_line_begins_anew(tmp_path):
    journal = tmp_path / "compare.jsonl"
    compare(journal)
    journal.write_bytes(journal.read_bytes()[:50])
    compare(journal)
    assert n_done(journal) == 6


def test_a_broken_line_is_told_and_repeated(tmp_path):
    journal = tmp_path / "compare.jsonl"
    first = compare(journal)
    head, one, *rest = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join([head, one[:30] + "\n", *rest]))
    with pytest.warns(UserWarning, match="1 lines of the journal .* their fits are repeated"):
        again = compare(journal)
    assert str(again.differences) == str(first.differences)


def check_comparison(journal, moment):
    whole, n = n_calls(compare)
    assert killed_at(lambda: compare(journal), moment) == signal.SIGKILL
    # the folds of a fusion train together, and are written when both are scored; a baseline's are fitted alone
    found = n_done(journal)
    assert found == {1: 0, 2: 0, 3: 2, 4: 2, 5: 4, 6: 5}[moment]
    again, n_again = n_calls(lambda: compare(journal))
    assert n_again == n - found
    for name, scores in whole.scores.items():
        assert_same_results(again.scores[name], scores)


@pytest.mark.parametrize("moment", [4, *(pytest.param(m, marks=pytest.mark.slow) for m in (1, 2, 3, 5, 6))])
def test_a_killed_comparison_repeats_nothing_and_scores_the_same(moment, tmp_path):
    check_comparison(tmp_path / "compare.jsonl", moment)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("kind", ["search", "comparison"])
def test_a_kill_at_any_time(kind, seed, tmp_path):
    def work(journal=None):
        found = compare(journal) if kind == "comparison" else search(journal).fit(X, Y)
        return found.scores if kind == "comparison" else {"search": found.cv_results_}

    work()  # what it imports takes a while
    start = time.perf_counter()
    whole, n = n_calls(work)
    seconds = np.random.RandomState(seed).uniform(0, time.perf_counter() - start)
    journal = tmp_path / "finished.jsonl"
    in_child(lambda: work(journal), seconds)
    found = n_done(journal) if journal.exists() else 0
    again, n_again = n_calls(lambda: work(journal))
    for name, results in whole.items():
        assert_same_results(again[name], results)
    assert n_again == n - found


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"grid": {"fusion": ["concat"]}}, "the grid"),
        ({"estimator": small(max_epochs=2, random_state=1)}, "the estimator"),
        ({"cv": 3}, "the folds"),
        ({"scoring": "accuracy"}, "the scoring"),
        ({"return_train_score": True}, "the scoring"),
    ],
)
def test_the_journal_of_another_search_is_refused(change, what, tmp_path):
    journal = tmp_path / "search.jsonl"
    base = {"grid": {"fusion": ["sum"]}, "estimator": small(max_epochs=2)}
    search(journal, **base).fit(X, Y)
    before = journal.read_bytes()
    with pytest.raises(ValueError, match=f"search.jsonl' is another's; what differs: {what}"):
        search(journal, **{**base, **change}).fit(X, Y)
    assert journal.read_bytes() == before


def test_other_samples_and_targets_are_refused(tmp_path):
    journal = tmp_path / "compare.jsonl"
    compare(journal)
    with pytest.raises(ValueError, match="differs: the targets"):
        compare(journal, y=1 - Y)
    other = {name: np.array(X[name]) for name in X}
    other["vector"][5, 1] += 1e-9
    with pytest.raises(ValueError, match="differs: the samples"):
        compare(journal, X=other)


def test_a_newer_format_is_refused(tmp_path):
    journal = tmp_path / "compare.jsonl"
    compare(journal)
    journal.write_text(journal.read_text().replace('"journal": 1', '"journal": 2', 1))
    with pytest.raises(ValueError, match="is of format 2, this version reads 1"):
        compare(journal)


@pytest.mark.parametrize("content", ["something else", "something else\n", '{"a": 1}\n'])
def test_a_foreign_file_is_refused_and_stays(content, tmp_path):
    journal = tmp_path / "notes.txt"
    journal.write_text(content)
    with pytest.raises(ValueError, match="holds something else"):
        compare(journal)
    assert journal.read_text() == content


def test_a_journal_is_a_file_in_a_folder(tmp_path):
    for path in (tmp_path, tmp_path / "nowhere" / "compare.jsonl"):
        with pytest.raises(ValueError, match="must be a file in a folder that there is"):
            compare(path)
