"""What commands write: nothing is written over unless that is said, and no file is left half-written."""

from __future__ import annotations

import csv
import json
import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from skmm.cli._errors import UsageError

# bytes of a file that is looked at for an earlier result
_MAX_RESULT = 2**24


def check_new(option: str, out: str, read: list[str], endings: list[str], *, force: bool) -> Path:
    """The file to be written, after all has been looked at that would stop it once the work is done.

    Parameters
    ----------
    option, out : str
        The option, for messages, and the file that it names.
    read : list of str
        Files that the work reads, which are written over by no means.
    endings : list of str
        How the file may end.
    force : bool
        Whether another file may be written over.
    """
    path = Path(out)
    if path.is_dir():
        raise UsageError(f"{option} {out} is a folder; name a file in it, such as {path / ('new' + endings[0])}.")
    if path.suffix.lower() not in endings:
        raise UsageError(f"{option} {out} must end in one of {endings}.")
    if not path.parent.is_dir():
        raise UsageError(f"{option} {out}: there is no folder {path.parent}; make it first.")
    if os.path.lexists(path):
        if any(os.path.exists(file) and os.path.exists(path) and os.path.samefile(path, file) for file in read):
            raise UsageError(f"{option} {out} is a file that is read; name another.")
        if not force:
            raise UsageError(f"{option} {out} exists; name another, or write over it with --force.")
    if not os.access(path.parent, os.W_OK):
        raise UsageError(f"{option} {out} cannot be written: {path.parent} is read-only for you.")
    return path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file beside another, with the same ending, that takes its place once it is whole."""
    part = path.with_name(f".{path.stem[:100]}.{secrets.token_hex(8)}.part{path.suffix}")
    try:
        yield part
        with part.open("rb") as stream:
            os.fsync(stream.fileno())  # or a crash of the machine leaves the name of a file that is not there
        os.replace(part, path)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror or error}.") from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


@contextmanager
def output(option: str, out: str | None, read: list[str]) -> Iterator[Callable[[str], None]]:
    """What writes the text file that an option names, which is opened before the work begins.

    Nothing is written over but an earlier result: what is read, such as the files that a table names, may have many
    names. A file that is new is removed again where the work fails.

    Parameters
    ----------
    option : str
        The option, for messages.
    out : str or None
        The file; without one nothing is written.
    read : list of str
        The files that the work reads.
    """
    if out is None:
        yield lambda text: None
        return
    path = Path(out)
    there = os.path.exists(path)  # False too of a name that cannot be
    if there and any(os.path.exists(file) and os.path.samefile(path, file) for file in read):
        raise UsageError(f"{option} {out} is the file that is read; name another.")
    if there and path.is_file() and not _is_result(path):
        raise UsageError(f"{option} {out} exists and holds no earlier result; remove it, or name another.")
    if not there and not path.parent.is_dir():
        raise UsageError(f"{option} {out}: there is no folder {path.parent}.")
    try:
        file = open(path, "a", encoding="utf-8")  # noqa: SIM115  # closed below, before the file may be removed
    except OSError as error:
        raise UsageError(f"{option} {out} cannot be written: {error.strerror or error}.") from error
    done = False

    def write(text: str) -> None:
        nonlocal done
        try:
            if path.is_file():
                file.truncate(0)
            file.write(text)
            file.flush()
        except OSError as error:
            raise UsageError(f"{option} {out} cannot be written: {error.strerror or error}.") from error
        done = True

    try:
        yield write
    finally:
        with suppress(OSError):  # of what `write` has told
            file.close()
        if not there and not done:
            os.unlink(os.path.realpath(path))  # not the link that leads to it


def _is_result(path: Path) -> bool:
    """Whether a file is empty or holds what the command writes."""
    try:
        content = path.read_bytes() if path.stat().st_size < _MAX_RESULT else b"too large"
        found = json.loads(content) if content else {"metric": "", "summary": []}
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(found, dict) and {"metric", "summary"} <= found.keys()


def as_json(found: dict[str, object]) -> str:
    """A result as JSON, which has no NaN: a score that is none is null."""
    strict = json.loads(json.dumps(found), parse_constant=lambda _: None)
    return json.dumps(strict, indent=2) + "\n"


# -- tables, of which the rows come part by part ------------------------------------------------------------------


def write_text(parts: Iterable[Mapping[str, Any]], path: Path, types: Mapping[str, Any] | None = None) -> None:
    """Columns as .csv or .tsv, nothing in the place of what is missing."""
    with path.open("x", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
        for number, columns in enumerate(parts):
            if number == 0:
                writer.writerow(columns)
            writer.writerows(zip(*(_cells(values) for values in columns.values()), strict=True))


def _cells(values: Any) -> list[Any]:
    """Cells of a column, nothing for what is missing."""
    from skmm._missing import is_missing

    return ["" if is_missing(cell) else cell for cell in values.tolist()]


def write_parquet(parts: Iterable[Mapping[str, Any]], path: Path, types: Mapping[str, Any] | None = None) -> None:
    """Columns as .parquet, some of the types of pyarrow that are given, the others of those of the first part."""
    from skmm._optional import import_optional

    arrow = import_optional("pyarrow", extra="dataframe")
    parquet = import_optional("pyarrow.parquet", extra="dataframe")
    known = dict(types or {})
    writer = None
    try:
        for columns in parts:
            arrays = {name: arrow.array(v, type=known.get(name), from_pandas=True) for name, v in columns.items()}
            table = arrow.table(arrays)
            if writer is None:
                known = {name: array.type for name, array in arrays.items()}
                writer = parquet.ParquetWriter(path, table.schema)
            writer.write_table(table)
    finally:
        if writer is not None:
            writer.close()
