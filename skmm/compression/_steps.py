"""What pruning has done so far, what it cost, and what it may still cost."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from skmm._warnings import warn
from skmm.compression._state import State


class Steps:
    """The steps of pruning: the state that they led to, and a row of the summary for each.

    Parameters
    ----------
    state : State
        Where they begin.
    tol : float
        Rise of the out-of-fold loss that each of them, and all together, may cost.

    Attributes
    ----------
    members : list of int
        The members that stay; they are the last to go, for what each says of the samples that it left out is
        needed until then.
    """

    def __init__(self, state: State, tol: float) -> None:
        self.state, self.tol, self.spent = state, tol, 0.0
        self.members = list(range(state.n_members))
        self.rows: list[dict[str, Any]] = []

    @property
    def left(self) -> float:
        """Rise that the next step may cost."""
        return min(self.tol, self.tol - self.spent)

    def allows(self, state: State, *, surely: bool = False) -> bool:
        """Whether the loss of another state is not too high; one that cannot be known is not.

        ``surely``: nor by two standard errors more, for of many states the smallest is chosen by the same loss.
        """
        rise = self.rise_to(state)
        return rise is None or rise + 2 * surely * self.error_of(state) <= self.left

    def error_of(self, state: State) -> float:
        """Standard error of that rise, over the samples."""
        pair = [each.sample_losses() for each in (self.state, state)]
        if pair[0] is None or pair[1] is None:
            return 0.0
        risen = pair[1] - pair[0]
        risen = risen[~np.isnan(risen)]
        return float(risen.std() / np.sqrt(len(risen))) if len(risen) else 0.0

    def rise_to(self, state: State) -> float | None:
        """By how much the loss of another state is higher."""
        return None if state.loss is None or self.state.loss is None else state.loss - self.state.loss

    def take(
        self, what: str, before: Any, after: Any, state: State, *, dropped: Iterable[str] = (), note: str = ""
    ) -> None:
        """Go on from another state, unless its loss is too high."""
        rise = self.rise_to(state)
        if not self.allows(state):
            assert rise is not None
            self._refuse(what, before, after, rise)
            return
        old = self.state.n_parameters(self.members)
        self._note(what, before, after, dropped, rise, old, state.n_parameters(self.members), note)
        self.state = state

    def take_members(self, before: int, members: list[int], rise: float | None, note: str = "") -> None:
        """Note which members are to stay, at an expected ``rise``, unless that is too high."""
        if rise is not None and rise > self.left:
            self._refuse("members", before, len(members), rise)
            return
        old = self.state.n_parameters(self.members)
        self.members = members
        self._note("members", before, len(members), (), rise, old, self.state.n_parameters(members), note)

    def nothing(self, what: str, before: Any, note: str) -> None:
        """Note that a step does nothing, and why."""
        n = self.state.n_parameters(self.members)
        self._note(what, before, before, (), 0.0, n, n, note)

    def _refuse(self, what: str, before: Any, after: Any, rise: float) -> None:
        warn(
            f"{what}={after!r} raises the out-of-fold loss by {rise:.4g}, more than tol={self.tol} leaves "
            f"({self.left:.4g}): {what} stay as they are, {before!r}. A higher tol, or tol=np.inf, takes it anyway."
        )
        self.nothing(what, before, f"{after!r} would raise the loss by {rise:.4g}")

    def _note(
        self, what: str, before: Any, after: Any, dropped: Iterable[str], rise: float | None, *sizes: int | str
    ) -> None:
        old, new, note = sizes
        loss = self.state.loss
        self.spent += rise or 0.0
        self.rows.append(
            {
                "what": what,
                "before": before,
                "after": after,
                "dropped": ", ".join(dropped),
                "loss_before": loss,
                "loss_after": None if loss is None or rise is None else loss + rise,
                "rise": rise,
                "parameters_before": old,
                "parameters_after": new,
                "note": note,
            }
        )
