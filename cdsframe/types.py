"""The nouns of the house: frozen dataclasses and the protocols that components fulfil.

Nothing here does work. Shapes: vectors are float32 arrays `[n, dimension]` of unit length; offsets count characters of
`Document.text`, `start` inclusive and `end` exclusive.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar, runtime_checkable

if TYPE_CHECKING:
    import numpy as np

Item = TypeVar("Item")

METADATA_FIELDS = ("kind", "department", "author", "date", "patient", "source", "url")
"""What a document can say of itself. A field that does not apply is absent, never an empty string."""

Metadata = Mapping[str, str]
Filter = Mapping[str, str | Sequence[str]]
"""Metadata field -> the value it must have, or a list of which it must have one. All fields must match."""


def plain(text: str, keep: str = "\n") -> str:
    """Without control characters, which a terminal would obey; all but those in `keep` become spaces."""
    return "".join(letter if letter in keep or unicodedata.category(letter)[0] != "C" else " " for letter in text)


def digest(*parts: str) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of the parts, unambiguous in where a part ends."""
    return digest_of(parts)


def digest_of(parts: Iterable[str]) -> str:
    """The same of parts that are made one after the other."""
    hasher = sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        hasher.update(len(data).to_bytes(8, "big"))
        hasher.update(data)
    return hasher.hexdigest()[:16]


def flatten(mapping: Mapping[str, str]) -> list[str]:
    """A mapping as a list of its keys and values in sorted order: what `digest` takes."""
    return [item for key in sorted(mapping) for item in (key, mapping[key])]


LONGEST_IDS = 24_000
"""Bytes of a record's id, its section's and its document's, as JSON: a server's index keeps them in one key."""


def ids_problem(record: str, section: str, document: str) -> str | None:
    """Why a record cannot have such ids, in words; None where it can."""
    if 6 * (len(record) + len(section) + len(document)) + 12 <= LONGEST_IDS:  # a sign takes six bytes at most
        return None
    size = len(json.dumps([record, document, section], ensure_ascii=False).encode("utf-8", "surrogatepass"))
    if size <= LONGEST_IDS:
        return None
    return (
        f"has too long an id: with those of a section and a passage there are {size} bytes, and {LONGEST_IDS} are "
        "taken; give it a shorter one"
    )


# ------------------------------------------------------------------------------------------------ documents


@dataclass(frozen=True, slots=True)
class Section:
    """A stretch of a document under one heading path, `text[start:end]`."""

    heading: tuple[str, ...]
    start: int
    end: int
    id: str | None = None
    """The corpus's own id of the section, if it has one."""
    passage_id: str | None = None
    """Set where the corpus's record is a passage already (BEIR): it is kept whole, under this id."""


@dataclass(frozen=True, slots=True)
class Document:
    """One source text with its sections in order."""

    id: str
    title: str
    text: str
    sections: tuple[Section, ...]
    metadata: Metadata = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """Changes whenever the text, its division or the metadata changes."""
        sections = [f"{s.heading}|{s.start}|{s.end}|{s.id}|{s.passage_id}" for s in self.sections]
        return digest(self.id, self.title, self.text, *sections, *flatten(self.metadata))


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A source of a corpus that could not be read: its name, and the reason in words (never its content)."""

    source: str
    reason: str


Level = Literal["passage", "section", "document", "title"]
LEVELS: tuple[Level, ...] = ("passage", "section", "document", "title")
"""What an index's records stand for. Only passages are answered from; the others are evidence for their passages:
a section's whole text, a document's whole text or a summary of it, and a title with its heading path."""


Head = Literal["title", "heading"]
HEADS: tuple[Head, ...] = ("title", "heading")
"""What can go before a record's text, in this order."""


def headed(title: str, heading: Sequence[str], text: str) -> str:
    """A text below its title and heading path; what is empty has no line."""
    return "\n".join(part for part in (title, " > ".join(heading), text) if part)


@dataclass(frozen=True, slots=True)
class Passage:
    """What is indexed, retrieved and cited: a piece of one section of one document.

    Records of the other levels have the same form: `section_id` and `(title, heading)` tell whose they are.
    """

    id: str
    document_id: str
    section_id: str
    level: Level
    text: str
    title: str
    heading: tuple[str, ...]
    ordinal: int
    """Its place among the document's records of its level; neighbours have neighbouring ones."""
    start: int
    end: int
    digest: str
    """The digest of the document it was cut from: a change of text or metadata changes it."""
    metadata: Metadata = field(default_factory=dict)
    prepended: tuple[Head, ...] = field(default=HEADS, compare=False)
    """What of title and heading is embedded and read by BM25 too. Indexes do not keep it: a hit has the default."""

    @property
    def search_text(self) -> str:
        """What is embedded and what BM25 reads: the text, below what is prepended."""
        title, heading = "title" in self.prepended, "heading" in self.prepended
        return headed(self.title if title else "", self.heading if heading else (), self.text)

    @property
    def key(self) -> tuple[Level, str]:
        """What one record of an index has alone."""
        return self.level, self.id

    @property
    def bare(self) -> Passage:
        """Whose it is and below which title and heading: what a search knows of it before its text is read."""
        return Passage(
            self.id, self.document_id, self.section_id, self.level, "", self.title, self.heading, 0, 0, 0, ""
        )


# ------------------------------------------------------------------------------------------------ retrieval


@dataclass(frozen=True, slots=True)
class Request:
    """One search for an index: BM25 by `text` or kNN by `vector` (exactly one is given).

    `filter` is applied by the engine inside the search, so that `k` matching passages come back if there are `k`.
    """

    k: int
    text: str | None = None
    vector: Sequence[float] | None = None
    level: Level = "passage"
    filter: Filter = field(default_factory=dict)

    def __post_init__(self) -> None:
        if (self.text is None) == (self.vector is None):
            raise ValueError("a request has either text (BM25) or a vector (kNN)")


@dataclass(frozen=True, slots=True)
class Query:
    """A question as it is searched: by words, and by the mean of the vectors of its meaning and of `passages`."""

    text: str
    """As it was asked."""
    words: str
    """What BM25 reads."""
    meaning: str
    """What is embedded as a query."""
    passages: tuple[str, ...] = ()
    """What might answer it, embedded as passages."""

    @classmethod
    def plain(cls, text: str) -> Query:
        """A question that is searched as it was asked."""
        return cls(text, text, text)


@dataclass(frozen=True, slots=True)
class Part:
    """What one leg of a retriever said of a passage: its rank (from 1) and its raw score there."""

    rank: int
    score: float


@dataclass(frozen=True, slots=True)
class Hit:
    """A retrieved passage. `rank` counts from 1; `parts` maps each leg's name to its rank and score."""

    passage: Passage
    score: float
    rank: int
    parts: Mapping[str, Part] = field(default_factory=dict)


Choose = Callable[[list[list[Hit]]], list[list[Hit]]]
"""From lists of hits whose passages are bare (`Passage.bare`), the lists of those that are wanted."""


@runtime_checkable
class Corpus(Protocol):
    """Yields documents; a source that cannot be read is yielded as `Unreadable` and the others go on."""

    def documents(self) -> Iterator[Document | Unreadable]: ...


@runtime_checkable
class Embedder(Protocol):
    """Turns texts into vectors. `dimension` is None where there are none (`embedder=none`)."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """The settings that a vector depends on: an index made with others is refused."""

    @property
    def dimension(self) -> int | None: ...

    @property
    def max_tokens(self) -> int | None:
        """How many tokens (special ones included) the model reads before it silently cuts; None: no limit."""

    def offsets(self, text: str) -> list[tuple[int, int]]:
        """Character spans `(start, end)` of the text's tokens by the embedder's own tokenizer, without special ones."""

    def count(self, text: str) -> int:
        """How many tokens the model would read of a passage: its prefix and special tokens included, nothing cut."""

    def encode_passages(self, texts: Sequence[str]) -> np.ndarray: ...

    def encode_queries(self, texts: Sequence[str]) -> np.ndarray: ...


@runtime_checkable
class Chunker(Protocol):
    """Cuts a document into passages, in order, followed by its records of other levels."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """The settings that a record depends on."""

    def split(self, document: Document) -> list[Passage]: ...


@runtime_checkable
class Index(Protocol):
    """Records with vectors and BM25, searched by many requests at once. Ties break by record id.

    Readers see what was committed last, whole: never half a document, never what a writer left behind when it died.
    BM25's statistics (how many records there are, how long, how many have a word) are those of the searched level.
    Reading raises ConfigError where nothing was committed yet, or by other settings than the configuration has.
    """

    ephemeral: bool
    """Whether it is empty in every new process, so that a run fills it from its corpus before it reads."""

    @property
    def digest(self) -> str | None:
        """Of what is committed: equal content, equal digest, on any machine and any engine; None where nothing is."""

    @property
    def levels(self) -> Mapping[Level, int]:
        """How many records of each level are committed; none where nothing is. Costs no search."""

    def documents(self, *, committed: bool = False) -> dict[str, str]:
        """Document id -> digest, of everything written, committed or not: what an update compares with.

        `committed`: of what readers see; none where nothing is.
        """

    def passages(self, document_ids: Sequence[str], level: Level = "passage") -> list[Passage]:
        """All records of one level of the named documents, ordered by document id and ordinal."""

    def between(self, stretches: Sequence[tuple[str, int, int]]) -> list[Passage]:
        """The passages of documents from one ordinal to another: `(document id, first, last)`, both included.

        Each once, ordered by document id and ordinal.
        """

    def search(self, requests: Sequence[Request], choose: Choose | None = None) -> list[list[Hit]]:
        """One list of at most `k` hits for each request, best first, all of the same commit.

        `choose` makes of these lists, whose passages are bare, those that are wanted: the text of their hits alone is
        read, of the same commit. It may be called several times.
        """

    def writer(self, wait: float = 0) -> AbstractContextManager[None]:
        """Held around a series of writes; may be entered again by its holder.

        Raises InputError, which says who holds it, where another writer does not let go within `wait` seconds. A writer
        that died lets go.
        """

    def write(self, records: Sequence[Passage], vectors: np.ndarray | None) -> None:
        """Replaces all records of the documents that the given ones belong to; a document comes in one call.

        No two records of one level have the same id: raises InputError, and writes none, where two of these do.
        """

    def delete(self, document_ids: Sequence[str]) -> None: ...

    def commit(self, *, optimize: bool = False) -> None:
        """Makes everything that was written since the last commit visible to readers, at once, when it returns.

        `optimize` also tidies up (joins small files, drops what is superseded, counts BM25's statistics anew): worth
        its time after many writes.
        """

    def discard(self) -> None:
        """Forgets what was written since the last commit."""

    def rebuild(self, shard: int = 0, num_shards: int = 1) -> AbstractContextManager[Index]:
        """An empty index that takes this one's place, identity included, when it commits.

        Until then this one is read and written as before. A rebuild by the same settings that was killed is gone on
        with. Of `num_shards` processes each fills its part; the commit of the last one swaps. Leaving it without a
        commit keeps what was written for the next rebuild.
        """

    @property
    def rebuilding(self) -> bool:
        """Whether a rebuild has begun, by whatever process, and has not committed."""

    def note(self, change: Mapping[str, Any]) -> None:
        """Keeps a change beside the index until the end of the rebuild, which replays it; within `writer()`."""

    def noted(self) -> list[JsonObject]:
        """The changes that were noted since the rebuild began, in order. The rebuild's commit forgets them."""

    def abandon(self) -> None:
        """Drops a rebuild that has begun, with what was noted for it. Raises InputError where one is under way."""

    def purge(self, document_ids: Sequence[str]) -> None:
        """Removes documents, committed at once, and rewrites the store so that none of its files holds their text."""


@runtime_checkable
class Retriever(Protocol):
    """Finds passages. `search(q, 5) == search(q, 50)[:5]`. `top_k=None` means the configured one."""

    top_k: int

    def search(self, query: str | Query, top_k: int | None = None, filter: Filter | None = None) -> list[Hit]: ...

    def search_many(
        self, queries: Sequence[str | Query], top_k: int | None = None, filter: Filter | None = None
    ) -> list[list[Hit]]: ...


@runtime_checkable
class Reranker(Protocol):
    """Reorders hits, or leaves them. All that it is given come back."""

    depth: int
    """How many of the hits, from the first, it reads; the others stay behind them, in their order."""

    def rerank(self, query: str, hits: list[Hit]) -> list[Hit]: ...


@runtime_checkable
class Context(Protocol):
    """Chooses of the reranked hits those that a prompt is made of."""

    depth: int
    """How many of the hits, from the first, it chooses from; the others stay behind them, in their order."""

    def select(self, query: str, hits: Sequence[Hit], top_k: int) -> list[Hit]:
        """At most `top_k` hits, best first, ranked from 1. `select(q, h, 5) == select(q, h, 50)[:5]`."""

    def order(self, items: Sequence[Item]) -> list[Item]:
        """What a prompt has room for, given best first, in the order in which it shows it."""


# ------------------------------------------------------------------------------------------------ questions


@dataclass(frozen=True, slots=True)
class Evidence:
    """Where the answer stands: a span of a document's text."""

    document_id: str
    start: int
    end: int

    def overlaps(self, passage: Passage) -> bool:
        """Whether the passage shows any of the span."""
        return passage.document_id == self.document_id and passage.start < self.end and self.start < passage.end


QuestionType = Literal["fact", "comparison", "history", "unanswerable", "open"]


@dataclass(frozen=True, slots=True)
class Question:
    """An open question with its gold answer. An empty `answer` means that the documents do not answer it."""

    id: str
    question: str
    answer: str
    aliases: tuple[str, ...] = ()
    type: str = "open"
    split: str = ""
    evidence: tuple[Evidence, ...] = ()
    group: str = ""
    """What questions share that are not independent (a fact, a page): the cluster of a clustered bootstrap."""
    topic: str = ""
    """What it is about, as its source says (a disease, a section of a note); empty where it does not say."""

    @property
    def answerable(self) -> bool:
        return bool(self.answer)


@dataclass(frozen=True, slots=True)
class Choice:
    """A question with options; `answer` is the right option's letter."""

    id: str
    question: str
    options: Mapping[str, str]
    answer: str
    dataset: str = ""


# ------------------------------------------------------------------------------------------------ answers


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class Generation:
    """What a generator said. `log_probabilities` are natural logarithms, one per generated token, or None."""

    text: str
    log_probabilities: tuple[float, ...] | None
    prompt_tokens: int
    completion_tokens: int
    finish_reason: Literal["stop", "length"] = "stop"


@runtime_checkable
class Generator(Protocol):
    """Turns conversations into text. Deterministic (greedy) at temperature 0."""

    name: str
    max_new_tokens: int
    """The most tokens that an answer has; 0 where the generator gives none (`generator=none`)."""
    temperature: float

    def load(self) -> None:
        """Makes it ready to answer; without it, the first question does so."""

    def count(self, messages: Sequence[Message]) -> int:
        """The number of prompt tokens that the messages take, the opening of the answer's turn included."""

    def generate(self, conversations: Sequence[Sequence[Message]]) -> list[Generation]: ...

    def stream(self, messages: Sequence[Message]) -> Iterator[str | Generation]:
        """Pieces of text as they come, then the whole `Generation` as the last item."""


@dataclass(frozen=True, slots=True)
class Citation:
    """A marker `[number]` in an answer that names a passage the prompt showed.

    `start` and `end` are the supporting span in the source document's text (the passage's own span where no sentence
    of it supports the statement); `support` in [0, 1] is the share of the statement's words found in that span.
    """

    number: int
    passage: Passage
    start: int
    end: int
    support: float


@dataclass(frozen=True, slots=True)
class Confidence:
    """A calibrated probability that the answer is right, or only a word where nothing was calibrated."""

    word: str
    probability: float | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What the pipeline gives back for one question.

    `hits` are what was retrieved and `shown` how many of them, from the first and in this order, the prompt had room
    for; their `rank` tells which were thought the best. `removed` counts markers that named no shown passage and were
    taken out of `text`.
    """

    question: str
    text: str
    citations: tuple[Citation, ...]
    confidence: Confidence
    abstained: bool
    hits: tuple[Hit, ...]
    shown: int
    removed: int
    usage: Mapping[str, int]
    timings: Mapping[str, float]
    features: Mapping[str, float] = field(default_factory=dict)
    """What the confidence was computed from, by name."""
    finish_reason: Literal["stop", "length"] = "stop"
    """`length` where the answer was cut at the generator's `max_new_tokens`."""


Metrics = dict[str, float]
"""Flat, keys `stage/name`; a measured quantity has `…/ci_low` and `…/ci_high` beside it."""

JsonObject = dict[str, Any]
