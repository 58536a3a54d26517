"""Samples without some of their modalities, and the part of a fitted estimator that reads them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from sklearn.pipeline import Pipeline

from skmm.blocks import Blocks
from skmm.blocks._given import blocks_if_named
from skmm.columns._tables import as_frame
from skmm.compose._rows import rows_as_frame
from skmm.estimators._base import MultimodalEstimator


def at_blocks(estimator: Any, X: Any) -> tuple[Any, Blocks]:
    """X as Blocks, and what of a fitted estimator is left to read them.

    Raises
    ------
    ValueError
        If X does not become Blocks on its way through a pipeline, or is none to begin with.
    """
    X = blocks_if_named(as_rows(estimator, X))
    while not isinstance(X, Blocks):
        if hasattr(estimator, "best_estimator_"):  # by which a search predicts
            estimator = estimator.best_estimator_
        elif isinstance(estimator, Pipeline) and len(estimator) > 1:
            X, estimator = estimator[:1].transform(X), estimator[1:]
        elif isinstance(estimator, Pipeline):
            estimator = estimator[0]
        elif isinstance(estimator, MultimodalEstimator):
            X = estimator._read(X)
        else:
            raise ValueError(
                f"{type(estimator).__name__} is given {type(X).__name__}, from which no modality can be removed; "
                "valid are Blocks, a pipeline one of whose steps gives Blocks, and a multimodal estimator with "
                "modalities=."
            )
    return estimator, X


def as_rows(estimator: Any, X: Any) -> Any:
    """One row of a table, a dict or Series, or several as a list of dicts, as the table of a fitted estimator."""
    first = estimator
    while isinstance(first, Pipeline) or hasattr(first, "best_estimator_"):
        first = first[0] if isinstance(first, Pipeline) else first.best_estimator_
    names = getattr(getattr(first, "modality_transformer_", first), "_names", None)
    if names is None:
        names = getattr(first, "feature_names_in_", None)
    return rows_as_frame(as_frame(X), None if names is None else list(names), getattr(first, "modalities_", ()))


def remove(X: Blocks, names: Iterable[str], rate: float, seed: Sequence[int]) -> Blocks:
    """X without the named modalities in a random share of the samples that have them, drawn for each by itself.

    Of the same seed and modality a smaller rate removes part of what a larger one does.
    """
    present = X.present
    for i, name in enumerate(names):
        rows = np.flatnonzero(present[name])
        present[name] = present[name].copy()
        present[name][np.random.default_rng([*seed, i]).permutation(rows)[: round(rate * len(rows))]] = False
    return Blocks(dict(X.items()), present=present)


@contextmanager
def gaps_expected() -> Iterator[None]:
    """Ask about samples without any modality: here that is the question, and no surprise to warn of."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"\d+ of \d+ samples have no (modality at all|audio)", UserWarning)
        yield


def score_without(
    score: Callable[..., Any],
    estimator: Any,
    X: Blocks,
    y: Any,
    names: Iterable[str],
    rate: float,
    seed: Sequence[int],
) -> tuple[Any, float]:
    """Score on X with modalities removed, and the share of samples that are left without any."""
    reduced = remove(X, names, rate, seed)
    empty = ~np.any(list(reduced.present.values()), axis=0)
    with gaps_expected():
        return score(estimator, reduced, y), float(empty.mean())
