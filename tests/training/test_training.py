"""Losses, schedules, batches, weight decay, clipping, devices and seeds of training."""

import pickle

import numpy as np
import pytest
import torch
from conftest import (
    LEVELS,
    SELF_CONTAINED,
    each_level,
    every_estimator,
    level_by_default,
    make_data,
    members,
    small,
)
from sklearn.metrics import d2_pinball_score, log_loss, mean_absolute_error, mean_pinball_loss, mean_squared_error
from skorch.callbacks import Callback

from skmm import Blocks, Encoder, MultimodalRegressor, list_fusions
from skmm._devices import find_device, seeded
from skmm.training._losses import (
    absolute_error,
    binary_cross_entropy,
    cross_entropy,
    huber_error,
    quantile_error,
    squared_error,
)
from skmm.training._optimizers import SCHEDULES, auto_batch_size, auto_epochs


def numbers(*shape, seed=0):
    return np.random.RandomState(seed).randn(*shape)


# -- losses: independent formulas are those of sklearn.metrics -----------------------------------------------------


@pytest.mark.parametrize("n_classes", [2, 5])
def test_cross_entropy(n_classes):
    logits = 3 * numbers(50, n_classes)
    y = np.random.RandomState(1).randint(n_classes, size=50)
    loss = cross_entropy(torch.tensor(logits), torch.tensor(y))
    assert loss.shape == (50,)
    proba = torch.tensor(logits).softmax(-1).numpy()
    assert loss.mean().item() == pytest.approx(log_loss(y, proba, labels=range(n_classes)))


def test_binary_cross_entropy_is_the_mean_over_the_outputs():
    logits, Y = numbers(50, 3), np.random.RandomState(1).randint(2, size=(50, 3))
    loss = binary_cross_entropy(torch.tensor(logits), torch.tensor(Y, dtype=torch.float64))
    proba = torch.tensor(logits).sigmoid().numpy()
    expected = np.mean([log_loss(Y[:, i], proba[:, i], labels=[0, 1]) for i in range(3)])
    assert loss.shape == (50,)
    assert loss.mean().item() == pytest.approx(expected)


@pytest.mark.parametrize("n_outputs", [1, 3])
@pytest.mark.parametrize(
    ("loss", "metric"),
    [
        (squared_error, mean_squared_error),
        (absolute_error, mean_absolute_error),
        (quantile_error(0.9), lambda y, p: mean_pinball_loss(y, p, alpha=0.9)),
        (quantile_error(0.5), lambda y, p: mean_absolute_error(y, p) / 2),
        (huber_error(1e9), lambda y, p: mean_squared_error(y, p) / 2),
        (huber_error(1e-9), lambda y, p: 1e-9 * mean_absolute_error(y, p)),
    ],
    ids=["squared", "absolute", "pinball", "median", "huber inside", "huber outside"],
)
def test_losses_of_values(loss, metric, n_outputs):
    y, p = numbers(50, n_outputs), numbers(50, n_outputs, seed=1)
    each = loss(torch.tensor(p), torch.tensor(y))
    assert each.shape == (50,)
    assert each.mean().item() == pytest.approx(metric(y, p), rel=1e-6)


@pytest.mark.parametrize("epsilon", [0.5, 1.35])
def test_huber_is_continuous_and_smooth_where_it_turns(epsilon):
    huber = huber_error(epsilon)
    error = torch.tensor([[epsilon - 1e-6], [epsilon + 1e-6]], dtype=torch.float64, requires_grad=True)
    below, above = huber(error, torch.zeros_like(error))
    assert below.item() == pytest.approx(epsilon**2 / 2, rel=1e-4)
    assert above.item() == pytest.approx(epsilon**2 / 2, rel=1e-4)
    (below + above).backward()
    np.testing.assert_allclose(error.grad, epsilon, rtol=1e-4)


@pytest.mark.parametrize(
    ("loss", "n_outputs", "target"),
    [
        (cross_entropy, 3, np.arange(20) % 3),
        (binary_cross_entropy, 2, np.random.RandomState(0).randint(2, size=(20, 2)).astype(float)),
        (squared_error, 2, numbers(20, 2)),
        (quantile_error(0.2), 1, numbers(20, 1)),
    ],
    ids=["classes", "labels", "squared", "quantile"],
)
def test_losses_of_several_members_are_those_of_each(loss, n_outputs, target):
    outputs = torch.tensor(numbers(4, 20, n_outputs))
    targets = torch.stack([torch.tensor(target)] * 4)
    together = loss(outputs, targets)
    assert together.shape == (4, 20)
    for k in range(4):
        np.testing.assert_allclose(together[k], loss(outputs[k], torch.tensor(target)))


def test_a_quantile_regressor_beats_the_constant_one():
    rng = np.random.RandomState(0)
    x = rng.randn(300, 3)
    y = x[:, 0] + rng.randn(300)
    reg = small(MultimodalRegressor, loss="quantile", alpha=0.8).fit(x[:200], y[:200])
    assert d2_pinball_score(y[200:], reg.predict(x[200:]), alpha=0.8) > 0.15


# -- learning rates, batch sizes, epochs ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "points"),
    [
        ("constant", {0: 1, 0.5: 1, 1: 1}),
        ("linear", {0: 1, 0.25: 0.75, 1: 0}),
        ("step", {0: 1, 0.3: 1, 0.34: 0.1, 0.66: 0.1, 0.67: 0.01, 0.99: 0.01}),
        ("exponential", {0: 1, 0.5: 0.1, 1: 0.01}),
        ("cosine", {0.05: 1, 0.525: 0.5, 1: 0}),
    ],
)
def test_schedules_at_known_points(name, points):
    for done, factor in points.items():
        assert SCHEDULES[name](done) == pytest.approx(factor, abs=1e-12)


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_stays_between_0_and_1_and_starts_above_0(name):
    factors = np.array([SCHEDULES[name](done) for done in np.linspace(0, 1, 1001)])
    assert factors[0] > 0
    assert (factors >= 0).all()
    assert (factors <= 1).all()
    assert factors.max() == pytest.approx(1)


@pytest.mark.parametrize(("n", "size"), [(1, 32), (2499, 32), (2500, 64), (4999, 64), (5000, 128), (10**6, 128)])
def test_auto_batch_size(n, size):
    assert auto_batch_size(n) == size


@pytest.mark.parametrize(
    ("n", "batch_size", "epochs"), [(32, 32, 100), (256, 32, 100), (1600, 32, 16), (10**6, 128, 5)]
)
def test_auto_epochs(n, batch_size, epochs):
    assert auto_epochs(n, batch_size) == epochs


@every_estimator
def test_auto_values_are_those_used(cls):
    X, y = make_data(70, kinds=["vector"])
    spy = Steps()
    estimator = small(cls, max_epochs="auto", batch_size="auto", callbacks=[spy], modality_loss=0).fit(X, y)
    assert estimator.n_iter_ == auto_epochs(70, 32)
    assert spy.sizes[:3] == [32, 32, 6]


@pytest.mark.parametrize(("optimizer", "lr"), [("sgd", 0.05), ("adam", 3e-3), ("adamw", 3e-3), ("rmsprop", 3e-3)])
def test_auto_learning_rate(optimizer, lr):
    X, y = make_data()
    spy = Steps()
    small(optimizer=optimizer, lr="auto", lr_schedule=None, callbacks=[spy], max_epochs=1).fit(X, y)
    assert spy.lr == [lr, lr]


# -- batches -------------------------------------------------------------------------------------------------------


class Steps(Callback):
    """Notes size and learning rate of each training batch, and the norm of each gradient."""

    def initialize(self):
        self.sizes, self.lr, self.norms = [], [], []
        return self

    def on_grad_computed(self, net, named_parameters, **kwargs):
        squares = [p.grad.square().sum(tuple(range(self.member_axes(net), p.ndim))) for _, p in named_parameters]
        self.norms.append(sum(squares).sqrt())

    @staticmethod
    def member_axes(net):
        return 0 if net.module_.n_members == 1 else 1

    def on_batch_end(self, net, batch=None, training=False, **kwargs):
        if training:
            self.sizes.append(batch[1].shape[self.member_axes(net)])
            self.lr.append(net.optimizer_.param_groups[0]["lr"])


class Rows(Callback):
    """Notes which samples are in each training batch, by the number that their target is."""

    def initialize(self):
        self.epochs = []
        return self

    def on_epoch_begin(self, net, **kwargs):
        self.epochs.append([])

    def on_batch_end(self, net, batch=None, training=False, **kwargs):
        if training:
            target = batch[1]
            self.epochs[-1].append(target.reshape(net.module_.n_members, -1))


def visited(n_members, **params):
    """Per epoch and member, the targets in the order in which they were trained on."""
    rows = Rows()
    X = Blocks(a=numbers(50, 3))
    y = np.arange(50.0)
    reg = small(MultimodalRegressor, callbacks=[rows], max_epochs=4, n_members=n_members, batch_size=8, **params)
    reg.fit(X, y)
    each = [torch.cat(batches, -1).numpy() for batches in rows.epochs]
    return [np.round(epoch * y.std() + y.mean()).astype(int) for epoch in each]


def test_every_sample_is_visited_once_in_each_epoch():
    epochs = visited(1)
    for epoch in epochs:
        np.testing.assert_array_equal(np.sort(epoch[0]), np.arange(50))
    # in another order each time
    assert len({tuple(epoch[0]) for epoch in epochs}) == 4


def test_every_member_visits_its_own_samples_once_in_each_epoch():
    epochs = visited(5)
    left_out = []
    for member in range(5):
        mine = [np.sort(epoch[member]) for epoch in epochs]
        for again in mine[1:]:
            np.testing.assert_array_equal(again, mine[0])
        assert len(set(mine[0])) == len(mine[0]) == 40
        left_out += sorted(set(range(50)) - set(mine[0]))
    # the folds that are left out share all samples among them
    assert sorted(left_out) == list(range(50))
    assert len({tuple(epochs[0][member]) for member in range(5)}) == 5


# -- weight decay and clipping -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fusion", "n_members"),
    [*(level_by_default(fusion, 1) for fusion in list_fusions()), *((fusion, 3) for fusion in LEVELS)],
)
def test_weight_decay_is_on_weights_alone(fusion, n_members):
    X, y = make_data(40, kinds=["vector", "image"])
    params = {
        "fusion": fusion,
        "n_members": n_members,
        "optimizer": "sgd",
        "lr_schedule": None,
        "max_epochs": 1,
        "batch_size": 64,
        "dropout": 0.0,
    }
    after = {}
    for decay in (0.0, 0.5):
        fitted = small(weight_decay=decay, lr=0.1, **params).fit(X, y)
        after[decay] = {name: p.detach() for name, p in fitted.net_.module_.named_parameters()}
    start = small(lr=1e-30, **params).fit(X, y)
    axis = 0 if n_members == 1 else 1
    for name, p in start.net_.module_.named_parameters():
        # one step of plain descent: w - lr (g + decay w)
        expected = -0.1 * 0.5 * p.detach() if p.ndim - axis >= 2 else torch.zeros_like(p)
        difference = after[0.5][name] - after[0.0][name]
        np.testing.assert_allclose(difference, expected, atol=1e-6, err_msg=name)


@members
@pytest.mark.parametrize("largest", [1e-3, 0.1])
def test_gradients_are_clipped_for_each_member(largest, n_members):
    X, y = make_data()
    free, clipped = Steps(), Steps()
    params = {"n_members": n_members, "optimizer": "sgd", "lr": 1e-30, "max_epochs": 2, "dropout": 0.0}
    params["encoders"] = {"vector": Encoder("mlp", input_dropout=0.0)}
    small(callbacks=[free], **params).fit(X, y)
    small(callbacks=[clipped], clip_grad_norm=largest, **params).fit(X, y)
    for norm, limited in zip(free.norms, clipped.norms, strict=True):
        np.testing.assert_allclose(limited, norm.clamp(max=largest), rtol=1e-3)
    assert (torch.stack(free.norms) > 1e-3).all()


# -- every parameter learns ----------------------------------------------------------------------------------------

KIND_OF = {"gru": "ragged", "lstm": "ragged", "transformer": "ragged", "conv1d": "sequence", "conv2d": "image"}
KIND_OF |= {"mlp": "vector", "identity": "vector", "embedding": "tokens"}
KIND_OF |= {"conformer": "ragged", "conv3d": "video", "conv2d_temporal": "video", "timesformer": "video"}


def frozen_parameters(fusion, encoders, kinds, n_members):
    """Names of the parameters that training leaves as they were."""
    X, y = make_data(40, kinds=kinds)
    missing = np.arange(40) % 5 == 0
    # some rows lack a modality, so that what stands in for it is needed
    X = Blocks(X, present={kind: ~np.roll(missing, i) for i, kind in enumerate(kinds)})
    params = {"fusion": fusion, "encoders": encoders, "n_members": n_members, "weight_decay": 0.0, "dropout": 0.0}
    start = small(lr=1e-30, max_epochs=1, optimizer="sgd", **params).fit(X, y)
    ended = small(lr=0.01, max_epochs=5, **params).fit(X, y)
    before = dict(start.net_.module_.named_parameters())
    return [name for name, p in ended.net_.module_.named_parameters() if torch.equal(p, before[name])]


@members
@each_level
def test_every_parameter_of_a_fusion_moves(fusion, n_members):
    assert frozen_parameters(fusion, None, ["vector", "sequence", "image"], n_members) == []


@pytest.mark.one_by_default
@pytest.mark.parametrize("encoder", SELF_CONTAINED)
@pytest.mark.parametrize("fusion", ["concat", "attention"])
def test_every_parameter_of_an_encoder_moves(encoder, fusion):
    kind = KIND_OF[encoder]
    other = "image" if kind == "vector" else "vector"
    assert frozen_parameters(fusion, {kind: encoder}, [kind, other], 1) == []


def test_every_encoder_has_data_in_these_tests():
    assert set(KIND_OF) == set(SELF_CONTAINED)


@each_level
def test_zero_inputs_leave_all_finite_and_give_the_shares_of_the_classes(fusion):
    y = np.arange(40) % 2
    X = Blocks(a=np.zeros((40, 4)), b=np.zeros((40, 5, 2)), c=np.zeros((40, 8, 8, 1)))
    # every batch holds both classes alike, and nothing is random
    clf = small(fusion=fusion, lr=0.01, max_epochs=60, batch_size=40, dropout=0.0).fit(X, y)
    assert np.isfinite(clf.loss_curve_).all()
    assert all(torch.isfinite(p).all() for p in clf.net_.module_.parameters())
    np.testing.assert_allclose(clf.predict_proba(X), 0.5, atol=0.05)


# -- devices and seeds ---------------------------------------------------------------------------------------------


def test_auto_device_is_a_gpu_where_there_is_one():
    assert find_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert find_device("cpu") == torch.device("cpu")
    assert find_device(torch.device("cpu")) == torch.device("cpu")


@pytest.mark.gpu
@every_estimator
def test_fitted_on_a_gpu_predicts_without_one(cls):
    X, y = make_data(kinds=["vector", "sequence", "image"])
    estimator = small(cls, device="cuda").fit(X, y)
    assert next(estimator.net_.module_.parameters()).device.type == "cuda"
    expected = estimator.predict(X)
    moved_back = pickle.loads(pickle.dumps(estimator)).set_params(device="cpu")
    np.testing.assert_allclose(moved_back.predict(X), expected, atol=1e-4)


def test_a_seed_inside_leaves_the_state_outside():
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    with seeded(5, torch.device("cpu")):
        inside = torch.rand(3)
    assert torch.equal(torch.rand(3), expected)
    with seeded(5, torch.device("cpu")):
        assert torch.equal(torch.rand(3), inside)


def test_a_seed_is_given_back_after_an_error():
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    with pytest.raises(RuntimeError), seeded(5, torch.device("cpu")):
        raise RuntimeError
    assert torch.equal(torch.rand(3), expected)


def test_videos_are_predicted_in_smaller_batches_than_vectors():
    sizes = {}
    for kind, X in {"vector": np.zeros((30, 5)), "video": np.zeros((30, 8, 64, 64, 3), dtype=np.uint8)}.items():
        clf = small(max_epochs=1, batch_size=10).fit({"a": X}, np.arange(30) % 2)
        data = clf.inputs_.load(clf.inputs_.check(Blocks(a=X)), torch.float32, torch.device("cpu"))
        rows = torch.zeros(5000, dtype=torch.int64)
        sizes[kind] = len(data.parts(rows, clf.net_._most(data), clf.net_.module_.width)[0])
    assert sizes == {"vector": 1024, "video": 2**24 // (8 * 64 * 64 * 3)}


@every_estimator
def test_parts_whose_number_is_known_follow_the_schedule(cls):
    X, y = make_data(60)
    parts = [(X[start : start + 20], y[start : start + 20]) for start in (0, 20, 40)]
    known = {} if cls is MultimodalRegressor else {"classes": np.unique(y)}
    steps = {"max_epochs": 3, "batch_size": 20, "scale_inputs": False}
    rates = []

    class Rate(Callback):
        def on_batch_end(self, net, training=False, **kwargs):
            rates.append(net.optimizer_.param_groups[0]["lr"])

    stream = small(cls, lr_schedule="linear", callbacks=[Rate()], **steps)
    for part in parts:
        stream.partial_fit(*part, **known, n_parts=3)
    streamed = rates.copy()
    rates.clear()
    small(cls, lr_schedule="linear", callbacks=[Rate()], **steps).fit(*parts[0])  # three epochs of as many steps
    np.testing.assert_allclose(streamed, rates)
    assert len(set(streamed)) == 3
    with pytest.raises(ValueError, match="n_parts=4 is not that of the first call, 3"):
        stream.partial_fit(*parts[0], n_parts=4)
    with pytest.warns(UserWarning, match=r"after the last of n_parts=3.*\(linear\)"):
        stream.partial_fit(*parts[0], n_parts=3)
    with pytest.raises(ValueError, match="n_parts == 0"):
        small(cls).partial_fit(*parts[0], **known, n_parts=0)
