"""Train on and predict a Parquet table many times larger than the memory allowed, and compare with a bare scan.

    python docs/benchmarks/larger_than_memory.py                          # 200 MB, a quick look
    python docs/benchmarks/larger_than_memory.py --size 3000 --limit 200  # 3 GB under 200 MB

The table is a folder of Parquet files: four numbers, a category, a text of 50 words, and a vector of 3072 numbers
a row, written to a temporary folder. The fit runs in a process of its own that first does the same with a table of
a few rows, so that all libraries are loaded and their threads started. What it has then is the baseline; its data
segment (RLIMIT_DATA: heap and private mappings, of all threads) is limited to that and ``--limit`` MB more, which
is what the table, the network and the optimizer have. The system's cache of files is not counted, and may be as
large as the memory of the machine: a pass may read from it what an earlier one has read from disk.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import shutil
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

WIDTH, WORDS, PART = 3072, 50, 10_000
ROW = 4 * WIDTH + 350 + 50  # bytes, about


def make_part(first: int, n: int) -> Any:
    """Rows of the table, whose class can be told from the text, the vector and the numbers."""
    import pyarrow as pa

    rng = np.random.default_rng(first)
    label = rng.integers(0, 2, n)
    words = np.array([f"word{i}" for i in range(5000)])
    chosen = rng.zipf(1.3, (n, WORDS)) % 5000
    chosen[:, :3] = np.where(rng.random((n, 3)) < 0.3, 17 + 2 * label[:, None], chosen[:, :3])
    vector = rng.normal(size=(n, WIDTH)).astype(np.float32)
    vector[:, :20] += 0.3 * label[:, None]
    numbers = {f"number{i}": rng.normal(size=n) + 0.2 * label for i in range(4)}
    return pa.table(
        {
            **numbers,
            "kind": rng.choice(["north", "south", "east", "west"], n),
            "text": [" ".join(row) for row in words[chosen]],
            "vector": pa.FixedSizeListArray.from_arrays(pa.array(vector.ravel()), WIDTH),
            "label": np.where(label, "yes", "no"),
        }
    )


def write(folder: Path, n_rows: int, row_group_size: int) -> None:
    """The table, in files of some rows each."""
    import pyarrow.parquet as pq

    for number, first in enumerate(range(0, n_rows, PART)):
        part = make_part(first, min(PART, n_rows - first))
        pq.write_table(part, folder / f"part-{number:05d}.parquet", row_group_size=row_group_size)


def status(name: str) -> float:
    """A size of this process, in MB."""
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024 / 1e6


class Peak(threading.Thread):
    """The largest sizes of this process while it is watched."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.data = self.rss = 0.0
        self.ended = False

    def run(self) -> None:
        while not self.ended:
            self.data, self.rss = max(self.data, status("VmData")), max(self.rss, status("RssAnon"))
            time.sleep(0.02)


def scan(folder: str) -> float:
    """Seconds that pyarrow takes to read all columns."""
    import pyarrow.dataset as ds

    start = time.perf_counter()
    for _ in ds.dataset(folder, format="parquet").to_batches(batch_size=10_000):
        pass
    return time.perf_counter() - start


def train(folder: str, small: str, limit: float, members: int, profile: bool, answer: Any) -> None:
    """One epoch and all predictions, within a limit."""
    import torch

    from skmm import LazyTable, MultimodalClassifier

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 2)))
    buffer = int(max(2**20, limit * 1e6 / 8))

    def estimator() -> Any:
        return MultimodalClassifier(n_members=members, max_epochs=1, random_state=0)

    table = LazyTable.from_parquet(small, buffer_bytes=buffer)
    estimator().fit(table, "label").predict(table)
    base = status("VmData")
    ceiling = int((base + limit) * 1e6)
    resource.setrlimit(resource.RLIMIT_DATA, (ceiling, ceiling))
    peak = Peak()
    peak.start()
    if profile:
        import cProfile

        profiler = cProfile.Profile()
        profiler.enable()
    start = time.perf_counter()
    table = LazyTable.from_parquet(folder, buffer_bytes=buffer)
    opened = time.perf_counter()
    model = estimator().fit(table, "label")
    fitted = time.perf_counter()
    predicted = model.predict(table)
    ended = time.perf_counter()
    if profile:
        profiler.disable()
        import pstats

        pstats.Stats(profiler).sort_stats("tottime").print_stats(35)
    peak.ended = True
    peak.join()
    answer.put(
        {
            "rows": len(table),
            "open": opened - start,
            "fit": fitted - opened,
            "epoch": model.history_[-1]["dur"],
            "predict": ended - fitted,
            "accuracy": float(np.mean(predicted == table["label"])),
            "baseline": base,
            "data": peak.data - base,
            "resident": peak.rss,
            "buffer": buffer / 1e6,
        }
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--size", type=float, default=200, help="MB of the table (default 200)")
    parser.add_argument(
        "--limit", type=float, help="MB above the baseline (default a 20th of --size, 200 at least)"
    )
    parser.add_argument("--row-group", type=int, default=500, help="rows of a row group")
    parser.add_argument("--members", type=int, default=1)
    parser.add_argument("--folder", default=None, help="where the temporary folder is made")
    parser.add_argument("--profile", action="store_true")
    args = parser.parse_args()
    limit = args.limit or max(200.0, args.size / 20)
    n_rows = int(args.size * 1e6 / ROW)
    folder = Path(tempfile.mkdtemp(dir=args.folder))
    try:
        (folder / "table").mkdir()
        (folder / "small").mkdir()
        write(folder / "table", n_rows, args.row_group)
        write(folder / "small", 400, 100)
        on_disk = sum(file.stat().st_size for file in (folder / "table").iterdir()) / 1e6
        bare = scan(str(folder / "table"))
        # arrow's own allocator reserves a GB at once, which would count as baseline; glibc keeps pieces of what is
        # given back, which would count against the limit, unless large ones always go back to the system
        os.environ |= {"ARROW_DEFAULT_MEMORY_POOL": "system", "MALLOC_MMAP_THRESHOLD_": "131072"}
        context = multiprocessing.get_context("spawn")
        answer = context.Queue()
        process = context.Process(
            target=train,
            args=(str(folder / "table"), str(folder / "small"), limit, args.members, args.profile, answer),
        )
        process.start()
        while process.is_alive() and answer.empty():
            time.sleep(0.1)
        if answer.empty():
            raise SystemExit(f"the process ended with {process.exitcode}, before it had an answer")
        found = answer.get()
        process.join()
    finally:
        shutil.rmtree(folder)
    n = found["rows"]
    print(f"table: {n} rows, {on_disk:.0f} MB on disk")
    print(f"limit: {limit:.0f} MB above the baseline of {found['baseline']:.0f} MB")
    print(f"ratio of table to limit: {on_disk / limit:.1f}; held at a time: {found['buffer']:.0f} MB")
    print(f"most above the baseline: {found['data']:.0f} MB; resident, all in all: {found['resident']:.0f} MB")
    print(f"accuracy on the training rows: {found['accuracy']:.3f}")
    for name, seconds in {"bare scan": bare, **{k: found[k] for k in ("open", "epoch", "fit", "predict")}}.items():
        print(f"{name:10s} {seconds:8.1f} s  {n / seconds:10.0f} rows/s  {on_disk / seconds:8.1f} MB/s")
    print(json.dumps({**found, "scan": bare, "on_disk": on_disk, "limit": limit}))


if __name__ == "__main__":
    main()
