"""Predictions of several threads at once, and in forked processes."""

import os
import subprocess
import sys
import textwrap
import threading

import numpy as np
import pytest
from conftest import make_block

from skmm import MultimodalClassifier, MultimodalRegressor
from skmm.speech import SpeechRecognizer

N = 16
Y = np.arange(N) % 2
PICTURES = np.random.default_rng(0).integers(0, 256, (N, 64, 64, 3), dtype=np.uint8)
TABLE = make_block("vector", Y, noise=3.0).astype(np.float32)
SEQUENCE = make_block("sequence", Y, noise=3.0)
CASES = {
    "recurrent": ({"a": SEQUENCE, "b": TABLE}, {"encoders": {"a": "gru"}, "n_members": 4}),
    "default": ({"a": SEQUENCE.astype(np.float32), "b": TABLE}, {}),
    "pictures": ({"a": PICTURES, "b": TABLE}, {"n_members": 2}),
    "gated": ({"a": TABLE, "b": TABLE[:, ::-1].copy()}, {"fusion": "gated", "n_members": 2}),
    "attention": ({"a": SEQUENCE, "b": TABLE}, {"fusion": "attention", "n_members": 2}),
    "one network": ({"a": SEQUENCE, "b": TABLE}, {"n_members": 1, "modality_loss": 0.0}),
    "float64": ({"a": TABLE.astype(np.float64)}, {"n_members": 2}),
}


def together(calls, n_calls, n_threads=8):
    """Answers of functions of a row, called by threads at once, that differ from those of one thread."""
    expected = [[call(row) for row in range(N)] for call in calls]
    barrier, wrong = threading.Barrier(n_threads), []

    def work(number):
        barrier.wait()
        for i in range(n_calls // n_threads):
            which, row = (number + i) % len(calls), (5 * number + i) % N
            try:
                np.testing.assert_allclose(calls[which](row), expected[which][row], atol=1e-6)
            except Exception as error:
                wrong.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(n_threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return wrong


def ways(fitted, X):
    """What a fitted classifier says of a row, each as a function that gives one array."""

    def row(i):
        return {name: block[i : i + 1] for name, block in X.items()}

    def flat(found):
        return np.concatenate([np.ravel(x) for x in found])

    calls = [
        lambda i: fitted.predict_proba(row(i)),
        lambda i: fitted.transform(row(i)),
        lambda i: flat(fitted.predict_proba_by_head(row(i)).values()),
    ]
    if hasattr(fitted, "gates"):
        calls.append(lambda i: flat(fitted.gates(row(i)).values()))
    if hasattr(fitted, "attention_weights"):
        calls.append(lambda i: flat(part.values for part in fitted.attention_weights(row(i))))
    if fitted.modalities_["a"].kind == "sequence":
        calls.append(lambda i: fitted.frame_evidence(row(i), "a")["a"])
    return calls


@pytest.mark.one_by_default
@pytest.mark.parametrize(
    ("case", "n_calls"),
    [(case, 48) for case in CASES]
    + [pytest.param(case, 1600, marks=pytest.mark.slow) for case in ("recurrent", "default", "pictures")],
)
def test_threads_predict_what_one_does(case, n_calls):
    X, params = CASES[case]
    fitted = MultimodalClassifier(max_epochs=1, random_state=0, **params).fit(X, Y)
    assert not together(ways(fitted, X), n_calls)


@pytest.mark.slow
def test_a_prediction_does_not_see_another_estimator_in_training():
    X, params = CASES["recurrent"]
    fitted = MultimodalClassifier(max_epochs=1, random_state=0, **params).fit(X, Y)
    other = MultimodalRegressor(random_state=0, **params)
    alone = MultimodalRegressor(random_state=0, **params)
    for _ in range(5):
        alone.partial_fit(X, Y)
    thread = threading.Thread(target=lambda: [other.partial_fit(X, Y) for _ in range(5)])
    thread.start()
    wrong = together(ways(fitted, X), 40, n_threads=4)
    thread.join()
    assert not wrong
    np.testing.assert_array_equal(other.predict(X), alone.predict(X))


def test_threads_transcribe_what_one_does():
    rng = np.random.default_rng(0)
    audio = [rng.normal(size=(20 + i, 3)).astype(np.float32) for i in range(N)]
    fitted = SpeechRecognizer(max_epochs=1, hidden_dim=8, random_state=0).fit({"audio": audio}, ["ab", "ba"] * 8)
    assert not together([lambda i: fitted.emissions({"audio": audio[i : i + 1]})[0]], 80)


FORK = """
import os, sys, threading, time, warnings
import numpy as np
import torch
from skmm import MultimodalClassifier

warnings.simplefilter("ignore")
torch.set_num_threads(2)
rng = np.random.default_rng(0)
X, y = {"a": rng.normal(size=(600, 200)).astype(np.float32)}, np.arange(600) % 2

def model(epochs):
    return MultimodalClassifier(max_epochs=epochs, n_members=2, random_state=0, device="cpu")

fitted = model(1).fit(X, y)
expected = fitted.predict_proba(X)

def ends_well(work):
    child = os.fork()
    if not child:
        try:
            work()
            os._exit(0)
        except BaseException as error:
            print(repr(error), flush=True)
            os._exit(1)
    until = time.monotonic() + 60
    while time.monotonic() < until:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status == 0
        time.sleep(0.02)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return False

def predict():
    np.testing.assert_allclose(fitted.predict_proba(X), expected, atol=1e-5)

def fit():
    model(1).fit(X, y)
"""


@pytest.mark.one_by_default
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")
@pytest.mark.parametrize(
    "work",
    [
        pytest.param("assert ends_well(predict) and ends_well(fit)", id="after a fit", marks=pytest.mark.slow),
        pytest.param(
            """
        from skorch.callbacks import Callback
        begun, asked = threading.Event(), threading.Event()
        class Wait(Callback):
            def on_epoch_end(self, net, **kwargs):
                begun.set()
                assert asked.wait(200)
        thread = threading.Thread(target=lambda: model(1).set_params(callbacks=[Wait()]).fit(X, y))
        thread.start()
        begun.wait(100)
        try:
            assert ends_well(predict) and ends_well(fit)
        finally:
            asked.set()
            thread.join()
        """,
            id="during a fit",  # which is after another
        ),
    ],
)
def test_a_forked_process_predicts_and_fits(work):
    environment = {**os.environ, "OMP_NUM_THREADS": "2", "MKL_NUM_THREADS": "2", "OMP_WAIT_POLICY": "passive"}
    code = FORK + textwrap.dedent(work) + "\nassert torch.get_num_threads() == 2"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stdout + done.stderr
