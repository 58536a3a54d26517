"""The check of fusions: as modules, and set in an estimator."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from functools import partial
from typing import Any

from sklearn.exceptions import SkipTestWarning
from sklearn.utils.estimator_checks import check_estimator
from torch import nn

from skmm.blocks._blocks import BlockInfo
from skmm.estimators import MultimodalClassifier, MultimodalRegressor
from skmm.spec import Fusion, Spec
from skmm.testing._estimators import check_estimator_on_blocks
from skmm.testing._modules import INFOS, INHERITED, LINKS, NAMES, RULES, Case, as_known, check, label, takes


def _feature_infos(n: int) -> Iterator[dict[str, BlockInfo]]:
    yield {name: BlockInfo("vector", (2 + m % 3,)) for m, name in enumerate(NAMES[:n])}


def _token_infos(n: int) -> Iterator[dict[str, BlockInfo]]:
    # sequences and single tokens in turn
    yield {name: BlockInfo("sequence", (2 + m % 3,), m % 2 or None) for m, name in enumerate(NAMES[:n])}


def _input_infos(n: int) -> Iterator[dict[str, BlockInfo]]:
    forms = [info for infos in INFOS.values() for info in infos]
    for info in forms:
        yield dict.fromkeys(NAMES[:n], info)
    for first in range(len(forms)) if n > 1 else ():  # of different kinds
        yield {name: forms[(first + 2 * m) % len(forms)] for m, name in enumerate(NAMES[:n])}


_LEVELS = {
    "input": _input_infos,
    "feature": _feature_infos,
    "token": _token_infos,
    "decision": _feature_infos,
}


def _fusion_cases(spec: Spec, n: int) -> list[Case]:
    """Every input for n modalities that the fusion takes; its constructor refuses others with a ValueError."""
    level = getattr(spec.target(), "level", None)
    if level not in _LEVELS:
        raise AssertionError(f"{label('fusion', spec, f'level={level!r}')}: level must be one of {list(_LEVELS)}.")
    number = f"{n} modalit{'y' if n == 1 else 'ies'}"
    cases, refusal = [], None
    for infos in _LEVELS[level](n):
        dims: dict[str, Any] = infos if level == "input" else {name: info.shape[0] for name, info in infos.items()}
        for link, n_outputs in LINKS.items() if level == "decision" else [(None, None)]:
            structure = (dims,) if link is None else (dims, n_outputs, link)
            detail = number + (f", link {link!r}" if link else "")
            if level == "input":
                detail += f" ({', '.join(info.kind for info in infos.values())})"
            case = Case(
                label("fusion", spec, detail),
                partial(spec.build, *structure, inherited=INHERITED),
                infos,
                n_outputs,
            )
            try:
                case.build()
            except ValueError as error:
                refusal = error
            except Exception as error:
                raise AssertionError(
                    f"{case.label}: it cannot be built, {type(error).__name__}: {error}"
                ) from error
            else:
                cases.append(case)
    if not cases:
        raise AssertionError(f"{label('fusion', spec, number)}: it cannot be built: {refusal}") from refusal
    return cases


# The least training with which scikit-learn's checks that an estimator learns are passed.
QUICK: dict[str, Any] = {
    "n_members": 1,
    "max_epochs": 12,
    "hidden_dim": 16,
    "lr": 0.03,
    "dropout": 0.0,
    "device": "cpu",
}


_ESTIMATORS = {MultimodalClassifier: "softmax", MultimodalRegressor: "identity"}


def check_fusion(fusion: str | type[nn.Module] | Fusion, *, estimators: bool = True) -> None:
    """Check that a fusion keeps its contract.

    It is built for one to seven modalities with names that break a careless module, and must: give one row per
    sample; keep samples apart; train, save and copy every weight; have finite gradients at zero inputs and where
    everything is missing; never read what stands in a missing row; work in float32 and float64, on one row and
    under ``torch.func.vmap``. Then it is set in a :class:`~skmm.MultimodalClassifier` and a
    :class:`~skmm.MultimodalRegressor`, which must pass scikit-learn's ``check_estimator`` whole, and
    :func:`check_estimator_on_blocks`: all kinds and forms of blocks, missing rows, seeds, inner splits, global
    state, errors.

    Parameters
    ----------
    fusion : str, nn.Module class or Fusion
        A registered name, a class, or either with parameters: ``Fusion("late", rule="product")``. The class must
        be one that pickles, so not one defined inside a function.
    estimators : bool
        False leaves out the second part, which takes nearly all of the time: on one core about ten seconds for a
        small fusion, half a minute for one of many layers.

    Raises
    ------
    AssertionError
        If a rule does not hold; the message names the rule and the case.
    ValueError
        If the name is not registered, or a parameter is none of the class's.

    Notes
    -----
    Kinds of block (input level) and links (decision level) that the constructor refuses with a ``ValueError`` are
    passed over, as long as it takes one, and estimators that would need them. A class whose layers have no batching
    rule says so, with the reason: ``unsupported = {"vmap": "..."}``.

    Examples
    --------
    >>> from skmm.testing import check_fusion
    >>> check_fusion("sum", estimators=False)  # the module alone, in a second; leave it out for the estimators
    """
    spec = as_known(Fusion, fusion)
    for n in range(1, len(NAMES) + 1):
        for case in _fusion_cases(spec, n):
            check(case, RULES if n <= 3 else RULES[:1])
    for cls, link in _ESTIMATORS.items() if estimators else ():
        if not takes(spec, {"X": BlockInfo("vector", (3,))}, link):  # what scikit-learn's checks give
            continue
        estimator: Any = cls(fusion, **QUICK)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SkipTestWarning)  # a check of array libraries that are not there
            check_estimator(estimator)
        check_estimator_on_blocks(estimator)
