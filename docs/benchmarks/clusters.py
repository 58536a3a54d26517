"""Measure what searches and comparisons ship to the workers of a cluster, two on this machine.

    pip install "skmm[distributed]"
    python docs/benchmarks/clusters.py dask
    python docs/benchmarks/clusters.py ray

Of Dask: bytes over the loopback (Linux), by whatever else uses it too. Of Ray, whose workers read from shared
memory: how often the samples were made into bytes, times their size.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import psutil
from joblib import parallel_config
from sklearn.model_selection import GridSearchCV, cross_validate

from skmm import Blocks, MultimodalClassifier
from skmm.model_selection import FusionSearchCV, compare_fusions


class Counted(Blocks):
    """Blocks that count how often they leave this process."""

    times = 0

    def __reduce__(self):
        Counted.times += 1
        return super().__reduce__()


def make_samples(n: int = 2000, d: int = 400) -> tuple[Counted, np.ndarray]:
    rng = np.random.default_rng(0)
    y = np.arange(n) % 2
    return Counted({name: rng.normal(size=(n, d)) + 0.1 * y[:, None] for name in ("text", "image")}), y


def works(X: Blocks, y: np.ndarray) -> dict:
    clf = MultimodalClassifier(n_members=1, max_epochs=1, experts=None, random_state=0)
    grid, fusions = {"lr": [0.001, 0.01], "fusion": ["concat", "sum"]}, ["concat", "late"]
    how = {"estimator": clf, "fusions": fusions, "baselines": ["LR concat"], "cv": 2, "random_state": 0}
    return {
        "GridSearchCV, 8 fits": lambda: GridSearchCV(clf, grid, cv=2, refit=False).fit(X, y),
        "cross_validate, 4 fits": lambda: cross_validate(clf, X, y, cv=4),
        "FusionSearchCV, 8 fits": lambda: FusionSearchCV(clf, grid, cv=2, refit=False).fit(X, y),
        "compare_fusions, 6 fits": lambda: compare_fusions(X, y, **how),
    }


def measure(X: Counted, y: np.ndarray, **engine) -> None:
    size = sum(block.nbytes for block in X.values()) / 1e6
    print(f"{size:.1f} MB of samples")
    for name, work in works(X, y).items():
        Counted.times, sent, start = 0, psutil.net_io_counters(pernic=True)["lo"].bytes_sent, time.perf_counter()
        with parallel_config(**engine):
            work()
        sent = (psutil.net_io_counters(pernic=True)["lo"].bytes_sent - sent) / 1e6
        stored = Counted.times * size
        print(
            f"{name}: network {sent:.0f} MB, made into bytes {stored:.0f} MB, {time.perf_counter() - start:.0f} s"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("engine", choices=["dask", "ray"])
    if parser.parse_args().engine == "dask":
        from distributed import Client, LocalCluster

        with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster):
            measure(*make_samples(), backend="dask")
    else:
        import ray
        from ray.util.joblib import register_ray

        register_ray()
        ray.init(num_cpus=2, include_dashboard=False)
        measure(*make_samples(), backend="ray", n_jobs=2)
