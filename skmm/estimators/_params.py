"""Parameters that reach inside of what an estimator is given."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Self

import torch
from sklearn.base import BaseEstimator, clone

from skmm._checks import unknown
from skmm._documentation import Documented
from skmm.spec import Encoder, Fusion, Optimizer, Spec, as_spec

# Parameters of an estimator that hold a spec.
_OWNERS: dict[str, type[Spec]] = {"fusion": Fusion, "optimizer": Optimizer}


def _owner(names: Iterable[str], key: str) -> str | None:
    """The longest of the names that a key is or begins with, since names may hold underscores themselves."""
    return max((n for n in names if key == n or key.startswith(n + "__")), key=len, default=None)


class SpecParams(Documented, BaseEstimator):
    """Lets parameters reach inside: ``fusion__factor``, ``optimizer__momentum``, ``encoders__text__hidden_dim``,
    ``augment__image__p``, of a list of augmentations ``augment__image__0__p``, ``experts__forest__max_depth``."""

    encoders: Any
    augment: Any
    experts: Any

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Parameters, those of fusion, optimizer, and each modality's encoder and augmentations included."""
        params = super().get_params(deep=deep)
        encoders = params.get("encoders")
        if deep and isinstance(encoders, Mapping):
            for name, encoder in encoders.items():
                params[f"encoders__{name}"] = encoder
                if isinstance(encoder, Spec):
                    params.update({f"encoders__{name}__{k}": v for k, v in encoder.get_params().items()})
        augment = params.get("augment")
        if deep and isinstance(augment, Mapping):
            for name, given in augment.items():
                each = {f"{name}__{i}": a for i, a in enumerate(given)} if isinstance(given, list) else {}
                for key, change in {name: given, **each}.items():
                    params[f"augment__{key}"] = change
                    if isinstance(change, BaseEstimator):
                        params.update({f"augment__{key}__{k}": v for k, v in change.get_params().items()})
        experts = params.get("experts")
        if deep and isinstance(experts, Mapping):
            for name, given in experts.items():
                params[f"experts__{name}"] = given
                expert = given[0] if isinstance(given, tuple) and given else given
                if hasattr(expert, "get_params") and not isinstance(expert, type):
                    params.update({f"experts__{name}__{k}": v for k, v in expert.get_params().items()})
        return params

    def set_params(self, **params: Any) -> Self:
        """Set parameters; a choice given as a name becomes a spec when one of its parameters is set."""
        nested = {key: value for key, value in params.items() if "__" in key}
        super().set_params(**{key: value for key, value in params.items() if key not in nested})
        # an encoder itself before its parameters
        for key in sorted(nested, key=lambda key: key.count("__")):
            owner, _, rest = key.partition("__")
            if owner in _OWNERS and not isinstance(getattr(self, owner), torch.nn.Module):
                spec = clone(as_spec(_OWNERS[owner], getattr(self, owner)))
                setattr(self, owner, spec.set_params(**{rest: nested[key]}))
            elif owner == "encoders":
                self._set_encoder(rest, nested[key])
            elif owner == "augment":
                self._set_augmentation(rest, nested[key])
            elif owner == "experts" and hasattr(self, owner):
                self._set_expert(rest, nested[key])
            else:
                super().set_params(**{key: nested[key]})
        return self

    def _set_encoder(self, key: str, value: Any) -> None:
        encoders = self.encoders
        if not isinstance(encoders, Mapping):
            known = Encoder().get_params() if encoders is None else {}
            spec = None if encoders is None else as_spec(Encoder, encoders)
            # one encoder for all: encoders__hidden_dim
            if isinstance(spec, Spec) and "__" not in key and key in {**known, **spec.get_params()}:
                self.encoders = clone(spec).set_params(**{key: value})
                return
            encoders = {} if encoders is None else encoders
        if not isinstance(encoders, Mapping):
            raise ValueError(
                f"encoders={encoders!r} is one for all modalities; to set {key!r} of one, give a dict, "
                "e.g. encoders={'text': 'mlp'}."
            )
        name = _owner(encoders, key)
        if name is None:
            name = key.partition("__")[0]
        param = key[len(name) + 2 :]
        if param:
            spec = as_spec(Encoder, "auto" if encoders.get(name) is None else encoders[name])
            value = clone(spec).set_params(**{param: value})
        self.encoders = {**encoders, name: value}

    def _set_augmentation(self, key: str, value: Any) -> None:
        augment = {} if self.augment is None else self.augment
        name = _owner(augment, key) or key
        given, inside = augment.get(name), key[len(name) + 2 :]
        if not inside:
            changed = value
        elif isinstance(given, list):
            place, _, param = inside.partition("__")
            if place not in map(str, range(len(given))):
                raise unknown(f"augmentation in augment__{name}:", place, range(len(given)))
            one = clone(given[int(place)]).set_params(**{param: value}) if param else value
            changed = [*given[: int(place)], one, *given[int(place) + 1 :]]
        else:
            changed = clone(given).set_params(**{inside: value})
        self.augment = {**augment, name: changed}

    def _set_expert(self, key: str, value: Any) -> None:
        if not isinstance(self.experts, Mapping):
            raise ValueError(
                f"experts={self.experts!r} names none whose {key!r} could be set; give a dict, "
                "e.g. experts={'forest': RandomForestClassifier()}."
            )
        name = _owner(self.experts, key) or key
        if name not in self.experts and "__" in key and not hasattr(value, "fit") and not isinstance(value, tuple):
            raise unknown("expert:", key.partition("__")[0], self.experts)
        if inside := key[len(name) + 2 :]:
            given = self.experts[name]
            expert, *modalities = given if isinstance(given, tuple) else (given,)
            expert = clone(expert).set_params(**{inside: value})
            value = (expert, *modalities) if modalities else expert
        self.experts = {**self.experts, name: value}
