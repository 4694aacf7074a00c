"""Protocols that components of ingestion, retrieval and answering implement. Contains no implementation.

Vectors are float32 arrays `[n, dimension]` of unit length. The data types are in `cdsframe.types`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

from cdsframe.types import (
    Document,
    Filters,
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
"""Selects hits. Input hits carry no passage text (`Passage.without_text`); the index reads text only for the hits
returned."""


@runtime_checkable
class Corpus(Protocol):
    """Yields documents. A source that cannot be read is yielded as `Unreadable`; iteration continues with the next
    source."""

    @property
    def name(self) -> str:
        """Identifies the corpus independently of its location. An ingest replaces and removes documents of this corpus
        only."""

    def documents(self) -> Iterator[Document | Unreadable]: ...


@runtime_checkable
class Embedder(Protocol):
    """Turns texts into vectors. `dimension` is None if the embedder makes no vectors (`embedder=none`)."""

    makes_vectors: bool

    @property
    def identity(self) -> Mapping[str, Any]:
        """The settings that determine a vector. Using an index built with other settings raises IndexMismatchError."""

    @property
    def dimension(self) -> int | None: ...

    @property
    def max_tokens(self) -> int | None:
        """The number of tokens, special tokens included, that the model reads before it truncates silently; None: no
        limit."""

    def offsets(self, text: str) -> list[tuple[int, int]]:
        """Character spans `(start, end)` of the text's tokens by the embedder's tokenizer, without special tokens."""

    def count(self, text: str) -> int:
        """The number of tokens of a passage, the model's prefix and special tokens included, before truncation."""

    def encode_passages(self, texts: Sequence[str]) -> np.ndarray: ...

    def encode_queries(self, texts: Sequence[str]) -> np.ndarray: ...


@runtime_checkable
class Chunker(Protocol):
    """Splits a document into passages, in order, followed by its records of other levels."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """The settings that determine the records of a document."""

    def split(self, document: Document) -> list[Passage]: ...


@runtime_checkable
class Index(Protocol):
    """Stores records; searches them by BM25 and kNN from many threads at once. Ties are broken by record id.

    Readers see the latest commit only. They never see part of a document or the uncommitted writes of a writer that
    died. BM25's statistics (document count, lengths, document frequencies) are those of the searched level. Reading
    raises ConfigError if nothing is committed, and IndexMismatchError (a ConfigError) if the index was built with other
    settings; `documents`, `owned` and `passages` read such an index too.
    """

    ephemeral: bool
    """True if every new process starts with an empty index; a run then fills it from its corpus before it reads."""

    @property
    def digest(self) -> str | None:
        """Digest of the committed content, equal for equal content on any machine and engine; None if nothing is
        committed."""

    @property
    def levels(self) -> Mapping[Level, int]:
        """Level -> number of committed records; empty if nothing is committed. Costs no search."""

    def documents(self, *, committed: bool = False) -> dict[str, str]:
        """Document id -> digest of all written documents, committed or not; an update compares it with the corpus's.

        `committed`: True returns committed documents only; empty if nothing is committed.
        """

    @property
    def corpora(self) -> Mapping[str, int]:
        """Corpus -> number of its committed documents; empty if nothing is committed. Costs no search.

        The key "" counts documents that were written without a corpus and that no corpus has adopted.
        """

    def owned(
        self, document_ids: Sequence[str] | None = None, *, committed: bool = False
    ) -> dict[str, tuple[str, str]]:
        """Document id -> (digest, corpus), of the documents that `documents` returns.

        `document_ids`: only documents with these ids; None: all.
        """

    def adopt(self, corpus: str) -> None:
        """Assigns all documents without a corpus to this corpus at the next commit. Call within `writer()`."""

    def holds(self, filter: Filters) -> bool:
        """Whether any committed passage matches the filter."""

    def values(self, field: str, filter: Filters, limit: int) -> list[str]:
        """At most `limit` values of a metadata field among the committed passages that match the filter.

        The most frequent values come first. A value longer than the engine's key limit may be missing.
        """

    def passages(self, document_ids: Sequence[str], level: Level = "passage") -> list[Passage]:
        """All records of one level of these documents, ordered by document id and ordinal."""

    def between(self, ranges: Sequence[tuple[str, int, int]]) -> list[Passage]:
        """The passages in ranges of ordinals: `(document id, first, last)`, both included.

        Each passage is returned once, ordered by document id and ordinal.
        """

    def search(self, requests: Sequence[Request], choose: Choose | None = None) -> list[list[Hit]]:
        """One list of at most `k` hits per request, best first, all from the same commit.

        `choose` receives these lists without passage text and returns the lists to keep. The index reads the text of
        those hits only, from the same commit. `choose` may be called several times.
        """

    def writer(self, wait: float = 0) -> AbstractContextManager[None]:
        """Holds the writer lock for a series of writes; reentrant.

        Raises InputError, naming the holder, if another writer does not release the lock within `wait` seconds. The
        lock of a writer that died is released.
        """

    def write(self, records: Sequence[Passage], vectors: np.ndarray | None, corpus: str = "") -> None:
        """Replaces all records of the documents that these records belong to. Pass all records of a document in one
        call.

        The documents belong to `corpus` afterwards. Raises InputError, and writes nothing, if two of the records have
        the same level and id.
        """

    def delete(self, document_ids: Sequence[str]) -> None: ...

    def commit(self, *, optimize: bool = False) -> None:
        """Publishes everything written since the last commit. Readers see all of it when the call returns.

        `optimize` also compacts the index (merges small files, drops superseded records, recomputes BM25's statistics).
        Use it after many writes.
        """

    def discard(self) -> None:
        """Drops everything written since the last commit."""

    def rebuild(self, shard: int = 0, num_shards: int = 1) -> AbstractContextManager[Index]:
        """A new index that replaces this one, identity included, when it commits.

        Until then this index is read and written as before. After a killed rebuild, a call with the same settings
        resumes it. With `num_shards` processes, each fills its shard, and the last commit swaps the indexes. Leaving
        the context without a commit keeps the written records for the next rebuild.
        """

    @property
    def rebuilding(self) -> bool:
        """Whether any process has begun a rebuild that is not committed."""

    def note(self, change: Mapping[str, Any]) -> None:
        """Records a change for the rebuild in progress, which replays it before it commits. Call within `writer()`."""

    def noted(self) -> list[JsonObject]:
        """The changes recorded since the rebuild began, in order. The rebuild's commit clears them."""

    def abandon(self) -> None:
        """Drops an unfinished rebuild and its recorded changes. Raises InputError if a process is working on it."""

    def purge(self, document_ids: Sequence[str]) -> None:
        """Removes documents, commits, and rewrites the store so that none of its files contains their text."""

    @property
    def annotations(self) -> Mapping[str, JsonObject]:
        """Key -> the value that `annotate` stored. Kept through updates, purges and rebuilds; not part of `digest`.

        Raises ConfigError if they are damaged.
        """

    def annotate(self, key: str, value: JsonObject | None) -> None:
        """Stores a value with the index, visible at once, and replaces an earlier value of the key. None removes it.

        Must not hold text of documents: `purge` does not remove it. Raises InputError if another process writes.
        """


@runtime_checkable
class Retriever(Protocol):
    """Finds passages. `search(q, 5) == search(q, 50)[:5]`. `top_k=None` means the configured number."""

    top_k: int
    searches: bool
    """Whether it can find anything; False for `retriever=none`, which makes questions closed-book.

    A class may declare two more attributes: `reads_words` (it searches BM25, so that words of an expansion have an
    effect) and `needs_vectors` (it searches kNN, so that it needs an embedder that makes vectors).
    """

    def search(self, query: str | Query, top_k: int | None = None, filter: Filters | None = None) -> list[Hit]: ...

    def search_many(
        self, queries: Sequence[str | Query], top_k: int | None = None, filter: Filters | None = None
    ) -> list[list[Hit]]: ...


@runtime_checkable
class WeightedRetriever(Protocol):
    """A retriever whose weights `evaluation=tune` can fit. Weights are mappings from config path to factor.

    The paths of the legs' weights begin with `fusion.weights.`. Multiplying all of these by a number must not change a
    ranking.
    """

    @property
    def weights(self) -> Mapping[str, float]:
        """The weights in use: configured, else stored with the index, else the defaults."""

    @property
    def weights_key(self) -> str:
        """Key of the index's annotation that holds weights fitted for this retriever and its settings."""

    @property
    def weights_configured(self) -> bool:
        """Whether the configuration sets any weight, so that stored weights are not used."""

    def weighted(self, weights: Mapping[str, float]) -> WeightedRetriever:
        """A copy of the retriever with these weights."""

    def lists(self, queries: Sequence[Query], filter: Mapping[str, str]) -> list[dict[str, list[Hit]]]:
        """For each query: leg -> hits."""

    def join(self, legs: dict[str, list[Hit]]) -> list[Hit]:
        """Joins one query's hits of all legs."""


@runtime_checkable
class Reranker(Protocol):
    """Reorders hits. Returns every hit it receives."""

    depth: int
    """Number of hits, from the first, that are reranked. The others follow in their order."""

    def rerank(self, query: str, hits: list[Hit]) -> list[Hit]: ...


@runtime_checkable
class Context(Protocol):
    """Selects the hits for the prompt from the reranked hits."""

    depth: int
    """Number of hits, from the first, to select from. The others follow in their order."""

    def select(self, query: str, hits: Sequence[Hit], top_k: int) -> list[Hit]:
        """At most `top_k` hits, best first, ranked from 1. `select(q, h, 5) == select(q, h, 50)[:5]`."""

    def order(self, items: Sequence[Item]) -> list[Item]:
        """Arranges items, given best first, in the order in which the prompt shows them."""


@runtime_checkable
class Generator(Protocol):
    """Turns conversations into text. Deterministic (greedy) at temperature 0."""

    name: str
    generates: bool
    """Whether it gives answers; False for `generator=none`."""
    uses_model: bool
    """Whether the system's own model and adapter write the answers; False if a server or a script does."""
    max_new_tokens: int
    """Maximum number of tokens of an answer."""
    temperature: float

    def load(self) -> None:
        """Loads the model. Without this call, the first question loads it."""

    def count(self, messages: Sequence[Message]) -> int:
        """Number of prompt tokens of the messages, including the tokens that open the assistant's turn."""

    def generate(self, conversations: Sequence[Sequence[Message]]) -> list[Generation]: ...

    def stream(self, messages: Sequence[Message]) -> Iterator[str | Generation]:
        """Yields pieces of text as they are generated, then the complete `Generation` as the last item."""


@runtime_checkable
class BatchingGenerator(Generator, Protocol):
    """A generator that gives the answers of each batch as soon as it is computed."""

    def generate_batches(self, conversations: Sequence[Sequence[Message]]) -> Iterator[Mapping[int, Generation]]:
        """Yields batches: position of a conversation -> its answer. The batches may be in any order."""


class Shares(Protocol):
    """What one leg (BM25, kNN) adds to the fused score of each passage, the leg's weight included."""

    @property
    def absent(self) -> float:
        """What the leg adds for a passage that it did not find."""

    def of(self, id: str) -> float: ...


@runtime_checkable
class Fusion(Protocol):
    """Joins the hits of several legs into one list."""

    @property
    def weights(self) -> Mapping[str, float]:
        """Leg -> configured factor of its normalised scores; a leg that is not named has weight 1. Empty: a retriever
        uses the weights that `evaluation=tune` stored with its index, if there are any."""

    def weighted(self, weights: Mapping[str, float]) -> Fusion:
        """The same fusion with other weights."""

    def fuse(self, legs: Mapping[str, Sequence[Hit]]) -> list[Hit]:
        """All passages that any leg found, best first."""

    def suited(self, legs: Mapping[str, Sequence[Hit]]) -> Fusion:
        """The fusion to use for these lists: this one, or another one if a list is too short for it."""

    def shares(self, legs: Mapping[str, Sequence[Hit]]) -> Mapping[str, Shares]: ...

    def scores(self, legs: Mapping[str, Sequence[Hit]]) -> dict[str, float]:
        """Passage id -> fused score."""

    def ranked(self, legs: Mapping[str, Sequence[Hit]], scores: Mapping[str, float]) -> list[Hit]:
        """The legs' passages, sorted by these scores and by id, with each leg's rank and score in `Hit.parts`."""
