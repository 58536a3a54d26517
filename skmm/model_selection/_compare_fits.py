"""The fits of a comparison: methods on folds, scored by every metric, then without some modalities."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sklearn.metrics import f1_score, make_scorer, recall_score

from skmm._checks import check_rate, unknown
from skmm._progress import in_words, progress, showing, write_line
from skmm._warnings import warn
from skmm.blocks import Blocks
from skmm.inspection.removal import at_blocks, score_without
from skmm.model_selection._candidates import Candidate
from skmm.model_selection._folds import Data, Fold
from skmm.model_selection._journal import Journal
from skmm.model_selection._runs import Run

Removal = tuple[str, float]  # a modality, and the share of it that is to go missing
Found = dict[str, list[dict[str, float]]]  # times and scores of each fold, by method


@dataclass
class Compared(Data):
    """What methods are compared on, and by what."""

    removals: list[Removal] = field(default_factory=list)
    seed: int = 0  # of the samples that lose a modality

    def scores(self, estimator: Any, fold: Fold) -> dict[str, Any]:
        """Scores of an estimator, then those without modalities, and why some could not be computed."""
        scorer = _Scorer(self.scorer)
        found = self.scored_by(scorer, estimator, fold)
        if self.removals:
            model, blocks = at_blocks(fold.whole(estimator), self.rows(fold.number, 1)[0])
        for modality, rate in self.removals:
            seed = [self.seed, fold.number]
            reduced, _ = score_without(scorer, model, blocks, fold.y_test, [modality], rate, seed)
            found["test_scores"] |= {metric + suffix(modality, rate): float(x) for metric, x in reduced.items()}
        return {**found, "reasons": list(scorer.reasons)}


def run_fits(
    methods: list[Candidate], data: Compared, n_jobs: int | None, verbose: int, journal: Journal | None = None
) -> tuple[Found, KeyboardInterrupt | None]:
    """Times and scores of each fold, by method; warns of the scores that cannot be computed.

    What a journal has is not repeated, all else is written into it. If ``verbose``, what is fitted is said, and how
    long that takes by the first fits. Of fits that Ctrl-C ended the second is the interrupt, and the first has the
    methods that were finished on all folds.
    """
    run = Run(methods, data, n_jobs, journal=journal, verbose=verbose > 0)
    keys, n_known = run.keys, len(run.results)
    if verbose:
        names = ", ".join(str(method.name) for method in methods)
        write_line(f"{len(keys) - n_known} fits: {names}, on {len(data.splits)} folds each.", sys.stderr)
    interrupted = None
    try:
        with showing(verbose > 0), progress("fits", len(keys), "fit") as bar:

            def tell(found: Mapping[Any, Any]) -> None:
                if verbose and found and len(run.results) == n_known + len(found):
                    write_line(_time_in_words(found, len(keys) - n_known, run.n_processes), sys.stderr)
                bar.note(fit=next((name for name, fold in keys if (name, fold) not in run.results), keys[-1][0]))
                bar.advance(len(found))

            run.run(tell)
    except KeyboardInterrupt as error:
        error.add_note(f"compare_fusions ended after {len(run.results)} of {len(keys)} fits.")
        interrupted = error
    _warn_of_unscored(run)
    whole = [m.name for m in methods if all((m.name, i) in run.results for i in range(len(data.splits)))]
    found = {str(name): [_flat(run.results[name, i]) for i in range(len(data.splits))] for name in whole}
    return found, interrupted


def _time_in_words(found: Mapping[Any, Any], left: int, at_once: int) -> str:
    """How long all fits take, if they take as long as the first that were found."""
    took = float(np.mean([result["fit_time"] + result["score_time"] for result in found.values()]))
    total = in_words(took * math.ceil(left / at_once))
    name, _ = next(iter(found))
    return f"A fit of {name} took {took:.1f} s: about {total} for {left}, {at_once} at once, if all are alike."


def _flat(result: Mapping[str, Any]) -> dict[str, float]:
    return {"fit_time": result["fit_time"], "score_time": result["score_time"], **result["test_scores"]}


def _warn_of_unscored(run: Run) -> None:
    """Warn of scores that are nan, once for each reason."""
    unscored: dict[str, list[Any]] = {}
    for key in run.keys:
        for reason in run.results.get(key, {}).get("reasons", []):
            unscored.setdefault(reason, []).append(key)
    for reason, without in unscored.items():
        name, fold = without[0]
        warn(
            f"{len(without)} of {len(run.keys)} fits, the first is {name!r} on fold {fold}, have no score (nan): "
            f"{reason}"
        )


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


class _Scorer:
    """Scores of several metrics; nan for one that raises, which is noted, as scikit-learn's searches do."""

    def __init__(self, scorer: Any) -> None:
        self.scorer = scorer
        self.reasons: dict[str, None] = {}

    def __call__(self, estimator: Any, X: Any, y: Any, **params: Any) -> dict[str, float]:
        found: dict[str, Any] = self.scorer(estimator, X, y, **params)
        for metric, score in found.items():
            if isinstance(score, str):  # the traceback
                self.reasons[f"{metric}: {score.strip().splitlines()[-1]}"] = None
                found[metric] = math.nan
        return found
