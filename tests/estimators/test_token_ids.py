"""Token ids: numbered by those of training, so that neither their size nor their gaps matter."""

import pickle

import numpy as np
import pytest
import torch
from conftest import outputs, small
from torch import nn

from skmm import Blocks, Encoder, SpeechRecognizer
from skmm.model_selection import FusionSearchCV

N = 40
Y = np.arange(N) % 2
rng = np.random.default_rng(0)
# few ids, of which most say nothing of the class
IDS = [rng.integers(0, 12, 3 + i % 4) * 2 + (rng.random(3 + i % 4) < 0.7) * y for i, y in enumerate(Y)]


@pytest.mark.parametrize("far", [10**7, 2**40, 2**62, 2**64 - 100])
def test_ids_tell_as_much_wherever_they_lie(far):
    X = {"t": [ids.astype(np.uint64 if far > 2**62 else np.int64) + far for ids in IDS]}
    clf = small(n_members=2, max_epochs=30).fit(X, Y)
    assert clf.modalities_["t"].shape == (len(np.unique(np.concatenate(IDS))),)  # so large is the table
    assert clf.score(X, Y) > 0.9


@pytest.mark.parametrize("n_members", [1, 3])
def test_an_id_never_seen_adds_nothing_wherever_it_lies(n_members):
    """Between those of training, below them and above."""
    clf = small(n_members=n_members).fit({"t": [10 * ids + 100 for ids in IDS]}, Y)
    known = 10 * int(np.concatenate(IDS).max()) + 100
    unknown = [3, 101, 133, known + 1, 10**9, 2**62]
    alone = outputs(clf, {"t": [np.array([u]) for u in unknown]})
    np.testing.assert_array_equal(alone, np.tile(alone[0], (len(unknown), 1)))
    beside = outputs(clf, {"t": [np.array([known, u]) for u in unknown]})
    np.testing.assert_array_equal(beside, np.tile(beside[0], (len(unknown), 1)))
    assert not np.array_equal(alone[0], beside[0])


def test_ids_of_missing_samples_are_not_seen():
    X = Blocks(t=IDS, table=Y[:, None] + 0.0)
    gone = X.present["t"] & (np.arange(N) != 5)
    ids = [np.array([777, 778]) if i == 5 else each for i, each in enumerate(IDS)]
    clf = small(max_epochs=1).fit(Blocks({"t": ids, "table": X["table"]}, present={"t": gone}), Y)
    assert 777 not in clf.inputs_.ids["t"]


def test_ids_that_come_only_later_add_nothing():
    clf = small().fit({"t": IDS}, Y)
    size = clf.modalities_["t"].shape
    clf.partial_fit({"t": [np.append(ids, 500) for ids in IDS]}, Y)
    assert clf.modalities_["t"].shape == size
    a, b = (outputs(clf, {"t": [np.array([1, new])]}) for new in (500, 501))
    np.testing.assert_array_equal(a, b)


def test_rows_of_ids_of_one_length_that_are_named_so():
    ids = np.random.default_rng(0).integers(0, 5, (N, 3)) + 10**9 * (1 + Y[:, None])
    clf = small(encoders="embedding").fit({"t": ids}, Y)
    assert clf.score({"t": ids}, Y) == 1
    assert clf.modalities_["t"].shape == (len(np.unique(ids)),)


def test_order_of_samples_and_pickle_change_nothing():
    ids = [7 * each + 10**12 for each in IDS]
    order = np.random.default_rng(1).permutation(N)
    clf = small(n_members=2).fit({"t": ids}, Y)
    again = small(n_members=2).fit({"t": [ids[i] for i in order]}, Y[order])
    np.testing.assert_array_equal(outputs(clf, {"t": ids}), outputs(again, {"t": ids}))
    np.testing.assert_array_equal(outputs(clf, {"t": ids}), outputs(pickle.loads(pickle.dumps(clf)), {"t": ids}))


@pytest.mark.slow
def test_a_search_trains_folds_that_saw_other_ids():
    X = {"t": [2**40 * each for each in IDS]}
    search = FusionSearchCV(small(), {"fusion": ["sum", "concat"], "lr": [0.02, 0.01]}, cv=3).fit(X, Y)
    assert search.cv_results_["mean_test_score"].min() > 0.7


class Lookup(nn.Module):
    """An encoder of a user's own, to which ids are places in a table that it brings along."""

    kinds = ("tokens",)

    def __init__(self, info, tokens, *, hidden_dim=None):
        super().__init__()
        self.out_dim = 2
        self.register_buffer("table", torch.arange(200.0).view(100, 2))
        self.project = nn.Linear(2, 2)

    def forward(self, x, mask):
        seen.append(x)
        return self.project(torch.where(mask.unsqueeze(-1), self.table[x], 0.0).sum(-2)), mask.any(-1)


class Numbered(Lookup):
    numbers_ids = True


seen: list = []


@pytest.mark.parametrize(("encoder", "largest"), [(Lookup, 99), (Numbered, 1)])
def test_ids_of_a_users_encoder_stay_unless_it_says_otherwise(encoder, largest):
    ids = [np.array([90, 99][: 1 + i % 2]) for i in range(N)]
    seen.clear()
    small(encoders={"t": encoder}, max_epochs=1).fit({"t": ids}, Y)
    assert max(int(x.max()) for x in seen) == largest


def test_the_context_of_a_recogniser_may_have_far_ids():
    sound = [np.random.default_rng(i).normal(size=(20, 3)) for i in range(8)]
    texts = ["ab", "ba"] * 4
    X = {"sound": sound, "words": [np.array([k % 2, 5]) + 2**40 for k in range(8)]}
    heard = SpeechRecognizer(max_epochs=1, audio="sound", device="cpu", random_state=0).fit(X, texts)
    assert heard.modalities_["words"].shape == (3,)
    new = {**X, "words": [np.array([2**40 + 3, 7])] * 8}
    newer = {**X, "words": [np.array([2, 2**50])] * 8}
    for a, b in zip(heard.emissions(new), heard.emissions(newer), strict=True):
        np.testing.assert_array_equal(a, b)


def test_encoders_are_told_how_many_ids_there_are():
    sizes = small(encoders=Encoder("embedding", hidden_dim=4), max_epochs=1).fit(
        {"t": [10**15 * i for i in IDS]}, Y
    )
    tables = [p for name, p in sizes.net_.module_.named_parameters() if "embedding" in name]
    assert [tuple(p.shape[-2:]) for p in tables] == [(len(np.unique(np.concatenate(IDS))), 4)]
