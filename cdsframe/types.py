"""Frozen dataclasses that components exchange (see `cdsframe.contracts`). They do no work.

Offsets count characters of `Document.text`, `start` inclusive and `end` exclusive. `Filter`, `Filters` and
`STANDARD_FIELDS` are public here; `cdsframe.metadata` defines them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from cdsframe.artifacts.digests import digest, flatten
from cdsframe.metadata import STANDARD_FIELDS as STANDARD_FIELDS
from cdsframe.metadata import Filter as Filter
from cdsframe.metadata import Filters as Filters

Metadata = Mapping[str, str]


# ------------------------------------------------------------------------------------------------ documents


@dataclass(frozen=True, slots=True)
class Section:
    """Text under one heading path, `document.text[start:end]`."""

    heading: tuple[str, ...]
    start: int
    end: int
    id: str | None = None
    """The section's id in the corpus, if it has one."""
    passage_id: str | None = None
    """Set if the corpus's record is a passage already (BEIR). The chunker keeps it whole, under this id."""


@dataclass(frozen=True, slots=True)
class Omission:
    """Parts of a source that its reader left out of the document.

    `reason` names the parts in the plural ("pictures", "page headers and footers"). It never holds the source's words.
    """

    reason: str
    count: int
    """Number of parts left out."""
    text: bool
    """True if visible text is lost. With `corpus.strict=true`, the first such source ends the ingest with an error."""
    place: str = ""
    """Location in the source, such as "page 3"; empty for the whole source."""


@dataclass(frozen=True, slots=True)
class Document:
    """One source text with its sections in order."""

    id: str
    title: str
    text: str
    sections: tuple[Section, ...]
    metadata: Metadata = field(default_factory=dict)
    omitted: tuple[Omission, ...] = field(default=(), compare=False)
    """Parts of the source that are not in `text`. Ingestion reports them; indexes do not store them."""

    @property
    def digest(self) -> str:
        """Changes whenever the text, its sections or the metadata change."""
        sections = [f"{s.heading}|{s.start}|{s.end}|{s.id}|{s.passage_id}" for s in self.sections]
        return digest(self.id, self.title, self.text, *sections, *flatten(self.metadata))


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A source that could not be read: its name, and the reason in words (never its content)."""

    source: str
    reason: str


Level = Literal["passage", "section", "document", "title"]
LEVELS: tuple[Level, ...] = ("passage", "section", "document", "title")
"""The levels of an index's records. Only passages are shown and cited. Records of the other levels (a section's text, a
document's text or summary, a title with its heading path) are searched only to score their passages."""


Head = Literal["title", "heading"]
HEADS: tuple[Head, ...] = ("title", "heading")
"""Fields that can be prepended to a record's text, in this order."""


def headed(title: str, heading: Sequence[str], text: str) -> str:
    """Joins title, heading path and text with line breaks; empty parts get no line."""
    return "\n".join(part for part in (title, " > ".join(heading), text) if part)


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of one section of one document: the unit that is indexed, retrieved and cited.

    Records of the other levels use the same class. `section_id` and `(title, heading)` identify the section or title
    that a record represents.
    """

    id: str
    document_id: str
    section_id: str
    level: Level
    text: str
    title: str
    heading: tuple[str, ...]
    ordinal: int
    """Position among the document's records of this level; neighbours have consecutive ordinals."""
    start: int
    end: int
    digest: str
    """Digest of the source document; changes with its text or metadata."""
    metadata: Metadata = field(default_factory=dict)
    prepended: tuple[Head, ...] = field(default=HEADS, compare=False)
    """Which of title and heading are prepended to the text for embedding and BM25. Indexes do not store this field:
    passages that they return have the default."""

    @property
    def search_text(self) -> str:
        """The text that is embedded and that BM25 reads: `prepended` fields, then the text."""
        title, heading = "title" in self.prepended, "heading" in self.prepended
        return headed(self.title if title else "", self.heading if heading else (), self.text)

    @property
    def key(self) -> tuple[Level, str]:
        """Unique key of a record in an index."""
        return self.level, self.id

    @property
    def without_text(self) -> Passage:
        """The passage without its text, offsets, ordinal, digest and metadata. Searches return this form before text is
        read."""
        return Passage(
            self.id, self.document_id, self.section_id, self.level, "", self.title, self.heading, 0, 0, 0, ""
        )


# ------------------------------------------------------------------------------------------------ retrieval


@dataclass(frozen=True, slots=True)
class Request:
    """One search of an index: BM25 by `text` or kNN by `vector`; exactly one is given.

    The engine applies `filter` inside the search, so the search returns `k` matching passages if the index has as many.
    """

    k: int
    text: str | None = None
    vector: Sequence[float] | None = None
    level: Level = "passage"
    filter: Filters = field(default_factory=Filter)

    def __post_init__(self) -> None:
        if (self.text is None) == (self.vector is None):
            raise ValueError("a Request needs exactly one of text (BM25) and vector (kNN)")


@dataclass(frozen=True, slots=True)
class Query:
    """A search query: words for BM25; for kNN, the mean of the vectors of `meaning` and of `passages`."""

    text: str
    """The question as the user asked it."""
    words: str
    """Text that BM25 searches for."""
    meaning: str
    """Text that is embedded as a query."""
    passages: tuple[str, ...] = ()
    """Hypothetical answers, embedded as passages."""

    @classmethod
    def plain(cls, text: str) -> Query:
        """A query without expansion."""
        return cls(text, text, text)


@dataclass(frozen=True, slots=True)
class LegScore:
    """Rank (from 1) and raw score of a passage in one leg of a retriever, in a reranker or in a context step.

    A leg is one of the searches that a retriever combines, such as BM25 and kNN.
    """

    rank: int
    score: float


@dataclass(frozen=True, slots=True)
class Hit:
    """A retrieved passage. `rank` counts from 1; `parts` maps a leg or step to the passage's rank and score in it."""

    passage: Passage
    score: float
    rank: int
    parts: Mapping[str, LegScore] = field(default_factory=dict)


# ------------------------------------------------------------------------------------------------ questions


@dataclass(frozen=True, slots=True)
class Evidence:
    """Location of the answer: a span of a document's text."""

    document_id: str
    start: int
    end: int

    def overlaps(self, passage: Passage) -> bool:
        """Whether the passage contains any of the span."""
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
    """Dependent questions (same fact, same page) share a group; intervals and tests count groups."""
    topic: str = ""
    """Topic given by the source (a disease, a section of a note); empty if it gives none."""

    @property
    def answerable(self) -> bool:
        return bool(self.answer)


@dataclass(frozen=True, slots=True)
class Choice:
    """A multiple-choice question; `answer` is the letter of the right option."""

    id: str
    question: str
    options: Mapping[str, str]
    answer: str
    dataset: str = ""
    group: str = ""
    """Dependent questions (one vignette, one patient) share a group."""


# ------------------------------------------------------------------------------------------------ answers


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class Generation:
    """Generated text. `log_probabilities` are natural logarithms, one per generated token, or None.

    `seconds`: wall time of its batch, divided by the batch's size; None: not measured.
    """

    text: str
    log_probabilities: tuple[float, ...] | None
    prompt_tokens: int
    completion_tokens: int
    finish_reason: Literal["stop", "length"] = "stop"
    seconds: float | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Citation:
    """A marker `[number]` in an answer that cites a passage shown in the prompt.

    `start` and `end` are the supporting span in the source document's text, or the whole passage's span if no sentence
    supports the statement. `support` in [0, 1] is the share of the statement's words in the span; it is 0 if an amount,
    a bound, a frequency or the polarity differs.
    """

    number: int
    passage: Passage
    start: int
    end: int
    support: float


@dataclass(frozen=True, slots=True)
class Confidence:
    """How sure the system is of an answer: a word and, with a calibration, the probability that the answer is right."""

    word: str
    probability: float | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """The pipeline's result for one question.

    `hits` are the retrieved passages in prompt order; the prompt had room for the first `shown` of them. `Hit.rank` is
    the rank by relevance. `removed` counts markers that cited no shown passage and were removed from `text`.
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
    """Feature name -> value that the confidence was computed from."""
    finish_reason: Literal["stop", "length"] = "stop"
    """`length` if the answer was cut at the generator's `max_new_tokens`."""
    reason: str = ""
    """If no document matches the filter: a sentence that names the part at fault. Else empty."""


Metrics = dict[str, float]
"""`stage/name` -> value. An estimated metric has the bounds of its interval as `stage/name/ci_low` and `…/ci_high`."""

JsonObject = dict[str, Any]
