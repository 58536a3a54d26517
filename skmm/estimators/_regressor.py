"""The regressor."""

from __future__ import annotations

from numbers import Real
from typing import Any, Self

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.utils import check_scalar
from sklearn.utils.metaestimators import available_if

from skmm._checks import unknown
from skmm.estimators._base import MultimodalEstimator
from skmm.estimators._targets import VALUE_LOSSES, Target, target_of_values
from skmm.estimators._trained import can_partial_fit


class MultimodalRegressor(RegressorMixin, MultimodalEstimator):
    """Regressor that fuses several kinds of input in one network.

    The target is standardised for training, per output, and predictions are scaled back.

    Parameters
    ----------
    fusion, encoders, modalities, hidden_dim, dropout, activation, optimizer, lr, weight_decay, lr_schedule, \
max_epochs, batch_size, clip_grad_norm, early_stopping, validation_fraction, n_iter_no_change, tol, scale_inputs, \
sparse_components, n_members, modality_loss, modality_dropout, augment, stack, experts, cv, time_limit, \
warm_start, callbacks, checkpoint, checkpoint_every, device, precision, compile, n_jobs, random_state, verbose
        As for :class:`MultimodalClassifier`.
    loss : {"squared_error", "absolute_error", "huber", "quantile"}, default="squared_error"
        What training makes small, averaged over the outputs.
    alpha : float, default=0.5
        The quantile that ``loss="quantile"`` predicts.
    epsilon : float, default=1.35
        Where ``loss="huber"`` turns from squared to absolute, in standard deviations of the target.

    Attributes
    ----------
    modalities_, net_, history_, loss_curve_, n_iter_, oof_prediction_, oof_score_, stack_weights_, \
expert_scores_, experts_, modality_transformer_, n_features_in_, feature_names_in_
        As for :class:`MultimodalClassifier`, with values for probabilities and R2 for accuracy.

    Examples
    --------
    >>> import numpy as np
    >>> from skmm import Blocks, MultimodalRegressor
    >>> rng = np.random.RandomState(0)
    >>> X = Blocks(table=rng.randn(80, 4), sensor=rng.randn(80, 10, 2))
    >>> y = X["table"][:, 0] + X["sensor"].mean(axis=(1, 2))
    >>> reg = MultimodalRegressor(random_state=0).fit(X, y)
    >>> reg.predict(X[:2]).shape
    (2,)
    >>> reg.score(X, y) > 0.8
    True
    """

    def __init__(
        self,
        fusion: Any = "concat",
        *,
        encoders: Any = None,
        modalities: Any = None,
        hidden_dim: int | str = "auto",
        dropout: float | str = "auto",
        activation: str = "relu",
        loss: str = "squared_error",
        alpha: float = 0.5,
        epsilon: float = 1.35,
        optimizer: Any = "adamw",
        lr: float | str = "auto",
        weight_decay: float = 0.05,
        lr_schedule: str | None = "cosine",
        max_epochs: int | str = "auto",
        batch_size: int | str = "auto",
        clip_grad_norm: float | None = None,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        tol: float = 1e-4,
        scale_inputs: bool = True,
        sparse_components: int | None = 256,
        n_members: int = 8,
        modality_loss: float = 0.5,
        modality_dropout: float = 0.0,
        augment: Any = None,
        stack: bool | str = "auto",
        experts: Any = "auto",
        cv: Any = None,
        store_oof: bool = True,
        time_limit: float | None = None,
        warm_start: bool = False,
        callbacks: list[Any] | None = None,
        checkpoint: Any = None,
        checkpoint_every: int = 1,
        device: str = "auto",
        precision: str = "32",
        compile: bool = False,
        n_jobs: int | None = None,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.fusion = fusion
        self.encoders = encoders
        self.modalities = modalities
        self.hidden_dim = hidden_dim
        self.dropout = dropout
        self.activation = activation
        self.loss = loss
        self.alpha = alpha
        self.epsilon = epsilon
        self.optimizer = optimizer
        self.lr = lr
        self.weight_decay = weight_decay
        self.lr_schedule = lr_schedule
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.clip_grad_norm = clip_grad_norm
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.scale_inputs = scale_inputs
        self.sparse_components = sparse_components
        self.n_members = n_members
        self.modality_loss = modality_loss
        self.modality_dropout = modality_dropout
        self.augment = augment
        self.stack = stack
        self.experts = experts
        self.cv = cv
        self.store_oof = store_oof
        self.time_limit = time_limit
        self.warm_start = warm_start
        self.callbacks = callbacks
        self.checkpoint = checkpoint
        self.checkpoint_every = checkpoint_every
        self.device = device
        self.precision = precision
        self.compile = compile
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    def _check_params(self) -> None:
        super()._check_params()
        if self.loss not in VALUE_LOSSES:
            raise unknown("loss", self.loss, VALUE_LOSSES)
        check_scalar(self.alpha, "alpha", Real, min_val=0, max_val=1, include_boundaries="neither")
        check_scalar(self.epsilon, "epsilon", Real, min_val=0, include_boundaries="neither")

    @available_if(can_partial_fit)
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, n_parts: int | None = None) -> Self:
        """Train for one pass over some samples; the scaling of inputs and target is that of the first call.

        Parameters
        ----------
        X : Blocks, dict of arrays, or array-like or sparse matrix of shape (n_samples, n_features)
            Samples.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets.
        sample_weight : array-like of shape (n_samples,), optional
            Weights of the samples, not negative.
        n_parts : int, optional
            How many calls there will be, with parts of about this size: the schedule of the learning rate is spread
            over them. Said in the first call; None leaves the learning rate as it is.

        Returns
        -------
        self
        """
        return self._fit(X, y, sample_weight, reset=not hasattr(self, "net_"), epochs=1, n_parts=n_parts)

    def _first_target(self, y: Any, classes: np.ndarray | None) -> tuple[Target, np.ndarray]:
        return target_of_values(y, VALUE_LOSSES[self.loss](self.epsilon, self.alpha))

    def predict(self, X: Any) -> np.ndarray:
        """Predicted targets.

        Parameters
        ----------
        X : Blocks, dict of arrays, or array-like of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_outputs)
        """
        outputs = self._outputs(X)
        return self._target.choose(outputs)

    def predict_by_head(self, X: Any) -> dict[str, np.ndarray]:
        """Predicted targets according to each head alone.

        Parameters
        ----------
        X : Blocks, dict of arrays, or array-like of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        dict of str to ndarray of shape (n_samples,) or (n_samples, n_outputs)
            ``"fused"`` (``"fused_"`` where a modality has that name), and with ``modality_loss`` above 0 each
            modality; averaged over the members, NaN where the modality is missing.
        """
        return self._finished_by_head(X)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
