"""Modalities without which an estimator predicts as well."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.base import clone

from skmm.blocks import Blocks
from skmm.blocks._blocks import trusted_blocks
from skmm.compression._base import Given
from skmm.compression._state import State
from skmm.compression._steps import Steps
from skmm.estimators._stacking import HeadOutputs, features_without, mean_loss, stack_of


def find_needless(steps: Steps, samples: Given) -> tuple[list[str], State]:
    """Modalities whose loss costs no more than is allowed, and what was fitted without them.

    First each is hidden from what was fitted, and a stack fitted to what is said then. The one that is missed least
    goes, if what is then fitted without it is no worse than allowed either; and so on.
    """
    dropped: list[str] = []
    needed: set[str] = set()
    best = steps.state
    while True:
        present = best.opened.prepared.plan.blocks.present
        names = [name for name in present if name not in needed and not _alone(present, name)]
        rises = {name: rise_without(best, name) for name in names}
        if not rises:
            return dropped, best
        name = min(rises, key=lambda name: rises[name])
        if rises[name] > steps.left:
            return dropped, best
        try:
            pruned = refitted(steps.state.estimator, samples, [*dropped, name])
        except ValueError:  # the fusion takes no fewer modalities
            needed.add(name)
            continue
        if steps.allows(pruned, surely=True):
            best = pruned
            dropped.append(name)
        else:
            needed.add(name)


def _alone(present: Mapping[str, np.ndarray], name: str) -> bool:
    """Whether some sample has this modality and no other."""
    others = [mask for other, mask in present.items() if other != name]
    return not others or bool((present[name] & ~np.any(others, axis=0)).any())


def rise_without(state: State, name: str) -> float:
    """By how much the out-of-fold loss is higher where a modality is hidden."""
    found = state.found
    assert found is not None
    prepared, _ = state.opened
    samples, names = state.samples, list(prepared.inputs.infos)
    n = len(samples.at)
    hidden = np.zeros((len(prepared.plan.train), len(names)), dtype=bool)
    hidden[:, names.index(name)] = True
    plain = found.first(n)  # without those in which training hides some
    features = features_without(state.net, state.target, samples, prepared.plan, prepared.experts, hidden)

    def loss(found: HeadOutputs) -> float:
        return mean_loss(state.target, stack_of(state.target, found)[1], found)

    before = state.loss if n == len(found.rows) and state.loss is not None else loss(plain)
    return loss(plain._replace(outputs=features)) - before


def refitted(estimator: Any, samples: Given, dropped: list[str]) -> State:
    """What is fitted without some modalities, of samples that may have them; a table is read as before."""
    X, *others = samples
    blocks, noted = estimator._first_read(X)
    kept = [name for name in blocks if name not in dropped]
    own = clone(estimator)
    for name in ("encoders", "augment", "experts"):
        setattr(own, name, _without(getattr(own, name), dropped))
    opened = own._fit_open(_part(blocks, kept), *others)
    own.__dict__.update({name: value for name, value in vars(noted).items() if name in own.OF_FORM})
    own.inputs_.ignored = frozenset(dropped)
    return State.of(own, opened)


def _part(blocks: Blocks, names: list[str]) -> Blocks:
    return trusted_blocks({n: blocks[n] for n in names}, {n: blocks.present[n] for n in names}, len(blocks))


def _without(given: Any, dropped: list[str]) -> Any:
    """A parameter by modality, or of experts by name, without some modalities."""
    if not isinstance(given, Mapping):
        return given
    found = {}
    for name, value in given.items():
        if isinstance(value, tuple) and len(value) == 2 and not isinstance(value[1], str):
            left = [modality for modality in value[1] or [] if modality not in dropped]
            if left or value[1] is None:
                found[name] = value[0], left if value[1] is not None else None
        elif isinstance(value, tuple) and len(value) == 2:
            if value[1] not in dropped:
                found[name] = value
        elif name not in dropped:
            found[name] = value
    return found
