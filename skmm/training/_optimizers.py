"""How fast and for how long a network learns: learning rates and their schedules, optimizers, batches, epochs."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any, Literal

from torch import nn, optim

from skmm.spec import Optimizer

# -- learning-rate schedules: share of training done -> factor on the learning rate -------------------------------


def _constant(done: float) -> float:
    return 1.0


def _linear(done: float) -> float:
    return 1.0 - done


def _cosine(done: float) -> float:
    warm_up = 0.05
    if done < warm_up:
        return (done + 1e-3) / (warm_up + 1e-3)
    return 0.5 * (1.0 + math.cos(math.pi * (done - warm_up) / (1.0 - warm_up)))


def _step(done: float) -> float:
    return 0.1 ** int(3 * done)


def _exponential(done: float) -> float:
    return 0.01**done


SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": _constant,
    "linear": _linear,
    "cosine": _cosine,
    "step": _step,
    "exponential": _exponential,
}


def set_lr(optimizer: optim.Optimizer, lr: float, schedule: str, step: int, total_steps: int) -> None:
    """Give every group of parameters its learning rate for a step, counted from 0, of so many."""
    if schedule == "constant":  # left to the user's own scheduler among the callbacks
        return
    lr = lr * SCHEDULES[schedule](min(1.0, step / total_steps))
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_factor"]


# -- optimizers ---------------------------------------------------------------------------------------------------

# Learning rate where the user says "auto": a step of plain SGD is proportional to the gradient, of the others not.
_AUTO_LR = {"sgd": 0.05, "asgd": 0.05, "lbfgs": 1.0, "adadelta": 1.0, "adagrad": 0.03}
_AUTO_LR_ELSE = 3e-3


def base_lr(spec: Optimizer, lr: float | Literal["auto"]) -> float:
    """The learning rate that a schedule starts from."""
    return _AUTO_LR.get(spec.target().__name__.lower(), _AUTO_LR_ELSE) if lr == "auto" else lr


def make_optimizer(
    spec: Optimizer,
    weights: list[nn.Parameter],
    rest: list[nn.Parameter],
    *,
    lr: float,
    weight_decay: float = 0.0,
    lr_factors: Mapping[nn.Parameter, float] | None = None,
) -> optim.Optimizer:
    """Build an optimizer from its spec, with weight decay on the weights alone.

    A factor on the learning rate of a parameter is 1 where none is given; its group keeps it as ``lr_factor``.
    """
    cls, options = spec.target(), spec.resolve()
    takes = inspect.signature(cls).parameters
    decays = "weight_decay" in takes
    parts = [(weights, weight_decay), (rest, 0.0)]
    if not (decays and weight_decay):
        parts = [([*weights, *rest], 0.0)]
    factors = lr_factors or {}
    groups: list[dict[str, Any]] = []
    for parameters, decay in parts:
        for factor in sorted({factors.get(p, 1.0) for p in parameters}):
            group = {"params": [p for p in parameters if factors.get(p, 1.0) == factor], "lr_factor": factor}
            groups.append({**group, "lr": lr * factor, **({"weight_decay": decay} if decays else {})})
    if "fused" in takes and options.get("fused") is None and not options.get("foreach"):
        options["fused"] = True  # one kernel for all parameters
    try:
        return cls(groups, lr=lr, **options)
    except Exception as error:  # of values that are none torch says it in many ways, assertions among them
        given = ", ".join(f"{name}={value!r}" for name, value in spec.given.items())
        values = f"mend its parameters, {given}, or " if given else ""
        raise ValueError(
            f"optimizer {cls.__name__}: {str(error).rstrip('.')}; {values}choose another, such as 'adamw'."
        ) from error


# -- sizes --------------------------------------------------------------------------------------------------------


_ROWS_TO_GO_ON = 4_000  # where 800 steps are 13 epochs
MOST_EPOCHS = 100


def auto_batch_size(n_samples: int) -> int:
    """32 below 2,500 samples, 64 below 5,000, else 128."""
    return 32 if n_samples < 2500 else 64 if n_samples < 5000 else 128


def auto_epochs(n_samples: int, batch_size: int) -> int:
    """Enough for 800 steps, but at least 5 epochs and at most 100."""
    return min(MOST_EPOCHS, max(5, math.ceil(800 / math.ceil(n_samples / batch_size))))


def auto_width(n_samples: int, n_outputs: int) -> int:
    """From 4,000 samples on 256, below them 64, or 128 for more than ten outputs."""
    if n_samples >= _ROWS_TO_GO_ON:
        return 256
    return 64 if n_outputs <= 10 else 128


def auto_dropout(n_samples: int) -> float:
    """0.3 below 4,000 samples, else 0.1."""
    return 0.3 if n_samples < _ROWS_TO_GO_ON else 0.1


def goes_on(n_samples: int) -> bool:
    """Whether a fit of so many samples trains on where it pays: those it has passed over but a few times."""
    return n_samples >= _ROWS_TO_GO_ON
