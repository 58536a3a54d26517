"""What set_callbacks was given is told of each fit, and of each epoch of it."""

import pickle

import numpy as np
import pytest
from conftest import assert_same, ensemble, every_estimator, make_data, small
from sklearn.base import clone
from sklearn.callback import ProgressBar, ScoringMonitor
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from skorch.callbacks import Callback

from skmm import MultimodalClassifier, load, save
from skmm.compression import Distilled, Pruned
from skmm.model_selection import FusionSearchCV
from skmm.speech import SpeechRecognizer

X, Y = make_data()


class Watch:
    """Notes what it is told; ``at`` some end of an epoch it does what it is asked for."""

    def __init__(self, at=None, act=None):
        self.at, self.act = at, act
        self.begun, self.ended, self.life = [], [], []

    def setup(self, estimator, context):
        self.life.append("setup")

    def teardown(self, estimator, context):
        self.life.append("teardown")

    def on_fit_task_begin(self, estimator, context):
        self.begun.append(context.task_name)

    def on_fit_task_end(self, estimator, context):
        self.ended.append(context.task_name)
        if self.act is not None and self.ended.count(self.at) == 2:
            return self.act()


class Propagated(Watch):
    """One that a meta-estimator hands on."""

    max_propagation_depth = 1


class Scores(Watch):
    """Notes how a copy of the estimator as it is scores after each epoch, and keeps the copies."""

    def __init__(self):
        super().__init__()
        self.scores, self.copies = [], []

    def on_fit_task_end(self, estimator, context, *, X, y, fitted_estimator):
        if context.task_name == "epoch":
            self.copies.append(fitted_estimator)
            self.scores.append(fitted_estimator.score(X, y))


def test_each_epoch_is_a_task():
    watch = Watch()
    clf = small(max_epochs=4).set_callbacks(watch).fit(X, Y)
    assert watch.begun == ["fit", "training", *["epoch"] * 4]
    assert watch.ended == [*["epoch"] * 4, "training", "fit"]
    assert watch.life == ["setup", "teardown"]
    assert clf.n_iter_ == 4


def test_experts_and_stack_are_tasks_of_their_own():
    watch = Watch()
    ensemble(max_epochs=1).set_callbacks(watch).fit(X, Y)
    assert watch.begun == ["fit", "training", "epoch", "experts", "stack"]


@every_estimator
def test_callbacks_change_no_result(cls):
    y = Y if cls is MultimodalClassifier else Y * 1.5
    made = ensemble(cls, dropout=0.3)
    assert_same(clone(made).set_callbacks(Watch(), Scores()).fit(X, y), made.fit(X, y), X, atol=0)


def test_scores_of_each_epoch():
    monitor = ScoringMonitor(scoring=["accuracy", "neg_log_loss"])
    clf = ensemble(max_epochs=6).set_callbacks(monitor).fit(X, Y)
    rows = [row for row in monitor.get_logs().data if row["task_name"] == "epoch"]
    assert len(rows) == 6
    assert rows[-1]["neg_log_loss"] > rows[0]["neg_log_loss"]
    (whole,) = [row for row in monitor.get_logs().data if row["task_name"] == "fit"]
    assert whole["accuracy"] == clf.score(X, Y)


def test_a_copy_stays_as_it_was():
    watch = Scores()
    clf = small(max_epochs=3).set_callbacks(watch).fit(X, Y)
    assert [copy.n_iter_ for copy in watch.copies] == [1, 2, 3]
    assert [copy.score(X, Y) for copy in watch.copies] == watch.scores
    assert_same(watch.copies[-1], clf, X, atol=0)
    assert np.abs(watch.copies[0].predict_proba(X) - clf.predict_proba(X)).max() > 1e-3


def test_early_stopping_scores_what_is_trained_so_far():
    watch = Scores()
    clf = small(max_epochs=50, early_stopping=True, n_iter_no_change=2, tol=10.0).set_callbacks(watch).fit(X, Y)
    assert len(watch.scores) == clf.n_iter_ == 3


def test_a_callback_that_raises_ends_the_fit():
    def fail():
        raise RuntimeError("the disk is full")

    watch = Watch("epoch", fail)
    clf = small().set_callbacks(watch)
    with pytest.raises(RuntimeError, match="the disk is full"):
        clf.fit(X, Y)
    with pytest.raises(NotFittedError):
        clf.predict(X)
    assert watch.life == ["setup", "teardown"]
    assert not [name for name in vars(clf) if "callback_fit_ctx" in name]


def test_one_that_raises_at_the_end_leaves_nothing_either():
    class AtTheEnd(Watch):
        def on_fit_task_end(self, estimator, context):
            if context.task_name == "fit":
                raise RuntimeError("too late")

    clf = small(max_epochs=1).set_callbacks(AtTheEnd())
    with pytest.raises(RuntimeError, match="too late"):
        clf.fit(X, Y)
    assert not hasattr(clf, "net_")


def test_one_that_asks_to_stop_ends_training(recwarn):
    watch = Watch("epoch", lambda: True)
    clf = small().set_callbacks(watch).fit(X, Y)
    assert clf.n_iter_ == watch.ended.count("epoch") == watch.begun.count("epoch") == 2
    assert [str(w.message) for w in recwarn] == []


def test_one_of_skorch_that_stops_leaves_no_epoch_open():
    class Stop(Callback):
        def on_epoch_end(self, net, **kwargs):
            raise KeyboardInterrupt

    watch = Watch()
    with pytest.warns(UserWarning, match="interrupted after 1 of"):
        small(callbacks=[Stop()]).set_callbacks(watch).fit(X, Y)
    assert watch.ended == ["epoch", "training", "fit"]


def test_a_clone_has_them_and_a_pickle():
    watch = Watch()
    clf = small(max_epochs=1).set_callbacks(watch)
    clone(clf).fit(X, Y)
    assert watch.ended.count("fit") == 1
    again = pickle.loads(pickle.dumps(clf.fit(X, Y)))
    assert_same(again, clf, X, atol=0)
    again.fit(X, Y)
    assert watch.ended.count("fit") == 2  # the pickle has a copy


def test_a_file_has_none(tmp_path):
    clf = small(max_epochs=1).set_callbacks(ScoringMonitor(scoring="accuracy")).fit(X, Y)
    search = FusionSearchCV(small(max_epochs=1), {"lr": [0.1]}, cv=2).set_callbacks(Watch()).fit(X, Y)
    for fitted in (clf, search):
        save(fitted, tmp_path / "model.skmm")
        assert_same(load(tmp_path / "model.skmm"), fitted, X, atol=0)


def test_what_is_no_callback_is_refused():
    with pytest.raises(TypeError, match="FitCallback"):
        small().set_callbacks("progress")


def test_scikit_learns_own_bar(capfd):
    pytest.importorskip("rich")
    small(max_epochs=2).set_callbacks(ProgressBar()).fit(X, Y)
    assert "MultimodalClassifier - training" in capfd.readouterr().out


# -- of what fits others ------------------------------------------------------------------------------------------


def test_a_pipeline_hands_them_on():
    watch = Propagated()
    pipe = make_pipeline(FunctionTransformer(), small(max_epochs=2))
    with pytest.warns(UserWarning, match="FunctionTransformer does not support callbacks"):
        pipe.set_callbacks(watch).fit(X, Y)
    assert watch.ended.count("epoch") == 2


def test_grid_search_of_scikit_learn_hands_them_on():
    watch = Propagated()
    GridSearchCV(small(max_epochs=2), {"lr": [0.01, 0.1]}, cv=2).set_callbacks(watch).fit(X, Y)
    assert watch.ended.count("epoch") == 2 * (2 * 2 + 1)


def test_a_search_tells_of_each_fit_and_hands_on_to_the_last():
    watch = Propagated()
    search = FusionSearchCV(small(max_epochs=3), {"lr": [0.01, 0.1]}, cv=2)
    search.set_callbacks(watch).fit(X, Y)
    assert watch.begun.count("candidate-split-evaluation") == 4
    assert watch.ended.count("epoch") == 3
    assert watch.ended[-1] == "fit"
    assert watch.life == ["setup", "teardown"]


def test_candidates_with_callbacks_are_fitted_alone():
    watch = Watch()
    made = small(max_epochs=3).set_callbacks(watch)
    search = FusionSearchCV(made, {"lr": [0.01, 0.1]}, cv=2, refit=False).fit(X, Y)
    assert search.stacks_["reason"] == ["scikit-learn's callbacks are set on it"]
    assert watch.ended.count("epoch") == 4 * 3


def test_a_search_that_is_ended_by_one_is_not_fitted():
    def fail():
        raise RuntimeError("the disk is full")

    search = FusionSearchCV(small(max_epochs=1), {"lr": [0.01, 0.1]}, cv=2)
    search.set_callbacks(Watch("candidate-split-evaluation", fail))
    with pytest.raises(RuntimeError, match="the disk is full"):
        search.fit(X, Y)
    assert not hasattr(search, "cv_results_")


@pytest.mark.parametrize("made", [lambda e: FusionSearchCV(e, {"lr": [0.1]}), Pruned, Distilled])
def test_one_that_is_handed_on_belongs_on_the_outermost(made):
    with pytest.raises(TypeError, match="Propagated is set on the MultimodalClassifier"):
        made(small().set_callbacks(Propagated())).fit(X, Y)


def test_teacher_and_student():
    watch = Propagated()
    Distilled(ensemble(max_epochs=2), small(max_epochs=3), n_mixed=0).set_callbacks(watch).fit(X, Y)
    assert watch.ended.count("epoch") == 2 + 3
    assert watch.ended.count("fit") == 3
    assert watch.life == ["setup", "teardown"]


def test_what_is_pruned():
    watch = Propagated()
    Pruned(ensemble(max_epochs=2), modalities=None, weights=0.5).set_callbacks(watch).fit(X, Y)
    assert watch.ended.count("epoch") == 2
    assert watch.ended[-2:] == ["pruning", "fit"]


def test_a_recogniser():
    rng = np.random.default_rng(0)
    sounds = [rng.normal(size=(n, 8)).astype(np.float32) for n in (24, 30, 36)]
    copies = Scores()
    made = SpeechRecognizer(max_epochs=2, hidden_dim=8, random_state=0).set_callbacks(copies)
    made.fit(sounds, ["no", "on", "no"])
    assert len(copies.scores) == 2
    assert list(copies.copies[-1].predict(sounds)) == list(made.predict(sounds))
