"""bm25s: BM25 in memory, by its documentation: English stop words, a Snowball stemmer if there is one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import bm25s


class Peer:
    vectors: dict[str, list[float]]

    def searcher(self, url: str, index: str, form: str, top_k: int, num_candidates: int) -> Callable[[str], list[str]]:
        """`index` names the file of passages."""
        records = [json.loads(line) for line in Path(index).read_text(encoding="utf-8").splitlines()]
        ids = [record["id"] for record in records]
        words = bm25s.BM25()
        words.index(
            bm25s.tokenize([record["text"] for record in records], stopwords="en", show_progress=False),
            show_progress=False,
        )

        def search(query: str) -> list[str]:
            tokens = bm25s.tokenize(query, stopwords="en", show_progress=False)
            numbers, _ = words.retrieve(tokens, k=top_k, show_progress=False)
            return [ids[number] for number in numbers[0]]

        return search
