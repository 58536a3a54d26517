"""What the tests share: small estimators, small data, and which tests this machine can run."""

import os
import signal
import time
from pathlib import Path

# the networks are small: tests side by side pay, threads inside one do not
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from server import Server

from skmm import Blocks, MultimodalClassifier, MultimodalRegressor, list_encoders, list_fusions

# encoders that need no model from elsewhere
SELF_CONTAINED = [name for name in list_encoders() if name != "pretrained"]
ESTIMATORS = [MultimodalClassifier, MultimodalRegressor]
every_estimator = pytest.mark.parametrize("cls", ESTIMATORS)
members = pytest.mark.parametrize("n_members", [1, 3])
# What any fusion must keep, skmm.testing asserts of the whole registry, in tests/fusion/test_fusion.py and
# tests/estimators/test_common.py. Of the estimator around it, one fusion of each level stands for the others.
LEVELS = ["early", "concat", "attention", "late"]


def level_by_default(fusion, *others):
    """A parameter set of the default run for one fusion of each level, for the others of the slow tests."""
    return pytest.param(fusion, *others, marks=[] if fusion in LEVELS else [pytest.mark.slow])


every_fusion = pytest.mark.parametrize("fusion", [level_by_default(f) for f in list_fusions()])
each_level = pytest.mark.parametrize("fusion", LEVELS)
once_and_each_level = pytest.mark.parametrize(
    ("fusion", "cls"),
    [
        *(level_by_default(fusion, MultimodalClassifier) for fusion in list_fusions()),
        *((fusion, MultimodalRegressor) for fusion in LEVELS),
    ],
)


def outputs(estimator, X):
    return estimator.predict_proba(X) if hasattr(estimator, "predict_proba") else estimator.predict(X)


def assert_same(a, b, X, atol=1e-6):
    np.testing.assert_allclose(outputs(a, X), outputs(b, X), rtol=0, atol=atol)


def small(cls=MultimodalClassifier, fusion="concat", **params):
    """An estimator that fits in a tenth of a second and still learns."""
    fast = {"n_members": 1, "max_epochs": 15, "hidden_dim": 16, "lr": 0.02, "device": "cpu", "random_state": 0}
    return cls(fusion, **{**fast, **params})


def ensemble(cls=MultimodalClassifier, fusion="concat", **params):
    """An estimator of four members that fits fast."""
    fast = {"n_members": 4, "max_epochs": 8, "hidden_dim": 8, "lr": 0.02, "device": "cpu", "random_state": 0}
    fast["experts"] = None
    return cls(fusion, **{**fast, **params})


def make_block(kind, y, seed=0, noise=0.5):
    """A block of one kind whose values tell of y, integers from 0."""
    rng = np.random.RandomState(seed)
    y = np.asarray(y)
    n = len(y)
    signal = np.eye(y.max() + 1)[y] @ (2 * rng.randn(y.max() + 1, 6))  # (n, 6)
    if kind == "vector":
        return signal + noise * rng.randn(n, 6)
    if kind == "sequence":
        return signal[:, None, :3] + noise * rng.randn(n, 7, 3)
    if kind == "ragged":
        return [s[:3] + noise * rng.randn(rng.randint(3, 9), 3) for s in signal]
    if kind == "sparse":
        values = signal + noise * rng.randn(n, 6)
        return sp.csr_array(np.where(values > 0, values, 0.0))
    if kind == "tokens":
        return [rng.randint(3, size=rng.randint(3, 8)) + 3 * label for label in y]
    if kind == "image":
        level = 60 + 120 * y[:, None, None] / y.max()
        return np.clip(level + 40 * noise * rng.randn(n, 8, 8), 0, 255).astype(np.uint8)
    if kind == "video":
        return signal[:, None, None, None, :3] + noise * rng.randn(n, 4, 6, 6, 3)
    raise ValueError(f"no data of kind {kind!r}")


KINDS = ["vector", "sequence", "ragged", "sparse", "tokens", "image"]


def make_data(n=60, kinds=("vector", "sequence"), n_classes=2, seed=0, noise=0.5):
    """Blocks with one modality per kind, named by it, a second of a kind by its place too; and balanced classes."""
    y = np.random.RandomState(seed).permutation(np.arange(n) % n_classes)
    blocks = {}
    for i, kind in enumerate(kinds):
        blocks[f"{kind}{i}" if kind in blocks else kind] = make_block(kind, y, seed=seed + i, noise=noise)
    return Blocks(blocks), y


TASKS = ["binary", "multiclass", "multilabel", "one target", "two targets"]


def make_task(task, n=60, missing=5, noise=0.5, error=0.0):
    """The estimator's class, samples of which the first lack a modality, and targets, values off by some error."""
    X, y = make_data(n, n_classes=4, noise=noise)
    vector = X["vector"].copy()
    vector[:missing] = np.nan
    X = Blocks(vector=vector, sequence=X["sequence"])
    off = error * np.random.RandomState(0).randn(n)
    targets = {
        "binary": y % 2,
        "multiclass": np.array(["a", "b", "c", "d"])[y],
        "multilabel": np.column_stack([y % 2, y // 2]),
        "one target": 10 + y * 1.5 + off,
        "two targets": np.column_stack([y * 1.5 + off, -100.0 * y]),
    }
    return MultimodalRegressor if "target" in task else MultimodalClassifier, X, targets[task]


def linear_data(n=150, seed=0):
    rng = np.random.RandomState(seed)
    table, sensor = rng.randn(n, 4), rng.randn(n, 6, 2)
    return Blocks(table=table, sensor=sensor), 3 * table[:, 0] - 2 * sensor.mean(axis=(1, 2)) + 50


def in_child(work, killed_after=None):
    """How a child process ends that does some work: the number of the signal that killed it, or 0.

    It is killed after so many seconds, where they are given; its imports are this process's.
    """
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    if killed_after is not None:
        time.sleep(killed_after)
        os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1]


# ways to choose some of six samples
ROWS_OF_SIX = [
    [0, 3, 3],
    np.array([5, 0]),
    [-1, -6],
    [np.int32(2), 1],
    np.arange(6) % 2 == 0,
    [True, False, True, False, False, True],
    pd.Series(np.arange(6) > 3),
    slice(1, 4),
    slice(None, None, -2),
    slice(100, 200),
    range(2, 4),
    [],
    np.array([], dtype=int),
    np.zeros(6, dtype=bool),
]

# samples that lack a modality, of the 60 of make_data
MISSING = np.resize([False, False, True, False, False], 60)


def _data_folder():
    beside = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("SKMM_DATA", beside))
    return folder if folder.is_dir() else None


@pytest.fixture(scope="session")
def data_folder():
    """Folder of the real data sets: the environment variable SKMM_DATA, or ../shared/data beside the checkout."""
    return _data_folder()


@pytest.hookimpl(tryfirst=True)  # before slow tests are left out
def pytest_collection_modifyitems(items):
    gallery = Path(__file__).parents[1] / "docs" / "gallery"  # whole trainings, up to half a minute a page
    seen = set()
    for item in items:
        if item.path.is_relative_to(gallery):
            item.add_marker(pytest.mark.slow)
        if item.get_closest_marker("one_by_default"):
            test = item.parent.nodeid, item.originalname
            if test in seen:
                item.add_marker(pytest.mark.slow)
            seen.add(test)
    missing = {
        "data": _data_folder() is None and "no real data: set SKMM_DATA to their folder",
        "gpu": not torch.cuda.is_available() and "no CUDA device",
    }
    for item in items:
        for mark, reason in missing.items():
            if reason and item.get_closest_marker(mark):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture
def server(monkeypatch):
    """A server of files on this machine."""
    monkeypatch.setenv("no_proxy", "*")
    running = Server()
    yield running
    running.close()
