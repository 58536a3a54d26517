"""A fit that was killed and is called again ends as one that was not; whose the file is, and what becomes of it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ensemble, in_child, make_data, small
from sklearn.base import clone
from sklearn.dummy import DummyClassifier
from sklearn.model_selection import cross_val_score
from skorch.callbacks import Callback, LRScheduler

from skmm import Blocks, MultimodalRegressor
from skmm.datasets import make_spoken_sequences
from skmm.preprocessing import LogMel
from skmm.speech import SpeechRecognizer
from skmm.training import _checkpoint

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork"),
    pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"),  # of Python 3.12, where there are threads
]

X, Y = make_data(60, n_classes=3)


class KillAfter(Callback):
    """Kills its process at the end of an epoch, or at a step of it, if it is told to."""

    moment = None  # (epoch, step), or (epoch, None)

    def on_batch_end(self, net, training=False, **kwargs):
        if training:
            self.kill_at(net, len(net.history[-1]["batches"]))

    def on_epoch_end(self, net, **kwargs):
        self.kill_at(net, None)

    def kill_at(self, net, step):
        if (len(net.history), step) == KillAfter.moment:
            os.kill(os.getpid(), signal.SIGKILL)


class Counter(Callback):
    """Counts epochs in this process alone, or over all of a fit if it keeps its state."""

    def initialize(self):
        self.n = 0
        return self

    def on_epoch_end(self, net, **kwargs):
        self.n += 1


class KeptCounter(Counter):
    def state_dict(self):
        return {"n": self.n}

    def load_state_dict(self, state):
        self.n = state["n"]


def fit_killed(estimator, *moments, **given):
    """Fit in children that are killed, one at each moment, and then here, in the same way as they began."""
    for moment in moments:

        def work(moment=moment):
            KillAfter.moment = moment
            estimator().fit(X, Y, **given)

        assert in_child(work) == signal.SIGKILL
    return estimator().fit(X, Y, **given)


def assert_same_fit(a, b):
    """Weights, predictions, stack and history, all to the last bit."""
    for one, other in zip(a.net_.module_.state_dict().values(), b.net_.module_.state_dict().values(), strict=True):
        assert torch.equal(one, other)
    np.testing.assert_array_equal(a.predict(X), b.predict(X))
    if hasattr(a, "predict_proba"):
        np.testing.assert_array_equal(a.predict_proba(X), b.predict_proba(X))
    if hasattr(a, "oof_prediction_"):
        np.testing.assert_array_equal(a.oof_prediction_, b.oof_prediction_)
        assert str(a.stack_weights_) == str(b.stack_weights_)
    rows = [[{k: v for k, v in row.items() if k != "dur"} for row in x.history_] for x in (a, b)]
    assert rows[0] == rows[1]


FITS = {
    "members": {"n_members": 3},
    "early stopping": {"n_members": 3, "early_stopping": True, "n_iter_no_change": 2, "tol": 0.05},
    "modality_dropout and SGD": {"optimizer": "sgd", "modality_dropout": 0.3, "n_members": 3},
    "one member, every third epoch": {"n_members": 1, "checkpoint_every": 3},
    "a regressor": {"cls": MultimodalRegressor, "n_members": 2},
    "float16": {"n_members": 2, "precision": "16"},
    "lbfgs": {"n_members": 1, "optimizer": "lbfgs", "max_epochs": 6},
    "a time limit that is not reached": {"n_members": 2, "time_limit": 600},
}


def made(path, **params):
    def estimator(**more):
        return ensemble(**{"callbacks": [KillAfter()], "checkpoint": path, "batch_size": 16, **params, **more})

    return estimator


@pytest.mark.one_by_default
@pytest.mark.parametrize("params", FITS.values(), ids=list(FITS))
def test_two_kills_change_no_bit(params, tmp_path):
    estimator = made(tmp_path / "run.ckpt", **params)
    whole = estimator(checkpoint=None).fit(X, Y)  # first: what it imports the children need not
    assert_same_fit(fit_killed(estimator, (3, 2), (5, None)), whole)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_a_kill_at_any_moment_changes_no_bit(seed, tmp_path):
    estimator = made(tmp_path / "run.ckpt", n_members=3, early_stopping=seed % 2 == 1, modality_dropout=0.2)
    rng = np.random.RandomState(seed)
    moment = (rng.randint(1, 9), [None, 1, 2, 3][rng.randint(4)])
    assert_same_fit(fit_killed(estimator, moment), estimator(checkpoint=None).fit(X, Y))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_a_kill_at_any_time_changes_no_bit(seed, tmp_path):
    estimator = made(tmp_path / "run.ckpt", n_members=3, modality_dropout=0.2)
    estimator(checkpoint=None).fit(X, Y)  # what it imports takes a while
    start = time.perf_counter()
    whole = estimator(checkpoint=None).fit(X, Y)
    seconds = np.random.RandomState(seed).uniform(0, time.perf_counter() - start)
    in_child(lambda: estimator().fit(X, Y), seconds)
    assert_same_fit(estimator().fit(X, Y), whole)


def test_folds_of_time(tmp_path):
    estimator = made(tmp_path / "run.ckpt")
    fitted = fit_killed(estimator, (4, None), time=np.arange(60))
    assert_same_fit(fitted, estimator(checkpoint=None).fit(X, Y, time=np.arange(60)))


def test_what_was_trained_is_not_trained_again(tmp_path):
    estimator = made(tmp_path / "run.ckpt", n_members=1)
    counter, kept = Counter(), KeptCounter()
    fit_killed(lambda: estimator(callbacks=[KillAfter(), counter, kept]), (5, 2))
    assert counter.n == 4  # of 8: four were on disk
    assert kept.n == 8


class KillingExpert(DummyClassifier):
    """Kills its process in its fit, if it is told to."""

    armed = False

    def fit(self, X, y, sample_weight=None):
        if KillingExpert.armed:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().fit(X, y, sample_weight)


def test_a_kill_while_experts_are_fitted_repeats_no_epoch(tmp_path):
    counter = Counter()
    estimator = made(tmp_path / "run.ckpt", n_members=2, experts={"dummy": KillingExpert()}, callbacks=[counter])

    def work():
        KillingExpert.armed = True
        estimator().fit(X, Y)

    whole = estimator(checkpoint=None).fit(X, Y)
    assert in_child(work) == signal.SIGKILL
    assert_same_fit(estimator().fit(X, Y), whole)
    assert counter.n == 0


class OnDisk:
    """Rows of an array as if they were read when they are asked for."""

    def __init__(self, array):
        self.array, self.shape, self.dtype, self.chunks = array, array.shape, array.dtype, None

    def __len__(self):
        return len(self.array)

    def __getitem__(self, rows):
        return self.array[rows]


def test_lazily_read_samples(tmp_path):
    def lazy(change=0.0):
        return Blocks(vector=X["vector"], sequence=OnDisk(X["sequence"] + change))

    def work():
        KillAfter.moment = (4, 2)
        estimator().fit(lazy(), Y)

    estimator = made(tmp_path / "run.ckpt", n_members=2, scale_inputs=False)
    whole = estimator(checkpoint=None).fit(lazy(), Y)
    assert in_child(work) == signal.SIGKILL
    with pytest.raises(ValueError, match="differs: the samples"):
        estimator().fit(lazy(1e-3), Y)
    again = estimator().fit(lazy(), Y)
    np.testing.assert_array_equal(again.predict_proba(lazy()), whole.predict_proba(lazy()))


def test_a_recogniser_of_speech(tmp_path):
    audio, texts = make_spoken_sequences(24, n_words=(1, 2), n_syllables=3, random_state=0)
    audio = {"audio": LogMel(8000, n_mels=8).fit_transform(audio["audio"])}

    def recognizer(path):
        fast = {"encoders": {"audio": "gru"}, "hidden_dim": 8, "batch_size": 4, "max_epochs": 4, "random_state": 0}
        return SpeechRecognizer(**fast, callbacks=[KillAfter()], checkpoint=path)

    def work():
        KillAfter.moment = (3, 2)
        recognizer(tmp_path / "run.ckpt").fit(audio, texts)

    whole = recognizer(None).fit(audio, texts)
    assert in_child(work) == signal.SIGKILL
    again = recognizer(tmp_path / "run.ckpt").fit(audio, texts)
    for one, other in zip(again.emissions(audio), whole.emissions(audio), strict=True):
        np.testing.assert_array_equal(one, other)
    assert again.loss_curve_ == whole.loss_curve_


def test_training_that_goes_on_in_rounds(tmp_path, monkeypatch):
    for module in ("skmm.estimators._base", "skmm.training._optimizers"):
        monkeypatch.setattr(f"{module}.goes_on", lambda n: True)
    monkeypatch.setattr("skmm.estimators._base.MOST_EPOCHS", 12)
    monkeypatch.setattr("skmm.estimators._base.auto_epochs", lambda n, batch_size: 3)
    estimator = made(tmp_path / "run.ckpt", max_epochs="auto", lr=0.002)
    fitted, whole = fit_killed(estimator, (5, 2)), estimator(checkpoint=None).fit(X, Y)
    assert fitted.n_iter_ > 3
    assert_same_fit(fitted, whole)


def test_a_kill_while_writing_leaves_the_file_before(tmp_path, monkeypatch):
    path = tmp_path / "run.ckpt"
    estimator = made(path, n_members=1)

    def work():
        place, written = _checkpoint.os.replace, []

        def replace(a, b):
            written.append(a)
            if len(written) == 3:
                os.truncate(a, 100)
                os.kill(os.getpid(), signal.SIGKILL)
            place(a, b)

        _checkpoint.os.replace = replace
        estimator().fit(X, Y)

    assert in_child(work) == signal.SIGKILL
    assert len(list(tmp_path.iterdir())) == 2
    assert torch.load(path, weights_only=True)["state"]["epochs"] == 2
    for left in tmp_path.iterdir():
        os.utime(left, (0, 0))  # the kill was long ago
    assert_same_fit(estimator().fit(X, Y), estimator(checkpoint=None).fit(X, Y))
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def unfinished(tmp_path):
    """A path with what a fit has left that was killed, and that fit."""
    path = tmp_path / "run.ckpt"
    estimator = made(path, n_members=1)

    def work():
        KillAfter.moment = (3, None)
        estimator().fit(X, Y)

    assert in_child(work) == signal.SIGKILL
    return path, estimator


@pytest.mark.parametrize(
    ("params", "y", "given", "message"),
    [
        ({"lr": 0.01}, Y, {}, r"differs: lr \(0.02 there, 0.01 here\)\. Go on"),
        ({}, (Y + 1) % 3, {}, "differs: .*the targets"),
        ({}, Y, {"sample_weight": np.arange(60) + 1.0}, "differs: .*the sample weights, groups, time or folds"),
        ({"random_state": 1}, Y, {}, r"random_state \(0 there, 1 here\); .*the initial weights"),
        ({"callbacks": []}, Y, {}, "differs: callbacks"),
    ],
    ids=["parameter", "targets", "weights", "seed", "callbacks"],
)
def test_another_fit_is_refused_and_told_what_differs(unfinished, params, y, given, message):
    path, estimator = unfinished
    before = path.read_bytes()
    with pytest.raises(ValueError, match=message):
        estimator(**params).fit(X, y, **given)
    assert path.read_bytes() == before


def test_other_samples_are_refused(unfinished):
    _, estimator = unfinished
    other = {name: np.array(X[name]) for name in X}
    other["vector"][7, 2] += 1e-3
    with pytest.raises(ValueError, match="differs: the samples"):
        estimator().fit(other, Y)


def test_another_version_is_refused(unfinished, monkeypatch):
    _, estimator = unfinished
    monkeypatch.setattr(_checkpoint, "versions", lambda: {"torch": "9.9"})
    with pytest.raises(ValueError, match=r"the version of torch \(.* there, 9\.9 here\)"):
        estimator().fit(X, Y)


def test_a_newer_format_is_refused(unfinished):
    path, estimator = unfinished
    torch.save({**torch.load(path, weights_only=True), "format": 2}, path)
    with pytest.raises(ValueError, match="is of format 2, this version reads 1"):
        estimator().fit(X, Y)


@pytest.mark.parametrize(
    "content", [lambda whole: whole[: len(whole) // 2], lambda whole: b"", lambda whole: b"something else\n" * 99]
)
def test_a_file_that_is_cut_or_foreign_is_an_error_and_stays(unfinished, content):
    path, estimator = unfinished
    path.write_bytes(content(path.read_bytes()))
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"run\.ckpt' is cut or no checkpoint"):
        estimator().fit(X, Y)
    assert path.read_bytes() == before


def test_a_file_runs_no_code(unfinished):
    path, estimator = unfinished
    torch.save({"format": 1, "state": KillAfter()}, path)
    with pytest.raises(ValueError, match="is cut or no checkpoint"):
        estimator().fit(X, Y)


def test_verbose_and_another_interval_are_no_other_fit(unfinished, capsys):
    _, estimator = unfinished
    estimator(verbose=1, checkpoint_every=2).fit(X, Y)
    assert "goes on after epoch 2" in capsys.readouterr().out


def test_two_fits_at_once_do_not_share_a_file(tmp_path):
    class Meanwhile(Callback):
        def on_epoch_begin(self, net, **kwargs):
            with pytest.raises(ValueError, match=r"lr \(0.02 there, 0.01 here\)"):
                small(checkpoint=tmp_path / "run.ckpt", lr=0.01, max_epochs=1).fit(X, Y)

    small(checkpoint=tmp_path / "run.ckpt", callbacks=[Meanwhile()], max_epochs=2).fit(X, Y)


def test_each_clone_has_a_file_of_its_own(tmp_path):
    seen = set()

    class Names(Callback):
        def on_epoch_begin(self, net, **kwargs):
            seen.update(path.name for path in tmp_path.iterdir())

    model = small(checkpoint=tmp_path / "run.ckpt", callbacks=[Names()], max_epochs=2)
    cross_val_score(model, X, Y, cv=3, error_score="raise")
    assert len(seen) == 3
    assert all(name.startswith("run-") and name.endswith(".ckpt") for name in seen)
    assert list(tmp_path.iterdir()) == []


def test_a_clone_goes_on_from_its_own(tmp_path, capsys):
    estimator = made(tmp_path / "run.ckpt", n_members=1, verbose=1)
    # whose repr is another in each process
    fit_killed(lambda: clone(estimator(random_state=np.random.RandomState(0))), (5, 2))
    assert "goes on after epoch 4" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_clones_in_four_processes(tmp_path):
    model = small(checkpoint=tmp_path / "run.ckpt")
    together = cross_val_score(model, X, Y, cv=4, n_jobs=4, error_score="raise")
    np.testing.assert_array_equal(together, cross_val_score(small(), X, Y, cv=4))
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_keeps_the_file(tmp_path):
    class Interrupt(Callback):
        def on_batch_begin(self, net, **kwargs):
            if len(net.history) == 3 and armed:
                os.kill(os.getpid(), signal.SIGINT)

    armed = [True]
    model = small(checkpoint=tmp_path / "run.ckpt", callbacks=[Interrupt()], max_epochs=5)
    with pytest.warns(UserWarning, match="after 2 of 5 epochs"), pytest.raises(KeyboardInterrupt):
        model.fit(X, Y)
    armed.clear()
    assert_same_fit(model.fit(X, Y), small(callbacks=[Interrupt()], max_epochs=5).fit(X, Y))


def test_warm_start_goes_on_too(tmp_path):
    estimator = made(tmp_path / "run.ckpt", n_members=2, warm_start=True, max_epochs=3)
    whole = estimator(checkpoint=None).fit(X, Y).fit(X, Y)
    first = estimator().fit(X, Y)

    def work():
        KillAfter.moment = (5, 2)  # the second of the second fit's epochs
        first.fit(X, Y)

    assert in_child(work) == signal.SIGKILL
    assert_same_fit(first.fit(X, Y), whole)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"checkpoint": 3}, "must be the path of a file or None, got 3"),
        ({"checkpoint": "nowhere/run.ckpt"}, "there is no folder 'nowhere'"),
        ({"checkpoint": "."}, "is a folder"),
        ({"random_state": None}, "needs random_state"),
        ({"checkpoint_every": 0}, "checkpoint_every == 0, must be >= 1"),
        ({"callbacks": [LRScheduler()]}, "does not keep the state of the callback LRScheduler"),
    ],
)
def test_parameters_that_are_refused(params, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        small(**{"checkpoint": tmp_path / "run.ckpt", **params}).fit(X, Y)


def test_what_could_not_be_read_again_is_refused_at_once(tmp_path):
    class Odd(Callback):
        def on_epoch_end(self, net, **kwargs):
            net.history.record("odd", KillAfter())

    with pytest.raises(ValueError, match="what a callback records .* Unsupported"):
        small(checkpoint=tmp_path / "run.ckpt", callbacks=[Odd()]).fit(X, Y)


def test_a_stream_has_none(tmp_path):
    assert not hasattr(small(checkpoint=tmp_path / "run.ckpt"), "partial_fit")


@pytest.mark.slow
def test_digests_are_the_same_in_every_process():
    program = """
from conftest import ensemble, make_data
from skmm import Encoder, Optimizer
from skmm.augmentation import Mixup
from skmm.training._identity import digest_of
import numpy as np, pandas as pd, sklearn.linear_model, torch
X, y = make_data(20, ("vector", "ragged", "sparse", "tokens"))
frame = pd.DataFrame({"name": ["a", "b"] * 10, "size": y, "when": pd.Timestamp("2020")})
model = ensemble(encoders={"vector": Encoder("mlp", hidden_dim=3)}, optimizer=Optimizer("sgd", momentum=0.9))
model.set_params(augment={"*": Mixup()}, experts={"linear": (sklearn.linear_model.Ridge(), ["vector"])})
words, layer, random = {"a", "bb", "ccc"}, torch.nn.ReLU(), np.random.RandomState(0)
for value in (X, y, frame, frame["name"], model, words, layer, random, make_data, digest_of, [1, 1.0, None, "x"]):
    print(digest_of(value))
"""

    def digests(seed):
        path = os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])
        more = {"PYTHONHASHSEED": seed, "PYTHONPATH": path}
        return subprocess.check_output([sys.executable, "-c", program], env={**os.environ, **more}).split()

    found = digests("1")
    assert len(set(found)) == 11
    assert digests("2") == found
