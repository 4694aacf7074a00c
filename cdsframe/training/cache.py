"""Training examples kept on disk, so that the jobs of a sweep and a resumed run do not retrieve and tokenise again.

One folder a digest of all that the examples depend on: an Arrow stream, which is memory-mapped when it is read, and a
manifest with its SHA-256. Tokens are text: the folders are their owner's alone. Does not build examples.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import logging
import os
import shutil
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, overload

from cdsframe import __version__, prompt
from cdsframe.artifacts.digests import digest
from cdsframe.artifacts.files import write_json
from cdsframe.artifacts.packaged import make_once
from cdsframe.artifacts.run import read_manifest
from cdsframe.chat import encoding, examination, template, tokens, turns
from cdsframe.chat import format as chat_format
from cdsframe.chat.encoding import IGNORED, Encoded
from cdsframe.errors import InputError
from cdsframe.text import shingles
from cdsframe.training import evidence, examples
from cdsframe.training.examples import Example, ExampleBuilder, tell_left_out
from cdsframe.types import Question

if TYPE_CHECKING:
    import pyarrow

log = logging.getLogger(__name__)

KEPT = 8
"""Sets of examples in a folder; of more, those that were not used for longest are removed."""
_FORMAT_VERSION = 1
_AT_ONCE = 1024
"""Examples that are held in memory while they are written."""
_DAY = 24 * 60 * 60
_FILE = "examples.arrow"
_NOT_RETRIEVED = frozenset({
    "model", "quantization", "lora", "prompt", "contamination", "ingestion", "logger", "trainer", "training",
})  # fmt: skip
"""The groups that do not decide what is retrieved; a group that is added later does, until it stands here."""
_CODE: tuple[ModuleType, ...] = (
    encoding, chat_format, examination, template, tokens, turns, prompt, shingles, evidence, examples,
)  # fmt: skip
"""What makes examples: kept ones are those of the same code."""


def cached(
    folder: str | None, builder: ExampleBuilder, questions: Sequence[Question], identities: Mapping[str, Any]
) -> Sequence[Example]:
    """`builder.build(questions)`, kept in `folder`; None: built, and not kept.

    Args:
        identities: group -> what its component is known by; those that decide what is retrieved are in the digest.

    Raises InputError where no example is left.
    """
    key = None if folder is None else _key(builder, questions, identities)
    if folder is None or key is None:
        return builder.build(questions)
    place = Path(folder) / key
    try:
        if not Path(folder).is_dir():
            Path(folder).mkdir(parents=True, mode=0o700)
        kept = _opened(place) if place.is_dir() else None
        if kept is None:
            make_once(place, lambda partial: _write(partial, key, builder, questions))
            kept = _opened(place)
            _tidy(place)
        else:
            log.info("%d examples of %d questions read from %s", len(kept), len(questions), place)
        with suppress(FileNotFoundError):  # another process found too many
            os.utime(place)
    except OSError as error:
        log.warning("examples are not kept in %s (%s)", folder, error.strerror or "the folder cannot be written")
        kept = None
    if kept is None:
        return builder.build(questions)
    tell_left_out(kept.left_out, len(questions), len(kept))
    return kept


class KeptExamples(Sequence[Example]):
    """Examples in a file that is mapped into memory: each is read when it is asked for."""

    def __init__(self, table: pyarrow.Table, left_out: Mapping[str, int]) -> None:
        self._ids, self._tokens, self._labelled = table.columns
        self.left_out = left_out

    def __len__(self) -> int:
        return len(self._ids)

    @overload
    def __getitem__(self, number: int) -> Example: ...

    @overload
    def __getitem__(self, number: slice) -> list[Example]: ...

    def __getitem__(self, number: int | slice) -> Example | list[Example]:
        if isinstance(number, slice):
            return [self[n] for n in range(*number.indices(len(self)))]
        tokens = self._tokens[number].values.to_numpy()
        labelled = self._labelled[number].values.to_numpy(zero_copy_only=False)
        labels = tokens.copy()
        labels[~labelled] = IGNORED
        return Example(self._ids[number].as_py(), Encoded(tokens.tolist(), labels.tolist()))


def _key(builder: ExampleBuilder, questions: Sequence[Question], identities: Mapping[str, Any]) -> str | None:
    """The digest of all that the examples depend on; None where it cannot be told."""
    identity = builder.identity
    if identity is None:
        return None
    decides = {group: dict(identities[group]) for group in identities if group not in _NOT_RETRIEVED}
    retrieval = decides if builder.grounded else {}
    settings = json.dumps([identity, retrieval], sort_keys=True, default=str)
    code = (inspect.getsource(module) for module in _CODE)
    return digest(str(_FORMAT_VERSION), __version__, *code, settings, *map(_as_text, questions))


def _as_text(question: Question) -> str:
    return repr((question.id, question.question, question.answer, question.evidence))


def _opened(place: Path) -> KeptExamples | None:
    """The examples in a folder; None where it is damaged, or not what its name says: it is removed then."""
    import pyarrow

    file = place / _FILE
    try:
        needed = {"key": str, "sha256": str, "left_out": dict}
        manifest = read_manifest(place, "examples", needed=needed, version=_FORMAT_VERSION)
        if (manifest["key"], manifest["sha256"]) == (place.name, _sha256(file)):
            table = pyarrow.ipc.open_stream(
                pyarrow.memory_map(str(file))
            ).read_all()  # which maps it as long as it lives
            return KeptExamples(table, manifest["left_out"])
    except (InputError, OSError, pyarrow.ArrowInvalid):
        pass
    log.warning("the examples in %s are damaged; they are made again", place)
    shutil.rmtree(place, ignore_errors=True)
    return None


def _write(folder: Path, key: str, builder: ExampleBuilder, questions: Sequence[Question]) -> None:
    """Fills a folder, with few examples in memory at a time."""
    import pyarrow

    left_out: Counter[str] = Counter()
    columns = {"id": pyarrow.string(), "input_ids": pyarrow.list_(pyarrow.int32())}
    schema = pyarrow.schema({**columns, "labelled": pyarrow.list_(pyarrow.bool_())})
    file = folder / _FILE
    with pyarrow.OSFile(str(file), "wb") as sink, pyarrow.ipc.new_stream(sink, schema) as writer:
        for some in _batches(builder.stream(questions, left_out)):
            rows = [
                [example.id for example in some],
                [example.encoded.input_ids for example in some],
                [[label != IGNORED for label in example.encoded.labels] for example in some],
            ]
            writer.write_batch(pyarrow.record_batch(rows, schema=schema))
    manifest = {"format_version": _FORMAT_VERSION, "key": key, "sha256": _sha256(file), "left_out": left_out}
    write_json(folder / "manifest.json", manifest)


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _batches(stream: Iterable[Example]) -> Iterator[list[Example]]:
    iterator = iter(stream)
    while some := list(islice(iterator, _AT_ONCE)):
        yield some


def _tidy(newest: Path) -> None:
    """Removes the sets that were not used for longest, and what killed writers left long ago."""
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
    """When, in seconds; 0 where another process has just removed it."""
    try:
        return place.stat().st_mtime
    except FileNotFoundError:
        return 0
