"""The nouns of the house: frozen dataclasses that flow from component to component (see `cdsframe.contracts`).

Nothing here does work. Offsets count characters of `Document.text`, `start` inclusive and `end` exclusive.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from cdsframe.artifacts.digests import digest, flatten

METADATA_FIELDS = ("kind", "department", "author", "date", "patient", "source", "url")
"""What a document can say of itself. A field that does not apply is absent, never an empty string."""

Metadata = Mapping[str, str]
Filter = Mapping[str, str | Sequence[str]]
"""Metadata field -> the value it must have, or a list of which it must have one. All fields must match."""


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
class Omission:
    """A part of a source that its reader left out of the document.

    `reason` names the parts in the plural ("pictures", "page headers and footers"). It never holds the source's words.
    """

    reason: str
    count: int
    """How many of these parts there are."""
    text: bool
    """True where words or letters that a reader of the source sees are lost. `corpus.strict=true` refuses these."""
    place: str = ""
    """Where in the source, such as "page 3"; empty for the whole source."""


@dataclass(frozen=True, slots=True)
class Document:
    """One source text with its sections in order."""

    id: str
    title: str
    text: str
    sections: tuple[Section, ...]
    metadata: Metadata = field(default_factory=dict)
    omitted: tuple[Omission, ...] = field(default=(), compare=False)
    """Parts of the source that are not in `text`. Ingestion reports them; indexes do not keep them."""

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


@dataclass(frozen=True, slots=True)
class Citation:
    """A marker `[number]` in an answer that names a passage the prompt showed.

    `start` and `end` are the supporting span in the source document's text (the passage's own span where no sentence
    of it supports the statement). `support` in [0, 1] is the share of the statement's words that the span holds; it is
    0 where an amount, a bound, a frequency or the polarity differs.
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
    reason: str = ""
    """Why nothing was searched: a sentence about the filter that no document fulfils; empty where documents were."""


Metrics = dict[str, float]
"""Flat, keys `stage/name`; a measured quantity has `…/ci_low` and `…/ci_high` beside it."""

JsonObject = dict[str, Any]
