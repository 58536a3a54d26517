"""How the heads of an ensemble's members are combined."""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.optimize import minimize, minimize_scalar
from torch import Tensor

from skmm.estimators._targets import Target
from skmm.table import Table
from skmm.training._plan import left_out_fold

_PENALTY = 0.01  # pull of the weights towards the plain average, in samples
_BIAS_PENALTY = 1.0  # pull of the biases towards 0, in samples
# Pulls of the mixing matrix towards 0, in samples; None for no such matrix. Out-of-fold loss chooses.
MIXINGS = (None, 100.0, 30.0)
_TEMPERATURE_PENALTY = 1.0  # pull of the logarithm of a temperature towards 0, in samples
_ROWS_PER_TEMPERATURE = 30  # samples with the same heads, below which they have none of their own
_NUMBERS = 1 << 25  # of the heads' outputs: above that many they are stored in float32
_AT_A_TIME = 1 << 24  # of these that are computed with together, in float64
_ROWS_PER_FEATURE = 10  # samples for each number that a mixing matrix reads, below which none is tried


def blind_weights(n_members: int, folds: np.ndarray) -> np.ndarray:
    """Weights that average, for each sample, the members that did not train on it: (K, n).

    A sample of fold -1 was held out from all members, and all are averaged.
    """
    blind = np.array([(folds == left_out_fold(k, folds)) | (folds < 0) for k in range(n_members)], dtype=float)
    return blind / blind.sum(axis=0)


class Stack:
    """A convex model over the heads: their log-probabilities (or values), weighted, plus a bias per output.

    For classes, softmax(Σ_h (w_h I + D_h) log p_h + b), where the mixing matrix D, if there is one, lets what a
    head says of one class speak for another: which classes a head mistakes for each other is something to learn.
    For several yes-or-no outputs, and for values, each output has weights of its own, over log-odds or values, and
    there is no D. The weights w are not negative; all are fitted by minimising the training loss on out-of-fold
    outputs, with a pull of w towards the plain average and of b and D towards 0. A head whose modality is missing
    says nothing; and since what is left is often surer of itself than it should be, or less sure, each set of heads
    that enough of the samples have divides the sum by a temperature of its own, fitted last (not of values).

    Parameters
    ----------
    target : Target
        What is predicted, and its loss per sample of combined outputs (n, C).
    mixing : float or None
        Pull of the mixing matrix towards 0, in samples; None for no such matrix.

    References
    ----------
    Wolpert 1992, Stacked generalization; Breiman 1996, Stacked regressions, for the weights not being negative; Guo
    et al. 2017, On calibration of modern neural networks, section 4.2, for the temperature.
    """

    x: np.ndarray  # the solution as one vector: weights, biases, mixing matrix

    def __init__(self, target: Target, mixing: float | None = None) -> None:
        self.target, self.mixing = target, mixing

    @staticmethod
    def mixings(target: Target, n_samples: int, n_heads: int) -> tuple[float | None, ...]:
        """Pulls worth trying for so many samples."""
        enough = n_samples >= _ROWS_PER_FEATURE * n_heads * target.n_outputs
        return MIXINGS if target.competing and enough else MIXINGS[:1]

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
    ) -> Stack:
        """Fit on some rows, or on all, of features (n, H, C), targets of the loss and weights (n,).

        Begins at the solution of another stack, if one is given. Some of the rows at a time, so that there is no
        second copy of them all.
        """
        rows = np.arange(len(features)) if rows is None else rows
        n, (n_heads, n_outputs) = len(rows), features.shape[1:]
        size = n_heads if self.target.competing else n_heads * n_outputs
        mixed = 0 if self.mixing is None else n_heads * n_outputs
        each = torch.from_numpy(weights[rows] / weights[rows].sum())
        parts = _parts(n, features)

        def cut(part: slice) -> tuple[Tensor, Tensor, Tensor]:
            z = features[rows[part]].astype(np.float64, copy=False)
            return torch.from_numpy(z), encoded[rows[part]], each[part]

        cuts = [cut(part) for part in parts] if len(parts) == 1 else None

        def objective(x: np.ndarray) -> tuple[float, np.ndarray]:
            parameters = torch.from_numpy(x).requires_grad_()
            w, b, d = parameters.split([size, n_outputs, mixed * n_outputs])
            pull = _PENALTY * (w - 1 / n_heads).square().sum() + _BIAS_PENALTY * b.square().sum()
            if self.mixing is not None:
                pull = pull + self.mixing * d.square().sum()
            total, slope = 0.0, np.zeros_like(x)
            for z, own, share in cuts or map(cut, parts):
                combined = (z * w.view(n_heads, -1)).sum(1) + b
                if self.mixing is not None:
                    combined = combined + z.flatten(1) @ d.view(mixed, n_outputs)
                value = (self.target.loss(combined, own) * share).sum() + pull / n
                pull = torch.zeros(())  # once
                (gradient,) = torch.autograd.grad(value, parameters)
                total, slope = total + float(value.detach()), slope + gradient.numpy()
            return total, slope

        first = np.concatenate([np.full(size, 1 / n_heads), np.zeros((1 + mixed) * n_outputs)])
        bounds = [(0, None)] * size + [(None, None)] * (len(first) - size)
        first = first if start is None else start.x
        options = {"ftol": 1e-8}  # a relative fall of the loss below that changes no prediction one would notice
        self.x = x = minimize(objective, first, jac=True, method="L-BFGS-B", bounds=bounds, options=options).x
        self.weights = x[:size].reshape(n_heads, -1)
        self.bias = x[size : size + n_outputs]
        self.matrix = x[size + n_outputs :].reshape(mixed, n_outputs)
        self.temperatures = self._fit_temperatures(features, encoded, weights, rows)
        return self

    def _fit_temperatures(
        self, features: np.ndarray, encoded: Tensor, weights: np.ndarray, rows: np.ndarray
    ) -> dict[bytes, float]:
        """Temperature by which heads speak, where that differs between samples."""
        keys = np.concatenate([_speaking(features[rows[part]]) for part in _parts(len(rows), features)])
        found, counts = np.unique(keys, return_counts=True)
        found = found[counts >= _ROWS_PER_TEMPERATURE]
        if not self.target.bounded or len(found) < 2:
            return {}
        temperatures = {}
        for key in found:
            same = rows[keys == key]
            own, t = torch.from_numpy(self._sum(features, same)), encoded[same]
            each = torch.from_numpy(weights[same] / weights[same].sum())

            def objective(log_t: float, own: Tensor = own, t: Tensor = t, each: Tensor = each) -> float:
                value = float((self.target.loss(own * math.exp(-log_t), t) * each).sum())
                return value + _TEMPERATURE_PENALTY * log_t**2 / len(t)

            temperatures[key] = math.exp(minimize_scalar(objective, bounds=(-2, 2), method="bounded").x)
        return temperatures

    def combine(self, features: np.ndarray, rows: np.ndarray | None = None) -> np.ndarray:
        """Combined outputs of some rows, or of all: (n, H, C) -> (n, C)."""
        rows = np.arange(len(features)) if rows is None else rows
        combined = self._sum(features, rows)
        if self.temperatures:
            for part in _parts(len(rows), features):
                keys = _speaking(features[rows[part]])
                combined[part] /= np.array([self.temperatures.get(key, 1.0) for key in keys])[:, None]
        return combined

    def _sum(self, features: np.ndarray, rows: np.ndarray) -> np.ndarray:
        combined = np.empty((len(rows), features.shape[2]))
        for part in _parts(len(rows), features):
            z = features[rows[part]]
            combined[part] = (z * self.weights).sum(axis=1) + self.bias
            if self.mixing is not None:
                combined[part] += z.reshape(len(z), -1) @ self.matrix
        return combined

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


def _parts(n: int, features: np.ndarray) -> list[slice]:
    """So many rows, in parts that are computed with together."""
    size = max(1, _AT_A_TIME // max(1, features[:1].size))
    return [slice(start, start + size) for start in range(0, max(1, n), size)]


def _speaking(features: np.ndarray) -> np.ndarray:
    """Which heads of each sample say something, as bytes to compare: features (n, H, C) -> (n,)."""
    bits = np.packbits((features != 0).any(axis=-1), axis=1)
    return np.array([row.tobytes() for row in bits], dtype=object)


def average(target: Target, outputs: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Members' outputs (K, n, C) as one: the mean of their probabilities, as logits again, or of their values.

    ``weights`` (K, n) sum to one over the members; all the same if not given.
    """
    if len(outputs) == 1:
        return outputs[0]
    if weights is None:
        weights = np.full(outputs.shape[:2], 1 / len(outputs))
    return target.average(outputs, weights[:, :, None])
