"""Keeps generated texts, so that a killed evaluation resumes and the same evaluation is not computed twice.

A text is stored under a digest of what decides it: the weights of model and adapter, quantization, precision, versions
of the libraries, decoding settings and the prompt's tokens, which contain question and passages. In bfloat16, the other
texts of its batch may change it too. Does not decide what is asked.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from cdsframe.contracts import BatchingGenerator, Generator
from cdsframe.evaluation.finished_run import is_number
from cdsframe.evaluation.store import ResultStore
from cdsframe.types import Generation, Message

log = logging.getLogger(__name__)

_MOST_TOKENS = 10**12
"""A stored text with more tokens is damaged."""


@runtime_checkable
class KeyedGenerator(BatchingGenerator, Protocol):
    """A generator that can name an answer before it computes it."""

    def keys(self, conversations: Sequence[Sequence[Message]]) -> list[str]:
        """For each conversation, a digest of all that decides its answer."""


class GenerationCache:
    """Generated texts by key, in an SQLite file that only its owner can read.

    Raises InputError if the file is damaged, or cannot be written.
    """

    def __init__(self, folder: str | Path) -> None:
        self._store = ResultStore(Path(folder) / "generations.sqlite", "generations")

    def read(self, keys: Sequence[str]) -> dict[str, Generation]:
        """Key -> text, for the keys that are stored."""
        return self._store.read(keys, _generation)

    def write(self, found: Mapping[str, Generation]) -> None:
        """Stores texts; they are on disk when this returns."""
        self._store.write({key: _values(one) for key, one in found.items()})


class CachedGenerator:
    """A generator that reads stored texts, and stores new ones before it computes the next batch.

    A read text keeps the seconds that were measured when it was computed.
    """

    generates = True

    def __init__(self, generator: KeyedGenerator, store: GenerationCache) -> None:
        self._generator, self._store = generator, store
        self.uses_model, self.name = generator.uses_model, generator.name
        self.max_new_tokens, self.temperature = generator.max_new_tokens, generator.temperature
        self.read = 0
        """Number of answers that were read instead of computed."""

    def load(self) -> None:
        """Does nothing: the model is loaded when a text is missing."""

    def count(self, messages: Sequence[Message]) -> int:
        return self._generator.count(messages)

    def generate(self, conversations: Sequence[Sequence[Message]]) -> list[Generation]:
        found = {number: one for batch in self.generate_batches(conversations) for number, one in batch.items()}
        return [found[number] for number in range(len(conversations))]

    def generate_batches(self, conversations: Sequence[Sequence[Message]]) -> Iterator[dict[int, Generation]]:
        """Yields the stored texts as the first batch, then the others' batches as they are computed.

        Stores a batch as a whole: an interrupted evaluation then computes the same batches as an uninterrupted one.
        """
        keys = self._generator.keys(conversations)
        found = self._store.read(keys)
        stored = {number: found[key] for number, key in enumerate(keys) if key in found}
        self.read += len(stored)
        yield stored
        places: dict[str, list[int]] = {}
        for number, key in enumerate(keys):
            if key not in found:
                places.setdefault(key, []).append(number)
        if not places:
            return
        if stored:
            log.info("%d of %d answers are stored; the others are computed", len(stored), len(keys))
        self._generator.load()  # so that the seconds are those of answering
        missing = list(places)
        for batch in self._generator.generate_batches([conversations[places[key][0]] for key in missing]):
            self._store.write({missing[place]: one for place, one in batch.items()})
            yield {number: one for place, one in batch.items() for number in places[missing[place]]}

    def stream(self, messages: Sequence[Message]) -> Iterator[str | Generation]:
        return self._generator.stream(messages)


def cached(generator: Generator, folder: str | None) -> Generator:
    """The generator with stored texts in a folder; unchanged without a folder, or if it has no keys."""
    if folder is None or not isinstance(generator, KeyedGenerator):
        return generator
    return CachedGenerator(generator, GenerationCache(folder))


def texts_read(generator: Generator) -> int:
    """Number of answers that a generator read from a cache instead of computing them."""
    return generator.read if isinstance(generator, CachedGenerator) else 0


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
    """Raises ValueError, KeyError or TypeError if the values are not those of a stored text."""
    text, given, reason, seconds = (values[key] for key in ("text", "log_probabilities", "finish_reason", "seconds"))
    counts = values["prompt_tokens"], values["completion_tokens"]
    if not isinstance(text, str) or reason not in ("stop", "length"):
        raise ValueError("not a stored text")
    if not all(isinstance(count, int) and 0 <= count <= _MOST_TOKENS for count in counts):
        raise ValueError("not a number of tokens")
    if not all(map(is_number, [*(given or ()), *([] if seconds is None else [seconds])])):
        raise ValueError("not a finite number")
    return Generation(
        text,
        None if given is None else tuple(map(float, given)),
        *counts,
        reason,
        None if seconds is None else float(seconds),
    )
