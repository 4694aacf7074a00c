"""LangChain: `ElasticsearchStore` with its default strategy; hybrid search in the two ways that need no licence."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from elasticsearch import Elasticsearch
from langchain_classic.retrievers import EnsembleRetriever
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_elasticsearch import DenseVectorStrategy, ElasticsearchRetriever, ElasticsearchStore


class Precomputed(Embeddings):
    """Looks vectors up."""

    def __init__(self, vectors: Mapping[str, list[float]]) -> None:
        self._vectors = vectors

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [self._vectors[text] for text in texts]

    def embed_query(self, text: str) -> list[float]:
        return self._vectors.get(text) or next(iter(self._vectors.values()))  # it asks once for the dimension


class Peer:
    """See `worker.py`."""

    vectors: Mapping[str, list[float]]
    _model: Embeddings | None = None

    def load_model(self, folder: str) -> None:
        from langchain_huggingface import HuggingFaceEmbeddings

        self._model = HuggingFaceEmbeddings(model_name=folder, encode_kwargs={"normalize_embeddings": True})
        self._model.embed_documents(["warm"])

    def open(self, url: str, index: str, embed: bool) -> ElasticsearchStore:
        return ElasticsearchStore(index, embedding=self._model if embed else Precomputed(self.vectors), es_url=url)

    def write(self, store: ElasticsearchStore, records: Iterable[Mapping[str, Any]], tuned: bool, embed: bool) -> None:
        """`add_documents`, which refreshes with every bulk; tuned, it refreshes once."""
        records = list(records)
        documents = [Document(page_content=record["text"], metadata=record["metadata"]) for record in records]
        ids = [record["id"] for record in records]
        store.add_documents(documents, ids=ids, refresh_indices=not tuned)
        if tuned:
            store.client.indices.refresh(index=store._store.index)

    def searcher(self, url: str, index: str, form: str, top_k: int, num_candidates: int) -> Callable[[str], list[str]]:
        """By `form`: `ensemble` (BM25 and kNN, two searches, reciprocal ranks) or `sum` (one search, scores added)."""

        def with_id(hit: Mapping[str, Any]) -> Document:
            return Document(page_content=hit["_source"]["text"], metadata=hit["_source"]["metadata"])

        def in_words(query: str) -> dict[str, Any]:
            return {
                "query": {"match": {"text": {"query": query}}},
                "size": num_candidates,
                "_source": ["text", "metadata"],
            }

        if form == "sum":
            strategy = DenseVectorStrategy(hybrid=True, rrf=False, text_field="text")
            store = ElasticsearchStore(index, embedding=Precomputed(self.vectors), es_url=url, strategy=strategy)
            return lambda query: [
                found.metadata["id"] for found in store.similarity_search(query, k=top_k, fetch_k=num_candidates)
            ]
        store = ElasticsearchStore(index, embedding=Precomputed(self.vectors), es_url=url)
        dense = store.as_retriever(search_kwargs={"k": num_candidates, "fetch_k": num_candidates})
        words = ElasticsearchRetriever(
            index_name=index, body_func=in_words, document_mapper=with_id, client=Elasticsearch(url)
        )
        ensemble = EnsembleRetriever(retrievers=[words, dense], id_key="id")
        return lambda query: [found.metadata["id"] for found in ensemble.invoke(query)[:top_k]]
