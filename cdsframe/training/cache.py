"""Caches sets of training examples, so that the jobs of a sweep and a resumed run do not search and tokenise again.

A set is a folder named by a digest of all that the examples depend on: an Arrow file of `datasets`, and a manifest with
the file's SHA-256. Tokens can be decoded to text: only the owner can read the folders. Does not build examples.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import logging
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

from cdsframe import __version__, prompt
from cdsframe.artifacts.digests import digest
from cdsframe.artifacts.files import write_json
from cdsframe.artifacts.packaged import make_once
from cdsframe.artifacts.run import read_manifest
from cdsframe.chat import encoding, examination, template, tokens, turns
from cdsframe.chat import format as chat_format
from cdsframe.errors import InputError
from cdsframe.text import sentences, shingles
from cdsframe.training import evidence, examples, left_out, tokenized
from cdsframe.training.examples import ExampleBuilder
from cdsframe.training.left_out import report_left_out
from cdsframe.training.tokenized import TokenizedExamples, opened, tokenize
from cdsframe.types import Question

log = logging.getLogger(__name__)

KEPT = 8
"""Maximum number of sets in a cache folder; the least recently used sets are removed."""
_FORMAT_VERSION = 2
_DAY = 24 * 60 * 60
_FILE = "examples.arrow"
_NOT_RETRIEVED = frozenset({
    "model", "quantization", "lora", "prompt", "contamination", "ingestion", "logger", "optimization",
    "trainer", "training",
})  # fmt: skip
"""Config groups that do not affect which passages are retrieved. The digest depends on all other groups."""
_CODE: tuple[ModuleType, ...] = (
    encoding, chat_format, examination, template, tokens, turns, prompt, sentences, shingles, evidence, examples,
    left_out, tokenized,
)  # fmt: skip
"""Modules whose code makes the examples. The digest depends on it: a set made by other code is not used."""
_NO_FINGERPRINT = "0" * 16
"""Fingerprint of a data set that is not cached."""


def cached(
    folder: str | None, builder: ExampleBuilder, questions: Sequence[Question], identities: Mapping[str, Any]
) -> TokenizedExamples:
    """Returns the questions' examples from the cache; builds them if missing. Logs how many questions give none.

    Args:
        folder: folder of the cache; None: no cache, the examples are built in memory.
        identities: config group -> its component's identity; the digest depends on those that affect retrieval. Not
            read for examples without passages.

    Raises InputError if no question gives an example.
    """
    key = None if folder is None else _key(builder, questions, identities)
    found = None if folder is None or key is None else _from(Path(folder) / key, builder, questions)
    if found is None:
        found = tokenize(builder, questions, None, _NO_FINGERPRINT)
    report_left_out(found.left_out, len(questions), len(found))
    return found


def _from(place: Path, builder: ExampleBuilder, questions: Sequence[Question]) -> TokenizedExamples | None:
    """Returns the examples of the set in folder `place`; builds a missing set. None if the folder cannot be written."""
    try:
        if not place.parent.is_dir():
            place.parent.mkdir(parents=True, mode=0o700)
        found = _opened(place) if place.is_dir() else None
        if found is None:
            made = make_once(place, lambda partial: _write(partial, place.name, builder, questions), private=True)
            found = _opened(made)
            _tidy(place)
        else:
            log.info("read %d examples of %d questions from the cache %s", len(found), len(questions), place)
        with suppress(FileNotFoundError):  # another process removed this set, because there were too many
            os.utime(place)
    except OSError as error:
        reason = error.strerror or "the folder cannot be written"
        log.warning("examples are not cached in %s (%s)", place.parent, reason)
        return None
    return found


def _key(builder: ExampleBuilder, questions: Sequence[Question], identities: Mapping[str, Any]) -> str | None:
    """Returns a digest of all that the examples depend on; None if the tokenizer has no digest."""
    identity = builder.identity
    if identity is None:
        return None
    decides = {group: dict(identities[group]) for group in identities if group not in _NOT_RETRIEVED}
    retrieval = decides if builder.grounded else {}
    settings = json.dumps([identity, retrieval], sort_keys=True, default=str)
    code = (inspect.getsource(module) for module in _CODE)
    versions = (str(_FORMAT_VERSION), __version__, version("tokenizers"))
    return digest(*versions, *code, settings, *map(_as_text, questions))


def _as_text(question: Question) -> str:
    return repr((question.id, question.question, question.answer, question.evidence))


def _opened(place: Path) -> TokenizedExamples | None:
    """Reads the set in a folder. Removes the folder and returns None if it is damaged or has another set's name."""
    import pyarrow

    file = place / _FILE
    try:
        needed = {"key": str, "sha256": str, "left_out": dict}
        manifest = read_manifest(place, "examples", needed=needed, version=_FORMAT_VERSION)
        if (manifest["key"], manifest["sha256"]) == (place.name, _sha256(file)):
            return opened(file, manifest["left_out"])
    except (InputError, OSError, pyarrow.ArrowInvalid):
        pass
    log.warning("the cached examples in %s are damaged; they are built again", place)
    shutil.rmtree(place, ignore_errors=True)
    return None


def _write(folder: Path, key: str, builder: ExampleBuilder, questions: Sequence[Question]) -> None:
    made = tokenize(builder, questions, folder / _FILE, key)
    manifest = {"format_version": _FORMAT_VERSION, "key": key, "left_out": made.left_out}
    write_json(folder / "manifest.json", manifest | {"sha256": _sha256(folder / _FILE)})


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _tidy(newest: Path) -> None:
    """Removes the least recently used sets, and the partial folders of processes killed more than a day ago."""
    key = "[0-9a-f]" * 16
    sets = [place for place in newest.parent.glob(key) if (place / _FILE).is_file()]
    sets.sort(key=_used, reverse=True)
    left = [
        partial for partial in newest.parent.glob(f".{key}.????????.partial*") if _used(partial) < time.time() - _DAY
    ]
    for place in [*(place for place in sets[KEPT:] if place != newest), *left]:
        shutil.rmtree(place, ignore_errors=True)
        place.with_suffix(".lock").unlink(missing_ok=True)


def _used(place: Path) -> float:
    """Returns the time of a set's last use, in seconds; 0 if another process has just removed the set."""
    try:
        return place.stat().st_mtime
    except FileNotFoundError:
        return 0
