"""Named choices with tunable parameters: Fusion, Encoder, Optimizer, and the registries behind them."""

from __future__ import annotations

import inspect
from collections import UserDict
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

import numpy as np
import torch
from sklearn.base import clone
from torch import nn

from skmm._checks import check_declared, unknown
from skmm.blocks import KINDS
from skmm.blocks._blocks import BlockInfo
from skmm.table import Table

if TYPE_CHECKING:
    from skmm._choices import EncoderNames, FusionNames, OptimizerNames
else:
    EncoderNames = FusionNames = OptimizerNames = object

T = TypeVar("T", bound=type)

# Default of a hyperparameter that takes the estimator's value of that name.
INHERIT: Any = None


class Registry(UserDict[str, Any]):
    """Names and the classes that they stand for.

    Parameters
    ----------
    what : str
        What they are, for messages.
    home : str, optional
        The package that registers its own here, imported when the first name is asked for: whoever needs none, and
        no torch, need not wait for it.
    """

    def __init__(self, what: str, home: str | None = None) -> None:
        self.what, self._home = what, home
        self._classes: dict[str, Any] = {}

    @property
    def data(self) -> dict[str, Any]:  # type: ignore[override]
        """The names, all of them."""
        home, self._home = self._home, None
        if home is not None:
            import_module(home)
        return self._classes

    def register(self, name: str) -> Callable[[T], T]:
        """Class decorator that enters a class under a name."""

        def enter(cls: T) -> T:
            self[name] = cls
            return cls

        return enter

    def find(self, name: str) -> Any:
        """The class of a name.

        Raises
        ------
        ValueError
            If nothing has this name; it says which do.
        """
        if name not in self:
            raise unknown(self.what, name, self)
        return self[name]


FUSIONS = Registry("fusion", "skmm.fusion")
ENCODERS = Registry("encoder", "skmm.encoders")
OPTIMIZERS = Registry("optimizer")
OPTIMIZERS.update(
    {
        name.lower(): cls
        for name, cls in vars(torch.optim).items()
        # the base class optimises nothing, SparseAdam wants sparse gradients, which no layer here gives
        if isinstance(cls, type) and cls not in (torch.optim.Optimizer, torch.optim.SparseAdam)
        if issubclass(cls, torch.optim.Optimizer)
    }
)

register_fusion = FUSIONS.register
register_encoder = ENCODERS.register

# What a fusion can read, in the order in which data pass through a network.
LEVELS = ("input", "feature", "token", "decision")


def check_level(fusion: Any) -> str:
    """The level that a fusion states, a class or a module.

    Raises
    ------
    ValueError
        If it states none, or none that there is.
    """
    level = getattr(fusion, "level", None)
    if level not in LEVELS:
        cls = fusion if isinstance(fusion, type) else type(fusion)
        raise ValueError(
            f"fusion {cls.__name__!r} has level={level!r}; the class of a fusion states what it reads, valid are "
            f"{list(LEVELS)}."
        )
    return level


class _OwnDoc:
    """The docstring of a class of specs, and of one spec: what ``help`` shows is about the choice itself."""

    def __init__(self, doc: str | None) -> None:
        self.doc = doc

    def __get__(self, spec: Spec | None, owner: type | None = None) -> str | None:
        return self.doc if spec is None else spec._help()


class _Named(type):
    """Each registered name is an attribute of the class, a function with the parameters of what it names."""

    _registry: Registry

    def __getattr__(cls, name: str) -> Callable[..., Any]:
        if name.startswith("_"):
            raise AttributeError(f"type object {cls.__name__!r} has no attribute {name!r}")
        if name not in cls._registry:
            raise AttributeError(
                f"type object {cls.__name__!r} has no attribute {name!r}: "
                f"{unknown(cls._registry.what, name, sorted(cls._registry))}"
            )

        def make(**params: Any) -> Any:
            spec = cls(name, **params)
            spec.resolve()  # refuses what the class does not take
            return spec

        make.__name__, make.__qualname__ = name, f"{cls.__name__}.{name}"
        make.__doc__, make.__signature__ = cls(name)._help(), cls(name)._signature()  # type: ignore[attr-defined]
        return make

    def __dir__(cls) -> list[str]:
        return sorted({*super().__dir__(), *getattr(cls, "_registry", ())})


# No BaseEstimator, though scikit-learn clones it and sets its parameters like those of one: an estimator inside of
# others it prints in its own way, and not as it is written.
class Spec(metaclass=_Named):
    """A name in a registry, or a class, with parameters."""

    _registry: ClassVar[Registry]
    _kind: ClassVar[type] = nn.Module
    # parameters that another place decides, with the place to say so
    _elsewhere: ClassVar[Mapping[str, str]] = {}

    def __init_subclass__(cls) -> None:
        cls.__doc__ = _OwnDoc(cls.__doc__)  # type: ignore[assignment]

    def __init__(self, name: str | type, **params: Any) -> None:
        self.name = name
        self._params = params

    @property
    def given(self) -> dict[str, Any]:
        """The parameters that were set, without the defaults of the class."""
        return dict(self._params)

    def target(self) -> type:
        """The class that the name stands for."""
        if isinstance(self.name, type):
            if not issubclass(self.name, self._kind) or self.name is self._kind:
                own = f"{self._kind.__module__.removesuffix('.module')}.{self._kind.__name__}"
                raise ValueError(f"{type(self).__name__} takes a name or a subclass of {own}, got {self.name!r}.")
            return self.name
        if not isinstance(self.name, str):
            raise ValueError(f"{type(self).__name__} takes a name or a class, got {self.name!r}.")
        return self._registry.find(self.name)

    def _parameters(self) -> list[inspect.Parameter]:
        """Tunable parameters of the class, with their defaults and types."""
        signature = inspect.signature(self.target())
        return [p for p in signature.parameters.values() if p.kind is p.KEYWORD_ONLY]

    def _defaults(self) -> dict[str, Any]:
        return {p.name: p.default for p in self._parameters()}

    def _signature(self) -> inspect.Signature:
        """What the function of a name takes, ``Encoder.gru`` say."""
        own = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in self._parameters()]
        return inspect.Signature(own, return_annotation=type(self).__name__)

    def _help(self) -> str | None:
        """How it is written with all of its parameters, and what the class says of itself."""
        if not isinstance(self.name, type) and self.name not in self._registry:
            return type(self).__doc__
        defaults = ", ".join([repr(self.name), *(f"{k}={v!r}" for k, v in self._defaults().items())])
        return f"{type(self).__name__}({defaults})\n\n{inspect.getdoc(self.target()) or ''}"

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The name and all parameters, those that were not set with the defaults of the registered class.

        An estimator has them under its own parameter and two underscores, ``fusion__factor`` or
        ``encoders__text__hidden_dim``, for ``set_params`` and the grids of a search.

        Parameters
        ----------
        deep : bool, default=True
            Ignored; parameters have no parameters of their own.

        Returns
        -------
        dict of str to object
            None stands for the estimator's value of that name.

        Examples
        --------
        >>> from skmm import Encoder
        >>> Encoder("embedding", hidden_dim=32).get_params()["hidden_dim"]
        32
        """
        known = self._defaults() if isinstance(self.name, type) or self.name in self._registry else {}
        return {"name": self.name, **known, **self._params}

    def set_params(self, **params: Any) -> Self:
        """Set the name or parameters. Whether the class takes them is checked in ``fit``."""
        if "name" in params:
            self.name = params.pop("name")
        self._params = {**self._params, **params}
        return self

    def resolve(self, inherited: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Parameters to build with; those left at None take the inherited value of that name.

        Raises
        ------
        ValueError
            If the name is unknown, or the class does not take a parameter or the type of its value.
        """
        parameters = self._parameters()
        defaults = {p.name: p.default for p in parameters}
        for param in self._params:
            if param in self._elsewhere:
                raise ValueError(f"{self._label()}: {param!r} is set on the estimator, {self._elsewhere[param]}.")
            if param not in defaults:
                raise unknown(f"parameter of {self._label()}:", param, defaults)
        values = {**defaults, **self._params}
        for name, value in (inherited or {}).items():
            if name in values and values[name] is None:
                values[name] = value
        # of a grid that is an array; torch takes no numbers of NumPy in many places
        values = {name: v.item() if isinstance(v, np.generic) else v for name, v in values.items()}
        try:
            for parameter in parameters:
                check_declared(parameter, values[parameter.name])
        except ValueError as error:
            raise ValueError(f"{self._label()}: {error}") from None
        return values

    def build(self, *structure: Any, inherited: Mapping[str, Any] | None = None) -> Any:
        """Construct the class with its structure (positional) and its parameters (by keyword).

        Raises
        ------
        ValueError
            If the class refuses them; the message begins with the choice.
        """
        return self._construct(structure, self.resolve(inherited))

    def _construct(self, structure: tuple[Any, ...], params: Mapping[str, Any]) -> Any:
        try:
            return self.target()(*structure, **params)
        except ValueError as error:
            raise ValueError(f"{self._label()}: {error}") from error

    def _label(self) -> str:
        """What it is called in messages."""
        return f"{self._registry.what} {getattr(self.name, '__name__', self.name)!r}"

    def __sklearn_clone__(self) -> Self:
        return type(self)(self.name, **{k: clone(v, safe=False) for k, v in self._params.items()})

    def __repr__(self) -> str:
        name = getattr(self.name, "__name__", repr(self.name))
        parts = [name, *(f"{k}={v!r}" for k, v in self._params.items())]
        return f"{type(self).__name__}({', '.join(parts)})"


class Fusion(Spec, FusionNames):
    """A fusion method and its parameters.

    Parameters
    ----------
    name : str or type
        A name from :func:`list_fusions`, or an ``nn.Module`` class that keeps the fusion contract.
    **params
        Keyword-only parameters of the registered class. Those left at None (``hidden_dim``, ``dropout``,
        ``activation``) take the estimator's value.

    Examples
    --------
    >>> from skmm import Fusion
    >>> Fusion("mfb", factor=5)
    Fusion('mfb', factor=5)
    >>> sorted(Fusion("mfb").get_params())
    ['dropout', 'factor', 'hidden_dim', 'name']

    The same, as a function that shows what it takes:

    >>> Fusion.mfb(factor=5)
    Fusion('mfb', factor=5)
    """

    _registry = FUSIONS


class Encoder(Spec, EncoderNames):
    """An encoder of one modality and its parameters.

    Parameters
    ----------
    name : str or type, default="auto"
        A name from :func:`list_encoders`, an ``nn.Module`` class that keeps the encoder contract, or ``"auto"``:
        chosen by the kind of the block.
    **params
        Keyword-only parameters of the registered class. Those left at None (``hidden_dim``, ``dropout``,
        ``activation``) take the estimator's value. And, of every encoder, ``lr_factor=1.0``: by what the learning
        rate is multiplied for its weights.

    Examples
    --------
    >>> from skmm import Encoder
    >>> Encoder("gru", hidden_dim=32)
    Encoder('gru', hidden_dim=32)

    The same, as a function that shows what it takes, in an editor and with ``help(Encoder.gru)``:

    >>> Encoder.gru(hidden_dim=32)
    Encoder('gru', hidden_dim=32)
    """

    _registry = ENCODERS

    def __init__(self, name: str | type = "auto", **params: Any) -> None:
        super().__init__(name, **params)

    def _parameters(self) -> list[inspect.Parameter]:
        factor = inspect.Parameter("lr_factor", inspect.Parameter.KEYWORD_ONLY, default=1.0, annotation="float")
        return [*super()._parameters(), factor]

    def build(self, *structure: Any, inherited: Mapping[str, Any] | None = None) -> Any:
        """The module, with its ``lr_factor``."""
        values = self.resolve(inherited)
        factor = values.pop("lr_factor")
        if factor < 0:
            raise ValueError(f"{self._label()}: lr_factor={factor!r} must be 0 or more.")
        module = self._construct(structure, values)
        module.lr_factor = factor
        return module


class Optimizer(Spec, OptimizerNames):
    """An optimizer and its parameters.

    Parameters
    ----------
    name : str or type
        A name from :func:`list_optimizers` (the classes of ``torch.optim`` in lower case), or such a class.
    **params
        Its parameters but for ``lr`` and ``weight_decay``, which are the estimator's.

    Examples
    --------
    >>> from skmm import Optimizer
    >>> Optimizer("sgd", momentum=0.9)
    Optimizer('sgd', momentum=0.9)
    >>> Optimizer.sgd(momentum=0.9)
    Optimizer('sgd', momentum=0.9)
    """

    _registry = OPTIMIZERS
    _kind = torch.optim.Optimizer
    _elsewhere: ClassVar[Mapping[str, str]] = {"lr": "lr=...", "weight_decay": "weight_decay=..."}

    def _parameters(self) -> list[inspect.Parameter]:
        parameters = inspect.signature(self.target()).parameters.values()
        # the first is what it optimises
        return [p for p in list(parameters)[1:] if p.name not in self._elsewhere]


def as_spec(kind: type[Spec], value: Any) -> Any:
    """A name or class as its spec; a spec, a module instance and None as they are."""
    return kind(value) if isinstance(value, (str, type)) else value


def offers(fusion: Any, method: str) -> bool:
    """Whether a fusion, a spec or a module, has a method with the parameters that it is given.

    The class says which parameters a method needs: ``requires = {"gates": {"rule": "learned"}}``.
    """
    spec = isinstance(fusion, Fusion)
    target, params = (fusion.target(), fusion.get_params()) if spec else (fusion, vars(fusion))
    needed = getattr(target, "requires", {}).get(method, {})
    return hasattr(target, method) and all(params[name] == value for name, value in needed.items())


# Which encoder reads a kind of block when the user names none.
DEFAULT_ENCODERS = {
    "vector": "mlp",
    "sparse": "mlp",
    "sequence": "conv1d",
    "image": "conv2d",
    "tokens": "embedding",
    "video": "conv2d_temporal",
}


def default_encoder(info: BlockInfo) -> str:
    """The name of the encoder that reads a block where the user names none; steps that are pictures are a video."""
    pictures = info.kind == "sequence" and len(info.shape) == 3
    return DEFAULT_ENCODERS["video" if pictures else info.kind]


def kinds_of(choice: Any) -> tuple[str, ...]:
    """Kinds that an encoder asks for; where it does not say all, but of a user's module those that are arrays."""
    spec = as_spec(Encoder, choice)
    target = spec.target() if isinstance(spec, Encoder) and spec.name != "auto" else spec
    arrays = [kind for kind in KINDS if kind != "sparse"]
    return tuple(getattr(target, "kinds", arrays if isinstance(target, nn.Module) else KINDS))


def numbers_ids_anew(choice: Any, info: BlockInfo) -> bool:
    """Whether ids are numbered anew for an encoder, since to it they are names without a meaning.

    Ids of a pretrained tokenizer have one, and of a user's module nobody knows: they stay, unless the class says
    ``numbers_ids = True``.
    """
    spec = as_spec(Encoder, choice)
    if isinstance(spec, Encoder):
        spec = ENCODERS[default_encoder(info)] if spec.name == "auto" else spec.target()
    return bool(getattr(spec, "numbers_ids", False))


def _listing(kind: type[Spec], describe: bool, extra: Callable[[Any], dict[str, Any]]) -> list[str] | Table:
    names = sorted(kind._registry)
    if not describe:
        return names
    rows = []
    for name in names:
        parameters = ", ".join(f"{k}={v!r}" for k, v in kind(name).resolve().items())
        rows.append({"name": name, **extra(kind._registry[name]), "parameters": parameters})
    return Table(rows)


def list_fusions(*, describe: bool = False) -> list[str] | Table:
    """Names of the fusion methods.

    Parameters
    ----------
    describe : bool, default=False
        Give a table: name, level, source, parameters and their defaults.

    Returns
    -------
    list of str, or Table

    Examples
    --------
    >>> from skmm import list_fusions
    >>> "mfb" in list_fusions()
    True
    """
    return _listing(Fusion, describe, lambda cls: {"level": check_level(cls), "source": getattr(cls, "source", "")})


def list_encoders(*, describe: bool = False) -> list[str] | Table:
    """Names of the encoders.

    Parameters
    ----------
    describe : bool, default=False
        Give a table: name, the kinds of block that it reads, source, parameters and their defaults.

    Returns
    -------
    list of str, or Table

    Examples
    --------
    >>> from skmm import list_encoders
    >>> "gru" in list_encoders()
    True
    """
    return _listing(
        Encoder,
        describe,
        lambda cls: {"reads": ", ".join(cls.kinds), "source": getattr(cls, "source", "")},
    )


def list_optimizers(*, describe: bool = False) -> list[str] | Table:
    """Names of the optimizers, the classes of ``torch.optim`` in lower case.

    Parameters
    ----------
    describe : bool, default=False
        Give a table: name, class, parameters and their defaults.

    Returns
    -------
    list of str, or Table

    Examples
    --------
    >>> from skmm import list_optimizers
    >>> {"sgd", "adam", "adamw", "rmsprop"} <= set(list_optimizers())
    True
    """
    return _listing(Optimizer, describe, lambda cls: {"class": f"torch.optim.{cls.__name__}"})
