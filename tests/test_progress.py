"""Progress: shown where it is asked for, on stderr, and nowhere else."""

import io
import re
import sys
import time

import numpy as np
import pytest
from conftest import ensemble, make_data, small
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression

from skmm import Blocks, compare_fusions
from skmm._progress import progress, showing
from skmm.compression import Distilled
from skmm.inputs._scaling import Scaler
from skmm.model_selection import FusionSearchCV


class Terminal(io.StringIO):
    def isatty(self):
        return True


def work(shown=True, **options):
    with showing(shown), progress("counting", 3, "sheep", **options) as bar:
        for _ in range(3):
            bar.advance()


def test_nothing_is_shown_unless_someone_asked(capsys):
    work(shown=False)
    with progress("counting", 3) as bar:
        bar.advance()
    assert not bar.shown
    assert capsys.readouterr() == ("", "")


def test_a_log_gets_whole_lines(capsys):
    work()
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "\r" not in shown.err
    first, last = shown.err.splitlines()
    assert first.startswith("counting:   0% 0/3 sheep")
    assert re.match(r"counting: 100% 3/3 sheep \[00:00<00:00, .*sheep/s\]$", last)


def test_a_terminal_gets_a_bar_that_moves(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    work()
    states = terminal.getvalue().split("\r")
    assert "0/3" in states[1]
    assert "3/3" in states[-1]


def test_what_is_done_at_once_is_not_shown(capsys):
    work(after=5.0)
    assert capsys.readouterr().err == ""


def test_a_part_within_a_part_is_quiet_while_it_is_short(capsys):
    with showing(True), progress("all", 1):
        work()
    assert "counting" not in capsys.readouterr().err


def test_who_calls_decides_for_what_is_called(capsys):
    with showing(True):
        work(shown=False)
    assert "3/3" in capsys.readouterr().err
    work(shown=False)
    assert capsys.readouterr().err == ""


def test_steps_that_nobody_knew_before(capsys):
    with showing(True), progress("counting", 2) as bar:
        bar.advance(2)
        bar.expect(3)
        bar.advance(3)
    assert "100% 5/5" in capsys.readouterr().err


def test_no_stderr_at_all(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)  # of a program without a console
    with showing(True), progress("counting", 1) as bar:
        bar.advance()
    assert not bar.shown


def test_a_bar_is_closed_by_an_error(capsys):
    with pytest.raises(ZeroDivisionError), showing(True), progress("counting", 3):
        raise ZeroDivisionError
    assert capsys.readouterr().err.count("0/3") <= 2


def test_processes_of_joblib_write_lines_and_only_of_what_takes_long(monkeypatch):
    monkeypatch.setattr("multiprocessing.parent_process", lambda: "another")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    work()
    assert terminal.getvalue() == ""
    monkeypatch.setattr("skmm._progress._LINE_EVERY", 0.0)
    work()
    lines = terminal.getvalue().splitlines()
    assert [re.search(r"\d/3", line)[0] for line in lines[:4]] == ["0/3", "1/3", "2/3", "3/3"]
    assert "\r" not in terminal.getvalue()


# -- of fits ------------------------------------------------------------------------------------------------------


def test_a_fit_shows_its_steps_and_epochs(capsys):
    X, y = make_data()
    ensemble(verbose=1, max_epochs=3).fit(X, y)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "training 4 members:   0% 0/6 step" in shown.err
    assert "100% 6/6 step" in shown.err
    assert "epoch=3/3, loss=" in shown.err


def test_experts_are_counted(capsys):
    X, y = make_data()
    ensemble(n_members=2, max_epochs=1, experts={"prior": DummyClassifier()}, verbose=1).fit(X, y)
    assert re.search(r"experts: 100% 3/3 fit .*expert=prior", capsys.readouterr().err)


def test_training_that_ends_early_ends_at_100_percent(capsys):
    X, y = make_data()
    small(verbose=1, early_stopping=True, n_iter_no_change=1, max_epochs=200, tol=10.0).fit(X, y)
    assert "training: 100% 4/4 step" in capsys.readouterr().err


def test_epochs_are_shown_while_they_last(monkeypatch):
    monkeypatch.setattr("skmm._progress._EVERY", 0.0)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    X, y = make_data()
    small(verbose=1, max_epochs=1, batch_size=10).fit(X, y)
    for step in range(7):
        assert f"{step}/6 [" in terminal.getvalue()


def test_predictions_are_quiet_while_they_are_short(capsys):
    X, y = make_data()
    clf = small(verbose=1).fit(X, y)
    capsys.readouterr()
    clf.predict(X)
    assert capsys.readouterr() == ("", "")


def test_what_is_shown_changes_no_result():
    X, y = make_data()
    quiet, shown = (ensemble(verbose=verbose).fit(X, y).predict_proba(X) for verbose in (0, 1))
    np.testing.assert_array_equal(quiet, shown)


def test_a_search_counts_its_fits(capsys):
    X, y = make_data()
    FusionSearchCV(small(max_epochs=2), {"lr": [0.01, 0.1], "hidden_dim": [4, 8]}, cv=2, verbose=1).fit(X, y)
    shown = capsys.readouterr()
    assert shown.out == "Fitting 2 folds for each of 4 candidates, totalling 8 fits\n"
    assert "fits: 100% 8/8 fit" in shown.err


def test_a_search_shows_what_trains_together(monkeypatch, capsys):
    monkeypatch.setattr("skmm._progress._LINE_EVERY", 0.0)
    X, y = make_data()
    FusionSearchCV(small(max_epochs=2), {"lr": [0.01, 0.1]}, cv=2, verbose=1, refit=False).fit(X, y)
    shown = capsys.readouterr().err
    assert "training 4 together:  50% 1/2 step" in shown
    assert "epoch=1/2" in shown


def test_searches_and_comparisons_are_silent_unless_asked(capsys):
    X, y = make_data()
    FusionSearchCV(small(max_epochs=1), {"lr": [0.01, 0.1]}, cv=2).fit(X, y)
    compare_fusions(X, y, estimator=small(max_epochs=1), fusions=["sum"], cv=2, baselines=False)
    Distilled(small(max_epochs=1), small(max_epochs=1), n_mixed=0, alpha=0).fit(X, y)
    assert capsys.readouterr() == ("", "")


def test_a_comparison_shows_the_fit_that_it_is_at(monkeypatch, capsys):
    monkeypatch.setattr("skmm._progress._LINE_EVERY", 0.0)
    X, y = make_data()
    compare_fusions(X, y, estimator=small(max_epochs=2), fusions=["sum", "late"], cv=2, baselines=False, verbose=1)
    shown = capsys.readouterr().err
    assert "fits:   0% 0/4 fit" in shown
    assert "fit=late" in shown
    assert "training 2 together:" in shown


def test_teacher_folds_and_student(capsys):
    X, y = make_data()
    Distilled(LogisticRegression(), small(max_epochs=2, verbose=1), cv=3, n_mixed=0).fit(X["vector"], y)
    shown = capsys.readouterr().err
    assert "folds of the teacher: 100% 3/3 fit" in shown
    assert "training: 100% 4/4 step" in shown


class Lazy:
    shape, ndim, dtype = (40, 3), 2, np.dtype(np.float32)

    def __len__(self):
        return 40

    def __getitem__(self, rows):
        return np.ones((40, 3), np.float32)[rows]


def test_a_lazy_block_is_counted_while_it_is_read(monkeypatch, capsys):
    real = time.time
    monkeypatch.setattr("tqdm.std.time", lambda: 1e5 * real())  # as if it took long
    block = Blocks(lazy=Lazy())["lazy"]
    with showing(True):
        Scaler.fit(block, np.ones(40, bool), np.ones(40), at_a_time=30)
    assert "reading: 100% 40/40 row" in capsys.readouterr().err
