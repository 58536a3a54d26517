"""Pace of one fit divided among ranks on the cores of this machine, against one rank on one core.

    python docs/benchmarks/ranks.py                       # pictures of 64 x 64, 2 ranks: about three minutes
    python docs/benchmarks/ranks.py --rows 128 --repeats 1   # a quick look

Every process computes in one thread. The network is conv2d on pictures beside a vector, without experts and stack,
so that training is what is timed: the median epoch after the first, by the history of skorch. One rank and several
take turns, so that a slow moment of the machine hits both, and what they learn is compared.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys

import numpy as np


def fit(rows: int, size: int, parallel: str, members: int) -> None:
    """One fit in this process, maybe one of several; the first rank prints its epochs' seconds and last loss."""
    import torch

    from skmm import MultimodalClassifier
    from skmm.distributed import data_parallel

    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=rows)
    pictures = rng.normal(size=(rows, size, size, 3)).astype(np.float32) + 0.2 * y[:, None, None, None]
    X = {"picture": pictures, "vector": rng.normal(size=(rows, 8)).astype(np.float32)}
    clf = MultimodalClassifier(
        encoders={"picture": "conv2d"},
        n_members=members,
        experts=None,
        stack=False,
        max_epochs=4,
        batch_size=64,
        dropout=0.0,
        device="cpu",
        random_state=0,
    )
    with data_parallel(parallel) as ranks:
        clf.fit(X, y)
    if ranks.rank == 0:
        print(json.dumps({"seconds": clf.history_[1:, "dur"], "loss": clf.loss_curve_[-1]}))


def launch(world_size: int, arguments: list[str]) -> dict[str, float]:
    """Median seconds of an epoch, and the last loss, by so many ranks."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    running = []
    for rank in range(world_size):
        own = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world_size)} if world_size > 1 else {}
        env = {**os.environ, **threads, **own, **address}
        command = [sys.executable, __file__, "--fit", *arguments]
        running.append(subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True))
    said = [process.communicate()[0] for process in running]
    if any(process.returncode for process in running):
        raise SystemExit("a rank ended with an error")
    found = json.loads(said[0].splitlines()[-1])
    return {"seconds": statistics.median(found["seconds"]), "loss": found["loss"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1024)
    parser.add_argument("--size", type=int, default=64, help="height and width of the pictures")
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--parallel", choices=["rows", "members"], default="rows")
    parser.add_argument("--fit", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    members = 1 if args.parallel == "rows" else args.ranks
    if args.fit:
        fit(args.rows, args.size, args.parallel, members)
        return
    own = [f"--rows={args.rows}", f"--size={args.size}", f"--parallel={args.parallel}", f"--ranks={args.ranks}"]
    ratios = []
    for _ in range(args.repeats):
        one, several = launch(1, own), launch(args.ranks, own)
        ratios.append(one["seconds"] / several["seconds"])
        print(
            f"an epoch of {args.rows} pictures of {args.size} x {args.size}: one rank {one['seconds']:.2f} s, "
            f"{args.ranks} ranks ({args.parallel}) {several['seconds']:.2f} s, {ratios[-1]:.2f} times as fast; "
            f"last losses differ by {abs(one['loss'] - several['loss']):.1e}",
            flush=True,
        )
    print(f"ratio: median {statistics.median(ratios):.2f}, from {min(ratios):.2f} to {max(ratios):.2f}")


if __name__ == "__main__":
    main()
