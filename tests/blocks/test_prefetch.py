"""Lazily read blocks: read ahead by processes, once for all members, and what goes wrong on the way."""

import os
import pickle
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
from conftest import outputs, small
from PIL import Image
from sklearn.base import clone

from skmm import Blocks, ModalityTransformer, MultimodalClassifier
from skmm.blocks import _prefetch, is_lazy
from skmm.inputs._scaling import Scaler
from skmm.preprocessing import ImageLoader
from skmm.training._plan import Folds
from skmm.training._samples import canonical

N = 48


class Rows:
    """An array that can only be read by rows, counts how often each is, and can be sent to other processes."""

    def __init__(self, data, fail_at=None, n_jobs=None):
        self.data, self.shape, self.dtype, self.fail_at = data, data.shape, data.dtype, fail_at
        self.count = np.zeros(len(data), dtype=int)
        self.largest = 0
        if n_jobs is not None:
            self.n_jobs = n_jobs

    def __getitem__(self, rows):
        if self.fail_at is not None and self.fail_at in rows:
            raise OSError(f"row {self.fail_at}: the disk is gone")
        self.count[rows] += 1
        self.largest = max(self.largest, len(rows))
        return self.data[rows]


class Fatal(Rows):
    """Kills the process that reads a row, as the system does when memory runs out."""

    def __getitem__(self, rows):
        if self.fail_at in rows:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(rows)


class Where(Rows):
    """Rows that say which process read them."""

    def __getitem__(self, rows):
        return np.full((len(rows), *self.shape[1:]), os.getpid(), dtype=self.dtype)


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    y = rng.permutation(np.arange(N) % 2)
    return y[:, None, None] + rng.normal(size=(N, 6, 3)), y


@pytest.fixture
def pictures(tmp_path):
    """JPEG files and, by name, their pixels as Pillow reads them."""
    rng = np.random.default_rng(0)
    y = np.arange(N) % 2
    files = [str(tmp_path / f"{i}.jpg") for i in range(N)]
    for file, label in zip(files, y, strict=True):
        Image.fromarray(rng.integers(0, 100 + 100 * label, (16, 16, 3)).astype(np.uint8)).save(file)
    return files, y


def lazily(files, **params):
    return Blocks(photo=ImageLoader(16, lazy=True, **params).transform(files))


def rows_of(blocks, name, batches, n_jobs):
    return list(_prefetch.read_ahead(blocks[name], [np.asarray(rows) for rows in batches], n_jobs))


# -- reading ahead ------------------------------------------------------------------------------------------------


@pytest.mark.one_by_default
@pytest.mark.parametrize("n_jobs", [None, 1, 2])
def test_batches_come_in_order_whatever_reads_them(data, n_jobs):
    x, _ = data
    blocks = Blocks(x=Rows(x))[::-1]
    batches = [[5, 3, 5], [0], [47, 1], [2], [3], [4], [6], [7]]
    for rows, (values, exists) in zip(batches, rows_of(blocks, "x", batches, n_jobs), strict=True):
        np.testing.assert_array_equal(values, x[::-1][rows])
        assert exists.all()


@pytest.mark.parametrize(
    ("asked", "says", "elsewhere"), [(None, None, False), (1, 2, False), (2, None, True), (None, 2, True)]
)
def test_who_decides_where_rows_are_read(asked, says, elsewhere):
    blocks = Blocks(x=Where(np.zeros((N, 1), dtype=np.int64), n_jobs=says))
    found = {int(pid) for values, _ in rows_of(blocks, "x", [[0], [1], [2]], asked) for pid in values.ravel()}
    assert (os.getpid() not in found) == elsewhere


def test_no_more_is_read_ahead_than_the_processes_are_given(data, monkeypatch):
    """Whoever is slower than the processes must not be buried under what they read."""
    submitted = []
    pool = _prefetch._pool(2, os.getpid())
    submit = pool.submit
    monkeypatch.setattr(pool, "submit", lambda *args: submitted.append(args) or submit(*args))
    reading = _prefetch.read_ahead(Blocks(x=Rows(data[0]))["x"], np.arange(N)[:, None], 2)
    for given in range(1, 20):
        next(reading)
        assert len(submitted) <= given + 3
    reading.close()


def test_what_cannot_be_sent_is_read_here_with_a_warning(data):
    x, y = data
    with h5py.File("memory.h5", "w", driver="core", backing_store=False) as file:
        blocks = Blocks(x=file.create_dataset("x", data=x))
        with pytest.warns(UserWarning, match="Dataset cannot be sent to other processes .*pickled.*, n_jobs=1"):
            read = rows_of(blocks, "x", [[1, 0], [2, 3]], 2)
        np.testing.assert_array_equal(read[0][0], x[[1, 0]])
        small(n_jobs=None, max_epochs=1).fit(blocks, y)  # and nothing is said where no process was asked for


def test_a_lock_is_nothing_that_other_processes_can_have(data):
    source = Rows(data[0])
    source.lock = threading.Lock()
    with pytest.warns(UserWarning, match="a lazily read Rows cannot be sent to other processes"):
        small(n_jobs=2, max_epochs=1, batch_size=16, scale_inputs=False).fit(Blocks(x=source), data[1])


def test_an_error_in_another_process_reaches_the_user(data):
    x, y = data
    blocks = Blocks(sound=Rows(x, fail_at=7))
    with pytest.raises(OSError, match="row 7: the disk is gone") as caught:
        small(n_jobs=2, batch_size=16).fit(blocks, y)
    assert "Raised in modality 'sound', while its block was read." in caught.value.__notes__


@pytest.mark.slow
def test_a_process_that_dies_is_an_error_that_names_the_rows_and_the_next_fit_works(data):
    x, y = data
    with pytest.raises(
        RuntimeError, match=r"process that read a Fatal was killed.*(16|8) rows from \d+ to"
    ) as caught:
        small(n_jobs=2, batch_size=16, scale_inputs=False).fit(Blocks(sound=Fatal(x, fail_at=7)), y)
    assert "Raised in modality 'sound', while its block was read." in caught.value.__notes__
    small(n_jobs=2, batch_size=16, max_epochs=1, scale_inputs=False).fit(Blocks(x=Rows(x)), y)


class FatalLoader(ImageLoader):
    """Kills the process that reads a file."""

    def _decode(self, source):
        if source.endswith("21.jpg"):
            os.kill(os.getpid(), signal.SIGKILL)
        return super()._decode(source)


def test_a_process_that_dies_names_the_file(pictures):
    files, y = pictures
    blocks = Blocks(photo=FatalLoader(16, lazy=True).transform(files))
    with pytest.raises(RuntimeError, match=r"was killed.*row 21, '.*21\.jpg'"):
        small(n_jobs=2, batch_size=16, scale_inputs=False).fit(blocks, y)


class Hungry(Rows):
    """Asks for more memory than there is."""

    def __getitem__(self, rows):
        return np.empty((len(rows), 2**45), dtype=self.dtype) if self.fail_at in rows else super().__getitem__(rows)


@pytest.mark.slow
def test_memory_that_runs_out_in_another_process_names_the_rows(data):
    x, y = data
    with pytest.raises(MemoryError, match=r"rows from \d+ to \d+: no memory to read it") as caught:
        small(n_jobs=2, batch_size=16, scale_inputs=False).fit(Blocks(sound=Hungry(x, fail_at=7)), y)
    assert "Raised in modality 'sound', while its block was read." in caught.value.__notes__


@pytest.mark.slow
def test_processes_that_died_between_two_calls_are_replaced():
    block = Blocks(x=Where(np.zeros((N, 1), dtype=np.int64)))["x"]
    batches = np.arange(N).reshape(-1, 8)
    pids = {int(v) for values, _ in _prefetch.read_ahead(block, batches, 2) for v in values.ravel()}
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    assert gone(pids)
    found = {int(v) for values, _ in _prefetch.read_ahead(block, batches, 2) for v in values.ravel()}
    assert found
    assert not found & pids


def gone(pids, seconds=60):
    """Whether processes end; the time is only what a test waits at most."""
    end = time.monotonic() + seconds
    while any(alive(pid) for pid in pids):
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


SCRIPT = """
import os, sys, time, warnings
import numpy as np
from skmm import Blocks, MultimodalClassifier

class Slow:
    shape, dtype, n_jobs = (64, 4, 3), np.dtype(float), 2

    def __getitem__(self, rows):
        with open(os.path.join(sys.argv[1], f"{os.getpid()}.pid"), "w"):
            pass
        time.sleep(0.02)
        return np.random.default_rng(0).normal(size=(len(rows), 4, 3))

X, y = Blocks(sound=Slow()), np.arange(64) % 2
clf = MultimodalClassifier(n_members=1, max_epochs=4, batch_size=4, device="cpu", random_state=0).fit(X, y)
print("ready", flush=True)
for fit in range(1000):
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that training was interrupted
            clf.set_params(max_epochs=int(sys.argv[2])).fit(X, y)
    except KeyboardInterrupt:
        pass
    print(clf.predict(X).shape, flush=True)
"""


@pytest.fixture
def script(tmp_path, monkeypatch):
    """Starts the script in a session of its own, its temporary files in a folder."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    started = []

    def start(epochs):
        process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(tmp_path), str(epochs)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def readers(folder, process):
    return {int(file.stem) for file in folder.glob("*.pid")} - {process.pid}


linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks at processes in /proc")


@linux
@pytest.mark.slow
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_is_left_of_a_process_that_is_killed(script, tmp_path, end):
    process = script(epochs=10_000)
    assert process.stdout.readline() == "ready\n"
    assert len(readers(tmp_path, process)) == 2
    process.send_signal(end)
    process.wait()
    assert gone(readers(tmp_path, process))
    end_of_wait = time.monotonic() + 60
    while list(tmp_path.glob("skmm-*")) and time.monotonic() < end_of_wait:
        time.sleep(0.1)
    assert list(tmp_path.glob("skmm-*")) == []


@linux
@pytest.mark.slow
def test_an_interrupt_of_a_lazy_fit_leaves_the_processes_to_the_next_call(script, tmp_path):
    """As a terminal sends it: to all processes of the session, those that read among them."""
    process = script(epochs=10_000)
    time.sleep(3)  # whatever is going on then, such as the import in the processes that read
    assert process.stdout.readline() == "ready\n"
    before = readers(tmp_path, process)
    for k in range(10):
        time.sleep(0.2 + 0.07 * k)
        os.killpg(process.pid, signal.SIGINT)
        line = process.stdout.readline()
        assert line == "(64,)\n", line or process.stderr.read()
    assert readers(tmp_path, process) == before
    process.kill()
    assert gone(before)


@pytest.mark.slow
def test_a_script_without_a_guard_and_with_a_class_of_its_own_ends(tmp_path):
    """Neither does the script run again in the processes, nor do these keep it from ending."""
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent("""
        import numpy as np
        from skmm import Blocks
        from skmm.blocks._prefetch import read_ahead

        class Mine:
            shape, dtype = (8, 2), np.dtype(float)

            def __getitem__(self, rows):
                return np.repeat(rows[:, None], 2, axis=1).astype(float)

        print(sum(v.sum() for v, _ in read_ahead(Blocks(x=Mine())["x"], [np.arange(4), np.arange(4, 8)], 2)))
        """)
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=100, check=True)
    assert done.stdout == "56.0\n"


# -- training and prediction --------------------------------------------------------------------------------------


def order_of(X, y):
    """Rows in the order in which training has them in memory, one of their content: lazy ones stay as they come."""
    return canonical(X, y, np.ones(len(y)))[0]


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_files_train_as_their_pixels_do(pictures, n_jobs):
    files, y = pictures
    rows = order_of(Blocks(photo=ImageLoader(16).transform(files)), y)
    files, y = [files[row] for row in rows], y[rows]
    params = {"dropout": 0.0, "max_epochs": 3, "batch_size": 16}
    lazy = small(n_jobs=n_jobs, **params).fit(lazily(files), y)
    dense = small(**params).fit(Blocks(photo=ImageLoader(16).transform(files)), y)
    np.testing.assert_allclose(outputs(lazy, lazily(files)), outputs(dense, lazily(files)), rtol=0, atol=1e-5)
    np.testing.assert_allclose(
        outputs(lazy, lazily(files)),
        outputs(lazy, Blocks(photo=ImageLoader(16).transform(files))),
        rtol=0,
        atol=1e-6,
    )


@pytest.mark.parametrize("early_stopping", [False, True])
def test_each_row_is_read_once_an_epoch_for_all_members(data, early_stopping):
    x, y = data
    source = Rows(x)
    clf = MultimodalClassifier(
        n_members=8, max_epochs=5, batch_size=16, early_stopping=early_stopping, validation_fraction=0.25,
        device="cpu", random_state=0,
    ).fit(Blocks(x=source), y)  # fmt: skip
    # once for the scaling, once in each epoch, and once for the out-of-fold predictions
    assert source.count.max() <= clf.n_iter_ + 2
    before = source.count.copy()
    clf.predict(Blocks(x=source))
    assert (source.count == before + 1).all()


@pytest.fixture
def folds(monkeypatch):
    """Folds that do not depend on the labels."""
    folds = Folds.partition(np.arange(N) % 3)
    monkeypatch.setattr("skmm.estimators._base.assign_folds", lambda *args: folds)
    return folds


# one step an epoch, so that it does not matter that members share their batches
WHOLE = {"n_members": 3, "max_epochs": 4, "batch_size": N, "dropout": 0.0}


def weights_of(clf, member):
    return [p[member].detach() for p in clf.net_.module_.parameters()]


def test_members_that_share_their_batches_learn_what_they_learn_alone(data, folds):
    x, y = data
    rows = order_of(Blocks(x=x), y)
    x, y = x[rows], y[rows]
    weights = np.random.default_rng(0).uniform(0.5, 2, N)
    lazy = small(**WHOLE).fit(Blocks(x=Rows(x)), y, sample_weight=weights)
    dense = small(**WHOLE).fit(Blocks(x=x), y, sample_weight=weights)
    np.testing.assert_allclose(outputs(lazy, {"x": x}), outputs(dense, {"x": x}), rtol=0, atol=1e-4)
    np.testing.assert_allclose(lazy.oof_prediction_, dense.oof_prediction_, rtol=0, atol=1e-4)


def test_a_member_learns_nothing_from_the_fold_that_it_leaves_out(data, folds):
    x, y = data
    clf = small(**WHOLE).fit(Blocks(x=Rows(x)), y)
    for member in range(3):
        changed = small(**WHOLE).fit(Blocks(x=Rows(x)), np.where(folds.fold == member, 1 - y, y))
        same = [
            all(torch.equal(a, b) for a, b in zip(weights_of(clf, k), weights_of(changed, k), strict=True))
            for k in range(3)
        ]
        assert same == [k == member for k in range(3)]


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_a_file_that_cannot_be_read_names_row_and_file(pictures, n_jobs):
    files, y = pictures
    with open(files[5], "wb") as file:
        file.write(b"no picture")
    with pytest.raises(ValueError, match=r"row 5: cannot read '.*5\.jpg': its content is no image"):
        small(n_jobs=n_jobs, batch_size=16).fit(lazily(files), y)


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_files_that_cannot_be_read_are_missing_rows(pictures, n_jobs):
    files, y = pictures
    for row in (2, 5, 11):
        os.remove(files[row])
    table = np.random.default_rng(0).normal(size=(N, 2))
    with pytest.warns(UserWarning, match="3 of 48 rows cannot be read"):
        rows = order_of(Blocks(photo=ImageLoader(16, errors="missing").transform(files), table=table), y)
    files, table, y = [files[row] for row in rows], table[rows], y[rows]
    absent = np.flatnonzero([not os.path.exists(file) for file in files])
    params = {"dropout": 0.0, "max_epochs": 3, "batch_size": 16}

    def fitted_and_asked(n_jobs, **options):
        X = Blocks(photo=ImageLoader(16, errors="missing", **options).transform(files), table=table)
        return small(n_jobs=n_jobs, **params).fit(X, y).predict_proba(X)

    with pytest.warns(UserWarning, match=f"row {absent[0]}: cannot read") as said:
        proba = fitted_and_asked(n_jobs, lazy=True)
    first, count = (str(warning.message) for warning in said)
    either = "|".join(map(str, absent))
    assert re.match(rf"row ({either}): cannot read .* It is missing, as will be any other", first)
    assert count.startswith("3 of 48 rows cannot be read and are missing; row ")
    with pytest.warns(UserWarning, match="3 of 48 rows cannot be read"):
        expected = fitted_and_asked(None)
    np.testing.assert_allclose(proba, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_files_that_cannot_be_read_are_counted_whoever_reads_them(pictures, n_jobs):
    files, _ = pictures
    for row in (2, 5, 11):
        os.remove(files[row])
    blocks = lazily(files, errors="missing")
    with pytest.warns(UserWarning, match="row 2: cannot read") as said:
        rows_of(blocks, "photo", np.arange(N).reshape(-1, 6), n_jobs)
    assert [str(w.message).partition(" rows")[0] for w in said[1:]] == ["3 of 48"]


def test_rows_that_are_missing_already_are_not_read(data):
    x, y = data
    source = Rows(x)
    there = np.arange(N) % 4 > 0
    blocks = Blocks({"x": source, "table": x[:, 0]}, present={"x": there})
    small(max_epochs=2).fit(blocks, y).predict(blocks)
    np.testing.assert_array_equal(source.count > 0, there)


def test_a_column_of_paths_with_gaps_stays_lazy(pictures):
    files, y = pictures
    gaps = np.array(files, dtype=object)
    gaps[[3, 8]] = None
    df = pd.DataFrame({"photo": gaps, "price": np.arange(N) + 0.5})
    read = ModalityTransformer(
        [("photo", ImageLoader(16, lazy=True), "photo"), ("table", "passthrough", ["price"])]
    )
    blocks = read.fit_transform(df)
    assert is_lazy(blocks["photo"])
    assert np.flatnonzero(~blocks.present["photo"]).tolist() == [3, 8]
    clf = small(max_epochs=2).fit(blocks, y)
    eager = clone(read).set_params(photo__lazy=False).fit_transform(df)
    np.testing.assert_allclose(outputs(clf, blocks), outputs(clf, eager), rtol=0, atol=1e-6)


def test_a_fitted_estimator_pickles_without_its_processes(data):
    x, y = data
    clf = small(n_jobs=2, batch_size=16, max_epochs=2).fit(Blocks(x=Rows(x)), y)
    again = pickle.loads(pickle.dumps(clf))
    np.testing.assert_array_equal(outputs(again, Blocks(x=Rows(x))), outputs(clf, Blocks(x=Rows(x))))


# -- scaling ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_scaling_of_parts_is_that_of_the_whole(n_jobs):
    rng = np.random.default_rng(0)
    x = rng.normal(1e4, 1, (N, 4, 3)) * [1, 1e-3, 1e3]  # a mean far from 0 loses digits where moments are summed
    weights, present = rng.uniform(0, 2, N), rng.random(N) < 0.8
    source = Rows(x)
    scaler = Scaler.fit(Blocks(x=source)["x"], present, weights, n_jobs, at_a_time=40)
    flat, each = x[present].reshape(-1, 3), np.repeat(weights[present], 4)
    mean = np.average(flat, axis=0, weights=each)
    np.testing.assert_allclose(scaler.mean, mean, rtol=1e-12)
    np.testing.assert_allclose(
        scaler.scale, np.sqrt(np.average((flat - mean) ** 2, axis=0, weights=each)), rtol=1e-7
    )
    if n_jobs == 1:
        assert (source.count == present).all()  # one pass
        assert source.largest == 3


# -- more than fits into memory -----------------------------------------------------------------------------------

MEMORY = """
import resource
import numpy as np
from skmm import Blocks, Encoder, MultimodalClassifier

class Pictures:
    shape, dtype = (6000, 224, 224, 3), np.dtype(np.uint8)

    def __getitem__(self, rows):
        return np.repeat((rows % 2 * 200).astype(np.uint8), 224 * 224 * 3).reshape(-1, 224, 224, 3)

def segment():
    return 1024 * next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmData"))

X = Blocks(photo=Pictures())
y = np.arange(6000) % 2
clf = MultimodalClassifier(
    encoders=Encoder("conv2d", channels=(4,)), n_members=1, max_epochs=1, batch_size=16, n_jobs=2,
    device="cpu", random_state=0,
)
limit = segment() + 6000 * 224 * 224 * 3 // 4
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
try:
    np.asarray(X["photo"])
except MemoryError:
    print("too large")
print(clf.fit(X, y).score(X, y))
"""


@pytest.mark.slow
def test_data_four_times_as_large_as_the_memory_train_and_predict():
    # glibc would keep what was freed
    env = {**os.environ, "OMP_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": str(2**20)}
    done = subprocess.run(
        [sys.executable, "-c", MEMORY], capture_output=True, text=True, timeout=500, check=False, env=env
    )
    assert done.stderr == ""
    assert done.stdout == "too large\n1.0\n"
