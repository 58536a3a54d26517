"""What training takes in memory."""

from __future__ import annotations

from typing import Any

import torch

from skmm._devices import seeded
from skmm.layers import Masks, Values
from skmm.network._members import MemberNetworks


def bytes_for_backward(module: MemberNetworks, values: Values, present: Masks, *, own_rows: bool) -> int:
    """Memory of what a pass through the networks keeps for the way back."""
    saved: dict[int, int] = {}

    def note(x: torch.Tensor) -> torch.Tensor:
        saved[x.data_ptr()] = x.nbytes
        return x

    tracked = torch.autograd.graph.saved_tensors_hooks(note, lambda x: x)
    with seeded(0, next(iter(present.values())).device), tracked:
        module(values, present, own_rows=own_rows)
    return sum(saved.values())


def bytes_of(data: Any) -> int:
    """Memory of the tensors that batches, or one of their columns, hold."""
    if isinstance(data, torch.Tensor):
        return data.nbytes
    parts = data.values() if isinstance(data, dict) else vars(data).values() if hasattr(data, "__dict__") else ()
    return sum(bytes_of(part) for part in parts if isinstance(part, torch.Tensor | dict) or hasattr(part, "take"))
