"""Tests of gated, moe and film, and of the gates and attention weights that fusions show."""

import copy

import numpy as np
import pytest
import torch
from formulas import (
    HIDDEN,
    N,
    assert_close,
    attend_with_weights,
    build,
    data,
    dims_of,
    layer_norm,
    missing,
    n_modalities,
    position,
    relu,
    run,
    token_data,
    transformer_block,
)
from scipy.special import expit, softmax
from torch import nn

from skmm import Blocks, Fusion, MultimodalClassifier
from skmm.fusion.late import LateFusion
from skmm.spec import FUSIONS, offers
from skmm.testing import check_fusion


@pytest.mark.parametrize(
    "fusion", [Fusion("film", conditioning="self"), Fusion("film", activation="tanh")], ids=repr
)
def test_contract_with_parameters(fusion):
    check_fusion(fusion, estimators=False)


def read(module, method, x, there):
    """What a method other than forward says, as NumPy arrays."""
    values = {name: torch.as_tensor(v) for name, v in x.items()}
    with torch.no_grad():
        found = getattr(module, method)(values, {name: torch.as_tensor(m) for name, m in there.items()})
    return {key: v.numpy() for key, v in found.items()}


def present_or_placeholder(w, dims, x, there, i):
    return [x[m][i] if there[m][i] else w[f"placeholders.vectors.{k}"] for k, m in enumerate(dims)]


# -- gated --------------------------------------------------------------------------------------------------------


def gmu_gates(w, dims, x, there, i):
    """z_m of one sample by modality, of those that exist."""
    kept = [m for m in dims if there[m][i]]
    if len(dims) < 3 and len(kept) < 2:  # nothing to weigh against
        return {m: np.ones(HIDDEN) for m in kept}
    if len(dims) == 2:
        z = expit(w["gate.0.weight"] @ np.concatenate([x["a"][i], x["b"][i]]))
        return {"a": z, "b": 1 - z}
    joined = np.concatenate(present_or_placeholder(w, dims, x, there, i))
    return {m: expit(w[f"gate.{k}.weight"] @ joined) for k, m in enumerate(dims) if m in kept}


@n_modalities
@missing
def test_gated_is_the_gated_multimodal_unit(n, missing):
    """h = Σ_m z_m ∘ tanh(W_m x_m), over the modalities that a row has."""
    dims = dims_of(n)
    module, w = build("gated", dims)
    x, there = data(dims, missing)
    shown = read(module, "gates", x, there)
    assert list(shown) == list(dims)
    expected = np.zeros((N, HIDDEN))
    gates = {m: np.zeros((N, HIDDEN)) for m in dims}
    for i in range(N):
        for m, z in gmu_gates(w, dims, x, there, i).items():
            gates[m][i] = z
            expected[i] += z * np.tanh(w[f"hidden.{list(dims).index(m)}.weight"] @ x[m][i])
    assert_close(run(module, x, there), expected)
    for m in dims:
        assert_close(shown[m], gates[m])


def test_of_two_modalities_the_gates_are_complements():
    module, _ = build("gated", dims_of(2))
    x, there = data(dims_of(2))
    gates = read(module, "gates", x, there)
    either = there["a"] | there["b"]
    assert_close(gates["a"] + gates["b"], np.repeat(either[:, None], HIDDEN, 1).astype(float))


# -- moe ----------------------------------------------------------------------------------------------------------


@n_modalities
@missing
def test_moe_blends_experts_of_each_modality_and_of_all(n, missing):
    """h = Σ_e p_e E_e with p a softmax over the experts whose input exists."""
    dims = dims_of(n)
    module, w = build("moe", dims)
    x, there = data(dims, missing)
    shown = read(module, "gates", x, there)
    assert list(shown) == [*dims, "joint"]
    expected = np.zeros((N, HIDDEN))
    gates = np.zeros((N, n + 1))
    for i in range(N):
        inputs = present_or_placeholder(w, dims, x, there, i)
        joined = np.concatenate(inputs)
        kept = [k for k, m in enumerate(dims) if there[m][i]] + [n]
        scores = w["gate.weight"] @ joined + w["gate.bias"]
        for k, p in zip(kept, softmax(scores[kept]), strict=True):
            z = w[f"experts.{k}.0.weight"] @ [*inputs, joined][k] + w[f"experts.{k}.0.bias"]
            expected[i] += p * relu(layer_norm(z, w[f"experts.{k}.1.weight"], w[f"experts.{k}.1.bias"]))
            gates[i, k] = p
    assert_close(run(module, x, there), expected)
    assert_close(np.column_stack(list(shown.values())), gates)


@pytest.mark.parametrize(
    ("others", "label"), [(["joint"], "joint_"), (["joint", "joint_"], "joint__"), (["joint_"], "joint")]
)
def test_the_joint_expert_gives_way_to_a_modality_of_its_name(others, label):
    dims = dict(zip(["a", *others], dims_of(3).values(), strict=False))
    module, _ = build("moe", dims)
    x, there = data(dims)
    plain, _ = build("moe", dims_of(len(dims)))
    renamed = dict(zip(dims, dims_of(len(dims)), strict=True))
    expected = read(
        plain, "gates", {renamed[m]: v for m, v in x.items()}, {renamed[m]: v for m, v in there.items()}
    )
    shown = read(module, "gates", x, there)
    assert list(shown) == [*dims, label]
    for found, known in zip(shown.values(), expected.values(), strict=True):
        assert_close(found, known)


# -- film ---------------------------------------------------------------------------------------------------------


@n_modalities
@missing
@pytest.mark.parametrize("last", [False, True], ids=["first conditions", "last conditions"])
def test_film_scales_and_shifts_the_others(n, missing, last):
    """Σ_m f(γ_m ∘ F_m + β_m), γ_m = 1 + Δγ_m, both linear in what conditions."""
    dims = dims_of(n)
    c = list(dims)[-1 if last else 0]
    module, w = build("film", dims, conditioning=c if last else None)
    x, there = data(dims, missing)
    expected = np.zeros((N, HIDDEN))
    for i in range(N):
        for k, m in enumerate([m for m in dims if m != c] or [c]):
            f = np.zeros(HIDDEN)
            if there[m][i]:
                f = layer_norm(w[f"features.{k}.weight"] @ x[m][i] + w[f"features.{k}.bias"], 1, 0)
            gamma, beta = np.ones(HIDDEN), np.zeros(HIDDEN)
            if n > 1 and there[c][i]:
                delta = w[f"modulation.{k}.weight"] @ x[c][i] + w[f"modulation.{k}.bias"]
                gamma, beta = 1 + delta[:HIDDEN], delta[HIDDEN:]
            expected[i] += relu(gamma * f + beta)
    assert_close(run(module, x, there), expected)


# -- gates and attention weights ----------------------------------------------------------------------------------


@n_modalities
@missing
@pytest.mark.parametrize("link", ["softmax", "sigmoid", "identity"])
def test_gates_of_late_weigh_its_decisions(n, missing, link):
    dims = dims_of(n)
    module, w = build("late", dims, 3, link, rule="learned")
    x, there = data(dims, missing)
    gates = read(module, "gates", x, there)
    assert list(gates) == list(dims)
    exists = np.column_stack([there[m] for m in dims])
    weights = np.column_stack(list(gates.values()))
    np.testing.assert_allclose(weights.sum(1), exists.any(1))
    assert not weights[~exists].any()
    decide = {"softmax": lambda z: softmax(z, -1), "sigmoid": expit, "identity": lambda z: z}[link]
    parts = [decide(x[m] @ w[f"heads.{k}.weight"].T + w[f"heads.{k}.bias"]) for k, m in enumerate(dims)]
    mixed = sum(g[:, None] * p for g, p in zip(gates.values(), parts, strict=True))
    some = exists.any(1)
    np.testing.assert_allclose(decide(run(module, x, there))[some], mixed[some], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("rule", ["mean", "product", "max", "vote"])
def test_a_fixed_rule_of_late_has_no_gates(rule):
    module, _ = build("late", dims_of(2), 3, "softmax", rule=rule)
    with pytest.raises(ValueError, match=f"rule '{rule}' of fusion 'late' has no learned weights"):
        module.gates(*data(dims_of(2)))


RULES = ["mean", "product", "max", "vote", "learned"]


@pytest.mark.parametrize("rule", RULES)
def test_only_learned_weights_are_offered_as_gates(rule):
    """A spec as it is written, a class, which has the default, and a module say the same as an estimator."""
    learned = rule == "learned"
    assert offers(Fusion("late", rule=rule), "gates") is learned
    assert offers(Fusion(LateFusion, rule=rule), "gates") is learned
    assert offers(LateFusion({"a": 2}, 2, "softmax", rule=rule), "gates") is learned
    assert not offers(Fusion("late", rule=rule), "attention_weights")
    assert hasattr(MultimodalClassifier(Fusion("late", rule=rule)), "gates") is learned


def test_an_estimator_offers_the_gates_of_the_fusion_that_was_fitted():
    X, y = Blocks(a=np.random.default_rng(0).normal(size=(40, 3))), np.arange(40) % 2
    clf = MultimodalClassifier(Fusion("late", rule="learned"), n_members=1, max_epochs=1).fit(X, y)
    np.testing.assert_allclose(clf.gates(X)["a"], 1)
    clf.set_params(fusion__rule="mean").fit(X, y)
    assert not hasattr(clf, "gates")
    assert not hasattr(MultimodalClassifier("late"), "gates")


@pytest.mark.parametrize(
    ("name", "methods"),
    [("gated", 1), ("moe", 1), ("attention", 2), ("crossmodal", 1), ("bottleneck", 1), ("concat", 0)],
)
def test_what_fusions_without_such_a_condition_offer(name, methods):
    assert offers(Fusion(name), "gates") + offers(Fusion(name), "attention_weights") == methods


@n_modalities
@missing
def test_attention_shows_what_it_reads_and_weighs(n, missing):
    dims, n_heads = dims_of(n), 2
    module, w = build("attention", dims, n_heads=n_heads)
    x, there = token_data(dims, missing)
    gates = read(module, "gates", x, there)
    weights = read(module, "attention_weights", x, there)
    sources = {m: tuple(s for s in dims if s != m) or (m,) for m in dims}
    assert list(gates) == list(dims)
    assert list(weights) == list(sources.items())
    vectors = {}
    for k, m in enumerate(dims):
        shown = weights[m, sources[m]]
        assert shown.shape == (N, n_heads, x[m].shape[1], 1 + sum(x[s].shape[1] for s in sources[m]))
        for i in range(N):
            tokens = {s: x[s][i] @ w[f"project.{j}.weight"].T + w[f"project.{j}.bias"] for j, s in enumerate(dims)}
            normed = {
                s: layer_norm(tokens[s], w[f"norms.{j}.weight"], w[f"norms.{j}.bias"]) for j, s in enumerate(dims)
            }
            others = np.concatenate([normed[s] for s in sources[m]])
            kept = np.concatenate([there[s][i] for s in sources[m]])
            expected, updated = np.zeros_like(shown[i]), []
            for t in np.flatnonzero(there[m][i]):
                found, probabilities = attend_with_weights(normed[m][t], others[kept], w, f"attention.{k}", n_heads)
                expected[:, t, np.append(True, kept)] = probabilities
                updated.append(tokens[m][t] + found)
            assert_close(shown[i], expected)
            np.testing.assert_allclose(shown[i].sum(-1), np.tile(there[m][i], (n_heads, 1)))
            if updated:
                vectors[i, m] = np.mean(updated, axis=0)
    mixed, weighed = np.zeros((N, HIDDEN)), {m: np.zeros(N) for m in dims}
    for i in range(N):
        kept = [m for m in dims if (i, m) in vectors]
        scores = np.array([w["score.weight"][0] @ vectors[i, m] if n > 1 else 0.0 for m in kept])
        for m, weight in zip(kept, softmax(scores) if kept else [], strict=True):
            weighed[m][i] = weight
            mixed[i] += weight * vectors[i, m]
    for m in dims:
        assert_close(gates[m], weighed[m])
    assert_close(run(module, x, there), mixed)


@n_modalities
@missing
@pytest.mark.parametrize(("n_layers", "fusion_layer", "size"), [(2, 0, 4), (3, 1, 1)])
def test_bottleneck_shows_what_its_class_tokens_read(n, missing, n_layers, fusion_layer, size):
    dims, n_heads = dims_of(n), 2
    params = {"n_layers": n_layers, "fusion_layer": fusion_layer, "n_bottlenecks": size, "n_heads": n_heads}
    module, w = build("bottleneck", dims, **params)
    x, there = token_data(dims, missing)
    shown = read(module, "attention_weights", x, there)
    assert list(shown) == [(m, (m,)) for m in dims]
    expected = {m: np.zeros_like(shown[m, (m,)]) for m in dims}
    for i in range(N):
        z = {}
        for k, m in enumerate(dims):
            steps = np.flatnonzero(there[m][i])
            if len(steps):
                inside = x[m][i][steps] @ w[f"project.{k}.weight"].T + w[f"project.{k}.bias"]
                places = [position(t, HIDDEN) for t in steps]
                z[k] = [w["class_tokens"][k], *(np.sqrt(HIDDEN) * inside + places)]
        b = list(w["bottleneck"])
        for layer in range(n_layers - 1):
            own = {k: f"layers.{layer}.{k}" for k in z}
            if layer < fusion_layer:
                z = {k: transformer_block(v, v, w, own[k], n_heads) for k, v in z.items()}
                continue
            both = {k: transformer_block(b + v, b + v, w, own[k], n_heads) for k, v in z.items()}
            z = {k: v[size:] for k, v in both.items()}
            b = [np.mean([v[j] for v in both.values()], axis=0) for j in range(size)] if both else b
        for k, v in z.items():
            m, last = list(dims)[k], f"layers.{n_layers - 1}.{k}"
            normed = [layer_norm(t, w[f"{last}.norm1.weight"], w[f"{last}.norm1.bias"]) for t in b + v]
            _, weights = attend_with_weights(normed[size], normed, w, f"{last}.attention", n_heads)
            steps = np.flatnonzero(there[m][i])
            learned = weights.shape[1] - len(steps)  # the bottleneck, the class token and, if any, a null token
            expected[m][i, :, 0, [*range(learned), *(learned + steps)]] = weights.T
    for m in dims:
        weights = shown[m, (m,)]
        assert_close(weights, expected[m])
        exists = np.broadcast_to(there[m].any(1)[:, None, None], weights.shape[:-1])
        np.testing.assert_allclose(weights.sum(-1), exists, atol=1e-12)


def test_attention_weights_of_a_bottleneck_name_its_columns():
    rng = np.random.default_rng(0)
    X, y = Blocks(a=rng.normal(size=(40, 5, 3)), b=rng.normal(size=(40, 2))), np.arange(40) % 2
    encoders = {"a": "transformer", "b": "identity"}
    fusion = Fusion("bottleneck", n_bottlenecks=3, n_heads=2)
    params = {"encoders": encoders, "n_members": 2, "hidden_dim": 8, "max_epochs": 1, "random_state": 0}
    for name, shown in zip(X, MultimodalClassifier(fusion, **params).fit(X, y).attention_weights(X), strict=True):
        own = [(name, step) for step in range(5 if name == "a" else 1)]
        learned = len(shown.columns) - len(own)
        assert shown.target == name
        assert shown.columns == [*((None, i) for i in range(learned)), *own]
        assert learned in (3 + 1, 3 + 1 + 1)  # the bottleneck, the class token and, if any, a null token
        assert shown.values.shape == (40, 2, 1, len(shown.columns))
        np.testing.assert_allclose(shown.values.sum(axis=-1), 1, rtol=1e-5)


SHOWS = [
    ("gated", (), {}, "gates"),
    ("moe", (), {}, "gates"),
    ("late", (3, "softmax"), {"rule": "learned"}, "gates"),
    ("attention", (), {"n_heads": 2}, "gates"),
    ("attention", (), {"n_heads": 2}, "attention_weights"),
    ("bottleneck", (), {"n_heads": 2}, "attention_weights"),
]
shows = pytest.mark.parametrize(("name", "structure", "params", "method"), SHOWS)


def inputs_of(name, dims):
    return token_data(dims) if FUSIONS[name].level == "token" else data(dims)


@n_modalities
@shows
def test_what_is_shown_never_depends_on_what_is_missing(name, structure, params, method, n):
    dims = dims_of(n)
    module, _ = build(name, dims, *structure, **params)
    x, there = inputs_of(name, dims)
    expected = read(module, method, x, there)
    filled = {m: np.where(there[m][..., None], v, np.nan) for m, v in x.items()}
    for key, found in read(module, method, filled, there).items():
        np.testing.assert_array_equal(found, expected[key])


class Shown(nn.Module):
    """A module whose forward is another one's method."""

    def __init__(self, module, method):
        super().__init__()
        self.module, self.method = module, method

    def forward(self, values, present):
        return getattr(self.module, self.method)(values, present)


@n_modalities
@shows
def test_what_is_shown_of_several_members_at_once(name, structure, params, method, n):
    dims = dims_of(n)
    members = [Shown(build(name, dims, *structure, **params)[0], method) for _ in range(2)]
    with torch.no_grad():
        for p in members[1].parameters():
            p.mul_(0.5)
    x, there = inputs_of(name, dims)
    values = {m: torch.as_tensor(v) for m, v in x.items()}
    present = {m: torch.as_tensor(v) for m, v in there.items()}
    template = copy.deepcopy(members[0])

    def call(parameters):
        return torch.func.functional_call(template, parameters, (values, present))

    together = torch.vmap(call)(torch.func.stack_module_state(members)[0])
    for k, member in enumerate(members):
        for key, expected in read(member.module, method, x, there).items():
            assert_close(together[key].detach()[k].numpy(), expected)


# -- errors -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "dims", "params", "message"),
    [
        (
            "film",
            {"image": 3, "question": 2},
            {"conditioning": "questions"},
            r"conditioning: 'questions', valid are \['image', 'question'\]\. Did you mean 'question'\?",
        ),
        (
            "film",
            {"image": 3, "question": 2},
            {"conditioning": ["question"]},
            r"fusion 'film': .*conditioning: \['question'\], valid are \['image', 'question'\]",
        ),
    ],
)
def test_bad_parameters(name, dims, params, message):
    with pytest.raises(ValueError, match=message):
        build(name, dims, **params)
