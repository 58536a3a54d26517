"""What several ranks of one fit do in tests: each job runs in every process, which writes what it found.

``python tests/ranks.py JOB FILE``, with the variables of a launcher.
"""

import functools
import os
import pickle
import socket
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
from sklearn.base import clone
from skorch.callbacks import Callback

from skmm import Blocks, MultimodalClassifier, MultimodalRegressor
from skmm.compression import Distilled
from skmm.distributed import data_parallel
from skmm.model_selection import FusionSearchCV
from skmm.speech import SpeechRecognizer

N = 203  # the last of batches of 50 has three rows, fewer than four ranks


# -- in the tests ------------------------------------------------------------------------------------------------


def run(job, world_size, folder, *arguments, limit=150):
    """What each rank found, by rank; None of one that ended without writing it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    files = [Path(folder) / f"{job}{rank}.pickle" for rank in range(world_size)]
    processes = []
    for rank, file in enumerate(files):
        own = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world_size)}
        own |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        command = [sys.executable, __file__, job, str(file), *map(str, arguments)]
        processes.append(subprocess.Popen(command, env={**os.environ, **own}))
    end = time.monotonic() + limit
    try:
        for process in processes:
            process.wait(max(1.0, end - time.monotonic()))
    finally:
        for process in processes:
            process.kill()
            process.wait()
    return [pickle.loads(file.read_bytes()) if file.exists() else None for file in files]


# -- in every process --------------------------------------------------------------------------------------------


def samples(folder):
    """Vectors that some lack, sequences, and vectors that are read from a file."""
    rng = np.random.default_rng(0)
    y = rng.integers(3, size=N)
    known = 2 * np.eye(6)[y] + rng.normal(size=(N, 6))
    known[rng.random(N) < 0.2] = np.nan
    X = {"known": known, "steps": rng.normal(size=(N, 5, 4)) + y[:, None, None]}
    file = Path(folder) / f"noise{os.environ.get('RANK', '')}.h5"
    with h5py.File(file, "w") as h5:
        h5["noise"] = rng.normal(size=(N, 3)).astype(np.float32)
    lazy = Blocks({**X, "noise": h5py.File(file)["noise"]})
    return Blocks({**X, "noise": rng.normal(size=(N, 3))}), lazy, y


def estimators():
    """What must be fitted alike by any number of ranks; of each whether it reads from the file."""
    given = {"n_members": 4, "max_epochs": 4, "hidden_dim": 8, "dropout": 0.0, "random_state": 0}
    given |= {"experts": None, "batch_size": 50}
    return {
        "early, stopped early": (MultimodalClassifier("early", early_stopping=True, **given), False),
        "concat, clipped": (MultimodalClassifier("concat", clip_grad_norm=0.1, **given), False),
        "attention": (MultimodalClassifier("attention", **{**given, "optimizer": "sgd", "lr": 0.1}), False),
        "late, alone": (MultimodalRegressor("late", **{**given, "n_members": 1}), False),
        "lazily read": (MultimodalClassifier("concat", **given), True),
        "experts": (MultimodalRegressor("concat", **{**given, "experts": "auto"}), False),
    }


def fit_all(folder, *, apart=False):
    """Outputs, weights, losses and what was left out, of each estimator."""
    X, lazy, y = samples(folder)
    found = {}
    for name, (estimator, reads) in estimators().items():
        if apart and estimator.n_members == 1:
            continue
        given = lazy if reads else X
        estimator.fit(given, y)
        said = estimator.predict_proba(given) if hasattr(estimator, "predict_proba") else estimator.predict(given)
        weights = [x.detach().numpy() for x in estimator.net_.module_.parameters()]
        found[name] = said, weights, np.array(estimator.loss_curve_), getattr(estimator, "oof_prediction_", None)
    return found


def same(folder, parallel):
    with data_parallel(parallel, timeout=60):
        return fit_all(folder, apart=parallel == "members")


def random_start(folder):
    """Without a seed, with dropout, and by recognisers of speech: ranks end alike all the same."""
    X, _, y = samples(folder)
    rng = np.random.default_rng(1)
    audio = [rng.normal(size=(20 + 3 * (i % 4), 5)).astype(np.float32) for i in range(12)]
    texts = [["yes", "no", "may be"][i % 3] for i in range(12)]
    with data_parallel(timeout=60) as ranks:
        clf = MultimodalClassifier("attention", n_members=2, max_epochs=2, hidden_dim=8, dropout=0.3).fit(X, y)
        recogniser = SpeechRecognizer(max_epochs=2, hidden_dim=8, batch_size=5).fit(audio, texts)
    weights = [[x.detach().numpy() for x in e.net_.module_.parameters()] for e in (clf, recogniser)]
    return ranks.rank, clf.predict_proba(X), *weights


def drawn(folder):
    """What is drawn outside of a fit, without a seed: candidates of a search, and mixed samples to learn from."""
    X, _, y = samples(folder)
    X = {"steps": X["steps"]}
    small = MultimodalClassifier(n_members=2, max_epochs=1, hidden_dim=4, experts=None, batch_size=100)
    with data_parallel(timeout=60):
        search = FusionSearchCV(small, {"lr": list(np.geomspace(1e-4, 1e-2, 50))}, n_iter=3, cv=2, refit=False).fit(
            X, y
        )
        student = Distilled(small, small, n_mixed=1).fit(X, y)
    return search.cv_results_["params"], search.cv_results_["mean_test_score"], student.predict_proba(X)


def refused(folder):
    """What each rank is told where the ranks do not do the same, and what comes after."""
    X, _, y = samples(folder)
    found = {}

    def told(name, fit):
        try:
            fit()
        except Exception as error:
            found[name] = f"{type(error).__name__}: {error}"

    small = {"n_members": 2, "max_epochs": 1, "hidden_dim": 4, "experts": None, "batch_size": 100}
    with data_parallel(timeout=60) as ranks:
        second = ranks.rank == 1
        clf = MultimodalClassifier(**small, random_state=0)
        other = X[::-1] if second else X
        told("samples", lambda: clf.fit(other, y))
        told("targets", lambda: clf.fit(X, y[::-1] if second else y))
        told("fewer", lambda: clf.fit(X[:100], y[:100]) if second else clf.fit(X, y))
        told("parameters", lambda: MultimodalClassifier(**{**small, "max_epochs": 1 + second}).fit(X, y))
        told("one wrong", lambda: MultimodalClassifier(**{**small, "dropout": -1 if second else 0.0}).fit(X, y))
        told("one unreadable", lambda: clf.fit(X, y[: N - second]))
        clf.fit(X, y)  # nothing hangs afterwards
        search = FusionSearchCV(clf, {"lr": [0.001, 0.02]}, cv=2).fit(X, y)  # of fits each of which is divided
        found["after"] = clf.predict_proba(X), search.cv_results_["mean_test_score"]
    with data_parallel("members", timeout=60):
        told("few members", lambda: MultimodalClassifier(**{**small, "n_members": 1}).fit(X, y))
        told("stream", lambda: MultimodalClassifier(**small).partial_fit(X, y, classes=[0, 1, 2]))
    return found


class OnSecond(Callback):
    """Does something on the second rank, after an epoch."""

    def __init__(self, do):
        self.do = do

    def on_epoch_end(self, net, **kwargs):
        if os.environ["RANK"] == "1":
            self.do()


def ending_by(do):
    return MultimodalClassifier(n_members=2, max_epochs=30, experts=None, random_state=0, callbacks=[OnSecond(do)])


def one_dies(folder):
    """What the first rank is told where the second ends in the middle of training."""
    X, _, y = samples(folder)
    start = time.monotonic()
    clf = ending_by(functools.partial(os._exit, 3))
    try:
        with data_parallel(timeout=20):
            clf.fit(X, y)
    except RuntimeError as error:
        return str(error), time.monotonic() - start, hasattr(clf, "net_")


def one_raises(folder):
    """What each rank is told where the second has an error that the script catches, and afterwards."""
    X, _, y = samples(folder)
    start = time.monotonic()
    clf = ending_by({}.popitem)  # a KeyError
    told = []
    with data_parallel(timeout=60):
        for _ in range(2):
            try:
                clf.fit(X, y)
            except Exception as error:
                told.append(f"{type(error).__name__}: {error}")
    return told, time.monotonic() - start


def diverges(folder):
    """A loss that is no number on all ranks, other errors that all have, and what comes after."""
    X, _, y = samples(folder)
    clf = MultimodalClassifier(n_members=2, max_epochs=3, experts=None, random_state=0, optimizer="sgd")
    file = Path(folder) / "no checkpoint"
    file.write_text("something else")
    with data_parallel(timeout=60):
        try:
            clf.set_params(lr=1e30).fit(X, y)
        except ValueError as error:
            told = str(error)
        try:
            clf.set_params(checkpoint=str(file), lr=0.01).fit(X, y)
        except ValueError as error:
            told += str(error)
        try:
            clone(clf).set_params(checkpoint=None).partial_fit(X, y, n_parts=0)
        except ValueError as error:
            told += str(error)
        clf.set_params(checkpoint=None)
        return told, clf.set_params(lr=0.01).fit(X, y).predict_proba(X)


if __name__ == "__main__":
    job, file, *arguments = sys.argv[1:]
    found = globals()[job](Path(file).parent, *arguments)
    Path(file).write_bytes(pickle.dumps(found))
