"""Tables as they are, read by exported models: preprocessing in the same graph."""

import json
import os
import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer, TfidfTransformer, TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MinMaxScaler,
    Normalizer,
    OneHotEncoder,
    OrdinalEncoder,
    RobustScaler,
    StandardScaler,
)

import skmm
from skmm import ModalityTransformer, MultimodalClassifier
from skmm.blocks import BlockInfo, block_kind
from skmm.columns._levels import Categories

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")
pytest.importorskip("skl2onnx")

from skmm.deployment._columns import feeds  # noqa: E402
from skmm.deployment._nodes import OPSETS  # noqa: E402
from skmm.deployment._preprocessing import convert  # noqa: E402
from skmm.inputs._known import KnownInputs  # noqa: E402

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*have no modality at all:UserWarning", "ignore:column .* did not see:UserWarning"
)

WORDS = ["a", "I", "x", "the", "Film", "café", "ÉTÉ", "Straße", "10", "3", "2nd", "naïve", "well-known", "é", "bad"]
WORDS += [
    "ΟΔΟΣ",
    "日本",
    "x²",
    "foo_bar",
    "e\u0301t",
    "good",
    "Good,",
    "(fine)",
    "\N{EM DASH}",
    "d'été",
    "line\nfeed",
]
SMALL = {"max_epochs": 1, "hidden_dim": 8, "n_members": 2, "experts": None, "random_state": 0}


def table(n, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    reviews = [" ".join(rng.choice(WORDS, rng.integers(1, 12))) + (" great" if c else " awful") for c in y]
    frame = pd.DataFrame(
        {
            "review": [None if rng.random() < 0.15 else review for review in reviews],
            "price": rng.normal(size=n) + y,
            "when": 1.7e9 + rng.uniform(0, 3600, n),
            "shop": rng.choice(["north", "été", "south", f"new{seed}"], n, p=[0.5, 0.28, 0.2, 0.02]),
            "size": rng.choice([1, 2, 3], n),
        }
    )
    frame.loc[rng.random(n) < 0.2, "price"] = np.nan
    frame.loc[rng.random(n) < 0.1, "shop"] = None
    frame.loc[rng.random(n) < 0.1, ["price", "when"]] = np.nan
    return frame, y


def by_nodes(transformer, frame):
    """What the nodes of a fitted transformer make of a table, and which rows are there."""
    blocks = transformer.transform(frame)
    known = KnownInputs()
    known.infos = {name: BlockInfo(block_kind(block), block.shape[1:]) for name, block in blocks.items()}
    known.seen, known.lacked, known.held_out = set(blocks), set(), set()
    made = convert(transformer, known.infos, named=False)
    columns, present = made.table.read(frame, known)
    kinds = onnx.TensorProto
    given = [
        onnx.helper.make_tensor_value_info(
            column.name, kinds.DOUBLE if column.reading == "number" else kinds.STRING, ["n", 1]
        )
        for column in made.table.columns
    ]
    given += [onnx.helper.make_tensor_value_info(f"{name}.present", kinds.BOOL, ["n"]) for name in blocks]
    out = [onnx.helper.make_tensor_value_info(name, kinds.DOUBLE, ["n", None]) for name in made.values.values()]
    graph = onnx.helper.make_graph(made.nodes.nodes, "steps", given, out, made.nodes.weights)
    opsets = [onnx.helper.make_opsetid(domain, version) for domain, version in OPSETS.items()]
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=9)
    onnx.checker.check_model(model)
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    session = runtime.InferenceSession(model.SerializeToString(), options)
    ((_, fed),) = feeds(columns, present, known.infos)
    return dict(zip(blocks, session.run(list(made.values.values()), fed), strict=True)), present


def assert_converted(transformer, columns, frame=None, new=None):
    """The nodes of a transformer of some columns make what it makes, of other rows and of one."""
    frame, new = table(300)[0] if frame is None else frame, table(200, seed=1)[0] if new is None else new
    fitted = ModalityTransformer([("own", transformer, columns)]).fit(frame)
    for rows in (new, new[:1], new[:7], new.astype(object)):
        wanted = fitted.transform(rows)
        found, present = by_nodes(fitted, rows)
        there = wanted.present["own"]
        assert (present["own"] == there).all()
        block = wanted["own"]
        block = block.toarray() if hasattr(block, "toarray") else np.asarray(block)
        np.testing.assert_allclose(found["own"][there], block[there], rtol=1e-5, atol=1e-6)
        assert (found["own"][~there] == 0).all()


# -- texts --------------------------------------------------------------------------------------------------------

TEXTS = {
    "plain": {},
    "pairs of words": {"ngram_range": (1, 2), "sublinear_tf": True},
    "pairs alone": {"ngram_range": (2, 2)},
    "one-letter words": {"ngram_range": (1, 3), "token_pattern": r"(?u)\b\w+\b"},
    "what spaces part": {"ngram_range": (1, 2), "token_pattern": r"\S+"},
    "plain letters": {"token_pattern": "[a-z]+"},
    "case": {"lowercase": False, "ngram_range": (1, 2)},
    "without accents": {"strip_accents": "unicode"},
    "ascii": {"strip_accents": "ascii"},
    "stop words": {"stop_words": ["the", "good"]},
    "characters": {"analyzer": "char", "ngram_range": (1, 3)},
    "sums": {"norm": "l1", "use_idf": False},
    "binary": {"binary": True, "norm": None, "min_df": 2, "max_features": 20},
    "no smoothing": {"smooth_idf": False},
}


@pytest.mark.parametrize("case", TEXTS)
def test_texts_are_weighed_as_by_scikit_learn(case):
    assert_converted(TfidfVectorizer(**TEXTS[case]), "review")


def test_counts_and_what_follows_them():
    assert_converted(CountVectorizer(ngram_range=(1, 2)), "review")
    assert_converted(make_pipeline(CountVectorizer(), TfidfTransformer(sublinear_tf=True)), "review")
    assert_converted(make_pipeline(TfidfVectorizer(), TruncatedSVD(3, random_state=0)), "review")
    both = FeatureUnion([("words", TfidfVectorizer()), ("letters", TfidfVectorizer(analyzer="char"))])
    assert_converted(both, "review")


def test_a_text_of_no_known_word():
    frame = pd.DataFrame({"review": ["good film", "bad film", "a b"]})
    new = pd.DataFrame({"review": ["", " ", "a", "unknown", "film"]})
    assert_converted(TfidfVectorizer(), "review", frame, new)


# -- numbers and categories ---------------------------------------------------------------------------------------

PAIR = ["price", "when"]
NUMBERS = {
    "standardised": (make_pipeline(SimpleImputer(), StandardScaler()), PAIR),
    "by the median": (make_pipeline(SimpleImputer(strategy="median"), RobustScaler()), PAIR),
    "between 0 and 1": (make_pipeline(SimpleImputer(strategy="constant", fill_value=0.5), MinMaxScaler()), PAIR),
    "of length 1": (make_pipeline(SimpleImputer(), StandardScaler(), Normalizer()), PAIR),
    "as they are": ("passthrough", ["size"]),
    "by weight": (ColumnTransformer([("a", "passthrough", ["size"])], transformer_weights={"a": 0.5}), ["size"]),
    "categories": (make_pipeline(Categories(), OneHotEncoder(handle_unknown="ignore")), ["shop", "size"]),
    "raw categories": (OneHotEncoder(handle_unknown="ignore", drop="if_binary"), ["shop", "size"]),
    "rare ones": (OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=30), ["shop", "size"]),
    "rare and one dropped": (
        OneHotEncoder(handle_unknown="infrequent_if_exist", max_categories=3, drop="first"),
        ["shop", "size"],
    ),
    "side by side": (
        ColumnTransformer(
            [
                ("n", make_pipeline(SimpleImputer(), StandardScaler()), [0, 2]),
                ("c", OneHotEncoder(handle_unknown="ignore"), ["shop"]),
            ],
            remainder="drop",
        ),
        ["price", "shop", "when"],
    ),
}


@pytest.mark.filterwarnings("ignore:Found unknown categories")
@pytest.mark.parametrize("case", NUMBERS)
def test_numbers_and_categories_come_out_as_by_scikit_learn(case):
    assert_converted(*NUMBERS[case])


def test_columns_that_are_called_like_parts_of_a_model():
    frame, new = (
        part.rename(columns={"price": "output", "when": "own.values"}) for part in (table(60)[0], table(60, 1)[0])
    )
    frame["own.present"], new["own.present"] = frame["output"], new["output"]
    assert_converted(NUMBERS["standardised"][0], ["output", "own.values", "own.present"], frame, new)


def test_a_frame_of_other_types():
    frame, new = table(100)[0].drop(columns="review"), table(60, seed=1)[0].drop(columns="review")
    fitted = ModalityTransformer.from_frame(frame).fit(frame)
    gaps = {name: new[name].astype(object).where(new[name].notna(), None).tolist() for name in new}
    wanted, there = by_nodes(fitted, new)
    for other in (pl.DataFrame(gaps), new.convert_dtypes(), new.assign(size=new["size"].astype(str))):
        for n in (60, 5):  # few rows are read in another way
            found, present = by_nodes(fitted, other[:n])
            np.testing.assert_array_equal(found["table"], wanted["table"][:n])
            assert (present["table"] == there["table"][:n]).all()


# -- what cannot be converted, or is not there ---------------------------------------------------------------------

REFUSED = {
    "analyzer='char_wb'": TfidfVectorizer(analyzer="char_wb"),
    "tokenizer is code": TfidfVectorizer(tokenizer=str.split, token_pattern=None),
    "preprocessor is code": TfidfVectorizer(preprocessor=str.strip),
    "stop_words and ngram_range": TfidfVectorizer(stop_words=["the"], ngram_range=(1, 2)),
    "means another thing": TfidfVectorizer(token_pattern=r"(?u)\b\w{3,}\b"),
    "HashingVectorizer cannot": HashingVectorizer(n_features=16),
    "function len is code": make_pipeline(FunctionTransformer(len), TfidfVectorizer()),
}


@pytest.mark.parametrize("why", REFUSED)
def test_what_cannot_be_converted_is_named(why):
    frame = table(60)[0].dropna(subset="review")
    if "function" in why:
        frame = frame[["review"]]
        transformer = make_pipeline(FunctionTransformer(shout), TfidfVectorizer())
        why = "step 'functiontransformer': FunctionTransformer cannot be part .* function shout is code"
    else:
        transformer = REFUSED[why]
    fitted = ModalityTransformer([("own", transformer, "review")]).fit(frame)
    with pytest.raises(ValueError, match=f"modality 'own'.*{why}.*Export from Blocks on"):
        by_nodes(fitted, frame)


def shout(texts):
    return [text.upper() for text in texts]


def test_dates_and_encoders_without_nodes_are_named():
    frame = pd.DataFrame({"day": pd.date_range("2020-01-01", periods=40).astype(str), "n": np.arange(40.0)})
    with pytest.raises(ValueError, match="modality 'table', step 'date.functiontransformer'.*function dates is"):
        by_nodes(ModalityTransformer.from_frame(frame, day="date", n="number").fit(frame), frame)
    frame = table(60)[0]
    fitted = ModalityTransformer([("own", OrdinalEncoder(), ["size"])]).fit(frame)
    with pytest.raises(ValueError, match="modality 'own': OrdinalEncoder cannot be part"):
        by_nodes(fitted, frame)


def test_gaps_that_nothing_fills_and_new_categories_are_told_by_row():
    frame = table(60)[0].fillna({"price": 0.0, "when": 1.7e9, "shop": "north"})
    scaler = ModalityTransformer([("own", StandardScaler(), PAIR)]).fit(frame)
    frame.loc[3, "price"] = np.nan
    with pytest.raises(ValueError, match="modality 'own', row 3: column 'price' is missing"):
        by_nodes(scaler, frame)
    encoder = ModalityTransformer([("own", OneHotEncoder(), ["shop"])]).fit(frame)
    new = frame.assign(shop="north").head(20)
    new.loc[4, "shop"] = "elsewhere"
    with pytest.raises(ValueError, match="column 'shop', row 4: 'elsewhere' is a category that fit did not see"):
        by_nodes_of(encoder, frame, new)


def by_nodes_of(transformer, frame, new):
    """As by_nodes, of rows that the transformer itself refuses."""
    blocks = transformer.transform(frame)
    known = KnownInputs()
    known.infos = {name: BlockInfo(block_kind(block), block.shape[1:]) for name, block in blocks.items()}
    known.seen, known.lacked, known.held_out = set(blocks), set(), set()
    return convert(transformer, known.infos, named=False).table.read(new, known)


# -- files --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A pipeline, its file, and the table that it was fitted to."""
    frame, y = table(200)
    pipeline = make_pipeline(
        ModalityTransformer(
            [
                ("text", TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), "review"),
                ("table", make_pipeline(SimpleImputer(), StandardScaler()), PAIR),
            ]
        ),
        MultimodalClassifier(**SMALL),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pipeline.fit(frame, np.array(["no", "yes"])[y])
        path = tmp_path_factory.mktemp("models") / "m.onnx"
        skmm.to_onnx(pipeline, path, check=frame)
    return pipeline, path, frame


def assert_predicts_as(model, estimator, frame):
    np.testing.assert_allclose(model.predict_proba(frame), estimator.predict_proba(frame), rtol=0, atol=1e-5)
    one = frame[:1]
    np.testing.assert_allclose(model.predict_proba(one), estimator.predict_proba(one), rtol=0, atol=1e-5)


def test_a_file_of_a_pipeline_reads_tables(exported):
    pipeline, path, _ = exported
    model, new = skmm.load_onnx(path, n_threads=1), table(200, seed=1)[0]
    assert_predicts_as(model, pipeline, new)
    assert (model.predict(new) == pipeline.predict(new)).all()
    assert_predicts_as(model, pipeline, new[["when", "review", "size", "price"]])  # by name, in any order
    names = [given.name for given in onnx.load(path).graph.input]
    assert names == [argument.name for argument in model.description_.arguments]
    assert names == ["review", "price", "when", "text.present", "table.present"]


def test_a_table_without_columns_is_refused_in_the_words_of_the_pipeline(exported):
    pipeline, path, _ = exported
    model, new = skmm.load_onnx(path), table(20, seed=1)[0]
    for bad in [
        new.rename(columns={"price": "cost"}),
        new[["size"]],
        new.assign(review=3),
        new.assign(price="dear"),
        new[:0],
        new["price"],
    ]:
        with pytest.raises((ValueError, AttributeError)):
            pipeline.predict(bad)
        with pytest.raises(ValueError, match="price|review|X lacks|0 sample|table"):
            model.predict(bad)
    with pytest.raises(ValueError, match="modality 'table' needs column 'price', which X lacks"):
        model.predict(new.rename(columns={"price": "cost"}))
    with pytest.raises(ValueError, match="the model reads a table.*'review'"):
        model.predict({"text": np.zeros((2, 3))})
    without = new.drop(columns="review")
    with pytest.warns(UserWarning, match="modality 'text' is left out"):
        p = model.predict_proba(without)
    with pytest.warns(UserWarning, match="modality 'text' is left out"):
        np.testing.assert_allclose(p, pipeline.predict_proba(without), rtol=0, atol=1e-5)


def test_a_file_that_reads_tables_needs_no_torch(exported):
    _, path, _ = exported
    code = f"""
import sys
class Nothing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "skorch", "onnx", "skl2onnx"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Nothing())
import pandas as pd, skmm
frame = pd.DataFrame({{"review": ["good film"], "price": [1.0], "when": [1.7e9], "shop": ["n"], "size": [1]}})
print(skmm.load_onnx({os.fspath(path)!r}).predict_proba(frame).shape)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "(1, 2)\n", done.stderr


@pytest.mark.slow
def test_a_table_that_the_estimator_types_is_exported(tmp_path):
    frame, y = table(300)
    clf = MultimodalClassifier(modalities="auto", sparse_components=4, modality_dropout=0.3, **SMALL).fit(frame, y)
    path = tmp_path / "m.onnx"
    skmm.to_onnx(clf, path, check=frame)
    assert_predicts_as(skmm.load_onnx(path), clf, table(200, seed=1)[0])
    with pytest.raises(ValueError, match="reads a DataFrame with the columns"):
        skmm.load_onnx(path).predict(frame.to_numpy())
    # and from its blocks on
    skmm.to_onnx(clf, path, check=frame, preprocessing=False)
    blocks = clf.modality_transformer_.transform(frame)
    assert_predicts_as(skmm.load_onnx(path), clf, blocks)
    with pytest.raises(ValueError, match="DataFrame without names"):
        skmm.load_onnx(path).predict(frame)


@pytest.mark.slow
def test_a_pipeline_is_exported_from_its_blocks_on(tmp_path, exported):
    pipeline, _, frame = exported
    skmm.to_onnx(pipeline, tmp_path / "m.onnx", check=frame, preprocessing=False)
    blocks = pipeline[:-1].transform(frame)
    assert_predicts_as(skmm.load_onnx(tmp_path / "m.onnx"), pipeline[-1], blocks)


def test_a_file_without_what_later_versions_write_is_read(exported):
    from skmm.deployment._arguments import KEY, Description

    text = onnx.load(exported[1]).metadata_props[0]
    assert text.key == KEY
    given = json.loads(text.value)
    del given["table"]
    assert Description.from_json(json.dumps(given), "m.onnx").table is None
