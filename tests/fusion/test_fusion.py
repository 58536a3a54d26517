"""Tests of skmm.fusion: every registered fusion keeps the contract and computes the formula of its paper.

The formulas are written out in NumPy, mostly sample by sample, and take only the weights from the modules.
"""

import numpy as np
import pytest
import torch
from formulas import (
    HIDDEN,
    INHERITED,
    N,
    assert_close,
    build,
    data,
    dims_of,
    layer_norm,
    missing,
    n_modalities,
    relu,
    run,
)
from scipy.special import expit, softmax
from torch import nn

from skmm import Blocks, Fusion, MultimodalClassifier, list_fusions
from skmm.blocks import BlockInfo
from skmm.encoders.conv import Conv1dEncoder
from skmm.layers import SparseRows
from skmm.spec import FUSIONS
from skmm.testing import check_fusion

# -- the contract -------------------------------------------------------------------------------------------------


@pytest.mark.one_by_default
@pytest.mark.parametrize("name", list_fusions())
def test_contract(name):
    check_fusion(name, estimators=False)  # test_common holds the estimators to theirs


@pytest.mark.one_by_default
@pytest.mark.parametrize(
    "fusion",
    [
        *(Fusion("late", rule=rule) for rule in ("product", "max", "vote", "learned")),
        Fusion("mfb", factor=1),
        Fusion("mfh", order=3, factor=2),
        Fusion("sum", output_activation="tanh"),
    ],
    ids=repr,
)
def test_contract_with_parameters(fusion):
    check_fusion(fusion, estimators=False)


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("mfb", {"factor": 5, "dropout": 0.1}),
        ("mfh", {"factor": 5, "dropout": 0.1, "order": 2}),
        ("late", {"rule": "mean"}),
    ],
)
def test_published_defaults(name, published):
    resolved = Fusion(name).resolve(INHERITED)
    assert {key: resolved[key] for key in published} == published


# -- additive -----------------------------------------------------------------------------------------------------


@n_modalities
@missing
def test_concat_is_the_vectors_side_by_side(n, missing):
    dims = dims_of(n)
    module, w = build("concat", dims, n_layers=0)
    x, there = data(dims, missing)
    expected = [
        np.concatenate([x[m][i] if there[m][i] else w[f"placeholders.vectors.{k}"] for k, m in enumerate(dims)])
        for i in range(N)
    ]
    assert module.out_dim == sum(dims.values())
    assert_close(run(module, x, there), np.array(expected))


def test_a_layer_after_the_concatenation_is_linear_layernorm_relu():
    dims = dims_of(3)
    module, w = build("concat", dims, hidden_dim=7)
    x, there = data(dims, missing=False)
    z = np.concatenate([x[m] for m in dims], axis=1) @ w["layers.0.0.weight"].T + w["layers.0.0.bias"]
    z = (z - z.mean(1, keepdims=True)) / np.sqrt(z.var(1, keepdims=True) + 1e-5)
    expected = np.maximum(z * w["layers.0.1.weight"] + w["layers.0.1.bias"], 0)
    assert module.out_dim == 7
    assert_close(run(module, x, there), expected)


@n_modalities
@missing
def test_sum_is_the_multimodal_neural_network(n, missing):
    """h^(m) = f(W^(m) x^(m) + b^(m)); h = g(Σ_m h^(m)), over the modalities that a row has."""
    dims = dims_of(n)
    module, w = build("sum", dims, output_activation="tanh")
    x, there = data(dims, missing)
    expected = np.zeros((N, HIDDEN))
    for i in range(N):
        for k, m in enumerate(dims):
            if there[m][i]:
                expected[i] += relu(w[f"hidden.{k}.weight"] @ x[m][i] + w[f"hidden.{k}.bias"])
    assert_close(run(module, x, there), np.tanh(expected))


# -- decision -----------------------------------------------------------------------------------------------------

N_OUTPUTS = {"softmax": 4, "sigmoid": 3, "identity": 2}


def combine(p, rule, weights):
    """Kittler et al. 1998 on the probabilities (M, C) of the modalities that exist; sums to one."""
    if rule == "product":
        combined = p.prod(axis=0)
    elif rule == "max":
        combined = p.max(axis=0)
    elif rule == "vote":
        combined = np.bincount(p.argmax(axis=1), minlength=p.shape[1]) / len(p)
    elif rule == "learned":
        combined = weights @ p
    else:
        combined = p.mean(axis=0)
    return combined / combined.sum()


@n_modalities
@missing
@pytest.mark.parametrize("rule", ["mean", "product", "max", "vote", "learned"])
@pytest.mark.parametrize("link", ["softmax", "sigmoid"])
def test_late_combines_probabilities(n, missing, rule, link):
    dims, n_outputs = dims_of(n), N_OUTPUTS[link]
    module, w = build("late", dims, n_outputs, link, rule=rule)
    x, there = data(dims, missing)
    got = run(module, x, there)
    got = softmax(got, axis=1) if link == "softmax" else expit(got)
    for i in range(N):
        kept = [k for k, m in enumerate(dims) if there[m][i]]
        if not kept:  # no opinion
            np.testing.assert_allclose(got[i], 1 / n_outputs if link == "softmax" else 0.5)
            continue
        logits = np.array([w[f"heads.{k}.weight"] @ x["abc"[k]][i] + w[f"heads.{k}.bias"] for k in kept])
        weights = softmax(w["scores"][kept]) if "scores" in w else np.ones(1)
        if link == "softmax":
            expected = combine(softmax(logits, axis=1), rule, weights)
        else:  # each output is a question of its own, with the answers yes and no
            yes = expit(logits)
            expected = [combine(np.stack([yes[:, c], 1 - yes[:, c]], 1), rule, weights)[0] for c in range(3)]
        np.testing.assert_allclose(got[i], expected, rtol=1e-5, atol=1e-6 if rule == "vote" else 0)


@n_modalities
@missing
@pytest.mark.parametrize("rule", ["mean", "learned"])
def test_late_averages_values(n, missing, rule):
    dims = dims_of(n)
    module, w = build("late", dims, 2, "identity", rule=rule)
    x, there = data(dims, missing)
    expected = np.zeros((N, 2))
    for i in range(N):
        kept = [k for k, m in enumerate(dims) if there[m][i]]
        values = [w[f"heads.{k}.weight"] @ x["abc"[k]][i] + w[f"heads.{k}.bias"] for k in kept]
        if kept:
            weights = softmax(w["scores"][kept]) if "scores" in w else np.full(len(kept), 1 / len(kept))
            expected[i] = weights @ np.array(values)
    assert_close(run(module, x, there), expected)


def test_vote_trains_as_mean():
    dims = dims_of(3)
    vote, w = build("late", dims, 4, "softmax", rule="vote")
    mean, _ = build("late", dims, 4, "softmax", rule="mean")
    mean.load_state_dict({key: torch.as_tensor(v) for key, v in w.items()})
    x, there = data(dims)
    assert_close(run(vote.train(), x, there), run(mean.train(), x, there))


@pytest.mark.parametrize("rule", ["mean", "product", "max", "learned"])
@pytest.mark.parametrize("scale", [1e3, 1e5])
def test_late_is_exact_for_certain_heads(rule, scale):
    """Probabilities that underflow neither become NaN nor lose their gradient."""
    module, _ = build("late", dims_of(2), 3, "softmax", rule=rule)
    x, there = data(dims_of(2))
    values = {name: torch.as_tensor(v * scale, dtype=torch.float32).requires_grad_() for name, v in x.items()}
    output = module.float()(values, {name: torch.as_tensor(m) for name, m in there.items()})
    output.log_softmax(-1)[:, 0].sum().backward()
    assert torch.isfinite(output).all()
    assert all(torch.isfinite(v.grad).all() for v in values.values())


# -- input --------------------------------------------------------------------------------------------------------


def joint(total, w):
    return relu(layer_norm(total, w["joint.0.weight"], w["joint.0.bias"]))


@n_modalities
@missing
def test_early_is_one_layer_on_the_concatenation(n, missing):
    dims = {m: BlockInfo("vector", (d,)) for m, d in dims_of(n).items()}
    module, w = build("early", dims)
    x, there = data(dims_of(n), missing)
    expected = []
    for i in range(N):
        kept = [(k, m) for k, m in enumerate(dims) if there[m][i]]
        total = np.zeros(HIDDEN)
        if kept:
            weight = np.concatenate([w[f"first.{k}.weight"] for k, _ in kept], axis=1)
            bias = sum(w[f"first.{k}.bias"] for k, _ in kept)
            total = weight @ np.concatenate([x[m][i] for _, m in kept]) + bias
        total = total + sum((w[f"absent.{k}"] for k, m in enumerate(dims) if not there[m][i]), np.zeros(HIDDEN))
        expected.append(joint(total, w))
    assert_close(run(module, x, there), np.array(expected))


def test_early_with_more_layers():
    module, w = build("early", {"a": BlockInfo("vector", (3,))}, n_layers=3)
    x, there = data({"a": 3}, missing=False)
    z = joint(x["a"] @ w["first.0.weight"].T + w["first.0.bias"], w)
    for layer in (3, 4):  # after norm, activation and dropout of the first
        z = z @ w[f"joint.{layer}.0.weight"].T + w[f"joint.{layer}.0.bias"]
        z = relu(layer_norm(z, w[f"joint.{layer}.1.weight"], w[f"joint.{layer}.1.bias"]))
    assert_close(run(module, x, there), z)


def test_early_joins_blocks_of_every_form():
    """A sequence enters as mean and maximum per channel, an image flattened, a sparse block as if dense."""
    infos = {
        "sequence": BlockInfo("sequence", (2,)),
        "image": BlockInfo("image", (3, 4)),
        "sparse": BlockInfo("sparse", (6,)),
    }
    module, w = build("early", infos)
    rng = np.random.default_rng(0)
    sequence, image = rng.normal(size=(N, 5, 2)), rng.normal(size=(N, 3, 4))
    lengths = rng.integers(1, 6, N)
    steps = np.arange(5) < lengths[:, None]
    dense = rng.normal(size=(N, 6)) * (np.arange(6) < 2)
    columns = torch.arange(2).expand(N, 2)
    total = np.zeros((N, HIDDEN))
    for i in range(N):
        real = sequence[i, : lengths[i]]
        parts = [np.concatenate([real.mean(0), real.max(0)]), image[i].ravel(), dense[i]]
        weights = [w["first.0.weight"], w["first.1.weight"], w["first.2.weight"].T]
        total[i] = sum(weight @ part for weight, part in zip(weights, parts, strict=True))
        total[i] += w["first.0.bias"] + w["first.1.bias"] + w["first.2.bias"]
    values = {
        "sequence": torch.as_tensor(sequence),
        "image": torch.as_tensor(image),
        "sparse": SparseRows(columns, torch.as_tensor(dense[:, :2]), torch.zeros(N, 0)),
    }
    everything = torch.ones(N, dtype=torch.bool)
    present = {"sequence": torch.as_tensor(steps), "image": everything, "sparse": everything}
    with torch.no_grad():
        assert_close(module(values, present).numpy(), joint(total, w))


def test_early_joins_sequences_of_one_length_step_by_step():
    infos = {"a": BlockInfo("sequence", (3,), 6), "b": BlockInfo("sequence", (2,), 6)}
    module, w = build("early", infos)
    reference = Conv1dEncoder(
        BlockInfo("sequence", (5,), 6), False, hidden_dim=HIDDEN, dropout=0.3, activation="relu"
    ).double()
    reference.load_state_dict({k.removeprefix("joint."): v for k, v in module.state_dict().items() if "joint" in k})
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(N, 6, 3)), rng.normal(size=(N, 6, 2))
    masks = np.ones((2, N, 6), bool)
    masks[1, 2] = False
    stands_in = np.where(masks[1][..., None], b, w["placeholders.vectors.1"])
    with torch.no_grad():
        expected, _ = reference.eval()(
            torch.as_tensor(np.concatenate([a, stands_in], 2)), torch.ones(N, 6, dtype=torch.bool)
        )
    assert_close(run(module, {"a": a, "b": b}, {"a": masks[0], "b": masks[1]}), expected.numpy())


def test_early_refuses_sequences_that_no_longer_share_one_length():
    infos = {"a": BlockInfo("sequence", (3,), 6), "b": BlockInfo("sequence", (2,), 6)}
    module, _ = build("early", infos)
    x = {"a": np.ones((N, 6, 3)), "b": np.ones((N, 4, 2))}
    with pytest.raises(ValueError, match=r"one length, 6, .* now their lengths are \{'a': 6, 'b': 4\}"):
        run(module, x, {m: np.ones(v.shape[:2], bool) for m, v in x.items()})


# -- errors -------------------------------------------------------------------------------------------------------


def structure_of(name, dims):
    """What a fusion of this name is built with before its parameters."""
    level = FUSIONS[name].level
    given = {m: BlockInfo("vector", (d,)) for m, d in dims.items()} if level == "input" else dims
    return (given, 3, "softmax") if level == "decision" else (given,)


# Parameters that are whole numbers, and of those that may be left to a rule or the estimator the names.
BY_RULE = {"hidden_dim", "chunks", "sketch_dim", "modality_dim"}
WHOLE = [
    (name, p)
    for name in list_fusions()
    for p, v in Fusion(name).resolve().items()
    if type(v) is int or p in BY_RULE
]
ZERO_IS_FINE = [("concat", "n_layers"), ("bottleneck", "fusion_layer")]


@pytest.mark.parametrize("value", [0, -1, 1.5, 2.0, "4", None, True], ids=repr)
@pytest.mark.parametrize(("name", "param"), WHOLE)
def test_what_is_no_whole_number_of_the_right_size_is_refused_by_name(name, param, value):
    if (value is None and param in BY_RULE) or (value == 0 and (name, param) in ZERO_IS_FINE):
        build(name, *structure_of(name, dims_of(2)), **{param: value})
        return
    with pytest.raises(ValueError, match=rf"^fusion '{name}': {param}={value!r}"):
        build(name, *structure_of(name, dims_of(2)), **{param: value})


@pytest.mark.parametrize("n_heads", [0, -1, 2.0, "4", None, True, 3, 16])
@pytest.mark.parametrize("name", ["attention", "crossmodal", "bottleneck"])
def test_heads_that_do_not_divide_the_size_are_told_which_do(name, n_heads):
    with pytest.raises(ValueError, match=rf"n_heads={n_heads!r} does not divide .* 8; valid are \[1, 2, 4, 8\]"):
        build(name, dims_of(2), n_heads=n_heads)


@pytest.mark.parametrize(("name", "param"), WHOLE)
def test_whole_numbers_of_numpy_are_whole_numbers(name, param):
    """As a grid made with np.arange holds them."""
    value = {"hidden_dim": 8, "max_size": 100, "fusion_layer": 0}.get(param, 2)
    one, _ = build(name, *structure_of(name, dims_of(2)), **{param: np.int64(value)})
    other, _ = build(name, *structure_of(name, dims_of(2)), **{param: value})
    assert one.out_dim == other.out_dim
    assert list(one.state_dict()) == list(other.state_dict())


class NoLevel(nn.Module):
    """A fusion whose class forgot to say what it reads."""

    def __init__(self, dims):
        super().__init__()
        self.out_dim = sum(dims.values())

    def forward(self, values, present):
        return torch.cat(list(values.values()), -1)


class OddLevel(NoLevel):
    level = "vector"


@pytest.mark.parametrize("level", [None, "vector"])
@pytest.mark.parametrize("as_instance", [False, True])
def test_a_class_that_states_no_level(as_instance, level):
    cls = NoLevel if level is None else OddLevel
    fusion = cls({"a": 2, "b": 3}) if as_instance else cls
    X = Blocks(a=np.ones((6, 2)), b=np.ones((6, 3)))
    message = rf"fusion '{cls.__name__}' has level={level!r}; .*\['input', 'feature', 'token', 'decision'\]"
    with pytest.raises(ValueError, match=message):
        MultimodalClassifier(fusion, n_members=1, encoders="identity").fit(X, [0, 1] * 3)


@pytest.mark.parametrize(
    ("name", "structure", "params", "message"),
    [
        ("late", ({"a": 3}, 1, "identity"), {"rule": "vote"}, r"'vote', valid are \['mean', 'learned'\]"),
        ("late", ({"a": 3}, 1, "softmax"), {"rule": "men"}, r"unknown rule .* 'men'.*Did you mean 'mean'\?"),
        ("mfh", ({"a": 3},), {"order": 0}, "order=0 must be at least 1"),
        ("early", ({"a": BlockInfo("vector", (3,))},), {"n_layers": 0}, "n_layers=0 must be at least 1"),
        (
            "early",
            ({"txt": BlockInfo("tokens", (9,))},),
            {},
            "cannot join modality 'txt', which is tokens; it reads",
        ),
        ("early", ({"film": BlockInfo("video", (2, 3, 3, 1))},), {}, "modality 'film', which is video"),
        ("sum", ({"a": 3},), {"output_activation": "rely"}, "unknown activation 'rely'.*Did you mean 'relu'"),
    ],
)
def test_bad_parameters(name, structure, params, message):
    with pytest.raises(ValueError, match=message):
        build(name, *structure, **params)
