"""A fitted estimator as one module: raw tensors and masks -> probabilities or values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from skmm.deployment._experts import ExpertModules
from skmm.deployment._readers import constant, make_reader
from skmm.estimators._stack import QUIET, Stack
from skmm.estimators._targets import FLOOR, ClassTarget, LabelsTarget, Target, ValueTarget
from skmm.layers import SparseRows, existing, unsupported
from skmm.speech._recognizer import SpeechRecognizer


class _Averaging(nn.Module):
    """The fused heads of the members, averaged as predictions: (K, B, H, C) float64 -> (B, C)."""

    def __init__(self, target: Target) -> None:
        super().__init__()
        self.kind = type(target)

    def forward(self, outputs: Tensor, exists: Tensor, experts: Any) -> Tensor:
        fused = outputs[:, :, 0]
        if self.kind is ClassTarget:
            return fused.log_softmax(-1).logsumexp(0)  # but for a constant, which is no matter to softmax
        if self.kind is LabelsTarget:
            tiny = float(np.finfo(np.float64).eps)
            p = fused.sigmoid().mean(0).clamp(tiny, 1 - tiny)
            return p.log() - (1 - p).log()
        return fused.mean(0)


class _Stacking(nn.Module):
    """The stack of heads and experts: (K, B, H, C) float64, (B, H), and of experts (B, E, C), (B, E) -> (B, C)."""

    weights: Tensor
    bias: Tensor
    matrix: Tensor | None
    spoken: Tensor
    temperatures: Tensor | None

    def __init__(self, stack: Stack, target: Target, n_heads: int) -> None:
        super().__init__()
        self.kind, self.competing = type(target), target.competing
        self.register_buffer("weights", constant(stack.weights, torch.float64))
        self.register_buffer("bias", constant(stack.bias, torch.float64))
        # torch.export.save takes tensors without numbers for parts of one another: so they are None
        mixing = constant(stack.matrix, torch.float64) if len(stack.matrix) else None
        self.register_buffer("matrix", mixing)
        keys, found = list(stack.temperatures), list(stack.temperatures.values())
        self.register_buffer("temperatures", constant(np.array(found), torch.float64) if keys else None)
        if keys:
            spoken = [np.unpackbits(np.frombuffer(key, dtype=np.uint8))[:n_heads] for key in keys]
            self.register_buffer("spoken", constant(np.array(spoken), torch.bool))

    def features(self, outputs: Tensor, exists: Tensor) -> Tensor:
        """What is weighted: (..., H, C), (B, H) -> (..., H, C), 0 where a head is silent."""
        if self.kind is ClassTarget:
            outputs = outputs.log_softmax(-1).clamp(min=FLOOR)
        elif self.kind is LabelsTarget:
            outputs = outputs.clamp(FLOOR, -FLOOR)
        return torch.where(exists.unsqueeze(-1), outputs, 0.0)

    def forward(self, outputs: Tensor, exists: Tensor, experts: tuple[Tensor, Tensor] | None) -> Tensor:
        z = self.features(outputs, exists).mean(0)
        if experts is not None:
            z = torch.cat([z, self.features(*experts)], 1)
        combined = (z * (self.weights if self.competing else self.weights.unsqueeze(0))).sum(1) + self.bias
        if self.matrix is not None:
            combined = combined + z.flatten(1) @ self.matrix
        speaks = (z != 0).any(-1)
        if self.temperatures is not None:
            same = (speaks.unsqueeze(1) == self.spoken).all(-1).double()
            combined = combined / (1 + same @ (self.temperatures - 1)).unsqueeze(-1)
        # where all that have weight are silent, those that speak are averaged
        each = self.weights.sum(1)
        spoken = speaks.double()
        quiet = speaks.any(-1) & (spoken @ each < QUIET * each.sum())
        alone = z.sum(1) / spoken.sum(-1, keepdim=True).clamp(min=1)
        return torch.where(quiet.unsqueeze(-1), alone, combined)


class _Finish(nn.Module):
    """Combined outputs (B, C) -> probabilities (B, C), or values (B,) or (B, C)."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, target: Target) -> None:
        super().__init__()
        self.kind = type(target)
        self.single = isinstance(target, ValueTarget) and target.single
        if isinstance(target, ValueTarget):
            self.register_buffer("mean", constant(target.mean, torch.float64))
            self.register_buffer("deviation", constant(target.deviation, torch.float64))

    def forward(self, outputs: Tensor) -> Tensor:
        if self.kind is ClassTarget:
            return outputs.softmax(1)
        if self.kind is LabelsTarget:
            return outputs.sigmoid()
        values = outputs * self.deviation + self.mean
        return values[:, 0] if self.single else values


def predicting(estimator: Any) -> Any:
    """The fitted estimator by which another one predicts that made it smaller, alone or last in a Pipeline."""
    if isinstance(estimator, Pipeline):
        name, last = estimator.steps[-1]
        found = predicting(last)
        return estimator if found is last else Pipeline([*estimator.steps[:-1], (name, found)])
    while hasattr(type(estimator), "_predicts_by"):
        estimator = estimator._predicts_by
    return estimator


class DeployedModule(nn.Module):
    """A fitted estimator as one module: scaling, the members' networks, their heads, experts, and the stack.

    What export, quantisation and attributions take. Its networks are those of the members that predict, each with
    weights of its own, not stacked. In ``eval`` mode from the start, on the CPU, without gradients of its weights.

    Parameters
    ----------
    estimator : MultimodalClassifier, MultimodalRegressor or SpeechRecognizer
        Fitted.

    Attributes
    ----------
    infos : dict of str to BlockInfo
        The modalities.
    dtypes : dict of str to torch.dtype
        Of the values of each: float32, int64 for token ids, and float64 where float32 has too few digits: of what
        varies far from zero, such as time stamps, and of what experts sum up.

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.
    ValueError
        If an encoder reads raw samples by another package's code, or an expert has no form as tensors; names it,
        and what to do.

    Shape
    -----
    values and masks by modality, both in any order:

    - a vector (B, d), an image (B, height, width[, channels]) or a video (B, T, height, width[, channels]), mask
      (B,);
    - a sequence (B, T, ...) or token ids (B, T), mask (B, T), True up to the end of a sample;
    - sparse rows as :class:`~skmm.layers.SparseRows` of columns and weights (B, N), filled up with zeros, and
      anything as ``compressed``; or all columns, (B, d), mask (B,).

    -> probabilities (B, C), or values (B,) or (B, C), float64, as ``predict_proba`` and ``predict`` give them; of
    a SpeechRecognizer log-probabilities of the symbols (B, T', 1 + n_symbols), float32, as ``emissions`` gives
    them. A sample without any modality gets the prediction of training as a whole.

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> from skmm import MultimodalClassifier
    >>> from skmm.deployment import DeployedModule
    >>> rng = np.random.default_rng(0)
    >>> X = {"text": rng.normal(size=(40, 3)), "image": rng.normal(size=(40, 2))}
    >>> clf = MultimodalClassifier(max_epochs=2, random_state=0).fit(X, X["text"][:, 0] > 0)
    >>> module = DeployedModule(clf)
    >>> values = {name: torch.from_numpy(x).float() for name, x in X.items()}
    >>> there = torch.ones(40, dtype=torch.bool)
    >>> p = module(values, {"text": there, "image": there})
    >>> bool(np.abs(p.numpy() - clf.predict_proba(X)).max() < 1e-5)
    True
    """

    prior: Tensor

    def __init__(self, estimator: Any) -> None:
        super().__init__()
        if isinstance(estimator, type) or not hasattr(estimator, "fit"):
            raise TypeError(f"expected a fitted estimator of skmm, got {estimator!r}.")
        estimator = predicting(estimator)
        if isinstance(estimator, Pipeline):
            steps = [name for name, _ in estimator.steps[:-1]]
            raise TypeError(
                f"a Pipeline: its steps {steps} are no part of the module. Take its last step, pipeline[-1], which "
                "reads what pipeline[:-1].transform(X) gives."
            )
        check_is_fitted(estimator)
        if not hasattr(estimator, "net_"):
            raise TypeError(
                "expected a fitted MultimodalClassifier, MultimodalRegressor or SpeechRecognizer, got "
                f"{type(estimator).__name__}."
            )
        networks, inputs = estimator.net_.module_, estimator.inputs_
        self.infos = dict(inputs.infos)
        precise = getattr(estimator, "experts_", None) is not None
        self.readers = nn.ModuleList(
            make_reader(name, info, inputs, precise=precise) for name, info in self.infos.items()
        )
        readers: list[Any] = list(self.readers)
        self.dtypes: dict[str, torch.dtype] = {n: r.dtype for n, r in zip(self.infos, readers, strict=True)}
        members = [networks.member(k) for k in estimator.net_.speakers]
        self.members = nn.ModuleList(members)
        if reason := unsupported(self.members[0], "export"):
            raise ValueError(f"{reason}; it has no place in a module that is to be exported.")
        self.emits = isinstance(estimator, SpeechRecognizer)
        self.experts: ExpertModules | None = None
        if not self.emits:
            target = estimator._target
            if estimator.stack_ is None:  # the average of the fused heads is all that is said
                for network in members:
                    network.keep_heads([0])
            if estimator.experts_ is not None:
                self.experts = ExpertModules(estimator.experts_, self.infos, target)
            stack = estimator.stack_
            self.combine: nn.Module = (
                _Averaging(target) if stack is None else _Stacking(stack, target, len(stack.weights))
            )
            self.finish = _Finish(target)
            self.register_buffer("prior", constant(target.prior, torch.float64))
        self.reads = list(self.infos) if self.emits else members[0].reads
        self.members.float()
        self.cpu().eval().requires_grad_(False)

    def forward(self, values: Mapping[str, Any], present: Mapping[str, Tensor]) -> Tensor:
        said = self.say(values, present)
        return said[0] if self.emits else self.decide(said, values, present)

    def say(self, values: Mapping[str, Any], present: Mapping[str, Tensor], n_members: int | None = None) -> Tensor:
        """What the members' networks say, of the first ``n_members`` alone: (K, B, ...) as their outputs are."""
        read = {
            name: reader(self._rows(name, values[name]), present[name])
            for name, reader in zip(self.infos, self.readers, strict=True)
            if name in self.reads
        }
        there = {name: present[name] for name in self.infos}
        members = list(self.members)[:n_members]
        return torch.stack([member(read, there) for member in members])

    def decide(self, said: Tensor, values: Mapping[str, Any], present: Mapping[str, Tensor]) -> Tensor:
        """What follows from that: (K, B, C) or with heads of modalities (K, B, H, C) -> (B, C) or (B,)."""
        return self.finish(self.combined(said, values, present))

    def combined(self, said: Tensor, values: Mapping[str, Any], present: Mapping[str, Tensor]) -> Tensor:
        """The logits or standardised values that heads and experts come to together: (K, B, [H,] C) -> (B, C)."""
        heads = existing({name: present[name] for name in self.infos})
        exists = heads.any(-1, keepdim=True)
        said = said.double()
        if said.ndim == 4:
            places: Any = self.members[0]
            heads = torch.cat([exists, heads], -1)[:, places.heads]
        else:
            said, heads = said.unsqueeze(2), exists
        experts = None
        if self.experts is not None:
            experts = self.experts({name: self._rows(name, values[name]) for name in self.infos}, present)
        return torch.where(exists, self.combine(said, heads, experts), self.prior)

    def _rows(self, name: str, value: Any) -> Any:
        """Sparse rows of which all columns are given, as such."""
        if self.infos[name].kind == "sparse" and isinstance(value, Tensor):
            return SparseRows(None, value, value[:, :0])
        return value
