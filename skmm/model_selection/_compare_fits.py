"""The fits of a comparison: each a method on a fold, scored by every metric, then without some modalities."""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from joblib import effective_n_jobs
from sklearn.metrics import check_scoring, f1_score, make_scorer, recall_score
from sklearn.model_selection import cross_validate

from skmm._checks import check_rate, unknown
from skmm._parallel import Shared, call_all
from skmm._private import safe_indexing
from skmm._progress import in_words, progress, showing, write_line
from skmm._warnings import warn
from skmm.blocks import Blocks
from skmm.compose._leaks import ignore_leaks
from skmm.inspection.removal import at_blocks, score_without
from skmm.model_selection._journal import Journal

Found = tuple[dict[str, float], list[str]]  # times and scores, and why some could not be computed
Removal = tuple[str, float]  # a modality, and the share of it that is to go missing


@dataclass(frozen=True)
class Data(Shared):
    """What the methods are compared on, and by what."""

    X: Any
    y: Any
    splits: list[tuple[np.ndarray, np.ndarray]]
    metrics: Mapping[str, Any]
    removals: list[Removal]
    seed: int  # of the samples that lose a modality


@dataclass(frozen=True)
class Fit:
    """A method to be fitted on a fold, with more parameters for its ``fit``."""

    name: str
    model: Any
    fold: int
    params: Mapping[str, Any]


def run_fits(
    fits: list[Fit], data: Data, n_jobs: int | None, verbose: int, journal: Journal | None = None
) -> dict[str, list[dict[str, float]]]:
    """Times and scores of each fold, by method; warns of the scores that cannot be computed.

    What a journal has is not repeated, all else is written into it. If ``verbose``, what is fitted is said, and how
    long that takes by one of the first fits.
    """
    left = len(fits) if journal is None else sum((fit.name, fit.fold) not in journal.done for fit in fits)
    if verbose:
        names = ", ".join(dict.fromkeys(fit.name for fit in fits))
        write_line(f"{left} fits: {names}, on {len(data.splits)} folds each.", sys.stderr)
    running = call_all(_evaluate, ((fit, data, journal) for fit in fits), n_jobs=n_jobs, shared=[data])
    # the first of each process also imports
    done, at_once = 0, effective_n_jobs(n_jobs)
    results: dict[str, list[dict[str, float]]] = {}
    unscored: dict[str, list[Fit]] = {}
    try:
        with showing(verbose > 0), progress("fits", len(fits), "fit") as bar:
            bar.note(fit=fits[0].name if fits else "")
            for fit, (found, written) in zip(fits, running, strict=True):
                if journal is not None and not written:
                    journal.add([((fit.name, fit.fold), found)])
                result, reasons = found
                results.setdefault(fit.name, []).append(result)
                done += 1
                if verbose and done == min(at_once + 1, len(fits)):
                    write_line(_time_in_words(fit, result, left, at_once), sys.stderr)
                for reason in reasons:
                    unscored.setdefault(reason, []).append(fit)
                bar.note(fit=fits[min(done, len(fits) - 1)].name)
                bar.advance()
    except KeyboardInterrupt as error:
        error.add_note(f"compare_fusions ended after {done} of {len(fits)} fits; none is reported.")
        raise
    for reason, without in unscored.items():
        warn(
            f"{len(without)} of {len(fits)} fits, the first is {without[0].name!r} on fold {without[0].fold}, "
            f"have no score (nan): {reason}"
        )
    return results


def _time_in_words(fit: Fit, result: Mapping[str, float], left: int, at_once: int) -> str:
    """How long all fits take, if they take as long as this one."""
    took = result["fit_time"] + result["score_time"]
    total = in_words(took * math.ceil(left / at_once))
    return f"A fit of {fit.name} took {took:.1f} s: about {total} for {left}, {at_once} at once, if all are alike."


def find_metrics(scoring: Any, regression: bool) -> dict[str, Any]:
    """Metrics by name, the ranking one first."""
    if scoring is None:
        if regression:
            return {"r2": "r2", "neg_mean_absolute_error": "neg_mean_absolute_error"}
        # a class that a model never predicts counts as zero, without a warning for each fold
        return {
            "accuracy": "accuracy",
            "recall_macro": make_scorer(recall_score, average="macro", zero_division=0),
            "f1_macro": make_scorer(f1_score, average="macro", zero_division=0),
        }
    if isinstance(scoring, Mapping):
        return dict(scoring)
    if isinstance(scoring, str) or callable(scoring):
        scoring = [scoring]
    return {s if isinstance(s, str) else getattr(s, "__name__", "score"): s for s in scoring}


def find_removals(missing_rates: Any, blocks: Any) -> list[Removal]:
    """Each modality and the share of it that is to go missing."""
    if missing_rates is None:
        return []
    if not isinstance(blocks, Blocks):
        raise ValueError(f"missing_rates needs X to be Blocks, or to become them, got {type(blocks).__name__}.")
    by_name = missing_rates if isinstance(missing_rates, Mapping) else dict.fromkeys(blocks, missing_rates)
    found: dict[tuple[str, float], None] = {}
    for name, rates in by_name.items():
        if name not in blocks:
            raise unknown("modality in missing_rates:", name, blocks)
        for rate in np.atleast_1d(rates).tolist():
            check_rate(f"missing_rates of {name!r}", rate)
            found[name, rate] = None
    return list(found)


def suffix(modality: str, rate: float) -> str:
    """What marks a metric as that with a modality removed."""
    return f"_missing_{modality}_{rate:g}"


def _evaluate(fit: Fit, data: Data, journal: Journal | None) -> tuple[Found, bool]:
    """What a journal has of a fit, or what is found of it now; and whether the journal has it now."""
    if journal is None:
        return _fit_and_score(fit, data), False
    key = fit.name, fit.fold
    if key in journal.done:
        scores, reasons = journal.done[key]
        return (scores, reasons), True
    found = _fit_and_score(fit, data)
    try:
        journal.add([(key, found)])
    except FileNotFoundError:  # it is on the disk of another machine
        return found, False
    return found, True


def _fit_and_score(fit: Fit, data: Data) -> Found:
    """Fit one method on one fold, and score it, then again without some of the test samples' modalities.

    Where a metric cannot be computed the score is nan; what it raised is the second of what is returned.
    """
    reasons: dict[str, None] = {}
    scorer = _Scorer(data.metrics, reasons)
    split = data.splits[fit.fold]
    try:
        with warnings.catch_warnings():
            ignore_leaks()  # they were looked for in the whole table
            found = cross_validate(
                fit.model,
                data.X,
                data.y,
                cv=[split],
                scoring=scorer,
                params=fit.params,
                error_score="raise",
                return_estimator=bool(data.removals),
            )
        (fitted,) = found.pop("estimator", [None])
        scores = {key.removeprefix("test_"): float(values[0]) for key, values in found.items()}
        if data.removals:
            model, blocks = at_blocks(fitted, safe_indexing(data.X, split[1]))
            y, seed = safe_indexing(data.y, split[1]), [data.seed, fit.fold]
        for modality, rate in data.removals:
            reduced, _ = score_without(scorer, model, blocks, y, [modality], rate, seed)
            scores |= {metric + suffix(modality, rate): float(score) for metric, score in reduced.items()}
    except Exception as error:
        error.add_note(f"Raised by {fit.name!r} on fold {fit.fold}.")
        raise
    return scores, list(reasons)


class _Scorer:
    """Scores of several metrics; nan for one that raises, which is noted, as scikit-learn's searches do."""

    def __init__(self, metrics: Mapping[str, Any], reasons: dict[str, None]) -> None:
        self.metrics, self.reasons = metrics, reasons

    def __call__(self, estimator: Any, X: Any, y: Any, **params: Any) -> dict[str, float]:
        found = check_scoring(estimator, self.metrics, raise_exc=False)(estimator, X, y, **params)
        for metric, score in found.items():
            if isinstance(score, str):  # the traceback
                self.reasons[f"{metric}: {score.strip().splitlines()[-1]}"] = None
                found[metric] = math.nan
        return found
