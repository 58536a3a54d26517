"""Tests of skmm.compose: selector."""

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import Pipeline

from skmm import Blocks, ModalitySelector


@pytest.fixture
def blocks():
    rng = np.random.default_rng(0)
    return Blocks(
        vector=np.vstack([rng.normal(size=(3, 2)), [[np.nan, np.nan]]]),
        words=sp.random_array((4, 5), density=0.5, format="csr", random_state=1),
        image=rng.integers(0, 255, (4, 2, 2, 3), dtype=np.uint8),
        clip=[rng.normal(size=(length, 2)).astype(np.float32) for length in (3, 1, 4)] + [None],
        present={"image": [True, False, True, True], "words": [False, True, True, True]},
    )


def test_selector_reads_a_dense_block(blocks):
    out = ModalitySelector("vector").fit_transform(blocks)
    np.testing.assert_array_equal(out, blocks["vector"])
    assert out is not blocks["vector"]

    images = ModalitySelector("image").fit_transform(blocks)
    assert images.shape == (4, 12)
    np.testing.assert_array_equal(images[[0, 2, 3]], blocks["image"][[0, 2, 3]].reshape(3, 12))
    assert np.isnan(images[1]).all()


def test_selector_keeps_sparse_and_empties_missing_rows(blocks):
    out = ModalitySelector("words").fit_transform(blocks)

    assert out.format == "csr"
    expected = blocks["words"].toarray()
    expected[0] = 0
    np.testing.assert_array_equal(out.toarray(), expected)


def test_selector_sums_up_ragged_sequences(blocks):
    out = ModalitySelector("clip").fit_transform(blocks)

    for i in range(3):
        np.testing.assert_allclose(
            out[i], np.concatenate([blocks["clip"][i].mean(axis=0), blocks["clip"][i].std(axis=0)]), rtol=1e-6
        )
    assert np.isnan(out[3]).all()
    assert out.dtype == np.float32


def test_selector_of_sequences_without_channels_and_with_many():
    scalar = ModalitySelector("a").fit_transform({"a": [np.array([1.0, 3.0]), np.array([5.0])]})
    np.testing.assert_array_equal(scalar, [[2, 1], [5, 0]])
    frames = ModalitySelector("a").fit_transform({"a": [np.ones((2, 3, 4)), np.ones((1, 3, 4))]})
    np.testing.assert_array_equal(frames, np.repeat([[1.0, 0.0]], 12, axis=1).repeat(2, axis=0))


def test_selector_of_dense_sequences_flattens():
    X = Blocks(a=np.arange(12.0).reshape(2, 3, 2))

    np.testing.assert_array_equal(ModalitySelector("a").fit_transform(X), np.arange(12.0).reshape(2, 6))


def test_selector_side_by_side(blocks):
    dense = blocks.select(["vector", "image", "clip"])
    out = ModalitySelector().fit_transform(dense)
    parts = [ModalitySelector(name).fit_transform(dense) for name in dense]
    np.testing.assert_array_equal(out, np.hstack(parts))

    mixed = ModalitySelector().fit_transform(blocks)
    assert mixed.format == "csr"
    assert mixed.shape == (4, 2 + 5 + 12 + 4)
    np.testing.assert_array_equal(
        mixed[:, 2:7].toarray(), ModalitySelector("words").fit_transform(blocks).toarray()
    )


def test_selector_feature_names(blocks):
    names = ModalitySelector().fit(blocks).get_feature_names_out().tolist()

    assert names[:3] == ["vector__x0", "vector__x1", "words__x0"]
    assert names[-4:] == ["clip__mean0", "clip__mean1", "clip__std0", "clip__std1"]
    assert len(names) == 23
    frame = ModalitySelector("vector").set_output(transform="pandas").fit_transform(blocks)
    assert list(frame.columns) == names[:2]


def test_selector_does_not_read_what_stands_in_missing_rows(blocks):
    other = blocks["image"].copy()
    other[1] = 99
    changed = Blocks({**dict(blocks.items()), "image": other}, present=blocks.present)
    selector = ModalitySelector("image").fit(blocks)

    np.testing.assert_array_equal(selector.transform(changed), selector.transform(blocks))


def test_selector_lets_any_estimator_cross_validate():
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], 30)
    X = Blocks(text=rng.normal(size=(60, 3)) + 3 * y[:, None], noise=rng.normal(size=(60, 3)))
    pipe = Pipeline([("select", ModalitySelector("text")), ("classify", LogisticRegression())])

    assert cross_validate(pipe, X, y, error_score="raise")["test_score"].mean() > 0.95
    search = GridSearchCV(pipe, {"select__name": ["noise", "text"]}, error_score="raise").fit(X, y)
    assert search.best_params_ == {"select__name": "text"}


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (Blocks(a=np.ones((2, 1)), b=np.ones((2, 1))), r"no modality 'text'; X has \['a', 'b'\]"),
        ({"a": np.ones((2, 1))}, r"no modality 'text'; X has \['a'\]"),
        (np.ones((2, 2)), "reads Blocks or a dict of arrays, got ndarray"),
        (sp.dok_array((2, 2)), "got dok_array"),
        (Blocks(text=[np.array([1, 2]), np.array([3])]), "'text' holds token ids"),
    ],
)
def test_selector_errors(X, message):
    with pytest.raises(ValueError, match=message):
        ModalitySelector("text").fit(X)


@pytest.mark.parametrize(
    ("fit", "other"),
    [
        (np.ones((2, 3)), np.ones((2, 4))),
        (np.ones((2, 3, 4)), np.ones((2, 6, 2))),
        ([np.ones((1, 2)), np.ones((2, 2))], [np.ones((1, 3)), np.ones((2, 3))]),
        ([np.ones((1, 2)), np.ones((2, 2))], np.ones((2, 3, 2))),
    ],
)
def test_selector_refuses_another_shape_than_in_fit(fit, other):
    selector = ModalitySelector("a").fit({"a": fit})

    with pytest.raises(ValueError, match=r"'a' has samples of shape .*, in fit they were of shape"):
        selector.transform({"a": other})


def test_selector_reads_the_modalities_of_fit():
    fitted = ModalitySelector().fit({"a": np.ones((2, 1))})

    np.testing.assert_array_equal(fitted.transform({"b": np.zeros((2, 1)), "a": np.ones((2, 1))}), np.ones((2, 1)))
    with pytest.raises(ValueError, match="no modality 'a'"):
        fitted.transform({"b": np.zeros((2, 1))})
    with pytest.raises(NotFittedError):
        ModalitySelector().transform({"a": np.ones((2, 1))})
