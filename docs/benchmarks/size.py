"""What the default estimator makes of more samples, on generated data whose best possible score is known.

    python docs/benchmarks/size.py --sizes 5000 50000 --log size.jsonl

A sample is a pair of vectors a and b of 10 normal numbers each. Both tell something by themselves, and more
together: the signal is f = sqrt(.3) u'(a + b) / sqrt(2) + sqrt(.5) a'Bb / sqrt(3) with a unit vector u and a matrix
B of three singular values of 1, and y = f + sqrt(.2) e with normal noise e, so that y has variance 1.

- ``regression``: y itself. The best possible mean squared error is .2; without the interaction it is .7.
- ``classification``: the sign of y. The best possible classifier takes the sign of f; its accuracy and log-loss are
  means over 200,000 drawn samples.

Scores are of 20,000 further samples. ``networks`` is the default without its experts, where it has any.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from records import Records
from scipy.special import entr
from scipy.stats import norm
from sklearn.base import BaseEstimator
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import accuracy_score, log_loss, mean_squared_error
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from threadpoolctl import threadpool_limits

from skmm import Blocks, MultimodalClassifier, MultimodalRegressor

TASKS = ("regression", "classification")
MODELS = ("default", "networks", "boosting", "linear")
N_FEATURES, RANK, N_SCORE, N_BAYES = 10, 3, 20_000, 200_000
LINEAR, INTERACTION, NOISE = 0.3, 0.5, 0.2  # shares of the variance of y


def make(n: int, seed: int) -> tuple[Blocks, np.ndarray, np.ndarray]:
    """Samples, y, and the signal in it; B and u are the same for all seeds.

    Shape: blocks (n, 10) float32; y and signal (n,).
    """
    rng = np.random.default_rng(0)
    left, right = (np.linalg.qr(rng.normal(size=(N_FEATURES, RANK)))[0] for _ in range(2))
    u = np.linalg.qr(rng.normal(size=(N_FEATURES, 1)))[0][:, 0]
    rng = np.random.default_rng([seed, n])
    a, b = rng.normal(size=(2, n, N_FEATURES)).astype(np.float32)
    interaction = ((a @ left) * (b @ right)).sum(axis=1) / np.sqrt(RANK)
    signal = np.sqrt(LINEAR / 2) * ((a + b) @ u) + np.sqrt(INTERACTION) * interaction
    return Blocks(a=a, b=b), signal + np.sqrt(NOISE) * rng.normal(size=n), signal


def bayes(task: str) -> dict[str, float]:
    """The best possible scores."""
    if task == "regression":
        return {"score": NOISE}
    positive = norm.cdf(make(N_BAYES, seed=0)[2] / np.sqrt(NOISE))  # probability of the upper class
    loss = entr(positive) + entr(1 - positive)
    return {"score": float(np.maximum(positive, 1 - positive).mean()), "loss": float(loss.mean())}


def _side_by_side(X: Blocks) -> np.ndarray:
    return np.hstack([block for _, block in X.items()])


def build(model: str, task: str, seed: int, params: dict[str, Any]) -> BaseEstimator:
    classify = task == "classification"
    if model in ("default", "networks"):
        alone = {"experts": None} if model == "networks" else {}
        return (MultimodalClassifier if classify else MultimodalRegressor)(random_state=seed, **alone, **params)
    if model == "boosting":
        last = (HistGradientBoostingClassifier if classify else HistGradientBoostingRegressor)(random_state=seed)
    else:
        last = LogisticRegression() if classify else Ridge()
    return make_pipeline(FunctionTransformer(_side_by_side), last)


def measure(task: str, n: int, name: str, seed: int, params: dict[str, Any], threads: int) -> dict[str, Any]:
    """One model's scores and seconds."""
    torch.set_num_threads(threads)
    X, y, _ = make(n + N_SCORE, seed)
    y = (y > 0).astype(int) if task == "classification" else y
    model = build(name, task, seed, params)
    with threadpool_limits(threads), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a loss that was still falling
        start = time.perf_counter()
        model.fit(X[:n], y[:n])
        seconds = time.perf_counter() - start
        X, y = X[n:], y[n:]
        result = {"task": task, "n": n, "model": name, "seed": seed, "params": params, "seconds": seconds}
        if task == "regression":
            return {**result, "score": float(mean_squared_error(y, model.predict(X)))}
        proba = model.predict_proba(X)
    return {**result, "score": float(accuracy_score(y, proba.argmax(axis=1))), "loss": float(log_loss(y, proba))}


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown, by task, size and model: means over seeds, beside the best possible scores."""
    lines = [
        "| task | samples | model | MSE or accuracy | best possible | log-loss | best possible | seconds "
        "| microseconds a sample |",
        "|---" * 9 + "|",
    ]
    for task in TASKS:
        best = bayes(task)
        for n, model in sorted({(r["n"], MODELS.index(r["model"])) for r in rows if r["task"] == task}):
            own = [r for r in rows if (r["task"], r["n"], r["model"]) == (task, n, MODELS[model])]
            score, seconds = (np.mean([r[what] for r in own]) for what in ("score", "seconds"))
            spread = f" ± {np.std([r['score'] for r in own], ddof=1):.3f}" if len(own) > 1 else ""
            losses = ["", ""]
            if "loss" in best:
                losses = [f"{np.mean([r['loss'] for r in own]):.3f}", f"{best['loss']:.3f}"]
            cells = [task, f"{n:,}", MODELS[model], f"{score:.3f}{spread}", f"{best['score']:.3f}", *losses]
            lines.append(f"| {' | '.join([*cells, f'{seconds:.1f}', f'{1e6 * seconds / n:.0f}'])} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=TASKS)
    parser.add_argument("--sizes", nargs="+", type=int, default=[5_000, 50_000, 500_000])
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=MODELS)
    parser.add_argument("--params", type=json.loads, default={}, metavar="JSON", help="parameters of the estimator")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--log", type=Path, help="lines of json that keep the results; they are not measured again")
    args = parser.parse_args()
    if "experts" not in MultimodalClassifier().get_params():
        args.models = [m for m in args.models if m != "networks"]
    records = Records(args.log, "task", "n", "model", "seed")
    for n in args.sizes:  # the quick ones first
        for task in args.tasks:
            for seed in range(args.seeds):
                for model in args.models:
                    params = args.params if model in ("default", "networks") else {}
                    if records.found.get((task, n, model, seed), {}).get("params") != params:
                        records.add(measure(task, n, model, seed, params, args.threads))
                        print(records.found[task, n, model, seed], flush=True)
    print(table(records.rows()))


if __name__ == "__main__":
    main()
