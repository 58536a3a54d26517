"""The section of a report on how an estimator was made."""

from __future__ import annotations

import inspect
import platform
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from skmm.inspection._inside import fitted_model
from skmm.reporting._asked import Asked
from skmm.reporting._data import Part
from skmm.reporting._document import Numbers, Section, Text, clip
from skmm.table import Table
from skmm.training._identity import versions

_MOST_PARAMETERS = 120
_LONGEST = 200  # characters of a parameter


def today() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d")


def versions_here() -> dict[str, str]:
    """Of what the report was made with."""
    own = sys.modules[__name__.partition(".")[0]].__version__
    return {"skmm": own, **versions(), "Python": platform.python_version()}


def making_section(asked: Asked, warned: Sequence[str]) -> Section:
    """How the estimator was made, and what there is to be careful about."""
    parts: list[Part] = [Text(sentence, beware=True) for sentence in [*warned, *_cautions(asked)]]
    facts = [{"what": name, "value": clip(value, _LONGEST)} for name, value in facts_of(asked.estimator).items()]
    parts.append(Numbers(Table(facts), "The model, and with what this report was made"))
    chosen, left = _parameters(asked.estimator)
    if chosen:
        parts.append(Numbers(Table(chosen), "Parameters that were chosen"))
    if left:
        parts.append(Numbers(Table(left), "Parameters left as they are by default"))
    return Section("How it was made", parts)


def facts_of(estimator: Any) -> dict[str, str]:
    """What is known of a fit, each under its name."""
    model = fitted_model(estimator)
    steps = [type(step).__name__ for _, step in getattr(estimator, "steps", [])]
    found = {"estimator": " → ".join(steps) or type(estimator).__name__}
    net, history = getattr(model, "net_", None), getattr(model, "history_", None)
    if getattr(model, "n_members", None) is not None:
        found["members (networks)"] = str(model.n_members)
    if getattr(model, "n_iter_", None) is not None:
        found["epochs"] = clip(model.n_iter_)
    if history is not None and len(history) and "dur" in history[0]:
        found["seconds of training, experts and stack aside"] = f"{sum(history[:, 'dur']):.1f}"
    module = getattr(net, "module_", None)
    if module is not None:
        found["weights of its networks"] = f"{sum(each.numel() for each in module.parameters()):,}"
    if net is not None:
        found["device"] = str(net.device)
    if getattr(model, "oof_score_", None) is not None:
        found["score on training rows that members left out"] = f"{model.oof_score_:.4f}"
    if hasattr(estimator, "best_params_"):
        found["chosen by the search"] = clip(estimator.best_params_, _LONGEST)
    parts = getattr(estimator, "steps", [(type(estimator).__name__, estimator)])
    seeds = {name: _params(part)["random_state"] for name, part in parts if "random_state" in _params(part)}
    if seeds:
        found["seeds (random_state)"] = ", ".join(f"{name}: {value!r}" for name, value in seeds.items())
    return {**found, "date of this report": today(), **versions_here()}


def _cautions(asked: Asked) -> list[str]:
    """What of the fit itself a reader should be careful about."""
    if _params(fitted_model(asked.estimator)).get("random_state", 0) is None:
        return ["No seed was given (random_state): another fit to the same rows will differ a little."]
    return []


def _params(estimator: Any) -> dict[str, Any]:
    return estimator.get_params(deep=False) if hasattr(estimator, "get_params") else {}


def _parameters(estimator: Any) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """Parameters of an estimator, or of each step of a pipeline: those unlike their defaults, and the others."""
    chosen: list[dict[str, str]] = []
    left: list[dict[str, str]] = []
    for step, part in getattr(estimator, "steps", [("", estimator)]):
        defaults = _defaults(type(part))
        for name, value in sorted(_params(part).items()):
            default = defaults.get(name, inspect.Parameter.empty)
            row = {"parameter": clip(f"{step}__{name}" if step else name), "value": clip(repr(value), _LONGEST)}
            if repr(value) == repr(default):
                left.append(row)
            else:
                known = "" if default is inspect.Parameter.empty else clip(repr(default), _LONGEST)
                chosen.append({**row, "default": known})
    return chosen[:_MOST_PARAMETERS], left[:_MOST_PARAMETERS]


def _defaults(made_by: type) -> dict[str, Any]:
    try:
        return {name: parameter.default for name, parameter in inspect.signature(made_by).parameters.items()}
    except (TypeError, ValueError):  # of what is built in
        return {}
