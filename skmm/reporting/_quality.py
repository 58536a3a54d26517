"""The section of a report on how good the answers are, and what of it stands on top."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import binomtest

from skmm.metrics import expected_calibration_error
from skmm.reporting import _figures
from skmm.reporting._asked import Asked
from skmm.reporting._comparison import comparison_parts
from skmm.reporting._data import Part, by_missing, percent
from skmm.reporting._document import Numbers, Section, Text, clip, clipped, distinct
from skmm.reporting._scores import MEASURES, Classes, Labels, Outcome, Transcripts, Values, drawn_scores, interval
from skmm.table import Table

_MOST_CLASSES = 12  # of a confusion table in numbers
_MOST_PICTURED = 60  # of one as a figure
_MOST_CONFUSED = 15
_MOST_GROUPS = 30
_N_BINS = 10
_N_DRAWS = 200  # of the mean of a group


@dataclass(frozen=True)
class Quality:
    """Scores of an estimator, of who guesses, and of baselines, on the same rows and the same draws of them.

    Attributes
    ----------
    primary : str
        The score that ranks.
    scores : Table
        One row per score: ``metric``, ``score``, ``low``, ``high``, ``guessing`` and what each baseline gets.
    gaps : dict of str to tuple
        By what it is compared with: by how much the estimator's primary score is better, and its interval.
    """

    primary: str
    scores: Table
    gaps: dict[str, tuple[float, float, float]]

    def of(self, metric: str) -> dict[str, Any]:
        return next(row for row in self.scores if row["metric"] == metric)


GUESSING = "guessing"
_COLUMNS = ("metric", "score", "low", "high", "better", "meaning")


def measure(
    outcome: Outcome, baselines: Mapping[str, Outcome], n_bootstrap: int, confidence: float, seed: Any
) -> Quality:
    """The scores of what was said of the rows."""
    shown = distinct([*_COLUMNS, GUESSING, *baselines])[len(_COLUMNS) :]
    everyone = [outcome, outcome.guessing(), *baselines.values()]
    ones = np.ones(len(outcome))
    scores = [each.scores(ones) for each in everyone]
    drawn = drawn_scores([each.scores for each in everyone], len(outcome), None, n_bootstrap, seed)
    rows = []
    for name, score in scores[0].items():
        low, high = interval([draw[name] for draw in drawn[0]], confidence)
        others = {other: found.get(name) for other, found in zip(shown, scores[1:], strict=True)}
        rows.append({"metric": name, "score": score, "low": low, "high": high, **others})
    primary = outcome.primary
    sign = -1 if MEASURES[primary].better == "lower" else 1
    gaps = {}
    for other, found, draws in zip(shown, scores[1:], drawn[1:], strict=True):
        between = [sign * (own[primary] - their[primary]) for own, their in zip(drawn[0], draws, strict=True)]
        gaps[other] = (sign * (scores[0][primary] - found[primary]), *interval(between, confidence))
    return Quality(primary, Table(rows), gaps)


def answer(asked: Asked, quality: Quality, comparison: Any, confidence: float) -> list[str]:
    """Whether the estimator is any good, in two sentences."""
    return [_against_guessing(asked, quality, confidence), _against_baselines(quality, comparison)]


def _against_guessing(asked: Asked, quality: Quality, confidence: float) -> str:
    row, n = quality.of(quality.primary), len(asked)
    shown = _number if quality.primary == "r2" else percent
    score, low, high = (shown(row[key]) for key in ("score", "low", "high"))
    gap, least, most = quality.gaps[GUESSING]
    if math.isnan(row["score"]) or math.isnan(least):
        return (
            f"Whether it is any good cannot be said: {MEASURES[quality.primary].shown} of these {n:,} rows is no "
            "number."
        )
    between = f"{confidence:.0%} interval {low} to {high}"
    found = (
        "Better than guessing"
        if least > 0
        else "Worse than guessing"
        if most < 0
        else "Not shown to be better than guessing"
    )
    outcome = asked.outcome
    if isinstance(outcome, Classes):
        frequent = outcome.labels[int(np.bincount(outcome.truth).argmax())]
        what = (
            f"of {n:,} rows it gets {score} right ({between}), where always answering the most frequent class, "
            f"“{clip(frequent, 40)}”, gets {percent(row[GUESSING])}"
        )
    elif isinstance(outcome, Labels):
        what = (
            f"of the labels of {n:,} rows it gets {score} right ({between}), where always answering what is most "
            f"frequent gets {percent(row[GUESSING])}"
        )
    elif isinstance(outcome, Transcripts):
        what = (
            f"of the words of {n:,} rows {score} are wrong ({between}), where hearing nothing gets "
            f"{percent(row[GUESSING])} wrong"
        )
    else:
        error = quality.of("mae")
        what = (
            f"of {n:,} rows it explains {score} of the variance (R2; {between}), and is off by "
            f"{_number(error['score'])} on average, "
            f"where always answering the mean is off by {_number(error[GUESSING])}"
        )
        return f"{found}: {what}."
    return f"{found}: {what}; the difference is {_points(gap)} points ({_points(least)} to {_points(most)})."


def _against_baselines(quality: Quality, comparison: Any) -> str:
    gaps = {name: gap for name, gap in quality.gaps.items() if name != GUESSING}
    if not gaps:
        if comparison is not None:
            return str(comparison.verdict)
        return "Whether a simpler model does as well is not said here: no baseline was given."
    best = min(gaps, key=lambda name: gaps[name][0])
    gap, low, high = gaps[best]
    found = "is better than" if low > 0 else "is worse than" if high < 0 else "may be better or worse than"
    shown, unit = (_signed, "in R2") if quality.primary == "r2" else (_points, "points")
    return (
        f"It {found} the best baseline, “{clip(best, 40)}”: {shown(gap)} {unit} ({shown(low)} to {shown(high)}; "
        "above 0 favours this model)."
    )


def _points(gap: float) -> str:
    return f"{100 * gap:+.1f}"


def _signed(value: float) -> str:
    return f"{value:+.3f}"


def _number(value: float) -> str:
    return f"{value:.3g}"


def quality_section(
    asked: Asked,
    quality: Quality,
    comparison: Any,
    groups: Mapping[str, np.ndarray],
    confidence: float,
    n_bootstrap: int,
    seed: Any,
) -> Section:
    """How good the answers are."""
    caption = (
        f"Scores on these rows, between which they lie in {confidence:.0%} of {n_bootstrap} bootstrap samples of "
        "the rows (low, high), and what guessing gets"
    )
    if len(quality.gaps) > 1:
        caption += ", and the baselines"
    rows = [
        {
            **{name: None if value != value else value for name, value in row.items()},  # a NaN says nothing
            "metric": MEASURES[row["metric"]].shown,
            "better": MEASURES[row["metric"]].better,
            "meaning": MEASURES[row["metric"]].meaning,
        }
        for row in quality.scores
    ]
    parts: list[Part] = [Numbers(Table(rows), caption)]
    parts.append(
        Text(
            "Intervals take the rows as independent of one another; where several come from one source, they are "
            "too narrow."
        )
    )
    parts += _versus(quality, confidence)
    if comparison is not None:
        parts += [
            *comparison_parts(comparison),
            Text(f"{comparison.verdict} It was found on the folds of the comparison's data, not on these rows."),
        ]
    outcome = asked.outcome
    if isinstance(outcome, Classes):
        parts += [*_of_classes(outcome), *_calibration(outcome)]
    elif isinstance(outcome, Labels):
        parts += _of_labels(outcome)
    elif isinstance(outcome, Values):
        parts += _of_values(outcome)
    patterns = by_missing(asked)
    if patterns is not None:
        groups = {"missing modalities": patterns, **groups}
    for name, values in groups.items():
        parts += _of_groups(outcome, name, values, confidence, seed)
    return Section("Is it any good?", parts)


def _versus(quality: Quality, confidence: float) -> list[Part]:
    rows = [
        {"compared with": name, f"{MEASURES[quality.primary].shown}, better by": gap, "low": low, "high": high}
        for name, (gap, low, high) in quality.gaps.items()
    ]
    return [
        Numbers(
            Table(rows),
            f"By how much it is better on the same rows, with {confidence:.0%} intervals of the paired difference",
        )
    ]


def _of_classes(outcome: Classes) -> list[Part]:
    counts, labels = outcome.counts(), distinct(outcome.labels)
    true, said = counts.sum(axis=1), counts.sum(axis=0)
    there = np.flatnonzero(true + said)
    parts = _found("class", [labels[i] for i in there], true[there], said[there], np.diag(counts)[there])
    if len(labels) <= _MOST_PICTURED:
        parts += _figures.confusion(counts, outcome.labels)
    if len(labels) <= _MOST_CLASSES:
        cells = [
            {"true": a, **{f"said {b}": int(n) for b, n in zip(labels, row, strict=True)}}
            for a, row in zip(labels, counts, strict=True)
        ]
        return [*parts, Numbers(Table(cells), "Confusion matrix: rows of each true class by what was predicted")]
    wrong = counts - np.diag(np.diag(counts))
    places = np.argsort(-wrong, axis=None, kind="stable")[:_MOST_CONFUSED]
    pairs = [np.unravel_index(place, wrong.shape) for place in places]
    confused = [
        {"true": labels[a], "predicted": labels[b], "rows": int(wrong[a, b])} for a, b in pairs if wrong[a, b]
    ]
    return [*parts, Numbers(Table(confused), "What is confused most often")] if confused else parts


def _ratio(part: int, whole: int) -> str:
    return percent(part / whole) if whole else "–"


def _calibration(outcome: Classes) -> list[Part]:
    if outcome.proba is None:
        return [Text("Of its probabilities nothing can be said here.")]
    binary = outcome.proba.shape[1] == 2
    said = outcome.proba[:, 1] if binary else outcome.proba.max(axis=1)
    found = outcome.truth == (1 if binary else outcome.proba.argmax(axis=1))
    what = f"“{clip(outcome.labels[1], 40)}”" if binary else "the most probable class"
    bins = np.minimum((said * _N_BINS).astype(int), _N_BINS - 1)
    filled = np.unique(bins)
    rows = [
        {
            "probability": f"{b / _N_BINS:.1f} to {(b + 1) / _N_BINS:.1f}",
            "rows": int((bins == b).sum()),
            "mean probability": float(said[bins == b].mean()),
            "share where it is so": float(found[bins == b].mean()),
        }
        for b in filled
    ]
    means = [np.array([row[key] for row in rows]) for key in ("mean probability", "share where it is so")]
    figures = _figures.calibration(means[0], means[1], said, what)
    error = expected_calibration_error(outcome.truth, outcome.proba, labels=np.arange(outcome.proba.shape[1]))
    return [
        Text(
            f"Can its probabilities be believed? Of rows to which it gives {what} some probability, that share "
            f"should be so. Between what it says and what is so there are {100 * error:.1f} points on average "
            "(expected calibration error)."
        ),
        *figures,
        Numbers(Table(rows), f"Calibration: the probability of {what} against how often it is so"),
    ]


def _of_labels(outcome: Labels) -> list[Part]:
    true, said = outcome.truth.sum(axis=0), outcome.said.sum(axis=0)
    return _found("label", distinct(outcome.labels), true, said, (outcome.truth * outcome.said).sum(axis=0))


def _found(what: str, names: Sequence[str], true: np.ndarray, said: np.ndarray, hits: np.ndarray) -> list[Part]:
    """Recall and precision of each class or label, by how often it is true, said, and both."""
    rows = [
        {
            what: name,
            "rows": int(true[i]),
            "found (recall)": _ratio(hits[i], true[i]),
            "right when said (precision)": _ratio(hits[i], said[i]),
        }
        for i, name in enumerate(names)
    ]
    caption = f"Each {what}: how many of its rows are found, and how often it is right when it is said"
    return [Numbers(clipped(Table(rows)), caption)]


def _of_values(outcome: Values) -> list[Part]:
    if outcome.truth.shape[1] > 1:
        error = np.abs(outcome.truth - outcome.said).mean(axis=0)
        own = [Values(outcome.truth[:, [i]], outcome.said[:, [i]]) for i in range(len(error))]
        rows = [{"target": str(i), **each.scores(np.ones(len(outcome)))} for i, each in enumerate(own)]
        return [Numbers(Table(rows[:_MOST_PICTURED]), "Each target by itself")]
    truth, said = outcome.truth[:, 0], outcome.said[:, 0]
    parts: list[Part] = [*_figures.errors(truth, said)]
    chunks = [chunk for chunk in np.array_split(np.argsort(said, kind="stable"), 5) if len(chunk)]
    rows = [
        {
            "predicted from": float(said[c].min()),
            "to": float(said[c].max()),
            "rows": len(c),
            "mean predicted": float(said[c].mean()),
            "mean true": float(truth[c].mean()),
            "mean size of the error": float(np.abs(truth[c] - said[c]).mean()),
        }
        for c in chunks
    ]
    return [*parts, Numbers(Table(rows), "From the lowest to the highest predictions, in fifths of the rows")]


def _of_groups(outcome: Outcome, name: str, values: np.ndarray, confidence: float, seed: Any) -> list[Part]:
    """How good the answers are in each group of rows."""
    listed, which = np.unique(values, return_inverse=True)
    sizes = np.bincount(which)
    order = np.argsort(-sizes, kind="stable")[:_MOST_GROUPS]
    what = _of_a_row(outcome)
    rows = []
    for i in sorted(order):
        own = outcome.right[which == i]
        low, high = _interval_of_mean(own, confidence, seed)
        rows.append(
            {"group": clip(listed[i]), "rows": int(sizes[i]), what: float(own.mean()), "low": low, "high": high}
        )
    whole = _interval_of_mean(outcome.right, confidence, seed)
    rows.append(
        {
            "group": "all rows",
            "rows": len(outcome),
            what: float(outcome.right.mean()),
            "low": whole[0],
            "high": whole[1],
        }
    )
    caption = f"By {clip(name)}: {what}, with {confidence:.0%} intervals"
    if len(listed) > len(order):
        caption += f"; the {len(order)} largest of {len(listed)} groups"
    return [Numbers(Table(rows), caption)]


def _of_a_row(outcome: Outcome) -> str:
    kinds: Sequence[tuple[type, str]] = [
        (Classes, "share right"),
        (Labels, "share of labels right"),
        (Values, "mean size of the error"),
        (Transcripts, "errors for each word"),
    ]
    return next(what for kind, what in kinds if isinstance(outcome, kind))


def _interval_of_mean(values: np.ndarray, confidence: float, seed: Any) -> tuple[float, float]:
    if values.dtype == bool:  # of a share Wilson's, which a bootstrap of few rows that are all right has not
        found = binomtest(int(values.sum()), len(values)).proportion_ci(confidence, method="wilson")
        return float(found.low), float(found.high)
    if len(values) < 2:
        return float("nan"), float("nan")
    rng = np.random.default_rng(seed)
    return interval([rng.choice(values, len(values)).mean() for _ in range(_N_DRAWS)], confidence)
