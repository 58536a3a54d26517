"""Preprocessing as nodes before those of a model: from columns of a table to what each modality's block holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.feature_extraction.text import CountVectorizer, TfidfTransformer, TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from skmm._optional import import_optional
from skmm.blocks import BlockInfo
from skmm.columns._cells import ColumnTfidf, numbers, texts
from skmm.columns._levels import Categories
from skmm.columns._tables import find_positions
from skmm.compose import ModalityTransformer
from skmm.deployment._arguments import OUTPUT, Argument
from skmm.deployment._columns import MISSING, Column, RawTable
from skmm.deployment._nodes import OPSETS, Nodes, NoNodes, run
from skmm.deployment._words import count_nodes, documents, weigh

_CLOSE = 1e-5  # to scikit-learn's, of what is at most about 1


class CannotConvert(ValueError):
    """A step has no form as nodes."""


@dataclass
class _Raw:
    """Columns that no step has read: where they stand among those of their modality, and whether it is one, 1-D."""

    places: list[int]
    single: bool


@dataclass
class _Value:
    """An array (n, width) of the graph, the columns whose gaps may be NaN in it, and of categories the strings."""

    name: str
    width: int
    gaps: list[Column] = field(default_factory=list)
    categories: list[Column] | None = None


_Given = _Raw | _Value | Column  # of which the last is one of texts


class _Conversion:
    """The steps of one modality's transformer as nodes.

    Parameters
    ----------
    modality : str
        Its name.
    names : list
        Names of its columns.
    nodes : Nodes
        Where they are put.
    columns : list of Column
        What is read, of all modalities; those of this one are added.
    taken : set of str
        Names that no column may have.
    """

    def __init__(
        self, modality: str, names: list[Any], nodes: Nodes, columns: list[Column], taken: set[str]
    ) -> None:
        self.modality, self.names, self.nodes, self.columns, self.taken = modality, names, nodes, columns, taken
        self.path: list[str] = []

    def refuse(self, step: Any, why: str) -> CannotConvert:
        """An error that names the step."""
        where = f", step {'.'.join(self.path)!r}" if self.path else ""
        return CannotConvert(
            f"modality {self.modality!r}{where}: {type(step).__name__} cannot be part of an ONNX file: {why}. "
            "Export from Blocks on, skmm.to_onnx(..., preprocessing=False), and give the model what the "
            "ModalityTransformer makes of a table."
        )

    def named(self, name: str, step: Any, given: Any) -> Any:
        """A step by its name."""
        self.path.append(name)
        made = self.convert(step, given)
        self.path.pop()
        return made

    def convert(self, step: Any, given: _Given) -> _Given:
        """What a step makes of what it is given."""
        if step is None or (isinstance(step, str) and step == "passthrough"):
            return given
        for kind, convert in _CONVERT.items():
            if type(step) is kind:
                return convert(self, step, given)
        return self._by_skl2onnx(step, self.numbers(given, step))

    # -- what is read of the table ---------------------------------------------------------------------------------

    def column(self, place: int, reading: str, **how: Any) -> Column:
        """A column of the modality as it is read."""
        label = str(self.names[place])
        name = label if label not in self.taken else f"{self.modality}.{label}"
        while name in self.taken:
            name += "_"
        self.taken.add(name)
        made = Column(name, self.modality, place, reading, **how)
        self.columns.append(made)
        return made

    def numbers(self, given: _Given, step: Any) -> _Value:
        """What a step reads, as numbers."""
        if isinstance(given, Column) or (isinstance(given, _Value) and given.categories is not None):
            raise self.refuse(step, "it reads what are no numbers")
        if isinstance(given, _Value):
            return given
        read = [self.column(place, "number") for place in given.places]
        return _Value(self.nodes.concat([column.name for column in read]), len(read), gaps=read)

    def categories(self, given: _Raw, labels: list[dict[Any, str]], step: Any) -> _Value:
        """Columns as the labels of their categories."""
        read = []
        for place, own in zip(given.places, labels, strict=True):
            odd = next((level for level in own if not isinstance(level, (str, int, float))), None)
            if odd is not None:
                raise self.refuse(step, f"a category is {odd!r}, neither text nor number")
            read.append(self.column(place, "category", labels=[[level, label] for level, label in own.items()]))
        return _Value("", len(read), categories=read)

    # -- steps that hold others ------------------------------------------------------------------------------------

    def pipeline(self, step: Pipeline, given: Any) -> Any:
        for name, own in step.steps:
            given = self.named(name, own, given)
        return given

    def column_transformer(self, step: ColumnTransformer, given: Any) -> _Value:
        names = list(getattr(step, "feature_names_in_", [])) or None
        parts = []
        for name, own, selected in step.transformers_:
            places = find_positions(selected, names, step.n_features_in_, f"transformer {name!r}")
            if places == [] or (isinstance(own, str) and own == "drop"):
                continue
            weight = (step.transformer_weights or {}).get(name, 1.0)
            parts.append(self._weighted(self.named(name, own, self._chosen(given, places, step)), weight, own))
        return self._side_by_side(parts)

    def _chosen(self, given: Any, places: int | list[int], step: Any) -> _Raw | _Value:
        some = [places] if isinstance(places, int) else places
        if isinstance(given, _Raw):
            return _Raw([given.places[i] for i in some], single=isinstance(places, int))
        picked = self.nodes.add(
            "Gather", self.numbers(given, step).name, self.nodes.constant(np.array(some)), axis=1
        )
        return _Value(picked, len(some), given.gaps)

    def union(self, step: FeatureUnion, given: Any) -> _Value:
        weights = step.transformer_weights or {}
        kept = [(name, own) for name, own in step.transformer_list if not isinstance(own, str) or own != "drop"]
        return self._side_by_side(
            [self._weighted(self.named(name, own, given), weights.get(name, 1.0), own) for name, own in kept]
        )

    def _weighted(self, given: Any, weight: float, step: Any) -> _Value:
        given = self.numbers(given, step)
        if weight == 1:
            return given
        return replace(
            given, name=self.nodes.add("Mul", self.nodes.double(given.name), self.nodes.constant(weight))
        )

    def _side_by_side(self, parts: list[_Value]) -> _Value:
        whole = self.nodes.concat([self.nodes.double(part.name) for part in parts])
        return _Value(whole, sum(part.width for part in parts), [column for part in parts for column in part.gaps])

    # -- steps -----------------------------------------------------------------------------------------------------

    def function(self, step: FunctionTransformer, given: Any) -> Any:
        forms = (step.kw_args or {}).get("forms")
        if step.func is None:
            return given
        if step.func is numbers and forms is None and isinstance(given, _Raw):
            return self.numbers(given, step)
        if step.func is texts and isinstance(given, _Raw):
            return self.column(given.places[0], "text", strict=False)
        name = getattr(step.func, "__name__", repr(step.func))
        raise self.refuse(step, f"its function {name}{' of written numbers' if forms else ''} is code of Python")

    def labels(self, step: Categories, given: Any) -> _Value:
        if not isinstance(given, _Raw):
            raise self.refuse(step, "it follows another step")
        return self.categories(given, step.labels_, step)

    def one_hot(self, step: OneHotEncoder, given: Any) -> _Value:
        if isinstance(given, _Raw):
            labels = [_labels(categories) for categories in step.categories_]
            given = self.categories(given, labels, step)
            known = labels
        elif given.categories is None:
            raise self.refuse(step, "it follows a step that makes numbers")
        else:
            known = [{label: label for _, label in column.labels} for column in given.categories]
        parts = []
        for j, column in enumerate(given.categories):
            place, unseen, width = _places(step, j)
            column.unseen = step.handle_unknown != "error"
            found = self.nodes.add(
                "LabelEncoder",
                column.name,
                domain="ai.onnx.ml",
                keys_strings=[known[j].get(c, MISSING) for c in step.categories_[j].tolist()],
                values_int64s=place,
                default_int64=unseen,
            )
            own = self.nodes.add("Equal", found, self.nodes.constant(np.arange(width)[None]))
            parts.append(_Value(self.nodes.double(own), width))
        return self._side_by_side([part for part in parts if part.width])

    def impute(self, step: SimpleImputer, given: Any) -> _Value:
        given = self.numbers(given, step)
        if step.add_indicator or not isinstance(step.missing_values, float) or step.missing_values == 0:
            raise self.refuse(step, "it looks for other than NaN, or tells where that was")
        nodes, filled = self.nodes, np.asarray(step.statistics_, np.float64)
        x, kept = nodes.double(given.name), np.flatnonzero(~np.isnan(filled))
        if len(kept) < len(filled):
            x, filled = nodes.add("Gather", x, nodes.constant(kept), axis=1), filled[kept]
        return _Value(nodes.add("Where", nodes.add("IsNaN", x), nodes.constant(filled), x), len(filled))

    def standardise(self, step: StandardScaler, given: Any) -> _Value:
        given = self.numbers(given, step)
        x = self.nodes.double(given.name)
        if step.with_mean:
            x = self.nodes.add("Sub", x, self.nodes.constant(np.asarray(step.mean_, np.float64)))
        if step.with_std:
            x = self.nodes.add("Div", x, self.nodes.constant(np.asarray(step.scale_, np.float64)))
        return replace(given, name=x)

    def count(self, step: CountVectorizer, given: Any) -> _Value:
        if isinstance(given, _Raw):
            if not given.single:
                raise self.refuse(step, "it is given a table, not one column of texts")
            given = self.column(given.places[0], "text")
        if not isinstance(given, Column):
            raise self.refuse(step, "it follows another step")
        given.lowercase, given.strip_accents = step.lowercase, step.strip_accents
        given.one_space = step.analyzer == "char"
        column, width = given, len(step.vocabulary_)

        def convert(nodes: Nodes, x: str) -> str:
            counted = count_nodes(step, nodes, x)
            return weigh(step, nodes, counted) if isinstance(step, TfidfVectorizer) else counted

        try:
            given_texts = documents(step.vocabulary_, step.analyzer, width)
            arrays = column.read("text", np.array(given_texts, dtype=object), np.zeros(len(given_texts), bool))
            self._agree(step, convert, arrays, lambda: step.transform(given_texts).toarray(), given_texts)
        except NoNodes as error:
            raise self.refuse(step, str(error)) from None
        return _Value(convert(self.nodes, column.name), width)

    def tfidf(self, step: TfidfTransformer, given: Any) -> _Value:
        given = self.numbers(given, step)
        return replace(given, name=weigh(step, self.nodes, given.name))

    def _by_skl2onnx(self, step: Any, given: _Value) -> _Value:
        """Any other step that reads numbers."""
        skl2onnx = import_optional("skl2onnx", extra="onnx")
        types = import_optional("skl2onnx.common.data_types", extra="onnx")
        form = [("x", types.DoubleTensorType([None, given.width]))]
        try:
            made = skl2onnx.convert_sklearn(step, initial_types=form, target_opset=OPSETS)
        except Exception as error:  # it has many kinds of error, none of them of its own alone
            told = str(error).strip().splitlines()
            why = f"skl2onnx cannot convert it ({told[0] if told else type(error).__name__})"
            raise self.refuse(step, why) from None

        def convert(nodes: Nodes, x: str) -> str:
            return nodes.double(nodes.merge(made, nodes.double(x)))

        rows = _rows(step, given.width)
        wanted = self._agree(step, convert, rows, lambda: _dense(step.transform(rows)), None)
        gaps = given.gaps
        if gaps:
            rows[0, 0] = np.nan
            try:
                finite = np.isfinite(_dense(step.transform(rows))).all()
            except ValueError:  # it refuses them
                finite = False
            gaps = [] if finite else gaps
        return _Value(convert(self.nodes, given.name), wanted.shape[1], gaps)

    def _agree(self, step: Any, convert: Callable[[Nodes, str], str], x: np.ndarray, own: Any, shown: Any) -> Any:
        """What a step makes of examples, which its nodes must make too: a wrong file would say nothing of it."""
        try:
            wanted = own()
            said = run(convert, x)
        except NoNodes:
            raise
        except Exception as error:
            raise self.refuse(step, f"it cannot be compared with its nodes ({error})") from None
        same = said.shape == wanted.shape
        off = np.abs(said - wanted) > _CLOSE * (1 + np.abs(wanted)) if same else np.ones((len(x), 1), bool)
        if off.any():
            row = off.any(axis=1).argmax()
            raise self.refuse(
                step, f"its nodes say another thing of {repr(shown[row]) if shown is not None else x[row].tolist()}"
            )
        return wanted


_CONVERT: dict[type, Callable[[_Conversion, Any, Any], Any]] = {
    Pipeline: _Conversion.pipeline,
    ColumnTransformer: _Conversion.column_transformer,
    FeatureUnion: _Conversion.union,
    FunctionTransformer: _Conversion.function,
    Categories: _Conversion.labels,
    OneHotEncoder: _Conversion.one_hot,
    SimpleImputer: _Conversion.impute,
    StandardScaler: _Conversion.standardise,
    CountVectorizer: _Conversion.count,
    TfidfVectorizer: _Conversion.count,
    ColumnTfidf: _Conversion.count,
    TfidfTransformer: _Conversion.tfidf,
}


def _dense(array: Any) -> np.ndarray:
    return np.asarray(array.toarray() if hasattr(array, "toarray") else array, np.float64)


def _rows(step: Any, width: int) -> np.ndarray:
    """Examples of numbers, where a step learned that they are, and far from there."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(12, width)) * np.repeat([1.0, 1.0, 3.0], 4)[:, None]
    for middle, spread in (("center_", "scale_"), ("mean_", "scale_"), ("data_min_", "data_range_")):
        learned, scale = getattr(step, middle, None), getattr(step, spread, None)
        if learned is not None and np.shape(learned) == (width,):
            return x * (1.0 if scale is None else scale) + learned
    return x


def _labels(categories: np.ndarray) -> dict[Any, str]:
    """Labels of the categories of an encoder that reads cells as they are."""
    column = np.empty((len(categories), 1), dtype=object)
    column[:, 0] = categories.tolist()
    return Categories().fit(column).labels_[0]


def _places(encoder: OneHotEncoder, j: int) -> tuple[list[int], int, int]:
    """Which column is 1 for each category of the j-th, and for one that is new, -1 for none; how many there are."""
    categories = encoder.categories_[j].tolist()
    rare: set[Any] = set()
    if encoder.min_frequency is not None or encoder.max_categories is not None:
        found = encoder.infrequent_categories_[j]
        rare = set() if found is None else set(found.tolist())
    often = [category for category in categories if category not in rare]
    place = [len(often) if category in rare else often.index(category) for category in categories]
    width, new = len(often) + bool(rare), -1
    if rare and encoder.handle_unknown in ("infrequent_if_exist", "warn"):
        new = len(often)
    dropped = None if encoder.drop_idx_ is None else encoder.drop_idx_[j]
    if dropped is None:
        return place, new, width
    gone = place[dropped]
    moved = [-1 if own == gone else own - (own > gone) for own in [*place, new]]
    return moved[:-1], moved[-1], width - 1


@dataclass
class Preprocessing:
    """A fitted ModalityTransformer as nodes.

    Attributes
    ----------
    table : RawTable
        What is read.
    nodes : Nodes
        From there to values by modality.
    values : dict of str to str
        Names of these in the graph.
    """

    table: RawTable
    nodes: Nodes
    values: dict[str, str]

    def arguments(self, arguments: list[Argument]) -> list[Argument]:
        """Those of a model that these nodes come before: a column may have the name of a modality."""
        return [replace(a, name=self.values[a.modality]) if a.part == "values" else a for a in arguments]

    def inputs(self, arguments: list[Argument]) -> list[Argument]:
        """Those of both."""
        columns = [
            Argument(c.name, c.modality, "column", "float64" if c.reading == "number" else "str", ("batch", 1))
            for c in self.table.columns
        ]
        return columns + [a for a in arguments if a.part != "values"]


def convert(transformer: ModalityTransformer, infos: Mapping[str, BlockInfo], *, named: bool) -> Preprocessing:
    """A fitted transformer as nodes.

    Raises
    ------
    ValueError
        If a step has no form as nodes; names the modality and the step, and the way round.
    """
    nodes, columns, values = Nodes(), list[Column](), dict[str, str]()
    taken = {OUTPUT, *(f"{name}.{part}" for name in infos for part in ("present", "values"))}
    labels = transformer._names
    every = list(range(transformer.n_features_in_)) if labels is None else labels
    read = {name: at for name, at in transformer._positions.items() if name in infos}  # others were pruned
    for name, positions in read.items():
        places = [positions] if isinstance(positions, int) else positions
        conversion = _Conversion(name, [every[place] for place in places], nodes, columns, taken)
        step, info = transformer.named_transformers_[name], infos[name]
        if info.kind not in ("vector", "sparse"):
            raise conversion.refuse(step, f"what it makes is no row of numbers but {info.kind}")
        given = _Raw(list(range(len(places))), single=isinstance(positions, int))
        made = conversion.numbers(conversion.convert(step, given), step)
        if (made.width,) != info.shape:
            raise conversion.refuse(step, f"it makes {made.width} numbers, the estimator reads {info.shape}")
        for column in made.gaps:
            column.gaps = False
        values[name] = f"{name}.values"
        nodes.finish(made.name, f"{name}.present", values[name])
    odd = next((label for label in labels or [] if not isinstance(label, (str, int))), None)
    if odd is not None:
        raise CannotConvert(f"column {odd!r}: names of columns that are neither text nor number are not in a file.")
    table = RawTable(labels, transformer.n_features_in_, named, read, columns)
    return Preprocessing(table, nodes, values)


def prepend(model: Any, made: Preprocessing, arguments: list[Argument]) -> None:
    """Put the nodes of preprocessing before those of a model, which reads columns then."""
    onnx = import_optional("onnx", extra="onnx")
    # a column may have a name that a node of the model gave to what it makes
    onnx.compose.add_prefix(model, "model/", rename_inputs=False, rename_outputs=False, inplace=True)
    graph, ready = model.graph, set(made.values.values())
    dtypes = {a.name: a.dtype for a in arguments}
    own, weights = made.nodes.with_types(dtypes)
    after = [*own, *graph.node]
    del graph.node[:]
    graph.node.extend(after)
    graph.initializer.extend(weights)
    kept = [given for given in graph.input if given.name not in ready]
    there = {given.name for given in kept}
    masks = [name for name in (f"{modality}.present" for modality in made.values) if name not in there]
    kinds = onnx.TensorProto
    del graph.input[:]
    graph.input.extend(
        onnx.helper.make_tensor_value_info(
            column.name, kinds.DOUBLE if column.reading == "number" else kinds.STRING, ["batch", 1]
        )
        for column in made.table.columns
    )
    graph.input.extend(kept)
    graph.input.extend(onnx.helper.make_tensor_value_info(name, kinds.BOOL, ["batch"]) for name in masks)
    known = {entry.domain for entry in model.opset_import}
    model.opset_import.extend(
        onnx.helper.make_opsetid(domain, version) for domain, version in OPSETS.items() if domain not in known
    )
    onnx.checker.check_model(model)
