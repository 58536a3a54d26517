"""The training loop, and what it trains on."""

from skmm.training._optimizers import auto_batch_size, auto_epochs
from skmm.training._samples import canonical

__all__ = ["auto_batch_size", "auto_epochs", "canonical"]
