"""What a fit will take, before it: parameters, memory and time."""

from __future__ import annotations

import time as time_module
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from sklearn.base import clone
from torch import nn

from skmm._devices import draw_seed, find_device, seeded
from skmm._progress import progress, showing
from skmm.blocks import Blocks
from skmm.network._encoders import check_encoders
from skmm.network._network import FusionNetwork
from skmm.table import Table
from skmm.training._memory import bytes_for_backward, bytes_of
from skmm.training._net import MultimodalNet
from skmm.training._sets import TrainingSet

if TYPE_CHECKING:
    from skmm.estimators._base import MultimodalEstimator

_SECONDS = 2.0  # for which steps are measured, at least one
_MOST_STEPS = 20


@dataclass(frozen=True)
class Profile:
    """What a fit will take, as ``profile`` of an estimator measured it.

    Attributes
    ----------
    parts : Table
        Parameters of each part of one network: the encoder of each modality, the fusion, the heads.
    n_parameters : int
        Those of all networks together, and of them ``n_trained`` are not frozen.
    n_members : int
        How many networks there are.
    n_samples : int
        Distinct samples that train.
    batch_size, n_steps, n_epochs : int
        Samples of a step, steps of an epoch, and epochs that are planned.
    most_epochs : int
        Epochs that there may be: with ``max_epochs="auto"`` training goes on while it pays.
    memory : dict of str to int
        Bytes of the ``"weights"``, their ``"gradients"``, the ``"optimizer"``, the ``"activations"`` of a batch,
        and all ``"samples"`` on the device.
    seconds_before : float
        Until the first step: reading, scaling, building the networks.
    seconds_per_epoch : float
        By the mean of the steps that were measured.
    device : str
        Where.

    Notes
    -----
    Not measured are the experts and the stack that follow training, and the pass over what ``early_stopping`` holds
    out. ``early_stopping`` and ``time_limit`` may end training before the last epoch.

    Examples
    --------
    >>> import numpy as np
    >>> from skmm import MultimodalRegressor
    >>> rng = np.random.default_rng(0)
    >>> profile = MultimodalRegressor(n_members=2).profile({"text": rng.normal(size=(90, 4))}, rng.normal(size=90))
    >>> print(profile)  # doctest: +SKIP
    2 networks of 4,935 parameters each, on cpu, for 90 samples
      encoder text 448, fusion 4,352, heads 135
    memory   weights 39 kB, gradients 39 kB, optimizer 77 kB, activations 202 kB, samples 1.8 kB
    time     0.085 s before training, then 100 epochs of 2 steps, 0.0062 s each: about 0.7 s
    beyond   experts and stack are not measured
    """

    parts: Table
    n_parameters: int
    n_trained: int
    n_members: int
    n_samples: int
    batch_size: int
    n_steps: int
    n_epochs: int
    most_epochs: int
    memory: dict[str, int]
    seconds_before: float
    seconds_per_epoch: float
    device: str
    stacked: bool

    @property
    def seconds(self) -> float:
        """Expected of reading and training."""
        return self.seconds_before + self.n_epochs * self.seconds_per_epoch

    def __repr__(self) -> str:
        networks = f"{self.n_members} networks" if self.n_members > 1 else "1 network"
        parts = ", ".join(f"{row['part']} {row['parameters']:,}" for row in self.parts)
        memory = ", ".join(f"{name} {_size(size)}" for name, size in self.memory.items())
        lines = [
            f"{networks} of {self.n_parameters // self.n_members:,} parameters each, on {self.device}, for "
            f"{self.n_samples:,} samples",
            f"  {parts}",
            f"memory   {memory}",
            f"time     {_time(self.seconds_before)} before training, then {self.n_epochs} epochs of {self.n_steps} "
            f"steps, {_time(self.seconds_per_epoch)} each: about {_time(self.seconds)}",
        ]
        if self.most_epochs > self.n_epochs:
            longest = self.seconds_before + self.most_epochs * self.seconds_per_epoch
            lines.append(f"         up to {self.most_epochs} epochs while they pay: {_time(longest)}")
        if self.stacked:
            lines.append("beyond   experts and stack are not measured")
        return "\n".join(lines)


class Profiled:
    """Estimators that say before a fit what it will take."""

    def profile(self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None, time: Any = None) -> Profile:
        """What a fit to these samples will take, measured on its first steps: nothing is fitted, or changed.

        Parameters
        ----------
        X, y, sample_weight, groups, time
            What ``fit`` would be given.

        Returns
        -------
        Profile
            Parameters of each part of the network, memory, and seconds.

        Raises
        ------
        ValueError
            As ``fit`` does, if something is wrong with the parameters or the samples.

        Examples
        --------
        >>> import numpy as np
        >>> from skmm import MultimodalClassifier
        >>> rng = np.random.default_rng(0)
        >>> X = {"text": rng.normal(size=(320, 10)), "image": rng.normal(size=(320, 20))}
        >>> profile = MultimodalClassifier(max_epochs=20, experts=None).profile(X, rng.integers(2, size=320))
        >>> profile.parts
        part           parameters
        encoder text          832
        encoder image        1472
        fusion               8512
        heads                 454
        >>> profile.n_members, profile.n_steps, profile.n_epochs
        (8, 9, 20)
        >>> profile.seconds > 0
        True
        """
        return measure(clone(self), X, y, sample_weight, groups, time)


def measure(estimator: MultimodalEstimator, *samples: Any) -> Profile:
    """The profile of a fit of an estimator, which is not used after this."""
    estimator.callbacks = estimator.checkpoint = None
    start = time_module.perf_counter()
    with showing(bool(estimator.verbose)):
        estimator._check_params()
        prepared = estimator._prepare(*samples)
        random, device = prepared.random, find_device(estimator.device)
        with seeded(draw_seed(random), device):
            net = estimator._build(prepared, random, device)
            training, _ = estimator._load_training(prepared, device)
            rounds = estimator._rounds(prepared, net, training)
            before = time_module.perf_counter() - start
            activations, seconds = _steps(net, training)
    module = net.module_
    weights = sum(p.nbytes for p in module.parameters())
    state = [x for own in net.optimizer_.state.values() for x in own.values() if isinstance(x, torch.Tensor)]
    n_steps = net.n_batches(training)
    return Profile(
        parts=_parts(module.network),
        n_parameters=sum(p.numel() for p in module.parameters()),
        n_trained=sum(p.numel() for p in module.parameters() if p.requires_grad),
        n_members=module.n_members,
        n_samples=len(prepared.plan.train),
        batch_size=net.batch_size,
        n_steps=n_steps,
        n_epochs=net.max_epochs,
        most_epochs=net.max_epochs if rounds is None else rounds.most,
        memory={
            "weights": weights,
            "gradients": sum(p.nbytes for p in module.parameters() if p.requires_grad),
            "optimizer": sum(x.nbytes for x in state),
            "activations": activations,
            "samples": bytes_of(training.data) + training.target.nbytes,
        },
        seconds_before=before,
        seconds_per_epoch=n_steps * seconds,
        device=str(device),
        stacked=prepared.plan.blind and estimator._wants_stack(),
    )


def refused_fusions(
    estimator: MultimodalEstimator, X: Blocks, y: Any, fusions: Mapping[str, Any]
) -> dict[str, ValueError]:
    """Which fusions cannot be built for such samples, by name, and why."""
    estimator._check_params()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the fits will say it
        target, _ = estimator._first_target(y, None)
    encoders = check_encoders(estimator.encoders, list(X))
    inputs = estimator._learn_inputs(X, np.ones(len(X)), encoders, scale=False)
    found = {}
    with seeded(0, find_device(estimator.device)):
        for name, fusion in fusions.items():
            try:
                FusionNetwork(**estimator._network_args(inputs, target, fusion, len(X)))
            except ValueError as error:
                found[name] = error
    return found


def _steps(net: MultimodalNet, training: TrainingSet) -> tuple[int, float]:
    """Bytes that a step keeps for its way back, and the seconds that one takes."""
    net.start_schedule(net.n_batches(training), net.max_epochs)
    net.module_.train()
    taken: list[float] = []
    activations, begin = 0, time_module.perf_counter()
    with progress("measuring", _MOST_STEPS, after=1.0) as bar:
        batches = islice(net.get_iterator(training, training=True), _MOST_STEPS + 1)
        start = begin
        for number, batch in enumerate(batches):
            if number == 0:
                values, present = batch.samples
                activations = bytes_for_backward(net.module_, values, present, own_rows=batch.axes == 2)
            net.train_step(batch)
            if torch.device(net.device).type == "cuda":
                torch.cuda.synchronize(net.device)
            now = time_module.perf_counter()
            taken.append(now - start)
            start = now
            bar.advance()
            if now - begin > _SECONDS:
                break
    # the first one also compiles, takes memory, and was passed twice
    each = taken[1:] or [taken[0] / 1.5]
    return activations, sum(each) / len(each)


def _parts(network: FusionNetwork) -> Table:
    """Parameters of each part; what two of them share counts with the first."""
    parts: list[tuple[str, nn.Module | None]] = [
        *((f"encoder {name}", encoder) for name, encoder in zip(network.names, network.encoders, strict=False)),
        ("fusion", network.fusion),
        ("heads", nn.ModuleList([x for x in (network.head, *network.modality_heads) if x is not None])),
    ]
    seen: set[int] = set()
    rows = []
    for name, module in parts:
        own = [p for p in ([] if module is None else module.parameters()) if id(p) not in seen]
        seen |= {id(p) for p in own}
        rows.append({"part": name, "parameters": sum(p.numel() for p in own)})
    return Table(rows)


def _size(n_bytes: int) -> str:
    """Bytes in the unit that suits them."""
    for size, unit in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if n_bytes >= size:
            return f"{n_bytes / size:.0f} {unit}" if n_bytes >= 10 * size else f"{n_bytes / size:.1f} {unit}"
    return f"{n_bytes} B"


def _time(seconds: float) -> str:
    """Seconds to two digits, or minutes or hours of them."""
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.2g} s"
