"""What a fitted estimator predicts, as a function of one modality that can be differentiated."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from skmm.blocks import Blocks, is_lazy
from skmm.blocks._kinds import spread
from skmm.deployment._feeding import arrays, batches
from skmm.deployment._graph import Program, arguments_of
from skmm.deployment._module import DeployedModule
from skmm.deployment._trees import Trees
from skmm.estimators._targets import ClassTarget, Target, ValueTarget
from skmm.layers import SparseRows


class Goal:
    """The one number of a prediction that is explained.

    Of classes the log-odds of one: what heads say of a class has a floor, and its probability two, where nothing
    that changes in a sample changes anything. Of labels the log-odds of one, of values one in its own units.

    Parameters
    ----------
    estimator : MultimodalClassifier or MultimodalRegressor
        Fitted.
    target : object
        As :func:`~skmm.inspection.attributions` takes it.
    """

    def __init__(self, estimator: Any, target: Any) -> None:
        self.of: Target = estimator._target
        self.given = target
        self.values = isinstance(self.of, ValueTarget)
        self.labels = np.arange(self.of.n_outputs) if self.values else np.asarray(estimator.classes_)
        self.chosen = isinstance(self.of, ClassTarget) and target is None
        if target is None and not self.chosen and self.of.n_outputs > 1:
            what = "outputs" if self.values else "labels"
            raise ValueError(
                f"the estimator predicts {self.of.n_outputs} {what}; say which one is explained, target=... of "
                f"{self.labels.tolist()}."
            )
        if isinstance(self.of, ClassTarget) and self.of.n_outputs < 2:
            raise ValueError(f"training saw the class {self.labels[0]!r} alone: nothing speaks for or against it.")
        self.unit = "predicted value" if self.values else "log-odds"

    @property
    def smallest(self) -> np.ndarray:
        """The change of each output below which errors are no longer measured by it."""
        deviation = np.ravel(self.of.deviation) if isinstance(self.of, ValueTarget) else np.ones(1)
        return np.broadcast_to(0.1 * deviation, self.of.n_outputs)

    def places(self, n_samples: int) -> np.ndarray | None:
        """Number of the output that each sample is asked about; None if that is what it is predicted as."""
        if self.chosen:
            return None
        if self.given is None:
            return np.zeros(n_samples, dtype=np.int64)
        given = np.asarray(self.given) if np.ndim(self.given) or hasattr(self.given, "dtype") else self.given
        several = np.ndim(given) > 0
        if np.ndim(given) > 1:
            raise ValueError(f"target of shape {np.shape(given)} must be one label, or one for each sample.")
        each = given.tolist() if several else [given.item() if isinstance(given, np.ndarray) else given]
        if several and len(each) != n_samples:
            raise ValueError(f"target has {len(each)} entries, one for each sample; there are {n_samples} samples.")
        known = {label: place for place, label in enumerate(self.labels.tolist())}
        what = "output" if self.values else "class" if self.of.competing else "label"
        for label in each:
            if not isinstance(label, Hashable) or label not in known:
                raise ValueError(f"unknown {what} {label!r}, valid are {self.labels.tolist()}.")
        return np.broadcast_to([known[label] for label in each], n_samples).copy()

    def outputs(self, combined: Tensor, places: Tensor) -> Tensor:
        """Of combined outputs (B, C) the one that is asked about, (B,)."""
        own = places.unsqueeze(1)
        if isinstance(self.of, ClassTarget):
            others = combined.scatter(1, own, -torch.inf).logsumexp(1)
            return combined.gather(1, own)[:, 0] - others
        if isinstance(self.of, ValueTarget):
            deviation, mean = (torch.from_numpy(np.ravel(part)) for part in (self.of.deviation, self.of.mean))
            combined = combined * deviation + mean
        return combined.gather(1, own)[:, 0]


def _loaded(blocks: Blocks) -> Blocks:
    """Blocks with all that is read lazily in memory."""
    loaded, present = dict(blocks.items()), blocks.present
    for name, block in blocks.items():
        if is_lazy(block):
            rows = np.flatnonzero(present[name])
            values, exists = block.read(rows)
            loaded[name] = spread(values, rows, len(blocks))
            present[name] = np.isin(np.arange(len(blocks)), rows[exists])
    return Blocks(loaded, present=present)


class _Batch:
    """Which rows of the samples that were loaded are asked about; None while these are read."""

    rows: Tensor | None = None
    hold = True


class _Remembered(nn.Module):
    """A module that does not read what is explained, or that cannot be differentiated, and so is asked once.

    Parameters
    ----------
    module : nn.Module
        The module.
    batch : _Batch
        Shared by all.
    held : bool
        Whether the module reads what is explained: it says the same as of the whole sample while ``batch.hold``.
    """

    said: Any

    def __init__(self, module: nn.Module, batch: _Batch, *, held: bool = False) -> None:
        super().__init__()
        self.module, self.batch, self.held = module, batch, held

    def forward(self, *given: Any) -> Any:
        rows = self.batch.rows
        if rows is None:
            self.said = self.module(*given)
            return self.said
        return self.module(*given) if self.held and not self.batch.hold else _at(self.said, rows)


def _at(said: Any, rows: Tensor) -> Any:
    """Rows of what a module said."""
    if isinstance(said, Tensor):
        return said[rows]
    if isinstance(said, SparseRows):
        columns = None if said.columns is None else said.columns[rows]
        return SparseRows(columns, said.weights[rows], said.compressed[rows])
    return tuple(part[rows] for part in said)


class Explained:
    """One number of the prediction of samples, as a function of one of their modalities.

    What does not read that modality is computed once for all values that it is given.

    Parameters
    ----------
    estimator : MultimodalClassifier or MultimodalRegressor
        Fitted.
    modality : str
        The modality.
    goal : Goal
        The number.
    hold_trees : bool
        Whether experts that are trees, which cannot be differentiated, keep what they say of the whole sample.

    Attributes
    ----------
    x : Tensor of shape (B, ...)
        What the modality holds of the samples that are loaded: values, of sparse rows the stored weights, and of
        token ids how much of each counts, 1.
    held : list of str
        Names of the experts that read the modality and are held.
    """

    x: Tensor
    places: Tensor

    def __init__(self, estimator: Any, modality: str, goal: Goal, *, hold_trees: bool) -> None:
        self.module, self._check = DeployedModule(estimator), estimator.inputs_.check
        self.modality, self.goal = modality, goal
        self.info = self.module.infos[modality]
        self.arguments = arguments_of(self.module)
        self.program = Program(self.module, self.arguments)
        names = list(self.module.infos)
        self.own = names.index(modality)
        self.batch, self.held = _Batch(), list[str]()
        self._gate: Tensor | None = None
        self._precompute(hold_trees)
        if self.info.kind == "tokens":
            self._gate_tokens()

    def _precompute(self, hold_trees: bool) -> None:
        """Ask what does not read the modality once."""
        module, batch = self.module, self.batch
        for m in range(len(module.infos)):
            if m == self.own:
                continue
            module.readers[m] = _Remembered(module.readers[m], batch)
            for member in self._members():
                if len(member.encoders) and not isinstance(member.encoders[m], nn.Identity):
                    member.encoders[m] = _Remembered(member.encoders[m], batch)
        if module.experts is None:
            return
        tables = module.experts.tables
        for m, name in enumerate(tables.names):
            if name != self.modality:
                tables.made[m] = _Remembered(tables.made[m], batch)
        for e, choice in enumerate(module.experts.choices):
            expert = module.experts.each[e]
            trees = any(isinstance(part, Trees) for part in expert.modules())
            if self.modality not in choice.modalities:
                module.experts.each[e] = _Remembered(expert, batch)
            elif trees and hold_trees:
                module.experts.each[e] = _Remembered(expert, batch, held=True)
                self.held.append(choice.name)

    def _members(self) -> list[Any]:
        return list(self.module.members)

    def _gate_tokens(self) -> None:
        """Multiply what tokens are embedded as by how much of each counts, and count them so."""

        def gate(_: nn.Module, given: Any, embedded: Tensor) -> Tensor:
            fits = self._gate is not None and embedded.shape[:-1] == self._gate.shape
            return embedded * self._gate.unsqueeze(-1) if fits and self._gate is not None else embedded

        def count(_: nn.Module, given: Any) -> Any:
            x, mask = given
            return (x, mask) if self._gate is None else (x, mask * self._gate)

        for member in self._members() if self.modality in self.module.reads else []:
            embeddings = [part for part in member.encoders[self.own].modules() if isinstance(part, nn.Embedding)]
            if not embeddings:
                raise ValueError(
                    f"modality {self.modality!r}: its encoder {type(member.encoders[self.own]).__name__} holds no "
                    "torch.nn.Embedding, so that no share of a token can be taken away from it; of the modality as "
                    "a whole modality_contributions tells."
                )
            for embedding in embeddings:
                embedding.register_forward_hook(gate)
        if self.module.experts is not None:
            tables = self.module.experts.tables
            tables.made[tables.names.index(self.modality)].register_forward_pre_hook(count)

    # -- samples -------------------------------------------------------------------------------------------------

    def read(self, blocks: Blocks, places: np.ndarray | None) -> Iterator[np.ndarray]:
        """Load checked samples, some at a time: the rows of these."""
        for rows, part in self._in_memory(blocks):
            fed = arrays(part, self.module.infos, self.arguments)
            tensors = tuple(torch.from_numpy(fed[argument.name]) for argument in self.arguments)
            self.values, self.present = self.program.named(tensors)
            self._load(None if places is None else torch.from_numpy(places[rows]))
            yield rows

    def _in_memory(self, blocks: Blocks) -> Iterator[tuple[np.ndarray, Blocks]]:
        """Some samples at a time, with what is stored elsewhere read of these alone."""
        for rows, part in batches(blocks):
            if not any(is_lazy(block) for block in part.values()):
                yield rows, part
                continue
            for own, few in batches(self._check(_loaded(part))):
                yield rows[own], few

    def _load(self, places: Tensor | None) -> None:
        own = self.values[self.modality]
        self.x = own.weights if isinstance(own, SparseRows) else own
        if self.info.kind == "tokens":
            self.x = torch.ones(own.shape)
        self.batch.rows, self._gate = None, None
        with torch.no_grad():
            combined = self._combined(self.values, self.present)
        self.batch.rows = torch.arange(len(combined))
        self.places = combined.argmax(1) if places is None else places
        self.output = self.goal.outputs(combined, self.places)

    @property
    def there(self) -> Tensor:
        """Which samples, or steps of them, exist: (B,) or (B, T)."""
        return self.present[self.modality]

    @property
    def stored(self) -> Tensor:
        """Of sparse rows the columns that are stored, (B, N), and the ids of tokens (B, T)."""
        own = self.values[self.modality]
        return own.columns if isinstance(own, SparseRows) else own

    def baseline(self, given: Any) -> Tensor:
        """What stands for nothing, in the shape of a sample or step: given, the mean of training, or zeros."""
        if self.info.kind in ("sparse", "tokens"):
            return torch.zeros((), dtype=self.x.dtype)
        if given is None:
            nothing: Any = getattr(self.module.readers[self.own], "mean", torch.zeros(()))
        else:
            nothing = torch.from_numpy(np.array(given, dtype=np.float64))
        return torch.as_tensor(nothing, dtype=self.x.dtype).broadcast_to(self.info.shape)

    def within(self, x: Tensor, reach: float) -> Tensor:
        """Values (R, ...) cut to some deviations about the mean of training; as they are if nothing scales them."""
        reader: Any = self.module.readers[self.own]
        if not getattr(reader, "scales", False):
            return x
        low, high = ((reader.mean + side * reader.scale).to(x.dtype) for side in (-reach, reach))
        return torch.minimum(torch.maximum(x, low), high)

    # -- the function --------------------------------------------------------------------------------------------

    def __call__(self, x: Tensor, rows: Tensor) -> Tensor:
        """The number for other values of the modality: x (R, ...) of samples rows (R,) -> (R,) float64."""
        self.batch.rows = rows
        values = dict(self.values)
        own = values[self.modality]
        if self.info.kind == "tokens":
            self._gate, values[self.modality] = x, own[rows]
        elif isinstance(own, SparseRows):
            values[self.modality] = SparseRows(own.columns[rows], x, x[:, :0])
        else:
            values[self.modality] = x
        present = {name: mask[rows] for name, mask in self.present.items()}
        return self.goal.outputs(self._combined(values, present), self.places[rows])

    def of_baseline(self, nothing: Tensor, rows: Tensor, *, hold: bool) -> Tensor:
        """The number for the baseline, with experts that are held or not."""
        self.batch.hold = hold
        with torch.no_grad():
            found = self(nothing.expand(len(rows), *self.x.shape[1:]).clone(), rows)
        self.batch.hold = True
        return found

    def _combined(self, values: Any, present: Any) -> Tensor:
        return self.module.combined(self.module.say(values, present), values, present)
