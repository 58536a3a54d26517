"""What an exported model reads and says, as data: written into its file, and read where there is no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np

from skmm.blocks import BlockInfo, FlatLayout
from skmm.blocks._blocks import FlatPart
from skmm.deployment._columns import RawTable
from skmm.inputs._known import KnownInputs

FORMAT = 1  # of the description; a later one may hold what this version does not know
KEY = "skmm"  # under which it stands in the metadata of a file
OUTPUT = "output"  # name of what a model says


@dataclass(frozen=True)
class Argument:
    """One array that a model reads.

    Attributes
    ----------
    name : str
        Its name: that of the modality for values, else with what it says behind a point, such as ``text.present``.
    modality : str
        The modality.
    part : {"values", "present", "length", "columns", "weights", "column"}
        What it says of it. ``present`` is True where a sample has the modality; of sequences and token ids
        ``length`` is their number of steps, 0 where it is missing; of sparse rows ``columns`` and ``weights`` are
        what they store, filled up with zeros. A ``column`` is one of the table that a model with preprocessing
        reads.
    dtype : str
        Its type.
    axes : tuple of int or str
        Size of each axis; a name where it may be any, the same for all arguments.
    """

    name: str
    modality: str
    part: str
    dtype: str
    axes: tuple[int | str, ...]


@dataclass
class Description:
    """What a model of a file predicts, and from what.

    Attributes
    ----------
    task : {"classification", "multilabel", "regression", "speech"}
        What it predicts.
    classes : list
        Classes, of speech symbols; ``classes_dtype`` is their type as an array.
    arguments : list of Argument
        What the model reads.
    infos : dict of str to BlockInfo
        The modalities.
    seen, lacked, held_out : list of str
        Those that training samples had, and lacked, and that only samples had which were held out.
    ignored : list of str
        Modalities that samples may have, and that are not read.
    n_features, names : int or None, list of str or None
        Columns of the table that the fit was given, if it was one, and their names.
    modalities : None, or dict
        What the columns of a table are: a flat form (by modality what :class:`~skmm.blocks.FlatLayout` says of it)
        or positions by modality.
    audio, strides : str, tuple of int
        Of speech the modality whose frames are told, and what shortens their number.
    table : RawTable or None
        The table that the model reads instead of values, where preprocessing is part of it.
    versions : dict of str to str
        Of the packages that wrote it.
    weights : {"float32", "int8", "float16"}
        Type of the networks' weights in the file.
    format : int
        Of this description.
    """

    task: str
    classes: list[Any]
    classes_dtype: str
    arguments: list[Argument]
    infos: dict[str, BlockInfo]
    seen: list[str]
    lacked: list[str]
    held_out: list[str]
    n_features: int | None = None
    names: list[str] | None = None
    modalities: dict[str, Any] | None = None
    audio: str = ""
    strides: tuple[int, ...] = ()
    table: RawTable | None = None
    ignored: list[str] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    weights: str = "float32"
    format: int = FORMAT

    def to_json(self) -> str:
        """As text."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str, source: str) -> Description:
        """From the text; ``source`` is named in errors.

        Raises
        ------
        ValueError
            If it is no such text, or of a later version.
        """
        try:
            given = json.loads(text)
            version = int(given["format"])
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(f"{source}: its description cannot be read ({error}).") from None
        if version > FORMAT:
            writer = given.get("versions", {}).get("skmm", "of a later version")
            raise ValueError(
                f"{source} was written by skmm {writer} in format {version}; this version reads formats up to "
                f"{FORMAT}. Install that one, or a later one."
            )
        try:
            given["arguments"] = [Argument(**{**a, "axes": tuple(a["axes"])}) for a in given["arguments"]]
            given["infos"] = {n: BlockInfo(**{**i, "shape": tuple(i["shape"])}) for n, i in given["infos"].items()}
            given["strides"] = tuple(given["strides"])
            if given.get("table") is not None:
                given["table"] = RawTable.of(given["table"])
            return cls(**{f.name: given[f.name] for f in fields(cls) if f.name in given})
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"{source}: its description is not complete ({error}).") from None

    def class_labels(self) -> np.ndarray:
        """Classes as an array of the type that they had."""
        return np.array(self.classes, dtype=np.dtype(self.classes_dtype))

    def known(self) -> KnownInputs:
        """What is known of the modalities, for the estimator's own checks."""
        known = KnownInputs()
        known.infos, known.sources, known.readers = self.infos, {}, {}
        known.seen, known.lacked, known.held_out = set(self.seen), set(self.lacked), set(self.held_out)
        known.ignored = frozenset(self.ignored)
        return known

    def layout(self) -> FlatLayout | dict[str, list[int]] | None:
        """What the columns of a table are, as an estimator takes it."""
        if self.modalities is None or all(isinstance(columns, list) for columns in self.modalities.values()):
            return self.modalities
        parts: Mapping[str, Any] = self.modalities
        return FlatLayout(
            {
                name: FlatPart(**{**part, "shape": tuple(part["shape"]), "dtype": np.dtype(part["dtype"])})
                for name, part in parts.items()
            }
        )
