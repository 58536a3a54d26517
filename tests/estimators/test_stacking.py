"""The stack over the heads: its solution, out-of-fold predictions, no leak, and what it is good for."""

import numpy as np
import pytest
import torch
from conftest import TASKS, ensemble, make_data, make_task
from conftest import outputs as predictions
from scipy.optimize import lsq_linear, minimize
from scipy.special import expit, log_softmax, logsumexp, softmax
from skorch.callbacks import Callback

from skmm import Blocks, MultimodalClassifier, MultimodalRegressor
from skmm.datasets import make_multimodal_classification
from skmm.estimators._heads import member_outputs as said_by_heads
from skmm.estimators._stack import WEAK_PULL, Stack, average
from skmm.estimators._targets import ClassTarget, LabelsTarget, SoftClassTarget, ValueTarget
from skmm.metrics import expected_calibration_error
from skmm.table import Table
from skmm.training._losses import absolute_error, squared_error
from skmm.training._plan import Folds, assign_folds

TARGETS = {
    "softmax": ClassTarget(np.arange(3)),
    "sigmoid": LabelsTarget(3),
    "identity": ValueTarget(squared_error, 3),
}
PENALTY, BIAS_PENALTY = 1.0, 1.0  # what pulls the weights to the plain average, and the biases to 0


HARD = {"n": 80, "missing": 10, "noise": 2.0, "error": 1.0}  # heads that differ in what they know


def member_outputs(estimator, X):
    """Outputs of every head of every member (K, n, H, C), and which heads speak (n, H)."""
    data, dtype, _ = estimator._load(X)
    ((_, outputs, exists, _),) = said_by_heads(estimator.net_, data, dtype)
    return outputs, exists


# -- the solution -------------------------------------------------------------------------------------------------


def make_features(link, n=60, n_heads=3, n_outputs=3, seed=0):
    """Outputs of heads, of which the first knows most and the last nothing, and the target of the loss."""
    rng = np.random.RandomState(seed)
    exists = rng.rand(n, n_heads) > 0.1
    noise = np.array([0.5, 1.5, 4.0])[:, None]
    if link == "softmax":
        target = rng.randint(n_outputs, size=n)
        outputs = 2 * np.eye(n_outputs)[target][:, None, :] + noise * rng.randn(n, n_heads, n_outputs)
    else:
        truth = rng.randn(n, n_outputs)
        target = (truth > 0).astype(float) if link == "sigmoid" else truth + 0.3
        outputs = truth[:, None, :] + noise * rng.randn(n, n_heads, n_outputs)
    return Stack.features(TARGETS[link], outputs, exists), torch.as_tensor(target), rng.rand(n) + 0.2


def kish(weights):
    """How many samples of equal weight these are worth."""
    return weights.sum() ** 2 / (weights**2).sum()


def objective(link, z, target, weights, w, b, d=None, mixing=0.0):
    """What the stack minimises, in NumPy: mean loss per sample plus the pulls."""
    t = target.numpy()
    combined = np.einsum("nhc,hc->nc", z, np.broadcast_to(w, z.shape[1:])) + b
    if d is not None:
        combined = combined + z.reshape(len(z), -1) @ d
    if link == "softmax":
        loss = logsumexp(combined, axis=1) - combined[np.arange(len(t)), t]
    elif link == "sigmoid":
        loss = (np.logaddexp(0, combined) - t * combined).mean(1)
    else:
        loss = ((combined - t) ** 2).mean(1)
    pull = PENALTY * ((w - 1 / z.shape[1]) ** 2).sum() + BIAS_PENALTY * (b**2).sum()
    pull += 0.0 if d is None else mixing * (d**2).sum()
    return np.average(loss, weights=weights) + pull / kish(weights)


def solution(stack):
    return [stack.weights, stack.bias, *([] if stack.mixing is None else [stack.matrix])]


CASES = [("softmax", None), ("softmax", 100.0), ("softmax", 0.5), ("sigmoid", None), ("identity", None)]


@pytest.mark.parametrize(("link", "mixing"), CASES)
def test_weights_are_not_negative_and_nothing_near_is_better(link, mixing):
    z, target, weights = make_features(link)
    stack = Stack(TARGETS[link], mixing).fit(z, target, weights)
    assert (stack.weights >= 0).all()
    found = solution(stack)
    least = objective(link, z, target, weights, *found, **({} if mixing is None else {"mixing": mixing}))
    rng = np.random.RandomState(0)
    for size in (0.03, 0.3):
        for _ in range(50):
            moved = [x + size * rng.randn(*x.shape) for x in found]
            moved[0] = np.maximum(moved[0], 0)
            higher = objective(link, z, target, weights, *moved, **({} if mixing is None else {"mixing": mixing}))
            assert higher > least


@pytest.mark.parametrize(("link", "mixing"), CASES)
def test_the_solution_does_not_depend_on_the_start(link, mixing):
    z, target, weights = make_features(link)
    stack = Stack(TARGETS[link], mixing).fit(z, target, weights)
    elsewhere = Stack(TARGETS[link], mixing)
    elsewhere.x = np.abs(np.random.RandomState(0).randn(len(stack.x)))
    again = Stack(TARGETS[link], mixing).fit(z, target, weights, elsewhere)
    np.testing.assert_allclose(again.combine(z), stack.combine(z), atol=0.02)


@pytest.mark.parametrize("n_outputs", [1, 3])
def test_squared_error_is_a_bounded_least_squares_problem(n_outputs):
    z, target, weights = make_features("identity", n_outputs=n_outputs)
    stack = Stack(TARGETS["identity"]).fit(z, target, weights)
    n, (_, n_heads, _) = kish(weights), z.shape
    for c in range(n_outputs):  # every output has weights of its own
        root = np.sqrt(weights / weights.sum() / n_outputs)
        rows = np.column_stack([z[:, :, c], np.ones(len(z))]) * root[:, None]
        pulls = np.diag(np.sqrt([*[PENALTY / n] * n_heads, BIAS_PENALTY / n]))
        towards = pulls @ [*[1 / n_heads] * n_heads, 0.0]
        expected = lsq_linear(
            np.vstack([rows, pulls]),
            np.concatenate([target[:, c].numpy() * root, towards]),
            bounds=([0] * n_heads + [-np.inf], np.inf),
            tol=1e-12,
        ).x
        np.testing.assert_allclose([*stack.weights[:, c], stack.bias[c]], expected, atol=1e-6)


@pytest.mark.parametrize(("link", "n_outputs"), [("softmax", 2), ("softmax", 4), ("sigmoid", 1), ("sigmoid", 3)])
def test_probabilities_against_another_solver(link, n_outputs):
    z, target, weights = make_features(link, n_outputs=n_outputs)
    stack = Stack(TARGETS[link]).fit(z, target, weights)
    size = stack.weights.size

    def value(x):
        return objective(link, z, target, weights, x[:size].reshape(stack.weights.shape), x[size:])

    start = np.concatenate([np.full(size, 0.5), np.zeros(n_outputs)])
    bounds = [(0, None)] * size + [(None, None)] * n_outputs
    options = {"ftol": 1e-15, "maxiter": 1000}
    expected = minimize(value, start, method="SLSQP", bounds=bounds, options=options)
    assert expected.success
    np.testing.assert_allclose(np.concatenate([stack.weights.ravel(), stack.bias]), expected.x, atol=1e-5)


@pytest.mark.parametrize("link", TARGETS)
def test_no_number_of_heads_that_say_much_the_same_hangs_on_their_last_digits(link):
    z, target, weights = make_features(link, n=200)
    rng = np.random.RandomState(1)
    alike = np.concatenate([z + (z != 0) * 0.01 * rng.randn(*z.shape) for _ in range(4)], axis=1)
    shaken = alike + (alike != 0) * 1e-7 * rng.uniform(-1, 1, alike.shape)
    one, other = (
        Stack(TARGETS[link], pull=WEAK_PULL).fit(x, target, weights).combine(alike) for x in (alike, shaken)
    )
    np.testing.assert_allclose(one, other, rtol=0, atol=1e-5)


def test_a_mixing_matrix_of_heads_that_say_much_the_same_is_at_the_minimum():
    rng = np.random.RandomState(0)
    n, n_heads, n_classes = 400, 6, 4
    t = rng.randint(n_classes, size=n)
    common = 3 * np.eye(n_classes)[t] + 2 * rng.randn(n, n_classes)
    z = TARGETS["softmax"].features(common[:, None] + 0.3 * rng.randn(n, n_heads, n_classes))
    weights = rng.rand(n) + 0.2
    stack = Stack(ClassTarget(np.arange(n_classes)), 100.0).fit(z, torch.as_tensor(t), weights)
    sizes = np.cumsum([n_heads, n_classes])

    def parts(x):
        w, b, d = np.split(x, sizes)
        return w[:, None], b, d.reshape(-1, n_classes)

    def value_and_slope(x):
        w, b, d = parts(x)
        p = softmax(np.einsum("nhc,hi->nc", z, w) + b + z.reshape(n, -1) @ d, axis=1)
        rise = (p - np.eye(n_classes)[t]) * (weights / weights.sum())[:, None]
        slope = [np.einsum("nhc,nc->h", z, rise), rise.sum(0), (z.reshape(n, -1).T @ rise).ravel()]
        size = kish(weights)
        slope[0] += 2 * PENALTY / size * (w[:, 0] - 1 / n_heads)
        slope[1] += 2 * BIAS_PENALTY / size * b
        slope[2] += 2 * 100 / size * d.ravel()
        return objective("softmax", z, torch.as_tensor(t), weights, w, b, d, 100.0), np.concatenate(slope)

    bounds = [(0, None)] * n_heads + [(None, None)] * (len(stack.x) - n_heads)
    options = {"ftol": 1e-15, "gtol": 1e-9, "maxiter": 10_000, "maxfun": 20_000}
    least = minimize(
        value_and_slope, np.zeros_like(stack.x), jac=True, method="L-BFGS-B", bounds=bounds, options=options
    )
    assert value_and_slope(stack.x)[0] < least.fun + 1e-6


@pytest.mark.parametrize(
    "target", [*TARGETS.values(), SoftClassTarget(np.arange(3)), ValueTarget(absolute_error, 3)]
)
def test_the_slope_of_a_loss_is_its_derivative(target):
    rng = np.random.RandomState(0)
    outputs = rng.randn(20, 3)
    soft = rng.rand(20, 3)
    t = torch.as_tensor(soft if not isinstance(target, ClassTarget) else rng.randint(3, size=20))
    if isinstance(target, SoftClassTarget):
        t = torch.as_tensor(soft / soft.sum(1, keepdims=True))
    loss, slope = target.slope(outputs, t)
    np.testing.assert_allclose(loss, target.loss(torch.as_tensor(outputs), t).numpy())
    for c in range(3):
        step = 1e-6 * np.eye(3)[c]
        above, below = (target.loss(torch.as_tensor(outputs + s), t).numpy() for s in (step, -step))
        np.testing.assert_allclose(slope[:, c], (above - below) / 2e-6, atol=1e-6)


def test_sure_features_of_a_head_outweigh_noise():
    z, target, weights = make_features("softmax", n=400)
    stack = Stack(TARGETS["softmax"]).fit(z, target, weights)
    assert stack.weights.shape == (3, 1)  # the classes compete: one weight per head
    assert stack.weights[0, 0] > 10 * stack.weights[2, 0]


def test_heads_that_say_nothing_keep_the_plain_average():
    z, target, weights = make_features("identity")
    stack = Stack(TARGETS["identity"]).fit(0 * z, target, weights)
    np.testing.assert_allclose(stack.weights, 1 / 3)


def test_absolute_error_is_fitted_by_its_own_loss():
    rng = np.random.RandomState(0)
    truth = rng.randn(200, 1)
    z = (truth + 0.1 * rng.randn(200, 1))[:, None, :]
    t = truth.copy()
    t[:20] += 100  # outliers, which move a mean and not a median
    absolute = Stack(ValueTarget(absolute_error, 3)).fit(z, torch.as_tensor(t), np.ones(200))
    squared = Stack(TARGETS["identity"]).fit(z, torch.as_tensor(t), np.ones(200))
    assert abs(absolute.bias[0]) < 0.2
    assert abs(squared.bias[0]) > 5


@pytest.mark.parametrize("link", ["softmax", "sigmoid", "identity"])
def test_a_silent_head_is_zero(link):
    outputs = np.random.RandomState(0).randn(5, 3, 2)
    exists = np.ones((5, 3), dtype=bool)
    exists[1, 2] = exists[4, 0] = False
    features = Stack.features(TARGETS[link], outputs, exists)
    assert not features[1, 2].any()
    assert not features[4, 0].any()
    spoken = {"softmax": log_softmax(outputs, -1), "sigmoid": outputs, "identity": outputs}[link]
    np.testing.assert_array_equal(features[exists], spoken[exists])


# -- the stack of an estimator ------------------------------------------------------------------------------------


def combined_by_hand(estimator, outputs, exists):
    """Probabilities or values from what the members say, by the weights of the table and the attributes."""
    link, stack = estimator._target.link, estimator.stack_
    if link == "softmax":
        outputs = np.maximum(log_softmax(outputs, axis=-1), -8)
    elif link == "sigmoid":
        outputs = outputs.clip(-8, 8)
    outputs = np.where(exists[:, :, None], outputs, 0.0).mean(0)  # over the members
    total = stack.bias + sum(outputs[:, h] * stack.weights[h] for h in range(outputs.shape[1]))
    if stack.mixing is not None:
        total = total + outputs.reshape(len(outputs), -1) @ stack.matrix
    if link == "identity":
        values = total * estimator._target.deviation + estimator._target.mean
        return values[:, 0] if values.shape[1] == 1 else values
    return softmax(total, 1) if link == "softmax" else expit(total)


@pytest.mark.one_by_default
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("fusion", ["concat", "late", "mfb"])
def test_prediction_is_the_weighted_sum_of_the_heads(task, fusion):
    cls, X, y = make_task(task, **HARD)
    estimator = ensemble(cls, fusion).fit(X, y)
    expected = combined_by_hand(estimator, *member_outputs(estimator, X))
    np.testing.assert_allclose(predictions(estimator, X), expected, rtol=1e-9, atol=1e-12)


def averaged_by_hand(estimator, outputs):
    """The mean over the members of the fused head's probabilities or values: outputs (K, n, H, C)."""
    fused = outputs[:, :, 0]
    if estimator._target.link == "softmax":
        return softmax(fused, -1).mean(0)
    if estimator._target.link == "sigmoid":
        return expit(fused).mean(0)
    values = fused.mean(0) * estimator._target.deviation + estimator._target.mean
    return values[:, 0] if values.shape[1] == 1 else values


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("modality_loss", [0.5, 0])
def test_without_a_stack_members_are_averaged(task, modality_loss):
    cls, X, y = make_task(task, **HARD)
    estimator = ensemble(cls, stack=False, modality_loss=modality_loss).fit(X, y)
    assert not hasattr(estimator, "stack_weights_")
    outputs, _ = member_outputs(estimator, X)
    assert np.ptp(outputs, axis=0).max() > 0.1  # the members do not agree
    np.testing.assert_allclose(predictions(estimator, X), averaged_by_hand(estimator, outputs), rtol=1e-9)


@pytest.mark.parametrize(
    ("stack", "n_members", "stacked"), [("auto", 1, False), ("auto", 2, True), (True, 2, True)]
)
def test_auto_stacks_where_there_are_several_members(stack, n_members, stacked):
    _, X, y = make_task("binary", **HARD)
    assert hasattr(ensemble(stack=stack, n_members=n_members, max_epochs=1).fit(X, y), "stack_weights_") == stacked


@pytest.mark.parametrize("task", TASKS)
def test_table_of_the_weights(task):
    cls, X, y = make_task(task, **HARD)
    estimator = ensemble(cls).fit(X, y)
    table = estimator.stack_weights_
    assert isinstance(table, Table)
    heads = ["fused", "vector", "sequence"]
    columns = {"multilabel": ["0", "1"], "two targets": ["0", "1"]}.get(task, ["weight"])
    assert table.columns == ["head", *columns]
    assert table["head"] == (heads if columns == ["weight"] else [*heads, "bias"])
    weights = np.array([table[c][:3] for c in columns]).T
    assert (weights >= 0).all()
    assert weights.sum() > 0
    np.testing.assert_allclose(weights, np.broadcast_to(estimator.stack_.weights, weights.shape))


@pytest.mark.slow
def test_outputs_have_weights_of_their_own():
    rng = np.random.RandomState(0)
    X = Blocks(a=rng.randn(200, 3), b=rng.randn(200, 3))
    Y = np.column_stack([X["a"][:, 0], X["b"][:, 0]])
    for cls, y in [(MultimodalRegressor, Y), (MultimodalClassifier, (Y > 0).astype(int))]:
        table = ensemble(cls, max_epochs=25).fit(X, y).stack_weights_
        weights = {head: (table["0"][i], table["1"][i]) for i, head in enumerate(table["head"])}
        assert weights["a"][0] > weights["a"][1]
        assert weights["b"][1] > weights["b"][0]


# -- out-of-fold predictions --------------------------------------------------------------------------------------


class Look(Callback):
    """Keeps the rows that each member trains on."""

    def on_train_begin(self, net, X=None, **kwargs):
        training = X[0]
        weights = torch.ones(training.rows.shape) if training.weights is None else training.weights
        self.trained_on = [r[w > 0].numpy() for r, w in zip(training.rows, weights, strict=True)]


@pytest.mark.parametrize("task", TASKS)
def test_out_of_fold_predictions_are_those_of_the_member_that_left_the_sample_out(task):
    cls, X, y = make_task(task, **HARD)
    look = Look()
    estimator = ensemble(cls, stack=False, callbacks=[look]).fit(X, y)
    outputs, _ = member_outputs(estimator, X)
    for k, rows in enumerate(look.trained_on):
        left_out = np.setdiff1d(np.arange(len(X)), rows)
        expected = averaged_by_hand(estimator, outputs[[k]])[left_out]
        np.testing.assert_allclose(estimator.oof_prediction_[left_out], expected, rtol=1e-3, atol=1e-5)


@pytest.mark.one_by_default
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("stack", [True, False])
def test_a_row_of_out_of_fold_predictions_for_each_sample_in_the_users_order(task, stack):
    cls, X, y = make_task(task, **HARD)
    estimator = ensemble(cls, stack=stack).fit(X, y)
    oof = estimator.oof_prediction_
    assert oof.shape == predictions(estimator, X).shape
    assert not np.allclose(oof, predictions(estimator, X), atol=1e-3)
    if task in ("binary", "multiclass"):
        np.testing.assert_allclose(oof.sum(1), 1)

    order = np.random.RandomState(0).permutation(len(X))
    shuffled = ensemble(cls, stack=stack).fit(X[order], y[order])
    np.testing.assert_allclose(shuffled.oof_prediction_, oof[order], atol=1e-6)

    twice = np.concatenate([np.arange(len(X)), [5, 30, 30]])
    repeated = ensemble(cls, stack=stack).fit(X[twice], y[twice]).oof_prediction_
    assert len(repeated) == len(X) + 3
    np.testing.assert_array_equal(repeated[-3:], repeated[[5, 30, 30]])

    absent = np.arange(len(X)) % 9 == 0
    weighted = ensemble(cls, stack=stack).fit(X, y, sample_weight=np.where(absent, 0.0, 1.0))
    alone = ensemble(cls, stack=stack).fit(X[~absent], y[~absent])
    assert len(weighted.oof_prediction_) == len(X)
    np.testing.assert_allclose(weighted.oof_prediction_[~absent], alone.oof_prediction_, atol=1e-6)
    # no member has seen them, so all speak of them
    np.testing.assert_allclose(weighted.oof_prediction_[absent], predictions(alone, X)[absent], atol=1e-4)


@pytest.mark.one_by_default
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("stack", [True, False])
@pytest.mark.parametrize("task", TASKS)
def test_the_score_is_that_of_the_out_of_fold_predictions(task, stack, weighted):
    cls, X, y = make_task(task, **HARD)
    weights = np.random.RandomState(0).randint(0, 4, size=len(X)).astype(float) if weighted else None
    estimator = ensemble(cls, stack=stack).fit(X, y, sample_weight=weights)
    oof = estimator.oof_prediction_
    if "target" in task:
        residual = np.average((y - oof) ** 2, axis=0, weights=weights)
        variance = np.average((y - np.average(y, axis=0, weights=weights)) ** 2, axis=0, weights=weights)
        expected = np.mean(1 - residual / variance)
    elif task == "multilabel":
        expected = np.average(((oof > 0.5) == y).all(1), weights=weights)
    else:
        expected = np.average(estimator.classes_[oof.argmax(1)] == y, weights=weights)
    assert estimator.oof_score_ == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("class_weight", ["balanced", {0: 1, 1: 8}])
def test_the_out_of_fold_score_knows_no_class_weight_as_score_does_not(class_weight):
    rng = np.random.RandomState(0)
    y = (rng.rand(200) < 0.2).astype(int)
    X = Blocks(a=rng.randn(200, 3) + 0.5 * y[:, None], b=rng.randn(200, 4))
    clf = ensemble(class_weight=class_weight).fit(X, y)
    assert clf.oof_score_ == pytest.approx((clf.oof_prediction_.argmax(1) == y).mean())


def test_the_out_of_fold_score_is_near_that_of_new_samples():
    rng = np.random.RandomState(0)
    y = rng.randint(3, size=2300)
    X = Blocks(a=np.eye(3)[y] + rng.randn(2300, 3), b=np.eye(3)[y] + rng.randn(2300, 3))
    clf = ensemble(max_epochs=15).fit(X[:300], y[:300])
    assert clf.oof_score_ == pytest.approx(clf.score(X[300:], y[300:]), abs=0.05)
    assert clf.score(X[300:], y[300:]) > 0.6


# -- folds --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("labels", [None, np.arange(31) % 3], ids=["values", "classes"])
@pytest.mark.parametrize("groups", [None, np.arange(31) // 2], ids=["no groups", "groups"])
@pytest.mark.parametrize("n_members", [2, 5])
def test_folds(labels, groups, n_members):
    folds = assign_folds(n_members, labels, groups, 31, seed=0)
    fold = folds.fold
    assert sorted(set(fold)) == list(range(n_members))
    np.testing.assert_array_equal(fold, assign_folds(n_members, labels, groups, 31, seed=0).fold)
    assert (fold != assign_folds(n_members, labels, groups, 31, seed=1).fold).any()
    if groups is not None:
        assert all(len(set(fold[groups == g])) == 1 for g in groups)
    blind = folds.blind(n_members)
    np.testing.assert_allclose(blind.sum(0), 1)
    for k, trained_on in enumerate(folds.members(n_members)):
        np.testing.assert_array_equal(np.flatnonzero(blind[k] == 0), trained_on)
    assert folds.speakers(n_members) == list(range(n_members))


def test_members_that_share_a_fold_are_averaged():
    blind = Folds.partition(np.array([0, 1, 2, 0, -1])).blind(5)
    np.testing.assert_allclose(blind[:, 0], [0.5, 0, 0, 0.5, 0])
    np.testing.assert_allclose(blind[:, 2], [0, 0, 1, 0, 0])
    assert not blind[:, 4].any()  # nobody left it out


@pytest.mark.parametrize("link", ["softmax", "sigmoid", "identity"])
def test_average_of_members_with_weights(link):
    rng = np.random.RandomState(0)
    outputs, weights = 3 * rng.randn(4, 7, 2), rng.dirichlet(np.ones(4), size=7).T
    turn = {"softmax": lambda x: softmax(x, -1), "sigmoid": expit, "identity": np.asarray}[link]
    expected = (turn(outputs) * weights[:, :, None]).sum(0)
    np.testing.assert_allclose(turn(average(TARGETS[link], outputs, weights)), expected)


# -- no leak ------------------------------------------------------------------------------------------------------

SEEDS = range(6)


def random_data(seed, n_originals=120, n_copies=1, noise=0.0):
    """Inputs that say nothing of the balanced labels; every original in so many copies."""
    rng = np.random.RandomState(seed)
    groups = np.repeat(np.arange(n_originals), n_copies)
    y = rng.permutation(np.arange(n_originals) % 2)[groups]
    blocks = {name: rng.randn(n_originals, 6)[groups] for name in ("a", "b")}
    return Blocks({k: x + noise * rng.randn(*x.shape) for k, x in blocks.items()}), y, groups


def assert_chance(scores, n_independent):
    """Within three standard errors of one half, over all fits."""
    error = np.sqrt(0.25 / n_independent / len(scores))
    assert abs(np.mean(scores) - 0.5) < 3 * error, f"{np.mean(scores):.3f}, standard error {error:.3f}"


@pytest.mark.one_by_default
@pytest.mark.parametrize("stack", [True, False])
@pytest.mark.parametrize("fusion", ["concat", "mfb", "late"])
def test_random_labels_give_chance(fusion, stack):
    # A stack is a little optimistic on few samples, by two hundredths at 120 where measured: what it is fitted on
    # comes from members that know the labels of the fold on which it is scored.
    scores = []
    for seed in range(3):
        X, y, _ = random_data(seed, n_originals=800)
        hard = {"hidden_dim": 16, "max_epochs": 10, "dropout": 0.0, "random_state": seed}
        clf = ensemble(fusion=fusion, stack=stack, **hard).fit(X, y)
        known = clf.predict_proba_by_head(X)["fused"].argmax(1)
        assert (known == y).mean() > 0.5 + 3 * np.sqrt(0.25 / 800)  # of its samples it learned some by heart
        scores.append(clf.oof_score_)
    assert_chance(scores, 800)


def test_random_values_explain_nothing():
    scores = []
    for seed in SEEDS:
        X, _, _ = random_data(seed)
        scores.append(
            ensemble(MultimodalRegressor, random_state=seed).fit(X, np.random.RandomState(seed).randn(120))
        )
    assert max(reg.oof_score_ for reg in scores) < 0.1
    assert np.mean([reg.oof_score_ for reg in scores]) < 0.02


@pytest.mark.one_by_default
@pytest.mark.parametrize("grouped", [True, False])
@pytest.mark.parametrize("stack", [True, False])
def test_exact_copies_with_random_labels_give_chance(stack, grouped):
    scores = []
    for seed in SEEDS:
        X, y, groups = random_data(seed, n_originals=60, n_copies=4)
        estimator = ensemble(stack=stack, max_epochs=12, random_state=seed)
        # equal samples are one, with and without groups
        scores.append(estimator.fit(X, y, groups=groups if grouped else None).oof_score_)
    assert_chance(scores, 60)


@pytest.mark.one_by_default
@pytest.mark.parametrize("stack", [True, False])
@pytest.mark.parametrize("fusion", ["concat", pytest.param("mfb", marks=pytest.mark.slow)])
def test_near_copies_with_random_labels_leak_unless_grouped(fusion, stack):
    blind, leaking = [], []
    for seed in SEEDS:
        X, y, groups = random_data(seed, n_originals=60, n_copies=4, noise=0.05)
        params = {"fusion": fusion, "stack": stack, "max_epochs": 15, "random_state": seed}
        blind.append(ensemble(**params).fit(X, y, groups=groups).oof_score_)
        leaking.append(ensemble(**params).fit(X, y).oof_score_)
    assert_chance(blind, 60)
    assert np.mean(leaking) > 0.75


@pytest.mark.one_by_default
@pytest.mark.parametrize("stack", [True, False])
@pytest.mark.parametrize("before", ["some of the rows", "partial_fit", "other groups"])
def test_what_members_have_seen_before_is_not_out_of_fold(before, stack):
    """A fit that goes on has scores only of samples that its members have never seen."""
    scores = []
    for seed in SEEDS:
        X, y, groups = random_data(seed, n_originals=60, n_copies=2, noise=0.05)
        clf = ensemble(stack=stack, warm_start=True, max_epochs=12, random_state=seed)
        if before == "some of the rows":
            clf.fit(X[:80], y[:80], groups=groups[:80])
        elif before == "partial_fit":
            for _ in range(12):
                clf.partial_fit(X, y)
        else:
            clf.fit(X, y)
        clf.fit(X, y, groups=groups)
        scores.append(getattr(clf, "oof_score_", 0.5))  # none is an honest answer
    assert_chance(scores, 60)


@pytest.mark.one_by_default
@pytest.mark.parametrize("stack", [True, False])
def test_zero_weight_twins_of_training_samples_are_not_predicted_by_members_that_saw_them(stack):
    hits = []
    for seed in SEEDS:
        X, y, _ = random_data(seed, n_originals=60, n_copies=2)
        weights = np.arange(120) % 2.0  # of each pair of twins one trains
        clf = ensemble(stack=stack, hidden_dim=16, max_epochs=30, random_state=seed).fit(
            X, y, sample_weight=weights
        )
        # none is an honest answer
        known = (weights == 0) & ~np.isnan(clf.oof_prediction_).any(1)
        hits.extend((clf.oof_prediction_.argmax(1) == y)[known])
    assert not hits or abs(np.mean(hits) - 0.5) < 3 * np.sqrt(0.25 / len(hits))


# -- what it is good for ------------------------------------------------------------------------------------------


def exclusive_or(n, seed):
    rng = np.random.RandomState(seed)
    a, b = rng.randn(n, 3), rng.randn(n, 3)
    return Blocks(a=a, b=b), ((a[:, 0] > 0) ^ (b[:, 0] > 0)).astype(int)


@pytest.mark.one_by_default
@pytest.mark.parametrize("fusion", ["concat", "mfb", "early"])
def test_exclusive_or_of_two_modalities(fusion):
    X, y = exclusive_or(600, 0)
    X_test, y_test = exclusive_or(2000, 1)
    params = {"n_members": 4, "max_epochs": 30, "experts": None, "device": "cpu", "random_state": 0}
    clf = MultimodalClassifier(fusion, **params).fit(X, y)
    assert clf.score(X_test, y_test) > 0.9
    accuracy = {head: (p.argmax(1) == y_test).mean() for head, p in clf.predict_proba_by_head(X_test).items()}
    assert accuracy["fused"] > 0.9
    for name in ("a", "b"):  # a modality alone says nothing
        assert abs(accuracy[name] - 0.5) < 3 * np.sqrt(0.25 / 2000) + 0.02
    weights = dict(zip(clf.stack_weights_["head"], clf.stack_weights_["weight"], strict=True))
    assert weights["fused"] > 10 * max(weights["a"], weights["b"])


def one_of_ten(n, seed):
    """Ten modalities, of which one tells of three classes and nine are noise."""
    rng = np.random.RandomState(seed)
    y = rng.randint(3, size=n)
    centres = np.random.RandomState(99).randn(3, 5)
    return Blocks(good=centres[y] + rng.randn(n, 5), **{f"noise {i}": rng.randn(n, 5) for i in range(9)}), y


@pytest.mark.slow
@pytest.mark.parametrize("fusion", ["concat", "late", "mfb"])
def test_nine_modalities_of_noise_cost_a_hundredth_at_most(fusion):
    cost, unstacked = [], []
    for seed in range(3):
        (X, y), (X_test, y_test) = one_of_ten(500, seed), one_of_ten(5000, 1000 + seed)
        params = {"n_members": 4, "max_epochs": 30, "experts": None, "device": "cpu", "random_state": seed}
        params["fusion"] = fusion
        alone = MultimodalClassifier(**params).fit(X.select(["good"]), y).score(X_test.select(["good"]), y_test)
        clf = MultimodalClassifier(**params).fit(X, y)
        cost.append(alone - clf.score(X_test, y_test))
        unstacked.append(alone - (clf.predict_proba_by_head(X_test)["fused"].argmax(1) == y_test).mean())
    assert np.mean(cost) < 0.01
    assert np.mean(cost) < np.mean(unstacked)


def named_by_group(n, seed):
    """One modality that tells of the class, and one that names the group, all of whose samples have one class."""
    rng = np.random.RandomState(seed)
    groups = np.repeat(np.arange(n // 10), 10)
    y = rng.permutation(np.arange(n // 10) % 2)[groups]
    good = 0.4 * (2 * y[:, None] - 1) + rng.randn(n, 4)
    name = 2 * rng.randn(n // 10, 16)[groups] + 0.1 * rng.randn(n, 16)
    return Blocks(good=good, name=name), y, groups


@pytest.mark.slow
def test_what_is_perfect_in_training_and_noise_in_new_groups():
    """Groups tell the stack which modality not to believe, if modalities have heads of their own."""
    X, y, groups = named_by_group(400, 0)
    X_test, y_test, _ = named_by_group(4000, 1)

    def fit(X, groups=groups, **params):
        params = {"n_members": 4, "max_epochs": 30, "device": "cpu", "random_state": 0, **params}
        return MultimodalClassifier(**params).fit(X, y, groups=groups)

    alone = fit(X.select(["good"])).score(X_test.select(["good"]), y_test)
    assert alone > 0.75
    clf = fit(X)
    assert clf.score(X_test, y_test) > alone - 0.02
    assert clf.oof_score_ == pytest.approx(clf.score(X_test, y_test), abs=0.06)
    weights = dict(zip(clf.stack_weights_["head"], clf.stack_weights_["weight"], strict=True))
    good = [head for head in weights if head.endswith("good")]  # network and experts
    assert sum(weights[head] for head in good) > 5 * sum(weights[head] for head in set(weights) - set(good))
    for lacking in ({"groups": None}, {"modality_loss": 0, "experts": None}, {"stack": False}):
        assert fit(X, **lacking).score(X_test, y_test) < alone - 0.1
    # without groups the score out of fold is of no use either
    assert fit(X, groups=None).oof_score_ > 0.95


@pytest.mark.slow
def test_what_is_perfect_in_training_and_noise_in_new_samples_leaves_the_other_head_alone():
    """Nothing in training can say that a modality will break; the heads of single modalities are still there."""
    rng = np.random.RandomState(0)
    y = rng.randint(2, size=2400)
    sign = 2.0 * y[:, None] - 1
    good = 0.6 * sign + rng.randn(2400, 4)
    perfect = 2 * sign + 0.1 * rng.randn(2400, 4)
    X, X_test = (
        Blocks(good=good[:400], perfect=perfect[:400]),
        Blocks(good=good[400:], perfect=2 * rng.randn(2000, 4)),
    )
    params = {"n_members": 4, "max_epochs": 30, "device": "cpu", "random_state": 0}
    clf = MultimodalClassifier(**params).fit(X, y[:400])
    alone = MultimodalClassifier(**params).fit(X.select(["good"]), y[:400])
    target = alone.score(X_test.select(["good"]), y[400:])
    assert target > 0.85
    assert clf.oof_score_ > 0.99
    assert clf.score(X_test, y[400:]) < target - 0.1
    by_head = clf.predict_proba_by_head(X_test)
    assert (by_head["good"].argmax(1) == y[400:]).mean() > target - 0.02
    # a row whose broken modality is marked as missing is predicted by the other
    without = Blocks(good=X_test["good"], perfect=np.full((2000, 4), np.nan))
    assert clf.score(without, y[400:]) > target - 0.03


def test_of_many_heads_too_each_set_that_speaks_has_a_temperature():
    rng = np.random.default_rng(0)
    target = rng.integers(0, 2, 200)
    z = log_softmax(rng.normal(size=(200, 9, 2)) + np.eye(2)[target][:, None], axis=2)
    z[:100, -1] = 0  # the ninth, which stands in a byte of its own
    stack = Stack(TARGETS["softmax"]).fit(z, torch.as_tensor(target), np.ones(200))
    assert len(stack.temperatures) == 2
    assert np.isfinite(list(stack.temperatures.values())).all()


@pytest.mark.parametrize("link", TARGETS)
def test_where_the_one_head_that_counts_is_silent_the_others_are_averaged(link):
    z = np.random.default_rng(0).normal(size=(4, 3, 3))
    z[:2, 0] = 0
    z[1, 1] = 0
    combined = Stack.of_head(TARGETS[link], 0, 3).combine(z)
    np.testing.assert_allclose(combined[2:], z[2:, 0])
    np.testing.assert_allclose(combined[:2], [(z[0, 1] + z[0, 2]) / 2, z[1, 2]])


def test_heads_that_are_surer_than_they_should_be_are_cooled_down():
    """Two sets of heads: both heads, right in their confidence; the first alone, three times too sure."""
    rng = np.random.default_rng(0)
    n = 4000
    target = rng.integers(0, 2, n)
    logit_ = (2 * target - 1) + rng.normal(size=(2, n)) * np.sqrt([[2.0], [2.0]])  # log-odds, exact of each head
    outputs = np.stack([np.stack([-x / 2, x / 2], -1) for x in logit_], 1)  # (n, heads, classes)
    alone = np.arange(n) % 2 == 0
    outputs[alone, 0] *= 3
    exists = np.column_stack([np.ones(n, dtype=bool), ~alone])
    features = Stack.features(TARGETS["softmax"], outputs, exists)
    stack = Stack(TARGETS["softmax"]).fit(features, torch.from_numpy(target), np.ones(n))
    combined = stack.combine(features)
    found = (combined[alone, 1] - combined[alone, 0]) / logit_[0, alone]
    np.testing.assert_allclose(np.median(found), 1.0, atol=0.1)
    # of samples that all have the same heads, nothing is cooled down
    same = Stack(TARGETS["softmax"]).fit(features[alone], torch.from_numpy(target[alone]), np.ones(n // 2))
    assert same.temperatures == {}


@pytest.mark.one_by_default
@pytest.mark.parametrize("fusion", ["concat", "mfb"])
def test_samples_that_lack_a_modality_are_predicted_as_surely_as_is_right(fusion):
    shares = {"redundant": 0.3, "unique": [0.5, 0.2], "synergistic": 0.0, "noise": 0.35}
    X, y = make_multimodal_classification(3600, n_modalities=2, random_state=0, **shares)
    clf = MultimodalClassifier(fusion, modality_dropout=0.3, max_epochs=15, device="cpu", random_state=0)
    clf.fit(X[:600], y[:600])
    for name in X:
        lacking = Blocks(X, present={name: np.zeros(len(X), dtype=bool)})[600:]
        assert expected_calibration_error(y[600:], clf.predict_proba(lacking)) < 0.08


def test_what_the_stack_was_fitted_to_stays():
    X, y = make_data(n_classes=3, noise=1.0)
    clf = ensemble(max_epochs=3).fit(X, y)
    found = clf.oof_heads_
    assert found.heads == clf.stack_weights_["head"] == clf.expert_scores_["head"]
    assert found.outputs.shape == (60, len(found.heads), 3)
    assert found.outputs.nbytes == 4 * 60 * len(found.heads) * 3
    np.testing.assert_array_equal(y[found.rows], found.target)
    for h, loss in enumerate(clf.expert_scores_["loss"]):
        p = np.exp(found.outputs[:, h].astype(float))
        told = p[np.arange(60), found.target] / p.sum(axis=1)
        assert -np.log(told).mean() == pytest.approx(loss, rel=1e-5)
    light = ensemble(max_epochs=3, store_oof=False).fit(X, y)
    assert not hasattr(light, "oof_heads_")
    np.testing.assert_array_equal(light.predict_proba(X), clf.predict_proba(X))
