"""Tests of skmm.network: encoders, fusion and head as one module, and several such networks as one."""

import copy
import re

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from skmm import Encoder, Fusion, list_fusions
from skmm.blocks import BlockInfo
from skmm.layers import SparseRows
from skmm.network._encoders import check_encoders
from skmm.network._members import MemberNetworks
from skmm.network._network import FusionNetwork, choose_fusion
from skmm.spec import FUSIONS

N = 6
INHERITED = {"hidden_dim": 8, "dropout": 0.3, "activation": "relu"}
# every kind that has an encoder, under names that break careless modules
MIXED = {
    "self": BlockInfo("vector", (3,)),
    "a.b": BlockInfo("sparse", (9,)),
    "keys": BlockInfo("sequence", (2,)),
    "文本": BlockInfo("tokens", (5,)),
    "training": BlockInfo("image", (6, 6, 2)),
}
VECTORS = {"a": BlockInfo("vector", (3,)), "b": BlockInfo("vector", (4,))}
SEQUENCE = {"s": BlockInfo("sequence", (2,))}


SIDE_BY_SIDE = Fusion("concat", n_layers=0)


def network(infos=VECTORS, fusion=SIDE_BY_SIDE, encoders=None, n_outputs=3, link="softmax", seed=0, **options):
    torch.manual_seed(seed)
    return FusionNetwork(infos, fusion, encoders, n_outputs, link, INHERITED, **options).double().eval()


def batch(infos=VECTORS, seed=0, missing=True):
    """One batch; of each modality every third row is missing where asked for."""
    rng = np.random.default_rng(seed)
    values, present = {}, {}
    for i, (name, info) in enumerate(infos.items()):
        mask = torch.arange(N) % 3 != i % 3 if missing else torch.ones(N, dtype=torch.bool)
        x = torch.as_tensor(rng.normal(size=(N, *info.shape)))
        if info.kind in ("sequence", "tokens"):
            mask = mask[:, None] & (torch.arange(4) < torch.as_tensor(rng.integers(1, 5, N))[:, None])
            inner = () if info.kind == "tokens" else info.shape
            x = torch.as_tensor(rng.normal(size=(N, 4, *inner))) * mask.view(N, 4, *[1] * len(inner))
            x = (x.abs() * 2).long() if info.kind == "tokens" else x
        if info.kind == "sparse":
            x = SparseRows(torch.as_tensor(rng.integers(0, info.shape[0], (N, 4))), x[:, :4], x[:, :0])
        values[name], present[name] = x, mask
    return values, present


def stack(batches):
    """Batches of several members as one, with a leading member axis."""
    values, present = zip(*batches, strict=True)
    together = {
        name: SparseRows(*(torch.stack(part) for part in zip(*(v[name] for v in values), strict=True)))
        if isinstance(x, SparseRows)
        else torch.stack([v[name] for v in values])
        for name, x in values[0].items()
    }
    return together, {name: torch.stack([p[name] for p in present]) for name in present[0]}


def readable(fusion):
    """The modalities that a fusion reads."""
    excluded = {"tokens"} if FUSIONS[fusion].level == "input" else set()
    return {name: info for name, info in MIXED.items() if info.kind not in excluded}


# -- one network --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("heads", [False, True])
@pytest.mark.parametrize("fusion", list_fusions())
def test_sets_of_modalities_asked_at_once_are_as_if_marked_as_missing(fusion, heads):
    infos = readable(fusion)
    net, (values, present) = network(infos, fusion, modality_heads=heads), batch(infos)
    gone = [(), list(infos)[:1], list(infos)[1:3], list(infos)]
    with torch.no_grad():
        together = net.without(values, present, gone)
        for names, found in zip(gone, together, strict=True):
            left = {name: mask & (name not in names) for name, mask in present.items()}
            expected = net(values, left)
            # what a head says of a modality that is gone, nobody listens to
            speaks = [0, *(1 + m for m, name in enumerate(infos) if name not in names)] if heads else slice(None)
            torch.testing.assert_close(found[:, speaks], expected[:, speaks])


@pytest.mark.parametrize("fusion", list_fusions())
@pytest.mark.parametrize(("n_outputs", "link"), [(3, "softmax"), (1, "sigmoid"), (2, "identity")])
def test_outputs_for_blocks_of_every_kind(fusion, n_outputs, link):
    infos = readable(fusion)
    output = network(infos, fusion, n_outputs=n_outputs, link=link)(*batch(infos))
    assert output.shape == (N, n_outputs)
    assert torch.isfinite(output).all()


def test_network_is_encoders_then_fusion_then_head():
    net = network()
    values, present = batch()
    parts = [net.encoders[i](values[name], present[name])[0] for i, name in enumerate("ab")]
    parts = [
        torch.where(present[n][:, None], p, v)
        for n, p, v in zip("ab", parts, net.fusion.placeholders.vectors, strict=True)
    ]
    expected = torch.cat(parts, -1)
    assert torch.equal(net.fuse(values, present), expected)
    assert torch.equal(net(values, present), net.head(expected))


def test_decision_fusion_has_no_head_and_input_fusion_no_encoders():
    assert network(fusion="late").head is None
    assert len(network(fusion="early").encoders) == 0


@pytest.mark.parametrize(("infos", "name"), [(VECTORS, "concat"), (dict.fromkeys("ab", SEQUENCE["s"]), "gated")])
def test_auto_is_the_fusion_that_is_chosen(infos, name):
    assert choose_fusion("auto", infos).name == name
    values, present = batch(infos)
    assert torch.equal(network(infos, "auto")(values, present), network(infos, name)(values, present))


@pytest.mark.parametrize("fusion", ["glue", Fusion("glue"), 3, None])
def test_what_is_no_fusion(fusion):
    with pytest.raises(ValueError, match=re.escape(repr(["auto", *FUSIONS]))):
        network(fusion=fusion)


def test_token_fusion_reads_a_vector_as_one_token_and_feature_fusion_the_mean_of_tokens():
    class Halves(nn.Module):
        """(B, 4) -> two tokens (B, 2, 2)."""

        def forward(self, x):
            return x.unflatten(-1, (2, 2))

    infos = {"x": BlockInfo("vector", (4,))}
    values, present = batch(infos, missing=False)
    fused = network(infos, SIDE_BY_SIDE, Halves()).fuse(values, present)
    assert torch.equal(fused, values["x"].unflatten(-1, (2, 2)).mean(1))
    assert network(infos, "attention", "identity")(values, present).shape == (N, 3)


@pytest.mark.parametrize("fusion", ["concat", "attention", "early", "late"])
def test_modality_heads_stand_behind_the_fused_head(fusion):
    infos = readable(fusion)
    net = network(infos, fusion, modality_heads=True)
    values, present = batch(infos, missing=False)
    outputs = net(values, present)
    assert outputs.shape == (N, 1 + len(infos), 3)
    assert torch.equal(outputs[:, 0], net._decide(net.fuse(values, present)))
    # a modality's head reads that modality alone
    other, _ = batch(infos, seed=1, missing=False)
    for m, name in enumerate(infos):
        moved = (net(values | {name: other[name]}, present) - outputs).abs().amax((0, 2)) > 0
        assert moved.tolist() == [True, *(i == m for i in range(len(infos)))]


# -- modules of the user's own ------------------------------------------------------------------------------------


class Pooled(nn.Module):
    """(B, T, 2) -> (B, 5)."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(2, 5)

    def forward(self, x):
        return self.linear(x).mean(1)


class PerStep(Pooled):
    def forward(self, x):
        return self.linear(x)


class EverySecondStep(Pooled):
    def forward(self, x):
        return self.linear(x[:, ::2])


class Masked(Pooled):
    def forward(self, x, mask):
        return (self.linear(x) * mask.unsqueeze(-1)).sum(1)


class MaskedPair(Pooled):
    def forward(self, x, mask):
        return self.linear(x), mask


@pytest.mark.parametrize("module", [Pooled, PerStep, EverySecondStep, Masked, MaskedPair])
@pytest.mark.parametrize("fusion", ["concat", "attention", "late"])
def test_users_module_as_encoder(module, fusion):
    net = network(SEQUENCE, fusion, {"s": module()})
    values, present = batch(SEQUENCE)
    output = net(values, present)
    assert net.encoders[0].out_dim == 5
    assert output.shape == (N, 3)
    missing = ~present["s"].any(1)
    assert missing.any()
    assert torch.equal(output[missing], output[missing][:1].expand(int(missing.sum()), 3))


def test_users_encoder_is_told_which_steps_exist():
    net = network(SEQUENCE, "concat", {"s": Masked()})
    values, present = batch(SEQUENCE, missing=False)
    padding = {"s": torch.where(present["s"].unsqueeze(-1), values["s"], 7.0)}
    torch.testing.assert_close(net(padding, present), net(values, present))


def test_second_parameter_of_a_users_module_is_no_mask_unless_named_so():
    """A recurrent layer's second parameter is its state."""

    class LastState(nn.GRU):
        def forward(self, x, hx=None):
            return super().forward(x, hx)[0][:, -1]

    net = network(SEQUENCE, "concat", {"s": LastState(2, 5, batch_first=True)})
    assert net(*batch(SEQUENCE)).shape == (N, 3)


@pytest.mark.parametrize(
    ("info", "module"),
    [
        (BlockInfo("vector", (4,)), nn.Linear(4, 5)),
        (BlockInfo("tokens", (7,)), nn.Embedding(9, 5)),
        (BlockInfo("image", (4, 4, 2)), nn.Sequential(nn.Flatten(), nn.Linear(32, 5))),
        (BlockInfo("video", (2, 3, 3, 1)), nn.Sequential(nn.Flatten(), nn.Linear(18, 5))),
        (BlockInfo("sequence", (3,), 6), nn.Sequential(nn.Flatten(), nn.Linear(18, 5))),
    ],
)
def test_users_module_for_each_kind(info, module):
    assert network({"x": info}, "concat", module).encoders[0].out_dim == 5


def test_users_module_stays_as_it_is():
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm1d(3)

        def forward(self, x):
            return self.norm(x)

    module = Counting()
    before = copy.deepcopy(module.state_dict())
    net = network({"a": VECTORS["a"]}, "concat", module)
    net.train()(*batch({"a": VECTORS["a"]}))
    assert module.training
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())
    assert int(net.encoders[0].module.norm.num_batches_tracked) == 1  # the probe of its size did not train it


def test_one_module_for_all_modalities_is_copied_for_each():
    infos = dict.fromkeys("ab", BlockInfo("vector", (3,)))
    net = network(infos, "concat", nn.Linear(3, 5))
    assert len({id(p) for p in net.encoders.parameters()}) == 4


@pytest.mark.parametrize("module", [nn.Flatten(0), nn.Sequential(nn.Unflatten(1, (3, 1)), nn.Unflatten(1, (3, 1)))])
def test_users_encoder_of_a_wrong_shape(module):
    with pytest.raises(
        ValueError, match=r"encoder of modality 'a' must turn a batch of shape \(2, 3\) into \(2, d\)"
    ):
        network({"a": VECTORS["a"]}, "concat", module)


class Doubling(nn.Module):
    """A fusion with a keyword-only parameter."""

    level = "feature"

    def __init__(self, dims, *, factor=2.0):
        super().__init__()
        self.factor, self.out_dim = factor, sum(dims.values())

    def forward(self, values, present):
        return self.factor * torch.cat(list(values.values()), -1)


@pytest.mark.parametrize("fusion", [Doubling, Fusion(Doubling, factor=2.0), Doubling({"a": 3, "b": 4})])
def test_users_fusion_as_class_spec_or_instance(fusion):
    net = network(fusion=fusion, encoders="identity")
    values, present = batch(missing=False)
    assert torch.equal(net.fuse(values, present), 2 * torch.cat([values["a"], values["b"]], -1))
    assert net.fusion is not fusion


def test_users_encoder_as_class():
    class Scaled(nn.Module):
        kinds = ("vector",)

        def __init__(self, info, tokens, *, hidden_dim=None, by=1.0):
            super().__init__()
            self.out_dim, self.inherited, self.by = info.shape[0], hidden_dim, by

        def forward(self, x, mask):
            return self.by * x, mask

    net = network(encoders={"a": Scaled, "b": Encoder(Scaled, by=3.0)})
    values, present = batch(missing=False)
    assert [encoder.inherited for encoder in net.encoders] == [8, 8]
    assert torch.equal(net.fuse(values, present), torch.cat([values["a"], 3 * values["b"]], -1))


# -- choices and errors -------------------------------------------------------------------------------------------


def test_encoders_for_all_or_for_each():
    assert [type(e).__name__ for e in network(encoders="identity").encoders] == ["IdentityEncoder"] * 2
    chosen = network(encoders={"b": "identity"}).encoders
    assert [type(e).__name__ for e in chosen] == ["MLPEncoder", "IdentityEncoder"]
    auto = network(encoders={"a": Encoder(hidden_dim=5), "b": None}).encoders
    assert [e.out_dim for e in auto] == [5, 8]


def test_default_encoder_of_each_kind():
    assert [type(e).__name__ for e in network(MIXED).encoders] == [
        "MLPEncoder",
        "MLPEncoder",
        "Conv1dEncoder",
        "EmbeddingEncoder",
        "Conv2dEncoder",
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"encoders": {"b": "gru"}},
            "modality 'b': encoder 'gru' reads sequence blocks, this one is vector "
            "(a dense (n, d) array of numbers); encoders for it are ['mlp', 'identity']",
        ),
        ({"encoders": {"b": "mpl"}}, "modality 'b': unknown encoder 'mpl', valid are"),
        (
            {"encoders": {"b": Encoder("mlp", n_layer=2)}},
            "modality 'b': unknown parameter of encoder 'mlp': 'n_layer'",
        ),
        (
            {"encoders": {"b": 7}},
            "the encoder of modality 'b' must be a name, an Encoder, a class or a module, got 7",
        ),
        ({"encoders": {"txt": "mlp"}}, "unknown modality in encoders: 'txt', valid are ['a', 'b']"),
        ({"fusion": 3}, "fusion must be a name, a Fusion, a class or a module, got 3; names are"),
        ({"fusion": "mfp"}, "unknown fusion 'mfp', valid are"),
        ({"fusion": Fusion("mfb", rank=2)}, "unknown parameter of fusion 'mfb': 'rank'"),
    ],
)
def test_errors_name_the_modality_and_the_valid_choices(options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        network(**options)


def test_check_encoders_fills_up_and_keeps_the_order():
    choices = check_encoders({"b": "mlp"}, ["a", "b", "c"])
    assert list(choices) == ["a", "b", "c"]
    assert choices["b"] == "mlp"
    assert choices["a"].name == "auto"


# -- several networks as one --------------------------------------------------------------------------------------

K = 3


def members(infos, fusion=SIDE_BY_SIDE, encoders=None, **options):
    alone = [network(infos, fusion, encoders, seed=seed, **options) for seed in range(K)]
    return alone, MemberNetworks([copy.deepcopy(net) for net in alone]).eval()


class OwnConvolution(nn.Module):
    """A user's, which has no way of its own to run one member after another."""

    def __init__(self):
        super().__init__()
        self.conv, self.out_dim = nn.Conv2d(2, 5, 3), 5

    def forward(self, x):
        return self.conv(x.movedim(-1, 1)).amax((-1, -2))


def test_members_one_after_another_are_those_at_once(monkeypatch):
    _, together = members(MIXED, encoders={"training": OwnConvolution()})
    inputs, found, at_once, vmap = stack([batch(MIXED, seed) for seed in range(K)]), [], [], torch.vmap
    monkeypatch.setattr(torch, "vmap", lambda *args, **options: at_once.append(1) or vmap(*args, **options))
    for limit in (0, 10**9):
        monkeypatch.setattr("skmm.network._members.PICTURES_LIMIT", limit)
        outputs = together(*inputs, own_rows=True), together(*batch(MIXED))
        gradients = torch.autograd.grad(sum(x.square().sum() for x in outputs), list(together.stacked))
        found.append((*outputs, *gradients))
        assert bool(at_once) is (limit > 0)
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b)


class Convolutions(TorchDispatchMode):
    """The groups of each convolution of pictures of 6 x 6."""

    def __init__(self):
        super().__init__()
        self.groups = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function is torch.ops.aten.convolution.default and args[0].shape[-2:] == (6, 6):
            self.groups.append(args[8])
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("shared", [False, True])
def test_pictures_of_members_run_one_after_another_within_one_call(shared):
    alone, together = members(MIXED, modality_heads=True)
    own = [batch(MIXED, 0 if shared else seed) for seed in range(K)]
    with Convolutions() as convolutions:
        output = together(*own[0]) if shared else together(*stack(own), own_rows=True)
    assert convolutions.groups == 2 * K * [1]  # never all as groups of one
    expected = torch.stack([net(*given) for net, given in zip(alone, own, strict=True)])
    torch.testing.assert_close(output, expected)
    gradients = torch.autograd.grad(output.square().sum(), list(together.stacked))
    each = [
        torch.autograd.grad(x.square().sum(), list(n.parameters())) for x, n in zip(expected, alone, strict=True)
    ]
    for found, *parts in zip(gradients, *each, strict=True):
        torch.testing.assert_close(found, torch.stack(parts))


def assert_members_equal(alone, together, infos, method="forward"):
    shared = batch(infos)
    output = together(*shared, method=method)
    assert len(output) == K
    own = [batch(infos, seed) for seed in range(K)]
    own_output = together(*stack(own), own_rows=True, method=method)
    for k, net in enumerate(alone):
        torch.testing.assert_close(output[k], getattr(net, method)(*shared))
        torch.testing.assert_close(own_output[k], getattr(net, method)(*own[k]))


@pytest.mark.parametrize("fusion", list_fusions())
@pytest.mark.parametrize("method", ["forward", "fuse"])
def test_stacked_members_are_the_networks_alone(fusion, method):
    infos = readable(fusion)
    alone, together = members(infos, fusion)
    assert together.vectorized
    assert_members_equal(alone, together, infos, method)


@pytest.mark.parametrize(
    ("infos", "encoders"),
    [
        (SEQUENCE, "gru"),
        (SEQUENCE, Encoder("lstm", bidirectional=True)),
        (VECTORS, {"a": nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))}),
    ],
    ids=["gru", "lstm", "buffers"],
)
def test_members_without_a_batching_rule_are_the_networks_alone(infos, encoders):
    alone, together = members(infos, encoders=encoders)
    assert not together.vectorized
    assert_members_equal(alone, together, infos)


@pytest.mark.parametrize("encoders", [None, "gru"], ids=["vmap", "loop"])
def test_modality_heads_of_members(encoders):
    alone, together = members(SEQUENCE, encoders=encoders, modality_heads=True)
    assert_members_equal(alone, together, SEQUENCE)


@pytest.mark.parametrize("encoders", [None, "gru"], ids=["vmap", "loop"])
def test_gradient_of_a_member_is_that_of_the_network_alone(encoders):
    alone, together = members(SEQUENCE, encoders=encoders)
    own = [batch(SEQUENCE, seed) for seed in range(K)]
    together(*stack(own), own_rows=True).square().sum().backward()
    for k, net in enumerate(alone):
        net(*own[k]).square().sum().backward()
        for p, expected in zip(together.stacked, net.parameters(), strict=True):
            torch.testing.assert_close(p.grad[k], expected.grad)


def test_each_member_drops_other_units():
    infos = {"x": BlockInfo("vector", (50,))}
    together = MemberNetworks([network(infos, encoders=Encoder("mlp", input_dropout=0.5))] * 2)
    outputs = together.train()(*batch(infos, missing=False))
    assert not torch.allclose(outputs[0], outputs[1])
    outputs = together.eval()(*batch(infos, missing=False))
    torch.testing.assert_close(outputs[0], outputs[1])


def test_running_means_of_each_member_are_its_own():
    module = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 4))
    infos = {"a": VECTORS["a"]}
    alone, together = members(infos, encoders=module)
    own = [batch(infos, seed, missing=False) for seed in range(K)]
    together.train()(*stack(own), own_rows=True)
    for k, net in enumerate(alone):
        net.train()(*own[k])
        torch.testing.assert_close(together.eval()(*own[0])[k], net.eval()(*own[0]))


@pytest.mark.parametrize("n_members", [1, K])
def test_weights_decay_and_biases_norms_and_placeholders_do_not(n_members):
    module = MemberNetworks([network(fusion="mfb") for _ in range(n_members)])
    weights, rest = module.decayed()
    # two encoders and two projections and the head; their biases, norms and placeholders
    assert (len(weights), len(rest)) == (5, 2 * 3 + 2 + 1)
    assert {id(p) for p in weights + rest} == {id(p) for p in module.parameters()}


def test_one_member_is_the_network_itself():
    net = network()
    together = MemberNetworks([net])
    assert torch.equal(together(*batch()), net(*batch()))
    assert {id(p) for p in together.parameters()} == {id(p) for p in net.parameters()}


def test_members_with_tied_weights_are_the_networks_alone():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 3)
            self.second.weight = self.first.weight

        def forward(self, x):
            return self.second(self.first(x))

    infos = {"a": VECTORS["a"]}
    alone, together = members(infos, encoders=Tied())
    assert_members_equal(alone, together, infos)


@pytest.mark.parametrize("encoders", [None, "gru"], ids=["vmap", "loop"])
def test_members_survive_state_dict_and_copies(encoders):
    _, together = members(SEQUENCE, encoders=encoders)
    expected = together(*batch(SEQUENCE))
    assert torch.equal(copy.deepcopy(together)(*batch(SEQUENCE)), expected)
    other = MemberNetworks([network(SEQUENCE, encoders=encoders, seed=9) for _ in range(K)]).eval()
    other.load_state_dict(together.state_dict())
    assert torch.equal(other(*batch(SEQUENCE)), expected)
