"""A fit succeeds or leaves the estimator as it was; Ctrl-C ends whatever runs it, and nothing partial counts."""

import signal
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from conftest import every_estimator
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import Callback

from skmm import Blocks, ModalityTransformer, MultimodalClassifier
from skmm._fitting import all_or_nothing, forget_fit
from skmm.model_selection import FusionSearchCV, compare_fusions
from skmm.preprocessing.audio import MFCC
from skmm.preprocessing.table import TableTokens
from skmm.speech import SpeechRecognizer

QUICK = {"n_members": 2, "max_epochs": 4, "hidden_dim": 8, "random_state": 0}


def make_data(n=40, seed=0):
    rng = np.random.default_rng(seed)
    X = Blocks(text=rng.normal(size=(n, 3)), audio=rng.normal(size=(n, 5, 2)))
    return X, (X["text"][:, 0] > 0).astype(int)


class PressCtrlC(Callback):
    """A real SIGINT at the end of a chosen epoch, or in a batch of it, of the fit that is counted last."""

    fits = 0

    def __init__(self, epoch=2, at="on_epoch_end", in_fit=1):
        self.epoch, self.at, self.in_fit = epoch, at, in_fit

    def on_train_begin(self, net, **kwargs):
        type(self).fits += 1

    def _press(self, method, net):
        if method == self.at and len(net.history) == self.epoch and type(self).fits == self.in_fit:
            signal.raise_signal(signal.SIGINT)

    def on_epoch_end(self, net, **kwargs):
        self._press("on_epoch_end", net)

    def on_batch_end(self, net, **kwargs):
        self._press("on_batch_end", net)


@pytest.fixture(autouse=True)
def no_fits():
    PressCtrlC.fits = 0


# -- the mechanism ------------------------------------------------------------------------------------------------


class Thing:
    pass


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, MemoryError])
def test_nothing_of_a_block_that_raises_is_left(error):
    thing, undone = Thing(), []
    thing.old_ = 1
    with pytest.raises(error), all_or_nothing(thing, lambda: undone.append(True)):
        thing.old_, thing.new_ = 2, 3
        raise error
    assert vars(thing) == {"old_": 1}
    assert undone == [True]
    with all_or_nothing(thing, lambda: undone.append(False)):
        thing.old_ = 2
    assert vars(thing) == {"old_": 2}
    assert undone == [True]


def test_what_a_fit_left_is_forgotten_and_parameters_are_not():
    thing = Thing()
    thing.fitted_, thing.alpha, thing._private, thing.__odd__ = 1, 2, 3, 4
    forget_fit(thing)
    assert set(vars(thing)) == {"alpha", "_private", "__odd__"}


# -- a fit that fails ---------------------------------------------------------------------------------------------

_FAILURES = [
    ({"lr": 1e30, "optimizer": "sgd"}, "loss became"),  # in training
    ({"fusion": "nonsense"}, "unknown fusion 'nonsense'"),  # when the network is built
    ({"hidden_dim": -1}, "hidden_dim == -1"),  # when parameters are checked
    ({"encoders": {"text": "nonsense"}}, "unknown encoder 'nonsense'"),  # when samples are read
    ({"optimizer": "lbfgs"}, "n_members=1"),
]


@pytest.mark.parametrize(("wrong", "match"), _FAILURES, ids=str)
@every_estimator
def test_a_fit_that_fails_leaves_the_estimator_as_it_was(cls, wrong, match):
    X, y = make_data()
    estimator = cls(**QUICK)
    right = {name: getattr(estimator, name) for name in wrong}
    with pytest.raises(ValueError, match=match):
        estimator.set_params(**wrong).fit(X, y)
    assert set(vars(estimator)) == set(estimator.get_params(deep=False))
    with pytest.raises(NotFittedError):
        estimator.predict(X)
    expected = estimator.set_params(**right).fit(X, y).predict(X)
    before = dict(vars(estimator))
    other = np.random.default_rng(1).permutation(len(y))[:30]
    with pytest.raises(ValueError, match=match):
        estimator.set_params(**wrong).fit(X[other], y[other] * 2)
    estimator.set_params(**right)
    assert all(vars(estimator)[name] is value for name, value in before.items())
    np.testing.assert_array_equal(estimator.predict(X), expected)


@pytest.mark.parametrize("warm", [False, True])
@every_estimator
def test_a_fit_that_fails_in_going_on_leaves_the_weights(cls, warm):
    X, y = make_data()

    def go_on(estimator, X):
        return estimator.fit(X, y) if warm else estimator.partial_fit(X, y)

    estimator, twin = (cls(**QUICK, warm_start=warm, optimizer="sgd") for _ in range(2))
    go_on(estimator, X)
    go_on(twin, X)
    expected = twin.predict(X)
    estimator.net_.optimizer_.param_groups[0]["lr"] = estimator.net_.base_lr_ = 1e30  # the next loss is no number
    with pytest.raises(ValueError, match="loss became"):
        go_on(estimator, X)
    estimator.net_.base_lr_ = twin.net_.base_lr_
    for mine, its in zip(estimator.net_.optimizer_.param_groups, twin.net_.optimizer_.param_groups, strict=True):
        mine["lr"] = its["lr"]
    np.testing.assert_array_equal(estimator.predict(X), expected)
    assert estimator.n_iter_ == twin.n_iter_ == len(estimator.history_)
    with pytest.raises(ValueError, match="modality 'nonsense'|modality 'audio'"):  # before training
        go_on(estimator, Blocks(text=X["text"], nonsense=X["audio"]))
    lacking = Blocks(text=X["text"], audio=np.full((40, 5, 2), np.nan))
    with pytest.raises(ValueError, match="features"):
        go_on(estimator, Blocks(text=X["text"][:, :2], audio=lacking["audio"]))
    assert estimator.inputs_.lacked == twin.inputs_.lacked == set()
    # and both go on alike
    np.testing.assert_array_equal(go_on(estimator, X).predict(X), go_on(twin, X).predict(X))


def test_classes_of_a_partial_fit_that_was_refused_are_forgotten():
    X, y = make_data()
    clf = MultimodalClassifier(**QUICK).partial_fit(X, y, classes=[0, 1])
    with pytest.raises(ValueError, match="first call"):
        clf.partial_fit(X, y, classes=[0, 1, 2])
    assert clf.fit(X, y).classes_.tolist() == [0, 1]


def speech():
    rng = np.random.default_rng(0)
    audio = [rng.normal(size=(30 + i, 4)).astype(np.float32) for i in range(8)]
    return {"audio": audio}, ["ab", "ba", "a", "b", "abab", "aa", "bb", "ab"]


def test_a_recogniser_that_fails_is_as_it_was():
    X, y = speech()
    recognizer = SpeechRecognizer(max_epochs=2, hidden_dim=8, random_state=0)
    with pytest.raises(ValueError, match="nonsense"):
        recognizer.set_params(fusion="nonsense").fit(X, y)
    with pytest.raises(NotFittedError):
        recognizer.predict(X)
    emissions = recognizer.set_params(fusion="concat").fit(X, y).emissions(X)
    with pytest.raises(ValueError, match="loss became"):
        recognizer.set_params(lr=1e30, optimizer="sgd", clip_grad_norm=None).fit(X, [text + "c" for text in y])
    assert recognizer.symbols_ == ["a", "b"]
    for after, before in zip(recognizer.emissions(X), emissions, strict=True):
        np.testing.assert_array_equal(after, before)


def test_a_search_that_fails_is_as_it_was():
    X, y = make_data()
    search = FusionSearchCV(MultimodalClassifier(**QUICK), {"lr": [0.01, 0.1]}, cv=2).fit(X, y)
    results, expected = search.cv_results_, search.predict(X)
    with pytest.raises(ValueError, match="lr == -1"):
        search.set_params(param_grid={"lr": [-1.0]}, error_score="raise").fit(X, y)
    assert search.cv_results_ is results
    np.testing.assert_array_equal(search.predict(X), expected)


def test_transformers_that_fail_are_as_they_were():
    frame = pd.DataFrame({"a": [1.0, 2.0, 4.0], "b": ["x", "y", "x"]})
    table = ModalityTransformer([("table", StandardScaler(), ["a"])]).fit(frame)
    before = dict(vars(table))
    with pytest.raises(ValueError, match="could not convert"):
        table.fit(pd.DataFrame({"a": ["no", "num", "ber"], "c": [1, 2, 3]}))
    assert vars(table) == before
    tokens = TableTokens().fit(frame[["b"]])
    before = dict(vars(tokens))
    with pytest.raises(ValueError, match="is no category"):
        tokens.fit(pd.DataFrame({"other": [[1], "x", "y"]}))
    assert vars(tokens) == before
    mfcc = MFCC(8000, n_mels=20, n_mfcc=5).fit(None)
    filters = mfcc.filters_
    with pytest.raises(ValueError, match="n_mfcc=50"):
        mfcc.set_params(n_mels=30, n_mfcc=50).fit(None)
    assert mfcc.filters_ is filters


# -- Ctrl-C -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", ["on_epoch_end", "on_batch_end"])
@every_estimator
def test_ctrl_c_keeps_what_was_learned_and_goes_on_to_the_caller(cls, at):
    X, y = make_data()
    estimator = cls(**QUICK, callbacks=[PressCtrlC(2, at)], lr_schedule=None)
    done = 2 if at == "on_epoch_end" else 1
    with (
        pytest.warns(UserWarning, match=f"interrupted after {done} of 4 epochs"),
        pytest.raises(KeyboardInterrupt),
    ):
        estimator.fit(X, y)
    assert estimator.n_iter_ == done
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if at == "on_epoch_end":
        shorter = cls(**{**QUICK, "max_epochs": 2}, lr_schedule=None).fit(X, y)
        np.testing.assert_array_equal(estimator.predict(X), shorter.predict(X))


@pytest.mark.parametrize("fit", ["fit", "partial_fit"])
@every_estimator
def test_ctrl_c_before_an_epoch_has_ended_changes_nothing(cls, fit):
    X, y = make_data()
    estimator = cls(**QUICK, callbacks=[PressCtrlC(1, "on_batch_end")])
    with pytest.raises(KeyboardInterrupt):
        getattr(estimator, fit)(X, y)
    with pytest.raises(NotFittedError):
        estimator.predict(X)
    estimator.fit(X, y)
    expected = estimator.predict(X)
    PressCtrlC.fits = 0
    if fit == "partial_fit":
        estimator.callbacks[0].epoch = 5
    with pytest.raises(KeyboardInterrupt):
        getattr(estimator, fit)(X, y)
    np.testing.assert_array_equal(estimator.predict(X), expected)


def test_a_callback_that_ends_training_is_no_ctrl_c():
    class Enough(Callback):
        def on_epoch_end(self, net, **kwargs):
            raise KeyboardInterrupt

    X, y = make_data()
    clf = MultimodalClassifier(**QUICK, callbacks=[Enough()])
    with pytest.warns(UserWarning, match="interrupted after 1 of 4 epochs"):
        clf.fit(X, y)
    assert clf.n_iter_ == 1


@pytest.mark.filterwarnings("ignore:training was interrupted")
@pytest.mark.parametrize(
    "run",
    [
        lambda X, y, clf: GridSearchCV(clf, {"lr": [0.01, 0.1]}, cv=2).fit(X, y),
        lambda X, y, clf: cross_validate(clf, X, y, cv=3),
        lambda X, y, clf: compare_fusions(X, y, estimator=clf, fusions=["concat"], baselines=False, cv=3),
    ],
    ids=["GridSearchCV", "cross_validate", "compare_fusions"],
)
def test_ctrl_c_ends_what_runs_many_fits(run):
    X, y = make_data()
    clf = MultimodalClassifier(**QUICK, callbacks=[PressCtrlC(2, in_fit=2)])
    with pytest.raises(KeyboardInterrupt):
        run(X, y, clf)
    assert PressCtrlC.fits == 2


@pytest.mark.filterwarnings("ignore")  # of the fits that have no score
def test_a_search_counts_no_fit_that_was_interrupted():
    X, y = make_data()
    clf = MultimodalClassifier(**QUICK, callbacks=[PressCtrlC(3, in_fit=2)])
    search = FusionSearchCV(clf, {"lr": [0.01, 0.1]}, cv=2)
    with pytest.warns(UserWarning, match="interrupted after 1 of 4 fits"), pytest.raises(KeyboardInterrupt):
        search.fit(X, y)
    found = [search.cv_results_[f"split{i}_test_score"] for i in range(2)]
    assert np.isfinite(found).sum() == 1
    assert not hasattr(search, "best_estimator_")


@pytest.mark.filterwarnings("ignore:training was interrupted")
def test_a_search_that_is_interrupted_in_its_refit_has_no_best_estimator():
    X, y = make_data()
    clf = MultimodalClassifier(**QUICK, callbacks=[PressCtrlC(3, in_fit=5)])
    search = FusionSearchCV(clf, {"lr": [0.01, 0.1]}, cv=2)
    with pytest.warns(UserWarning, match="interrupted in its refit"), pytest.raises(KeyboardInterrupt):
        search.fit(X, y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert not hasattr(search, "best_estimator_")


@pytest.mark.slow
def test_ctrl_c_at_any_moment_leaves_one_model_or_the_other():
    """A refit of a child is interrupted from outside again and again: its weights are never of two fits."""
    code = """
import os, signal, sys, threading, time, warnings
import numpy as np
from skmm import Blocks, MultimodalClassifier
warnings.simplefilter("ignore")
rng = np.random.default_rng(0)
X = Blocks(text=rng.normal(size=(40, 3)), audio=rng.normal(size=(40, 5, 2)))
y = (X["text"][:, 0] > 0).astype(int)
clf = MultimodalClassifier(n_members=2, max_epochs=6, hidden_dim=8, random_state=0, lr_schedule=None).fit(X, y)
old, start = clf.predict_proba(X), time.perf_counter()
clf.set_params(random_state=1).fit(X, y)
span = time.perf_counter() - start
whole = clf.predict_proba(X)
clf.set_params(random_state=0).fit(X, y)
raised, kept = 0, 0
for share in rng.uniform(0, 1.1, size=12):
    clf.set_params(random_state=1)
    timer = threading.Timer(share * span, os.kill, (os.getpid(), signal.SIGINT))
    try:
        timer.start()
        clf.fit(X, y)
        timer.join()
        time.sleep(0.05)
    except KeyboardInterrupt:
        raised += 1
    timer.join()
    found = clf.predict_proba(X)
    if clf.n_iter_ < 6:
        shorter = MultimodalClassifier(n_members=2, max_epochs=clf.n_iter_, hidden_dim=8, random_state=1,
                                       lr_schedule=None).fit(X, y)
        assert np.isfinite(found).all() and clf.net_.seeds == shorter.net_.seeds, "neither model"
        kept += 1
    else:
        assert np.array_equal(found, old) or np.array_equal(found, whole), "neither model"
    clf.set_params(random_state=0).fit(X, y)
print("raised", raised, "kept", kept)
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert found.returncode == 0, found.stderr
