"""Tests of skmm.layers: known answers, and finite gradients where a careless formula has none."""

import math

import numpy as np
import pytest
import torch
from scipy.special import logsumexp, softmax
from torch import nn

from skmm.layers import (
    ACTIVATIONS,
    Attention,
    DenseBlock,
    SparseLinear,
    SparseRows,
    keep,
    l2_normalize,
    make_activation,
    make_linear,
    masked_log_mean,
    masked_max,
    masked_mean,
    masked_softmax,
    signed_sqrt,
)

DOUBLE = torch.float64


def tensor(values):
    return torch.tensor(values, dtype=DOUBLE)


def random(*shape, seed=0):
    return torch.as_tensor(np.random.default_rng(seed).normal(size=shape))


# -- masked operations --------------------------------------------------------------------------------------------

X = tensor([[[1.0, -1.0], [3.0, -5.0], [8.0, 9.0]], [[2.0, 4.0], [7.0, 7.0], [7.0, 7.0]]])
MASK = torch.tensor([[True, True, False], [False, False, False]])


def test_keep_zeroes_what_does_not_exist():
    assert keep(X, MASK).tolist() == [[[1, -1], [3, -5], [0, 0]], [[0, 0]] * 3]


def test_masked_mean_and_max_of_the_steps_that_exist():
    assert masked_mean(X, MASK).tolist() == [[2, -3], [0, 0]]
    assert masked_max(X, MASK).tolist() == [[3, -1], [0, 0]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("pool", [masked_mean, masked_max])
def test_pooling_keeps_the_precision_and_ignores_nan_behind_the_mask(pool, dtype):
    x = X.to(dtype).clone()
    x[~MASK] = math.nan
    assert pool(x, MASK).dtype == dtype
    assert torch.equal(pool(x, MASK), pool(X.to(dtype), MASK))


def test_masked_softmax_is_softmax_among_those_that_exist():
    scores = random(4, 5)
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 0, 1, 0, 0], [0, 0, 0, 1, 0], [0, 0, 0, 0, 0]], dtype=torch.bool)
    got = masked_softmax(scores, mask).numpy()
    for row, there, expected_of in zip(got, mask.numpy(), scores.numpy(), strict=True):
        assert (row[~there] == 0).all()
        if there.any():
            np.testing.assert_allclose(row[there], softmax(expected_of[there]), rtol=1e-12)


@pytest.mark.parametrize("filler", [1e300, -1e300, math.nan, math.inf])
def test_masked_softmax_never_reads_what_does_not_exist(filler):
    mask = torch.tensor([[True, False, True]])
    scores = tensor([[1.0, filler, 2.0]])
    assert torch.equal(masked_softmax(scores, mask), masked_softmax(tensor([[1.0, 0.0, 2.0]]), mask))


def test_masked_log_mean_is_exact_where_probabilities_underflow():
    log_x = tensor([[-2000.0, -1.0], [-2001.0, -3.0]])
    weights = tensor([[0.25, 0.0], [0.75, 1.0]])
    expected = [logsumexp([-2000, -2001], b=[0.25, 0.75]), -3.0]
    np.testing.assert_allclose(masked_log_mean(log_x, weights, 0).numpy(), expected, rtol=1e-12)


def test_masked_log_mean_has_a_finite_gradient_at_weight_zero():
    log_x, weights = tensor([[-1.0], [-2.0]]).requires_grad_(), tensor([[1.0], [0.0]]).requires_grad_()
    masked_log_mean(log_x, weights, 0).sum().backward()
    assert log_x.grad.tolist() == [[1.0], [0.0]]
    assert torch.isfinite(weights.grad).all()


@pytest.mark.parametrize("pool", [masked_mean, masked_max])
def test_pooling_gives_no_gradient_to_what_does_not_exist(pool):
    x = X.clone().requires_grad_()
    pool(x, MASK).sum().backward()
    assert torch.isfinite(x.grad).all()
    assert (x.grad[~MASK] == 0).all()
    assert x.grad[0].sum() == 2


# -- signed square root and L2 ------------------------------------------------------------------------------------


def test_signed_sqrt_is_the_signed_square_root_away_from_zero():
    z = tensor([-4.0, -0.25, 0.0, 9.0, 1e6])
    np.testing.assert_allclose(signed_sqrt(z).numpy(), [-2, -0.5, 0, 3, 1e3], rtol=1e-5)


def test_signed_sqrt_is_odd_and_increasing():
    z = torch.linspace(-1, 1, 10001, dtype=DOUBLE)
    y = signed_sqrt(z)
    np.testing.assert_allclose(y.numpy(), -y.flip(0).numpy(), atol=1e-12)
    assert (y.diff() > 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("value", [0.0, 1e-30, -1e-12, 1e-8, 1e-3])
def test_signed_sqrt_has_a_finite_gradient_at_and_near_zero(value, dtype):
    """At most 1 / sqrt(eps) = 1000, where sign(z) * sqrt(|z|) has NaN at 0 and 5e5 at 1e-12."""
    z = torch.tensor(value, dtype=dtype, requires_grad=True)
    signed_sqrt(z).backward()
    assert 0 < z.grad.item() <= 1000.1


def test_l2_normalize_has_norm_one_and_a_finite_gradient_at_zero():
    z = random(5, 4)
    np.testing.assert_allclose(l2_normalize(z).numpy(), z.numpy() / np.linalg.norm(z, axis=1, keepdims=True))
    zero = torch.zeros(2, 4, dtype=torch.float32, requires_grad=True)
    l2_normalize(zero).sum().backward()
    assert torch.isfinite(zero.grad).all()
    assert l2_normalize(zero).tolist() == [[0.0] * 4] * 2


# -- activations --------------------------------------------------------------------------------------------------


def test_activations_by_name():
    x = tensor([-2.0, 0.0, 3.0])
    assert make_activation("relu")(x).tolist() == [0, 0, 3]
    assert make_activation("identity")(x).tolist() == [-2, 0, 3]
    np.testing.assert_allclose(make_activation("tanh")(x), np.tanh(x.numpy()))
    np.testing.assert_allclose(make_activation("sigmoid")(x), 1 / (1 + np.exp(-x.numpy())))
    np.testing.assert_allclose(make_activation("elu")(x), [math.expm1(-2), 0, 3])
    np.testing.assert_allclose(make_activation("leaky_relu")(x), [-0.02, 0, 3])
    np.testing.assert_allclose(make_activation("silu")(x), x.numpy() / (1 + np.exp(-x.numpy())))
    gelu = [v * 0.5 * (1 + math.erf(v / math.sqrt(2))) for v in x.tolist()]
    np.testing.assert_allclose(make_activation("gelu")(x), gelu)
    assert len(ACTIVATIONS) == 8


def test_activation_from_a_class_or_a_factory():
    assert isinstance(make_activation(nn.Softplus), nn.Softplus)
    assert make_activation(lambda: nn.LeakyReLU(0.5))(tensor(-2.0)).item() == -1


def test_unknown_activation_suggests_the_nearest():
    with pytest.raises(
        ValueError, match=r"unknown activation 'rulu', valid are \['relu', .* Did you mean 'relu'\?"
    ):
        make_activation("rulu")


# -- linear layers ------------------------------------------------------------------------------------------------


def test_sparse_linear_is_a_matrix_product():
    torch.manual_seed(0)
    layer = SparseLinear(6, 3).double()
    rows = SparseRows(
        torch.tensor([[0, 5, 0], [2, 0, 0]]), tensor([[1.0, -2.0, 0.5], [3.0, 0.0, 0.0]]), torch.zeros(2, 0)
    )
    dense = tensor([[1.5, 0, 0, 0, 0, -2.0], [0, 0, 3.0, 0, 0, 0]])
    with torch.no_grad():
        layer.bias.normal_()
        np.testing.assert_allclose(layer(rows), dense @ layer.weight + layer.bias)


@pytest.mark.parametrize("in_features", [10, 100, 10_000])
def test_sparse_linear_starts_in_the_range_of_the_entries_that_a_row_stores(in_features):
    torch.manual_seed(0)
    bound = 1 / math.sqrt(min(in_features, 100))
    weight = SparseLinear(in_features, 50).weight
    assert 0.9 * bound < weight.abs().max() <= bound


def test_make_linear_by_kind():
    assert isinstance(make_linear("sparse", 4, 2), SparseLinear)
    assert isinstance(make_linear("vector", 4, 2), nn.Linear)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"dropout": 0.2}, ["Linear", "LayerNorm", "ReLU", "Dropout"]),
        ({"dropout": 0.0}, ["Linear", "LayerNorm", "ReLU", "Dropout"]),
        ({"dropout": 0.2, "norm": False}, ["Linear", "ReLU", "Dropout"]),
    ],
)
def test_dense_block_is_made_of_what_is_asked_for(options, expected):
    block = DenseBlock(nn.Linear(3, 4), 4, activation="relu", **options)
    assert [type(layer).__name__ for layer in block] == expected


# -- attention ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("null_token", [True, False])
def test_attention_against_torch(null_token):
    """torch's own multi-head attention with the same weights, on the keys or on [null; keys]."""
    torch.manual_seed(0)
    layer = Attention(8, n_heads=2, null_token=null_token).double()
    reference = nn.MultiheadAttention(8, 2, batch_first=True).double()
    with torch.no_grad():
        parts = (layer.query, layer.key, layer.value)
        reference.in_proj_weight.copy_(torch.cat([part.weight for part in parts]))
        bias = torch.zeros(8, dtype=DOUBLE)
        reference.in_proj_bias.copy_(torch.cat([layer.query.bias, bias, layer.value.bias]))
        reference.out_proj.load_state_dict(layer.out.state_dict())
        queries, keys = random(3, 4, 8), random(3, 5, 8, seed=1)
        # torch's gives NaN where there is nothing to attend to
        mask = torch.tensor([[1, 1, 1, 1, 1], [0, 1, 0, 1, 1], [not null_token, 0, 0, 0, 0]], dtype=torch.bool)
        joined, ignored = keys, ~mask
        if null_token:
            joined = torch.cat([layer.null.expand(3, 1, 8), keys], 1)
            ignored = torch.cat([torch.zeros(3, 1, dtype=torch.bool), ~mask], 1)
        expected, weights = reference(queries, joined, joined, key_padding_mask=ignored, average_attn_weights=False)
        got, got_weights = layer(queries, keys, mask)
    np.testing.assert_allclose(got, expected, rtol=1e-9)
    np.testing.assert_allclose(got_weights, weights, rtol=1e-9, atol=1e-15)


def test_attention_without_any_key_reads_the_null_token():
    torch.manual_seed(0)
    layer = Attention(8, n_heads=4).double()
    with torch.no_grad():
        got, weights = layer(random(2, 3, 8), random(2, 5, 8), torch.zeros(2, 5, dtype=torch.bool))
        expected = layer.out(layer.value(layer.null))
    np.testing.assert_allclose(got, expected.expand(2, 3, 8), rtol=1e-9)
    assert torch.equal(weights[..., 0], torch.ones(2, 4, 3, dtype=DOUBLE))
    assert (weights[..., 1:] == 0).all()


def test_attention_without_any_key_or_null_token_reads_nothing():
    layer = Attention(8, n_heads=4, null_token=False).double()
    with torch.no_grad():
        got, weights = layer(random(2, 3, 8), random(2, 5, 8), torch.zeros(2, 5, dtype=torch.bool))
    assert torch.equal(got, layer.out.bias.expand(2, 3, 8))
    assert (weights == 0).all()


def test_attention_does_not_depend_on_the_order_of_the_keys():
    torch.manual_seed(0)
    layer, order = Attention(8, n_heads=2).double(), [3, 0, 4, 1, 2]
    queries, keys, mask = random(2, 3, 8), random(2, 5, 8, seed=1), random(2, 5) > 0
    with torch.no_grad():
        a, b = layer(queries, keys, mask)[0], layer(queries, keys[:, order], mask[:, order])[0]
    np.testing.assert_allclose(a, b, rtol=1e-9)


def test_heads_that_do_not_divide_the_dimension():
    with pytest.raises(ValueError, match=r"n_heads=4 does not divide the dimension 6; valid are \[1, 2, 3, 6\]"):
        Attention(6, n_heads=4)


# -- under vmap ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "function",
    [keep, masked_mean, masked_max, lambda x, mask: masked_softmax(x[..., 0], mask)],
    ids=["keep", "masked_mean", "masked_max", "masked_softmax"],
)
def test_functions_work_under_vmap(function):
    x, mask = random(3, 2, 4, 5), random(3, 2, 4, seed=1) > 0
    assert torch.equal(
        torch.vmap(function)(x, mask), torch.stack([function(*a) for a in zip(x, mask, strict=True)])
    )
