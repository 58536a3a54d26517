"""Pruned: an estimator without the members, modalities, heads, weights and units that it can do without."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterable
from typing import Any, Self

from sklearn.base import clone
from sklearn.callback import with_callbacks
from sklearn.utils.validation import check_is_fitted

from skmm._checks import check_below, is_whole, unknown
from skmm._devices import draw_shared_seed
from skmm._fitting import all_or_nothing, forget_fit
from skmm._progress import progress, showing
from skmm.compression._base import Compressed, Given
from skmm.compression._heads import keep_heads, most_dropped
from skmm.compression._members import expected_rise, fewest, gain_of_pairs, keep_members
from skmm.compression._modalities import find_needless, refitted
from skmm.compression._recovery import epochs_of, recovered
from skmm.compression._state import State
from skmm.compression._steps import Steps
from skmm.compression._units import width_of, without_units
from skmm.compression._weights import without_weights
from skmm.estimators._base import MultimodalEstimator
from skmm.estimators._prepared import Opened
from skmm.table import Table
from skmm.training._tasks import FitTasks, refuse_propagated


class Pruned(Compressed):
    """A multimodal estimator without the members, modalities, heads, weights and units that it can do without.

    Fits the estimator, and then takes away, in this order: members, modalities, units, weights, heads; each only as
    far as the out-of-fold loss, that of samples by who left them out, rises by no more than ``tol``. A step that
    would cost more is taken back with a warning. What is left is an ordinary fitted estimator, ``estimator_``.

    - **Members**: they are exchangeable. Every sample is left out by few of them, so what fewer would lose is not
      measured but expected, from how far pairs of them differ: the gain of K members over m is proportional to
      1/m - 1/K, for squared errors exactly. What is expected is rather too high. The stack of all stays.
    - **Modalities**: one that can be hidden at no more than ``tol`` is left out, and the estimator fitted anew. Its
      columns may then still be in X, where they are ignored, or not.
    - **Units**: the networks are rebuilt narrower, each of the units with the largest weights, and trained for a
      few epochs. Layer norms and sums couple units, so that this is never exact. What has a width of its own, such
      as ``Encoder("mlp", hidden_dim=64)``, keeps it. The fusions ``"block"``, ``"lowrank"``, ``"mcb"``, ``"mfb"``,
      ``"mfh"``, ``"mutan"`` and ``"tensor"`` are refused.
    - **Weights**: of each matrix of each member the smallest are set to zero, and stay so in a few epochs of
      recovery. A file gets smaller by that only where it is compressed, and nothing gets faster.
    - **Heads**, experts among them: those that move the stack least go, and the stack is fitted anew. With the
      fused head the fusion goes, with an expert its model.

    Parameters
    ----------
    estimator : MultimodalClassifier or MultimodalRegressor
        What is fitted and pruned; itself it stays unfitted.
    members : "auto", int or None, default="auto"
        How many to keep; ``"auto"`` as few as ``tol`` allows. None leaves them as they are, here and below.
    heads : "auto", list of str or None, default="auto"
        Heads and experts to keep, by the names that ``stack_weights_`` gives them, one of the network's at least.
    modalities : "auto", list of str or None, default="auto"
        Modalities to keep. Each that ``"auto"`` tries costs a fit.
    weights : float, default=0.0
        Share of each matrix that is set to zero, in [0, 1).
    units : float, default=0.0
        Share of the width that goes, in [0, 1); rounded to what the number of attention heads divides.
    tol : float, default=0.005
        Rise of the out-of-fold loss that each step, and all together, may cost: of the log-probability of the true
        class, or of the loss of values in units of their standard deviation. Of what ``"auto"`` takes away, heads
        and modalities, the rise and two standard errors of it over the samples, and of heads also the rise that
        there would be if the whole stack's probabilities were right. ``np.inf`` takes whatever is asked for. Where
        no member leaves samples out, as with ``n_members=1``, no loss is known: ``"auto"`` keeps all, and what is
        asked for is done.
    recovery_epochs : "auto" or int, default="auto"
        Epochs of training after units, and again after weights, on the schedule of the fit; ``"auto"`` is a fifth
        of those of the fit, at least 3. Each member trains on what it saw before.
    random_state : int, RandomState instance or None, default=None
        Seed of the recovery, and of the estimator where it has none.

    Attributes
    ----------
    estimator_ : MultimodalClassifier or MultimodalRegressor
        Fitted and pruned; ``n_members`` and ``hidden_dim`` are what they are now. ``oof_prediction_`` is that of
        all members, those included that went. It does not go on training where heads went.
    summary_ : Table
        A row for each step: ``what``, how many ``before`` and ``after`` (of weights the share that is zero, of
        units the width), names that were ``dropped``, out-of-fold ``loss_before`` and ``loss_after``, its ``rise``,
        and how many weights of the networks are not zero, ``parameters_before`` and ``parameters_after``.
    classes_, n_features_in_, feature_names_in_
        Those of ``estimator_``.

    Raises
    ------
    TypeError
        If the estimator is another.
    ValueError
        If a number or share is out of its bounds, a name is unknown, or nothing would be left; and if of some layer
        it cannot be told which of its weights belong to a unit, by name.

    Notes
    -----
    The order of the rows in ``summary_`` is that of the steps, but members are dropped last: until then all of them
    tell what the others' steps cost. A step may lower the loss; its ``rise`` is then negative.

    References
    ----------
    Krogh and Vedelsby 1995, Neural network ensembles, cross validation, and active learning, and Heskes 1998,
    Selecting weighting factors in logarithmic opinion pools, for members; Han et al. 2015, Learning both weights
    and connections for efficient neural networks, for weights; Muralidharan et al. 2024, Compact language models
    via pruning and knowledge distillation, for units; Renda et al. 2020, Comparing rewinding and fine-tuning in
    neural network pruning, for the schedule of the recovery.

    Examples
    --------
    >>> import numpy as np
    >>> from skmm import MultimodalClassifier
    >>> from skmm.compression import Pruned
    >>> rng = np.random.default_rng(0)
    >>> X = {"text": rng.normal(size=(80, 3)), "image": rng.normal(size=(80, 2))}
    >>> y = X["text"][:, 0] > 0
    >>> clf = MultimodalClassifier(n_members=4, max_epochs=5, experts=None, random_state=0)
    >>> pruned = Pruned(clf, members=2, modalities=None, heads=["text"], weights=0.5, tol=np.inf).fit(X, y)
    >>> pruned.estimator_.n_members
    2
    >>> pruned.estimator_.stack_weights_["head"]
    ['text']
    >>> pruned.predict_proba(X).shape
    (80, 2)
    """

    estimator_: Any
    summary_: Table

    def __init__(
        self,
        estimator: Any,
        *,
        members: Any = "auto",
        heads: Any = "auto",
        modalities: Any = "auto",
        weights: float = 0.0,
        units: float = 0.0,
        tol: float = 0.005,
        recovery_epochs: Any = "auto",
        random_state: Any = None,
    ) -> None:
        self.estimator = estimator
        self.members = members
        self.heads = heads
        self.modalities = modalities
        self.weights = weights
        self.units = units
        self.tol = tol
        self.recovery_epochs = recovery_epochs
        self.random_state = random_state

    @property
    def _predicts_by(self) -> Any:
        check_is_fitted(self, "estimator_")
        return self.estimator_

    def _will_predict_by(self) -> Any:
        return self.__dict__.get("estimator_", self.estimator)

    @with_callbacks
    def fit(self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None, time: Any = None) -> Self:
        """Fit the estimator, and prune it.

        Parameters
        ----------
        X : Blocks, dict of arrays, or array-like or sparse matrix of shape (n_samples, n_features)
            Samples.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Class labels, or for multilabel a matrix of 0 and 1; for regression the values.
        sample_weight : array-like of shape (n_samples,), optional
            Weights of the samples, not negative.
        groups, time : array-like of shape (n_samples,), optional
            Group of each sample, and when it was, as the estimator's ``fit`` takes them.

        Returns
        -------
        self
        """
        self._check_params()
        refuse_propagated(self.estimator)
        tasks = FitTasks(self, 2, X, y, sample_weight)
        with showing(bool(self.estimator.verbose)), all_or_nothing(self):
            forget_fit(self)
            fitted = clone(self.estimator)
            if self.random_state is not None and fitted.random_state is None:
                fitted.random_state = self.random_state
            samples = X, y, sample_weight, groups, time
            if isinstance(self.modalities, list | tuple):
                self._check_modalities(fitted._first_read(X)[0])
            with tasks.fitting("estimator", fitted):
                opened = fitted._fit_open(*samples)
            with tasks.task("pruning"):
                self.estimator_, self.summary_ = self._prune(fitted, opened, samples)
            tasks.finish()
        return self

    def _compress(self, fitted: Any, opened: Any, *given: Any) -> Self:
        self.estimator = clone(fitted)
        self._check_params()
        self.estimator_, self.summary_ = self._prune(fitted, opened, given)
        return self

    # -- parameters ----------------------------------------------------------------------------------------------

    def _check_params(self) -> None:
        estimator = self.estimator
        if not isinstance(estimator, MultimodalEstimator):
            raise TypeError(
                "estimator must be a MultimodalClassifier or a MultimodalRegressor, which Pruned knows the inside "
                f"of, got {estimator!r}. Of a Pipeline prune the last step: make_pipeline(..., Pruned(last))."
            )
        n = estimator.n_members
        number = is_whole(self.members) and 1 <= self.members <= n
        if not (self.members is None or self.members == "auto" or number):
            raise ValueError(
                f"members={self.members!r} must be 'auto', None or how many to keep, 1 to the n_members={n} "
                "that there are."
            )
        _check_names("heads", self.heads)
        if isinstance(self.heads, list | tuple) and not (n > 1 and estimator._wants_stack()):
            raise ValueError(
                f"heads={self.heads!r} are chosen among those of a stack, which needs n_members of 2 or more and "
                f"stack=True or 'auto'; got n_members={n}, stack={estimator.stack!r}."
            )
        _check_names("modalities", self.modalities)
        check_below("weights", self.weights, 1)
        check_below("units", self.units, 1)
        check_below("tol", self.tol, float("inf"), closed=True)
        if self.recovery_epochs != "auto" and not (is_whole(self.recovery_epochs) and self.recovery_epochs >= 0):
            raise ValueError(
                f"recovery_epochs={self.recovery_epochs!r} must be 'auto' or a whole number of 0 or more."
            )

    def _check_modalities(self, names: Iterable[str]) -> None:
        for name in self.modalities:
            if name not in names:
                raise unknown("modality", name, names)

    # -- the steps -----------------------------------------------------------------------------------------------

    def _prune(self, fitted: Any, opened: Opened, samples: Given | None = None) -> tuple[Any, Table]:
        """A fitted estimator pruned, and the summary; itself it stays as it is.

        ``samples`` are what it was fitted to, which it is fitted to again without a modality; if they are not
        given, modalities stay.
        """
        steps = Steps(State.of(fitted, opened), self.tol)
        parts: list[Callable[[Steps], None]] = [self._prune_units, self._prune_weights, self._prune_heads]
        if samples is not None:
            parts.insert(0, functools.partial(self._prune_modalities, samples=samples))
        with progress("pruning", 1 + len(parts)) as bar:
            for part in (self._prune_members, *parts):
                part(steps)
                bar.advance()
        return keep_members(steps.state, steps.members).finished(), Table(steps.rows)

    def _prune_members(self, steps: Steps) -> None:
        if self.members is None:
            return
        state = steps.state
        speakers = state.net.speakers
        n, gain = len(speakers), gain_of_pairs(state) if len(speakers) > 1 else None
        note = "" if gain is None else "the rise is expected, by how far members differ"
        if self.members != "auto":
            wanted = int(self.members)
        elif gain is None:
            wanted, note = n, "there is one" if n == 1 else "none left samples out"
        else:
            wanted = fewest(gain, n, steps.left)
        wanted = min(wanted, n)
        rise = 0.0 if wanted == n else None if gain is None else expected_rise(gain, n, wanted)
        steps.take_members(state.n_members, speakers[:wanted], rise, note)

    def _prune_modalities(self, steps: Steps, samples: Given) -> None:
        if self.modalities is None:
            return
        names = list(steps.state.opened.prepared.inputs.infos)
        if self.modalities == "auto":
            if steps.state.stack is None or steps.state.found is None or len(names) == 1:
                why = "there is one" if len(names) == 1 else "there is no stack, and so nothing to judge them by"
                steps.nothing("modalities", len(names), why)
                return
            dropped, pruned = find_needless(steps, samples)
        else:
            dropped = [name for name in names if name not in self.modalities]
            pruned = refitted(steps.state.estimator, samples, dropped) if dropped else steps.state
        steps.take("modalities", len(names), len(names) - len(dropped), pruned, dropped=dropped)

    def _prune_units(self, steps: Steps) -> None:
        if not self.units:
            return
        state = steps.state
        net = without_units(state, self.units)
        if net is state.net:
            steps.nothing("units", width_of(state), "no narrower network has so many units")
            return
        pruned = recovered(state, net, epochs_of(self.recovery_epochs, state.net), self._seed(0))
        steps.take("units", width_of(state), width_of(pruned), pruned)

    def _prune_weights(self, steps: Steps) -> None:
        if not self.weights:
            return
        state = steps.state
        net, masks = without_weights(state, self.weights)
        pruned = recovered(state, net, epochs_of(self.recovery_epochs, state.net), self._seed(1), masks)
        steps.take("weights", 0.0, self.weights, pruned, note="share that is zero")

    def _seed(self, step: int) -> int:
        """What the recovery after a step draws from."""
        seed = self.estimator.random_state if self.random_state is None else self.random_state
        return (draw_shared_seed(copy.deepcopy(seed)) + step) % 2**32

    def _prune_heads(self, steps: Steps) -> None:
        if self.heads is None:
            return
        state = steps.state
        names = state.heads
        if state.stack is None or state.found is None:
            steps.nothing("heads", len(names), "there is no stack that would choose among them")
            return
        if self.heads == "auto":
            # the out-of-fold loss, of single members, misses less than what they say together
            pruned = most_dropped(
                state, lambda other: steps.allows(other, surely=True) and state.rise_if_right(other) <= steps.left
            )
        else:
            for name in self.heads:
                if name not in names:
                    raise unknown("head", name, names)
            own = names[: len(state.net.module_.network.heads)]
            if not set(own) & set(self.heads):
                raise ValueError(f"heads={self.heads!r} keeps none of the network's heads {own}; keep one or more.")
            pruned = keep_heads(state, [h for h, name in enumerate(names) if name in self.heads])
        assert pruned.found is not None
        kept = pruned.found.heads
        dropped = [name for name in names if name not in kept]
        steps.take("heads", len(names), len(kept), pruned, dropped=dropped)


def _check_names(what: str, given: Any) -> None:
    """Refuse what is neither "auto" nor None nor some names."""
    if given is None or (isinstance(given, str) and given == "auto"):
        return
    if not isinstance(given, list | tuple) or not all(isinstance(name, str) for name in given):
        raise ValueError(f"{what}={given!r} must be 'auto', None or a list of the names to keep.")
    if not given:
        raise ValueError(f"{what}={given!r} keeps none; name one or more.")
