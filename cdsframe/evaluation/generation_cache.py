"""Keeps generated texts, so that a killed evaluation resumes and the same evaluation is not computed twice.

A text is stored under a digest of what decides it: the weights of model and adapter, quantization, precision, versions
of the libraries, decoding settings and the prompt's tokens, which contain question and passages. In bfloat16, the other
texts of its batch may change it too. Does not decide what is asked.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from cdsframe.contracts import Generator
from cdsframe.errors import InputError
from cdsframe.types import Generation, Message

_WAIT = 60.0
"""Seconds to wait for another process that writes."""


@runtime_checkable
class KeyedGenerator(Generator, Protocol):
    """A generator that can name an answer before it computes it."""

    batch_size: int
    """Number of conversations that it computes at once."""

    def keys(self, conversations: Sequence[Sequence[Message]]) -> list[str]:
        """For each conversation, a digest of all that decides its answer."""


class GenerationCache:
    """Generated texts by key, in an SQLite file that only its owner can read.

    Raises InputError if the file is damaged, or cannot be written.
    """

    def __init__(self, folder: str | Path) -> None:
        self._path = Path(folder) / "generations.sqlite"

    def read(self, keys: Sequence[str]) -> dict[str, Generation]:
        """Key -> text, for the keys that are stored."""
        with self._open() as database:
            rows = (database.execute("SELECT value FROM generations WHERE key = ?", [key]).fetchone() for key in keys)
            return {key: _generation(json.loads(row[0])) for key, row in zip(keys, rows, strict=True) if row}

    def write(self, found: Mapping[str, Generation]) -> None:
        """Stores texts; they are on disk when this returns."""
        rows = [(key, json.dumps(_values(one))) for key, one in found.items()]
        with self._open() as database, database:
            database.executemany("INSERT OR REPLACE INTO generations VALUES (?, ?)", rows)

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            place = os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o600)
            try:
                os.fchmod(place, 0o600)
            finally:
                os.close(place)
            database = sqlite3.connect(self._path, timeout=_WAIT)
            try:
                database.execute("CREATE TABLE IF NOT EXISTS generations (key TEXT PRIMARY KEY, value TEXT)")
                yield database
            finally:
                database.close()
        except (sqlite3.Error, OSError) as error:
            reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
            raise InputError(self._unusable(reason)) from None
        except (ValueError, KeyError, TypeError, RecursionError):
            raise InputError(self._unusable("it holds something else than generated texts")) from None

    def _unusable(self, reason: str) -> str:
        return (
            f"evaluation.cache: {self._path} cannot be used: {reason}; free disk space, delete the file if it is "
            "damaged, or set evaluation.cache=null"
        )


class CachedGenerator:
    """A generator that reads stored texts, and stores each batch of new ones before it computes the next.

    A read text keeps the seconds that were measured when it was computed.
    """

    generates = True

    def __init__(self, generator: KeyedGenerator, store: GenerationCache) -> None:
        self._generator, self._store = generator, store
        self.uses_model, self.name = generator.uses_model, generator.name
        self.max_new_tokens, self.temperature = generator.max_new_tokens, generator.temperature

    def load(self) -> None:
        """Does nothing: the model is loaded when a text is missing."""

    def count(self, messages: Sequence[Message]) -> int:
        return self._generator.count(messages)

    def generate(self, conversations: Sequence[Sequence[Message]]) -> list[Generation]:
        from tqdm import tqdm

        keys = self._generator.keys(conversations)
        found = self._store.read(keys)
        missing = {key: messages for key, messages in zip(keys, conversations, strict=True) if key not in found}
        order = sorted(missing, key=lambda key: self._generator.count(missing[key]), reverse=True)
        size, known = self._generator.batch_size, len(keys) - len(order)
        if order:
            self._generator.load()  # so that the seconds are those of answering
        with tqdm(total=len(keys), initial=known, desc="answers", unit="", disable=len(order) <= size) as bar:
            for first in range(0, len(order), size):
                batch = order[first : first + size]
                new = dict(zip(batch, self._generator.generate([missing[key] for key in batch]), strict=True))
                self._store.write(new)
                found |= new
                bar.update(len(batch))
        return [found[key] for key in keys]

    def stream(self, messages: Sequence[Message]) -> Iterator[str | Generation]:
        return self._generator.stream(messages)


def cached(generator: Generator, folder: str | None) -> Generator:
    """The generator with stored texts in a folder; unchanged without a folder, or if it has no keys."""
    if folder is None or not isinstance(generator, KeyedGenerator):
        return generator
    return CachedGenerator(generator, GenerationCache(folder))


def _values(one: Generation) -> dict[str, object]:
    return {
        "text": one.text,
        "log_probabilities": one.log_probabilities,
        "prompt_tokens": one.prompt_tokens,
        "completion_tokens": one.completion_tokens,
        "finish_reason": one.finish_reason,
        "seconds": one.seconds,
    }


def _generation(values: dict[str, Any]) -> Generation:
    """Raises ValueError, KeyError or TypeError if the values are no stored text."""
    text, given, reason, seconds = (values[key] for key in ("text", "log_probabilities", "finish_reason", "seconds"))
    if not isinstance(text, str) or reason not in ("stop", "length"):
        raise ValueError("not a stored text")
    return Generation(
        text,
        None if given is None else tuple(map(float, given)),
        int(values["prompt_tokens"]),
        int(values["completion_tokens"]),
        reason,
        None if seconds is None else float(seconds),
    )
