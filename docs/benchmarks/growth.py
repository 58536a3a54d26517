"""How cost grows: with rows, modalities, classes, members, and candidates of a search.

    export OMP_NUM_THREADS=1
    python docs/benchmarks/growth.py --log growth.jsonl --plot docs/benchmarks/growth.png
    python docs/benchmarks/growth.py --largest 10000 --most 5           # a quick look
    python docs/benchmarks/growth.py --profile rows default 100000      # what bounds one of them

Each point is measured in a process of its own, on one thread: its CPU seconds, and the memory that it takes above
its data at most. The data are generated, modalities of ten normal numbers around the centre of their class. Epochs
are few and fixed, so that a series differs in nothing but what it is about; sizes that are "auto" in the estimator,
of batches and layers, change with the rows as they do for a user. A series ends where the next point would take
longer than ``--most`` seconds, or takes ten times as long. The exponent is the slope in logarithms, by least
squares over the last half of the points.
"""

from __future__ import annotations

import argparse
import cProfile
import multiprocessing
import pstats
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from records import Records
from sklearn.model_selection import GridSearchCV
from speed_fit import hand_written, machine, plain_skorch
from threadpoolctl import threadpool_limits

from skmm import Blocks, MultimodalClassifier
from skmm.model_selection import FusionSearchCV

MIB = 2**20
Work = Callable[[], Any]


class Series(NamedTuple):
    """A curve: what is measured, on which axis, at which sizes; ``make`` gives the work for one of them."""

    sizes: tuple[int, ...]
    make: Callable[[int], Work]
    fixed: str


def generate(rows: int, modalities: int = 3, classes: int = 2) -> tuple[Blocks, np.ndarray]:
    """Modalities (rows, 10) around the centre of their class, and the classes."""
    rng = np.random.default_rng(0)
    y = np.arange(rows) % classes
    blocks = {}
    for m in range(modalities):
        block = rng.standard_normal((rows, 10), dtype=np.float32)
        block += rng.standard_normal((classes, 10), dtype=np.float32)[y]
        blocks[f"m{m}"] = block
    return Blocks(blocks), y


def fit(model: Any, data: tuple[Blocks, np.ndarray]) -> Work:
    return lambda: model.fit(*data)


def bare(data: tuple[Blocks, np.ndarray], epochs: int = 2) -> Work:
    """One network of the fusion "sum"."""
    params: dict[str, Any] = {"hidden_dim": 50, "batch_size": 128, "device": "cpu", "random_state": 0}
    return fit(MultimodalClassifier.plain("sum", max_epochs=epochs, **params), data)


def members(data: tuple[Blocks, np.ndarray], epochs: int = 2, **params: Any) -> Work:
    """The default's members, without what is stacked upon them."""
    params = {"experts": None, "stack": False, "max_epochs": epochs, "device": "cpu", "random_state": 0} | params
    return fit(MultimodalClassifier(**params), data)


def default(data: tuple[Blocks, np.ndarray], epochs: int = 2) -> Work:
    """The default but for its epochs, with experts and stack."""
    return fit(MultimodalClassifier(max_epochs=epochs, device="cpu", random_state=0), data)


def predict(data: tuple[Blocks, np.ndarray], learned: int = 1_000, **params: Any) -> Work:
    """Probabilities of all rows, by the default's members and their stack, learned from a few rows."""
    X, y = data
    params = {"experts": None, "max_epochs": 1, "device": "cpu", "random_state": 0} | params
    model = MultimodalClassifier(**params).fit(X[:learned], y[:learned])
    return lambda: model.predict_proba(X)


def as_arrays(data: tuple[Blocks, np.ndarray], loop: Any) -> Work:
    """One of the contenders of ``speed_fit.py`` on the same data; it has two classes and three modalities."""
    arrays = dict(zip(("text", "audio", "video"), data[0].values(), strict=True))
    return lambda: loop((arrays, data[1]), 2, 0)


def searched(kind: Any, candidates: int) -> Work:
    clf = MultimodalClassifier.plain(
        "sum", hidden_dim=50, batch_size=64, max_epochs=5, device="cpu", random_state=0
    )
    rates = list(np.geomspace(1e-4, 1e-2, candidates))
    return fit(kind(clf, {"lr": rates}, cv=5, refit=False), generate(1_000))


ROWS = (1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000)
MODALITIES = (1, 2, 5, 10, 20, 50, 100)
CLASSES = (2, 10, 50, 200, 1_000, 5_000)
MEMBERS = (1, 2, 4, 8, 16, 32, 64)
CANDIDATES = (1, 2, 5, 10, 20, 50, 100)
EPOCHS = "2 epochs"

SERIES: dict[tuple[str, str], Series] = {
    ("rows", "bare"): Series(ROWS, lambda n: bare(generate(n)), EPOCHS),
    ("rows", "loop"): Series(ROWS, lambda n: as_arrays(generate(n), hand_written), EPOCHS),
    ("rows", "skorch"): Series(ROWS, lambda n: as_arrays(generate(n), plain_skorch), EPOCHS),
    ("rows", "one member"): Series(ROWS, lambda n: members(generate(n), 1, n_members=1), "1 epoch"),
    ("rows", "members"): Series(ROWS, lambda n: members(generate(n), 1), "1 epoch"),
    ("rows", "default"): Series(ROWS, lambda n: default(generate(n), 1), "1 epoch"),
    ("rows", "prediction"): Series(ROWS, lambda n: predict(generate(n)), "of all rows"),
    ("modalities", "bare"): Series(MODALITIES, lambda m: bare(generate(2_000, m)), f"2,000 rows, {EPOCHS}"),
    ("modalities", "members"): Series(MODALITIES, lambda m: members(generate(2_000, m)), f"2,000 rows, {EPOCHS}"),
    ("modalities", "default"): Series(MODALITIES, lambda m: default(generate(500, m), 1), "500 rows, 1 epoch"),
    ("modalities", "prediction"): Series(
        MODALITIES, lambda m: predict(generate(5_000, m), learned=500), "of 5,000 rows"
    ),
    ("classes", "bare"): Series(CLASSES, lambda c: bare(generate(10_000, 3, c)), f"10,000 rows, {EPOCHS}"),
    ("classes", "members"): Series(CLASSES, lambda c: members(generate(10_000, 3, c), 1), "10,000 rows, 1 epoch"),
    ("classes", "default"): Series(CLASSES, lambda c: default(generate(10_000, 3, c), 1), "10,000 rows, 1 epoch"),
    ("classes", "prediction"): Series(
        CLASSES, lambda c: predict(generate(10_000, 3, c), learned=10_000, stack=False), "of 10,000 rows, no stack"
    ),
    ("members", "members"): Series(
        MEMBERS, lambda k: members(generate(2_000), n_members=k), f"2,000 rows, {EPOCHS}"
    ),
    ("members", "with a stack"): Series(
        MEMBERS[1:], lambda k: members(generate(2_000), n_members=k, stack=True), f"2,000 rows, {EPOCHS}"
    ),
    ("members", "prediction"): Series(
        MEMBERS, lambda k: predict(generate(5_000), n_members=k, stack=False), "of 5,000 rows"
    ),
    ("candidates", "FusionSearchCV"): Series(
        CANDIDATES, lambda n: searched(FusionSearchCV, n), "1,000 rows, 5 folds, 5 epochs"
    ),
    ("candidates", "GridSearchCV"): Series(
        CANDIDATES, lambda n: searched(GridSearchCV, n), "1,000 rows, 5 folds, 5 epochs"
    ),
}
AXES = tuple(dict.fromkeys(axis for axis, _ in SERIES))


# -- measuring -----------------------------------------------------------------------------------------------------


def _status(what: str) -> int:
    """A line of this process's status, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next((int(line.split()[1]) for line in lines if line.startswith(what)), 0)


def _measure(series: Series, size: int, out: Any) -> None:
    torch.set_num_threads(1)
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a loss that was still falling, a stack of little use
        work = series.make(size)
        Path("/proc/self/clear_refs").write_text("5")  # the peak so far is that of the data
        held, start = _status("VmRSS"), time.process_time()
        work()
        out.send((time.process_time() - start, (_status("VmHWM") - held) / MIB))


def warm_up() -> None:
    """Import what is imported when it is first needed, before the processes of the points are forked."""
    torch.set_num_threads(1)
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        default(generate(100), 1)()
        for loop in (hand_written, plain_skorch):
            as_arrays(generate(100), loop)()
        for kind in (FusionSearchCV, GridSearchCV):
            searched(kind, 1)()


def measure(axis: str, model: str, size: int, longest: float) -> dict[str, Any] | None:
    """One point, in a process of its own; None if it takes longer, in seconds of the clock."""
    processes = multiprocessing.get_context("fork")
    here, there = processes.Pipe(duplex=False)
    child = processes.Process(target=_measure, args=(SERIES[axis, model], size, there))
    child.start()
    there.close()
    if not here.poll(longest):
        child.kill()
        return None
    try:
        seconds, peak = here.recv()
    except EOFError:
        child.join()
        raise SystemExit(f"{axis}, {model}, {size}: its process ended with {child.exitcode}.") from None
    child.join()
    return {"axis": axis, "model": model, "size": size, "seconds": seconds, "peak": peak}


def exponent(sizes: list[int], costs: list[float]) -> float:
    """Slope in logarithms over the last half of the points, two at least."""
    last = max(2, (len(sizes) + 1) // 2)
    if len(sizes) < 2:
        return float("nan")
    return float(np.polyfit(np.log(sizes[-last:]), np.log(np.maximum(costs[-last:], 1e-6)), 1)[0])


def run(records: Records, axes: list[str], models: list[str] | None, largest: int, most: float) -> None:
    """Measure what is not known yet, each series until it takes too long."""
    for (axis, model), series in SERIES.items():
        if axis not in axes or (models and model not in models):
            continue
        before: tuple[int, float] | None = None
        for size in (s for s in series.sizes if s <= largest):
            if before is not None and before[1] * size / before[0] > most:
                break
            if (axis, model, size) not in records:
                found = measure(axis, model, size, 10 * most)
                if found is None:
                    print(f"{axis}, {model}, {size:,}: ended after {10 * most:g} s", flush=True)
                    break
                records.add(found)
                print(f"{axis}, {model}, {size:,}: {found['seconds']:.2f} s, {found['peak']:.0f} MiB", flush=True)
            before = size, records.found[axis, model, size]["seconds"]


def curves(records: Records) -> dict[tuple[str, str], tuple[list[int], list[float], list[float]]]:
    """Sizes, seconds and MiB of each series."""
    found = {}
    for key, series in SERIES.items():
        known = [records.found[*key, size] for size in series.sizes if (*key, size) in records]
        if known:
            found[key] = tuple([row[what] for row in known] for what in ("size", "seconds", "peak"))
    return found


def table(records: Records) -> str:
    lines = [
        "| axis | what | fixed | cost, CPU seconds by size | exponent | peak above the data, MiB |",
        "|---" * 6 + "|",
    ]
    for (axis, model), (sizes, seconds, peaks) in curves(records).items():
        cost = ", ".join(f"{size:,}: {s:.3g}" for size, s in zip(sizes, seconds, strict=True))
        cells = [
            axis,
            model,
            SERIES[axis, model].fixed,
            cost,
            f"{exponent(sizes, seconds):.2f}",
            f"{peaks[-1]:.0f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def draw(records: Records, path: Path) -> None:
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter

    figure = Figure(figsize=(15, 5), layout="constrained")
    found = curves(records)
    models = list(dict.fromkeys(model for _, model in SERIES))
    colors = {model: f"C{number}" for number, model in enumerate(models)}
    for place, axis in zip(figure.subplots(1, len(AXES)), AXES, strict=True):
        for (name, model), (sizes, seconds, _) in found.items():
            if name == axis:
                label = f"{model} ({exponent(sizes, seconds):.2f})"
                place.loglog(sizes, seconds, "o-", ms=4, color=colors[model], label=label)
        place.set(xlabel=axis)
        place.grid(alpha=0.3)
        place.yaxis.set_minor_formatter(NullFormatter())
        if place.lines:
            place.legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.15))
    figure.axes[0].set(ylabel="CPU seconds, one thread")
    figure.suptitle("In brackets the exponent over the last half of the points", fontsize=9)
    figure.savefig(path, dpi=90)


def profile(axis: str, model: str, size: int) -> None:
    """Where the time of one point goes."""
    torch.set_num_threads(1)
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        work = SERIES[axis, model].make(size)
        watch = cProfile.Profile(time.process_time)
        watch.runcall(work)
    stats = pstats.Stats(watch)
    stats.sort_stats("tottime").print_stats(18)
    stats.sort_stats("cumtime").print_stats("skmm", 30)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--axes", nargs="+", default=list(AXES), choices=AXES)
    parser.add_argument("--models", nargs="+", help="only these series")
    parser.add_argument("--largest", type=int, default=10**6, help="no size above this, on any axis")
    parser.add_argument("--most", type=float, default=100.0, help="seconds that one point may take, as expected")
    parser.add_argument("--log", type=Path, help="lines of JSON that keep the points; they are not measured again")
    parser.add_argument("--plot", type=Path, help="where to save the plot; needs matplotlib")
    parser.add_argument("--profile", nargs=3, metavar=("AXIS", "WHAT", "SIZE"), help="profile one point alone")
    args = parser.parse_args()
    if args.profile:
        profile(args.profile[0], args.profile[1], int(args.profile[2]))
        return
    records = Records(args.log, "axis", "model", "size")
    warm_up()
    print(machine(), flush=True)
    run(records, args.axes, args.models, args.largest, args.most)
    print(table(records))
    if args.plot is not None:
        draw(records, args.plot)


if __name__ == "__main__":
    main()
