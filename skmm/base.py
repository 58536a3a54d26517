"""What classifier and regressor share: parameters, input, training, outputs."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
)
from sklearn.model_selection import ShuffleSplit, StratifiedShuffleSplit
from sklearn.utils import check_consistent_length, check_scalar

# scikit-learn's own helper for weights: private by name, but what every estimator of its kind calls
from sklearn.utils.validation import (
    _check_sample_weight,
    check_is_fitted,
    check_random_state,
    validate_data,
)

from skmm.batches import Inputs
from skmm.blocks import Blocks, FlatLayout
from skmm.network import FusionNetwork, MemberNetworks, check_encoders
from skmm.samples import canonical
from skmm.spec import Optimizer, SpecParams, as_spec, unknown
from skmm.training import (
    SCHEDULES,
    MultimodalNet,
    TrainingSet,
    _BestWeights,
    _Loss,
    auto_batch_size,
    auto_epochs,
    find_device,
    seeded,
)


class MultimodalEstimator(ClassNamePrefixFeaturesOutMixin, TransformerMixin, SpecParams, BaseEstimator):
    """What classifier and regressor share: input, network, training, outputs."""

    # -- what a subclass says ------------------------------------------------------------------------------------

    def _encode_target(self, y: Any, reset: bool) -> np.ndarray:
        """y as numbers; of a first fit (``reset``) also what is learned of its form."""
        raise NotImplementedError

    def _finish_target(self, target: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        raise NotImplementedError

    def _make_loss(self) -> _Loss:
        raise NotImplementedError

    # -- input ---------------------------------------------------------------------------------------------------

    def _read(self, X: Any, *, reset: bool) -> Blocks:
        """X as Blocks, whatever its form."""
        if isinstance(X, Blocks) or type(X) is dict:
            blocks = X if isinstance(X, Blocks) else Blocks(X)
            if reset and hasattr(self, "feature_names_in_"):
                del self.feature_names_in_
            if len(blocks) == 0:
                raise ValueError(f"Found 0 sample(s) in {list(blocks)} while a minimum of 1 is required.")
            return blocks
        X = validate_data(self, X, reset=reset, accept_sparse="csr", dtype="numeric", ensure_all_finite="allow-nan")
        if self.modalities is None:
            return Blocks({"X": X})
        if isinstance(self.modalities, FlatLayout):
            return Blocks.from_flat(X, self.modalities)
        if not isinstance(self.modalities, Mapping):
            raise ValueError(
                "modalities must be a dict of name -> columns or the layout of Blocks.to_flat(), "
                f"got {self.modalities!r}."
            )
        return Blocks({name: X[:, self._columns(name, c, X.shape[1])] for name, c in self.modalities.items()})

    def _columns(self, name: str, columns: Any, n_columns: int) -> np.ndarray:
        """Column numbers of one modality."""
        if isinstance(columns, str) or (
            isinstance(columns, (list, tuple, np.ndarray)) and any(isinstance(c, str) for c in columns)
        ):
            names = list(getattr(self, "feature_names_in_", []))
            wanted = [columns] if isinstance(columns, str) else list(columns)
            for column in wanted:
                if column not in names:
                    raise unknown(f"column of modality {name!r}:", column, names)
            return np.array([names.index(column) for column in wanted])
        try:
            chosen = np.arange(n_columns)[columns if isinstance(columns, slice) else np.asarray(columns)]
        except IndexError as error:
            raise ValueError(f"modality {name!r}: columns {columns!r} of {n_columns}: {error}.") from None
        if chosen.size == 0:
            raise ValueError(f"modality {name!r}: columns {columns!r} select nothing from {n_columns} columns.")
        return np.atleast_1d(chosen)

    def _check_params(self) -> None:
        positive = {"min_val": 0, "include_boundaries": "neither"}
        not_negative = {"min_val": 0, "include_boundaries": "left"}
        check_scalar(self.hidden_dim, "hidden_dim", Integral, min_val=1)
        check_scalar(self.dropout, "dropout", Real, min_val=0, max_val=1, include_boundaries="left")
        check_scalar(self.weight_decay, "weight_decay", Real, **not_negative)
        if self.lr != "auto":
            check_scalar(self.lr, "lr", Real, **positive)
        for name in ("max_epochs", "batch_size"):
            if getattr(self, name) != "auto":
                check_scalar(getattr(self, name), name, Integral, min_val=1)
        if self.clip_grad_norm is not None:
            check_scalar(self.clip_grad_norm, "clip_grad_norm", Real, **positive)
        if self.early_stopping:
            check_scalar(
                self.validation_fraction,
                "validation_fraction",
                Real,
                min_val=0,
                max_val=1,
                include_boundaries="neither",
            )
            check_scalar(self.n_iter_no_change, "n_iter_no_change", Integral, min_val=1)
            check_scalar(self.tol, "tol", Real, **not_negative)
        if self.lr_schedule is not None and self.lr_schedule not in SCHEDULES:
            raise unknown("lr_schedule", self.lr_schedule, SCHEDULES)
        if not isinstance(as_spec(Optimizer, self.optimizer), Optimizer):
            raise ValueError(f"optimizer must be a name, an Optimizer or a class, got {self.optimizer!r}.")
        as_spec(Optimizer, self.optimizer).resolve()

    def _seed(self) -> int:
        if self.random_state is None:  # drawn apart from numpy's global state, which fitting must not touch
            return int(np.random.default_rng().integers(2**31 - 1))
        return int(check_random_state(self.random_state).randint(2**31 - 1))

    # -- fit -----------------------------------------------------------------------------------------------------

    def _fit(self, X: Any, y: Any, sample_weight: Any, *, reset: bool, epochs: int | None) -> Self:
        """Train from the start (``reset``) or go on; ``epochs`` None for the estimator's own number."""
        self._check_params()
        if y is None:
            raise ValueError(
                f"requires y to be passed, but the target y is None: {type(self).__name__} is supervised."
            )
        blocks = self._read(X, reset=reset)
        check_consistent_length(blocks, y)
        target = self._encode_target(y, reset)
        # A new fit draws its numbers from random_state; one that goes on continues with those of the first.
        weights = _check_sample_weight(
            sample_weight, blocks, dtype=np.float64, ensure_non_negative=True, allow_all_zero_weights=False
        )
        target, weights = self._finish_target(target, weights)
        weights = self._drop_empty(blocks, weights)
        if reset:
            self._random = np.random.RandomState(self._seed())
        rows, weights = canonical(blocks, target, weights)
        train, valid = self._split(target[rows], reset=reset)
        if reset:
            choices = check_encoders(self.encoders, list(blocks))
            self.inputs_ = Inputs(blocks[rows[train]], weights[train], choices, self.scale_inputs)
            if isinstance(X, (Blocks, dict)):
                self.n_features_in_ = self.inputs_.n_features
            self.modalities_ = self.inputs_.infos
        blocks = self.inputs_.check(blocks)
        self._learn_target(target[rows[train]], weights[train], reset=reset)
        device = find_device(self.device)
        seed = int(self._random.randint(2**31 - 1))
        with seeded(seed, device):
            if reset:
                self._build(len(train), seed, device)
            data = self.inputs_.load(blocks, torch.float32, device)
            encoded = torch.as_tensor(self._tensor_target(target), device=device)
            sets = [
                None
                if part is None
                else TrainingSet(data, encoded, _relative(weights[part], device), _rows(rows[part], device))
                for part in (train, valid)
            ]
            self._train(sets, epochs)
        return self

    def _drop_empty(self, blocks: Blocks, weights: np.ndarray) -> np.ndarray:
        """A sample without any modality cannot be learned from."""
        empty = ~np.any(list(blocks.present.values()), axis=0) & (weights > 0)
        if not empty.any():
            return weights
        if empty.sum() == (weights > 0).sum():
            raise ValueError(f"no sample has any of the modalities {list(blocks)}: all rows are missing (NaN).")
        warnings.warn(
            f"{empty.sum()} of {len(weights)} samples have no modality at all and are left out of training, "
            f"the first is row {np.flatnonzero(empty)[0]}.",
            stacklevel=4,
        )
        return np.where(empty, 0.0, weights)

    def _split(self, target: np.ndarray, *, reset: bool) -> tuple[np.ndarray, np.ndarray | None]:
        """Rows that train and rows that stop the training early."""
        everything = np.arange(len(target))
        if not self.early_stopping:
            return everything, None
        if reset or not hasattr(self, "_split_seed"):
            self._split_seed = int(self._random.randint(2**31 - 1))
        stratify = self._stratify(target)
        splitter = ShuffleSplit if stratify is None else StratifiedShuffleSplit
        split = splitter(n_splits=1, test_size=self.validation_fraction, random_state=self._split_seed)
        try:
            train, valid = next(split.split(everything, stratify))
        except ValueError as error:
            raise ValueError(
                f"early_stopping with validation_fraction={self.validation_fraction} of {len(target)} distinct "
                f"samples: {error}"
            ) from None
        return train, valid

    def _stratify(self, target: np.ndarray) -> np.ndarray | None:
        return None

    def _build(self, n_samples: int, seed: int, device: torch.device) -> None:
        """The network and the net that trains it."""
        inherited = {"hidden_dim": self.hidden_dim, "dropout": self.dropout, "activation": self.activation}
        network = FusionNetwork(
            self.inputs_.infos, self.fusion, self.encoders, self._n_outputs, self._link, inherited
        )
        batch_size = auto_batch_size(n_samples) if self.batch_size == "auto" else self.batch_size
        max_epochs = auto_epochs(n_samples, batch_size) if self.max_epochs == "auto" else self.max_epochs
        self.net_ = MultimodalNet(
            MemberNetworks([network]),
            self._make_loss(),
            optimizer_spec=as_spec(Optimizer, self.optimizer),
            lr=self.lr,
            weight_decay=self.weight_decay,
            schedule=self.lr_schedule or "constant",
            clip_grad_norm=self.clip_grad_norm,
            seeds=(seed,),
            batch_size=batch_size,
            max_epochs=max_epochs,
            train_split=None,
            callbacks=self.callbacks,
            device=str(device),
            verbose=self.verbose,
        )
        self.net_.initialize()
        self._n_features_out = network.fusion.out_dim

    def _train(self, sets: list[TrainingSet | None], epochs: int | None) -> None:
        net = self.net_
        stopper = None
        if sets[1] is not None:
            stopper = _BestWeights(self.n_iter_no_change, self.tol)
            net.callbacks_.append(("best_weights", stopper))
        if epochs is None:
            net.set_horizon(len(sets[0]))
        before = len(net.history)
        epochs = net.max_epochs if epochs is None else epochs
        try:
            net.partial_fit(sets, epochs=epochs)
        finally:
            if stopper is not None:
                net.callbacks_.remove(("best_weights", stopper))
        while len(net.history) and "train_loss" not in net.history[-1]:
            net.history.pop()  # an epoch that was interrupted
        done = len(net.history) - before
        if done < epochs and not (stopper is not None and stopper.stopped):
            warnings.warn(
                f"training was interrupted after {done} of {epochs} epochs; what was learned is kept.",
                stacklevel=4,
            )
        self.history_ = net.history
        self.loss_curve_ = [float(row["train_loss"]) for row in net.history]
        self.n_iter_ = len(net.history)

    # -- outputs -------------------------------------------------------------------------------------------------

    def _outputs(self, X: Any, method: str = "forward") -> np.ndarray:
        """Raw outputs of the network, (n_samples, d)."""
        check_is_fitted(self)
        blocks = self.inputs_.check(self._read(X, reset=False))
        dtype = self.inputs_.dtype(blocks)
        data = self.inputs_.load(blocks, dtype, torch.device(self.net_.device))
        outputs = self.net_.outputs(data, dtype, method).cpu().numpy()
        empty = ~np.any(list(blocks.present.values()), axis=0)
        if empty.any() and method == "forward":
            warnings.warn(
                f"{empty.sum()} of {len(blocks)} samples have no modality at all, the first is row "
                f"{np.flatnonzero(empty)[0]}; their prediction is the one of training as a whole.",
                stacklevel=3,
            )
            outputs = np.where(empty[:, None], self._prior_output, outputs)
        return outputs

    def transform(self, X: Any) -> np.ndarray:
        """The fused representation.

        Parameters
        ----------
        X : Blocks, dict of arrays, or array-like of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        ndarray of shape (n_samples, n_fused)
            What the head reads; of a decision fusion such as ``"late"`` the combined logits.
        """
        return self._outputs(X, "fuse")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.transformer_tags.preserves_dtype = []
        return tags


def _relative(weights: np.ndarray, device: torch.device) -> torch.Tensor | None:
    """Weights of mean 1, (1, n_rows); None where all are equal."""
    if np.ptp(weights) == 0:
        return None
    return torch.as_tensor(weights / weights.mean(), dtype=torch.float32, device=device).unsqueeze(0)


def _rows(rows: np.ndarray, device: torch.device) -> torch.Tensor:
    return torch.as_tensor(rows, dtype=torch.int64, device=device).unsqueeze(0)


def can_partial_fit(estimator: Any) -> bool:
    if estimator.early_stopping:
        raise AttributeError("partial_fit needs early_stopping=False: a stream has no part to hold out.")
    return True
