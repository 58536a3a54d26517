"""Wrong input: an error that names the modality, the row where there is one, and what was expected."""

import re

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from conftest import ESTIMATORS, every_estimator, make_block, make_data, small
from sklearn.exceptions import NotFittedError
from skorch.callbacks import Callback

from skmm import (
    Encoder,
    Fusion,
    MultimodalRegressor,
    Optimizer,
    compare_fusions,
    list_encoders,
    list_fusions,
    list_optimizers,
)
from skmm.model_selection import FusionSearchCV

Y = np.arange(40) % 2


def two():
    """A plain dict of two arrays, to be spoilt."""
    return {"text": make_block("vector", Y), "audio": make_block("sequence", Y)}


def spoilt(name, rows, value):
    X = two()
    X[name][rows] = value
    return X


def words(*parts):
    """A pattern of parts in order, whatever stands between."""
    return "(?s)" + ".*".join(re.escape(part) for part in parts)


# -- the blocks ----------------------------------------------------------------------------------------------------

BAD_BLOCKS = {
    "unequal lengths": ({"text": np.ones((40, 3)), "audio": np.ones((39, 3))}, ["'text': 40", "'audio': 39"]),
    "no rows": ({"text": np.ones((0, 3)), "audio": np.ones((0, 2))}, ["0 sample", "text"]),
    "no features": ({"text": np.ones((40, 0)), "audio": np.ones((40, 2))}, ["'text'", "0 feature", "minimum of 1"]),
    "no channels": ({"text": np.ones((40, 4, 0)), "audio": np.ones((40, 2))}, ["'text'", "0 feature"]),
    "no modality": ({}, ["at least one modality"]),
    "infinity": (spoilt("text", (7, 2), np.inf), ["'text'", "row 7", "1 of 6", "inf"]),
    "minus infinity": (spoilt("audio", (3, 1, 2), -np.inf), ["'audio'", "row 3", "inf"]),
    "NaN in part of a row": (
        spoilt("text", (7, slice(2)), np.nan),
        ["'text'", "row 7", "2 of 6", "NaN", "Imputer"],
    ),
    "NaN in part of a sequence": (spoilt("audio", (9, 0), np.nan), ["'audio'", "row 9", "3 of 21", "NaN"]),
    "strings": ({**two(), "text": np.array([["a"]] * 40)}, ["'text'", "numeric", "'a'"]),
    "strings among numbers": (
        {**two(), "text": np.array([[1.0, "no"]] * 40, dtype=object)},
        ["'text'", "numeric", "'no'"],
    ),
    "texts in a frame": (
        {**two(), "text": pd.DataFrame({"review": ["good"] * 40})},
        ["'text'", "numeric", "'good'"],
    ),
    "complex numbers": ({**two(), "text": np.ones((40, 2)) * 1j}, ["Complex", "'text'"]),
    "steps of unequal size": (
        {**two(), "audio": [np.ones((3, 2 + (i == 5))) for i in range(40)]},
        ["'audio'", "row 5", "(3, 3)", "(time, 2)"],
    ),
    "an empty sequence": (
        {**two(), "audio": [np.ones((i % 7, 2)) for i in range(40)]},
        ["'audio'", "row 0", "empty"],
    ),
    "a negative token": (
        {**two(), "audio": [np.array([1, 2 - 3 * (i == 4)] + [1] * (i % 3)) for i in range(40)]},
        ["'audio'", "row 4", "-1", "negative"],
    ),
    "too many dimensions": ({**two(), "audio": np.ones((40, 1, 1, 1, 1, 1))}, ["'audio'", "6 dimensions"]),
    "a single value": ({**two(), "audio": 3.0}, ["'audio'", "single value"]),
    "None": ({**two(), "audio": None}, ["'audio' is None", "one row per sample", "Leave it out"]),
    "words in lists with a gap": (
        {**two(), "text": [["no"], None, *[["yes"]] * 38]},
        ["'text'", "numeric", "'no'"],
    ),
    "lists of lists of unequal length": (
        {**two(), "audio": [None, *([[1.0] * (1 + i % 2)] for i in range(39))]},
        ["'audio'", "inhomogeneous"],
    ),
    "NaN inside a sequence that ends with NaN": (
        spoilt("audio", (9, [1, 5, 6]), np.nan),
        ["'audio'", "row 9", "3 of 15", "NaN"],
    ),
    "a name that is no string": ({**two(), 3: np.ones((40, 2))}, ["strings", "3"]),
    "nothing but missing rows": (
        {"text": np.full((40, 2), np.nan), "audio": [None, *[None] * 38, None]},
        ["text", "audio", "missing"],
    ),
}


@pytest.mark.parametrize("case", BAD_BLOCKS)
@every_estimator
def test_a_bad_block_in_fit(cls, case):
    X, parts = BAD_BLOCKS[case]
    with pytest.raises(ValueError, match=words(*parts)):
        small(cls).fit(X, Y)


IN_PREDICT = ["infinity", "minus infinity", "NaN in part of a row", "NaN in part of a sequence", "strings"]


@pytest.mark.parametrize("case", IN_PREDICT)
@every_estimator
def test_a_bad_block_in_predict(cls, case):
    X, parts = BAD_BLOCKS[case]
    fitted = small(cls, max_epochs=1).fit(two(), Y)
    with pytest.raises(ValueError, match=words(*parts)):
        fitted.predict(X)
    with pytest.raises(ValueError, match=words(*parts)):
        fitted.transform(X)


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_a_bad_value_in_a_sparse_and_in_a_ragged_block(value):
    sparse = sp.csr_array(np.eye(40))
    sparse.data[6] = value
    sparse = sp.csr_array(sparse + sp.csr_array(([1.0], ([6], [0])), shape=(40, 40)))
    with pytest.raises(ValueError, match=words("'text'", "row 6")):
        small().fit({"text": sparse}, Y)
    ragged = [np.ones((3 + i % 2, 2)) for i in range(40)]
    ragged[11][1, 0] = value
    with pytest.raises(ValueError, match=words("'audio'", "row 11")):
        small().fit({"audio": ragged}, Y)


def test_x_that_is_no_table():
    with pytest.raises(ValueError, match="2D array"):
        small().fit(np.ones(40), Y)
    with pytest.raises(ValueError, match="dim 3"):
        small().fit(np.ones((40, 3, 2)), Y)
    with pytest.raises(ValueError, match="could not convert string to float"):
        small().fit(np.array([["a", "b"]] * 40, dtype=object), Y)
    x = make_block("vector", Y)
    x[3, 0] = np.inf
    with pytest.raises(ValueError, match=words("'X'", "row 3", "inf")):
        small().fit(x, Y)


# -- what changes between fit and predict --------------------------------------------------------------------------

CHANGED = {
    "a modality is missing": ({"text": np.ones((40, 6))}, ["'audio'", "missing", "['text', 'audio']", "['text']"]),
    "an unknown one": ({**two(), "video": np.ones((40, 2))}, ["'video'", "['text', 'audio']"]),
    "another name": ({"texts": np.ones((40, 6)), "audio": np.ones((40, 7, 3))}, ["'text'", "missing"]),
    "more features": ({**two(), "text": np.ones((40, 7))}, ["'text'", "7 features", "6 features"]),
    "more channels": ({**two(), "audio": np.ones((40, 7, 4))}, ["'audio'", "(4,)", "(3,)"]),
    "a list of shorter arrays": (
        {**two(), "text": [None, *np.ones((39, 5))]},
        ["'text'", "5 features", "6 features"],
    ),
    "a list of arrays of unequal length": (
        {**two(), "text": [None, *(np.ones(5 + i % 2) for i in range(39))]},
        ["'text'", "vector in fit", "sequence"],
    ),
    "None for what no sample lacked": ({**two(), "audio": None}, ["'audio'", "missing", "modality_dropout"]),
    "a matrix for a sequence": ({**two(), "audio": np.ones((40, 21))}, ["'audio'"]),
    "an image for a vector": ({**two(), "text": np.ones((40, 3, 2, 1))}, ["'text'", "vector", "image"]),
    "no rows": ({"text": np.ones((0, 6)), "audio": np.ones((0, 7, 3))}, ["0 sample"]),
}


@pytest.mark.parametrize("case", CHANGED)
@every_estimator
def test_what_was_not_so_in_fit(cls, case):
    X, parts = CHANGED[case]
    fitted = small(cls, max_epochs=1).fit(two(), Y)
    for method in (fitted.predict, fitted.transform):
        with pytest.raises(ValueError, match=words(*parts)):
            method(X)


def test_more_columns_than_in_fit():
    clf = small(max_epochs=1).fit(np.random.RandomState(0).randn(40, 4), Y)
    with pytest.raises(ValueError, match="5 features, but MultimodalClassifier is expecting 4"):
        clf.predict(np.ones((2, 5)))


@pytest.mark.parametrize("method", ["predict", "predict_proba", "decision_function", "transform"])
def test_not_fitted(method):
    with pytest.raises(NotFittedError):
        getattr(small(), method)(two())


# -- the target ----------------------------------------------------------------------------------------------------


@every_estimator
def test_a_target_of_another_length(cls):
    with pytest.raises(ValueError, match=words("inconsistent numbers of samples", "40", "39")):
        small(cls).fit(two(), Y[:39])


@every_estimator
def test_no_target(cls):
    with pytest.raises(ValueError, match="requires y to be passed"):
        small(cls).fit(two(), None)


def test_one_class_alone():
    with pytest.raises(ValueError, match=words("one class", "'yes'", "at least 2")):
        small().fit(two(), np.array(["yes"] * 40))


def test_one_class_alone_of_those_that_have_weight():
    with pytest.raises(ValueError, match=words("one class", "1")):
        small().fit(two(), Y, sample_weight=Y)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@every_estimator
def test_a_target_that_is_not_finite(cls, value):
    y = Y.astype(float)
    y[3] = value
    with pytest.raises(ValueError, match=r"(?i)nan|infinity"):
        small(cls).fit(two(), y)


def test_a_continuous_target_of_a_classifier():
    with pytest.raises(ValueError, match="continuous"):
        small().fit(two(), np.linspace(0, 1, 40))


def test_a_target_of_words_of_a_regressor():
    with pytest.raises(ValueError, match="y holds 'a': a regressor predicts numbers"):
        small(MultimodalRegressor).fit(two(), np.array(["a", "b"])[Y])


def test_labels_that_have_no_order():
    with pytest.raises(ValueError, match=r"y holds labels of the types \['int', 'str'\], .* strings"):
        small().fit(two(), np.array(["a", 1] * 20, dtype=object))


def test_several_columns_of_classes():
    with pytest.raises(ValueError, match=words("several columns", "MultiOutputClassifier")):
        small().fit(two(), np.column_stack([Y, np.arange(40) % 3]))


def test_classes_that_the_first_part_did_not_announce():
    X, y = make_data(40, n_classes=3)
    clf = small().partial_fit(X, y % 2)
    with pytest.raises(ValueError, match=words("2", "not among the classes [0, 1]")):
        clf.partial_fit(X, y)
    with pytest.raises(ValueError, match=words("not the same as in the first call", "[0, 1]")):
        clf.partial_fit(X, y % 2, classes=[0, 1, 2])


def test_another_number_of_outputs_in_a_fit_that_goes_on():
    X, y = make_data(40)
    reg = small(MultimodalRegressor, max_epochs=1, warm_start=True).fit(X, y)
    with pytest.raises(ValueError, match="y has 2 outputs, unlike the 1"):
        reg.fit(X, np.column_stack([y, y]))
    clf = small(max_epochs=1, warm_start=True).fit(X, y)
    with pytest.raises(ValueError, match="not among the classes"):
        clf.fit(X, y + 1)


# -- weights -------------------------------------------------------------------------------------------------------


@every_estimator
@pytest.mark.parametrize(
    ("weights", "parts"),
    [
        (np.where(np.arange(40) == 2, -1.0, 1.0), ["Negative values", "sample_weight"]),
        (np.zeros(40), ["zero"]),
        (np.ones(39), ["39", "40"]),
        (np.where(np.arange(40) == 2, np.nan, 1.0), ["NaN"]),
        (np.ones((40, 2)), ["1D"]),
    ],
    ids=["negative", "all zero", "too few", "NaN", "two columns"],
)
def test_bad_sample_weights(cls, weights, parts):
    with pytest.raises(ValueError, match=words(*parts)):
        small(cls).fit(two(), Y, sample_weight=weights)


@pytest.mark.parametrize(
    "y",
    [
        [["a", "b"] if i % 2 else ["a"] for i in range(len(Y))],
        [{"a", "b"} if i % 2 else set() for i in range(len(Y))],
        [["a", "b"] if i % 2 else ["b", "c"] for i in range(len(Y))],
        pd.Series([["a", "b"] if i % 2 else ["a"] for i in range(len(Y))]),
    ],
)
def test_lists_of_labels(y):
    with pytest.raises(ValueError, match=r"labels of (each|a) sample.*MultiLabelBinarizer\(\)\.fit_transform"):
        small().fit(two(), y)


@pytest.mark.parametrize("shape", [(3, 8, 8), (3, 3, 8, 8)])
def test_pictures_whose_channels_come_first(shape):
    y = np.arange(12) % 2
    pictures = np.random.RandomState(0).rand(12, *shape)
    axis = len(shape) - 2
    with pytest.warns(
        UserWarning, match=rf"'photo': .* as 3 rows of 8 pixels with 8 .*moveaxis\(photo, {axis}, -1\)"
    ):
        small(max_epochs=1).fit({"photo": pictures}, y)
    small(max_epochs=1).fit({"photo": np.moveaxis(pictures, axis, -1)}, y)


@pytest.mark.parametrize("class_weight", ["equal", {0: 1, 7: 2}, {"no": 1}, [1, 2], {0: np.nan}, {0: -1}])
def test_bad_class_weights(class_weight):
    with pytest.raises(ValueError, match=r"(?i)class_weight|class weight|classes"):
        small(class_weight=class_weight).fit(two(), Y)


# -- choices by name -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", ESTIMATORS)
@pytest.mark.parametrize(
    ("params", "parts"),
    [
        ({"fusion": "concatt"}, ["fusion 'concatt'", "'auto'", *list_fusions(), "Did you mean 'concat'"]),
        ({"fusion": "autoo"}, ["fusion 'autoo'", "Did you mean 'auto'"]),
        ({"fusion": Fusion("mfbb")}, ["fusion 'mfbb'", "'mfb'"]),
        ({"fusion": Fusion("mfb", rank=3)}, ["'mfb'", "'rank'", "'factor'"]),
        ({"fusion": 3}, ["fusion", "3", "'auto'", "'concat'"]),
        ({"encoders": "grou"}, ["encoder 'grou'", *list_encoders()]),
        ({"encoders": {"audio": "grou"}}, ["modality 'audio'", "encoder 'grou'", "'gru'"]),
        ({"encoders": {"audio": Encoder}}, ["modality 'audio'", "subclass of torch.nn.modules.Module", "Encoder"]),
        ({"encoders": {"audio": Encoder("gru", layers=2)}}, ["'audio'", "'gru'", "'layers'", "'n_layers'"]),
        ({"encoders": {"audio": 3}}, ["'audio'", "3"]),
        ({"encoders": {"audoi": "gru"}}, ["'audoi'", "['text', 'audio']", "'audio'"]),
        ({"encoders": {"text": "conv2d"}}, ["'text'", "conv2d", "image", "'mlp'"]),
        ({"encoders": "mlp"}, ["'audio'", "mlp", "sequence", "'gru'"]),
        ({"encoders": {"audio": "embedding"}}, ["'audio'", "tokens"]),
        ({"optimizer": "adamm"}, ["optimizer 'adamm'", *list_optimizers()[:3]]),
        ({"optimizer": Optimizer("sgd", momentun=0.9)}, ["'momentun'", "'momentum'"]),
        ({"optimizer": Optimizer("sgd", lr=0.1)}, ["'lr'", "estimator"]),
        ({"optimizer": 3}, ["optimizer", "3"]),
        ({"activation": "rellu"}, ["activation 'rellu'", "'relu'"]),
        ({"lr_schedule": "cosinus"}, ["lr_schedule 'cosinus'", "'cosine'"]),
    ],
    ids=lambda value: repr(value) if isinstance(value, dict) else "",
)
def test_a_choice_that_there_is_not(cls, params, parts):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 what it says is compared below
        small(cls, **params).fit(two(), Y)
    for part in parts:
        assert part in str(caught.value)


def test_a_loss_that_there_is_not():
    with pytest.raises(ValueError, match=words("loss 'mse'", "squared_error", "quantile")):
        small(MultimodalRegressor, loss="mse").fit(two(), Y)


def test_an_encoder_of_the_user_with_a_shape_that_fits_nothing():
    with pytest.raises(ValueError, match=words("'text'", "(2, 6)", "(2, d)", "(2, 6, 6)") + "|shape"):
        small(encoders={"text": torch.nn.Unflatten(1, (1, 2, 3))}).fit(two(), Y)


# -- scalars -------------------------------------------------------------------------------------------------------

SCALARS = {
    "hidden_dim": [0, -1, 1.5, "8", None],
    "dropout": [-0.1, 1, 1.5, "no", None],
    "lr": [0, -1.0, "fast", None],
    "weight_decay": [-1, "no", None],
    "max_epochs": [0, -3, 1.5, "many", None],
    "batch_size": [0, -3, 1.5, "many", None],
    "clip_grad_norm": [0, -1, "no"],
    "n_members": [0, -1, 1.5, None, "two"],
    "modality_loss": [-1, None, "no"],
    "validation_fraction": [0, 1, -0.1, 1.1, None, "no"],
    "n_iter_no_change": [0, -1, 1.5, None],
    "tol": [-1, None, "no"],
    "precision": ["8", 16, None],
}


@pytest.mark.parametrize(("name", "value"), [(name, v) for name, values in SCALARS.items() for v in values])
@every_estimator
def test_a_scalar_out_of_its_range(cls, name, value):
    with pytest.raises((ValueError, TypeError), match=name):
        small(cls, **{"early_stopping": True, name: value}).fit(two(), Y)


SWITCHES = ["early_stopping", "scale_inputs", "stack", "store_oof", "warm_start", "compile"]


@pytest.mark.parametrize("name", SWITCHES)
@every_estimator
def test_a_switch_is_true_or_false_and_no_word_for_it(cls, name):
    """Any word is true, "no" as well."""
    with pytest.raises(ValueError, match=rf"{name}='no'"):
        small(cls, **{name: "no"}).fit(two(), Y)
    small(cls, max_epochs=1, **{name: np.bool_(False)}).fit(two(), Y)


@pytest.mark.parametrize("name", ["n_jobs", "verbose", "tol"])
@every_estimator
def test_a_word_where_a_number_belongs(cls, name):
    with pytest.raises(ValueError, match=f"{name}='no' must be a"):
        small(cls, **{name: "no"}).fit(two(), Y)


FRACTIONS = ["dropout", "lr", "weight_decay", "clip_grad_norm", "modality_loss", "modality_dropout", "tol"]


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("name", FRACTIONS)
@every_estimator
def test_a_scalar_that_is_not_finite(cls, name, value):
    with pytest.raises(ValueError, match=rf"{name} == {value}, must be finite"):
        small(cls, **{name: value}).fit(two(), Y)


@pytest.mark.parametrize("name", ["batch_size", "hidden_dim", "max_epochs", "n_members"])
@pytest.mark.parametrize("encoder", ["gru", "lstm", "conv1d"])
def test_numbers_of_a_grid_that_is_an_array(name, encoder):
    given = {"max_epochs": 1, "hidden_dim": 4, "encoders": {"audio": encoder}}
    for kind in (np.int32, np.int64):
        as_array, as_int = (small(**{**given, name: of(2)}).fit(two(), Y) for of in (kind, int))
        np.testing.assert_array_equal(as_array.predict_proba(two()), as_int.predict_proba(two()))


@pytest.mark.parametrize("param", ["amsgrad", "maximize"])
def test_switches_of_an_optimizer_in_a_grid_that_is_an_array(param):
    one, other = (
        small(max_epochs=1, optimizer=Optimizer("adamw", **{param: of(True)})).fit(two(), Y)
        for of in (np.bool_, bool)
    )
    np.testing.assert_array_equal(one.predict_proba(two()), other.predict_proba(two()))


@pytest.mark.parametrize(
    ("optimizer", "parts"),
    [
        (Optimizer("adamw", betas=0.9), ["AdamW", "betas=0.9"]),
        (Optimizer("rprop", etas=3), ["Rprop", "etas=3"]),
        (Optimizer("sgd", momentum=np.nan), ["'sgd'", "momentum == nan, must be finite"]),
        (Optimizer("sgd", foreach="no"), ["'sgd'", "foreach='no' must be True or False"]),
        (torch.optim.Optimizer, ["subclass of torch.optim.optimizer.Optimizer"]),
        (int, ["subclass of torch.optim.optimizer.Optimizer", "<class 'int'>"]),
        (Optimizer, ["subclass of torch.optim.optimizer.Optimizer", "Optimizer"]),
    ],
    ids=repr,
)
def test_what_torch_refuses_of_an_optimizer_is_told_with_its_values(optimizer, parts):
    with pytest.raises(ValueError, match=words(*parts)):
        small(optimizer=optimizer).fit(two(), Y)


@pytest.mark.parametrize("activation", [5, None, torch.nn.ReLU()], ids=repr)
def test_an_activation_that_is_none(activation):
    with pytest.raises(ValueError, match=words(f"activation={activation!r}", "'relu'", "'tanh'")):
        small(activation=activation).fit(two(), Y)


@pytest.mark.parametrize("factor", [-1, np.nan, np.inf, "no"])
def test_a_learning_rate_of_an_encoder_that_is_none(factor):
    with pytest.raises(ValueError, match=words("'audio'", "'gru'", "lr_factor")):
        small(encoders={"audio": Encoder("gru", lr_factor=factor)}).fit(two(), Y)


@pytest.mark.parametrize(("name", "value"), [("alpha", 0), ("alpha", 1), ("alpha", "no"), ("epsilon", 0)])
def test_a_scalar_of_a_regressor_out_of_its_range(name, value):
    with pytest.raises((ValueError, TypeError), match=name):
        small(MultimodalRegressor, **{name: value}).fit(two(), Y)


@pytest.mark.parametrize("device", ["gpu", "cuda:99", 3.5, "cpu:x"])
def test_a_device_that_there_is_not(device):
    with pytest.raises(ValueError, match=re.escape(f"device={device!r}")):
        small(device=device).fit(two(), Y)


@pytest.mark.parametrize("random_state", [-1, 2**32])
def test_a_seed_out_of_its_range(random_state):
    with pytest.raises(ValueError, match=f"random_state={random_state} must lie between 0 and"):
        small(random_state=random_state).fit(two(), Y)


@pytest.mark.parametrize("random_state", ["seed", 1.5])
def test_a_random_state_that_is_none(random_state):
    with pytest.raises(ValueError, match="cannot be used to seed"):
        small(random_state=random_state).fit(two(), Y)


def test_an_inner_split_that_leaves_a_class_out():
    X, _ = make_data(40)
    y = np.zeros(40, dtype=int)
    y[3] = 1
    with pytest.raises(ValueError, match=words("early_stopping", "validation_fraction=0.1", "40")):
        small(early_stopping=True).fit(X, y)


# -- columns of a table --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("modalities", "parts"),
    [
        ({"a": [0, 9]}, ["'a'", "9", "out of bounds", "4"]),
        ({"a": slice(4, 9)}, ["'a'", "select nothing"]),
        ({"a": []}, ["'a'"]),
        ({"a": [True, False]}, ["'a'"]),
        ({"a": ["x"]}, ["'a'", "'x'"]),
        ("all", ["modalities", "'all'"]),
        ([slice(0, 2)], ["modalities", "slice"]),
    ],
    ids=repr,
)
def test_columns_that_there_are_not(modalities, parts):
    with pytest.raises(ValueError, match=words(*parts)):
        small(modalities=modalities).fit(np.random.RandomState(0).randn(40, 4), Y)


def test_a_column_name_that_there_is_not():
    frame = pd.DataFrame(np.random.RandomState(0).randn(40, 2), columns=["price", "age"])
    with pytest.raises(ValueError, match=words("'a'", "'prise'", "['price', 'age']", "'price'")):
        small(modalities={"a": ["prise"]}).fit(frame, Y)


def test_a_flat_form_of_another_size():
    X, y = make_data(40)
    flat, layout = X.to_flat()
    with pytest.raises(ValueError, match=words("(n, 27)", "(40, 26)")):
        small(modalities=layout).fit(flat[:, :26], y)


# -- training that goes wrong --------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_members", [1, 3])
@every_estimator
def test_a_loss_that_is_no_number(cls, n_members):
    X, y = make_data()
    estimator = small(cls, optimizer="sgd", lr=1e30, n_members=n_members)
    with pytest.raises(ValueError, match=words("loss became", "epoch", "1e+30", "lower lr", "clip_grad_norm")):
        estimator.fit(X, y)


@pytest.mark.parametrize("n_members", [1, 3])
def test_weights_that_the_last_step_left_no_numbers(n_members):
    """Of which no loss tells: it is that of the step before."""
    X, y = make_data(40)
    spoils = small(
        max_epochs=1, batch_size=40, modality_loss=0, optimizer=Optimizer("adamw", eps=0), n_members=n_members
    )
    with pytest.raises(ValueError, match="the weights became nan in epoch 1"):
        spoils.fit(X, y)
    with pytest.raises(ValueError, match="the weights became nan in epoch 1"):
        FusionSearchCV(spoils, {"lr": [0.01, 0.02]}, cv=2, error_score="raise").fit(X, y)


class Stop(Callback):
    """Ends training from a callback as skorch's do, in an epoch: at its end, or after its first batch."""

    def __init__(self, epoch, at):
        self.epoch, self.at = epoch, at

    def on_epoch_end(self, net, **kwargs):
        if self.at == "end" and len(net.history) == self.epoch:
            raise KeyboardInterrupt

    def on_batch_end(self, net, training=False, **kwargs):
        if self.at == "batch" and training and len(net.history) == self.epoch:
            raise KeyboardInterrupt


@pytest.mark.parametrize("n_members", [1, 3])
@pytest.mark.parametrize(("epoch", "at", "done"), [(3, "end", 3), (3, "batch", 2), (1, "batch", 0)])
@every_estimator
def test_ctrl_c_leaves_what_was_learned(cls, epoch, at, done, n_members):
    X, y = make_data()
    estimator = small(cls, callbacks=[Stop(epoch, at)], lr_schedule=None, n_members=n_members)
    with pytest.warns(UserWarning, match=f"interrupted after {done} of 15 epochs"):
        estimator.fit(X, y)
    assert estimator.n_iter_ == len(estimator.loss_curve_) == len(estimator.history_) == done
    assert estimator.predict(X).shape == (60,)
    if at == "end":
        shorter = small(cls, max_epochs=done, lr_schedule=None, n_members=n_members).fit(X, y)
        np.testing.assert_array_equal(estimator.predict(X), shorter.predict(X))


def test_ctrl_c_and_on():
    X, y = make_data()
    clf = small(callbacks=[Stop(3, "end")], warm_start=True)
    with pytest.warns(UserWarning, match="interrupted after 3 of 15 epochs"):
        clf.fit(X, y)
    clf.set_params(callbacks=None).fit(X, y)
    assert clf.n_iter_ == 18
    assert clf.score(X, y) > 0.9


def test_ctrl_c_with_early_stopping_leaves_the_best_weights():
    X, y = make_data()
    clf = small(callbacks=[Stop(4, "end")], early_stopping=True)
    with pytest.warns(UserWarning, match="interrupted after 4 of 15 epochs"):
        clf.fit(X, y)
    assert clf.n_iter_ == 4
    assert clf.predict(X).shape == (60,)


@every_estimator
def test_a_fit_that_failed_leaves_the_next_one_alone(cls):
    X, y = make_data()
    estimator = small(cls, max_epochs=2, optimizer="sgd")
    expected = estimator.fit(X, y).predict(X)
    estimator.set_params(lr=1e30)
    with pytest.raises(ValueError, match="loss became"):
        estimator.fit(X, y)
    np.testing.assert_array_equal(estimator.set_params(lr=0.02).fit(X, y).predict(X), expected)


@pytest.mark.parametrize(
    "run",
    [
        lambda X, y: FusionSearchCV(small(), {"lr": [0.01, 0.1]}, cv=3).fit(X, y),
        lambda X, y: compare_fusions(X, y, estimator=small(), fusions=["late"], cv=3),
    ],
    ids=["FusionSearchCV", "compare_fusions"],
)
def test_blocks_without_names_are_told_to_have_some(run):
    y = np.arange(30) % 2
    blocks = [make_block("vector", y), make_block("sequence", y)]
    with pytest.raises(
        ValueError, match=r"list of 2 arrays .* give a dict, \{'modality_0': X\[0\], 'modality_1'.*Blocks"
    ):
        run(blocks, y)
