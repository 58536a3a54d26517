"""What bounds a stacked search: its arithmetic and the memory that it moves, against this machine's measured peaks.

    python docs/benchmarks/speed_bound.py --data FOLDER

Thirty networks of each fusion (six candidates, five folds) on the Wikipedia set, one thread. Measured are the
milliseconds of a step of all thirty, trained together and one after the other; the floating-point operations of
that step, as torch counts them; and what the optimizer moves: weights, gradient and two moments of each network
read, and all but the gradient written. The peaks are measured in the same run: batched products of the shapes of
such layers, and a copy of a large array. At most so many times faster could the stack be if it did nothing but
these two, each at its peak.

A second table: milliseconds of an optimizer's step where each of some candidates has a learning rate of its own, by
one fused optimizer for each, as FusionSearchCV does it, and by one of rate 1 whose step, taken from zeros, is added
by each network's own rate.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
from datasets import Dataset, add_data_argument, data_folder, load
from sklearn.model_selection import GridSearchCV
from speed_fit import machine
from speed_search import FUSIONS
from torch.utils.flop_counter import FlopCounterMode

from skmm import MultimodalClassifier
from skmm.model_selection import FusionSearchCV

GRID = {"lr": [0.001, 0.003, 0.01], "weight_decay": [0.01, 0.1]}
MOVES = 7  # floats per weight: four read, three written


def median(work: Callable[[], Any], rounds: int) -> float:
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return sorted(times)[rounds // 2]


def peaks() -> tuple[float, float]:
    """Floating-point operations and bytes a second."""
    k, rows, width = 30, 32, 64
    a, b = torch.randn(k, rows, width), torch.randn(k, width, width)
    flops = 2 * k * rows * width * width / median(lambda: torch.bmm(a, b), 500)
    x = torch.randn(2**25)
    y = torch.empty_like(x)
    return flops, 2 * x.nbytes / median(lambda: y.copy_(x), 9)


def fit(kind: Any, fusion: str, data: Dataset, epochs: int) -> float:
    clf = MultimodalClassifier(fusion, n_members=1, max_epochs=epochs, device="cpu", random_state=0)
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        kind(clf, GRID, cv=5, refit=False, scoring="accuracy").fit(data.X, data.y)
    return time.perf_counter() - start


def optimizers() -> None:
    """A step of candidates' own fused optimizers, against one whose step is scaled by tensors."""
    print("\n| candidates x folds | weights | an optimizer each, ms | rates as tensors, ms | times as long |")
    print("|---|---|---|---|---|")
    for candidates, weights in ((3, 18_000), (24, 4_000), (12, 18_000), (24, 18_000), (6, 60_000)):
        k = 5 * candidates
        rate = torch.linspace(1e-3, 1e-2, k).unsqueeze(1)
        table, gradient = torch.randn(k, weights), torch.randn(k, weights)
        own = []
        for rows in range(0, k, 5):
            part = torch.nn.Parameter(table[rows : rows + 5])
            part.grad = gradient[rows : rows + 5]
            own.append(torch.optim.AdamW([part], lr=float(rate[rows]), weight_decay=0.01, fused=True))
        zeros = torch.nn.Parameter(torch.zeros(k, weights))
        zeros.grad = gradient
        shared = torch.optim.AdamW([zeros], lr=1.0, weight_decay=0.0, fused=True)

        def each(own: list[torch.optim.AdamW] = own) -> None:
            for optimizer in own:
                optimizer.step()

        @torch.no_grad()
        def together(
            zeros: torch.Tensor = zeros,
            shared: torch.optim.AdamW = shared,
            table: torch.Tensor = table,
            rate: torch.Tensor = rate,
        ) -> None:
            zeros.zero_()
            shared.step()
            table.mul_(1 - 0.01 * rate).addcmul_(zeros, rate)

        a, b = (1e3 * median(work, 60) for work in (each, together))
        print(f"| {candidates} x 5 | {weights} | {a:.2f} | {b:.2f} | {b / a:.1f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_data_argument(parser)
    parser.add_argument("--fusions", nargs="+", default=FUSIONS, metavar="NAME")
    parser.add_argument("--epochs", type=int, default=5, help="that the longer of two trainings has more")
    args = parser.parse_args()
    torch.set_num_threads(1)
    data = load("wiki", data_folder(parser, args))
    flops_peak, bytes_peak = peaks()
    print(
        f"{machine()}\n{flops_peak / 1e9:.0f} GFLOP/s in batched products, {bytes_peak / 1e9:.1f} GB/s in a copy\n"
    )
    print("| fusion | together, ms | one by one, ms | times faster | arithmetic, ms | memory, ms | at most |")
    print("|---|---|---|---|---|---|---|")
    for fusion in args.fusions:
        n = 4 * len(data.y) // 5  # rows of a fold, which batches depend on
        clf = MultimodalClassifier(fusion, n_members=1, max_epochs=1, device="cpu", random_state=0)
        clf.fit(data.X[:n], data.y[:n])
        weights = sum(p.numel() for p in clf.net_.module_.parameters())
        steps = -(-n // clf.net_.batch_size)
        counts = []
        for epochs in (1, 2):
            with FlopCounterMode(display=False) as counter:
                fit(FusionSearchCV, fusion, data, epochs)
            counts.append(counter.get_total_flops())
        seconds = {}
        for kind in (FusionSearchCV, GridSearchCV):
            short = min(fit(kind, fusion, data, 1) for _ in range(3))
            seconds[kind] = fit(kind, fusion, data, 1 + args.epochs) - short
        together, alone = (1e3 * s / args.epochs / steps for s in seconds.values())
        arithmetic = 1e3 * (counts[1] - counts[0]) / steps / flops_peak
        memory = 1e3 * 30 * weights * 4 * MOVES / bytes_peak
        print(
            f"| {fusion} | {together:.1f} | {alone:.1f} | {alone / together:.1f} | {arithmetic:.1f} | {memory:.1f} "
            f"| {alone / (arithmetic + memory):.0f} |",
            flush=True,
        )
    optimizers()


if __name__ == "__main__":
    main()
