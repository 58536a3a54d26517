"""Time one small fit: MultimodalClassifier, a hand-written loop, plain skorch, and scikit-learn's MLPClassifier.

    python docs/benchmarks/speed_fit.py --rounds 7
    python docs/benchmarks/speed_fit.py --rounds 5 --fusions all

All train for 10 epochs on 8,000 samples with three modalities of 100 features, with batches of 128 and Adam, in
one process and on one thread. The contenders take turns, so that a slow moment of the machine hits all of them, and
each ratio is taken within a round. Except for MLPClassifier, which has no fusion, all train the same network: per
modality a linear layer to 50 and a ReLU, their sum, a linear layer to the classes. With ``--fusions`` each
fusion is timed instead, without encoders, against a hand-written loop over its own network.
"""

from __future__ import annotations

import argparse
import copy
import gc
import os
import platform
import time
import warnings
from collections.abc import Callable
from functools import partial
from importlib.metadata import version

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from skorch import NeuralNetClassifier
from threadpoolctl import threadpool_limits
from torch import nn

from skmm import Blocks, Fusion, MultimodalClassifier, list_fusions

HIDDEN, BATCH, LR = 50, 128, 1e-3
Predict = Callable[[], np.ndarray]
Data = tuple[dict[str, np.ndarray], np.ndarray]


def make_data(n_samples: int, n_features: int) -> Data:
    """Three modalities of noise, and two classes that depend on all of them."""
    rng = np.random.default_rng(0)
    X = {name: rng.normal(size=(n_samples, n_features)).astype(np.float32) for name in ("text", "audio", "video")}
    y = sum(x @ rng.normal(size=n_features) for x in X.values()) > 0
    return X, y.astype(np.int64)


class SumNetwork(nn.Module):
    """Three linear layers whose sum is classified: 15,252 parameters for 100 features each and two classes."""

    def __init__(self, n_features: int) -> None:
        super().__init__()
        self.text, self.audio, self.video = (nn.Linear(n_features, HIDDEN) for _ in range(3))
        self.head = nn.Linear(HIDDEN, 2)

    def forward(self, text: torch.Tensor, audio: torch.Tensor, video: torch.Tensor) -> torch.Tensor:
        # (B, n_features) each -> (B, 2)
        return self.head(self.text(text).relu() + self.audio(audio).relu() + self.video(video).relu())


def hand_written(
    data: Data, epochs: int, seed: int, *, fused: bool | None = None, device: str = "cpu", batch_size: int = BATCH
) -> Predict:
    X, y = data
    torch.manual_seed(seed)
    inputs = {name: torch.from_numpy(x).to(device) for name, x in X.items()}
    target = torch.from_numpy(y).to(device)
    net = SumNetwork(inputs["text"].shape[1]).to(device)
    optimizer = torch.optim.Adam(net.parameters(), lr=LR, fused=fused)
    for _ in range(epochs):
        for rows in torch.randperm(len(y)).to(device).split(batch_size):
            optimizer.zero_grad()
            nn.functional.cross_entropy(
                net(**{name: x[rows] for name, x in inputs.items()}), target[rows]
            ).backward()
            optimizer.step()

    def predict() -> np.ndarray:
        with torch.no_grad():
            return net(**inputs).argmax(dim=1).cpu().numpy()

    return predict


def skmm_fit(
    data: Data, epochs: int, seed: int, n_members: int = 1, *, device: str = "cpu", batch_size: int = BATCH
) -> Predict:
    X, y = Blocks(data[0]), data[1]
    # plain: no scaling, no encoders, no dropout, no schedule, Adam at 1e-3
    model = MultimodalClassifier.plain(
        Fusion("sum", hidden_dim=HIDDEN),
        batch_size=batch_size,
        max_epochs=epochs,
        lr=LR,
        n_members=n_members,
        stack=False,
        device=device,
        random_state=seed,
    ).fit(X, y)
    return lambda: model.predict(X)


def plain_skorch(data: Data, epochs: int, seed: int) -> Predict:
    X, y = data
    torch.manual_seed(seed)
    net = NeuralNetClassifier(
        SumNetwork,
        module__n_features=X["text"].shape[1],
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.Adam,
        lr=LR,
        batch_size=BATCH,
        max_epochs=epochs,
        iterator_train__shuffle=True,
        train_split=None,
        verbose=0,
    ).fit(X, y)
    return lambda: net.predict(X)


def sklearn_mlp(data: Data, epochs: int, seed: int) -> Predict:
    X, y = np.concatenate(list(data[0].values()), axis=1), data[1]
    model = MLPClassifier(HIDDEN, batch_size=BATCH, learning_rate_init=LR, max_iter=epochs, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # ten epochs are what all of them get
        model.fit(X, y)
    return lambda: model.predict(X)


CONTENDERS: dict[str, Callable[[Data, int, int], Predict]] = {
    "hand-written loop": hand_written,
    "the same, with a fused optimizer": partial(hand_written, fused=True),
    "skmm MultimodalClassifier": skmm_fit,
    "plain skorch": plain_skorch,
    "sklearn MLPClassifier": sklearn_mlp,
}


def machine() -> str:
    """Processor, load and versions: what a time means nothing without."""
    cpu = platform.processor() or platform.machine()
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo") as lines:
            cpu = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), cpu)
    packages = ", ".join(f"{p} {version(p)}" for p in ("torch", "scikit-learn", "skorch", "numpy"))
    load = f", load average {os.getloadavg()[0]:.2f}" if hasattr(os, "getloadavg") else ""
    return f"{cpu}, {os.cpu_count()} cores{load}; Python {platform.python_version()}, {packages}"


def time_fusions(fusions: list[str], data: Data, epochs: int, rounds: int) -> None:
    """Each fusion's fit against a hand-written loop over the same network."""
    X, y = Blocks(data[0]), data[1]
    print("\n| fusion | median s | times the hand-written loop |\n|---|---|---|")
    for fusion in fusions:
        params = {"hidden_dim": 64, "batch_size": BATCH, "lr": LR, "device": "cpu", "random_state": 0}

        def ours(epochs: int, fusion: str = fusion, params: dict[str, object] = params) -> MultimodalClassifier:
            return MultimodalClassifier.plain(fusion, max_epochs=epochs, **params).fit(X, y)

        network = ours(1).net_.module_.single

        def loop(epochs: int, network: nn.Module = network) -> None:
            network = copy.deepcopy(network).train()
            inputs, target = {name: torch.from_numpy(x) for name, x in data[0].items()}, torch.from_numpy(y)
            present = {name: torch.ones(len(y), dtype=torch.bool) for name in inputs}
            optimizer = torch.optim.Adam(network.parameters(), lr=LR)
            for _ in range(epochs):
                for rows in torch.randperm(len(y)).split(BATCH):
                    optimizer.zero_grad()
                    batch = [{name: x[rows] for name, x in each.items()} for each in (inputs, present)]
                    nn.functional.cross_entropy(network(*batch), target[rows]).backward()
                    optimizer.step()

        times: dict[str, list[float]] = {"ours": [], "loop": []}
        loop(1)
        for r in range(rounds):
            contenders = [("ours", ours), ("loop", loop)]
            for name, fit in contenders if r % 2 == 0 else contenders[::-1]:
                gc.collect()
                start = time.perf_counter()
                fit(epochs)
                times[name].append(time.perf_counter() - start)
        ratio = np.median(np.divide(times["ours"], times["loop"]))
        print(f"| {fusion} | {np.median(times['ours']):.3f} | {ratio:.2f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--samples", type=int, default=8000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--members", type=int, nargs="*", default=[], metavar="K", help="also K networks at once")
    parser.add_argument("--fusions", nargs="*", metavar="NAME", help="time these, or all, and nothing else")
    args = parser.parse_args()
    contenders = CONTENDERS | {f"skmm, {k} members": partial(skmm_fit, n_members=k) for k in args.members}
    torch.set_num_threads(args.threads)
    data = make_data(args.samples, n_features=100)
    if args.fusions:
        print(machine())
        with threadpool_limits(args.threads):
            time_fusions(
                list_fusions() if args.fusions == ["all"] else args.fusions, data, args.epochs, args.rounds
            )
        return
    names = list(contenders)
    reference = names[0]
    seconds: dict[str, list[float]] = {name: [] for name in names}
    accuracy: dict[str, list[float]] = {name: [] for name in names}
    print(machine())
    with threadpool_limits(args.threads):
        for name in names:
            contenders[name](data, 1, 0)  # warm up
        for r in range(args.rounds):
            for name in names[r % len(names) :] + names[: r % len(names)]:
                gc.collect()
                start = time.perf_counter()
                predict = contenders[name](data, args.epochs, r)
                seconds[name].append(time.perf_counter() - start)
                accuracy[name].append(float(np.mean(predict() == data[1])))

    print(f"\n{args.rounds} rounds, {args.epochs} epochs, {args.samples} samples, {args.threads} thread(s)\n")
    print(f"| fit | min s | median s | times the {reference} | training accuracy |\n|---|---|---|---|---|")
    for name in names:
        ratio = np.median(np.divide(seconds[name], seconds[reference]))
        print(
            f"| {name} | {min(seconds[name]):.3f} | {np.median(seconds[name]):.3f} | {ratio:.2f} "
            f"| {np.mean(accuracy[name]):.3f} |"
        )
    failed = [name for name in names if min(accuracy[name]) < 0.8]
    if failed:
        raise SystemExit(f"did not learn: {', '.join(failed)}; their times mean nothing.")


if __name__ == "__main__":
    main()
