"""What skorch calls between epochs: early stopping and a progress bar."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from skorch.callbacks import Callback

from skmm.training._interrupts import EndOfTraining
from skmm.training._steps import BestWeights

if TYPE_CHECKING:
    from skmm.training._net import MultimodalNet


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


class EpochBar(Callback):
    """Progress bar over epochs."""

    def on_train_begin(self, net: MultimodalNet, **kwargs: Any) -> None:
        from tqdm.auto import tqdm

        self.bar_ = tqdm(total=net.max_epochs, unit="epoch", leave=False)

    def on_epoch_end(self, net: MultimodalNet, **kwargs: Any) -> None:
        self.bar_.set_postfix(loss=f"{net.history[-1, 'train_loss']:.4f}", refresh=False)
        self.bar_.update()

    def on_train_end(self, net: MultimodalNet, **kwargs: Any) -> None:
        self.bar_.close()
        del self.bar_  # holds a lock, which does not pickle
