"""Tables of what `real_data.py` measured."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

import numpy as np
import scipy.stats
from datasets import Dataset
from scores import BETTER

Result = dict[str, Any]
Models = dict[str, list[Result]]  # results by name of the model

KINDS = ("baseline", "reference", "network")


def log(text: str, result: Result) -> None:
    scores = ", ".join(f"{k} {v:.4f}" for k, v in result.items() if isinstance(v, float) and k != "fit_seconds")
    print(f"{text}: {scores} ({result['fit_seconds']:.1f} s)", file=sys.stderr, flush=True)


def paired_difference(
    ours: list[Result], theirs: list[Result], metric: str, test_share: float
) -> tuple[float, ...]:
    """Mean difference on the splits that both were measured on, and its 95 % interval.

    On a fixed split: percentiles over 5,000 bootstraps of seeds and test rows. Over folds: Student's t on the
    folds' differences, its variance corrected for the folds' shared training rows (Nadeau and Bengio, 2003).
    """
    folds = sorted({r["split"] for r in ours} & {r["split"] for r in theirs})
    if len(folds) > 1:
        per_fold = [_mean(_of(ours, k), metric) - _mean(_of(theirs, k), metric) for k in folds]
        scale = np.sqrt(np.var(per_fold, ddof=1) * (1 / len(folds) + test_share))
        half = scale * scipy.stats.t.ppf(0.975, len(folds) - 1)
        return float(np.mean(per_fold)), float(np.mean(per_fold) - half), float(np.mean(per_fold) + half)
    if not folds:
        return np.nan, np.nan, np.nan
    ours, theirs = _of(ours, folds[0]), _of(theirs, folds[0])
    per_row = np.array([r["rows"][metric] for r in ours]) - np.array(theirs[0]["rows"][metric])  # (seeds, rows)
    seeds, rows = per_row.shape
    rng = np.random.default_rng(0)
    means = [
        per_row[rng.integers(seeds, size=seeds)].mean(axis=0)[rng.integers(rows, size=rows)].mean()
        for _ in range(5000)
    ]
    low, high = np.quantile(means, [0.025, 0.975])
    return float(per_row.mean()), float(low), float(high)


def _of(results: list[Result], split: int) -> list[Result]:
    return [r for r in results if r["split"] == split]


def _mean(results: Iterable[Result], metric: str) -> float:
    return float(np.mean([r[metric] for r in results]))


def _cell(results: list[Result], metric: str) -> str:
    values = [r[metric] for r in results]
    digits = 1 if metric == "fit_seconds" else 3
    spread = f" ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else ""
    return f"{np.mean(values):.{digits}f}{spread}"


def _by_model(results: list[Result], *kinds: str) -> Models:
    """Results of some kinds by model, in the order of their kinds."""
    found: Models = {}
    for r in sorted(results, key=lambda r: KINDS.index(r["kind"])):
        if r["kind"] in kinds:
            found.setdefault(r["model"], []).append(r)
    return found


def _best(models: Models, metric: str) -> str | None:
    """The model that is best on the test part, a choice that favours it."""
    return max(models, key=lambda m: BETTER[metric] * _mean(models[m], metric), default=None)


def _share(data: Dataset) -> float:
    train, test = data.splits[0]
    return len(test) / len(train)


def _differences(data: Dataset, networks: Models, rivals: Models, title: str) -> list[str]:
    """Rows of Markdown: each network against the best of some rivals."""
    if not networks or not rivals:
        return []
    lines = ["", f"| estimator | metric | {title} | difference | 95 % interval |", "|---|---|---|---|---|"]
    for label, ours in networks.items():
        for metric in (m for m in data.metrics if m != "ece"):
            best = _best(rivals, metric)
            mean, low, high = paired_difference(ours, rivals[best], metric, _share(data))
            lines.append(f"| {label} | {metric} | {best} | {mean:+.3f} | {low:+.3f} to {high:+.3f} |")
    return lines


EXPERTS = ("linear", "trees", "boosting", "kernels")


def _heads(networks: Models) -> list[str]:
    """Rows of Markdown: what the network's head of each modality scores out of fold, and the experts beside it."""
    lines = []
    for label, results in networks.items():
        told = [r["heads"] for r in results if "heads" in r]
        if not told or "fused" not in told[0]:
            continue
        lines += ["", f"Out of fold of the training part, {label}, score and loss of each head alone:", ""]
        lines += [f"| modality | network | {' | '.join(EXPERTS)} |", "|---" * (len(EXPERTS) + 2) + "|"]
        names = [name for name in told[0] if name != "fused" and name.split()[0] not in EXPERTS]
        for name, own in [*((name, name) for name in names), ("all", "fused")]:
            beside = [expert if name == "all" else f"{expert} {name}" for expert in EXPERTS]
            cells = []
            for head in (own, *beside):
                values = np.array([heads[head] for heads in told if head in heads])
                cells.append("{:.3f} / {:.3f}".format(*values.mean(axis=0)) if len(values) else "")
            lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def report(data: Dataset, results: list[Result]) -> str:
    """Markdown of one set: scores, what others publish, differences to the best baseline and to the best of all."""
    networks = _by_model(results, "network")
    columns = [*data.metrics, "fit_seconds"]
    lines = [f"### {data.name}", "", f"| model | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for label, rs in _by_model(results, *KINDS).items():
        name = f"**{label}**" if label in networks else label
        lines.append(f"| {name} | {' | '.join(_cell(rs, column) for column in columns)} |")
    if data.published:
        ranked = sorted(data.published.items(), key=lambda peer: -BETTER[data.metric] * peer[1])
        lines += ["", f"Published, {data.metric}: {'; '.join(f'{peer} {score:g}' for peer, score in ranked)}."]
    lines += _differences(data, networks, _by_model(results, "baseline"), "best baseline")
    lines += _differences(data, networks, _by_model(results, "baseline", "reference"), "best of all")
    lines += _heads(networks)
    return "\n".join(lines)


def _summary_row(data: Dataset, results: list[Result], label: str) -> list[str]:
    """One set's cells of the summary; empty where nothing was measured."""
    metric = data.metric
    rivals = _by_model(results, "baseline", "reference")
    ours = _by_model(results, "network").get(label, [])
    cells = [data.name, metric, _cell(ours, metric) if ours else "", _difference(data, ours, rivals, metric)]
    for kind in ("baseline", "reference"):
        models = _by_model(results, kind)
        best = _best(models, metric)
        cells.append(f"{best} {_mean(models[best], metric):.3f}" if best else "")
    published = max(data.published.items(), key=lambda peer: BETTER[metric] * peer[1], default=None)
    cells.append(f"{published[0]} {published[1]:g}" if published else "")
    cells.append(f"{_mean(ours, 'fit_seconds'):.1f}" if ours else "")
    return cells


def _loss_row(data: Dataset, results: list[Result], label: str) -> list[str]:
    """One set's log-losses: the lowest of others, and that of one network."""
    rivals = _by_model(results, "baseline", "reference")
    ours = _by_model(results, "network").get(label, [])
    best = _best(rivals, "log_loss")
    lowest = f"{best} {_mean(rivals[best], 'log_loss'):.3f}" if best else ""
    return [
        data.name,
        lowest,
        _cell(ours, "log_loss") if ours else "",
        _difference(data, ours, rivals, "log_loss"),
    ]


def _difference(data: Dataset, ours: list[Result], rivals: Models, metric: str) -> str:
    """To the best of some rivals, with its interval."""
    if not ours or not rivals:
        return ""
    mean, low, high = paired_difference(ours, rivals[_best(rivals, metric)], metric, _share(data))
    return f"{mean:+.3f} ({low:+.3f} to {high:+.3f})"


def summary(sets: list[tuple[Dataset, list[Result]]], label: str = "default") -> str:
    """Markdown of all sets: one network against the best of baselines and references, in score and in log-loss."""
    columns = ["set", "metric", label, "difference", "best baseline", "best reference", "published", "seconds"]
    scores = _table(columns, [_summary_row(*one, label) for one in sets])
    columns = ["set", "lowest log-loss of others", label, "difference"]
    losses = _table(columns, [_loss_row(*one, label) for one in sets if "log_loss" in one[0].metrics])
    return f"{scores}\n\n{losses}"


def _table(columns: list[str], rows: list[list[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
