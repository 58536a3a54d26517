"""Tests of skmm.compose: selector."""

import numpy as np
import pytest
import scipy.sparse as sp
from conftest import make_data
from sklearn.ensemble import RandomForestClassifier
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


# -- several by name, and summaries --------------------------------------------------------------------------------


def summary(X, name=None):
    """The columns of a summary by name."""
    selector = ModalitySelector(name, form="summary").fit(X)
    out = selector.transform(X)
    names = selector.get_feature_names_out()
    assert out.shape == (len(Blocks(X)), len(names))
    return dict(zip(names, (out.toarray() if sp.issparse(out) else out).T, strict=True))


def test_selector_of_several_by_name(blocks):
    out = ModalitySelector(["clip", "vector"]).fit_transform(blocks)

    parts = [ModalitySelector(name).fit_transform(blocks) for name in ("clip", "vector")]
    np.testing.assert_array_equal(out, np.hstack(parts))
    names = ModalitySelector(["clip", "vector"]).fit(blocks).get_feature_names_out()
    assert names[0] == "clip__mean0"
    assert names[-1] == "vector__x1"


@pytest.mark.parametrize("inner", [(2,), (), (3, 2)])
def test_summary_of_ragged_sequences(inner):
    rng = np.random.default_rng(1)
    samples = [rng.normal(size=(length, *inner)) for length in (4, 1, 7)]
    found = summary({"clip": [samples[0], None, *samples[1:]]})

    for row, sample in zip((0, 2, 3), samples, strict=True):
        for channel, values in enumerate(sample.reshape(len(sample), -1).T):
            for statistic, expected in {
                "mean": values.mean(), "std": values.std(), "min": values.min(), "max": values.max(),
                "last": values[-1],
            }.items():  # fmt: skip
                np.testing.assert_allclose(found[f"clip__{statistic}{channel}"][row], expected, atol=1e-12)
        assert found["clip__steps"][row] == len(sample)
    assert len(found) == 5 * sample[0].size + 1
    assert all(np.isnan(column[1]) for column in found.values())


def test_summary_of_dense_sequences_is_that_of_the_same_ragged_ones():
    clip = np.random.default_rng(0).normal(size=(5, 6, 3))
    selector = ModalitySelector(form="summary").fit({"clip": clip})
    dense = selector.transform({"clip": clip})

    np.testing.assert_array_equal(selector.transform({"clip": list(clip)}), dense)
    longer = selector.transform({"clip": np.concatenate([clip, clip], axis=1)})
    names = selector.get_feature_names_out().tolist()
    np.testing.assert_allclose(longer[:, :-1], dense[:, :-1], atol=1e-12)
    assert (longer[:, names.index("clip__steps")] == 12).all()


def test_sums_of_a_summary_do_not_lose_what_float32_would():
    clip = (10_000 + np.random.default_rng(0).normal(size=(1, 50_000, 1))).astype(np.float32)
    found = summary({"clip": clip})

    assert found["clip__std0"][0] == pytest.approx(clip.astype(float).std(), rel=1e-6)


@pytest.mark.parametrize("shape", [(19, 8, 3), (3, 10), (1, 1, 2)])
def test_summary_of_images(shape):
    images = np.random.default_rng(0).integers(0, 255, (3, *shape), dtype=np.uint8)
    found = summary(Blocks(photo=images, present={"photo": [True, False, True]}))
    pixels = images.reshape(*images.shape[:3], -1).astype(float)

    height, width, channels = pixels.shape[1:]
    for row in (0, 2):
        for c in range(channels):
            np.testing.assert_allclose(found[f"photo__mean{c}"][row], pixels[row, :, :, c].mean(), rtol=1e-6)
            np.testing.assert_allclose(found[f"photo__std{c}"][row], pixels[row, :, :, c].std(), rtol=1e-6)
            # the cells are those of array_split but for the order of larger and smaller ones
            size = {"height": min(8, height), "width": min(8, width)}
            for i in range(size["height"]):
                for j in range(size["width"]):
                    rows = slice(i * height // size["height"], (i + 1) * height // size["height"])
                    columns = slice(j * width // size["width"], (j + 1) * width // size["width"])
                    expected = pixels[row, rows, columns, c].mean()
                    np.testing.assert_allclose(found[f"photo__cell{i}_{j}_{c}"][row], expected, rtol=1e-6)
    assert len(found) == channels * (2 + min(8, height) * min(8, width))
    assert all(np.isnan(column[1]) for column in found.values())


@pytest.mark.parametrize("ragged", [False, True])
def test_summary_of_videos_is_that_of_their_frames_over_time(ragged):
    rng = np.random.default_rng(0)
    lengths = (4, 2, 3) if ragged else (4, 4, 4)
    videos = [rng.normal(size=(length, 9, 4, 2)) for length in lengths]
    found = summary({"film": videos if ragged else np.stack(videos)})

    for row, frames in enumerate(videos):
        of_frames = summary({"film": frames})
        assert len(found) == 2 * len(of_frames) + 1
        for name, values in of_frames.items():
            column = name.removeprefix("film__")
            np.testing.assert_allclose(found[f"film__mean_{column}"][row], values.mean(), atol=1e-12)
            np.testing.assert_allclose(found[f"film__std_{column}"][row], values.std(), atol=1e-12)
        assert found["film__steps"][row] == lengths[row]


def test_summary_counts_the_token_ids_that_fit_saw():
    selector = ModalitySelector("words", form="summary")
    selector.fit({"words": [np.array([7, 2, 7]), None, np.array([40])]})
    assert selector.get_feature_names_out().tolist() == ["words__id2", "words__id7", "words__id40"]

    out = selector.transform({"words": [np.array([7, 7, 3, 7]), np.array([50, 2]), None]})
    assert out.format == "csr"
    np.testing.assert_allclose(out.toarray(), np.log1p([[0, 3, 0], [1, 0, 0], [0, 0, 0]]), rtol=1e-6)


def test_summary_leaves_vectors_and_sparse_blocks_as_they_are(blocks):
    for name in ("vector", "words"):
        flat = ModalitySelector(name).fit(blocks)
        summed = ModalitySelector(name, form="summary").fit(blocks)
        a, b = flat.transform(blocks), summed.transform(blocks)
        assert sp.issparse(a) == sp.issparse(b)
        np.testing.assert_array_equal(*(x.toarray() if sp.issparse(x) else x for x in (a, b)))
        assert flat.get_feature_names_out().tolist() == summed.get_feature_names_out().tolist()
    mixed = ModalitySelector(form="summary").fit_transform(blocks)
    assert mixed.format == "csr"
    assert mixed.shape == (4, 2 + 5 + (6 + 4 * 3) + 11)


class OnDisk:
    """An array that is read by rows; one row is masked."""

    shape, dtype = (700, 9, 900), np.dtype(np.float32)
    largest = 0

    def __init__(self):
        self.values = np.random.default_rng(0).normal(size=self.shape).astype(self.dtype)

    def __len__(self):
        return len(self.values)

    def __getitem__(self, rows):
        found = np.ma.masked_array(self.values[rows])
        self.largest = max(self.largest, len(found))
        found[np.arange(len(self))[rows] == 3] = np.ma.masked
        return found


def test_summary_reads_a_block_on_disk_some_rows_at_a_time():
    disk = OnDisk()
    found = summary({"clip": disk})

    assert disk.largest < 700
    np.testing.assert_allclose(found["clip__max5"][4:], disk.values[4:, :, 5].max(axis=1))
    assert np.isnan(found["clip__max5"][3])


def test_whole_numbers_where_fit_saw_a_sequence_are_one():
    selector = ModalitySelector("a", form="summary").fit({"a": [np.array([1.5]), np.array([2.0, 3.0])]})

    np.testing.assert_array_equal(selector.transform({"a": [np.array([1, 3]), np.array([5])]})[:, 0], [2, 5])


@pytest.mark.parametrize(
    ("selector", "message"),
    [
        (ModalitySelector(form="sumary"), r"unknown form 'sumary', valid are .* Did you mean 'summary'\?"),
        (ModalitySelector([]), r"name is an empty list; X has \['a', 'b'\]"),
        (ModalitySelector(["a", "c"]), r"no modality 'c'; X has \['a', 'b'\]"),
    ],
)
def test_selector_refuses_what_it_cannot_mean(selector, message):
    with pytest.raises(ValueError, match=message):
        selector.fit({"a": np.ones((2, 1)), "b": np.ones((2, 1))})


def test_fractions_where_fit_saw_token_ids_are_refused():
    selector = ModalitySelector("a", form="summary").fit({"a": [np.array([1]), np.array([2, 3])]})

    with pytest.raises(ValueError, match="'a' holds float64 values, in fit it held token ids"):
        selector.transform({"a": [np.array([1.0]), np.array([2.0, 3.0])]})


@pytest.mark.parametrize("name", ["tokens", "sparse"])
def test_sparse_tables_have_indices_of_32_bits_as_trees_ask(name):
    blocks, y = make_data(60, ("tokens", "sparse", "vector"))
    X = Blocks({each: blocks[each] for each in blocks}, present={"sparse": np.arange(60) > 4})
    alone = ModalitySelector(name, form="summary").fit_transform(X)
    beside = ModalitySelector([name, "vector"], form="summary").fit_transform(X)
    for read in (alone, beside):
        assert read.indices.dtype == read.indptr.dtype == np.int32
    RandomForestClassifier(3).fit(alone, y)


def test_the_flat_form_of_a_sparse_block_has_them_too():
    blocks, y = make_data(60, ("sparse",))
    flat, _ = Blocks(sparse=blocks["sparse"], present={"sparse": np.arange(60) > 4}).to_flat(gaps="counted")
    assert flat.indices.dtype == flat.indptr.dtype == np.int32
    RandomForestClassifier(3).fit(flat, y)
