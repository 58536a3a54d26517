"""The baselines of a comparison: those of make_baselines, some of them by name, or the user's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.pipeline import make_pipeline

from skmm._checks import unknown
from skmm._private import safe_indexing
from skmm.blocks import Blocks
from skmm.compose._table import dense_table
from skmm.model_selection._baselines import make_baselines

# estimators on Blocks, or with the modalities that they read side by side
Baselines = bool | str | Sequence[str] | Mapping[str, Any]


def check_baselines(baselines: Any) -> Baselines:
    """The baselines, a single name as a list, after a check of all that can be checked without the samples."""
    if isinstance(baselines, str):
        return [baselines]
    if isinstance(baselines, Mapping):
        for name, given in baselines.items():
            _check(name, given)
        return dict(baselines)
    if isinstance(baselines, (list, tuple)):
        if not baselines:
            raise ValueError("baselines is an empty list: name some, or give baselines=False to have none.")
        return list(baselines)
    if baselines is not None and not isinstance(baselines, (bool, np.bool_)):
        raise ValueError(
            "baselines must be True, False, a list of names of make_baselines, or a dict of estimators, got "
            f"{baselines!r}."
        )
    return bool(baselines)


def _check(name: str, given: Any) -> None:
    """Refuse what is neither an estimator nor a pair of one and modalities."""
    model = given[0] if isinstance(given, tuple) and len(given) == 2 else given
    if isinstance(model, type):
        raise ValueError(f"baseline {name!r} is the class {model.__name__}: give an estimator, {model.__name__}().")
    lacking = [method for method in ("fit", "predict") if not callable(getattr(model, method, None))]
    if lacking:
        raise ValueError(
            f"baseline {name!r} must be an estimator, or a pair (estimator, modalities); {model!r} has no "
            f"{' and no '.join(lacking)}."
        )


def read_blocks(baselines: Baselines) -> bool:
    """Whether baselines are made for the modalities that there are."""
    if isinstance(baselines, Mapping):
        return any(isinstance(given, tuple) for given in baselines.values())
    return bool(baselines)


def baselines_of_folds(
    baselines: Baselines,
    blocks: Any,
    y: Any,
    splits: list[tuple[np.ndarray, np.ndarray]],
    groups: Any,
    *,
    regression: bool,
    random_state: Any,
) -> list[dict[str, Any]]:
    """The baselines of each fold by name, unfitted, each an estimator on Blocks.

    Parameters
    ----------
    baselines : Baselines
        As :func:`check_baselines` gives them.
    blocks : Blocks
        Samples of a training part, if :func:`read_blocks`: they say which modalities there are.
    y, groups : array-like of shape (n_samples,)
    splits : list of pairs of ndarray
        Training and test rows of each fold.
    regression : bool
    random_state : int, RandomState instance or None
    """
    if not baselines:
        return [{}] * len(splits)
    if isinstance(baselines, Mapping):
        own = {name: _on_blocks(name, given, blocks, random_state) for name, given in baselines.items()}
        return [own] * len(splits)
    made = [
        make_baselines(
            blocks,
            safe_indexing(y, train),
            regression=regression,
            groups=None if groups is None else safe_indexing(groups, train),  # their own folds keep groups whole
            random_state=random_state,
        )
        for train, _ in splits
    ]
    if baselines is True:
        return made
    names = list(dict.fromkeys(baselines))
    for name in names:
        if name not in made[0]:
            raise unknown("baseline", name, made[0])
    return [{name: fold[name] for name in names} for fold in made]


def _on_blocks(name: str, given: Any, blocks: Any, random_state: Any) -> Any:
    """A baseline as it is, or behind what puts the modalities that come with it side by side."""
    if not isinstance(given, tuple):
        return given
    model, modalities = given
    if not isinstance(blocks, Blocks):
        raise ValueError(
            f"baseline {name!r} with modalities needs X to be Blocks, or to become them, got "
            f"{type(blocks).__name__}."
        )
    if modalities is None or (isinstance(modalities, str) and modalities == "all" and "all" not in blocks):
        modalities = list(blocks)
    names = [modalities] if isinstance(modalities, str) else list(modalities)
    if not names:
        raise ValueError(f"baseline {name!r} reads no modality; valid are {list(blocks)}, or None for all.")
    for modality in names:
        if modality not in blocks:
            raise unknown(f"modality of baseline {name!r}:", modality, blocks)
    return make_pipeline(dense_table(blocks, names, random_state), model)
