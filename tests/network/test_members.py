"""Members of an ensemble: heads per modality, folds left out, groups, reproducibility, memory."""

import copy
import pickle

import numpy as np
import pytest
import sklearn
import torch
from conftest import (
    LEVELS,
    TASKS,
    each_level,
    ensemble,
    every_estimator,
    level_by_default,
    make_data,
    make_task,
    once_and_each_level,
    outputs,
)
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_predict, cross_validate
from skorch.callbacks import Callback
from torch import nn

from skmm import Blocks, Fusion, MultimodalClassifier, Optimizer, list_fusions
from skmm.inputs._inputs import Inputs
from skmm.network._encoders import check_encoders
from skmm.network._members import MemberNetworks
from skmm.network._network import FusionNetwork
from skmm.training._losses import HeadsLoss, cross_entropy, squared_error
from skmm.training._net import MultimodalNet
from skmm.training._sets import TrainingSet


def by_head(estimator, X):
    classifies = hasattr(estimator, "predict_proba")
    return estimator.predict_proba_by_head(X) if classifies else estimator.predict_by_head(X)


class Look(Callback):
    """Keeps the training and the validation set of the last fit."""

    def on_train_begin(self, net, X=None, **kwargs):
        self.training, self.validation = X

    def trained_on(self):
        """Rows that each member trains on."""
        rows, weights = self.training.rows.numpy(), self.training.weights
        weights = np.ones(rows.shape) if weights is None else weights.numpy()
        return [set(r[w > 0].tolist()) for r, w in zip(rows, weights, strict=True)]

    def validated_on(self):
        return [set(r.tolist()) for r in self.validation.rows.numpy()]


# -- a head per modality ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fusion", "task"),
    [
        *(level_by_default(fusion, "multiclass") for fusion in list_fusions()),
        *((fusion, task) for fusion in LEVELS for task in TASKS if task != "multiclass"),
    ],
)
def test_heads_of_every_fusion_and_task(fusion, task):
    cls, X, y = make_task(task)
    estimator = ensemble(cls, fusion, n_members=2, max_epochs=1).fit(X, y)
    heads = by_head(estimator, X)
    assert list(heads) == ["fused", "vector", "sequence"]
    missing = np.arange(60) < 5
    for name, values in heads.items():
        assert values.shape == outputs(estimator, X).shape
        silent = np.isnan(values).reshape(60, -1)
        np.testing.assert_array_equal(silent.all(1), missing if name == "vector" else np.zeros(60, dtype=bool))
        np.testing.assert_array_equal(silent.any(1), silent.all(1))
        if task in ("binary", "multiclass"):
            np.testing.assert_allclose(values[~silent.any(1)].sum(1), 1, rtol=1e-12)
        if task == "multilabel":
            assert ((values[~silent.any(1)] > 0) & (values[~silent.any(1)] < 1)).all()


@pytest.mark.parametrize("n_members", [1, 3])
@pytest.mark.parametrize("task", TASKS)
def test_without_modality_loss_there_is_only_the_fused_head(task, n_members):
    cls, X, y = make_task(task)
    estimator = ensemble(cls, n_members=n_members, max_epochs=1, modality_loss=0, stack=False).fit(X, y)
    heads = by_head(estimator, X)
    assert list(heads) == ["fused"]
    np.testing.assert_allclose(heads["fused"], outputs(estimator, X), rtol=1e-12)


@every_estimator
@pytest.mark.parametrize("fusion", ["concat", "mfb", "attention", "late", "early"])
def test_a_modality_head_reads_its_modality_alone(cls, fusion):
    X, y = make_data()
    estimator = ensemble(cls, fusion, max_epochs=2).fit(X, y)
    before = by_head(estimator, X)
    after = by_head(estimator, Blocks(vector=X["vector"], sequence=X["sequence"][::-1].copy()))
    np.testing.assert_array_equal(after["vector"], before["vector"])
    assert not np.allclose(after["sequence"], before["sequence"])
    assert not np.allclose(after["fused"], before["fused"])


@every_estimator
@pytest.mark.parametrize("n_members", [1, 3])
def test_modality_loss_trains_the_modality_heads(cls, n_members):
    X, y = make_data(120)
    estimator = ensemble(cls, n_members=n_members, max_epochs=20).fit(X[:80], y[:80])
    for values in by_head(estimator, X[80:]).values():
        guessed = values.argmax(1) if cls is MultimodalClassifier else values > 0.5
        assert (guessed == y[80:]).mean() > 0.9


# -- members are independent --------------------------------------------------------------------------------------


@once_and_each_level
def test_members_start_from_other_weights(cls, fusion):
    X, y = make_data(40)
    estimator = ensemble(cls, fusion, max_epochs=1, lr=1e-30).fit(X, y)  # the weights stay as they were drawn
    each = estimator.transform(X).reshape(40, 4, -1)
    for a in range(4):
        for b in range(a):
            assert not np.allclose(each[:, a], each[:, b], atol=1e-3)


@every_estimator
def test_transform_has_every_member(cls):
    X, y = make_data()
    one = ensemble(cls, n_members=1).fit(X, y).transform(X)
    assert ensemble(cls, n_members=4).fit(X, y).transform(X).shape == (60, 4 * one.shape[1])


@every_estimator
@pytest.mark.parametrize("n_members", [2, 3, 5])
def test_each_member_leaves_a_fold_of_its_own_out(cls, n_members):
    X, y = make_data(62, n_classes=3)
    look = Look()
    ensemble(cls, n_members=n_members, max_epochs=1, callbacks=[look]).fit(X, y)
    everything = set(range(62))
    left_out = [everything - rows for rows in look.trained_on()]
    assert set().union(*left_out) == everything
    assert sum(map(len, left_out)) == 62  # no two overlap
    sizes = [len(rows) for rows in left_out]
    assert max(sizes) - min(sizes) <= 3
    if cls is MultimodalClassifier:
        of_class = np.array([np.bincount(y[list(rows)], minlength=3) for rows in left_out])
        assert np.ptp(of_class, axis=0).max() <= 1  # stratified


@every_estimator
def test_one_member_trains_on_everything(cls):
    X, y = make_data()
    look = Look()
    estimator = ensemble(cls, n_members=1, max_epochs=1, callbacks=[look]).fit(X, y)
    assert look.trained_on() == [set(range(60))]
    for name in ("oof_prediction_", "oof_score_", "stack_weights_"):
        assert not hasattr(estimator, name)


# -- members trained together are members trained alone -----------------------------------------------------------

INHERITED = {"hidden_dim": 8, "dropout": 0.0, "activation": "relu"}


def networks(inputs, fusion, encoders, n_outputs, link, heads):
    found = []
    for seed in range(2):
        torch.manual_seed(seed)
        net = FusionNetwork(inputs.infos, fusion, encoders, n_outputs, link, INHERITED, modality_heads=heads)
        found.append(net.double())  # so that rounding, which adam blows up, is out of the picture
    return found


def make_sets(encoders=None):
    """Inputs, batches and targets of a small data set, one row of which lacks a modality."""
    X, y = make_data(40)
    vector = X["vector"].copy()
    vector[3] = np.nan
    X = Blocks(vector=vector, sequence=X["sequence"])
    inputs = Inputs(X, np.ones(40), check_encoders(encoders, list(X)), True, device=torch.device("cpu"))
    return inputs, inputs.load(X, torch.float64, torch.device("cpu")), torch.as_tensor(y)


def train(nets, criterion, data, target, rows, weights, seeds, **options):
    fast = {"batch_size": 8, "max_epochs": 5, "lr": 0.01, "weight_decay": 0.05, "schedule": "cosine"}
    net = MultimodalNet(
        MemberNetworks(copy.deepcopy(nets)),
        criterion,
        optimizer_spec=Optimizer("adamw"),
        seeds=seeds,
        train_split=None,
        verbose=0,
        **{**fast, **options},
    )
    net.initialize()
    training = TrainingSet(data, target, weights, rows)
    net.train(training, None)
    return net


@pytest.mark.parametrize("heads", [True, False], ids=["heads", "no heads"])
@pytest.mark.parametrize(
    ("fusion", "encoders"),
    [*(level_by_default(fusion, None) for fusion in list_fusions()), ("concat", {"sequence": "gru"})],
)
def test_members_trained_together_are_the_networks_trained_alone(fusion, encoders, heads):
    inputs, data, target = make_sets(encoders)
    if Fusion(fusion).get_params().get("dropout") is not None:  # theirs does not inherit
        fusion = Fusion(fusion, dropout=0.0)
    nets = networks(inputs, fusion, encoders, 2, "softmax", heads)
    criterion = HeadsLoss(cross_entropy, 0.5 if heads else 0.0)
    rows = torch.stack([torch.arange(30), torch.arange(10, 40)])
    weights = torch.rand(2, 30, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 0.5
    options = {"clip_grad_norm": 0.5}
    # of sketches many are near 0, where the slope of their signed root has no bound: rounding grows tenfold there
    atol = 1e-6 if "mcb" in str(fusion) else 1e-7
    together = train(nets, criterion, data, target, rows, weights, (11, 12), **options)
    for k, seed in enumerate((11, 12)):
        alone = train([nets[k]], criterion, data, target, rows[[k]], weights[[k]], (seed,), **options)
        moved = False
        trained = alone.module_.single
        for p, expected, start in zip(
            together.module_.stacked, trained.parameters(), nets[k].parameters(), strict=True
        ):
            torch.testing.assert_close(p[k], expected, rtol=0, atol=atol)
            moved = moved or not torch.allclose(expected, start, atol=1e-2)
        assert moved
        torch.testing.assert_close(together.member_losses_["train"][k], alone.member_losses_["train"][0])


@pytest.mark.parametrize("n_members", [1, 2])
@pytest.mark.parametrize("regression", [False, True])
def test_a_member_is_what_a_plain_loop_trains(regression, n_members):
    inputs, data, target = make_sets()
    if regression:
        target = target[:, None].double()
    nets = networks(inputs, "concat", None, 1 if regression else 2, "identity", False)[:n_members]
    rows = torch.stack([torch.arange(k, 38 + k) for k in range(n_members)])
    criterion = HeadsLoss(squared_error if regression else cross_entropy)
    options = {"batch_size": 40, "max_epochs": 12, "weight_decay": 0.0, "schedule": "constant"}
    module = train(nets, criterion, data, target, rows, None, tuple(range(n_members)), **options).module_
    for k, net in enumerate(nets):
        (values, present), t = data.take(rows[k]), target[rows[k]]
        optimizer = torch.optim.AdamW(net.parameters(), lr=0.01, weight_decay=0.0)
        for _ in range(12):
            optimizer.zero_grad()
            output = net(values, present)
            loss = nn.functional.mse_loss(output, t) if regression else nn.functional.cross_entropy(output, t)
            loss.backward()
            optimizer.step()
        found = module.single.parameters() if n_members == 1 else (p[k] for p in module.stacked)
        for p, expected in zip(found, net.parameters(), strict=True):
            torch.testing.assert_close(p, expected, rtol=0, atol=1e-7)


@every_estimator
@pytest.mark.parametrize("encoder", ["gru", "lstm"])
def test_recurrent_encoders_give_members_too(cls, encoder):
    X, y = make_data(100)
    estimator = ensemble(cls, encoders={"sequence": encoder}, n_members=3, max_epochs=15).fit(X[:70], y[:70])
    each = estimator.transform(X).reshape(100, 3, -1)
    assert not np.allclose(each[:, 0], each[:, 1], atol=1e-2)
    assert list(by_head(estimator, X)) == ["fused", "vector", "sequence"]
    assert estimator.score(X[70:], y[70:]) > 0.85
    assert estimator.oof_score_ > 0.85


# -- reproducible, copied, carried --------------------------------------------------------------------------------


@pytest.mark.one_by_default
@every_estimator
@each_level
def test_the_same_seed_gives_the_same_members_to_the_last_bit(cls, fusion):
    X, y = make_data()
    first, second = (ensemble(cls, fusion, max_epochs=2, n_members=3).fit(X, y) for _ in range(2))
    np.testing.assert_array_equal(outputs(first, X), outputs(second, X))
    np.testing.assert_array_equal(first.oof_prediction_, second.oof_prediction_)
    assert first.stack_weights_["weight"] == second.stack_weights_["weight"]
    other = ensemble(cls, fusion, max_epochs=2, n_members=3, random_state=1).fit(X, y)
    assert not np.allclose(outputs(first, X), outputs(other, X))


@pytest.mark.one_by_default
@every_estimator
def test_jobs_in_parallel_give_the_same(cls):
    X, y = make_data()
    method = "predict_proba" if cls is MultimodalClassifier else "predict"
    one, two = (
        cross_val_predict(ensemble(cls, n_members=3, max_epochs=2), X, y, cv=2, n_jobs=n, method=method)
        for n in (1, 2)
    )
    np.testing.assert_array_equal(one, two)


@pytest.mark.one_by_default
@every_estimator
@pytest.mark.parametrize("encoders", [None, {"sequence": "gru"}], ids=["vmap", "loop"])
@pytest.mark.parametrize("how", [lambda e: pickle.loads(pickle.dumps(e)), copy.deepcopy], ids=["pickle", "copy"])
def test_members_survive_pickle_and_copy(cls, encoders, how):
    X, y = make_data()
    estimator = ensemble(cls, encoders=encoders, n_members=3, max_epochs=2, warm_start=True).fit(X, y)
    same = how(estimator)
    np.testing.assert_array_equal(outputs(same, X), outputs(estimator, X))
    np.testing.assert_array_equal(same.oof_prediction_, estimator.oof_prediction_)
    assert same.stack_weights_.columns == estimator.stack_weights_.columns
    # and both go on alike
    np.testing.assert_array_equal(outputs(same.fit(X, y), X), outputs(estimator.fit(X, y), X))


@every_estimator
def test_a_clone_is_unfitted_and_fits_the_same(cls):
    X, y = make_data()
    estimator = ensemble(cls, n_members=3, modality_loss=0.25, stack=False, max_epochs=2).fit(X, y)
    again = clone(estimator)
    assert not hasattr(again, "net_")
    assert not hasattr(again, "oof_prediction_")
    np.testing.assert_array_equal(outputs(again.fit(X, y), X), outputs(estimator, X))


# -- with the other ways to fit -----------------------------------------------------------------------------------


@pytest.mark.one_by_default
@every_estimator
def test_partial_fit_leaves_nothing_out(cls):
    X, y = make_data(100)
    estimator = ensemble(cls, fusion="sum")
    look = Look()
    estimator.set_params(callbacks=[look])
    for _ in range(25):
        estimator.partial_fit(X[:70], y[:70])
    assert look.trained_on() == [set(range(70))] * 4
    assert estimator.score(X[70:], y[70:]) > 0.85
    for name in ("oof_prediction_", "oof_score_", "stack_weights_"):  # there is nothing that a member did not see
        assert not hasattr(estimator, name)
    each = estimator.transform(X).reshape(100, 4, -1)
    assert not np.allclose(each[:, 0], each[:, 1], atol=1e-2)


@every_estimator
def test_warm_start_leaves_the_same_folds_out(cls):
    X, y = make_data()
    look = Look()
    estimator = ensemble(cls, max_epochs=2, warm_start=True, callbacks=[look]).fit(X, y)
    first, before = look.trained_on(), outputs(estimator, X)
    # the same samples, stated in another order
    order = np.random.RandomState(0).permutation(60)
    estimator.fit(X[order], y[order])
    assert [{int(order[row]) for row in rows} for rows in look.trained_on()] == first
    assert not np.allclose(outputs(estimator, X), before)


@every_estimator
def test_warm_start_needs_as_many_members_as_before(cls):
    X, y = make_data()
    estimator = ensemble(cls, max_epochs=1, warm_start=True).fit(X, y)
    with pytest.raises(ValueError, match="n_members=3 is not that of the first fit, 4"):
        estimator.set_params(n_members=3).fit(X, y)


@every_estimator
def test_early_stopping_holds_the_same_samples_out_of_every_member(cls):
    X, y = make_data(80)
    look = Look()
    ensemble(cls, early_stopping=True, validation_fraction=0.25, max_epochs=2, callbacks=[look]).fit(X, y)
    held_out = look.validated_on()
    assert len(held_out[0]) == 20
    assert held_out == [held_out[0]] * 4
    trained = look.trained_on()
    assert all(not rows & held_out[0] for rows in trained)
    assert set().union(*trained) | held_out[0] == set(range(80))
    left_out = [set(range(80)) - held_out[0] - rows for rows in trained]
    assert sum(map(len, left_out)) == 60


@every_estimator
@pytest.mark.parametrize("stack", [True, False])
def test_weights_are_repetitions_also_out_of_fold(cls, stack):
    X, y = make_data(80)
    weights = np.random.RandomState(0).randint(1, 4, size=80)
    repeated = np.repeat(np.arange(80), weights)
    weighted = ensemble(cls, stack=stack).fit(X, y, sample_weight=weights)
    given = ensemble(cls, stack=stack).fit(X[repeated], y[repeated])
    np.testing.assert_allclose(outputs(weighted, X), outputs(given, X), atol=1e-6)
    np.testing.assert_allclose(given.oof_prediction_, weighted.oof_prediction_[repeated], atol=1e-6)
    assert weighted.oof_score_ == pytest.approx(given.oof_score_, abs=1e-6)


def test_class_weight_is_a_weight_of_the_samples_of_every_member():
    X, y = make_data(80)
    weighed = ensemble(class_weight={0: 1, 1: 5}).fit(X, y)
    given = ensemble().fit(X, y, sample_weight=np.where(y == 1, 5.0, 1.0))
    np.testing.assert_allclose(weighed.predict_proba(X), given.predict_proba(X), atol=1e-6)
    np.testing.assert_allclose(weighed.oof_prediction_, given.oof_prediction_, atol=1e-6)
    assert weighed.predict_proba(X)[:, 1].mean() > ensemble().fit(X, y).predict_proba(X)[:, 1].mean()


# -- groups -------------------------------------------------------------------------------------------------------


@every_estimator
@pytest.mark.parametrize(("n_groups", "n_members"), [(4, 4), (7, 3), (23, 5)])
@pytest.mark.parametrize("names", [np.asarray, lambda g: np.array([f"speaker {i}" for i in g])], ids=["int", "str"])
def test_no_group_is_parted_between_folds(cls, n_groups, n_members, names):
    X, y = make_data(92)
    groups = np.random.RandomState(0).permutation(np.arange(92) % n_groups)
    look = Look()
    estimator = ensemble(cls, n_members=n_members, max_epochs=1, callbacks=[look])
    estimator.fit(X, y, groups=names(groups))
    left_out = [set(range(92)) - rows for rows in look.trained_on()]
    assert sum(map(len, left_out)) == 92
    # of few groups each is much: half of the members then see all of them
    seers = n_members // 2 if n_groups < 2 * n_members and n_members >= 4 else 0
    assert not any(left_out[n_members - seers :])
    for rows, trained in zip(left_out[: n_members - seers], look.trained_on(), strict=False):
        assert rows
        assert not set(groups[list(rows)]) & set(groups[list(trained)])


@every_estimator
def test_no_group_is_parted_by_early_stopping(cls):
    X, y = make_data(96)
    groups = np.random.RandomState(0).permutation(np.arange(96) % 12)
    look = Look()
    early = {"early_stopping": True, "validation_fraction": 0.25, "max_epochs": 2}
    ensemble(cls, **early, callbacks=[look]).fit(X, y, groups=groups)
    held_out = look.validated_on()[0]
    assert len(set(groups[list(held_out)])) == 3
    trained = look.trained_on()
    assert not set(groups[list(held_out)]) & set(groups[list(set().union(*trained))])
    for rows in trained:
        others = set(range(96)) - held_out - rows
        assert not set(groups[list(others)]) & set(groups[list(rows)])


def copies(n_originals=60, n_copies=4, seed=0, noise=0.01):
    """Copies of a few originals that differ by next to nothing, each original with a label drawn at random."""
    rng = np.random.RandomState(seed)
    groups = np.repeat(np.arange(n_originals), n_copies)
    y = rng.permutation(np.arange(n_originals) % 2)[groups]
    blocks = {name: rng.randn(n_originals, 8)[groups] for name in ("a", "b")}
    return Blocks({k: x + noise * rng.randn(*x.shape) for k, x in blocks.items()}), y, groups


@pytest.mark.one_by_default
@pytest.mark.parametrize("fusion", ["concat", "mfb"])
def test_groups_are_routed_through_cross_validation(fusion):
    X, y, groups = copies()
    with sklearn.config_context(enable_metadata_routing=True):
        scores = {}
        for routed in (True, False):
            estimator = ensemble(fusion=fusion, max_epochs=25, hidden_dim=16).set_fit_request(groups=routed)
            found = cross_validate(
                estimator, X, y, params={"groups": groups}, cv=GroupKFold(3), return_estimator=True
            )
            scores[routed] = np.mean([fitted.oof_score_ for fitted in found["estimator"]])
            assert abs(found["test_score"].mean() - 0.5) < 3 * np.sqrt(0.25 / 60)
    # with their groups the estimators know that there is nothing to learn, without they believe their copies
    assert abs(scores[True] - 0.5) < 3 * np.sqrt(0.25 / 60)
    assert scores[False] > 0.8


@pytest.mark.slow
def test_groups_are_routed_through_a_search():
    X, y, groups = copies()
    with sklearn.config_context(enable_metadata_routing=True):
        estimator = ensemble(max_epochs=25).set_fit_request(groups=True)
        search = GridSearchCV(estimator, {"hidden_dim": [8, 16]}, cv=GroupKFold(3)).fit(X, y, groups=groups)
    assert abs(search.best_estimator_.oof_score_ - 0.5) < 3 * np.sqrt(0.25 / 60)
    assert abs(search.best_score_ - 0.5) < 3 * np.sqrt(0.25 / 60)


# -- bad input ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n_few", "n_members"), [(3, 5), (2, 4), (1, 4)])
def test_more_members_than_the_smallest_class_has_samples(n_few, n_members):
    X, y = make_data(40)
    y = np.where(np.arange(40) < n_few, 2, y)
    look = Look()
    with pytest.warns(UserWarning, match=rf"n_members={n_members} .* {n_few} samples? of the smallest class"):
        ensemble(n_members=n_members, max_epochs=1, callbacks=[look]).fit(X, y)
    left_out = {frozenset(set(range(40)) - rows) for rows in look.trained_on()}
    assert len(left_out) == max(2, n_few)  # members share folds
    assert set().union(*left_out) == set(range(40))


@every_estimator
def test_more_members_than_groups(cls):
    X, y = make_data(40)
    with pytest.warns(UserWarning, match="n_members=3 is more than the 2 groups: the members share 2 folds"):
        estimator = ensemble(cls, n_members=3, max_epochs=1).fit(X, y, groups=np.arange(40) % 2)
    assert len(estimator.oof_prediction_) == 40


@every_estimator
def test_a_single_group(cls):
    X, y = make_data()
    with pytest.raises(ValueError, match=r"groups holds a single group for 60 samples"):
        ensemble(cls).fit(X, y, groups=np.zeros(60))
    # one member leaves nothing out
    ensemble(cls, n_members=1, max_epochs=1).fit(X, y, groups=np.zeros(60))


@every_estimator
@pytest.mark.parametrize("n_members", [1, 4])
@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (np.arange(59), r"inconsistent numbers of samples: \[60, 60, 59\]"),
        (np.zeros((60, 2)), r"should be a 1d array, got an array of shape \(60, 2\)"),
        ([None, *range(59)], "groups.*row 0"),
        ([*range(58), np.nan, 1], "groups.*row 58"),
    ],
    ids=["short", "two columns", "None", "NaN"],
)
def test_bad_groups(cls, groups, message, n_members):
    X, y = make_data()
    with pytest.raises(ValueError, match=message):
        ensemble(cls, n_members=n_members, max_epochs=1).fit(X, y, groups=groups)


@every_estimator
@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ({"n_members": 0}, ValueError, "n_members == 0, must be >= 1"),
        ({"n_members": -1}, ValueError, "n_members == -1, must be >= 1"),
        ({"n_members": 1.5}, TypeError, "n_members must be an instance of int"),
        ({"modality_loss": -0.1}, ValueError, "modality_loss == -0.1, must be >= 0"),
        ({"stack": "yes"}, ValueError, "stack='yes' is none of True, False and 'auto'"),
        ({"stack": True, "n_members": 1}, ValueError, "got n_members=1; set n_members=8, or stack=False"),
    ],
)
def test_bad_parameters(cls, params, error, message):
    X, y = make_data()
    with pytest.raises(error, match=message):
        ensemble(cls, **params).fit(X, y)


# -- memory -------------------------------------------------------------------------------------------------------


@every_estimator
@each_level
def test_parameters_of_members_are_as_many_times_those_of_one(cls, fusion):
    X, y = make_data(40)

    def count(n_members):
        module = ensemble(cls, fusion, n_members=n_members, max_epochs=1).fit(X, y).net_.module_
        return sum(p.numel() for p in module.parameters())

    assert count(5) == 5 * count(1)


@every_estimator
def test_training_data_are_held_once(cls, monkeypatch):
    X, y = make_data(60)
    loaded = []
    load = Inputs.load

    def spy(self, blocks, *args):
        loaded.append(load(self, blocks, *args))
        return loaded[-1]

    monkeypatch.setattr(Inputs, "load", spy)
    look = Look()
    ensemble(cls, max_epochs=2, early_stopping=True, callbacks=[look]).fit(X, y)
    assert len(loaded) == 1
    assert look.training.data is loaded[0]
    assert look.validation.data is loaded[0]
    assert look.training.target is look.validation.target
    assert len(loaded[0]) == len(look.training.target) == 60
