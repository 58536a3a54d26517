"""What skorch calls between epochs: early stopping, and who is told how far training is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from skorch.callbacks import Callback

from skmm._progress import Progress
from skmm.training._interrupts import EndOfTraining
from skmm.training._steps import BestWeights

if TYPE_CHECKING:
    from skmm.training._net import MultimodalNet
    from skmm.training._tasks import FitTasks, Task


class EarlyStopping(Callback):
    """Ends training when no member improves any more, and leaves each its best weights."""

    def __init__(self, patience: int, tol: float) -> None:
        self.patience, self.tol = patience, tol

    def on_train_begin(self, net: MultimodalNet, **kwargs: Any) -> None:
        self.best_ = BestWeights(net.module_.n_members, self.patience, self.tol)

    def on_epoch_end(self, net: MultimodalNet, **kwargs: Any) -> None:
        self.best_.note(net.member_losses_["valid"], list(net.module_.state_dict().values()))
        if self.stopped:
            raise EndOfTraining

    def on_train_end(self, net: MultimodalNet, **kwargs: Any) -> None:
        if self.best_.weights:
            net.module_.load_state_dict(dict(zip(net.module_.state_dict(), self.best_.weights, strict=True)))
        self.best_.weights = []

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return self.best_.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what a checkpoint kept."""
        self.best_.load_state_dict(state)

    @property
    def stopped(self) -> bool:
        """Whether this callback ended training."""
        return bool(self.best_.stopped.all())


class StepBar(Callback):
    """Advances a bar by the steps of training.

    Parameters
    ----------
    bar : Progress
        The bar.
    epochs : int or None
        How many there will be; None where the schedule says it.
    """

    def __init__(self, bar: Progress, epochs: int | None) -> None:
        self.bar, self.epochs = bar, epochs

    def on_train_begin(self, net: MultimodalNet, X: Any = None, **kwargs: Any) -> None:
        self.n_batches_, self.done_ = net.n_batches(X[0]), 0
        self._expect(net)

    def on_batch_end(self, net: MultimodalNet, training: bool = False, **kwargs: Any) -> None:
        if training:
            self.bar.advance()

    def on_epoch_end(self, net: MultimodalNet, **kwargs: Any) -> None:
        self.done_ += 1
        rest = self._expect(net)
        self.bar.note(epoch=f"{self.done_}/{self.done_ + rest}", loss=f"{net.history[-1, 'train_loss']:.4g}")

    def on_train_end(self, net: MultimodalNet, **kwargs: Any) -> None:
        self.bar.expect(0)

    def _expect(self, net: MultimodalNet) -> int:
        """How many epochs are to come: a limit of time may have shortened the schedule, a round prolonged it."""
        rest = 0 if self.epochs is None else self.epochs - self.done_
        if self.epochs is None and net.total_steps_:
            rest = max(0, -(-(net.total_steps_ - net.step_) // self.n_batches_))
        self.bar.expect(rest * self.n_batches_)
        return rest


class EpochTasks(Callback):
    """Tells scikit-learn's callbacks of each epoch, and ends training where one of them asks for it.

    It comes before all that may end training, so that each epoch which began also ends for them.
    """

    def __init__(self, tasks: FitTasks, training: Task) -> None:
        self.tasks, self.training = tasks, training
        self.epoch: Task | None = None  # that is not over
        self.stopped = False

    def on_epoch_begin(self, net: MultimodalNet, **kwargs: Any) -> None:
        if self.stopped:
            raise EndOfTraining
        self.epoch = self.tasks.begin(self.training, "epoch", net)

    def on_epoch_end(self, net: MultimodalNet, **kwargs: Any) -> None:
        # what else there is to do after an epoch is done before training ends
        if self.epoch is not None:
            self.stopped, self.epoch = self.tasks.end(self.epoch, net), None

    def on_train_end(self, net: MultimodalNet, **kwargs: Any) -> None:
        # a callback of skorch's may have ended training before this one heard of the end of the epoch
        if len(net.history) and "train_loss" in net.history[-1]:
            self.on_epoch_end(net)
