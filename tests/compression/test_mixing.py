"""Samples in between, which a teacher labels too."""

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.ensemble import RandomForestClassifier

from skmm import Blocks, MultimodalClassifier
from skmm.blocks import RaggedArray
from skmm.compression import Distilled
from skmm.compression._mixing import between, mix

N = 6


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def blocks(rng):
    video = [rng.normal(size=(length, 2)) for length in (3, 5, 1, 4, 2, 6)]
    words = [np.arange(length) + 10 * i for i, length in enumerate((2, 4, 3, 1, 5, 2))]
    table = np.eye(N, dtype=np.float32)
    table[2] = np.nan
    return Blocks(table=table, counts=sp.csr_array(np.eye(N)), video=video, words=words)


@pytest.fixture
def mixed(blocks):
    others = np.concatenate([np.roll(np.arange(N), k) for k in (1, 2, 3)])
    return between(blocks, np.tile(np.arange(N), 3), others, np.linspace(0.5, 0.95, 3 * N))


def test_at_least_half_is_the_samples_own(blocks, mixed):
    assert len(mixed) == 3 * N
    for name in ("table", "counts"):
        rows = mixed[name].toarray() if name == "counts" else mixed[name]
        there = np.flatnonzero(mixed.present[name])
        np.testing.assert_allclose(rows[there].sum(axis=1), 1, rtol=1e-6)
        assert (rows[there, there % N] >= 0.5).all()
        assert (rows[there, there % N] < 1).any()


def test_what_is_missing_stays_missing_and_is_mixed_into_nothing(blocks, mixed):
    assert mixed.present["table"].tolist() == [i % N != 2 for i in range(3 * N)]
    assert not np.isnan(mixed["table"][mixed.present["table"]]).any()


def test_one_weight_for_all_modalities(blocks, mixed):
    both = [i for i in range(3 * N) if mixed["table"][i].max() < 1]
    np.testing.assert_allclose(
        mixed["counts"].toarray().max(axis=1)[both], mixed["table"].max(axis=1)[both], rtol=1e-6
    )


def test_sequences_keep_their_length_and_ids_their_values(blocks, mixed):
    np.testing.assert_array_equal(mixed["video"].lengths, np.tile(blocks["video"].lengths, 3))
    np.testing.assert_array_equal(mixed["words"].values, np.tile(blocks["words"].values, 3))


def test_a_step_is_mixed_with_the_same_step_of_the_other():
    ramp = RaggedArray.from_list([np.zeros((4, 1)), np.ones((2, 1))])
    found = between(Blocks(x=ramp), np.array([0, 1]), np.array([1, 0]), np.array([0.75, 0.5]))["x"]
    assert found[0][:, 0].tolist() == [0.25, 0.25, 0, 0]
    assert found[1][:, 0].tolist() == [0.5, 0.5]


def test_whole_numbers_stay_whole(rng):
    pictures = rng.integers(0, 256, size=(N, 4, 4, 3)).astype(np.uint8)
    found = between(Blocks(photo=pictures), np.arange(N), np.arange(N)[::-1], np.full(N, 0.75))["photo"]
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, np.rint(0.75 * pictures + 0.25 * pictures[::-1]))


def test_a_sample_given_twice_is_one_of_weight_two_and_order_means_nothing(blocks):
    again = blocks[np.array([3, 0, 0, 5, 1, 2, 4])]
    weights = np.array([2.0, 1, 1, 1, 1, 1])
    found, each = mix(blocks, 2, weights, np.random.RandomState(0))
    other, others = mix(again, 2, np.ones(7), np.random.RandomState(0))
    assert each.tolist() == others.tolist()
    np.testing.assert_array_equal(found["table"], other["table"])
    np.testing.assert_array_equal(found["video"].values, other["video"].values)


def test_a_student_learns_of_the_samples_in_between(rng):
    X = rng.normal(size=(60, 3))
    y = (X[:, 0] > 0).astype(int)
    student = MultimodalClassifier(n_members=1, max_epochs=1)
    options = {"alpha": 0.0, "keep_teacher": True, "random_state": 0}
    forest = RandomForestClassifier(5)
    soft = [Distilled(forest, student, n_mixed=k, **options).fit(X, y).soft_targets_ for k in (0, 2)]
    assert [len(s) for s in soft] == [60, 180]
    np.testing.assert_array_equal(soft[0], soft[1][:60])


@pytest.mark.parametrize("package", ["pandas", "polars"])
def test_a_table_of_numbers_is_mixed_as_an_array(rng, package):
    table = rng.normal(size=(9, 2))
    frame = pytest.importorskip(package).DataFrame(dict(zip("ab", table.T, strict=True)))
    found, _ = mix(frame, 2, np.ones(9), np.random.RandomState(0))
    assert type(found) is type(frame)
    assert list(found.columns) == ["a", "b"]
    np.testing.assert_array_equal(np.asarray(found), mix(table, 2, np.ones(9), np.random.RandomState(0))[0])


def test_what_cannot_be_mixed(rng):
    pd = pytest.importorskip("pandas")
    y = np.arange(40) % 2
    frame = pd.DataFrame({"text": [f"word{i} more" for i in y], "size": rng.normal(size=40)})
    clf = MultimodalClassifier(modalities="auto", n_members=2, max_epochs=1, experts=None)
    with pytest.raises(ValueError, match=r"n_mixed=3: there is nothing between rows of a DataFrame"):
        Distilled(clf, n_mixed=3).fit(frame, y)
    with pytest.raises(ValueError, match=r"n_mixed=3: samples in between have no time"):
        Distilled(MultimodalClassifier(), n_mixed=3).fit(rng.normal(size=(40, 2)), y, time=np.arange(40))
    for wrong in (-1, 1.5, "many"):
        with pytest.raises(ValueError, match=f"n_mixed={wrong!r} must be 'auto' or a whole number"):
            Distilled(clf, n_mixed=wrong).fit(frame, y)
