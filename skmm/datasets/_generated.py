"""Generated data whose redundant, unique and synergistic information, and whose best possible score, are known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.utils import Bunch, check_random_state, check_scalar

from skmm._checks import check_below, is_whole, unknown
from skmm.blocks import Blocks
from skmm.blocks._blocks import RaggedArray


def make_multimodal_classification(
    n_samples: int = 500,
    *,
    n_modalities: int = 2,
    n_features: Any = 10,
    n_steps: Any = None,
    n_classes: int = 2,
    redundant: float = 1 / 3,
    unique: Any = 1 / 3,
    synergistic: float = 1 / 3,
    weights: Any = None,
    noise: float = 0.2,
    flip_y: float = 0.0,
    missing_rate: float | Mapping[str, float] = 0.0,
    random_state: Any = None,
    return_bayes: bool = False,
) -> tuple[Any, ...]:
    """Generate a classification problem whose modalities interact as stated.

    Each sample tells its class in one of three ways, drawn independently of the class:

    - redundant: every modality shows the class;
    - unique: one modality shows the class, the others show nothing;
    - synergistic: every modality shows a number from 0 to ``n_classes - 1``, and their sum modulo ``n_classes`` is
      the class (for two classes: the exclusive or). Any modalities but all together tell nothing.

    Parameters
    ----------
    n_samples : int, default=500
        Number of samples.
    n_modalities : int, default=2
        Number of modalities, named ``modality_0``, ``modality_1``, and so on. Of one, all that it tells is unique:
        it needs ``redundant=0, unique=1, synergistic=0``.
    n_features : int or list of int, default=10
        Features of all or of each modality, at least ``3 * n_classes``.
    n_steps : None, int, (int, int), or list of these, default=None
        Of all or of each modality. None makes vectors (n_samples, n_features); an int sequences
        (n_samples, n_steps, n_features); a tuple (low, high) sequences of low to high steps, uniformly drawn.
    n_classes : int, default=2
        Number of classes.
    redundant, synergistic : float, default=1/3
        Share of the samples of that way, and so of the information about the class (see Notes).
    unique : float or list of float, default=1/3
        Share of the unique way, equally of all modalities, or one share for each. All shares sum to 1.
    weights : array-like of shape (n_classes,), default=None
        Probability of each class; equal at None.
    noise : float, default=0.2
        Standard deviation of the Gaussian noise on each feature of a vector. What is shown stands at a distance of
        1 from "nothing" and of √2 from anything else. In a sequence each step shows the same, with √n_steps times
        the noise, so that the mean over the steps is as noisy as a vector.
    flip_y : float, default=0.0
        Share of the samples whose class is replaced by one drawn from ``weights``.
    missing_rate : float or dict of str to float, default=0.0
        Probability, in [0, 1), that a sample lacks a modality, independently of all else; of all or by name. A
        sample that would lack all keeps one of them, each with the same probability.
    random_state : int, RandomState instance or None, default=None
        Seed. Data that differ in ``missing_rate`` alone differ in what is missing alone.
    return_bayes : bool, default=False
        Whether to return ``bayes`` as well.

    Returns
    -------
    X : Blocks of n_samples
        Float64 blocks; a missing dense row is NaN.
    y : ndarray of shape (n_samples,)
        Classes, integers from 0.
    bayes : Bunch
        With ``return_bayes=True``: what the best possible classifier, which knows how the data were made, achieves.

        accuracy : float
            Its expected accuracy where no modality is missing.
        accuracy_with_missing : float
            The same with modalities missing at ``missing_rate``.
        accuracy_by_modality : dict of str to float
            The same with one modality alone.
        error : float
            Largest standard error of these three.
        bits : dict of str to float
            Redundant, unique and synergistic information about the class, in bits.

    Raises
    ------
    ValueError
        If the shares or the weights are negative or do not sum to 1, if one modality has a redundant or synergistic
        share, if there are too few features, or if a parameter is out of its range.

    Notes
    -----
    The shares are shares of the information :math:`I(X; Y)` at ``noise=0``, in the sense of the partial information
    decomposition given the way T. As T is independent of the class and can be read off X,

    .. math:: I(X; Y) = I(X; Y | T) = \\sum_t p(t) I(X; Y | T = t).

    For each t, :math:`X` is a pure case, on which the definitions of the decomposition agree, that of Liang et al.
    among them: copies of the class are all redundant, the class in one modality is all unique, the sum modulo
    n_classes is all synergistic. Each carries the same number of bits, the entropy of the class (less what
    ``flip_y`` takes away), so p(t) is the share. Without conditioning on T, a definition that rests on the pairs
    :math:`p(x_m, y)` alone, as theirs does, counts equal unique parts of two modalities as redundant. Noise above
    0 takes a little from each part, most from the synergistic one, and gives modalities that say the same an
    advantage over each of them.

    Accuracies integrate the largest posterior probability, which has a closed form given the features, over
    50,000 draws, stratified by what is missing, way and class; at ``noise=0`` they are exact but for rounding.
    Their number does not depend on ``random_state``. With missing modalities the work grows as
    ``2 ** n_modalities``.

    References
    ----------
    Liang, P. P. et al. (2023). Quantifying & Modeling Multimodal Interactions: An Information Decomposition
    Framework. NeurIPS 2023.

    Examples
    --------
    >>> from skmm.datasets import make_multimodal_classification
    >>> X, y, bayes = make_multimodal_classification(
    ...     n_steps=[None, (4, 9)], redundant=0.5, unique=0.3, synergistic=0.2, noise=0, random_state=0,
    ...     return_bayes=True,
    ... )
    >>> X
    Blocks(500 samples)
      modality_0  vector    (10,)       float64
      modality_1  sequence  (4..9, 10)  float64
    >>> print(f"{bayes.accuracy:.3f}")
    1.000

    One modality knows the class of 50 % and half of 30 % of the samples; of the others it guesses half right.

    >>> print(f"{bayes.accuracy_by_modality['modality_0']:.3f}")
    0.825
    >>> {name: round(value, 3) for name, value in bayes.bits.items()}
    {'redundant': 0.5, 'unique': 0.3, 'synergistic': 0.2}
    """
    check_scalar(n_classes, "n_classes", Integral, min_val=2)
    form = _Form.read(n_samples, n_modalities, n_features, n_steps, noise, missing_rate, 3 * n_classes)
    shares = _shares(redundant, unique, synergistic, n_modalities)
    prior = _prior(weights, n_classes)
    check_below("flip_y", flip_y, 1, closed=True)

    rng = check_random_state(random_state)
    y = rng.choice(n_classes, n_samples, p=prior)
    way = rng.choice(len(shares), n_samples, p=shares)
    codes = _codes(_symbols(way, y, n_classes, n_modalities, rng), n_classes)
    y = np.where(rng.uniform(size=n_samples) < flip_y, rng.choice(n_classes, n_samples, p=prior), y)
    X = form.observe(codes, rng)
    if not return_bayes:
        return X, y

    def accuracy(patterns: np.ndarray, probability: np.ndarray) -> tuple[float, float]:
        return bayes_accuracy(patterns, probability, shares, prior, noise, flip_y)

    found = [accuracy(np.ones((1, n_modalities), dtype=bool), np.ones(1))]
    found += [found[0] if not form.missing.any() else accuracy(*_patterns(form.missing))]
    found += [accuracy(alone[None], np.ones(1)) for alone in np.eye(n_modalities, dtype=bool)]
    bits = _channel_bits(prior, flip_y)
    return (
        X,
        y,
        Bunch(
            accuracy=found[0][0],
            accuracy_with_missing=found[1][0],
            accuracy_by_modality={name: found[2 + m][0] for m, name in enumerate(form.names)},
            error=max(error for _, error in found),
            bits={
                "redundant": float(shares[0] * bits),
                "unique": float(shares[1:-1].sum() * bits),
                "synergistic": float(shares[-1] * bits),
            },
        ),
    )


def make_multimodal_regression(
    n_samples: int = 500,
    *,
    n_modalities: int = 2,
    n_features: Any = 10,
    n_steps: Any = None,
    redundant: float = 1 / 3,
    unique: Any = 1 / 3,
    synergistic: float = 1 / 3,
    noise: float = 0.2,
    target_noise: float = 0.1,
    missing_rate: float | Mapping[str, float] = 0.0,
    random_state: Any = None,
    return_bayes: bool = False,
) -> tuple[Any, ...]:
    """Generate a regression problem whose modalities interact as stated.

    With independent standard normal numbers r, shown by every modality, u_m and a_m, shown by modality m alone, and
    e, the target is

    .. math::

        y = \\sqrt{R} \\, r + \\sum_m \\sqrt{U_m} \\, u_m + \\sqrt{S} \\prod_m a_m + \\tau e

    where R, U_m and S are the shares and τ is ``target_noise``.

    Parameters
    ----------
    n_samples : int, default=500
        Number of samples.
    n_modalities : int, default=2
        Number of modalities, named ``modality_0``, ``modality_1``, and so on. Of one, all that it tells is unique:
        it needs ``redundant=0, unique=1, synergistic=0``.
    n_features : int or list of int, default=10
        Features of all or of each modality, at least 3.
    n_steps : None, int, (int, int), or list of these, default=None
        Of all or of each modality. None makes vectors (n_samples, n_features); an int sequences
        (n_samples, n_steps, n_features); a tuple (low, high) sequences of low to high steps, uniformly drawn.
    redundant, synergistic : float, default=1/3
        Share of the target's variance, but for ``target_noise``, that every modality tells, and that only all of
        them together tell: without one of them the expected value of the product is 0.
    unique : float or list of float, default=1/3
        Share that one modality alone tells, equally of all modalities, or one share for each. All shares sum to 1.
    noise : float, default=0.2
        Standard deviation of the Gaussian noise on each feature of a vector, where what is shown has 1. In a
        sequence each step shows the same, with √n_steps times the noise, so that the mean over the steps is as
        noisy as a vector.
    target_noise : float, default=0.1
        Standard deviation of the Gaussian noise on the target, whose other part has variance 1.
    missing_rate : float or dict of str to float, default=0.0
        Probability, in [0, 1), that a sample lacks a modality, independently of all else; of all or by name. A
        sample that would lack all keeps one of them, each with the same probability.
    random_state : int, RandomState instance or None, default=None
        Seed. Data that differ in ``missing_rate`` alone differ in what is missing alone.
    return_bayes : bool, default=False
        Whether to return ``bayes`` as well.

    Returns
    -------
    X : Blocks of n_samples
        Float64 blocks; a missing dense row is NaN.
    y : ndarray of shape (n_samples,)
        Target.
    bayes : Bunch
        With ``return_bayes=True``: what the expected value of y given X, the best possible prediction, achieves.

        r2 : float
            Its R², the share of the target's variance that it explains, where no modality is missing.
        r2_with_missing : float
            The same with modalities missing at ``missing_rate``.
        r2_by_modality : dict of str to float
            The same with one modality alone.

    Raises
    ------
    ValueError
        If the shares are negative or do not sum to 1, if one modality has a redundant or synergistic share, if
        there are too few features, or if a parameter is out of its range.

    Notes
    -----
    With noise of standard deviation σ and the modalities A at hand, k of M, the prediction is a product and sum of
    linear regressions, and exactly

    .. math::

        R^2 = \\frac{1}{1 + \\tau^2} \\left( \\frac{R \\, k}{k + \\sigma^2}
        + \\sum_{m \\in A} \\frac{U_m}{1 + \\sigma^2} + \\frac{S \\, [k = M]}{(1 + \\sigma^2)^M} \\right).

    Examples
    --------
    >>> from skmm.datasets import make_multimodal_regression
    >>> X, y, bayes = make_multimodal_regression(
    ...     redundant=0.5, unique=[0.3, 0], synergistic=0.2, noise=0, target_noise=0.5, random_state=0,
    ...     return_bayes=True,
    ... )
    >>> len(X), y.shape
    (500, (500,))
    >>> round(bayes.r2, 3), {name: round(r2, 3) for name, r2 in bayes.r2_by_modality.items()}
    (0.8, {'modality_0': 0.64, 'modality_1': 0.4})
    """
    form = _Form.read(n_samples, n_modalities, n_features, n_steps, noise, missing_rate, 3)
    shares = _shares(redundant, unique, synergistic, n_modalities)
    check_below("target_noise", target_noise)

    rng = check_random_state(random_state)
    r = rng.standard_normal((n_samples, 1))
    u, a = rng.standard_normal((2, n_samples, n_modalities))
    components = np.hstack([r, u, a.prod(axis=1, keepdims=True)])  # (n, 2 + M), in the order of the shares
    y = components @ np.sqrt(shares) + target_noise * rng.standard_normal(n_samples)
    X = form.observe(np.stack([np.broadcast_to(r, u.shape), u, a], axis=2), rng)
    if not return_bayes:
        return X, y

    def r2(present: np.ndarray) -> float:
        k = present.sum()
        told = np.array(
            [k / (k + noise**2), *(present / (1 + noise**2)), present.all() / (1 + noise**2) ** len(u[0])]
        )
        return float(shares @ told / (1 + target_noise**2))

    with_missing = sum(p * r2(present) for present, p in zip(*_patterns(form.missing), strict=True))
    alone = {name: r2(present) for name, present in zip(form.names, np.eye(n_modalities, dtype=bool), strict=True)}
    return X, y, Bunch(r2=r2(np.ones(n_modalities, dtype=bool)), r2_with_missing=with_missing, r2_by_modality=alone)


# -- what a modality looks like ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Form:
    """How the modalities show what they have to tell."""

    names: list[str]
    n_features: list[int]
    n_steps: list[Any]
    noise: float
    missing: np.ndarray

    @classmethod
    def read(
        cls, n_samples: Any, n_modalities: Any, n_features: Any, n_steps: Any, noise: Any, missing: Any, least: int
    ) -> _Form:
        """Check what both kinds of data take; ``least`` features are needed."""
        check_scalar(n_samples, "n_samples", Integral, min_val=1)
        check_scalar(n_modalities, "n_modalities", Integral, min_val=1)
        names = [f"modality_{m}" for m in range(n_modalities)]
        features = _per_modality("n_features", n_features, n_modalities)
        for name, d in zip(names, features, strict=True):
            check_scalar(d, f"n_features of {name}", Integral, min_val=least)
        steps = _per_modality("n_steps", n_steps, n_modalities)
        for name, given in zip(names, steps, strict=True):
            bounds = [] if given is None else list(given) if isinstance(given, tuple) else [given, given]
            whole = all(is_whole(b) and b >= 1 for b in bounds)
            if not whole or len(bounds) not in (0, 2) or bounds != sorted(bounds):
                raise ValueError(
                    f"n_steps of {name} is {given!r}; valid are None, an int of 1 or more, and a tuple (low, high)."
                )
        check_below("noise", noise)
        by_name = dict(missing) if isinstance(missing, Mapping) else dict.fromkeys(names, missing)
        for name, rate in by_name.items():
            if name not in names:
                raise unknown("modality in missing_rate:", name, names)
            check_below(f"missing_rate of {name}", rate, 1)
        rates = np.array([by_name.get(name, 0.0) for name in names], dtype=float)
        return cls(names, features, steps, noise, rates)

    def observe(self, codes: np.ndarray, rng: np.random.RandomState) -> Blocks:
        """Blocks that show the codes (n, M, q), each modality in its own random directions."""
        shapes = zip(self.n_features, self.n_steps, strict=True)
        blocks = [self._observe(codes[:, m], d, steps, rng) for m, (d, steps) in enumerate(shapes)]
        # last, so that the rates change nothing else
        present = draw_presence(self.missing, len(codes), rng).T
        blocks = [_without(block, ~there) for block, there in zip(blocks, present, strict=True)]
        return Blocks(
            dict(zip(self.names, blocks, strict=True)), present=dict(zip(self.names, present, strict=True))
        )

    def _observe(self, code: np.ndarray, d: int, steps: Any, rng: np.random.RandomState) -> Any:
        directions, _ = np.linalg.qr(rng.standard_normal((d, code.shape[1])))  # (d, q), orthonormal
        signal = code @ directions.T  # (n, d)
        if steps is None:
            return signal + self.noise * rng.standard_normal(signal.shape)
        low, high = steps if isinstance(steps, tuple) else (steps, steps)
        lengths = rng.randint(low, high + 1, size=len(code))
        scale = self.noise * np.sqrt(np.repeat(lengths, lengths))[:, None]
        values = np.repeat(signal, lengths, axis=0) + scale * rng.standard_normal((lengths.sum(), d))
        if isinstance(steps, tuple):
            return RaggedArray(values, np.concatenate([[0], np.cumsum(lengths)]))
        return values.reshape(len(code), steps, d)


def _per_modality(what: str, value: Any, n_modalities: int) -> list[Any]:
    values = value if isinstance(value, list) else [value] * n_modalities
    if len(values) != n_modalities:
        raise ValueError(f"{what}={value!r} has length {len(values)}, there are {n_modalities} modalities.")
    return values


def _shares(redundant: Any, unique: Any, synergistic: Any, n_modalities: int) -> np.ndarray:
    """Shares of redundant, each modality's unique, and synergistic information, (2 + n_modalities,)."""
    each = [unique / n_modalities] * n_modalities if isinstance(unique, Real) else list(unique)
    shares = np.array([redundant, *_per_modality("unique", each, n_modalities), synergistic], dtype=float)
    given = f"shares redundant={redundant!r}, unique={unique!r}, synergistic={synergistic!r}"
    if n_modalities == 1 and (shares[0] != 0 or shares[-1] != 0):
        raise ValueError(
            f"{given} with n_modalities=1: all that one modality tells is unique; valid are redundant=0, unique=1, "
            "synergistic=0."
        )
    return _distribution(shares, given)


def _prior(weights: Any, n_classes: int) -> np.ndarray:
    if weights is None:
        return np.full(n_classes, 1 / n_classes)
    prior = np.asarray(weights, dtype=float)
    if prior.shape != (n_classes,):
        raise ValueError(f"weights must be {n_classes} numbers, one per class, got {weights!r}.")
    return _distribution(prior, f"weights={weights!r}")


def _distribution(values: np.ndarray, what: str) -> np.ndarray:
    if not (values >= 0).all() or not np.isclose(values.sum(), 1):
        raise ValueError(f"{what} must not be negative and must sum to 1, their sum is {values.sum():g}.")
    return values / values.sum()


# -- what is missing ---------------------------------------------------------------------------------------------


def draw_presence(rates: np.ndarray, n_samples: int, rng: np.random.RandomState) -> np.ndarray:
    """Which modalities each sample has, (n, M)."""
    present = rng.uniform(size=(n_samples, len(rates))) >= rates
    empty = np.flatnonzero(~present.any(axis=1))
    present[empty, rng.randint(len(rates), size=len(empty))] = True
    return present


def _without(block: Any, rows: np.ndarray) -> Any:
    """The block with nothing in some rows."""
    if isinstance(block, RaggedArray):
        offsets = np.concatenate([[0], np.cumsum(np.where(rows, 0, block.lengths))])
        return RaggedArray(block.values[np.repeat(~rows, block.lengths)], offsets)
    block[rows] = np.nan
    return block


def _patterns(rates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Everything that a sample can have, (P, M), and its probability, (P,), as ``draw_presence`` draws it."""
    patterns = np.array(list(product([False, True], repeat=len(rates))))
    probability = np.where(patterns, 1 - rates, rates).prod(axis=1)
    probability[patterns.sum(axis=1) == 1] += probability[0] / len(rates)
    probability[0] = 0.0
    possible = probability > 0
    return patterns[possible], probability[possible]


# -- classes -----------------------------------------------------------------------------------------------------


def _symbols(way: np.ndarray, y: np.ndarray, n_classes: int, n_modalities: int, rng: Any) -> np.ndarray:
    """What each modality shows, (n, M): class + (0, redundant; n_classes, unique), part + 2 n_classes, -1 nothing.

    Ways are numbered as the shares are: 0 redundant, 1 to M unique to a modality, M + 1 synergistic.
    """
    symbols = np.where(way[:, None] == np.arange(1, n_modalities + 1), n_classes + y[:, None], -1)
    symbols[way == 0] = y[way == 0, None]
    parts = rng.randint(n_classes, size=symbols.shape)
    parts[:, -1] = (y - parts[:, :-1].sum(axis=1)) % n_classes
    together = way == n_modalities + 1
    symbols[together] = 2 * n_classes + parts[together]
    return symbols


def _codes(symbols: np.ndarray, n_classes: int) -> np.ndarray:
    """Each symbol as a unit vector, nothing as zero: (n, M) to (n, M, 3 n_classes)."""
    return np.vstack([np.eye(3 * n_classes), np.zeros(3 * n_classes)])[symbols]


def _channel_bits(prior: np.ndarray, flip_y: float) -> float:
    """Information, in bits, that the class before flips holds about the class after them."""
    joint = prior[:, None] * (flip_y * prior + (1 - flip_y) * np.eye(len(prior)))
    ratio = joint[joint > 0] / np.outer(prior, prior)[joint > 0]
    return float(joint[joint > 0] @ np.log2(ratio))


def bayes_accuracy(
    patterns: np.ndarray,
    probability: np.ndarray,
    shares: np.ndarray,
    prior: np.ndarray,
    noise: float,
    flip_y: float,
    n_draws: int = 50_000,
) -> tuple[float, float]:
    """Expected largest posterior probability, and its standard error, over patterns (P, M) of what is there.

    It is integrated numerically, over ``n_draws`` draws.
    """
    rng = np.random.RandomState(0)
    cells = probability[:, None, None] * shares[:, None] * prior  # (P, 2 + M, C)
    # every cell is drawn at least twice, for its variance
    counts = np.where(cells > 0, np.maximum(2, np.ceil(n_draws * cells)), 0).astype(int)
    pattern, way, y = (np.repeat(i.ravel(), counts.ravel()) for i in np.indices(cells.shape))
    codes = _codes(_symbols(way, y, len(prior), patterns.shape[1], rng), len(prior))
    seen = codes + noise * rng.standard_normal(codes.shape)
    posterior = _posterior(seen, patterns[pattern], shares, prior, noise)
    best = ((1 - flip_y) * posterior + flip_y * prior).max(axis=1)
    cell, n = np.repeat(np.arange(counts.size), counts.ravel()), np.maximum(counts.ravel(), 1)
    mean = np.bincount(cell, best, counts.size) / n
    variance = np.bincount(cell, (best - mean[cell]) ** 2, counts.size) / np.maximum(n - 1, 1)
    return float(cells.ravel() @ mean), float(np.sqrt(cells.ravel() ** 2 @ (variance / n)))


def _posterior(
    seen: np.ndarray, present: np.ndarray, shares: np.ndarray, prior: np.ndarray, noise: float
) -> np.ndarray:
    """Probability of each class, before flips, given noisy codes (n, M, 3 C) and which are there, (n, M)."""
    n, n_modalities, _ = seen.shape
    n_classes = len(prior)
    # log of the density of each symbol over that of nothing, whose code is 0; without noise the limit is reached
    # long before the square underflows
    log = (seen - 0.5) / max(noise, 1e-3) ** 2
    # what is missing says of all symbols the same
    log = np.where(present[:, :, None], np.concatenate([log, np.zeros((n, n_modalities, 1))], axis=2), 0.0)
    density = np.exp(log - log.max(axis=2, keepdims=True))
    redundant, unique, part = (density[:, :, i * n_classes : (i + 1) * n_classes] for i in range(3))
    nothing = density[:, :, -1:]
    likelihood = shares[0] * redundant.prod(axis=1)
    for m in range(n_modalities):
        likelihood += shares[1 + m] * unique[:, m] * np.delete(nothing, m, axis=1).prod(axis=1)
    # parts are independent and uniform: the density of their sum is a convolution modulo n_classes
    rest = (np.arange(n_classes)[:, None] - np.arange(n_classes)) % n_classes
    total = part[:, 0]
    for m in range(1, n_modalities):
        total = np.einsum("na,nya->ny", total, part[:, m][:, rest]) / n_classes
    joint = prior * (likelihood + shares[-1] * total)
    return joint / joint.sum(axis=1, keepdims=True)
