"""Time and memory of a sparse block that would not fit densified, and the latency of one prediction.

    python docs/benchmarks/speed_sparse.py
    python docs/benchmarks/speed_sparse.py --rows 20000 --columns 50000 --rounds 1   # quicker

Sparse: rows of a generated CSR matrix like TF-IDF (its columns drawn by Zipf's law), two classes that depend on
some of them. Ours reads the sparse rows (``sparse_components=None``, one network, one epoch); the rival is a
hand-written loop over a network of that size that densifies each batch. Each fit runs in a process of its own,
which reports its peak memory above what it held when the matrix was there. Latency: one row through
``predict_proba`` against the bare call of the trained module, medians in one process. Large batches: all rows
likewise, against the module in batches and a copy of the rows.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import statistics
import time
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from speed_fit import machine
from torch import nn

from skmm import Blocks, Encoder, MultimodalClassifier

HIDDEN, BATCH, LR = 64, 128, 1e-3


def make_data(n_rows: int, n_columns: int, per_row: int = 60) -> tuple[sp.csr_array, np.ndarray]:
    """A matrix like TF-IDF, and two classes."""
    rng = np.random.default_rng(0)
    columns = (n_columns ** rng.random((n_rows, per_row)) - 1).astype(np.int32)  # P(column) ~ 1 / column
    rows = np.repeat(np.arange(n_rows, dtype=np.int32), per_row)
    values = rng.random(n_rows * per_row, dtype=np.float32)
    X = sp.csr_array((values, (rows, columns.ravel())), shape=(n_rows, n_columns))
    score = X @ rng.normal(size=n_columns).astype(np.float32)
    return X, (score > np.median(score)).astype(np.int64)


def fit_sparse(X: sp.csr_array, y: np.ndarray) -> float:
    model = MultimodalClassifier.plain(
        "concat", encoders=Encoder("mlp", norm=False), hidden_dim=HIDDEN, batch_size=BATCH, max_epochs=1, lr=LR,
        optimizer="sgd", device="cpu", random_state=0,
    )  # fmt: skip
    start = time.perf_counter()
    model.fit(Blocks(text=X), y)
    return time.perf_counter() - start


def fit_densified(X: sp.csr_array, y: np.ndarray) -> float:
    start = time.perf_counter()
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(X.shape[1], HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.Linear(HIDDEN, 2))
    optimizer, target = torch.optim.SGD(net.parameters(), lr=LR), torch.from_numpy(y)
    for rows in torch.randperm(len(y)).split(BATCH):
        optimizer.zero_grad()
        dense = torch.from_numpy(X[rows.numpy()].toarray())
        nn.functional.cross_entropy(net(dense), target[rows]).backward()
        optimizer.step()
    return time.perf_counter() - start


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure(kind: str, n_rows: int, n_columns: int, out: Any) -> None:
    torch.set_num_threads(1)
    X, y = make_data(n_rows, n_columns)
    fit = {"sparse": fit_sparse, "densified": fit_densified}[kind]
    fit(X[: 2 * BATCH], y[: 2 * BATCH])  # what is loaded once
    before = peak()
    seconds = fit(X, y)
    size = X.data.nbytes + X.indices.nbytes + X.indptr.nbytes
    network = 4 * (n_columns * HIDDEN + HIDDEN * HIDDEN)
    out.put((seconds, peak() - before, size, network))


def latency(repeats: int = 300) -> None:
    """One row, by the estimator and by its module."""
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    X = Blocks({name: rng.normal(size=(500, 100)).astype(np.float32) for name in ("text", "audio", "video")})
    y = (X["text"][:, 0] > 0).astype(int)
    print("\n| one row | predict_proba, ms | bare module, ms | above it, ms |")
    print("|---|---|---|---|")
    for title, params in (("one network", {"n_members": 1, "modality_loss": 0.0}), ("the default", {})):
        model = MultimodalClassifier(max_epochs=1, random_state=0, device="cpu", **params).fit(X, y)
        row = X[:1]
        module = model.net_.module_.eval()
        values = {name: torch.from_numpy(x) for name, x in row.items()}
        present = {name: torch.ones(1, dtype=torch.bool) for name in row}

        def bare(module: Any = module, values: Any = values, present: Any = present) -> None:
            with torch.inference_mode():
                module(values, present)

        def ours(model: Any = model, row: Any = row) -> None:
            model.predict_proba(row)

        times: dict[str, list[float]] = {"ours": [], "bare": []}
        for _ in range(repeats):
            for name, call in (("ours", ours), ("bare", bare)):
                start = time.perf_counter()
                call()
                times[name].append(1e3 * (time.perf_counter() - start))
        a, b = statistics.median(times["ours"]), statistics.median(times["bare"])
        print(f"| {title} | {a:.2f} | {b:.2f} | {a - b:.2f} |")


def large_batches(n_rows: int = 200_000, rounds: int = 5) -> None:
    """Many rows, by the estimator, by its module in batches, and copied."""
    rng = np.random.default_rng(0)
    X = Blocks({m: rng.standard_normal((n_rows, 100), dtype=np.float32) for m in ("text", "audio", "video")})
    y = (X["text"][:1000, 0] > 0).astype(int)
    model = MultimodalClassifier(n_members=1, modality_loss=0.0, max_epochs=1, device="cpu").fit(X[:1000], y)
    module = model.net_.module_.eval()
    parts = {name: torch.from_numpy(x).split(1024) for name, x in X.items()}

    def bare() -> None:
        with torch.inference_mode():
            for i in range(len(parts["text"])):
                batch = {name: x[i] for name, x in parts.items()}
                module(batch, {name: torch.ones(len(x), dtype=torch.bool) for name, x in batch.items()})

    size, times = sum(x.nbytes for x in X.values()), []
    for work in (lambda: model.predict_proba(X), bare, lambda: [x.copy() for x in X.values()]):
        work()
        seconds = []
        for _ in range(rounds):
            start = time.perf_counter()
            work()
            seconds.append(time.perf_counter() - start)
        times.append(statistics.median(seconds))
    print(f"\n{n_rows} rows of 300 numbers, {size / 2**20:.0f} MiB, one network:\n")
    print("| work | seconds | GB/s of input |\n|---|---|---|")
    for name, t in zip(("predict_proba", "bare module in batches", "a copy"), times, strict=True):
        print(f"| {name} | {t:.2f} | {size / t / 1e9:.2f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--columns", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    print(machine())
    context = multiprocessing.get_context("spawn")
    found: dict[str, list[Any]] = {"sparse": [], "densified": []}
    for _ in range(args.rounds):
        for kind, results in found.items():
            out = context.Queue()
            process = context.Process(target=measure, args=(kind, args.rows, args.columns, out))
            process.start()
            results.append(out.get())
            process.join()
    print(f"\n{args.rows} rows x {args.columns} columns, one epoch:\n")
    print("| batches | seconds | peak above the matrix, MiB | CSR, MiB | network, MiB |")
    print("|---|---|---|---|---|")
    for kind, results in found.items():
        seconds, memory, size, network = (statistics.median(each) for each in zip(*results, strict=True))
        print(f"| {kind} | {seconds:.1f} | {memory / 2**20:.0f} | {size / 2**20:.0f} | {network / 2**20:.0f} |")
    pairs = zip(found["densified"], found["sparse"], strict=True)
    print(f"\nsparse is {statistics.median(d[0] / s[0] for d, s in pairs):.1f} times faster")
    latency()
    large_batches()


if __name__ == "__main__":
    main()
