"""How the score of a fitted estimator falls as modalities go missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any, Self

import numpy as np
from sklearn.metrics import check_scoring
from sklearn.utils import Bunch, check_scalar
from sklearn.utils.parallel import Parallel, delayed

from skmm._checks import check_rate
from skmm._devices import draw_seed
from skmm.inspection._answers import Names, as_tuple, chosen, label
from skmm.inspection._drawing import (
    FEW,
    LITERAL,
    color_of,
    legend_beside,
    legend_size,
    literal_legend,
    marker_of,
    new_axes,
    pyplot,
    shown,
)
from skmm.inspection._drawing import score_name as name_of
from skmm.inspection.removal import at_blocks, score_without


def robustness_curve(
    estimator: Any,
    X: Any,
    y: Any,
    *,
    rates: Sequence[float] = (0.0, 0.25, 0.5, 0.75, 1.0),
    modalities: Sequence[Names] | None = None,
    scoring: Any = None,
    n_repeats: int = 5,
    random_state: Any = None,
    n_jobs: int | None = None,
) -> Bunch:
    """Score a fitted estimator while it is given less and less of a modality.

    Of the samples that have the modality a random share loses it before the prediction, and only then: nothing is
    fitted again, and neither the estimator nor X is changed.

    Parameters
    ----------
    estimator : fitted estimator
        A multimodal estimator or any other that reads Blocks with missing rows, or a pipeline.
    X : Blocks, dict of arrays, or whatever ``estimator`` takes
        Samples to score on. Other than Blocks, they go through the earlier steps of a pipeline or the estimator's
        ``modalities`` until they are; what is removed is removed there.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Target.
    rates : sequence of float, default=(0.0, 0.25, 0.5, 0.75, 1.0)
        Shares, from 0 to 1, of the samples that lose the modality.
    modalities : sequence of str or tuple of str, optional
        The modalities to remove, in turn; the names in a tuple lose the same share each, independently of one
        another. Default: every modality by itself.
    scoring : str or callable, optional
        Metric. Default: the estimator's ``score``.
    n_repeats : int, default=5
        Number of random choices of the samples. Within one of them a higher rate removes all that a lower one
        does, and more.
    random_state : int, RandomState instance or None, default=None
        Seed of these choices.
    n_jobs : int, optional
        Number of scores computed at once.

    Returns
    -------
    curve : Bunch
        With the attributes

        rates : ndarray of shape (n_rates,)
            As given.
        scores : dict of str or tuple to ndarray of shape (n_rates, n_repeats)
            Scores by what was removed.
        baseline : float
            Score with nothing removed.
        empty : dict of str or tuple to ndarray of shape (n_rates, n_repeats)
            Share of the samples that were left without any modality. They get the prediction of training as a
            whole, here without a warning.

    Raises
    ------
    ValueError
        If a rate is not between 0 and 1, a modality is unknown or named twice, or X does not become Blocks.

    Examples
    --------
    >>> from skmm import MultimodalClassifier
    >>> from skmm.datasets import make_multimodal_classification
    >>> from skmm.inspection import robustness_curve
    >>> X, y = make_multimodal_classification(400, redundant=0, unique=[0.9, 0.1], synergistic=0, random_state=0)
    >>> clf = MultimodalClassifier(n_members=2, random_state=0).fit(X[:200], y[:200])
    >>> curve = robustness_curve(clf, X[200:], y[200:], rates=[0, 0.5, 1], random_state=0)
    >>> curve.scores["modality_0"].shape
    (3, 5)
    >>> loss = {name: float(curve.baseline - scores[-1].mean()) for name, scores in curve.scores.items()}
    >>> loss["modality_0"] > 0.3 > 0.1 > loss["modality_1"]
    True
    """
    if not np.iterable(rates):
        raise ValueError(f"rates={rates!r} must be a list of shares between 0 and 1, such as [{rates!r}].")
    shares = np.asarray(list(rates), dtype=float)
    if not len(shares):
        raise ValueError("rates is empty; give at least one share between 0 and 1.")
    for rate in shares.tolist():
        check_rate("a rate", rate)
    if not (scoring is None or isinstance(scoring, str) or callable(scoring)):
        raise ValueError(f"scoring must be one metric, a name or a function, got {scoring!r}.")
    check_scalar(n_repeats, "n_repeats", Integral, min_val=1)
    model, blocks = at_blocks(estimator, X)
    keys = chosen(modalities, list(blocks), "modality")
    if scoring is None and model is not estimator and hasattr(estimator, "scorer_"):  # of a search
        scoring = estimator.scorer_
        scoring = scoring[estimator.refit] if isinstance(scoring, dict) else scoring
    scorer = check_scoring(model, scoring)
    seed = draw_seed(random_state)

    baseline, unseen = score_without(scorer, model, blocks, y, (), 0.0, [seed])
    # nothing is random where nothing or everything is removed
    tasks = [
        (key, i, repeat)
        for key in keys
        for i, rate in enumerate(shares)
        if rate > 0
        for repeat in range(1 if rate == 1 else n_repeats)
    ]
    found = Parallel(n_jobs=n_jobs)(
        delayed(score_without)(scorer, model, blocks, y, as_tuple(key), shares[i], [seed, repeat])
        for key, i, repeat in tasks
    )
    scores = {key: np.full((len(shares), n_repeats), float(baseline)) for key in keys}
    empty = {key: np.full((len(shares), n_repeats), unseen) for key in keys}
    for (key, i, repeat), (score, share) in zip(tasks, found, strict=True):
        where = slice(None) if shares[i] == 1 else repeat
        scores[key][i, where], empty[key][i, where] = score, share
    return Bunch(rates=shares, scores=scores, baseline=float(baseline), empty=empty)


class RobustnessDisplay:
    """Plot of the score against the share of a modality that is missing.

    Make it with :meth:`from_estimator`, or from the arrays of :func:`robustness_curve`.

    Parameters
    ----------
    rates : ndarray of shape (n_rates,)
        Shares of the samples that lost the modality.
    scores : dict of str or tuple of str to ndarray of shape (n_rates, n_repeats)
        Scores by what was removed.
    baseline : float
        Score with nothing removed.
    score_name : str, default=None
        Label of the vertical axis; "Score" at None.

    Attributes
    ----------
    ax_ : matplotlib Axes
        What it is drawn on.
    figure_ : matplotlib Figure
        The figure with it.
    lines_ : list of matplotlib Line2D
        Mean scores, one line for each modality.
    fill_between_ : list of matplotlib FillBetweenPolyCollection
        One standard deviation over the repeats to both sides of them.
    baseline_line_ : matplotlib Line2D
        The baseline.
    legend_ : matplotlib Legend
        Which line is what.

    Examples
    --------
    >>> import numpy as np
    >>> from skmm.inspection import RobustnessDisplay
    >>> display = RobustnessDisplay(
    ...     rates=np.array([0, 0.5, 1]),
    ...     scores={"text": np.array([[0.9, 0.9], [0.8, 0.7], [0.6, 0.6]])},
    ...     baseline=0.9,
    ...     score_name="Accuracy",
    ... )
    >>> from matplotlib.figure import Figure
    >>> display.plot(Figure().subplots()).ax_.get_ylabel()
    'Accuracy'
    """

    def __init__(
        self,
        *,
        rates: np.ndarray,
        scores: Mapping[Names, np.ndarray],
        baseline: float,
        score_name: str | None = None,
    ) -> None:
        self.rates = rates
        self.scores = scores
        self.baseline = baseline
        self.score_name = score_name

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        rates: Sequence[float] = (0.0, 0.25, 0.5, 0.75, 1.0),
        modalities: Sequence[Names] | None = None,
        scoring: Any = None,
        n_repeats: int = 5,
        random_state: Any = None,
        n_jobs: int | None = None,
        ax: Any = None,
        score_name: str | None = None,
        line_kw: Mapping[str, Any] | None = None,
        fill_between_kw: Mapping[str, Any] | None = None,
    ) -> Self:
        """Compute the curves of a fitted estimator and draw them.

        Parameters
        ----------
        estimator, X, y, rates, modalities, scoring, n_repeats, random_state, n_jobs
            As in :func:`robustness_curve`.
        ax, score_name, line_kw, fill_between_kw
            As in :meth:`plot`. The name of the score is by default that of ``scoring``.

        Returns
        -------
        RobustnessDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed; before anything is computed.
        """
        pyplot()
        curve = robustness_curve(
            estimator,
            X,
            y,
            rates=rates,
            modalities=modalities,
            scoring=scoring,
            n_repeats=n_repeats,
            random_state=random_state,
            n_jobs=n_jobs,
        )
        if score_name is None and scoring is not None:
            score_name = name_of(scoring).capitalize()
        display = cls(rates=curve.rates, scores=curve.scores, baseline=curve.baseline, score_name=score_name)
        return display.plot(ax, line_kw=line_kw, fill_between_kw=fill_between_kw)

    def plot(
        self,
        ax: Any = None,
        *,
        score_name: str | None = None,
        line_kw: Mapping[str, Any] | None = None,
        fill_between_kw: Mapping[str, Any] | None = None,
    ) -> Self:
        """Draw the curves.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            What to draw on; a new figure at None.
        score_name : str, default=None
            Label of the vertical axis; at None that of the display.
        line_kw : dict, default=None
            For ``Axes.plot``, which draws the mean scores.
        fill_between_kw : dict, default=None
            For ``Axes.fill_between``, which draws one standard deviation around them.

        Returns
        -------
        RobustnessDisplay
            Itself.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        names = [*map(label, self.scores), "nothing removed"]
        wide, high = legend_size([shown(name) for name in names]) if len(names) > FEW else (0, 0)
        ax = new_axes(ax, (7.0 + wide, max(4.5, high)))
        order = np.argsort(self.rates)
        x = np.asarray(self.rates)[order]
        self.lines_, self.fill_between_ = [], []
        for i, (key, scores) in enumerate(self.scores.items()):
            mean, deviation = scores.mean(axis=1)[order], scores.std(axis=1)[order]
            style = {"marker": marker_of(i), "color": color_of(i), "label": label(key), **(line_kw or {})}
            (line,) = ax.plot(x, mean, **style)
            band = {"alpha": 0.2, "color": line.get_color(), "linewidth": 0, **(fill_between_kw or {})}
            self.lines_.append(line)
            self.fill_between_.append(ax.fill_between(x, mean - deviation, mean + deviation, **band))
        self.baseline_line_ = ax.axhline(self.baseline, color="0.5", linestyle="--", label="nothing removed")
        ax.xaxis.set_major_formatter("{x:.0%}")
        ax.set_xlabel("Samples without the modality")
        ax.set_ylabel(shown(score_name or self.score_name or "Score", 40), **LITERAL)
        place = literal_legend if len(names) <= FEW else legend_beside
        self.legend_ = place(ax, [*self.lines_, self.baseline_line_], names)
        self.ax_, self.figure_ = ax, ax.figure
        return self
