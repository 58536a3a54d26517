"""Narrower networks, of the units that weigh most."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from skmm._devices import seeded
from skmm.compression._state import State
from skmm.network._network import FusionNetwork
from skmm.training._net import MultimodalNet

Axis = list[tuple[int, bool]]  # blocks of which an axis consists: their size, and whether it is one of units


def width_of(state: State) -> int:
    """The width of the networks, which their parts have where nothing else was said."""
    return int(state.net.made_of_["inherited"]["hidden_dim"])


def narrowed(width: int, share: float, groups: int) -> int:
    """A width without such a share of the units, which the number of attention heads divides."""
    return max(1, round(width * (1 - share) / groups)) * groups


def without_units(state: State, share: float) -> MultimodalNet:
    """A net of narrower networks, which have the slices of the old weights that are of the units that stay.

    Each member keeps units of its own. They are the same on all axes of the width, since residual connections, sums
    and layer norms couple them; and as many of each attention head.

    References
    ----------
    Muralidharan et al. 2024, Compact language models via pruning and knowledge distillation, section 2, for the
    width that all layers share; Li et al. 2017, Pruning filters for efficient convnets, for a unit's norm.
    """
    members = [network.cpu() for network in state.members()]
    width, groups = width_of(state), _groups(members[0], width_of(state))
    new = narrowed(width, share, groups)
    if new == width:
        return state.net
    inherited = {**state.net.made_of_["inherited"], "hidden_dim": new}
    with seeded(0, torch.device("cpu")):
        narrow = [FusionNetwork(**{**state.net.made_of_, "inherited": inherited}) for _ in members]
    axes = dict(_axes(members[0], narrow[0], width, new))
    _check_fusion(members[0], axes, width, groups)
    for old, small in zip(members, narrow, strict=True):
        kept = _heaviest(_importance(old, axes, width), new, groups)
        tensors = _tensors(old)
        with torch.no_grad():
            for name, tensor in _tensors(small).items():
                tensor.copy_(_cut(tensors[name], axes[name], kept))
    return state.rebuilt(narrow, {"inherited": inherited})


def _tensors(network: nn.Module) -> dict[str, Tensor]:
    return {**dict(network.named_parameters()), **dict(network.named_buffers())}


def _groups(network: nn.Module, width: int) -> int:
    """Of how many groups of units the same number stays, so that each attention head keeps its own."""
    heads = [getattr(module, name, None) for module in network.modules() for name in ("n_heads", "num_heads")]
    return math.lcm(*(n for n in heads if isinstance(n, int) and width % n == 0))


def _axes(old: Any, small: Any, width: int, new: int) -> Iterator[tuple[str, list[Axis]]]:
    """Of what the axes of each tensor consist."""
    tensors, narrow = _tensors(old), _tensors(small)
    sides = [[e.out_dim for e in network.encoders] for network in (old, small)] if len(old.encoders) else [[], []]
    side = [(a, a != b) for a, b in zip(*sides, strict=True)]
    for name, tensor in tensors.items():
        found = []
        for before, after in zip(tensor.shape, narrow[name].shape, strict=True):
            if before == after:
                found.append([(before, False)])
            elif before % width == 0 and after == before // width * new:
                found.append([(width, True)] * (before // width))
            elif before == sum(sides[0]) and after == sum(sides[1]):
                found.append(side)
            else:
                raise _refuse(
                    name, f"it has a size of {before} where the width is {width}, and {after} where {new}"
                )
        if not tensor.is_floating_point() and any(of_units for axis in found for _, of_units in axis):
            raise _refuse(name, "what it says of units are places among others")
        yield name, found


def _check_fusion(network: Any, axes: dict[str, list[Axis]], width: int, groups: int) -> None:
    """Refuse a fusion of vectors of which an axis has its units in another order: exchanging units tells."""
    if network.level not in ("feature", "decision"):
        return
    each = torch.arange(width).reshape(groups, -1)
    exchanged = each.flip(1).ravel()
    network = copy.deepcopy(network).double().eval()
    other = copy.deepcopy(network)
    tensors = _tensors(network)
    with seeded(0, torch.device("cpu")), torch.no_grad():
        for name, tensor in _tensors(other).items():
            tensor.copy_(_cut(tensors[name], axes[name], exchanged))
        said = []
        values = {
            name: torch.randn(4, e.out_dim).double()
            for name, e in zip(network.names, network.encoders, strict=True)
        }
        present = {name: torch.ones(4, dtype=torch.bool) for name in values}
        for one, order in ((network, torch.arange(width)), (other, exchanged)):
            given = {name: x[:, order] if x.shape[1] == width else x for name, x in values.items()}
            said.append(one._decide(one.fusion(given, present)))
    if not torch.allclose(said[0], said[1], atol=1e-6):
        raise _refuse("fusion", "its axes have them in an order of their own")


def _refuse(name: str, why: str) -> ValueError:
    return ValueError(
        f"units: which parts of the layer {name!r} belong to a unit cannot be told: {why}. Set units=0, or choose "
        "another fusion or encoder."
    )


def _places(axis: Axis, kept: Tensor) -> Tensor:
    """Which places of an axis stay."""
    found, start = [], 0
    for size, of_units in axis:
        found.append(start + (kept if of_units else torch.arange(size)))
        start += size
    return torch.cat(found)


def _cut(tensor: Tensor, axes: list[Axis], kept: Tensor) -> Tensor:
    for dim, axis in enumerate(axes):
        tensor = tensor.index_select(dim, _places(axis, kept).to(tensor.device))
    return tensor


def _importance(network: nn.Module, axes: dict[str, list[Axis]], width: int) -> np.ndarray:
    """Sum of the squares of all weights of each unit."""
    total = torch.zeros(width, dtype=torch.float64)
    for name, p in network.named_parameters():
        for dim, axis in enumerate(axes[name]):
            squares = p.detach().double().cpu().square().movedim(dim, 0).reshape(p.shape[dim], -1).sum(1)
            start = 0
            for size, of_units in axis:
                if of_units:
                    total += squares[start : start + size]
                start += size
    return total.numpy()


def _heaviest(importance: np.ndarray, n: int, groups: int) -> Tensor:
    """The n units of most importance, as many of each group, in their order."""
    each = importance.reshape(groups, -1)
    best = np.sort(np.argsort(-each, axis=1, kind="stable")[:, : n // groups], axis=1)
    return torch.from_numpy((best + each.shape[1] * np.arange(groups)[:, None]).ravel())
