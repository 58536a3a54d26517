"""A few more epochs, after which a network that lost weights has made up for them."""

from __future__ import annotations

from typing import Any

import torch
from skorch.callbacks import Callback
from torch import Tensor

from skmm._devices import seeded
from skmm.compression._state import State
from skmm.training._net import MultimodalNet

_SHARE = 0.2  # of the epochs of the fit
_FEWEST = 3


def epochs_of(given: Any, net: MultimodalNet) -> int:
    """How many epochs ``"auto"`` is."""
    return max(_FEWEST, round(_SHARE * len(net.history))) if given == "auto" else int(given)


class HeldZeros(Callback):
    """Weights that are 0 stay so: ``masks`` have 0 in their places, one for each of some parameters."""

    def __init__(self, masks: list[tuple[Tensor, Tensor]]) -> None:
        self.masks = masks

    def on_batch_end(self, net: Any, training: bool = False, **kwargs: Any) -> None:
        if training:
            self.apply()

    def apply(self) -> None:
        with torch.no_grad():
            for parameter, mask in self.masks:
                parameter.mul_(mask)


def recovered(
    state: State, net: MultimodalNet, epochs: int, seed: int, masks: list[tuple[Tensor, Tensor]] | None = None
) -> State:
    """With this net, trained for so many epochs, each member on the samples that it saw before."""
    held = HeldZeros(masks or [])
    held.apply()
    if epochs:
        planned, net.max_epochs = net.max_epochs, epochs
        net.callbacks_.append(("held_zeros", held))
        try:
            with seeded(seed, torch.device(net.device)):
                net.train(state.opened.training, None)
        finally:
            net.callbacks_.remove(("held_zeros", held))
            net.max_epochs = planned
        if net.interrupted_:
            raise KeyboardInterrupt("the recovery of a pruned network was interrupted")
    return state.measured(net)
