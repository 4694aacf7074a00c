"""Haystack: `ElasticsearchDocumentStore` and `ElasticsearchHybridRetriever` (two retrievers and a joiner by RRF)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from haystack import Document, component
from haystack.document_stores.types import DuplicatePolicy
from haystack_integrations.components.embedders.sentence_transformers import SentenceTransformersDocumentEmbedder
from haystack_integrations.components.retrievers.elasticsearch import ElasticsearchHybridRetriever
from haystack_integrations.document_stores.elasticsearch import ElasticsearchDocumentStore


@component
class Precomputed:
    """Looks a query's vector up."""

    def __init__(self, vectors: Mapping[str, list[float]]) -> None:
        self._vectors = vectors

    @component.output_types(embedding=list[float])
    def run(self, text: str) -> dict[str, Any]:
        return {"embedding": self._vectors[text]}


class Peer:
    """See `worker.py`."""

    vectors: Mapping[str, list[float]]
    _embedder: SentenceTransformersDocumentEmbedder | None = None

    def load_model(self, folder: str) -> None:
        self._embedder = SentenceTransformersDocumentEmbedder(model=folder, normalize_embeddings=True)
        self._embedder.warm_up()
        self._embedder.run([Document(content="warm")])

    def open(self, url: str, index: str, embed: bool) -> ElasticsearchDocumentStore:
        return ElasticsearchDocumentStore(hosts=url, index=index)

    def write(
        self, store: ElasticsearchDocumentStore, records: Iterable[Mapping[str, Any]], tuned: bool, embed: bool
    ) -> None:
        """`write_documents`, which waits for a refresh with every bulk; tuned, it refreshes once."""
        documents = [
            Document(
                id=record["id"],
                content=record["text"],
                meta=record["metadata"],
                embedding=None if embed else self.vectors[record["text"]],
            )
            for record in records
        ]
        if embed:
            assert self._embedder is not None
            documents = self._embedder.run(documents)["documents"]
        store.write_documents(documents, policy=DuplicatePolicy.OVERWRITE, refresh=False if tuned else "wait_for")
        if tuned:
            store.client.indices.refresh(index=store._index)

    def searcher(self, url: str, index: str, form: str, top_k: int, num_candidates: int) -> Callable[[str], list[str]]:
        """By `form`: `default` (fuzzy words, as its BM25 retriever has them) or `exact` (words as they are)."""
        retriever = ElasticsearchHybridRetriever(
            ElasticsearchDocumentStore(hosts=url, index=index),
            embedder=Precomputed(self.vectors),
            fuzziness="AUTO" if form == "default" else "0",
            top_k_bm25=num_candidates,
            top_k_embedding=num_candidates,
            num_candidates=num_candidates,
            top_k=top_k,
        )
        return lambda query: [found.id for found in retriever.run(query=query)["documents"]]
