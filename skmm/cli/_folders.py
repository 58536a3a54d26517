"""``skmm predict`` of a folder of files, or of a large one: part by part, and on where it was stopped."""

from __future__ import annotations

import argparse
import math
import os
import re
import sys
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any

from skmm._progress import Progress, progress, showing, write_line
from skmm._warnings import once
from skmm.cli._batches import open_table, readable
from skmm.cli._data import ENDINGS, TABLES, check_names
from skmm.cli._errors import UsageError, explained
from skmm.cli._manifest import Manifest, digest, stamp
from skmm.cli._models import (
    before_last,
    check_columns,
    check_model,
    columns_wanted,
    load_model,
    of_table,
    predictions,
    strings_of,
)
from skmm.cli._output import replacing, write_parquet, write_text

PART_ROWS = 102_400  # of one large file
_KB = 1000
_OPTIONS = ("id", "sep", "encoding", "base", "within", "unreadable")  # that the predictions depend on


def is_asked_for(args: argparse.Namespace) -> bool:
    """Whether predictions are to be parts in a folder."""
    return os.path.isdir(args.file) or os.path.isdir(args.out) or args.out.endswith(("/", os.sep))


def run(args: argparse.Namespace) -> None:
    """Predict each file that is not done, and say what there is then."""
    sources = _sources(args)
    check_model(args)
    folder = _place(args)
    told = {"model": digest(Path(args.model)), **{option: getattr(args, option) for option in _OPTIONS}}
    if not os.path.isdir(args.file):
        told["part-rows"] = args.part_rows or PART_ROWS
    names = _Names(Path(args.file), sources)
    manifest = Manifest(folder, told, sources, names.is_part, force=args.force)
    left = {name: path for name, path in sources.items() if not manifest.is_whole(name)}
    there = manifest.counts()[0]
    columns: list[str] = []
    if left:
        run = _Run(load_model(args), left, manifest, names, args)
        try:
            with showing(True), once():
                columns = run.predict()
        except KeyboardInterrupt as error:
            error.add_note(
                f"{folder} has {manifest.counts()[0]} whole parts, and nothing else; the same command goes on."
            )
            raise
    parts, rows = manifest.counts()
    before = f", {there} of which were there before" if there else ""
    named = f" of {', '.join(columns)}" if columns else ""
    print(f"{folder}: {rows} rows{named} in {parts} parts{before}.")


class _Names:
    """Names of parts: that of their file in a folder, with a number of a large one."""

    def __init__(self, source: Path, sources: Collection[str]) -> None:
        self.one, self.sources = None if source.is_dir() else source, sources

    def of(self, path: Path, number: int) -> str:
        return path.name if self.one is None else f"{path.stem}-{number:05}{path.suffix}"

    def is_part(self, name: str) -> bool:
        if self.one is None:
            return name in self.sources
        return re.fullmatch(rf"{re.escape(self.one.stem)}-\d{{5,}}{re.escape(self.one.suffix)}", name) is not None


class _Run:
    """The prediction of some files, part by part."""

    def __init__(
        self, model: Any, sources: dict[str, Path], manifest: Manifest, names: _Names, args: argparse.Namespace
    ) -> None:
        self.model, self.sources, self.manifest, self.names, self.args = model, sources, manifest, names, args
        ending = next(iter(sources.values())).suffix.lower()
        self.write: Any = write_parquet if ending == ".parquet" else write_text
        ids = [] if ending == ".parquet" else args.id
        self.tables = {name: open_table(path, args, strings_of(model, ids)) for name, path in sources.items()}
        for name, table in self.tables.items():
            check_columns(model, table.names, self._args_of(sources[name]))
            check_names(str(sources[name]), args.id, table.names)
        wanted = columns_wanted(model)
        self.columns = None if wanted is None else list(dict.fromkeys([*wanted, *args.id]))
        self._check_types()
        self.written: list[str] = []
        self.told = 0  # of a file, how far the bar knows of it

    def _args_of(self, path: Path) -> argparse.Namespace:
        return argparse.Namespace(**{**vars(self.args), "file": str(path)})

    def _check_types(self) -> None:
        """Refuse a file in which a column is of another kind than in the first."""
        (first, known), *others = ((name, table.kinds(self.columns)) for name, table in self.tables.items())
        for name, kinds in others:
            for column, kind in kinds.items():
                other = known.setdefault(column, kind)
                if kind and other and kind != other:
                    raise UsageError(
                        f"column {column!r} of {self.sources[name]} holds {kind}, and {other} in {first}: files of "
                        "one folder are parts of one table. Write it as one type, or predict it apart."
                    )

    def predict(self) -> list[str]:
        """Write the parts that are not there, and give the names of their columns."""
        total = sum(math.ceil(path.stat().st_size / _KB) for path in self.sources.values())
        with progress("predicting", total, "kB") as bar:
            for name, path in self.sources.items():
                self._predict_file(name, path, bar)
        return self.written

    def _predict_file(self, name: str, path: Path, bar: Progress) -> None:
        before, table, self.told = stamp(path), self.tables[name], 0
        self.manifest.begin(name, before)
        done, n_parts = self.manifest.done(name), 0
        per_part = (self.args.part_rows or PART_ROWS) if self.names.one is not None else sys.maxsize
        read = _read(path, table.batches(self.columns, self.args.batch))
        for number, batches in groupby(_cut(read, per_part), key=lambda cut: cut[0]):
            part, n_parts = self.names.of(path, number), n_parts + 1
            rows = self._told((cut[1:] for cut in batches), table, bar)
            if part in done:
                for _ in rows:
                    pass
                continue
            with replacing(self.manifest.folder / part) as half:
                written = _Counted(self._predicted(path, rows))
                self.write(written, half, table.types(self.args.id))
                if stamp(path) != before:
                    raise UsageError(
                        f"{path} is being written: it changed while it was read. Begin once it is whole."
                    )
            self.manifest.note(name, part, written.rows)
        if not n_parts:
            write_line(f"skmm: {path} has no rows, and gets no part.", sys.stderr)
        self.manifest.end(name)

    def _told(self, batches: Iterator[tuple[int, Any]], table: Any, bar: Progress) -> Iterator[tuple[int, Any]]:
        """Batches, of which the bar is told once what became of them is over."""
        for start, frame in batches:
            yield start, frame
            now = math.ceil(table.at / _KB)
            bar.advance(now - self.told)
            self.told = now

    def _predicted(self, path: Path, batches: Iterator[tuple[int, Any]]) -> Iterator[dict[str, Any]]:
        """Columns that are written of each batch."""
        for start, frame in batches:
            where = f"{path}, rows {start} to {start + len(frame) - 1}"
            try:
                with _placed(where), explained():
                    given = {name: frame[name].to_numpy() for name in self.args.id}
                    found = predictions(
                        *before_last(self.model, of_table(self.model, frame, path, self._args_of(path)))
                    )
            except UsageError as error:
                counted = f" (rows are counted from {start})" if start else ""
                raise UsageError(f"{where}: {error}{counted}") from error
            for name in found.keys() & given.keys():
                raise UsageError(f"--id {name} has the name of a column that is written; rename it.")
            self.written = [*given, *found]
            yield given | found


class _Counted:
    """Parts of a table, and the rows of those that were taken."""

    def __init__(self, parts: Iterator[dict[str, Any]]) -> None:
        self.parts, self.rows = parts, 0

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for columns in self.parts:
            self.rows += len(next(iter(columns.values())))
            yield columns


def _read(path: Path, batches: Iterator[Any]) -> Iterator[Any]:
    with readable(path):
        yield from batches


def _cut(frames: Iterator[Any], rows: int) -> Iterator[tuple[int, int, Any]]:
    """Frames none of which reaches over the end of a part of so many rows, with its number and their first row."""
    start = 0
    for frame in frames:
        while len(frame):
            head, frame = frame.iloc[: rows - start % rows], frame.iloc[rows - start % rows :]
            yield start // rows, start, head.reset_index(drop=True)
            start += len(head)


@contextmanager
def _placed(where: str) -> Iterator[None]:
    """Warnings say of which rows they are."""
    tell = warnings.showwarning

    def placed(message: Any, *rest: Any, **more: Any) -> None:
        tell(f"{where}: {message}", *rest, **more)

    warnings.showwarning = placed
    try:
        yield
    finally:
        warnings.showwarning = tell


def _sources(args: argparse.Namespace) -> dict[str, Path]:
    """The files to predict, by name, after a check of what else lies beside them."""
    given = Path(args.file)
    if args.modality:
        raise UsageError("--modality is for .npz files, and predictions in parts are of tables.")
    if not given.exists():
        raise UsageError(f"there is no file or folder {given}.")
    if args.part_rows and given.is_dir():
        raise UsageError(
            f"--part-rows {args.part_rows} divides one large file, and {given} is a folder, of which each file "
            "becomes one part; leave it out, or predict the files one by one."
        )
    found = [given] if given.is_file() else sorted(given.iterdir())
    found = [
        path for path in found if path == given or not path.name.startswith((".", "_"))
    ]  # marks of other tools
    if not found:
        raise UsageError(f"{given} is empty; it should hold {', '.join(TABLES)} files.")
    folder = next((path for path in found if path.is_dir()), None)
    if folder is not None:
        raise UsageError(f"{given} holds the folder {folder.name}; give a folder of files alone.")
    endings = sorted({path.suffix.lower() for path in found})
    if given.is_file() and endings[0] not in TABLES:
        raise UsageError(
            f"--out {args.out} is a folder, and of {given} predictions are one file; name a file in it."
        )
    if len(endings) > 1 or endings[0] not in TABLES:
        examples = ", ".join(next(path.name for path in found if path.suffix.lower() == e) for e in endings[:3])
        raise UsageError(
            f"{given} holds files of the endings {endings}, such as {examples}: predictions in parts are of files "
            f"of one of {', '.join(TABLES)}."
        )
    options = [f"--{option}" for option in ("sep", "encoding") if getattr(args, option)]
    if options and endings == [".parquet"]:
        raise UsageError(f"{', '.join(options)} needs .csv or .tsv files.")
    return {path.name: path for path in found}


def _place(args: argparse.Namespace) -> Path:
    """The folder of the predictions, apart from what is read."""
    folder, given = Path(args.out), Path(args.file)
    if os.path.lexists(folder) and not folder.is_dir():
        raise UsageError(f"--out {args.out} is a file, and predictions of {args.file} are parts in a folder.")
    if not folder.parent.is_dir():
        raise UsageError(f"--out {args.out}: there is no folder {folder.parent}; make it first.")
    if not folder.is_dir() and folder.suffix.lower() in ENDINGS:
        raise UsageError(
            f"--out {args.out} is called as a file, and predictions of {args.file} are parts in a folder."
        )
    if given.is_dir() and folder.resolve().is_relative_to(given.resolve()):
        raise UsageError(f"--out {args.out} lies in {args.file}, where it would be read; name a folder elsewhere.")
    return folder
