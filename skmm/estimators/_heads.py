"""What the heads of a net's members say of samples."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from skmm._ranks import current
from skmm.estimators._stack import Stack, average
from skmm.estimators._targets import Target
from skmm.inputs._batches import Batches
from skmm.network._network import FusionNetwork
from skmm.training._net import MultimodalNet

# Positions of some rows, outputs of every head of every member (K, n, H, C), which heads have something to say
# (n, H), and which rows have any modality (n,): with the fused head pruned none of the heads says that.
Said = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def head_names(net: MultimodalNet, modalities: Iterable[str]) -> list[str]:
    """Names of the heads: ``"fused"``, where a modality has that name ``"fused_"``, and the modalities."""
    names, fused = list(modalities), "fused"
    while fused in names:
        fused += "_"
    every = [fused, *names]
    return [every[place] for place in net.module_.network.heads]


def member_outputs(
    net: MultimodalNet,
    data: Batches,
    dtype: torch.dtype,
    rows: np.ndarray | None = None,
    *,
    everyone: bool = False,
    members: list[int] | None = None,
) -> Iterator[Said]:
    """What the heads say of the rows, or of all samples, some of them at a time: of those members that predict, or
    of ``everyone``, or of these ``members``, as a fit asks them, of which each rank has a share."""
    for positions, outputs, exists in net.batches(data, dtype, rows=rows, shared=everyone, members=members):
        yield positions, *_of_heads(net, outputs, np.asarray(exists.cpu()), everyone=everyone)


def _of_heads(
    net: MultimodalNet, given: torch.Tensor, exists: np.ndarray, *, everyone: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Outputs (K, n, H, C), which heads speak (n, H), and who has any modality (n,), by which there are (n, M)."""
    network, n_members = net.module_.network, net.module_.n_members
    of_modalities = len(network.modality_heads) > 0
    # as an array, whose operations take a fraction of what those of tensors take on a single row
    outputs = np.asarray(given.cpu())
    if outputs.ndim == 2 or (outputs.ndim == 3 and n_members > 1 and not of_modalities):
        outputs = outputs[..., None, :]
    if n_members == 1:
        outputs = outputs[None]
    known = np.any(exists, axis=-1)
    heads = known[:, None]
    if of_modalities:
        heads = np.concatenate([heads, exists], axis=-1)[:, network.heads]
    if not everyone and len(net.speakers) < n_members:
        outputs = outputs[net.speakers]
    return outputs.astype(np.float64), heads, known


def reduced(
    net: MultimodalNet,
    data: Batches,
    dtype: torch.dtype,
    reduce: Callable[[np.ndarray, np.ndarray, np.ndarray], tuple[np.ndarray, ...]],
    rows: np.ndarray | None = None,
    *,
    everyone: bool = False,
    members: list[int] | None = None,
    with_known: bool = False,
) -> list[np.ndarray]:
    """What is left of the outputs, a few arrays (n, ...): they are reduced as they come, not held together.

    The last is, if asked for, which samples have any modality.
    """
    n = len(data) if rows is None else len(rows)
    found: list[np.ndarray] = []
    said = member_outputs(net, data, dtype, rows, everyone=everyone, members=members)
    each = ((at, (*reduce(at, o, e), known) if with_known else reduce(at, o, e)) for at, o, e, known in said)
    for positions, parts in _of_all_ranks(each) if everyone else each:
        if len(positions) == n and (np.diff(positions) == 1).all():
            return list(parts)
        if not found:
            found = [np.empty((n, *part.shape[1:]), part.dtype) for part in parts]
        for whole, part in zip(found, parts, strict=True):
            whole[positions] = part
    return found


def _of_all_ranks(parts: Iterator[Any]) -> Iterator[Any]:
    """What each rank has, for all; alone, as it comes."""
    ranks = current().rows
    return parts if ranks.world_size == 1 else itertools.chain(*ranks.gather(list(parts)))


def combined(
    net: MultimodalNet,
    target: Target,
    stack: Stack | None,
    data: Batches,
    dtype: torch.dtype,
    rows: np.ndarray | None = None,
    experts: tuple[np.ndarray, np.ndarray] | None = None,
) -> list[np.ndarray]:
    """Outputs of all members and heads as one (n, C), and which samples have any modality (n,).

    ``experts`` say (n, E, C) of the same rows, of which they know (n, E).
    """
    of_experts = None if experts is None else Stack.features(target, *experts)

    def combine(positions: np.ndarray, outputs: np.ndarray, exists: np.ndarray) -> tuple[np.ndarray, ...]:
        return (_stacked(target, stack, outputs, exists, None if of_experts is None else of_experts[positions]),)

    return reduced(net, data, dtype, combine, rows, with_known=True)


def combined_without(
    net: MultimodalNet,
    target: Target,
    stack: Stack | None,
    data: Batches,
    dtype: torch.dtype,
    gone: Sequence[Collection[str]],
    experts: Sequence[tuple[np.ndarray, np.ndarray]] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Of samples that lack the modalities of a set, for each of S sets: outputs (S, n, C), who has any left (S, n).

    ``experts`` say (n, E, C) without those of each set, of which they know (n, E).
    """
    left = np.array([[name not in names for name in net.module_.network.names] for names in gone])
    combined = np.empty((len(gone), len(data), target.n_outputs))
    some = np.empty((len(gone), len(data)), dtype=bool)
    for at, each, exists in net.batches(data, dtype, functools.partial(FusionNetwork.without, gone=gone)):
        there = np.asarray(exists.cpu())
        for s, given in enumerate(each):
            outputs, speak, some[s, at] = _of_heads(net, given, there & left[s])
            own = None if experts is None else Stack.features(target, experts[s][0][at], experts[s][1][at])
            combined[s, at] = _stacked(target, stack, outputs, speak, own)
    return combined, some


def by_member(
    net: MultimodalNet,
    target: Target,
    stack: Stack | None,
    data: Batches,
    dtype: torch.dtype,
    experts: tuple[np.ndarray, np.ndarray] | None = None,
) -> list[np.ndarray]:
    """Outputs (n, K, C) that each member would give as the only one, and which samples have any modality (n,).

    The stack is that of all, and so is what ``experts`` say, as in :func:`combined`.
    """
    of_experts = None if experts is None else Stack.features(target, *experts)

    def each(positions: np.ndarray, outputs: np.ndarray, exists: np.ndarray) -> tuple[np.ndarray, ...]:
        said = None if of_experts is None else of_experts[positions]
        return (np.stack([_stacked(target, stack, own[None], exists, said) for own in outputs], axis=1),)

    return reduced(net, data, dtype, each, with_known=True)


def _stacked(
    target: Target, stack: Stack | None, outputs: np.ndarray, exists: np.ndarray, of_experts: np.ndarray | None
) -> np.ndarray:
    """What members and heads (K, n, H, C), by who speaks (n, H), and experts (n, E, C) say as one (n, C)."""
    if stack is None:
        return average(target, outputs[:, :, 0])
    z = Stack.features(target, outputs, exists).mean(axis=0)
    return stack.combine(z if of_experts is None else np.concatenate([z, of_experts], axis=1))
