"""How the heads of an ensemble's members are combined."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, Self

import numpy as np
import torch
from scipy.linalg import cholesky, solve_triangular
from scipy.optimize import minimize, minimize_scalar
from torch import Tensor

from skmm.estimators._targets import Target
from skmm.table import Table

# Pulls of the weights towards the plain average, in samples, or groups of them. The weak one lets them explode
# where out-of-fold predictions are nearly perfect, and then the unseen is not.
PULL, WEAK_PULL = 1.0, 0.01
_BIAS_PENALTY = 1.0  # pull of the biases towards 0, in samples or groups
MIXING = 100.0  # pull of the mixing matrix towards 0, in samples or groups
_TEMPERATURE_PENALTY = 1.0  # pull of the logarithm of a temperature towards 0, in samples
_ROWS_PER_TEMPERATURE = 30  # samples with the same heads, below which they have none of their own
QUIET = 0.05  # share of the weights below which those that speak were not meant to speak alone
_NUMBERS = 1 << 25  # of the heads' outputs: above that many they are stored in float32
_AT_A_TIME = 1 << 24  # of these that are computed with together, in float64
_ROWS_PER_FEATURE = 4  # samples for each number that a mixing matrix reads, below which there is none
_LARGEST_MATRIX = 1 << 17  # numbers of a mixing matrix; of larger ones the fit takes longer than the networks'
_NO_WEIGHT = 1e-6  # of a head that is not listened to


class Stack:
    """A convex model over the heads: their log-probabilities (or values), weighted, plus a bias per output.

    For classes, softmax(Σ_h (w_h I + D_h) log p_h + b), where the mixing matrix D, if there is one, lets what a
    head says of one class speak for another: which classes a head mistakes for each other is something to learn.
    For several yes-or-no outputs, and for values, each output has weights of its own, over log-odds or values, and
    there is no D. The weights w are not negative; all are fitted by minimising the training loss on out-of-fold
    outputs, with a pull of w towards the plain average and of b and D towards 0, which is weaker the more samples
    there are, or, where these come in groups, the more groups. A head whose modality is missing
    says nothing; and since what is left is often surer of itself than it should be, or less sure, each set of heads
    that enough of the samples have divides the sum by a temperature of its own, fitted last (not of values).

    Parameters
    ----------
    target : Target
        What is predicted, and its loss per sample of combined outputs (n, C).
    mixing : float or None
        Pull of the mixing matrix towards 0, in samples or groups; None for no such matrix.
    pull : float
        Pull of the weights towards their average, in samples or groups.
    biased : bool
        Whether there is a bias; without it is 0.

    References
    ----------
    Wolpert 1992, Stacked generalization; Breiman 1996, Stacked regressions, for the weights not being negative; Guo
    et al. 2017, On calibration of modern neural networks, section 4.2, for the temperature; Kish 1965, Survey
    sampling, for how many equal groups unequal ones are worth.
    """

    x: np.ndarray  # the solution as one vector: weights, biases, mixing matrix

    def __init__(
        self, target: Target, mixing: float | None = None, pull: float = PULL, *, biased: bool = True
    ) -> None:
        self.target, self.mixing, self.pull, self.biased = target, mixing, pull, biased

    @staticmethod
    def mixes(target: Target, n_samples: float, n_heads: int) -> bool:
        """Whether so many samples are enough for a mixing matrix, and it is not too large."""
        n_numbers = n_heads * target.n_outputs
        enough = n_samples >= _ROWS_PER_FEATURE * n_numbers
        return target.competing and enough and n_numbers * target.n_outputs <= _LARGEST_MATRIX

    @staticmethod
    def stored(n_numbers: int) -> type[np.floating]:
        """The type in which so many numbers to fit on are kept."""
        return np.float64 if n_numbers <= _NUMBERS else np.float32

    @staticmethod
    def features(target: Target, outputs: np.ndarray, exists: np.ndarray) -> np.ndarray:
        """What is weighted: outputs (..., n, H, C), exists (n, H) -> the same shape; 0 where a head is silent."""
        return np.where(exists[..., None], target.features(outputs), 0.0)

    def fit(
        self,
        features: np.ndarray,
        encoded: Tensor,
        weights: np.ndarray,
        start: Stack | None = None,
        *,
        rows: np.ndarray | None = None,
        groups: np.ndarray | None = None,
    ) -> Self:
        """Fit on some of the rows, or on all, of features (n, H, C), targets of the loss and weights (n,).

        Begins at the solution of another stack, if one is given. ``groups`` (n,) number what counts as one sample.
        Some of the rows are computed with at a time, so that there is no second copy of them all.
        """
        rows = np.arange(len(features)) if rows is None else rows
        n_heads, n_outputs = features.shape[1:]
        size, mixed = self._sizes(n_heads, n_outputs)
        share = weights[rows] / weights[rows].sum()
        n = effective_size(weights[rows], None if groups is None else groups[rows])
        parts = _parts(len(rows), features)

        def cut(part: slice) -> tuple[np.ndarray, Tensor, np.ndarray]:
            z = features[rows[part]].astype(np.float64, copy=False)
            return z, encoded[rows[part]], share[part]

        cuts = [cut(part) for part in parts] if len(parts) == 1 else None
        pull = np.zeros(size + (1 + mixed) * n_outputs)
        pull[:size], pull[size:] = self.pull / n, _BIAS_PENALTY / n
        pull[size + n_outputs :] = (self.mixing or 0.0) / n
        centre = np.zeros(len(pull))
        centre[:size] = 1 / n_heads

        def objective(x: np.ndarray) -> tuple[float, np.ndarray]:
            self._take(x, n_heads, n_outputs)
            total, slope = float(pull @ (x - centre) ** 2), 2 * pull * (x - centre)
            for z, own, each in cuts or map(cut, parts):
                loss, rise = self.target.slope(self._linear(z), own)
                rise *= each[:, None]
                total += float(loss @ each)
                slope += self._slope(z, rise)
            return total, slope

        first = centre if start is None else np.pad(start.x, (0, len(centre) - len(start.x)))
        self._take(first, n_heads, n_outputs)
        given = cuts or map(cut, parts)
        curved = ((z, each[:, None] * self.target.curvature(self._linear(z))) for z, _, each in given)
        units = _Units(curved, pull, size, n_outputs)
        free = (None, None)
        of_bias = free if self.biased else (0, 0)
        bounds = [(0, None)] * size + [of_bias] * n_outputs + [free] * (len(pull) - size - n_outputs)
        # Of heads that say much the same the loss is flat, and where on it a search stops early is told by their
        # last digits: few numbers are searched to the end. With a mixing matrix that would double the fit's time.
        options = {"ftol": 1e-8} if mixed else {"ftol": 0.0, "gtol": 1e-8}
        how: dict[str, Any] = {"jac": True, "method": "L-BFGS-B", "bounds": bounds, "options": options}
        found = minimize(units.objective(objective), units.measured(first), **how)
        self._take(units.numbers(found.x), n_heads, n_outputs)
        self.temperatures = self._fit_temperatures(features, encoded, weights, rows)
        return self

    @classmethod
    def halfway(
        cls,
        one: Stack,
        other: Stack,
        features: np.ndarray,
        encoded: Tensor,
        weights: np.ndarray,
        rows: np.ndarray | None = None,
    ) -> Stack:
        """What averages the log-probabilities of a stack without a mixing matrix and of one with it."""
        mean = cls(other.target, other.mixing)
        gap = len(other.x) - len(one.x)
        mean._take((np.pad(one.x, (0, gap)) + other.x) / 2, *features.shape[1:])
        rows = np.arange(len(features)) if rows is None else rows
        mean.temperatures = mean._fit_temperatures(features, encoded, weights, rows)
        return mean

    @classmethod
    def of_head(cls, target: Target, head: int, n_heads: int) -> Stack:
        """What repeats one head."""
        only = cls(target)
        size, _ = only._sizes(n_heads, target.n_outputs)
        x = np.zeros(size + target.n_outputs)
        x[:size].reshape(n_heads, -1)[head] = 1.0
        only._take(x, n_heads, target.n_outputs)
        only.temperatures = {}
        return only

    def _sizes(self, n_heads: int, n_outputs: int) -> tuple[int, int]:
        """How many weights there are, and how many rows the mixing matrix has."""
        size = n_heads if self.target.competing else n_heads * n_outputs
        return size, 0 if self.mixing is None else n_heads * n_outputs

    def _take(self, x: np.ndarray, n_heads: int, n_outputs: int) -> None:
        """Be the model of these numbers."""
        size, mixed = self._sizes(n_heads, n_outputs)
        self.x = x
        self.weights = x[:size].reshape(n_heads, -1)
        self.bias = x[size : size + n_outputs]
        self.matrix = x[size + n_outputs :].reshape(mixed, n_outputs)

    def _fit_temperatures(
        self, features: np.ndarray, encoded: Tensor, weights: np.ndarray, rows: np.ndarray
    ) -> dict[bytes, float]:
        """Temperature by which heads speak, where that differs between samples."""
        keys = np.concatenate([_as_keys(_speak(features[rows[part]])) for part in _parts(len(rows), features)])
        # by number, for NumPy takes bytes that differ in zeros at their end for the same
        found, which, counts = np.unique(keys, return_inverse=True, return_counts=True)
        enough = np.flatnonzero(counts >= _ROWS_PER_TEMPERATURE)
        if not self.target.bounded or len(enough) < 2:
            return {}
        temperatures = {}
        for i in enough:
            key, same = found[i], rows[which == i]
            own, t = torch.from_numpy(self._sum(features, same)), encoded[same]
            each = torch.from_numpy(weights[same] / weights[same].sum())

            def objective(log_t: float, own: Tensor = own, t: Tensor = t, each: Tensor = each) -> float:
                value = float((self.target.loss(own * math.exp(-log_t), t) * each).sum())
                return value + _TEMPERATURE_PENALTY * log_t**2 / len(t)

            temperatures[key] = math.exp(minimize_scalar(objective, bounds=(-2, 2), method="bounded").x)
        return temperatures

    def combine(self, features: np.ndarray, rows: np.ndarray | None = None) -> np.ndarray:
        """Combined outputs of some rows, or of all: (n, H, C) -> (n, C).

        Where all that have weight are silent, those that speak are averaged.
        """
        rows = np.arange(len(features)) if rows is None else rows
        combined = self._sum(features, rows)
        each = self.weights.sum(axis=1)
        for part in _parts(len(rows), features):
            z = features[rows[part]]
            speaks = _speak(z)
            if self.temperatures:
                keys = _as_keys(speaks)
                combined[part] /= np.array([self.temperatures.get(key, 1.0) for key in keys])[:, None]
            quiet = speaks.any(axis=1) & (speaks @ each < QUIET * each.sum())
            if quiet.any():
                combined[part][quiet] = z[quiet].sum(axis=1) / speaks[quiet].sum(axis=1, keepdims=True)
        return combined

    def _sum(self, features: np.ndarray, rows: np.ndarray) -> np.ndarray:
        combined = np.empty((len(rows), features.shape[2]))
        for part in _parts(len(rows), features):
            combined[part] = self._linear(features[rows[part]])
        return combined

    def _linear(self, z: np.ndarray) -> np.ndarray:
        """The sum, before temperatures: (n, H, C) -> (n, C)."""
        if self.mixing is not None:  # w and D as one matrix, since one product is faster than two
            each = self.matrix.reshape(*z.shape[1:], -1) + self.weights[:, :, None] * np.eye(z.shape[2])
            return z.reshape(len(z), -1) @ each.reshape(self.matrix.shape) + self.bias
        if self.target.competing:
            return np.matmul(self.weights[:, 0], z) + self.bias
        return np.einsum("nhc,hc->nc", z, self.weights) + self.bias

    def _slope(self, z: np.ndarray, rise: np.ndarray) -> np.ndarray:
        """How the loss rises with each number of the solution, by how it does with the sums of samples (n, C)."""
        bias = rise.sum(axis=0)
        if self.mixing is not None:
            mixed = z.reshape(len(z), -1).T @ rise
            own = np.einsum("hcc->hc", mixed.reshape(*z.shape[1:], -1))
            own = own.sum(axis=1) if self.target.competing else own.ravel()
            return np.concatenate([own, bias, mixed.ravel()])
        if self.target.competing:
            return np.concatenate([np.matmul(z, rise[:, :, None])[:, :, 0].sum(axis=0), bias])
        return np.concatenate([np.einsum("nhc,nc->hc", z, rise).ravel(), bias])

    def says_nothing(self) -> bool:
        """Whether no head has any weight, so that all samples are predicted nearly alike."""
        return bool(self.weights.max(initial=0.0) < _NO_WEIGHT)

    def table(self, heads: list[str], outputs: list[str]) -> Table:
        """Weights by head, and the biases, as a table."""
        if self.weights.shape[1] == 1:
            rows = [{"head": h, "weight": float(w)} for h, w in zip(heads, self.weights[:, 0], strict=True)]
            return Table(rows)
        return Table(
            [
                {"head": h, **dict(zip(outputs, map(float, w), strict=True))}
                for h, w in zip([*heads, "bias"], [*self.weights, self.bias], strict=True)
            ]
        )


class _Units:
    """Units for the numbers of a stack in which the loss curves alike along all: fewer steps find the minimum.

    For weights and biases they are the inverse roots of the curvature. The mixing matrix D becomes LᵀD, with the
    Cholesky factor L of the curvature that the outputs of heads, which say much the same, have together, on average
    over the classes. Other units change no minimum.

    Parameters
    ----------
    curved : iterable of pairs of ndarray
        Features (n, H, C) of some of the samples and the curvature of the loss in the sums of each, (n, C).
    pull : ndarray
        Pulls of all numbers.
    size, n_outputs : int
        How many weights and biases there are; the mixing matrix, if there is one, comes last.
    """

    def __init__(
        self, curved: Iterable[tuple[np.ndarray, np.ndarray]], pull: np.ndarray, size: int, n_outputs: int
    ) -> None:
        self.own = size + n_outputs
        curvature, self.shape = 2 * pull[: self.own], (-1, n_outputs)
        total = None
        for z, each in curved:
            own = np.einsum("nhc,nc->hc", z**2, each)
            curvature[:size] += (own if own.size == size else own.sum(axis=1)).ravel()
            curvature[size:] += each.sum(axis=0)
            if len(pull) > self.own:
                flat = z.reshape(len(z), -1)
                product = (flat * each.mean(axis=1, keepdims=True)).T @ flat
                total = product if total is None else total + product
        self.scale = 1 / np.sqrt(curvature)
        self.factor = None
        if total is not None:
            self.factor = cholesky(total + 2 * pull[-1] * np.eye(len(total)), lower=True)

    def measured(self, x: np.ndarray) -> np.ndarray:
        """Numbers of a stack in these units."""
        own = x[: self.own] / self.scale
        return own if self.factor is None else np.append(own, self.factor.T @ x[self.own :].reshape(self.shape))

    def numbers(self, u: np.ndarray) -> np.ndarray:
        """What is in these units as numbers of a stack."""
        own = u[: self.own] * self.scale
        if self.factor is None:
            return own
        return np.append(own, solve_triangular(self.factor, u[self.own :].reshape(self.shape), trans=1, lower=True))

    def objective(self, function: Callable[[np.ndarray], tuple[float, np.ndarray]]) -> Any:
        """A function of numbers, that gives its value and slope, as one of what is in these units."""

        def measured(u: np.ndarray) -> tuple[float, np.ndarray]:
            value, slope = function(self.numbers(u))
            own = slope[: self.own] * self.scale
            if self.factor is None:
                return value, own
            mixed = solve_triangular(self.factor, slope[self.own :].reshape(self.shape), lower=True)
            return value, np.append(own, mixed)

        return measured


def effective_size(weights: np.ndarray, groups: np.ndarray | None = None) -> float:
    """How many samples, or groups, of equal weight these (n,) are worth."""
    each = weights if groups is None else np.bincount(groups, weights)
    return float(each.sum() ** 2 / (each**2).sum())


def _parts(n: int, features: np.ndarray) -> list[slice]:
    """So many rows, in parts that are computed with together."""
    size = max(1, _AT_A_TIME // max(1, features[:1].size))
    return [slice(start, start + size) for start in range(0, max(1, n), size)]


def _speak(features: np.ndarray) -> np.ndarray:
    """Which heads say something of each sample: features (n, H, C) -> (n, H)."""
    return (features != 0).any(axis=-1)


def _as_keys(speak: np.ndarray) -> np.ndarray:
    """The same as bytes to compare, (n,)."""
    return np.array([row.tobytes() for row in np.packbits(speak, axis=1)], dtype=object)


def average(target: Target, outputs: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Members' outputs (K, n, C) as one: the mean of their probabilities, as logits again, or of their values.

    ``weights`` (K, n) sum to one over the members; all the same if not given.
    """
    if len(outputs) == 1:
        return outputs[0]
    if weights is None:
        weights = np.full(outputs.shape[:2], 1 / len(outputs))
    return target.average(outputs, weights[:, :, None])
