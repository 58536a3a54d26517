"""Tests of skmm.spec: named choices, their parameters and their registries."""

import copy
import inspect
import pickle
import pydoc
import re

import choices
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from torch import nn

from skmm import (
    Encoder,
    Fusion,
    MultimodalClassifier,
    Optimizer,
    list_encoders,
    list_fusions,
    list_optimizers,
    register_encoder,
    register_fusion,
)
from skmm._checks import unknown
from skmm.spec import ENCODERS, FUSIONS, OPTIMIZERS, Registry, as_spec, check_level

FAMILIES = [(Fusion, FUSIONS), (Encoder, ENCODERS), (Optimizer, OPTIMIZERS)]
EVERY = [(kind, name) for kind, registry in FAMILIES for name in registry]


class Custom(nn.Module):
    level = "feature"

    def __init__(self, dims, *, hidden_dim=None, factor=2, rate=0.5):
        super().__init__()
        self.dims, self.hidden_dim, self.factor, self.rate = dims, hidden_dim, factor, rate


# -- specs --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        (Fusion("mfb"), "Fusion('mfb')"),
        (Fusion("mfb", factor=5), "Fusion('mfb', factor=5)"),
        (Encoder("gru", hidden_dim=32, dropout=0.1), "Encoder('gru', hidden_dim=32, dropout=0.1)"),
        (Encoder(), "Encoder('auto')"),
        (Optimizer("sgd", momentum=0.9), "Optimizer('sgd', momentum=0.9)"),
        (Fusion(Custom, factor=3), "Fusion(Custom, factor=3)"),
    ],
)
def test_repr_is_how_it_is_written(spec, text):
    assert repr(spec) == text


def test_repr_inside_of_others_is_the_same():
    given = {"encoders": {"a": Encoder("gru", n_layers=2)}, "optimizer": Optimizer("sgd", momentum=0.9)}
    model = MultimodalClassifier(Fusion("mfb", factor=7), **given)
    for outer in (model, make_pipeline(model), GridSearchCV(model, {"fusion": [Fusion("mfb", factor=7)]})):
        text = re.sub(r"\s+", " ", repr(outer))
        assert "encoders={'a': Encoder('gru', n_layers=2)}" in text
        assert "fusion=Fusion('mfb', factor=7)" in text
        assert "optimizer=Optimizer('sgd', momentum=0.9)" in text


# -- parameters that can be found ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_every_registered_name_is_a_function_with_the_parameters_of_its_class(kind, name):
    make = getattr(kind, name)
    assert name in dir(kind)
    assert repr(make()) == repr(kind(name))
    own = {parameter.name: parameter.default for parameter in inspect.signature(make).parameters.values()}
    assert own == kind(name).resolve()
    if own:
        key, value = next(iter(own.items()))
        assert make(**{key: value}).given == {key: value}


def test_help_of_a_choice_is_about_its_class():
    text = pydoc.render_doc(Encoder("gru"), renderer=pydoc.plaintext)
    assert "Encoder('gru', hidden_dim=None, n_layers=1, bidirectional=False" in text
    assert "Number of recurrent layers." in text
    assert "Number of recurrent layers." in Encoder.gru.__doc__
    assert Encoder.__doc__.startswith("An encoder of one modality")
    assert Encoder("auto").__doc__ == Encoder.__doc__


def test_a_parameter_that_a_class_does_not_take_is_refused_at_once():
    with pytest.raises(ValueError, match=r"unknown parameter of encoder 'gru': 'hidden', valid are \['hidden_dim'"):
        Encoder.gru(hidden=3)
    with pytest.raises(AttributeError, match="'Encoder' has no attribute 'grru'"):
        Encoder.grru  # noqa: B018


def test_what_is_registered_later_is_found():
    register_encoder("later_encoder")(Custom)
    try:
        assert Encoder.later_encoder(factor=5).given == {"factor": 5}
        assert "later_encoder" in dir(Encoder)
    finally:
        del ENCODERS["later_encoder"]


def test_editors_are_told_what_each_name_takes():
    assert choices.FILE.read_text(encoding="utf-8") == choices.stub(), "run python tests/choices.py"


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_every_registered_name_clones_pickles_and_resolves(kind, name):
    spec = kind(name)
    for other in (clone(spec), copy.deepcopy(spec), pickle.loads(pickle.dumps(spec))):
        assert other is not spec
        assert type(other) is kind
        assert other.get_params() == spec.get_params()
    assert spec.target() is spec._registry[name]
    assert {"name": name, **spec.resolve()} == spec.get_params()


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (Fusion("mfb"), {"name": "mfb", "hidden_dim": None, "factor": 5, "dropout": 0.1}),
        (Fusion("mfb", factor=2), {"name": "mfb", "hidden_dim": None, "factor": 2, "dropout": 0.1}),
        (Fusion(Custom), {"name": Custom, "hidden_dim": None, "factor": 2, "rate": 0.5}),
        (Encoder("identity"), {"name": "identity", "lr_factor": 1.0}),
        (Encoder(hidden_dim=5), {"name": "auto", "hidden_dim": 5}),
    ],
)
def test_get_params_gives_the_defaults_of_the_class(spec, expected):
    assert spec.get_params() == expected


def test_set_params_changes_name_and_parameters():
    spec = Fusion("mfb", factor=5)
    assert spec.set_params(factor=3, dropout=0.0) is spec
    assert (spec.get_params()["factor"], spec.get_params()["dropout"]) == (3, 0.0)
    assert spec.set_params(name="mfh", order=3).resolve() == {
        "hidden_dim": None,
        "factor": 3,
        "order": 3,
        "dropout": 0.0,
    }


def test_a_clone_shares_nothing_that_can_change():
    spec = Encoder("conv1d", channels=[4, 5])
    other = clone(spec)
    other.set_params(hidden_dim=3)
    other.get_params()["channels"].append(6)
    assert repr(spec) == "Encoder('conv1d', channels=[4, 5])"


def test_build_passes_structure_by_position_and_the_rest_by_keyword():
    built = Fusion(Custom, factor=7).build({"a": 3}, inherited={"hidden_dim": 8, "rate": 0.1, "other": 1})
    # inherited values go where nothing was said, and nowhere else
    assert (built.dims, built.hidden_dim, built.factor, built.rate) == ({"a": 3}, 8, 7, 0.5)
    assert Fusion(Custom, hidden_dim=2).build({}, inherited={"hidden_dim": 8}).hidden_dim == 2


class Picky(nn.Module):
    level = "feature"

    def __init__(self, dims, *, size=1):
        super().__init__()
        raise ValueError(f"size={size} is not to my taste.")


@pytest.mark.parametrize(
    ("spec", "structure", "message"),
    [
        (Fusion("block", hidden_dim=8, chunks=3), ({"a": 2},), "^fusion 'block': chunks=3 does not divide"),
        (Fusion(Picky, size=4), ({"a": 2},), "^fusion 'Picky': size=4 is not to my taste"),
        (Encoder("mlp", n_layers=0), (None, False), "^encoder 'mlp': n_layers=0 must be at least 1"),
        (Optimizer("sgd", nesterov=True), ([nn.Parameter(torch.ones(1))],), "^optimizer 'sgd': Nesterov"),
    ],
)
def test_what_the_class_refuses_begins_with_the_choice(spec, structure, message):
    with pytest.raises(ValueError, match=message):
        spec.build(*structure, inherited={"dropout": 0.1})


@pytest.mark.parametrize("level", ["input", "feature", "token", "decision"])
def test_level_of_a_class_and_of_a_module(level, monkeypatch):
    monkeypatch.setattr(Custom, "level", level)
    assert check_level(Custom) == level
    assert check_level(Custom({})) == level


@pytest.mark.parametrize("level", [None, "vector", ["token"]])
def test_a_level_that_there_is_not(level, monkeypatch):
    monkeypatch.setattr(Custom, "level", level)
    for fusion in (Custom, Custom({})):
        with pytest.raises(
            ValueError, match=r"'Custom' has level=.* valid are \['input', 'feature', 'token', 'deci"
        ):
            check_level(fusion)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (Fusion("concta"), r"unknown fusion 'concta', valid are \[.*'mfb'.*\]. Did you mean 'concat'\?"),
        (Encoder("grv"), r"unknown encoder 'grv'.* Did you mean 'gru'\?"),
        (Optimizer("adamv"), r"unknown optimizer 'adamv'.* Did you mean 'adam"),
        (Fusion("zzzzzz"), r"unknown fusion 'zzzzzz', valid are \[.*\]\.$"),
        (Fusion(7), "Fusion takes a name or a class, got 7"),
        (
            Fusion("mfb", facter=3),
            r"unknown parameter of fusion 'mfb': 'facter', valid are .* Did you mean 'factor'\?",
        ),
        (Fusion(Custom, facter=3), r"unknown parameter of fusion 'Custom': 'facter'"),
        (Encoder("gru", layers=3), r"unknown parameter of encoder 'gru': 'layers', valid are \['hidden_dim'"),
        (Optimizer("adam", momentum=0.9), r"unknown parameter of optimizer 'adam': 'momentum', valid are"),
        (Optimizer("adam", lr=0.1), r"optimizer 'adam': 'lr' is set on the estimator, lr=\.\.\."),
        (
            Optimizer("sgd", weight_decay=0.1),
            r"optimizer 'sgd': 'weight_decay' is set on the estimator, weight_decay=",
        ),
        (Optimizer("adam", params=[]), "unknown parameter of optimizer 'adam': 'params'"),
    ],
)
def test_bad_names_and_parameters(spec, message):
    with pytest.raises(ValueError, match=message):
        spec.resolve()


@pytest.mark.parametrize(
    ("kind", "name", "near"),
    [(Encoder, "gruu", "gru"), (Fusion, "atention", "attention"), (Optimizer, "adm", "adam")],
)
def test_an_attribute_that_names_nothing_says_what_there_is(kind, name, near):
    with pytest.raises(AttributeError, match=rf"has no attribute '{name}'.*valid are \[.*Did you mean '{near}'\?"):
        getattr(kind, name)
    assert not hasattr(kind, name)


def test_bad_choices_can_be_made_shown_and_cloned_before_fit():
    """As scikit-learn has it: nothing is validated before fit."""
    spec = clone(Fusion("nonesuch", facter=3))
    assert repr(spec) == "Fusion('nonesuch', facter=3)"
    assert spec.get_params() == {"name": "nonesuch", "facter": 3}


def test_unknown_without_anything_near_suggests_nothing():
    assert str(unknown("fruit", "xyz", ["apple", 3])) == "unknown fruit 'xyz', valid are ['apple', '3']."


def test_as_spec_takes_names_and_classes_and_passes_the_rest():
    assert as_spec(Fusion, "mfb").get_params() == Fusion("mfb").get_params()
    assert as_spec(Fusion, Custom).target() is Custom
    module, spec = nn.Linear(2, 2), Fusion("mfb")
    assert as_spec(Fusion, module) is module
    assert as_spec(Fusion, spec) is spec
    assert as_spec(Encoder, None) is None


# -- registries ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("register", "registry", "listing"),
    [(register_fusion, FUSIONS, list_fusions), (register_encoder, ENCODERS, list_encoders)],
)
def test_registered_class_is_listed_and_found(register, registry, listing, monkeypatch):
    monkeypatch.delitem(registry, "custom", raising=False)  # undone at the end
    assert register("custom")(Custom) is Custom
    assert "custom" in listing()
    assert registry.find("custom") is Custom
    registry.pop("custom")
    assert "custom" not in listing()


def test_registry_names_what_it_holds():
    with pytest.raises(ValueError, match=re.escape("unknown sauce 'x', valid are [].")):
        Registry("sauce").find("x")


@pytest.mark.parametrize("name", sorted(n for n, c in vars(torch.optim).items() if isinstance(c, type)))
def test_every_class_of_torch_optim_is_there_but_two(name):
    """The base class optimises nothing; SparseAdam wants sparse gradients, which no layer gives."""
    cls = getattr(torch.optim, name)
    listed = OPTIMIZERS.get(name.lower()) is cls
    assert listed == (issubclass(cls, torch.optim.Optimizer) and name not in ("Optimizer", "SparseAdam"))


@pytest.mark.parametrize("name", list_optimizers())
def test_every_optimizer_takes_a_step_with_its_defaults(name):
    weight = nn.Parameter(torch.ones(2, 2))
    optimizer = Optimizer(name).build([weight])
    weight.square().sum().backward()
    optimizer.step(lambda: weight.square().sum())
    assert not torch.equal(weight, torch.ones(2, 2))


def test_optimizer_of_the_users_own():
    class Halving(torch.optim.Optimizer):
        def __init__(self, params, lr=0.1, share=0.5):
            super().__init__(params, {"lr": lr, "share": share})

    assert Optimizer(Halving).get_params() == {"name": Halving, "share": 0.5}
    assert Optimizer(Halving, share=0.1).build([nn.Parameter(torch.ones(1))]).defaults["share"] == 0.1


# -- lists --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("listing", [list_fusions, list_encoders, list_optimizers])
def test_lists_are_sorted_names(listing):
    names = listing()
    assert names == sorted(set(names))
    assert listing(describe=True)["name"] == names


def test_names_of_the_release():
    assert {"early", "late", "sum", "attention", "mfb", "mfh", "concat"} <= set(list_fusions())
    assert {"mlp", "gru", "lstm", "transformer", "conv1d", "conv2d", "embedding", "identity"} <= set(
        list_encoders()
    )
    assert {"sgd", "adam", "adamw", "rmsprop", "adagrad", "lbfgs"} <= set(list_optimizers())


def test_fusions_described():
    table = list_fusions(describe=True)
    assert table.columns == ["name", "level", "source", "parameters"]
    rows = {row["name"]: row for row in table}
    assert rows["mfb"] == {
        "name": "mfb",
        "level": "feature",
        "source": "Yu et al. 2017, sec. 3",
        "parameters": "hidden_dim=None, factor=5, dropout=0.1",
    }
    assert {row["level"] for row in table} <= {"input", "feature", "token", "decision"}
    assert rows["concat"]["parameters"] == "hidden_dim=None, n_layers=1, dropout=None, activation=None"


def test_encoders_described():
    rows = {row["name"]: row for row in list_encoders(describe=True)}
    assert rows["mlp"]["reads"] == "vector, sparse"
    assert rows["transformer"]["source"] == "Vaswani et al. 2017"
    assert "kernel_size=5" in rows["conv1d"]["parameters"]


def test_optimizers_described():
    rows = {row["name"]: row for row in list_optimizers(describe=True)}
    assert rows["adamw"]["class"] == "torch.optim.AdamW"
    assert "momentum=0" in rows["sgd"]["parameters"]
    names = {part.split("=")[0] for row in rows.values() for part in row["parameters"].split(", ")}
    assert "betas" in names
    assert not {"params", "lr", "weight_decay"} & names


# -- nested parameters of an estimator ----------------------------------------------------------------------------


def test_parameters_of_fusion_and_optimizer_are_reached_by_name():
    model = MultimodalClassifier(Fusion("mfb"), optimizer=Optimizer("sgd"))
    params = model.get_params()
    assert (params["fusion__name"], params["fusion__factor"], params["optimizer__momentum"]) == ("mfb", 5, 0)
    model.set_params(fusion__factor=3, optimizer__momentum=0.9)
    assert (repr(model.fusion), repr(model.optimizer)) == (
        "Fusion('mfb', factor=3)",
        "Optimizer('sgd', momentum=0.9)",
    )


def test_a_plain_name_becomes_a_spec_when_one_of_its_parameters_is_set():
    model = MultimodalClassifier("mfb", optimizer="sgd").set_params(fusion__factor=3, optimizer__nesterov=True)
    assert (repr(model.fusion), repr(model.optimizer)) == (
        "Fusion('mfb', factor=3)",
        "Optimizer('sgd', nesterov=True)",
    )


def test_name_and_parameter_in_one_call_in_any_order():
    for params in (
        {"fusion": "mfh", "fusion__order": 3},
        {"fusion__order": 3, "fusion": "mfh"},
        {"fusion__order": 3, "fusion__name": "mfh"},
    ):
        assert repr(MultimodalClassifier("mfb").set_params(**params).fusion) == "Fusion('mfh', order=3)"


def test_set_params_leaves_the_users_spec_and_dict_as_they_are():
    spec, encoders = Fusion("mfb"), {"text": Encoder("gru")}
    model = MultimodalClassifier(spec, encoders=encoders)
    model.set_params(fusion__factor=3, encoders__text__hidden_dim=16)
    assert repr(spec) == "Fusion('mfb')"
    assert repr(encoders) == "{'text': Encoder('gru')}"
    assert repr(model.encoders) == "{'text': Encoder('gru', hidden_dim=16)}"


@pytest.mark.parametrize(
    ("encoders", "params", "expected"),
    [
        ({"text": "gru"}, {"encoders__text": "lstm"}, "{'text': 'lstm'}"),
        ({"text": "gru"}, {"encoders__text__hidden_dim": 5}, "{'text': Encoder('gru', hidden_dim=5)}"),
        (
            {"text": "gru"},
            {"encoders__text__hidden_dim": 5, "encoders__text": "lstm"},
            "{'text': Encoder('lstm', hidden_dim=5)}",
        ),
        ({"a__b": "gru", "a": "mlp"}, {"encoders__a__b": "lstm"}, "{'a__b': 'lstm', 'a': 'mlp'}"),
        (
            {"a__b": "gru", "a": "mlp"},
            {"encoders__a__b__hidden_dim": 5},
            "{'a__b': Encoder('gru', hidden_dim=5), 'a': 'mlp'}",
        ),
        ({"a": "mlp"}, {"encoders__text__hidden_dim": 5}, "{'a': 'mlp', 'text': Encoder('auto', hidden_dim=5)}"),
        (None, {"encoders__text__hidden_dim": 5}, "{'text': Encoder('auto', hidden_dim=5)}"),
        (None, {"encoders__text": "gru"}, "{'text': 'gru'}"),
        ("gru", {"encoders__hidden_dim": 5}, "Encoder('gru', hidden_dim=5)"),
        ("gru", {"encoders__name": "lstm"}, "Encoder('lstm')"),
    ],
)
def test_encoder_of_one_modality_is_reached_by_name(encoders, params, expected):
    assert repr(MultimodalClassifier(encoders=encoders).set_params(**params).encoders) == expected


def test_encoder_parameters_are_listed_for_a_search():
    params = MultimodalClassifier(encoders={"text": Encoder("gru", hidden_dim=5), "image": "conv2d"}).get_params()
    assert params["encoders__text__hidden_dim"] == 5
    assert params["encoders__text__n_layers"] == 1
    assert params["encoders__image"] == "conv2d"
    assert not any(key.startswith("encoders__") for key in MultimodalClassifier().get_params())


def test_one_encoder_for_all_has_no_modalities_to_name():
    with pytest.raises(
        ValueError, match="encoders='gru' is one for all modalities; to set 'text__hidden_dim' of one"
    ):
        MultimodalClassifier(encoders="gru").set_params(encoders__text__hidden_dim=5)


def test_clone_of_an_estimator_copies_its_specs():
    model = MultimodalClassifier(
        Fusion("mfb", factor=3), encoders={"text": Encoder("gru")}, optimizer=Optimizer("sgd")
    )
    other = clone(model)
    assert repr(other) == repr(model)
    assert other.fusion is not model.fusion
    other.set_params(fusion__factor=7, encoders__text__hidden_dim=9)
    assert repr(model.fusion) == "Fusion('mfb', factor=3)"
    assert repr(model.encoders) == "{'text': Encoder('gru')}"


def test_unknown_parameter_of_an_estimator():
    with pytest.raises(ValueError, match="Invalid parameter 'fusoin'"):
        MultimodalClassifier().set_params(fusoin="mfb")
