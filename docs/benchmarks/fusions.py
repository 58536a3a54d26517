"""Compare every fusion on the real sets: whole, and with half of one modality missing.

    python docs/benchmarks/fusions.py --data FOLDER --log fusions.jsonl
    python docs/benchmarks/fusions.py --data FOLDER --log development.jsonl --development
    python docs/benchmarks/fusions.py --data FOLDER --log mosi.jsonl --sets mosi

Every fit is one network with its fused head alone (``n_members=1``, ``modality_loss=0``), all else at the defaults:
an ensemble and its stack would hide what the fusion does. A set with a fixed split is fitted once per seed, of a
cross-validated one seed k takes fold k. After the fit, half of the test rows lose one modality, each in turn. The
second variant trains with ``modality_dropout=0.2``. With ``--development`` the test part is never read: the
training part is split again, as in ``choose_defaults.py``. Results are appended to the log as they come; a run that
was stopped goes on where it was.
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
from choose_defaults import development_split
from datasets import SETS, Dataset, add_data_argument, data_folder, load
from joblib import Parallel, delayed
from scipy.stats import rankdata
from sklearn.metrics import accuracy_score, log_loss, r2_score
from skorch.callbacks import Callback

from skmm import Blocks, MultimodalClassifier, MultimodalRegressor, list_fusions


class BalanceGradients(Callback):
    """Slow down the encoder of a modality that is ahead of the others, by their heads' probabilities of the class.

    ρ_m = Σ_i p_m(y_i | x_i) / mean of the same sum over the other modalities; where ρ_m > 1 the gradient of encoder
    m is multiplied by 1 - tanh(α ρ_m). Peng et al. 2022, Balanced multimodal learning via on-the-fly gradient
    modulation, equations 8 to 10, with probabilities of the modalities' own heads, which exist whatever the fusion.
    """

    def __init__(self, alpha: float = 0.3) -> None:
        self.alpha = alpha

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        net.module_.register_forward_hook(self._keep)

    def _keep(self, module: Any, inputs: Any, output: torch.Tensor) -> None:
        self.output_ = output.detach()

    def on_grad_computed(self, net: Any, batch: Any = None, **kwargs: Any) -> None:
        target, heads = batch[1], self.output_[:, 1:]  # (B,), (B, M, n_outputs)
        of_class = heads.softmax(-1).gather(-1, target.long().view(-1, 1, 1).expand(-1, heads.shape[1], 1))
        right = of_class.sum(0).squeeze(-1)
        ahead = right * (len(right) - 1) / (right.sum() - right)
        factors = torch.where(ahead > 1, 1 - torch.tanh(self.alpha * ahead), 1.0)
        for encoder, factor in zip(net.module_.single.encoders, factors, strict=True):
            for p in encoder.parameters():
                if p.grad is not None:
                    p.grad *= factor


# Variant -> parameters beside those of one bare network.
VARIANTS: dict[str, dict[str, Any]] = {"plain": {}, "dropout": {"modality_dropout": 0.2}}
# What may help where one modality looks better in training than it is: asked of one set alone.
REMEDIES: dict[str, dict[str, Any]] = {
    **VARIANTS,
    "heads": {"modality_loss": 0.5},
    "heads and balanced gradients": {"modality_loss": 0.5, "callbacks": [BalanceGradients()]},
    "members and stack": {"modality_loss": 0.5, "n_members": 8},
}


def measure(folder: Path, name: str, fusion: str, variant: str, seed: int, development: bool) -> dict[str, Any]:
    """Scores of one fit, on all test samples and with half of each modality in turn missing."""
    torch.set_num_threads(1)
    full = load(name, folder)
    splits = [development_split(full, seed)] if development else [full.splits[seed % len(full.splits)]]
    data = Dataset(**{**vars(full), "splits": splits})
    X, y, X_test, y_test, groups = data.split(0)
    kind = MultimodalClassifier if data.task == "classification" else MultimodalRegressor
    params = {"n_members": 1, "modality_loss": 0.0, **REMEDIES[variant]}
    model = kind(fusion, random_state=seed, **params)

    def score(X: Blocks) -> tuple[float, float]:
        if data.task == "regression":
            predicted = model.predict(X)
            return float(r2_score(y_test, predicted)), float(np.mean((predicted - y_test) ** 2) / np.var(y_test))
        proba = model.predict_proba(X)
        hit = accuracy_score(y_test, model.classes_[proba.argmax(axis=1)])
        return float(hit), float(log_loss(y_test, proba, labels=model.classes_))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # samples without any modality, fewer groups than members
        start = time.perf_counter()
        model.fit(X, y, groups=groups)
        seconds = time.perf_counter() - start
        whole, loss = score(X_test)
        gone = np.random.default_rng(seed).permutation(len(y_test)) % 2 == 0
        missing = {m: score(Blocks(X_test, present={m: ~gone})) for m in X_test}
    key = {"set": name, "fusion": fusion, "variant": variant, "seed": seed}
    return {**key, "score": whole, "loss": loss, "missing": missing, "seconds": seconds}


def _cells(rows: list[dict[str, Any]], value: Any) -> str:
    values = [value(r) for r in rows]
    return f"{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else f"{np.mean(values):.3f}"


def _half_missing(row: dict[str, Any]) -> float:
    return float(np.mean([score for score, _ in row["missing"].values()]))


def report(rows: list[dict[str, Any]], sets: list[str], fusions: list[str]) -> str:
    """Markdown: scores and mean ranks by fusion and set; then with half of a modality missing, by variant."""
    by: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for r in rows:
        by.setdefault((r["set"], r["fusion"], r["variant"]), []).append(r)
    ranks = {}
    for s in sets:
        for what, sign in (("score", -1), ("loss", 1)):
            means = [sign * np.mean([r[what] for r in by.get((s, f, "plain"), [])] or [np.nan]) for f in fusions]
            ranks[s, what] = rankdata(means, nan_policy="omit")
    lines = [f"| fusion | {' | '.join(sets)} | rank | rank by loss | seconds |", "|---" * (len(sets) + 4) + "|"]
    for i, f in enumerate(fusions):
        cells = [_cells(by[s, f, "plain"], lambda r: r["score"]) if (s, f, "plain") in by else "" for s in sets]
        mean = [f"{np.nanmean([ranks[s, what][i] for s in sets]):.1f}" for what in ("score", "loss")]
        seconds = np.mean([r["seconds"] for s in sets for r in by.get((s, f, "plain"), [])] or [np.nan])
        lines.append(f"| {f} | {' | '.join([*cells, *mean, f'{seconds:.1f}'])} |")
    variants = list(dict.fromkeys(r["variant"] for r in rows))
    for title, value in (("score", lambda r: r["score"]), ("half of one modality missing", _half_missing)):
        lines += ["", f"{title}:", "", f"| fusion | variant | {' | '.join(sets)} |", "|---" * (len(sets) + 2) + "|"]
        for f in fusions:
            for variant in variants:
                cells = [_cells(by[s, f, variant], value) if (s, f, variant) in by else "" for s in sets]
                lines.append(f"| {f} | {variant} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_data_argument(parser)
    parser.add_argument("--sets", nargs="+", default=list(SETS), metavar="SET")
    parser.add_argument("--fusions", nargs="+", default=list_fusions(), choices=list_fusions(), metavar="NAME")
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(REMEDIES), metavar="NAME")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--development", action="store_true", help="on parts of the training part")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--log", type=Path, default=Path("fusions.jsonl"))
    args = parser.parse_args()
    folder = data_folder(parser, args)
    rows = [json.loads(line) for line in args.log.read_text().splitlines()] if args.log.exists() else []
    done = {(r["set"], r["fusion"], r["variant"], r["seed"]) for r in rows}
    tasks = [
        (name, fusion, variant, seed)
        for seed in range(args.seeds)
        for variant in args.variants
        for name in args.sets
        for fusion in args.fusions
        if (name, fusion, variant, seed) not in done
    ]
    run = Parallel(n_jobs=args.jobs, return_as="generator_unordered")
    for result in run(delayed(measure)(folder, *task, args.development) for task in tasks):
        rows.append(result)
        with args.log.open("a") as log:
            log.write(json.dumps(result) + "\n")
    print(report(rows, args.sets, args.fusions))


if __name__ == "__main__":
    import fusions  # joblib's workers can import functions of a module, but not those of a script

    fusions.main()
