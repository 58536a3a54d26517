"""The section of a report on what of its input an estimator relies on."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.metrics import make_scorer

from skmm._private import safe_indexing
from skmm.columns._tables import as_frame
from skmm.inspection import modality_importances
from skmm.inspection._answers import label
from skmm.inspection._inside import fitted_model
from skmm.metrics import word_error_rate
from skmm.reporting import _figures
from skmm.reporting._asked import Asked
from skmm.reporting._data import Part
from skmm.reporting._document import Numbers, Section, Text, clip, clipped
from skmm.reporting._scores import Classes, Labels, Transcripts, Values
from skmm.table import Table

MOST_SHAPLEY = 6  # modalities whose sets, 2 for each more, are all looked at
_MOST_PAIRS = 15
# what importances share out
_UNITS = {
    Classes: "accuracy",
    Labels: "share of rows with all labels right",
    Values: "R2",
    Transcripts: "share of words right",
}


def importances_of(
    asked: Asked, n_rows: int, n_bootstrap: int, confidence: float, seed: int
) -> tuple[Any, list[str]]:
    """Importances of modalities, or of columns where there are none, and what is to be said of them."""
    n = len(asked)
    rows, y = np.arange(n), asked.y
    if isinstance(asked.outcome, Classes):  # as the model writes them, without those that it does not know
        classes = np.asarray(asked.model.classes_)
        rows = np.flatnonzero(asked.outcome.truth < len(classes))
        y = classes[np.minimum(asked.outcome.truth, len(classes) - 1)]
    said: list[str] = []
    if len(rows) > n_rows:
        rows = np.sort(np.random.default_rng(seed).choice(rows, n_rows, replace=False))
        said.append(f"Measured on {n_rows:,} of the {n:,} rows, drawn at random.")
    options: dict[str, Any] = {"n_bootstrap": n_bootstrap, "confidence": confidence, "random_state": seed}
    y = safe_indexing(y, rows)
    try:
        if asked.blocks is not None:
            method = "shapley" if len(list(asked.blocks)) <= MOST_SHAPLEY else "removal"
            if isinstance(asked.outcome, Transcripts):
                options["scoring"] = make_scorer(_words_right)
            found = modality_importances(asked.model, asked.blocks[rows], y, method=method, **options)
            return found, [_meaning(method), *said]
        if hasattr(as_frame(asked.X), "columns"):
            X = safe_indexing(as_frame(asked.X), rows)
            found = modality_importances(asked.estimator, X, y, level="column", method="permutation", **options)
            return found, [_meaning("permutation"), *said]
    except ValueError as error:
        return None, [f"What it relies on could not be measured: {clip(error, 400)}"]
    return None, [
        "What it relies on was left out: its input is neither modalities nor a table whose columns have names, so "
        "nothing can be taken away by name."
    ]


def _words_right(y_true: Any, y_pred: Any) -> float:
    return 1 - word_error_rate(y_true, y_pred)


def _meaning(method: str) -> str:
    return {
        "shapley": "The score is shared among the modalities: each gets what it adds to the others, averaged over "
        "the orders in which they may come (Shapley values). Together that is what all give above none.",
        "removal": "Of each modality, by how much the score falls when it is taken from all others: 0 for each of "
        "two that say the same.",
        "permutation": "Of each column, by how much the score falls when rows swap it with one another. What "
        "columns say together, and what each gives alone, was left out: that needs modalities.",
    }[method]


def reliance_section(asked: Asked, found: Any, said: list[str]) -> Section:
    """What its answers come from."""
    parts: list[Part] = [Text(sentence) for sentence in said]
    if found is not None:
        unit = next(unit for kind, unit in _UNITS.items() if isinstance(asked.outcome, kind))
        parts += [*_importances(found, unit), *_synergy(found, unit)]
    return Section("What it relies on", [*parts, *_stack(fitted_model(asked.estimator))])


def _importances(found: Any, unit: str) -> list[Part]:
    shown = {"modality": "what", "alone": "alone, above nothing"}
    rows = list(found.table)
    known = [name for name in found.table.columns if any(row[name] is not None for row in rows)]
    table = Table([{shown.get(name, name): row[name] for name in known} for row in rows])
    caption = f"Importances, the largest first, with their intervals; in units of the {unit}"
    return [Numbers(clipped(table), caption), *_figures.importances(found, unit, "bars")]


def _synergy(found: Any, unit: str) -> list[Part]:
    if found.interactions is None or len(found.modalities) < 2:
        return []
    names = [clip(label(key)) for key in found.modalities]
    pairs = [(i, j) for i in range(len(names)) for j in range(i)]
    pairs = sorted(pairs, key=lambda pair: -abs(found.interactions[pair]))[:_MOST_PAIRS]
    rows = [{"one": names[j], "other": names[i], "synergy": float(found.interactions[i, j])} for i, j in pairs]
    return [
        Text("Synergy above 0: two modalities say more together than each alone. Below 0: they say the same."),
        Numbers(Table(rows), f"Synergy of two modalities, in units of the {unit}"),
        *_figures.importances(found, unit, "synergy"),
    ]


def _stack(model: Any) -> list[Part]:
    """How much each head and expert counts, and how good each is alone."""
    weights, scores = (getattr(model, name, None) for name in ("stack_weights_", "expert_scores_"))
    parts: list[Part] = []
    if weights is not None:
        parts += [
            Text(
                "The answer is put together from several: heads of the network, and plain models beside it, "
                "experts."
            ),
            Numbers(clipped(weights), "Weight of each head and expert in the answer"),
            *_figures.stack(model),
        ]
    if scores is not None:
        parts.append(Numbers(clipped(scores), "Each head and expert alone, on training rows that it did not see"))
    return parts
