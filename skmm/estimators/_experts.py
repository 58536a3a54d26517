"""Estimators of scikit-learn whose out-of-fold predictions join those of the network in the stack."""

from __future__ import annotations

import functools
import inspect
import time
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.base import clone, is_classifier, is_clusterer, is_regressor
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags
from sklearn.utils.validation import has_fit_parameter

from skmm._checks import unknown
from skmm._progress import Progress, progress
from skmm._ranks import current
from skmm._warnings import warn
from skmm.blocks import Blocks
from skmm.blocks._blocks import without
from skmm.estimators._expert_menu import FEWEST, Choice, asked_at_once, auto_experts
from skmm.estimators._flat import FlatForm, RawTables, as_unseen
from skmm.estimators._targets import Target, ValueTarget, exact
from skmm.inputs._inputs import Inputs
from skmm.training._plan import Folds

_FOLDS = 4  # that experts are fitted without, each several of the members' own
_FOLDS_TO_CHOOSE = 2  # of these, on which the settings of an expert are compared


def check_experts(experts: Any, *, classify: bool) -> None:
    """Refuse what cannot be experts, as far as that is seen without samples."""
    if experts is None or (isinstance(experts, str) and experts == "auto"):
        return
    if not isinstance(experts, Mapping):
        raise ValueError(
            "experts must be 'auto', None, or a dict of name -> estimator or (estimator, modalities), got "
            f"{experts!r}."
        )
    for name, given in experts.items():
        estimator = given[0] if isinstance(given, tuple) and len(given) == 2 else given
        if not isinstance(name, str) or not name:
            raise ValueError(f"experts: {name!r} is no name; name each expert by a string.")
        if not all(hasattr(estimator, method) for method in ("fit", "get_params")) or isinstance(estimator, type):
            raise ValueError(
                f"expert {name!r}: expected an estimator or a pair (estimator, modalities), got {given!r}."
            )
        if classify and is_regressor(estimator):
            raise ValueError(
                f"expert {name!r}: {type(estimator).__name__} is a regressor, here classes are predicted."
            )
        if not classify and is_classifier(estimator):
            raise ValueError(
                f"expert {name!r}: {type(estimator).__name__} is a classifier, here values are predicted."
            )
        # of some, such as a StackingClassifier, it shows only when they are fitted
        if classify and not hasattr(estimator, "predict_proba") and not hasattr(type(estimator), "predict_proba"):
            raise ValueError(f"expert {name!r}: {_without_probabilities(estimator)}")
        if not classify and (not hasattr(estimator, "predict") or is_clusterer(estimator)):
            raise ValueError(f"expert {name!r}: {type(estimator).__name__} predicts no values.")


def warn_of_no_folds(experts: Any) -> None:
    """Tell a user whose own experts, if there are any, cannot be fitted, since no sample can be left out."""
    if isinstance(experts, Mapping) and experts:
        warn(
            f"experts={list(experts)} and the stack are left out: they learn from predictions of samples that were "
            "left out, and of these none can be."
        )


def _without_probabilities(estimator: Any) -> str:
    return (
        f"{type(estimator).__name__} has no predict_proba, which the stack weighs; wrap it in "
        "CalibratedClassifierCV, or choose another."
    )


def choose_experts(experts: Any, form: FlatForm, target: Target, n_samples: int) -> list[Choice]:
    """The experts that a parameter names, for so many samples of these modalities."""
    if experts is None or not form.names:
        return []
    if isinstance(experts, str):
        return auto_experts(target, form, n_samples)
    found = []
    for name, given in experts.items():
        estimator, modalities = given if isinstance(given, tuple) else (given, None)
        if modalities is None or (isinstance(modalities, str) and modalities == "all"):
            modalities = form.names
        elif isinstance(modalities, str):
            modalities = [modalities]
        if not isinstance(modalities, Collection) or not all(isinstance(each, str) for each in modalities):
            raise ValueError(f"expert {name!r}: {modalities!r} are no names of modalities, valid are {form.names}.")
        modalities = list(modalities)
        if not modalities:
            raise ValueError(
                f"expert {name!r} reads no modality; name some of {form.names}, or leave them out for all."
            )
        for modality in modalities:
            if modality not in form.names:
                raise unknown(f"modality of expert {name!r}:", modality, form.names)
        found.append(Choice(name, (estimator,), tuple(modalities), "raw", required=True))
    return found


class Trained(NamedTuple):
    """An expert, and what became of it."""

    choice: Choice
    model: Any


def _with_random_state(estimator: Any, seed: int) -> Any:
    """A clone that draws from this seed, also its parts, where the user has not set one."""
    model = clone(estimator)
    for key, value in sorted(model.get_params(deep=True).items()):
        if (key == "random_state" or key.endswith("__random_state")) and value is None:
            model.set_params(**{key: seed})
    return model


def _fit(choice: Choice, model: Any, X: Any, y: Any, weights: np.ndarray) -> Any:
    """Fit on weighted samples; of a user's own expert its warnings are the user's to see."""
    with warnings.catch_warnings():
        if not choice.required:
            warnings.simplefilter("ignore")
        return _fit_weighted(model, X, y, weights)


def _fit_weighted(model: Any, X: Any, y: Any, weights: np.ndarray) -> Any:
    if np.ptp(weights) == 0:
        return model.fit(X, y)
    name, last = "sample_weight", model
    while isinstance(last, Pipeline):
        name, last = f"{last.steps[-1][0]}__{name}", last.steps[-1][1]
    if has_fit_parameter(last, "sample_weight"):
        return model.fit(X, y, **{name: weights})
    refused = None
    if any(p.kind is p.VAR_KEYWORD for p in inspect.signature(last.fit).parameters.values()):
        try:
            return model.fit(X, y, **{name: weights})
        except (TypeError, ValueError) as error:  # which may say that it takes none
            refused = error
    counts = weights / weights.min()
    if np.allclose(counts, np.round(counts)) and counts.sum() < 10 * len(counts):  # samples that were given twice
        often = np.repeat(np.arange(len(counts)), np.round(counts).astype(int))
        return model.fit(X[often], y[often])
    raise ValueError(
        f"{type(last).__name__}.fit takes no sample_weight, and the samples have weights; choose an estimator that "
        "does, or fit without weights."
    ) from refused


class Experts:
    """Fitted experts.

    Parameters
    ----------
    form : FlatForm
        How they read the modalities.
    target : Target
        What is predicted.
    trained : list of Trained
        They.
    """

    def __init__(self, form: FlatForm, target: Target, trained: list[Trained]) -> None:
        self.form, self.target, self.trained = form, target, trained

    @property
    def names(self) -> list[str]:
        return [expert.choice.name for expert in self.trained]

    def said(self, blocks: Blocks) -> tuple[np.ndarray, np.ndarray]:
        """Outputs (n, E, C), and which expert has something to say (n, E)."""
        return self._asked(self.trained, blocks)

    def _asked(self, trained: Sequence[Trained], blocks: Blocks) -> tuple[np.ndarray, np.ndarray]:
        raw = self.form.raw(blocks, kernels=any(t.choice.form == "kernels" for t in trained))
        return _said(self.form, self.target, trained, raw, self.form.present(blocks))

    def said_without(
        self, blocks: Blocks, gone: Sequence[Collection[str]]
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """What they say where the modalities of a set are missing, for each of several.

        Experts whose own modalities are as in another set are not asked again.
        """
        known: dict[Any, tuple[np.ndarray, np.ndarray]] = {}
        for names in gone:
            left = without(blocks, names)
            keys = [(e, frozenset(names).intersection(t.choice.modalities)) for e, t in enumerate(self.trained)]
            new = [key for key in keys if key not in known]
            if new:
                outputs, exists = self._asked([self.trained[e] for e, _ in new], left)
                known.update({key: (outputs[:, [i]], exists[:, [i]]) for i, key in enumerate(new)})
            each = [known[key] for key in keys]
            yield np.concatenate([o for o, _ in each], axis=1), np.concatenate([e for _, e in each], axis=1)


def _said(
    form: FlatForm, target: Target, trained: Sequence[Trained], raw: RawTables, present: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    n = len(present)
    outputs = np.zeros((n, len(trained), target.n_outputs))
    exists = np.zeros((n, len(trained)), dtype=bool)
    tables: dict[Any, Any] = {}
    for e, (choice, model) in enumerate(trained):
        exists[:, e] = form.told(present, choice.modalities)
        key = choice.modalities, choice.form
        if key not in tables:
            tables[key] = form.table(raw, *key)
        if exists[:, e].any():
            rows = np.flatnonzero(exists[:, e])
            asked = model if choice.required else asked_at_once(model)
            with naming_expert(choice):
                outputs[rows, e] = target.said_by(asked, tables[key][rows], standard=not choice.required)
    return outputs, exists


class naming_expert:
    """What an expert raises in the block says which one it was."""

    def __init__(self, choice: Choice) -> None:
        self.choice = choice

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        if isinstance(error, Exception):
            name, own = self.choice.name, type(self.choice.settings[0]).__name__
            raise ValueError(f"expert {name!r} ({own} on {list(self.choice.modalities)}): {error}") from error


class ExpertFolds:
    """Experts fitted without each fold, and on all, when they are first asked for.

    Parameters
    ----------
    experts : object
        The parameter of the estimator.
    inputs : Inputs
        What is known of the modalities.
    target : Target
        What is predicted.
    blocks : Blocks
        Samples as the user gave them.
    rows : ndarray of int, shape (n_samples,)
        Which of them train.
    encoded : ndarray of shape (n_samples, ...)
        Their targets.
    weights : ndarray of shape (n_samples,)
        Their weights.
    folds : Folds
        What the members leave out.
    seed : int
        What the experts draw from.
    deadline : float
        When the last of those that "auto" takes may begin, by ``time.monotonic``.
    """

    def __init__(
        self,
        experts: Any,
        inputs: Inputs,
        target: Target,
        blocks: Blocks,
        rows: np.ndarray,
        encoded: np.ndarray,
        weights: np.ndarray,
        folds: Folds,
        seed: int,
        deadline: float = float("inf"),
    ) -> None:
        self.experts, self.target, self.seed, self.deadline = experts, target, seed, deadline
        self.inputs, self.rows, self.encoded = inputs, rows, encoded
        self._all = blocks
        self.weights, self.folds = weights / weights.mean(), folds.merged(_FOLDS)

    @functools.cached_property
    def blocks(self) -> Blocks:
        """The samples that train."""
        return self._all[self.rows]

    @functools.cached_property
    def _learned(self) -> tuple[FlatForm, RawTables]:
        own = isinstance(self.experts, str)  # those of a user read no random convolutions
        return FlatForm.learned(self.inputs, self.blocks, self.weights, self.seed if own else None)

    @property
    def form(self) -> FlatForm:
        """How they read the modalities."""
        return self._learned[0]

    @property
    def raw(self) -> RawTables:
        """Modalities as tables."""
        return self._learned[1]

    @functools.cached_property
    def choices(self) -> list[Choice]:
        """They, unfitted."""
        if isinstance(self.experts, str) and len(self.encoded) < FEWEST:
            return []
        return (
            [] if self.experts is None else choose_experts(self.experts, self.form, self.target, len(self.encoded))
        )

    @functools.cached_property
    def present(self) -> np.ndarray:
        """Which samples have which modality."""
        return self.form.present(self.blocks)

    @functools.cached_property
    def unseen(self) -> RawTables:
        """The same, as those read them that left the samples out."""
        unseen = as_unseen(self.blocks, self.folds)
        return self.raw if unseen is self.blocks else self.form.raw(unseen)

    @functools.cached_property
    def _fitted(self) -> list[tuple[Trained, list[Trained]]]:
        """Of each expert that could be fitted the one of all samples, and those without a fold."""
        found, late = [], []
        with progress("experts", sum(map(self._n_fits, self.choices)), "fit") as bar:
            for i, choice in enumerate(self.choices):
                if not choice.required and current().first(lambda: time.monotonic() > self.deadline):
                    late.append(choice.name)
                    continue
                bar.note(expert=choice.name)
                try:
                    with naming_expert(choice):
                        found.append(self._fit(choice, bar))
                except ValueError as error:
                    if choice.required:
                        raise
                    warn(f"{str(error).rstrip('.')}; it is left out.")
                bar.expect(sum(map(self._n_fits, self.choices[i + 1 :])))
        if late:
            warn(f"time_limit leaves no time for the experts {late}; they are left out.")
        return found

    def fit(self) -> None:
        """Fit them now, not when they are first asked for."""
        _ = self._fitted

    def _n_fits(self, choice: Choice) -> int:
        return 1 + len(self.folds) + (len(choice.settings) - 1) * min(len(self.folds), _FOLDS_TO_CHOOSE)

    def _fit(self, choice: Choice, bar: Progress) -> tuple[Trained, list[Trained]]:
        X = self.form.table(self.raw, choice.modalities, choice.form)
        held = self.form.table(self.unseen, choice.modalities, choice.form)
        places = [self.form.names.index(name) for name in choice.modalities]
        has = np.asarray(self.present[:, places].any(axis=1))
        _check_input(choice, X, has, self.rows)

        def fitted(task: tuple[Any, np.ndarray]) -> Any:
            setting, chosen = task
            rows = np.flatnonzero(chosen & has)
            if not len(rows):
                raise ValueError("a fold leaves no row to learn from that has one of these modalities.")
            y = self.target.given(self.encoded[rows], standard=not choice.required)
            model = _fit(choice, _with_random_state(setting, self.seed), X[rows], y, self.weights[rows])
            bar.advance(ranks.world_size)
            if not isinstance(self.target, ValueTarget) and not hasattr(model, "predict_proba"):
                raise ValueError(_without_probabilities(model))
            return model

        def loss(model: Any, fold: int) -> tuple[float, float]:
            rows = np.flatnonzero((self.folds.fold == fold) & has)
            if not len(rows):
                return 0.0, 0.0
            outputs = self.target.said_by(model, held[rows], standard=not choice.required)
            told = self.target.slope(self.target.features(outputs), self._tensor(rows))[0]
            return float(told @ self.weights[rows]), float(self.weights[rows].sum())

        folds, ranks = range(len(self.folds)), current()
        models: dict[int, list[Any]] = {i: [] for i in range(len(choice.settings))}
        best = 0
        if len(models) > 1:
            losses, first = [], folds[:_FOLDS_TO_CHOOSE]
            tasks = [(setting, self.folds.seen[f]) for setting in choice.settings for f in first]
            made = ranks.spread(fitted, tasks)
            for i in models:
                models[i] = made[i * len(first) : (i + 1) * len(first)]
                each = np.array([loss(model, f) for f, model in zip(folds, models[i], strict=False)])
                losses.append(each[:, 0].sum() / max(each[:, 1].sum(), 1e-300))
            best = int(np.argmin(losses))
        setting = choice.settings[best]
        seen = [*self.folds.seen[len(models[best]) :], np.ones(len(has), dtype=bool)]
        *own, last = models[best] + ranks.spread(fitted, [(setting, rows) for rows in seen])
        return Trained(choice, last), [Trained(choice, model) for model in own]

    def _tensor(self, rows: np.ndarray) -> torch.Tensor:
        return exact(torch.from_numpy(self.target.tensor(self.encoded[rows])))

    @property
    def names(self) -> list[str]:
        """Names of those that could be fitted."""
        return [last.choice.name for last, _ in self._fitted] if self.choices else []

    def left_out(self, hidden: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """What they say of the samples that they left out, (n, E, C), and whether they do, (n, E).

        ``hidden`` (n, M) are modalities that are taken away first.
        """
        n = len(self.weights)
        outputs = np.zeros((n, len(self.names), self.target.n_outputs))
        exists = np.zeros((n, len(self.names)), dtype=bool)
        if not self.names:
            return outputs, exists
        raw, present = self.unseen, self.present
        if hidden is not None:
            present = present & ~hidden
            raw = raw.without(dict(zip(self.form.names, hidden.T, strict=True)))
        for f in range(len(self.folds)):
            rows = np.flatnonzero(self.folds.fold == f)
            if len(rows):
                trained = [own[f] for _, own in self._fitted]
                told = _said(self.form, self.target, trained, raw.of_rows(rows), present[rows])
                outputs[rows], exists[rows] = told
        return outputs, exists

    def final(self) -> Experts | None:
        """The experts that predict, if there are any."""
        return Experts(self.form, self.target, [last for last, _ in self._fitted]) if self.names else None


def _check_input(choice: Choice, X: Any, has: np.ndarray, rows: np.ndarray) -> None:
    """Refuse what an expert says that it cannot read of the samples that it ``has``, with what to do."""
    model = choice.settings[0]
    first = model
    while isinstance(first, Pipeline):  # whose own tags say that it refuses gaps, whatever comes first
        first = first.steps[0][1]
    tags = get_tags(first).input_tags
    if not isinstance(X, np.ndarray) and not tags.sparse:
        raise ValueError(
            "what it reads is sparse, which it refuses; put make_pipeline(TruncatedSVD(64), "
            f"{type(model).__name__}(...)) in its place."
        )
    gaps = np.flatnonzero(has & _with_gaps(X))
    if len(gaps) and not tags.allow_nan:
        raise ValueError(
            f"row {rows[gaps].min()} has gaps (NaN), which it refuses; put an imputer before it, "
            f"make_pipeline(SimpleImputer(), {type(model).__name__}(...))."
        )


def _with_gaps(X: Any) -> np.ndarray:
    """Which rows have a NaN, (n,)."""
    if isinstance(X, np.ndarray):
        return np.asarray(np.isnan(X).any(axis=1))
    owners = np.repeat(np.arange(X.shape[0]), np.diff(X.indptr))
    return np.bincount(owners[np.isnan(X.data)], minlength=X.shape[0]) > 0


def with_experts(heads: Iterable[str], experts: Iterable[str]) -> list[str]:
    """Names of heads and experts, an expert's with a line behind it where a head has that name."""
    names = list(heads)
    for name in experts:
        while name in names:
            name += "_"
        names.append(name)
    return names
