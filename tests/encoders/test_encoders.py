"""Tests of skmm.encoders: every registered encoder keeps the contract and computes what it says."""

import math
import re
from inspect import signature

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import SELF_CONTAINED
from scipy.signal import correlate2d
from scipy.special import softmax
from torch import nn

from skmm import Encoder, Fusion, MultimodalClassifier, Optimizer
from skmm.blocks import KINDS, BlockInfo
from skmm.encoders.base import TokenOutput
from skmm.layers import SparseRows, masked_statistics
from skmm.spec import DEFAULT_ENCODERS, ENCODERS
from skmm.testing import check_encoder

N, T, D, HIDDEN = 6, 7, 3, 8
INHERITED = {"hidden_dim": HIDDEN, "dropout": 0.3, "activation": "relu"}
SEQUENCE = BlockInfo("sequence", (D,))
TOKENS = BlockInfo("tokens", (5,))
LENGTHS = np.array([7, 1, 4, 2, 5, 3])


def build(name, info, tokens=False, **params):
    """An encoder in float64 with no weight at its start value, and its weights by name."""
    torch.manual_seed(0)
    module = Encoder(name, **params).build(info, tokens, inherited=INHERITED).double().eval()
    with torch.no_grad():
        for p in module.parameters():
            p.normal_()
    return module, {key: value.numpy() for key, value in module.state_dict().items()}


def sequences(n_steps=T, size=D):
    """Samples of the given lengths, zeros behind their ends, with their mask."""
    x = np.random.default_rng(0).normal(size=(N, n_steps, size))
    mask = np.arange(n_steps) < LENGTHS[:, None]
    return x * mask[:, :, None], mask


def run(module, x, mask):
    with torch.no_grad():
        value, exists = module(torch.as_tensor(x), torch.as_tensor(mask))
    return value.numpy(), exists.numpy()


def relu(x):
    return np.maximum(x, 0)


def layer_norm(x, weight, bias):
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * weight + bias


def dense(x, w, prefix):
    """Linear, LayerNorm, ReLU."""
    x = x @ w[f"{prefix}.0.weight"].T + w[f"{prefix}.0.bias"]
    return relu(layer_norm(x, w[f"{prefix}.1.weight"], w[f"{prefix}.1.bias"]))


def parts_of(states, n_segments):
    """Mean and maximum of each part of one sample (length, d); parts share a step where they do not divide it."""
    length = len(states)
    parts = []
    for s in range(n_segments):
        part = states[math.floor(length * s / n_segments) : math.ceil(length * (s + 1) / n_segments)]
        parts += [part.mean(0), part.max(0)]
    return np.concatenate(parts)


def statistics_of(sample):
    """Mean, deviation, minimum and maximum of each channel of one sample (length, d)."""
    return np.concatenate([sample.mean(0), sample.std(0), sample.min(0), sample.max(0)])


def assert_close(got, expected):
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-9)


# -- the contract -------------------------------------------------------------------------------------------------


@pytest.mark.one_by_default
@pytest.mark.parametrize("name", SELF_CONTAINED)
def test_contract(name):
    check_encoder(name)


@pytest.mark.one_by_default
@pytest.mark.parametrize(
    "encoder",
    [
        Encoder("gru", bidirectional=True, n_layers=2),
        Encoder("lstm", bidirectional=True, n_segments=3),
        Encoder("conv1d", channels=(4, 5, 6), kernel_size=3),
        Encoder("conv2d", channels=(4,), grid=2),
        Encoder("transformer", n_layers=2, n_heads=2, n_segments=2),
        Encoder("embedding", n_segments=2),
        Encoder("mlp", n_layers=2, norm=False),
    ],
    ids=repr,
)
def test_contract_with_parameters(encoder):
    check_encoder(encoder)


def test_registered_kinds_exist_and_defaults_read_theirs():
    for name, cls in ENCODERS.items():
        assert set(cls.kinds) <= set(KINDS), name
    for kind, name in DEFAULT_ENCODERS.items():
        assert kind in ENCODERS[name].kinds


# -- from tokens to the output ------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_segments", [1, 2, 4])
def test_vector_is_mean_and_maximum_of_each_segment_and_statistics_of_what_was_read(n_segments):
    torch.manual_seed(0)
    output = TokenOutput(
        D, False, hidden_dim=HIDDEN, n_segments=n_segments, dropout=0.0, activation="relu", n_channels=D
    ).double()
    w = {key: value.numpy() for key, value in output.state_dict().items()}
    x, mask = sequences()
    steps = x**2 - x  # other ones than the tokens
    got, exists = output(*map(torch.as_tensor, (x, mask)), tuple(map(torch.as_tensor, (steps, mask))))
    samples = [(x[i, :n], steps[i, :n]) for i, n in enumerate(LENGTHS)]
    expected = [np.concatenate([parts_of(own, n_segments), statistics_of(read)]) for own, read in samples]
    assert exists.all()
    assert_close(got.detach().numpy(), dense(np.array(expected), w, "block"))


def test_statistics_of_steps_that_do_not_vary_or_exist():
    x = torch.full((2, 5, 3), 7.0, requires_grad=True)
    mask = torch.tensor([[True] * 5, [False] * 5])
    found = masked_statistics(x, mask)
    np.testing.assert_allclose(found[0].detach(), [7.0] * 3 + [0.0] * 3 + [7.0] * 6, atol=1e-6)
    assert (found[1] == 0).all()
    found.sum().backward()
    assert torch.isfinite(x.grad).all()
    assert (x.grad[1] == 0).all()


@pytest.mark.parametrize("name", ["conv1d", "gru", "lstm", "transformer", "conformer"])
def test_statistics_are_read_beside_the_steps_where_they_are_asked_for(name):
    x, mask = sequences()
    sizes = {}
    for statistics in (True, False):
        module, w = build(name, SEQUENCE, statistics=statistics)
        assert module.statistics is statistics
        sizes[statistics] = w["output.block.0.weight"].shape[1]
        run(module, x, mask)
    assert sizes[True] == sizes[False] + 4 * D
    assert build(name, SEQUENCE, tokens=True)[1]["output.block.0.weight"].shape[1] < sizes[False]


def test_tokens_pass_one_by_one():
    torch.manual_seed(0)
    output = TokenOutput(D, True, hidden_dim=HIDDEN, n_segments=1, dropout=0.0, activation="relu").double()
    w = {key: value.numpy() for key, value in output.state_dict().items()}
    x, mask = sequences()
    got, exists = run(output, x, mask)
    assert np.array_equal(exists, mask)
    assert_close(got, dense(x, w, "block"))


# -- recurrent ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "cell"), [("gru", nn.GRU), ("lstm", nn.LSTM)])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_recurrent_states_are_those_of_torch_on_each_sample_alone(name, cell, bidirectional):
    """torch's own layer, both directions in one, on each sample without padding."""
    module, w = build(name, SEQUENCE, tokens=True, bidirectional=bidirectional)
    reference = cell(D, HIDDEN, batch_first=True, bidirectional=bidirectional).double()
    weights = {}
    for key, value in module.state_dict().items():
        if key.startswith("stacks."):
            _, direction, rest = key.split(".", 2)
            weights[rest + ("_reverse" if direction == "1" else "")] = value
    reference.load_state_dict(weights)
    x, mask = sequences()
    got, exists = run(module, x, mask)
    assert np.array_equal(exists, mask)
    for i, length in enumerate(LENGTHS):
        with torch.no_grad():
            states = reference(torch.as_tensor(x[i : i + 1, :length]))[0][0].numpy()
        assert_close(got[i, :length], dense(states, w, "output.block"))


@pytest.mark.parametrize("name", ["gru", "lstm"])
def test_stacked_recurrent_layers(name):
    module, w = build(name, SEQUENCE, n_layers=2, statistics=True)
    x, mask = sequences()
    with torch.no_grad():
        states = [module.stacks[0](torch.as_tensor(x[i : i + 1, :n]))[0][0].numpy() for i, n in enumerate(LENGTHS)]
    assert module.stacks[0].num_layers == 2
    read = [statistics_of(x[i, :n]) for i, n in enumerate(LENGTHS)]
    expected = [np.concatenate([parts_of(s, 1), own]) for s, own in zip(states, read, strict=True)]
    assert_close(run(module, x, mask)[0], dense(np.array(expected), w, "output.block"))


@pytest.mark.parametrize("name", ["gru", "lstm", "transformer", "conv1d"])
def test_order_of_the_steps_matters(name):
    module, _ = build(name, SEQUENCE)
    x, mask = np.random.default_rng(0).normal(size=(N, T, D)), np.ones((N, T), bool)
    assert np.abs(run(module, x, mask)[0] - run(module, x[:, ::-1].copy(), mask)[0]).max() > 0.01


# -- transformer --------------------------------------------------------------------------------------------------


def transformer_states(x, w, n_heads):
    """One sample (length, d) through the layers, written from Vaswani et al. 2017 in pre-norm order."""
    length = len(x)
    z = x @ w["project.weight"].T + w["project.bias"]
    for position in range(length):
        for j in range(HIDDEN):
            angle = position / 10000 ** (2 * (j // 2) / HIDDEN)
            z[position, j] += math.cos(angle) if j % 2 else math.sin(angle)
    layer = 0
    while f"blocks.{layer}.norm1.weight" in w:
        b = {key.removeprefix(f"blocks.{layer}."): v for key, v in w.items() if key.startswith(f"blocks.{layer}.")}
        y = layer_norm(z, b["norm1.weight"], b["norm1.bias"])
        keys = np.concatenate([b["attention.null"], y])
        q = y @ b["attention.query.weight"].T + b["attention.query.bias"]
        k = keys @ b["attention.key.weight"].T
        v = keys @ b["attention.value.weight"].T + b["attention.value.bias"]
        heads = []
        for part in np.split(np.arange(HIDDEN), n_heads):
            weights = softmax(q[:, part] @ k[:, part].T / math.sqrt(len(part)), axis=1)
            heads.append(weights @ v[:, part])
        z = z + np.concatenate(heads, 1) @ b["attention.out.weight"].T + b["attention.out.bias"]
        y = layer_norm(z, b["norm2.weight"], b["norm2.bias"])
        y = relu(y @ b["feed_forward.0.weight"].T + b["feed_forward.0.bias"])
        z = z + y @ b["feed_forward.3.weight"].T + b["feed_forward.3.bias"]
        layer += 1
    return z


@pytest.mark.parametrize(("n_layers", "n_heads"), [(1, 4), (2, 2), (3, 1)])
def test_transformer_against_its_formula(n_layers, n_heads):
    module, w = build("transformer", SEQUENCE, tokens=True, n_layers=n_layers, n_heads=n_heads)
    x, mask = sequences()
    got, _ = run(module, x, mask)
    for i, length in enumerate(LENGTHS):
        assert_close(got[i, :length], dense(transformer_states(x[i, :length], w, n_heads), w, "output.block"))


# -- convolutions -------------------------------------------------------------------------------------------------


def convolve(x, weight, bias):
    """One sample (length, channels), zeros around it."""
    half = weight.shape[2] // 2
    padded = np.pad(x, ((half, half), (0, 0)))
    return np.array([np.einsum("td,odt->o", padded[t : t + weight.shape[2]], weight) + bias for t in range(len(x))])


def test_conv1d_against_plain_numpy():
    module, w = build("conv1d", SEQUENCE, tokens=True, channels=(4, 5))
    x, mask = sequences()
    got, exists = run(module, x, mask)
    for i, length in enumerate(LENGTHS):
        z = relu(convolve(x[i, :length], w["convs.0.weight"], w["convs.0.bias"]))
        z = np.array([z[t : t + 2].max(0) for t in range(0, length, 2)])  # the last may have no partner
        z = relu(convolve(z, w["convs.1.weight"], w["convs.1.bias"]))
        assert exists[i].sum() == len(z)
        assert_close(got[i, : len(z)], dense(z, w, "output.block"))


@pytest.mark.parametrize("name", [n for n in SELF_CONTAINED if {"sequence", "tokens"} & set(ENCODERS[n].kinds)])
@pytest.mark.parametrize("extra", [1, 2, 9])
def test_padding_changes_nothing(name, extra):
    """Whatever finite values stand in it."""
    info = SEQUENCE if "sequence" in ENCODERS[name].kinds else TOKENS
    module, _ = build(name, info)
    x, mask = sequences()
    if info is TOKENS:
        x = (np.abs(x[..., 0]) * 2).astype(np.int64)
    rest = ((0, 0), (0, extra)) + ((0, 0),) * (x.ndim - 2)
    longer, longer_mask = np.pad(x, rest), np.pad(mask, ((0, 0), (0, extra)))
    longer[~longer_mask] = 3
    got = run(module, longer, longer_mask)[0]
    np.testing.assert_allclose(got, run(module, x, mask)[0], rtol=0, atol=1e-10)


def pool2(x):
    height, width = x.shape[0] // 2 * 2, x.shape[1] // 2 * 2
    return x[:height, :width].reshape(height // 2, 2, width // 2, 2, -1).max((1, 3))


@pytest.mark.parametrize("shape", [(9, 8, 2), (8, 10), (3, 5, 1)])
@pytest.mark.parametrize("tokens", [False, True])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_conv2d_against_plain_numpy(shape, tokens, stride):
    grid = 2
    module, w = build("conv2d", BlockInfo("image", shape), tokens, channels=(3, 4), stride=stride, grid=grid)
    x = np.random.default_rng(0).normal(size=(N, *shape))
    got, exists = run(module, x, np.array([True] * (N - 1) + [False]))
    n_cells = math.prod(min(grid, -(-side // stride)) for side in shape[:2])
    assert exists.shape == ((N, n_cells) if tokens else (N,))
    assert exists[:-1].all()
    assert not exists[-1].any()
    for i in range(N):
        z = x[i].reshape(*shape[:2], -1)
        step = stride
        for weight, bias in (
            (v, w[k.replace("weight", "bias")]) for k, v in w.items() if k.startswith("layers.") and v.ndim == 4
        ):
            assert weight.shape[2:] == ((3, 3) if step < 3 else (5, 5))
            z = relu(
                np.stack(
                    [
                        sum(correlate2d(z[..., c], kernel[c], mode="same") for c in range(z.shape[2])) + bias[o]
                        for o, kernel in enumerate(weight)
                    ],
                    -1,
                )
            )[::step, ::step]
            step = 1
            if min(z.shape[:2]) >= 2 * grid:
                z = pool2(z)
        rows, columns = (
            [slice(math.floor(a * n / most), math.ceil((a + 1) * n / most)) for a in range(most)]
            for n in z.shape[:2]
            for most in (min(grid, n),)
        )
        cells = np.array([z[r, c].mean((0, 1)) for r in rows for c in columns])  # (at most grid², channels)
        assert_close(got[i], dense(cells if tokens else cells.ravel(), w, "output"))


SIDES = {(1, 1): 1, (3, 5): 1, (63, 200): 1, (64, 64): 2, (65, 97): 2, (224, 224): 4}


@pytest.mark.parametrize(("sides", "stride"), SIDES.items())
@pytest.mark.parametrize("tokens", [False, True])
def test_conv2d_reads_pictures_of_any_size(sides, stride, tokens):
    module, _ = build("conv2d", BlockInfo("image", (*sides, 3)), tokens)
    assert module.stride == stride
    x = torch.rand(2, *sides, 3, dtype=torch.float64, requires_grad=True)
    value, exists = module(x, torch.tensor([True, True]))
    assert value.shape[-1] == HIDDEN
    assert exists.all()
    value.square().sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in module.parameters())
    # every pixel counts but at the edges, where a half of them does not fill a pool
    height, width = (side // (4 * stride) * (4 * stride) or side for side in sides)
    assert (x.grad.abs().sum(-1)[:, :height, :width] > 0).double().mean() > 0.95


def test_conv2d_of_small_pictures_is_as_with_every_pixel_and_of_large_ones_takes_a_quarter():
    def operations(side, **params):
        """Products of the convolutions of a picture."""
        module, _ = build("conv2d", BlockInfo("image", (side, side, 3)), **params)
        found = []
        for layer in module.layers:
            if isinstance(layer, nn.Conv2d):
                layer.register_forward_hook(lambda layer, _, y: found.append(y.numel() * layer.weight[0].numel()))
        run(module, np.zeros((1, side, side, 3)), np.ones(1, bool))
        return sum(found)

    assert operations(63) == operations(63, stride=1)
    assert operations(64) < 0.27 * operations(64, stride=1)
    assert operations(224) < 0.15 * operations(224, stride=1)


@pytest.mark.parametrize("stride", [0, 1.5, "every", True])
def test_conv2d_refuses_strides_that_are_none(stride):
    with pytest.raises(ValueError, match="stride=.* must be 'auto' or a whole number of 1 or more"):
        build("conv2d", BlockInfo("image", (8, 8)), stride=stride)


@pytest.mark.parametrize("activation", ["relu", "gelu", "tanh"])
def test_conv1d_hides_what_does_not_exist_whatever_the_activation(activation):
    torch.manual_seed(0)
    module = Encoder("conv1d", channels=(4, 4, 4)).build(
        SEQUENCE, False, inherited={**INHERITED, "activation": activation}
    )
    module = module.double().eval()
    x, mask = sequences()
    alone = [run(module, x[i : i + 1, :n], mask[i : i + 1, :n])[0] for i, n in enumerate(LENGTHS)]
    x[~mask] = 1e6
    assert_close(run(module, x, mask)[0], np.concatenate(alone))


def test_conv2d_reads_grey_pictures_with_and_without_a_channel_axis():
    torch.manual_seed(0)
    flat, _ = build("conv2d", BlockInfo("image", (8, 8)))
    deep, _ = build("conv2d", BlockInfo("image", (8, 8, 1)))
    deep.load_state_dict(flat.state_dict())
    x, there = np.random.default_rng(0).normal(size=(N, 8, 8)), np.ones(N, bool)
    assert_close(run(flat, x, there)[0], run(deep, x[..., None], there)[0])


def test_conv2d_takes_pictures_smaller_than_its_grid():
    module, _ = build("conv2d", BlockInfo("image", (1, 3, 2)), tokens=True, grid=4)
    value, exists = run(module, np.ones((N, 1, 3, 2)), np.ones(N, bool))
    assert value.shape == (N, 3, HIDDEN)
    assert exists.shape == (N, 3)


# -- tokens -------------------------------------------------------------------------------------------------------


def test_embedding_is_the_segments_of_the_embedded_ids():
    module, w = build("embedding", TOKENS, n_segments=2)
    x, mask = np.random.default_rng(0).integers(0, 5, (N, T)), sequences()[1]
    expected = [parts_of(w["embedding.weight"][x[i, :n]], 2) for i, n in enumerate(LENGTHS)]
    assert_close(run(module, x, mask)[0], dense(np.array(expected), w, "output.block"))


@pytest.mark.parametrize("unknown", [5, 6, 10**12])
def test_unknown_ids_add_nothing_but_keep_their_place(unknown):
    module, w = build("embedding", TOKENS)
    x, mask = np.array([[1, unknown, 2], [unknown, unknown, 0]]), np.array([[1, 1, 1], [1, 1, 0]], bool)
    table = np.concatenate([w["embedding.weight"], np.zeros((1, HIDDEN))])
    expected = [parts_of(table[[1, -1, 2]], 1), parts_of(table[[-1, -1]], 1)]
    got, exists = run(module, x, mask)
    assert exists.all()
    assert_close(got, dense(np.array(expected), w, "output.block"))


# -- vectors ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_layers", [1, 2, 3])
@pytest.mark.parametrize("norm", [False, True])
def test_mlp_against_plain_numpy(n_layers, norm):
    module, w = build("mlp", BlockInfo("vector", (D,)), n_layers=n_layers, norm=norm)
    x = np.random.default_rng(0).normal(size=(N, D))
    z = x
    for layer in range(n_layers):
        prefix = f"layers.{layer}"
        z = z @ w[f"{prefix}.0.weight"].T + w[f"{prefix}.0.bias"]
        z = relu(layer_norm(z, w[f"{prefix}.1.weight"], w[f"{prefix}.1.bias"]) if norm else z)
    assert_close(run(module, x, np.ones(N, bool))[0], z)


def test_mlp_reads_a_sparse_block_as_its_dense_form():
    sparse, _ = build("mlp", BlockInfo("sparse", (9,)), n_layers=2)
    dense_, _ = build("mlp", BlockInfo("vector", (9,)), n_layers=2, input_dropout=0.0)
    weights = sparse.state_dict()
    weights["layers.0.0.weight"] = weights["layers.0.0.weight"].T
    dense_.load_state_dict(weights)
    rng = np.random.default_rng(0)
    columns, values = (
        rng.integers(0, 9, (N, 4)),
        rng.normal(size=(N, 4)),
    )  # a column may be stored twice: they add up
    x = np.zeros((N, 9))
    np.add.at(x, (np.arange(N)[:, None], columns), values)
    there = torch.ones(N, dtype=torch.bool)
    with torch.no_grad():
        rows = SparseRows(torch.as_tensor(columns), torch.as_tensor(values), torch.zeros(N, 0))
        got = sparse(rows, there)[0].numpy()
    assert_close(got, run(dense_, x, np.ones(N, bool))[0])


def test_mlp_reads_the_compressed_copy_of_a_wide_sparse_block():
    sparse, _ = build("mlp", BlockInfo("sparse", (9,), n_components=D))
    vector, _ = build("mlp", BlockInfo("vector", (D,)))
    x, there = np.random.default_rng(0).normal(size=(N, D)), np.ones(N, bool)
    rows = SparseRows(torch.zeros(N, 1, dtype=torch.int64), torch.ones(N, 1), torch.as_tensor(x))
    with torch.no_grad():
        got = sparse(rows, torch.as_tensor(there))[0].numpy()
    assert_close(got, run(vector, x, there)[0])


def test_identity_returns_its_input():
    module, w = build("identity", BlockInfo("vector", (D,)))
    x = np.random.default_rng(0).normal(size=(N, D))
    assert w == {}
    assert module.out_dim == D
    assert np.array_equal(run(module, x, np.ones(N, bool))[0], x)


@pytest.mark.parametrize(("share", "kept"), [(0.1, 0.9), (0.5, 0.5)])
def test_input_dropout_acts_on_the_features_in_training_alone(share, kept):
    module, _ = build("mlp", BlockInfo("vector", (1000,)), input_dropout=share)
    drop = next(layer for layer in module.modules() if isinstance(layer, nn.Dropout))
    torch.manual_seed(0)
    dropped = drop.train()(torch.ones(20, 1000))
    assert (dropped != 0).float().mean().item() == pytest.approx(kept, abs=0.02)
    assert torch.equal(drop.eval()(torch.ones(3, 4)), torch.ones(3, 4))


# -- hyperparameters ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [n for n in SELF_CONTAINED if n != "identity"])
def test_own_hidden_dim_comes_before_the_estimators(name):
    info = {
        "vector": BlockInfo("vector", (D,)),
        "sequence": SEQUENCE,
        "image": BlockInfo("image", (8, 8)),
        "tokens": TOKENS,
    }[ENCODERS[name].kinds[0]]
    assert build(name, info)[0].out_dim == HIDDEN
    assert build(name, info, hidden_dim=16)[0].out_dim == 16


@pytest.mark.parametrize("activation", ["gelu", "tanh", nn.SELU])
def test_activation_by_name_or_class(activation):
    module, w = build("mlp", BlockInfo("vector", (D,)), activation=activation, norm=False)
    x = np.random.default_rng(0).normal(size=(N, D))
    z = torch.as_tensor(x @ w["layers.0.0.weight"].T + w["layers.0.0.bias"])
    expected = {"gelu": F.gelu, "tanh": torch.tanh}.get(activation, F.selu)(z)
    assert_close(run(module, x, np.ones(N, bool))[0], expected.numpy())


@pytest.mark.parametrize(
    ("name", "info", "params", "message"),
    [
        ("conv1d", SEQUENCE, {"kernel_size": 4}, "kernel_size=4 must be odd"),
        ("mlp", BlockInfo("vector", (3,)), {"n_layers": 0}, "n_layers=0 must be at least 1; encoder 'identity'"),
        (
            "transformer",
            SEQUENCE,
            {"n_heads": 3},
            r"n_heads=3 does not divide the dimension 8; valid are \[1, 2, 4, 8\]",
        ),
        ("gru", SEQUENCE, {"activation": "rely"}, "unknown activation 'rely'.*Did you mean 'relu'"),
    ],
)
def test_bad_parameters(name, info, params, message):
    with pytest.raises(ValueError, match=message):
        build(name, info, **params)


READ = {
    "vector": BlockInfo("vector", (D,)),
    "sequence": SEQUENCE,
    "image": BlockInfo("image", (8, 8)),
    "tokens": TOKENS,
    "video": BlockInfo("video", (3, 8, 8, 1)),
}


def parameters_of(*kinds):
    """Encoders and those parameters that are of a type."""
    return [
        (name, p.name)
        for name in SELF_CONTAINED
        for p in signature(ENCODERS[name]).parameters.values()
        if p.annotation in kinds and p.name != "tokens"
    ]


def refused(name, param, value, message):
    with pytest.raises(ValueError, match=rf"^encoder '{name}': (encoder '\w+': )?{param}={re.escape(message)}"):
        build(name, READ[ENCODERS[name].kinds[0]], **{param: value})


@pytest.mark.parametrize("value", [0, -1, 1.5, 2.0, "4", True], ids=repr)
@pytest.mark.parametrize(("name", "param"), parameters_of("int", "int | Literal['auto']"))
def test_what_is_no_whole_number_of_1_or_more_is_refused_by_name(name, param, value):
    refused(name, param, value, repr(value))


@pytest.mark.parametrize("value", [5, "16", (16, 0), (16, -2), (1.5,), (True,)], ids=repr)
@pytest.mark.parametrize(("name", "param"), parameters_of("tuple[int, ...]"))
def test_channels_that_are_no_whole_numbers(name, param, value):
    refused(name, param, value, f"{value!r} must be whole numbers of 1 or more")


@pytest.mark.parametrize("value", ["yes", "no", 1, 0, None], ids=repr)
@pytest.mark.parametrize(("name", "param"), parameters_of("bool"))
def test_switches_are_true_or_false_and_no_word_for_it(name, param, value):
    """Any word is true, "no" as well."""
    refused(name, param, value, f"{value!r} must be True or False")
    build(name, READ[ENCODERS[name].kinds[0]], **{param: np.bool_(False)})


@pytest.mark.parametrize("value", ["high", True, (0.1,)], ids=repr)
@pytest.mark.parametrize(("name", "param"), [*parameters_of("float"), ("gru", "lr_factor")])
def test_what_is_no_number_is_refused_by_name(name, param, value):
    refused(name, param, value, f"{value!r} must be a number")
    build(name, READ[ENCODERS[name].kinds[0]], **{param: np.float32(0.5)})


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (
            {"encoders": {"s": Encoder("gru", bidirectional="no")}},
            "^modality 's': encoder 'gru': bidirectional='no'",
        ),
        ({"fusion": Fusion("attention", null_token="no")}, "^fusion 'attention': null_token='no' must be True or"),
        ({"optimizer": Optimizer("sgd", nesterov="no")}, "^optimizer 'sgd': nesterov='no' must be True or False"),
        ({"optimizer": Optimizer("sgd", momentum="high")}, "^optimizer 'sgd': momentum='high' must be a number"),
    ],
)
def test_estimators_say_whose_value_it_is(choice, message):
    with pytest.raises(ValueError, match=message):
        MultimodalClassifier(n_members=1, **choice).fit({"s": np.ones((6, T, D)), "v": np.ones((6, 2))}, [0, 1] * 3)
