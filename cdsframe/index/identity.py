"""Raises errors for an index that is damaged or was built with other settings than the configuration's.

Does not read an index's content.
"""

from __future__ import annotations

import errno
import re
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cdsframe.artifacts.identity import differences
from cdsframe.artifacts.run import read_manifest
from cdsframe.errors import ConfigError, IndexMismatchError, InputError
from cdsframe.metadata import METADATA_GROUP, STANDARD_FIELDS, known_fields

FORMAT_VERSION = 3
"""Version 3 indexes texts in their search form. An index of version 2 must be rebuilt before searches and writes."""

READABLE = (2, FORMAT_VERSION)

_FORM = "search_form"
_FORM_VERSION = 1
"""Increased with every change of `cdsframe.text.search_form` that changes an index's content."""

Identity = Mapping[str, Mapping[str, Any]]
"""Group (`embedder`, `chunking`) -> settings that determine the index's content; readers ignore an empty group."""


def with_form(identity: Identity) -> Identity:
    """Adds the version of the search form in which texts are indexed and embedded."""
    return {**identity, _FORM: {"version": _FORM_VERSION}}


def require_same(index: str, made: Identity, asked: Identity, *, writing: bool = False, path: str = "") -> None:
    """Raises IndexMismatchError if the settings differ; the message names each key, both values and the fix.

    A reader compares only groups present on both sides: it may lack the chunking, and for BM25 the embedder. A writer
    compares all of its groups.

    Args:
        made: the settings that the index was built with.
        asked: the configuration's settings.
        path: `index.path`, for the command in the message; "" for an index that is not in a folder.
    """
    if made.get(_FORM, {}) != asked.get(_FORM, {}):
        place = f"{_override('index.path', path)} " if path else ""
        raise IndexMismatchError(
            f"the index {index} was built by another version of cdsframe, which normalised texts differently; rebuild "
            f"it in place: python ingest.py ingestion=rebuild index.name={index} {place}{_settings(made)}"
        )
    different = []
    declared, stored = (list(known_fields(identity)[len(STANDARD_FIELDS) :]) for identity in (asked, made))
    if declared != stored:
        different.append(f"metadata_fields is {declared} in the configuration and {stored} in the index")
    for group in sorted(asked.keys() - {METADATA_GROUP}):
        mine, its = asked[group], made.get(group, {})
        if not writing and not (mine and its):
            continue
        different += [
            f"{group}.{key} is {here!r} in the configuration and {there!r} in the index"
            for key, (here, there) in differences(mine, its).items()
        ]
    if different:
        fix = "ingest into another index.name" if writing else "ingest again into another index.name"
        raise IndexMismatchError(
            f"the index {index} was built with other settings: {'; '.join(different)}; use the settings of the index, "
            f"or {fix}"
        )


def _settings(made: Identity) -> str:
    """The Hydra overrides that reproduce an index's settings, as far as the index stores them."""
    found = ["index=elasticsearch"] if "index" in made else []
    chunking, embedder = made.get("chunking", {}), made.get("embedder", {})
    for key, value in chunking.items():
        written = f"[{','.join(map(str, value))}]" if isinstance(value, list) else "null" if value is None else value
        found.append(f"chunking={value}" if key == "name" else f"'chunking.{key}={written}'")
    found.append(f"embedder.name={embedder['name']}" if "name" in embedder else "embedder=none")
    if METADATA_GROUP in made:
        found.append(f"'metadata_fields=[{','.join(known_fields(made)[len(STANDARD_FIELDS) :])}]'")
    return " ".join([*found, "corpus=KIND corpus.path=PATH"])


def _override(key: str, value: str) -> str:
    """A Hydra override for an arbitrary value, quoted for the shell."""
    plain = re.fullmatch(r"[\w./-]+", value)
    text = value if plain else '"' + re.sub(r'(\\*)("|$)', lambda m: m[1] * 2 + ('\\"' if m[2] else ""), value) + '"'
    return shlex.quote(f"{key}={text}")


def require_dimension(index: str, dimension: int | None, vector: int | None) -> None:
    """Raises IndexMismatchError if the vectors' length `vector` is not the index's `dimension`. None: no vectors."""
    if dimension == vector:
        return
    if dimension is None:
        raise IndexMismatchError(
            f"the index {index} has no vectors (it was built with embedder=none); use retriever=bm25, or ingest into "
            "another index.name with an embedder"
        )
    had = "no vectors were given" if vector is None else f"vectors of dimension {vector} were given"
    raise IndexMismatchError(
        f"the index {index} has vectors of dimension {dimension}, {had}; use the embedder it was built with, or "
        "ingest into another index.name"
    )


def manifest_of(folder: Path) -> dict[str, Any]:
    """The manifest of the index in a folder. Raises IndexMismatchError if it is damaged or of another format."""
    needed = {
        "identity": dict, "dimension": int | None, "digest": str, "records": dict, "table": str, "table_version": int,
        "optimized": bool,
    }  # fmt: skip
    try:
        return read_manifest(folder, "index", f"delete {folder} and ingest again", needed, FORMAT_VERSION, READABLE)
    except InputError as error:
        raise IndexMismatchError(str(error)) from None


def damaged(folder: Path, fault: str) -> ConfigError:
    """Error for a damaged index; `fault` says what is missing."""
    return ConfigError(f"index: {folder} is damaged: {fault}; delete {folder} and ingest again")


@contextmanager
def explained(folder: Path) -> Iterator[None]:
    """Converts LanceDB's RuntimeErrors: for a full disk to OSError, for missing or truncated files to ConfigError."""
    try:
        yield
    except RuntimeError as error:
        if "No space left" in str(error) or "os error 28" in str(error):
            raise OSError(errno.ENOSPC, "no space left", str(folder)) from None
        if "Not found" in str(error) or "file size is too small" in str(error):
            raise damaged(folder, "its table files are missing or truncated") from None
        raise
