"""Searches and comparisons on Dask and Ray through joblib."""

import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import make_data, small
from joblib import parallel_config
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skmm import Blocks
from skmm.model_selection import FusionSearchCV, compare_fusions
from skmm.preprocessing import ImageLoader

GRID = {"fusion": ["concat", "sum", "attention"], "lr": [0.02, 0.05]}
X, Y = make_data(48, n_classes=2)
FAST = small(max_epochs=2)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.cluster,
    # what the engines leave open when they end
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]


def start_dask():
    distributed = pytest.importorskip("distributed")
    cluster = distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0")
    client = distributed.Client(cluster)

    def stop():
        client.close()
        cluster.close()

    # functions of this file are known to the workers by their content, not by a module that they would have to find
    distributed.protocol.pickle.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    return {"backend": "dask", "client": client}, stop


def start_ray():
    ray = pytest.importorskip("ray")
    from ray.util.joblib import register_ray

    register_ray()
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    again = {"max_restarts": 3, "max_task_retries": 3}
    return {"backend": "ray", "n_jobs": 2, "ray_remote_args": again}, ray.shutdown


@pytest.fixture(scope="module")
def cluster(request):
    """A cluster of two workers on this machine, and how joblib is told of it."""
    how, stop = {"dask": start_dask, "ray": start_ray}[request.param]()
    yield how
    stop()


@pytest.fixture
def engine(cluster):
    """The cluster, with both workers there again if a test before has killed one."""
    if "client" in cluster:
        cluster["client"].wait_for_workers(2, timeout=60)
    return cluster


def grid_search(X=X, **params):
    return GridSearchCV(FAST, GRID, cv=2, refit=False, **params).fit(X, Y).cv_results_["mean_test_score"]


def fusion_search(X=X, estimator=FAST, grid=GRID, **params):
    search = FusionSearchCV(estimator, grid, cv=2, refit=False, **params).fit(X, Y)
    return search.cv_results_["mean_test_score"]


def in_pipeline(X=X):
    estimator = make_pipeline(FunctionTransformer(), FAST)
    return fusion_search(X, estimator, {f"multimodalclassifier__{name}": values for name, values in GRID.items()})


def compare(X=X, **params):
    given = {"estimator": FAST, "fusions": ["concat", "late"], "baselines": ["LR concat"], "cv": 2}
    scores = compare_fusions(X, Y, random_state=0, missing_rates=0.5, **given, **params).scores
    return [values for of_metric in scores.values() for name, values in of_metric.items() if "time" not in name]


def validate(X=X):
    return cross_validate(FAST, X, Y, cv=3, return_train_score=True)["train_score"]


def on(dask, ray):
    """What is asked of which engine: Ray starts its workers, and all their imports, anew for every call."""
    asked = [*(("dask", what) for what in dask), *(("ray", what) for what in ray)]
    return pytest.mark.parametrize(("cluster", "work"), asked, indirect=["cluster"], scope="module")


@on([grid_search, fusion_search, in_pipeline, compare, validate], [fusion_search, compare, validate])
def test_scores_are_those_of_one_process(engine, work):
    expected = work()
    with parallel_config(**engine):
        found = work()
    np.testing.assert_array_equal(found, expected)
    assert np.isfinite(found).all()


@pytest.fixture
def pickled(monkeypatch):
    """How often all samples were made into bytes in this process, to leave it."""
    times = []
    plain = Blocks.__reduce__

    def counted(blocks):
        if len(blocks) == len(X):
            times.append(1)
        return plain(blocks)

    monkeypatch.setattr(Blocks, "__reduce__", counted)
    return times


# to tell them from others Dask takes them to bytes once more
@on([fusion_search, compare], [fusion_search])
def test_samples_leave_the_process_once(engine, pickled, work):
    large = Blocks(wide=np.zeros((len(X), 200)), **{name: X[name] for name in X})
    with parallel_config(**engine):
        work(large)
    assert 1 <= len(pickled) <= 3


def test_dask_ships_samples_once_for_scikit_learns_own_search(pickled):
    how, stop = start_dask()
    with parallel_config(**how):
        grid_search()  # of twelve fits
    stop()
    assert 1 <= len(pickled) <= 3


class Mortal:
    """Scores as accuracy does, and first of all kills the worker that asks it, once."""

    def __init__(self, mark):
        self.mark, self.home = str(mark), os.getpid()

    def __call__(self, estimator, X, y):
        if os.getpid() != self.home:
            try:
                os.close(os.open(self.mark, os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                pass
            else:
                os.kill(os.getpid(), signal.SIGKILL)
        return float(np.mean(estimator.predict(X) == y))


@on([fusion_search, compare], [compare])
def test_fits_of_a_worker_that_dies_are_run_again(engine, work, tmp_path):
    mark = tmp_path / "killed"
    expected = work(scoring=Mortal(mark))
    assert not mark.exists()
    with parallel_config(**engine):
        found = work(scoring=Mortal(mark))
    assert mark.exists()
    np.testing.assert_array_equal(found, expected)


@on([fusion_search, compare], [fusion_search])
def test_journal_has_all_that_workers_did(engine, work, tmp_path):
    journal = tmp_path / "journal"
    with parallel_config(**engine):
        expected = work(journal=journal)
    lines = journal.read_text().splitlines()
    np.testing.assert_array_equal(work(journal=journal), expected)
    assert journal.read_text().splitlines() == lines  # nothing was left to do


@pytest.mark.parametrize("work", [fusion_search, compare])
def test_journal_that_workers_do_not_see_is_written_by_the_search(work, tmp_path, monkeypatch):
    """As on machines without a disk in common: at this path there is nothing for a worker."""
    (tmp_path / "elsewhere").mkdir()
    how, stop = start_dask()
    how["client"].run(os.chdir, tmp_path / "elsewhere")
    monkeypatch.chdir(tmp_path)
    with parallel_config(**how):
        expected = work(journal="journal")
    stop()
    assert os.listdir(tmp_path / "elsewhere") == []
    lines = Path("journal").read_text().splitlines()
    assert len(lines) > 1
    np.testing.assert_array_equal(work(journal="journal"), expected)
    assert Path("journal").read_text().splitlines() == lines


@on([None, 2], [2])
def test_files_are_read_where_they_are(engine, work):
    images = np.arange(5 * 8 * 8 * 3, dtype=np.uint8).reshape(5, 8, 8, 3)
    with parallel_config(**engine):
        found = ImageLoader(size=8, n_jobs=work).fit_transform(list(images))
    assert found.shape == images.shape
