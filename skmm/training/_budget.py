"""How long a fit trains: on, while what members leave out says that there is more to learn, and within a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from skorch.callbacks import Callback

from skmm._ranks import current
from skmm._warnings import warn
from skmm.training._interrupts import EndOfTraining

if TYPE_CHECKING:
    from torch import Tensor

    from skmm.training._net import MultimodalNet

_WORTH = 0.01  # fall of the left-out loss, as a share of it, for which another round is trained
# Share of the left-out loss that a network has gained by heart, from which on it learns no more by rounds.
_GAP = 0.15


class Rounds(Callback):
    """Trains in rounds, each with a learning rate that falls to 0, as long as a round pays; keeps the best.

    Each is as long as all before it. One pays whose left-out loss is lower than any before, and another is tried
    only where the loss of what was seen is hardly lower: a network that knows its samples by heart needs no more.
    Warm restarts as in Loshchilov and Hutter 2017, SGDR.

    Parameters
    ----------
    first, most : int
        Epochs of the first round, and of all.
    measure : callable
        Net -> loss of what members left out, and of what they saw.
    """

    def __init__(self, first: int, most: int, measure: Callable[[MultimodalNet], tuple[float, float]]) -> None:
        self.first, self.most, self.measure = first, most, measure

    def on_train_begin(self, net: MultimodalNet, **kwargs: Any) -> None:
        self.done_, self.end_, self.stopped = 0, min(self.first, self.most), False
        self.best_ = float("inf")
        self.weights_: list[Tensor] = []
        self.left_out_losses_: list[float] = []

    def on_epoch_end(self, net: MultimodalNet, **kwargs: Any) -> None:
        self.done_ += 1
        if self.done_ < self.end_:
            return
        left_out, seen = self.measure(net)
        self.left_out_losses_.append(left_out)
        pays = left_out < self.best_ * (1 - _WORTH) if self.best_ > 0 else left_out < self.best_
        if left_out < self.best_:
            self.best_, self.weights_ = left_out, [x.detach().clone() for x in net.module_.state_dict().values()]
        more = min(self.end_, self.most - self.end_)
        if not pays or left_out - seen > _GAP * abs(left_out) or more < 1:
            self.stopped = True
            raise EndOfTraining
        net.start_schedule(net.n_batches_, more)
        self.end_ += more

    _KEPT = ("done_", "end_", "stopped", "best_", "weights_", "left_out_losses_")

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {name: getattr(self, name) for name in self._KEPT}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what a checkpoint kept."""
        self.__dict__.update(state)

    def on_train_end(self, net: MultimodalNet, **kwargs: Any) -> None:
        # a round that the time limit or Ctrl-C cut short may be the best all the same
        cut = self.weights_ and self.done_ < self.end_ and self.measure(net)[0] < self.best_
        if self.weights_ and not cut:
            net.module_.load_state_dict(dict(zip(net.module_.state_dict(), self.weights_, strict=True)))
        self.weights_ = []


class TimeLimit(Callback):
    """Ends training in time: the schedule is shortened to the epochs that there is time for, at least to one.

    Parameters
    ----------
    seconds : float
        Asked for by the user, which a warning quotes.
    deadline : float
        When training has to end, by ``time.monotonic``.
    """

    def __init__(self, seconds: float, deadline: float) -> None:
        self.seconds, self.deadline = seconds, deadline

    def on_train_begin(self, net: MultimodalNet, **kwargs: Any) -> None:
        self.begin_, self.done_, self.stopped = time.monotonic(), 0, False
        self.cut_ = False  # whether there are fewer epochs than were planned
        self.planned_ = 0

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps: the time that was spent counts, that between two tries does not."""
        spent = time.monotonic() - self.begin_
        return {"done_": self.done_, "cut_": self.cut_, "planned_": self.planned_, "spent": spent}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what a checkpoint kept."""
        spent = state.pop("spent")
        self.__dict__.update(state, begin_=self.begin_ - spent, deadline=self.deadline - spent)

    def on_epoch_end(self, net: MultimodalNet, **kwargs: Any) -> None:
        self.done_ += 1
        now = time.monotonic()
        possible = int(max(0.0, self.deadline - now) / ((now - self.begin_) / self.done_))
        possible = current().decisions.first(lambda: possible)  # clocks differ, and all ranks must end at once
        planned = -(-((net.total_steps_ or 0) - net.step_) // net.n_batches_)
        if possible < planned:
            self.planned_ = self.done_ + planned if not self.cut_ else self.planned_
            self.cut_, planned = True, possible
            net.total_steps_ = net.step_ + possible * net.n_batches_
        if self.cut_ and planned <= 0:
            self.stopped = True
            losses = [row["train_loss"] for row in net.history[-2:]]
            falling = f"; its loss was still falling, from {losses[0]:.4g} to {losses[-1]:.4g} in the last epoch"
            warn(
                f"time_limit={self.seconds:g} s ended training after {self.done_} of {self.planned_} epochs"
                f"{falling if len(losses) > 1 and losses[-1] < losses[0] else ''}."
            )
            raise EndOfTraining
