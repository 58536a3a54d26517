"""Pruned: an estimator without the members, modalities, heads, weights and units that it can do without."""

from __future__ import annotations

from typing import Any, Self

from sklearn.base import clone
from sklearn.utils.validation import check_is_fitted

from skmm._checks import check_below, is_whole, unknown
from skmm._fitting import all_or_nothing, forget_fit
from skmm.compression._base import Compressed
from skmm.compression._heads import keep_heads, most_dropped
from skmm.compression._members import expected_rise, fewest, gain_of_pairs, keep_members
from skmm.compression._state import State
from skmm.compression._steps import Steps
from skmm.estimators._base import MultimodalEstimator, Opened
from skmm.table import Table


class Pruned(Compressed):
    """A multimodal estimator without the members and heads that it can do without.

    Parameters
    ----------
    estimator : MultimodalClassifier or MultimodalRegressor
        What is fitted and pruned.
    """

    estimator_: Any
    summary_: Table

    def __init__(
        self,
        estimator: Any,
        *,
        members: Any = "auto",
        heads: Any = "auto",
        tol: float = 0.005,
        random_state: Any = None,
    ) -> None:
        self.estimator = estimator
        self.members = members
        self.heads = heads
        self.tol = tol
        self.random_state = random_state

    @property
    def _predicts_by(self) -> Any:
        check_is_fitted(self, "estimator_")
        return self.estimator_

    def _will_predict_by(self) -> Any:
        return self.__dict__.get("estimator_", self.estimator)

    def fit(self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None, time: Any = None) -> Self:
        """Fit the estimator, and prune it."""
        self._check_params()
        with all_or_nothing(self):
            forget_fit(self)
            fitted = clone(self.estimator)
            if self.random_state is not None and fitted.random_state is None:
                fitted.random_state = self.random_state
            opened = fitted._fit_open(X, y, sample_weight, groups, time)
            self.estimator_, self.summary_ = self._prune(fitted, opened)
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
        check_below("tol", self.tol, float("inf"), closed=True)

    # -- the steps -----------------------------------------------------------------------------------------------

    def _prune(self, fitted: Any, opened: Opened) -> tuple[Any, Table]:
        """A fitted estimator pruned, and the summary; itself it stays as it is."""
        steps = Steps(State.of(fitted, opened), self.tol)
        self._prune_members(steps)
        self._prune_heads(steps)
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

    def _prune_heads(self, steps: Steps) -> None:
        if self.heads is None:
            return
        state = steps.state
        names = state.heads
        if state.stack is None or state.found is None:
            steps.nothing("heads", len(names), "there is no stack that would choose among them")
            return
        if self.heads == "auto":
            pruned = most_dropped(state, steps.allows)
        else:
            for name in self.heads:
                if name not in names:
                    raise unknown("head", name, names)
            own = names[: len(state.net.module_.network.heads)]
            if not set(own) & set(self.heads):
                raise ValueError(f"heads={self.heads!r} keeps none of the network's heads {own}; keep one or more.")
            pruned = keep_heads(state, [h for h, name in enumerate(names) if name in self.heads])
        kept = pruned.heads if pruned is state else pruned.found.heads  # type: ignore[union-attr]
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
