"""Which heads and experts the stack does without."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from skmm.compression._state import State
from skmm.estimators._stacking import stack_of
from skmm.table import Table


def by_influence(state: State) -> list[int]:
    """Places of the heads, from that which moves the stack's outputs least to that which moves them most."""
    stack, found = state.stack, state.found
    assert stack is not None
    assert found is not None
    moved = []
    for h in range(found.outputs.shape[1]):
        alone = np.zeros_like(found.outputs)
        alone[:, h] = found.outputs[:, h]
        z = stack._linear(alone.astype(np.float64)) - stack.bias
        if state.target.competing:
            z = z - z.mean(axis=1, keepdims=True)  # what is the same for all classes changes nothing
        moved.append(float(np.average((z**2).sum(axis=1), weights=found.weights)))
    return [int(h) for h in np.argsort(moved, kind="stable")]


def most_dropped(state: State, allowed: Callable[[State], bool]) -> State:
    """Without as many of the least influential heads as is allowed; one of the network's stays."""
    order = by_influence(state)
    own = len(state.net.module_.network.heads)
    last = [h for h in order if h < own][-1]
    order = [h for h in order if h != last]
    best, fine, most = state, 0, len(order)
    while fine < most:
        n = (fine + most + 1) // 2
        pruned = keep_heads(state, sorted({last, *order[n:]}))
        if allowed(pruned):
            best, fine = pruned, n
        else:
            most = n - 1
    return best


def keep_heads(state: State, places: list[int]) -> State:
    """With these heads and experts alone, and a stack that is fitted to them."""
    assert state.found is not None
    if len(places) == state.found.outputs.shape[1]:
        return state
    assert state.stack is not None
    # fewer heads leave samples enough for a mixing matrix, but that lowers the loss of single members alone
    stack, told = stack_of(state.target, state.found, places, mixing=state.stack.mixing is not None)
    own = len(state.net.module_.network.heads)
    found = state.found._replace(
        heads=[state.found.heads[h] for h in places], outputs=state.found.outputs[:, places]
    )
    experts = _keep_experts(state.experts, [h - own for h in places if h >= own])
    rows = None if state.scores is None else list(state.scores)
    scores = None if rows is None else Table([rows[h] for h in places])
    kept = [state.net.module_.network.heads[h] for h in places if h < own]
    parts = {"net": _keep_of_network(state, kept), "stack": stack, "experts": experts, "found": found}
    pruned = replace(state, **parts, scores=scores).judged(told, found)
    return replace(pruned, outputs=pruned.stacked)


def _keep_experts(experts: Any, places: list[int]) -> Any:
    if experts is None or not places:
        return None
    kept = copy.copy(experts)
    kept.trained = [experts.trained[e] for e in places]
    return kept


def _keep_of_network(state: State, places: list[int]) -> Any:
    """The net with these of its heads, by their places among all that there can be."""
    if places == state.net.module_.network.heads:
        return state.net
    networks = state.members()
    for network in networks:
        network.keep_heads(places)
    names = list(state.opened.prepared.inputs.infos)
    made_of = {"modality_heads": [names[place - 1] for place in places if place], "fused_head": 0 in places}
    return state.rebuilt(networks, made_of)
