"""How many members are enough."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from skmm.compression._state import State
from skmm.estimators._heads import reduced
from skmm.estimators._stack import Stack, average


def gain_of_pairs(state: State) -> float | None:
    """By how much the loss of two members together is below the mean of theirs, over samples and pairs.

    One of a pair left the sample out. The other may have seen it, and so differs from it by more than two would
    that had not: the gain is rather too large. None where no member left anything out.

    References
    ----------
    Krogh and Vedelsby 1995, Neural network ensembles, cross validation, and active learning, equation 6; Heskes
    1998, Selecting weighting factors in logarithmic opinion pools, for probabilities.
    """
    plan, target, net = state.opened.prepared.plan, state.target, state.net
    if not plan.blind:
        return None
    samples = state.samples
    encoded, weights = state.told(samples.at)
    blind = plan.folds.blind(state.n_members)[:, samples.at] > 0
    n_own = len(net.module_.network.heads)

    def said(at: np.ndarray, outputs: np.ndarray, exists: np.ndarray) -> np.ndarray:
        """What each member would say alone: (K, n, C)."""
        if state.stack is None or state.found is None:
            return outputs[:, :, 0]
        of_experts = state.found.outputs[at, n_own:]
        z = Stack.features(target, outputs, exists)
        return np.stack([state.stack.combine(np.concatenate([own, of_experts], axis=1)) for own in z])

    def gains(at: np.ndarray, outputs: np.ndarray, exists: np.ndarray) -> tuple[np.ndarray, ...]:
        z = said(at, outputs, exists)
        losses = np.stack([_loss(state, own, encoded[at]) for own in z])
        total, count = np.zeros(len(at)), np.zeros(len(at))
        for b in range(len(z)):
            rows = np.flatnonzero(blind[b, at])
            for j in net.speakers if len(rows) else []:
                if j != b:
                    both = z[[b, j]][:, rows]
                    both = average(target, both) if state.stack is None else both.mean(axis=0)
                    total[rows] += losses[[b, j]][:, rows].mean(axis=0) - _loss(state, both, encoded[at][rows])
                    count[rows] += 1
        return (total / count.clip(min=1),)

    (found,) = reduced(net, samples.data, torch.float32, gains, samples.rows, everyone=True)
    return float(np.average(found, weights=weights))


def _loss(state: State, outputs: np.ndarray, encoded: torch.Tensor) -> np.ndarray:
    return np.asarray(state.target.loss(torch.from_numpy(outputs), encoded).numpy())


def expected_rise(gain: float, before: int, after: int) -> float:
    """By how much the loss of fewer members is expected to be higher, by the gain of pairs.

    For squared errors the mean over all choices of ``after`` among ``before`` members, exactly.
    """
    return 2 * gain * (1 / after - 1 / before)


def fewest(gain: float, before: int, tol: float) -> int:
    """The smallest number of members whose expected rise is within ``tol``."""
    return next(m for m in range(1, before + 1) if m == before or expected_rise(gain, before, m) <= tol)


def keep_members(state: State, kept: list[int]) -> State:
    """With these members alone; the stack stays, fitted to all."""
    if len(kept) == state.n_members:
        return state
    networks = [state.net.module_.member(k) for k in kept]
    seeds = tuple(state.net.seeds[k] for k in kept)
    return replace(state, net=state.rebuilt(networks, seeds=seeds, speakers=None))
