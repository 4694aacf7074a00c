"""Refusing an index that was made with other settings than the configuration has, or that is damaged.

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

from cdsframe.artifacts.run import read_manifest
from cdsframe.errors import ConfigError, IndexMismatchError, InputError

FORMAT_VERSION = 3
"""3: texts are indexed in their search form. An index of the format before can be read by a rebuild only."""

READABLE = (2, FORMAT_VERSION)

_FORM = "search_form"
_FORM_VERSION = 1
"""Rises with every change of `cdsframe.text.search_form` that changes what an index holds."""

Identity = Mapping[str, Mapping[str, Any]]
"""Group (`embedder`, `chunking`) -> the settings that the index's content depends on; an empty group: none."""


def with_form(identity: Identity) -> Identity:
    """The settings with the version of the form in which texts are indexed and embedded."""
    return {**identity, _FORM: {"version": _FORM_VERSION}}


def require_same(index: str, made: Identity, asked: Identity, *, writing: bool = False, path: str = "") -> None:
    """Raises IndexMismatchError that names each key that differs, both values, and how to fix it.

    A reader is compared in the groups that both sides have (an index is read without knowing its chunking, and by
    words without its embedder); a writer in all of its own. `path`: the folder that holds the indexes, if one does.
    """
    if made.get(_FORM, {}) != asked.get(_FORM, {}):
        place = f"{_override('index.path', path)} " if path else ""
        raise IndexMismatchError(
            f"the index {index} was made by another version of cdsframe, which indexed texts in another form; to make "
            f"it anew in its place: python ingest.py ingestion=rebuild index.name={index} {place}{_settings(made)}"
        )
    different = []
    for group in sorted(asked):
        mine, its = asked[group], made.get(group, {})
        if not writing and not (mine and its):
            continue
        different += [
            f"{group}.{key} is {mine.get(key)!r} in the configuration and {its.get(key)!r} in the index"
            for key in sorted({*mine, *its})
            if mine.get(key) != its.get(key)
        ]
    if different:
        fix = "ingest into another index.name" if writing else "ingest again into another index.name"
        raise IndexMismatchError(
            f"the index {index} was made with other settings: {'; '.join(different)}; use the settings of the index, "
            f"or {fix}"
        )


def _settings(made: Identity) -> str:
    """The overrides by which an index was made, as far as it knows them."""
    found = ["index=elasticsearch"] if "index" in made else []
    chunking, embedder = made.get("chunking", {}), made.get("embedder", {})
    for key, value in chunking.items():
        written = f"[{','.join(map(str, value))}]" if isinstance(value, list) else "null" if value is None else value
        found.append(f"chunking={value}" if key == "name" else f"'chunking.{key}={written}'")
    found.append(f"embedder.name={embedder['name']}" if "name" in embedder else "embedder=none")
    return " ".join([*found, "corpus=KIND corpus.path=PATH"])


def _override(key: str, value: str) -> str:
    """An override for Hydra with a value of any characters, quoted for the shell."""
    plain = re.fullmatch(r"[\w./-]+", value)
    text = value if plain else '"' + re.sub(r'(\\*)("|$)', lambda m: m[1] * 2 + ('\\"' if m[2] else ""), value) + '"'
    return shlex.quote(f"{key}={text}")


def require_dimension(index: str, dimension: int | None, vector: int | None) -> None:
    """Raises IndexMismatchError where vectors of length `vector` do not fit an index of length `dimension`."""
    if dimension == vector:
        return
    if dimension is None:
        raise IndexMismatchError(
            f"the index {index} holds no vectors (it was made with embedder=none); use retriever=bm25, or ingest into "
            "another index.name with an embedder"
        )
    had = "no vectors were given" if vector is None else f"vectors of dimension {vector} were given"
    raise IndexMismatchError(
        f"the index {index} holds vectors of dimension {dimension}, {had}; use the embedder it was made with, or "
        "ingest into another index.name"
    )


def manifest_of(folder: Path) -> dict[str, Any]:
    """The manifest of the index in a folder. Raises IndexMismatchError where it is damaged or of another format."""
    needed = {
        "identity": dict, "dimension": int | None, "digest": str, "records": dict, "table": str, "table_version": int,
        "optimized": bool,
    }  # fmt: skip
    try:
        return read_manifest(folder, "index", f"delete {folder} and ingest again", needed, FORMAT_VERSION, READABLE)
    except InputError as error:
        raise IndexMismatchError(str(error)) from None


def damaged(folder: Path, fault: str) -> ConfigError:
    """Error for an index that has a manifest but no table."""
    return ConfigError(f"index: {folder} is damaged: {fault}; delete {folder} and ingest again")


@contextmanager
def explained(folder: Path) -> Iterator[None]:
    """Turns LanceDB's RuntimeError into an error for a full disk or missing files."""
    try:
        yield
    except RuntimeError as error:
        if "No space left" in str(error) or "os error 28" in str(error):
            raise OSError(errno.ENOSPC, "no space left", str(folder)) from None
        if "Not found" in str(error) or "file size is too small" in str(error):
            raise damaged(folder, "files of its table are gone or cut off") from None
        raise
