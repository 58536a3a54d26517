"""Time a default fit: its parts, and how many hand-written loops of one of its networks it takes.

    python docs/benchmarks/speed_default.py --data FOLDER --sets mfeat flipkart wiki

CPU seconds of one thread. The loop trains one network of the default, with its heads, dropout, batches, number of
epochs and optimizer, on the samples as the fit had them, scaled and in memory, and does nothing else. The fit has
eight such networks, the heads' outputs of what each member left out, and the stack. Experts, which are
scikit-learn's estimators and no part of the loop, stand on their own.
"""

from __future__ import annotations

import argparse
import copy
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from datasets import Dataset, add_data_argument, data_folder, load
from speed_fit import machine
from threadpoolctl import threadpool_limits

from skmm import Blocks, MultimodalClassifier, MultimodalRegressor
from skmm.estimators._base import MultimodalEstimator
from skmm.estimators._experts import ExpertFolds
from skmm.estimators._trained import TrainedEstimator
from skmm.layers import existing

PARTS: dict[str, tuple[Any, str]] = {
    "training": (TrainedEstimator, "_train"),
    "experts": (ExpertFolds, "fit"),
    "stack": (MultimodalEstimator, "_complete"),
}


@contextmanager
def timed(seconds: dict[str, float]) -> Iterator[None]:
    """Add up the CPU seconds of each part of the fits in the block."""
    before = {part: getattr(owner, name) for part, (owner, name) in PARTS.items()}

    def watched(part: str) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            start = time.process_time()
            result = before[part](*args, **kwargs)
            seconds[part] = seconds.get(part, 0.0) + time.process_time() - start
            return result

        return call

    for part, (owner, name) in PARTS.items():
        setattr(owner, name, watched(part))
    try:
        yield
    finally:
        for part, (owner, name) in PARTS.items():
            setattr(owner, name, before[part])


def fit(model: Any, X: Any, y: np.ndarray) -> tuple[Any, dict[str, float]]:
    """The fitted model, and CPU seconds of its fit and of each part of it."""
    seconds: dict[str, float] = {}
    start = time.process_time()
    with timed(seconds):
        model.fit(X, y)
    seconds["fit"] = time.process_time() - start
    return model, seconds


def one_loop(fitted: Any, X: Any, y: np.ndarray) -> float:
    """CPU seconds of a hand-written loop that trains one of the networks for as many epochs."""
    single = fitted.__class__(**fitted.get_params(deep=False)).set_params(n_members=1, max_epochs=1, experts=None)
    single.fit(X, y)
    prepared = single._prepare(X, y)
    training, _ = single._load_training(prepared, torch.device("cpu"))
    net = fitted.net_
    network = copy.deepcopy(single.net_.module_.single).train()
    criterion = single.net_.criterion_
    values, present = training.data.take(torch.arange(len(training.data)))
    target, n = training.target, len(training.data)
    in_memory = all(isinstance(x, torch.Tensor) for x in values.values())
    optimizer = torch.optim.AdamW(network.parameters(), fused=True)
    start = time.process_time()
    for _ in range(len(net.history)):
        for rows in torch.randperm(n).split(net.batch_size):
            optimizer.zero_grad()
            if in_memory:
                batch = tuple({name: x[rows] for name, x in each.items()} for each in (values, present))
            else:  # sparse, or as many steps as each has
                batch = training.data.take(rows)
            output = network(*batch)
            criterion(output, target[rows], None, existing(batch[1], 1)).backward()
            optimizer.step()
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_data_argument(parser)
    parser.add_argument("--sets", nargs="*", default=["mfeat", "flipkart", "wiki", "utd_mhad"])
    args = parser.parse_args()
    rng = np.random.default_rng(0)  # what is imported when it is first needed is no part of a fit
    fit(MultimodalClassifier(max_epochs=1), Blocks(a=rng.normal(size=(200, 3))), np.arange(200) % 2)
    folder = data_folder(parser, args)
    torch.set_num_threads(1)
    print(machine())
    print(
        "\n| set | rows | epochs | fit, s | training | experts | stack | rest | loop, s | without experts | whole |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for name in args.sets:
        data: Dataset = load(name, folder)
        X, y, *_ = data.split(0)
        Model = MultimodalClassifier if data.task == "classification" else MultimodalRegressor
        with warnings.catch_warnings(), threadpool_limits(1):
            warnings.simplefilter("ignore", UserWarning)
            fitted, s = fit(Model(device="cpu", random_state=0), X, y)
            loop = one_loop(fitted, X, y)
        own = s["fit"] - s["experts"]
        rest = own - s["training"] - s["stack"]
        shares = [f"{s[part] / s['fit']:.0%}" for part in PARTS] + [f"{rest / s['fit']:.0%}"]
        print(
            f"| {name} | {len(y)} | {len(fitted.net_.history)} | {s['fit']:.1f} | {' | '.join(shares)} "
            f"| {loop:.2f} | {own / loop:.1f} | {s['fit'] / loop:.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
