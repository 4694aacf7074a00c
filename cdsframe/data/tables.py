"""Reads rows of local files: CSV, Parquet and Arrow through `datasets`, JSON and JSON Lines strictly.

The library streams, so that it writes no row to its cache. The library's JSON reader is not used: it
guesses types (an answer 2024-03-01 becomes a time) and fails if a field first occurs after 10 MB.
"""

from __future__ import annotations

import csv
import re
import zlib
from collections.abc import Iterator, Mapping
from glob import escape
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from cdsframe.artifacts.datasets_output import library_output
from cdsframe.artifacts.files import expanded, open_text, parse_object, read_jsonl
from cdsframe.data.splits import USUAL_NAMES
from cdsframe.errors import InputError, near_miss

if TYPE_CHECKING:
    import datasets

_KINDS = {
    ".jsonl": "json", ".ndjson": "json", ".json": "json", ".csv": "csv", ".tsv": "csv", ".parquet": "parquet",
    ".arrow": "arrow",
}  # fmt: skip
"""Suffix of a file's name (without `.gz`) -> format."""
_DESCRIPTIONS = frozenset({"dataset_info.json", "dataset_dict.json", "state.json"})
"""Files that `save_to_disk` writes beside the rows."""
_LONGEST_NAME = 40
"""Maximum length, in characters, of a column name in a message. A longer one may be a row's text (no header)."""


def table_files(path: str) -> list[Path]:
    """Returns the file, or all readable files of a folder and its subfolders, sorted.

    Raises InputError if there is no readable file, or if the file's suffix is unknown.
    """
    found = expanded(path)
    files = sorted(file for file in found.rglob("*") if _is_table(file, found)) if found.is_dir() else [found]
    if not files:
        raise InputError(f"data: the folder {path} has no file that can be read ({', '.join(_KINDS)})")
    if not files[0].is_file():
        raise InputError(f"data: no file or folder {path} (paths are relative to the working folder)")
    if _kind(files[0]) is None:
        raise InputError(f"data: {path} has an unknown suffix; expected one of {', '.join(_KINDS)}")
    return files


def split_in_name(file: Path) -> str | None:
    """Returns the split that starts a file's name (`train-00000-of-00002.parquet`) or its folder's name; else None."""
    for name in (file.name, file.parent.name):
        if found := USUAL_NAMES.get(re.split(r"[^a-z]", name.lower(), maxsplit=1)[0]):
            return found
    return None


class RowFile:
    """The rows of one file."""

    def __init__(self, file: Path) -> None:
        self._file, self._kind = file, _kind(file)
        self.columns: list[str] = []
        """Names of the columns; empty before rows are read."""

    def rows(self, wanted: Mapping[str, str]) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yields pairs: a row's place (file and row number, for error messages), and its values by name.

        Args:
            wanted: name of a value -> its column; the option `data.NAME` sets the column.

        Raises InputError if the file is empty or damaged, or lacks a column.
        """
        if not self._file.stat().st_size:
            raise InputError(f"data: {self._file} is empty")
        found = self._json(wanted) if self._kind == "json" else self._library(wanted)
        if not found:
            raise InputError(f"data: {self._file} has no rows")
        for place, row in found:
            yield f"data: {self._file}, {place}", {name: row.get(column) for name, column in wanted.items()}

    def _json(self, wanted: Mapping[str, str]) -> list[tuple[str, dict[str, Any]]]:
        listed = self._json_list()
        found = [(f"line {n}", row) for n, row in read_jsonl(self._file, "data")] if listed is None else listed
        self._require(dict.fromkeys(key for _, row in found for key in row), wanted if found else {})
        return found

    def _json_list(self) -> list[tuple[str, dict[str, Any]]] | None:
        """Returns the objects of a file that contains one list; None for another file."""
        try:
            with open_text(self._file) as stream:
                if not (start := stream.read(4096).lstrip()).startswith("["):
                    return None
                rows = parse_object(f'{{"rows": {start}{stream.read()}}}')["rows"]
        except (UnicodeDecodeError, OSError, EOFError, zlib.error):
            return None  # `read_jsonl` reports the reason
        except ValueError as error:
            raise InputError(f"data: {self._file} is {error}") from None
        if wrong := [number for number, row in enumerate(rows, start=1) if not isinstance(row, dict)]:
            raise InputError(f"data: {self._file}, row {wrong[0]}: not a JSON object")
        return [(f"row {number}", row) for number, row in enumerate(rows, start=1)]

    def _library(self, wanted: Mapping[str, str]) -> list[tuple[str, dict[str, Any]]]:
        import pyarrow

        with TemporaryDirectory() as cache, library_output(progress=False):
            try:
                rows = self._opened(cache)
                self._require(dict.fromkeys(rows.column_names or []), wanted)
                chosen = rows.select_columns(list(dict.fromkeys(wanted.values())))
                # Reads all rows at once: the library closes a file only after its last row.
                return [(f"row {number}", dict(row)) for number, row in enumerate(chosen, start=1)]
            except (OSError, ValueError, EOFError, zlib.error, csv.Error, pyarrow.ArrowException):
                raise InputError(
                    f"data: {self._file} cannot be read as {self._kind}: it is damaged, or of another kind or encoding"
                ) from None

    def _opened(self, cache: str) -> datasets.Dataset | datasets.IterableDataset:
        import datasets
        import pyarrow

        given: dict[str, Any] = {"cache_dir": cache, "streaming": True}
        if self._kind == "parquet":
            return datasets.Dataset.from_parquet(escape(str(self._file)), **given)
        if self._kind == "csv":  # every value is text: "NA" is not a missing value, and 007 not a number
            separator, header = self._header()
            features = datasets.Features(dict.fromkeys(header, datasets.Value("string")))
            given |= {"sep": separator, "keep_default_na": False, "features": features}
            return datasets.Dataset.from_csv(escape(str(self._file)), **given)
        mapped = pyarrow.memory_map(str(self._file))
        try:
            return datasets.Dataset(pyarrow.ipc.open_stream(mapped).read_all())
        except pyarrow.ArrowInvalid:
            return datasets.Dataset(pyarrow.ipc.open_file(mapped).read_all())

    def _header(self) -> tuple[str, list[str]]:
        """Returns a CSV file's separator and columns.

        Raises InputError if the first row has more values than the header: pandas would read the first as an index.
        """
        with open_text(self._file) as stream:
            start = stream.readline()
            separator = "\t" if ".tsv" in self._file.name.lower() else max(",;\t", key=start.count)
            header = next(csv.reader([start], delimiter=separator), [])
            first = next((row for row in csv.reader(stream, delimiter=separator) if row), [])
        if len(first) > len(header):
            raise InputError(f"data: {self._file}, row 1: {len(first)} values, but the header has {len(header)}")
        return separator, header

    def _require(self, columns: Mapping[str, Any], wanted: Mapping[str, str]) -> None:
        self.columns = list(columns)
        shown = [ascii(name)[1:-1] for name in columns if len(name) <= _LONGEST_NAME]
        more = len(columns) - len(shown)
        for name, column in wanted.items():
            if column not in columns:
                hint = near_miss(column, shown)
                near = f"{hint} It has" if hint.startswith("did you mean") else "it has"
                raise InputError(
                    f"data: {self._file}: no column {column}; {near} {', '.join(shown) or 'none'}"
                    + (f" and {more} with longer names" if more else "")
                    + f"; set data.{name}"
                )


def _kind(file: Path) -> str | None:
    name = file.name.lower().removesuffix(".gz")
    return _KINDS.get(Path(name).suffix)


def _is_table(file: Path, folder: Path) -> bool:
    hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)
    return not hidden and file.name not in _DESCRIPTIONS and _kind(file) is not None and file.is_file()
