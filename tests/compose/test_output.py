"""Tests of ModalityTransformer.set_output."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from conftest import small
from sklearn.base import clone
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skmm import AutoModalities, Blocks, ModalityTransformer

Y = np.arange(20) % 2
FRAME = pd.DataFrame(
    {
        "text": [None if i == 3 else ["dull film", "good film"][label] for i, label in enumerate(Y)],
        "price": Y + 1.0,
    },
    index=np.arange(20) + 100,
)


def made():
    return ModalityTransformer([("text", CountVectorizer(), "text"), ("table", StandardScaler(), ["price"])])


def test_columns_are_those_that_the_features_are_named():
    transformer = made().set_output(transform="pandas")
    frame = transformer.fit_transform(FRAME)
    pd.testing.assert_frame_equal(frame, transformer.transform(FRAME))
    assert list(frame) == ["text__dull", "text__film", "text__good", "table__price"]
    assert frame.index.tolist() == FRAME.index.tolist()
    assert frame.loc[101].tolist() == [0, 1, 1, 1]
    assert frame.loc[103].isna().tolist() == [True, True, True, False]


def test_a_clone_keeps_it_and_default_takes_it_back():
    copied = clone(made().set_output(transform="pandas")).set_output()
    assert isinstance(copied.fit_transform(FRAME), pd.DataFrame)
    assert isinstance(copied.set_output(transform="default").transform(FRAME), Blocks)


def test_a_pipeline_that_is_asked_for_frames_learns_from_the_same_modalities():
    quick = small(max_epochs=3, sparse_components=None, encoders="mlp")
    pipe = make_pipeline(made(), quick).set_output(transform="pandas").fit(FRAME, Y)
    assert pipe[-1].modalities_.keys() == {"text", "table"}
    assert pipe.predict(FRAME[3:5]).shape == (2,)
    assert isinstance(pipe[:-1].transform(FRAME), pd.DataFrame)


def test_what_types_the_columns_gives_a_frame_too():
    transformer = AutoModalities().set_output(transform="pandas")
    frame = transformer.fit_transform(FRAME)
    assert list(frame) == list(transformer.get_feature_names_out())
    pd.testing.assert_frame_equal(frame, clone(transformer).fit(FRAME).transform(FRAME))
    assert isinstance(transformer.set_output(transform="default").transform(FRAME), Blocks)
    pipe = make_pipeline(AutoModalities(), small(max_epochs=1)).set_output(transform="pandas").fit(FRAME, Y)
    assert list(pipe[-1].modalities_) == list(Blocks(AutoModalities().fit_transform(FRAME)))


@pytest.mark.parametrize("reader", [AutoModalities(), made()])
def test_an_estimator_reads_blocks_whatever_its_reader_was_asked_for(reader):
    quick = small(max_epochs=1, modalities=reader)
    wanted = quick.fit(FRAME, Y).predict_proba(FRAME)
    found = clone(quick).set_params(modalities=clone(reader).set_output(transform="pandas")).fit(FRAME, Y)
    np.testing.assert_array_equal(found.predict_proba(FRAME), wanted)


def test_the_global_setting_does_not_reach_blocks():
    with sklearn.config_context(transform_output="pandas"):
        assert isinstance(made().fit_transform(FRAME), Blocks)


def test_a_frame_whose_columns_changed_is_one_table_again():
    frame = made().set_output(transform="pandas").fit_transform(FRAME.drop(index=103))
    y = np.delete(Y, 3)
    assert list(small(max_epochs=1).fit(frame, y).modalities_) == ["text", "table"]
    assert list(small(max_epochs=1).fit(frame.assign(more=1.0), y).modalities_) == ["X"]


def test_what_has_no_columns():
    walks = pd.DataFrame({"walk": [[1.0, 2.0], [3.0]]})
    transformer = ModalityTransformer([("walk", "passthrough", "walk")]).set_output(transform="pandas")
    with pytest.raises(ValueError, match=r"'walk' is a sequence block.*ModalitySelector\(form='summary'\)"):
        transformer.fit_transform(walks)
    with pytest.raises(ValueError, match=r"transform='polars' is none of 'default' and 'pandas'.*from_pandas"):
        made().set_output(transform="polars")
    assert pl.from_pandas(made().set_output(transform="pandas").fit_transform(FRAME)).shape == (20, 4)
