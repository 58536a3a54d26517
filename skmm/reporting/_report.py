"""The report: an estimator, and samples whose target is known, to a file for people who did not train it."""

from __future__ import annotations

import os
import warnings
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.utils import check_scalar

from skmm._checks import unknown
from skmm._fitting import write_whole
from skmm._private import num_samples
from skmm.blocks._given import is_named
from skmm.columns._tables import as_frame
from skmm.inspection._inside import fitted_model
from skmm.reporting import _figures
from skmm.reporting._asked import Asked, ask, baseline_outcomes
from skmm.reporting._card import card
from skmm.reporting._comparison import check_comparison, comparison_parts
from skmm.reporting._data import data_section, worst_section
from skmm.reporting._document import Document, Section, Text, clip
from skmm.reporting._html import fragment, page
from skmm.reporting._making import making_section, today, versions_here
from skmm.reporting._markdown import markdown
from skmm.reporting._quality import answer, measure, quality_section
from skmm.reporting._reliance import importances_of, reliance_section
from skmm.table import Table

KINDS = {".html": "html", ".htm": "html", ".md": "markdown", ".markdown": "markdown"}
_MOST_WORST = 200  # rows that are shown


class Report:
    """What :func:`skmm.report`, or ``report`` of a comparison, has to say. A notebook shows it.

    Attributes
    ----------
    title : str
        What stands on top.
    answer : list of str
        The answer in two sentences.
    scores : Table or None
        Of an estimator: one row per score, ``metric``, ``score``, ``low``, ``high``, what ``guessing`` gets, and
        each baseline.
    importances : Bunch or None
        Of an estimator: what :func:`skmm.inspection.modality_importances` found, where it could be measured.
    """

    def __init__(
        self,
        document: Document,
        *,
        scores: Table | None = None,
        importances: Any = None,
        asked: Asked | None = None,
    ) -> None:
        self.title, self.answer = document.title, list(document.answer)
        self.scores, self.importances = scores, importances
        self._document = document
        self._task = None if asked is None else type(asked.outcome).__name__
        self._n_rows = 0 if asked is None else len(asked)
        self._kinds = [] if asked is None or asked.blocks is None else list(asked.blocks.kinds.values())

    def to_html(self) -> str:
        """The report as one file of HTML that needs neither network nor script."""
        return page(self._document)

    def to_markdown(self) -> str:
        """The report as Markdown, with its tables and without its figures."""
        return markdown(self._document)

    def to_model_card(self) -> str:
        """The report as the README of a model on a hub.

        Its head has what Hugging Face reads: library, tags, and the scores as ``model-index``. The licence is left
        to you.

        Raises
        ------
        ValueError
            If this is the report of a comparison, which is of no single model.
        """
        if self._task is None or self.scores is None:
            raise ValueError(
                "a model card is of one estimator, skmm.report(estimator, X, y); this report compares several."
            )
        return card(self._document, self._task, list(self.scores), self._kinds, self._n_rows)

    def save(self, path: str | os.PathLike[str], *, kind: str | None = None) -> None:
        """Write the report to a file, whole or not at all; one that is there is written over.

        Parameters
        ----------
        path : str or path
            Where to.
        kind : {"html", "markdown", "card"}, optional
            What to write; "card" is :meth:`to_model_card`. Default: what the ending says, .html or .md.

        Raises
        ------
        ValueError
            If the ending, or the kind, says nothing.
        OSError
            If the folder is not there, or the file cannot be written.
        """
        kind = check_path(path, kind)
        text = {"html": self.to_html, "markdown": self.to_markdown, "card": self.to_model_card}[kind]()
        write_whole(Path(path), text.encode("utf-8", "replace"))

    def __repr__(self) -> str:
        return "\n".join([self.title, *self.answer, "(save it: .save('report.html'))"])

    def _repr_html_(self) -> str:
        return fragment(self._document)


def report(
    estimator: Any,
    X: Any,
    y: Any,
    path: str | os.PathLike[str] | None = None,
    *,
    groups: Any = None,
    baselines: Any = None,
    comparison: Any = None,
    importances: Any = "auto",
    worst: int = 0,
    title: str | None = None,
    n_rows: int = 1000,
    n_bootstrap: int = 200,
    confidence: float = 0.95,
    random_state: int = 0,
) -> Report:
    """Report on a fitted estimator for people who did not train it: is it any good, and what does it rely on?

    One file, below 1 MB, that needs neither network nor script: the answer in two sentences; the data; scores with
    intervals beside guessing and baselines, confusions or residuals, calibration, errors by group; what the answers
    rely on; how the estimator was made.

    Parameters
    ----------
    estimator : fitted estimator
        A classifier, regressor or recogniser of this package, a pipeline or search with one, or any classifier or
        regressor of scikit-learn.
    X : Blocks, dict of arrays, DataFrame, or whatever ``estimator`` takes
        Samples that it was not fitted to.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs), or list of str
        Their target, or transcripts.
    path : str or path, optional
        File to write, ``"report.html"`` or ``"report.md"``; one that is there is written over.
    groups : array-like of shape (n_samples,), dict of str to array-like, or DataFrame, optional
        By which errors are told apart: such as the shop, or the year. Numbers of many values are cut into quarters.
    baselines : dict of str to estimator, or list of estimators, optional
        Fitted already; scored on the same rows.
    comparison : FusionComparison, optional
        What :func:`skmm.compare_fusions` returned, shown beside.
    importances : "auto", Bunch or None, default="auto"
        What :func:`skmm.inspection.modality_importances` returned. "auto" computes it: Shapley values of up to six
        modalities, removal of more, permutation of the columns of a table that becomes no Blocks. None leaves it
        out.
    worst : int, default=0
        How many of the rows that went most wrong are shown, at most 200; none by default, since rows may be
        personal.
    title : str, optional
        What stands on top.
    n_rows : int, default=1000
        Rows, drawn at random, on which importances are measured.
    n_bootstrap : int, default=200
        Draws of the rows, with replacement, from which the intervals come.
    confidence : float, default=0.95
        Of the intervals.
    random_state : int, default=0
        Seed of all that is drawn: the same rows give the same report.

    Returns
    -------
    Report
        With ``to_html()``, ``to_markdown()``, ``to_model_card()`` and ``save(path)``.

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.
    ValueError
        If y is missing, has gaps or other classes, lengths differ, the ending of ``path`` is unknown, or there is
        no report of such an estimator.
    OSError
        If the folder of ``path`` is not there or cannot be written; before anything is computed.

    Examples
    --------
    >>> import os, tempfile
    >>> import skmm
    >>> from skmm.datasets import make_multimodal_classification
    >>> X, y = make_multimodal_classification(120, random_state=0)
    >>> clf = skmm.MultimodalClassifier(n_members=1, max_epochs=3, random_state=0).fit(X[:60], y[:60])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     found = skmm.report(clf, X[60:], y[60:], os.path.join(folder, "report.html"), importances=None)
    >>> found.scores["metric"]
    ['accuracy', 'balanced_accuracy', 'f1_macro', 'log_loss', 'auroc', 'brier']
    """
    if path is not None:
        check_path(path, None)
    check_scalar(worst, "worst", Integral, min_val=0, max_val=_MOST_WORST)
    check_scalar(n_rows, "n_rows", Integral, min_val=1)
    check_scalar(n_bootstrap, "n_bootstrap", Integral, min_val=2)
    check_scalar(confidence, "confidence", Real, min_val=0, max_val=1, include_boundaries="neither")
    check_scalar(random_state, "random_state", Integral, min_val=0)
    if comparison is not None:
        check_comparison(comparison)
    if isinstance(importances, str) and importances != "auto":
        raise unknown("importances", importances, ["auto", None])
    with warnings.catch_warnings(record=True) as caught:  # what a reader should know stands in the report
        warnings.simplefilter("always")
        asked = ask(estimator, X, y)
        others = baseline_outcomes(baselines, asked)
        named = _groups(groups, len(asked))
        if isinstance(importances, str):
            found, said = importances_of(asked, n_rows, n_bootstrap, confidence, random_state)
        else:
            found, said = importances, ["This was not asked for."] if importances is None else []
    warned = list(dict.fromkeys(clip(w.message, 400) for w in caught if w.category is UserWarning))
    quality = measure(asked.outcome, others, n_bootstrap, confidence, random_state)
    sections = [
        data_section(asked),
        quality_section(asked, quality, comparison, named, confidence, n_bootstrap, random_state),
        reliance_section(asked, found, said),
        worst_section(asked, worst),
        making_section(asked, warned),
    ]
    heading = title or f"{type(fitted_model(estimator)).__name__}: report on {len(asked):,} rows"
    document = Document(
        clip(heading, 200), answer(asked, quality, comparison, confidence), _byline(), _told(sections)
    )
    made = Report(document, scores=quality.scores, importances=found, asked=asked)
    if path is not None:
        made.save(path)
    return made


def report_comparison(
    comparison: Any, path: str | os.PathLike[str] | None = None, *, title: str | None = None
) -> Report:
    """The report of a comparison of fusions, which is read by its attributes."""
    if path is not None:
        check_path(path, None)
    best = next(iter(comparison.summary))
    leads = (
        f"Best of {len(comparison.summary)} methods by {comparison.metric} is {best['method']}: "
        f"{best[comparison.metric]:.4f}."
    )
    parts = comparison_parts(comparison)
    reading = Text(
        "Each method was fitted to some folds of the data and scored on the others. Deviations are those over "
        "the folds. "
        "Folds share training rows, for which the intervals of differences are corrected."
    )
    facts = [Text(", ".join(f"{name} {version}" for name, version in versions_here().items()) + ".")]
    sections = [Section("What was compared", [reading, *parts]), Section("How it was made", facts)]
    document = Document(
        clip(title or "Comparison of fusions", 200), [leads, comparison.verdict], _byline(), sections
    )
    made = Report(document)
    if path is not None:
        made.save(path)
    return made


def _byline() -> str:
    return f"Made on {today()} by skmm {versions_here()['skmm']}."


def _told(sections: list[Section]) -> list[Section]:
    """The sections, and at their end why there are no figures, if there are none."""
    reason = _figures.missing_matplotlib()
    if reason is None:
        return sections
    last = sections[-1]
    note = Text(f"There are no figures, since {clip(reason, 300)}", beware=True)
    return [*sections[:-1], Section(last.title, [*last.parts, note])]


def _groups(groups: Any, n_samples: int) -> dict[str, np.ndarray]:
    """Columns of groups by name, their values as text."""
    if groups is None:
        return {}
    frame = as_frame(groups)
    if hasattr(frame, "columns"):
        columns = {str(name): frame[name] for name in frame.columns}
    elif is_named(groups):
        columns = {str(name): values for name, values in groups.items()}
    else:
        columns = {str(getattr(groups, "name", None) or "group"): groups}
    for name, values in columns.items():
        if num_samples(values) != n_samples:
            raise ValueError(f"groups {name!r} has {num_samples(values)} entries, X has {n_samples} samples.")
    return {name: _as_text(np.asarray(values)) for name, values in columns.items()}


def _as_text(values: np.ndarray) -> np.ndarray:
    """Groups as text, quarters of numbers of many values."""
    if values.ndim != 1:
        raise ValueError(f"groups must be one column, or several by name, got an array of shape {values.shape}.")
    if values.dtype.kind in "iuf" and len(np.unique(values)) > 12:
        edges = np.nanquantile(values, [0, 0.25, 0.5, 0.75, 1])
        quarter = np.searchsorted(edges[1:-1], values, side="right")
        texts = [f"quarter {q + 1}: {edges[q]:g} to {edges[q + 1]:g}" for q in range(4)]
        return np.array(["missing" if np.isnan(v) else texts[q] for v, q in zip(values, quarter, strict=True)])
    return np.array(["missing" if value is None or value != value else str(value) for value in values.tolist()])


def check_path(path: str | os.PathLike[str], kind: str | None) -> str:
    """What is to be written, after all has been looked at that would stop it."""
    name = os.fspath(path)
    if kind is None:
        kind = KINDS.get(os.path.splitext(name)[1].lower())
        if kind is None:
            raise ValueError(f"{name!r} does not say what to write: end it in one of {list(KINDS)}, or give kind=.")
    valid = [*dict.fromkeys(KINDS.values()), "card"]
    if kind not in valid:
        raise unknown("kind", kind, valid)
    folder = os.path.dirname(name) or "."
    if os.path.isdir(name):
        raise IsADirectoryError(f"{name!r} is a folder; name a file in it, such as report.html.")
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"there is no folder {folder!r} for {name!r}; make it first.")
    if not os.access(folder, os.W_OK):
        raise PermissionError(f"{name!r} cannot be written: the folder {folder!r} is read-only for you.")
    return kind
