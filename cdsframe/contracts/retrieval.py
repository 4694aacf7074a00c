"""The contracts of the house: what a component of each group fulfils, and nothing of how.

Shapes: vectors are float32 arrays `[n, dimension]` of unit length. The nouns stand in `cdsframe.types`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

from cdsframe.types import (
    Document,
    Filter,
    Generation,
    Hit,
    JsonObject,
    Level,
    Message,
    Passage,
    Query,
    Request,
    Unreadable,
)

if TYPE_CHECKING:
    import numpy as np

Item = TypeVar("Item")

Choose = Callable[[list[list[Hit]]], list[list[Hit]]]
"""From lists of hits whose passages are bare (`Passage.bare`), the lists of those that are wanted."""


@runtime_checkable
class Corpus(Protocol):
    """Yields documents; a source that cannot be read is yielded as `Unreadable` and the others go on."""

    @property
    def name(self) -> str:
        """Which corpus this is, wherever it lies: an ingest replaces and removes documents of this corpus only."""

    def documents(self) -> Iterator[Document | Unreadable]: ...


@runtime_checkable
class Embedder(Protocol):
    """Turns texts into vectors. `dimension` is None where it makes none (`embedder=none`)."""

    makes_vectors: bool

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
    Reading raises ConfigError where nothing was committed yet, or by other settings than the configuration has; what
    was committed by other settings can still be listed, by `documents`, `owned` and `passages`.
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

    @property
    def corpora(self) -> Mapping[str, int]:
        """Corpus -> how many of its documents are committed; none where nothing is. Costs no search.

        "" stands for documents that were written without a corpus and that no corpus has adopted.
        """

    def owned(
        self, document_ids: Sequence[str] | None = None, *, committed: bool = False
    ) -> dict[str, tuple[str, str]]:
        """Document id -> digest and corpus: of all documents that `documents` gives, or of the given ids among them."""

    def adopt(self, corpus: str) -> None:
        """Gives the documents that were written without a corpus to this one, by the next commit; within `writer()`."""

    def holds(self, filter: Filter) -> bool:
        """Whether a committed passage fulfils the filter."""

    def values(self, field: str, filter: Filter, limit: int) -> list[str]:
        """At most `limit` values of a metadata field, of the committed passages that fulfil the filter.

        The values of the most passages come first. A value that is too long for a key of the engine may be missing.
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

    def write(self, records: Sequence[Passage], vectors: np.ndarray | None, corpus: str = "") -> None:
        """Replaces all records of the documents that the given ones belong to; a document comes in one call.

        The documents belong to `corpus` from then on.

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
    searches: bool
    """Whether it can find anything; False for `retriever=none`, which makes questions closed-book.

    A class may declare two more: `reads_words` (it searches BM25, so that words of an expansion have an effect) and
    `needs_vectors` (it searches kNN, so that it needs an embedder that makes vectors).
    """

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


@runtime_checkable
class Generator(Protocol):
    """Turns conversations into text. Deterministic (greedy) at temperature 0."""

    name: str
    generates: bool
    """Whether it gives answers; False for `generator=none`."""
    uses_model: bool
    """Whether the answers come from the system's own model and adapter, and not from an engine elsewhere."""
    max_new_tokens: int
    """The most tokens that an answer has."""
    temperature: float

    def load(self) -> None:
        """Makes it ready to answer; without it, the first question does so."""

    def count(self, messages: Sequence[Message]) -> int:
        """The number of prompt tokens that the messages take, the opening of the answer's turn included."""

    def generate(self, conversations: Sequence[Sequence[Message]]) -> list[Generation]: ...

    def stream(self, messages: Sequence[Message]) -> Iterator[str | Generation]:
        """Pieces of text as they come, then the whole `Generation` as the last item."""


class Shares(Protocol):
    """A leg's shares of the fused score, its weight included."""

    @property
    def absent(self) -> float:
        """The share of a passage that the leg did not find."""

    def of(self, id: str) -> float: ...


@runtime_checkable
class Fusion(Protocol):
    """Joins the hits of several legs into one list."""

    @property
    def weights(self) -> Mapping[str, float]:
        """Leg -> factor of its share."""

    def weighted(self, weights: Mapping[str, float]) -> Fusion:
        """The same fusion with other weights."""

    def fuse(self, legs: Mapping[str, Sequence[Hit]]) -> list[Hit]:
        """All passages that any leg found, best first."""

    def suited(self, legs: Mapping[str, Sequence[Hit]]) -> Fusion:
        """The fusion for these lists: this one, unless they are too short for it."""

    def shares(self, legs: Mapping[str, Sequence[Hit]]) -> Mapping[str, Shares]: ...

    def scores(self, legs: Mapping[str, Sequence[Hit]]) -> dict[str, float]:
        """Passage id -> fused score."""

    def ranked(self, legs: Mapping[str, Sequence[Hit]], scores: Mapping[str, float]) -> list[Hit]:
        """The legs' passages by score and id, with each leg's rank and score."""
